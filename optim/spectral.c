/* spectral.c: see spectral.h.
 *
 * One engine serves every map. X <- P X, with P a function of the Gram matrix G = X X^T that lifts small
 * singular values and keeps large ones, drives them all towards 1. The P's are of two kinds:
 *
 *     Newton-Schulz   P = a I + b G + c G^2               s -> a s + b s^3 + c s^5: Muon, as published
 *     Halley          P = beta I + gamma (I + c G)^(-1)   s -> s (beta + gamma / (1 + c s^2)): to converge
 *
 * Four things make it quick and accurate in fp32:
 *
 * 1. Every matrix but X is a function of G: symmetric, and all commute. Half of each product is enough, and
 *    a symmetric inverse costs no more than that half.
 * 2. Several steps at a time run on n x n matrices only: X' = P X has G' = P^2 G, so X (n, m) itself is
 *    multiplied once per block, by the product Q of the P's. Rounding errors of G grow like its small
 *    eigenvalues, by P(0)^2 a step, so a block ends before they matter: X is formed, and G anew from it. An
 *    error in Q is a relative perturbation, which a polar factor hardly sees. After a Halley step one
 *    product is enough for G': (I + c G) (P - beta I) = gamma I makes
 *        P^2 G = beta^2 G + (gamma P - P^2 + beta (beta + gamma) I) / c
 * 3. Halley's coefficients are the best for the interval [l, 1] where the singular values are known to lie
 *    (QDWH: Nakatsukasa, Bai and Gygi, SIAM J. Matrix Anal. Appl. 31, 2010). Such a step costs less than
 *    one of Newton-Schulz and does much more: l = 0.1 is 0.87 after one, 0.99995 after two. Two are enough
 *    for tau |X| = 5, four for any tau, and the converged polar factor takes no longer than Muon's five
 *    rough steps if X is square, 1.2 times as long if m = 4 n.
 * 4. The soft sign is a block of a polar factor: Y = [X, tau^-1 I] has Y Y^T = X X^T + tau^-2 I, and so
 *    polar(Y) = (Y Y^T)^(-1/2) Y = [soft sign of X, ...]. The singular values of Y are at least tau^-1:
 *    that is l. The second block of Y starts as a multiple of I and stays symmetric.
 */
#include "optim/spectral.h"

#include "core/eigen.h"
#include "core/gemm.h"
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Singular values below FLOOR times the bound of the largest are not driven all the way to 1 (there is
 * nothing but rounding noise at 1e-7); the rest end within TOLERANCE / 2 of it. */
#define FLOOR     5e-6
#define TOLERANCE 1e-5

/* No Halley step aims at a smaller l. So c <= 1e4, and I + c G does not drown in G's rounding errors. */
#define LEAST_AIM 1.5e-3

/* Largest growth of small singular values before another step of the same block: fp32's 6e-8 grows by its
 * square. */
#define BLOCK_GROWTH 12.0

/* Panels that a product takes at a time, so that its other factor is read less often. */
#define PANELS 4

/* ---- scalar functions ---- */

/* p(x) = a x + b x^3 + c x^5 */
typedef struct Quintic {
    double a, b, c;
} Quintic;

static const Quintic CLASSIC = {3.4445, -4.7750, 2.0315};
static const Quintic EXPRESS[5] = {{8.156554524902461, -22.48329292557795, 15.878769915207462},
                                   {4.042929935166739, -2.808917465908714, 0.5000178451051316},
                                   {3.8916678022926607, -2.772484153217685, 0.5060648178503393},
                                   {3.285753657755655, -2.3681294933425376, 0.46449024233003106},
                                   {2.3465413258596377, -1.7097828382687081, 0.42323551169305323}};

/* p(x) = x (beta + gamma / (1 + c x^2)) */
typedef struct Halley {
    double beta, gamma, c;
} Halley;

static double halley_at(Halley p, double x) {
    return x * (p.beta + p.gamma / (1 + p.c * x * x));
}

/* scale p(x / unit) */
static Halley halley_of(Halley p, double scale, double unit) {
    return (Halley){p.beta * scale / unit, p.gamma * scale / unit, p.c / (unit * unit)};
}

