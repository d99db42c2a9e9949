// The courier: keeps reports in an instance of its own and says what to do with them.
import { EdgeReportError, describe, unwrap } from './error.js';
import { ms, wellFormed } from './exchange.js';
import { call, needStack, ownInstance } from './module.js';
import { onlyKnown, onlyNumber } from './options.js';
import { encode } from './report.js';

const MIB = 1024 * 1024;
const LEAST = 16 * 1024;
/** What a module's memory ends at. */
const MOST = 4096 * MIB;
/** Of any courier, of one in memory, and of a durable one. */
const COMMON = ['policy', 'clock', 'entropy'];
const IN_MEMORY = ['capacity', ...COMMON];
const DURABLE = ['maxBytes', 'segmentBytes', 'deadLetterBytes', 'durability', 'module', ...COMMON];
/** The members of a policy. */
const TIMES = ['minBackoffMs', 'maxBackoffMs', 'maxRetryAfterMs', 'holdMs', 'startSpreadMs', 'maxClockSkewMs', 'maxTimeMs'];
const POLICY = [...TIMES, 'maxAttempts', 'openCircuitAfter', 'refuseAfter', 'backlog', 'whenLettersFull'];
/** The names that some of them take, for errors. */
const NAMES = { backlog: "'all' or 'latest'", whenLettersFull: "'drop-oldest' or 'hold'" };
/** Attempts that no report has. */
const ENDLESS = 2 ** 32 - 1;

/** Who is told when a courier changes: a function for each, called with what was submitted, if something was. */
const listeners = new WeakMap();

/** Tells `listener` of changes; what it gives ends that. */
export function onChange(courier, listener) {
  if (!listeners.has(courier)) listeners.set(courier, new Set());
  const all = listeners.get(courier);
  all.add(listener);
  return () => all.delete(listener);
}

/** `Courier.wake` for who knows of the link alone, and may say so often. */
export let linkIsBack;

export class Courier {
  static {
    linkIsBack = (courier) => courier.#linkIsBack();
  }

  #inner;
  /** Where a durable one keeps its reports. */
  #spool;
  /** Why it cannot go on. */
  #trap;
  #clock;
  #entropy;
  #members;

