/* adamw.c: Adam with decoupled weight decay.
 *
 *     m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2
 *     W <- (1 - lr wd) W - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
 *
 * Source: Loshchilov & Hutter 2019 (arXiv 1711.05101), as in torch.optim.AdamW.
 */
#include "optim/elementwise.h"
#include "optim/optim.h"
#include <math.h>

typedef struct AdamW {
    double beta1, beta2, eps;
} AdamW;

static const Field fields[] = {
    {"beta1", FIELD_REAL, offsetof(AdamW, beta1), "0.9", "[0,1)", "decay of the mean of gradients"},
    {"beta2", FIELD_REAL, offsetof(AdamW, beta2), "0.95", "[0,1)",
     "decay of the mean of squared gradients"},
    /* a smaller eps is 0 in fp32, and 0 / 0 the update of a token that was never seen */
    {"eps", FIELD_REAL, offsetof(AdamW, eps), "1e-8", "[1e-30,inf)",
     "added to the root of v, units of the gradient"},
    {0},
};

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const AdamW *h = group->hyper;
    const float b1 = (float)h->beta1, rest1 = (float)(1 - h->beta1);
    const float b2 = (float)h->beta2, rest2 = (float)(1 - h->beta2), eps = (float)h->eps;
    const float unbias_m = (float)(1 / (1 - pow(h->beta1, (double)group->age)));
    const float unbias_v = (float)(1 / (1 - pow(h->beta2, (double)group->age)));
    const float lr = (float)tensor->lr, decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w, *restrict m = tensor->slot[0], *restrict v = tensor->slot[1];
    const float *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) {
        m[i] = b1 * m[i] + rest1 * g[i];
        v[i] = b2 * v[i] + rest2 * g[i] * g[i];
        w[i] = stepped(w[i], unbias_m * m[i] / (sqrtf(unbias_v * v[i]) + eps), lr, decay);
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
    .fields = fields,
    .hyper_size = sizeof(AdamW),
    .roles = ROLES_ALL,
    .slots = (const char *const[]){"m", "v", NULL},
    .update = update,
};
