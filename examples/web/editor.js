// The text of the report, with the spots of the findings marked behind it. What is large or no text is shown in part, and not edited.
import { byId, el } from './dom.js';
import { t } from './texts.js';

/** Text up to this can be edited; beyond, browsers are slow. */
export const MOST_EDITED = 256 * 1024;
/** So much of a larger one is shown at a time. */
const EXCERPT = 16 * 1024;
const LONGEST_SPOT = 200;

const input = byId('report');
const marks = byId('marks');
const encoder = new TextEncoder();

/** All of the text, as the textarea has it: with newlines only. */
let text = '';
let isText = true;
let editable = true;
/** Where what is shown begins in `text`. */
let from = 0;
/** `{ start, end, severity }` in `text`, in order. */
let spots = [];

/** Calls `changed` with the report's bytes when somebody types. */
export function onEdit(changed) {
  input.addEventListener('input', () => {
    text = input.value;
    const bytes = encoder.encode(text);
    if (bytes.length > MOST_EDITED) show(bytes);
    changed(bytes);
  });
}

/** The same as if it were typed, so that undoing it brings back what was there; false if that cannot be. */
export function type(written) {
  if (!editable || written.length > MOST_EDITED) return false;
  input.focus({ preventScroll: true });
  input.select();
  // There is no other way to put something into what a field can undo.
  return document.execCommand(written ? 'insertText' : 'delete', false, written);
}

/** Shows bytes of any kind. */
export function show(bytes) {
  text = textOf(bytes);
  spots = [];
  from = 0;
  isText = isUtf8(bytes);
  // What is no text would not be the same bytes when edited.
  editable = isText && bytes.length <= MOST_EDITED;
  input.readOnly = !editable;
  input.value = shown();
  tellExcerpt();
}

/** Marks findings, by their byte in `bytes`; gives each its `spot` in the text. */
export function mark(bytes, findings) {
  const places = new Map();
  let [at, offset] = [0, 0];
  for (const finding of [...findings].sort((a, b) => a.offset - b.offset)) {
    at += textOf(bytes.subarray(offset, finding.offset)).length;
    offset = finding.offset;
    const spot = places.get(at) ?? { start: at, end: endOfToken(at), severity: finding.severity };
    if (finding.severity === 'error') spot.severity = 'error';
    places.set(at, spot);
    finding.spot = spot;
  }
  spots = [...places.values()];
  paint();
}

/** The text around a spot: before, in and after it. */
export function around({ start, end }) {
  const lineStart = text.lastIndexOf('\n', start - 1) + 1;
  const newline = text.indexOf('\n', end);
  const first = Math.max(lineStart, start - 24);
  const last = Math.min(newline < 0 ? text.length : newline, end + 40);
  return [`${first > lineStart ? '…' : ''}${text.slice(first, start).trimStart()}`, text.slice(start, Math.min(end, last)), text.slice(Math.min(end, last), last)];
}

/** Selects a spot and puts the focus there. */
export function jump({ start, end }) {
  if (!editable && (start < from || end > from + EXCERPT)) {
    from = Math.max(0, start - EXCERPT / 2);
    input.value = shown();
    tellExcerpt();
    paint();
  }
  input.focus({ preventScroll: true });
  input.setSelectionRange(start - from, end - from);
  marks.querySelector(`[data-start="${start}"]`)?.scrollIntoView({ block: 'center' });
}

/** In the language that is spoken now. */
export function tellExcerpt() {
  const excerpt = () => t('excerpt', from + 1, Math.min(from + EXCERPT, text.length), text.length);
  byId('excerpt').textContent = editable ? '' : `${t(isText ? 'tooLarge' : 'notText')} ${excerpt()}`;
}

function shown() {
  return editable ? text : text.slice(from, from + EXCERPT);
}

function paint() {
  const visible = shown();
  const parts = [];
  let at = from;
  for (const { start, end, severity } of spots) {
    if (start < at || start > from + visible.length) continue;
    parts.push(text.slice(at, start), el('mark', { class: severity, 'data-start': start }, text.slice(start, end) || ' '));
    at = end;
  }
  // The last line counts also when it is empty.
  marks.replaceChildren(...parts, `${text.slice(at, from + visible.length)}\n`);
}

/** The end of the string, number or word at `start`, or of the one character; of a long one, its beginning. */
function endOfToken(start) {
  const token = /^(?:"(?:[^"\\\n]|\\.)*"?|[\w.+-]+|.)/su.exec(text.slice(start, start + LONGEST_SPOT));
  return start + (token ? token[0].length : 0);
}

function isUtf8(bytes) {
  try {
    new TextDecoder('utf-8', { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

function textOf(bytes) {
  return new TextDecoder('utf-8', { ignoreBOM: true }).decode(bytes).replace(/\r\n?/g, '\n');
}
