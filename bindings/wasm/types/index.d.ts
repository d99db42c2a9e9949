/**
 * Checks, encodes, signs and delivers the reports of Flink jobs on edge nodes, for
 * `POST /v1/{project_id}/edgesrv/job-report`.
 *
 * @packageDocumentation
 */

declare global {
  interface SymbolConstructor {
    readonly dispose: unique symbol;
    readonly asyncDispose: unique symbol;
  }
}

/** The names of all that can be wrong. Their numbers are the same in Rust and C. */
export type Code = 'CODES';

/** The states of a job that are known. Any other name can be sent, with a warning. */
export type KnownJobStatus = 'STATUSES';

/** The state of a job. */
export type JobStatus = KnownJobStatus | (string & {});

/** One report. */
export interface Report {
  /** One at least. */
  jobs: Job[];
  /** Where the service confirms the report. Older documentation of the service requires it. */
  msg_confirm_topic?: string | undefined;
  /** Names this report over all attempts to send it, so that a receiver can drop a repeat. Not empty. */
  message_id: string;
}

/** What one job is doing. Integers over 2^53−1 must be `bigint`. */
export interface Job {
  /** Greater than 0. Over 2147483647 is a warning: some receivers cannot read it. */
  job_id?: number | bigint | undefined;
  /** What it does: a known state, or another. */
  status: JobStatus;
  /** When it was created: milliseconds since 1970-01-01 UTC, greater than 0. */
  create_time: number | bigint;
  /** What went wrong: the service's table calls for a string, its sample shows an object; both are sent as given. */
  exceptions?: string | JobException | undefined;
  /** In practice JSON text. */
  metrics?: string | undefined;
  /** In practice JSON text. */
  plan?: string | undefined;
}

/** The object form of `exceptions`. */
export interface JobException {
  /** For instance `Agent.51000`. */
  error_id: string;
  /** For instance `JOB_SUBMIT_EXCEPTION`. */
  error_type: string;
  /** For instance `agent_submit_job_exception_error`. */
  error_cause: string;
  /** The stack trace or the like; may be empty. */
  exception: string;
  /** `YYYY-MM-DD hh:mm:ss` in UTC. */
  error_time: string;
}

/** Bytes of any kind. */
export type Bytes = ArrayBufferLike | ArrayBufferView;

/** Bytes that `fetch` takes: `Uint8Array<ArrayBuffer>`, or `Uint8Array` before TypeScript 5.7. */
export type OwnBytes = ReturnType<Uint8ArrayConstructor['of']>;

/** A report: an object, which is read as `JSON.stringify` reads it, or JSON as text or UTF-8 bytes, in any form. */
export type ReportInput = (Omit<Report, 'jobs'> & { jobs: readonly Job[] }) | string | Bytes;

/** One thing that is wrong or doubtful. */
export interface Finding {
  /** Where in the report, for instance `jobs[3].create_time`; empty for the report itself. */
  path: string;
  /** The byte, from 0, in the text that was given; not there for an object. */
  offset?: number;
  /** The line, from 1. */
  line?: number;
  /** The column in characters (code points), from 1. */
  column?: number;
  /** What is wrong. */
  code: Code;
  /** The number of the code. */
  number: number;
  /** Errors break the contract and cannot be sent; warnings are likely mistakes. */
  severity: 'error' | 'warning';
  /** The code's text, in English. */
  message: string;
  /** For an unknown status: the known one that is likely meant. */
  suggestion?: KnownJobStatus;
}

/** What every function here throws, but for a `TypeError` on arguments of a wrong type and options that are unknown, and what their own getters and functions throw. */
export class EdgeReportError extends Error {
  /** What an HTTP stack of your own tells {@link Courier.settle}: `new EdgeReportError('NotSent')`. */
  constructor(code: Code, options?: { detail?: string | undefined; cause?: unknown });
  /** Its name. */
  readonly name: 'EdgeReportError';
  /** What is wrong. */
  readonly code: Code;
  /** The number of the code. */
  readonly number: number;
  /** Where in the report, for what is wrong with one. */
  readonly path?: string;
  /** The byte in the text that was given, or in the base URL or project id. */
  readonly offset?: number;
  /** The line in the text that was given, from 1. */
  readonly line?: number;
  /** The column in characters, from 1. */
  readonly column?: number;
  /** What else is known: the system's own words, the option that is meant. The message has it, too. */
  readonly detail?: string;
  /** All that was found in a report that cannot be sent, warnings too. */
  readonly findings?: Finding[];
}

/** The known states of a job, and whether it stays in them. */
export const JOB_STATUSES: ReadonlyArray<{ readonly name: KnownJobStatus; readonly final: boolean }>;

/**
 * Lists all that is wrong or doubtful, mostly in the order of the text. Throws only what `JSON.stringify` throws for an object that no JSON
 * can show, such as one that holds itself.
 *
 * @example
 * ```ts
 * import { check } from 'edge-report';
 *
 * for (const { severity, line, column, message } of check('{"jobs":[],"message_id":"1"}')) {
 *   console.log(`${line}:${column}: ${severity}: ${message}`);
 * }
 * ```
 */
