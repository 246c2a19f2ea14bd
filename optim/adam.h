/* adam.h: what the relatives of Adam share: two averages, and the ratio of their bias-corrected values.
 *
 *     typedef struct Mars { Adam adam; ... } Mars;
 *     fields:   ADAM_FIELDS(Mars, adam, "0.95", "0.99", "1e-8"),
 *     update:   const AdamRule rule = adam_rule(&h->adam, group->age);
 *               m[i] = adam_m(rule, m[i], c);
 *               v[i] = adam_v(rule, v[i], c);
 *               w[i] = stepped(w[i], adam_ratio(rule, m[i], v[i]), lr, decay);
 */
#ifndef OPTIM_ADAM_H
#define OPTIM_ADAM_H

#include "optim/optim.h"
#include <math.h>

typedef struct Adam {
    double beta1, beta2, eps;
} Adam;

/* A smaller eps is 0 in fp32, and 0 / 0 the update of a token that was never seen. */
/* clang-format off */
#define ADAM_FIELDS(Type, member, beta1_default, beta2_default, eps_default)                              \
    {"beta1", FIELD_REAL, offsetof(Type, member.beta1), beta1_default, "[0,1)",                           \
     "decay of the mean of gradients"},                                                                   \
    {"beta2", FIELD_REAL, offsetof(Type, member.beta2), beta2_default, "[0,1)",                           \
     "decay of the mean of squared gradients"},                                                           \
    {"eps", FIELD_REAL, offsetof(Type, member.eps), eps_default, "[1e-30,inf)",                           \
     "added to the root of v, units of the gradient"}
/* clang-format on */

/* 1 / (1 - beta^age): the bias correction of an average that began at zero. */
static inline double unbiasing(double beta, int64_t age) {
    return 1 / (1 - pow(beta, (double)age));
}

/* A step in the numbers that its loop needs. */
typedef struct AdamRule {
    float b1, rest1, b2, rest2, eps, unbias_m, unbias_v;
} AdamRule;

static inline AdamRule adam_rule(const Adam *a, int64_t age) {
    return (AdamRule){.b1 = (float)a->beta1,
                      .rest1 = (float)(1 - a->beta1),
                      .b2 = (float)a->beta2,
                      .rest2 = (float)(1 - a->beta2),
                      .eps = (float)a->eps,
                      .unbias_m = (float)unbiasing(a->beta1, age),
                      .unbias_v = (float)unbiasing(a->beta2, age)};
}

static inline float adam_m(AdamRule r, float m, float g) {
    return r.b1 * m + r.rest1 * g;
}

static inline float adam_v(AdamRule r, float v, float g) {
    return r.b2 * v + r.rest2 * g * g;
}

static inline float adam_ratio(AdamRule r, float m, float v) {
    return r.unbias_m * m / (sqrtf(r.unbias_v * v) + r.eps);
}

#endif
