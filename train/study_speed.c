/* study_speed.c: see study_speed.h. */
#include "train/study_speed.h"

#include "core/json.h"
#include "core/memory.h"
#include "train/progress.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SAID_MAX = 8192 };

typedef struct Copy {
    pid_t pid;
    int pipe_fd; /* what it says */
    char said[SAID_MAX];
    int status;
} Copy;

/* The config as a file that is in no folder. */
static int config_fd(const Config *config, Error *err) {
    char *text = config_to_json(config);
    int fd = text ? memfd_create("config", 0) : -1;
    size_t length = text ? strlen(text) : 0;
    bool written = fd >= 0 && write(fd, text, length) == (ssize_t)length;
    free(text);
    if (written) return fd;
    error_set(err, ERR_IO, "cannot put down a config in memory: %s", strerror(errno));
    if (fd >= 0) close(fd);
    return -1;
}

static bool start_copy(Copy *copy, const char *program, int config, int threads, Error *err) {
    int ends[2];
    char path[64], thread_word[32];
    snprintf(path, sizeof path, "/proc/self/fd/%d", config);
    snprintf(thread_word, sizeof thread_word, "train.threads=%d", threads);
    *copy = (Copy){.pid = -1, .pipe_fd = -1};
    if (pipe2(ends, O_CLOEXEC) != 0) return error_set(err, ERR_IO, "pipe: %s", strerror(errno));
    copy->pid = fork();
    if (copy->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(ends[1], STDOUT_FILENO);
        dup2(ends[1], STDERR_FILENO);
        execl(program, program, path, thread_word, "--dry-run=json", (char *)NULL);
        _exit(ERR_IO);
    }
    close(ends[1]);
    copy->pipe_fd = ends[0];
    return copy->pid > 0 || error_set(err, ERR_IO, "cannot start %s: %s", program, strerror(errno));
}

static void end_copy(Copy *copy) {
    size_t n = 0;
    ssize_t got;
    if (copy->pid > 0) {
        while (n < SAID_MAX - 1 && ((got = read(copy->pipe_fd, copy->said + n, SAID_MAX - 1 - n)) > 0 ||
                                    (got < 0 && errno == EINTR)))
            n += got > 0 ? (size_t)got : 0;
        while (waitpid(copy->pid, &copy->status, 0) < 0 && errno == EINTR) {}
    }
    if (copy->pipe_fd >= 0) close(copy->pipe_fd);
}

static double number(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : 0;
}

/* Adds what a copy measured. */
static bool take(StudySpeed *speed, const Copy *copy, const char *program, Error *err) {
    Error none;
    const char *said = strncmp(copy->said, "error: ", 7) == 0 ? copy->said + 7 : copy->said;
    cJSON *o = json_parse(copy->said, strlen(copy->said), program, ERR_IO, &none);
    double step_s = number(o, "step_s");
    int code = WIFEXITED(copy->status) ? WEXITSTATUS(copy->status) : ERR_IO;
    if (code != 0 || !(step_s > 0)) {
        cJSON_Delete(o);
        return error_set(err, code ? (ErrorCode)code : ERR_IO, "%s --dry-run: %.*s", program,
                         (int)strcspn(said, "\n"), said);
    }
    speed->total_steps = (int64_t)number(o, "total_steps");
    speed->tokens_a_step = (int64_t)number(o, "tokens_a_step");
    speed->params = (int64_t)number(o, "params");
    speed->memory_bytes = (size_t)number(o, "memory_bytes");
    speed->flops_a_token = number(o, "flops_a_token");
    speed->tokens_per_s += (double)speed->tokens_a_step / step_s;
    speed->run_s += number(o, "time_s") / speed->at_once;
    cJSON_Delete(o);
    return true;
}

bool study_speed_measure(StudySpeed *speed, const char *program, const Config *config, int at_once,
                         int threads, Error *err) {
    int fd = config_fd(config, err), started = 0;
    Copy *copies = calloc((size_t)at_once, sizeof *copies);
    bool ok = fd >= 0 && copies;
    if (!copies) error_set(err, ERR_IO, "study: out of memory");
    *speed = (StudySpeed){.at_once = at_once, .threads = threads};
    for (; ok && started < at_once; started++) ok = start_copy(&copies[started], program, fd, threads, err);
    for (int i = 0; i < started && copies; i++) end_copy(&copies[i]);
    for (int i = 0; i < started && ok; i++) ok = take(speed, &copies[i], program, err);
    free(copies);
    if (fd >= 0) close(fd);
    return ok;
}

bool study_speed_share(StudySpeed *best, const char *program, const Config *config, int cores, int runs,
                       FILE *out, Error *err) {
    char rate[16];
    *best = (StudySpeed){0};
    for (int n = 1; n <= cores && n <= (runs > 1 ? runs : 1);
         n = n < cores && 2 * n > cores ? cores : 2 * n) {
        StudySpeed speed;
        if (n > 1 && (double)best->memory_bytes * n > 0.9 * (double)memory_available()) break;
        if (!study_speed_measure(&speed, program, config, n, cores / n, err)) return false;
        if (out)
            fprintf(out, "measured: %d run%s, %d thread%s%s: %s tokens/s\n", n,
                    n == 1 ? "" : "s side by side", cores / n, cores / n == 1 ? "" : "s",
                    n == 1 ? "" : " each", format_count(speed.tokens_per_s, rate, sizeof rate));
        if (out) fflush(out);
        if (speed.tokens_per_s > best->tokens_per_s) *best = speed;
    }
    return true;
}
