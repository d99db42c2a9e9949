#ifndef EDGE_REPORT_H
#define EDGE_REPORT_H

#include <stddef.h>
#include <stdint.h>

/**
 * @file
 * edge-report: builds, checks, signs and delivers the reports of Flink jobs on edge nodes.
 *
 * Results. A function that can fail returns an edge_report_result: 0 (EDGE_REPORT_OK), or the number of what is wrong. Its last
 * parameter takes the detail, and may be NULL. All other outputs come just before it. They are written only on success, but for
 * the length that a buffer should have had (`len`), and the findings of edge_report_check. After a failure the content of a buffer
 * means nothing.
 *
 * Structs. Most begin with `struct_size`, so that they can grow. Begin each with its macro, also one that the library is to fill in:
 * `edge_report_job job = EDGE_REPORT_JOB_INIT;`, or `{.struct_size = sizeof job, ...}`. An older header's struct is taken as it was, with
 * the defaults for what has come since; a newer one's, too, unless something is set that this library does not know. In an array the
 * `struct_size` of the first one counts, for all. A size that cannot be is EDGE_REPORT_E_STRUCT_SIZE. docs/c-abi.md has the promise.
 *
 * Ownership. What a function *borrows* must hold and stay unchanged as long as is said: for the call, or until another call.
 * What it *takes* belongs to the library until the call that frees it. What it *gives* belongs to the caller. Only handles
 * (edge_report_courier, edge_report_flink, edge_report_client, edge_report_reporter) are given, and each has its `_free`; nothing is ever to be given to
 * free(3).
 *
 * Threads. A `const T *` may be shared by threads for the call; a `T *` is for one thread at a time, which may be another one each
 * time. No state is shared by handles. There is no thread but those that were asked for: a client has one while a name is looked up
 * (none for an address), a reporter one until it is stopped.
 *
 * Locks. Where threads share a courier, hold one lock over each call with it, and give edge_report_client_deliver the same lock
 * (edge_report_lock), which it does not hold while it sends: a mutex with priority inheritance (FreeRTOS, Zephyr and ThreadX
 * have them), never a critical section, since a storage may take long. From an interrupt, call nothing but set a flag for a task. The
 * bare library has no lock of its own, and two tasks may use two couriers at once. A reporter has its own lock.
 *
 * Callbacks (edge_report_observer, edge_report_lock, edge_report_storage, and those of edge_report_reporter_with_courier) may call the
 * library, but not for a handle in whose call they run: that is EDGE_REPORT_E_IN_USE, and does nothing, unless it is said there. They
 * must return: no longjmp, and no exception, which would end the program.
 *
 * No environment variable changes what the library does (the names of proxies are looked up by its HTTP library, and not used). It prints
 * nothing and installs no signal handler. Only the client touches the network, only a spool touches files (and the
 * system's look-up of a name those that it needs). It blocks only where a function says so. No panic crosses this border: should one happen, the function returns
 * EDGE_REPORT_E_INTERNAL, and its handle gives EDGE_REPORT_E_POISONED from then on.
 *
 * Misuse (NULL, numbers out of range, text that is not UTF-8, handles that are freed) gets a code, as far as it can be seen. What
 * cannot be seen: pointers to memory that is not there, or to less of it than is said; a handle used after its `_free`, unless its
 * memory is the caller's; two threads on one handle.
 *
 * Monotonic times (`now_ms`, `at_ms`) are milliseconds since any start and never go back; wall-clock times (`unix_ms`) are
 * milliseconds since 1970 and may jump.
 *
 * @code{.c}
 * #include <edge_report.h>
 * #include <stdio.h>
 *
 * int main(void) {
 *   edge_report_job job = EDGE_REPORT_JOB_INIT;
 *   job.job_id = 99270;
 *   job.status = edge_report_str_of(EDGE_REPORT_STATUS_RUNNING);
 *   job.create_time = 1591104868201;
 *   edge_report_report report = EDGE_REPORT_REPORT_INIT;
 *   report.jobs = &job;
 *   report.jobs_len = 1;
 *   report.message_id = edge_report_str_of("node-7-000001");
 *   char body[512];
 *   size_t len;
 *   edge_report_error error = EDGE_REPORT_ERROR_INIT;
 *   if (edge_report_encode(&report, body, sizeof body, &len, &error) != EDGE_REPORT_OK) {
 *     fprintf(stderr, "%s: %s\n", error.path, edge_report_result_text(error.code));
 *     return 1;
 *   }
 *   return fwrite(body, 1, len, stdout) == len ? 0 : 1;
 * }
 * @endcode
 */

/* The library that was built without std has no spool, no client and no clocks: define EDGE_REPORT_BARE to use it. */
#ifndef EDGE_REPORT_BARE
#define EDGE_REPORT_FULL
#endif

#if UINTPTR_MAX > 0xffffffffu
#define EDGE_REPORT_64_BIT
#else
#define EDGE_REPORT_32_BIT
#endif

/** Stands where there is no offset, or no job. */
#define EDGE_REPORT_NONE SIZE_MAX

/** The version of this header; that of the library in use is edge_report_version(). */
#define EDGE_REPORT_VERSION "0.1.0"
#define EDGE_REPORT_VERSION_MAJOR 0 /**< Part of EDGE_REPORT_VERSION. */
#define EDGE_REPORT_VERSION_MINOR 1 /**< Part of EDGE_REPORT_VERSION. */
#define EDGE_REPORT_VERSION_PATCH 0 /**< Part of EDGE_REPORT_VERSION. */

/** What functions return. The texts are those of edge_report_result_text. */
enum {
  /** success */
  EDGE_REPORT_OK = 0,
  /** the JSON text ends too early */
  EDGE_REPORT_E_JSON_UNEXPECTED_END = 1,
  /** unexpected byte */
  EDGE_REPORT_E_JSON_UNEXPECTED_BYTE = 2,
  /** bytes after the end of the JSON text */
  EDGE_REPORT_E_JSON_TRAILING_BYTES = 3,
  /** not a JSON number */
  EDGE_REPORT_E_JSON_BAD_NUMBER = 4,
  /** unknown or incomplete escape in a string */
  EDGE_REPORT_E_JSON_BAD_ESCAPE = 5,
  /** half of a surrogate pair */
  EDGE_REPORT_E_JSON_LONE_SURROGATE = 6,
  /** a control character in a string must be escaped */
  EDGE_REPORT_E_JSON_CONTROL_CHARACTER = 7,
  /** not UTF-8 */
  EDGE_REPORT_E_JSON_NOT_UTF8 = 8,
  /** nested deeper than 128 levels */
  EDGE_REPORT_E_JSON_TOO_DEEP = 9,
  /** begins with a byte order mark, which JSON must not have */
  EDGE_REPORT_E_JSON_BYTE_ORDER_MARK = 10,
  /** required, and missing */
  EDGE_REPORT_E_MISSING = 20,
  /** must not be empty */
  EDGE_REPORT_E_EMPTY = 21,
  /** must be an object */
  EDGE_REPORT_E_NOT_AN_OBJECT = 22,
  /** must be an array */
  EDGE_REPORT_E_NOT_AN_ARRAY = 23,
  /** must be a string */
  EDGE_REPORT_E_NOT_A_STRING = 24,
  /** must be an integer */
  EDGE_REPORT_E_NOT_AN_INTEGER = 25,
  /** must be a string or an object */
  EDGE_REPORT_E_NOT_A_STRING_OR_OBJECT = 26,
  /** does not fit into 64 bits */
  EDGE_REPORT_E_INTEGER_OUT_OF_RANGE = 27,
  /** must be greater than 0 */
  EDGE_REPORT_E_NOT_POSITIVE = 28,
  /** duplicate key */
  EDGE_REPORT_E_DUPLICATE_KEY = 29,
  /** the report is larger than 12 MiB (12582912 bytes) */
  EDGE_REPORT_E_TOO_LARGE = 30,
  /** this time is outside of the years 1970 to 9999 */
  EDGE_REPORT_E_TIME_OUT_OF_RANGE = 31,
  /** a JavaScript number over 9007199254740991 is not exact: use a bigint */
  EDGE_REPORT_E_INTEGER_NOT_EXACT = 32,
  /** not one of the 14 known status names */
  EDGE_REPORT_W_UNKNOWN_STATUS = 60,
  /** looks like seconds; milliseconds are wanted */
  EDGE_REPORT_W_LOOKS_LIKE_SECONDS = 61,
  /** looks like microseconds or nanoseconds; milliseconds are wanted */
  EDGE_REPORT_W_LOOKS_LIKE_MICROSECONDS = 62,
  /** over 2147483647, which some receivers cannot read */
  EDGE_REPORT_W_JOB_ID_OVER_INT32 = 63,
  /** not a key of this contract; receivers ignore it */
  EDGE_REPORT_W_UNKNOWN_KEY = 64,
  /** not of the form YYYY-MM-DD hh:mm:ss */
  EDGE_REPORT_W_ERROR_TIME_FORM = 65,
  /** missing; the service's older documentation requires it */
  EDGE_REPORT_W_TOPIC_MISSING = 66,
  /** the buffer is too small */
  EDGE_REPORT_E_BUFFER_TOO_SMALL = 80,
  /** NULL where none is allowed */
  EDGE_REPORT_E_NULL_POINTER = 90,
  /** unknown struct_size */
  EDGE_REPORT_E_STRUCT_SIZE = 91,
  /** value out of range */
  EDGE_REPORT_E_OUT_OF_RANGE = 92,
  /** only one of two members may be set */
  EDGE_REPORT_E_CONFLICT = 93,
  /** too many items for one call */
  EDGE_REPORT_E_TOO_MANY = 94,
  /** not initialised, ended, or freed */
  EDGE_REPORT_E_NOT_USABLE = 95,
  /** not usable any more after an internal error */
  EDGE_REPORT_E_POISONED = 96,
  /** internal error */
  EDGE_REPORT_E_INTERNAL = 97,
  /** in use by a call that has not returned */
  EDGE_REPORT_E_IN_USE = 98,
  /** the system gave no thread */
  EDGE_REPORT_E_NO_THREAD = 99,
  /** the base URL must begin with http:// or https:// */
  EDGE_REPORT_E_URL_SCHEME = 100,
  /** the base URL has no host, or one with an invalid character */
  EDGE_REPORT_E_URL_HOST = 101,
  /** the port must be a number from 1 to 65535 */
  EDGE_REPORT_E_URL_PORT = 102,
  /** the path of the base URL has an invalid character */
  EDGE_REPORT_E_URL_PATH = 103,
  /** a user name or password in the base URL is not supported */
  EDGE_REPORT_E_URL_USER_INFO = 104,
  /** the base URL must have no query and no fragment */
  EDGE_REPORT_E_URL_QUERY = 105,
  /** the project id is empty, `.` or `..`, or has a character that it must not have there */
  EDGE_REPORT_E_PROJECT_ID = 106,
  /** not a valid header name */
  EDGE_REPORT_E_HEADER_NAME = 107,
  /** a header value must be without control characters */
  EDGE_REPORT_E_HEADER_VALUE = 108,
  /** duplicate header */
  EDGE_REPORT_E_HEADER_TWICE = 109,
  /** the access key is empty or has a character that is invalid in a header */
  EDGE_REPORT_E_ACCESS_KEY = 110,
  /** the secret key is empty, or has white space around it */
  EDGE_REPORT_E_SECRET_KEY = 111,
  /** the token is empty or has a character that is invalid in a header */
  EDGE_REPORT_E_TOKEN = 112,
  /** X-Sdk-Date is not of the form YYYYMMDDThhmmssZ */
  EDGE_REPORT_E_SIGNATURE_DATE = 113,
  /** http:// is refused except to loopback addresses, unless plain HTTP is explicitly allowed */
  EDGE_REPORT_E_PLAIN_HTTP = 114,
  /** no usable CA certificate */
  EDGE_REPORT_E_CA_CERTIFICATE = 115,
  /** no usable client certificate or key, or the two do not match */
  EDGE_REPORT_E_CLIENT_CERTIFICATE = 116,
  /** no usable proxy URL */
  EDGE_REPORT_E_PROXY = 117,
  /** the user agent has a character that is invalid in a header */
  EDGE_REPORT_E_USER_AGENT = 118,
  /** TLS could not be set up */
  EDGE_REPORT_E_TLS_SETUP = 119,
  /** the TLS handshake failed */
  EDGE_REPORT_E_TLS = 120,
  /** the method or the path has a character that is invalid in a request line */
  EDGE_REPORT_E_REQUEST_LINE = 121,
  /** the service codes must be 1 to 8 prefixes, each of printable ASCII and not empty */
  EDGE_REPORT_E_SERVICE_CODES = 122,
  /** the base URL must end before /v1/{project_id}/edgesrv/job-report */
  EDGE_REPORT_E_URL_ENDPOINT = 123,
  /** not sent */
  EDGE_REPORT_E_NOT_SENT = 140,
  /** may have arrived */
  EDGE_REPORT_E_MAY_HAVE_ARRIVED = 141,
  /** a newer report of the same job was accepted */
  EDGE_REPORT_E_OVERTAKEN = 142,
  /** the outbox is full */
  EDGE_REPORT_E_OUTBOX_FULL = 150,
  /** the report is larger than the outbox */
  EDGE_REPORT_E_TOO_LARGE_FOR_OUTBOX = 151,
  /** the storage failed */
  EDGE_REPORT_E_STORAGE = 152,
  /** the outbox was written in another format */
  EDGE_REPORT_E_OTHER_FORMAT = 153,
  /** the outbox has too many segments */
  EDGE_REPORT_E_TOO_MANY_SEGMENTS = 154,
  /** this ticket is not in flight */
  EDGE_REPORT_E_STALE_TICKET = 155,
  /** the spool is in use */
  EDGE_REPORT_E_SPOOL_IN_USE = 156,
  /** the options of the spool do not fit together */
  EDGE_REPORT_E_SPOOL_OPTIONS = 157,
  /** the dead letters are full, and none may be dropped */
  EDGE_REPORT_E_LETTERS_FULL = 158,
  /** the spool's directory is not safe to use */
  EDGE_REPORT_E_SPOOL_DIRECTORY = 159,
  /** not a Flink job id of 32 hex digits */
  EDGE_REPORT_E_FLINK_JOB_ID = 170,
  /** Flink answered with an error */
  EDGE_REPORT_E_FLINK_STATUS = 171,
  /** the response is about another job */
  EDGE_REPORT_E_FLINK_OTHER_JOB = 172,
  /** nothing was asked */
  EDGE_REPORT_E_FLINK_NOT_ASKED = 173,
  /** not a table of jobs that was kept, or a damaged one */
  EDGE_REPORT_E_FLINK_TABLE = 174
};

