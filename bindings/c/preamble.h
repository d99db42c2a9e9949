
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
