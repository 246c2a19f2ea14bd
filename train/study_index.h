/* study_index.h: where a study stands, studies/NAME/index.json: its methods, what was chosen for each, and
 * every run with its result. `study` rewrites it, whole or not at all, as the study goes on; everything that
 * evaluates a study begins here.
 *
 *     StudyIndex index;
 *     if (!study_index_read(&index, "studies/small", &err)) return error_print(&err);
 *     for (int i = 0; i < index.run_count; i++) {
 *         const StudyRun *run = &index.runs[i];
 *         if (run->phase == STUDY_FINAL && run->state == STUDY_DONE)
 *             printf("%s seed %lld: %.4f\n", run->method, (long long)run->seed, run->loss);
 *     }
 *     study_index_free(&index);
 */
#ifndef TRAIN_STUDY_INDEX_H
#define TRAIN_STUDY_INDEX_H

#include "core/error.h"
#include <stdint.h>

struct cJSON;

enum { STUDY_NAME_MAX = 64, STUDY_DIR_MAX = 512, STUDY_EDGE_MAX = 256 };

/* "tune": one of a grid's points on a tuning seed. "final": a point that counts, on one of the study's
 * seeds; a run that serves both is "final". Final runs of two methods with one seed are a pair. */
typedef enum { STUDY_TUNE, STUDY_FINAL } StudyPhase;

typedef enum { STUDY_WAITING, STUDY_RUNNING, STUDY_DONE, STUDY_DIVERGED, STUDY_FAILED } StudyState;

typedef struct StudyMethod {
    char name[STUDY_NAME_MAX];      /* letters, digits, "_", "-", "." */
    char optimizer[STUDY_NAME_MAX]; /* the main one: optimizer.name */
    char trunk[STUDY_NAME_MAX];     /* the method whose runs its own runs branch from; "" */
    struct cJSON *settings;         /* the chosen point, {"optimizer.lr": 0.003}; NULL: not chosen yet */
    char edge
        [STUDY_EDGE_MAX]; /* "optimizer.lr at its lowest value" where the chosen point lies on one; "" */
} StudyMethod;

typedef struct StudyRun {
    char dir[STUDY_DIR_MAX]; /* "runs/adamw/optimizer.lr=0.003/seed=1", below the study's directory */
    char method[STUDY_NAME_MAX];
    StudyPhase phase;
    struct cJSON *settings; /* its point, an object: numbers, texts, true and false by key path */
    int64_t seed;
    char trunk[STUDY_DIR_MAX]; /* dir of the run that it branches from, at branch_step; "" and -1 */
    int64_t branch_step;
    StudyState state;
    double loss; /* final validation loss, nats a token; NAN unless done */
} StudyRun;

typedef struct StudyIndex {
    char name[STUDY_NAME_MAX];
    char baseline[STUDY_NAME_MAX]; /* one of the methods */
    bool done;
    int64_t *tune_seeds; /* grids were compared on these; none where the index does not say */
    int tune_seed_count;
    StudyMethod *methods;
    int method_count;
    StudyRun *runs;
    int run_count;
} StudyIndex;

/* Is the folder a study's: is there an index.json in it? */
bool study_index_exists(const char *dir);

/* Reads <study_dir>/index.json and checks all of it: names, that runs, trunks and the baseline are there, that
 * no dir leaves the study. ERR_DATA, or ERR_IO. */
bool study_index_read(StudyIndex *index, const char *study_dir, Error *err);

/* Writes <study_dir>/index.json, or leaves it as it was (ERR_IO). Every number reads back to the same bits. */
bool study_index_write(const StudyIndex *index, const char *study_dir, Error *err);

void study_index_free(StudyIndex *index);

/* The method of this name, or NULL. */
const StudyMethod *study_index_method(const StudyIndex *index, const char *name);

/* "waiting", "running", "done", "diverged", "failed". */
const char *study_state_text(StudyState state);

/* A copy of an object whose numbers print to the same bits, which cJSON's own do not. NULL: no memory. */
struct cJSON *study_settings_exact(const struct cJSON *settings);

#endif
