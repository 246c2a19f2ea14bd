/* replay.h: a config's optimizer applied to recorded gradients, so that it can be checked against another
 * implementation.
 *
 * The input is a safetensors file of float32 or float64, with T = train.steps:
 *     param.<name>                  the weights before step 1
 *     grad.<t>.<name>               the gradient of step t = 1..T, for every parameter and step
 *     metadata role.<name>          matrix|embedding|head|vector
 *     metadata keep                 steps to write beside the last one: "1,5,10"
 * The output is float32: param.<t>.<name>, the weights after step t; and the effective config, as metadata
 * "config". A step is what it is in training: gradients clipped to train.grad_clip, the schedule's learning
 * rate, lr and weight_decay of the role, all computed in float32.
 *
 * A parameter without a role in the metadata has that of its Hugging Face GPT-2 name (with or without
 * "transformer."): wte.weight and wpe.weight are embeddings, lm_head.weight is a head. Others are matrices
 * if they have two dimensions, else vectors. Matrices are (outputs, inputs) as in torch.nn.Linear; one
 * called ...attn.c_attn.weight is q, k and v stacked, (3 n, n).
 */
#ifndef TRAIN_REPLAY_H
#define TRAIN_REPLAY_H

#include "train/config.h"

/* What was done. */
typedef struct ReplayReport {
    int64_t steps, clipped_steps, kept_steps;
    int role_tensors[ROLE_COUNT];
    int64_t role_params[ROLE_COUNT];
} ReplayReport;

/* Replays `in_path` into `out_path`, which appears whole or not at all. ERR_CHECKPOINT: the input is not as
 * above; ERR_CONFIG: it has not train.steps steps, or roles that the config's optimizers cannot update;
 * ERR_DIVERGED: a gradient, or a weight after a step, is not finite. */
bool replay_file(const Config *config, const char *in_path, const char *out_path, ReplayReport *report,
                 Error *err);

#endif
