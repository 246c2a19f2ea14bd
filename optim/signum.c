/* signum.c: Signum, and SignSGD, which is Signum without memory. Every coordinate moves by exactly lr.
 *
 *     m <- beta m + (1 - beta) g
 *     W <- (1 - lr wd) W - lr sign(m)        sign(0) = 0; nesterov: beta m + (1 - beta) g in place of m
 *
 * Source: Bernstein et al. 2018 (arXiv 1802.04434), algorithms 1 and 2. Differs: decay is decoupled.
 */
#include "optim/elementwise.h"
#include "optim/momentum.h"

typedef struct Signum {
    Momentum momentum;
} Signum;

static const Field fields[] = {MOMENTUM_FIELDS(Signum, momentum, "0.95", "ema", "false"), {0}};

static void signum_update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const Signum *h = group->hyper;
    const MomentumRule rule = momentum_rule(&h->momentum, group->age, false);
    const float lr = (float)tensor->lr, decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w, *restrict m = tensor->slot[0];
    const float *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) {
        m[i] = rule.keep * m[i] + rule.gain * g[i];
        w[i] = stepped(w[i], sign(rule.own * m[i] + rule.ahead * g[i]), lr, decay);
    }
}

static void signsgd_update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    (void)group;
    const float lr = (float)tensor->lr, decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w;
    const float *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) w[i] = stepped(w[i], sign(g[i]), lr, decay);
}

const Optimizer optimizer_signum = {
    .name = "signum",
    .title = "Signum",
    .equation = MOMENTUM_EQUATION "W <- (1 - lr wd) W - lr sign(x)",
    .source = "Bernstein et al., signSGD (arXiv 1802.04434), algorithm 2",
    .differs = "decay is decoupled",
    .cost = "one pass: reads 12 bytes a weight, writes 8",
    .lr = 3e-4,
    .weight_decay = 0.1,
    .scale = SCALE_IGNORED,
    .fields = fields,
    .hyper_size = sizeof(Signum),
    .check = momentum_check,
    .roles = ROLES_ALL,
    .slots = (const char *const[]){"momentum", NULL},
    .update = signum_update,
};

static const Preset signsgd_presets[] = {
    {"paper", "lr=1e-4 weight_decay=0.1",
     "the GPT-2 runs of arXiv 2605.06615 and their code; decay on linear weights only; the defaults"},
    {0},
};

const Optimizer optimizer_signsgd = {
    .name = "signsgd",
    .title = "SignSGD",
    .equation = "W <- (1 - lr wd) W - lr sign(g)",
    .source = "Bernstein et al., signSGD (arXiv 1802.04434), algorithm 1",
    .differs = "decay is decoupled",
    .cost = "one pass: reads 8 bytes a weight, writes 4",
    .lr = 1e-4,
    .weight_decay = 0.1,
    .scale = SCALE_IGNORED,
    .presets = signsgd_presets,
    .roles = ROLES_ALL,
    .update = signsgd_update,
};
