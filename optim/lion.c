/* lion.c: the sign of a short average of gradients, remembered as a long one.
 *
 *     U = sign(b1 m + (1 - b1) g)                  with the old m
 *     m <- b2 m + (1 - b2) g
 *     W <- (1 - lr wd) W - lr U                    sign(0) = 0
 *
 * Source: Chen et al. 2023, Symbolic Discovery of Optimization Algorithms (arXiv 2302.06675), algorithm 2.
 * They advise a third to a tenth of AdamW's lr, and as much more decay; so are the defaults.
 */
#include "optim/elementwise.h"
#include "optim/optim.h"

typedef struct Lion {
    double beta1, beta2;
} Lion;

static const Field fields[] = {
    {"beta1", FIELD_REAL, offsetof(Lion, beta1), "0.9", "[0,1)", "share of the momentum in the update"},
    {"beta2", FIELD_REAL, offsetof(Lion, beta2), "0.99", "[0,1)", "share of the momentum kept each step"},
    {0},
};

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const Lion *h = group->hyper;
    const float b1 = (float)h->beta1, rest1 = (float)(1 - h->beta1);
    const float b2 = (float)h->beta2, rest2 = (float)(1 - h->beta2);
    const float lr = (float)tensor->lr, decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w, *restrict m = tensor->slot[0];
    const float *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) {
        w[i] = stepped(w[i], sign(b1 * m[i] + rest1 * g[i]), lr, decay);
        m[i] = b2 * m[i] + rest2 * g[i];
    }
}

const Optimizer optimizer_lion = {
    .name = "lion",
    .title = "Lion",
    .equation = "U = sign(b1 m + (1 - b1) g),  then m <- b2 m + (1 - b2) g\n"
                "W <- (1 - lr wd) W - lr U",
    .source = "Chen et al., Symbolic Discovery of Optimization Algorithms (arXiv 2302.06675), algorithm 2",
    .differs = "",
    .cost = "one pass: reads 12 bytes a weight, writes 8",
    .lr = 2e-4,
    .weight_decay = 0.3,
    .scale = SCALE_IGNORED,
    .fields = fields,
    .hyper_size = sizeof(Lion),
    .roles = ROLES_ALL,
    .slots = (const char *const[]){"momentum", NULL},
    .update = update,
};
