/* nsgd.c: normalized SGD. Every tensor moves by at most lr, whatever the size of its gradient.
 *
 *     m <- beta m + (1 - beta) g / ||g||           Euclidean norm of the whole tensor; 0 / 0 = 0
 *     W <- (1 - lr wd) W - lr m
 *
 * Source: normalized gradient descent of Hazan, Levy & Shalev-Shwartz 2015 (arXiv 1507.02030). Differs: one
 * norm for each tensor, not one for all; an average of directions; decoupled decay. Cutkosky & Mehta 2020
 * (arXiv 2002.03305) normalize after averaging instead.
 */
#include "optim/elementwise.h"
#include "optim/optim.h"
#include <math.h>

typedef struct NormalizedSgd {
    double momentum;
} NormalizedSgd;

static const Field fields[] = {
    {"momentum", FIELD_REAL, offsetof(NormalizedSgd, momentum), "0.9", "[0,1)",
     "share of m kept each step (beta)"},
    {0},
};

/* In double, which holds the square of any float. */
static double sum_of_squares(const OptimGroup *group, const OptimTensor *tensor, size_t begin, size_t end) {
    const float *g = tensor->param->g;
    double sum = 0;
    (void)group;
#pragma omp simd reduction(+ : sum)
    for (size_t i = begin; i < end; i++) sum += (double)g[i] * (double)g[i];
    return sum;
}

static bool agree(OptimGroup *group, Error *err) {
    (void)err;
    for (OptimTensor *t = group->tensors; t < group->tensors + group->tensor_count; t++)
        t->agreed = sqrt(optim_sum(group, t, sum_of_squares));
    return true;
}

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const NormalizedSgd *h = group->hyper;
    const float beta = (float)h->momentum;
    const double gain =
        tensor->agreed > 0 ? (1 - h->momentum) / tensor->agreed : 0; /* may not fit a float */
    const float lr = (float)tensor->lr, decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w, *restrict m = tensor->slot[0];
    const float *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) {
        m[i] = beta * m[i] + (float)(gain * (double)g[i]);
        w[i] = stepped(w[i], m[i], lr, decay);
    }
}

const Optimizer optimizer_nsgd = {
    .name = "nsgd",
    .title = "Normalized SGD",
    .equation = "m <- beta m + (1 - beta) g / ||g||\nW <- (1 - lr wd) W - lr m",
    .source = "Hazan, Levy & Shalev-Shwartz, Beyond Convexity (arXiv 1507.02030)",
    .differs = "a norm for each tensor (a fused q|k|v is one), an average of directions, decoupled decay",
    .cost = "two passes: reads 16 bytes a weight, writes 8",
    .lr = 0.1,
    .weight_decay = 0,
    .scale = SCALE_IGNORED,
    .fields = fields,
    .hyper_size = sizeof(NormalizedSgd),
    .roles = ROLES_ALL,
    .slots = (const char *const[]){"momentum", NULL},
    .agree = agree,
    .update = update,
};
