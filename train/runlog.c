/* runlog.c: see runlog.h. Small files appear whole (written beside, then renamed); metrics.jsonl grows by
 * one write a line, so that a reader, or a crash, sees whole lines. */
#include "train/runlog.h"

#include "core/eigen.h"
#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "train/events.h"
#include <errno.h>
#include <fcntl.h>
#include <gnu/libc-version.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* From the Makefile; a build without it says so instead of guessing. */
#ifndef TRAIN_GPT_COMMIT
#define TRAIN_GPT_COMMIT "unknown"
#endif
#ifndef TRAIN_GPT_CFLAGS
#define TRAIN_GPT_CFLAGS "unknown"
#endif
#define EVENTS_NAME       "events.out.tfevents.0.train_gpt"
#define MACHINE_MAX_BYTES ((size_t)1 << 20)
#if defined __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

/* ---------------------------------------------------------------------------------------------- figures */

const StepFigure STEP_FIGURES[] = {
    {"time_s", offsetof(StepRecord, time_s), false},
    {"train/loss", offsetof(StepRecord, train_loss), false},
    {"val/loss", offsetof(StepRecord, val_loss), false},
    {"lr", offsetof(StepRecord, lr), false},
    {"grad_norm", offsetof(StepRecord, grad_norm), false},
    {"tokens_per_s", offsetof(StepRecord, tokens_per_s), false},
    {"flops", offsetof(StepRecord, flops), false},
    {"forward_s", offsetof(StepRecord, forward_s), true},
    {"backward_s", offsetof(StepRecord, backward_s), true},
    {"optimizer_s", offsetof(StepRecord, optimizer_s), true},
    {"eval_s", offsetof(StepRecord, eval_s), true},
    {"diagnostics_s", offsetof(StepRecord, diagnostics_s), true},
    {"skipped", offsetof(StepRecord, skipped), true},
    {"rollbacks", offsetof(StepRecord, rollbacks), false},
    {"spikes", offsetof(StepRecord, spikes), false},
    {"temperature", offsetof(StepRecord, temperature), false},
    {"saturated_frac", offsetof(StepRecord, saturated_frac), false},
    {"dual_progress", offsetof(StepRecord, dual_progress), false},
    {0},
};

double *step_figure(StepRecord *record, const StepFigure *figure) {
    return (double *)((char *)record + figure->offset);
}

StepRecord step_record_empty(void) {
    StepRecord record = {0};
    for (const StepFigure *f = STEP_FIGURES; f->key; f++) *step_figure(&record, f) = NAN;
    return record;
}

/* "1.5", or null for what JSON cannot say. */
static const char *json_number(double value, char *out, size_t size) {
    const Field real = {.type = FIELD_REAL};
    return isfinite(value) ? field_text(&real, &value, out, size) : "null";
}

char *step_record_text(const StepRecord *record, char out[STEP_RECORD_TEXT_SIZE]) {
    char number[64];
    StepRecord r = *record;
    size_t size = STEP_RECORD_TEXT_SIZE;
    size_t n = (size_t)snprintf(out, size, "{\"step\":%lld,\"tokens\":%lld", (long long)r.step,
                                (long long)r.tokens);
    for (const StepFigure *f = STEP_FIGURES; f->key; f++) {
        double value = *step_figure(&r, f);
        bool hard = isinf(value) && f->offset == offsetof(StepRecord, temperature);
        if (isfinite(value) || hard)
            n += (size_t)snprintf(out + n, size - n, ",\"%s\":%s", f->key,
                                  json_number(value, number, sizeof number));
    }
    snprintf(out + n, size - n, "}");
    return out;
}

static int64_t whole_number(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) && fabs(item->valuedouble) < 9e18 ? (int64_t)item->valuedouble : 0;
}

