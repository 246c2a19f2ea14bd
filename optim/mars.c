/* mars.c: MARS-AdamW: AdamW on gradients that are corrected by their change since the last step.
 *
 *     c = g + gamma b1 / (1 - b1) (g - g_last),    c <- c / max(1, ||c||)      norm of the whole tensor
 *     m <- b1 m + (1 - b1) c,   v <- b2 v + (1 - b2) c^2,   g_last <- g
 *     W <- (1 - lr wd) W - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
 *
 * Source: Yuan et al. 2024 (arXiv 2411.10438), the approximate form: g_last is of the batch before, not a
 * second gradient of this one. What was before the first gradient: the same in the paper (x_0 = x_1), zero
 * in the authors' code. That code gives vectors to an AdamW of their own: here a choice of the config.
 */
#include "optim/adam.h"
#include "optim/elementwise.h"

typedef struct Mars {
    Adam adam;
    double gamma;
    int first_previous;
} Mars;

enum { FIRST_SAME, FIRST_ZERO };

static const Field fields[] = {
    ADAM_FIELDS(Mars, adam, "0.95", "0.99", "1e-8"),
    {"gamma", FIELD_REAL, offsetof(Mars, gamma), "0.025", "[0,inf)", "strength of the correction"},
    {"first_previous", FIELD_CHOICE, offsetof(Mars, first_previous), "same", "same|zero",
     "the gradient before the first: the first, or zero"},
    {0},
};

static const Preset presets[] = {
    {"paper", "", "the first gradient is taken as it is; the defaults"},
    {"official", "first_previous=zero lr=3e-3 weight_decay=0",
     "the first gradient is corrected by all of itself; the authors' code and its defaults"},
    {0},
};

static double gain_at(const OptimGroup *group) {
    const Mars *h = group->hyper;
    bool exempt = group->age == 1 && h->first_previous == FIRST_SAME;
    return exempt ? 0 : h->gamma * h->adam.beta1 / (1 - h->adam.beta1);
}

/* In double: neither a difference of floats nor its square leaves that range. */
static inline double corrected(float g, float last, double gain) {
    return (double)g + gain * ((double)g - (double)last);
}

static double sum_of_squares(const OptimGroup *group, const OptimTensor *tensor, size_t begin, size_t end) {
    const float *g = tensor->param->g, *last = tensor->slot[2];
    const double gain = gain_at(group);
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = begin; i < end; i++) {
        double c = corrected(g[i], last[i], gain);
        sum += c * c;
    }
    return sum;
}

static bool agree(OptimGroup *group, Error *err) {
    (void)err;
    for (OptimTensor *t = group->tensors; t < group->tensors + group->tensor_count; t++)
        t->agreed = sqrt(optim_sum(group, t, sum_of_squares));
    return true;
}

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const Mars *h = group->hyper;
    const double gain = gain_at(group), shrink = tensor->agreed > 1 ? 1 / tensor->agreed : 1;
    const AdamRule rule = adam_rule(&h->adam, group->age);
    const float lr = (float)tensor->lr, decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w, *restrict m = tensor->slot[0], *restrict v = tensor->slot[1];
    float *restrict last = tensor->slot[2];
    const float *restrict g = tensor->param->g;
#pragma omp simd
    for (size_t i = piece->begin; i < piece->end; i++) {
        float c = (float)(shrink * corrected(g[i], last[i], gain));
        last[i] = g[i];
        m[i] = adam_m(rule, m[i], c);
        v[i] = adam_v(rule, v[i], c);
        w[i] = stepped(w[i], adam_ratio(rule, m[i], v[i]), lr, decay);
    }
}

const Optimizer optimizer_mars = {
    .name = "mars",
    .title = "MARS-AdamW",
    .equation = "c = g + gamma b1 / (1 - b1) (g - g_last),  c <- c / max(1, ||c||)\n"
                "m <- b1 m + (1 - b1) c,  v <- b2 v + (1 - b2) c^2,  g_last <- g\n"
                "W <- (1 - lr wd) W - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)",
    .source = "Yuan et al., MARS: Unleashing the Power of Variance Reduction for Training Large Models "
              "(arXiv 2411.10438), the approximate form",
    .differs =
        "vectors are not given to an AdamW of their own unless the config does so; a fused q|k|v has "
        "one norm",
    .cost = "two passes: reads 28 bytes a weight, writes 16",
    .lr = 6e-3,
    .weight_decay = 0.01,
    .presets = presets,
    .fields = fields,
    .hyper_size = sizeof(Mars),
    .roles = ROLES_ALL,
    .slots = (const char *const[]){"corrected_m", "corrected_v", "last", NULL},
    .agree = agree,
    .update = update,
};
