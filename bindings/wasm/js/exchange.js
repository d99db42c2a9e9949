// One HTTP exchange: the signed request that carries a report, and what a response means.
import { EdgeReportError, unwrap } from './error.js';
import { call } from './module.js';
import { onlyKnown } from './options.js';
import { bytesOf, encode } from './report.js';

const NONE = new Uint8Array();

export function sign(request, credentials, date) {
  return Object.fromEntries(unwrap(signed(request, credentials, date, false)).headers);
}

export function canonicalRequest(request, credentials, date) {
  return unwrap(signed(request, credentials, date, true)).canonical;
}

export function buildRequest(report, endpoint, date) {
  return requestOf(encode(report), endpoint, date);
}

/** The request for bytes that are encoded. */
export function requestOf(body, { baseUrl, projectId, credentials, allowPlainHttp }, date) {
  const given = [text(baseUrl ?? ''), text(projectId ?? ''), allowPlainHttp === true, list(who(credentials)), body, ms(date)];
  const { method, url, path, headers } = unwrap(call((wasm) => wasm.request(...given)));
  return { method, url, path, headers: Object.fromEntries(headers), body };
}

export function readReply(status, headers, body, date, options = {}) {
  onlyKnown('readReply', options, ['serviceCodes']);
  const { serviceCodes } = options;
  // The module would take it modulo 65536.
  if (!Number.isInteger(status) || status < 0 || status > 65535) {
    throw new EdgeReportError('OutOfRange', { detail: 'status is an HTTP status, a number' });
  }
  const named = entries('headers', headers).filter(([, value]) => value !== undefined && value !== null);
  const lower = new Map(named.map(([name, value]) => [String(name).toLowerCase(), text(value)]));
  const given = [prefixes(serviceCodes), status, lower.get('retry-after'), lower.get('date'), bodyOf(body), ms(date)];
  return unwrap(call((wasm) => wasm.read_reply(...given)));
}

/** The prefixes of the service's error codes, for the module. */
function prefixes(codes) {
  if (codes === undefined || codes === null) return undefined;
  if (!Array.isArray(codes) || !codes.every((code) => typeof code === 'string')) throw new TypeError('serviceCodes must be a list of strings');
  return list(codes);
}

function signed({ method = 'POST', host, path, query, headers, body }, keys, date, asCanonical) {
  for (const [name, value] of Object.entries({ host, path })) {
    if (typeof value !== 'string') throw new TypeError(`${name} must be a string`);
  }
  const { accessKey, secretKey, securityToken } = keys ?? {};
  const line = list([method, host, path, accessKey, secretKey, securityToken]);
  const given = [line, list(pairs('headers', headers)), list(pairs('query', query)), bodyOf(body), ms(date), asCanonical];
  return call((wasm) => wasm.sign(...given));
}

/** Token, access key, secret key and security token. Credentials that are there but undefined, or misspelt, are not nobody's. */
function who(credentials) {
  const { token, accessKey, secretKey, securityToken } = credentials ?? {};
  const names = Object.keys(credentials ?? {});
  const isNobody = [token, accessKey, secretKey].every((value) => value === undefined || value === null);
  if (given(token) && (given(accessKey) || given(secretKey))) throw new EdgeReportError('Conflict', { detail: 'a token, or keys' });
  if (!isNobody || names.length === 0) return [token, accessKey, secretKey, securityToken];
  return names.includes('token') ? [''] : [null, '', ''];
}

function given(value) {
  return value !== undefined && value !== null;
}

/** The entries of an object, a Map, Headers, URLSearchParams, or a list of pairs. */
function entries(what, of) {
  if (typeof (of ?? {}) !== 'object') throw new TypeError(`${what} must be an object or pairs`);
  let all = [];
  if (typeof of?.[Symbol.iterator] === 'function') all = [...of];
  // `Headers` of a library that does not let them be walked.
  else if (typeof of?.forEach === 'function' && typeof of.get === 'function') of.forEach((value, name) => all.push([name, value]));
  else all = Object.entries(of ?? {});
  if (!all.every((pair) => Array.isArray(pair) && pair.length === 2)) throw new TypeError(`${what} must be an object or pairs`);
  return all;
}

/** The same in one list: what has no one text would be signed as another. */
function pairs(what, of) {
  const flat = entries(what, of).flat();
  const isText = (value) => value !== undefined && value !== null && Object(value) !== value;
  if (!flat.every(isText)) throw new TypeError(`${what} must be texts or numbers`);
  return flat;
}

function bodyOf(body) {
  const bytes = bytesOf(body ?? NONE);
  if (!bytes) throw new TypeError('body must be a string or bytes');
  return bytes;
}

/** A list of texts for the module. */
function list(texts) {
  return JSON.stringify(texts.map((value) => (value === undefined || value === null ? null : text(value))));
}

/** The same of a text that may be missing. */
export function wellFormed(value) {
  return value === undefined || value === null ? undefined : text(value);
}

/** As `fetch` and `URL` have it: half of a surrogate pair becomes U+FFFD. */
function text(value) {
  return String(value).replace(/\p{Surrogate}/gu, '\ufffd');
}

export function ms(date) {
  // A text would be read as a number, and a day in it never as one.
  if (!['undefined', 'number', 'object'].includes(typeof date)) throw new TypeError('date must be a Date, or a number of milliseconds since 1970');
  const time = Number(date ?? Date.now());
  // Days that a Date can have.
  if (!(Math.abs(time) <= 8.64e15)) throw new EdgeReportError('TimeOutOfRange');
  return time;
}
