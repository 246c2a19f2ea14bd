/* shim.c: a library that makes train_gpt's calls to the system fail when and as the environment says.
 *
 *     LD_PRELOAD=build/release/bin/faults.so FAULT_PATH=/checkpoints/ FAULT_AT=7 FAULT_HOW=EIO train_gpt tiny.json
 *
 * Calls whose path contains FAULT_PATH, and whose kind is in FAULT_KINDS if that is set (open read write fsync rename
 * close mkdir unlink truncate), are counted; FAULT_AT, and all up to FAULT_LAST, end as FAULT_HOW says:
 *     EIO ENOSPC EINTR EROFS  the call fails, having done nothing; but a file is closed all the same
 *     short                   half of the bytes is read or written
 *     kill, torn              SIGKILL before the call; when it is done, or half done if it writes
 *     TERM INT USR1 INT2 stop a signal, then the call; two SIGINT; SIGSTOP
 *     slow                    half a millisecond, then the call
 *     nan                     the call, but float FAULT_NAN of each array of FAULT_NAN_BYTES is no number any more
 * FAULT_LOG=FILE      a line for each call counted: its kind and path
 * FAULT_JOURNAL=FILE  what crash.c needs to play the calls again
 * FAULT_ALLOC=N       the N-th allocation fails; FAULT_ALLOC_LOG=FILE: a line for each, its number and a
 *                     hash of the functions that asked for it
 * FAULT_TRACE=1       which functions asked for the allocation that fails, on stderr (for addr2line)
 * FAULT_CLOCK=N       every clock jumps, forth and back
 *
 * Streams are seen when they are opened, flushed and closed: what glibc does for them inside cannot be caught. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

enum { STACK_DEPTH = 24 };

/* real(close)(fd): the function that this one stands in front of */
#define real(name)                                                                                         \
    ({                                                                                                     \
        static __typeof__(name) *real_##name;                                                              \
        if (!real_##name) real_##name = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);                       \
        real_##name;                                                                                       \
    })

static struct {
    bool ready;
    const char *path, *kinds, *how;
    long at, last, alloc;
    int log, journal, alloc_log;
    size_t nan_bytes, nan_index;
    atomic_long calls, allocs;
    atomic_uint clock;
} plan;

static long number(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text ? atol(text) : otherwise;
}

static int appended(const char *name) {
    const char *path = getenv(name);
    return path ? real(open)(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666) : -1;
}

__attribute__((constructor)) static void read_plan(void) {
    plan.path = getenv("FAULT_PATH");
    plan.kinds = getenv("FAULT_KINDS");
    plan.how = getenv("FAULT_HOW");
    plan.at = number("FAULT_AT", 0);
    plan.last = number("FAULT_LAST", plan.at);
    plan.alloc = number("FAULT_ALLOC", 0);
    plan.clock = (unsigned)number("FAULT_CLOCK", 0);
    plan.nan_bytes = (size_t)number("FAULT_NAN_BYTES", 0);
    plan.nan_index = (size_t)number("FAULT_NAN", 0);
    plan.log = appended("FAULT_LOG");
    plan.journal = appended("FAULT_JOURNAL");
    plan.alloc_log = appended("FAULT_ALLOC_LOG");
    plan.allocs = 0;
    plan.ready =
        getenv("TRAIN_GPT_THREADS_PREPARED") != NULL; /* not before the program has restarted itself */
}

/* ---- memory: arrays that can be poisoned, allocations that fail -------------------------------------- */

static struct {
    float *floats;
    size_t bytes;
} arrays[64];

static void remember_array(void *p, size_t bytes) {
    for (int i = 0; plan.nan_bytes && p && i < 64; i++)
        if (!arrays[i].floats || i == 63) {
            arrays[i].floats = p, arrays[i].bytes = bytes;
            return;
        }
}

static void poison(void) {
    for (int i = 0; i < 64 && arrays[i].floats; i++)
        if (arrays[i].bytes == plan.nan_bytes) arrays[i].floats[plan.nan_index] = NAN;
}

/* Which way of calls led here, as a number. */
static uint64_t stack_hash(void) {
    void *calls[STACK_DEPTH];
    uint64_t hash = 14695981039346656037u;
    int depth = backtrace(calls, STACK_DEPTH);
    for (int i = 0; i < depth; i++) hash = (hash ^ (uint64_t)(uintptr_t)calls[i]) * 1099511628211u;
    return hash;
}

static bool memory_is_out(void) {
    static __thread bool asked;
    if (!plan.ready || asked) return false;
    long n = ++plan.allocs;
    if (plan.alloc_log >= 0) {
        asked = true; /* backtrace itself allocates */
        dprintf(plan.alloc_log, "%ld %" PRIx64 "\n", n, stack_hash());
        asked = false;
    }
    if (n != plan.alloc) return false;
    if (getenv("FAULT_TRACE")) {
        void *calls[STACK_DEPTH];
        asked = true;
        backtrace_symbols_fd(calls, backtrace(calls, STACK_DEPTH), 2);
        asked = false;
    }
    errno = ENOMEM;
    return true;
}

/* dlsym itself allocates a little; asan does so before this library is linked, when dlsym is not yet there. */
extern __typeof__(dlsym) dlsym __attribute__((weak));
static volatile bool asking; /* dlsym is declared as a leaf, which it is not here */
static _Alignas(64) char early[1 << 16];
static size_t early_used;

static void *early_alloc(size_t size) {
    void *p = early + early_used;
    early_used += (size + 63) & ~(size_t)63;
    return early_used <= sizeof early ? p : NULL;
}

static bool is_early(const void *p) {
    return (const char *)p >= early && (const char *)p < early + sizeof early;
}

void *malloc(size_t size) {
    static void *(*next)(size_t);
    if (!next && (asking || !dlsym)) return early_alloc(size);
    if (!next) {
        asking = true;
        next = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
        asking = false;
    }
    return memory_is_out() ? NULL : next(size);
}

void *calloc(size_t count, size_t size) {
    static void *(*next)(size_t, size_t);
    if (!next && (asking || !dlsym)) return early_alloc(count * size);
    if (!next) {
        asking = true;
        next = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
        asking = false;
    }
    return memory_is_out() ? NULL : next(count, size);
}

void *realloc(void *p, size_t size) {
    if (is_early(p)) {
        void *moved = malloc(size);
        if (moved) memcpy(moved, p, size < 64 ? size : 64);
        return moved;
    }
    return memory_is_out() ? NULL : real(realloc)(p, size);
}

void *aligned_alloc(size_t align, size_t size) {
    void *p = memory_is_out() ? NULL : real(aligned_alloc)(align, size);
    remember_array(p, size);
    return p;
}

int posix_memalign(void **p, size_t align, size_t size) {
    return memory_is_out() ? ENOMEM : real(posix_memalign)(p, align, size);
}

void free(void *p) {
    static void (*next)(void *);
    if (!p || is_early(p) || asking) return;
    if (!next) {
        asking = true;
        next = (void (*)(void *))dlsym(RTLD_NEXT, "free");
        asking = false;
    }
    next(p);
}

/* ---- which calls fail -------------------------------------------------------------------------------- */

typedef enum { PASS, FAIL, HALF, TORN } Verdict;

static bool has_word(const char *words, const char *word) {
    const char *found = words ? strstr(words, word) : word;
    return found != NULL;
}

static int errno_named(const char *name) {
    return strcmp(name, "ENOSPC") == 0  ? ENOSPC
           : strcmp(name, "EINTR") == 0 ? EINTR
           : strcmp(name, "EROFS") == 0 ? EROFS
                                        : EIO;
}

static Verdict carry_out(const char *how) {
    static const struct {
        const char *how;
        int signal;
    } signals[] = {{"kill", SIGKILL}, {"TERM", SIGTERM}, {"INT", SIGINT},  {"INT2", SIGINT},
                   {"INT2", SIGINT},  {"USR1", SIGUSR1}, {"stop", SIGSTOP}};
    bool signalled = false;
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++)
        if (strcmp(how, signals[i].how) == 0) kill(getpid(), signals[i].signal), signalled = true;
    if (signalled) return PASS;
    if (strcmp(how, "nan") == 0) return poison(), PASS;
    if (strcmp(how, "slow") == 0) return real(nanosleep)(&(struct timespec){.tv_nsec = 500000}, NULL), PASS;
    if (strcmp(how, "short") == 0) return HALF;
    if (strcmp(how, "torn") == 0) return TORN;
    errno = errno_named(how);
    return FAIL;
}

