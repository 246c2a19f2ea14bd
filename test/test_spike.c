/* test_spike.c: which steps are spikes, and that the window survives a checkpoint. */
#include "core/json.h"
#include "core/rng.h"
#include "train/spike.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Alternating 1 and 3: mean 2, standard deviation 1 (and a little, for n - 1). */
static SpikeWindow window_of(int64_t length, int count) {
    SpikeWindow w = {.length = length};
    for (int i = 0; i < count; i++) assert_false(spike_judge(&w, 6, i % 2 ? 3 : 1, i % 2 ? 30 : 10));
    return w;
}

static void a_value_beyond_sigma_is_a_spike_in_loss_or_norm(void **state) {
    (void)state;
    SpikeWindow w = window_of(100, 100), again = w;
    double sd = sqrt(100.0 / 99);
    assert_false(spike_judge(&w, 6, 2 + 5.99 * sd, 20));
    w = again;
    assert_true(spike_judge(&w, 6, 2 + 6.01 * sd, 20));
    w = again;
    assert_false(spike_judge(&w, 6, 2, 20 + 59.9 * sd));
    w = again;
    assert_true(spike_judge(&w, 6, 2, 20 + 60.1 * sd));
    w = again;
    assert_false(spike_judge(&w, 6, -1000, -1000)); /* far below is none */
}

static void nothing_is_a_spike_while_the_window_is_less_than_half_full(void **state) {
    (void)state;
    SpikeWindow w = window_of(20, 9);
    assert_false(spike_judge(&w, 6, 1e6, 1e6));
    w = window_of(20, 10);
    assert_true(spike_judge(&w, 6, 1e6, 1e6));
    w = (SpikeWindow){.length = 2};
    assert_false(spike_judge(&w, 6, 1, 1));
    assert_false(spike_judge(&w, 6, 2, 2)); /* of one value there is no deviation */
}

static void only_the_last_values_count(void **state) {
    (void)state;
    SpikeWindow w = {.length = 10};
    for (int i = 0; i < 10; i++) spike_judge(&w, 6, 1000 * i, 1);
    for (int i = 0; i < 10; i++) spike_judge(&w, 6, i % 2, 1);
    assert_true(spike_judge(&w, 6, 100, 1));
}

static void a_change_that_lasts_is_learned_from_in_the_end(void **state) {
    (void)state;
    SpikeWindow w = window_of(20, 20);
    int left_out = 0;
    while (spike_judge(&w, 3, 50, 20)) left_out++;
    assert_in_range(left_out, 1, 10);
}

static void a_window_reads_back_to_the_same_bits(void **state) {
    (void)state;
    for (int count = 0; count < 40; count += 13) {
        SpikeWindow w = {.length = 16}, back = {0};
        for (int i = 0; i < count; i++) spike_judge(&w, 6, 1 / (3.0 + i), 1e-300 * (i + 1));
        cJSON *root = cJSON_CreateObject();
        assert_true(spike_add_json(root, "spikes", &w));
        char *text = json_print(root);
        cJSON *read = cJSON_Parse(text);
        assert_true(spike_get_json(read, "spikes", &back));
        assert_memory_equal(&w, &back, sizeof w);
        free(text);
        cJSON_Delete(root);
        cJSON_Delete(read);
    }
}

static void a_window_that_was_not_written_so_is_refused(void **state) {
    (void)state;
    static const char *const texts[] = {
        "{\"spikes\":7}",
        "{\"spikes\":{\"length\":1,\"count\":0,\"loss\":[],\"grad_norm\":[]}}",
        "{\"spikes\":{\"length\":1025,\"count\":1025,\"loss\":[],\"grad_norm\":[]}}",
        "{\"spikes\":{\"length\":4,\"count\":-1,\"loss\":[],\"grad_norm\":[]}}",
        "{\"spikes\":{\"length\":4,\"count\":2,\"loss\":[1],\"grad_norm\":[1,2]}}",
        "{\"spikes\":{\"length\":4,\"count\":2,\"loss\":[1,2],\"grad_norm\":[1,\"2\"]}}",
        "{\"spikes\":{\"length\":4,\"count\":2,\"loss\":[1,2]}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        SpikeWindow w = {.length = 4};
        cJSON *root = cJSON_Parse(texts[i]);
        assert_non_null(root);
        assert_false(spike_get_json(root, "spikes", &w));
        cJSON_Delete(root);
    }
}

