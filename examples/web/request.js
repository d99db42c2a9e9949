// The signed request as a curl line.
import { EdgeReportError, buildRequest } from 'edge-report/inline';
import { byId, copy } from './dom.js';
import { meaningOf, t } from './texts.js';

/** A longer body goes by a file: Linux takes 128 KiB for one argument. */
const MOST_INLINE = 64 * 1024;

let body;
let date = new Date();

export function startRequest() {
  const form = byId('endpoint');
  form.addEventListener('submit', (event) => event.preventDefault());
  form.addEventListener('input', signRequest);
  byId('sign-again').addEventListener('click', signRequest);
  byId('shell').addEventListener('change', renderRequest);
  byId('copy-curl').addEventListener('click', () => copy(byId('curl'), byId('curl').textContent));
}

/** Takes the canonical bytes, or nothing while the report has errors. */
export function setBody(bytes) {
  body = bytes;
  signRequest();
}

function signRequest() {
  date = new Date();
  renderRequest();
}

export function renderRequest() {
  const who = byId('endpoint').elements.who.value;
  for (const part of document.querySelectorAll('[data-who]')) part.hidden = part.dataset.who !== who;
  for (const option of byId('shell').options) option.textContent = t('shells')[option.value];
  let request;
  let problem;
  try {
    if (body && value('base-url') && value('project-id')) request = buildRequest(body, endpoint(who), date);
  } catch (error) {
    if (!(error instanceof EdgeReportError)) throw error;
    problem = error;
  }
  for (const input of byId('endpoint').querySelectorAll('[aria-describedby]')) {
    input.setAttribute('aria-invalid', String(input.id === fieldOf(problem?.code)));
  }
  byId('request-state').textContent = request ? stateOf(request, who) : problem ? `✕ ${meaningOf({ code: problem.code, message: problem.message })}` : t('requestNeeds');
  byId('curl').textContent = request ? curl(request) : '';
  byId('curl').hidden = !request;
  byId('copy-curl').disabled = !request;
  byId('sign-again').disabled = !request;
}

function endpoint(who) {
  const credentials = {
    keys: { accessKey: value('access-key'), secretKey: value('secret-key'), securityToken: value('security-token') || undefined },
    token: { token: value('token-value') },
    none: {},
  }[who];
  return { baseUrl: value('base-url'), projectId: value('project-id'), credentials, allowPlainHttp: byId('plain-http').checked };
}

function stateOf({ body: bytes }, who) {
  const time = date.toISOString().replace(/\.\d+/, '');
  const state = t(who === 'keys' ? 'signedAt' : 'notSigned', time);
  return isByFile(bytes) ? `${state} ${t('bodyFile')}` : state;
}

/** Windows' shells hand double quotes on in ways of their own. */
function isByFile(bytes) {
  return bytes.length > MOST_INLINE || byId('shell').value !== 'posix';
}

/** How each shell quotes a text, goes on in the next line, and calls curl: in PowerShell the bare name may be something else. */
const SHELLS = {
  posix: { curl: 'curl', goesOn: ' \\\n  ', quoted: (text) => `'${text.replaceAll("'", "'\\''")}'` },
  powershell: { curl: 'curl.exe', goesOn: ' `\n  ', quoted: (text) => `'${text.replaceAll("'", "''")}'` },
  cmd: { curl: 'curl', goesOn: ' ^\n  ', quoted: quotedForCmd },
};

/** In the quotes that curl reads; where cmd would read on by itself (an inner quote, a variable), each sign that it knows is made plain to it. */
function quotedForCmd(text) {
  const quoted = `"${text.replace(/(\\*)("|$)/g, (_, slashes, quote) => slashes + slashes + (quote && '\\"'))}"`;
  return /["%]/.test(text) ? quoted.replace(/[()%!^"<>&|]/g, '^$&') : quoted;
}

/** The paths and bytes that are signed must reach the server as they are. */
function curl({ method, url, headers, body: bytes }) {
  const shell = SHELLS[byId('shell').value];
  const data = isByFile(bytes) ? '@report.json' : new TextDecoder().decode(bytes);
  return [
    `${shell.curl} --include --globoff --path-as-is --request ${method} ${shell.quoted(url)}`,
    ...Object.entries(headers).map(([name, text]) => `--header ${shell.quoted(`${name}: ${text}`)}`),
    `--data-binary ${shell.quoted(data)}`,
  ].join(shell.goesOn);
}

/** The field that a code of the endpoint speaks of. */
function fieldOf(code) {
  if (!code) return undefined;
  if (code.startsWith('Url') || code === 'PlainHttp') return 'base-url';
  return { ProjectId: 'project-id', AccessKey: 'access-key', SecretKey: 'secret-key', HeaderValue: 'security-token', Token: 'token-value' }[code];
}

function value(id) {
  return byId(id).value.trim();
}
