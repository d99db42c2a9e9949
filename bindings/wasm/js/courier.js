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
    this.#inner = call((wasm) => wasm.Courier.open(capacity, members, clock(), entropy()));
    if (!this.#inner) {
      throw new EdgeReportError('OutOfRange', {
        detail: 'capacity is 16384 bytes or more, and the members of policy are whole numbers of the documented names',
      });
    }
    this.#instance = instance();
  }

  submit(report) {
    const bytes = encode(report);
    return this.#ask((inner) => inner.submit(bytes, this.#clock())).ticket;
  }

  next() {
    const step = this.#ask((inner) => inner.next(this.#clock()));
    if (step.step === 'send') step.body = this.#call((inner) => inner.body(this.#clock()));
    return step;
  }

  settle(ticket, event) {
    const { outcome, status, retryAfterMs, clockSkewMs, number } = event;
    const what = JSON.stringify(outcome ? { outcome, status, retryAfterMs, clockSkewMs } : { code: number });
    return withReason(this.#ask((inner) => inner.settle(ticket, what, this.#clock(), this.#entropy())));
  }

  status() {
    const status = this.#ask((inner) => inner.status());
    if (status.last) withReason(status.last);
    return status;
  }

  wake() {
    this.#call((inner) => inner.wake(this.#clock()));
  }

  deadLetter(after = 0) {
    const letter = withReason(this.#ask((inner) => inner.dead_letter(after)));
    if (letter.ticket === undefined) return undefined;
    letter.body = this.#call((inner) => inner.dead_letter_body(after));
    return letter;
  }

  resubmitDeadLetter() {
    return this.#ask((inner) => inner.resubmit_dead_letter(this.#clock())).ticket;
  }

  forgetDeadLetters(ticket) {
    this.#ask((inner) => inner.forget_dead_letters(ticket));
  }

  free() {
    const inner = this.#inner;
    this.#inner = undefined;
    if (inner && this.#instance === instance()) inner.free();
  }

  #call(use) {
    if (!this.#inner) throw new EdgeReportError('NotUsable', { detail: 'this courier was freed' });
    if (this.#instance !== instance()) throw new EdgeReportError('Poisoned', { detail: 'what waited in this courier is lost' });
    return call(() => use(this.#inner));
  }

  #ask(use) {
    return unwrap(this.#call(use));
  }
}

// Where the language has `using`.
if (Symbol.dispose) Courier.prototype[Symbol.dispose] = Courier.prototype.free;

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