/* The p <= 1 = p(1) on [l, 1], 0 < l <= 1, whose smallest value there is largest: p(l). It is usually
 * written x (a + b x^2) / (1 + c x^2). */
static Halley halley_best(double l) {
    double square = l * l, d = cbrt(4 * (1 - square) / (square * square)), root = sqrt(1 + d);
    double a = root + sqrt(8 - 4 * d + 8 * (2 - square) / (square * root)) / 2;
    double b = (a - 1) * (a - 1) / 4, c = a + b - 1;
    return (Halley){b / c, a - b / c, c};
}

/* ---- products ---- */

/* What one map works with. The second block of the stacked matrix is `delta` times the product of all P's;
 * delta = 0 means that there is none. */
typedef struct Engine {
    int n, m;
    float *X;                   /* (n, m) */
    float *G, *P, *Q, *S, *tmp; /* (n, n) */
    float *panel;               /* (PANELS, n or m, 64): what products take at a time */
    double delta;
    double growth; /* P(0) of the block's product; 1 at its beginning */
    bool whole;    /* still the first block */
} Engine;

static size_t round_up(size_t floats) {
    return (floats + 15) / 16 * 16;
}

static Engine engine_create(float *X, int n, int m, double delta, float *work) {
    size_t square = round_up((size_t)n * (size_t)n);
    return (Engine){.n = n,
                    .m = m,
                    .X = X,
                    .G = work,
                    .P = work + square,
                    .Q = work + 2 * square,
                    .S = work + 3 * square,
                    .tmp = work + 4 * square,
                    .panel = work + 5 * square,
                    .delta = delta,
                    .growth = 1,
                    .whole = true};
}

#define TILE ((size_t)GEMM_NR)

static size_t least(size_t a, size_t b) {
    return a < b ? a : b;
}

/* out (64, 64) = transpose of (rows, columns) of A, both at most 64; zero or undefined beyond. */
static void transpose_tile(float *out, const float *A, size_t ld, size_t rows, size_t columns) {
    float in[TILE * TILE];
    if (columns < TILE) memset(in, 0, sizeof in);
    for (size_t i = 0; i < rows; i++) memcpy(in + i * TILE, A + i * ld, columns * sizeof(float));
    gemm_transpose(out, in, (int)rows);
}

/* The upper triangle from the lower one. */
static void mirror(size_t n, float *C) {
    float tile[TILE * TILE];
    for (size_t i = 0; i < n; i += TILE) {
        size_t rows = least(n - i, TILE);
        for (size_t j = 0; j < i; j += TILE) {
            transpose_tile(tile, C + i * n + j, n, rows, TILE);
            for (size_t k = 0; k < TILE; k++)
                memcpy(C + (j + k) * n + i, tile + k * TILE, rows * sizeof(float));
        }
        for (size_t r = i; r < i + rows; r++)
            for (size_t c = i; c < r; c++) C[c * n + r] = C[r * n + c];
    }
}

/* e->panel = alpha times `width` columns of B (n rows, ld apart), in panels of 64 with zeros beyond. */
static void pack_columns(const Engine *e, double alpha, const float *B, size_t ld, size_t width) {
    for (size_t j = 0; j < width; j += TILE)
        gemm_pack(e->panel + j * (size_t)e->n, e->n, (int)least(width - j, TILE), (float)alpha, B + j, ld);
}

/* Columns j ... j + width - 1 of C = A B + beta C, for A (n, K) and these columns of B (K, n) in e->panel. C (n, n) is
 * symmetric: the lower triangle. */
static void multiply_lower(const Engine *e, const float *A, size_t K, double beta, float *C, size_t j,
                           size_t width) {
    size_t n = (size_t)e->n, end = j + width;
    for (size_t c = j; c < end; c += TILE) /* the block on the diagonal */
        gemm_panels((int)(end - c), (int)K, gemm_rows(A + c * K, K), e->panel + (c - j) * K, 0, (float)beta,
                    NULL, C + c * n + c, n, 0, 1, (int)least(end - c, TILE));
    if (end < n)
        gemm_panels((int)(n - end), (int)K, gemm_rows(A + end * K, K), e->panel, K * TILE, (float)beta,
                    NULL, C + end * n + j, n, TILE, PANELS, (int)width);
}