export function check(report: ReportInput): Finding[];

/**
 * The canonical bytes: the same from every language.
 *
 * @throws {@link EdgeReportError} with the first error; `findings` has all.
 *
 * @example
 * ```ts
 * import { EdgeReportError, encode, type Report } from 'edge-report';
 *
 * export function bytesOf(report: Report): Uint8Array | undefined {
 *   try {
 *     return encode(report);
 *   } catch (error) {
 *     if (error instanceof EdgeReportError) console.error(error.path, error.code, error.findings);
 *     return undefined;
 *   }
 * }
 * ```
 */
export function encode(report: ReportInput): OwnBytes;

/**
 * Checks a report and reads it. Unknown keys are dropped; integers over 2^53−1 become `bigint`.
 *
 * @throws {@link EdgeReportError} with the first error; `findings` has all.
 */
export function parse(report: ReportInput): Report;

/** An access key and its secret key. */
export interface Keys {
  /** Names who signs. */
  accessKey: string;
  /** Signs; it is not sent. */
  secretKey: string;
  /** What temporary keys need besides. */
  securityToken?: string | undefined;
}

/** Who asks: keys that sign, a token (those of the service live 24 hours), or, with no member at all, nobody. */
export type Credentials =
  | (Keys & { token?: undefined })
  | { token: string; accessKey?: undefined; secretKey?: undefined; securityToken?: undefined }
  | Record<string, never>;

/** Pairs of texts: an object, a list of pairs, a `Map`, `Headers`, `URLSearchParams`. */
export type Pairs = Iterable<[string, string]> | Record<string, string | number>;

/** The headers of a response: as `fetch` has them, or Node's `http`. */
export type ReplyHeaders =
  | Iterable<[string, string]>
  | { forEach(each: (value: string, name: string) => void): void }
  | Record<string, string | number | readonly string[] | undefined>;

/** A request as it is signed. */
export interface SignableRequest {
  /** Default: `POST`. */
  method?: string | undefined;
  /** Host with port, as the `Host` header has it. */
  host: string;
  /** The path as it is sent, percent-encoded. */
  path: string;
  /** Not encoded, in any order. */
  query?: Pairs | undefined;
  /**
   * Further headers to sign. With an `X-Sdk-Date` among them, that date is signed; with an `X-Sdk-Content-Sha256`, its value in the place of
   * the body's hash, be it a hash or `UNSIGNED-PAYLOAD`.
   */
  headers?: Pairs | undefined;
  /** The very bytes that are sent. */
  body?: string | Bytes | undefined;
}

/**
 * Signs any request to the gateway (`SDK-HMAC-SHA256`). Half of a surrogate pair counts as U+FFFD, as in `fetch` and `URL`. Gives the headers to add: `X-Sdk-Date`, `Authorization`, and
 * `X-Security-Token` for temporary keys.
 *
 * @param date when, by the server's clock; default now. The server takes 15 minutes' difference.
 */
export function sign(request: SignableRequest, credentials: Keys, date?: Date | number): Record<string, string>;

/** The text whose hash is signed: what to compare when a server calls a signature wrong. It has no key in it. */
export function canonicalRequest(request: SignableRequest, credentials: Keys, date?: Date | number): string;

/** Where reports go, and who sends them. */
export interface Endpoint {
  /** `https://` (or, to loopback, `http://`), host, optional port and path prefix. */
  baseUrl: string;
  /** The project in the path. */
  projectId: string;
  /** Who sends. Default: nobody. */
  credentials?: Credentials | undefined;
  /**
   * Allows `http://` to any host: tokens and reports go out in the clear. Default: false. Without it the name or address must be of this
   * machine; where `localhost` leads, and whether a proxy is between, `fetch` does not tell.
   */
  allowPlainHttp?: boolean | undefined;
}

/** One request, for any HTTP stack. */
export interface ReportRequest {
  /** Always this. */
  method: 'POST';
  /** Where to. */
  url: string;
  /** Its path, as it is signed. */
  path: string;
  /** All but `Content-Length`. The secrets among them: `Authorization`, `X-Auth-Token`, `X-Security-Token`. */
  headers: Record<string, string>;
  /** To be sent as it is: it is signed. */
  body: OwnBytes;
}

/**
 * The signed request that carries a report.
 *
 * @example
 * ```ts
 * import { buildRequest, readReply } from 'edge-report';
 *
 * export async function send(text: string): Promise<boolean> {
 *   const credentials = { accessKey: 'AK', secretKey: 'SK' };
 *   const { url, ...request } = buildRequest(text, { baseUrl: 'https://gateway.example', projectId: '0a1b2c', credentials });
 *   const response = await fetch(url, request);
 *   return readReply(response.status, response.headers, await response.arrayBuffer()).outcome === 'accepted';
 * }
 * ```
 */
export function buildRequest(report: ReportInput, endpoint: Endpoint, date?: Date | number): ReportRequest;