bool step_record_parse(const cJSON *object, StepRecord *record) {
    *record = step_record_empty();
    if (!cJSON_IsObject(object)) return false;
    record->step = whole_number(object, "step");
    record->tokens = whole_number(object, "tokens");
    for (const StepFigure *f = STEP_FIGURES; f->key; f++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, f->key);
        if (cJSON_IsNumber(item)) *step_figure(record, f) = item->valuedouble;
    }
    if (cJSON_IsNull(cJSON_GetObjectItemCaseSensitive(object, "temperature")))
        record->temperature = INFINITY;
    return true;
}

/* ------------------------------------------------------------------------------------------------ files */

static bool write_all(int fd, const char *data, size_t length) {
    while (length > 0) {
        ssize_t n = write(fd, data, length);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        data += n;
        length -= (size_t)n;
    }
    return true;
}

/* <dir>/<name>, whole or not at all, also after a power cut. */
static bool write_file(const RunLog *log, const char *name, const char *text, Error *err) {
    char path[1152];
    snprintf(path, sizeof path, "%s/%s", log->dir, name);
    return file_write_text(path, text, err);
}

static bool write_json(const RunLog *log, const char *name, cJSON *object, bool complete, Error *err) {
    char *text = complete ? json_print(object) : NULL;
    cJSON_Delete(object);
    bool done = write_file(log, name, text, err);
    free(text);
    return done;
}

static bool open_append(const RunLog *log, const char *name, int *fd, Error *err) {
    char path[1152];
    snprintf(path, sizeof path, "%s/%s", log->dir, name);
    *fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    return *fd >= 0 || error_errno(err, path, "be written");
}

/* -------------------------------------------------------------------------------------------- directory */

/* Is the file we hold the lock of still <dir>/lock, or has its directory been moved since we opened it? */
static bool lock_is_current(const char *path, int fd) {
    struct stat held, there;
    return fstat(fd, &held) == 0 && stat(path, &there) == 0 && held.st_dev == there.st_dev &&
           held.st_ino == there.st_ino;
}

/* Creates and locks log->dir. Tries again where a rival moves the directory away between open and flock. */
static bool lock_dir(RunLog *log, Error *err) {
    char path[1152];
    snprintf(path, sizeof path, "%s/lock", log->dir);
    for (int tries = 0; tries < 100; tries++) {
        if (!file_make_folders(log->dir, "; set run.dir to a folder that can", err)) return false;
        log->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
        if (log->lock_fd < 0) {
            if (errno == ENOENT) continue;
            return error_errno(err, path, "be written");
        }
        if (flock(log->lock_fd, LOCK_EX | LOCK_NB) != 0) {
            if (errno != EWOULDBLOCK) return error_errno(err, path, "be locked");
            return error_set(err, ERR_BUSY,
                             "%s: another process is writing this run; wait for it, or set run.dir",
                             log->dir);
        }
        if (lock_is_current(path, log->lock_fd)) return true;
        close(log->lock_fd);
        log->lock_fd = -1;
    }
    return error_errno(err, path, "be locked");
}

static bool holds_run(const char *dir) {
    char path[1152];
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    return access(path, F_OK) == 0;
}

/* Moves log->dir to the first free <dir>.N. The caller holds its lock, which moves along. */
static bool move_aside(RunLog *log, Error *err) {
    for (int n = 1; n < 1000000; n++) {
        snprintf(log->moved_to, sizeof log->moved_to, "%s.%d", log->dir, n);
        if (renameat2(AT_FDCWD, log->dir, AT_FDCWD, log->moved_to, RENAME_NOREPLACE) == 0) return true;
        if (errno == EINVAL && access(log->moved_to, F_OK) != 0 && rename(log->dir, log->moved_to) == 0)
            return true; /* a file system without RENAME_NOREPLACE */
        if (errno != EEXIST && errno != EINVAL) break;
    }
    error_errno(err, log->dir, "be moved aside");
    *log->moved_to = '\0';
    return false;
}

/* ---------------------------------------------------------------------------------------------- machine */

