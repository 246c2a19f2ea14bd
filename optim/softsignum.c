/* softsignum.c: Signum whose sign softens over the last part of a run, coordinate by coordinate.
 *
 *     m <- beta m + (1 - beta) g
 *     W <- (1 - lr wd) W - lr tanh(tau m)      tau = infinity, then falls: see temperature.h
 *
 * tanh is the entropy's map; any other of the family stands in its place. With the hard ball's this is
 * Signum throughout, with the Euclidean one SGD at the rate lr tau.
 *
 * Source: arXiv 2605.31371. Defaults are the paper's form; preset `official` is the authors' code, where
 * momentum is a sum, and which can scale lr by the norm of all that is mapped.
 */
#include "core/memory.h"
#include "optim/elementwise.h"
#include "optim/momentum.h"
#include "optim/temperature.h"

typedef struct SoftSignum {
    Momentum momentum; /* first, for momentum_check */
    Temperature temperature;
    int lr_norm;
} SoftSignum;

enum { LR_AS_IT_IS, LR_OVER_NORM, LR_TIMES_NORM };

static const Field fields[] = {
    MOMENTUM_FIELDS(SoftSignum, momentum, "0.95", "ema", "false"),
    TEMPERATURE_FIELDS(SoftSignum, temperature, "tanh", "1e9"),
    {"lr_norm", FIELD_CHOICE, offsetof(SoftSignum, lr_norm), "none", "none|inverse|norm",
     "lr (not decay) is divided or multiplied by the norm of all momentum of the group: the authors' "
     "normalized and sign_norm"},
    {0},
};

static const Preset presets[] = {
    {"paper", "momentum_form=ema nesterov=false map=tanh tau_max=1e9 lr_norm=none",
     "momentum is an average from zero, and the soft phase begins as a sign; the defaults"},
    {"official",
     "lr=1e-3 weight_decay=0 momentum=0 momentum_form=sum dampening=0 nesterov=false map=tanh tau_max=20 "
     "lr_norm=none",
     "defaults of the authors' class: momentum, once set, is a sum that starts as g; tau is at most 20"},
    {0},
};

static const char *check(const void *hyper) {
    const char *wrong = momentum_check(hyper);
    return wrong ? wrong : temperature_check(&((const SoftSignum *)hyper)->temperature);
}

/* ---- before the update: momentum brought up to date where `agree` has to see it ---- */

static void observe(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const SoftSignum *h = group->hyper;
    if (h->lr_norm == LR_AS_IT_IS && !temperature_is_due(group, &h->temperature)) return;
    const MomentumRule rule = momentum_rule(&h->momentum, group->age, false);
    float *restrict m = tensor->slot[0];
    const float *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) m[i] = rule.keep * m[i] + rule.gain * g[i];
}

static bool was_observed(const OptimGroup *group) {
    const SoftSignum *h = group->hyper;
    return h->lr_norm != LR_AS_IT_IS || group->scalars[SCALAR_MEASURED_STEP] == (double)group->step;
}

static bool measure(OptimGroup *group, Error *err) {
    const SoftSignum *h = group->hyper;
    const MomentumRule rule = momentum_rule(&h->momentum, group->age, true);
    SamplePart *parts =
        memory_alloc((size_t)group->tensor_count, sizeof *parts, "momentum statistics", err);
    if (parts == NULL) return false;
    for (int i = 0; i < group->tensor_count; i++) {
        const Param *p = group->tensors[i].param;
        const float *g = h->momentum.nesterov ? p->g : NULL;
        parts[i] = (SamplePart){group->tensors[i].slot[0], param_size(p), g, rule.own, rule.ahead};
    }
    temperature_measure(group, parts, group->tensor_count);
    memory_free(parts);
    return true;
}

static double square_sum(const OptimGroup *group, const OptimTensor *tensor, size_t begin, size_t end) {
    const SoftSignum *h = group->hyper;
    const MomentumRule rule = momentum_rule(&h->momentum, group->age, true);
    const float *m = tensor->slot[0], *g = tensor->param->g;
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = begin; i < end; i++) {
        double x = rule.own * m[i] + rule.ahead * g[i];
        sum += x * x;
    }
    return sum;
}

/* What multiplies lr. */
static double lr_factor(const OptimGroup *group) {
    int lr_norm = ((const SoftSignum *)group->hyper)->lr_norm;
    if (lr_norm == LR_AS_IT_IS) return 1;
    double sum = 0;
    for (int t = 0; t < group->tensor_count; t++) sum += optim_sum(group, &group->tensors[t], square_sum);
    if (lr_norm == LR_TIMES_NORM) return sqrt(sum);
    return sum > 0 ? 1 / sqrt(sum) : 0; /* nothing to step along */
}