/** What every response tells. */
export interface Reply {
  /** The HTTP status. */
  status: number;
  /** For instance `DLI.0001` or `APIGW.0301`. */
  errorCode?: string;
  /** The service's reason. */
  errorMsg?: string;
  /** What the service says beside `is_success`. */
  message?: string;
  /** The gateway's name for the request. */
  requestId?: string;
  /** What the server asks to wait. */
  retryAfterMs?: number;
  /** By how much the server's clock is ahead. */
  clockSkewMs?: number;
  /** One line for logs. */
  text: string;
}

/** The service took the report. */
export interface Accepted extends Reply {
  /** It is. */
  outcome: 'accepted';
}

/** The service will never take the report as it is, and says so itself: in JSON, with an error code of its own where the status is none in the 200s. */
export interface Refused extends Reply {
  /** It is. */
  outcome: 'refused';
}

/** A response of somebody else, whatever its status, such as a proxy's or a captive portal's page: neither accepted nor refused; try again. */
export interface NotUnderstood extends Reply {
  /** It is. */
  outcome: 'not_understood';
}

/** The service is in trouble or overloaded: try again. */
export interface TryAgain extends Reply {
  /** It is. */
  outcome: 'try_again';
}

/** The credentials are wrong, expired, or the clock is: keep the report, hold all sending. */
export interface CredentialsWrong extends Reply {
  /** They are. */
  outcome: 'credentials';
}

/** The endpoint is wrong: it redirects, its gateway knows no such API, or a proxy wants credentials. Keep the report. */
export interface Misconfigured extends Reply {
  /** It is. */
  outcome: 'misconfigured';
}

/** What a response means. */
export type Outcome = Accepted | Refused | NotUnderstood | TryAgain | CredentialsWrong | Misconfigured;

/** How the service's own responses are known. */
export interface ReplyOptions {
  /**
   * The prefixes of the service's own error codes, 1 to 8, each of printable ASCII and not empty. A code is the service's when it is one of
   * them and at least one character more; after `DLI.`, digits and nothing else. Default: `['DLI.']`.
   */
  serviceCodes?: readonly string[] | undefined;
}

/**
 * Reads a response. Its body may be cut or anything else; of one over 64 KiB, give at least a byte more than that.
 *
 * @param headers the response's; `Retry-After` and `Date` matter, in any case
 * @param date now, by this machine's clock, for what is told as a date
 * @throws {@link EdgeReportError} `ServiceCodes` if these cannot be used.
 *
 * @example
 * ```ts
 * import { readReply } from 'edge-report';
 *
 * const reply = readReply(400, undefined, '{"error_code":"DLI.0001","error_msg":"no such job"}');
 * if (reply.outcome === 'refused') console.log(reply.errorCode, reply.errorMsg);
 * ```
 */
export function readReply(
  status: number,
  headers: ReplyHeaders | undefined,
  body: string | Bytes | undefined,
  date?: Date | number,
  options?: ReplyOptions,
): Outcome;

/** When to try again, and when to stop trying. All in milliseconds, and all optional. */
export interface Policy {
  /** The least wait after a failure; less than 10 ms counts as 10 ms. Default: 1 s. */
  minBackoffMs?: number | undefined;
  /** The most wait after a failure; less than 10 ms counts as 10 ms. Default: 300 s. */
  maxBackoffMs?: number | undefined;
  /** The most of a `Retry-After` that is honoured, and at random up to a tenth more. Default: 1 h. */
  maxRetryAfterMs?: number | undefined;
  /** How long all sending is held when the credentials or the endpoint are wrong, and at random up to a tenth more; less than 10 ms counts as 10 ms. Default: 300 s. */
  holdMs?: number | undefined;
  /** The first attempt comes at random within this time. Default: 30 s. */
  startSpreadMs?: number | undefined;
  /** A clock that differs from the server's by more is corrected when credentials fail. Default: 60 s. */
  maxClockSkewMs?: number | undefined;
  /** After how many failures in a row the network or service counts as down. Default: 5. */
  openCircuitAfter?: number | undefined;
  /** How often one report is tried since the start. Default: until it is delivered. */
  maxAttempts?: number | undefined;
  /** How long one report is tried, from its first attempt. Default: until it is delivered. */
  maxTimeMs?: number | undefined;
  /**
   * A report that gets responses which may be somebody else's (a firewall's 403, a proxy's 413, a crash of the service over this one) is
   * refused after so many attempts, each followed by another report that was accepted, and after an hour of them at the least.
   * `Infinity`: never. Default: 8.
   */
  refuseAfter?: number | undefined;
  /**
   * What is sent of the reports that wait: all, or the latest of each job, so that after an outage each job is current at once. A final
   * status yields only to a final one. Default: `all`.
   */
  backlog?: 'all' | 'latest' | undefined;
  /**
   * Without room for another dead letter, drop the oldest ones, which are counted, or hold: the report waits, unsent, until
   * {@link Courier.forgetDeadLetters} or {@link Courier.resubmitDeadLetter} makes room. Default: `drop-oldest`.
   */
  whenLettersFull?: 'drop-oldest' | 'hold' | undefined;
}