static Verdict judge(const char *kind, const char *path) {
    if (!plan.ready || !plan.path || !path || !strstr(path, plan.path) || !has_word(plan.kinds, kind))
        return PASS;
    long call = ++plan.calls;
    if (plan.log >= 0) dprintf(plan.log, "%s %s\n", kind, path);
    return plan.how && call >= plan.at && call <= plan.last ? carry_out(plan.how) : PASS;
}

static const char *path_of(int fd, char path[4096]) {
    char link[64];
    if (!plan.ready || !plan.path) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, 4095);
    if (n < 0) return NULL;
    path[n] = '\0';
    return path;
}

static Verdict judge_fd(const char *kind, int fd) {
    char path[4096];
    return judge(kind, path_of(fd, path));
}

static void die(void) {
    kill(getpid(), SIGKILL);
}

static Verdict judge_read(int fd) {
    Verdict verdict = judge_fd("read", fd);
    if (verdict == TORN) die();
    return verdict;
}

/* A call that succeeds or fails as a whole; then, if it did something, it goes into the journal. */
#define WHOLE(kind, path, failed, call, note)                                                              \
    ({                                                                                                     \
        Verdict verdict_ = judge(kind, path);                                                              \
        __typeof__(call) result_ = (failed);                                                               \
        if (verdict_ != FAIL) {                                                                            \
            result_ = (call);                                                                              \
            if (result_ != (failed)) note;                                                                 \
        }                                                                                                  \
        if (verdict_ == TORN) die();                                                                       \
        result_;                                                                                           \
    })