/** What a response means: the values of edge_report_outcome. */
enum {
  EDGE_REPORT_OUTCOME_ACCEPTED = 1,
  EDGE_REPORT_OUTCOME_REFUSED = 2,
  EDGE_REPORT_OUTCOME_NOT_UNDERSTOOD = 3,
  EDGE_REPORT_OUTCOME_TRY_AGAIN = 4,
  EDGE_REPORT_OUTCOME_CREDENTIALS = 5,
  EDGE_REPORT_OUTCOME_MISCONFIGURED = 6
};

/* The known states of a job. After a final one there is no other. */
#define EDGE_REPORT_STATUS_INIT "job_init" /**< not final */
#define EDGE_REPORT_STATUS_SUBMITTING "job_submitting" /**< not final */
#define EDGE_REPORT_STATUS_SUBMIT_FAIL "job_submit_fail" /**< final */
#define EDGE_REPORT_STATUS_RUNNING "job_running" /**< not final */
#define EDGE_REPORT_STATUS_RUNNING_EXCEPTION "job_running_exception" /**< not final */
#define EDGE_REPORT_STATUS_DOWNLOADING "job_downloading" /**< not final */
#define EDGE_REPORT_STATUS_IDLE "job_idle" /**< not final */
#define EDGE_REPORT_STATUS_CANCELING "job_canceling" /**< not final */
#define EDGE_REPORT_STATUS_CANCEL_SUCCESS "job_cancel_success" /**< final */
#define EDGE_REPORT_STATUS_CANCEL_FAIL "job_cancel_fail" /**< not final */
#define EDGE_REPORT_STATUS_SAVEPOINTING "job_savepointing" /**< not final */
#define EDGE_REPORT_STATUS_ARREARAGE_STOPPED "job_arrearage_stopped" /**< final */
#define EDGE_REPORT_STATUS_ARREARAGE_RECOVERING "job_arrearage_recovering" /**< not final */
#define EDGE_REPORT_STATUS_FINISH "job_finish" /**< final */



/**
 * Room for a path with its NUL. Longer ones (of unknown keys) are cut.
 */
#define EDGE_REPORT_PATH_SIZE 72

#if defined(EDGE_REPORT_FULL)
/**
 * Room for a detail with its NUL. Longer ones are cut.
 */
#define EDGE_REPORT_DETAIL_SIZE 256
#endif

#if !defined(EDGE_REPORT_FULL)
/**
 * Room for a detail with its NUL. Longer ones are cut.
 */
#define EDGE_REPORT_DETAIL_SIZE 44
#endif

/**
 * The most headers of an `edge_report_http_request`.
 */
#define EDGE_REPORT_MAX_HEADERS 6

/**
 * The most bytes of a body that can be accepted or refused. Of a longer one, give at least one byte more: cut, it might be taken for
 * another.
 */
#define EDGE_REPORT_MAX_REPLY_BYTES 65536

/**
 * The most prefixes of error codes that can be set.
 */
#define EDGE_REPORT_MAX_SERVICE_CODES 8

/**
 * What `read` of a storage returns when it fails for a reason that says nothing of what is on the device, and that may pass: a bus that is busy,
 * say, or too many open files. As long as that lasts, whoever asks for the next report gets `EDGE_REPORT_E_STORAGE`. What cannot be read for
 * any other reason is given up after a few tries.
 */
#define EDGE_REPORT_STORAGE_OUTAGE 2147483647

/**
 * All reports.
 */
#define EDGE_REPORT_BACKLOG_KEEP_ALL 0

/**
 * Those that say the newest of some job: what newer waiting reports supersede is dropped before it is sent, so that after an outage each job
 * is current at once. A final status yields only to a final one.
 */
#define EDGE_REPORT_BACKLOG_LATEST_PER_JOB 1

/**
 * Drop the oldest letters, and count them.
 */
#define EDGE_REPORT_LETTERS_DROP_OLDEST 0

/**
 * Drop none: the report stays in the queue, unsent, until somebody made room.
 */
#define EDGE_REPORT_LETTERS_HOLD 1

/**
 * Send the body, then call `edge_report_courier_settle`.
 */
#define EDGE_REPORT_STEP_SEND 1

/**
 * Nothing before `wait_ms` have passed, or something is submitted.
 */
#define EDGE_REPORT_STEP_WAIT 2

/**
 * Nothing waits.
 */
#define EDGE_REPORT_STEP_IDLE 3

/**
 * It arrived. One that went ahead of older reports of its jobs comes once more if one of these arrives after it.
 */
#define EDGE_REPORT_VERDICT_DELIVERED 1

/**
 * It will never be taken: among the dead letters now. Refused by the service; or, as EDGE_REPORT_E_OVERTAKEN, it failed time and again, the
 * last time right after a newer report of its jobs was accepted.
 */
#define EDGE_REPORT_VERDICT_REFUSED 2

/**
 * It is tried again, not before `at_ms`.
 */
#define EDGE_REPORT_VERDICT_AGAIN 3

/**
 * Credentials or settings are wrong: nothing is sent before `at_ms`.
 */
#define EDGE_REPORT_VERDICT_HELD 4

/**
 * Its budget is spent: among the dead letters now.
 */
#define EDGE_REPORT_VERDICT_EXPIRED 5

/**
 * Room for an `error_code` with its NUL. Longer ones are cut.
 */
#define EDGE_REPORT_ERROR_CODE_SIZE 28

/**
 * Room for the text of a reason with its NUL. Longer ones are cut; the bare build keeps 40 bytes.
 */
#define EDGE_REPORT_REASON_TEXT_SIZE 124

#if defined(EDGE_REPORT_FULL)
/**
 * How much memory a courier over callbacks takes at the most, beside its room for reports.
 */
#define EDGE_REPORT_COURIER_SIZE 16384
#endif

#if (!defined(EDGE_REPORT_FULL) && defined(EDGE_REPORT_64_BIT))
/**
 * How much memory a courier over callbacks takes at the most, beside its room for reports.
 */
#define EDGE_REPORT_COURIER_SIZE 7168
#endif

#if (!defined(EDGE_REPORT_FULL) && defined(EDGE_REPORT_32_BIT))
/**
 * How much memory a courier over callbacks takes at the most, beside its room for reports.
 */
#define EDGE_REPORT_COURIER_SIZE 6400
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * How much memory a courier in memory takes at the most, beside five times the length of a report.
 */
#define EDGE_REPORT_COURIER_RAM_SIZE 8192
#endif

#if (!defined(EDGE_REPORT_FULL) && defined(EDGE_REPORT_64_BIT))
/**
 * How much memory a courier in memory takes at the most, beside five times the length of a report.
 */
#define EDGE_REPORT_COURIER_RAM_SIZE 3136
#endif

#if (!defined(EDGE_REPORT_FULL) && defined(EDGE_REPORT_32_BIT))
/**
 * How much memory a courier in memory takes at the most, beside five times the length of a report.
 */
#define EDGE_REPORT_COURIER_RAM_SIZE 3008
#endif

/**
 * Once, when the job runs, and again when it has changed.
 */
#define EDGE_REPORT_FLINK_PLAN_WHEN_NEW 0

/**
 * Never.
 */
#define EDGE_REPORT_FLINK_PLAN_NEVER 1

/**
 * With each report that has details of the job. For receivers and backlogs that keep only the latest report of a job.
 */
#define EDGE_REPORT_FLINK_PLAN_ALWAYS 2

/**
 * A `job_id` that is a hash of it, of 63 bits.
 */
#define EDGE_REPORT_FLINK_IDS_HASH63 0

/**
 * A hash of 31 bits, for receivers that read no more. So is an integer of more bits.
 */
#define EDGE_REPORT_FLINK_IDS_HASH31 1

/**
 * No `job_id`: no report of that job supersedes another.
 */
#define EDGE_REPORT_FLINK_IDS_NONE 2

/**
 * Ask Flink for `path`, then call `edge_report_flink_response` or `edge_report_flink_failed`.
 */
#define EDGE_REPORT_FLINK_STEP_GET 1

/**
 * Store the report, as by edge_report_reporter_submit_encoded, then call `edge_report_flink_reported`.
 */
#define EDGE_REPORT_FLINK_STEP_REPORT 2

/**
 * Nothing before `wait_ms` have passed.
 */
#define EDGE_REPORT_FLINK_STEP_WAIT 3

/**
 * Room for a Flink job id in hex, with its NUL.
 */
#define EDGE_REPORT_FLINK_JID_SIZE 33

#if defined(EDGE_REPORT_64_BIT)
/**
 * How much memory a watch takes at the most, beside its jobs and texts.
 */
#define EDGE_REPORT_FLINK_SIZE 5632
#endif

#if defined(EDGE_REPORT_32_BIT)
/**
 * How much memory a watch takes at the most, beside its jobs and texts.
 */
#define EDGE_REPORT_FLINK_SIZE 5120
#endif

/**
 * How much memory each job of the table takes at the most.
 */
#define EDGE_REPORT_FLINK_SLOT_SIZE 144

#if defined(EDGE_REPORT_FULL)
/**
 * Nothing waits.
 */
#define EDGE_REPORT_PAUSE_IDLE 1
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * The time is up, and something waits.
 */
#define EDGE_REPORT_PAUSE_TIME_UP 2
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * edge_report_client_cancel was called.
 */
#define EDGE_REPORT_PAUSE_CANCELLED 3
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * The service has the report.
 */
#define EDGE_REPORT_EVENT_DELIVERED 1
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * It will never be taken: it is a dead letter, durable where the courier makes things durable.
 */
#define EDGE_REPORT_EVENT_REFUSED 2
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * It could not be delivered now, and is tried again.
 */
#define EDGE_REPORT_EVENT_WAITING 3
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Credentials or settings are wrong, or the clock: nothing is sent for a while, and the report waits, too.
 */
#define EDGE_REPORT_EVENT_HELD 4
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Its budget is spent: it is a dead letter.
 */
#define EDGE_REPORT_EVENT_EXPIRED 5
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * It will never be taken, but cannot be made a dead letter now. It is not sent meanwhile; once it is one, EDGE_REPORT_EVENT_REFUSED or
 * EDGE_REPORT_EVENT_EXPIRED says so.
 */
#define EDGE_REPORT_EVENT_DEAD_LETTER_FAILED 6
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Reports were dropped since newer ones of all their jobs wait.
 */
#define EDGE_REPORT_EVENT_SUPERSEDED 7
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Reports were lost, as the storage lost or changed their bytes.
 */
#define EDGE_REPORT_EVENT_CORRUPT 8
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * A reporter met an error of its storage, and goes on after a pause. Nothing is lost by it.
 */
#define EDGE_REPORT_EVENT_FAILED 9
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Sends reports, one at a time, over one connection that is kept. Opaque.
 *
 * No environment variable changes what it does, and it follows no redirect. Not for a child after `fork`.
 */
typedef struct edge_report_client edge_report_client;
#endif

/**
 * Keeps reports and says what to do with them, until they are delivered. Opaque.
 *
 * At most one report is in flight. Order is by submission for each job, waiting by monotonic time. Any order of calls leaves it valid.
 *
 * Responses that may be somebody else's (a proxy's, a firewall's, a portal's) refuse nothing: a report that gets them time and again steps aside
 * while others go on, and is a dead letter only after `refuse_after` attempts, each followed by another report that was accepted. While
 * nothing is accepted, nothing becomes a dead letter but by `max_attempts` and `max_time_ms`.
 */
typedef struct edge_report_courier edge_report_courier;

/**
 * Learns from a Flink cluster what its jobs do, and says what to report. Opaque.
 *
 * It asks nothing itself: it names the paths of Flink's REST API (versions 1.10 to 2.3), and reads what came back. docs/flink.md says what becomes
 * a report and when. One request is out at a time. Any order of calls leaves it valid.
 */
typedef struct edge_report_flink edge_report_flink;

#if defined(EDGE_REPORT_FULL)
/**
 * Takes reports from any thread, and delivers them by a thread of its own, which is made for it and ends with it. Opaque.
 *
 * A report is stored when edge_report_reporter_submit returns; what becomes of it, the observer is told. While nothing waits, it uses no CPU.
 *
 * Its callbacks may call it back, as each says. A call that would have to wait for the thread or the lock that the callback runs under is
 * refused as EDGE_REPORT_E_IN_USE, and does nothing. Not for a child after `fork`.
 */
typedef struct edge_report_reporter edge_report_reporter;
#endif

/**
 * What a response means: one of `EDGE_REPORT_OUTCOME_…`.
 */
typedef uint32_t edge_report_outcome;

/**
 * 0 (`EDGE_REPORT_OK`), or the number of what is wrong: one of `EDGE_REPORT_E_…` and `EDGE_REPORT_W_…`. Numbers are never reused.
 */
typedef int32_t edge_report_result;

/**
 * A view of text: UTF-8 unless said otherwise, no NUL at its end. It owns nothing.
 *
 * `ptr` NULL with `len` 0 is an absent text, so a struct of zeros has none; a text that is there and empty has another `ptr`.
 * Make one with `EDGE_REPORT_STR("literal")` where it is initialised, or with `edge_report_str_of(pointer)`.
 */
typedef struct edge_report_str {
  /**
   * First byte.
   */
  const char *ptr;
  /**
   * Number of bytes.
   */
  size_t len;
} edge_report_str;

/**
 * The object form of a job's exceptions. All five members are always sent; absent texts are sent empty.
 */
typedef struct edge_report_exception {
  /**
   * Its size: begin with `EDGE_REPORT_EXCEPTION_INIT`.
   */
  size_t struct_size;
  /**
   * For instance `Agent.51000`.
   */
  struct edge_report_str error_id;
  /**
   * For instance `JOB_SUBMIT_EXCEPTION`.
   */
  struct edge_report_str error_type;
  /**
   * For instance `agent_submit_job_exception_error`.
   */
  struct edge_report_str error_cause;
  /**
   * The stack trace or the like.
   */
  struct edge_report_str exception;
  /**
   * When it happened, sent as it is: `YYYY-MM-DD hh:mm:ss` in UTC. Absent: `error_time_ms` counts.
   */
  struct edge_report_str error_time;
  /**
   * When it happened, in milliseconds since 1970 (years 1970 to 9999). 0: not known, sent empty.
   */
  int64_t error_time_ms;
} edge_report_exception;