/** What was said when a report was not delivered. Long texts are cut. */
export interface Said {
  /** The `error_code` of the response. */
  errorCode?: string;
  /** The words of the response, or those of the system. */
  text?: string;
}

/** A response came, and does not accept the report. */
export interface AnsweredReason extends Said {
  /** What it means. */
  outcome: Exclude<Outcome['outcome'], 'accepted'>;
  /** The HTTP status. */
  status: number;
  /** Of a {@link FailedReason} alone. */
  code?: undefined;
}

/** None came, or a newer report of the same job was accepted (`Overtaken`): then with what the last attempt got. */
export interface FailedReason extends Said {
  /** What failed. */
  code: Code;
  /** The number of the code. */
  number: number;
  /** The code's text, in English. */
  message: string;
  /** The HTTP status that the last attempt got. */
  status?: number;
  /** Of an {@link AnsweredReason} alone. */
  outcome?: undefined;
}

/** Why a report is not delivered. */
export type Reason = AnsweredReason | FailedReason;

/**
 * What becomes of a report after an attempt. Times are of the courier's clock. One that went ahead of older reports of its jobs is `delivered` once
 * more if one of these arrives after it. `refused` is by the service; or, with the code `Overtaken`, it failed time and again, each time right
 * after a newer report of its jobs was accepted.
 */
export type Verdict =
  | { verdict: 'delivered' }
  | { verdict: 'refused'; reason: Reason }
  | { verdict: 'again'; at: number; reason: Reason }
  | { verdict: 'held'; until: number; reason: Reason }
  | { verdict: 'expired'; reason: Reason };

/** What to do next: send these bytes and {@link Courier.settle}, wait, or nothing. */
export type Step =
  | { step: 'send'; ticket: number; body: OwnBytes; clockOffsetMs: number }
  | { step: 'wait'; ms: number }
  | { step: 'idle' };

/** How things stand. `submitted` = `delivered` + `refused` + `superseded` + `expired` + `corrupt` + `waiting`. */
export interface Status {
  /** All that was ever taken; of a durable courier, since its directory is there. */
  submitted: number;
  /** What the service has. */
  delivered: number;
  /** What the service will never take: each became a dead letter. */
  refused: number;
  /** Dropped since newer reports of all their jobs waited. */
  superseded: number;
  /** What spent its budget: `maxAttempts` or `maxTimeMs`. */
  expired: number;
  /** Lost by the storage of a durable courier. */
  corrupt: number;
  /** What is still to be delivered. */
  waiting: number;
  /** How many of those that wait stepped aside: only they are answered badly, or there is no room for them as dead letters. */
  aside: number;
  /** Dead letters there are. */
  letters: number;
  /** Dead letters that made room for newer ones, and are gone. */
  lettersDropped: number;
  /** When the oldest report that waits was submitted: milliseconds since 1970-01-01 UTC. */
  oldest?: number;
  /** Failures in a row. */
  failures: number;
  /** When the next attempt may come, by the courier's clock. */
  notBefore: number;
  /** When it comes, as far as was known at the last call, by the same clock; not there while one is in flight or nothing waits. */
  nextAttempt?: number;
  /** The correction of the wall clock in use. */
  clockOffsetMs: number;
  /** Whether the network or the service counts as down. */
  circuitOpen: boolean;
  /** The ticket in flight. */
  inFlight?: number;
  /** The verdict given last. */
  last?: Verdict & { ticket: number };
  /** Why a report was not delivered, or cannot become a dead letter (`LettersFull`): the last such failure since one was accepted. */
  lastFailure?: { ticket: number; reason: Reason };
}

/** A report that was refused, or expired. */
export interface DeadLetter {
  /** What {@link Courier.submit} gave for it. */
  ticket: number;
  /** Why it died. */
  reason: Reason;
  /** Its bytes. */
  body: OwnBytes;
}

/** A report that waits. */
export interface WaitingReport {
  /** What {@link Courier.submit} gave for it. */
  ticket: number;
  /** When that was: milliseconds since 1970-01-01 UTC. */
  submittedAt?: number;
  /** Its bytes; {@link parse} reads them. */
  body: OwnBytes;
}

/** What any courier can be told. */
export interface CommonOptions {
  /** When to try again, and when to stop. */
  policy?: Policy | undefined;
  /** Monotonic milliseconds. Default: `performance.now`. */
  clock?: (() => number) | undefined;
  /** A random 64-bit number, for jitter. Default: from `crypto`. */
  entropy?: (() => bigint) | undefined;
}

/** Of a courier in memory. */
export interface CourierOptions extends CommonOptions {
  /** Room for reports and dead letters, in bytes; 16384 or more and less than 4 GiB, taken as it is needed. One report may have half of it. Default: 4 MiB. */
  capacity?: number | undefined;
}

