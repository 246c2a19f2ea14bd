/* prodigy.c: Adam that estimates its learning rate: d, the distance from the first weights to a solution.
 *
 *     dlr = d lr                                             lr: a factor, 1, and the schedule
 *     r <- b3 r + (d / d0) dlr <g, W_0 - W>,    s <- b3 s + (d / d0) dlr g     r, d: one for all tensors
 *     m <- b1 m + (1 - b1) d g,   v <- b2 v + (1 - b2) d^2 g^2
 *     d' = max(d, d_coef r / ||s||_1)
 *     W <- (1 - dlr wd) W - dlr m / (sqrt(v) + d eps),       d <- d'
 *
 * Source: Mishchenko & Defazio 2023 (arXiv 2306.06101), its Adam form, with the options of the authors'
 * code, which has d' eps in the last line. Nothing moves before the first gradient that is not zero.
 *
 * W - W_0 is summed up in an array of its own: the first steps, of 1e-6, are near the rounding of W.
 */
#include "optim/adam.h"
#include "optim/elementwise.h"

typedef struct Prodigy {
    Adam adam;
    double beta3, d0, d_coef, growth_rate;
    bool bias_correction, safeguard_warmup;
    int eps_d;
} Prodigy;

enum { EPS_OLD, EPS_NEW };
enum { SLOT_M, SLOT_V, SLOT_S, SLOT_MOVED };
enum { SCALAR_D, SCALAR_D_MAX, SCALAR_R };

static const Field fields[] = {
    {"beta1", FIELD_REAL, offsetof(Prodigy, adam.beta1), "0.9", "[0,1)", "decay of the mean of gradients"},
    {"beta2", FIELD_REAL, offsetof(Prodigy, adam.beta2), "0.999", "[0,1)",
     "decay of the mean of squared gradients"},
    /* d0 eps is the least divisor: not far below the root of the smallest v that fp32 has */
    {"eps", FIELD_REAL, offsetof(Prodigy, adam.eps), "1e-8", "[1e-10,inf)",
     "added to the root of v in units of d, units of the gradient"},
    {"beta3", FIELD_REAL, offsetof(Prodigy, beta3), "0", "[0,1)",
     "decay of the sums that estimate d; 0: the root of beta2"},
    {"d0", FIELD_REAL, offsetof(Prodigy, d0), "1e-6", "[1e-10,inf)", "first d, units of the weights"},
    {"d_coef", FIELD_REAL, offsetof(Prodigy, d_coef), "1", "(0,inf)", "factor of the estimate of d"},
    {"growth_rate", FIELD_REAL, offsetof(Prodigy, growth_rate), "0", "[0,inf)",
     "largest growth of d in a step, a factor; 0: any"},
    {"bias_correction", FIELD_BOOL, offsetof(Prodigy, bias_correction), "false", "",
     "multiply lr by sqrt(1 - beta2^t) / (1 - beta1^t)"},
    {"safeguard_warmup", FIELD_BOOL, offsetof(Prodigy, safeguard_warmup), "false", "",
     "leave lr out of s, so that a warm-up does not raise the estimate"},
    {"eps_d", FIELD_CHOICE, offsetof(Prodigy, eps_d), "old", "old|new",
     "the d that multiplies eps: of before this step's estimate, or of after it"},
    {0},
};

static const Preset presets[] = {
    {"paper", "", "eps is multiplied by the d of before the step; the defaults"},
    {"official", "eps_d=new weight_decay=0",
     "eps is multiplied by the new d; the authors' code and its defaults"},
    {0},
};

static const char *check(const void *hyper) {
    double rate = ((const Prodigy *)hyper)->growth_rate;
    return rate > 0 && rate < 1 ? "growth_rate must be 0 or at least 1" : NULL;
}

/* lr with its bias correction; times d it is dlr. */
static double rate_of(const OptimGroup *group, const OptimTensor *tensor) {
    const Prodigy *h = group->hyper;
    if (!h->bias_correction) return tensor->lr;
    return tensor->lr * unbiasing(h->adam.beta1, group->age) / sqrt(unbiasing(h->adam.beta2, group->age));
}

static double beta3_of(const Prodigy *h) {
    return h->beta3 > 0 ? h->beta3 : sqrt(h->adam.beta2);
}

static double progress(const OptimGroup *group, const OptimTensor *tensor, size_t begin, size_t end) {
    const float *g = tensor->param->g, *moved = tensor->slot[SLOT_MOVED];
    double sum = 0;
    (void)group;
#pragma omp simd reduction(+ : sum)
    for (size_t i = begin; i < end; i++) sum -= (double)g[i] * (double)moved[i];
    return sum;
}

