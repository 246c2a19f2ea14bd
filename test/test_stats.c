/* test_stats.c: the numbers of train/stats.h against SciPy 1.17.1 and statsmodels 0.15.0 (power, Holm). */
#include "train/stats.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void assert_close(double x, double expected, double relative) {
    if (!(fabs(x - expected) <= relative * fabs(expected))) fail_msg("%.17g, not %.17g", x, expected);
}

/* -------------------------------------------------------------------------------------- distributions */

static void the_median_is_the_lower_one(void **state) {
    (void)state;
    double odd[] = {3, 1, 2}, even[] = {4, 1, 3, 2};
    assert_true(stats_median(odd, 3) == 2);
    assert_true(stats_median(even, 4) == 2);
    assert_true(isnan(stats_median(odd, 0)));
}

static void the_incomplete_beta_function_is_scipys(void **state) {
    (void)state;
    static const double cases[][4] = {
        /* a, b, x, scipy.special.betainc */
        {2, 0.5, 0.3, 0.03784096948581308},      {0.5, 0.5, 0.1, 0.20483276469913345},
        {2.5, 3.5, 0.9, 0.9978262271572729},     {50, 0.5, 0.99, 0.3173043978741973},
        {500, 0.5, 0.999, 0.31731044730971725},  {0.5, 4, 1e-6, 0.0021874978125013115},
        {5e4, 0.5, 0.99999, 0.3173105078579662}, {2, 3, 0.4, 0.5248}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const double *c = cases[i];
        assert_close(stats_beta(c[0], c[1], c[2]), c[3], 1e-9);
        assert_close(1 - stats_beta(c[1], c[0], 1 - c[2]), c[3], 1e-9);
    }
    assert_true(stats_beta(2, 3, 0) == 0 && stats_beta(2, 3, 1) == 1);
}