/* ---- counting ------------------------------------------------------------------------------------------------ */

static int64_t spikes_of(const double *losses, int count) {
    SpikeCounter c = {0};
    for (int i = 0; i < count; i++) spike_count(&c, losses[i]);
    return c.spikes;
}

/* AdamW on Jane Austen, without clipping: at a rate that is all right, where one step goes astray (33), and at ten times
 * that, where two do (14, 15). */
static const double ASTRAY[] = {8.32, 8.33, 8.30, 8.25, 8.22, 8.17, 8.10, 8.07, 8.03, 7.98,
                                7.88, 7.84, 7.71, 7.64, 7.55, 7.49, 7.41, 7.24, 7.22, 7.14,
                                6.95, 6.89, 6.84, 6.77, 6.75, 6.69, 6.76, 6.86, 6.59, 6.55,
                                6.66, 6.63, 8.57, 6.48, 6.56, 6.37, 6.60, 6.36};
static const double TWICE[] = {8.32, 8.26, 8.13, 7.94, 7.74,  7.47, 7.09, 6.88, 6.82, 6.95,
                               6.82, 7.15, 6.64, 9.17, 12.36, 7.80, 7.12, 6.76, 7.11, 7.14,
                               6.72, 6.76, 6.81, 6.71, 6.86,  6.79, 6.91, 6.82, 6.86, 6.79,
                               6.84, 6.96, 6.75, 6.76, 6.78,  6.58, 6.80, 6.53};

static void spikes_of_real_runs_are_counted_once_each(void **state) {
    (void)state;
    assert_int_equal(spikes_of(ASTRAY, 32), 0);
    assert_int_equal(spikes_of(ASTRAY, 33), 1);
    assert_int_equal(spikes_of(ASTRAY, sizeof ASTRAY / sizeof *ASTRAY), 1);
    assert_int_equal(spikes_of(TWICE, 13), 0);
    assert_int_equal(spikes_of(TWICE, 14), 1);
    assert_int_equal(spikes_of(TWICE, sizeof TWICE / sizeof *TWICE), 1);
}

/* Alternates by +-1 around 5: median 5, changes of 2, so the bound is 5 + 8 * 2 / (0.6745 sqrt(2)) = 21.774. */
static void the_bound_is_the_one_stated(void **state) {
    (void)state;
    double losses[65];
    for (int i = 0; i < 64; i++) losses[i] = 5 + (i % 2 ? 1 : -1);
    losses[64] = 21.77;
    assert_int_equal(spikes_of(losses, 65), 0);
    losses[64] = 21.78;
    assert_int_equal(spikes_of(losses, 65), 1);
    for (int i = 0; i < 64; i++) losses[i] = 5; /* no noise: 0.1 nats decide */
    losses[64] = 5.0999;
    assert_int_equal(spikes_of(losses, 65), 0);
    losses[64] = 5.1001;
    assert_int_equal(spikes_of(losses, 65), 1);
    assert_int_equal(spikes_of(losses + 64 - 5, 6), 0); /* too few before it */
    assert_int_equal(spikes_of(losses + 64 - 6, 7), 1);
}

