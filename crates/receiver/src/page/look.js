// The page of the receiver: jobs in their present state, and what was reported of each. All that agents sent is text, never HTML.
import { byId, el } from './dom.js';
import { strips, time } from './strip.js';
import { language, speak, t } from './texts.js';

const PAGE = 100;
const HISTORY = 500;
/** Between looks at the rows while nothing is heard: other instances may have taken reports in. */
const LOOK_MS = 15_000;
const AGAIN_MS = 2000;
const TROUBLE = new Set(['job_running_exception', 'job_submit_fail', 'job_cancel_fail', 'job_arrearage_stopped']);
const FINAL = new Set(['job_submit_fail', 'job_cancel_success', 'job_finish', 'job_arrearage_stopped']);

let projects = [];
let rows = [];
let next = null;
let latest = 0;
let token = sessionStorage.getItem('token') ?? '';

/** job_id as it stands there: a number in JavaScript is inexact over 2^53. */
const exact = (name, value, context) => (name === 'job_id' && context?.source ? context.source : value);

async function get(path) {
  const response = await fetch(path, { headers: token ? { Authorization: `Bearer ${token}` } : {}, cache: 'no-store' });
  byId('token-form').hidden = response.status !== 401;
  if (!response.ok) throw new Error(`${response.status}`);
  return response;
}

const json = async (path) => JSON.parse(await (await get(path)).text(), exact);

function filter(limit, after) {
  const query = new URLSearchParams({ limit });
  if (byId('q').value.trim()) query.set('q', byId('q').value.trim());
  if (byId('project').value.trim()) query.set('project', byId('project').value.trim());
  if (byId('trouble').checked) query.set('trouble', '1');
  if (after) query.set('after', after);
  return `/api/jobs?${query}`;
}

/** All rows anew, as many as are shown. The answer to an older question does not take the place of a newer one. */
async function refresh() {
  const number = ++latest;
  try {
    const page = await json(filter(Math.min(1000, Math.max(PAGE, rows.length))));
    if (number !== latest) return;
    [rows, next] = [page.jobs, page.next];
    render();
  } catch {
    byId('state').textContent = t('away');
  }
}

function look() {
  refreshProjects();
  refresh();
}

async function more() {
  const page = await json(filter(PAGE, next));
  [rows, next] = [[...rows, ...page.jobs], page.next];
  render();
}

/** Names with how many jobs they have; a click shows those of one alone. */
async function refreshProjects() {
  try {
    ({ projects } = await json('/api/projects?limit=1000'));
    renderProjects();
  } catch {
    // Told by the rows.
  }
}

function renderProjects() {
  const chosen = byId('project').value.trim();
  const state = JSON.stringify([projects.map(({ received_ms: at, ...rest }) => rest), chosen, language()]);
  const list = byId('projects');
  if (list.dataset.state === state) return;
  list.dataset.state = state;
  const focused = [...list.querySelectorAll('button')].indexOf(document.activeElement);
  list.replaceChildren(
    ...projects.map(({ project, jobs, in_trouble: trouble }) =>
      el(
        'li',
        {},
        el(
          'button',
          { type: 'button', 'aria-pressed': String(project === chosen), click: () => chooseProject(project === chosen ? '' : project) },
          `${project} · ${t('jobsOf', jobs)}`,
          ...(trouble ? [' · ', el('span', { class: 'trouble' }, t('inTrouble', trouble))] : []),
        ),
      ),
    ),
  );
  list.querySelectorAll('button')[focused]?.focus();
}

function chooseProject(project) {
  byId('project').value = project;
  renderProjects();
  refresh();
}

const key = ({ project, job_id: id }) => JSON.stringify([project, id]);

function render() {
  const list = byId('jobs');
  const there = new Map([...list.children].map((item) => [item.dataset.key, item]));
  const items = rows.map((job) => {
    const item = there.get(key(job)) ?? jobItem(job);
    update(item, job);
    return item;
  });
  // Only where something changed, so that the focus stays where it is.
  if (items.length !== list.children.length || items.some((item, at) => item !== list.children[at])) list.replaceChildren(...items);
  byId('more').hidden = next === null;
  byId('state').textContent = rows.length ? `${t('shown', rows.length)} · ${t('live')}` : t('noJobs');
}

