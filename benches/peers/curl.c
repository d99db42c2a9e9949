// libcurl: one easy handle, kept from call to call. `curl ADDRESS CALLS` prints the same line as edge-report-bench-client.
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char BODY[] =
    "{\"jobs\":[{\"job_id\":99270,\"status\":\"job_submit_fail\",\"create_time\":1591104868201,\"exceptions\":{"
    "\"error_id\":\"Agent.51000\",\"error_type\":\"JOB_SUBMIT_EXCEPTION\",\"error_cause\":\"agent_submit_job_exception_error\","
    "\"exception\":\"\",\"error_time\":\"2020-06-02 13:34:28\"}}],\"msg_confirm_topic\":"
    "\"hw/events/messages/dli/message/confirm\",\"message_id\":\"uuid\"}";

static unsigned long allocations;
static void *count_malloc(size_t size) { return allocations++, malloc(size); }
static void *count_realloc(void *old, size_t size) { return allocations++, realloc(old, size); }
static void *count_calloc(size_t n, size_t size) { return allocations++, calloc(n, size); }
static char *count_strdup(const char *text) { return allocations++, strdup(text); }

struct answer {
    char bytes[1024];
    size_t len;
};

static size_t keep(char *bytes, size_t size, size_t count, void *into) {
    struct answer *answer = into;
    if (size * count > sizeof answer->bytes - answer->len) return 0;
    memcpy(answer->bytes + answer->len, bytes, size * count);
    answer->len += size * count;
    return size * count;
}

static double micros(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static int by_value(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static long memory(void) {
    char line[256];
    long kilobytes = 0;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status)) sscanf(line, "VmHWM: %ld", &kilobytes);
    if (status) fclose(status);
    return kilobytes;
}

static void call(CURL *curl, struct answer *answer) {
    long status = 0;
    answer->len = 0;
    CURLcode code = curl_easy_perform(curl);
    curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &status);
    if (code != CURLE_OK || status != 200 || answer->len != 48) {
        fprintf(stderr, "libcurl: %s, status %ld\n", curl_easy_strerror(code), status);
        exit(1);
    }
}

int main(int argc, char **argv) {
    if (argc != 3) return fprintf(stderr, "usage: curl ADDRESS CALLS\n"), 2;
    size_t calls = strtoul(argv[2], NULL, 10);
    double *times = calloc(calls, sizeof *times);
    char url[256];
    snprintf(url, sizeof url, "http://%s/v1/0a1b2c/edgesrv/job-report", argv[1]);
    curl_global_init_mem(CURL_GLOBAL_ALL, count_malloc, free, count_realloc, count_strdup, count_calloc);
    CURL *curl = curl_easy_init();
    struct curl_slist *headers = curl_slist_append(NULL, "Content-Type: application/json");
    headers = curl_slist_append(headers, "X-Project-Id: 0a1b2c");
    headers = curl_slist_append(headers, "X-Auth-Token: EXAMPLETOKEN");
    static struct answer answer;
    curl_easy_setopt(curl, CURLOPT_URL, url);
    curl_easy_setopt(curl, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDS, BODY);
    curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)sizeof BODY - 1);
    curl_easy_setopt(curl, CURLOPT_USERAGENT, "curl");
    curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(curl, CURLOPT_WRITEDATA, &answer);
    // What an agent must set, and the client of edge-report sets.
    curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT, 10L);
    curl_easy_setopt(curl, CURLOPT_TIMEOUT, 30L);
    curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(curl, CURLOPT_PROXY, "");
    for (int n = 0; n < 20; n++) call(curl, &answer);
    double before = micros(CLOCK_PROCESS_CPUTIME_ID);
    for (size_t n = 0; n < calls; n++) {
        double start = micros(CLOCK_MONOTONIC);
        call(curl, &answer);
        times[n] = micros(CLOCK_MONOTONIC) - start;
    }
    double cpu = (micros(CLOCK_PROCESS_CPUTIME_ID) - before) / (double)calls;
    qsort(times, calls, sizeof *times, by_value);
    allocations = 0;
    call(curl, &answer);
    printf("send\tlibcurl %s\t%.2f\t%.2f\t%ld\t%lu\n", curl_version_info(CURLVERSION_NOW)->version, cpu, times[calls / 2],
           memory(), allocations);
    curl_slist_free_all(headers);
    curl_easy_cleanup(curl);
    free(times);
    return 0;
}
