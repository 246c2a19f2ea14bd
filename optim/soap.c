/* soap.c: Adam, run in the slowly turning eigenbasis of Shampoo's preconditioner.
 *
 *     G' = Q_L^T G Q_R
 *     m <- b1 m + (1 - b1) G',   v <- b2 v + (1 - b2) G'^2                 in the basis
 *     N = Q_L (m / (sqrt(v) + eps)) Q_R^T
 *     W <- (1 - lr wd) W - lr sqrt(1 - b2^k) / (1 - b1^k) N
 *     L <- sb L + (1 - sb) G G^T,   R <- sb R + (1 - sb) G^T G
 *
 * The first step only sets L, R and their eigenvectors; k counts the steps after it. Every `frequency` steps
 * one power iteration follows: the columns of Q, and v with them, are sorted by diag(Q^T L Q), decreasing,
 * then Q <- orthogonal factor of L Q, and m is turned along. A side longer than max_dim gets no basis (Q = I,
 * no L), nor does a vector.
 *
 * Source: Vyas et al. 2024 (arXiv 2409.11321) and the authors' soap.py, which decays after the step
 * (decay_last). L and R are symmetric, so their lower halves are kept; Q_L and Q_R are kept by rows.
 *
 * Of the eigenproblems at the first step only the smaller one is solved: L and R have one G then, so its
 * eigenvectors q give the other's, G^T q or G q, and any orthonormal completion serves for the rest.
 */
#include "core/gemm.h"
#include "core/rng.h"
#include "optim/elementwise.h"
#include "optim/optim.h"
#include <lapacke.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Soap {
    double beta1, beta2, shampoo_beta, eps;
    int64_t frequency, max_dim;
    bool normalize, decay_last, split_qkv;
} Soap;

static const Field fields[] = {
    {"beta1", FIELD_REAL, offsetof(Soap, beta1), "0.95", "[0,1)", "decay of the mean of gradients"},
    {"beta2", FIELD_REAL, offsetof(Soap, beta2), "0.95", "[0,1)", "decay of the mean of squared gradients"},
    {"shampoo_beta", FIELD_REAL, offsetof(Soap, shampoo_beta), "-1", "[-1,1)",
     "decay of L and R; below zero: as beta2"},
    {"eps", FIELD_REAL, offsetof(Soap, eps), "1e-8", "[1e-30,inf)",
     "added to the root of v, units of the gradient"},
    {"frequency", FIELD_INT, offsetof(Soap, frequency), "10", "[1,inf)",
     "steps between two turns of the basis"},
    {"max_dim", FIELD_INT, offsetof(Soap, max_dim), "10000", "[0,inf)", "a longer side gets no basis"},
    {"normalize", FIELD_BOOL, offsetof(Soap, normalize), "false", "",
     "give every matrix an update of root mean square lr, before bias correction"},
    {"decay_last", FIELD_BOOL, offsetof(Soap, decay_last), "false", "",
     "shrink weights after the step, not before it"},
    {"split_qkv", FIELD_BOOL, offsetof(Soap, split_qkv), "true", "",
     "take a fused q|k|v as three matrices, not as one"},
    {0},
};

enum { MEAN, SQUARE, GRAM_L, GRAM_R, BASIS_L, BASIS_R };

static bool fuse_split(const void *hyper) {
    return !((const Soap *)hyper)->split_qkv;
}

static bool has_basis(const Soap *h, int rows, int length) {
    return rows > 1 && length <= h->max_dim;
}

static size_t slot_size(const void *hyper, int slot, int rows, int cols) {
    if (slot == MEAN || slot == SQUARE) return (size_t)rows * (size_t)cols;
    int length = slot == GRAM_L || slot == BASIS_L ? rows : cols;
    return has_basis(hyper, rows, length) ? (size_t)length * (size_t)length : 0;
}

/* ---- a piece and its scratch ---- */

typedef struct Side {
    int n;
    float *gram, *basis; /* (n, n) each: the lower triangle; eigenvectors by rows. NULL: no basis */
} Side;

/* An eigenvalue's estimate and the row of its vector. */
typedef struct Estimate {
    double value;
    int row;
} Estimate;