/** Of a durable courier. */
export interface SpoolOptions extends CommonOptions {
  /** The most bytes of reports that wait; 16384 or more. Default: 64 MiB. */
  maxBytes?: number | undefined;
  /** The bytes of one segment: a 64th to a quarter of `maxBytes`, in steps of 4 KiB. Default: the 64th, of a browser's files the 16th, or 64 KiB. */
  segmentBytes?: number | undefined;
  /** The most bytes of dead letters; 16384 or more. A report that would not fit is not taken. Default: 16 MiB. */
  deadLetterBytes?: number | undefined;
  /**
   * When a report is on stable storage: before `submit` returns, or together with others, when there are so many or the first of them is so old; a
   * power cut may cost those, a process that is killed does not. Default: `'each'`.
   */
  durability?: 'each' | { reports: number; ms: number } | undefined;
  /** The module `edge_report_spool.wasm`, where the package does not find it by itself: with `edge-report/slim` and `edge-report/inline`. */
  module?: Bytes | WebAssembly.Module | Response | URL | string | Promise<Bytes | WebAssembly.Module | Response> | undefined;
}

/** A directory of a browser's private file system: a `FileSystemDirectoryHandle`. */
export interface DirectoryHandle {
  /** No file. */
  readonly kind: 'directory';
  /** Its name, without those above it. */
  readonly name: string;
  /** The names of what is in it. */
  keys(): AsyncIterable<string>;
  /** A file in it. */
  getFileHandle(name: string, options?: { create?: boolean }): Promise<unknown>;
}

/**
 * Keeps reports until they are delivered, and says what to do with them: in memory, where what waits does not survive the process, or, with
 * {@link open}, on files.
 *
 * Close it, or declare it with `using`. Left alone, the garbage collector frees it some time. It lives in a WebAssembly instance of its own, so
 * that nothing that goes wrong elsewhere touches what waits. When the stack is about to end, its calls throw a `RangeError` before they begin. Should a call of its own trap anyway (`Internal`), a
 * durable one reads its files anew at the next call, and one in memory says that it is lost (`Poisoned`).
 */
export class Courier {
  /** In memory. */
  constructor(options?: CourierOptions);
  /**
   * On files: what `submit` took is there again after a restart, a kill or a power cut.
   *
   * In Node (and Deno, Bun) `place` is a directory's path; the directory is made if its parent is there, for its owner alone. It is the spool of the Rust
   * and C library, to the byte, so either may go on with what the other began; one at a time. In a browser it is the handle of a directory of
   * the private file system, in a dedicated worker.
   *
   * Its calls wait for the disk, some milliseconds each; what must not wait belongs into another thread.
   *
   * @example
   * ```ts
   * import { Courier } from 'edge-report';
   *
   * export async function open(directory: string): Promise<Courier> {
   *   const courier = await Courier.open(directory, { maxBytes: 16 * 1024 * 1024 });
   *   console.log(courier.status().waiting, 'wait from the last run');
   *   return courier;
   * }
   * ```
   *
   * @throws {@link EdgeReportError} `SpoolInUse`: somebody has it open; `SpoolDirectory`: others may use the directory, and the message says what fixes
   * it; `Storage`: the disk failed, with the system's words; `OtherFormat`; `SpoolOptions`.
   */
  static open(place: string | URL | DirectoryHandle, options?: SpoolOptions): Promise<Courier>;
  /**
   * Checks and encodes a report, and stores it. Gives its ticket.
   *
   * When the outbox is full, reports whose every job has a newer entry are dropped first, but never a final status for one that is not.
   *
   * @param date now, for {@link Status.oldest}; default `Date.now()`
   * @throws {@link EdgeReportError} as `encode`; `OutboxFull`: nothing was stored or dropped; `TooLargeForOutbox`: it never fits.
   */
  submit(report: ReportInput, date?: Date | number): number;
  /** What to do next. Calling it again changes nothing: the same report is offered until it is settled. */
  next(): Step;
  /** Tells what came back for the report in flight: what `Client.send` gave, or the error it threw. */
  settle(ticket: number, event: Outcome | EdgeReportError): Verdict;
  /**
   * A report that stepped aside and became a dead letter when another one was accepted: no verdict of its own says so. Each is told once,
   * `undefined` when all are; of many, the last few.
   */
  takeDeadLetter(): { ticket: number; reason: Reason } | undefined;
  /** How things stand. */
  status(): Status;
  /** What waits, in the order of submission, read one by one. */
  waiting(): IterableIterator<WaitingReport>;
  /** The tickets of what waits, in the order of submission. */
  waitingTickets(): number[];
  /** The time by its clock, which is that of {@link Verdict} and {@link Status.notBefore}. */
  now(): number;
  /**
   * Lets the next attempt come at once, and what waits after it: the network is back, somebody changed the credentials, or made room for dead letters.
   * Failures so far count no more. Each call does so, however often: it ends a hold for denied credentials and a `Retry-After`, too, so call it only when somebody changed what is
   * wrong; {@link Reporter.wake} is for news of a link. Where many nodes learn of that in the same moment, spread the calls.
   */
  wake(): void;
  /** The dead letters in the order in which they died, with copies of their reports. */
  deadLetters(): DeadLetter[];
  /** The dead letter after the one of ticket `after`, in the order in which they became letters; the first of all without, or if that one is gone. */
  deadLetter(after?: number): DeadLetter | undefined;
  /**
   * Submits a dead letter again, as a new report, and forgets the letter; without a ticket the first. Gives the new ticket, or
   * `undefined` if there is none such.
   *
   * @param date as of {@link submit}
   * @throws {@link EdgeReportError} `OutboxFull`: the letter stays.
   */
  resubmitDeadLetter(ticket?: number, date?: Date | number): number | undefined;
  /** Forgets a dead letter; one that is gone is no error. */
  forgetDeadLetter(ticket: number): void;
  /** Forgets a dead letter and all that became letters before it; none, if it is gone. */
  forgetDeadLetters(upTo: number): void;
  /** The bytes of a dead letter; `undefined` if there is none of this ticket. */
  deadLetterBody(ticket: number): OwnBytes | undefined;
  /**
   * Gives back what it has: its memory, and what waits in it is gone; or its directory, with what waits there made durable. Closing it again does
   * nothing; all else then throws `NotUsable`.
   *
   * @throws {@link EdgeReportError} `Storage`: it is closed, but some reports may be sent again.
   */
  close(): void;
  /** The same. */
  free(): void;
  /** The same, at the end of `using`. There where the platform has `Symbol.dispose`. */
  [Symbol.dispose](): void;
}

