/* test_temperature.c: quantiles, temperatures, exact medians, soft maps. */
#include "optim/temperature.h"

#include "core/rng.h"
#include "test/golden.h"

static Temperature paper_defaults(void) {
    return (Temperature){
        .alpha_sign = 0.9, .eps = 1e-4, .tau_max = 1e9, .newton_iters = 10, .map = MAP_TANH};
}

static void assert_near(double value, double expected, double relative) {
    if (!(fabs(value - expected) <= relative * fabs(expected)))
        fail_msg("%.17g differs from %.17g by more than %g of it", value, expected, relative);
}

/* Medians */

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static float sorted_middle(float *x, size_t count) {
    qsort(x, count, sizeof *x, by_value);
    return x[(count - 1) / 2];
}

/* Compares with sorting; the sample is handed over in parts of uneven size. */
static void assert_sorting_agrees(const float *x, size_t count, int threads) {
    float *copy = malloc(count * sizeof *copy);
    memcpy(copy, x, count * sizeof *copy);
    float center = sorted_middle(copy, count);
    for (size_t i = 0; i < count; i++) copy[i] = fabsf(x[i] - center);
    float distance = sorted_middle(copy, count);
    SamplePart parts[3] = {{.x = x, .count = count / 7},
                           {.x = x + count / 7},
                           {.x = x + count / 7, .count = count - count / 7}};
    double median, mad;
    median_and_mad(parts, 3, threads, &median, &mad);
    assert_true(median == center);
    assert_true(mad == distance);
    free(copy);
}

static void median_should_be_the_lower_one(void **state) {
    (void)state;
    const float x[] = {4, -1, 3, 2};
    double median, mad;
    median_and_mad(&(SamplePart){.x = x, .count = 4}, 1, 1, &median, &mad);
    assert_true(median == 2);
    assert_true(mad == 1); /* of 2, 3, 1, 0 */
}

static void median_should_equal_sorting(void **state) {
    (void)state;
    static float x[200001];
    for (uint64_t round = 0; round < 6; round++)
        for (size_t count = 1; count <= 200001; count = count < 40 ? count + 1 : count * 17 + 1) {
            for (size_t i = 0; i < count; i++) {
                double z = rng_normal(round, count, i);
                if (round == 1) z = (float)(int)z;                     /* many equal, many zero */
                if (round == 2) z = exp(20 * z);                       /* many magnitudes */
                if (round == 3) z = -fabs(z) - 5;                      /* all negative */
                if (round == 4) z = 1 + z * 1e-6;                      /* equal leading bits */
                if (round == 5) z = i % 3 ? 0.0 : i % 2 ? 1e30 : -0.0; /* both zeros */
                x[i] = (float)z;
            }
            assert_sorting_agrees(x, count, round % 2 ? 1 : 3);
        }
}

static void median_of_nothing_should_be_zero(void **state) {
    (void)state;
    double median = 1, mad = 1;
    median_and_mad(NULL, 0, 2, &median, &mad);
    assert_true(median == 0 && mad == 0);
}

/* Quantiles and temperatures */

static void quantile_should_invert_the_folded_law(void **state) {
    (void)state;
    for (double median = -3; median <= 3; median += 0.75)
        for (double p = 0.05; p < 0.99; p += 0.05) {
            double q = folded_cauchy_quantile(p, median, 2, 50);
            double cdf = (atan((q - median) / 2) - atan((-q - median) / 2)) / M_PI;
            assert_near(cdf, p, 1e-7); /* the authors' guard 1e-8 shifts it by about that much */
        }
}

static void schedule_should_match_the_authors_code(void **state) {
    (void)state;
    cJSON *json = golden_parse("test/golden/optim/temperature_schedule.json");
    int N = cJSON_GetObjectItem(json, "N")->valueint;
    double median = cJSON_GetObjectItem(json, "median")->valuedouble;
    double mad = cJSON_GetObjectItem(json, "mad")->valuedouble;
    Temperature paper = paper_defaults(), capped = paper_defaults(), spectral = paper_defaults();
    capped.tau_max = 20;
    spectral.map = MAP_ALGEBRAIC;
    paper.alpha_sign = capped.alpha_sign = spectral.alpha_sign = 0.5;
    const struct {
        const char *name;
        const Temperature *t;
    } rows[] = {{"tau_softsignum_tmax1000000000", &paper},
                {"tau_softsignum_tmax20", &capped},
                {"tau_softmuon", &spectral}};
    for (int k = 0; k < N; k++) {
        const cJSON *q = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "quantiles"), k);
        assert_true(fabs(folded_cauchy_quantile((double)k / N, median, mad, 10) - q->valuedouble) < 1e-12);
        for (int r = 0; r < 3; r++) {
            const cJSON *tau = cJSON_GetArrayItem(cJSON_GetObjectItem(json, rows[r].name), k);
            assert_near(temperature_at(rows[r].t, median, mad, N + 1 + k, 2 * N), tau->valuedouble, 1e-12);
        }
    }
    static float x[4096];
    const cJSON *sample = cJSON_GetObjectItem(json, "x");
    golden_floats(sample, x);
    double ours, our_mad;
    median_and_mad(&(SamplePart){.x = x, .count = (size_t)cJSON_GetArraySize(sample)}, 1, 2, &ours,
                   &our_mad);
    assert_near(ours, median, 1e-6);
    assert_near(our_mad, mad, 1e-6);
    cJSON_Delete(json);
}