/** Nothing, but the size: `edge_report_exception x = EDGE_REPORT_EXCEPTION_INIT;` */
#define EDGE_REPORT_EXCEPTION_INIT {sizeof(edge_report_exception), {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}, 0}

/**
 * What one job is doing. Zeros stand for what is absent; `status` and `create_time` are required.
 */
typedef struct edge_report_job {
  /**
   * Its size: begin with `EDGE_REPORT_JOB_INIT`.
   */
  size_t struct_size;
  /**
   * Greater than 0; 0 stands for none. Over 2147483647 some receivers cannot read it.
   */
  int64_t job_id;
  /**
   * Its state: one of `EDGE_REPORT_STATUS_…`, or any other name: it is sent as it is, and edge_report_check warns of it.
   */
  struct edge_report_str status;
  /**
   * When it was created: milliseconds since 1970, greater than 0. Seconds (`time(NULL)`) are sent as they are: edge_report_check warns of
   * them, as EDGE_REPORT_W_LOOKS_LIKE_SECONDS; encoding and submitting do not.
   */
  int64_t create_time;
  /**
   * What went wrong, sent as a string. Not together with `exception`.
   */
  struct edge_report_str exceptions;
  /**
   * What went wrong, sent as an object; or NULL.
   */
  const struct edge_report_exception *exception;
  /**
   * In practice JSON text, sent as a string.
   */
  struct edge_report_str metrics;
  /**
   * In practice JSON text, sent as a string.
   */
  struct edge_report_str plan;
} edge_report_job;

/** Nothing, but the size: `edge_report_job x = EDGE_REPORT_JOB_INIT;` */
#define EDGE_REPORT_JOB_INIT {sizeof(edge_report_job), 0, {NULL, 0}, 0, {NULL, 0}, NULL, {NULL, 0}, {NULL, 0}}

/**
 * One report: what `POST …/edgesrv/job-report` carries.
 */
typedef struct edge_report_report {
  /**
   * Its size: begin with `EDGE_REPORT_REPORT_INIT`.
   */
  size_t struct_size;
  /**
   * The jobs.
   */
  const struct edge_report_job *jobs;
  /**
   * How many; one at least.
   */
  size_t jobs_len;
  /**
   * Where the service confirms the report on the node's message broker. Older documentation requires it.
   */
  struct edge_report_str msg_confirm_topic;
  /**
   * Names the report over all attempts to send it, so that a receiver can drop a repeat. Required.
   */
  struct edge_report_str message_id;
} edge_report_report;

/** Nothing, but the size: `edge_report_report x = EDGE_REPORT_REPORT_INIT;` */
#define EDGE_REPORT_REPORT_INIT {sizeof(edge_report_report), NULL, 0, {NULL, 0}, {NULL, 0}}

/**
 * What went wrong, where, and why: plain data, to be copied at will. No secret is in it.
 *
 * Functions take a pointer to one as their last parameter. It may be NULL; it is written only when the function fails.
 */
typedef struct edge_report_error {
  /**
   * Its size: begin with `EDGE_REPORT_ERROR_INIT`.
   */
  size_t struct_size;
  /**
   * The same as the function's result.
   */
  edge_report_result code;
  /**
   * For `EDGE_REPORT_E_STORAGE`: the error number of the operating system, or of the storage's callback. Else 0.
   */
  int32_t device_error;
  /**
   * For `EDGE_REPORT_E_BUFFER_TOO_SMALL`: how many bytes are enough. Else 0.
   */
  size_t needed;
  /**
   * Byte offset into the text that is wrong: the one that was checked, or that `path` names. Else `EDGE_REPORT_NONE`.
   */
  size_t offset;
  /**
   * Where in the report (`jobs[3].create_time`), or which parameter or member. Ends with NUL; may be empty.
   */
  char path[EDGE_REPORT_PATH_SIZE];
  /**
   * Human-readable detail. Ends with NUL; may be empty, and the bare build writes none.
   */
  char detail[EDGE_REPORT_DETAIL_SIZE];
} edge_report_error;

/** Nothing, but the size: `edge_report_error x = EDGE_REPORT_ERROR_INIT;` */
#define EDGE_REPORT_ERROR_INIT {sizeof(edge_report_error), 0, 0, 0, 0, {0}, {0}}

/**
 * One thing that is wrong or doubtful in a checked text. Plain data.
 */
typedef struct edge_report_finding {
  /**
   * Its size: begin with `EDGE_REPORT_FINDING_INIT`.
   */
  size_t struct_size;
  /**
   * What: one of `EDGE_REPORT_E_…` (breaks the contract) or `EDGE_REPORT_W_…` (a likely mistake).
   */
  edge_report_result code;
  /**
   * 1 if it breaks the contract, 0 if it is a likely mistake.
   */
  uint32_t is_error;
  /**
   * Where: byte offset into the text.
   */
  size_t offset;
  /**
   * Index of the job it is about, or `EDGE_REPORT_NONE`.
   */
  size_t job;
  /**
   * Where: `jobs[3].create_time`. Ends with NUL; empty for the report as a whole.
   */
  char path[EDGE_REPORT_PATH_SIZE];
  /**
   * For EDGE_REPORT_W_UNKNOWN_STATUS: the known name that was probably meant; absent if none is near, and in the bare build. Static.
   */
  struct edge_report_str suggestion;
} edge_report_finding;

/** Nothing, but the size: `edge_report_finding x = EDGE_REPORT_FINDING_INIT;` */
#define EDGE_REPORT_FINDING_INIT {sizeof(edge_report_finding), 0, 0, 0, 0, {0}, {NULL, 0}}

/**
 * How many findings a check had.
 */
typedef struct edge_report_summary {
  /**
   * Its size: begin with `EDGE_REPORT_SUMMARY_INIT`.
   */
  size_t struct_size;
  /**
   * How many break the contract.
   */
  size_t errors;
  /**
   * How many are likely mistakes.
   */
  size_t warnings;
} edge_report_summary;

/** Nothing, but the size: `edge_report_summary x = EDGE_REPORT_SUMMARY_INIT;` */
#define EDGE_REPORT_SUMMARY_INIT {sizeof(edge_report_summary), 0, 0}

/**
 * A report that is written job by job, for agents that cannot hold all jobs at once. In the caller's memory, which must not move
 * between `edge_report_writer_init` and `edge_report_writer_finish`; no part of it is to be touched. It needs no freeing.
 */
typedef struct edge_report_writer {
  /**
   * The library's own.
   */
  uint64_t private_[12];
} edge_report_writer;

/**
 * What signs requests: a key pair, with or without a security token; or a token instead. All absent: requests are not signed.
 */
typedef struct edge_report_credentials {
  /**
   * Its size: begin with `EDGE_REPORT_CREDENTIALS_INIT`.
   */
  size_t struct_size;
  /**
   * Access key of a pair.
   */
  struct edge_report_str access_key;
  /**
   * Secret key of a pair.
   */
  struct edge_report_str secret_key;
  /**
   * Goes with temporary key pairs.
   */
  struct edge_report_str security_token;
  /**
   * A token for `X-Auth-Token`.
   */
  struct edge_report_str token;
} edge_report_credentials;

/** Nothing, but the size: `edge_report_credentials x = EDGE_REPORT_CREDENTIALS_INIT;` */
#define EDGE_REPORT_CREDENTIALS_INIT {sizeof(edge_report_credentials), {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}}

/**
 * A header of a request.
 */
typedef struct edge_report_header {
  /**
   * Its name.
   */
  struct edge_report_str name;
  /**
   * Its value.
   */
  struct edge_report_str value;
} edge_report_header;

/**
 * A request that carries a report, for any HTTP stack.
 */
typedef struct edge_report_http_request {
  /**
   * Its size: begin with `EDGE_REPORT_HTTP_REQUEST_INIT`.
   */
  size_t struct_size;
  /**
   * `POST`. Static.
   */
  struct edge_report_str method;
  /**
   * The path, percent-encoded. In the scratch buffer.
   */
  struct edge_report_str path;
  /**
   * All headers but `Content-Length`: `Host` is the first. They borrow from the arguments and the scratch buffer.
   */
  struct edge_report_header headers[EDGE_REPORT_MAX_HEADERS];
  /**
   * How many of them there are.
   */
  size_t headers_len;
} edge_report_http_request;

/** Nothing, but the size: `edge_report_http_request x = EDGE_REPORT_HTTP_REQUEST_INIT;` */
#define EDGE_REPORT_HTTP_REQUEST_INIT {sizeof(edge_report_http_request), {NULL, 0}, {NULL, 0}, {{{NULL, 0}, {NULL, 0}}}, 0}

/**
 * Any request to the same gateway, as it is signed. Signed are the host, the date, the security token, and all of `headers` but
 * those with `_` in their name.
 */
typedef struct edge_report_signable {
  /**
   * Its size: begin with `EDGE_REPORT_SIGNABLE_INIT`.
   */
  size_t struct_size;
  /**
   * `POST`, `GET`, …
   */
  struct edge_report_str method;
  /**
   * Host with port, as in the `Host` header.
   */
  struct edge_report_str host;
  /**
   * The path as it is sent, percent-encoded.
   */
  struct edge_report_str path;
  /**
   * The very bytes that are sent; may be absent.
   */
  struct edge_report_str body;
  /**
   * The pairs of the query, not encoded, in any order; 16 at most.
   */
  const struct edge_report_header *query;
  /**
   * How many.
   */
  size_t query_len;
  /**
   * Further headers; 16 at most. With an `X-Sdk-Date` among them, that date is signed; with an `X-Sdk-Content-Sha256`, its value in the
   * place of the body's hash, be it a hash or `UNSIGNED-PAYLOAD`.
   */
  const struct edge_report_header *headers;
  /**
   * How many.
   */
  size_t headers_len;
} edge_report_signable;

/** Nothing, but the size: `edge_report_signable x = EDGE_REPORT_SIGNABLE_INIT;` */
#define EDGE_REPORT_SIGNABLE_INIT {sizeof(edge_report_signable), {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}, NULL, 0, NULL, 0}

/**
 * What signing adds to a request. For temporary keys their security token is to be sent too, as `X-Security-Token`.
 */
typedef struct edge_report_signature {
  /**
   * Its size: begin with `EDGE_REPORT_SIGNATURE_INIT`.
   */
  size_t struct_size;
  /**
   * The value of `X-Sdk-Date`. In the buffer.
   */
  struct edge_report_str x_sdk_date;
  /**
   * The value of `Authorization`. In the buffer.
   */
  struct edge_report_str authorization;
} edge_report_signature;

/** Nothing, but the size: `edge_report_signature x = EDGE_REPORT_SIGNATURE_INIT;` */
#define EDGE_REPORT_SIGNATURE_INIT {sizeof(edge_report_signature), {NULL, 0}, {NULL, 0}}

/**
 * A response, read. The texts are as they stand in JSON: `edge_report_unescape` decodes them.
 */
typedef struct edge_report_reply {
  /**
   * Its size: begin with `EDGE_REPORT_REPLY_INIT`.
   */
  size_t struct_size;
  /**
   * What it means.
   */
  edge_report_outcome outcome;
  /**
   * The HTTP status.
   */
  uint32_t status;
  /**
   * For instance `DLI.0001`; may be absent, as the following.
   */
  struct edge_report_str error_code;
  /**
   * The service's reason.
   */
  struct edge_report_str error_msg;
  /**
   * What the service says beside `is_success`.
   */
  struct edge_report_str message;
  /**
   * The gateway's name for the request.
   */
  struct edge_report_str request_id;
  /**
   * How long the server asks to wait, if `has_retry_after` is not 0.
   */
  uint64_t retry_after_ms;
  /**
   * By how much the server's clock is ahead, if `has_clock_skew` is not 0.
   */
  int64_t clock_skew_ms;
  /**
   * Whether `retry_after_ms` counts.
   */
  uint32_t has_retry_after;
  /**
   * Whether `clock_skew_ms` counts.
   */
  uint32_t has_clock_skew;
} edge_report_reply;

/** Nothing, but the size: `edge_report_reply x = EDGE_REPORT_REPLY_INIT;` */
#define EDGE_REPORT_REPLY_INIT {sizeof(edge_report_reply), 0, 0, {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}, 0, 0, 0, 0}

/**
 * What is sent of a backlog: one of `EDGE_REPORT_BACKLOG_…`.
 */
typedef uint32_t edge_report_backlog;

/**
 * What to do when there is no room for another dead letter: one of `EDGE_REPORT_LETTERS_…`.
 */
typedef uint32_t edge_report_letters_full;

/**
 * When to try again, when to stop, and when what is stored is durable. EDGE_REPORT_COURIER_CONFIG_INIT has the defaults.
 */
typedef struct edge_report_courier_config {
  /**
   * Its size: begin with `EDGE_REPORT_COURIER_CONFIG_INIT`.
   */
  size_t struct_size;
  /**
   * The shortest wait after a failure; less than 10 ms counts as 10 ms. Default: 1 s.
   */
  uint64_t min_backoff_ms;
  /**
   * The longest wait after a failure; less than 10 ms counts as 10 ms. Default: 300 s.
   */
  uint64_t max_backoff_ms;
  /**
   * The longest `Retry-After` that is honoured, and at random up to a tenth more. Default: 1 h.
   */
  uint64_t max_retry_after_ms;
  /**
   * How long all sending is held when the credentials or the endpoint are wrong, and at random up to a tenth more; less than 10 ms counts as 10 ms. Default: 300 s.
   */
  uint64_t hold_ms;
  /**
   * The first attempt after the start comes at random within this time. Default: 30 s.
   */
  uint64_t start_spread_ms;
  /**
   * A clock that differs from the server's by more is corrected when credentials fail. Default: 60 s.
   */
  uint64_t max_clock_skew_ms;
  /**
   * How long one report is tried before it expires, from its first attempt since the start. Default: 0, without an end.
   */
  uint64_t max_time_ms;
  /**
   * How often one report is sent since the start before it expires, whatever comes back. Default: 0, without an end.
   */
  uint32_t max_attempts;
  /**
   * After how many failures in a row the circuit counts as open: once the service is back, what waited then goes out step by step, within
   * half a minute. Default: 5.
   */
  uint32_t open_circuit_after;
  /**
   * 0, the default: a report is durable when its `submit` returns. Else reports are made durable together, once so many were submitted.
   */
  uint32_t batch_reports;
  /**
   * Or once the first of them was submitted so long ago; a power cut before that may cost them. Only together with `batch_reports`.
   */
  uint32_t batch_ms;
  /**
   * A report whose responses may be somebody else's (a firewall's 403, a proxy's 413, a server's 500) is refused after so many attempts,
   * each followed by another report that was accepted, and after an hour of them at the least; where others fail, too, after more. 1 or more.
   * Default: 8.
   */
  uint32_t refuse_after;
  /**
   * Default: EDGE_REPORT_BACKLOG_KEEP_ALL.
   */
  edge_report_backlog backlog;
  /**
   * Default: EDGE_REPORT_LETTERS_DROP_OLDEST.
   */
  edge_report_letters_full when_letters_full;
  /**
   * For a courier in memory alone: the most bytes of one report, greater than 0. Default: 1024.
   */
  size_t report_bytes;
} edge_report_courier_config;

