/* test_spectral.c: maps of singular values against double-precision SVDs. */
#include "core/rng.h"
#include "optim/spectral.h"

#include <cjson/cJSON.h>
#include <lapacke.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/golden.h"

/* ---- matrices with known singular values ---------------------------------------------------------------- */

/* X = P diag(s) Q, X (n, m) in fp32, and the double-precision SVD of exactly that X. */
typedef struct Case {
    int n, m;
    float *X;
    double *P, *s, *Q; /* (n, n), n, (n, m) */
} Case;

typedef enum { SPECTRUM_GEOMETRIC, SPECTRUM_ONE_LARGE, SPECTRUM_ONE_SMALL, SPECTRUM_COUNT } Spectrum;

static void svd(const double *A, Case *c) {
    double *copy = malloc((size_t)c->n * (size_t)c->m * sizeof *copy),
           *unused = malloc((size_t)c->n * sizeof *unused);
    memcpy(copy, A, (size_t)c->n * (size_t)c->m * sizeof *copy);
    assert_int_equal(0, LAPACKE_dgesvd(LAPACK_ROW_MAJOR, 'S', 'S', c->n, c->m, copy, c->m, c->s, c->P, c->n,
                                       c->Q, c->m, unused));
    free(copy);
    free(unused);
}

/* A = P diag(f) Q */
static void compose(const Case *c, const double *f, double *A) {
    for (int i = 0; i < c->n; i++) {
        double *row = A + (size_t)i * (size_t)c->m;
        for (int j = 0; j < c->m; j++) row[j] = 0;
        for (int k = 0; k < c->n; k++) {
            double p = c->P[(size_t)i * (size_t)c->n + (size_t)k] * f[k];
            for (int j = 0; j < c->m; j++) row[j] += p * c->Q[(size_t)k * (size_t)c->m + (size_t)j];
        }
    }
}

static double spectrum_at(Spectrum spectrum, int i, int n, double condition) {
    if (n == 1) return 1;
    if (spectrum == SPECTRUM_GEOMETRIC) return pow(condition, -(double)i / (n - 1));
    return (spectrum == SPECTRUM_ONE_LARGE ? i == 0 : i < n - 1) ? 1 : 1 / condition;
}

static Case case_create(int n, int m, Spectrum spectrum, double condition, double size) {
    size_t elements = (size_t)n * (size_t)m;
    Case c = {n,
              m,
              malloc(elements * sizeof(float)),
              malloc((size_t)n * (size_t)n * sizeof(double)),
              malloc((size_t)n * sizeof(double)),
              malloc(elements * sizeof(double))};
    double *A = malloc(elements * sizeof *A);
    for (size_t i = 0; i < elements; i++) A[i] = rng_normal(7, elements, i);
    svd(A, &c);
    for (int i = 0; i < n; i++) c.s[i] = size * spectrum_at(spectrum, i, n, condition);
    compose(&c, c.s, A);
    for (size_t i = 0; i < elements; i++) A[i] = c.X[i] = (float)A[i];
    svd(A, &c);
    free(A);
    return c;
}

static void case_free(Case *c) {
    free(c->X);
    free(c->P);
    free(c->s);
    free(c->Q);
}

static double relative_error(const float *X, const double *expected, size_t count) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        difference += (X[i] - expected[i]) * (X[i] - expected[i]);
        norm += expected[i] * expected[i];
    }
    return sqrt(difference / norm);
}

/* ---- running a map, with guard words around its work ----------------------------------------------------- */

typedef enum { SOFT, COUPLED, POLAR, JORDAN, EXPRESS, EIGEN } Map;

static double algebraic(double s, const void *tau) {
    double y = *(const double *)tau * s;
    return y / hypot(1, y);
}