static void saturation_should_solve_the_map(void **state) {
    (void)state;
    assert_near(soft_map_saturation(MAP_TANH, 1e-4), 4.9517, 1e-5);
    assert_near(soft_map_saturation(MAP_ALGEBRAIC, 1e-4), 70.705, 1e-5);
    for (SoftMap map = MAP_TANH; map <= MAP_LINEAR; map++)
        for (double eps = 1e-3; eps < 1; eps *= 3)
            assert_near(soft_map(map, (float)soft_map_saturation(map, eps)), 1 - eps, 1e-6);
}

static void hard_phase_should_last_the_rounded_share(void **state) {
    (void)state;
    Temperature t = paper_defaults();
    t.alpha_sign = 0.29; /* 0.29 * 100 is a little less than 29 */
    assert_int_equal(temperature_hard_steps(&t, 100), 29);
    t.alpha_sign = 0.6;
    assert_int_equal(temperature_hard_steps(&t, 20), 12);
    assert_true(isinf(temperature_at(&t, 0, 1, 12, 20)));
    assert_true(temperature_at(&t, 0, 1, 13, 20) == 1e9);
    assert_true(temperature_at(&t, 0, 1, 14, 20) < 1e9);
    t.alpha_sign = 1;
    assert_true(isinf(temperature_at(&t, 0, 1, 20, 20)));
    assert_true(isinf(temperature_at(&t, 0, 1, 21, 20)));
    t.alpha_sign = 0;
    assert_true(temperature_at(&t, 0, 1, 1, 20) == 1e9);
}

static void temperature_should_fall_within_its_bounds(void **state) {
    (void)state;
    const double scales[] = {1e-30, 1e-9, 1e-6, 1e-3, 1, 1e6, 1e30};
    Temperature t = paper_defaults();
    for (int i = 0; i < 7; i++) {
        double before = INFINITY;
        for (int64_t step = 901; step <= 1000; step++) {
            double tau = temperature_at(&t, 0.1 * scales[i], scales[i], step, 1000);
            assert_true(tau >= 1 && tau <= 1e9 && tau <= before);
            before = tau;
        }
        assert_true(temperature_at(&t, 0, scales[i], 1100, 1000) ==
                    temperature_at(&t, 0, scales[i], 1000, 1000));
    }
}

static void temperature_should_survive_a_sample_without_spread(void **state) {
    (void)state;
    Temperature t = paper_defaults();
    for (int64_t step = 901; step <= 1000; step++) {
        assert_true(temperature_at(&t, 0, 0, step, 1000) == 1e9);
        assert_near(temperature_at(&t, -0.5, 0, step, 1000), 2 * soft_map_saturation(MAP_TANH, 1e-4), 1e-9);
    }
}

/* Maps */

static void soft_maps_should_be_odd_and_bounded_and_tend_to_the_sign(void **state) {
    (void)state;
    for (SoftMap map = MAP_TANH; map <= MAP_SIGN; map++) {
        for (float y = 1e-30f; y < 1e38f; y *= 1.7f) {
            assert_true(soft_map(map, -y) == -soft_map(map, y));
            assert_true(soft_map(map, y) > 0);
            if (map == MAP_LINEAR) continue;
            assert_true(soft_map(map, y) <= 1);
            if (y > 1e5f) assert_true(soft_map(map, y) == 1);
            if (y < 1e-4f && map != MAP_SIGN) assert_near(soft_map(map, y), y, 1e-6);
        }
        assert_true(soft_map(map, 0) == 0);
        double end = map == MAP_LINEAR ? INFINITY : 1;
        assert_true(soft_map(map, INFINITY) == end && soft_map(map, -INFINITY) == -end);
    }
    assert_near(soft_map(MAP_TANH, 0.7f), tanh(0.7), 1e-6);
    assert_near(soft_map(MAP_ALGEBRAIC, 0.7f), 0.7 / sqrt(1.49), 1e-6);
    assert_near(soft_map(MAP_CLIP, 0.7f), 0.7, 1e-6);
    assert_true(soft_map(MAP_LINEAR, 0.7f) == 0.7f && soft_map(MAP_LINEAR, -70) == -70);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(median_should_be_the_lower_one),
        cmocka_unit_test(median_should_equal_sorting),
        cmocka_unit_test(median_of_nothing_should_be_zero),
        cmocka_unit_test(quantile_should_invert_the_folded_law),
        cmocka_unit_test(schedule_should_match_the_authors_code),
        cmocka_unit_test(saturation_should_solve_the_map),
        cmocka_unit_test(hard_phase_should_last_the_rounded_share),
        cmocka_unit_test(temperature_should_fall_within_its_bounds),
        cmocka_unit_test(temperature_should_survive_a_sample_without_spread),
        cmocka_unit_test(soft_maps_should_be_odd_and_bounded_and_tend_to_the_sign),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
