/* A courier driven over an HTTP stack of your own, here libcurl. Usage: own_transport URL PROJECT-ID AK SK */
#include <curl/curl.h>
#include <edge_report.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static struct { char body[EDGE_REPORT_MAX_REPLY_BYTES + 1]; size_t len; } response; /* a longer one is seen to be too long */
static size_t collect(char *bytes, size_t one, size_t len, void *unused) {
  size_t room = sizeof response.body - response.len, part = len < room ? len : room;
  memcpy(response.body + response.len, bytes, part);
  response.len += part;
  return (void)unused, one * len;
}

static edge_report_str header(CURL *curl, const char *name) {
  struct curl_header *found;
  return edge_report_str_of(curl_easy_header(curl, name, 0, CURLH_HEADER, -1, &found) ? NULL : found->value);
}

/* Sends a report once. EDGE_REPORT_OK: a response came. Else why there is none, in `why` in curl's words. */
static edge_report_result send_once(CURL *curl, const edge_report_http_request *request, edge_report_reply *reply, char *why) {
  struct curl_slist *headers = NULL;
  for (size_t i = 0; i < request->headers_len; i++) {
    char line[1024];
    edge_report_str name = request->headers[i].name, value = request->headers[i].value;
    snprintf(line, sizeof line, "%.*s: %.*s", (int)name.len, name.ptr, (int)value.len, value.ptr);
    headers = curl_slist_append(headers, line);
  }
  response.len = 0;
  curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
  CURLcode done = curl_easy_perform(curl);
  curl_slist_free_all(headers);
  snprintf(why, EDGE_REPORT_DETAIL_SIZE, "%s", curl_easy_strerror(done));
  if (done == CURLE_COULDNT_CONNECT || done == CURLE_COULDNT_RESOLVE_HOST) return EDGE_REPORT_E_NOT_SENT;
  if (done == CURLE_SSL_CONNECT_ERROR || done == CURLE_PEER_FAILED_VERIFICATION) return EDGE_REPORT_E_TLS;
  if (done != CURLE_OK) return EDGE_REPORT_E_MAY_HAVE_ARRIVED;
  long status = 0;
  curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
  return edge_report_read_reply((uint32_t)status, header(curl, "Retry-After"), header(curl, "Date"), response.body,
                                response.len, edge_report_unix_ms(), reply, NULL);
}

int main(int count, char **arguments) {
  static char memory[EDGE_REPORT_COURIER_RAM(1024)], url[1024], scratch[1024];
  if (count != 5) return 2;
  edge_report_str base = edge_report_str_of(arguments[1]), project = edge_report_str_of(arguments[2]);
  edge_report_credentials keys = {sizeof keys, edge_report_str_of(arguments[3]), edge_report_str_of(arguments[4]), {0}, {0}};
  edge_report_job job = {.struct_size = sizeof job, .status = EDGE_REPORT_STR("job_running"), .create_time = edge_report_unix_ms()};
  edge_report_report report = {.struct_size = sizeof report, .jobs = &job, .jobs_len = 1, .message_id = EDGE_REPORT_STR("node-7-000001")};
  edge_report_courier_config config = EDGE_REPORT_COURIER_CONFIG_INIT;
  config.start_spread_ms = 0; /* one node alone need not spread its start */
  edge_report_courier *courier;
  if (edge_report_url(base, project, url, sizeof url - 1, &(size_t){0}, NULL) ||
      edge_report_courier_new_ram(memory, sizeof memory, &config, 0, edge_report_random(), &courier, NULL) ||
      edge_report_courier_submit(courier, &report, 0, edge_report_unix_ms(), NULL, NULL))
    return 1;
  CURL *curl = curl_easy_init();
  curl_easy_setopt(curl, CURLOPT_URL, url);
  curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, collect);
  edge_report_step step = EDGE_REPORT_STEP_INIT;
  while (!edge_report_courier_next(courier, edge_report_monotonic_ms(), &step, NULL) && step.kind != EDGE_REPORT_STEP_IDLE) {
    struct timespec pause = {(time_t)(step.wait_ms / 1000), (long)(step.wait_ms % 1000) * 1000000};
    if (step.kind == EDGE_REPORT_STEP_WAIT && nanosleep(&pause, NULL) == 0) continue;
    edge_report_http_request request = EDGE_REPORT_HTTP_REQUEST_INIT;
    edge_report_reply reply = EDGE_REPORT_REPLY_INIT;
    edge_report_error failure = EDGE_REPORT_ERROR_INIT;
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, step.body.ptr);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)step.body.len);
    edge_report_result result = edge_report_request(base, project, &keys, step.body.ptr, step.body.len,
        edge_report_unix_ms() + step.clock_offset_ms, scratch, sizeof scratch, &request, &failure);
    if (result == EDGE_REPORT_OK) result = send_once(curl, &request, &reply, failure.detail);
    edge_report_courier_settle(courier, step.ticket, result, &reply, &failure, edge_report_monotonic_ms(),
                               edge_report_random(), NULL, NULL);
    puts(result == EDGE_REPORT_OK ? edge_report_outcome_name(reply.outcome) : failure.detail);
  }
  curl_easy_cleanup(curl);
  edge_report_courier_free(courier);
}
