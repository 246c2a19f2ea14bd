/* scion.c: every tensor moves to the corner of a norm ball that the momentum points away from.
 *
 *     m <- beta m + (1 - beta) g
 *     W <- (1 - lr wd) W - lr radius U
 *         matrix           U = sqrt(rows / cols) polar(m)        spectral norm, from RMS to RMS
 *         embedding, head  U = sign(m) / cols                    largest entry
 *         vector           U = m / sqrt(mean(m^2))               RMS
 *
 * `wd` is 1 for the constrained method (Frank-Wolfe: W stays in the ball of that radius, once inside, and
 * is forgotten at the rate lr), 0 for the unconstrained. lr is the paper's gamma; a step's size is
 * lr radius, so the radii are the roles' relative learning rates, and the lr of a config is far below
 * Muon's: 3.6e-4 times 50 is 0.018. The authors' momentum setting is 1 - beta, their alpha.
 *
 * Source: Pethick et al. 2025 (arXiv 2502.07529) and the authors' scion.py, with the norms and radii of their
 * GPT example, where embedding and head are one tensor, and the last rule from its norm `Auto`.
 */
#include "optim/elementwise.h"
#include "optim/muon.h"
#include <math.h>

typedef struct Scion {
    Muon muon; /* its momentum is an average, without Nesterov's step: what zero means */
    double hidden_radius, outer_radius;
} Scion;

static const Field fields[] = {
    {"momentum", FIELD_REAL, offsetof(Scion, muon.momentum.beta), "0.9", "[0,1)",
     "share of m kept each step (beta; the authors name 1 - beta)"},
    {"hidden_radius", FIELD_REAL, offsetof(Scion, hidden_radius), "50", "(0,inf)",
     "of the ball of a matrix (spectral norm over sqrt(rows / cols)) or a vector (root mean square)"},
    {"outer_radius", FIELD_REAL, offsetof(Scion, outer_radius), "3000", "(0,inf)",
     "of the ball of an embedding or head: largest entry times cols"},
    {"coefficients", FIELD_CHOICE, offsetof(Scion, muon.coefficients), "classic",
     "classic|polar_express|converged", "polynomials of the polar factor, as Muon's"},
    {"steps", FIELD_INT, offsetof(Scion, muon.steps), "5", "[1,20]",
     "Newton-Schulz steps; not used by converged"},
    {"scale", FIELD_CHOICE, offsetof(Scion, muon.scale), "aspect", "tall|aspect",
     "factor of a matrix's polar factor: sqrt(rows / cols), or at least 1 (the authors' max)"},
    {"split_qkv", FIELD_BOOL, offsetof(Scion, muon.split_qkv), "true", "",
     "take a fused q|k|v as three matrices, not as one"},
    {0},
};

static void update_matrix(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const Scion *h = group->hyper;
    MuonMatrix x = muon_input(group, tensor, piece);
    muon_polar(&h->muon, &x);
    for (size_t i = 0; i < piece->end - piece->begin; i++) x.X[i] *= (float)h->hidden_radius;
    muon_apply(&h->muon, tensor, piece, &x);
}

static void update_outer(const Scion *h, const OptimTensor *tensor, const OptimPiece *piece) {
    const float lr = (float)(tensor->lr * h->outer_radius / piece->cols);
    const float decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w;
    const float *restrict m = tensor->slot[0];
    for (size_t i = piece->begin; i < piece->end; i++) w[i] = stepped(w[i], sign(m[i]), lr, decay);
}

static void update_vector(const Scion *h, const OptimTensor *tensor, const OptimPiece *piece) {
    const float lr = (float)(tensor->lr * h->hidden_radius);
    const float decay = (float)(tensor->lr * tensor->weight_decay);
    float *restrict w = tensor->param->w;
    const float *restrict m = tensor->slot[0];
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = piece->begin; i < piece->end; i++) sum += (double)m[i] * (double)m[i];
    const double gain =
        sum > 0 ? sqrt((double)(piece->end - piece->begin) / sum) : 0; /* may not fit a float */
    for (size_t i = piece->begin; i < piece->end; i++)
        w[i] = stepped(w[i], (float)(gain * (double)m[i]), lr, decay);
}

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const Scion *h = group->hyper;
    muon_observe(group, tensor, piece);
    switch (tensor->param->role) {
    case ROLE_MATRIX: update_matrix(group, tensor, piece); break;
    case ROLE_VECTOR: update_vector(h, tensor, piece); break;
    default: update_outer(h, tensor, piece);
    }
}

static const Preset presets[] = {
    {"constrained", "weight_decay=1",
     "the paper's algorithm 2, the authors' GPT example, and the defaults"},
    {"unconstrained", "weight_decay=0", "the paper's algorithm 1: weights may leave the ball"},
    {0},
};

const Optimizer optimizer_scion = {
    .name = "scion",
    .title = "Scion",
    .equation = "m <- beta m + (1 - beta) g\n"
                "W <- (1 - lr wd) W - lr radius U\n"
                "matrix: U = sqrt(rows / cols) polar(m)\n"
                "embedding, head: U = sign(m) / cols\n"
                "vector: U = m / sqrt(mean(m^2))",
    .source = "Pethick et al., Training Deep Learning Models with Norm-Constrained LMOs (arXiv 2502.07529)",
    .differs =
        "Newton-Schulz in fp32 instead of bfloat16; a fused q|k|v is taken as three matrices; no 1e-8 "
        "beside a vector's root mean square; vectors are constrained only if roles.vector sets their decay; "
        "weights begin where the model puts them, not on the ball",
    .cost = "Muon's for a matrix; else one pass: reads 12 bytes a weight, writes 8",
    .lr = 3.6e-4,
    .weight_decay = 1,
    .scale = SCALE_IGNORED,
    .presets = presets,
    .fields = fields,
    .hyper_size = sizeof(Scion),
    .roles = ROLES_ALL,
    .cut = CUT_MATRICES,
    .slots = (const char *const[]){"momentum", NULL},
    .work_size = muon_work_size,
    .fuse_split = muon_fuse_split,
    .update = update,
};
