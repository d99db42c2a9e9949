// Reports: check, encode, parse. What is given may be JSON text, its bytes, or an object.
import { EdgeReportError, describe } from './error.js';
import { call } from './module.js';

const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** Objects whose content is not in their members. */
const NOT_PLAIN = ['Map', 'Set', 'Blob', 'File', 'Response', 'Request', 'ReadableStream', 'FormData', 'URLSearchParams'];
/** The integers of a job, which JavaScript has as numbers or as bigints. */
const INTEGERS = ['job_id', 'create_time'];

export function check(report) {
  return findingsOf(read(report));
}

export function encode(report) {
  // All else has at least an error to tell its place by.
  if (report === null || !['string', 'object'].includes(typeof report)) throw new TypeError('a report is an object, JSON text or its bytes');
  const input = read(report);
  const bytes = input.inexact.length ? undefined : call((wasm) => wasm.encode(input.bytes));
  if (bytes) return bytes;
  const findings = findingsOf(input);
  const { number, path, offset, line, column } = findings.find((finding) => finding.severity === 'error');
  throw new EdgeReportError(number, { path, offset, line, column, findings });
}

export function parse(report) {
  // In canonical bytes, an unescaped quote before the colon makes this a key for certain.
  const big = /"(job_id|create_time)":(\d{16,})/g;
  const parsed = JSON.parse(decoder.decode(encode(report)).replace(big, '"$1":"$2"'));
  for (const job of parsed.jobs) {
    for (const name of INTEGERS) {
      if (typeof job[name] !== 'string') continue;
      const exact = BigInt(job[name]);
      job[name] = exact > BigInt(Number.MAX_SAFE_INTEGER) ? exact : Number(exact);
    }
  }
  return parsed;
}

/** The bytes of a text, a buffer or a view on one; nothing for all else. */
export function bytesOf(value) {
  if (typeof value === 'string') return encoder.encode(value);
  if (ArrayBuffer.isView(value)) return new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
  // By name: a buffer of another realm (a frame, a test runner) is no instance of this one's class.
  const isBuffer = /^\[object (Shared)?ArrayBuffer\]$/.test(Object.prototype.toString.call(value));
  return isBuffer ? new Uint8Array(value) : undefined;
}

function read(report) {
  const bytes = bytesOf(typeof report === 'string' ? escapeHalves(report) : report);
  if (bytes) return { bytes, inexact: [], isText: true };
  // As JSON these are empty objects: that `jobs` is missing would mislead.
  if (typeof report?.then === 'function') throw new TypeError('the report is a promise: await it');
  const kind = Object.prototype.toString.call(report).slice(8, -1);
  if (NOT_PLAIN.includes(kind)) throw new TypeError(`the report is a ${kind}, and not what is in it`);
  const inexact = [];
  return { bytes: encoder.encode(stringify(report, inexact)), inexact, isText: false };
}

/** Encoding would put another character for half of a surrogate pair; escaped, it is found. */
function escapeHalves(text) {
  if (text.isWellFormed?.()) return text;
  return text.replace(/\p{Surrogate}/gu, (half) => `\\u${half.charCodeAt(0).toString(16)}`);
}

function findingsOf({ bytes, inexact, isText }) {
  const found = JSON.parse(call((wasm) => wasm.check(bytes)));
  return [
    ...inexact.map((path) => finding('IntegerNotExact', path)),
    // Places in text that the caller has never seen would not help.
    ...found.map(([number, path, offset, line, column, suggestion]) => finding(number, path, isText ? { offset, line, column } : {}, suggestion)),
  ];
}

function finding(code, path, place = {}, suggestion = undefined) {
  const { number, name, severity, text } = describe(code);
  const found = { path, ...place, code: name, number, severity, message: text };
  return suggestion ? { ...found, message: `${text}: is ${suggestion} meant?`, suggestion } : found;
}

/** The report as JSON text. Bigints become integers; numbers that are not exact are named in `inexact`. */
function stringify(report, inexact) {
  let hasBig = false;
  const jobs = Array.isArray(report?.jobs) ? report.jobs : [];
  for (let index = 0; index < jobs.length; index++) {
    for (const name of INTEGERS) {
      const value = jobs[index]?.[name];
      if (typeof value === 'bigint') hasBig = true;
      else if (Number.isInteger(value) && !Number.isSafeInteger(value)) inexact.push(`jobs[${index}].${name}`);
    }
  }
  // `null` for what has no JSON: that it is no object is said of it then.
  if (!hasBig) return json(report) ?? 'null';
  const { jobs: _, ...rest } = report;
  return withMembers(rest, [['jobs', `[${jobs.map(stringifyJob).join()}]`]]);
}

function stringifyJob(job) {
  const big = INTEGERS.filter((name) => typeof job?.[name] === 'bigint');
  if (big.length === 0) return json(job) ?? 'null';
  const rest = Object.fromEntries(Object.entries(job).filter(([name]) => !big.includes(name)));
  return withMembers(rest, big.map((name) => [name, String(job[name])]));
}

/** A bigint elsewhere becomes a number: of the wrong type there, as it is. */
function json(value) {
  try {
    return JSON.stringify(value);
  } catch (error) {
    const text = JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? Number(inner) : inner));
    if (text === undefined) throw error;
    return text;
  }
}

function withMembers(object, members) {
  const rest = json(object).slice(1, -1);
  const texts = members.map(([name, text]) => `"${name}":${text}`);
  return `{${rest ? [rest, ...texts].join() : texts.join()}}`;
}
