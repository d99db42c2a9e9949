// The courier: keeps reports in the module's memory and says what to do with them.
import { EdgeReportError, describe, unwrap } from './error.js';
import { ms, wellFormed } from './exchange.js';
import { call, instance } from './module.js';
import { encode } from './report.js';

const MIB = 1024 * 1024;
/** What a policy's names are, for errors. */
const NAMES = { backlog: "'all' or 'latest'", whenLettersFull: "'drop-oldest' or 'hold'" };
/** Attempts that no report has. */
const ENDLESS = 2 ** 32 - 1;

/** What to do when a courier changes: what the client waits for. */
const listeners = new WeakMap();

export function onChange(courier, listener) {
  listeners.set(courier, listener);
}

export class Courier {
  #inner;
  #instance;
  #clock;
  #entropy;

  constructor({ capacity = 4 * MIB, policy = {}, clock = () => performance.now(), entropy = random } = {}) {
    this.#clock = clock;
    this.#entropy = entropy;
    const members = JSON.stringify(Object.fromEntries(Object.entries(policy).map(plain)));
    const wrong = call((wasm) => wasm.wrong_in_policy(members));
    if (wrong !== undefined) throw new EdgeReportError('OutOfRange', { detail: `policy.${wrong}${NAMES[wrong] ? ` is ${NAMES[wrong]}` : ''}` });
    const given = [Number(capacity), members, this.#now(), this.#random()];
    this.#inner = call((wasm) => wasm.Courier.open(...given));
    if (!this.#inner) throw new EdgeReportError('OutOfRange', { detail: 'capacity is 16384 bytes or more' });
    this.#instance = instance();
  }

  submit(report, date) {
    const [bytes, wall] = [encode(report), ms(date)];
    return this.#change((inner, now) => inner.submit(bytes, now, wall)).ticket;
  }

  next() {
    const step = this.#ask((inner, now) => inner.next(now));
    if (step.step === 'send') step.body = this.#call((inner, now) => inner.body(now));
    return step;
  }

  settle(ticket, event) {
    const { outcome, status, retryAfterMs, clockSkewMs, errorCode, errorMsg, message, number, detail } = event ?? {};
    if (!outcome && number === undefined) throw new TypeError('event must be what Client.send gave, or the EdgeReportError it threw');
    const what = JSON.stringify(outcome
      ? { outcome, status, retryAfterMs, clockSkewMs, errorCode: wellFormed(errorCode), text: wellFormed(errorMsg ?? message) }
      : { code: number, text: wellFormed(detail) });
    const [at, random] = [ticketOf(ticket), this.#random()];
    return withReason(this.#change((inner, now) => inner.settle(at, what, now, random)));
  }

  takeBuried() {
    const buried = withReason(this.#ask((inner) => inner.take_buried()));
    return buried.ticket === undefined ? undefined : buried;
  }

  status() {
    const status = this.#ask((inner) => inner.status());
    for (const of of [status.last, status.lastFailure]) if (of) withReason(of);
    return status;
  }

  wake() {
    this.#call((inner, now) => inner.wake(now));
    listeners.get(this)?.();
  }

  deadLetter(after) {
    const behind = ticketIfAny(after);
    const letter = withReason(this.#ask((inner) => inner.dead_letter(behind)));
    if (letter.ticket === undefined) return undefined;
    letter.body = this.#call((inner) => inner.dead_letter_body(letter.ticket));
    return letter;
  }

  deadLetters() {
    const letters = [];
    for (let letter = this.deadLetter(); letter; letter = this.deadLetter(letter.ticket)) letters.push(letter);
    return letters;
  }

  resubmitDeadLetter(ticket, date) {
    const [which, wall] = [ticketIfAny(ticket), ms(date)];
    return this.#change((inner, now) => inner.resubmit_dead_letter(which, now, wall)).ticket;
  }

  forgetDeadLetter(ticket) {
    const which = ticketOf(ticket);
    this.#change((inner) => inner.forget_dead_letters(which, false));
  }

  forgetDeadLetters(upTo) {
    const last = ticketOf(upTo);
    this.#change((inner) => inner.forget_dead_letters(last, true));
  }

  free() {
    const inner = this.#inner;
    this.#inner = undefined;
    if (inner && this.#instance === instance()) inner.free();
    listeners.get(this)?.();
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

  /** Asks for what may change what is next. */
  #change(use) {
    const answer = this.#ask(use);
    listeners.get(this)?.();
    return answer;
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

function ticketIfAny(ticket) {
  return ticket === undefined ? undefined : ticketOf(ticket);
}

/** A verdict or letter whose reason has the name and text of its code. */
function withReason(of) {
  const { code, ...said } = of.reason ?? {};
  if (code !== undefined) {
    const { name, text } = describe(code);
    of.reason = { code: name, number: code, message: text, ...said };
  }
  return of;
}

/** A policy's member, for the module: endless, or not set, it is as if it were not there. */
function plain([name, value]) {
  let given = value ?? undefined;
  if (typeof value === 'string') given = wellFormed(value);
  // This one has an end by default.
  if (value === Infinity) given = name === 'refuseAfter' ? ENDLESS : undefined;
  return [wellFormed(name), given];
}

function random() {
  return crypto.getRandomValues(new BigUint64Array(1))[0];
}