/** The defaults: `edge_report_courier_config x = EDGE_REPORT_COURIER_CONFIG_INIT;` */
#define EDGE_REPORT_COURIER_CONFIG_INIT {sizeof(edge_report_courier_config), 1000, 300000, 3600000, 300000, 30000, 60000, 0, 0, 5, 0, 0, 8, 0, 0, 1024}

/**
 * Takes the id and length of a segment; `context` is passed on.
 */
typedef void (*edge_report_storage_each)(void *context,
                                         uint32_t id,
                                         size_t len);

/**
 * A device where reports wait, such as flash: a few functions, and what to call them with. A courier needs two: one for what waits,
 * one for the dead letters.
 *
 * The device keeps segments of bytes, each written from front to back. Each function returns 0, or an error number of the
 * device, which comes back as `device_error` (of these `EDGE_REPORT_STORAGE_OUTAGE` has a meaning). They are called in the course of calls to the
 * courier, by the same thread, and must not call it, throw or longjmp.
 */
typedef struct edge_report_storage {
  /**
   * Its size: begin with `EDGE_REPORT_STORAGE_INIT`.
   */
  size_t struct_size;
  /**
   * Passed to each function.
   */
  void *user;
  /**
   * The length of a segment, unless a report needs a longer one: a multiple of `length_unit`, and no less than a 15th of `max_bytes`.
   */
  size_t segment_bytes;
  /**
   * The most bytes of all segments together; two segments at the least, since what supersedes or forgets others is written before they can be
   * removed. While segments are compacted, there is one more for a moment; and if `length_unit` is less than
   * `segment_bytes`, two of `length_unit` for notes of what was delivered, when there is no room for anything else.
   */
  size_t max_bytes;
  /**
   * A segment that takes the place of others, or has a longer report, may have other lengths, by multiples of this: a block of a file system,
   * or what a flash erases in one go. A multiple of `write_unit`. 0: `segment_bytes`.
   */
  size_t length_unit;
  /**
   * The length of the longest segment there can be; `segment_bytes` at the least. A report that would need a longer one is not taken.
   * 0: `max_bytes`.
   */
  size_t longest_segment;
  /**
   * Everything is written at multiples of this, in multiples of it: 8, 16 or 32. 0: 8. It stays what it was when the first segment was made.
   */
  uint32_t write_unit;
  /**
   * What a byte that was not written reads as: 0x00, or 0xFF as flash does.
   */
  uint32_t blank;
  /**
   * Gives the id and length of each segment there is to `each`, in any order.
   */
  int32_t (*list)(void *user,
                  edge_report_storage_each each,
                  void *context);
  /**
   * Makes a segment that reads as all `blank`. When this returns, it survives a power cut. An id is used only once. After an error it
   * is either not there or all blank.
   */
  int32_t (*create)(void *user,
                    uint32_t id,
                    size_t len);
  /**
   * Fills `buffer` from `offset` on; never past the end.
   */
  int32_t (*read)(void *user,
                  uint32_t id,
                  size_t offset,
                  uint8_t *buffer,
                  size_t len);
  /**
   * Writes at `offset`. It and `len` are multiples of `write_unit`, and no byte is written twice. The last bytes of a segment are written
   * when it is made, the others from front to back. It may reach the device late, in parts and in any order, until `sync`.
   */
  int32_t (*write)(void *user,
                   uint32_t id,
                   size_t offset,
                   const uint8_t *bytes,
                   size_t len);
  /**
   * Returns when all that was written to the segment survives a power cut.
   */
  int32_t (*sync)(void *user,
                  uint32_t id);
  /**
   * Removes a segment, if it is there. When this returns, it stays removed after a power cut.
   */
  int32_t (*discard)(void *user,
                     uint32_t id);
} edge_report_storage;

/** Nothing, but the size: `edge_report_storage x = EDGE_REPORT_STORAGE_INIT;` */
#define EDGE_REPORT_STORAGE_INIT {sizeof(edge_report_storage), NULL, 0, 0, 0, 0, 0, 0, NULL, NULL, NULL, NULL, NULL, NULL}

/**
 * What to do: one of `EDGE_REPORT_STEP_…`.
 */
typedef uint32_t edge_report_step_kind;

/**
 * What to do next.
 */
typedef struct edge_report_step {
  /**
   * Its size: begin with `EDGE_REPORT_STEP_INIT`.
   */
  size_t struct_size;
  /**
   * Which of the following count.
   */
  edge_report_step_kind kind;
  /**
   * SEND: the report's name, for `edge_report_courier_settle`.
   */
  uint64_t ticket;
  /**
   * SEND: its bytes, the same at every attempt. Borrowed from the courier until the next call with it.
   */
  struct edge_report_str body;
  /**
   * SEND: what to add to the wall clock before signing.
   */
  int64_t clock_offset_ms;
  /**
   * WAIT: how long.
   */
  uint64_t wait_ms;
} edge_report_step;

/** Nothing, but the size: `edge_report_step x = EDGE_REPORT_STEP_INIT;` */
#define EDGE_REPORT_STEP_INIT {sizeof(edge_report_step), 0, 0, {NULL, 0}, 0, 0}

/**
 * What became of a report: one of `EDGE_REPORT_VERDICT_…`, or 0.
 */
typedef uint32_t edge_report_verdict_kind;

/**
 * Why a report was not delivered: plain data, to be copied at will. Texts are UTF-8 without control characters.
 */
typedef struct edge_report_reason {
  /**
   * What the response means; 0 if there was none.
   */
  edge_report_outcome outcome;
  /**
   * Why there was no response, such as EDGE_REPORT_E_NOT_SENT or EDGE_REPORT_E_TLS; or EDGE_REPORT_E_OVERTAKEN, since a newer report
   * of the same job was accepted. 0 if there was one.
   */
  edge_report_result code;
  /**
   * The HTTP status of the response; 0 if there was none.
   */
  uint32_t status;
  /**
   * The response's `error_code`. Ends with NUL; may be empty.
   */
  char error_code[EDGE_REPORT_ERROR_CODE_SIZE];
  /**
   * The response's own words, or those of the system or of TLS. Ends with NUL; may be empty.
   */
  char text[EDGE_REPORT_REASON_TEXT_SIZE];
} edge_report_reason;

/**
 * What became of a report after an attempt, and why.
 */
typedef struct edge_report_verdict {
  /**
   * Its size: begin with `EDGE_REPORT_VERDICT_INIT`.
   */
  size_t struct_size;
  /**
   * What.
   */
  edge_report_verdict_kind kind;
  /**
   * Why; all zeros for DELIVERED.
   */
  struct edge_report_reason reason;
  /**
   * AGAIN, HELD: by the monotonic clock.
   */
  uint64_t at_ms;
} edge_report_verdict;

/** Nothing, but the size: `edge_report_verdict x = EDGE_REPORT_VERDICT_INIT;` */
#define EDGE_REPORT_VERDICT_INIT {sizeof(edge_report_verdict), 0, {0, 0, 0, {0}, {0}}, 0}

/**
 * How things stand. `submitted` = `delivered` + `refused` + `superseded` + `expired` + `corrupt` + `waiting`, restarts included.
 */
typedef struct edge_report_courier_state {
  /**
   * Its size: begin with `EDGE_REPORT_COURIER_STATE_INIT`.
   */
  size_t struct_size;
  /**
   * Stored.
   */
  uint64_t submitted;
  /**
   * Accepted by the service.
   */
  uint64_t delivered;
  /**
   * Refused by the service: made dead letters, which may have been forgotten or sent again since.
   */
  uint64_t refused;
  /**
   * Dropped since newer reports of all their jobs waited: when the outbox was full, or by EDGE_REPORT_BACKLOG_LATEST_PER_JOB.
   */
  uint64_t superseded;
  /**
   * Their budget was spent; among the dead letters.
   */
  uint64_t expired;
  /**
   * Lost because the storage changed or lost their bytes.
   */
  uint64_t corrupt;
  /**
   * Not counted above: writes cut short by a crash, whose `submit` had not returned.
   */
  uint64_t torn;
  /**
   * How many wait.
   */
  uint64_t waiting;
  /**
   * Dead letters there are now.
   */
  uint64_t letters;
  /**
   * Dead letters that are gone for good: dropped to make room for newer ones, or lost by the storage.
   */
  uint64_t letters_dropped;
  /**
   * The ticket in flight, or 0.
   */
  uint64_t in_flight;
  /**
   * Nothing is sent before then, by the monotonic clock.
   */
  uint64_t not_before_ms;
  /**
   * When something is sent next, as far as was known at the last call, if `has_next_attempt` is not 0.
   */
  uint64_t next_attempt_ms;
  /**
   * The correction of the wall clock in use.
   */
  int64_t clock_offset_ms;
  /**
   * The ticket of the verdict given last, or 0.
   */
  uint64_t last_ticket;
  /**
   * The ticket of the last failure since something was accepted, or 0.
   */
  uint64_t failure_ticket;
  /**
   * Whether `next_attempt_ms` counts: not while something is in flight, or nothing waits.
   */
  uint32_t has_next_attempt;
  /**
   * The kind of the verdict given last, or 0.
   */
  edge_report_verdict_kind last_kind;
  /**
   * How many of those that wait stepped aside, since only they get bad responses, or cannot be made dead letters yet.
   */
  uint32_t aside;
  /**
   * Failures in a row.
   */
  uint32_t failures;
  /**
   * 1 when so many failed in a row that the network or service counts as down, else 0.
   */
  uint32_t circuit_open;
  /**
   * Why the last failure was one, or why a report could not be made a dead letter; all zeros if `failure_ticket` is 0.
   */
  struct edge_report_reason failure;
} edge_report_courier_state;

/** Nothing, but the size: `edge_report_courier_state x = EDGE_REPORT_COURIER_STATE_INIT;` */
#define EDGE_REPORT_COURIER_STATE_INIT {sizeof(edge_report_courier_state), 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, {0, 0, 0, {0}, {0}}}

/**
 * A report that will not be sent: it was refused, or expired.
 */
typedef struct edge_report_letter {
  /**
   * Its size: begin with `EDGE_REPORT_LETTER_INIT`.
   */
  size_t struct_size;
  /**
   * Its name; 0 if there is no such letter.
   */
  uint64_t ticket;
  /**
   * Its bytes. Borrowed from the courier until the next call with it.
   */
  struct edge_report_str body;
  /**
   * Why.
   */
  struct edge_report_reason reason;
} edge_report_letter;

/** Nothing, but the size: `edge_report_letter x = EDGE_REPORT_LETTER_INIT;` */
#define EDGE_REPORT_LETTER_INIT {sizeof(edge_report_letter), 0, {NULL, 0}, {0, 0, 0, {0}, {0}}}

/**
 * When a job's plan is reported: one of `EDGE_REPORT_FLINK_PLAN_…`. It has 2 to 60 KB.
 */
typedef uint32_t edge_report_flink_plan;

/**
 * What becomes of a Flink id that is no integer and not mapped: one of `EDGE_REPORT_FLINK_IDS_…`.
 */
typedef uint32_t edge_report_flink_ids;

/**
 * A `job_id` given by hand.
 */
typedef struct edge_report_flink_mapped_job {
  /**
   * The job's name in Flink, or its id in 32 hex digits.
   */
  struct edge_report_str job;
  /**
   * What it is reported as. 0 or less: without an id.
   */
  int64_t job_id;
} edge_report_flink_mapped_job;

/**
 * How a watch asks and reports. EDGE_REPORT_FLINK_CONFIG_INIT has the defaults; docs/flink.md says why they are what they are.
 */
typedef struct edge_report_flink_config {
  /**
   * Its size: begin with `EDGE_REPORT_FLINK_CONFIG_INIT`.
   */
  size_t struct_size;
  /**
   * From an overview's response to the next overview; less than 100 ms is 100 ms. Default: 5 s.
   */
  uint64_t poll_ms;
  /**
   * A job that goes on as it was is reported again after so long; 0: never; less than `poll_ms` is as much as that. Default: 60 s.
   */
  uint64_t heartbeat_ms;
  /**
   * Details are asked for when a change is this old: for so long Flink answers from a cache. Default: 3 s.
   */
  uint64_t cache_ms;
  /**
   * A job that had an exception is running again when nothing has happened to it for so long. Default: 10 s.
   */
  uint64_t steady_ms;
  /**
   * How many requests go to Flink within `poll_ms`, the overview included; 65535 at most, less than 4 is 4. Default: 20.
   */
  uint32_t requests;
  /**
   * Default: EDGE_REPORT_FLINK_PLAN_WHEN_NEW.
   */
  edge_report_flink_plan plan;
  /**
   * Default: EDGE_REPORT_FLINK_IDS_HASH63.
   */
  edge_report_flink_ids other_ids;
  /**
   * 1: exceptions are reported as a string. Default: 0, as an object.
   */
  uint32_t exceptions_as_text;
  /**
   * How many bytes of a stack trace are reported. Default: 2048.
   */
  size_t exception_bytes;
  /**
   * The metrics of a job, separated by commas; of more than 400 bytes the rest is left out. Empty: no metrics at all. Absent: the default, how
   * long it runs, its restarts and its checkpoints.
   */
  struct edge_report_str metrics;
  /**
   * What message ids begin with; of more than 64 bytes the rest is left out. Where several nodes report to one project, give each its own.
   * Absent: `flink`.
   */
  struct edge_report_str node;
  /**
   * Which `job_id` stands for which job of Flink's; may be NULL.
   */
  const struct edge_report_flink_mapped_job *mapped;
  /**
   * How many.
   */
  size_t mapped_len;
} edge_report_flink_config;