typedef struct Piece {
    const Soap *h;
    const float *g;
    float limit; /* to multiply gradients by */
    int rows, cols;
    int block; /* rows that are turned at a time */
    float *m, *v;
    Side side[2];
    float *X, *Y;       /* (block, cols) */
    float *S;           /* (n, n) for the longer basis; so (rows, cols) if there are two */
    float *panel;       /* (longer of rows and cols, 64) */
    float *coefficient; /* (n, 64) */
    double *columns;    /* 64 columns of n */
    Estimate *order[2];
    double *eigen; /* in place of all that */
} Piece;

/* Rows that are turned at a time: all, or some, to save scratch, if no basis mixes rows. */
static int block_size(const Soap *h, int rows) {
    return has_basis(h, rows, rows) || rows < 512 ? rows : 512;
}

/* Where the parts of a piece's scratch begin, in floats, and the size of all. */
typedef struct Layout {
    size_t X, Y, S, panel, coefficient, columns, order[2], all;
} Layout;

static size_t take(Layout *at, size_t floats) {
    size_t begin = at->all;
    at->all += (floats + 15) / 16 * 16;
    return begin;
}

/* dsyevd's matrix, values and work, then its integers. */
static size_t eigen_doubles(size_t n) {
    return n * n + n + (1 + 6 * n + 2 * n * n) + (3 + 5 * n);
}

static Layout lay_out(const Soap *h, int rows, int cols) {
    Layout at = {0};
    const int sides[2] = {rows, cols}, longest = rows > cols ? rows : cols;
    size_t n = 0, smaller = 0;
    for (int s = 0; s < 2; s++) {
        size_t length = (size_t)sides[s];
        if (!has_basis(h, rows, sides[s])) continue;
        smaller = smaller && smaller < length ? smaller : length;
        n = n > length ? n : length;
        at.order[s] = take(&at, length * sizeof(Estimate) / sizeof(float));
    }
    at.X = take(&at, (size_t)block_size(h, rows) * (size_t)cols);
    at.Y = take(&at, (size_t)block_size(h, rows) * (size_t)cols);
    at.S = take(&at, n * n);
    at.panel = take(&at, gemm_work_size(longest));
    at.coefficient = take(&at, gemm_work_size((int)n));
    at.columns = take(&at, 2 * n * GEMM_NR);
    size_t eigen = 2 * eigen_doubles(smaller);
    if (at.all < eigen) at.all = eigen;
    return at;
}

static size_t work_size(const void *hyper, int rows, int cols) {
    return lay_out(hyper, rows, cols).all;
}

/* Squares of gradients and their sums must stay floats. */
static float limit_of(const float *g, size_t count) {
    const float most = 1e14f;
    float largest = 0;
    for (size_t i = 0; i < count; i++) largest = fabsf(g[i]) > largest ? fabsf(g[i]) : largest;
    return largest > most ? most / largest : 1;
}

static Piece piece_open(const Soap *h, const OptimTensor *tensor, const OptimPiece *piece) {
    const Layout at = lay_out(h, piece->rows, piece->cols);
    const float *g = tensor->param->g + piece->begin;
    float *work = piece->work;
    Piece p = {.h = h,
               .g = g,
               .limit = limit_of(g, piece->end - piece->begin),
               .rows = piece->rows,
               .cols = piece->cols,
               .block = block_size(h, piece->rows),
               .m = piece->slot[MEAN],
               .v = piece->slot[SQUARE],
               .side = {{.n = piece->rows}, {.n = piece->cols}},
               .X = work + at.X,
               .Y = work + at.Y,
               .S = work + at.S,
               .panel = work + at.panel,
               .coefficient = work + at.coefficient,
               .columns = (double *)(work + at.columns),
               .eigen = (double *)work};
    for (int s = 0; s < 2; s++) {
        if (!has_basis(h, p.rows, p.side[s].n)) continue;
        p.order[s] = (Estimate *)(work + at.order[s]);
        p.side[s].gram = piece->slot[GRAM_L + s];
        p.side[s].basis = piece->slot[BASIS_L + s];
    }
    return p;
}

/* ---- products ---- */

/* A matrix, element (i, j) at p[i * row + j * col], one of the two strides being 1. */
typedef struct View {
    const float *p;
    size_t row, col;
} View;

