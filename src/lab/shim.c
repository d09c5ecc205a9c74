/* Loaded before libc into a server under test (LD_PRELOAD).
 *
 * LAB_CLOCK: a file with one 64-bit number, nanoseconds that the wall clock is wrong by; it may change at any time. The
 * monotonic clocks stay right, as when an operator sets the clock of a machine.
 * LAB_SYNCED: a file to which every completed fsync and fdatasync appends the file's inode and the length it had before:
 * what a power cut would leave of it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t right;
static volatile int64_t *wrong_by = &right;
static int synced = -1;

__attribute__((constructor)) static void begin(void) {
    const char *clock = getenv("LAB_CLOCK"), *log = getenv("LAB_SYNCED");
    int file = clock ? open(clock, O_RDONLY | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *shared = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
        if (shared != MAP_FAILED) wrong_by = shared;
        close(file);
    }
    if (log) synced = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

int clock_gettime(clockid_t which, struct timespec *at) {
    if (syscall(SYS_clock_gettime, which, at) != 0) return -1;
    if (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE) {
        int64_t whole = (int64_t)at->tv_sec * 1000000000 + at->tv_nsec + *wrong_by;
        at->tv_sec = whole / 1000000000;
        at->tv_nsec = whole % 1000000000;
    }
    return 0;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}

static int sync_file(long call, int file) {
    struct stat before;
    int known = synced >= 0 && fstat(file, &before) == 0;
    long result = syscall(call, file);
    if (result == 0 && known) {
        uint64_t record[2] = {before.st_ino, (uint64_t)before.st_size};
        int error = errno;
        ssize_t written = write(synced, record, sizeof record);
        (void)written;
        errno = error;
    }
    return (int)result;
}

int fsync(int file) { return sync_file(SYS_fsync, file); }
int fdatasync(int file) { return sync_file(SYS_fdatasync, file); }
