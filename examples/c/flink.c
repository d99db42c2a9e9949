/* An agent of a Flink cluster: learns from its REST API what its jobs do, and delivers that until it is accepted, over restarts and power cuts.
 * Usage: flink FLINK-URL URL PROJECT-ID SPOOL-DIRECTORY TABLE-FILE NODE. Keys come from EDGE_REPORT_AK and EDGE_REPORT_SK.
 * SIGTERM ends it; what waits is delivered after the next start. */
#include <curl/curl.h>
#include <edge_report.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { JOBS = 64, TEXTS = 65536 };
static char memory[EDGE_REPORT_FLINK_MEMORY(JOBS, TEXTS)], report[EDGE_REPORT_FLINK_REPORT(TEXTS)], table[16384];
static struct { char bytes[1 << 20]; size_t len; } body;
static volatile sig_atomic_t has_ended;
static edge_report_error error = EDGE_REPORT_ERROR_INIT;

static void end(int number) { (void)number, has_ended = 1; }

static int failed(const char *what) {
  return fprintf(stderr, "%s: %s %s %s\n", what, edge_report_result_text(error.code), error.path, error.detail), 1;
}

static void on_event(void *user, const edge_report_event *event) {
  (void)user, fprintf(stderr, "%.*s\n", (int)event->line.len, event->line.ptr);
}

/* One that is too long counts as no response. */
static size_t collect(char *bytes, size_t one, size_t len, void *user) {
  if (len > sizeof body.bytes - body.len) return 0;
  memcpy(body.bytes + body.len, bytes, len);
  body.len += len;
  return (void)user, one * len;
}

static void ask(edge_report_flink *flink, CURL *curl, const char *base, edge_report_str path) {
  char url[2048];
  long status = 0;
  snprintf(url, sizeof url, "%s%.*s", base, (int)path.len, path.ptr);
  body.len = 0;
  curl_easy_setopt(curl, CURLOPT_URL, url);
  CURLcode done = curl_easy_perform(curl);
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  if (done != CURLE_OK) {
    fprintf(stderr, "%s: %s\n", url, curl_easy_strerror(done));
    edge_report_flink_failed(flink, edge_report_monotonic_ms(), NULL);
  } else if (edge_report_flink_response(flink, (uint32_t)status, body.bytes, body.len, edge_report_monotonic_ms(), &error)) {
    failed(url); /* the watch goes on */
  }
}

/* Whole, or not at all. */
static void save(edge_report_flink *flink, const char *name) {
  char new_name[1024];
  size_t len = 0;
  snprintf(new_name, sizeof new_name, "%s.new", name);
  FILE *file = edge_report_flink_save(flink, table, sizeof table, &len, NULL) ? NULL : fopen(new_name, "wb");
  size_t written = file ? fwrite(table, 1, len, file) : 0;
  if (!file || fclose(file) != 0 || written != len || rename(new_name, name) != 0) perror(new_name);
}

int main(int count, char **arguments) {
  if (count != 7) return fprintf(stderr, "usage: flink FLINK-URL URL PROJECT-ID SPOOL-DIRECTORY TABLE-FILE NODE\n"), 2;
  edge_report_str ak = edge_report_str_of(getenv("EDGE_REPORT_AK")), sk = edge_report_str_of(getenv("EDGE_REPORT_SK"));
  edge_report_credentials keys = {.struct_size = sizeof keys, .access_key = ak, .secret_key = sk};
  edge_report_client_config settings = {.struct_size = sizeof settings, .base_url = edge_report_str_of(arguments[2]),
                                        .project_id = edge_report_str_of(arguments[3]), .credentials = &keys};
  edge_report_courier_config policy = EDGE_REPORT_COURIER_CONFIG_INIT;
  policy.start_spread_ms = 0; /* one node alone need not spread its start */
  edge_report_observer observer = {sizeof observer, NULL, on_event};
  edge_report_flink_config config = EDGE_REPORT_FLINK_CONFIG_INIT;
  config.node = edge_report_str_of(arguments[6]);
  edge_report_client *client;
  edge_report_courier *courier;
  edge_report_reporter *reporter;
  edge_report_flink *flink;
  if (edge_report_client_new(&settings, &client, &error)) return failed("client");
  if (edge_report_courier_new_spool(edge_report_str_of(arguments[4]), NULL, &policy, edge_report_monotonic_ms(), edge_report_random(), &courier, &error)) return failed("spool");
  if (edge_report_reporter_new(client, courier, &observer, &reporter, &error)) return failed("reporter");
  if (edge_report_flink_new(memory, sizeof memory, JOBS, &config, &flink, &error)) return failed("flink");
  FILE *kept = fopen(arguments[5], "rb");
  size_t len = kept ? fread(table, 1, sizeof table, kept) : 0;
  if (kept && (fclose(kept), edge_report_flink_restore(flink, table, len, edge_report_monotonic_ms(), &error))) failed(arguments[5]);
  CURL *curl = curl_easy_init();
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
  curl_easy_setopt(curl, CURLOPT_TIMEOUT, 10L);
  signal(SIGTERM, end);
  edge_report_flink_step step = EDGE_REPORT_FLINK_STEP_INIT;
  while (!has_ended && !edge_report_flink_next(flink, edge_report_monotonic_ms(), report, sizeof report, &step, &error)) {
    if (step.kind == EDGE_REPORT_FLINK_STEP_GET) ask(flink, curl, arguments[1], step.path);
    if (step.kind == EDGE_REPORT_FLINK_STEP_WAIT) nanosleep(&(struct timespec){(time_t)(step.wait_ms / 1000), (long)(step.wait_ms % 1000) * 1000000}, NULL);
    if (step.kind != EDGE_REPORT_FLINK_STEP_REPORT) continue;
    int is_stored = !edge_report_reporter_submit_encoded(reporter, step.body.ptr, step.body.len, NULL, &error);
    edge_report_flink_reported(flink, (uint32_t)is_stored, NULL); /* if not, it comes again */
    is_stored ? save(flink, arguments[5]) : (void)failed("submit");
  }
  curl_easy_cleanup(curl);
  edge_report_flink_free(flink);
  return edge_report_reporter_stop(reporter, &error) ? failed("stop") : (edge_report_reporter_free(reporter), !has_ended);
}