/** The defaults: `edge_report_flink_config x = EDGE_REPORT_FLINK_CONFIG_INIT;` */
#define EDGE_REPORT_FLINK_CONFIG_INIT {sizeof(edge_report_flink_config), 5000, 60000, 3000, 10000, 20, 0, 0, 0, 2048, {NULL, 0}, {NULL, 0}, NULL, 0}

/**
 * What to do: one of `EDGE_REPORT_FLINK_STEP_…`.
 */
typedef uint32_t edge_report_flink_step_kind;

/**
 * What to do next with Flink.
 */
typedef struct edge_report_flink_step {
  /**
   * Its size: begin with `EDGE_REPORT_FLINK_STEP_INIT`.
   */
  size_t struct_size;
  /**
   * Which of the following count.
   */
  edge_report_flink_step_kind kind;
  /**
   * REPORT: 1 if it says that a job has ended; then it is about this job alone. Else 0.
   */
  uint32_t is_final;
  /**
   * GET: path and query, to be put behind Flink's address. Borrowed from the watch until the next call with it.
   */
  struct edge_report_str path;
  /**
   * REPORT: its bytes, at the front of the buffer.
   */
  struct edge_report_str body;
  /**
   * REPORT: its name. That of an end derives from job, state and time: after a restart it is the same. Borrowed like `path`.
   */
  struct edge_report_str message_id;
  /**
   * WAIT: how long.
   */
  uint64_t wait_ms;
} edge_report_flink_step;

/** Nothing, but the size: `edge_report_flink_step x = EDGE_REPORT_FLINK_STEP_INIT;` */
#define EDGE_REPORT_FLINK_STEP_INIT {sizeof(edge_report_flink_step), 0, 0, {NULL, 0}, {NULL, 0}, {NULL, 0}, 0}

/**
 * How things stand with a watch.
 */
typedef struct edge_report_flink_state {
  /**
   * Its size: begin with `EDGE_REPORT_FLINK_STATE_INIT`.
   */
  size_t struct_size;
  /**
   * How many jobs are in the table, ended ones included.
   */
  size_t jobs;
  /**
   * How many of them have changed and are not reported yet.
   */
  size_t unreported;
  /**
   * How many bytes `edge_report_flink_save` writes at the most.
   */
  size_t saved_len;
  /**
   * How many jobs the cluster lists that have no room in the table and are not reported.
   */
  uint32_t unwatched;
  /**
   * 1 if the last overview came, else 0.
   */
  uint32_t is_up;
  /**
   * 1 if the table has changed since it was saved, else 0.
   */
  uint32_t needs_saving;
} edge_report_flink_state;

/** Nothing, but the size: `edge_report_flink_state x = EDGE_REPORT_FLINK_STATE_INIT;` */
#define EDGE_REPORT_FLINK_STATE_INIT {sizeof(edge_report_flink_state), 0, 0, 0, 0, 0, 0}

#if defined(EDGE_REPORT_FULL)
/**
 * How much room a spool takes. Zeros stand for the defaults.
 */
typedef struct edge_report_spool_options {
  /**
   * Its size: begin with `EDGE_REPORT_SPOOL_OPTIONS_INIT`.
   */
  size_t struct_size;
  /**
   * The most bytes of reports that wait; 16 KiB or more. Default: 64 MiB.
   */
  uint64_t max_bytes;
  /**
   * The bytes of one segment: a 64th to a quarter of `max_bytes`, in steps of 4 KiB. Default: the 64th, but at least 64 KiB
   * where that is less than the quarter.
   */
  uint64_t segment_bytes;
  /**
   * The most bytes of dead letters; the oldest go first, or see `when_letters_full`. A report that would not fit is not taken. Default:
   * 16 MiB, which holds the largest report there can be.
   */
  uint64_t dead_letter_bytes;
} edge_report_spool_options;

/** Nothing, but the size: `edge_report_spool_options x = EDGE_REPORT_SPOOL_OPTIONS_INIT;` */
#define EDGE_REPORT_SPOOL_OPTIONS_INIT {sizeof(edge_report_spool_options), 0, 0, 0}
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * The settings of a client. All but the first three may be zeros, which stand for the defaults.
 */
typedef struct edge_report_client_config {
  /**
   * Its size: begin with `EDGE_REPORT_CLIENT_CONFIG_INIT`.
   */
  size_t struct_size;
  /**
   * `https://` or `http://`, host, optional port and path.
   */
  struct edge_report_str base_url;
  /**
   * The project.
   */
  struct edge_report_str project_id;
  /**
   * NULL: requests are not signed. Copied; the copy is wiped when the client is freed.
   */
  const struct edge_report_credentials *credentials;
  /**
   * The prefixes by which the service's own error codes are known: see `edge_report_read_reply_with`.
   */
  const struct edge_report_str *service_codes;
  /**
   * How many. Default: `DLI.` alone.
   */
  size_t service_codes_len;
  /**
   * CA certificates, PEM (one or more) or DER: these are trusted, and no others. Default: the bundled Mozilla roots, or the
   * system's with its TLS.
   */
  struct edge_report_str ca_certificate;
  /**
   * Shown to servers that ask for a certificate: PEM. Together with its key.
   */
  struct edge_report_str client_certificate;
  /**
   * The key to it: PEM, not encrypted. The copy is wiped; what the TLS library keeps of the key is its own.
   */
  struct edge_report_str client_key;
  /**
   * `http://user:password@host:port`. Default: none.
   */
  struct edge_report_str proxy;
  /**
   * The `User-Agent` header. Default: `edge-report/` and the version.
   */
  struct edge_report_str user_agent;
  /**
   * The most that looking up the name may take, and then connecting (to the proxy, if there is one). Default: 10 s. Like all timeouts,
   * a day at the most.
   */
  uint32_t connect_timeout_ms;
  /**
   * The most a TLS handshake may take. Default: 30 s.
   */
  uint32_t tls_timeout_ms;
  /**
   * The most that sending may take, and what the report's length takes at `min_rate`. Default: 15 s.
   */
  uint32_t send_timeout_ms;
  /**
   * The most that the response may take once the system has the report, and what the report's length takes at `min_rate`. Default: 15 s.
   */
  uint32_t response_timeout_ms;
  /**
   * The most one send may take in all, and what the report's length takes at `min_rate`. Default: 60 s.
   */
  uint32_t total_timeout_ms;
  /**
   * The slowest link that a long report must get through, in bytes a second: 64 KB may take 66 s more than an empty one. Default: 1000.
   */
  uint32_t min_rate;
  /**
   * How long a connection that is not used is kept, a day at the most. Default: 90 s, so that a report a minute needs no new handshake.
   * Where a firewall forgets connections and says nothing, set less than its limit.
   */
  uint32_t max_idle_ms;
  /**
   * 1 allows `http://` to hosts other than loopback, and through a proxy: tokens and reports go out in the clear. Without it a name such
   * as `localhost` is believed only when the address that it leads to is a loopback one.
   */
  uint32_t allow_plain_http;
  /**
   * See edge_report_client_set_known_time. Default: the release date of this library.
   */
  int64_t known_time_ms;
} edge_report_client_config;

/** Nothing, but the size: `edge_report_client_config x = EDGE_REPORT_CLIENT_CONFIG_INIT;` */
#define EDGE_REPORT_CLIENT_CONFIG_INIT {sizeof(edge_report_client_config), {NULL, 0}, {NULL, 0}, NULL, NULL, 0, {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}, 0, 0, 0, 0, 0, 0, 0, 0, 0}
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Whom to trust, and who the client is: for edge_report_client_set_tls. What is empty is as in edge_report_client_config.
 *
 * Not checked is whether a certificate was revoked: no CRL and no OCSP response is asked for or read.
 */
typedef struct edge_report_tls {
  /**
   * Its size: begin with `EDGE_REPORT_TLS_INIT`.
   */
  size_t struct_size;
  /**
   * CA certificates, PEM (one or more) or DER: these are trusted, and no others.
   */
  struct edge_report_str ca_certificate;
  /**
   * Shown to servers that ask for a certificate: PEM. Together with its key.
   */
  struct edge_report_str client_certificate;
  /**
   * The key to it: PEM, not encrypted.
   */
  struct edge_report_str client_key;
} edge_report_tls;

/** Nothing, but the size: `edge_report_tls x = EDGE_REPORT_TLS_INIT;` */
#define EDGE_REPORT_TLS_INIT {sizeof(edge_report_tls), {NULL, 0}, {NULL, 0}, {NULL, 0}}
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * The caller's own lock, for a courier that other threads submit to. Best one that serves threads in the order in which they ask: with another,
 * a thread that submits without a pause may keep delivery waiting while the disk is slow.
 */
typedef struct edge_report_lock {
  /**
   * Its size: begin with `EDGE_REPORT_LOCK_INIT`.
   */
  size_t struct_size;
  /**
   * Passed to both.
   */
  void *user;
  /**
   * Returns when the calling thread has the lock.
   */
  void (*lock)(void *user);
  /**
   * Gives it back.
   */
  void (*unlock)(void *user);
} edge_report_lock;

/** Nothing, but the size: `edge_report_lock x = EDGE_REPORT_LOCK_INIT;` */
#define EDGE_REPORT_LOCK_INIT {sizeof(edge_report_lock), NULL, NULL, NULL}
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * What happened: one of `EDGE_REPORT_EVENT_…`. The first five are the numbers of `EDGE_REPORT_VERDICT_…`.
 */
typedef uint32_t edge_report_event_kind;
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * What became of a report, or why nothing is sent. All of it is the library's, and holds until the callback returns.
 */
typedef struct edge_report_event {
  /**
   * Its size in the library; members of a newer header that lie beyond it are not there.
   */
  size_t struct_size;
  /**
   * What happened.
   */
  edge_report_event_kind kind;
  /**
   * FAILED: the error number of the operating system, or of the storage's callback; 0 if there is none.
   */
  int32_t device_error;
  /**
   * DELIVERED to DEAD_LETTER_FAILED: the report's name.
   */
  uint64_t ticket;
  /**
   * The same: its `message_id`, decoded.
   */
  struct edge_report_str message_id;
  /**
   * The same: its bytes.
   */
  struct edge_report_str report;
  /**
   * WAITING, HELD, FAILED: when the next attempt comes at the earliest, by the monotonic clock. Else 0.
   */
  uint64_t at_ms;
  /**
   * SUPERSEDED, CORRUPT: how many since the last event of this kind.
   */
  uint64_t count;
  /**
   * A line for a log: `report 7 is a dead letter: refused: 400 DLI.0001 no such job`. UTF-8, without the report's bytes.
   */
  struct edge_report_str line;
  /**
   * Why; all zeros for DELIVERED, SUPERSEDED and CORRUPT.
   */
  struct edge_report_reason reason;
  /**
   * DEAD_LETTER_FAILED: why it cannot be made a dead letter.
   */
  struct edge_report_reason obstacle;
} edge_report_event;

/** Nothing, but the size: `edge_report_event x = EDGE_REPORT_EVENT_INIT;` */
#define EDGE_REPORT_EVENT_INIT {sizeof(edge_report_event), 0, 0, 0, {NULL, 0}, {NULL, 0}, 0, 0, {NULL, 0}, {0, 0, 0, {0}, {0}}, {0, 0, 0, {0}, {0}}}
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Who is told what becomes of reports.
 */
typedef struct edge_report_observer {
  /**
   * Its size: begin with `EDGE_REPORT_OBSERVER_INIT`.
   */
  size_t struct_size;
  /**
   * Passed to the function.
   */
  void *user;
  /**
   * Told of each event, in order; the next report waits until it returns. It must not throw or longjmp.
   */
  void (*event)(void *user,
                const struct edge_report_event *event);
} edge_report_observer;

/** Nothing, but the size: `edge_report_observer x = EDGE_REPORT_OBSERVER_INIT;` */
#define EDGE_REPORT_OBSERVER_INIT {sizeof(edge_report_observer), NULL, NULL}
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Why delivery paused: one of `EDGE_REPORT_PAUSE_…`.
 */
typedef uint32_t edge_report_pause;
#endif

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * The version of the library in use, as `EDGE_REPORT_VERSION` is that of this header. Static, ends with NUL. Any thread.
 */
const char *edge_report_version(void);

/**
 * The name of an outcome, such as `try_again`; `unknown` for a number that is none. Static, ends with NUL. Any thread.
 */
const char *edge_report_outcome_name(edge_report_outcome outcome);

/**
 * The name of a result, such as `BufferTooSmall`; `Ok` for 0 and `Unknown` for a number that is none. Static, ends with NUL. Any thread.
 */
const char *edge_report_result_name(edge_report_result result);

/**
 * A result as one human-readable line. Static, ends with NUL. Any thread.
 */
const char *edge_report_result_text(edge_report_result result);

/**
 * Checks a report and writes its canonical bytes to the front of a buffer. Likely mistakes, such as seconds for milliseconds, are no
 * errors: edge_report_check of these bytes lists them, and is worth its while wherever reports are first made.
 *
 * A buffer of exactly `edge_report_encoded_len` bytes is enough. The bytes have no NUL at their end.
 *
 * Borrows all arguments for the call. Any thread. Does not block.
 *
 * @param len on success, how many bytes were written; after EDGE_REPORT_E_BUFFER_TOO_SMALL, how many are needed. Required.
 * @return EDGE_REPORT_OK, or the report's first error, with its path. Then the content of the buffer means nothing.
 */
edge_report_result edge_report_encode(const struct edge_report_report *report,
                                      void *buffer,
                                      size_t capacity,
                                      size_t *len,
                                      struct edge_report_error *error);

/**
 * Tells how many bytes `edge_report_encode` writes.
 *
 * Borrows all arguments for the call. Any thread. Does not block.
 *
 * @return EDGE_REPORT_OK, or what makes the structs unreadable; other errors of the report are found by edge_report_encode.
 */
edge_report_result edge_report_encoded_len(const struct edge_report_report *report,
                                           size_t *len,
                                           struct edge_report_error *error);

