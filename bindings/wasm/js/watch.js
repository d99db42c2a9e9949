// What became of reports, as events: verdicts, and what happens beside them.
import { onChange } from './courier.js';

/** Of so many reports that wait, tickets and message ids are remembered; what is superseded beyond them is only counted. */
const MOST_NAMED = 10_000;
const KEY = '"message_id":';
const decoder = new TextDecoder();

/** Tells `observe` what becomes of a courier's reports. */
export class Watch {
  #courier;
  #observe;
  #unlisten;
  /** Message ids of what waits, by ticket. */
  #names = new Map();
  /** Will not be sent any more, and are no dead letters yet. */
  #doomed = new Map();
  #counts;

  constructor(courier, observe) {
    this.#courier = courier;
    this.#observe = observe;
    this.#counts = counts(courier.status());
    if (courier.status().waiting <= MOST_NAMED) for (const { ticket, body } of courier.waiting()) this.#names.set(ticket, messageId(body));
    this.#unlisten = onChange(courier, (submitted) => {
      if (submitted && this.#names.size < MOST_NAMED) this.#names.set(submitted.ticket, messageId(submitted.bytes));
    });
  }

  end() {
    this.#unlisten();
  }

  /** After an attempt. */
  settled({ ticket, body }, verdict) {
    if (!verdict) return;
    const [name, { reason }] = [messageId(body), verdict];
    const of = { ticket, messageId: name };
    switch (verdict.verdict) {
      case 'delivered':
        this.#names.delete(ticket);
        return this.#observe({ what: 'delivered', ...of });
      case 'again':
        return this.#observe({ what: 'waiting', ...of, reason, nextAttempt: this.#date(verdict.at) });
      case 'held':
        return this.#observe({ what: 'held', ...of, reason, nextAttempt: this.#date(verdict.until) });
      default: {
        const doomed = { what: verdict.verdict, ...of, reason };
        if (this.#isLetter(doomed)) return this.#tell(doomed);
        this.#doomed.set(ticket, doomed);
        const { lastFailure } = this.#courier.status();
        const obstacle = lastFailure?.ticket === ticket ? lastFailure.reason : undefined;
        return this.#observe({ what: 'dead_letter_failed', ...of, reason, obstacle });
      }
    }
  }

  /** What happened beside attempts. */
  look() {
    for (let buried = this.#courier.takeDeadLetter(); buried; buried = this.#courier.takeDeadLetter()) {
      const { ticket, reason } = buried;
      this.#doomed.set(ticket, { what: 'refused', ticket, messageId: this.#names.get(ticket), reason });
    }
    for (const doomed of this.#doomed.values()) if (this.#isLetter(doomed)) this.#tell(doomed);
    const [before, now] = [this.#counts, counts(this.#courier.status())];
    this.#counts = now;
    if (now.corrupt > before.corrupt) this.#observe({ what: 'corrupt', count: now.corrupt - before.corrupt });
    if (now.superseded > before.superseded) this.#superseded(now.superseded - before.superseded);
  }

  #superseded(count) {
    const waiting = new Set(this.#courier.waitingTickets());
    const reports = [...this.#names].filter(([ticket]) => !waiting.has(ticket) && !this.#doomed.has(ticket));
    reports.forEach(([ticket]) => this.#names.delete(ticket));
    this.#observe({ what: 'superseded', count, reports: reports.map(([ticket, name]) => ({ ticket, messageId: name })) });
  }

  #isLetter(doomed) {
    const body = this.#courier.deadLetterBody(doomed.ticket);
    if (body) doomed.messageId = messageId(body);
    return body !== undefined;
  }

  #tell(doomed) {
    this.#doomed.delete(doomed.ticket);
    this.#names.delete(doomed.ticket);
    this.#observe(doomed);
  }

  /** A time of the courier's clock. */
  #date(at) {
    return new Date(Date.now() + Math.max(0, at - this.#courier.now()));
  }
}

function counts({ superseded, corrupt }) {
  return { superseded, corrupt };
}

/** In canonical bytes it is the last member, and an unescaped quote before the colon makes it a key for certain. */
export function messageId(body) {
  const text = decoder.decode(body);
  return JSON.parse(text.slice(text.lastIndexOf(KEY) + KEY.length, -1));
}
