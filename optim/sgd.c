/* sgd.c: stochastic gradient descent with momentum.
 *
 *     m <- beta m + (1 - dampening) g        the first m is g
 *     W <- (1 - lr wd) W - lr m              nesterov: g + beta m in place of m
 *
 * Source: torch.optim.SGD. Differs: decay is decoupled unless coupled_decay adds wd W to g, as torch does.
 */
#include "optim/elementwise.h"
#include "optim/momentum.h"

typedef struct Sgd {
    Momentum momentum; /* first, for momentum_check */
    bool coupled_decay;
} Sgd;

static const Field fields[] = {
    MOMENTUM_FIELDS(Sgd, momentum, "0.9", "sum", "false"),
    {"coupled_decay", FIELD_BOOL, offsetof(Sgd, coupled_decay), "false", "",
     "add weight_decay W to the gradient (L2), instead of shrinking W"},
    {0},
};

static const Preset presets[] = {
    {"official", "lr=1e-3 weight_decay=0 momentum=0 momentum_form=sum dampening=0 coupled_decay=true",
     "torch.optim.SGD with its defaults: momentum, once set, is a sum that starts as g; decay is L2"},
    {"paper", "lr=1e-2 weight_decay=0.1 momentum=0.9 momentum_form=sum dampening=0 coupled_decay=true",
     "the GPT-2 runs of arXiv 2605.06615 and their code: torch's rule; L2 on linear weights only"},
    {0},
};

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const Sgd *h = group->hyper;
    const MomentumRule rule = momentum_rule(&h->momentum, group->age, false);
    const float lr = (float)tensor->lr, wd = (float)tensor->weight_decay;
    const float l2 = h->coupled_decay ? wd : 0, decay = h->coupled_decay ? 0 : lr * wd;
    float *restrict w = tensor->param->w, *restrict m = tensor->slot[0];
    const float *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) {
        float gi = g[i] + l2 * w[i];
        m[i] = rule.keep * m[i] + rule.gain * gi;
        w[i] = stepped(w[i], rule.own * m[i] + rule.ahead * gi, lr, decay);
    }
}

const Optimizer optimizer_sgd = {
    .name = "sgd",
    .title = "SGD",
    .equation =
        MOMENTUM_EQUATION "W <- (1 - lr wd) W - lr x;  coupled_decay: g + wd W for g, W <- W - lr x",
    .source = "torch.optim.SGD",
    .differs = "decay is decoupled unless coupled_decay is set",
    .cost = "one pass: reads 12 bytes a weight, writes 8",
    .lr = 1e-2,
    .weight_decay = 0,
    .scale = SCALE_PROPORTIONAL,
    .presets = presets,
    .fields = fields,
    .hyper_size = sizeof(Sgd),
    .check = momentum_check,
    .roles = ROLES_ALL,
    .slots = (const char *const[]){"momentum", NULL},
    .update = update,
};
