/* Preloaded into a process (LD_PRELOAD): writes down, in order, what it does with the files below one directory.
 *
 * SHIM_ROOT is the directory, SHIM_TRACE the file that gets a line for each call that went well:
 *
 *     mkdir NAME | create NAME | write NAME | fsync NAME | fdatasync NAME | rename NAME NAME | unlink NAME | syncfs NAME
 *
 * Names are relative to the directory, which is called `.`; what is not below it is not written down.
 *
 * SHIM_KILL_AT=N kills the process right before its N-th write to a file below the directory.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

/* The path below the root, or NULL. */
static const char *below(const char *path) {
  const char *root = getenv("SHIM_ROOT");
  size_t len = root ? strlen(root) : 0;
  if (!len || strncmp(path, root, len)) return NULL;
  if (!path[len]) return ".";
  return path[len] == '/' ? path + len + 1 : NULL;
}

static const char *of_descriptor(int fd, char *buffer) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t len = readlink(link, buffer, PATH_MAX - 1);
  if (len < 0) return NULL;
  buffer[len] = 0;
  return below(buffer);
}

static const char *of_path(int dir, const char *path, char *buffer) {
  char directory[PATH_MAX], link[64];
  if (path[0] == '/') {
    snprintf(buffer, PATH_MAX, "%s", path);
    return below(buffer);
  }
  snprintf(link, sizeof link, dir == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dir);
  ssize_t len = readlink(link, directory, sizeof directory - 1);
  if (len < 0) return NULL;
  directory[len] = 0;
  if (snprintf(buffer, PATH_MAX, "%s/%s", directory, path) >= PATH_MAX) return NULL;
  return below(buffer);
}

static void note(const char *what, const char *name, const char *other) {
  const char *trace = getenv("SHIM_TRACE");
  if (!name || !trace) return;
  char line[2 * PATH_MAX];
  int len = snprintf(line, sizeof line, "%s %s%s%s\n", what, name, other ? " " : "", other ? other : "");
  int error = errno;
  int fd = (int)syscall(SYS_openat, AT_FDCWD, trace, O_WRONLY | O_APPEND | O_CLOEXEC);
  if (fd < 0 || syscall(SYS_write, fd, line, len) != len) abort();
  syscall(SYS_close, fd);
  errno = error;
}

static void note_descriptor(const char *what, int fd) {
  char buffer[PATH_MAX];
  note(what, of_descriptor(fd, buffer), NULL);
}

static void note_open(int dir, const char *path, int flags, int opened) {
  char buffer[PATH_MAX];
  if (opened >= 0 && flags & O_CREAT) note("create", of_path(dir, path, buffer), NULL);
}

#define OPEN(name)                                         \
  int name(const char *path, int flags, ...) {             \
    va_list rest;                                          \
    va_start(rest, flags);                                 \
    int fd = NEXT(name)(path, flags, va_arg(rest, int));   \
    va_end(rest);                                          \
    note_open(AT_FDCWD, path, flags, fd);                  \
    return fd;                                             \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                          \
  int name(int dir, const char *path, int flags, ...) {       \
    va_list rest;                                             \
    va_start(rest, flags);                                    \
    int fd = NEXT(name)(dir, path, flags, va_arg(rest, int)); \
    va_end(rest);                                             \
    note_open(dir, path, flags, fd);                          \
    return fd;                                                \
  }
OPENAT(openat)
OPENAT(openat64)

static void count_write(int fd) {
  static atomic_long writes;
  char buffer[PATH_MAX];
  const char *kill_at = getenv("SHIM_KILL_AT");
  if (kill_at && of_descriptor(fd, buffer) && atomic_fetch_add(&writes, 1) + 1 == atol(kill_at)) kill(getpid(), SIGKILL);
}

#define WRITE(name, parameters, ...)                   \
  ssize_t name parameters {                            \
    count_write(fd);                                   \
    ssize_t done = NEXT(name)(__VA_ARGS__);            \
    if (done >= 0) note_descriptor("write", fd);       \
    return done;                                       \
  }
WRITE(write, (int fd, const void *from, size_t len), fd, from, len)
WRITE(pwrite, (int fd, const void *from, size_t len, off_t at), fd, from, len, at)
WRITE(pwrite64, (int fd, const void *from, size_t len, off64_t at), fd, from, len, at)
WRITE(writev, (int fd, const struct iovec *from, int count), fd, from, count)

#define ON_DESCRIPTOR(name)                            \
  int name(int fd) {                                   \
    int done = NEXT(name)(fd);                         \
    if (!done) note_descriptor(#name, fd);             \
    return done;                                       \
  }
ON_DESCRIPTOR(fsync)
ON_DESCRIPTOR(fdatasync)
ON_DESCRIPTOR(syncfs)

int mkdir(const char *path, mode_t mode) {
  char buffer[PATH_MAX];
  int done = NEXT(mkdir)(path, mode);
  if (!done) note("mkdir", of_path(AT_FDCWD, path, buffer), NULL);
  return done;
}

int mkdirat(int dir, const char *path, mode_t mode) {
  char buffer[PATH_MAX];
  int done = NEXT(mkdirat)(dir, path, mode);
  if (!done) note("mkdir", of_path(dir, path, buffer), NULL);
  return done;
}

static void note_rename(int dir, const char *from, int other, const char *to) {
  char one[PATH_MAX], two[PATH_MAX];
  const char *left = of_path(dir, from, one), *right = of_path(other, to, two);
  if (left || right) note("rename", left ? left : "/", right ? right : "/");
}

int rename(const char *from, const char *to) {
  int done = NEXT(rename)(from, to);
  if (!done) note_rename(AT_FDCWD, from, AT_FDCWD, to);
  return done;
}

int renameat(int dir, const char *from, int other, const char *to) {
  int done = NEXT(renameat)(dir, from, other, to);
  if (!done) note_rename(dir, from, other, to);
  return done;
}

int renameat2(int dir, const char *from, int other, const char *to, unsigned flags) {
  int done = NEXT(renameat2)(dir, from, other, to, flags);
  if (!done) note_rename(dir, from, other, to);
  return done;
}

int unlink(const char *path) {
  char buffer[PATH_MAX];
  int done = NEXT(unlink)(path);
  if (!done) note("unlink", of_path(AT_FDCWD, path, buffer), NULL);
  return done;
}

int unlinkat(int dir, const char *path, int flags) {
  char buffer[PATH_MAX];
  int done = NEXT(unlinkat)(dir, path, flags);
  if (!done) note("unlink", of_path(dir, path, buffer), NULL);
  return done;
}
