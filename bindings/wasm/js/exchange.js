// One HTTP exchange: the signed request that carries a report, and what an answer means.
import { EdgeReportError, unwrap } from './error.js';
import { call } from './module.js';
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
export function requestOf(body, { baseUrl, projectId, credentials = {}, allowPlainHttp = false }, date) {
  const { token, accessKey, secretKey, securityToken } = credentials ?? {};
  const who = list([token, accessKey, secretKey, securityToken]);
  const answer = call((wasm) => wasm.request(text(baseUrl), text(projectId), allowPlainHttp, who, body, ms(date)));
  const { method, url, path, headers } = unwrap(answer);
  return { method, url, path, headers: Object.fromEntries(headers), body };
}

export function readReply(status, headers, body, date) {
  const header = headerOf(headers);
  const bytes = bytesOf(body ?? NONE);
  if (!bytes) throw new TypeError('body must be a string or bytes');
  const answer = call((wasm) => wasm.read_reply(status, header('retry-after'), header('date'), bytes, ms(date)));
  return JSON.parse(answer);
}

function signed({ method = 'POST', host, path, query = [], headers = [], body = NONE }, keys, date, asCanonical) {
  const { accessKey, secretKey, securityToken } = keys ?? {};
  const line = list([method, host, path, accessKey, secretKey, securityToken]);
  const [named, asked] = [list(pairs(headers).flat()), list(pairs(query).flat())];
  return call((wasm) => wasm.sign(line, named, asked, bytesOf(body) ?? NONE, ms(date), asCanonical));
}

/** Pairs of an object, a Map, Headers, URLSearchParams, or a list of pairs. */
function pairs(of) {
  return typeof of[Symbol.iterator] === 'function' ? [...of] : Object.entries(of);
}

function headerOf(headers) {
  if (typeof headers?.get === 'function') return (name) => headers.get(name) ?? undefined;
  const lower = new Map(pairs(headers ?? []).map(([name, value]) => [name.toLowerCase(), String(value)]));
  return (name) => lower.get(name);
}

/** A list of texts for the module. */
function list(texts) {
  return JSON.stringify(texts.map((value) => (value === undefined || value === null ? null : String(value))));
}

function text(value) {
  return value === undefined || value === null ? '' : String(value);
}

function ms(date) {
  const time = date === undefined ? Date.now() : Number(date);
  if (Number.isNaN(time)) throw new EdgeReportError('TimeOutOfRange');
  return time;
}
