/* study_store.c: see study_store.h. */
#include "train/study_store.h"

#include "core/file.h"
#include "core/json.h"
#include "train/checkpoint.h"
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#define SUMMARY_MAX_BYTES ((size_t)1 << 20)

/* The folders on the way to a file. */
static bool make_parents(const char *path, Error *err) {
    char folder[STUDY_PATH_MAX];
    snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    return file_make_folders(folder, "; set dir to a folder that can", err);
}

int study_store_lock(const char *dir, Error *err) {
    char path[STUDY_PATH_MAX];
    snprintf(path, sizeof path, "%s/lock", dir);
    if (!make_parents(path, err)) return -1;
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (fd < 0) {
        error_errno(err, path, "be written");
        return -1;
    }
    for (int tries = 0; tries < 20; tries++) { /* a study that was killed takes a moment to go */
        if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
        if (errno != EWOULDBLOCK) break;
        nanosleep(&(struct timespec){.tv_nsec = 50 * 1000000}, NULL);
    }
    if (errno == EWOULDBLOCK)
        error_set(err, ERR_BUSY, "%s: another process works on this study; wait for it, or set dir", dir);
    else error_errno(err, path, "be locked");
    close(fd);
    return -1;
}

bool study_store_describe(const StudySpec *spec, Error *err) {
    char path[STUDY_PATH_MAX], *text = json_print(spec->root);
    snprintf(path, sizeof path, "%s/study.json", spec->dir);
    bool ok = file_write_text(path, text, err);
    free(text);
    return ok;
}

/* ---------------------------------------------------------------------------------------------------- runs */

/* Is the run that lies there, if any, the one that is wanted? */
static bool is_same(const StudyTask *task) {
    char path[STUDY_PATH_MAX];
    Config there;
    Error none;
    snprintf(path, sizeof path, "%s/config.json", task->config.run.dir);
    if (!config_load(&there, path, NULL, 0, &none)) return false;
    char *a = study_config_essence(&there), *b = study_config_essence(&task->config);
    bool same = a && b && strcmp(a, b) == 0;
    free(a), free(b);
    config_free(&there);
    return same;
}

/* Its summary's outcome and figures. */
static StudyOutcome read_summary(const char *run_dir) {
    char path[STUDY_PATH_MAX];
    Error none;
    StudyOutcome outcome = {.state = STUDY_WAITING, .loss = NAN};
    snprintf(path, sizeof path, "%s/summary.json", run_dir);
    cJSON *summary = json_read(path, SUMMARY_MAX_BYTES, ERR_DATA, &none); /* not there while it runs */
    const char *word = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(summary, "outcome"));
    const cJSON *loss = cJSON_GetObjectItemCaseSensitive(summary, "final_val_loss");
    const cJSON *steps = cJSON_GetObjectItemCaseSensitive(summary, "steps");
    if (word && strcmp(word, "diverged") == 0) outcome.state = STUDY_DIVERGED;
    if (word && strcmp(word, "finished") == 0 && cJSON_IsNumber(loss) && isfinite(loss->valuedouble)) {
        outcome.state = STUDY_DONE;
        outcome.loss = loss->valuedouble;
    }
    if (cJSON_IsNumber(steps) && fabs(steps->valuedouble) < 1e15)
        outcome.last_step = (int64_t)steps->valuedouble;
    const cJSON *time = cJSON_GetObjectItemCaseSensitive(summary, "time_s");
    outcome.time_s = cJSON_IsNumber(time) ? time->valuedouble : NAN;
    cJSON_Delete(summary);
    return outcome;
}

StudyOutcome study_store_outcome(const StudyTask *task) {
    char dir[STUDY_PATH_MAX];
    Error none;
    int count;
    if (!is_same(task)) return (StudyOutcome){.state = STUDY_WAITING, .loss = NAN};
    StudyOutcome outcome = read_summary(task->config.run.dir);
    if (outcome.state != STUDY_WAITING) return outcome;
    snprintf(dir, sizeof dir, "%s/checkpoints", task->config.run.dir);
    free(checkpoint_list(dir, &count, &none));
    outcome.begun = count > 0;
    return outcome;
}

bool study_store_is_taken(const StudyTask *task) {
    return !is_same(task);
}

/* -------------------------------------------------------------------------------------------------- files */

static char *beside(const StudySpec *spec, const StudyRun *run, const char *folder, const char *ending,
                    char out[STUDY_PATH_MAX]) {
    snprintf(out, STUDY_PATH_MAX, "%s/%s/%s%s", spec->dir, folder, run->dir + strlen("runs/"), ending);
    return out;
}

char *study_store_config(const StudySpec *spec, const StudyRun *run, char out[STUDY_PATH_MAX]) {
    return beside(spec, run, "configs", ".json", out);
}

char *study_store_log(const StudySpec *spec, const StudyRun *run, char out[STUDY_PATH_MAX]) {
    return beside(spec, run, "logs", ".log", out);
}

static bool link_trunk(const StudySpec *spec, const StudyRun *run, const StudyTask *task, Error *err) {
    char path[STUDY_PATH_MAX], target[STUDY_PATH_MAX], fresh[STUDY_PATH_MAX + 8];
    study_trunk_path(spec, task, path, sizeof path);
    snprintf(target, sizeof target, "../%s", run->dir);
    snprintf(fresh, sizeof fresh, "%s.tmp", path);
    if (!make_parents(path, err)) return false;
    unlink(fresh);
    return (symlink(target, fresh) == 0 && rename(fresh, path) == 0) || error_errno(err, path, "be linked");
}

bool study_store_prepare(const StudySpec *spec, const StudyRun *run, const StudyTask *task,
                         const StudyRun *trunk_run, const StudyTask *trunk, Error *err) {
    char path[STUDY_PATH_MAX];
    char *config = config_to_json(&task->config);
    bool ok = make_parents(study_store_config(spec, run, path), err) && file_write_text(path, config, err) &&
              make_parents(study_store_log(spec, run, path), err) &&
              (!trunk || !trunk_run || link_trunk(spec, trunk_run, trunk, err));
    free(config);
    return ok;
}

/* -------------------------------------------------------------------------------------------- checkpoints */

static char *checkpoint_dir(const StudySpec *spec, const StudyRun *run, char out[STUDY_PATH_MAX]) {
    snprintf(out, STUDY_PATH_MAX, "%s/%s/checkpoints", spec->dir, run->dir);
    return out;
}

bool study_store_has_checkpoint(const StudySpec *spec, const StudyRun *run, int64_t step) {
    char dir[STUDY_PATH_MAX], path[STUDY_PATH_MAX + 64];
    checkpoint_path(checkpoint_dir(spec, run, dir), step, path, sizeof path);
    return access(path, F_OK) == 0;
}

void study_store_remove_checkpoints(const StudySpec *spec, const StudyRun *run, int keep) {
    char dir[STUDY_PATH_MAX];
    Error none;
    int count;
    int64_t *steps = checkpoint_list(checkpoint_dir(spec, run, dir), &count, &none);
    for (int i = keep; i < count; i++) checkpoint_remove(dir, steps[i]);
    free(steps);
}
