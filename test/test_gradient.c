/* The gradient's norm, its clipping, and the search for what is not finite (train/gradient.h). */
#include "train/gradient.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { COUNT = 3 };

static const struct {
    int rows, cols;
} SHAPES[COUNT] = {
    {1, 7}, {300, 700}, {5, 13}}; /* smaller than a vector, several pieces, with a remainder */

/* Gradients between -1 and 1, the same each time. */
static int create(void **state) {
    Param *params = calloc(COUNT, sizeof *params);
    if (!params) return -1;
    unsigned x = 1;
    for (int i = 0; i < COUNT; i++) {
        Param *p = &params[i];
        p->rows = SHAPES[i].rows, p->cols = SHAPES[i].cols;
        if (!(p->g = malloc(param_size(p) * sizeof *p->g))) return -1;
        for (size_t k = 0; k < param_size(p); k++)
            p->g[k] = (float)((int)((x = x * 1103515245u + 12345u) >> 16 & 0x7fff) - 16384) / 16384.0f;
    }
    *state = params;
    return 0;
}

static int destroy(void **state) {
    Param *params = *state;
    for (int i = 0; i < COUNT; i++) free(params[i].g);
    free(params);
    return 0;
}

static double norm_in_one_loop(const Param *params) {
    long double sum = 0;
    for (int i = 0; i < COUNT; i++)
        for (size_t k = 0; k < param_size(&params[i]); k++)
            sum += (long double)params[i].g[k] * params[i].g[k];
    return (double)sqrtl(sum);
}

static void the_norm_should_be_that_of_all_tensors_as_one(void **state) {
    double expected = norm_in_one_loop(*state);
    assert_true(fabs(gradient_norm(*state, COUNT, 2) - expected) < 1e-13 * expected);
}

static void the_norm_should_have_the_same_bits_with_any_number_of_threads(void **state) {
    double one = gradient_norm(*state, COUNT, 1);
    for (int threads = 2; threads <= 7; threads++)
        assert_true(gradient_norm(*state, COUNT, threads) == one);
}

static void one_element_that_is_not_finite_should_be_found_wherever_it_is(void **state) {
    Param *params = *state;
    assert_null(gradient_find_nonfinite(params, COUNT));
    for (int i = 0; i < COUNT; i++) {
        size_t n = param_size(&params[i]), places[] = {0, n / 2, n - 1};
        for (int k = 0; k < 3; k++) {
            float *g = &params[i].g[places[k]], before = *g;
            *g = k == 1 ? INFINITY : NAN;
            assert_false(isfinite(gradient_norm(params, COUNT, 2)));
            assert_ptr_equal(gradient_find_nonfinite(params, COUNT), &params[i]);
            *g = before;
        }
    }
}

static void huge_gradients_should_have_a_finite_norm(void **state) {
    Param *params = *state;
    for (size_t k = 0; k < param_size(&params[1]); k++)
        params[1].g[k] = 3e38f; /* squares overflow a float */
    assert_true(isfinite(gradient_norm(params, COUNT, 2)));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(the_norm_should_be_that_of_all_tensors_as_one, create, destroy),
        cmocka_unit_test_setup_teardown(the_norm_should_have_the_same_bits_with_any_number_of_threads,
                                        create, destroy),
        cmocka_unit_test_setup_teardown(one_element_that_is_not_finite_should_be_found_wherever_it_is,
                                        create, destroy),
        cmocka_unit_test_setup_teardown(huge_gradients_should_have_a_finite_norm, create, destroy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