/* C = alpha A B + beta C, all (n, n), where C is symmetric. */
static void multiply_symmetric(const Engine *e, double alpha, const float *A, const float *B, double beta,
                               float *C) {
    size_t n = (size_t)e->n;
    for (size_t j = 0; j < n; j += PANELS * TILE) {
        size_t width = least(n - j, PANELS * TILE);
        pack_columns(e, alpha, B + j, n, width);
        multiply_lower(e, A, n, beta, C, j, width);
    }
    mirror(n, C);
}

/* G = X X^T + (second block)^2; the second block is delta I at first, which the caller adds, S later. */
static void form_gram(const Engine *e) {
    size_t n = (size_t)e->n, m = (size_t)e->m;
    for (size_t j = 0; j < n; j += PANELS * TILE) {
        size_t width = least(n - j, PANELS * TILE);
        /* what a panel's last tile leaves behind it, the next panel overwrites */
        for (size_t c = 0; c < width; c += TILE)
            for (size_t k = 0; k < m; k += TILE)
                transpose_tile(e->panel + c * m + k * TILE, e->X + (j + c) * m + k, m,
                               least(width - c, TILE), least(m - k, TILE));
        multiply_lower(e, e->X, m, 0, e->G, j, width);
    }
    if (e->delta != 0 && !e->whole) multiply_symmetric(e, 1, e->S, e->S, 1, e->G);
    else mirror(n, e->G);
}

/* X = A X for A (n, n): a few panels at a time, so that no second X is needed. */
static void multiply_into(const Engine *e, GemmA A) {
    size_t n = (size_t)e->n, m = (size_t)e->m;
    for (size_t j = 0; j < m; j += PANELS * TILE) {
        size_t width = least(m - j, PANELS * TILE), panels = (width + TILE - 1) / TILE;
        pack_columns(e, 1, e->X + j, m, width);
        gemm_panels(e->n, e->n, A, e->panel, n * TILE, 0, NULL, e->X + j, m, TILE, (int)panels, (int)width);
    }
}

static void scale_by(float *x, size_t count, double factor) {
    for (size_t i = 0; i < count; i++) x[i] = (float)(x[i] * factor); /* factors may exceed fp32's range */
}

static void add_to_diagonal(const Engine *e, float *A, double value) {
    size_t n = (size_t)e->n;
    for (size_t i = 0; i < n * n; i += n + 1) A[i] += (float)value;
}

static void swap(float **a, float **b) {
    float *t = *a;
    *a = *b;
    *b = t;
}

static double square_sum(const float *x, size_t count) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < count; i++) sum += (double)x[i] * x[i];
    return sum;
}

/* ---- the inverse ----
 *
 * A symmetric negative definite N (n, n) turns into (-N)^(-1) when block after block k of 64 rows and
 * columns is swept: with the Cholesky factor -N_kk = L L^T, F = L^(-1), Z_i = N_ik F^T, for all i, j != k
 *
 *     N_ij <- N_ij + Z_i Z_j^T,   N_ik <- Z_i F,   N_kk <- F^T F
 *
 * n^3 flops, as a symmetric product, nearly all of them in the first of the three. N_ik (F^T F) N_kj would
 * be less work than Z_i Z_j^T, but no good: the rounding of F^T F grows by the square of N's condition
 * number. */

/* C (n, 64) = columns b ... b + width - 1 of N, whose lower triangle and diagonal tiles are kept. */
static void gather_columns(const Engine *e, const float *N, size_t b, size_t width, float *C) {
    size_t n = (size_t)e->n;
    for (size_t j = 0; j < b; j += TILE) transpose_tile(C + j * TILE, N + b * n + j, n, width, TILE);
    for (size_t i = b; i < n; i++) {
        memcpy(C + i * TILE, N + i * n + b, width * sizeof(float));
        memset(C + i * TILE + width, 0, (TILE - width) * sizeof(float));
    }
}

