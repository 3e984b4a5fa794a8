/* Put before the C library (LD_PRELOAD), it makes a disk fail and a clock go wrong, for an ordinary user too.
 *
 * FAULT_ROOT   the files below this directory are the disk
 * FAULT_AT     the call of this number that changes it fails, counted from 1
 * FAULT        "full": that one and all later ones that need room fail with ENOSPC; "broken": that one alone fails with EIO,
 *              where it asks for the disk itself (fsync, rename), or writes; "read-only": that one and all later ones fail
 *              with EROFS, as those do that open a file to write; "stale": the one of this number that reads fails with ESTALE
 * FAULT_LOG    a file that gets a line for each call that failed
 * CLOCK_SHIFT  a file with the seconds that are added to the time of day, which may change
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int calls;

static int is_of_disk(const char *path) {
	const char *root = getenv("FAULT_ROOT");
	return root && path && strncmp(path, root, strlen(root)) == 0;
}

static const char *path_of(int fd, char *path) {
	char link[64];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t length = readlink(link, path, PATH_MAX - 1);
	path[length > 0 ? length : 0] = 0;
	return path;
}

/* The disks on which a call fails. */
enum { FULL = 1, BROKEN = 2, READ_ONLY = 4, ANY = FULL | BROKEN | READ_ONLY, STALE = 8 };

/* Whether this call is to fail, which it does on these disks; errno says why. */
static int fails(const char *call, const char *path, int on) {
	if (!is_of_disk(path)) return 0;
	const char *at = getenv("FAULT_AT"), *fault = getenv("FAULT"), *log = getenv("FAULT_LOG");
	if (!at || !fault) return 0;
	int disk = strcmp(fault, "full") == 0 ? FULL : strcmp(fault, "broken") == 0 ? BROKEN
		: strcmp(fault, "stale") == 0 ? STALE : READ_ONLY;
	if (!(on & disk)) return 0;
	int number = __atomic_add_fetch(&calls, 1, __ATOMIC_SEQ_CST);
	if (disk & (BROKEN | STALE) ? number != atoi(at) : number < atoi(at)) return 0;
	int fd = log ? syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
	if (fd >= 0) {
		char line[PATH_MAX + 64];
		int length = snprintf(line, sizeof line, "%s %s\n", call, path);
		syscall(SYS_write, fd, line, length);
		syscall(SYS_close, fd);
	}
	errno = disk == FULL ? ENOSPC : disk == BROKEN ? EIO : disk == STALE ? ESTALE : EROFS;
	return 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAILS_FD(fd, on) (fails(__func__, path_of(fd, (char[PATH_MAX]){0}), on))

ssize_t read(int fd, void *bytes, size_t length) {
	return FAILS_FD(fd, STALE) ? -1 : REAL(read)(fd, bytes, length);
}

ssize_t write(int fd, const void *bytes, size_t length) {
	return FAILS_FD(fd, ANY) ? -1 : REAL(write)(fd, bytes, length);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
	return FAILS_FD(fd, ANY) ? -1 : REAL(writev)(fd, parts, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) {
	return FAILS_FD(fd, ANY) ? -1 : REAL(pwrite64)(fd, bytes, length, at);
}

int ftruncate64(int fd, off64_t length) {
	return FAILS_FD(fd, BROKEN | READ_ONLY) ? -1 : REAL(ftruncate64)(fd, length);
}

int fsync(int fd) {
	return FAILS_FD(fd, BROKEN) ? -1 : REAL(fsync)(fd);
}

int fdatasync(int fd) {
	return FAILS_FD(fd, BROKEN) ? -1 : REAL(fdatasync)(fd);
}

int rename(const char *from, const char *to) {
	return fails("rename", to, BROKEN | READ_ONLY) ? -1 : REAL(rename)(from, to);
}

int link(const char *from, const char *to) {
	return fails("link", to, ANY) ? -1 : REAL(link)(from, to);
}

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
	return fails("linkat", to, ANY) ? -1 : REAL(linkat)(from_dir, from, to_dir, to, flags);
}

int unlink(const char *path) {
	return fails("unlink", path, BROKEN | READ_ONLY) ? -1 : REAL(unlink)(path);
}

int mkdir(const char *path, mode_t mode) {
	return fails("mkdir", path, ANY) ? -1 : REAL(mkdir)(path, mode);
}

/* Only one that makes a file needs room, or the disk. */
int open64(const char *path, int flags, ...) {
	mode_t mode = 0;
	if (flags & O_CREAT) {
		va_list rest;
		va_start(rest, flags);
		mode = va_arg(rest, mode_t);
		va_end(rest);
	}
	int makes = (flags & O_CREAT) && access(path, F_OK) != 0, writes = (flags & O_ACCMODE) != O_RDONLY;
	if ((makes || writes) && fails("open", path, makes ? ANY : READ_ONLY)) return -1;
	return REAL(open64)(path, flags, mode);
}

int clock_gettime(clockid_t clock, struct timespec *time) {
	int result = syscall(SYS_clock_gettime, clock, time);
	const char *path = clock == CLOCK_REALTIME ? getenv("CLOCK_SHIFT") : NULL;
	if (result == 0 && path) {
		char shift[32] = {0};
		int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
		if (fd >= 0 && syscall(SYS_read, fd, shift, sizeof shift - 1) > 0) time->tv_sec += atol(shift);
		if (fd >= 0) syscall(SYS_close, fd);
	}
	return result;
}