  constructor(options = {}, spool = undefined) {
    const isDurable = spool instanceof Spool;
    if (!isDurable) onlyKnown('Courier', options, IN_MEMORY);
    const { capacity = 4 * MIB, policy = {}, clock = () => performance.now(), entropy = random } = options;
    this.#clock = clock;
    this.#entropy = entropy;
    onlyKnown('policy', policy, POLICY);
    this.#members = JSON.stringify(Object.fromEntries(Object.entries(policy).map(plain)));
    const wrong = call((wasm) => wasm.wrong_in_policy(this.#members));
    if (wrong !== undefined) throw new EdgeReportError('OutOfRange', { detail: `policy.${wrong}${NAMES[wrong] ? ` is ${NAMES[wrong]}` : ''}` });
    if (isDurable) {
      this.#spool = spool;
      this.#reopen();
      return;
    }
    onlyNumber('capacity', capacity, (bytes) => bytes >= LEAST && bytes < MOST, 'a number of bytes, 16384 or more and less than 4 GiB');
    const given = [capacity, this.#members, this.now(), this.#random()];
    needStack();
    this.#inner = trapped(() => ownInstance().Courier.open(...given));
    if (!this.#inner) throw internal(new Error('no courier'));
  }

  static async open(place, options = {}) {
    onlyKnown('Courier.open', options, DURABLE);
    const { openSpool } = await import('./spool.js');
    const spool = new Spool(await openSpool(place, options));
    try {
      return new Courier(options, spool);
    } catch (error) {
      spool.close();
      throw error;
    }
  }

  submit(report, date) {
    const [bytes, wall] = [encode(report), ms(date)];
    const { ticket } = this.#ask((inner, now) => {
      if (!inner.has_room(bytes.length)) throw new EdgeReportError('OutboxFull', { detail: 'no memory' });
      return inner.submit(bytes, now, wall);
    });
    this.#changed({ ticket, bytes });
    return ticket;
  }

  next() {
    let body;
    const step = this.#ask((inner, now) => {
      const said = inner.next(now);
      body = inner.body(now);
      return said;
    });
    if (step.step === 'send') step.body = copy(body);
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

  takeDeadLetter() {
    const buried = withReason(this.#ask((inner) => inner.take_dead_letter()));
    return buried.ticket === undefined ? undefined : buried;
  }

  status() {
    const status = this.#ask((inner) => inner.status());
    for (const of of [status.last, status.lastFailure]) if (of) withReason(of);
    return status;
  }

  wake() {
    this.#call((inner, now) => inner.wake(now));
    this.#changed();
  }

  #linkIsBack() {
    this.#call((inner, now) => inner.link_is_back(now));
    this.#changed();
  }

  *waiting() {
    let after;
    for (;;) {
      const report = this.#withBody((inner) => inner.next_waiting(after), (inner, ticket) => inner.waiting_body(ticket));
      if (!report) return;
      after = report.ticket;
      // One whose bytes the storage lost is not there any more.
      if (report.body) yield report;
    }
  }

  waitingTickets() {
    const tickets = this.#call((inner) => inner.waiting_tickets());
    if (!tickets) throw this.#why(new EdgeReportError('Storage'));
    return [...tickets];
  }

  deadLetter(after) {
    const behind = ticketIfAny(after);
    const letter = this.#withBody((inner) => inner.dead_letter(behind), (inner, ticket) => inner.dead_letter_body(ticket));
    if (letter) copy(letter.body);
    return letter;
  }

  deadLetterBody(ticket) {
    const which = ticketOf(ticket);
    return this.#call((inner) => inner.dead_letter_body(which));
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

  close() {
    if (!this.#inner && !this.#trap) return;
    try {
      if (this.#inner) this.#ask((inner) => inner.close());
    } finally {
      this.#inner = undefined;
      this.#trap = undefined;
      this.#spool?.close();
      this.#changed();
    }
  }

  free() {
    this.close();
  }

  /** A report and its bytes. */
  #withBody(find, read) {
    let body;
    const found = withReason(this.#ask((inner) => {
      const said = find(inner);
      const { ticket } = JSON.parse(said);
      if (ticket !== undefined) body = read(inner, ticket);
      return said;
    }));
    if (found.ticket === undefined) return undefined;
    found.body = body;
    return found;
  }

  #call(use) {
    const now = this.now();
    needStack();
    if (this.#trap) this.#recover();
    if (!this.#inner) throw new EdgeReportError('NotUsable', { detail: 'this courier was closed' });
    try {
      return use(this.#inner, now);
    } catch (error) {
      if (error instanceof EdgeReportError) throw error;
      // A trap. What the instance holds means nothing any more.
      this.#inner = undefined;
      this.#trap = error;
      throw internal(error);
    }
  }

  /** After a trap: what is durable is read anew. */
  #recover() {
    if (!this.#spool) {
      throw new EdgeReportError('Poisoned', { detail: 'what waited in this courier is lost: make a new one', cause: this.#trap });
    }
    this.#reopen();
    this.#trap = undefined;
  }

  #reopen() {
    const given = [this.#members, this.now(), this.#random()];
    needStack();
    this.#inner = trapped(() => this.#spool.start(...given));
  }

  #ask(use) {
    const answer = this.#call(use);
    try {
      return unwrap(answer);
    } catch (error) {
      throw this.#why(error);
    }
  }

  /** The error, with what the storage says. */
  #why(error) {
    return this.#spool?.why(error) ?? error;
  }

  /** Asks for what may change what is next. */
  #change(use) {
    const answer = this.#ask(use);
    this.#changed();
    return answer;
  }

  #changed(submitted) {
    for (const listener of listeners.get(this) ?? []) listener(submitted);
  }

  /** By the courier's clock. */
  now() {
    const ms = Number(this.#clock());
    if (!(ms >= 0 && ms < Infinity)) throw new TypeError('clock must give milliseconds');
    return ms;
  }

  #random() {
    const random = this.#entropy();
    if (typeof random !== 'bigint') throw new TypeError('entropy must give a bigint');
    return BigInt.asUintN(64, random);
  }
}

// Where the language has `using`.
if (Symbol.dispose) Courier.prototype[Symbol.dispose] = Courier.prototype.close;

/** What a durable courier has of its place. So that nobody else can give one to the constructor. */
class Spool {
  #kept;

  constructor(kept) {
    this.#kept = kept;
  }

  start(...given) {
    return this.#kept.start(...given);
  }

  why(error) {
    return this.#kept.why(error);
  }

  close() {
    this.#kept.close();
  }
}

/** All that is thrown in it, but for what is said on purpose, counts as a trap. */
function trapped(use) {
  try {
    return use();
  } catch (error) {
    throw error instanceof EdgeReportError ? error : internal(error);
  }
}

function internal(error) {
  return new EdgeReportError('Internal', { detail: error.message, cause: error });
}

function copy(body) {
  if (!body) throw new EdgeReportError('Internal', { detail: 'no memory for the report' });
  return body;
}

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
  // As JSON these would not be there at all; null is told to be wrong.
  if (['function', 'symbol'].includes(typeof value)) given = null;
  // This one has an end by default.
  if (value === Infinity) given = name === 'refuseAfter' ? ENDLESS : undefined;
  return [name, given];
}

function random() {
  return crypto.getRandomValues(new BigUint64Array(1))[0];
}