/** What is asked of a `fetch`: the platform's, or undici's. */
export type Fetch = (
  url: string,
  request: {
    method: 'POST';
    headers: Record<string, string>;
    body: OwnBytes;
    signal: AbortSignal;
    redirect: 'manual';
    credentials: 'omit';
    cache: 'no-store';
    referrerPolicy: 'no-referrer';
  },
) => Promise<{
  /** The HTTP status. */
  readonly status: number;
  /** That of a redirect, which is not followed, is `opaqueredirect`. */
  readonly type: string;
  /** Whether the status is 200 to 299. */
  readonly ok: boolean;
  /** All that the browser shows. */
  readonly headers: ReplyHeaders;
  /** What follows them, in parts. */
  readonly body: { getReader(): any } | null;
}>;

/** What a {@link Client} needs. */
export interface ClientOptions extends Endpoint, ReplyOptions {
  /** The most one attempt may take, and what the report's length takes at `minRate`. 1 to 86 400 000 (a day). Default: 60 000 ms. */
  timeoutMs?: number | undefined;
  /** The slowest link that a long report must get through, in bytes a second: 64 KB may take 66 s more. Default: 1000. */
  minRate?: number | undefined;
  /** Another `fetch`, with a proxy or certificates of your own. It must heed its `signal`. */
  fetch?: Fetch | undefined;
}

/**
 * Sends reports over `fetch`: in Node, browsers and workers. It follows no redirect. A response with a body over 64 KiB is not understood.
 */
export class Client {
  /** @throws {@link EdgeReportError} if these cannot be used. Touches no network. */
  constructor(options: ClientOptions);
  /** Replaces the credentials, from the next attempt on: tokens live 24 hours. */
  setCredentials(credentials: Credentials): void;
  /**
   * Checks a report, encodes it, sends it once and reads the response.
   *
   * @throws {@link EdgeReportError} as `encode`; `NotSent` (surely), `MayHaveArrived` (send it again with the same `message_id`),
   * `Tls`. A browser does not tell these apart, not even when it is offline: there it is `MayHaveArrived`. When aborted, the signal's
   * reason.
   */
  send(report: ReportInput, options?: { signal?: AbortSignal | undefined; clockOffsetMs?: number | undefined }): Promise<Outcome>;
  /**
   * Delivers what waits, until nothing does or the time is up: no attempt begins after it, but one may end after it. With `forever` it goes on
   * until it is aborted. Between attempts it sleeps; `submit`, `wake` and what else changes the courier end that.
   *
   * @example
   * ```ts
   * import { Client, Courier } from 'edge-report';
   *
   * export async function run(client: Client, courier: Courier, signal: AbortSignal): Promise<void> {
   *   await client.deliver(courier, {
   *     forever: true,
   *     signal,
   *     onVerdict(event) {
   *       if (event.what === 'refused') console.error(event.messageId, event.reason.errorCode, event.reason.text);
   *       if (event.what === 'held') console.warn('nothing is sent until', event.nextAttempt);
   *     },
   *   });
   * }
   * ```
   *
   * @throws The signal's reason when aborted, at once: nothing is lost, the report in flight is offered again. What `onVerdict` throws.
   * {@link EdgeReportError} `InUse` while another delivery has this courier.
   */
  deliver(courier: Courier, options?: DeliverOptions): Promise<'idle' | 'time_up'>;
}

/** How long {@link Client.deliver} goes on, and who is told. */
export interface DeliverOptions {
  /** Ends it at once. */
  signal?: AbortSignal | undefined;
  /** How long it may take. Default: until nothing waits. */
  timeoutMs?: number | undefined;
  /** Whether it goes on when nothing waits. Default: false. */
  forever?: boolean | undefined;
  /** Is told of each verdict, in order. It may use the courier. With it, {@link Courier.takeDeadLetter} gives nothing any more. */
  onVerdict?: ((event: DeliveryEvent) => void) | undefined;
}

