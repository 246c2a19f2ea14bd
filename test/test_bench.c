/* test_bench.c: what bench makes of its measurements, and its file of figures. */
int bench_main(int argc, char **argv);
#define main bench_main
#include "scripts/bench.c"
#undef main

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "test/tempdir.h"

static void configurations_should_have_the_flops_of_the_measured_table(void **state) {
    (void)state;
    static const double GFLOP[SHAPE_COUNT] = {191, 817, 750, 278, 21.7};
    for (int i = 0; i < SHAPE_COUNT; i++)
        assert_true(fabs(1e-9 * flops_of(&SHAPES[i]) / GFLOP[i] - 1) < 0.003);
}

static void a_ratio_should_be_over_the_mean_of_both_probes_and_quiet_near_the_kernels_best(void **state) {
    (void)state;
    double step_s[] = {2, 1, 4, 1};
    Probe probes[] = {{100, 80}, {96, 75}, {60, 50}, {96, 73}, {95, 79}};
    Figures f = {0};
    summarize(&f, step_s, probes, 4, 50); /* ratios 25 / 98, 50 / 78, 12.5 / 78, 50 / 95.5 */
    assert_int_equal(f.steps, 4);
    assert_true(f.step_s == 1 && f.best_step_s == 1 && f.probe == 100);
    assert_true(fabs(f.ratio - 25.0 / 98) < 1e-12 && fabs(f.best_ratio - 50.0 / 78) < 1e-12);
    assert_int_equal(f.quiet_steps, 2); /* the first and the last */
    assert_true(fabs(f.quiet_ratio - 25.0 / 98) < 1e-12);
    assert_true(fabs(f.kernel_ratio - 77.5 / 98) < 1e-12); /* of .791, .801, .788 and .796 */
}

static void parts_should_sum_to_the_threads_time(void **state) {
    (void)state;
    GPT2Seconds spent_s[2] = {{[SECTION_DX] = 1, [SECTION_HEAD] = 2}, {[SECTION_DX] = 2.5}};
    double frac[PART_COUNT], sum = 0;
    split(frac, spent_s, 2, 3, 2);
    for (int k = 0; k < PART_COUNT; k++) sum += frac[k];
    assert_true(fabs(sum - 1) < 1e-12);
    assert_true(fabs(frac[SECTION_DX] - 0.35) < 1e-12 && fabs(frac[SECTION_HEAD] - 0.2) < 1e-12);
    assert_true(fabs(frac[PART_OPTIMIZER] - 0.4) < 1e-12 && fabs(frac[PART_WAITING] - 0.05) < 1e-12);
}

static void options_should_be_taken_or_refused(void **state) {
    (void)state;
    Options o;
    Error err;
    char *some[] = {"bench", "--threads", "3", "c'", "--steps", "7", "a", "--json", "x.json", NULL},
         *none[] = {"bench", NULL};
    assert_true(parse_options(&o, some, &err));
    assert_true(o.threads == 3 && o.steps == 7 && o.shape_count == 2 && strcmp(o.json, "x.json") == 0);
    assert_true(o.shapes[0] == &SHAPES[3] && o.shapes[1] == &SHAPES[0]);
    assert_true(parse_options(&o, none, &err));
    assert_int_equal(o.shape_count, SHAPE_COUNT);
    static char *const wrong[] = {"e", "--thread", "--threads", "--json", "--serve"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char *words[] = {"bench", wrong[i], NULL};
        assert_false(parse_options(&o, words, &err));
        assert_int_equal(err.code, ERR_CONFIG);
    }
}

/* bench forks: nothing in this program may start threads before. */
static void json_should_hold_every_configuration_with_a_whole_split(void **state) {
    (void)state;
    static const Shape tiny[] = {
        {"t", "tiny", {.L = 1, .C = 8, .NH = 2, .T = 70, .V = 50, .bias = true}, 2},
        {"u'", "as tiny", {.L = 2, .C = 16, .NH = 1, .T = 3, .V = 300, .bias = false}, 1},
    };
    static const char *const KEYS[] = {"steps",        "step_ms",       "best_step_ms", "tokens_per_s",
                                       "gflops",       "ratio",         "best_ratio",   "peak_bytes",
                                       "probe_gflops", "planned_bytes", "kernel_ratio"};
    char path[96];
    snprintf(path, sizeof path, "%s/bench.json", dir);
    Options o = {.threads = 2, .steps = 2, .json = path, .shapes = {&tiny[0], &tiny[1]}, .shape_count = 2};
    Error err;
    if (!bench(&o, &err)) fail_msg("%s", err.text);
    cJSON *root = json_read(path, 1 << 20, ERR_DATA, &err);
    if (!root) fail_msg("%s", err.text);
    assert_true(figure(root, "threads") == 2);
    for (int i = 0; i < 2; i++) {
        const cJSON *x = cJSON_GetObjectItemCaseSensitive(
            cJSON_GetObjectItemCaseSensitive(root, "configurations"), tiny[i].name);
        assert_non_null(x);
        for (size_t k = 0; k < sizeof KEYS / sizeof *KEYS; k++) assert_true(figure(x, KEYS[k]) > 0);
        assert_true(figure(x, "steps") == 2);
        const cJSON *quiet = cJSON_GetObjectItemCaseSensitive(x, "quiet_ratio");
        assert_true(figure(x, "quiet_steps") > 0 ? cJSON_IsNumber(quiet) : cJSON_IsNull(quiet));
        double sum = 0;
        for (int k = 0; k < PART_COUNT; k++) {
            double frac = figure(cJSON_GetObjectItemCaseSensitive(x, "part_frac"), PARTS[k]);
            assert_true(frac > 0 && frac < 1);
            sum += frac;
        }
        assert_true(fabs(sum - 1) < 1e-9);
    }
    assert_true(compare(path, path, &err));
    cJSON_Delete(root);
}

static void comparing_should_need_two_files(void **state) {
    (void)state;
    Error err;
    char path[96];
    snprintf(path, sizeof path, "%s/absent.json", dir);
    assert_false(compare(path, path, &err));
    assert_int_equal(err.code, ERR_DATA);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(configurations_should_have_the_flops_of_the_measured_table),
        cmocka_unit_test(a_ratio_should_be_over_the_mean_of_both_probes_and_quiet_near_the_kernels_best),
        cmocka_unit_test(parts_should_sum_to_the_threads_time),
        cmocka_unit_test(options_should_be_taken_or_refused),
        cmocka_unit_test(json_should_hold_every_configuration_with_a_whole_split),
        cmocka_unit_test(comparing_should_need_two_files),
    };
    return cmocka_run_group_tests_name("bench", tests, make_dir, remove_dir);
}
