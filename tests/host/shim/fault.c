/* Preloaded into a process (LD_PRELOAD): of its calls that change files below the directory SHIM_ROOT the one numbered SHIM_AT fails with
 * EIO, or kills the process right before it if SHIM_KILLS is set. After each call somebody else takes all that is free, for the file SHIM_OTHERS. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int is_below(int fd) {
  char link[64], path[PATH_MAX];
  const char *root = getenv("SHIM_ROOT");
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t len = readlink(link, path, sizeof path - 1);
  if (!root || len < 0) return 0;
  path[len] = 0;
  return !strncmp(path, root, strlen(root));
}

/* Whether this call fails. */
static int fails(void) {
  static long calls;
  if (++calls != atol(getenv("SHIM_AT"))) return 0;
  if (getenv("SHIM_KILLS")) kill(getpid(), SIGKILL);
  errno = EIO;
  return 1;
}

static void take_all(void) {
  static const char block[4096] = {7};
  int error = errno;
  int fd = (int)syscall(SYS_openat, AT_FDCWD, getenv("SHIM_OTHERS"), O_WRONLY | O_APPEND | O_CLOEXEC);
  while (fd >= 0 && syscall(SYS_write, fd, block, sizeof block) > 0) {}
  if (fd >= 0) syscall(SYS_close, fd);
  errno = error;
}

#define CALL(result, name, parameters, fd, arguments) \
  result name parameters {                            \
    int is_ours = is_below(fd);                       \
    if (is_ours && fails()) return -1;                \
    result done = NEXT(name) arguments;               \
    if (is_ours) take_all();                          \
    return done;                                      \
  }
CALL(ssize_t, write, (int fd, const void *bytes, size_t len), fd, (fd, bytes, len))
CALL(ssize_t, pwrite, (int fd, const void *bytes, size_t len, off_t at), fd, (fd, bytes, len, at))
CALL(ssize_t, pwrite64, (int fd, const void *bytes, size_t len, off64_t at), fd, (fd, bytes, len, at))
CALL(int, ftruncate, (int fd, off_t len), fd, (fd, len))
CALL(int, ftruncate64, (int fd, off64_t len), fd, (fd, len))
CALL(int, fsync, (int fd), fd, (fd))
CALL(int, fdatasync, (int fd), fd, (fd))
CALL(int, renameat, (int dir, const char *from, int to_dir, const char *to), dir, (dir, from, to_dir, to))
CALL(int, unlinkat, (int dir, const char *name, int flags), dir, (dir, name, flags))
