// What an answer means, and what an agent does next: both the package tells.
import { Courier, check, readReply } from 'edge-report/inline';
import { byId, el } from './dom.js';
import { t } from './texts.js';

const ANY_REPORT = { jobs: [{ status: 'job_running', create_time: 1 }], message_id: '1' };
const SIGNS = { accepted: '✓', refused: '✕', not_understood: '?', try_again: '↻', credentials: '⚿', misconfigured: '⚠' };
const DURATIONS = ['retryAfterMs', 'clockSkewMs'];
const STATUS_LINE = /^HTTP\/\S+ (\d{3})/;

/** The status in its field that was guessed. */
let guessed;

export function startAnswer() {
  byId('answer').addEventListener('input', readStatus);
  byId('status').addEventListener('input', () => {
    guessed = undefined;
    renderAnswer();
  });
}

export function takeAnswer(text) {
  byId('answer').value = text;
  readStatus();
}

/** The status that the answer has; for a body alone one that it is understood with, until somebody says otherwise. */
function readStatus() {
  const { status, body } = read(byId('answer').value);
  guessed = status === undefined ? guess(body) : undefined;
  byId('status').disabled = status !== undefined;
  byId('status').value = status ?? guessed ?? '';
  renderAnswer();
}

function guess(body) {
  const outcomeOf = (status) => readReply(status, undefined, body).outcome;
  if (outcomeOf(403) === 'credentials') return 403;
  return [400, 200].find((status) => outcomeOf(status) !== 'not_understood');
}

/** Whether a text can only be an answer of the service: a report with jobs may have any members besides. */
export function isAnswer(text) {
  if (STATUS_LINE.test(text)) return true;
  const hasNoJobs = () => check(text).some(({ path, code }) => path === 'jobs' && code === 'Missing');
  const { outcome, errorCode } = readReply(200, undefined, text);
  return (outcome !== 'not_understood' || errorCode !== undefined) && hasNoJobs();
}

export function renderAnswer() {
  const text = byId('answer').value;
  const { headers, body } = read(text);
  const status = byId('status').value;
  const code = Number(status);
  const meaning = byId('meaning');
  if (!text) return meaning.replaceChildren(el('p', { class: 'note' }, t('answerNone')));
  if (status === '') return meaning.replaceChildren(el('p', {}, t('statusNone')));
  if (!(Number.isInteger(code) && code >= 100 && code <= 599)) return meaning.replaceChildren(el('p', {}, t('statusWrong')));

  const reply = readReply(code, headers, body);
  const [name, sentence] = t('outcome')[reply.outcome];
  meaning.replaceChildren(
    ...(guessed === undefined ? [] : [el('p', { class: 'note' }, t('statusGuessed', guessed))]),
    el('p', { class: `outcome ${reply.outcome}` }, el('span', { class: 'sign', 'aria-hidden': 'true' }, SIGNS[reply.outcome]), ` ${name}`, el('code', {}, reply.outcome)),
    el('p', {}, sentence),
    details(reply),
    el('h3', {}, t('next')),
    el('p', {}, nextStep(reply)),
  );
}

function details(reply) {
  const rows = Object.entries(t('details')).filter(([member]) => reply[member] !== undefined);
  const shown = (member) => (DURATIONS.includes(member) ? t('duration', reply[member]) : reply[member]);
  return el('dl', {}, ...rows.flatMap(([member, name]) => [el('dt', {}, name), el('dd', {}, shown(member))]));
}

/** What a courier does that gets this answer first: tried with the least and the greatest random number. */
function nextStep(reply) {
  const [least, most] = [0n, 2n ** 64n - 1n].map((random) => verdictOn(reply, random));
  const { verdict, clockOffsetMs } = least;
  if (clockOffsetMs) return t('verdicts').clock(t('duration', clockOffsetMs));
  const text = t('verdicts')[verdict];
  return typeof text === 'function' ? text(t('duration', least.at ?? least.until), t('duration', most.at ?? most.until)) : text;
}

function verdictOn(reply, random) {
  const courier = new Courier({ capacity: 16 * 1024, policy: { startSpreadMs: 0 }, clock: () => 0, entropy: () => random });
  try {
    courier.submit(ANY_REPORT);
    const verdict = courier.settle(courier.next().ticket, reply);
    return { ...verdict, clockOffsetMs: courier.status().clockOffsetMs };
  } finally {
    courier.free();
  }
}

/** The parts of what `curl --include` prints; without a head, all is body. Of several heads, as of interim answers (1xx), the last counts. */
function read(text) {
  let head;
  let body = text;
  let rest = text.trimStart().replaceAll('\r', '');
  while (STATUS_LINE.test(rest)) {
    const end = rest.indexOf('\n\n');
    head = end < 0 ? rest : rest.slice(0, end);
    rest = end < 0 ? '' : rest.slice(end + 2);
    body = rest;
  }
  if (head === undefined) return { body };
  const headers = head.split('\n').slice(1).map((header) => {
    const [name, ...value] = header.split(':');
    return [name.trim(), value.join(':').trim()];
  });
  return { status: STATUS_LINE.exec(head)[1], headers, body };
}
