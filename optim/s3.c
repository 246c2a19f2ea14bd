/* s3.c: S3, SignSoftSGD: momentum over a p-th-power mean of the gradients it is made of.
 *
 *     m <- beta m + (1 - beta) g                   s <- beta s + (1 - beta) |g|^p
 *     n = beta m + (1 - beta) g                    b = (beta s + (1 - beta) |g|^p)^(1/p)
 *     W <- (1 - lr wd) W - lr n / b                0 / 0 = 0
 *
 * One beta for both averages, so a p-th-power mean of the same numbers: |n / b| <= 1 always. There is no
 * bias correction: the first step is (1 - beta^2)^(1 - 1/p) sign(g), 0.21 lr, a warm-up of its own.
 *
 * Source: SignSoftSGD (arXiv 2507.06464). Computed here without powers of gradients: |g|^3 leaves the range
 * of fp32 for |g| below 1e-13, which is common, and above 7e12. The state is r = s^(1/p), in units of the
 * gradient, and sums are taken of ratios to c = max(r, |g|), of which one is 1 and none is more:
 *
 *     z = beta (r/c)^p + (1 - beta) (|g|/c)^p                r <- c z^(1/p)
 *     b = c (beta z + (1 - beta) (|g|/c)^p)^(1/p)
 */
#include "core/vmath.h"
#include "optim/elementwise.h"
#include "optim/optim.h"

typedef struct S3 {
    double beta, p;
} S3;

static const Field fields[] = {
    /* see mixed; without averages it is signsgd */
    {"beta", FIELD_REAL, offsetof(S3, beta), "0.95", "[0.1,1)", "share of both averages kept each step"},
    {"p", FIELD_REAL, offsetof(S3, p), "3", "[1,1000]",
     "power of the mean; 2 resembles Adam, large ones Signum with Nesterov momentum"},
    {0},
};

typedef enum { POWER_2, POWER_3, POWER_ANY } Power;

static inline float power(Power kind, float x, float p) {
    return kind == POWER_2 ? x * x : kind == POWER_3 ? x * x * x : fast_expf(p * fast_logf(x));
}

static inline float root(Power kind, float x, float p) {
    return kind == POWER_2 ? sqrtf(x) : kind == POWER_3 ? fast_cbrtf(x) : fast_expf(fast_logf(x) / p);
}

static inline float larger(float x, float y) {
    return x > y ? x : y;
}

/* (1 - share) x + share y, in a form that compilers can contract in one way only: the same bits in vectors
 * as in what is left of a slice. Its error is relative to x, so share should not be near 1. */
static inline float mixed(float x, float y, float share) {
    return x + share * (y - x);
}

/* Compiled for each kind of power, so that the loop has no branch. */
static inline __attribute__((always_inline)) void step(Power kind, const S3 *h, const OptimTensor *tensor,
                                                       const OptimPiece *piece) {
    const float beta = (float)h->beta, rest = (float)(1 - h->beta), p = (float)h->p;
    const float lr = (float)tensor->lr, decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w, *restrict m = tensor->slot[0], *restrict r = tensor->slot[1];
    const float *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) {
        float size = fabsf(g[i]), c = larger(larger(r[i], size), FLT_MIN);
        float q = power(kind, size / c, p), z = mixed(power(kind, r[i] / c, p), q, rest);
        m[i] = beta * m[i] + rest * g[i];
        r[i] = c * root(kind, z, p);
        float n = beta * m[i] + rest * g[i], b = larger(c * root(kind, mixed(z, q, rest), p), FLT_MIN);
        float u = n / b;
        u = u > 1 ? 1 : u < -1 ? -1 : u; /* rounding only */
        w[i] = stepped(w[i], u, lr, decay);
    }
}

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const S3 *h = group->hyper;
    if (h->p == 2) step(POWER_2, h, tensor, piece);
    else if (h->p == 3) step(POWER_3, h, tensor, piece);
    else step(POWER_ANY, h, tensor, piece);
}

const Optimizer optimizer_s3 = {
    .name = "s3",
    .title = "S3 (SignSoftSGD)",
    .equation = "m <- beta m + (1 - beta) g,    s <- beta s + (1 - beta) |g|^p\n"
                "n = beta m + (1 - beta) g,     b = (beta s + (1 - beta) |g|^p)^(1/p)\n"
                "W <- (1 - lr wd) W - lr n / b",
    .source = "SignSoftSGD (arXiv 2507.06464)",
    .differs = "the state is s^(1/p), so that no power of a gradient leaves the range of fp32",
    .cost = "one pass: reads 16 bytes a weight, writes 12; powers other than 2 and 3 are computed",
    .lr = 3e-4,
    .weight_decay = 0.1,
    .scale = SCALE_IGNORED,
    .fields = fields,
    .hyper_size = sizeof(S3),
    .roles = ROLES_ALL,
    .slots = (const char *const[]){"momentum", "magnitude", NULL},
    .update = update,
};
