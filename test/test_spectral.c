/* test_spectral.c: maps of singular values against double-precision SVDs. */
#include "core/eigen.h"
#include "core/rng.h"
#include "optim/spectral.h"
#include "test/golden.h"
#include <lapacke.h>

/* ---- matrices with known singular values ---- */

/* X = P diag(s) Q, X (n, m) in fp32, and the double-precision SVD of exactly that X. */
typedef struct Case {
    int n, m;
    float *X;
    double *P, *s, *Q; /* (n, n), n, (n, m) */
} Case;

typedef enum {
    SPECTRUM_GEOMETRIC,
    SPECTRUM_ONE_LARGE,
    SPECTRUM_ONE_SMALL,
    SPECTRUM_LOW_RANK, /* and noise, as a momentum has */
    SPECTRUM_COUNT
} Spectrum;

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
    int large = spectrum == SPECTRUM_ONE_LARGE ? 1 : spectrum == SPECTRUM_ONE_SMALL ? n - 1 : 1 + n / 8;
    double small = spectrum == SPECTRUM_LOW_RANK ? 1 + 3.0 * (n - 1 - i) / n : 1;
    return i < large ? 1 : small / condition;
}

static Case case_create(int n, int m, Spectrum spectrum, double condition, double size) {
    size_t elements = (size_t)n * (size_t)m;
    Case c = {n,
              m,
              malloc(elements * sizeof(float)),
              malloc((size_t)n * (size_t)n * sizeof(double)),
              malloc((size_t)n * sizeof(double)),
              malloc(elements * sizeof(double))};
    double *A = calloc(elements, sizeof *A);
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

/* ---- running a map, with guard words around its work ---- */

typedef enum { SOFT, COUPLED, POLAR, JORDAN, EXPRESS, EIGEN } Map;

static double soft(double tau, double s) {
    return tau * s / hypot(1, tau * s);
}

static double soft_of(double s, const void *tau) {
    return soft(*(const double *)tau, s);
}

static double one(double tau, double s) {
    (void)tau, (void)s;
    return 1;
}

static float *guarded_work(int n, int m, size_t *count) {
    *count = spectral_work_size(n, m);
    float *work = aligned_alloc(64, (*count * sizeof(float) + 127) / 64 * 64);
    for (size_t i = 0; i < *count; i++) work[i] = NAN; /* content must not matter */
    work[*count] = 1234.5f;
    return work;
}

static void guarded_free(float *work, size_t count) {
    assert_true(work[count] == 1234.5f);
    free(work);
}

static void run(Map map, double tau, int steps, float *X, int n, int m) {
    size_t count;
    float *work = guarded_work(n, m, &count);
    switch (map) {
    case SOFT: soft_sign(tau, X, n, m, work); break;
    case COUPLED: soft_sign_coupled(tau, steps, X, n, m, work); break;
    case POLAR: polar_factor(POLAR_CONVERGED, 0, X, n, m, work); break;
    case JORDAN: polar_factor(POLAR_CLASSIC, steps, X, n, m, work); break;
    case EXPRESS: polar_factor(POLAR_EXPRESS, steps, X, n, m, work); break;
    case EIGEN: spectral_map(soft_of, &tau, X, n, m, work); break;
    }
    guarded_free(work, count);
}

static float *copy_of(const float *X, size_t count) {
    float *copy = malloc(count * sizeof *copy);
    memcpy(copy, X, count * sizeof *copy);
    return copy;
}

/* Relative error of a map against f of exact singular values. */
static double error_of(Map map, double tau, int steps, const Case *c, double (*f)(double, double)) {
    size_t count = (size_t)c->n * (size_t)c->m;
    double *expected = malloc(count * sizeof *expected), *values = malloc((size_t)c->n * sizeof *values);
    float *X = copy_of(c->X, count);
    for (int i = 0; i < c->n; i++) values[i] = f(tau, c->s[i]);
    compose(c, values, expected);
    run(map, tau, steps, X, c->n, c->m);
    double error = relative_error(X, expected, count);
    free(expected);
    free(values);
    free(X);
    return error;
}

static const int SHAPES[][2] = {{1, 1},     {1, 7},     {5, 5},     {64, 64},  {65, 130},
                                {128, 128}, {150, 200}, {128, 512}, {260, 270}};
#define EACH_SHAPE(k)    for (size_t k = 0; k < sizeof SHAPES / sizeof SHAPES[0]; k++)
#define EACH_SPECTRUM(s) for (Spectrum s = 0; s < SPECTRUM_COUNT; s++)

static void keep_worst(double *worst, double error) {
    if (!(error <= *worst)) *worst = error; /* NaN stays */
}

/* ---- the soft sign ---- */

/* Measured: 3e-6, 2e-5, 3e-4. */
static void soft_sign_should_match_svds_at_every_temperature(void **state) {
    (void)state;
    const double conditions[] = {1, 100, 1e4}, most[] = {1e-5, 1e-4, 5e-4}; /* promised: 1e-3 */
    double worst[3][12] = {{0}};
    EACH_SHAPE(k) EACH_SPECTRUM(s) for (int i = 0; i < 3; i++) {
        Case c = case_create(SHAPES[k][0], SHAPES[k][1], s, conditions[i], 1);
        for (int t = 0; t < 12; t++) keep_worst(&worst[i][t], error_of(SOFT, pow(10, t - 2), 0, &c, soft));
        case_free(&c);
    }
    print_message("condition | worst relative error at tau = 0.01, 0.1, ... 1e9\n");
    for (int i = 0; i < 3; i++) {
        print_message("      %3.0e |", conditions[i]);
        for (int t = 0; t < 12; t++) print_message(" %.0e", worst[i][t]);
        print_message("\n");
    }
    for (int i = 0; i < 3; i++)
        for (int t = 0; t < 12; t++) assert_true(worst[i][t] < most[i]);
}

static void soft_sign_should_depend_on_tau_times_scale_only(void **state) {
    (void)state;
    for (double size = 1e-30; size < 1e31; size *= 1e6)
        for (double tau_size = 1e-3; tau_size < 1e9; tau_size *= 100) {
            Case c = case_create(33, 40, SPECTRUM_GEOMETRIC, 100, size);
            double error = error_of(SOFT, tau_size / size, 0, &c, soft);
            if (!(error < 1e-4)) fail_msg("|M| = %g, tau |M| = %g: %g", size, tau_size, error);
            case_free(&c);
        }
}

static void golden_soft_signs_should_match(void **state) {
    (void)state;
    cJSON *cases = golden_parse("test/golden/optim/spectral_softsign.json");
    for (const cJSON *item = cases->child; item; item = item->next) {
        int rows = cJSON_GetObjectItem(item, "rows")->valueint,
            cols = cJSON_GetObjectItem(item, "cols")->valueint;
        int n = rows < cols ? rows : cols, m = rows < cols ? cols : rows;
        for (int hard = 0; hard < 2; hard++) {
            float M[256], U[256], X[256];
            golden_floats(cJSON_GetObjectItem(item, "M"), M);
            golden_floats(cJSON_GetObjectItem(item, hard ? "polar" : "U"), U);
            double expected[256];
            for (int i = 0; i < rows * cols; i++) {
                int j = rows > cols ? i % cols * rows + i / cols : i; /* X is the wide one */
                X[j] = M[i];
                expected[j] = U[i];
            }
            run(hard ? POLAR : SOFT, cJSON_GetObjectItem(item, "tau")->valuedouble, 0, X, n, m);
            assert_true(relative_error(X, expected, (size_t)(rows * cols)) < 1e-5);
        }
    }
    cJSON_Delete(cases);
}

static void coupled_iteration_should_converge_slowly(void **state) {
    (void)state;
    Case c = case_create(64, 96, SPECTRUM_GEOMETRIC, 1e4, 1);
    assert_true(error_of(COUPLED, 10, 40, &c, soft) < 1e-5); /* and stays converged */
    assert_true(error_of(COUPLED, 1e6, 5, &c, soft) > 0.5);  /* as the authors run it */
    case_free(&c);
}

static void eigenvector_map_should_match_svds(void **state) {
    (void)state;
    EACH_SHAPE(k) for (double tau = 1; tau < 1e10; tau *= 1e3) {
        if (SHAPES[k][1] > 200) continue;
        Case c = case_create(SHAPES[k][0], SHAPES[k][1], SPECTRUM_GEOMETRIC, 1e4, 1);
        assert_true(error_of(EIGEN, tau, 0, &c, soft) < 1e-4);
        case_free(&c);
    }
}

/* ---- the polar factor ---- */

static void converged_polar_factor_should_match_svds(void **state) {
    (void)state;
    double worst = 0;
    EACH_SHAPE(k) EACH_SPECTRUM(s) {
        Case c = case_create(SHAPES[k][0], SHAPES[k][1], s, 1e4, 1);
        keep_worst(&worst, error_of(POLAR, 0, 0, &c, one));
        case_free(&c);
    }
    assert_true(worst < 5e-4);
}

static void converged_polar_factor_should_have_orthonormal_rows(void **state) {
    (void)state;
    EACH_SHAPE(k) {
        Case c = case_create(SHAPES[k][0], SHAPES[k][1], SPECTRUM_GEOMETRIC, 1e4, 1);
        run(POLAR, 0, 0, c.X, c.n, c.m);
        for (int i = 0; i < c.n; i++)
            for (int j = 0; j < c.n; j++) {
                double dot = 0;
                for (int l = 0; l < c.m; l++) dot += (double)c.X[i * c.m + l] * c.X[j * c.m + l];
                assert_true(fabs(dot - (i == j)) < 1e-4);
            }
        case_free(&c);
    }
}

/* One polynomial on a singular value already divided by the norm. */
static double jordan_step(double x) {
    return 3.4445 * x - 4.7750 * pow(x, 3) + 2.0315 * pow(x, 5);
}

static double norm_of_case;

/* Where the soft maps have tau, these have their number of steps. */
static double jordan(double steps, double s) {
    double x = s / (norm_of_case + 1e-7);
    for (int i = 0; i < (int)steps; i++) x = jordan_step(x);
    return x;
}

static double express(double steps, double s) {
    const double table[5][3] = {{8.156554524902461, -22.48329292557795, 15.878769915207462},
                                {4.042929935166739, -2.808917465908714, 0.5000178451051316},
                                {3.8916678022926607, -2.772484153217685, 0.5060648178503393},
                                {3.285753657755655, -2.3681294933425376, 0.46449024233003106},
                                {2.3465413258596377, -1.7097828382687081, 0.42323551169305323}};
    double x = s / (1.02 * norm_of_case + 1e-6);
    for (int i = 0; i < (int)steps; i++) {
        const double *p = table[i < 5 ? i : 4];
        x = p[0] * x + p[1] * pow(x, 3) + p[2] * pow(x, 5);
    }
    return x;
}

static void newton_schulz_should_apply_the_published_polynomials(void **state) {
    (void)state;
    EACH_SHAPE(k)
    for (double condition = 1; condition < 2e4; condition *= 100) {
        double worst = 0;
        Case c = case_create(SHAPES[k][0], SHAPES[k][1], SPECTRUM_GEOMETRIC, condition, 3);
        norm_of_case = 0;
        for (int i = 0; i < c.n; i++) norm_of_case = hypot(norm_of_case, c.s[i]);
        for (int steps = 1; steps <= 7; steps += 2) {
            keep_worst(&worst, error_of(JORDAN, steps, steps, &c, jordan));
            keep_worst(&worst, error_of(EXPRESS, steps, steps, &c, express));
        }
        assert_true(worst < (condition > 1e3 ? 1e-4 : 2e-5));
        case_free(&c);
    }
}

/* Scaled by a power of two, every input element keeps its significand. */
static void powers_of_two_should_not_change_a_bit(void **state) {
    (void)state;
    const struct {
        Map map;
        float scale;
    } rows[] = {{POLAR, 0x1p-60f}, {POLAR, 0x1p80f}, {JORDAN, 0x1p60f}, {SOFT, 0x1p-20f}, {SOFT, 0x1p20f}};
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        Case c =
            case_create(40, 70, SPECTRUM_GEOMETRIC, 100, 0x1p40); /* Jordan's 1e-7 is lost beside that */
        size_t count = (size_t)c.n * (size_t)c.m;
        float *scaled = copy_of(c.X, count);
        for (size_t i = 0; i < count; i++) scaled[i] *= rows[r].scale;
        run(rows[r].map, 0x1p-30, 5, c.X, c.n, c.m);
        run(rows[r].map, 0x1p-30 / rows[r].scale, 5, scaled, c.n, c.m);
        assert_memory_equal(c.X, scaled, count * sizeof(float));
        free(scaled);
        case_free(&c);
    }
}