/* And back. */
static void scatter_columns(const Engine *e, float *N, size_t b, size_t width, const float *C) {
    size_t n = (size_t)e->n;
    float tile[TILE * TILE];
    for (size_t j = 0; j < b; j += TILE) {
        gemm_transpose(tile, C + j * TILE, (int)TILE);
        for (size_t r = 0; r < width; r++)
            memcpy(N + (b + r) * n + j, tile + r * TILE, TILE * sizeof(float));
    }
    for (size_t i = b; i < n; i++) memcpy(N + i * n + b, C + i * TILE, width * sizeof(float));
}

/* A block N of `width` rows turns into F, where F (-N) F^T = I: Gauss's elimination of -N, done to I too. A
 * column that is eliminated holds what has become of that column of I. */
static void factor_block(float *N, size_t width) {
    for (size_t p = 0; p < width; p++) {
        float *restrict pivot = N + p * TILE, scale = 1 / sqrtf(-pivot[p]);
        pivot[p] = 1;
        for (size_t j = 0; j < TILE; j++) pivot[j] *= scale;
        for (size_t i = p + 1; i < width; i++) {
            float *restrict row = N + i * TILE, factor = pivot[i];
            row[p] = 0;
            for (size_t j = 0; j < TILE; j++) row[j] += factor * pivot[j];
        }
        memset(pivot + p + 1, 0, (TILE - p - 1) * sizeof(float));
    }
}

/* The block's own rows of Z are F^T, so that Z F is all that goes back to N. */
static void sweep(const Engine *e, float *N, size_t b, size_t width) {
    size_t n = (size_t)e->n;
    float *C = e->panel, *Z = C + n * TILE, F[TILE * TILE] = {0}, Ft[TILE * TILE], tile[TILE * TILE];
    gather_columns(e, N, b, width, C);
    memcpy(F, C + b * TILE, width * TILE * sizeof(float));
    factor_block(F, width);
    gemm_transpose(Ft, F, (int)TILE);
    gemm_panels(e->n, (int)width, gemm_rows(C, TILE), Ft, 0, 0, NULL, Z, TILE, 0, 1, (int)TILE);
    for (size_t j = 0; j < n; j += TILE) {
        size_t columns = least(n - j, TILE);
        gemm_transpose(tile, Z + j * TILE, (int)columns);
        gemm_panels((int)(n - j), (int)width, gemm_rows(Z + j * TILE, TILE), tile, 0, 1, NULL,
                    N + j * n + j, n, 0, 1, (int)columns);
    }
    memcpy(Z + b * TILE, Ft, width * TILE * sizeof(float));
    gemm_panels(e->n, (int)width, gemm_rows(Z, TILE), F, 0, 0, NULL, C, TILE, 0, 1, (int)TILE);
    scatter_columns(e, N, b, width, C);
}

static void invert_negative(const Engine *e, float *N) {
    size_t n = (size_t)e->n;
    for (size_t b = 0; b < n; b += TILE) sweep(e, N, b, least(n - b, TILE));
    mirror(n, N);
}

/* ---- the engine ---- */

/* Ends a block: X = Q X, the second block likewise, and G from them. */
static void restart(Engine *e) {
    size_t n = (size_t)e->n;
    multiply_into(e, gemm_rows(e->Q, n));
    if (e->delta != 0 && e->whole) {
        memcpy(e->S, e->Q, n * n * sizeof(float));
        scale_by(e->S, n * n, e->delta);
    } else if (e->delta != 0) {
        multiply_symmetric(e, 1, e->Q, e->S, 0, e->tmp);
        swap(&e->tmp, &e->S);
    }
    e->whole = false;
    e->growth = 1;
    form_gram(e);
}

/* Q = P Q; the last P ends the block, and so does too much growth. False: G = P^2 G is still to do. */
static bool advance(Engine *e, double slope, bool last) {
    size_t n = (size_t)e->n;
    if (e->growth == 1) {
        memcpy(e->Q, e->P, n * n * sizeof(float));
    } else {
        multiply_symmetric(e, 1, e->P, e->Q, 0, e->tmp);
        swap(&e->tmp, &e->Q);
    }
    e->growth *= slope;
    if (last) multiply_into(e, gemm_rows(e->Q, n));
    else if (e->growth > BLOCK_GROWTH) restart(e);
    else return false;
    return true;
}

