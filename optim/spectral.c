/* spectral.c: see spectral.h.
 *
 * One engine serves every map. X <- p_k(...p_1(X)), each p an odd quintic, p(X) = (a I + b G + c G^2) X
 * with G = X X^T, drives singular values towards 1. Three things make it quick and accurate in fp32:
 *
 * 1. Every matrix but X is a polynomial in G: symmetric, and all commute. Half of each product is enough.
 * 2. Several steps at a time run on n x n matrices only: with P = aI + bG + cG^2, X' = P X has G' = P^2 G,
 *    so X (n, m) itself is multiplied once per block, by the product Q of the P's. Rounding errors of G
 *    grow like its small eigenvalues, by a^2 a step, so a block ends before they matter: X is formed, and
 *    G anew from it. An error in Q is a relative perturbation, which a polar factor hardly sees.
 * 3. The soft sign is a block of a polar factor: Y = [X, tau^-1 I] has Y Y^T = X X^T + tau^-2 I, and so
 *    polar(Y) = (Y Y^T)^(-1/2) Y = [soft sign of X, ...]. The singular values of Y lie in the known
 *    interval [tau^-1, sqrt(|X|^2 + tau^-2)], for which the best quintics are worked out on the spot (Polar
 *    Express, Amsel et al., arXiv 2505.16932): 5 for tau |X| = 50, 7 for 1000, 10 at most. The second block
 *    of Y starts as a multiple of I and stays symmetric.
 */
#include "optim/spectral.h"

#include "core/gemm.h"
#include <lapacke.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* Singular values below FLOOR times a bound of the largest are not driven all the way to 1 (there is
 * nothing but rounding noise at 1e-7); the rest end within TOLERANCE of it. */
#define FLOOR     1e-5
#define TOLERANCE 1e-5

/* Largest growth of small singular values within a block: fp32's 6e-8 grows by its square. */
#define BLOCK_GROWTH 12.0

/* Panels that a product with X takes at a time. */
#define PANELS 4

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
static const Quintic TAYLOR = {1.875, -1.25, 0.375}; /* p(1) = 1, p' = p'' = 0: cubic convergence near 1 */

/* ---- polynomials ---- */

static double quintic_at(Quintic p, double x) {
    return ((p.c * x * x + p.b) * x * x + p.a) * x;
}

/* scale p(unit x) */
static Quintic quintic_of(Quintic p, double scale, double unit) {
    return (Quintic){p.a * scale * unit, p.b * scale * pow(unit, 3), p.c * scale * pow(unit, 5)};
}

/* The quintic with the smallest error E = max |p - 1| over [l, 1], and E, for 0 < l < 1 (Remez exchange).
 * The error has its extremes +E, -E, +E, -E at l, q, r, 1, where q and r are the zeros of p'; eliminating a
 * and E by divided differences of x, x^3, x^5 leaves two equations for b / a and c / a. */
static Quintic quintic_minimax(double l, double *error) {
    double q = (3 * l + 1) / 4, r = (l + 3) / 4;
    Quintic p = TAYLOR;
    for (int i = 0; i < 8; i++) {
        /* p(l) = p(r) and p(q) = p(1), with a = 1 */
        double b1 = l * l + l * r + r * r, b2 = 1 + q + q * q;
        double c1 = l * l * l * l + l * l * l * r + l * l * r * r + l * r * r * r + r * r * r * r;
        double c2 = 1 + q + q * q + q * q * q + q * q * q * q;
        double determinant = b1 * c2 - b2 * c1;
        p = (Quintic){1, (c1 - c2) / determinant, (b2 - b1) / determinant};
        double root = sqrt(fmax(0, 9 * p.b * p.b - 20 * p.c));
        q = sqrt((-3 * p.b - root) / (10 * p.c));
        r = sqrt((-3 * p.b + root) / (10 * p.c));
    }
    double low = quintic_at(p, l), high = quintic_at(p, q); /* 1 - E and 1 + E, up to a factor */
    *error = (high - low) / (high + low);
    return quintic_of(p, 2 / (high + low), 1);
}

