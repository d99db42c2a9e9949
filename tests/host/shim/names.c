/* Preloaded into a process (LD_PRELOAD): its look-ups of names do what the file SHIM_NAMES says. `hang`: they do not end before it
 * says something else. `dead`: they fail. Anything else: the system answers. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int says(const char *word) {
    char found[16] = "";
    FILE *file = fopen(getenv("SHIM_NAMES"), "r");
    if (file) {
        if (!fgets(found, sizeof found, file)) {
            found[0] = 0;
        }
        fclose(file);
    }
    return strcmp(found, word) == 0;
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **found) {
    static int (*next)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    if (!next) {
        next = (__typeof__(next))dlsym(RTLD_NEXT, "getaddrinfo");
    }
    while (says("hang")) {
        usleep(5000);
    }
    return says("dead") ? EAI_AGAIN : next(node, service, hints, found);
}