/* A curve that falls, with noise, a step in ten twice as far off: 2 of 400,000 steps are counted. */
static void ordinary_noise_is_no_spike(void **state) {
    (void)state;
    int64_t spikes = 0;
    for (uint64_t seed = 0; seed < 20; seed++) {
        SpikeCounter c = {0};
        for (uint64_t i = 0; i < 2000; i++)
            spike_count(&c, 3 + 6 / (1 + 0.05 * (double)i) +
                                (i % 10 == 9 ? 0.1 : 0.05) * rng_normal(seed, 1, i));
        spikes += c.spikes;
    }
    assert_in_range(spikes, 0, 2);
}

static void a_new_level_is_one_spike_and_then_learned(void **state) {
    (void)state;
    SpikeCounter c = {0};
    for (uint64_t i = 0; i < 100; i++) spike_count(&c, 3 + 0.05 * rng_normal(1, 2, i));
    for (uint64_t i = 0; i < 100; i++) spike_count(&c, 6 + 0.05 * rng_normal(1, 3, i));
    assert_int_equal(c.spikes, 1);
    spike_count(&c, 8);
    spike_count(&c, 6);
    spike_count(&c, 8);
    assert_int_equal(c.spikes, 3);
}

static void a_counter_goes_on_from_its_json(void **state) {
    (void)state;
    for (int stop = 0; stop < 200; stop += 33) {
        SpikeCounter whole = {0}, back = {0};
        for (int i = 0; i < 200; i++) {
            if (i == stop) {
                cJSON *root = cJSON_CreateObject();
                assert_true(spike_counter_add_json(root, "c", &whole));
                char *text = cJSON_PrintUnformatted(root);
                cJSON *read = cJSON_Parse(text);
                assert_true(spike_counter_get_json(read, "c", &back));
                assert_memory_equal(&back.loss, &whole.loss, sizeof back.loss);
                cJSON_Delete(read);
                free(text);
                cJSON_Delete(root);
            }
            double loss = rng_normal(9, 9, (uint64_t)i) + (i % 40 < 2 ? 30 : 0);
            spike_count(&whole, loss);
            if (i >= stop) spike_count(&back, loss);
        }
        assert_true(whole.spikes >= 4 && whole.spikes == back.spikes && whole.within == back.within);
    }
}

static void a_counter_that_was_not_written_so_is_refused(void **state) {
    (void)state;
    const char *texts[] = {
        "{\"c\":7}",
        "{\"c\":{\"count\":-1,\"spikes\":0,\"within\":false,\"loss\":[]}}",
        "{\"c\":{\"count\":1,\"spikes\":2,\"within\":false,\"loss\":[1]}}",
        "{\"c\":{\"count\":1,\"spikes\":0,\"within\":0,\"loss\":[1]}}",
        "{\"c\":{\"count\":2,\"spikes\":0,\"within\":false,\"loss\":[1]}}",
        "{\"c\":{\"count\":100,\"spikes\":0,\"within\":false,\"loss\":[1,2]}}",
        "{\"c\":{\"count\":1,\"spikes\":0,\"within\":false,\"loss\":[\"1\"]}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        SpikeCounter c = {0};
        cJSON *root = cJSON_Parse(texts[i]);
        assert_non_null(root);
        assert_false(spike_counter_get_json(root, "c", &c));
        cJSON_Delete(root);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_beyond_sigma_is_a_spike_in_loss_or_norm),
        cmocka_unit_test(nothing_is_a_spike_while_the_window_is_less_than_half_full),
        cmocka_unit_test(only_the_last_values_count),
        cmocka_unit_test(a_change_that_lasts_is_learned_from_in_the_end),
        cmocka_unit_test(a_window_reads_back_to_the_same_bits),
        cmocka_unit_test(a_window_that_was_not_written_so_is_refused),
        cmocka_unit_test(spikes_of_real_runs_are_counted_once_each),
        cmocka_unit_test(the_bound_is_the_one_stated),
        cmocka_unit_test(ordinary_noise_is_no_spike),
        cmocka_unit_test(a_new_level_is_one_spike_and_then_learned),
        cmocka_unit_test(a_counter_goes_on_from_its_json),
        cmocka_unit_test(a_counter_that_was_not_written_so_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