static void run(Map map, double tau, float *X, int n, int m) {
    const float GUARD = 1234.5f;
    size_t count = spectral_work_size(n, m);
    float *work = aligned_alloc(64, (count * sizeof(float) + 127) / 64 * 64);
    for (size_t i = 0; i < count; i++) work[i] = NAN; /* content must not matter */
    work[count] = GUARD;
    switch (map) {
    case SOFT: soft_sign(tau, X, n, m, work); break;
    case COUPLED: soft_sign_coupled(tau, 60, X, n, m, work); break;
    case POLAR: polar_factor(POLAR_CONVERGED, 0, X, n, m, work); break;
    case JORDAN: polar_factor(POLAR_CLASSIC, 5, X, n, m, work); break;
    case EXPRESS: polar_factor(POLAR_EXPRESS, 5, X, n, m, work); break;
    case EIGEN: spectral_map(algebraic, &tau, X, n, m, work); break;
    }
    assert_true(work[count] == GUARD);
    free(work);
}

static float *copy_of(const float *X, size_t count) {
    float *copy = malloc(count * sizeof *copy);
    memcpy(copy, X, count * sizeof *copy);
    return copy;
}

/* Relative error of a map against f. */
static double error_of(Map map, double tau, const Case *c, double (*f)(double, double)) {
    size_t count = (size_t)c->n * (size_t)c->m;
    double *expected = malloc(count * sizeof *expected), *values = malloc((size_t)c->n * sizeof *values);
    float *X = copy_of(c->X, count);
    for (int i = 0; i < c->n; i++) values[i] = f(tau, c->s[i]);
    compose(c, values, expected);
    run(map, tau, X, c->n, c->m);
    double error = relative_error(X, expected, count);
    free(expected);
    free(values);
    free(X);
    return error;
}

static double soft(double tau, double s) {
    return algebraic(s, &tau);
}

static double one(double tau, double s) {
    (void)tau, (void)s;
    return 1;
}

static const int SHAPES[][2] = {{1, 1},    {1, 7},     {5, 5},    {64, 64},
                                {65, 130}, {128, 128}, {96, 160}, {128, 512}};
static const int SHAPE_COUNT = sizeof SHAPES / sizeof SHAPES[0];

/* ---- tests ------------------------------------------------------------------------------------------------ */

static void soft_sign_should_match_svds_at_every_temperature(void **state) {
    (void)state;
    const double conditions[] = {1, 10, 1e2, 1e3, 1e4};
    double worst_at[10] = {0};
    for (int k = 0; k < SHAPE_COUNT; k++)
        for (int s = 0; s < SPECTRUM_COUNT; s++)
            for (int i = 0; i < 5; i++) {
                Case c = case_create(SHAPES[k][0], SHAPES[k][1], s, conditions[i], 1);
                for (int t = 0; t < 10; t++) {
                    double error = error_of(SOFT, pow(10, t), &c, soft);
                    if (getenv("VERBOSE"))
                        print_message("%dx%d spectrum %d condition %g tau 1e%d: %.1e\n", c.n, c.m, s,
                                      conditions[i], t, error);
                    if (!(error <= worst_at[t])) worst_at[t] = error;
                }
                case_free(&c);
            }
    for (int t = 0; t < 10; t++) print_message("tau 1e%d: worst relative error %.1e\n", t, worst_at[t]);
    for (int t = 0; t < 10; t++) assert_true(worst_at[t] < 1e-3);
}

static void polar_should_match_svds(void **state) {
    (void)state;
    double worst = 0;
    for (int k = 0; k < SHAPE_COUNT; k++)
        for (int s = 0; s < SPECTRUM_COUNT; s++)
            for (double condition = 1; condition < 2e4; condition *= 100) {
                Case c = case_create(SHAPES[k][0], SHAPES[k][1], s, condition, 1);
                double error = error_of(POLAR, 0, &c, one);
                if (!(error <= worst)) worst = error;
                case_free(&c);
            }
    print_message("worst relative error %.1e\n", worst);
    assert_true(worst < 1e-3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(soft_sign_should_match_svds_at_every_temperature),
        cmocka_unit_test(polar_should_match_svds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
