// A recording of the receiver: a line of JSON for each report that it accepted.
import { JOB_STATUSES, parse } from 'edge-report/inline';
import { byId, el } from './dom.js';
import { kindOf, strips, table, time } from './strip.js';
import { t } from './texts.js';

const MOST_JOBS = 50;
const FINAL = new Set(JOB_STATUSES.filter(({ final }) => final).map(({ name }) => name));

/** How jobs are sorted: by the first report, the name, the last change, or how many statuses are trouble. */
const ORDERS = {
  reported: () => 0,
  name: (a, b) => a.title.localeCompare(b.title, undefined, { numeric: true }),
  changed: (a, b) => b.runs.at(-1).from - a.runs.at(-1).from,
  trouble: (a, b) => troubles(b) - troubles(a),
};

let recording;

export function startRecording() {
  for (const id of ['trouble-only', 'order']) byId(id).addEventListener('change', renderRecording);
}

export function takeRecording(text) {
  recording = read(text);
  renderRecording();
}

export function isRecording(text) {
  return readLine(text.slice(0, text.indexOf('\n') + 1 || undefined)) !== undefined;
}

export function renderRecording() {
  const { jobs, span } = recording ?? { jobs: [] };
  const all = jobs.map((job) => ({ ...job, title: titleOf(job, jobs) }));
  const chosen = (byId('trouble-only').checked ? all.filter(troubles) : all).sort(ORDERS[byId('order').value]);
  byId('recording-state').textContent = state(chosen.length);
  byId('view').hidden = jobs.length === 0;
  const shown = chosen.slice(0, MOST_JOBS);
  byId('strip').replaceChildren(...(shown.length ? [strips(shown, span), el('details', {}, el('summary', {}, t('table')), ...shown.map(table))] : []));
}

function state(chosen) {
  if (!recording) return t('recordingNone');
  const { reports, jobs, skipped } = recording;
  if (jobs.length === 0) return t('recordingEmpty');
  const all = t('recordingOf', reports, jobs.length, skipped);
  if (chosen === 0) return `${all}. ${t('noTrouble')}`;
  return chosen > MOST_JOBS ? `${all}. ${t('jobsShown', MOST_JOBS)}` : all;
}

/** How many of a job's statuses are trouble, or come after its end. */
function troubles(job) {
  return job.runs.filter(({ status, late }) => late || kindOf(status) === 'trouble').length;
}

/** `{ reports, skipped, span: [first, last], jobs: [{ project, id, created, runs: [{ status, from, to, reports }] }] }` */
function read(text) {
  const lines = text.split('\n').filter((line) => line.trim());
  const entries = lines.map(readLine).filter(Boolean).sort((a, b) => a.received - b.received);
  const jobs = new Map();
  const last = entries.at(-1)?.received;
  for (const { received, project, report } of entries) {
    for (const { job_id: id, status, create_time: created } of report.jobs) {
      const key = JSON.stringify([project, String(id ?? ''), id === undefined ? String(created) : '']);
      if (!jobs.has(key)) jobs.set(key, { project, id, created, runs: [] });
      const { runs } = jobs.get(key);
      const current = runs.at(-1);
      if (current) current.to = received;
      if (current?.status === status) current.reports += 1;
      else runs.push({ status, from: received, to: received, reports: 1, final: FINAL.has(status), late: isOver(runs, created), created });
    }
  }
  // What was reported last holds until the end of the recording.
  for (const { runs } of jobs.values()) runs.at(-1).to = last;
  return { reports: entries.length, skipped: lines.length - entries.length, span: [entries[0]?.received, last], jobs: [...jobs.values()] };
}

/** Whether a job had ended before; one that is created anew begins anew, and one that was stopped for arrears may go on. */
function isOver(runs, created) {
  return runs.some((run) => run.final && run.status !== 'job_arrearage_stopped' && run.created === created);
}

/** The record in a line, if it is whole and its report is valid. */
function readLine(line) {
  try {
    const { received_ms: received, project_id: project } = JSON.parse(line);
    if (!Number.isFinite(received) || typeof project !== 'string') return undefined;
    // The text itself, not what JSON.parse made of it: that is inexact for integers over 2^53. In a string the quotes would be escaped.
    const report = parse(line.trim().slice(line.indexOf('"report":') + '"report":'.length, -1));
    return { received, project, report };
  } catch {
    return undefined;
  }
}

function titleOf({ project, id, created }, jobs) {
  const job = id === undefined ? t('jobWithout', `${time(created)} UTC`) : t('job', id);
  return jobs.every((other) => other.project === project) ? job : `${t('project', project)} · ${job}`;
}