static View plain(const float *p, int ld) {
    return (View){p, (size_t)ld, 1};
}

static View transposed(const float *p, int ld) {
    return (View){p, 1, (size_t)ld};
}

/* panel (K, 64) = alpha B[:, 0 : columns], zero beyond. */
static void pack(float *panel, int K, int columns, float alpha, View B) {
    const int tile = 16; /* rows of the panel, so that a transposed B is read by cache lines */
    if (B.col == 1) {
        gemm_pack(panel, K, columns, alpha, B.p, B.row);
        return;
    }
    if (columns < GEMM_NR) memset(panel, 0, gemm_work_size(K) * sizeof(float));
    for (int k0 = 0; k0 < K; k0 += tile) {
        int k1 = k0 + tile < K ? k0 + tile : K;
        for (int j = 0; j < columns; j++)
            for (int k = k0; k < k1; k++)
                panel[(size_t)k * GEMM_NR + (size_t)j] = alpha * B.p[(size_t)k + (size_t)j * B.col];
    }
}

/* C (M, N) = alpha A (M, K) B (K, N) + beta C; of a symmetric C only the lower triangle, at least. */
static void multiply(int M, int N, int K, float alpha, View A, View B, float beta, float *C, bool symmetric,
                     float *panel) {
    GemmA a = A.col == 1 ? gemm_rows(A.p, A.row) : gemm_columns(A.p, A.col);
    for (int j = 0; j < N; j += GEMM_NR) {
        int columns = N - j < GEMM_NR ? N - j : GEMM_NR, from = symmetric ? j : 0;
        pack(panel, K, columns, alpha, (View){B.p + (size_t)j * B.col, B.row, B.col});
        GemmA rest = a;
        rest.p += (size_t)from * a.row;
        gemm_panels(M - from, K, rest, panel, 0, beta, NULL, C + (size_t)from * (size_t)N + j, (size_t)N, 0,
                    1, columns);
    }
}

/* out = alpha Q_L^T in Q_R for `rows` rows, or, back, alpha Q_L in Q_R^T. */
static void turn(const Piece *p, bool back, int rows, float alpha, const float *in, float *out) {
    const Side *l = &p->side[0], *r = &p->side[1];
    if (l->basis) {
        float *half = r->basis ? p->S : out;
        View q = back ? transposed(l->basis, l->n) : plain(l->basis, l->n);
        multiply(rows, p->cols, rows, alpha, q, plain(in, p->cols), 0, half, false, p->panel);
        in = half;
        alpha = 1;
    }
    if (r->basis) {
        View q = back ? plain(r->basis, r->n) : transposed(r->basis, r->n);
        multiply(rows, p->cols, p->cols, alpha, plain(in, p->cols), q, 0, out, false, p->panel);
    }
    for (size_t i = 0; i < (size_t)rows * (size_t)p->cols && !l->basis && !r->basis; i++)
        out[i] = alpha * in[i];
}

/* L <- beta L + (1 - beta) G G^T, R likewise. */
static void accumulate(const Piece *p) {
    double beta = p->h->shampoo_beta < 0 ? p->h->beta2 : p->h->shampoo_beta;
    float keep = (float)beta, gain = (float)((1 - beta) * p->limit * p->limit);
    View G = plain(p->g, p->cols), T = transposed(p->g, p->cols);
    const Side *l = &p->side[0], *r = &p->side[1];
    if (l->basis) multiply(l->n, l->n, p->cols, gain, G, T, keep, l->gram, true, p->panel);
    if (r->basis) multiply(r->n, r->n, p->rows, gain, T, G, keep, r->gram, true, p->panel);
}

/* ---- orthonormal bases ---- */

static double dot(const double *restrict a, const double *restrict b, size_t n) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t k = 0; k < n; k++) sum += a[k] * b[k];
    return sum;
}

/* The panel's columns (n, columns) among themselves, in double. `kept` gets the length of each beyond the ones
 * before it; a column of zeros stays. */