/**
 * Checks a report that is JSON text, from anywhere, and lists all that is wrong or doubtful in it, in one pass.
 *
 * Borrows all arguments for the call; the findings borrow nothing. Any thread. Does not block.
 *
 * @param text     JSON, `text_len` bytes; it need not be UTF-8, since that is checked, too.
 * @param findings room for `capacity` findings, or NULL with 0. The first ones are kept.
 * @param summary  how many findings there were in all; or NULL. It and the findings are written whenever the text was
 *                 checked, also when it has errors.
 * @return EDGE_REPORT_OK if the text has no errors (it may have warnings); else its first error, with path and offset.
 */
edge_report_result edge_report_check(const void *text,
                                     size_t text_len,
                                     struct edge_report_finding *findings,
                                     size_t capacity,
                                     struct edge_report_summary *summary,
                                     struct edge_report_error *error);

/**
 * Begins a report in a buffer. The room for its end is set aside, so that `edge_report_writer_finish` always fits.
 * May be called again for a new report; one that was begun before is dropped.
 *
 * Borrows `buffer`, `msg_confirm_topic` and `message_id` until `edge_report_writer_finish`. One thread at a time. Does not block.
 *
 * @param writer            memory for the writer; its content does not matter.
 * @param msg_confirm_topic may be absent.
 * @return EDGE_REPORT_OK. After an error the writer is not usable.
 */
edge_report_result edge_report_writer_init(struct edge_report_writer *writer,
                                           void *buffer,
                                           size_t capacity,
                                           struct edge_report_str msg_confirm_topic,
                                           struct edge_report_str message_id,
                                           struct edge_report_error *error);

/**
 * Adds a job. One that is invalid or does not fit leaves what was written before intact.
 *
 * Borrows `job` for the call. One thread at a time. Does not block.
 *
 * @return EDGE_REPORT_OK; EDGE_REPORT_E_BUFFER_TOO_SMALL, with how many bytes the report would need with this job; or what is
 *         wrong with the job.
 */
edge_report_result edge_report_writer_job(struct edge_report_writer *writer,
                                          const struct edge_report_job *job,
                                          struct edge_report_error *error);

/**
 * Tells how many jobs are written, and how many bytes the report has if it ends here.
 *
 * Borrows its arguments for the call. Threads may share the writer for it. Does not block.
 *
 * @param jobs may be NULL.
 * @param len  may be NULL.
 */
edge_report_result edge_report_writer_status(const struct edge_report_writer *writer,
                                             size_t *jobs,
                                             size_t *len,
                                             struct edge_report_error *error);

/**
 * Ends the report: its bytes stand at the front of the buffer. The writer can only be begun again after this, whatever the result.
 *
 * Gives the borrowed memory back. One thread at a time. Does not block.
 *
 * @return EDGE_REPORT_OK, or EDGE_REPORT_E_EMPTY if there is no job.
 */
edge_report_result edge_report_writer_finish(struct edge_report_writer *writer,
                                             size_t *len,
                                             struct edge_report_error *error);

/**
 * Writes the whole URL that reports go to, which stays the same. It has no NUL at its end.
 *
 * Borrows all arguments for the call. Any thread. Does not block.
 *
 * @param len on success, how many bytes were written; after EDGE_REPORT_E_BUFFER_TOO_SMALL, how many are needed.
 * @return EDGE_REPORT_OK, or what is wrong with the URL or the project id, with its offset.
 */
edge_report_result edge_report_url(struct edge_report_str base_url,
                                   struct edge_report_str project_id,
                                   void *buffer,
                                   size_t capacity,
                                   size_t *len,
                                   struct edge_report_error *error);

/**
 * Makes the request that carries a report: its path and its signature are written to a scratch buffer.
 *
 * Borrows all arguments for the call; the result borrows from `base_url`, `project_id`, `credentials` and `scratch`, and holds
 * as long as these do. Any thread. Does not block.
 *
 * @param credentials NULL: the request is not signed.
 * @param body        the bytes of the report, which are to be sent unchanged.
 * @param unix_ms     the wall clock: milliseconds since 1970. Must be within 15 minutes of the server's for key pairs.
 * @param scratch     512 bytes do for usual keys and URLs; if not, the error says how many do, the same number for every body and time.
 * @return EDGE_REPORT_OK; what is wrong with the URL, with its offset; or with the credentials.
 */
edge_report_result edge_report_request(struct edge_report_str base_url,
                                       struct edge_report_str project_id,
                                       const struct edge_report_credentials *credentials,
                                       const void *body,
                                       size_t body_len,
                                       int64_t unix_ms,
                                       void *scratch,
                                       size_t capacity,
                                       struct edge_report_http_request *request,
                                       struct edge_report_error *error);

/**
 * Signs any request to the same gateway with a key pair.
 *
 * Borrows all arguments for the call; the result is in `buffer`. Any thread. Does not block.
 *
 * @param credentials a key pair.
 * @param unix_ms     the wall clock: milliseconds since 1970.
 * @return EDGE_REPORT_OK, or what cannot be signed; EDGE_REPORT_E_TOO_MANY headers or query parameters.
 */
edge_report_result edge_report_sign(const struct edge_report_signable *request,
                                    const struct edge_report_credentials *credentials,
                                    int64_t unix_ms,
                                    void *buffer,
                                    size_t capacity,
                                    struct edge_report_signature *signature,
                                    struct edge_report_error *error);

/**
 * Writes the canonical request whose hash is signed: what to compare when a server calls a signature wrong.
 * It has the security token in it, and no key.
 *
 * Borrows all arguments for the call. Any thread. Does not block.
 *
 * @param len on success, how many bytes were written; after EDGE_REPORT_E_BUFFER_TOO_SMALL, how many are needed.
 */
edge_report_result edge_report_canonical_request(const struct edge_report_signable *request,
                                                 const struct edge_report_credentials *credentials,
                                                 int64_t unix_ms,
                                                 void *buffer,
                                                 size_t capacity,
                                                 size_t *len,
                                                 struct edge_report_error *error);

/**
 * Reads the response to a report. The body may be cut or anything else: a report is accepted or refused only by a whole JSON object
 * of the service itself, of EDGE_REPORT_MAX_REPLY_BYTES at the most. With 400, 404, 405, 409, 413 and 422, and with an `error_code`
 * under 200, that is one whose `error_code` is `DLI.` and digits: others may refuse what they know nothing of, and their responses
 * are EDGE_REPORT_OUTCOME_NOT_UNDERSTOOD.
 *
 * Borrows all arguments for the call; the texts of the result borrow from `body`. Any thread. Does not block.
 *
 * @param status      the HTTP status.
 * @param retry_after the header `Retry-After`; may be absent.
 * @param date        the header `Date`; may be absent.
 * @param unix_ms     the wall clock when the response came, as it is: without the correction of edge_report_step.
 */
edge_report_result edge_report_read_reply(uint32_t status,
                                          struct edge_report_str retry_after,
                                          struct edge_report_str date,
                                          const void *body,
                                          size_t body_len,
                                          int64_t unix_ms,
                                          struct edge_report_reply *reply,
                                          struct edge_report_error *error);

/**
 * Like `edge_report_read_reply`, for a service with error codes of its own.
 *
 * Borrows all arguments for the call; the texts of the result borrow from `body`. Any thread. Does not block.
 *
 * @param service_codes     the prefixes by which the service's error codes are known, EDGE_REPORT_MAX_SERVICE_CODES at the most,
 *                          each of printable ASCII and not empty. A code is the service's when it is one of them and at least one
 *                          character more; after `DLI.`, digits and nothing else.
 * @param service_codes_len how many; 0 stands for `DLI.` alone.
 * @return EDGE_REPORT_OK, or EDGE_REPORT_E_SERVICE_CODES.
 */
edge_report_result edge_report_read_reply_with(const struct edge_report_str *service_codes,
                                               size_t service_codes_len,
                                               uint32_t status,
                                               struct edge_report_str retry_after,
                                               struct edge_report_str date,
                                               const void *body,
                                               size_t body_len,
                                               int64_t unix_ms,
                                               struct edge_report_reply *reply,
                                               struct edge_report_error *error);

/**
 * Decodes a text of a response: from how it stands in JSON to plain UTF-8, which is never longer.
 *
 * Borrows all arguments for the call. Any thread. Does not block.
 *
 * @param len on success, how many bytes were written; after EDGE_REPORT_E_BUFFER_TOO_SMALL, how many are enough.
 */
edge_report_result edge_report_unescape(struct edge_report_str text,
                                        void *buffer,
                                        size_t capacity,
                                        size_t *len,
                                        struct edge_report_error *error);

/**
 * Makes a courier whose reports wait in the caller's memory: they are lost with it. The bare build needs no heap; the full one keeps an
 * index of the jobs there, once the memory was full.
 *
 * `EDGE_REPORT_COURIER_RAM(report_bytes)` is always enough, and little more than the minimum: the courier, room for one report of
 * `report_bytes`, and for four that wait or are dead letters. All memory beyond that is room for more of them.
 *
 * Takes the memory until `edge_report_courier_free`; borrows the rest for the call. Any thread. Does not block.
 *
 * @param config  NULL: the defaults.
 * @param now_ms  the monotonic clock: milliseconds since any start.
 * @param entropy a random number.
 * @param courier gives the handle, which is in the memory.
 * @return EDGE_REPORT_OK; EDGE_REPORT_E_BUFFER_TOO_SMALL, with the least length of memory; or what is wrong with the arguments.
 */
edge_report_result edge_report_courier_new_ram(void *memory,
                                               size_t memory_len,
                                               const struct edge_report_courier_config *config,
                                               uint64_t now_ms,
                                               uint64_t entropy,
                                               struct edge_report_courier **courier,
                                               struct edge_report_error *error);

/**
 * Makes a courier whose reports wait on a device behind callbacks, whatever a crash has left there. The bare build needs no heap; the full one
 * keeps indexes of reports, jobs and letters there.
 *
 * `EDGE_REPORT_COURIER_SIZE` bytes of the memory are for the courier, the rest is room for one report.
 *
 * Takes the memory until `edge_report_courier_free`; copies the two tables, whose `user` must hold as long; borrows the rest for
 * the call. Any thread. Blocks as long as the device does.
 *
 * @param live    where reports wait.
 * @param dead    where dead letters are kept; segments of its own.
 * @param config  NULL: the defaults.
 * @param now_ms  the monotonic clock: milliseconds since any start.
 * @param entropy a random number, best one of all 64 bits: it also names a new storage, so that segments of another are told apart.
 * @param courier gives the handle, which is in the memory.
 * @return EDGE_REPORT_OK; EDGE_REPORT_E_STORAGE with the device's number; EDGE_REPORT_E_OTHER_FORMAT, and nothing was touched;
 *         EDGE_REPORT_E_TOO_MANY_SEGMENTS; or what is wrong with the arguments: `path` names the member, such as `live.create`.
 */
edge_report_result edge_report_courier_new_storage(const struct edge_report_storage *live,
                                                   const struct edge_report_storage *dead,
                                                   void *memory,
                                                   size_t memory_len,
                                                   const struct edge_report_courier_config *config,
                                                   uint64_t now_ms,
                                                   uint64_t entropy,
                                                   struct edge_report_courier **courier,
                                                   struct edge_report_error *error);

/**
 * Frees a courier: makes durable what is not yet, and gives its memory back. The handle is not usable after it. NULL is fine; within a call of
 * the courier, a delivery from it, or while a reporter lends it, it does nothing.
 *
 * Takes the courier. One thread at a time. Blocks as long as its storage does.
 */
void edge_report_courier_free(struct edge_report_courier *courier);

/**
 * Checks and encodes a report and stores it. When this returns, the report is as durable as the courier makes things. Likely mistakes, such as
 * seconds for milliseconds, are stored and sent as they are: only edge_report_check tells them.
 *
 * Borrows the report for the call. One thread at a time. Blocks as long as the storage does.
 *
 * @param unix_ms the wall clock, for the age of what waits (edge_report_courier_oldest); 0 if it is not known.
 * @param ticket  the report's name, counted from 1; may be NULL.
 * @return EDGE_REPORT_OK; what is wrong with the report; EDGE_REPORT_E_OUTBOX_FULL when only reports that must be kept are left;
 *         EDGE_REPORT_E_TOO_LARGE_FOR_OUTBOX or EDGE_REPORT_E_BUFFER_TOO_SMALL when it can never fit, also not as a dead letter;
 *         EDGE_REPORT_E_STORAGE: it may be stored anyway, so submit it again with the same message_id.
 */
edge_report_result edge_report_courier_submit(struct edge_report_courier *courier,
                                              const struct edge_report_report *report,
                                              uint64_t now_ms,
                                              int64_t unix_ms,
                                              uint64_t *ticket,
                                              struct edge_report_error *error);

/**
 * Like `edge_report_courier_submit`, for a report that is encoded: these very bytes are sent. They are checked.
 *
 * Borrows the bytes for the call. One thread at a time. Blocks as long as the storage does.
 */
edge_report_result edge_report_courier_submit_encoded(struct edge_report_courier *courier,
                                                      const void *body,
                                                      size_t body_len,
                                                      uint64_t now_ms,
                                                      int64_t unix_ms,
                                                      uint64_t *ticket,
                                                      struct edge_report_error *error);

/**
 * Says what to do next. Calling it again changes nothing: the same report is offered until `edge_report_courier_settle`.
 *
 * The step's body is borrowed from the courier until the next call with it. One thread at a time. Blocks as long as the storage
 * does.
 *
 * @return EDGE_REPORT_OK; EDGE_REPORT_E_BUFFER_TOO_SMALL if the room for one report is too small for one that waits;
 *         EDGE_REPORT_E_STORAGE.
 */
edge_report_result edge_report_courier_next(struct edge_report_courier *courier,
                                            uint64_t now_ms,
                                            struct edge_report_step *step,
                                            struct edge_report_error *error);

/**
 * Tells what came back for the report in flight, and says what becomes of it.
 *
 * Borrows `reply`, its texts and `failure` for the call, and copies of the texts what the reason keeps. One thread at a time. Blocks as
 * long as the storage does.
 *
 * A report that cannot be made a dead letter now (no room, a failing storage) is not sent any more, and that is tried again: see `aside`
 * and `failure` of edge_report_courier_state.
 *
 * @param result  EDGE_REPORT_OK: a response came, see `reply`. EDGE_REPORT_E_NOT_SENT: not sent.
 *                EDGE_REPORT_E_MAY_HAVE_ARRIVED: it went out, and no whole response came. Any other: it cannot work as configured,
 *                such as EDGE_REPORT_E_TLS. The result of `edge_report_client_send` can be passed on.
 * @param reply   counts only with EDGE_REPORT_OK; else it may be NULL. Its texts count, too: they must hold, or be absent.
 * @param failure counts only without a reply: what went wrong, as edge_report_client_send wrote it, or with a `detail` of your own. Nothing
 *                else of it is read. May be NULL.
 * @param entropy a random number, new each time.
 * @param verdict may be NULL.
 * @return EDGE_REPORT_OK; EDGE_REPORT_E_STALE_TICKET if it is not in flight; EDGE_REPORT_E_STORAGE: settle again.
 */
