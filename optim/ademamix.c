/* ademamix.c: AdEMAMix: Adam whose direction also holds a very slow average of the gradients.
 *
 *     m1 <- b1 m1 + (1 - b1) g,   m2 <- b3(t) m2 + (1 - b3(t)) g,   v <- b2 v + (1 - b2) g^2
 *     W <- (1 - lr wd) W - lr (m1 / (1 - b1^t) + alpha(t) m2) / (sqrt(v / (1 - b2^t)) + eps)
 *
 * While a = t / (warmup_frac T) is below 1, alpha(t) = a alpha and 1 / ln b3(t) moves evenly from 1 / ln b1
 * to 1 / ln b3, which makes the half-life of m2 grow evenly. m2 has no bias correction.
 *
 * Source: Pagliardini, Ablin & Grangier 2024 (arXiv 2409.03137). The authors' code adds 1e-8 to the betas
 * inside the logarithms, which changes b3(t) by less than that.
 */
#include "optim/adam.h"
#include "optim/elementwise.h"

typedef struct AdEMAMix {
    Adam adam;
    double beta3, alpha, warmup_frac;
} AdEMAMix;

static const Field fields[] = {
    ADAM_FIELDS(AdEMAMix, adam, "0.9", "0.999", "1e-8"),
    {"beta3", FIELD_REAL, offsetof(AdEMAMix, beta3), "0.9999", "[0,1)", "decay of the slow mean, m2"},
    {"alpha", FIELD_REAL, offsetof(AdEMAMix, alpha), "8", "[0,inf)", "weight of the slow mean"},
    {"warmup_frac", FIELD_REAL, offsetof(AdEMAMix, warmup_frac), "1", "[0,1]",
     "share of the steps over which alpha rises from 0, and beta3 from beta1"},
    {0},
};

static const Preset presets[] = {
    {"paper", "", "alpha 8, which rises with beta3 over the whole run; the defaults"},
    {"official", "alpha=2 warmup_frac=0 lr=1e-3 weight_decay=0", "the defaults of the authors' code"},
    {0},
};

/* How far the warm-up has come, in (0, 1]. */
static double warmup_at(const AdEMAMix *h, const OptimGroup *group) {
    double steps = h->warmup_frac * (double)group->total_steps;
    return (double)group->step < steps ? (double)group->step / steps : 1;
}

static double beta3_at(const AdEMAMix *h, double a) {
    double slow = exp(1 / ((1 - a) / log(h->adam.beta1) + a / log(h->beta3)));
    return a < 1 ? fmin(slow, h->beta3) : h->beta3;
}

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const AdEMAMix *h = group->hyper;
    const double a = warmup_at(h, group), beta3 = beta3_at(h, a);
    const AdamRule rule = adam_rule(&h->adam, group->age);
    const float b3 = (float)beta3, rest3 = (float)(1 - beta3), alpha = (float)(a * h->alpha);
    const float lr = (float)tensor->lr, decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w, *restrict m1 = tensor->slot[0], *restrict m2 = tensor->slot[1];
    float *restrict v = tensor->slot[2];
    const float *restrict g = tensor->param->g;
#pragma omp simd
    for (size_t i = piece->begin; i < piece->end; i++) {
        m1[i] = adam_m(rule, m1[i], g[i]);
        m2[i] = b3 * m2[i] + rest3 * g[i];
        v[i] = adam_v(rule, v[i], g[i]);
        float u = (rule.unbias_m * m1[i] + alpha * m2[i]) / (sqrtf(rule.unbias_v * v[i]) + rule.eps);
        w[i] = stepped(w[i], u, lr, decay);
    }
}

const Optimizer optimizer_ademamix = {
    .name = "ademamix",
    .title = "AdEMAMix",
    .equation = "m1 <- b1 m1 + (1 - b1) g,  m2 <- b3(t) m2 + (1 - b3(t)) g,  v <- b2 v + (1 - b2) g^2\n"
                "W <- (1 - lr wd) W - lr (m1 / (1 - b1^t) + alpha(t) m2) / (sqrt(v / (1 - b2^t)) + eps)\n"
                "a = min(1, t / (warmup_frac T)):  alpha(t) = a alpha,\n"
                "1 / ln b3(t) = (1 - a) / ln b1 + a / ln b3",
    .source = "Pagliardini, Ablin & Grangier, The AdEMAMix Optimizer: Better, Faster, Older "
              "(arXiv 2409.03137)",
    .differs = "",
    .cost = "one pass: reads 20 bytes a weight, writes 16",
    .lr = 1e-3,
    .weight_decay = 0.1,
    .scale = SCALE_IGNORED,
    .presets = presets,
    .fields = fields,
    .hyper_size = sizeof(AdEMAMix),
    .roles = ROLES_ALL,
    .slots = (const char *const[]){"fast", "slow", "v", NULL},
    .update = update,
};