static void newton_schulz_step(Engine *e, Quintic p, bool last) {
    size_t size = (size_t)e->n * (size_t)e->n;
    multiply_symmetric(e, 1, e->G, e->G, 0, e->P);
    for (size_t i = 0; i < size; i++) e->P[i] = (float)p.b * e->G[i] + (float)p.c * e->P[i];
    add_to_diagonal(e, e->P, p.a);
    if (advance(e, p.a, last)) return;
    multiply_symmetric(e, 1, e->P, e->G, 0, e->tmp);
    multiply_symmetric(e, 1, e->P, e->tmp, 0, e->G);
}

static void halley_step(Engine *e, Halley p, double slope, bool last) {
    size_t size = (size_t)e->n * (size_t)e->n;
    for (size_t i = 0; i < size; i++) e->P[i] = (float)-p.c * e->G[i];
    add_to_diagonal(e, e->P, -1);
    invert_negative(e, e->P);
    for (size_t i = 0; i < size; i++) e->P[i] *= (float)p.gamma;
    add_to_diagonal(e, e->P, p.beta);
    if (advance(e, slope, last)) return;
    multiply_symmetric(e, -1 / p.c, e->P, e->P, p.beta * p.beta, e->G);
    for (size_t i = 0; i < size; i++) e->G[i] += (float)(p.gamma / p.c) * e->P[i];
    add_to_diagonal(e, e->G, p.beta * (p.beta + p.gamma) / p.c);
}

/* The first block of the polar factor of [X, delta I], for |X|_F^2 + delta^2 <= 1; |X X^T|_F is no less
 * than the largest eigenvalue of X X^T. What comes out lies in [l, 1]: it is stretched about 1. */
static void converge(Engine *e) {
    double shift = e->delta * e->delta;
    form_gram(e);
    double unit = sqrt(sqrt(square_sum(e->G, (size_t)e->n * (size_t)e->n)) + shift);
    double l = fmax(e->delta / unit, FLOOR);
    add_to_diagonal(e, e->G, shift);
    for (bool last = false; !last; unit = 1) {
        double aim = fmax(l, LEAST_AIM);
        Halley p = halley_best(aim);
        l = fmin(halley_at(p, l), halley_at(p, aim));
        last = 1 - l < TOLERANCE;
        halley_step(e, halley_of(p, last ? 2 / (1 + l) : 1, unit), p.beta + p.gamma, last);
    }
}

static void newton_schulz(Engine *e, PolarKind kind, int steps) {
    form_gram(e);
    for (int k = 0; k < steps; k++)
        newton_schulz_step(e, kind == POLAR_CLASSIC ? CLASSIC : EXPRESS[k < 5 ? k : 4], k + 1 == steps);
}

void polar_factor(PolarKind kind, int steps, float *X, int n, int m, float *work) {
    Engine e = engine_create(X, n, m, 0, work);
    size_t size = (size_t)n * (size_t)m;
    double norm = sqrt(square_sum(X, size));
    if (norm == 0) return;
    if (kind == POLAR_CLASSIC) norm += 1e-7;
    if (kind == POLAR_EXPRESS) norm = 1.02 * norm + 1e-6;
    scale_by(X, size, 1 / norm);
    if (kind == POLAR_CONVERGED) converge(&e);
    else newton_schulz(&e, kind, steps);
}

/* Scales [X, tau^-1 I] to at most unit norm. */
static Engine stack(double tau, float *X, int n, int m, float *work) {
    size_t size = (size_t)n * (size_t)m;
    double norm = hypot(sqrt(square_sum(X, size)), 1 / tau);
    scale_by(X, size, 1 / norm);
    return engine_create(X, n, m, 1 / (tau * norm), work);
}

void soft_sign(double tau, float *X, int n, int m, float *work) {
    Engine e = stack(tau, X, n, m, work);
    converge(&e);
}

/* A = X X^T + tau^-2 I, Y = A / |A|_F, Z = I; T = (3I - Z Y) / 2, Y = Y T, Z = T Z; U = Z X / sqrt(|A|_F).
 * Whole products, in this order: taking half of a symmetric one would make the iteration unstable. */
