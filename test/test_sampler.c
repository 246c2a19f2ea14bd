/* Drawing a token (train/sampler.h). */
#include "train/sampler.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { V = 5, DRAWS = 20000 };

static const float logits[V] = {1.0f, 3.0f, 0.0f, 2.0f, 2.0f};

/* How often each id comes out when `uniform` runs evenly through [0, 1). */
static void draw_all(double temperature, int64_t top_k, double frac[V]) {
    float work[V];
    for (int v = 0; v < V; v++) frac[v] = 0;
    for (int i = 0; i < DRAWS; i++)
        frac[sampler_choose(logits, V, temperature, top_k, (i + 0.5) / DRAWS, work)] += 1.0 / DRAWS;
}

static void temperature_zero_should_take_the_largest(void **state) {
    (void)state;
    double frac[V];
    draw_all(0, 0, frac);
    assert_true(fabs(frac[1] - 1) < 1e-9);
}

static void frequencies_should_be_those_of_the_softmax(void **state) {
    (void)state;
    for (double temperature = 0.5; temperature <= 2; temperature *= 2) {
        double frac[V], sum = 0;
        draw_all(temperature, 0, frac);
        for (int v = 0; v < V; v++) sum += exp(logits[v] / temperature);
        for (int v = 0; v < V; v++)
            assert_true(fabs(frac[v] - exp(logits[v] / temperature) / sum) < 2.0 / DRAWS);
    }
}

static void top_k_should_leave_out_all_but_the_largest_and_their_equals(void **state) {
    (void)state;
    double frac[V];
    draw_all(1, 1, frac);
    assert_true(fabs(frac[1] - 1) < 1e-9);
    draw_all(1, 2, frac); /* ids 3 and 4 are equal */
    assert_true(frac[0] == 0 && frac[2] == 0 && frac[3] > 0.1 && fabs(frac[3] - frac[4]) < 2.0 / DRAWS);
    draw_all(1, V + 10, frac);
    assert_true(frac[2] > 0);
}

static void the_ends_of_uniform_should_give_ids_that_can_be_drawn(void **state) {
    (void)state;
    float work[V];
    assert_int_equal(sampler_choose(logits, V, 1, 1, 0, work), 1);
    assert_int_equal(sampler_choose(logits, V, 1, 1, 1 - 0x1p-53, work), 1);
}

static void extreme_logits_should_not_overflow(void **state) {
    (void)state;
    const float extreme[3] = {-1e30f, 1e30f, -INFINITY};
    float work[3];
    assert_int_equal(sampler_choose(extreme, 3, 0.01, 0, 0.999, work), 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(temperature_zero_should_take_the_largest),
        cmocka_unit_test(frequencies_should_be_those_of_the_softmax),
        cmocka_unit_test(top_k_should_leave_out_all_but_the_largest_and_their_equals),
        cmocka_unit_test(the_ends_of_uniform_should_give_ids_that_can_be_drawn),
        cmocka_unit_test(extreme_logits_should_not_overflow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
