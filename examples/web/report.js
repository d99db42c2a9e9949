// What is wrong with the report and where, and its canonical bytes.
import { check, encode } from 'edge-report/inline';
import { looksLike } from '../../bindings/wasm/bin/looks.js';
import { byId, copy, el, save } from './dom.js';
import * as editor from './editor.js';
import { offer } from './offers.js';
import { meaningOf, t } from './texts.js';

/** So many findings of each kind are listed, and so many bytes shown. */
const MOST_LISTED = 100;
const MOST_SHOWN = 64 * 1024;
const MAX_REPORT = '12 MiB';
const SIGNS = { error: '✕', warning: '!' };

let report = new Uint8Array();
let findings = [];
/** Of each kind, as many as are listed. */
let listed = { error: [], warning: [] };
let canonical;
let tellReady;

export function startReport(ready) {
  tellReady = ready;
  editor.onEdit(examine);
  byId('copy-bytes').addEventListener('click', () => copy(byId('bytes'), new TextDecoder().decode(canonical)));
  byId('save-bytes').addEventListener('click', () => save('report.json', canonical));
}

/** Takes a report from elsewhere: bytes of any kind. */
export function takeReport(bytes) {
  editor.show(bytes);
  examine(bytes);
}

/** Puts a text in the place of the report, and can be undone. */
export function typeReport(text) {
  if (!editor.type(text)) takeReport(new TextEncoder().encode(text));
}

function examine(bytes) {
  report = bytes;
  findings = bytes.length ? check(bytes) : [];
  const of = (severity) => findings.filter((finding) => finding.severity === severity).slice(0, MOST_LISTED);
  listed = { error: of('error'), warning: of('warning') };
  editor.mark(bytes, [...listed.error, ...listed.warning]);
  canonical = bytes.length && listed.error.length === 0 ? encode(bytes) : undefined;
  tellReady(canonical);
  renderReport();
}

export function renderReport() {
  const number = (severity) => findings.filter((finding) => finding.severity === severity).length;
  const [errors, warnings] = [number('error'), number('warning')];
  const verdict = byId('verdict');
  verdict.textContent = report.length ? t('verdict', errors, warnings) : t('empty');
  verdict.className = `verdict ${report.length ? (errors ? 'bad' : 'good') : 'none'}`;
  const looks = errors > 0 ? looksLike(report) : undefined;
  byId('looks').textContent = looks ? t('looks')[looks] : '';
  byId('ways').hidden = report.length > 0;
  offer(report, looks, typeReport);
  byId('report').setAttribute('aria-invalid', String(errors > 0));
  byId('findings').replaceChildren(...list('error', t('errors', errors), errors), ...list('warning', t('warnings', warnings), warnings));
  editor.tellExcerpt();
  renderBytes();
}

function list(severity, title, number) {
  if (number === 0) return [];
  const rest = number - listed[severity].length;
  return [
    el('h3', {}, title),
    el('ol', { class: 'findings' }, ...listed[severity].map(item)),
    ...(rest > 0 ? [el('p', { class: 'note' }, t('more', rest))] : []),
  ];
}

/** A finding that jumps to its spot. */
function item(finding) {
  const { severity, path, line, column, code } = finding;
  const [before, spot, after] = editor.around(finding.spot);
  return el(
    'li',
    {},
    el(
      'button',
      { type: 'button', class: `finding ${severity}`, click: () => editor.jump(finding.spot) },
      el('span', { class: 'sign', 'aria-hidden': 'true' }, SIGNS[severity]),
      el('span', { class: 'what' }, el('span', { class: 'unseen' }, `${t(severity)}: `), el('code', {}, path || t('whole')), ` ${meaningOf(finding)}`),
      el('span', { class: 'where' }, t('place', line, column), ' · ', code),
      el('code', { class: 'source' }, before, el('mark', { class: severity }, spot || ' '), after),
    ),
  );
}

function renderBytes() {
  const none = canonical === undefined;
  byId('copy-bytes').disabled = none;
  byId('save-bytes').disabled = none;
  byId('bytes').hidden = none;
  byId('bytes').textContent = none ? '' : new TextDecoder().decode(canonical.subarray(0, MOST_SHOWN));
  const size = none ? t(report.length ? 'bytesNone' : 'bytesEmpty') : t('size', canonical.length, MAX_REPORT);
  byId('bytes-size').textContent = canonical?.length > MOST_SHOWN ? `${size}. ${t('bytesCut', '64 KiB')}` : size;
}
