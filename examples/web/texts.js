// The texts of the page in the language chosen.
import { en } from './texts/en.js';
import { zh } from './texts/zh.js';

const LANGUAGES = { en, zh };
let texts = en;

/** The text of this name; with arguments where it has some. */
export function t(name, ...values) {
  const text = texts[name];
  return typeof text === 'function' ? text(...values) : text;
}

/** What a code means: the package's own English, or this page's Chinese. */
export function meaningOf(finding) {
  const text = texts.codes?.[finding.code] ?? finding.message;
  return typeof text === 'function' ? text(finding) : text;
}

export function language() {
  return document.documentElement.lang.slice(0, 2);
}

/** Sets the language, and all texts that stand in the page as it is loaded. */
export function speak(lang) {
  texts = LANGUAGES[lang];
  document.documentElement.lang = texts.lang;
  document.title = `edge-report – ${texts.title}`;
  const all = (attribute, set) =>
    document.querySelectorAll(`[data-${attribute}]`).forEach((element) => set(element, t(element.dataset[attribute])));
  all('text', (element, text) => (element.textContent = text));
  all('label', (element, text) => element.setAttribute('aria-label', text));
  all('placeholder', (element, text) => (element.placeholder = text));
}
