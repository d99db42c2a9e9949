// The watch of a Flink cluster: what to ask it, and which jobs to report. It stays in an instance of its own.
import { EdgeReportError, unwrap } from './error.js';
import { wellFormed } from './exchange.js';
import { call, needStack, ownInstance } from './module.js';
import { onlyKnown, onlyNumber } from './options.js';
import { bytesOf } from './report.js';

/** What the core uses of texts at the most. */
const MOST_TEXTS = 1024 * 1024;
const MOST_JOBS = 100_000;
const MOST_ID = 2n ** 63n - 1n;
const SETTINGS = ['pollMs', 'requests', 'heartbeatMs', 'cacheMs', 'steadyMs', 'exceptionBytes', 'metrics', 'plan', 'exceptions', 'otherIds', 'node'];
/** The names that some of them take, for errors. */
const NAMES = { plan: "'when-new', 'never' or 'always'", exceptions: "'object' or 'text'", otherIds: "'hash63', 'hash31' or 'none'" };

export class FlinkWatch {
  #inner;
  /** Why it cannot go on. */
  #trap;
  #clock;

  constructor(options = {}) {
    onlyKnown('FlinkWatch', options, ['jobs', 'textBytes', 'mapped', 'clock', ...SETTINGS]);
    const { jobs = 64, textBytes = 65_536, mapped = {}, clock = () => performance.now() } = options;
    onlyNumber('jobs', jobs, (count) => Number.isInteger(count) && count > 0 && count <= MOST_JOBS, 'a whole number, 1 to 100,000');
    onlyNumber('textBytes', textBytes, (bytes) => Number.isInteger(bytes) && bytes >= 0 && bytes <= MOST_TEXTS, 'a whole number, 1,048,576 at most');
    const settings = JSON.stringify(Object.fromEntries(SETTINGS.map((name) => [name, plain(options[name])])));
    const wrong = call((wasm) => wasm.wrong_in_flink(settings));
    if (wrong !== undefined) throw new EdgeReportError('OutOfRange', { detail: `${wrong}${NAMES[wrong] ? ` is ${NAMES[wrong]}` : ''}` });
    const ids = Object.entries(mapped).map(([job, id]) => `${JSON.stringify(wellFormed(job))}:${integer(`mapped['${job}']`, id)}`);
    this.#clock = clock;
    this.#now();
    this.#inner = this.#use(() => ownInstance().FlinkWatch.open(jobs, textBytes, settings, `{${ids.join()}}`));
    if (!this.#inner) throw new EdgeReportError('Internal', { detail: 'no memory for the watch' });
  }

  static jid(jobId) {
    const id = integer('jobId', jobId);
    if (id <= 0n) throw new EdgeReportError('NotPositive', { path: 'jobId' });
    return call((wasm) => wasm.flink_jid(id));
  }

  next() {
    let report;
    const step = this.#ask((inner, now) => {
      const said = inner.next(now);
      report = inner.report(now);
      return said;
    });
    if (step.step !== 'report') return step;
    if (!report) throw new EdgeReportError('Internal', { detail: 'no memory for the report' });
    return { ...step, report };
  }

  response(status, body) {
    onlyNumber('status', status, (number) => Number.isInteger(number) && number >= 0 && number <= 65_535, 'a whole number, the HTTP status');
    const bytes = given('body', body ?? '');
    this.#ask((inner, now) => {
      if (!inner.has_room(bytes.length)) throw new EdgeReportError('OutOfRange', { detail: 'no memory for the body' });
      return inner.response(status, bytes, now);
    });
  }

  failed() {
    this.#call((inner, now) => inner.failed(now));
  }

  reported(isStored) {
    if (typeof isStored !== 'boolean') throw new TypeError('isStored must be true or false');
    this.#call((inner) => inner.reported(isStored));
  }

  stopAsked(jid) {
    const id = text('jid', jid);
    return isJid(this.#call((inner) => inner.stop_asked(id)));
  }

  jobId(jid, name = '') {
    const [id, known] = [text('jid', jid), text('name', name)];
    const found = isJid(this.#call((inner) => inner.job_id(id, known)));
    if (found === 0n) return undefined;
    return found > BigInt(Number.MAX_SAFE_INTEGER) ? found : Number(found);
  }

  save() {
    const table = this.#call((inner) => inner.save());
    if (!table) throw new EdgeReportError('Internal', { detail: 'no memory for the table' });
    return table;
  }

  restore(table) {
    const bytes = given('table', table);
    this.#ask((inner, now) => inner.restore(bytes, now));
  }

  status() {
    return this.#ask((inner) => inner.status());
  }

  close() {
    this.#inner = undefined;
    this.#trap = undefined;
  }

  free() {
    this.close();
  }

  #ask(use) {
    return unwrap(this.#call(use));
  }

  #call(use) {
    const now = this.#now();
    if (this.#trap) throw new EdgeReportError('Poisoned', { detail: 'make a new watch, and restore its table', cause: this.#trap });
    if (!this.#inner) throw new EdgeReportError('NotUsable', { detail: 'this watch was closed' });
    return this.#use(() => use(this.#inner, now));
  }

  /** All that is thrown in it, but for what is said on purpose, counts as a trap: what the instance holds means nothing any more. */
  #use(use) {
    needStack();
    try {
      return use();
    } catch (error) {
      if (error instanceof EdgeReportError) throw error;
      this.#inner = undefined;
      this.#trap = error;
      throw new EdgeReportError('Internal', { detail: error.message, cause: error });
    }
  }

  #now() {
    const ms = Number(this.#clock());
    if (!(ms >= 0 && ms < Infinity)) throw new TypeError('clock must give milliseconds');
    return ms;
  }
}

// Where the language has `using`.
if (Symbol.dispose) FlinkWatch.prototype[Symbol.dispose] = FlinkWatch.prototype.close;

/** A setting, for the module: what has no JSON is told to be wrong. */
function plain(value) {
  if (typeof value === 'string') return wellFormed(value);
  return ['function', 'symbol', 'bigint'].includes(typeof value) || value === null ? null : value;
}

function text(name, value) {
  if (typeof value !== 'string') throw new TypeError(`${name} must be a string`);
  return wellFormed(value);
}

function given(name, value) {
  const bytes = bytesOf(value);
  if (!bytes) throw new TypeError(`${name} must be text or bytes`);
  return bytes;
}

/** A `job_id`, as a bigint. */
function integer(name, value) {
  if (typeof value === 'bigint' ? value >= -MOST_ID && value <= MOST_ID : Number.isSafeInteger(value)) return BigInt(value);
  if (!['number', 'bigint'].includes(typeof value)) throw new TypeError(`${name} must be a number or a bigint`);
  throw new EdgeReportError('IntegerNotExact', { path: name });
}

function isJid(found) {
  if (found === undefined) throw new EdgeReportError('FlinkJobId', { path: 'jid' });
  return found;
}