/* The first "key : value" line of a file in /proc. */
static char *proc_value(const char *path, const char *key, char *out, size_t size) {
    char line[512];
    FILE *file = fopen(path, "r");
    snprintf(out, size, "unknown");
    while (file && fgets(line, sizeof line, file)) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, key, strlen(key)) != 0) continue;
        snprintf(out, size, "%s", colon + 1 + strspn(colon + 1, " \t"));
        out[strcspn(out, "\n")] = '\0';
        break;
    }
    if (file) fclose(file);
    return out;
}

static bool add_text(cJSON *object, const char *key, const char *text) {
    return cJSON_AddStringToObject(object, key, text) != NULL;
}

static bool add_number(cJSON *object, const char *key, double value) {
    char text[64];
    return cJSON_AddRawToObject(object, key, json_number(value, text, sizeof text)) != NULL;
}

static bool add_libraries(cJSON *machine) {
    char pcre2[64] = "unknown", lapack[PATH_MAX];
    pcre2_config(PCRE2_CONFIG_VERSION, pcre2);
    cJSON *libraries = cJSON_AddObjectToObject(machine, "libraries");
    return libraries && add_text(libraries, "glibc", gnu_get_libc_version()) &&
           add_text(libraries, "cjson", cJSON_Version()) && add_text(libraries, "pcre2", pcre2) &&
           add_text(libraries, "lapack", eigen_library(lapack));
}

const char *runlog_build(void) {
    return "commit " TRAIN_GPT_COMMIT ", " COMPILER ", " TRAIN_GPT_CFLAGS;
}

/* What this process runs on; NULL when memory runs out. */
static cJSON *describe_machine(const char *command_line, int threads) {
    struct utsname os = {0};
    char start[32], cpu[256], system[256];
    time_t now = time(NULL);
    struct tm utc;
    strftime(start, sizeof start, "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&now, &utc));
    uname(&os);
    snprintf(system, sizeof system, "%s %s %s", os.sysname, os.release, os.machine);
    double memory_bytes = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);

    cJSON *m = cJSON_CreateObject();
    bool complete = m && add_text(m, "command", command_line) && add_text(m, "start_time", start) &&
                    add_text(m, "commit", TRAIN_GPT_COMMIT) && add_text(m, "compiler", COMPILER) &&
                    add_text(m, "flags", TRAIN_GPT_CFLAGS) && add_text(m, "host", os.nodename) &&
                    add_text(m, "system", system) &&
                    add_text(m, "cpu", proc_value("/proc/cpuinfo", "model name", cpu, sizeof cpu)) &&
                    add_number(m, "cores", get_nprocs()) && add_number(m, "threads", threads) &&
                    add_number(m, "memory_bytes", memory_bytes) && add_libraries(m);
    if (complete) return m;
    cJSON_Delete(m);
    return NULL;
}

static bool begin_machine(const RunLog *log, const char *command_line, int threads, Error *err) {
    cJSON *m = describe_machine(command_line, threads);
    return write_json(log, "machine.json", m, m != NULL, err);
}

/* Where the run began stays; "continued" lists every process that went on with it. */
static bool continue_machine(const RunLog *log, const char *command_line, int threads, int64_t step,
                             Error *err) {
    char path[1152];
    Error none;
    snprintf(path, sizeof path, "%s/machine.json", log->dir);
    cJSON *m = json_read(path, MACHINE_MAX_BYTES, ERR_IO, &none),
          *now = describe_machine(command_line, threads);
    if (!cJSON_IsObject(m)) { /* it is only a note: a damaged one shall not keep the run from going on */
        cJSON_Delete(m);
        m = cJSON_CreateObject();
    }
    cJSON *list = cJSON_GetObjectItemCaseSensitive(m, "continued");
    if (!cJSON_IsArray(list)) list = cJSON_AddArrayToObject(m, "continued");
    bool complete =
        now && list && add_number(now, "at_step", (double)step) && cJSON_AddItemToArray(list, now);
    if (!complete) cJSON_Delete(now);
    return write_json(log, "machine.json", m, complete, err);
}