edge_report_result edge_report_courier_settle(struct edge_report_courier *courier,
                                              uint64_t ticket,
                                              edge_report_result result,
                                              const struct edge_report_reply *reply,
                                              const struct edge_report_error *failure,
                                              uint64_t now_ms,
                                              uint64_t entropy,
                                              struct edge_report_verdict *verdict,
                                              struct edge_report_error *error);

/**
 * Tells how things stand.
 *
 * Borrows its arguments for the call. Threads may share the courier for it. Does not block.
 */
edge_report_result edge_report_courier_status(const struct edge_report_courier *courier,
                                              struct edge_report_courier_state *status,
                                              struct edge_report_error *error);

/**
 * Tells of a report that became a dead letter when another one was settled, so that no edge_report_courier_settle of its own said so: it failed
 * time and again while others were accepted. Each is told once; the last few are kept.
 *
 * One thread at a time. Does not block.
 *
 * @param ticket its name; 0 if there is none.
 * @param reason why; may be NULL, and is written only if there is one.
 */
edge_report_result edge_report_courier_take_dead_letter(struct edge_report_courier *courier,
                                                        uint64_t *ticket,
                                                        struct edge_report_reason *reason,
                                                        struct edge_report_error *error);

/**
 * Tells when the oldest report that waits was submitted.
 *
 * One thread at a time. Blocks as long as the storage does.
 *
 * @param unix_ms what its submit was given; 0 if that was nothing, or nothing waits.
 */
edge_report_result edge_report_courier_oldest(struct edge_report_courier *courier,
                                              int64_t *unix_ms,
                                              struct edge_report_error *error);

/**
 * Lets the next attempt come at once, and what waits after it: the network is back, somebody changed the credentials, or made room for dead
 * letters. Failures so far count no more.
 *
 * Each call does so, however often: it ends a hold for denied credentials and a `Retry-After`, too. For news of a link, which may come often, there
 * is edge_report_reporter_wake, which does not. Where many nodes learn of that in the same moment, spread the calls.
 *
 * One thread at a time. Does not block.
 */
edge_report_result edge_report_courier_wake(struct edge_report_courier *courier,
                                            uint64_t now_ms,
                                            struct edge_report_error *error);

/**
 * Makes durable all that is not yet.
 *
 * One thread at a time. Blocks as long as the storage does.
 */
edge_report_result edge_report_courier_flush(struct edge_report_courier *courier,
                                             struct edge_report_error *error);

/**
 * Gives the dead letter after the one with ticket `after`, in the order in which they became letters; with 0, or if that is not there any
 * more, the first of all. If there is none, its ticket is 0.
 *
 * The letter's body is borrowed from the courier until the next call with it. One thread at a time. Blocks as long as the storage
 * does.
 */
edge_report_result edge_report_courier_dead_letter(struct edge_report_courier *courier,
                                                   uint64_t after,
                                                   struct edge_report_letter *letter,
                                                   struct edge_report_error *error);

/**
 * Gives the dead letter of this ticket. If there is none, its ticket is 0.
 *
 * The letter's body is borrowed from the courier until the next call with it. One thread at a time. Blocks as long as the storage
 * does.
 */
edge_report_result edge_report_courier_find_dead_letter(struct edge_report_courier *courier,
                                                        uint64_t ticket,
                                                        struct edge_report_letter *letter,
                                                        struct edge_report_error *error);

/**
 * Submits a dead letter again, as a new report with the same bytes, and forgets the letter.
 *
 * One thread at a time. Blocks as long as the storage does.
 *
 * @param ticket  which; 0: the first of all.
 * @param unix_ms as with edge_report_courier_submit.
 * @param again   the name of the new report, or 0 if there was no such letter; may be NULL.
 * @return what edge_report_courier_submit can give; unless it is EDGE_REPORT_OK the letter stays.
 */
edge_report_result edge_report_courier_resubmit_dead_letter(struct edge_report_courier *courier,
                                                            uint64_t ticket,
                                                            uint64_t now_ms,
                                                            int64_t unix_ms,
                                                            uint64_t *again,
                                                            struct edge_report_error *error);

/**
 * Forgets the dead letter of this ticket, if it is there.
 *
 * One thread at a time. Blocks as long as the storage does.
 */
edge_report_result edge_report_courier_forget_dead_letter(struct edge_report_courier *courier,
                                                          uint64_t ticket,
                                                          struct edge_report_error *error);

/**
 * Forgets the dead letter of this ticket, and all that became letters before it; nothing if it is not there.
 *
 * One thread at a time. Blocks as long as the storage does.
 */
edge_report_result edge_report_courier_forget_dead_letters(struct edge_report_courier *courier,
                                                           uint64_t up_to,
                                                           struct edge_report_error *error);

/**
 * Writes the id to submit a job to Flink with, so that it is reported under this `job_id`: the integer in 32 hex digits, and a NUL.
 *
 * Any thread. Does not block.
 *
 * @param job_id greater than 0.
 * @param jid    room for EDGE_REPORT_FLINK_JID_SIZE bytes.
 * @return EDGE_REPORT_OK, or EDGE_REPORT_E_NOT_POSITIVE.
 */
edge_report_result edge_report_flink_jid(int64_t job_id,
                                         char *jid,
                                         struct edge_report_error *error);

/**
 * Makes a watch that knows nothing yet, in the caller's memory. No build needs a heap for it.
 *
 * `EDGE_REPORT_FLINK_MEMORY(jobs, text_bytes)` is enough, and for a configuration with mapped jobs the size of that table more. All memory that is left is
 * for the texts of one report: 4 KB are enough for an end with its exception and metrics; more, for more jobs in a report and for plans (2 to 60 KB each).
 * What has no room there is cut or left out; a status is always reported.
 *
 * Takes the memory until `edge_report_flink_free`, and borrows the texts of the configuration as long; borrows the rest for the call. Any thread. Does not
 * block.
 *
 * @param jobs   for how many jobs there is room, greater than 0: all that run at once, and some more. Ended ones leave when they are reported.
 * @param config NULL: the defaults.
 * @param flink  gives the handle, which is in the memory.
 * @return EDGE_REPORT_OK; EDGE_REPORT_E_BUFFER_TOO_SMALL, with the least length of memory; or what is wrong with the arguments.
 */
edge_report_result edge_report_flink_new(void *memory,
                                         size_t memory_len,
                                         size_t jobs,
                                         const struct edge_report_flink_config *config,
                                         struct edge_report_flink **flink,
                                         struct edge_report_error *error);

/**
 * Frees a watch: gives its memory back. The handle is not usable after it. NULL is fine.
 *
 * Takes the watch. One thread at a time. Does not block.
 */
void edge_report_flink_free(struct edge_report_flink *flink);

/**
 * Says what to do next. Calling it again changes nothing, until it is told what came of it: by `edge_report_flink_response`,
 * `edge_report_flink_failed` or `edge_report_flink_reported`.
 *
 * `EDGE_REPORT_FLINK_REPORT(text_bytes)` bytes are enough for any report, and the half of it for all that Flink is known to say.
 *
 * The step's path and message id are borrowed from the watch until the next call with it, its body is in the buffer. One thread at a time. Does not block.
 *
 * @param buffer where the bytes of a report are written.
 * @return EDGE_REPORT_OK; EDGE_REPORT_E_BUFFER_TOO_SMALL, with how many bytes are enough: the report stays, and is offered again.
 */
edge_report_result edge_report_flink_next(struct edge_report_flink *flink,
                                          uint64_t now_ms,
                                          void *buffer,
                                          size_t capacity,
                                          struct edge_report_flink_step *step,
                                          struct edge_report_error *error);

/**
 * Takes Flink's response to the path that `edge_report_flink_next` gave: any status, any body, whole or cut. Read up to 1 MiB.
 *
 * Borrows the body for the call. One thread at a time. Does not block.
 *
 * @param status the HTTP status.
 * @return EDGE_REPORT_OK; or why the response was of no use, for a log: the watch goes on. EDGE_REPORT_E_FLINK_STATUS: not 200 to 299;
 *         EDGE_REPORT_E_FLINK_OTHER_JOB; EDGE_REPORT_E_FLINK_NOT_ASKED; or what is wrong with the body, with its offset.
 */
edge_report_result edge_report_flink_response(struct edge_report_flink *flink,
                                              uint32_t status,
                                              const void *body,
                                              size_t body_len,
                                              uint64_t now_ms,
                                              struct edge_report_error *error);

/**
 * Tells that no response came, or one that is too large: the connection, a timeout.
 *
 * One thread at a time. Does not block.
 */
edge_report_result edge_report_flink_failed(struct edge_report_flink *flink,
                                            uint64_t now_ms,
                                            struct edge_report_error *error);

/**
 * Tells whether the report that `edge_report_flink_next` gave is stored. If not, it comes again after `poll_ms`: one of an end with the same bytes, others
 * as things stand then. One that can never be stored (EDGE_REPORT_E_TOO_LARGE_FOR_OUTBOX) keeps others waiting until it is told as stored.
 *
 * One thread at a time. Does not block.
 *
 * @param is_stored 0, or 1.
 */
edge_report_result edge_report_flink_reported(struct edge_report_flink *flink,
                                              uint32_t is_stored,
                                              struct edge_report_error *error);

/**
 * Tells that the agent itself asked this job to stop: if it ends as `FINISHED`, as with a savepoint, that is reported as `job_cancel_success`.
 *
 * Borrows the id for the call. One thread at a time. Does not block.
 *
 * @param jid      Flink's id, 32 hex digits.
 * @param is_known gives 1 if the job is in the table, else 0, and nothing is done; may be NULL.
 * @return EDGE_REPORT_OK, or EDGE_REPORT_E_FLINK_JOB_ID.
 */
edge_report_result edge_report_flink_stop_asked(struct edge_report_flink *flink,
                                                struct edge_report_str jid,
                                                uint32_t *is_known,
                                                struct edge_report_error *error);

/**
 * Tells under which `job_id` the watch reports a job: what is mapped by hand, else the integer that Flink's id is, else a hash of it.
 *
 * Borrows its arguments for the call. Threads may share the watch for it. Does not block.
 *
 * @param jid  Flink's id, 32 hex digits.
 * @param name the job's name in Flink; may be absent.
 * @param id   gives it; 0 if the job is reported without one.
 * @return EDGE_REPORT_OK, or EDGE_REPORT_E_FLINK_JOB_ID.
 */
edge_report_result edge_report_flink_job_id(const struct edge_report_flink *flink,
                                            struct edge_report_str jid,
                                            struct edge_report_str name,
                                            int64_t *id,
                                            struct edge_report_error *error);

/**
 * Writes the table, so that an end is reported once over restarts, too. Save it when a report is stored: what is forgotten by a crash in between is reported
 * again under the same message id.
 *
 * One thread at a time. Does not block.
 *
 * @param len on success, how many bytes were written; after EDGE_REPORT_E_BUFFER_TOO_SMALL, how many are enough. Required.
 */
edge_report_result edge_report_flink_save(struct edge_report_flink *flink,
                                          void *buffer,
                                          size_t capacity,
                                          size_t *len,
                                          struct edge_report_error *error);

/**
 * Takes a table that `edge_report_flink_save` wrote: what it has is known, and not reported again. For a new watch, before the first
 * `edge_report_flink_next`; it may have room for another number of jobs.
 *
 * Borrows the bytes for the call. One thread at a time. Does not block.
 *
 * @return EDGE_REPORT_OK; EDGE_REPORT_E_FLINK_TABLE: damaged, cut, or of another version. Then the watch begins with an empty table, and what it reports again
 *         has the message ids that it had.
 */
edge_report_result edge_report_flink_restore(struct edge_report_flink *flink,
                                             const void *table,
                                             size_t table_len,
                                             uint64_t now_ms,
                                             struct edge_report_error *error);

/**
 * Tells how things stand.
 *
 * Borrows its arguments for the call. Threads may share the watch for it. Does not block.
 */
edge_report_result edge_report_flink_status(const struct edge_report_flink *flink,
                                            struct edge_report_flink_state *status,
                                            struct edge_report_error *error);

#if defined(EDGE_REPORT_FULL)
/**
 * Makes a courier whose reports wait in a directory: they survive a restart, a kill and a power cut. The directory is made if its
 * parent is there; it is for its owner alone, and one process at a time has it open. One that others may use, that belongs to another
 * user or is a symbolic link is refused; a process forked from the one that opened it gets errors, and does no harm.
 *
 * Borrows all arguments for the call. Any thread. Blocks as long as the file system does.
 *
 * @param dir     the directory, UTF-8.
 * @param options NULL: the defaults.
 * @param config  NULL: the defaults. Its `report_bytes` does not count here.
 * @param now_ms  the monotonic clock: `edge_report_monotonic_ms()`.
 * @param entropy a random number: `edge_report_random()`.
 * @param courier gives the handle; free it with edge_report_courier_free.
 * @return EDGE_REPORT_OK; EDGE_REPORT_E_SPOOL_IN_USE; EDGE_REPORT_E_SPOOL_DIRECTORY; EDGE_REPORT_E_STORAGE with the system's error number;
 *         EDGE_REPORT_E_OTHER_FORMAT; EDGE_REPORT_E_TOO_MANY_SEGMENTS; EDGE_REPORT_E_SPOOL_OPTIONS. What is stored stays as it is.
 */
