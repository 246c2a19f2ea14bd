/* plan.h: what a run will do and take, printed before it starts. */
#ifndef TRAIN_PLAN_H
#define TRAIN_PLAN_H

#include "core/param.h"
#include "train/config.h"

typedef struct Plan {
    int64_t total_steps, tokens_a_step;
    int64_t epoch_tokens; /* trained on in one pass over the data */
    int64_t vocab_size;
    double flops_a_token;
    size_t param_bytes; /* weights and gradients */
    size_t optimizer_bytes, activation_bytes;
    size_t checkpoint_bytes; /* of the copy that is being written */
    size_t diagnostics_bytes;
    size_t program_bytes; /* code, libraries, batches */
    int64_t role_params[ROLE_COUNT];
    int role_tensors[ROLE_COUNT];
    int64_t padding_params; /* rows of the embedding that exist only to round the vocabulary up */
    int threads;
    double micro_batch_s, optimizer_s, eval_batch_s, diagnosis_s; /* measured; only --dry-run has them */
} Plan;

/* Fills role_params, role_tensors and padding_params. */
void plan_count_params(Plan *plan, const Param *params, int count);

/* ERR_IO when the run needs more than available_bytes. */
bool plan_check_memory(const Plan *plan, size_t available_bytes, Error *err);

/* A few lines at the start of a run. */
void plan_print_header(FILE *out, const Plan *plan, const Config *config);

/* All of it. */
void plan_print(FILE *out, const Plan *plan, const Config *config);

/* Its figures as one JSON object, for programs. */
void plan_print_json(FILE *out, const Plan *plan, const Config *config);

#endif
