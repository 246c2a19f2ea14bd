/* soft_adam.c: the soft sign of SoftSignum around Adam's ratio, which has no scale of its own.
 *
 *     m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
 *     n = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
 *     W <- (1 - lr wd) W - lr map(tau n)       tau = infinity, then falls: see temperature.h
 *
 * So Signum, with a bias correction that no sign sees; then coordinates with the smallest ratio of mean to
 * spread are let go first; at tau = 1 it is Adam but for the map. Source: none, this program's own, after a
 * suggestion of readers of arXiv 2605.31371. The statistics are of n, of all tensors of the group.
 */
#include "core/memory.h"
#include "optim/adam.h"
#include "optim/elementwise.h"
#include "optim/temperature.h"

typedef struct SoftAdam {
    Adam adam;
    Temperature temperature;
} SoftAdam;

static const Field fields[] = {
    {"beta1", FIELD_REAL, offsetof(SoftAdam, adam.beta1), "0.9", "[0,1)", "decay of the mean of gradients"},
    {"beta2", FIELD_REAL, offsetof(SoftAdam, adam.beta2), "0.95", "[0,1)",
     "decay of the mean of squared gradients"},
    {"adam_eps", FIELD_REAL, offsetof(SoftAdam, adam.eps), "1e-8", "[1e-30,inf)",
     "added to the root of v, units of the gradient; eps is the map's"},
    TEMPERATURE_FIELDS(SoftAdam, temperature, "tanh", "1e9"),
    {0},
};

static const char *check(const void *hyper) {
    return temperature_check(&((const SoftAdam *)hyper)->temperature);
}

/* Brings all averages up to date before the statistics are taken, and leaves n, to which the temperature is
 * fitted, in place of the gradients; at other steps `update` does all. */
static void observe(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const SoftAdam *h = group->hyper;
    if (!temperature_is_due(group, &h->temperature)) return;
    const AdamRule rule = adam_rule(&h->adam, group->age);
    float *restrict m = tensor->slot[0], *restrict v = tensor->slot[1], *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) {
        m[i] = adam_m(rule, m[i], g[i]);
        v[i] = adam_v(rule, v[i], g[i]);
        g[i] = adam_ratio(rule, m[i], v[i]);
    }
}

/* Of this step, or of what `observe` has left of it: averages stay, n is what it was. */
static AdamRule rule_of(const OptimGroup *group) {
    AdamRule rule = adam_rule(&((const SoftAdam *)group->hyper)->adam, group->age);
    bool observed = group->scalars[SCALAR_MEASURED_STEP] == (double)group->step;
    if (observed) rule.b1 = rule.b2 = 1, rule.rest1 = rule.rest2 = 0;
    return rule;
}

static bool measure(OptimGroup *group, Error *err) {
    SamplePart *parts = memory_alloc((size_t)group->tensor_count, sizeof *parts, "statistics", err);
    if (parts == NULL) return false;
    for (int i = 0; i < group->tensor_count; i++) {
        const Param *p = group->tensors[i].param;
        parts[i] = (SamplePart){.x = p->g, .count = param_size(p)};
    }
    temperature_measure(group, parts, group->tensor_count);
    memory_free(parts);
    return true;
}

static bool agree(OptimGroup *group, Error *err) {
    const SoftAdam *h = group->hyper;
    if (temperature_is_due(group, &h->temperature) && !measure(group, err)) return false;
    group->temperature = temperature_now(group, &h->temperature);
    return true;
}

static inline __attribute__((always_inline)) void step(SoftMap map, float tau, AdamRule rule,
                                                       const OptimTensor *tensor, const OptimPiece *piece) {
    const float lr = (float)tensor->lr, decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w, *restrict m = tensor->slot[0], *restrict v = tensor->slot[1];
    const float *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) {
        m[i] = adam_m(rule, m[i], g[i]);
        v[i] = adam_v(rule, v[i], g[i]);
        w[i] = stepped(w[i], soft_map(map, tau * adam_ratio(rule, m[i], v[i])), lr, decay);
    }
}

/* Counts the coordinates that still move by a whole lr, |n| >= least and not zero, and adds up V*. */
static inline __attribute__((always_inline)) void count(SoftMap map, double tau, float least, AdamRule rule,
                                                        const OptimTensor *tensor,
                                                        const OptimPiece *piece) {
    const float *m = tensor->slot[0], *v = tensor->slot[1];
    size_t saturated = 0;
    double dual = 0;
#pragma omp simd reduction(+ : saturated, dual)
    for (size_t i = piece->begin; i < piece->end; i++) {
        float n = fabsf(adam_ratio(rule, m[i], v[i]));
        saturated += n >= least && n > 0;
        dual += soft_map_conjugate(map, tau * (double)n);
    }
    piece->counted[COUNT_SATURATED] += (double)saturated;
    piece->counted[COUNT_ALL] += (double)(piece->end - piece->begin);
    piece->counted[COUNT_DUAL] += dual / tau;
}

/* Compiled for each map, so that the loops have no branch. */
static inline __attribute__((always_inline)) void apply(SoftMap map, double tau, const OptimGroup *group,
                                                        const OptimTensor *tensor,
                                                        const OptimPiece *piece) {
    const SoftAdam *h = group->hyper;
    const AdamRule rule = rule_of(group);
    step(map, (float)tau, rule, tensor, piece);
    double least = soft_map_saturation(map, h->temperature.eps) / tau;
    if (group->measure) count(map, tau, (float)least, rule, tensor, piece);
}

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const double tau = group->temperature;
    switch (isinf(tau) ? MAP_SIGN : (SoftMap)((const SoftAdam *)group->hyper)->temperature.map) {
    case MAP_TANH: apply(MAP_TANH, tau, group, tensor, piece); break;
    case MAP_ALGEBRAIC: apply(MAP_ALGEBRAIC, tau, group, tensor, piece); break;
    case MAP_CLIP: apply(MAP_CLIP, tau, group, tensor, piece); break;
    case MAP_LINEAR: apply(MAP_LINEAR, tau, group, tensor, piece); break;
    case MAP_SIGN: apply(MAP_SIGN, 1, group, tensor, piece); break;
    }
}

const Optimizer optimizer_soft_adam = {
    .name = "soft_adam",
    .title = "SoftAdam",
    .equation =
        "m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2\n"
        "n = (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + adam_eps)\n"
        "W <- (1 - lr wd) W - lr map(tau n)\n"
        "tau = infinity in the first alpha_sign T steps; then fixed, or falling by quantiles of |n|\n"
        "\n" GEOMETRY_TABLE,
    .source = "this program; the map and the schedule are those of arXiv 2605.31371",
    .differs = "",
    .cost = "one pass: reads 16 bytes a weight, writes 12; statistics once",
    .lr = 3e-4,
    .weight_decay = 0.1,
    .scale = SCALE_IGNORED,
    .fields = fields,
    .hyper_size = sizeof(SoftAdam),
    .check = check,
    .roles = ROLES_ALL,
    .slots = (const char *const[]){"m", "v", NULL},
    .scalars = (const char *const[]){TEMPERATURE_SCALARS, NULL},
    .observe = observe,
    .agree = agree,
    .update = update,
};
