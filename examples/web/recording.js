// A recording of the receiver: a line of JSON for each report that it accepted.
import { JOB_STATUSES, parse } from 'edge-report/inline';
import { byId, el } from './dom.js';
import { strips, table, time } from './strip.js';
import { t } from './texts.js';

const MOST_JOBS = 50;
const FINAL = new Set(JOB_STATUSES.filter(({ final }) => final).map(({ name }) => name));

let recording;

export function takeRecording(text) {
  recording = read(text);
  renderRecording();
}

export function isRecording(text) {
  return readLine(text.slice(0, text.indexOf('\n') + 1 || undefined)) !== undefined;
}

export function renderRecording() {
  byId('recording-state').textContent = state();
  const { jobs, span } = recording ?? { jobs: [] };
  const titled = jobs.slice(0, MOST_JOBS).map((job) => ({ ...job, title: titleOf(job, jobs) }));
  byId('strip').replaceChildren(...(titled.length ? [strips(titled, span), el('details', {}, el('summary', {}, t('table')), ...titled.map(table))] : []));
}

function state() {
  if (!recording) return t('recordingNone');
  const { reports, jobs, skipped } = recording;
  if (jobs.length === 0) return t('recordingEmpty');
  const all = t('recordingOf', reports, jobs.length, skipped);
  return jobs.length > MOST_JOBS ? `${all}. ${t('jobsShown', MOST_JOBS)}` : all;
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
      else runs.push({ status, from: received, to: received, reports: 1, final: FINAL.has(status) });
    }
  }
  // What was reported last holds until the end of the recording.
  for (const { runs } of jobs.values()) runs.at(-1).to = last;
  return { reports: entries.length, skipped: lines.length - entries.length, span: [entries[0]?.received, last], jobs: [...jobs.values()] };
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
