/* sf_adamw.c: schedule-free AdamW. Gradients are taken at y, between the weights that step, z, and their
 * average, x; x is what is evaluated and saved. It takes the place of a falling learning rate.
 *
 *     v <- b2 v + (1 - b2) g^2,    lr_t = lr sqrt(1 - b2^t)
 *     z <- z - lr_t wd y - lr_t g / (sqrt(v) + eps)
 *     x <- x + c (z - x),  c = s_t / (s_1 + ... + s_t),  s_t = t^r (largest lr_t so far)^weight_lr_power
 *     y = b1 x + (1 - b1) z                                  begins with x = y = z
 *
 * Source: Defazio et al. 2024 (arXiv 2405.15682) and the code of its experiments. The authors later
 * corrected v instead, because this was unstable on some problems: lr_t = lr, and v / (1 - b2^t) for v.
 *
 * The warm-up is that of the run's schedule, which should be constant from then on. W is y, but for the
 * first step's beginning, where it is all there is.
 */
#include "optim/adam.h"
#include <string.h>

typedef struct ScheduleFree {
    Adam adam;
    double weight_lr_power, r;
    int bias_correction;
} ScheduleFree;

enum { CORRECT_RATE, CORRECT_V };
enum { SLOT_X, SLOT_Z, SLOT_V };
enum { SCALAR_LARGEST_LR, SCALAR_SUM };

static const Field fields[] = {
    {"beta1", FIELD_REAL, offsetof(ScheduleFree, adam.beta1), "0.9", "[0,1)",
     "share of x in the weights that gradients are taken at"},
    {"beta2", FIELD_REAL, offsetof(ScheduleFree, adam.beta2), "0.999", "[0,1)",
     "decay of the mean of squared gradients"},
    {"eps", FIELD_REAL, offsetof(ScheduleFree, adam.eps), "1e-8", "[1e-30,inf)",
     "added to the root of v, units of the gradient"},
    {"weight_lr_power", FIELD_REAL, offsetof(ScheduleFree, weight_lr_power), "2", "[0,inf)",
     "power of the largest lr so far in a step's weight in the average"},
    {"r", FIELD_REAL, offsetof(ScheduleFree, r), "0", "[0,inf)",
     "power of t in a step's weight in the average"},
    {"bias_correction", FIELD_CHOICE, offsetof(ScheduleFree, bias_correction), "rate", "rate|v",
     "what the factor sqrt(1 - beta2^t) goes to: the learning rate, or the mean of squares"},
    {0},
};

static const Preset presets[] = {
    {"paper", "", "lr sqrt(1 - b2^t), v as it is; the defaults"},
    {"official", "bias_correction=v weight_decay=0", "the authors' code since then, and its defaults"},
    {0},
};

/* lr, or lr sqrt(1 - b2^t). */
static double rate_of(const OptimGroup *group, const OptimTensor *tensor) {
    const ScheduleFree *h = group->hyper;
    double factor = h->bias_correction == CORRECT_RATE ? sqrt(1 / unbiasing(h->adam.beta2, group->age)) : 1;
    return tensor->lr * factor;
}

/* c is the same for all: a role's own learning rate multiplies all its s. */
static bool agree(OptimGroup *group, Error *err) {
    const ScheduleFree *h = group->hyper;
    double *largest = &group->scalars[SCALAR_LARGEST_LR], *sum = &group->scalars[SCALAR_SUM];
    (void)err;
    for (int i = 0; i < group->tensor_count; i++)
        *largest = fmax(*largest, rate_of(group, &group->tensors[i]));
    double s = pow((double)group->age, h->r) * pow(*largest, h->weight_lr_power);
    *sum += s;
    for (int i = 0; i < group->tensor_count; i++) group->tensors[i].agreed = *sum > 0 ? s / *sum : 0;
    return true;
}

/* y, by the same operations wherever it is needed. */
static inline float trained(float x, float z, float b1) {
    return z + b1 * (x - z);
}

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const ScheduleFree *h = group->hyper;
    const double rate = rate_of(group, tensor);
    const AdamRule rule = adam_rule(&h->adam, group->age);
    const float b1 = rule.b1, c = (float)tensor->agreed;
    const float unbias = h->bias_correction == CORRECT_V ? rule.unbias_v : 1;
    const float lr = (float)rate, decay = (float)(rate * tensor->weight_decay);
    float *restrict y = tensor->param->w, *restrict x = tensor->slot[SLOT_X];
    float *restrict z = tensor->slot[SLOT_Z], *restrict v = tensor->slot[SLOT_V];
    const float *restrict g = tensor->param->g;
    if (group->age == 1) {
        const size_t bytes = (piece->end - piece->begin) * sizeof(float);
        memcpy(x + piece->begin, y + piece->begin, bytes);
        memcpy(z + piece->begin, y + piece->begin, bytes);
    }
#pragma omp simd
    for (size_t i = piece->begin; i < piece->end; i++) {
        v[i] = adam_v(rule, v[i], g[i]);
        float u = g[i] / (sqrtf(unbias * v[i]) + rule.eps);
        z[i] -= decay * y[i] + lr * u;
        x[i] += c * (z[i] - x[i]);
        y[i] = trained(x[i], z[i], b1);
    }
}

static void show(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece,
                 OptimWeights which) {
    const float b1 = (float)((const ScheduleFree *)group->hyper)->adam.beta1;
    float *restrict w = tensor->param->w;
    const float *restrict x = tensor->slot[SLOT_X], *restrict z = tensor->slot[SLOT_Z];
    if (which == WEIGHTS_EVALUATED)
        for (size_t i = piece->begin; i < piece->end; i++) w[i] = x[i];
    else
        for (size_t i = piece->begin; i < piece->end; i++) w[i] = trained(x[i], z[i], b1);
}

const Optimizer optimizer_sf_adamw = {
    .name = "sf_adamw",
    .title = "Schedule-free AdamW",
    .equation = "v <- b2 v + (1 - b2) g^2,  lr_t = lr sqrt(1 - b2^t)\n"
                "z <- z - lr_t wd y - lr_t g / (sqrt(v) + eps)\n"
                "x <- x + c (z - x),  c = s_t / (s_1 + ... + s_t),  s_t = t^r max(lr_1, ..., lr_t)^power\n"
                "y = b1 x + (1 - b1) z\n"
                "gradients at y, evaluated x; official: lr_t = lr, v / (1 - b2^t) in place of v",
    .source = "Defazio et al., The Road Less Scheduled (arXiv 2405.15682)",
    .differs =
        "decay is lr wd y, taken from z, as in the source; the warm-up is the schedule's; x is kept, "
        "not recomputed from y and z",
    .cost = "one pass: reads 20 bytes a weight, writes 16",
    .lr = 2.5e-3,
    .weight_decay = 0.1,
    .scale = SCALE_IGNORED,
    .presets = presets,
    .fields = fields,
    .hyper_size = sizeof(ScheduleFree),
    .roles = ROLES_ALL,
    .slots = (const char *const[]){"x", "z", "v", NULL},
    .scalars = (const char *const[]){"largest_lr", "weight_sum", NULL},
    .agree = agree,
    .update = update,
    .show = show,
};