edge_report_result edge_report_courier_new_spool(struct edge_report_str dir,
                                                 const struct edge_report_spool_options *options,
                                                 const struct edge_report_courier_config *config,
                                                 uint64_t now_ms,
                                                 uint64_t entropy,
                                                 struct edge_report_courier **courier,
                                                 struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * The monotonic clock in milliseconds: on Linux since the start of the machine, suspended time included; elsewhere since the first call in
 * this process. Any thread. Does not block.
 */
uint64_t edge_report_monotonic_ms(void);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * The wall clock: milliseconds since 1970. Any thread. Does not block.
 */
int64_t edge_report_unix_ms(void);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * A random number for jitter, not for secrets. Any thread. Does not block.
 */
uint64_t edge_report_random(void);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Checks all settings and makes a client. Touches no network.
 *
 * Borrows the config for the call, and copies what it needs. Any thread. Does not block.
 *
 * @param client gives the handle; free it with edge_report_client_free.
 * @return EDGE_REPORT_OK, or which setting cannot be used, and why.
 */
edge_report_result edge_report_client_new(const struct edge_report_client_config *config,
                                          struct edge_report_client **client,
                                          struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Frees a client; its keys and tokens are wiped, but not what the TLS library made of `client_key`, nor the password of a proxy. The handle is
 * not usable after it. NULL is fine; within a call of the client, or while a reporter lends it, it does nothing.
 *
 * Takes the client. One thread at a time. Does not block.
 */
void edge_report_client_free(struct edge_report_client *client);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Checks a report, encodes it, sends it once and reads the response.
 *
 * Borrows the report for the call; the texts of the reply borrow from the client until the next call with it. One thread at a
 * time. Blocks for `total_timeout_ms`, and what the report's length takes at `min_rate`, at the most.
 *
 * @return EDGE_REPORT_OK: a response came, and `reply->outcome` says what it means. EDGE_REPORT_E_NOT_SENT: not sent, try
 *         again later. EDGE_REPORT_E_MAY_HAVE_ARRIVED: send it again with the same message_id. Others: the report or a setting is
 *         wrong.
 */
edge_report_result edge_report_client_send(struct edge_report_client *client,
                                           const struct edge_report_report *report,
                                           struct edge_report_reply *reply,
                                           struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Like `edge_report_client_send`, for a report that is encoded: these very bytes are signed and sent, unchecked.
 *
 * Borrows the bytes for the call; the texts of the reply borrow from the client until the next call with it. One thread at a time.
 * Blocks for `total_timeout_ms`, and what the report's length takes at `min_rate`, at the most.
 */
edge_report_result edge_report_client_send_encoded(struct edge_report_client *client,
                                                   const void *body,
                                                   size_t body_len,
                                                   struct edge_report_reply *reply,
                                                   struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Replaces the credentials, from the next report on: tokens live 24 hours. After an error the old ones stay.
 *
 * Borrows `credentials` for the call, and copies them; NULL: requests are not signed any more. One thread at a time. Does not block.
 */
edge_report_result edge_report_client_set_credentials(struct edge_report_client *client,
                                                      const struct edge_report_credentials *credentials,
                                                      struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Replaces the CA and client certificates, from the next report on: certificates expire. The old connection is closed; no report
 * fails for it. After an error all stays as it was.
 *
 * Borrows `tls` for the call, and copies it. One thread at a time. Does not block.
 */
edge_report_result edge_report_client_set_tls(struct edge_report_client *client,
                                              const struct edge_report_tls *tls,
                                              struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Tells the client that it is at least this late: certificates are verified at the latest of this, the release date of this library, and the
 * system's clock, so that a node that boots in 1970 can deliver. A certificate that has expired by then is accepted anyway if it has not by
 * the system's clock, or where that is before the release, by this. From a source that can be trusted: an RTC, GNSS. The system's TLS knows
 * its own clock alone.
 *
 * One thread at a time. Does not block.
 */
edge_report_result edge_report_client_set_known_time(struct edge_report_client *client,
                                                     int64_t unix_ms,
                                                     struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Signs with a clock that is ahead of the system's by `ms`: see `clock_skew_ms` of a reply. edge_report_client_deliver sets it, too.
 *
 * One thread at a time. Does not block.
 */
edge_report_result edge_report_client_set_clock_offset(struct edge_report_client *client,
                                                       int64_t ms,
                                                       struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Delivers what waits in a courier, one report after the other, until nothing waits or the time is up.
 *
 * Borrows all arguments for the call; the observer's `user` must hold as long. One thread at a time has the client. The courier is this thread's
 * alone for the call. With `lock` it is so only while the lock is held, which is not while something is sent, so that other threads can submit
 * under the same lock. All times given to this courier must be `edge_report_monotonic_ms()`. Blocks for `timeout_ms`, and the time of one send
 * more, at the most; edge_report_client_cancel ends it.
 *
 * @param lock  NULL: no other thread uses the courier.
 * @param observer told of each event, by this thread, without the lock. It may use the courier, under the lock if there is one, and call
 *              edge_report_client_wake and _cancel; other calls of the client are EDGE_REPORT_E_IN_USE there. What it submits may be left to the
 *              next delivery. NULL: nobody.
 * @param pause why it returned: one of EDGE_REPORT_PAUSE_…; may be NULL.
 * @return EDGE_REPORT_OK, whatever became of the reports: see edge_report_courier_status, whose `failure` tells why something is not
 *         delivered. EDGE_REPORT_E_STORAGE and the like: the courier's storage failed; what is stored stays.
 */
edge_report_result edge_report_client_deliver(struct edge_report_client *client,
                                              struct edge_report_courier *courier,
                                              const struct edge_report_lock *lock,
                                              uint32_t timeout_ms,
                                              const struct edge_report_observer *observer,
                                              edge_report_pause *pause,
                                              struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Sleeps until another thread calls edge_report_client_wake or edge_report_client_cancel, or the time is up. For a thread that delivers, after
 * EDGE_REPORT_PAUSE_IDLE: whoever submits wakes it.
 *
 * One thread at a time. Blocks for `timeout_ms` at the most.
 *
 * @param timeout_ms 0: until it is woken.
 */
edge_report_result edge_report_client_wait(struct edge_report_client *client,
                                           uint32_t timeout_ms,
                                           struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Something was submitted, or edge_report_courier_wake was called: a delivery of this client that sleeps looks again at once, and
 * edge_report_client_wait returns. If neither runs, the next one begins that way.
 *
 * Any thread, also while another has the client, but not while it is freed. Does not block.
 */
edge_report_result edge_report_client_wake(const struct edge_report_client *client,
                                           struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Ends the call of this client that runs, within 100 ms, whatever it waits for of the network or the time: a delivery with
 * EDGE_REPORT_PAUSE_CANCELLED, a send as EDGE_REPORT_E_NOT_SENT or EDGE_REPORT_E_MAY_HAVE_ARRIVED. A delivery whose disk syncs, or that
 * waits for a courier which another thread has locked meanwhile, ends right after. If none runs, the next one ends at once.
 *
 * The report that was being delivered stays in flight, and the next delivery begins with it, under the same `message_id`: it may have
 * arrived. What was cancelled is no failure, and counts as no attempt.
 *
 * Any thread, also while another has the client, but not while it is freed. Does not block.
 */
edge_report_result edge_report_client_cancel(const struct edge_report_client *client,
                                             struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Begins to deliver what waits in a courier, on a thread of its own.
 *
 * Takes the client and the courier, unless one of the arguments is wrong: their handles are not usable after it, and are not to be freed. A
 * courier's memory is the library's until edge_report_reporter_free. All times that the courier was given must be
 * `edge_report_monotonic_ms()`. Borrows `observer` for the call, and copies it; its `user` must hold until the reporter is stopped. One thread
 * at a time has the two. Does not block.
 *
 * @param observer told of each event, on the reporter's thread and without a lock. It may call edge_report_reporter_submit, _status, _wake and
 *                 _with_courier of this reporter; the others are EDGE_REPORT_E_IN_USE there. NULL: nobody.
 * @param reporter gives the handle; free it with edge_report_reporter_free.
 * @return EDGE_REPORT_OK; EDGE_REPORT_E_IN_USE: the client or the courier is in a call, or is lent by another reporter; EDGE_REPORT_E_NO_THREAD:
 *         the two are freed, and what is in a spool stays there.
 */
edge_report_result edge_report_reporter_new(struct edge_report_client *client,
                                            struct edge_report_courier *courier,
                                            const struct edge_report_observer *observer,
                                            struct edge_report_reporter **reporter,
                                            struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Checks and encodes a report and stores it, with the time of now; the thread delivers it. Likely mistakes are no errors, as with
 * edge_report_courier_submit.
 *
 * Borrows the report for the call. Any thread, also the observer's. Blocks as long as the storage does, and while another thread has the courier.
 *
 * @param ticket the report's name, counted from 1; may be NULL.
 * @return what edge_report_courier_submit can give.
 */
edge_report_result edge_report_reporter_submit(const struct edge_report_reporter *reporter,
                                               const struct edge_report_report *report,
                                               uint64_t *ticket,
                                               struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Like `edge_report_reporter_submit`, for a report that is encoded: these very bytes are sent. They are checked.
 *
 * Borrows the bytes for the call. Any thread, also the observer's. Blocks as long as the storage does, and while another thread has the courier.
 */
edge_report_result edge_report_reporter_submit_encoded(const struct edge_report_reporter *reporter,
                                                       const void *body,
                                                       size_t body_len,
                                                       uint64_t *ticket,
                                                       struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Tells how things stand.
 *
 * Borrows its arguments for the call. Any thread, also the observer's. Blocks while another thread has the courier.
 */
edge_report_result edge_report_reporter_status(const struct edge_report_reporter *reporter,
                                               struct edge_report_courier_state *status,
                                               struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Waits until nothing waits for delivery and that is durable, or the time is up. What has its time to be tried again after that time is left
 * waiting.
 *
 * Any thread but the observer's, which gets EDGE_REPORT_E_IN_USE. Blocks for `timeout_ms` at the most, and as long as the storage does.
 *
 * @param pause why it returned: EDGE_REPORT_PAUSE_IDLE or EDGE_REPORT_PAUSE_TIME_UP; may be NULL.
 */
edge_report_result edge_report_reporter_flush(const struct edge_report_reporter *reporter,
                                              uint32_t timeout_ms,
                                              edge_report_pause *pause,
                                              struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Tries again at once: the network is back, or somebody changed what was wrong. It may be called for each news of a link: until a report is
 * accepted it ends waits once a minute, and never a hold for denied credentials or a `Retry-After`. After edge_report_reporter_with_client it
 * ends these, too; so does edge_report_courier_wake.
 *
 * Any thread, also the observer's. Blocks while another thread has the courier.
 */
edge_report_result edge_report_reporter_wake(const struct edge_report_reporter *reporter,
                                             struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Calls `use` with the courier, for what a reporter has no function for: dead letters, for one. Delivery waits meanwhile, and looks again
 * afterwards.
 *
 * The courier is lent until `use` returns: it is not to be freed or kept. Within `use`, all calls of the reporter are EDGE_REPORT_E_IN_USE;
 * times that the courier is given are `edge_report_monotonic_ms()`. `use` must not throw or longjmp. Any thread, also the observer's.
 * Blocks while another thread has the courier.
 *
 * @param user passed to `use`.
 */
edge_report_result edge_report_reporter_with_courier(const struct edge_report_reporter *reporter,
                                                     void (*use)(void *user,
                                                                 struct edge_report_courier *courier),
                                                     void *user,
                                                     struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Calls `use` with the client, to give it other credentials or certificates. A report that is being sent is interrupted, and sent again
 * afterwards under the same `message_id`, since it may have arrived; that attempt is not interrupted, so that reports go out however often this
 * is called. edge_report_reporter_wake then tries at once what waits for them.
 *
 * The client is lent until `use` returns: it is not to be freed or kept. Within `use`, calls of the reporter that wait for delivery are
 * EDGE_REPORT_E_IN_USE. `use` must not throw or longjmp. Any thread but the observer's, which gets EDGE_REPORT_E_IN_USE. Blocks for 100 ms, or
 * until the first attempt after an interruption ends: for the client's timeouts at the most; and what the observer and the storage take.
 *
 * @param user passed to `use`.
 */
edge_report_result edge_report_reporter_with_client(const struct edge_report_reporter *reporter,
                                                    void (*use)(void *user,
                                                                struct edge_report_client *client),
                                                    void *user,
                                                    struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Ends the thread, also within a send, and makes durable what is not yet. What waits in a spool is delivered after the next start; what was
 * being sent is sent again then. Nothing is told after it, and the reporter only serves to be freed.
 *
 * One thread, while no other is in a call of this reporter; not in one of its callbacks: EDGE_REPORT_E_IN_USE. Blocks for 100 ms at the most, and
 * what the observer and the storage take.
 *
 * @return EDGE_REPORT_OK; EDGE_REPORT_E_STORAGE: it is stopped anyway.
 */
edge_report_result edge_report_reporter_stop(struct edge_report_reporter *reporter,
                                             struct edge_report_error *error);
#endif

#if defined(EDGE_REPORT_FULL)
/**
 * Frees a reporter, after edge_report_reporter_stop unless that was called; its errors are lost. The handle is not usable after it. NULL is fine;
 * in a callback of the reporter it does nothing.
 *
 * Takes the reporter. One thread, while no other is in a call of it. Blocks as edge_report_reporter_stop does.
 */
void edge_report_reporter_free(struct edge_report_reporter *reporter);
#endif

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

/** Initialises an edge_report_str from a string literal: `edge_report_str id = EDGE_REPORT_STR("node-7-000001");` */
#define EDGE_REPORT_STR(literal) {"" literal, sizeof("" literal) - 1}

/** Memory that is enough for edge_report_courier_new_ram with reports of so many bytes, for an array of static size. */
#define EDGE_REPORT_COURIER_RAM(report_bytes) ((size_t)EDGE_REPORT_COURIER_RAM_SIZE + 5 * (size_t)(report_bytes))

/** Memory that is enough for edge_report_flink_new with room for so many jobs, and so many bytes of texts. */
#define EDGE_REPORT_FLINK_MEMORY(jobs, text_bytes) \
  ((size_t)EDGE_REPORT_FLINK_SIZE + (size_t)EDGE_REPORT_FLINK_SLOT_SIZE * (size_t)(jobs) + (size_t)(text_bytes))

/** A buffer that is enough for any report of a watch with so many bytes of texts. */
#define EDGE_REPORT_FLINK_REPORT(text_bytes) (6144 + 6 * (size_t)(text_bytes))

/** A view of a string that ends with NUL; an absent text for NULL. */
static inline edge_report_str edge_report_str_of(const char *text) {
  edge_report_str view = {text, 0};
  while (text != NULL && text[view.len] != '\0') view.len++;
  return view;
}

#endif /* EDGE_REPORT_H */
