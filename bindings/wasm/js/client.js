// The client over fetch. What to send, what an answer means and when to try again, the module says.
import { Courier, onChange } from './courier.js';
import { EdgeReportError } from './error.js';
import { readReply, requestOf } from './exchange.js';
import { onlyKnown, onlyNumber } from './options.js';
import { encode } from './report.js';
import { Watch } from './watch.js';

/** A byte more than what can be a response of the service, so that a longer one is not judged by its start. */
const MAX_ANSWER = 64 * 1024 + 1;
/** The longest sleep before looking at the clock again: while the machine is suspended timers stand still. */
const LOOK_AGAIN_MS = 60_000;
/** Upper limit of all timeouts; more is probably another unit. */
const DAY_MS = 24 * 60 * 60 * 1000;
/** The longest that a timer can wait. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;
/** Headers that no text of an error may repeat. */
const SECRETS = ['Authorization', 'X-Auth-Token', 'X-Security-Token'];
const NOTHING = new Uint8Array();
const SETTINGS = ['baseUrl', 'projectId', 'credentials', 'allowPlainHttp', 'serviceCodes', 'timeoutMs', 'minRate', 'fetch'];

const delivering = new WeakSet();
/** How often each client was given other credentials. */
const renewals = new WeakMap();

export function renewalsOf(client) {
  return renewals.get(client) ?? 0;
}

export class Client {
  #endpoint;
  #serviceCodes;
  #timeoutMs;
  #minRate;
  #fetch;

  constructor(settings) {
    onlyKnown('Client', settings, SETTINGS);
    const { baseUrl, projectId, credentials, allowPlainHttp, serviceCodes, timeoutMs = 60_000, minRate = 1000, fetch } = settings;
    onlyNumber('timeoutMs', timeoutMs, (ms) => ms >= 1 && ms <= DAY_MS, 'a number from 1 to a day');
    onlyNumber('minRate', minRate, (rate) => rate >= 1, 'a number of bytes a second, 1 or more');
    if (fetch !== undefined && typeof fetch !== 'function') throw new TypeError('fetch must be a function');
    // Says what is wrong with any of these.
    const { url, path } = requestOf(NOTHING, { baseUrl, projectId, credentials, allowPlainHttp }, 0);
    readReply(200, undefined, NOTHING, 0, { serviceCodes });
    // `fetch` writes the host in its own way, and that is what must be signed.
    const parsed = new URL(url);
    if (parsed.pathname !== path) throw new EdgeReportError('UrlPath');
    const prefix = path.slice(0, path.lastIndexOf('/v1/'));
    this.#endpoint = { baseUrl: parsed.origin + prefix, projectId, credentials, allowPlainHttp };
    this.#serviceCodes = serviceCodes ? [...serviceCodes] : undefined;
    this.#timeoutMs = timeoutMs;
    this.#minRate = minRate;
    this.#fetch = fetch ?? ((input, init) => globalThis.fetch(input, init));
  }

  setCredentials(credentials) {
    const endpoint = { ...this.#endpoint, credentials };
    requestOf(NOTHING, endpoint, 0);
    this.#endpoint = endpoint;
    renewals.set(this, renewalsOf(this) + 1);
  }

  async send(report, options = {}) {
    onlyKnown('send', options, ['signal', 'clockOffsetMs']);
    const { signal, clockOffsetMs = 0 } = options;
    return this.#exchange(encode(report), clockOffsetMs, signal);
  }

  async deliver(courier, options = {}) {
    if (!(courier instanceof Courier)) throw new TypeError('deliver takes a Courier');
    onlyKnown('deliver', options, ['signal', 'timeoutMs', 'forever', 'onVerdict']);
    const { signal, timeoutMs = Infinity, forever = false, onVerdict } = options;
    onlyNumber('timeoutMs', timeoutMs, (ms) => ms >= 0, 'a number, 0 or more');
    if (onVerdict !== undefined && typeof onVerdict !== 'function') throw new TypeError('onVerdict must be a function');
    if (delivering.has(courier)) throw new EdgeReportError('InUse', { detail: 'this courier is being delivered already' });
    delivering.add(courier);
    let watch;
    try {
      const until = performance.now() + timeoutMs;
      watch = onVerdict && new Watch(courier, onVerdict);
      for (;;) {
        signal?.throwIfAborted();
        const step = courier.next();
        watch?.look();
        if (step.step === 'idle' && !forever) return 'idle';
        const left = until - performance.now();
        if (left <= 0) return 'time_up';
        if (step.step === 'send') {
          const event = await this.#event(step, signal);
          const verdict = settle(courier, step.ticket, event);
          watch?.settled(step, verdict);
        } else {
          await sleep(courier, Math.min(step.ms ?? Infinity, LOOK_AGAIN_MS, left), signal);
        }
      }
    } finally {
      watch?.end();
      delivering.delete(courier);
    }
  }

  /** What came back, be it an answer or an error. Aborted, the report stays in flight: it is offered again. */
  async #event({ body, clockOffsetMs }, signal) {
    try {
      return await this.#exchange(body, clockOffsetMs, signal);
    } catch (error) {
      if (error instanceof EdgeReportError) return error;
      throw error;
    }
  }