function jobItem(job) {
  const detail = el('div', { class: 'detail' });
  const open = el('details', { toggle: () => open.open && show(detail, job) }, el('summary'), detail);
  const item = el('li', {}, open);
  item.dataset.key = key(job);
  return item;
}

function update(item, job) {
  const state = JSON.stringify([job, language(), ago(job.received_ms), ago(job.since_ms)]);
  if (item.dataset.state === state) return;
  const changed = item.dataset.report !== job.report;
  [item.dataset.state, item.dataset.report] = [state, job.report];
  const details = item.firstChild;
  details.firstChild.replaceChildren(
    el('span', {}, `${job.project} · ${job.job_id}`),
    el('span', { class: TROUBLE.has(job.status) ? 'status trouble' : 'status' }, job.status, job.final ? ` (${t('final')})` : '', ` ${t('for', ago(job.since_ms))}`),
    el('time', { title: `${time(job.received_ms)} UTC` }, t('ago', ago(job.received_ms))),
    ...(job.exception ? [el('span', { class: 'cause' }, job.exception)] : []),
  );
  if (details.open && changed) show(details.lastChild, job);
}

function ago(ms) {
  const seconds = Math.max(0, (Date.now() - ms) / 1000);
  const steps = [1, 60, 3600, 86_400];
  const at = Math.max(0, steps.findLastIndex((step) => seconds >= step));
  return `${Math.floor(seconds / steps[at])} ${t('units')[at]}`;
}

/** The strip of a job, and the report that says its present state. */
async function show(detail, { project, job_id: id, report }) {
  const place = encodeURIComponent(project);
  try {
    const [{ history }, body] = await Promise.all([
      json(`/api/jobs/${place}/${id}?limit=${HISTORY}`),
      get(`/api/reports/${place}/${report}`).then((response) => response.text()),
    ]);
    const runs = [];
    for (const { status, received_ms: at } of history.reverse()) {
      const current = runs.at(-1);
      if (current) current.to = at;
      if (current?.status === status) current.reports += 1;
      else runs.push({ status, from: at, to: at, reports: 1, final: FINAL.has(status) });
    }
    const title = `${project} · ${id}`;
    const text = el('pre', { tabindex: 0, 'aria-label': t('report') });
    text.textContent = body;
    detail.replaceChildren(strips([{ title, runs }], [runs[0]?.from, runs.at(-1)?.to]), el('h3', {}, t('report')), text);
  } catch {
    detail.textContent = t('away');
  }
}

/** Looks when reports came in, by server-sent events. They are read by hand, since an EventSource sends no token. */
async function listen() {
  for (;;) {
    try {
      const reader = (await get('/api/events')).body.pipeThrough(new TextDecoderStream()).getReader();
      for (let heard = ''; ; ) {
        const { done, value } = await reader.read();
        if (done) break;
        heard = (heard + value).slice(-200);
        if (!heard.includes('\n\n')) continue;
        heard = heard.slice(heard.lastIndexOf('\n\n') + 2);
        await refresh();
      }
    } catch {
      // Tried again below.
    }
    await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
  }
}

function choose(lang) {
  speak(lang);
  const other = lang === 'en' ? 'zh' : 'en';
  byId('language').textContent = other === 'zh' ? '中文' : 'English';
  byId('language').lang = other;
  for (const detail of document.querySelectorAll('#jobs details')) detail.open = false;
  renderProjects();
  render();
}

let typing;
byId('filter').addEventListener('input', () => {
  clearTimeout(typing);
  typing = setTimeout(() => {
    renderProjects();
    refresh();
  }, 150);
});
byId('filter').addEventListener('submit', (event) => event.preventDefault());
byId('more').addEventListener('click', () => more().catch(() => (byId('state').textContent = t('away'))));
byId('language').addEventListener('click', () => choose(language() === 'en' ? 'zh' : 'en'));
byId('theme').addEventListener('click', () => {
  const dark = getComputedStyle(document.documentElement).colorScheme === 'dark' || (!document.documentElement.dataset.theme && matchMedia('(prefers-color-scheme: dark)').matches);
  document.documentElement.dataset.theme = dark ? 'light' : 'dark';
});
byId('token-form').addEventListener('submit', (event) => {
  event.preventDefault();
  token = byId('token').value;
  sessionStorage.setItem('token', token);
  look();
});
choose(navigator.language.startsWith('zh') ? 'zh' : 'en');
look();
listen();
setInterval(look, LOOK_MS);