/* ---- the journal ------------------------------------------------------------------------------------- */

/* "kind path\tother\tnumber\n", and behind a write its bytes. */
static void note(const char *kind, const char *path, const char *other, long long n, const void *bytes) {
    if (plan.journal < 0 || !plan.ready || !path || !plan.path || !strstr(path, plan.path)) return;
    char head[9000];
    int length = snprintf(head, sizeof head, "%s %s\t%s\t%lld\n", kind, path, other, n);
    size_t size = bytes ? (size_t)n : 0;
    char *whole = malloc((size_t)length + size);
    if (!whole) return;
    memcpy(whole, head, (size_t)length);
    if (size) memcpy(whole + length, bytes, size);
    if (real(write)(plan.journal, whole, (size_t)length + size) < 0) die();
    free(whole);
}

static const char *absolute(const char *path, char out[4096]) {
    char cwd[2048];
    if (path[0] == '/' || !getcwd(cwd, sizeof cwd)) snprintf(out, 4096, "%s", path);
    else snprintf(out, 4096, "%s/%s", cwd, path);
    return out;
}

#define ABSOLUTE(path) absolute(path, (char[4096]){0})

/* ---- files ------------------------------------------------------------------------------------------- */

int open(const char *name, int flags, ...) {
    mode_t mode = 0666;
    const char *path = ABSOLUTE(name);
    const char *kind = flags & O_CREAT ? "create" : "open";
    return WHOLE("open", path, -1, real(open)(name, flags, mode),
                 if (flags & O_CREAT) note(kind, path, "", flags & O_TRUNC ? 1 : 0, NULL));
}

FILE *fopen(const char *name, const char *mode) {
    const char *path = ABSOLUTE(name);
    bool writes = strchr(mode, 'w') != NULL;
    return WHOLE("open", path, NULL, real(fopen)(name, mode),
                 if (writes) note("create", path, "", 1, NULL));
}

DIR *opendir(const char *name) {
    return WHOLE("open", ABSOLUTE(name), NULL, real(opendir)(name), (void)0);
}

/* Streams here are small and written from their beginning: what is in the buffer when one is flushed is all of it. */
int fflush(FILE *f) {
    char path[4096];
    int fd = f && plan.ready ? fileno(f) : -1;
    if (fd <= 2) return real(fflush)(f);
    size_t size = (size_t)(f->_IO_write_ptr - f->_IO_write_base);
    char *bytes = f->_IO_write_base;
    return WHOLE("write", path_of(fd, path), EOF, real(fflush)(f),
                 if (size) note("write", path, "", (long long)size, bytes));
}