/* ---------------------------------------------------------------------------------------------- the log */

static bool write_config(const RunLog *log, const Config *config, Error *err) {
    char *json = config_to_json(config);
    bool done = write_file(log, "config.json", json, err);
    free(json);
    return done;
}

/* Is there, or shall there be, a diagnostics.jsonl? One of a process that did diagnose must be cut back too. */
static bool has_diagnostics(const RunLog *log, const Config *config, int64_t bytes) {
    char path[1152];
    snprintf(path, sizeof path, "%s/diagnostics.jsonl", log->dir);
    return config->diagnostics.every > 0 || config->diagnostics.noise_every > 0 || bytes > 0 ||
           access(path, F_OK) == 0;
}

static bool open_files(RunLog *log, const Config *config, int64_t diagnostics_bytes, Error *err) {
    return open_append(log, "samples.txt", &log->samples_fd, err) &&
           (!has_diagnostics(log, config, diagnostics_bytes) ||
            open_append(log, "diagnostics.jsonl", &log->diagnostics_fd, err)) &&
           open_append(log, "metrics.jsonl", &log->metrics_fd, err);
}

/* A whole line or record, or nothing of it. */
static bool append(const RunLog *log, int fd, const char *what, const char *bytes, size_t length,
                   Error *err) {
    off_t end = lseek(fd, 0, SEEK_END);
    if (write_all(fd, bytes, length)) return true;
    error_errno(err, log->dir, what);
    if (end >= 0) (void)!ftruncate(fd, end); /* or else half a line stays */
    return false;
}

/* Appends an event and frees it; NULL: memory ran out. */
static bool append_event(const RunLog *log, char *event, size_t size, Error *err) {
    bool done = event ? append(log, log->events_fd, "take an event for TensorBoard", event, size, err)
                      : error_set(err, ERR_IO, "%s: out of memory for an event", log->dir);
    free(event);
    return done;
}

static double wall_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Cut back to `bytes`. A file that was taken away, or that no process before this one wrote, begins here. */
static bool open_events(RunLog *log, const Config *config, int64_t bytes, Error *err) {
    struct stat now;
    size_t size;
    if (!config->log.tensorboard) return true;
    if (!open_append(log, EVENTS_NAME, &log->events_fd, err)) return false;
    if (fstat(log->events_fd, &now) != 0) return error_errno(err, log->dir, "be read");
    if (now.st_size < bytes) bytes = 0;
    if (ftruncate(log->events_fd, bytes) != 0)
        return error_errno(err, log->dir, "have its events cut back");
    if (bytes > 0) return true;
    char *version = events_version(wall_clock(), &size);
    return append_event(log, version, size, err);
}

static void close_files(RunLog *log) {
    int *fds[] = {&log->metrics_fd, &log->samples_fd, &log->diagnostics_fd, &log->events_fd};
    for (size_t i = 0; i < sizeof fds / sizeof *fds; i++) {
        if (*fds[i] >= 0) close(*fds[i]);
        *fds[i] = -1;
    }
}

bool runlog_lock(RunLog *log, const char *run_dir, Error *err) {
    *log = (RunLog){.lock_fd = -1,
                    .metrics_fd = -1,
                    .samples_fd = -1,
                    .diagnostics_fd = -1,
                    .events_fd = -1,
                    .best_val_loss = NAN};
    log->last = step_record_empty();
    size_t length = strlen(run_dir);
    while (length > 1 && run_dir[length - 1] == '/') length--;
    if (length == 0 || length >= sizeof log->dir)
        return error_set(err, ERR_IO, "run.dir: %zu bytes is no path for a run", length);
    memcpy(log->dir, run_dir, length);
    if (lock_dir(log, err)) return true;
    runlog_close(log);
    return false;
}