/* The steps that take [l, 1] to within TOLERANCE below 1; returns how many. Each ends with its maximum at
 * 1. For tiny l the best quintic would send some large values almost to 0, hence the cushion. Its slope at
 * 1 is steep, 11 or so, and a rounding error above 1 would grow by that every step: hence the margin. Close
 * to 1 the minimax problem degenerates into Taylor's polynomial, whose slope there is 0. */
static int plan_steps(double l, Quintic *plan) {
    const double CUSHION = 0.02, MARGIN = 1.001, CLOSE = 0.95;
    int steps = 0;
    while (1 - l > TOLERANCE && steps < SPECTRAL_MAX_STEPS) {
        Quintic p = TAYLOR;
        double error = 0, lowest = 1;
        if (l < CLOSE) {
            p = quintic_minimax(fmax(l, CUSHION), &error);
            lowest = (1 - error) / (1 + error);
            p = quintic_of(p, 1 / (1 + error), 1 / MARGIN);
        }
        plan[steps++] = p;
        l = fmin(quintic_at(p, l), fmin(quintic_at(p, 1), lowest));
    }
    return steps;
}

/* ---- products ---- */

/* What one map works with. The second block of the stacked matrix is `delta` times the product of all P's;
 * delta = 0 means that there is none. */
typedef struct Engine {
    int n, m;
    float *X;                   /* (n, m) */
    float *G, *P, *Q, *S, *tmp; /* (n, n) */
    float *panel;               /* gemm's */
    double delta;
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
                    .delta = delta};
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

/* C = A B + beta C, all (n, n), where C is symmetric: the lower triangle, by columns of panels. */
static void multiply_symmetric(const Engine *e, const float *A, const float *B, float beta, float *C) {
    size_t n = (size_t)e->n;
    for (size_t j = 0; j < n; j += TILE)
        gemm((int)(n - j), (int)least(n - j, TILE), e->n, 1, A + j * n, n, B + j, n, beta, C + j * n + j, n,
             e->panel);
    mirror(n, C);
}

/* G = X X^T + (second block)^2; the second block is delta I at first, S later. */
static void form_gram(const Engine *e, bool first) {
    size_t n = (size_t)e->n, m = (size_t)e->m;
    for (size_t j = 0; j < n; j += TILE) {
        size_t width = least(n - j, TILE);
        for (size_t k = 0; k < m; k += TILE)
            transpose_tile(e->panel + k * TILE, e->X + j * m + k, m, width, least(m - k, TILE));
        gemm_panels((int)(n - j), e->m, gemm_rows(e->X + j * m, m), e->panel, 0, 0, NULL, e->G + j * n + j,
                    n, 0, 1, (int)width);
    }
    if (e->delta != 0 && !first) multiply_symmetric(e, e->S, e->S, 1, e->G);
    else mirror(n, e->G);
}

/* X = A X for A (n, n): a few panels at a time, so that no second X is needed, and A is read less often. */
static void multiply_into(const Engine *e, GemmA A) {
    size_t n = (size_t)e->n, m = (size_t)e->m;
    for (size_t j = 0; j < m; j += PANELS * TILE) {
        size_t width = least(m - j, PANELS * TILE), panels = (width + TILE - 1) / TILE;
        for (size_t p = 0; p < panels; p++) {
            size_t columns = least(width - p * TILE, TILE);
            float *row = e->panel + p * n * TILE;
            const float *x = e->X + j + p * TILE;
            for (size_t i = 0; i < n; i++, row += TILE, x += m) {
                memcpy(row, x, columns * sizeof(float));
                memset(row + columns, 0, (TILE - columns) * sizeof(float));
            }
        }
        gemm_panels(e->n, e->n, A, e->panel, n * TILE, 0, NULL, e->X + j, m, TILE, (int)panels, (int)width);
    }
}

