/* run_reader.h: runs read back, for everything that compares them. Reads only what train/runlog.h says a
 * run directory holds: config.json, metrics.jsonl and, when the run has ended, summary.json.
 *
 *     Run run;
 *     if (!run_read(&run, "runs/softmuon", &err)) return error_print(&err);
 *     RunResult result = run_result(&run);
 *     printf("%s: %.4f after %.0f s\n", run.name, result.final_val, result.time_s);
 *     run_free(&run);
 */
#ifndef TRAIN_RUN_READER_H
#define TRAIN_RUN_READER_H

#include "train/runlog.h"

typedef struct Run {
    char *dir, *name;     /* name: the last part of dir */
    struct cJSON *config; /* the effective config */
    StepRecord *records;  /* one a line of metrics.jsonl, in its order; absent figures are NAN */
    size_t record_count;
    bool torn; /* the last line was cut off in the middle, and left out */
    /* "finished", "stopped", "diverged", "failed"; "" while it runs, or when it was killed */
    char outcome[16];
} Run;

/* ERR_DATA when `dir` is no run directory, or when a line other than the last is damaged. */
bool run_read(Run *run, const char *dir, Error *err);
void run_free(Run *run);

/* Figures of the whole run; NAN where it has none. */
typedef struct RunResult {
    double final_val, best_val; /* nats a token */
    int64_t best_step;
    int64_t steps, tokens;
    double time_s;
    double tokens_per_s; /* median over the lines that have it */
} RunResult;

RunResult run_result(const Run *run);

/* The last value of a figure, by its key in metrics.jsonl such as "spikes"; NAN without any. */
double run_last_figure(const Run *run, const char *key);

/* The first evaluation at or below `target`, or NULL. */
const StepRecord *run_reach(const Run *run, double target);

typedef enum { BY_STEP, BY_TOKENS, BY_TIME } RunAxis;
extern const char *const RUN_AXIS_NAMES[]; /* for titles */

/* A curve of validation loss, or of training loss smoothed by a centred mean over 2 % of its points on
 * each side. x and y have room for record_count values; returns how many there are. */
size_t run_curve(const Run *run, RunAxis by, bool train, double *x, double *y);

/* The config's value at a key path such as "optimizer.lr" as text; NULL if there is none. */
const char *run_setting(const Run *run, const char *path, char *out, size_t size);

/* A key path whose value is not the same in all runs. */
typedef struct RunDifference {
    char *path;
    char **values; /* one a run; NULL where the config lacks the key */
} RunDifference;

/* Every difference between the configs, in the order of the first config that has the key; run.dir is
 * left out. NULL with err when memory runs out. Free with run_differences_free. */
RunDifference *run_differences(const Run *runs, int run_count, int *count, Error *err);
void run_differences_free(RunDifference *differences, int count, int run_count);

#endif