/* Leaves the directory empty but for the lock. */
static bool clear_dir(RunLog *log, Error *err) {
    if (!holds_run(log->dir)) return true;
    if (!move_aside(log, err)) return false;
    close(log->lock_fd);
    log->lock_fd = -1;
    return lock_dir(log, err);
}

bool runlog_begin(RunLog *log, const Config *config, const char *command_line, int threads, Error *err) {
    if (clear_dir(log, err) && write_config(log, config, err) &&
        begin_machine(log, command_line, threads, err) && open_files(log, config, 0, err) &&
        open_events(log, config, 0, err))
        return true;
    runlog_close(log);
    return false;
}

bool runlog_open(RunLog *log, const Config *config, const char *run_dir, const char *command_line,
                 int threads, Error *err) {
    return runlog_lock(log, run_dir, err) && runlog_begin(log, config, command_line, threads, err);
}

/* --------------------------------------------------------------------------------------------- going on */

bool runlog_is_unfinished(const RunLog *log) {
    char path[1152];
    Error none;
    snprintf(path, sizeof path, "%s/summary.json", log->dir);
    cJSON *summary = json_read(path, MACHINE_MAX_BYTES, ERR_IO, &none); /* not there while a run lasts */
    const char *outcome = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(summary, "outcome"));
    bool ended = outcome && (strcmp(outcome, "finished") == 0 || strcmp(outcome, "diverged") == 0);
    cJSON_Delete(summary);
    return holds_run(log->dir) && !ended;
}

bool runlog_mark(const RunLog *log, RunLogMark *mark, Error *err) {
    struct stat metrics, samples, diagnostics = {0}, events = {0};
    if (fstat(log->metrics_fd, &metrics) != 0 || fstat(log->samples_fd, &samples) != 0 ||
        (log->diagnostics_fd >= 0 && fstat(log->diagnostics_fd, &diagnostics) != 0) ||
        (log->events_fd >= 0 && fstat(log->events_fd, &events) != 0))
        return error_errno(err, log->dir, "be read");
    *mark = (RunLogMark){.metrics_bytes = metrics.st_size,
                         .samples_bytes = samples.st_size,
                         .diagnostics_bytes = diagnostics.st_size,
                         .events_bytes = events.st_size,
                         .last = log->last,
                         .best_val_loss = log->best_val_loss,
                         .best_val_step = log->best_val_step};
    return true;
}

static bool cut(const RunLog *log, int fd, const char *name, int64_t bytes, Error *err) {
    struct stat now;
    char path[1152];
    snprintf(path, sizeof path, "%s/%s", log->dir, name);
    if (fstat(fd, &now) != 0) return error_errno(err, path, "be read");
    if (now.st_size < bytes)
        return error_set(err, ERR_CHECKPOINT,
                         "%s: %lld bytes, but the checkpoint was written behind byte %lld", path,
                         (long long)now.st_size, (long long)bytes);
    return ftruncate(fd, bytes) == 0 || error_errno(err, path, "be cut back to the checkpoint");
}

bool runlog_continue(RunLog *log, const Config *config, const char *command_line, int threads, int64_t step,
                     const RunLogMark *mark, Error *err) {
    char summary[1152];
    snprintf(summary, sizeof summary, "%s/summary.json", log->dir);
    log->last = mark->last;
    log->best_val_loss = mark->best_val_loss;
    log->best_val_step = mark->best_val_step;
    close_files(log); /* a run that goes back does this again */
    bool done = open_files(log, config, mark->diagnostics_bytes, err) &&
                cut(log, log->metrics_fd, "metrics.jsonl", mark->metrics_bytes, err) &&
                cut(log, log->samples_fd, "samples.txt", mark->samples_bytes, err) &&
                (log->diagnostics_fd < 0 ||
                 cut(log, log->diagnostics_fd, "diagnostics.jsonl", mark->diagnostics_bytes, err)) &&
                open_events(log, config, mark->events_bytes, err) && write_config(log, config, err) &&
                continue_machine(log, command_line, threads, step, err) &&
                (unlink(summary) == 0 || errno == ENOENT || error_errno(err, summary, "be removed"));
    if (!done) close_files(log);
    return done;
}