/** What became of a report, or why nothing is sent. */
export type DeliveryEvent =
  /** The service has it. */
  | { what: 'delivered'; ticket: number; messageId: string }
  /** It will never be taken: it is a dead letter. */
  | { what: 'refused'; ticket: number; messageId: string; reason: Reason }
  /** Its budget in the policy is spent: it is a dead letter, too. */
  | { what: 'expired'; ticket: number; messageId: string; reason: Reason }
  /** It could not be delivered now, and is tried again, not before `nextAttempt`. */
  | { what: 'waiting'; ticket: number; messageId: string; reason: Reason; nextAttempt: Date }
  /** Credentials or settings are wrong, or the clock: nothing is sent before `nextAttempt`. */
  | { what: 'held'; ticket: number; messageId: string; reason: Reason; nextAttempt: Date }
  /** It will never be taken, but cannot be made a dead letter now, for the reason `obstacle`. Once it is one, `refused` or `expired` says so. */
  | { what: 'dead_letter_failed'; ticket: number; messageId: string; reason: Reason; obstacle?: Reason }
  /** So many were dropped since newer ones of all their jobs wait; of up to 10,000 that wait, these are known by name. */
  | { what: 'superseded'; count: number; reports: Array<{ ticket: number; messageId: string }> }
  /** So many were lost by the storage. */
  | { what: 'corrupt'; count: number };

/** What a {@link Reporter} tells: what a delivery does, and errors of its own. */
export type ReporterEvent =
  | DeliveryEvent
  /** Delivery met an error, of the storage mostly, and goes on at `nextAttempt`. Nothing is lost by it. */
  | { what: 'failed'; error: unknown; nextAttempt: Date };

/**
 * The front for a program that only wants to submit: a client, a courier, and a delivery that never ends.
 *
 * @example
 * ```ts
 * import { Client, Courier, Reporter } from 'edge-report';
 *
 * export async function report(client: Client, courier: Courier): Promise<void> {
 *   const reporter = new Reporter(client, courier, (event) => console.log(event));
 *   reporter.submit({ jobs: [{ job_id: 7, status: 'job_running', create_time: Date.now() }], message_id: crypto.randomUUID() });
 *   await reporter.flush({ timeoutMs: 10_000 });
 *   await reporter.stop();
 * }
 * ```
 */
export class Reporter {
  /** Begins to deliver. The courier is the reporter's from now on. `onEvent` is told of all that happens; what it throws is not caught. */
  constructor(client: Client, courier: Courier, onEvent?: (event: ReporterEvent) => void);
  /** As {@link Courier.submit}. */
  submit(report: ReportInput, date?: Date | number): number;
  /** As {@link Courier.status}: `lastFailure` says why nothing is delivered. */
  status(): Status;
  /**
   * Tries again at once: the network is back, or somebody changed what was wrong. It may be called for each news of a link: until a report is accepted it
   * ends waits once a minute, and never a hold for denied credentials or a `Retry-After`. After {@link Client.setCredentials} it ends these, too; so
   * does {@link Courier.wake}.
   */
  wake(): void;
  /** Waits until nothing waits any more, or the time is up. */
  flush(options?: { timeoutMs?: number | undefined; signal?: AbortSignal | undefined }): Promise<'idle' | 'time_up'>;
  /** Ends the delivery at once, and closes the courier. What waits in a durable one is there at the next start. */
  stop(): Promise<void>;
  /** The same, at the end of `await using`. There where the platform has `Symbol.asyncDispose`. */
  [Symbol.asyncDispose](): Promise<void>;
}

/** How a {@link FlinkWatch} asks and reports. `docs/flink.md` says why the defaults are what they are. */
export interface FlinkOptions {
  /** For how many jobs there is room: all that run at once, and some more. 1 to 100,000. Default: 64. */
  jobs?: number | undefined;
  /** Room for the texts of one report: what does not fit is cut or left out. 1,048,576 at most. Default: 65,536. */
  textBytes?: number | undefined;
  /** From an overview's response to the next overview. Default: 5 s. */
  pollMs?: number | undefined;
  /** How many requests go to Flink in that time, the overview included. 65,535 at most. Default: 20. */
  requests?: number | undefined;
  /** A job that goes on as it was is reported again after so long; 0: never. Default: 60 s. */
  heartbeatMs?: number | undefined;
  /** Details are asked for when a change is this old: for so long Flink answers from a cache. Default: 3 s. */
  cacheMs?: number | undefined;
  /** A job that had an exception is running again when nothing has happened to it for so long. Default: 10 s. */
  steadyMs?: number | undefined;
  /** How many bytes of a stack trace are reported. Default: 2,048. */
  exceptionBytes?: number | undefined;
  /** The metrics of a job, separated by commas; empty: none. Default: how long it runs, its restarts and its checkpoints. */
  metrics?: string | undefined;
  /** When a job's plan is reported: once when it runs and when it has changed, never, or with each report that has details. Default: `when-new`. */
  plan?: 'when-new' | 'never' | 'always' | undefined;
  /** The form of exceptions. Default: `object`. */
  exceptions?: 'object' | 'text' | undefined;
  /** The `job_id` of each job of this name, or of this id in 32 hex digits; 0: none. */
  mapped?: Readonly<Record<string, number | bigint>> | undefined;
  /** The `job_id` of those that are not mapped and whose id is no integer: a hash of it, of 63 or 31 bits, or none. Default: `hash63`. */
  otherIds?: 'hash63' | 'hash31' | 'none' | undefined;
  /** What message ids begin with. Where several nodes report to one project, give each its own. Default: `flink`. */
  node?: string | undefined;
  /** Monotonic milliseconds. Default: `performance.now`. */
  clock?: (() => number) | undefined;
}

