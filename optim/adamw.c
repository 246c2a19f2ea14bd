/* adamw.c: Adam with decoupled weight decay.
 *
 *     m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
 *     W <- (1 - lr wd) W - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
 *
 * Source: Loshchilov & Hutter 2019 (arXiv 1711.05101), as in torch.optim.AdamW.
 */
#include "optim/adam.h"
#include "optim/elementwise.h"

static const Field fields[] = {ADAM_FIELDS(
                                   struct { Adam adam; }, adam, "0.9", "0.95", "1e-8"),
                               {0}};

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const AdamRule rule = adam_rule(group->hyper, group->age);
    const float lr = (float)tensor->lr, decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w, *restrict m = tensor->slot[0], *restrict v = tensor->slot[1];
    const float *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) {
        m[i] = adam_m(rule, m[i], g[i]);
        v[i] = adam_v(rule, v[i], g[i]);
        w[i] = stepped(w[i], adam_ratio(rule, m[i], v[i]), lr, decay);
    }
}

const Optimizer optimizer_adamw = {
    .name = "adamw",
    .title = "AdamW",
    .equation = "m <- b1 m + (1 - b1) g,  v <- b2 v + (1 - b2) g^2\n"
                "W <- (1 - lr wd) W - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)",
    .source = "Loshchilov & Hutter, Decoupled Weight Decay Regularization (arXiv 1711.05101)",
    .differs = "",
    .cost = "one pass: reads 16 bytes a weight, writes 12",
    .lr = 6e-4,
    .weight_decay = 0.1,
    .scale = SCALE_IGNORED,
    .fields = fields,
    .hyper_size = sizeof(Adam),
    .roles = ROLES_ALL,
    .slots = (const char *const[]){"m", "v", NULL},
    .update = update,
};
