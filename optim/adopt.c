/* adopt.c: ADOPT: a gradient is divided by the mean square of those before it, and averaged only then.
 *
 *     t = 1:  v = g^2, and nothing moves
 *     t > 1:  m <- b1 m + (1 - b1) clip(g / max(sqrt(v), eps), (t - 1)^(1/4))
 *             W <- (1 - lr wd) W - lr m
 *             v <- b2 v + (1 - b2) g^2             after its use
 *
 * Source: Taniguchi et al. 2024 (arXiv 2411.02853), with the clipping of its third version; without it:
 * "clip": false. The authors' code couples decay with the gradient unless told otherwise.
 */
#include "optim/elementwise.h"
#include "optim/optim.h"
#include <math.h>

typedef struct Adopt {
    double beta1, beta2, eps;
    bool clip;
} Adopt;

static const Field fields[] = {
    {"beta1", FIELD_REAL, offsetof(Adopt, beta1), "0.9", "[0,1)",
     "decay of the mean of normalized gradients"},
    {"beta2", FIELD_REAL, offsetof(Adopt, beta2), "0.9999", "[0,1)",
     "decay of the mean of squared gradients"},
    {"eps", FIELD_REAL, offsetof(Adopt, eps), "1e-6", "[1e-30,inf)",
     "least divisor of a gradient, units of the gradient"},
    {"clip", FIELD_BOOL, offsetof(Adopt, clip), "true", "", "clip normalized gradients at (t - 1)^(1/4)"},
    {0},
};

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const Adopt *h = group->hyper;
    const float b1 = (float)h->beta1, rest1 = (float)(1 - h->beta1);
    const float b2 = (float)h->beta2, rest2 = (float)(1 - h->beta2), eps = (float)h->eps;
    const float bound = h->clip ? (float)pow((double)(group->age - 1), 0.25) : INFINITY;
    const float lr = (float)tensor->lr, decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w, *restrict m = tensor->slot[0], *restrict v = tensor->slot[1];
    const float *restrict g = tensor->param->g;
    if (group->age == 1) {
        for (size_t i = piece->begin; i < piece->end; i++) v[i] = g[i] * g[i];
        return;
    }
    for (size_t i = piece->begin; i < piece->end; i++) {
        float root = sqrtf(v[i]), n = g[i] / (root > eps ? root : eps);
        n = n > bound ? bound : n < -bound ? -bound : n;
        m[i] = b1 * m[i] + rest1 * n;
        v[i] = b2 * v[i] + rest2 * g[i] * g[i];
        w[i] = stepped(w[i], m[i], lr, decay);
    }
}

const Optimizer optimizer_adopt = {
    .name = "adopt",
    .title = "ADOPT",
    .equation = "t = 1:  v = g^2\n"
                "t > 1:  m <- b1 m + (1 - b1) clip(g / max(sqrt(v), eps), (t - 1)^(1/4))\n"
                "        W <- (1 - lr wd) W - lr m\n"
                "        v <- b2 v + (1 - b2) g^2",
    .source = "Taniguchi et al., ADOPT: Modified Adam Can Converge with Any beta2 with the Optimal Rate "
              "(arXiv 2411.02853, version 3)",
    .differs = "decoupled decay, an option of the authors' code; as there, none in the first step",
    .cost = "one pass: reads 16 bytes a weight, writes 12",
    .lr = 1e-3,
    .weight_decay = 0.1,
    .scale = SCALE_IGNORED,
    .fields = fields,
    .hyper_size = sizeof(Adopt),
    .roles = ROLES_ALL,
    .slots = (const char *const[]){"direction", "v", NULL},
    .update = update,
};
