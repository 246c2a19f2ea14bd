/* test_vmath.c: the vector functions against libm in double. */
#include "core/vmath.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

/* Relative error in units of 2^-24, so half an ulp to one; the worst over floats a fraction apart. */
static double worst_ulps(float (*fast)(float), double (*exact)(double), float from, float to) {
    double worst = 0;
    for (float x = from; x < to; x += fmaxf(fabsf(x) * 3e-5f, FLT_MIN)) {
        double y = exact(x), error = fabs(fast(x) - y) / fmax(fabs(y), FLT_MIN) * 0x1p24;
        if (!(error <= worst)) worst = error;
    }
    return worst;
}

static void logarithm_should_be_accurate(void **state) {
    (void)state;
    double low = worst_ulps(fast_logf, log, FLT_MIN, 0.9f),
           high = worst_ulps(fast_logf, log, 1.1f, FLT_MAX);
    print_message("log: %.2f, %.2f ulp\n", low, high);
    assert_true(low < 2 && high < 2);
    for (float x = 0.9f; x < 1.1f; x += 1e-6f) assert_true(fabs(fast_logf(x) - log(x)) < 1e-7);
    assert_true(fast_logf(1) == 0);
    assert_true(fast_logf(0) == -INFINITY && fast_logf(1e-40f) == -INFINITY);
    assert_true(isnan(fast_logf(NAN)));
}

static void cube_root_should_be_accurate(void **state) {
    (void)state;
    double worst = worst_ulps(fast_cbrtf, cbrt, FLT_MIN, FLT_MAX);
    print_message("cbrt: %.2f ulp\n", worst);
    assert_true(worst < 2);
    assert_true(fast_cbrtf(0) == 0);
    assert_true(isnan(fast_cbrtf(NAN)));
}

static void exponential_should_be_accurate(void **state) {
    (void)state;
    double below = worst_ulps(fast_expf, exp, -87.3f, -1e-6f),
           above = worst_ulps(fast_expf, exp, 1e-6f, 88.3f);
    print_message("exp: %.2f, %.2f ulp\n", below, above);
    assert_true(below < 2 && above < 2);
    assert_true(fast_expf(0) == 1);
    assert_true(fast_expf(-INFINITY) == 0 && fast_expf(-88) == 0);
    assert_true(fast_expf(INFINITY) == INFINITY && fast_expf(89) == INFINITY);
    assert_true(isnan(fast_expf(NAN)));
}

static void hyperbolic_tangent_should_be_accurate(void **state) {
    (void)state;
    double below = worst_ulps(fast_tanhf, tanh, -20, -1e-6f),
           above = worst_ulps(fast_tanhf, tanh, 1e-6f, 20);
    print_message("tanh: %.2f, %.2f ulp\n", below, above);
    assert_true(below < 3 && above < 3);
    assert_true(fast_tanhf(0) == 0 && fast_tanhf(1e30f) == 1 && fast_tanhf(-INFINITY) == -1);
    assert_true(isnan(fast_tanhf(NAN)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logarithm_should_be_accurate),
        cmocka_unit_test(cube_root_should_be_accurate),
        cmocka_unit_test(exponential_should_be_accurate),
        cmocka_unit_test(hyperbolic_tangent_should_be_accurate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
