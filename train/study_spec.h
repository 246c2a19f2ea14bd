/* study_spec.h: what a study is told, by one JSON file (docs/studies.md).
 *
 *     StudySpec spec;
 *     if (!study_spec_read(&spec, "configs/study_small.json", &err)) return error_print(&err);
 *     ... spec.methods[i].name ...
 *     study_spec_free(&spec);
 *
 * Read as strictly as a config: every problem at once. What the methods' configs come to is checked by
 * study_plan.h, which makes them.
 */
#ifndef TRAIN_STUDY_SPEC_H
#define TRAIN_STUDY_SPEC_H

#include "core/field.h"
#include "train/study_index.h"
#include <stdio.h>

enum {
    STUDY_METHODS_MAX = 200,
    STUDY_SEEDS_MAX = 1000,
    STUDY_AXES_MAX = 8,
    STUDY_VALUES_MAX = 64,
    STUDY_EXTEND_MAX = 20
};

typedef enum { FINAL_CHOSEN, FINAL_ALL } FinalPoints;
typedef enum { KEEP_NONE, KEEP_FINAL } KeepCheckpoints;

typedef struct MethodSpec {
    char name[STUDY_NAME_MAX];
    int like, trunk;                        /* places among the methods, before this one; -1: none */
    int64_t extend;                         /* points beyond an edge of the grid */
    int final;                              /* FinalPoints */
    const struct cJSON *set, *scale, *grid; /* objects by key path, or NULL; in the spec's tree */
} MethodSpec;

typedef struct StudySpec {
    char name[FIELD_TEXT_MAX], dir[FIELD_TEXT_MAX], baseline[FIELD_TEXT_MAX];
    int64_t side_by_side; /* runs at a time; 0: measured */
    int checkpoints;      /* KeepCheckpoints */
    int64_t *seeds, *tune_seeds;
    int seed_count, tune_seed_count;
    MethodSpec *methods;
    int method_count;
    struct cJSON *root, *base; /* the file, and the config that methods change */
} StudySpec;

/* ERR_CONFIG with every problem, or why a file could not be read. */
bool study_spec_read(StudySpec *spec, const char *path, Error *err);
void study_spec_free(StudySpec *spec);

/* Every key, as Markdown tables. */
void study_spec_print_markdown(FILE *out);

#endif
