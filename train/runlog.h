/* runlog.h: a run is a directory. Everything that compares runs reads only this:
 *     config.json     the effective config, every default spelled out
 *     machine.json    command line, start time, compiler, flags, commit, CPU, threads, memory, libraries
 *     metrics.jsonl   one JSON object a line, see StepRecord; a line is there whole or not at all
 *     samples.txt     generated text
 *     events.out.tfevents.0.train_gpt    the same for TensorBoard, with log.tensorboard; see events.h
 *     diagnostics.jsonl   one object a diagnosed step, see diagnostics.h; only in runs that ask for it
 *     summary.json    written last, when the run ends: outcome, final and best validation loss, times
 *     checkpoints/    to go on from, see checkpoint.h
 *     lock            held (flock) by the process that writes here
 *
 *     RunLog log;
 *     if (!runlog_open(&log, &config, "runs/muon", command_line, threads, &err)) return error_print(&err);
 *     if (*log.moved_to) printf("the earlier run is now %s\n", log.moved_to);
 *     ... runlog_step(&log, &record, &err) ... runlog_sample(&log, step, text, length, &err) ...
 *     runlog_finish(&log, "finished", &err);
 *     runlog_close(&log);
 */
#ifndef TRAIN_RUNLOG_H
#define TRAIN_RUNLOG_H

#include "train/config.h"

struct cJSON;

/* One line of metrics.jsonl. A figure that is NAN is left out of the line; nothing is ever written as a
 * bare nan or inf. Numbers are written so that they read back to the same bits. */
typedef struct StepRecord {
    int64_t step;                /* "step", 1-based; 0 is before the first update */
    int64_t tokens;              /* "tokens": trained on so far */
    double time_s;               /* "time_s": since the run began, evaluation included */
    double train_loss, val_loss; /* "train/loss", "val/loss": nats a token */
    double lr;                   /* "lr": of the main optimizer, schedule applied */
    double grad_norm;            /* "grad_norm": before clipping */
    double tokens_per_s;         /* "tokens_per_s" */
    double flops;                /* "flops": of the model's passes over these tokens; not the optimizer's */
    double forward_s, backward_s; /* "forward_s", ...: seconds since the line before */
    double optimizer_s, eval_s;
    double diagnostics_s;  /* "diagnostics_s": absent where nothing was diagnosed */
    double skipped;        /* "skipped": updates left out since the line before */
    double rollbacks;      /* "rollbacks": of the run so far, at the first line behind one */
    double spikes;         /* "spikes": of the training loss, in the run so far; see spike.h */
    double temperature;    /* "temperature": null in the hard phase (INFINITY), absent (NAN) without one */
    double saturated_frac; /* "saturated_frac" */
    double dual_progress;  /* "dual_progress": V*(tau x) / tau, see optim/temperature.h */
} StepRecord;

/* The figures of a record, for those who write and read lines: key in metrics.jsonl, member, and whether
 * the run's summary adds them up. Ends with {0}. */
typedef struct StepFigure {
    const char *key;
    size_t offset;
    bool summed;
} StepFigure;

extern const StepFigure STEP_FIGURES[];
double *step_figure(StepRecord *record, const StepFigure *figure);

/* A record with every figure absent. */
StepRecord step_record_empty(void);

/* As a JSON object, {"step":1,...}, and back; false if it is none. */
enum { STEP_RECORD_TEXT_SIZE = 1024 };
char *step_record_text(const StepRecord *record, char out[STEP_RECORD_TEXT_SIZE]);
bool step_record_parse(const struct cJSON *object, StepRecord *record);

typedef struct RunLog {
    char dir[1024];
    char moved_to[1056]; /* where an earlier run in `dir` was moved, or "" */
    int lock_fd, metrics_fd, samples_fd;
    int diagnostics_fd; /* -1: the run has none */
    int events_fd;      /* -1: log.tensorboard is off */
    StepRecord last;    /* last known value of every figure; times summed over the run */
    double best_val_loss;
    int64_t best_val_step;
} RunLog;

/* How far a log has come. A run that goes on from a checkpoint goes on from here; what was written behind
 * it will be written again. */
typedef struct RunLogMark {
    int64_t metrics_bytes, samples_bytes, diagnostics_bytes, events_bytes;
    StepRecord last;
    double best_val_loss;
    int64_t best_val_step;
} RunLogMark;

/* Creates `run_dir` with its parents and locks it. ERR_BUSY, having written nothing, when another process
 * holds it; ERR_IO when it cannot be written. An earlier run in it is moved to <run_dir>.1, .2, ..., never
 * overwritten. `threads` is the number in use. */
bool runlog_open(RunLog *log, const Config *config, const char *run_dir, const char *command_line,
                 int threads, Error *err);

/* The same in steps, for runs that may go on: runlog_lock leaves what is there as it is; then either
 * runlog_begin moves it aside, or runlog_continue goes on behind `mark` (ERR_CHECKPOINT when the files are
 * shorter than that; another mark may do) and notes in machine.json at which step and where. */
bool runlog_lock(RunLog *log, const char *run_dir, Error *err);
bool runlog_begin(RunLog *log, const Config *config, const char *command_line, int threads, Error *err);
bool runlog_continue(RunLog *log, const Config *config, const char *command_line, int threads, int64_t step,
                     const RunLogMark *mark, Error *err);

/* Is a run in the directory that was stopped, killed or kept from going on by an error? One that has
 * diverged would do so again. */
bool runlog_is_unfinished(const RunLog *log);

bool runlog_mark(const RunLog *log, RunLogMark *mark, Error *err);

/* What this program was built from: commit, compiler, flags. */
const char *runlog_build(void);

/* Appends a line to metrics.jsonl with a single write. */
bool runlog_step(RunLog *log, const StepRecord *record, Error *err);

/* Appends a line, newline included, to diagnostics.jsonl in the same way. */
bool runlog_diagnosis(RunLog *log, const char *line, size_t length, Error *err);

/* Appends generated text, any bytes, to samples.txt. */
bool runlog_sample(RunLog *log, int64_t step, const char *text, size_t length, Error *err);

/* Writes summary.json, whole or not at all: finished, outcome, steps, tokens, time_s, final_train_loss,
 * final_val_loss, best_val_loss, best_val_step, tokens_per_s (evaluation and diagnostics not counted), forward_s,
 * backward_s, optimizer_s, eval_s and diagnostics_s over the run, spikes; null where nothing was measured. outcome: "finished",
 * "stopped", "diverged" or "failed"; only the first is "finished": true there. */
bool runlog_finish(RunLog *log, const char *outcome, Error *err);

/* Gives the lock back. Safe after a failed runlog_open. */
void runlog_close(RunLog *log);

#endif
