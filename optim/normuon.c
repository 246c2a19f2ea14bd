/* normuon.c: Muon whose update is divided, neuron by neuron, by a running size of its row.
 *
 *     O = polar(X)                                 X = m, or Nesterov's: as Muon
 *     v_i <- b2 v_i + (1 - b2) mean_j O_ij^2       one number for each row
 *     U_ij = O_ij / (sqrt(v_i) + eps)
 *     W <- (1 - lr wd) W - lr scale f U            f gives U its Frobenius norm back
 *
 * A row is an output neuron: our linear weights are (outputs, inputs), as torch's. v needs no correction
 * for its first steps: f cancels whatever all rows have in common.
 *
 * Source: Li et al. 2025 (arXiv 2510.05491) and the authors' normuon.py. The paper's step,
 * lr 0.2 sqrt(rows cols) / ||U||_F U, is `norm` polar (sqrt(min(rows, cols))) times `scale` rms
 * (0.2 sqrt(max(rows, cols))); the code keeps the norm that O had and Muon's own scale.
 */
#include "optim/muon.h"

#include <math.h>

enum { NORM_KEPT, NORM_POLAR };

typedef struct NorMuon {
    Muon muon;
    double beta2, eps;
    int norm;
} NorMuon;

static const Field fields[] = {
    MUON_FIELDS(NorMuon, muon),
    {"beta2", FIELD_REAL, offsetof(NorMuon, beta2), "0.95", "[0,1)",
     "decay of the mean square of each row of the polar factor"},
    {"eps", FIELD_REAL, offsetof(NorMuon, eps), "1e-10", "[1e-30,inf)",
     "added to the root of that; a row's root mean square is 1 / sqrt(max(rows, cols))"},
    {"norm", FIELD_CHOICE, offsetof(NorMuon, norm), "kept", "kept|polar",
     "Frobenius norm of an update before `scale`: what it was before its rows were divided, or a whole polar "
     "factor's, sqrt(min(rows, cols))"},
    {0},
};

static size_t slot_size(const void *hyper, int slot, int rows, int cols) {
    (void)hyper;
    return (size_t)rows * (slot == 0 ? (size_t)cols : 1);
}

/* sum_j O_ij^2. O is transposed if the weights are tall: rows of the weights are columns of x then. */
static void sum_rows(const MuonMatrix *x, bool tall, double *sums) {
    for (int i = 0; i < (tall ? x->m : x->n); i++) sums[i] = 0;
    for (int i = 0; i < x->n; i++) {
        const float *o = x->X + (size_t)i * (size_t)x->m;
        for (int j = 0; j < x->m; j++) sums[tall ? j : i] += (double)o[j] * o[j];
    }
}

static void multiply_rows(MuonMatrix *x, bool tall, const double *factors) {
    for (int i = 0; i < x->n; i++) {
        float *o = x->X + (size_t)i * (size_t)x->m;
        for (int j = 0; j < x->m; j++) o[j] *= (float)factors[tall ? j : i];
    }
}

/* O -> f U */
static void normalize_rows(const NorMuon *h, const OptimPiece *piece, MuonMatrix *x) {
    const bool tall = piece->rows > piece->cols;
    double *sums = (double *)x->work, before = 0, after = 0;
    float *v = piece->slot[1];
    sum_rows(x, tall, sums);
    for (int i = 0; i < piece->rows; i++) {
        v[i] = (float)(h->beta2 * v[i] + (1 - h->beta2) * sums[i] / piece->cols);
        double factor = 1 / (sqrt(v[i]) + h->eps);
        before += sums[i];
        after += factor * factor * sums[i];
        sums[i] = factor;
    }
    double norm = sqrt(h->norm == NORM_KEPT ? before : x->n);
    for (int i = 0; i < piece->rows && after > 0; i++) sums[i] *= norm / sqrt(after);
    multiply_rows(x, tall, sums);
}

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const NorMuon *h = group->hyper;
    muon_observe(group, tensor, piece);
    MuonMatrix x = muon_input(group, tensor, piece);
    muon_polar(&h->muon, &x);
    normalize_rows(h, piece, &x);
    muon_apply(&h->muon, tensor, piece, &x);
}

static const Preset presets[] = {
    {"official", "momentum_form=ema nesterov=true scale=tall norm=kept",
     "the authors' code, and the defaults"},
    {"paper", "momentum_form=ema nesterov=false scale=rms norm=polar lr=3.6e-3",
     "root mean square 0.2 lr, no Nesterov; the paper's lr was not found, this one gives a 768 x 768 matrix "
     "the step of the official 0.02"},
    {0},
};

const Optimizer optimizer_normuon = {
    .name = "normuon",
    .title = "NorMuon",
    .equation = MOMENTUM_EQUATION
    "O = polar(x),  v_i <- b2 v_i + (1 - b2) mean_j O_ij^2,  U_ij = O_ij / (sqrt(v_i) + eps)\n"
    "W <- (1 - lr wd) W - lr scale norm U / ||U||_F",
    .source = "Li et al., NorMuon: Making Muon more efficient and scalable (arXiv 2510.05491)",
    .differs = "Newton-Schulz in fp32 instead of bfloat16; a fused q|k|v is taken as three matrices",
    .cost = "Muon's, and two passes over the polar factor",
    .lr = 0.02,
    .weight_decay = 0,
    .scale = SCALE_IGNORED,
    .presets = presets,
    .fields = fields,
    .hyper_size = sizeof(NorMuon),
    .check = muon_check,
    .roles = ROLE_BIT(ROLE_MATRIX) | ROLE_BIT(ROLE_EMBEDDING) | ROLE_BIT(ROLE_HEAD),
    .cut = CUT_MATRICES,
    .slots = (const char *const[]){"momentum", "row_mean_square", NULL},
    .work_size = muon_work_size,
    .slot_size = slot_size,
    .fuse_split = muon_fuse_split,
    .update = update,
};
