// What can be made of a text that is no report but nearly one: jobs without a report around them, or many reports, one a line.
import { byId, el } from './dom.js';
import { t } from './texts.js';

const MOST_LINES = 50;

/** The lines that were offered last: they stay while one of them is looked at. */
let lines = [];

/** Offers what the bytes, which look like `looks`, can become; what is chosen goes to `take`. */
export function offer(bytes, looks, take) {
  const text = new TextDecoder().decode(bytes).trim();
  if (looks === 'lines') lines = text.split('\n').map((line) => line.trim()).filter(Boolean);
  else if (!lines.includes(text)) lines = [];
  const wrapped = ['job', 'jobs'].includes(looks) ? wrap(text) : undefined;
  const button = (name, value, more = {}) => el('button', { type: 'button', click: () => take(value), ...more }, name);
  const rest = lines.length - MOST_LINES;
  byId('offers').replaceChildren(
    ...(wrapped ? [button(t('wrap'), wrapped)] : []),
    ...lines.slice(0, MOST_LINES).map((line, index) => button(t('line', index + 1), line, { 'aria-pressed': String(line === text) })),
    ...(rest > 0 ? [el('span', { class: 'note' }, t('more', rest))] : []),
  );
}

/** A report around one job or a list of them, in the very words that they have; nothing if these are no JSON. */
function wrap(text) {
  try {
    const isList = Array.isArray(JSON.parse(text));
    return `{"jobs":${isList ? text : `[${text}]`},"message_id":"${newId()}"}`;
  } catch {
    return undefined;
  }
}

/** Without `crypto.randomUUID`, which a page from plain http:// has not. */
function newId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