int fclose(FILE *f) {
    int fd = fileno(f);
    Verdict verdict = fd > 2 ? judge_fd("close", fd) : PASS;
    int error = errno, result = real(fclose)(f);
    if (verdict == TORN) die();
    if (verdict != FAIL) return result;
    errno = error;
    return EOF;
}

int close(int fd) {
    Verdict verdict = judge_fd("close", fd);
    int error = errno, result = real(close)(fd);
    if (verdict == TORN) die();
    if (verdict != FAIL) return result;
    errno = error;
    return -1;
}

ssize_t write(int fd, const void *bytes, size_t size) {
    char path[4096];
    if (fd <= 2) return real(write)(fd, bytes, size);
    Verdict verdict = judge("write", path_of(fd, path));
    if (verdict == FAIL) return -1;
    if (verdict != PASS && size > 1) size /= 2;
    ssize_t done = real(write)(fd, bytes, size);
    if (done > 0) note("write", path_of(fd, path), "", done, bytes);
    if (verdict == TORN) die();
    return done;
}

ssize_t read(int fd, void *bytes, size_t size) {
    Verdict verdict = judge_read(fd);
    if (verdict == FAIL) return -1;
    return real(read)(fd, bytes, verdict == HALF && size > 1 ? size / 2 : size);
}

ssize_t pread(int fd, void *bytes, size_t size, off_t at) {
    Verdict verdict = judge_read(fd);
    if (verdict == FAIL) return -1;
    return real(pread)(fd, bytes, verdict == HALF && size > 1 ? size / 2 : size, at);
}

size_t fread(void *bytes, size_t size, size_t count, FILE *f) {
    return judge_read(fileno(f)) == FAIL ? 0 : real(fread)(bytes, size, count, f);
}

int fsync(int fd) {
    char path[4096];
    return WHOLE("fsync", path_of(fd, path), -1, real(fsync)(fd), note("fsync", path, "", 0, NULL));
}

int ftruncate(int fd, off_t size) {
    char path[4096];
    return WHOLE("truncate", path_of(fd, path), -1, real(ftruncate)(fd, size),
                 note("truncate", path, "", size, NULL));
}

/* ---- names ------------------------------------------------------------------------------------------- */

int rename(const char *from, const char *to) {
    const char *a = ABSOLUTE(from), *b = ABSOLUTE(to);
    return WHOLE("rename", a, -1, real(rename)(from, to), note("rename", a, b, 0, NULL));
}

int renameat2(int at, const char *from, int to_at, const char *to, unsigned flags) {
    const char *a = ABSOLUTE(from), *b = ABSOLUTE(to);
    return WHOLE("rename", a, -1, real(renameat2)(at, from, to_at, to, flags),
                 note("rename", a, b, 0, NULL));
}

int mkdir(const char *name, mode_t mode) {
    const char *path = ABSOLUTE(name);
    return WHOLE("mkdir", path, -1, real(mkdir)(name, mode), note("mkdir", path, "", 0, NULL));
}

int unlink(const char *name) {
    const char *path = ABSOLUTE(name);
    return WHOLE("unlink", path, -1, real(unlink)(name), note("unlink", path, "", 0, NULL));
}

int rmdir(const char *name) {
    const char *path = ABSOLUTE(name);
    return WHOLE("unlink", path, -1, real(rmdir)(name), note("unlink", path, "", 0, NULL));
}

/* ---- time -------------------------------------------------------------------------------------------- */

int nanosleep(const struct timespec *time, struct timespec *left) {
    return plan.how ? 0 : real(nanosleep)(time, left); /* a sweep over failures need not wait */
}

/* Up to eleven days forth or back at each look. */
static time_t jumped(time_t seconds) {
    unsigned x = plan.clock;
    if (x == 0) return seconds;
    plan.clock = x = x * 1103515245u + 12345u;
    return seconds + (time_t)(x >> 11) - (1 << 20);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = real(clock_gettime)(clock, now);
    now->tv_sec = jumped(now->tv_sec);
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    int result = real(gettimeofday)(now, zone);
    now->tv_sec = jumped(now->tv_sec);
    return result;
}

time_t time(time_t *out) {
    time_t now = jumped(real(time)(NULL));
    if (out) *out = now;
    return now;
}
