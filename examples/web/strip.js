// The statuses of jobs over time: a picture, and the same as tables.
import { el, svg } from './dom.js';
import { t } from './texts.js';

/** How statuses look: each kind has a colour and a pattern. */
const KINDS = {
  job_init: 'moving',
  job_submitting: 'moving',
  job_downloading: 'moving',
  job_savepointing: 'moving',
  job_canceling: 'moving',
  job_arrearage_recovering: 'moving',
  job_running: 'running',
  job_idle: 'idle',
  job_running_exception: 'trouble',
  job_submit_fail: 'trouble',
  job_cancel_fail: 'trouble',
  job_arrearage_stopped: 'trouble',
  job_cancel_success: 'ended',
  job_finish: 'ended',
};
/** What is drawn over the colour of a kind, in a tile of 8 × 8. */
const PATTERNS = {
  moving: 'M-2 10 10 -2 M-2 2 2 -2 M6 10 10 6',
  trouble: 'M0 0 8 8 M8 0 0 8',
  idle: 'M4 3v2',
  ended: 'M0 4h8',
  other: 'M4 0v8',
};
const MOST_ROWS = 1000;

const HEIGHT = 28;
/** So much is left for what was reported last. */
const TAIL = 24;
/** The width of a letter of the labels, about. */
const LETTER = 7;
const WORDS_IN_LABEL = 20;
const MOST_IN_COURSE = 12;

const kindOf = (status) => KINDS[status] ?? 'other';
const nameOf = ({ status, final }) => status.replace(/^job_/, '') + (final ? '\u00A0■' : '');
/** What no date can be is shown as it is. */
export const time = (ms) => (Math.abs(Number(ms)) <= 8.64e15 ? new Date(Number(ms)).toISOString().replace('T', ' ').replace('Z', '') : String(ms));

/** The strips of all jobs on one axis, drawn anew when there is more or less room. */
export function strips(jobs, [first, last]) {
  const pictures = jobs.map((job) => ({ job, picture: svg('svg', { height: HEIGHT, role: 'img', 'aria-label': inWords(job) }) }));
  const draw = (width) => {
    const scale = Math.max(0, width - TAIL) / Math.max(1, last - first);
    for (const { job, picture } of pictures) picture.replaceChildren(...segments(job, (ms) => (ms - first) * scale, last, width));
  };
  const all = el(
    'div',
    { class: 'strips' },
    patterns(),
    ...pictures.map(({ job, picture }) => el('figure', {}, el('figcaption', {}, job.title), picture, el('p', { class: 'course' }, course(job)))),
    el('p', { class: 'axis' }, el('time', {}, `${time(first)} UTC`), el('time', {}, `${time(last)} UTC`)),
    legend(jobs),
  );
  new ResizeObserver(([{ contentRect }]) => draw(contentRect.width)).observe(all);
  return all;
}

/** The statuses in their order, where the strip has no room for their names. */
function course({ runs }) {
  const names = runs.slice(-MOST_IN_COURSE).map(nameOf);
  return [...(runs.length > names.length ? ['…'] : []), ...names].join(' → ');
}

function inWords({ title, runs }) {
  const words = runs.slice(0, WORDS_IN_LABEL).map(({ status, from }) => `${time(from)} ${status}`);
  return [t('stripTitle', title), ...words, ...(runs.length > words.length ? ['…'] : [])].join('; ');
}

function segments({ runs }, x, last, width) {
  let edge = 0;
  return runs.flatMap((run) => {
    const [left, right] = [x(run.from), run === runs.at(-1) ? width : x(run.to)];
    // What ends within the pixel of the one before is not seen.
    if (right - edge < 1) return [];
    edge = right;
    return [segment(run, left, Math.max(1, right - left))];
  });
}

function segment(run, x, width) {
  const name = nameOf(run);
  const label = name.length * LETTER + 12 < width ? [svg('text', { x: x + 6, y: HEIGHT / 2 }, name)] : [];
  return box(kindOf(run.status), x, width, svg('title', {}, `${run.status}: ${time(run.from)} – ${time(run.to)}`), ...label);
}

function box(kind, x, width, ...more) {
  const place = { x, width, height: HEIGHT };
  const pattern = PATTERNS[kind] ? [svg('rect', { ...place, fill: `url(#pattern-${kind})` })] : [];
  return svg('g', { class: `run ${kind}` }, svg('rect', { ...place, class: 'ground' }), ...pattern, ...more);
}

/** Defined once, for all pictures. */
function patterns() {
  const tile = ([kind, d]) => svg('pattern', { id: `pattern-${kind}`, width: 8, height: 8, patternUnits: 'userSpaceOnUse' }, svg('path', { d, class: 'pattern' }));
  return svg('svg', { class: 'defs', 'aria-hidden': 'true' }, svg('defs', {}, ...Object.entries(PATTERNS).map(tile)));
}

function legend(jobs) {
  const there = new Set(jobs.flatMap(({ runs }) => runs.map(({ status }) => kindOf(status))));
  const sample = (kind) => svg('svg', { width: 28, height: 16, 'aria-hidden': 'true' }, box(kind, 0, 28));
  const entries = Object.entries(t('kinds')).filter(([kind]) => there.has(kind));
  return el('ul', { class: 'legend', 'aria-label': t('legend') }, ...entries.map(([kind, name]) => el('li', {}, sample(kind), name)), el('li', {}, `■ ${t('final')}`));
}

/** The runs of one job. */
export function table({ title, runs }) {
  const head = ['from', 'jobStatus', 'reports'].map((name) => el('th', { scope: 'col' }, t(name)));
  const row = (run) => el('tr', {}, el('td', {}, time(run.from)), el('td', {}, el('code', {}, run.status), run.final ? ` (${t('final')})` : ''), el('td', {}, String(run.reports)));
  const rest = runs.length - MOST_ROWS;
  return el(
    'table',
    {},
    el('caption', {}, title),
    el('thead', {}, el('tr', {}, ...head)),
    el('tbody', {}, ...runs.slice(0, MOST_ROWS).map(row), ...(rest > 0 ? [el('tr', {}, el('td', { colspan: 3 }, t('more', rest)))] : [])),
  );
}