static void panel_orthonormalize(const Piece *p, int rows, int columns, double *kept) {
    const size_t n = (size_t)rows, count = (size_t)columns;
    for (size_t k = 0; k < n; k++)
        for (size_t j = 0; j < count; j++) p->columns[j * n + k] = p->panel[k * GEMM_NR + j];
    for (size_t j = 0; j < count; j++) {
        double *restrict c = p->columns + j * n;
        for (size_t i = 0; i < j; i++) {
            const double *restrict before = p->columns + i * n;
            double along = dot(before, c, n);
            for (size_t k = 0; k < n; k++) c[k] -= along * before[k];
        }
        kept[j] = sqrt(dot(c, c, n));
        double scale = kept[j] > 0 ? 1 / kept[j] : 0;
        for (size_t k = 0; k < n; k++) c[k] *= scale;
    }
    for (size_t k = 0; k < n; k++)
        for (size_t j = 0; j < count; j++) p->panel[k * GEMM_NR + j] = (float)p->columns[j * n + k];
}

/* panel -= Q^T Q panel, for the first `count` rows of Q. */
static void panel_project(const Piece *p, const float *Q, int n, int count) {
    float *c = p->coefficient;
    gemm_panels(count, n, gemm_rows(Q, (size_t)n), p->panel, 0, 0, NULL, c, GEMM_NR, 0, 1, GEMM_NR);
    for (size_t i = 0; i < (size_t)count * GEMM_NR; i++) c[i] = -c[i];
    gemm_panels(n, count, gemm_columns(Q, (size_t)n), c, 0, 1, NULL, p->panel, GEMM_NR, 0, 1, GEMM_NR);
}

/* Whether every column, of unit length before, kept nearly all of it; one that lost it lay among those before
 * it, has no direction of its own, and gets a random one. */
static bool panel_is_clean(const Piece *p, int n, int columns, const double *kept, int row) {
    bool clean = true;
    for (int j = 0; j < columns; j++) {
        if (kept[j] < 0.9) clean = false;
        for (int k = 0; k < n && kept[j] < 1e-3; k++)
            p->panel[(size_t)k * GEMM_NR + (size_t)j] =
                (float)(rng_normal(1, (uint64_t)row + (uint64_t)j, (uint64_t)k) / sqrt(n));
    }
    return clean;
}

/* Gram-Schmidt on the rows of Q (n, n): the orthogonal factor of Q^T. It goes by panels of 64 rows, so that
 * nearly all of the work is gemm's. What the first pass leaves of rounding errors the next ones remove. */
static void orthonormalize(const Piece *p, float *Q, int n) {
    double kept[GEMM_NR];
    for (int i = 0; i < n; i += GEMM_NR) {
        float *rows = Q + (size_t)i * (size_t)n;
        int count = n - i < GEMM_NR ? n - i : GEMM_NR;
        bool clean = false;
        pack(p->panel, n, count, 1, transposed(rows, n));
        for (int pass = 0; pass < 8 && !clean; pass++) {
            if (i > 0) panel_project(p, Q, n, i);
            panel_orthonormalize(p, n, count, kept);
            clean = pass > 0 && panel_is_clean(p, n, count, kept, i);
        }
        for (int j = 0; j < count; j++)
            for (int k = 0; k < n; k++)
                rows[(size_t)j * (size_t)n + (size_t)k] = p->panel[(size_t)k * GEMM_NR + (size_t)j];
    }
}

/* The eigenvectors of a side's matrix, by decreasing eigenvalue. Row-major, its lower triangle is Fortran's
 * upper one, and Fortran's eigenvectors are rows. */
static void solve(const Piece *p, const Side *side) {
    size_t n = (size_t)side->n;
    double *A = p->eigen, *values = A + n * n, *work = values + n;
    lapack_int size = (lapack_int)(1 + 6 * n + 2 * n * n);
    for (size_t i = 0; i < n * n; i++) A[i] = side->gram[i];
    lapack_int failed = LAPACKE_dsyevd_work(LAPACK_COL_MAJOR, 'V', 'U', side->n, A, side->n, values, work,
                                            size, (lapack_int *)(work + size), (lapack_int)(3 + 5 * n));
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < n; k++)
            side->basis[i * n + k] = failed ? i == k : (float)A[(n - 1 - i) * n + k];
}

