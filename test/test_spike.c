/* test_spike.c: which steps are spikes, and that the window survives a checkpoint. */
#include "core/json.h"
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_beyond_sigma_is_a_spike_in_loss_or_norm),
        cmocka_unit_test(nothing_is_a_spike_while_the_window_is_less_than_half_full),
        cmocka_unit_test(only_the_last_values_count),
        cmocka_unit_test(a_change_that_lasts_is_learned_from_in_the_end),
        cmocka_unit_test(a_window_reads_back_to_the_same_bits),
        cmocka_unit_test(a_window_that_was_not_written_so_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
