// The front for programs that only want to submit: a client and a courier, and delivery that never ends.
import { renewalsOf, sleep } from './client.js';
import { linkIsBack } from './courier.js';
import { EdgeReportError } from './error.js';
import { onlyKnown, onlyNumber } from './options.js';

/** The pause after an error of the storage, twice as long each time. */
const PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 64_000;

export class Reporter {
  #client;
  /** Of the client's credentials, as of the last `wake`. */
  #renewals;
  #courier;
  #observe;
  #ending = new AbortController();
  #running;

  constructor(client, courier, onEvent = () => {}) {
    if (typeof onEvent !== 'function') throw new TypeError('onEvent must be a function');
    this.#client = client;
    this.#renewals = renewalsOf(client);
    this.#courier = courier;
    this.#observe = onEvent;
    if (typeof client?.deliver !== 'function' || typeof courier?.submit !== 'function') throw new TypeError('a reporter takes a Client and a Courier, in this order');
    // Throws if it was closed.
    courier.status();
    this.#running = this.#run(client);
  }

  submit(report, date) {
    this.#check();
    return this.#courier.submit(report, date);
  }

  status() {
    return this.#courier.status();
  }

  wake() {
    const renewals = renewalsOf(this.#client);
    if (renewals === this.#renewals) {
      linkIsBack(this.#courier);
      return;
    }
    this.#renewals = renewals;
    this.#courier.wake();
  }

  async flush(options = {}) {
    onlyKnown('flush', options, ['timeoutMs', 'signal']);
    const { timeoutMs = Infinity, signal } = options;
    onlyNumber('timeoutMs', timeoutMs, (ms) => ms >= 0, 'a number, 0 or more');
    const until = performance.now() + timeoutMs;
    for (;;) {
      this.#check();
      signal?.throwIfAborted();
      if (this.#courier.status().waiting === 0) return 'idle';
      const left = until - performance.now();
      if (left <= 0) return 'time_up';
      await sleep(this.#courier, left, signal);
    }
  }

  async stop() {
    this.#ending.abort();
    await this.#running;
    this.#courier.close();
  }

  #check() {
    if (this.#ending.signal.aborted) throw new EdgeReportError('NotUsable', { detail: 'this reporter was stopped' });
  }

  async #run(client) {
    const { signal } = this.#ending;
    let wait = PAUSE_MS;
    const onVerdict = (event) => {
      wait = PAUSE_MS;
      this.#tell(event);
    };
    while (!signal.aborted) {
      try {
        await client.deliver(this.#courier, { forever: true, signal, onVerdict });
      } catch (error) {
        if (signal.aborted) return;
        this.#tell({ what: 'failed', error, nextAttempt: new Date(Date.now() + wait) });
        await sleep(this.#courier, wait, signal).catch(() => {});
        wait = Math.min(wait * 2, LONGEST_PAUSE_MS);
      }
    }
  }

  /** What an observer throws is its own affair, and is said as if nobody had called it. */
  #tell(event) {
    try {
      this.#observe(event);
    } catch (error) {
      queueMicrotask(() => {
        throw error;
      });
    }
  }
}

// Where the language has `await using`.
if (Symbol.asyncDispose) Reporter.prototype[Symbol.asyncDispose] = Reporter.prototype.stop;
