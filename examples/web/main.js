// Brings what is pasted, dropped or opened to where it belongs, and sets language and theme.
import { isAnswer, renderAnswer, startAnswer, takeAnswer } from './answer.js';
import { byId, say } from './dom.js';
import { MOST_EDITED } from './editor.js';
import { isRecording, renderRecording, startRecording, takeRecording } from './recording.js';
import { renderReport, startReport, takeReport, typeReport } from './report.js';
import { renderRequest, setBody, startRequest } from './request.js';
import * as samples from './samples.js';
import { language, speak, t } from './texts.js';

/** An answer has at most a few hundred bytes; longer texts are not looked at. */
const MOST_OF_ANSWER = 64 * 1024;
/** Of a file; more than any report and most recordings have. */
const MOST_READ = 64 * 1024 * 1024;
const encoder = new TextEncoder();

/** Shows bytes where they belong: what is no recording and no answer is a report. */
function take(bytes, name) {
  if (takeElse(new TextDecoder().decode(bytes), name)) return;
  takeReport(bytes);
  byId('report-title').scrollIntoView({ block: 'nearest' });
}

/** Takes a recording or an answer, and shows where it went. */
function takeElse(text, name = '') {
  const taken = name.endsWith('.jsonl') || isRecording(text) ? 'recording' : text.length <= MOST_OF_ANSWER && isAnswer(text) ? 'answer' : undefined;
  if (!taken) return false;
  if (taken === 'recording') takeRecording(text);
  else takeAnswer(text);
  say(t(`${taken}Found`));
  byId(`${taken}-title`).scrollIntoView({ block: 'start' });
  return true;
}

async function takeFile(file) {
  const bytes = file.size <= MOST_READ && (await file.arrayBuffer().catch(() => undefined));
  if (bytes) take(new Uint8Array(bytes), file.name);
  else say(t('unreadable'));
}

function startIntake() {
  const dropping = (is) => document.body.classList.toggle('dropping', is);
  // Text that is dragged into a field, or within it, is the browser's business; a report that is empty or shown in part takes it whole.
  const isForField = ({ target, dataTransfer }) =>
    !dataTransfer.types.includes('Files') && target.matches?.('input, textarea:not(#report:is(:placeholder-shown, :read-only))');
  addEventListener('dragover', (event) => {
    if (isForField(event)) return dropping(false);
    event.preventDefault();
    dropping(true);
  });
  addEventListener('dragleave', (event) => dropping(event.relatedTarget !== null));
  addEventListener('drop', (event) => {
    dropping(false);
    if (isForField(event)) return;
    event.preventDefault();
    const text = event.dataTransfer.getData('text/plain');
    if (event.dataTransfer.files.length > 0) takeFile(event.dataTransfer.files[0]);
    else if (text) take(encoder.encode(text));
  });
  // A whole text that is pasted over the old one, and no report to edit; all else is the browser's business.
  byId('report').addEventListener('paste', (event) => {
    const { value, selectionStart, selectionEnd, readOnly } = event.target;
    const text = event.clipboardData.getData('text/plain');
    const whole = readOnly || selectionEnd - selectionStart === value.length;
    if (!text || !whole) return;
    if (takeElse(text)) event.preventDefault();
    else if (readOnly || text.length > MOST_EDITED) {
      event.preventDefault();
      takeReport(encoder.encode(text));
    }
  });
  byId('open').addEventListener('click', () => byId('file').click());
  byId('file').addEventListener('change', ({ target }) => {
    if (target.files[0]) takeFile(target.files[0]);
    target.value = '';
  });
  byId('sample-bad').addEventListener('click', () => typeReport(samples.bad));
  byId('sample-good').addEventListener('click', () => typeReport(samples.good));
  byId('sample-answer').addEventListener('click', () => takeAnswer(samples.answer));
  byId('sample-recording').addEventListener('click', () => takeRecording(samples.recording));
  byId('clear').addEventListener('click', () => {
    typeReport('');
    byId('report').focus();
  });
}

function startSettings() {
  const themes = ['auto', 'light', 'dark'];
  let theme = 'auto';
  const apply = (lang) => {
    speak(lang);
    byId('language').textContent = t('otherLanguage');
    byId('language').lang = lang === 'en' ? 'zh-CN' : 'en';
    byId('theme').textContent = t('theme')[theme];
    [renderReport, renderRequest, renderAnswer, renderRecording].forEach((render) => render());
  };
  byId('language').addEventListener('click', () => apply(language() === 'en' ? 'zh' : 'en'));
  byId('theme').addEventListener('click', () => {
    theme = themes[(themes.indexOf(theme) + 1) % themes.length];
    document.documentElement.dataset.theme = theme;
    byId('theme').textContent = t('theme')[theme];
  });
  apply(navigator.language.startsWith('zh') ? 'zh' : 'en');
}

startReport(setBody);
startRequest();
startAnswer();
startRecording();
startIntake();
startSettings();