/** What to do next with Flink. */
export type FlinkStep =
  /** Ask Flink for this path, then call {@link FlinkWatch.response} or {@link FlinkWatch.failed}. */
  | { step: 'get'; path: string }
  /** Store this report, as by {@link Reporter.submit}, then call {@link FlinkWatch.reported}. `isFinal`: it says that a job has ended, and is about this job alone. */
  | { step: 'report'; report: OwnBytes; messageId: string; isFinal: boolean }
  /** Nothing before so many milliseconds have passed. */
  | { step: 'wait'; ms: number };

/** How things stand with a {@link FlinkWatch}. */
export interface FlinkStatus {
  /** How many jobs are in the table, ended ones included. */
  jobs: number;
  /** How many of them have changed and are not reported yet. */
  unreported: number;
  /** How many jobs the cluster lists that have no room in the table and are not reported. */
  unwatched: number;
  /** Whether the last overview came. */
  isUp: boolean;
  /** Whether the table has changed since it was saved. */
  needsSaving: boolean;
}

/**
 * Learns from a Flink cluster (1.10 to 2.3) what its jobs do, and says what to report. It asks nothing itself: it names the paths of Flink's REST API, and reads what
 * came back. One request is out at a time. It lives in a WebAssembly instance of its own.
 *
 * @example
 * ```ts
 * import { FlinkWatch, type Reporter } from 'edge-report';
 *
 * export async function watch(flink: string, reporter: Reporter): Promise<never> {
 *   const watch = new FlinkWatch({ node: 'node-7' });
 *   for (;;) {
 *     const step = watch.next();
 *     if (step.step === 'wait') await new Promise((resolve) => setTimeout(resolve, step.ms));
 *     if (step.step === 'report') watch.reported(reporter.submit(step.report) > 0);
 *     if (step.step === 'get') {
 *       const response = await fetch(flink + step.path);
 *       watch.response(response.status, await response.arrayBuffer());
 *     }
 *   }
 * }
 * ```
 */
export class FlinkWatch {
  /** Knows nothing yet. */
  constructor(options?: FlinkOptions);
  /** The id to submit a job to Flink with, so that it is reported under this `job_id`: the integer in 32 hex digits. */
  static jid(jobId: number | bigint): string;
  /** What to do next. Calling it again changes nothing, until the watch is told what came of it. */
  next(): FlinkStep;
  /**
   * Takes Flink's response to the path that {@link next} gave: any status, any body, whole or cut. Read up to 1 MiB.
   *
   * @throws {@link EdgeReportError} if it was of no use, for a log; the watch goes on: `FlinkStatus`, `FlinkOtherJob`, `FlinkNotAsked`, or what is wrong with the body.
   */
  response(status: number, body: string | Bytes | undefined): void;
  /** No response came, or one that is too large: the connection, a timeout. */
  failed(): void;
  /** Whether the report is stored. If not, it comes again after `pollMs`: one of an end with the same bytes, others as things stand then. */
  reported(isStored: boolean): void;
  /** The agent itself asked this job to stop: if it ends as `FINISHED`, that is reported as `job_cancel_success`. Gives whether the job is in the table. */
  stopAsked(jid: string): boolean;
  /** The `job_id` under which a job is reported: what is mapped, else the integer that Flink's id is, else by `otherIds`. */
  jobId(jid: string, name?: string): number | bigint | undefined;
  /** The table, to be kept: with it an end is reported once over restarts, too. Save it when a report is stored. */
  save(): OwnBytes;
  /**
   * Takes a table that {@link save} gave: what it has is known, and not reported again. For a new watch, before the first {@link next}.
   *
   * @throws {@link EdgeReportError} `FlinkTable`: it is none; the watch begins with an empty one, and what it reports again has the message ids that it had.
   */
  restore(table: Bytes): void;
  /** How things stand. */
  status(): FlinkStatus;
  /** Gives back its memory. All else then throws `NotUsable`. */
  close(): void;
  /** The same. */
  free(): void;
  /** The same, at the end of `using`. There where the platform has `Symbol.dispose`. */
  [Symbol.dispose](): void;
}
