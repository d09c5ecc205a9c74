/* Loaded before libc into a server under test (LD_PRELOAD).
 *
 * LAB_CONTROL: a file with the numbers of `struct control`; they may change at any time. The monotonic clocks stay right,
 * as when an operator sets the clock of a machine.
 * LAB_SYNCED: a file to which every completed fsync and fdatasync appends the file's inode and the length it had before:
 * what a power cut would leave of it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
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

/* As `shim.rs` writes them. */
struct control {
    int64_t wrong_by;   /* nanoseconds that the wall clock is wrong by */
    int64_t hold;       /* not 0: fsync and fdatasync hang */
    int64_t held;       /* how many have come to hang */
    int64_t room;       /* bytes that files may still grow by; negative: no limit */
    int64_t fork_error; /* not 0: fork fails with this error */
    int64_t pace;       /* nanoseconds that the wall clock goes on by with each look at it, beside those that pass */
};

static struct control none = {.room = -1};
static volatile struct control *control = &none;
static int synced = -1;
static pid_t server;

__attribute__((constructor)) static void begin(void) {
    const char *name = getenv("LAB_CONTROL"), *log = getenv("LAB_SYNCED");
    int file = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *shared = mmap(NULL, sizeof none, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (shared != MAP_FAILED) control = shared;
        close(file);
    }
    if (log) synced = open(log, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    server = getpid();
}

int clock_gettime(clockid_t which, struct timespec *at) {
    if (syscall(SYS_clock_gettime, which, at) != 0) return -1;
    if (which == CLOCK_REALTIME || which == CLOCK_REALTIME_COARSE) {
        int64_t wrong_by = __atomic_add_fetch(&control->wrong_by, control->pace, __ATOMIC_RELAXED);
        int64_t whole = (int64_t)at->tv_sec * 1000000000 + at->tv_nsec + wrong_by;
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

/* A child is let through: it would hang on when its parent, and with it the test, is gone. */
static void hang(void) {
    struct timespec moment = {.tv_nsec = 1000000};
    if (!control->hold || getpid() != server) return;
    __atomic_add_fetch(&control->held, 1, __ATOMIC_SEQ_CST);
    while (control->hold) nanosleep(&moment, NULL);
}

static int sync_file(long call, int file) {
    struct stat before;
    int known = synced >= 0 && fstat(file, &before) == 0;
    hang();
    long result = syscall(call, file);
    if (result == 0 && known) {
        uint64_t record[2] = {before.st_ino, (uint64_t)before.st_size};
        int error = errno;
        long written = syscall(SYS_write, synced, record, sizeof record);
        (void)written;
        errno = error;
    }
    return (int)result;
}

int fsync(int file) { return sync_file(SYS_fsync, file); }
int fdatasync(int file) { return sync_file(SYS_fdatasync, file); }

/* A full disk takes what still fits of the first write, and nothing of the next ones. */
ssize_t write(int file, const void *data, size_t length) {
    struct stat kind;
    if (control->room >= 0 && length > 0 && fstat(file, &kind) == 0 && S_ISREG(kind.st_mode)) {
        int64_t room = control->room;
        if (room == 0) {
            errno = ENOSPC;
            return -1;
        }
        if (room > 0) {
            if (length > (uint64_t)room) length = (size_t)room;
            control->room = room - (int64_t)length;
        }
    }
    return syscall(SYS_write, file, data, length);
}

/* Valkey from 8.1 on loads modules so that they see libc before this library. */
void *dlopen(const char *name, int flags) {
    void *(*next)(const char *, int) = (void *(*)(const char *, int))dlsym(RTLD_NEXT, "dlopen");
    return next(name, flags & ~RTLD_DEEPBIND);
}

pid_t fork(void) {
    pid_t (*next)(void) = (pid_t (*)(void))dlsym(RTLD_NEXT, "fork");
    if (control->fork_error) {
        errno = (int)control->fork_error;
        return -1;
    }
    return next();
}