  async #exchange(body, clockOffsetMs, signal) {
    const { method, url, headers } = requestOf(body, this.#endpoint, Date.now() + clockOffsetMs);
    // `fetch` sets it, and browsers let nobody else.
    delete headers.Host;
    const limit = deadline(this.#timeoutMs + (body.length * 1000) / this.#minRate, signal);
    const answer = { bytes: new Uint8Array(MAX_ANSWER), length: 0, begun: false };
    try {
      const response = await this.#fetch(url, {
        method,
        headers,
        body,
        signal: limit.signal,
        redirect: 'manual',
        credentials: 'omit',
        cache: 'no-store',
        referrerPolicy: 'no-referrer',
      });
      // A redirect that is not followed has no status to see in a browser.
      const status = response.type === 'opaqueredirect' ? 302 : response.status;
      answer.begun = true;
      await readBody(response, answer, limit.signal);
      return readReply(status, response.headers, answer.bytes.subarray(0, answer.length), undefined, { serviceCodes: this.#serviceCodes });
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof EdgeReportError) throw error;
      throw failure(error, limit.timedOut() ? timeOut(answer, body, limit.ms) : undefined, SECRETS.map((name) => headers[name]));
    } finally {
      limit.clear();
    }
  }
}

/** The first bytes of the answer. The status counts without its reason, which is then cut and decides nothing. */
async function readBody(response, answer, signal) {
  const reader = response.body?.getReader();
  try {
    while (reader && answer.length < MAX_ANSWER) {
      const { done, value } = await reader.read();
      if (done) return;
      const part = value.subarray(0, MAX_ANSWER - answer.length);
      answer.bytes.set(part, answer.length);
      answer.length += part.length;
    }
    reader?.cancel().catch(() => {});
  } catch (error) {
    if (response.ok || signal.aborted) throw error;
    answer.length = 0;
  }
}

/** Whether the other side was silent, or too slow. `fetch` does not tell how much went out. */
function timeOut({ begun, length }, body, ms) {
  const time = `${(ms / 1000).toFixed(1)} s`;
  return begun
    ? `timeout within the response: its head and ${length} bytes came in ${time}; the report has ${body.length} bytes`
    : `timeout: no response within ${time}; the report has ${body.length} bytes`;
}

/** What an error of `fetch` means for the report. Only Node tells more than that it failed. */
function failure(error, timedOut, secrets) {
  const cause = error?.cause ?? error ?? {};
  const said = timedOut ?? [cause.code, cause.message ?? error?.message].filter(Boolean).join(' ');
  const detail = secrets.filter(Boolean).reduce((text, secret) => text.replaceAll(secret, '…'), said);
  if (isTls(cause)) return new EdgeReportError('Tls', { detail, cause: error });
  // That the network is gone now does not tell when it went.
  const code = isBeforeSending(cause) ? 'NotSent' : 'MayHaveArrived';
  return new EdgeReportError(code, { detail, cause: error });
}

function isBeforeSending(cause) {
  if (Array.isArray(cause.errors)) return cause.errors.every(isBeforeSending);
  // What `fetch` itself refuses goes nowhere.
  return cause.message === 'bad port' || cause.syscall === 'connect' || cause.syscall === 'getaddrinfo' || cause.code === 'UND_ERR_CONNECT_TIMEOUT';
}

/** OpenSSL's names, as Node gives them. */
function isTls(cause) {
  const tls = /^(ERR_(TLS|SSL|OSSL)_|CERT_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_MISMATCH|INVALID_CA|INVALID_PURPOSE)/;
  return tls.test(String(cause.code));
}

/** A signal for a timeout and, where there is one, the caller's. */
function deadline(timeoutMs, signal) {
  const controller = new AbortController();
  let timedOut = false;
  const abort = () => controller.abort(signal.reason);
  const expire = () => {
    timedOut = true;
    controller.abort(new DOMException('timeout', 'TimeoutError'));
  };
  if (signal?.aborted) abort();
  signal?.addEventListener('abort', abort);
  const timer = setTimeout(expire, Math.min(timeoutMs, LONGEST_TIMER_MS));
  return {
    ms: timeoutMs,
    signal: controller.signal,
    timedOut: () => timedOut,
    clear() {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
    },
  };
}

/** The verdict; none if the courier has begun anew meanwhile, or somebody else was told what became of the report. */
function settle(courier, ticket, event) {
  try {
    return courier.settle(ticket, event);
  } catch (error) {
    if (error.code === 'StaleTicket') return undefined;
    throw error;
  }
}

/** Until the courier changes, or so long. */
export function sleep(courier, ms, signal) {
  return new Promise((resolve, reject) => {
    const end = (done, reason) => {
      clearTimeout(timer);
      signal?.removeEventListener('abort', abort);
      unlisten();
      done(reason);
    };
    const abort = () => end(reject, signal.reason);
    const timer = setTimeout(end, Math.min(ms, LONGEST_TIMER_MS), resolve);
    const unlisten = onChange(courier, () => end(resolve));
    signal?.addEventListener('abort', abort);
    if (signal?.aborted) abort();
  });
}