/* Both bases at the first step, when they hold zeros. */
static void begin_bases(const Piece *p) {
    const Side *l = &p->side[0], *r = &p->side[1];
    bool left = l->basis && (!r->basis || l->n <= r->n);
    const Side *small = left ? l : r, *large = left ? r : l;
    if (small->basis) solve(p, small);
    if (large->basis == NULL) return;
    View G = left ? plain(p->g, p->cols) : transposed(p->g, p->cols);
    multiply(small->n, large->n, small->n, p->limit, plain(small->basis, small->n), G, 0, large->basis,
             false, p->panel);
    orthonormalize(p, large->basis, large->n);
}

static int by_value(const void *a, const void *b) {
    const Estimate *x = a, *y = b;
    return x->value != y->value ? (x->value < y->value) - (x->value > y->value) : x->row - y->row;
}

/* One power iteration: S = Q^T L by rows, sorted by its estimates of the eigenvalues, made orthonormal. */
static void renew_basis(const Piece *p, const Side *side, Estimate *order) {
    size_t n = (size_t)side->n;
    for (size_t i = 0; i < n; i++)
        for (size_t j = 0; j < i; j++) side->gram[j * n + i] = side->gram[i * n + j];
    multiply(side->n, side->n, side->n, 1, plain(side->basis, side->n), plain(side->gram, side->n), 0, p->S,
             false, p->panel);
    for (size_t i = 0; i < n; i++) {
        const float *q = side->basis + i * n, *s = p->S + i * n;
        double sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t k = 0; k < n; k++) sum += (double)q[k] * (double)s[k];
        order[i] = (Estimate){sum, (int)i};
    }
    qsort(order, n, sizeof *order, by_value);
    for (size_t i = 0; i < n; i++)
        memcpy(side->basis + i * n, p->S + (size_t)order[i].row * n, n * sizeof(float));
    orthonormalize(p, side->basis, side->n);
}

/* ---- a step ---- */

/* Rows of the block that begins at `row`. */
static int block_rows(const Piece *p, int row) {
    return p->rows - row < p->block ? p->rows - row : p->block;
}

static void turn_mean(const Piece *p, bool back) {
    for (int row = 0; row < p->rows; row += p->block) {
        float *m = p->m + (size_t)row * (size_t)p->cols;
        turn(p, back, block_rows(p, row), 1, m, p->X);
        memcpy(m, p->X, (size_t)block_rows(p, row) * (size_t)p->cols * sizeof(float));
    }
}

/* v's rows and columns into the order of the new bases. No basis on the left: rows stay. */
static void sort_squares(const Piece *p) {
    const Estimate *by_row = p->side[0].basis ? p->order[0] : NULL;
    const Estimate *by_col = p->side[1].basis ? p->order[1] : NULL;
    size_t cols = (size_t)p->cols;
    for (int row = 0; row < p->rows; row += p->block) {
        size_t rows = (size_t)block_rows(p, row);
        float *v = p->v + (size_t)row * cols;
        for (size_t i = 0; i < rows; i++) {
            const float *from = v + (by_row ? (size_t)by_row[i].row : i) * cols;
            for (size_t j = 0; j < cols; j++) p->X[i * cols + j] = from[by_col ? (size_t)by_col[j].row : j];
        }
        memcpy(v, p->X, rows * cols * sizeof(float));
    }
}

static void renew_bases(const Piece *p) {
    turn_mean(p, true);
    for (int s = 0; s < 2; s++)
        if (p->side[s].basis) renew_basis(p, &p->side[s], p->order[s]);
    turn_mean(p, false);
    sort_squares(p);
}

/* m and v from the turned gradient. */
static void update_moments(const Piece *p) {
    const float b1 = (float)p->h->beta1, rest1 = (float)(1 - p->h->beta1);
    const float b2 = (float)p->h->beta2, rest2 = (float)(1 - p->h->beta2);
    for (int row = 0; row < p->rows; row += p->block) {
        size_t at = (size_t)row * (size_t)p->cols, count = (size_t)block_rows(p, row) * (size_t)p->cols;
        float *restrict m = p->m + at, *restrict v = p->v + at;
        const float *restrict g = p->X;
        turn(p, false, block_rows(p, row), p->limit, p->g + at, p->X);
        for (size_t i = 0; i < count; i++) {
            m[i] = b1 * m[i] + rest1 * g[i];
            v[i] = b2 * v[i] + rest2 * g[i] * g[i];
        }
    }
}