static bool agree(OptimGroup *group, Error *err) {
    const SoftSignum *h = group->hyper;
    if (temperature_is_due(group, &h->temperature) && !measure(group, err)) return false;
    group->temperature = temperature_now(group, &h->temperature);
    double factor = lr_factor(group);
    for (int t = 0; t < group->tensor_count; t++) group->tensors[t].agreed = factor;
    return true;
}

/* ---- update ---- */

static inline __attribute__((always_inline)) void step(SoftMap map, float tau, MomentumRule rule,
                                                       const OptimTensor *tensor, const OptimPiece *piece) {
    const float lr = (float)(tensor->lr * tensor->agreed);
    const float decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w, *restrict m = tensor->slot[0];
    const float *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) {
        m[i] = rule.keep * m[i] + rule.gain * g[i];
        float x = rule.own * m[i] + rule.ahead * g[i];
        w[i] = stepped(w[i], soft_map(map, tau * x), lr, decay);
    }
}

/* Counts the coordinates that still move by a whole lr, |x| >= least and not zero, and adds up V*. */
static inline __attribute__((always_inline)) void count(SoftMap map, double tau, float least,
                                                        MomentumRule rule, const OptimTensor *tensor,
                                                        const OptimPiece *piece) {
    const float *m = tensor->slot[0], *g = tensor->param->g;
    size_t saturated = 0;
    double dual = 0;
#pragma omp simd reduction(+ : saturated, dual)
    for (size_t i = piece->begin; i < piece->end; i++) {
        float x = fabsf(rule.own * m[i] + rule.ahead * g[i]);
        saturated += x >= least && x > 0;
        dual += soft_map_conjugate(map, tau * (double)x);
    }
    piece->counted[COUNT_SATURATED] += (double)saturated;
    piece->counted[COUNT_ALL] += (double)(piece->end - piece->begin);
    piece->counted[COUNT_DUAL] += dual / tau;
}

/* Compiled for each map, so that the loops have no branch. */
static inline __attribute__((always_inline)) void apply(SoftMap map, double tau, const OptimGroup *group,
                                                        const OptimTensor *tensor,
                                                        const OptimPiece *piece) {
    const SoftSignum *h = group->hyper;
    const MomentumRule rule = momentum_rule(&h->momentum, group->age, was_observed(group));
    step(map, (float)tau, rule, tensor, piece);
    double least = soft_map_saturation(map, h->temperature.eps) / tau;
    if (group->measure) count(map, tau, (float)least, rule, tensor, piece);
}

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const double tau = group->temperature;
    switch (isinf(tau) ? MAP_SIGN : (SoftMap)((const SoftSignum *)group->hyper)->temperature.map) {
    case MAP_TANH: apply(MAP_TANH, tau, group, tensor, piece); break;
    case MAP_ALGEBRAIC: apply(MAP_ALGEBRAIC, tau, group, tensor, piece); break;
    case MAP_CLIP: apply(MAP_CLIP, tau, group, tensor, piece); break;
    case MAP_LINEAR: apply(MAP_LINEAR, tau, group, tensor, piece); break;
    case MAP_SIGN: apply(MAP_SIGN, 1, group, tensor, piece); break;
    }
}

const Optimizer optimizer_softsignum = {
    .name = "softsignum",
    .title = "SoftSignum",
    .equation = MOMENTUM_EQUATION
    "W <- (1 - lr wd) W - lr U,  U = -argmin_d <x, d> + V(d) / tau = map(tau x) = V*'(tau x)\n"
    "tau = infinity in the first alpha_sign T steps; then fixed, or falling by quantiles of |x|\n"
    "\n" GEOMETRY_TABLE,
    .source = "Feoktistov et al., Softsign (arXiv 2605.31371): SoftSignum, and its family of geometries",
    .differs =
        "the quantile schedule is fitted to x, as in the authors' code; without nesterov that is the "
        "paper's momentum",
    .cost =
        "one pass: reads 12 bytes a weight, writes 8; statistics once; lr_norm, and a logged step, take "
        "another pass",
    .lr = 3e-4,
    .weight_decay = 0.1,
    .scale = SCALE_IGNORED_WHILE_HARD,
    .presets = presets,
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