void soft_sign_coupled(double tau, int steps, float *X, int n, int m, float *work) {
    Engine e = stack(tau, X, n, m, work);
    size_t ld = (size_t)n, size = ld * ld;
    float *Y = e.G, *Z = e.Q, *T = e.P;
    form_gram(&e);
    add_to_diagonal(&e, Y, e.delta * e.delta);
    double norm = sqrt(square_sum(Y, size));
    scale_by(Y, size, 1 / norm);
    memset(Z, 0, size * sizeof(float));
    add_to_diagonal(&e, Z, 1);
    for (int k = 0; k < steps; k++) {
        gemm(n, n, n, -0.5f, Z, ld, Y, ld, 0, T, ld, e.panel);
        add_to_diagonal(&e, T, 1.5);
        gemm(n, n, n, 1, Y, ld, T, ld, 0, e.tmp, ld, e.panel);
        swap(&e.tmp, &Y);
        gemm(n, n, n, 1, T, ld, Z, ld, 0, e.tmp, ld, e.panel);
        swap(&e.tmp, &Z);
    }
    multiply_into(&e, gemm_rows(Z, ld));
    scale_by(X, ld * (size_t)m, 1 / sqrt(norm));
}

/* ---- in double ---- */

/* Sylvester's law of inertia: X X^T - bound^2 I = L D L^T has as many positive D as X has singular values
 * above the bound. A pivot of zero is moved by a rounding error. */
int singular_values_above(double bound, const float *X, int n, int m, float *work) {
    double *A = (double *)work, largest = bound * bound;
    int count = 0;
    eigen_gram(X, n, m, A);
    for (int i = 0; i < n; i++) {
        double *diagonal = &A[(size_t)i * (size_t)n + (size_t)i];
        largest = fmax(largest, *diagonal);
        *diagonal -= bound * bound;
    }
    for (int k = 0; k < n; k++) {
        double *row = A + (size_t)k * (size_t)n, pivot = row[k];
        if (fabs(pivot) < 1e-15 * largest) pivot = 1e-15 * largest;
        count += pivot > 0;
        for (int i = k + 1; i < n; i++)
            row[i] = A[(size_t)i * (size_t)n + (size_t)k]; /* column k, in a row */
        for (int i = k + 1; i < n; i++) {
            double factor = row[i] / pivot, *target = A + (size_t)i * (size_t)n;
            for (int j = k + 1; j <= i; j++) target[j] -= factor * row[j];
        }
    }
    return count;
}

/* X X^T = V diag(s^2) V^T, so P = V and X <- V diag(f(s) / s) (V^T X). In V^T X, in fp32, singular values
 * below 1e-6 of the largest are rounding noise; taking them for 1e-6 keeps f(s) / s from blowing it up. */
void spectral_map(double (*f)(double s, const void *context), const void *context, float *X, int n, int m,
                  float *work) {
    size_t size = (size_t)n * (size_t)n, columns = (size_t)m;
    Eigen eigen = eigen_create(n, work);
    eigen_gram(X, n, m, eigen.A);
    bool ok = eigen_solve(&eigen, 'V', n);
    double smallest = 1e-6 * sqrt(fmax(0, eigen.values[n - 1]));
    if (ok && smallest == 0) return;

    float *V = (float *)eigen.integers; /* free again */
    for (size_t i = 0; i < size; i++) V[i] = (float)eigen.A[i];
    Engine engine = {.n = n, .m = m, .X = X, .panel = V + round_up(size)};
    multiply_into(&engine, gemm_rows(V, (size_t)n));
    for (int i = 0; i < n; i++) {
        double s = fmax(sqrt(fmax(0, eigen.values[i])), smallest);
        scale_by(X + (size_t)i * columns, columns, ok ? f(s, context) / s : NAN);
    }
    multiply_into(&engine, gemm_columns(V, (size_t)n));
}

size_t spectral_work_size(int n, int m) {
    size_t rows = (size_t)n, square = round_up(rows * rows);
    size_t panel = gemm_work_size(PANELS * m + GEMM_NR);
    size_t engine = 5 * square + panel, eigen = eigen_work_size(n) + square + panel;
    return round_up(engine > eigen ? engine : eigen);
}