/* ---- edges ---- */

static void zero_should_give_zero(void **state) {
    (void)state;
    for (Map map = SOFT; map <= EIGEN; map++) {
        float X[5 * 9] = {0};
        run(map, 1e9, 5, X, 5, 9);
        for (int i = 0; i < 5 * 9; i++) assert_true(X[i] == 0);
    }
}

static void any_finite_input_should_give_a_finite_contraction(void **state) {
    (void)state;
    const double sizes[] = {1e-44, 1e-40, 1e-30, 1e-12, 1, 1e6, 1e30, 1e37}, taus[] = {1, 1e4, 1e9};
    for (Map map = SOFT; map <= EIGEN; map++)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            for (int t = 0; t < 3; t++)
                for (int rank = 1; rank <= 20; rank += 19) {
                    Case c = case_create(20, 70, SPECTRUM_GEOMETRIC, 1, 1);
                    for (int k = 0; k < 20; k++) c.s[k] = k < rank ? sizes[i] : 0;
                    double A[20 * 70];
                    compose(&c, c.s, A);
                    for (int k = 0; k < 20 * 70; k++) c.X[k] = (float)A[k];
                    run(map, taus[t], 5, c.X, c.n, c.m);
                    for (int k = 0; k < 20 * 70; k++) A[k] = c.X[k];
                    for (int k = 0; k < 20 * 70; k++)
                        if (!isfinite(A[k])) fail_msg("map %d, size %g, tau %g", map, sizes[i], taus[t]);
                    svd(A, &c);
                    if (!(c.s[0] < (map == JORDAN || map == EXPRESS ? 1.3 : 1.001)))
                        fail_msg("map %d, size %g, tau %g: %g", map, sizes[i], taus[t], c.s[0]);
                    case_free(&c);
                }
}

