/* softsignum.c: Signum whose sign softens over the last part of a run, coordinate by coordinate.
 *
 *     m <- beta m + (1 - beta) g
 *     W <- (1 - lr wd) W - lr tanh(tau m)      tau = infinity, then falls: see temperature.h
 *
 * Source: arXiv 2605.31371. Defaults are the paper's form; momentum_form "sum" with tau_max 20 is the
 * authors' code, but for its options that scale lr by the norm of all gradients.
 */
#include "core/memory.h"
#include "optim/elementwise.h"
#include "optim/momentum.h"
#include "optim/temperature.h"

typedef struct SoftSignum {
    Momentum momentum;
    Temperature temperature;
} SoftSignum;

static const Field fields[] = {
    MOMENTUM_FIELDS(SoftSignum, momentum, "0.95", "ema"),
    TEMPERATURE_FIELDS(SoftSignum, temperature, "tanh", "1e9"),
    {0},
};

static const char *check(const void *hyper) {
    return momentum_check(&((const SoftSignum *)hyper)->momentum);
}

/* Brings all momentum up to date before its statistics are taken; at other steps `update` does. */
static void observe(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const SoftSignum *h = group->hyper;
    if (!temperature_is_due(group, &h->temperature)) return;
    const MomentumRule rule = momentum_rule(&h->momentum, group->age, false);
    float *restrict m = tensor->slot[0];
    const float *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) m[i] = rule.keep * m[i] + rule.gain * g[i];
}

static bool agree(OptimGroup *group, Error *err) {
    const SoftSignum *h = group->hyper;
    if (temperature_is_due(group, &h->temperature)) {
        SamplePart *parts =
            memory_alloc((size_t)group->tensor_count, sizeof *parts, "momentum statistics", err);
        if (parts == NULL) return false;
        for (int i = 0; i < group->tensor_count; i++)
            parts[i] = (SamplePart){group->tensors[i].slot[0], param_size(group->tensors[i].param)};
        temperature_measure(group, parts, group->tensor_count);
        memory_free(parts);
    }
    group->temperature = temperature_now(group, &h->temperature);
    return true;
}

/* Compiled for each map, so that the loop has no branch. */
static inline __attribute__((always_inline)) void step(SoftMap map, float tau, MomentumRule rule,
                                                       const OptimTensor *tensor, const OptimPiece *piece) {
    const float lr = (float)tensor->lr, decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w, *restrict m = tensor->slot[0];
    const float *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) {
        m[i] = rule.keep * m[i] + rule.gain * g[i];
        float x = rule.own * m[i] + rule.ahead * g[i];
        w[i] = stepped(w[i], soft_map(map, tau * x), lr, decay);
    }
}

/* Counts the coordinates that still move by a whole lr: |x| >= least, and not zero. */
static void count_saturated(float least, MomentumRule rule, const OptimTensor *tensor,
                            const OptimPiece *piece) {
    const float *m = tensor->slot[0], *g = tensor->param->g;
    size_t count = 0;
    for (size_t i = piece->begin; i < piece->end; i++) {
        float x = fabsf(rule.own * m[i] + rule.ahead * g[i]);
        count += x >= least && x > 0;
    }
    piece->counted[COUNT_SATURATED] += (double)count;
    piece->counted[COUNT_ALL] += (double)(piece->end - piece->begin);
}

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const SoftSignum *h = group->hyper;
    const bool done = group->scalars[SCALAR_MEASURED_STEP] == (double)group->step;
    const MomentumRule rule = momentum_rule(&h->momentum, group->age, done);
    const float tau = (float)group->temperature;
    switch (isinf(tau) ? MAP_SIGN : (SoftMap)h->temperature.map) {
    case MAP_SIGN: step(MAP_SIGN, 1, rule, tensor, piece); break;
    case MAP_TANH: step(MAP_TANH, tau, rule, tensor, piece); break;
    case MAP_ALGEBRAIC: step(MAP_ALGEBRAIC, tau, rule, tensor, piece); break;
    case MAP_CLIP: step(MAP_CLIP, tau, rule, tensor, piece); break;
    }
    double c = soft_map_saturation(h->temperature.map, h->temperature.eps);
    if (group->measure) count_saturated((float)(c / group->temperature), rule, tensor, piece);
}

const Optimizer optimizer_softsignum = {
    .name = "softsignum",
    .title = "SoftSignum",
    .equation = "m <- beta m + (1 - beta) g\nW <- (1 - lr wd) W - lr map(tau m)",
    .source = "arXiv 2605.31371",
    .differs = "the authors' options that scale lr by the norm of all gradients are left out",
    .cost = "one pass: reads 12 bytes a weight, writes 8; statistics once",
    .lr = 3e-4,
    .weight_decay = 0.1,
    .scale = SCALE_IGNORED_WHILE_HARD,
    .fields = fields,
    .hyper_size = sizeof(SoftSignum),
    .check = check,
    .roles = ROLES_ALL,
    .slots = (const char *const[]){"momentum", NULL},
    .scalars = (const char *const[]){TEMPERATURE_SCALARS, NULL},
    .observe = observe,
    .agree = agree,
    .update = update,
};
