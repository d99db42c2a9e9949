// Elements, made without any HTML: what comes from outside is always text.
import { t } from './texts.js';

const SAID_MS = 6000;
/** The browser needs the bytes until they are saved. */
const SAVING_MS = 60_000;
let silence;

export const byId = (id) => document.getElementById(id);

/** An element of HTML with attributes, listeners where the value is a function, and children: elements or text. */
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

/** An element of SVG. */
export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined) continue;
    if (typeof value === 'function') element.addEventListener(name, value);
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Shows it for a while, and tells screen readers, wherever the focus is. */
export function say(text) {
  byId('said').textContent = text;
  clearTimeout(silence);
  silence = setTimeout(() => byId('said').replaceChildren(), SAID_MS);
}

/** Copies a text; where that is not allowed, as on a page from plain http://, shows and selects all of it. */
export async function copy(element, text) {
  try {
    await navigator.clipboard.writeText(text);
    say(t('copied'));
  } catch {
    element.textContent = text;
    getSelection().selectAllChildren(element);
    element.focus();
    say(t('selected'));
  }
}

export function save(name, bytes) {
  const url = URL.createObjectURL(new Blob([bytes]));
  el('a', { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), SAVING_MS);
}
