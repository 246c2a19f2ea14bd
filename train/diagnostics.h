/* diagnostics.h: figures that say why a run goes as it does, measured at chosen steps (docs/diagnostics.md): norms of
 * gradients, weights and updates, density of the gradient's noise, singular values, saturated coordinates.
 *
 * Only reads weights, gradients and state; a step that is diagnosed has the same bits. All sums are in double, in an
 * order that does not depend on the number of threads.
 *
 *     Diagnostics d;
 *     if (!diagnostics_create(&d, &config->diagnostics, &optim, params, param_count, vocab_size, &err)) ...
 *     diagnostics_begin(&d);
 *     for (...) gradient of another batch, diagnostics_add_noise(&d);     // if noise is due
 *     ... the step's own gradient ...
 *     diagnostics_gradient(&d);
 *     diagnostics_before_update(&d);
 *     optim_step(..., measure = true, ...);
 *     diagnostics_after_update(&d);
 *     char *line = diagnostics_text(&d, step, tokens, &length, &err);
 */
#ifndef TRAIN_DIAGNOSTICS_H
#define TRAIN_DIAGNOSTICS_H

#include "optim/optim.h"
#include "train/config.h"

/* Quantiles 0, 1/16, ..., 1 of a tensor's singular values, increasing. */
enum { SIGMA_QUANTILES = 17 };

/* Of one tensor, or of all of them. NAN: not measured. */
typedef struct Diagnosis {
    double grad_l1, grad_l2, grad_linf; /* of the mean gradient, before clipping */
    double grad_nuclear;                /* sum of singular values; of all: over the matrices */
    double grad_density;                /* l1^2 / (d l2^2), in [1/d, 1] */
    double noise_phi;                   /* the same of the gradient's standard deviations */
    double weight_norm;                 /* l2, after the update */
    double update_rms;      /* root mean square of what the update changed the weights by, decay included */
    double update_spectral; /* largest singular value of that; of all: none */
    double dual_progress, saturated_frac,
        temperature; /* as in StepRecord; temperature: none for one tensor */
} Diagnosis;

typedef struct DiagnosedTensor {
    const Param *param;
    const OptimGroup *group;
    OptimTensor *optim;
    size_t size;          /* weights that count: without rows that only round a vocabulary up */
    size_t at, values_at; /* where its part of all weights, and of all singular values, begins */
    bool maps;            /* is its update a map of singular values, kept by OptimTensor.mapped? */
    Diagnosis found;
    float sigma
        [2][SIGMA_QUANTILES]; /* of what is mapped and what comes out; the first is NAN if there is none */
} DiagnosedTensor;

typedef struct Diagnostics {
    DiagnosticsSection how;
    Optim *optim;
    DiagnosedTensor *tensors;
    int tensor_count;
    size_t weight_count, value_count; /* of all tensors; padding included */
    size_t scratch_floats;            /* of a thread */
    Diagnosis all;
    int64_t noise_count; /* gradients added */
    double cost_s;       /* the caller adds what it spends itself */

    double *mean,
        *deviation; /* of the noise: running means, and sums of squared deviations; later used for */
    float *before;  /* weights before the update, and what is mapped */
    float *values, *scratch; /* singular values; room for each thread */
    void *memory;
} Diagnostics;

/* Lists the tensors and counts the bytes that diagnostics_create would take, without taking them; `optim` may come from
 * optim_plan. Rows of "wte.weight" from vocab_size on do not count. Free with diagnostics_free. */
bool diagnostics_plan(Diagnostics *d, const DiagnosticsSection *how, Optim *optim, const Param *params,
                      int param_count, int64_t vocab_size, size_t *bytes, Error *err);
bool diagnostics_create(Diagnostics *d, const DiagnosticsSection *how, Optim *optim, const Param *params,
                        int param_count, int64_t vocab_size, Error *err);
void diagnostics_free(Diagnostics *d);

/* Forgets what was measured before. */
void diagnostics_begin(Diagnostics *d);

/* The gradients in the parameters are those of one more batch at the same weights. */
void diagnostics_add_noise(Diagnostics *d);

/* The gradients in the parameters are the step's own. Any noise has been added: its arrays are used again. */
void diagnostics_gradient(Diagnostics *d);

/* Around the step. The first also asks the optimizers to keep what they map. */
void diagnostics_before_update(Diagnostics *d);
void diagnostics_after_update(Diagnostics *d);

/* What was found, as one line of JSON with its newline; malloc'ed. NULL with err when memory runs out. */
char *diagnostics_text(const Diagnostics *d, int64_t step, int64_t tokens, size_t *length, Error *err);

#endif