/* Rounding of a matrix of rank r leaves singular values of about 1e-8 where zeros were: no more than
 * noise may come out of them, and the rest must be right. */
static void rank_deficient_matrices_should_keep_their_range(void **state) {
    (void)state;
    Case c = case_create(64, 96, SPECTRUM_GEOMETRIC, 10, 1);
    for (int i = 20; i < 64; i++) c.s[i] = 0;
    double *A = malloc(64 * 96 * sizeof *A), U[64];
    compose(&c, c.s, A);
    for (int i = 0; i < 64 * 96; i++) c.X[i] = (float)A[i];
    for (int i = 0; i < 64; i++) U[i] = i < 20;
    compose(&c, U, A);
    run(SOFT, 1e4, 0, c.X, 64, 96);
    assert_true(relative_error(c.X, A, 64 * 96) < 1e-3);
    free(A);
    case_free(&c);
}

/* ---- singular values ---- */

static void singular_values_should_match_lapack(void **state) {
    (void)state;
    EACH_SHAPE(k) {
        size_t count;
        Case c = case_create(SHAPES[k][0], SHAPES[k][1], SPECTRUM_GEOMETRIC, 1e4, 5);
        float *work = guarded_work(c.n, c.m, &count), *values = malloc((size_t)c.n * sizeof *values);
        assert_true(singular_values(c.X, c.n, c.m, values, work));
        for (int i = 0; i < c.n; i++)
            assert_true(fabs(values[i] - c.s[c.n - 1 - i]) < 1e-6 * c.s[c.n - 1 - i]);
        guarded_free(work, count);
        free(values);
        case_free(&c);
    }
}