static void two_sided_probabilities_of_t_are_scipys(void **state) {
    (void)state;
    static const double cases[][3] = {/* t, degrees of freedom, 2 scipy.stats.t.sf(|t|) */
                                      {0.5, 1, 0.7048327646991335},     {2.5, 4, 0.06676654481198814},
                                      {-2.5, 4, 0.06676654481198814},   {0.001, 9, 0.9992239303259733},
                                      {30, 4, 7.352856097661319e-06},   {100, 19, 2.4977675763618074e-27},
                                      {1.96, 1e5, 0.04999856319430168}, {4, 2, 0.05719095841793663}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_close(stats_t_two_sided(cases[i][0], cases[i][1]), cases[i][2], 1e-9);
    assert_true(stats_t_two_sided(0, 3) == 1);
}

static void quantiles_of_t_are_scipys(void **state) {
    (void)state;
    static const double cases[][3] = {/* two-sided p, degrees of freedom, scipy.stats.t.isf(p / 2) */
                                      {0.05, 1, 12.706204736174705},    {0.05, 4, 2.7764451051977943},
                                      {0.05, 9, 2.2621571627982053},    {0.01, 2, 9.924843200918293},
                                      {0.05 / 45, 4, 8.37633113289304}, {1e-8, 3, 604.1648958186104},
                                      {0.5, 30, 0.6827556933212927},    {0.999, 5, 0.0013171532190937652}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_close(stats_t_quantile(cases[i][0], cases[i][1]), cases[i][2], 1e-9);
}

/* ----------------------------------------------------------------------------------------------- tests */

static const double A[] = {3.4187, 3.4251, 3.4102, 3.4311, 3.4230},
                    B[] = {3.4215, 3.4262, 3.4139, 3.4318, 3.4266};

static void a_sample_has_mean_and_standard_error(void **state) {
    (void)state;
    const double x[] = {1, 2, 4, 5};
    StatsSample s = stats_sample(x, 4); /* squares about 3: 4 + 1 + 1 + 4 = 10; 10 / 3 */
    assert_close(s.mean, 3, 1e-15);
    assert_close(s.sd, sqrt(10.0 / 3), 1e-15);
    assert_close(s.se, sqrt(10.0 / 12), 1e-15);
    s = stats_sample(x, 1);
    assert_true(s.mean == 1 && isnan(s.sd) && isnan(s.se));
    assert_true(isnan(stats_sample(x, 0).mean));
}

static void a_paired_test_is_scipys(void **state) {
    (void)state;
    StatsPaired d = stats_paired(A, B, 5, 0.05); /* scipy.stats.ttest_rel, .confidence_interval(0.95) */
    assert_int_equal(d.n, 5);
    assert_close(d.mean, -0.00238, 1e-12);
    assert_close(d.sd, 0.0014024977718341475, 1e-11);
    assert_close(d.se, 0.0006272160712226287, 1e-11);
    assert_close(d.t, -3.794545626614331, 1e-11);
    assert_close(d.p, 0.019193565579383953, 1e-10);
    assert_close(d.low, -0.004121430990847507, 1e-10);
    assert_close(d.high, -0.0006385690091525904, 1e-10);
    assert_close(d.p_flip, 0.0625, 0);
    assert_false(d.constant);
    StatsPaired back = stats_paired(B, A, 5, 0.05);
    assert_true(back.p == d.p && back.t == -d.t && back.low == -d.high);
}

static void flipping_signs_counts_every_way(void **state) {
    (void)state;
    const double d[] = {-0.3, 0.1, -0.5, -0.2, 0.05, -0.4, -0.15, 0.02}, ties[] = {0, 0, 0},
                 rounded[] = {0.1, 0.1, 0.1, -0.1}, many[21] = {1};
    assert_close(stats_sign_flip(d, 8), 0.078125, 0); /* scipy.stats.permutation_test: 20 of 256 */
    assert_close(stats_sign_flip(d, 2), 1, 0);        /* -0.2 of 0.4 at most: also -0.4, 0.4, 0.2 */
    assert_close(stats_sign_flip(ties, 3), 1, 0);
    assert_close(stats_sign_flip(rounded, 4), 0.625,
                 0); /* sums of 0.2, 0.2, 0.2, 0.2 and 0.4, as they round */
    assert_true(isnan(stats_sign_flip(d, 1)) && isnan(stats_sign_flip(many, 21)));
    assert_close(stats_sign_flip(many, 20), 1, 0);
}

static void holm_corrects_for_the_family(void **state) {
    (void)state;
    double p[] = {0.01,  0.04, NAN, 0.03,
                  0.005, 0.2,  0.04}; /* multipletests(method='holm') without the NAN */
    const double expected[] = {0.05, 0.12, NAN, 0.12, 0.03, 0.2, 0.12};
    stats_holm(p, 7);
    for (int i = 0; i < 7; i++)
        if (i == 2) assert_true(isnan(p[i]));
        else assert_close(p[i], expected[i], 1e-14);
    double big[] = {0.9, 0.8};
    stats_holm(big, 2);
    assert_true(big[0] == 1 && big[1] == 1);
    stats_holm(big, 0);
}

static void what_can_be_detected_is_statsmodels(void **state) {
    (void)state;
    static const struct {
        int n;
        double alpha, power, expected; /* statsmodels TTestPower().solve_power: in standard deviations */
    } cases[] = {{2, 0.05, 0.8, 11.549889754978167},     {3, 0.05, 0.8, 3.264043552819638},
                 {5, 0.05, 0.8, 1.6819970833232674},     {5, 0.05, 0.1, 0.37274070967576817},
                 {5, 0.05 / 9, 0.8, 3.0697017483804796}, {10, 0.05, 0.9, 1.154565052026948},
                 {30, 0.01, 0.8, 0.6622069388851101}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_close(stats_detectable(2, cases[i].n, cases[i].alpha, cases[i].power), 2 * cases[i].expected,
                     1e-6);
    assert_true(isnan(stats_detectable(1, 1, 0.05, 0.8)));
}

/* -------------------------------------------------------------------------------------------- verdicts */

static StatsVerdict verdict_of(const double *a, const double *b, int n) {
    StatsPaired d = stats_paired(a, b, n, 0.05);
    return stats_verdict(&d, d.p, 0.05);
}

static void a_verdict_is_given_only_where_the_test_says_so(void **state) {
    (void)state;
    assert_int_equal(verdict_of(A, B, 5), VERDICT_BETTER);
    assert_int_equal(verdict_of(B, A, 5), VERDICT_WORSE);
    assert_int_equal(verdict_of(A, B, 2), VERDICT_NOT_DISTINGUISHABLE);
    StatsPaired d = stats_paired(A, B, 5, 0.05);
    assert_int_equal(stats_verdict(&d, 0.05, 0.05), VERDICT_NOT_DISTINGUISHABLE); /* below, not at */
    assert_int_equal(stats_verdict(&d, NAN, 0.05), VERDICT_NOT_DISTINGUISHABLE);
}

static void one_seed_or_no_noise_gives_no_verdict(void **state) {
    (void)state;
    const double lower[] = {3.1, 3.2, 3.3}, higher[] = {3.2, 3.3, 3.4};
    assert_int_equal(verdict_of(A, B, 1), VERDICT_TOO_FEW);
    assert_int_equal(verdict_of(A, B, 0), VERDICT_TOO_FEW);
    assert_int_equal(verdict_of(lower, higher, 3), VERDICT_CONSTANT); /* 0.1 but for rounding */
    assert_int_equal(verdict_of(A, A, 5), VERDICT_IDENTICAL);
    StatsPaired one = stats_paired(A, B, 1, 0.05), constant = stats_paired(lower, higher, 3, 0.05);
    assert_close(one.mean, -0.0028, 1e-12);
    assert_true(isnan(one.p) && isnan(one.low) && isnan(one.p_flip));
    assert_true(constant.constant && isnan(constant.p) && isnan(constant.t) && isnan(constant.high));
}

static void verdicts_have_words(void **state) {
    (void)state;
    assert_string_equal(stats_verdict_text(VERDICT_BETTER), "better");
    assert_string_equal(stats_verdict_text(VERDICT_WORSE), "worse");
    assert_string_equal(stats_verdict_text(VERDICT_NOT_DISTINGUISHABLE), "not distinguishable");
    assert_non_null(strstr(stats_verdict_text(VERDICT_TOO_FEW), "no verdict"));
    assert_non_null(strstr(stats_verdict_text(VERDICT_CONSTANT), "no verdict"));
    assert_string_equal(stats_verdict_text(VERDICT_IDENTICAL), "identical");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_incomplete_beta_function_is_scipys),
        cmocka_unit_test(two_sided_probabilities_of_t_are_scipys),
        cmocka_unit_test(quantiles_of_t_are_scipys),
        cmocka_unit_test(a_sample_has_mean_and_standard_error),
        cmocka_unit_test(a_paired_test_is_scipys),
        cmocka_unit_test(flipping_signs_counts_every_way),
        cmocka_unit_test(holm_corrects_for_the_family),
        cmocka_unit_test(what_can_be_detected_is_statsmodels),
        cmocka_unit_test(a_verdict_is_given_only_where_the_test_says_so),
        cmocka_unit_test(one_seed_or_no_noise_gives_no_verdict),
        cmocka_unit_test(the_median_is_the_lower_one),
        cmocka_unit_test(verdicts_have_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
