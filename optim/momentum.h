/* momentum.h: the running average of gradients, in both forms that papers and codes use.
 *
 *     ema:  m <- beta m + (1 - beta) g        from m = 0: the papers
 *     sum:  m <- beta m + (1 - dampening) g   the first m is g: torch.optim, the authors of SoftSignum
 *
 * Nesterov's variant looks a step ahead: beta m + gain g with the new m; gain is 1 - beta (ema) or 1 (sum).
 */
#ifndef OPTIM_MOMENTUM_H
#define OPTIM_MOMENTUM_H

#include "optim/optim.h"

/* The first lines of an equation; x is what the step goes along. */
#define MOMENTUM_EQUATION                                                                                  \
    "m <- beta m + (1 - beta) g (ema), or beta m + (1 - dampening) g beginning with m = g (sum)\n"         \
    "x = m; with nesterov beta m + (1 - beta) g (ema) or beta m + g (sum)\n"

typedef enum { MOMENTUM_EMA, MOMENTUM_SUM } MomentumForm;

typedef struct Momentum {
    double beta, dampening;
    int form; /* MomentumForm, as listed in MOMENTUM_FIELDS */
    bool nesterov;
} Momentum;

/* clang-format off */
#define MOMENTUM_FIELDS(Type, member, beta_default, form_default, nesterov_default)                       \
    {"momentum", FIELD_REAL, offsetof(Type, member.beta), beta_default, "[0,1)",                          \
     "share of the momentum kept each step"},                                                             \
    {"momentum_form", FIELD_CHOICE, offsetof(Type, member.form), form_default, "ema|sum",                 \
     "ema: m = momentum m + (1 - momentum) g from zero; sum: m = momentum m + (1 - dampening) g"},        \
    {"dampening", FIELD_REAL, offsetof(Type, member.dampening), "0", "[0,1]",                             \
     "share of the gradient withheld from a sum after the first step"},                                   \
    {"nesterov", FIELD_BOOL, offsetof(Type, member.nesterov), nesterov_default, "",                       \
     "look one step ahead: update along momentum m + (1 - momentum) g (ema) or momentum m + g (sum)"}
/* clang-format on */

/* One step for a loop without branches:  m <- keep m + gain g;  use own m + ahead g. */
typedef struct MomentumRule {
    float keep, gain, own, ahead;
} MomentumRule;

/* `done`: the momentum already holds this step's gradient. */
static inline MomentumRule momentum_rule(const Momentum *h, int64_t age, bool done) {
    bool ema = h->form == MOMENTUM_EMA;
    double gain = ema ? 1 - h->beta : age == 1 ? 1 : 1 - h->dampening;
    MomentumRule rule = {(float)h->beta, (float)gain, 1, 0};
    if (done) rule.keep = 1, rule.gain = 0;
    if (h->nesterov) rule.own = (float)h->beta, rule.ahead = ema ? (float)gain : 1;
    return rule;
}

/* `check` of hyper-parameters that begin with a Momentum. */
static inline const char *momentum_check(const void *hyper) {
    const Momentum *h = hyper;
    return h->form == MOMENTUM_EMA && h->dampening != 0 ? "dampening needs momentum_form sum" : NULL;
}

#endif
