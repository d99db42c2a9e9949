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
const LONGEST_NAME = 40;

const HEIGHT = 28;
/** So much is left for what was reported last. */
const TAIL = 24;
/** The width of a letter of the labels, about. */
const LETTER = 7;
const WORDS_IN_LABEL = 20;
/** What the axis may count in, and the width that a time needs there. */
const SECOND = 1000;
const [MINUTE, HOUR, DAY] = [60 * SECOND, 3600 * SECOND, 86_400 * SECOND];
const STEPS = [1, 2, 5, 10, 15, 30].flatMap((few) => [few * SECOND, few * MINUTE]).concat([1, 2, 4, 8].map((few) => few * HOUR), [1, 2, 7, 14, 28, 91, 365].map((few) => few * DAY)).sort((a, b) => a - b);
const TICK_WIDTH = 88;

export const kindOf = (status) => KINDS[status] ?? 'other';
const nameOf = ({ status, final }) => status.replace(/^job_/, '') + (final ? '\u00A0■' : '');
/** What no date can be is shown as it is. */
export const time = (ms) => (Math.abs(Number(ms)) <= 8.64e15 ? new Date(Number(ms)).toISOString().replace('T', ' ').replace('Z', '') : String(ms));

/** The strips of all jobs between two axes, drawn anew when there is more or less room. */
export function strips(jobs, [first, last]) {
  const told = el('p', { class: 'note told', role: 'status' });
  const pictures = jobs.map((job) => ({ job, picture: svg('svg', { height: HEIGHT, role: 'img', 'aria-label': inWords(job) }) }));
  const axes = [axis(), axis()];
  const draw = (width) => {
    const scale = Math.max(0, width - TAIL) / Math.max(1, last - first);
    const x = (ms) => (ms - first) * scale;
    // What is under a mouse's pointer is told by the browser; a finger has none.
    const tell = (run, picture) => {
      told.textContent = inDetail(run);
      picture.after(told);
    };
    for (const { job, picture } of pictures) picture.replaceChildren(...segments(job, x, width, (run) => tell(run, picture)));
    for (const ticks of axes) ticks.replaceChildren(...marks(first, last, x, width - TAIL));
  };
  const scale = (ticks) => el('div', { class: 'scale' }, ticks);
  const all = el(
    'div',
    { class: 'strips' },
    patterns(),
    legend(jobs),
    el('p', { class: 'note' }, `${time(first)} – ${time(last)} UTC`),
    scale(axes[0]),
    ...pictures.map(({ job, picture }) => el('figure', {}, el('figcaption', {}, job.title, ...(isLate(job) ? [el('span', { class: 'late' }, t('late'))] : [])), picture)),
    scale(axes[1]),
  );
  new ResizeObserver(([{ contentRect }]) => draw(contentRect.width)).observe(axes[0]);
  return all;
}

/** A status after a final one. */
export function isLate({ runs }) {
  return runs.some(({ late }) => late);
}

function axis() {
  return svg('svg', { class: 'ticks', height: 20, 'aria-hidden': 'true' });
}

/** Round times along the axis, as many as there is room for. */
function marks(first, last, x, width) {
  const most = Math.max(1, Math.floor(width / TICK_WIDTH));
  const step = STEPS.find((ms) => (last - first) / ms <= most);
  // No time, or millennia.
  if (!step || !(Math.abs(last) <= 8.64e15)) return [];
  const all = [];
  for (let at = Math.ceil(first / step) * step; at <= last; at += step) {
    const [day, clock] = new Date(at).toISOString().split('T');
    const name = step >= DAY ? day : step >= MINUTE ? clock.slice(0, 5) : clock.slice(0, 8);
    all.push(svg('path', { d: `M${x(at)} 14v6` }));
    // One that would begin or end outside is not written.
    if (x(at) >= TICK_WIDTH / 2 && x(at) <= width - TICK_WIDTH / 4) all.push(svg('text', { x: x(at), y: 10 }, name));
  }
  return all;
}

function inDetail({ status, from, to, reports, late }) {
  return [`${status}: ${time(from)} – ${time(to)}`, t('reportsOfRun', reports), ...(late ? [t('late')] : [])].join('; ');
}

function inWords({ title, runs }) {
  const words = runs.slice(0, WORDS_IN_LABEL).map(({ status, from, late }) => `${time(from)} ${status}${late ? ` (${t('late')})` : ''}`);
  return [t('stripTitle', title), ...words, ...(runs.length > words.length ? ['…'] : [])].join('; ');
}

function segments({ runs }, x, width, tell) {
  let edge = 0;
  return runs.flatMap((run) => {
    const [left, right] = [x(run.from), run === runs.at(-1) ? width : x(run.to)];
    // What ends within the pixel of the one before is not seen.
    if (right - edge < 1) return [];
    edge = right;
    return [segment(run, left, Math.max(1, right - left), tell)];
  });
}

function segment(run, x, width, tell) {
  const name = `${run.late ? '⚠\u00A0' : ''}${nameOf(run)}`;
  const label = name.length * LETTER + 12 < width ? [svg('text', { x: x + 6, y: HEIGHT / 2 }, name)] : [];
  const drawn = box(kindOf(run.status), x, width, svg('title', {}, inDetail(run)), ...label);
  drawn.addEventListener('click', () => tell(run));
  return drawn;
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
  const row = (run) => el('tr', {}, el('td', {}, time(run.from)), el('td', {}, statusOf(run), run.final ? ` (${t('final')})` : '', run.late ? ` ⚠ ${t('late')}` : ''), el('td', {}, String(run.reports)));
  const rest = runs.length - MOST_ROWS;
  return el(
    'table',
    {},
    el('caption', {}, title),
    el('thead', {}, el('tr', {}, ...head)),
    el('tbody', {}, ...runs.slice(0, MOST_ROWS).map(row), ...(rest > 0 ? [el('tr', {}, el('td', { colspan: 3 }, t('more', rest)))] : [])),
  );
}

/** A status breaks between its words, and within them only if it is no name at all. */
function statusOf({ status }) {
  const words = status.split(/(?<=_)/).flatMap((word) => [word, el('wbr')]);
  return el('code', status.length > LONGEST_NAME ? { class: 'long' } : {}, ...words);
}
