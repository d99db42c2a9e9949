// The courier: keeps reports in the module's memory and says what to do with them.
import { EdgeReportError, describe, unwrap } from './error.js';
import { call, instance } from './module.js';
import { encode } from './report.js';

const MIB = 1024 * 1024;

export class Courier {
  #inner;
  #instance;
  #clock;
  #entropy;

  constructor({ capacity = 4 * MIB, policy = {}, clock = () => performance.now(), entropy = random } = {}) {
    this.#clock = clock;
    this.#entropy = entropy;
    // Endless, or not set: as if it were not there.
    const set = Object.entries(policy).filter(([, value]) => value !== undefined && value !== null && value !== Infinity);
    const members = JSON.stringify(Object.fromEntries(set));
    const wrong = call((wasm) => wasm.wrong_in_policy(members));
    if (wrong !== undefined) throw new EdgeReportError('OutOfRange', { detail: `policy.${wrong}` });
    const given = [Number(capacity), members, this.#now(), this.#random()];
    this.#inner = call((wasm) => wasm.Courier.open(...given));
    if (!this.#inner) throw new EdgeReportError('OutOfRange', { detail: 'capacity is 16384 bytes or more' });
    this.#instance = instance();
  }

  submit(report) {
    const bytes = encode(report);
    return this.#ask((inner, now) => inner.submit(bytes, now)).ticket;
  }

  next() {
    const step = this.#ask((inner, now) => inner.next(now));
    if (step.step === 'send') step.body = this.#call((inner, now) => inner.body(now));
    return step;
  }

  settle(ticket, event) {
    const { outcome, status, retryAfterMs, clockSkewMs, number } = event ?? {};
    if (!outcome && number === undefined) throw new TypeError('event must be what Client.send gave, or the EdgeReportError it threw');
    const what = JSON.stringify(outcome ? { outcome, status, retryAfterMs, clockSkewMs } : { code: number });
    const [at, random] = [ticketOf(ticket), this.#random()];
    return withReason(this.#ask((inner, now) => inner.settle(at, what, now, random)));
  }

  status() {
    const status = this.#ask((inner) => inner.status());
    if (status.last) withReason(status.last);
    return status;
  }

  wake() {
    this.#call((inner, now) => inner.wake(now));
  }

  deadLetter(after = 0) {
    const behind = ticketOf(after);
    const letter = withReason(this.#ask((inner) => inner.dead_letter(behind)));
    if (letter.ticket === undefined) return undefined;
    letter.body = this.#call((inner) => inner.dead_letter_body(behind));
    return letter;
  }

  resubmitDeadLetter() {
    return this.#ask((inner, now) => inner.resubmit_dead_letter(now)).ticket;
  }

  forgetDeadLetters(ticket) {
    const last = ticketOf(ticket);
    this.#ask((inner) => inner.forget_dead_letters(last));
  }

  free() {
    const inner = this.#inner;
    this.#inner = undefined;
    if (inner && this.#instance === instance()) inner.free();
  }

  #call(use) {
    if (!this.#inner) throw new EdgeReportError('NotUsable', { detail: 'this courier was freed' });
    if (this.#instance !== instance()) throw new EdgeReportError('Poisoned', { detail: 'what waited in this courier is lost' });
    const now = this.#now();
    return call(() => use(this.#inner, now));
  }

  #ask(use) {
    return unwrap(this.#call(use));
  }

  #now() {
    const ms = Number(this.#clock());
    if (!(ms >= 0)) throw new TypeError('clock must give milliseconds');
    return ms;
  }

  #random() {
    return BigInt.asUintN(64, this.#entropy());
  }
}

// Where the language has `using`.
if (Symbol.dispose) Courier.prototype[Symbol.dispose] = Courier.prototype.free;

function ticketOf(ticket) {
  if (!Number.isSafeInteger(ticket) || ticket < 0) throw new TypeError('a ticket is a whole number');
  return ticket;
}

/** A verdict or letter whose reason has the name and text of its code. */
function withReason(of) {
  const { code } = of.reason ?? {};
  if (code !== undefined) {
    const { name, text } = describe(code);
    of.reason = { code: name, number: code, message: text };
  }
  return of;
}

function random() {
  return crypto.getRandomValues(new BigUint64Array(1))[0];
}