/* ----------------------------------------------------------------------------------------- what is said */

/* Later figures replace earlier ones; times add up. */
static void remember(RunLog *log, StepRecord record) {
    log->last.step = record.step;
    log->last.tokens = record.tokens;
    for (const StepFigure *f = STEP_FIGURES; f->key; f++) {
        double now = *step_figure(&record, f), *last = step_figure(&log->last, f);
        if (isnan(now)) continue;
        *last = f->summed && !isnan(*last) ? *last + now : now;
    }
    if (isfinite(record.val_loss) && !(log->best_val_loss <= record.val_loss)) {
        log->best_val_loss = record.val_loss;
        log->best_val_step = record.step;
    }
}

bool runlog_step(RunLog *log, const StepRecord *record, Error *err) {
    char line[STEP_RECORD_TEXT_SIZE + 1];
    size_t n = strlen(step_record_text(record, line));
    line[n++] = '\n';
    remember(log, *record);
    if (!append(log, log->metrics_fd, "take a line of metrics.jsonl", line, n, err)) return false;
    if (log->events_fd < 0) return true;
    char *event = events_figures(record, wall_clock(), &n);
    return append_event(log, event, n, err);
}

bool runlog_diagnosis(RunLog *log, const char *line, size_t length, Error *err) {
    return append(log, log->diagnostics_fd, "take a line of diagnostics.jsonl", line, length, err);
}

bool runlog_sample(RunLog *log, int64_t step, const char *text, size_t length, Error *err) {
    char head[64];
    int n = snprintf(head, sizeof head, "--- step %lld ---\n", (long long)step);
    bool done = write_all(log->samples_fd, head, (size_t)n) && write_all(log->samples_fd, text, length) &&
                write_all(log->samples_fd, "\n\n", 2);
    if (!done) return error_errno(err, log->dir, "take a sample in samples.txt");
    if (log->events_fd < 0) return true;
    size_t size;
    char *event = events_text(step, "samples", text, length, wall_clock(), &size);
    return append_event(log, event, size, err);
}

bool runlog_finish(RunLog *log, const char *outcome, Error *err) {
    const StepRecord *last = &log->last;
    double diagnostics_s = isnan(last->diagnostics_s) ? 0 : last->diagnostics_s;
    double training_s = last->time_s - (isnan(last->eval_s) ? 0 : last->eval_s) - diagnostics_s;
    cJSON *s = cJSON_CreateObject();
    bool complete =
        s && cJSON_AddBoolToObject(s, "finished", strcmp(outcome, "finished") == 0) &&
        add_text(s, "outcome", outcome) && add_number(s, "steps", (double)last->step) &&
        add_number(s, "tokens", (double)last->tokens) && add_number(s, "time_s", last->time_s) &&
        add_number(s, "final_train_loss", last->train_loss) &&
        add_number(s, "final_val_loss", last->val_loss) &&
        add_number(s, "best_val_loss", log->best_val_loss) &&
        add_number(s, "best_val_step", (double)log->best_val_step) &&
        add_number(s, "tokens_per_s", (double)last->tokens / training_s) &&
        add_number(s, "forward_s", last->forward_s) && add_number(s, "backward_s", last->backward_s) &&
        add_number(s, "optimizer_s", last->optimizer_s) && add_number(s, "eval_s", last->eval_s) &&
        add_number(s, "diagnostics_s", last->diagnostics_s) && add_number(s, "spikes", last->spikes) &&
        add_number(s, "peak_memory_bytes", (double)memory_peak());
    return write_json(log, "summary.json", s, complete, err);
}

void runlog_close(RunLog *log) {
    if (!*log->dir) return; /* never opened: its descriptors are 0 */
    close_files(log);
    if (log->lock_fd >= 0) close(log->lock_fd);
    log->lock_fd = -1;
}
