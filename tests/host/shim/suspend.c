/* Preloaded into a process (LD_PRELOAD): the machine was suspended for as many seconds as the file SHIM_SUSPENDED says. The one clock that
 * counts them is CLOCK_BOOTTIME. What sleeps in ppoll sleeps SHIM_SLEEPS times less, where that is set. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <poll.h>
#include <signal.h>
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

int ppoll(struct pollfd *all, nfds_t count, const struct timespec *longest, const sigset_t *mask) {
    static int (*next)(struct pollfd *, nfds_t, const struct timespec *, const sigset_t *);
    if (!next) {
        next = (__typeof__(next))dlsym(RTLD_NEXT, "ppoll");
    }
    const char *faster = getenv("SHIM_SLEEPS");
    if (!longest || !faster) {
        return next(all, count, longest, mask);
    }
    long long ns = (longest->tv_sec * 1000000000LL + longest->tv_nsec) / atoll(faster);
    struct timespec less = {.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
    return next(all, count, &less, mask);
}
