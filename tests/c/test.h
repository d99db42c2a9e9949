/* What the C tests share: checks that count, and say where they failed. */
#ifndef EDGE_REPORT_TEST_H
#define EDGE_REPORT_TEST_H

#include <edge_report.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned checks, failures;
/* What the checks are about. */
static char about[160];

static inline int check_that(int holds, const char *what, const char *file, int line) {
  checks++;
  if (!holds) {
    failures++;
    if (failures < 50) fprintf(stderr, "%s:%d: %s%s%s\n", file, line, about, about[0] ? ": " : "", what);
  }
  return holds;
}

static inline void check_result(edge_report_result got, edge_report_result wanted, const char *what, const char *file, int line) {
  if (!check_that(got == wanted, what, file, line) && failures < 50)
    fprintf(stderr, "  gave %s, wanted %s\n", edge_report_result_name(got), edge_report_result_name(wanted));
}

#define CHECK(condition) check_that((condition) != 0, #condition, __FILE__, __LINE__)
#define GIVES(wanted, call) check_result((call), (wanted), #call, __FILE__, __LINE__)
#define OK(call) GIVES(EDGE_REPORT_OK, call)

/* Ends the test; one that checked less than it should fails too. */
static inline int done(const char *name, unsigned at_least) {
  about[0] = 0;
  CHECK(checks >= at_least);
  printf("%s: %u checks, %u failed\n", name, checks, failures);
  return failures != 0;
}

static inline edge_report_str str(const char *text) { return edge_report_str_of(text); }

static inline edge_report_str view(const void *ptr, size_t len) {
  edge_report_str text = {(const char *)ptr, len};
  return text;
}

static inline int same(edge_report_str text, const void *ptr, size_t len) {
  return text.len == len && (len == 0 || memcmp(text.ptr, ptr, len) == 0);
}

/* A job that is valid, and a report of it. */
#define SAMPLE_JOB(job)                                                     \
  edge_report_job job = EDGE_REPORT_JOB_INIT;                               \
  job.job_id = 99270;                                                       \
  job.status = str(EDGE_REPORT_STATUS_RUNNING);                             \
  job.create_time = 1591104868201

#define SAMPLE_REPORT(report)                                               \
  SAMPLE_JOB(report##_job);                                                 \
  edge_report_report report = EDGE_REPORT_REPORT_INIT;                      \
  report.jobs = &report##_job;                                              \
  report.jobs_len = 1;                                                      \
  report.msg_confirm_topic = str("confirm");                                \
  report.message_id = str("node-7-000001")

#endif
