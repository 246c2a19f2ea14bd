/* muon.c: momentum whose singular values are all set to (about) one.
 *
 *     m <- beta m + (1 - beta) g
 *     X = beta m + (1 - beta) g                    (Nesterov, with the new m; else X = m)
 *     U = polar(X)                                 X = P S Q^T  ->  P Q^T, by Newton-Schulz
 *     W <- (1 - lr wd) W - lr sqrt(max(1, rows / cols)) U
 *
 * So lr is the spectral norm of an update, whatever the gradient's scale.
 *
 * Source: K. Jordan et al., "Muon: an optimizer for hidden layers in neural networks", 2024. Theirs runs
 * Newton-Schulz in bfloat16, this in fp32.
 */
#include "optim/muon.h"

#include "optim/elementwise.h"
#include <math.h>
#include <string.h>

enum { SCALE_TALL, SCALE_ASPECT, SCALE_RMS };

static size_t matrix_floats(int rows, int cols) {
    return ((size_t)rows * (size_t)cols + 15) / 16 * 16; /* so that what follows is aligned like `work` */
}

size_t muon_work_size(const void *hyper, int rows, int cols) {
    (void)hyper;
    int n = rows < cols ? rows : cols, m = rows < cols ? cols : rows;
    return matrix_floats(rows, cols) + spectral_work_size(n, m);
}

const char *muon_check(const void *hyper) {
    return momentum_check(&((const Muon *)hyper)->momentum);
}

bool muon_fuse_split(const void *hyper) {
    return !((const Muon *)hyper)->split_qkv;
}

void muon_observe(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const Muon *h = group->hyper;
    const MomentumRule rule = momentum_rule(&h->momentum, group->age, false);
    float *restrict m = tensor->slot[0];
    const float *restrict g = tensor->param->g;
    for (size_t i = piece->begin; i < piece->end; i++) m[i] = rule.keep * m[i] + rule.gain * g[i];
}

/* Tiles, so that a transposed copy does not miss the cache at every element. */
#define TILE 32
#define FOR_TILES(r, c, rows, cols)                                                                        \
    for (int r##0 = 0; r##0 < (rows); r##0 += TILE)                                                        \
        for (int c##0 = 0; c##0 < (cols); c##0 += TILE)                                                    \
            for (int r = r##0; r < (rows) && r < r##0 + TILE; r++)                                         \
                for (int c = c##0; c < (cols) && c < c##0 + TILE; c++)

MuonMatrix muon_matrix(float own, float ahead, const OptimTensor *tensor, const OptimPiece *piece) {
    int rows = piece->rows, cols = piece->cols;
    bool tall = rows > cols;
    MuonMatrix x = {piece->work, tall ? cols : rows, tall ? rows : cols,
                    piece->work + matrix_floats(rows, cols)};
    const float *m = tensor->slot[0] + piece->begin, *g = tensor->param->g + piece->begin;
    FOR_TILES(r, c, rows, cols) {
        size_t i = (size_t)r * (size_t)cols + (size_t)c;
        x.X[tall ? (size_t)c * (size_t)rows + (size_t)r : i] = own * m[i] + ahead * g[i];
    }
    return x;
}

/* A copy for diagnostics, if they ask for it. */
static void show_mapped(const OptimTensor *tensor, const OptimPiece *piece, int which,
                        const MuonMatrix *x) {
    float *room = tensor->mapped[which];
    if (room) memcpy(room + piece->begin, x->X, (size_t)x->n * (size_t)x->m * sizeof *room);
}

MuonMatrix muon_input(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const Muon *h = group->hyper;
    const MomentumRule rule = momentum_rule(&h->momentum, group->age, true);
    MuonMatrix x = muon_matrix(rule.own, rule.ahead, tensor, piece);
    show_mapped(tensor, piece, MAPPED_IN, &x);
    return x;
}

void muon_polar(const Muon *h, const MuonMatrix *x) {
    polar_factor((PolarKind)h->coefficients, (int)h->steps, x->X, x->n, x->m, x->work);
}

static double scale_of(int scale, double rows, double cols) {
    switch (scale) {
    case SCALE_TALL: return sqrt(fmax(1, rows / cols));
    case SCALE_ASPECT: return sqrt(rows / cols);
    case SCALE_RMS: return 0.2 * sqrt(fmax(rows, cols));
    default: return 1;
    }
}

void muon_apply(const Muon *h, const OptimTensor *tensor, const OptimPiece *piece, const MuonMatrix *x) {
    int rows = piece->rows, cols = piece->cols;
    bool tall = rows > cols;
    show_mapped(tensor, piece, MAPPED_OUT, x);
    float lr = (float)(tensor->lr * scale_of(h->scale, rows, cols));
    float decay = (float)(tensor->lr * tensor->weight_decay);
    float *w = tensor->param->w + piece->begin;
    FOR_TILES(r, c, rows, cols) {
        size_t i = (size_t)r * (size_t)cols + (size_t)c;
        w[i] = stepped(w[i], x->X[tall ? (size_t)c * (size_t)rows + (size_t)r : i], lr, decay);
    }
}

/* ---- Muon ---- */

static const Field fields[] = {MUON_FIELDS(
                                   struct { Muon muon; }, muon),
                               {0}};

static const Preset presets[] = {
    {"official",
     "lr=0.02 weight_decay=0 momentum=0.95 momentum_form=ema nesterov=true coefficients=classic steps=5 "
     "scale=tall",
     "K. Jordan's muon.py, and the defaults. Its other parameters get Adam, as in "
     "configs/softmuon_official.json"},
    {"paper", "momentum_form=sum nesterov=false coefficients=classic steps=5 scale=none",
     "the algorithm of the write-up: m = beta m + g, neither Nesterov nor scale"},
    {"moonlight",
     "lr=1e-3 weight_decay=0.1 momentum=0.95 momentum_form=sum nesterov=true coefficients=classic steps=5 "
     "scale=rms",
     "Moonlight (arXiv 2502.16982) and its code: steps as large as AdamW's, weights decay"},
    {0},
};

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const Muon *h = group->hyper;
    muon_observe(group, tensor, piece);
    MuonMatrix x = muon_input(group, tensor, piece);
    muon_polar(h, &x);
    muon_apply(h, tensor, piece, &x);
}

const Optimizer optimizer_muon = {
    .name = "muon",
    .title = "Muon",
    .equation = MOMENTUM_EQUATION "W <- (1 - lr wd) W - lr scale polar(x),  polar(P S Q^T) = P Q^T",
    .source = "K. Jordan et al., Muon: an optimizer for hidden layers in neural networks, 2024",
    .differs = "Newton-Schulz in fp32 instead of bfloat16; a fused q|k|v is taken as three matrices",
    .cost = "about 10 n^2 m + 5 n^3 FLOPs for an n x m matrix, n <= m",
    .lr = 0.02,
    .weight_decay = 0,
    .scale = SCALE_IGNORED,
    .presets = presets,
    .fields = fields,
    .hyper_size = sizeof(Muon),
    .check = muon_check,
    .roles = ROLE_BIT(ROLE_MATRIX) | ROLE_BIT(ROLE_EMBEDDING) | ROLE_BIT(ROLE_HEAD),
    .cut = CUT_MATRICES,
    .slots = (const char *const[]){"momentum", NULL},
    .work_size = muon_work_size,
    .fuse_split = muon_fuse_split,
    .update = update,
};
