/* Preloaded into a process (LD_PRELOAD): the machine was suspended for as many seconds as the file SHIM_SUSPENDED says. The one clock that
 * counts them is CLOCK_BOOTTIME. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*next)(clockid_t, struct timespec *);
    if (!next) {
        next = (__typeof__(next))dlsym(RTLD_NEXT, "clock_gettime");
    }
    int result = next(clock, now);
    const char *name = getenv("SHIM_SUSPENDED");
    FILE *file = result == 0 && clock == CLOCK_BOOTTIME && name ? fopen(name, "r") : NULL;
    if (file) {
        long seconds = 0;
        if (fscanf(file, "%ld", &seconds) == 1) {
            now->tv_sec += seconds;
        }
        fclose(file);
    }
    return result;
}