/* Brings s up to date, and returns the sum of its absolute values. */
static double gather(const OptimGroup *group, const OptimTensor *tensor, size_t begin, size_t end) {
    const Prodigy *h = group->hyper;
    const double d = tensor->agreed, lr = h->safeguard_warmup ? 1 : rate_of(group, tensor);
    const float keep = (float)beta3_of(h), gain = (float)(d / h->d0 * d * lr);
    const float *restrict g = tensor->param->g;
    float *restrict s = tensor->slot[SLOT_S];
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = begin; i < end; i++) {
        s[i] = keep * s[i] + gain * g[i];
        sum += (double)fabsf(s[i]);
    }
    return sum;
}

static void estimate(const Prodigy *h, double *scalars, double estimated) {
    double d = scalars[SCALAR_D], d_max = fmax(scalars[SCALAR_D_MAX], estimated);
    if (d == h->d0) d = fmax(d, estimated);
    scalars[SCALAR_D] = h->growth_rate > 0 ? fmin(d_max, d * h->growth_rate) : d_max;
    scalars[SCALAR_D_MAX] = d_max;
}

/* Leaves this step's d to `update`, and 0 where nothing is to move. */
static bool agree(OptimGroup *group, Error *err) {
    const Prodigy *h = group->hyper;
    double *scalars = group->scalars;
    (void)err;
    if (group->age == 1) scalars[SCALAR_D] = scalars[SCALAR_D_MAX] = h->d0;
    double d = scalars[SCALAR_D], r = beta3_of(h) * scalars[SCALAR_R], size = 0;
    OptimTensor *end = group->tensors + group->tensor_count;
    for (OptimTensor *t = group->tensors; t < end; t++) {
        t->agreed = t->lr > 0 ? d : 0;
        if (t->agreed == 0) continue;
        r += d / h->d0 * d * rate_of(group, t) * optim_sum(group, t, progress);
        size += optim_sum(group, t, gather);
    }
    if (size > 0) {
        scalars[SCALAR_R] = r;
        estimate(h, scalars, h->d_coef * r / size);
    } else
        for (OptimTensor *t = group->tensors; t < end; t++) t->agreed = 0;
    return true;
}

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const Prodigy *h = group->hyper;
    const double d = tensor->agreed, rate = d * rate_of(group, tensor);
    if (d == 0) return;
    const AdamRule rule = adam_rule(&h->adam, group->age);
    const float scale = (float)d;
    const float eps = (float)(h->adam.eps * (h->eps_d == EPS_NEW ? group->scalars[SCALAR_D] : d));
    const float lr = (float)rate, decay = (float)(rate * tensor->weight_decay);
    float *restrict w = tensor->param->w, *restrict moved = tensor->slot[SLOT_MOVED];
    float *restrict m = tensor->slot[SLOT_M], *restrict v = tensor->slot[SLOT_V];
    const float *restrict g = tensor->param->g;
#pragma omp simd
    for (size_t i = piece->begin; i < piece->end; i++) {
        float dg = scale * g[i];
        m[i] = adam_m(rule, m[i], dg);
        v[i] = adam_v(rule, v[i], dg);
        float step = decay * w[i] + lr * (m[i] / (sqrtf(v[i]) + eps));
        moved[i] -= step;
        w[i] -= step;
    }
}

const Optimizer optimizer_prodigy = {
    .name = "prodigy",
    .title = "Prodigy",
    .equation = "dlr = d lr\n"
                "r <- b3 r + (d / d0) dlr <g, W_0 - W>,  s <- b3 s + (d / d0) dlr g\n"
                "m <- b1 m + (1 - b1) d g,  v <- b2 v + (1 - b2) d^2 g^2\n"
                "d' = max(d, d_coef r / ||s||_1)\n"
                "W <- (1 - dlr wd) W - dlr m / (sqrt(v) + d eps),  d <- d'",
    .source = "Mishchenko & Defazio, Prodigy: An Expeditiously Adaptive Parameter-Free Learner "
              "(arXiv 2306.06101), its Adam form",
    .differs =
        "decay is that of the authors' code: dlr wd; W - W_0 is summed up by itself; roles may differ "
        "in lr, which then weighs their parts of r and s",
    .cost = "three passes: reads 36 bytes a weight, writes 20",
    .lr = 1,
    .weight_decay = 0.1,
    .scale = SCALE_IGNORED,
    .presets = presets,
    .fields = fields,
    .hyper_size = sizeof(Prodigy),
    .check = check,
    .roles = ROLES_ALL,
    .slots = (const char *const[]){"scaled_m", "scaled_v", "s", "moved", NULL},
    .scalars = (const char *const[]){"d", "d_max", "r", NULL},
    .agree = agree,
    .update = update,
};
