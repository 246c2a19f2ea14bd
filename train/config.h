/* config.h: everything a run is told, read from one JSON file plus key=value words.
 *
 * Each section is one struct and one Field table (train/schema.c); optimizers bring their own tables.
 * Parsing, defaults, range errors, --help, --describe and docs/config.md all come from those tables.
 */
#ifndef TRAIN_CONFIG_H
#define TRAIN_CONFIG_H

#include "core/field.h"
#include "optim/optim.h"
#include <stdio.h>

struct cJSON;

typedef struct ModelSection {
    int64_t n_layer, n_head, n_embd, block_size;
    int64_t vocab_size; /* 0: taken from the data */
    bool bias;
} ModelSection;

typedef struct DataSection {
    char dir[FIELD_TEXT_MAX]; /* what `prepare` wrote */
} DataSection;

typedef enum { SCHEDULE_CONSTANT, SCHEDULE_COSINE, SCHEDULE_LINEAR, SCHEDULE_WSD } ScheduleKind;
typedef enum { WARMUP_LINEAR, WARMUP_COSINE } WarmupKind;

typedef struct ScheduleSection {
    int name;   /* ScheduleKind */
    int warmup; /* WarmupKind */
    int64_t warmup_steps;
    double initial_frac; /* learning rate that the warm-up rises from, as a fraction of the peak */
    double final_frac; /* learning rate at the last step, as a fraction of the peak */
    double decay_frac; /* wsd: share of the run that decays */
} ScheduleSection;

/* What becomes of a run that is in run.dir already and has not come to its end: it is continued if it has a
 * checkpoint; it is moved aside; it is continued, or nothing is done. */
typedef enum { RESUME_AUTO, RESUME_NEVER, RESUME_MUST } ResumeMode;

/* What a run takes from train.init_from. */
typedef enum { INIT_ALL, INIT_WEIGHTS } InitTake;

typedef struct TrainSection {
    int64_t steps, tokens; /* the budget: exactly one of steps, tokens, epochs is set (> 0) */
    double epochs;
    int64_t batch_size; /* sequences a micro-batch */
    int64_t grad_accum; /* micro-batches a step */
    double grad_clip;   /* global norm; 0 = off */
    double spike_sigma; /* 0 = no step is left out */
    int64_t spike_window, max_rollbacks;
    int64_t seed;
    int64_t threads;                /* 0: one per available core */
    int resume;                     /* ResumeMode */
    char init_from[FIELD_TEXT_MAX]; /* "": weights are drawn at random */
    int init_take;                  /* InitTake */
} TrainSection;

typedef struct EvalSection {
    int64_t every;  /* steps; 0 = only at the end */
    int64_t tokens; /* of the validation split, always the same ones */
} EvalSection;

typedef struct SampleSection {
    int64_t every; /* steps; 0 = never */
    int64_t tokens;
    char prompt[FIELD_TEXT_MAX];
    double temperature;
    int64_t top_k; /* 0 = all */
} SampleSection;

typedef struct LogSection {
    int64_t every; /* steps between lines of metrics.jsonl */
    bool tensorboard;
} LogSection;

typedef struct CheckpointSection {
    bool save;      /* false: none, not even at the end */
    int64_t every;  /* steps; 0 = not by steps */
    double minutes; /* 0 = not by time */
    int64_t keep_last;
    bool keep_best;
    int64_t keep_every;              /* steps; 0 = none */
    char keep_steps[FIELD_TEXT_MAX]; /* "300,700"; "" = none */
} CheckpointSection;

typedef struct DiagnosticsSection {
    int64_t every; /* steps; 0 = only with noise */
    int64_t noise_every, noise_batches;
    bool spectra;
} DiagnosticsSection;

typedef struct RunSection {
    char dir[FIELD_TEXT_MAX]; /* never empty after config_load: by default runs/<name of the config file> */
} RunSection;

/* One optimizer object of the config. */
typedef struct OptimizerChoice {
    const Optimizer *optimizer; /* NULL: none */
    const Preset *preset;       /* NULL unless "as" names one: its values took the place of defaults */
    void *hyper;                /* filled from the optimizer's fields; never NULL beside an optimizer */
    double lr, weight_decay;
} OptimizerChoice;

/* "optimizer" updates every role if it can (Optimizer.roles), else only matrices: Muon's kind leaves
 * embeddings and the head alone by default. "aux" updates the others (adamw where none is written). An
 * entry of "roles", such as "vector": {...}, changes lr or weight_decay of one role, or with "name" gives
 * the role an optimizer of its own. weight_decay holds for matrix, embedding and head; vectors get 0 unless
 * roles.vector.weight_decay says otherwise. An optimizer with nothing to update is an error, as is a role
 * that its optimizer cannot update. */
enum { CHOICE_MAIN, CHOICE_AUX, CHOICE_ROLE };

typedef struct Config {
    ModelSection model;
    DataSection data;
    ScheduleSection schedule;
    TrainSection train;
    EvalSection eval;
    SampleSection sample;
    LogSection log;
    DiagnosticsSection diagnostics;
    CheckpointSection checkpoint;
    RunSection run;
    OptimizerChoice chosen[2 + ROLE_COUNT]; /* "optimizer", its "aux", and each role that names its own */
    OptimPlan optimizer;                    /* resolved: who updates which role; points into `chosen` */
} Config;

/* Reads `path`, applies `overrides` ("optimizer.lr=0.02"), checks everything. On failure err->text lists
 * every problem, a line each, with key path, allowed range and the nearest known name (ERR_CONFIG), or says
 * why the file could not be read. Free with config_free. */
bool config_load(Config *config, const char *path, char *const *overrides, int override_count, Error *err);
void config_free(Config *config);

/* The same from a tree, to which the overrides are added; `path` names it. */
bool config_parse(Config *config, struct cJSON *root, const char *path, char *const *overrides,
                  int override_count, Error *err);

/* The full effective config, every default spelled out, as JSON text that config_load reads back to the
 * same Config. malloc'ed; NULL when memory runs out. */
char *config_to_json(const Config *config);

/* Is `step` in a list such as "300,700"? */
bool config_lists_step(const char *list, int64_t step);

/* For the command line. */
void config_print_help(FILE *out);      /* every section and key: type, default, range, one line */
void config_list_optimizers(FILE *out); /* a line each, with defaults */
void config_print_markdown(FILE *out);  /* docs/config.md */
void config_print_optimizers_markdown(FILE *out);                        /* docs/optimizers.md */
bool config_describe(FILE *out, const char *optimizer_name, Error *err); /* ERR_CONFIG: no such optimizer */

#endif
