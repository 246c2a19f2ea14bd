/* study_plan.h: which runs a study takes, as far as that follows from the runs that have ended. A pure
 * function of the description and their losses: whatever ran side by side and however often the study was
 * killed, it comes to the same runs.
 *
 *     StudyPlan plan;
 *     if (!study_plan_make(&plan, &spec, &world, &err)) return error_print(&err);
 *     while (!plan.index.done) {
 *         ... train some plan.tasks[i] that is ready ...
 *         study_plan_free(&plan);
 *         if (!study_plan_make(&plan, &spec, &world, &err)) ...
 *     }
 *
 * A grid's points are trained on the tuning seeds. The one with the lowest mean loss is chosen, a run that
 * diverged counting as infinite, the earlier one where two are equal. Where it is the lowest or highest of an
 * axis of numbers, that axis grows by the ratio of its last two values there, rounded to three digits, and
 * the new points are trained, at most `extend` times an edge; a value that the config refuses, or one beyond
 * zero, ends it. Then the chosen point, or every point, is trained on all seeds.
 */
#ifndef TRAIN_STUDY_PLAN_H
#define TRAIN_STUDY_PLAN_H

#include "train/config.h"
#include "train/study_spec.h"

/* One run. What of it others read is in the plan's index, at the same place. */
typedef struct StudyTask {
    int method, point; /* place of the method, number of its grid's point */
    int64_t last_step; /* that is in its log */
    double step_s;     /* what a step took, evaluations included; NAN: unknown */
    int trunk;         /* place of the task that it branches from; -1 */
    Config config;     /* as train_gpt will get it */
    char identity[17]; /* of what decides its bits: settings that are not at their default */
    int64_t total_steps;
    char keep_steps[FIELD_TEXT_MAX]; /* where others branch off that have not begun */
    bool ready;                      /* it can be trained now */
} StudyTask;

/* What became of a run: what the plan asks of the world. */
typedef struct StudyOutcome {
    StudyState state;
    double loss; /* final validation loss; NAN unless done */
    int64_t last_step;
    double time_s; /* since it, or its trunk, began */
    bool begun;    /* it would go on from a checkpoint of its own */
} StudyOutcome;

typedef struct StudyWorld {
    void *context;
    bool guess; /* the first point of a grid that is not tuned yet is the best, and none grows */
    /* How many steps this config trains: that may depend on the data. */
    bool (*total_steps)(void *context, const Config *config, int64_t *steps, Error *err);
    StudyOutcome (*outcome)(void *context, const StudyRun *run, const StudyTask *task);
    bool (*has_checkpoint)(void *context, const StudyRun *run, int64_t step);
} StudyWorld;

typedef struct StudyPlan {
    StudyIndex index;
    StudyTask *tasks; /* one a run of the index */
    bool open_ended;  /* grids may still grow, or are not tuned yet: more runs will come */
} StudyPlan;

/* ERR_CONFIG with the problems of all methods' configs. */
bool study_plan_make(StudyPlan *plan, const StudySpec *spec, const StudyWorld *world, Error *err);
void study_plan_free(StudyPlan *plan);

/* Where a run's trunk is found by its identity: <study>/trunks/<identity>. Returns out. */
char *study_trunk_path(const StudySpec *spec, const StudyTask *trunk, char *out, size_t size);

/* The text of what decides a config's results: without run.dir, train.threads, train.resume, checkpoint.*.
 * malloc'ed; NULL: no memory. */
char *study_config_essence(const Config *config);

/* The value at a key path of a tree, or NULL. */
const struct cJSON *study_find_path(const struct cJSON *tree, const char *path);

#endif