static void singular_values_above_should_count_exactly(void **state) {
    (void)state;
    EACH_SHAPE(k) {
        size_t count;
        Case c = case_create(SHAPES[k][0], SHAPES[k][1], SPECTRUM_GEOMETRIC, 1e4, 5);
        float *work = guarded_work(c.n, c.m, &count);
        for (int i = 0; i < c.n; i += 1 + c.n / 10) { /* between neighbours, the largest first */
            double above = i == 0 ? 2 * c.s[0] : sqrt(c.s[i] * c.s[i - 1]);
            assert_int_equal(singular_values_above(above, c.X, c.n, c.m, work), i);
        }
        assert_int_equal(singular_values_above(0.99 * c.s[c.n - 1], c.X, c.n, c.m, work), c.n);
        guarded_free(work, count);
        case_free(&c);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(soft_sign_should_match_svds_at_every_temperature),
        cmocka_unit_test(soft_sign_should_depend_on_tau_times_scale_only),
        cmocka_unit_test(golden_soft_signs_should_match),
        cmocka_unit_test(coupled_iteration_should_converge_slowly),
        cmocka_unit_test(eigenvector_map_should_match_svds),
        cmocka_unit_test(converged_polar_factor_should_match_svds),
        cmocka_unit_test(converged_polar_factor_should_have_orthonormal_rows),
        cmocka_unit_test(newton_schulz_should_apply_the_published_polynomials),
        cmocka_unit_test(powers_of_two_should_not_change_a_bit),
        cmocka_unit_test(zero_should_give_zero),
        cmocka_unit_test(any_finite_input_should_give_a_finite_contraction),
        cmocka_unit_test(rank_deficient_matrices_should_keep_their_range),
        cmocka_unit_test(singular_values_should_match_lapack),
        cmocka_unit_test(singular_values_above_should_count_exactly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