/* The root mean square of the update; turning it back does not change that. */
static double update_size(const Piece *p) {
    size_t count = (size_t)p->rows * (size_t)p->cols;
    const float eps = (float)p->h->eps;
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        double u = p->m[i] / (sqrtf(p->v[i]) + eps);
        sum += u * u;
    }
    return sqrt(sum / (double)count);
}

static void update_weights(const Piece *p, int64_t k, double rate, double weight_decay, float *weights) {
    const Soap *h = p->h;
    double size = h->normalize ? update_size(p) : 1;
    double step = rate * sqrt(1 - pow(h->beta2, (double)k)) / (1 - pow(h->beta1, (double)k));
    double shrink = rate * weight_decay, after = h->decay_last ? 1 - shrink : 1;
    const float lr = (float)(size > 0 ? step * after / size : 0), decay = (float)shrink;
    const float eps = (float)h->eps;
    for (int row = 0; row < p->rows; row += p->block) {
        size_t at = (size_t)row * (size_t)p->cols, count = (size_t)block_rows(p, row) * (size_t)p->cols;
        const float *restrict m = p->m + at, *restrict v = p->v + at;
        float *restrict w = weights + at, *restrict x = p->X;
        for (size_t i = 0; i < count; i++) x[i] = m[i] / (sqrtf(v[i]) + eps);
        turn(p, true, block_rows(p, row), 1, x, p->Y);
        for (size_t i = 0; i < count; i++) w[i] = stepped(w[i], p->Y[i], lr, decay);
    }
}

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const Soap *h = group->hyper;
    const int64_t k = group->age - 1;
    Piece p = piece_open(h, tensor, piece);
    if (k > 0) {
        update_moments(&p);
        update_weights(&p, k, tensor->lr, tensor->weight_decay, tensor->param->w + piece->begin);
    }
    accumulate(&p);
    if (k == 0) begin_bases(&p);
    else if (k % h->frequency == 0) renew_bases(&p);
}

static const Preset presets[] = {
    {"paper", "", "decay as everywhere here, before the step; the defaults"},
    {"official", "decay_last=true lr=3e-3 weight_decay=0.01", "the authors' code and its defaults"},
    {0},
};

const Optimizer optimizer_soap = {
    .name = "soap",
    .title = "SOAP",
    .equation = "G' = Q_L^T G Q_R\n"
                "m <- b1 m + (1 - b1) G',  v <- b2 v + (1 - b2) G'^2\n"
                "W <- (1 - lr wd) W - lr sqrt(1 - b2^k) / (1 - b1^k) Q_L (m / (sqrt(v) + eps)) Q_R^T\n"
                "L <- sb L + (1 - sb) G G^T,  R <- sb R + (1 - sb) G^T G\n"
                "every `frequency` steps: Q_L <- orth(L Q_L), Q_R <- orth(R Q_R), m and v with them",
    .source = "Vyas et al., SOAP: Improving and Stabilizing Shampoo using Adam (arXiv 2409.11321)",
    .differs =
        "decay before the step unless decay_last is set; a fused q|k|v is taken as three matrices; a matrix "
        "whose gradient has an entry beyond 1e14 is seen scaled down to that",
    .cost =
        "4 n m (n + m) + n^2 m + n m^2 FLOPs for an n x m matrix, and 6 n^3 + 6 m^3 every `frequency` steps; "
        "state is 8 (n m + n^2 + m^2) bytes",
    .lr = 3e-3,
    .weight_decay = 0.01,
    .scale = SCALE_IGNORED,
    .presets = presets,
    .fields = fields,
    .hyper_size = sizeof(Soap),
    .roles = ROLES_ALL,
    .cut = CUT_MATRICES,
    .slots = (const char *const[]){"turned_m", "turned_v", "left", "right", "left_basis", "right_basis", NULL},
    .work_size = work_size,
    .slot_size = slot_size,
    .fuse_split = fuse_split,
    .update = update,
};
