/* checkpoint.h: what a run needs to go on as if it had never stopped (docs/checkpoints.md).
 *
 *     runs/muon/checkpoints/step_00000300/
 *         model.safetensors       the weights, and with config.json a model that Hugging Face loads
 *         config.json
 *         optimizer.safetensors   slot.<parameter>.<name>: every state array
 *         manifest.json           all the rest, and a hash of each file; written last
 *
 * A checkpoint is whole or absent: it is written as step_00000300.tmp, synced, renamed, and read again
 * before older ones are removed. A thread writes while training goes on; what it writes are the files'
 * bytes, kept in memory, so that saving stops training only as long as copying takes.
 *
 *     CheckpointWriter writer;
 *     if (!checkpoint_open(&writer, "runs/muon", &config->checkpoint, &model_image, config_text, &optim, &err)) ...
 *     checkpoint_wait(&writer, &warning);                    // for the one before
 *     gpt2_file_fill(&writer.model, &model);
 *     checkpoint_save(&writer, &state, config_json, &optim, log_fds, &err);
 *     ...
 *     checkpoint_close(&writer);
 *
 *     Checkpoint c;
 *     SafeTensors weights;
 *     if (!checkpoint_read(&c, "runs/muon/checkpoints/step_00000300", &err) ||
 *         !checkpoint_open_model(&c, model.params, model.param_count, &weights, &err) ||
 *         !checkpoint_load_optimizer(&c, &optim, &err)) ...
 */
#ifndef TRAIN_CHECKPOINT_H
#define TRAIN_CHECKPOINT_H

#include "core/hash.h"
#include "core/safetensors.h"
#include "optim/optim.h"
#include "train/runlog.h"
#include "train/spike.h"

#include <pthread.h>
#include <stdatomic.h>

/* Where a run stands, beside weights and optimizer. Random numbers are functions of the seed and of what
 * they are for: there is no generator to save. */
typedef struct CheckpointState {
    int64_t step;       /* updates made */
    int64_t begin_step; /* 0, or that of the checkpoint which the run branched from */
    int64_t total_steps, tokens, seed;
    int64_t cursor;            /* of the training data, see loader.h */
    char data[HASH_TEXT_SIZE]; /* which data */
    bool reported;             /* evaluation, line and sample of this step are in the log */
    double time_s;             /* since the run began, all its processes together */
    double line_start_s;       /* when the line that is being gathered began */
    int64_t rollbacks;         /* since the run began */
    SpikeWindow spikes;
    SpikeCounter loss_spikes;
    StepRecord line; /* what was done since the last line of metrics; step -1: nothing */
    RunLogMark log;
} CheckpointState;

/* ---- writing -------------------------------------------------------------------------------------- */

enum { CHECKPOINT_LOGS = 4 };

typedef struct CheckpointWriter {
    char dir[1100]; /* <run>/checkpoints */
    CheckpointSection keep;
    bool keep_due; /* the last one at a multiple of keep.every stays, too: a run may go back to it */
    SafeTensors model, optim; /* the files as they will be */
    char *config_text;
    int64_t saved_step; /* of the last one that is known to be whole; -1: none yet */

    /* the save at work */
    bool running, done;
    atomic_bool ended;
    pthread_t thread;
    struct cJSON *manifest;
    int64_t step, best_step;
    int log_fds[CHECKPOINT_LOGS];
    Error err;
} CheckpointWriter;

/* Creates <run_dir>/checkpoints, removes what a killed process left there half written, and makes room for
 * copies. Takes over the image of the model's file and config_text, malloc'ed; after a failure both are
 * freed. */
bool checkpoint_open(CheckpointWriter *w, const char *run_dir, const CheckpointSection *keep,
                     SafeTensors *model, char *config_text, const Optim *optim, Error *err);

/* Copies the optimizer's state and begins to write a checkpoint; the caller has filled writer.model, after
 * checkpoint_wait. ERR_DIVERGED, and nothing is written, when a weight is not finite. log_fds: metrics,
 * samples, diagnostics and events (-1: none), to be synced first: they must not be shorter than the state says. */
bool checkpoint_save(CheckpointWriter *w, const CheckpointState *state, const char *config_json,
                     const Optim *optim, const int log_fds[CHECKPOINT_LOGS], Error *err);

/* Would checkpoint_wait return at once, with news? */
bool checkpoint_has_ended(const CheckpointWriter *w);

/* Waits for the save at work. false, with the reason, when it failed; what was saved earlier is as it was. */
bool checkpoint_wait(CheckpointWriter *w, Error *err);

void checkpoint_close(CheckpointWriter *w);

/* ---- reading -------------------------------------------------------------------------------------- */

/* The steps of the checkpoints in `dir`, highest first; NULL with *count = 0 when there are none (or no
 * `dir`), NULL with *count = -1 and err when it cannot be read. free() it. */
int64_t *checkpoint_list(const char *dir, int *count, Error *err);
char *checkpoint_path(const char *dir, int64_t step, char *out, size_t size);

typedef struct Checkpoint {
    char path[1200];
    struct cJSON *manifest;
    CheckpointState state;
} Checkpoint;

/* Reads and checks the manifest. ERR_CHECKPOINT when the checkpoint is damaged; then, and in the functions
 * below, an older one may do. checkpoint_free it. */
bool checkpoint_read(Checkpoint *c, const char *path, Error *err);
void checkpoint_free(Checkpoint *c);

/* Was it written by this very build? Another one may compute other bits. */
bool checkpoint_is_ours(const Checkpoint *c);

/* ERR_CONFIG, naming the keys, unless a run with this config, continued, would be the run that was begun. */
bool checkpoint_check_config(const Checkpoint *c, const char *config_json, Error *err);

/* Its model.safetensors, with its hash checked; refused unread when it is larger than these parameters can
 * be. */
bool checkpoint_open_model(const Checkpoint *c, const Param *params, int param_count, SafeTensors *file,
                           Error *err);

/* All state into `optim`, which must be of the same making. Weights come first: this also puts back those
 * rows that pad the model and are not in its file. */
bool checkpoint_load_optimizer(const Checkpoint *c, Optim *optim, Error *err);

/* For a run that branches off: fills each group of `optim` whose state arrays are all there, under the same
 * names and sizes, and leaves the others new. Scalars are taken over only between groups of one method.
 * taken: what became of each group, as a line of text. */
bool checkpoint_branch_optimizer(const Checkpoint *c, Optim *optim, char *taken, size_t size, Error *err);

/* "key value, now value; ..." for every setting of the method that both have and that is another one. */
bool checkpoint_differences(const Checkpoint *c, const char *config_json, char *out, size_t size,
                            Error *err);

/* Removes a checkpoint that holds nothing but our four files; anything else stays as it is. It loses its
 * name first, so that none is ever seen with some of its files gone. */
void checkpoint_remove(const char *dir, int64_t step);

/* Renames a checkpoint that is damaged to <name>.damaged, which nothing here reads or removes. */
bool checkpoint_set_aside(const char *dir, int64_t step, Error *err);

#endif