static void scale_by(float *x, size_t count, double factor) {
    for (size_t i = 0; i < count; i++) x[i] = (float)(x[i] * factor); /* factors may exceed fp32's range */
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

/* ---- the engine ---- */

/* P = G^2 */
static void square(Engine *e) {
    multiply_symmetric(e, e->G, e->G, 0, e->P);
}

/* P = a I + b G + c P, where P was G^2 */
static void evaluate(Engine *e, Quintic p) {
    size_t n = (size_t)e->n;
    for (size_t i = 0; i < n * n; i++) e->P[i] = (float)p.b * e->G[i] + (float)p.c * e->P[i];
    for (size_t i = 0; i < n; i++) e->P[i * n + i] += (float)p.a;
}

/* Ends a block: X = Q X, the second block likewise, and G from them. */
static void restart(Engine *e, bool first) {
    size_t n = (size_t)e->n;
    multiply_into(e, gemm_rows(e->Q, (size_t)e->n));
    if (e->delta != 0 && first) {
        memcpy(e->S, e->Q, n * n * sizeof(float));
        scale_by(e->S, n * n, e->delta);
    } else if (e->delta != 0) {
        multiply_symmetric(e, e->Q, e->S, 0, e->tmp);
        swap(&e->tmp, &e->S);
    }
    form_gram(e, false);
}

/* Runs the plan on X / sqrt(bound); G and P = G^2 are those of X itself. */
static void iterate(Engine *e, const Quintic *plan, int steps, double bound) {
    bool first_block = true, new_block = true;
    double growth = 1;
    if (steps == 0) scale_by(e->X, (size_t)e->n * (size_t)e->m, 1 / sqrt(bound));
    for (int k = 0; k < steps; k++) {
        Quintic p = plan[k];
        growth *= p.a;
        if (k == 0) p = quintic_of(p, 1, 1 / sqrt(bound));
        else square(e);
        evaluate(e, p);
        if (new_block) {
            memcpy(e->Q, e->P, (size_t)e->n * (size_t)e->n * sizeof(float));
        } else {
            multiply_symmetric(e, e->P, e->Q, 0, e->tmp);
            swap(&e->tmp, &e->Q);
        }
        new_block = growth > BLOCK_GROWTH;
        if (k + 1 == steps) {
            multiply_into(e, gemm_rows(e->Q, (size_t)e->n));
        } else if (new_block) {
            restart(e, first_block);
            first_block = false;
            growth = 1;
        } else {
            multiply_symmetric(e, e->P, e->G, 0, e->tmp);
            multiply_symmetric(e, e->P, e->tmp, 0, e->G);
        }
    }
}

/* The polar factor's first block for [X, delta I] with |X|_F^2 + delta^2 <= 1. |G^2|_F^(1/2) bounds the
 * largest eigenvalue of G = X X^T from above, closely enough (the trace would cost a step or two), and
 * G^2 is wanted anyway; delta^2 I comes to both of them afterwards. */
static void converge(Engine *e) {
    Quintic plan[SPECTRAL_MAX_STEPS];
    size_t n = (size_t)e->n;
    double shift = e->delta * e->delta;
    form_gram(e, true);
    square(e);
    double bound = sqrt(sqrt(square_sum(e->P, n * n))) + shift;
    int steps = plan_steps(fmax(e->delta / sqrt(bound), FLOOR), plan);
    for (size_t i = 0; i < n * n; i++) e->P[i] += (float)(2 * shift) * e->G[i];
    for (size_t i = 0; i < n * n; i += n + 1) {
        e->P[i] += (float)(shift * shift);
        e->G[i] += (float)shift;
    }
    iterate(e, plan, steps, bound);
}

void polar_factor(PolarKind kind, int steps, float *X, int n, int m, float *work) {
    Engine e = engine_create(X, n, m, 0, work);
    size_t size = (size_t)n * (size_t)m;
    double norm = sqrt(square_sum(X, size));
    if (norm == 0) return;
    if (kind == POLAR_CLASSIC) norm += 1e-7;
    if (kind == POLAR_EXPRESS) norm = 1.02 * norm + 1e-6;
    scale_by(X, size, 1 / norm);
    if (kind == POLAR_CONVERGED) {
        converge(&e);
        return;
    }
    Quintic plan[SPECTRAL_MAX_STEPS];
    for (int k = 0; k < steps; k++) plan[k] = kind == POLAR_CLASSIC ? CLASSIC : EXPRESS[k < 5 ? k : 4];
    form_gram(&e, true);
    square(&e);
    iterate(&e, plan, steps, 1);
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
    size_t ld = (size_t)n, size = ld * ld, diagonal = ld + 1;
    float *Y = e.G, *Z = e.Q, *T = e.P;
    form_gram(&e, true);
    for (size_t i = 0; i < size; i += diagonal) Y[i] += (float)(e.delta * e.delta);
    double norm = sqrt(square_sum(Y, size));
    scale_by(Y, size, 1 / norm);
    memset(Z, 0, size * sizeof(float));
    for (size_t i = 0; i < size; i += diagonal) Z[i] = 1;
    for (int k = 0; k < steps; k++) {
        gemm(n, n, n, -0.5f, Z, ld, Y, ld, 0, T, ld, e.panel);
        for (size_t i = 0; i < size; i += diagonal) T[i] += 1.5f;
        gemm(n, n, n, 1, Y, ld, T, ld, 0, e.tmp, ld, e.panel);
        swap(&e.tmp, &Y);
        gemm(n, n, n, 1, T, ld, Z, ld, 0, e.tmp, ld, e.panel);
        swap(&e.tmp, &Z);
    }
    multiply_into(&e, gemm_rows(Z, ld));
    scale_by(X, ld * (size_t)m, 1 / sqrt(norm));
}

/* ---- in double ---- */

/* Room for LAPACK's dsyevd, and its results. */
typedef struct Eigen {
    double *A;      /* (n, n): the matrix, then its eigenvectors by rows */
    double *values; /* n, increasing */
    double *work;
    lapack_int work_count, integer_count;
    lapack_int *integers;
} Eigen;

static size_t eigen_doubles(size_t n) {
    return n * n + n + (1 + 6 * n + 2 * n * n);
}

static Eigen eigen_create(size_t n, float *work) {
    Eigen e = {.A = (double *)work, .integer_count = (lapack_int)(3 + 5 * n)};
    e.values = e.A + n * n;
    e.work = e.values + n;
    e.work_count = (lapack_int)(1 + 6 * n + 2 * n * n);
    e.integers = (lapack_int *)(e.A + eigen_doubles(n));
    return e;
}

/* C's row-major lower triangle is Fortran's upper one. */
static bool eigen_solve(Eigen *e, char job, int n) {
    return LAPACKE_dsyevd_work(LAPACK_COL_MAJOR, job, 'U', n, e->A, n, e->values, e->work, e->work_count,
                               e->integers, e->integer_count) == 0;
}

/* Lower triangle of X X^T. */
static void gram_in_double(const float *X, int n, int m, double *G) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++) {
            const float *x = X + (size_t)i * (size_t)m, *y = X + (size_t)j * (size_t)m;
            double sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int k = 0; k < m; k++) sum += (double)x[k] * y[k];
            G[(size_t)i * (size_t)n + (size_t)j] = sum;
        }
}

bool singular_values(const float *X, int n, int m, float *values, float *work) {
    Eigen e = eigen_create((size_t)n, work);
    gram_in_double(X, n, m, e.A);
    if (!eigen_solve(&e, 'N', n)) return false;
    for (int i = 0; i < n; i++) values[i] = (float)sqrt(fmax(0, e.values[i]));
    return true;
}

/* Sylvester's law of inertia: X X^T - bound^2 I = L D L^T has as many positive D as X has singular values
 * above the bound. A pivot of zero is moved by a rounding error. */
int singular_values_above(double bound, const float *X, int n, int m, float *work) {
    double *A = (double *)work, largest = bound * bound;
    int count = 0;
    gram_in_double(X, n, m, A);
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
    Eigen eigen = eigen_create((size_t)n, work);
    gram_in_double(X, n, m, eigen.A);
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
    size_t panel = gemm_work_size(PANELS * n > m + GEMM_NR ? PANELS * n : m + GEMM_NR);
    size_t engine = 5 * square + panel, integers = 3 + 5 * rows, rotation = square + panel;
    size_t eigen = 2 * eigen_doubles(rows) + (integers > rotation ? integers : rotation);
    return round_up(engine > eigen ? engine : eigen);
}
