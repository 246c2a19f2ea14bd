/* hard_switch.c: the baselines of soft signs: Signum, or Muon, that turns into SGD at once.
 *
 *     m <- beta m + (1 - beta) g
 *     W <- (1 - lr wd) W - lr sign(m)              in the first alpha_sign T steps
 *     W <- (1 - lr wd) W - lr ratio m              then, with the same m
 *
 * So SGD is the linear map tau m of SoftSignum's framework, at a fixed temperature tau = ratio; decay stays
 * as it was. hard_switch_muon does the same to singular values: after the switch its matrix X (Nesterov's,
 * if set) and its scale are still Muon's, but no polar factor is taken.
 *
 * Source: HardSwitchSign of arXiv 2605.31371; for Muon, its like. Which ratio the paper used was not found;
 * 1 is where SoftSignum's temperature ends.
 */
#include "optim/elementwise.h"
#include "optim/momentum.h"
#include "optim/muon.h"
#include "optim/temperature.h"
#include <math.h>

typedef struct Switch {
    double alpha_sign, ratio;
} Switch;

/* clang-format off */
#define SWITCH_FIELDS(Type, member)                                                                       \
    {"alpha_sign", FIELD_REAL, offsetof(Type, member.alpha_sign), "0.9", "[0,1]",                         \
     "share of the steps before the switch"},                                                             \
    {"sgd_lr_ratio", FIELD_REAL, offsetof(Type, member.ratio), "1", "(0,inf)",                            \
     "learning rate after the switch, in units of lr; decay stays as it was"}
/* clang-format on */

/* What multiplies the momentum at this step; INFINITY before the switch, also beyond a run without one. */
static double temperature_of(const Switch *h, const OptimGroup *group) {
    const Temperature t = {.alpha_sign = h->alpha_sign, .tau = h->ratio, .map = MAP_LINEAR};
    return temperature_at(&t, 0, 0, group->step, group->total_steps);
}

/* ---- Signum ---- */

typedef struct HardSwitch {
    Momentum momentum; /* first, for momentum_check */
    Switch at;
} HardSwitch;

static const Field fields[] = {
    MOMENTUM_FIELDS(HardSwitch, momentum, "0.95", "ema", "false"),
    SWITCH_FIELDS(HardSwitch, at),
    {0},
};

static bool agree(OptimGroup *group, Error *err) {
    (void)err;
    group->temperature = temperature_of(&((const HardSwitch *)group->hyper)->at, group);
    return true;
}

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const HardSwitch *h = group->hyper;
    const bool hard = isinf(group->temperature);
    const MomentumRule rule = momentum_rule(&h->momentum, group->age, false);
    const float ratio = (float)h->at.ratio;
    const float lr = (float)tensor->lr, decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w, *restrict m = tensor->slot[0];
    const float *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) {
        m[i] = rule.keep * m[i] + rule.gain * g[i];
        float x = rule.own * m[i] + rule.ahead * g[i];
        w[i] = stepped(w[i], hard ? sign(x) : ratio * x, lr, decay);
    }
}

static const Preset presets[] = {
    {"paper", "momentum_form=ema nesterov=false", "momentum is an average from zero; the defaults"},
    {"official", "lr=1e-3 weight_decay=0 momentum=0 momentum_form=sum dampening=0 nesterov=false",
     "as the authors' SoftSignum, whose sign_iters it shares; of this baseline they published no code"},
    {0},
};

const Optimizer optimizer_hard_switch = {
    .name = "hard_switch",
    .title = "HardSwitchSign",
    .equation = MOMENTUM_EQUATION "W <- (1 - lr wd) W - lr sign(x); after alpha_sign T steps\n"
                                  "W <- (1 - lr wd) W - lr sgd_lr_ratio x",
    .source = "HardSwitchSign, a baseline of arXiv 2605.31371",
    .differs = "the ratio of learning rates is a setting: the paper's was not found",
    .cost = "one pass: reads 12 bytes a weight, writes 8",
    .lr = 3e-4,
    .weight_decay = 0.1,
    .scale = SCALE_IGNORED_WHILE_HARD,
    .presets = presets,
    .fields = fields,
    .hyper_size = sizeof(HardSwitch),
    .check = momentum_check,
    .roles = ROLES_ALL,
    .slots = (const char *const[]){"momentum", NULL},
    .agree = agree,
    .update = update,
};

/* ---- Muon ---- */

typedef struct HardSwitchMuon {
    Muon muon;
    Switch at;
} HardSwitchMuon;

static const Field muon_fields[] = {
    MUON_FIELDS(HardSwitchMuon, muon),
    SWITCH_FIELDS(HardSwitchMuon, at),
    {0},
};

static bool muon_agree(OptimGroup *group, Error *err) {
    (void)err;
    group->temperature = temperature_of(&((const HardSwitchMuon *)group->hyper)->at, group);
    return true;
}

static void muon_update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const HardSwitchMuon *h = group->hyper;
    muon_observe(group, tensor, piece);
    MuonMatrix x = muon_input(group, tensor, piece);
    if (isinf(group->temperature)) muon_polar(&h->muon, &x);
    else
        for (size_t i = 0; i < piece->end - piece->begin; i++) x.X[i] *= (float)h->at.ratio;
    muon_apply(&h->muon, tensor, piece, &x);
}

const Optimizer optimizer_hard_switch_muon = {
    .name = "hard_switch_muon",
    .title = "Muon, then SGD",
    .equation = MOMENTUM_EQUATION "W <- (1 - lr wd) W - lr scale polar(x); after alpha_sign T steps\n"
                                  "W <- (1 - lr wd) W - lr scale sgd_lr_ratio x",
    .source = "after HardSwitchSign of arXiv 2605.31371",
    .differs =
        "Muon in HardSwitchSign's place, with its Nesterov momentum and its scale kept after the switch",
    .cost = "Muon's; after the switch one pass",
    .lr = 0.02,
    .weight_decay = 0,
    .scale = SCALE_IGNORED_WHILE_HARD,
    .fields = muon_fields,
    .hyper_size = sizeof(HardSwitchMuon),
    .check = muon_check,
    .roles = ROLE_BIT(ROLE_MATRIX) | ROLE_BIT(ROLE_EMBEDDING) | ROLE_BIT(ROLE_HEAD),
    .cut = CUT_MATRICES,
    .slots = (const char *const[]){"momentum", NULL},
    .work_size = muon_work_size,
    .fuse_split = muon_fuse_split,
    .agree = muon_agree,
    .update = muon_update,
};
