/* test_study_summary.c: what follows from an index, against numbers worked out by hand or with SciPy. */
#include "train/study_summary.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/tempdir.h"

/* An index is written as text, then read: a list of methods, and runs added one at a time. */
static char runs_text[1 << 16];
static int run_number;
static const char *tune_seeds; /* what the index says of them; NULL: nothing */

static void begin_index(void) {
    *runs_text = '\0';
    run_number = 0;
    tune_seeds = NULL;
}

/* trunk: the number of the run that it branches from, or -1. loss: "diverged", "waiting", ... or a number. */
static void add_branch(const char *method, const char *phase, const char *settings, int seed, int trunk,
                       const char *loss) {
    char from[64] = "\"trunk\":null,\"branch_step\":null";
    if (trunk >= 0) snprintf(from, sizeof from, "\"trunk\":\"runs/%d\",\"branch_step\":7", trunk);
    bool done = strchr("0123456789", *loss) != NULL;
    size_t n = strlen(runs_text);
    snprintf(runs_text + n, sizeof runs_text - n,
             "%s{\"dir\":\"runs/%d\",\"method\":\"%s\",\"phase\":\"%s\",\"settings\":{%s},\"seed\":%d,%s,"
             "\"state\":\"%s\",\"loss\":%s}",
             n ? "," : "", run_number++, method, phase, settings, seed, from, done ? "done" : loss,
             done ? loss : "null");
}

static void add_run(const char *method, const char *phase, const char *settings, int seed,
                    const char *loss) {
    add_branch(method, phase, settings, seed, -1, loss);
}

static StudyIndex read_index(const char *baseline, const char *methods) {
    char path[128];
    StudyIndex index;
    Error err;
    snprintf(path, sizeof path, "%s/index.json", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fprintf(f, "{\"name\":\"s\",\"baseline\":\"%s\",\"state\":\"done\",%s%s\"methods\":[%s],\"runs\":[%s]}",
            baseline, tune_seeds ? tune_seeds : "", tune_seeds ? "," : "", methods, runs_text);
    assert_int_equal(fclose(f), 0);
    if (!study_index_read(&index, dir, &err)) fail_msg("%s", err.text);
    return index;
}

#define BRANCH(name, trunk, settings)                                                                      \
    "{\"name\":\"" name "\",\"optimizer\":\"adamw\",\"trunk\":" trunk ",\"settings\":" settings            \
    ",\"edge\":null}"
#define METHOD(name, settings) BRANCH(name, "null", settings)

static StudySummary summarize(const StudyIndex *index, const char *baseline) {
    StudySummary s;
    Error err;
    if (!study_summary_make(&s, index, baseline, 0.05, &err)) fail_msg("%s", err.text);
    return s;
}

static void assert_close(double x, double expected, double tolerance) {
    if (!(fabs(x - expected) <= tolerance)) fail_msg("%.17g, not %.17g", x, expected);
}

/* ------------------------------------------------------------------------------------------------------------ */

/* Three methods: b is lower than a on all of five seeds (SciPy: test_stats.c), c is noise around a. */
static StudyIndex three_methods(void) {
    static const char *const a[] = {"3.4215", "3.4262", "3.4139", "3.4318", "3.4266"},
                             *const b[] = {"3.4187", "3.4251", "3.4102", "3.4311", "3.4230"},
                             *const c[] = {"3.4220", "3.4255", "3.4149", "3.4310", "3.4270"};
    begin_index();
    for (int seed = 5; seed >= 1; seed--) { /* any order */
        add_run("a", "final", "\"optimizer.lr\":0.1", seed, a[seed - 1]);
        add_run("c", "final", "\"optimizer.lr\":0.1", seed, c[seed - 1]);
        add_run("b", "final", "\"optimizer.lr\":0.1", seed, b[seed - 1]);
    }
    return read_index("a", METHOD("a", "{\"optimizer.lr\":0.1}") "," METHOD(
                               "b", "{\"optimizer.lr\":0.1}") "," METHOD("c", "{\"optimizer.lr\":0.1}"));
}

static void methods_are_ranked_and_compared_with_the_baseline(void **state) {
    (void)state;
    StudyIndex index = three_methods();
    StudySummary s = summarize(&index, NULL);
    assert_int_equal(s.count, 3);
    assert_int_equal(s.baseline, 0);
    assert_int_equal(s.order[0], 1);
    assert_int_equal(s.order[1], 0);
    assert_int_equal(s.order[2], 2);
    const StudyResult *b = &s.methods[1], *c = &s.methods[2];
    assert_int_equal(b->runs, 5);
    assert_int_equal(b->done[0]->seed, 1);
    assert_close(b->loss.mean, 3.42162, 1e-12);
    assert_int_equal(b->curve_count, 0); /* nothing was tuned */
    assert_int_equal(b->against_baseline.test.n, 5);
    assert_close(b->against_baseline.test.mean, -0.00238, 1e-12);
    assert_close(b->against_baseline.test.p, 0.019193565579383953, 1e-11);
    assert_int_equal(s.baseline_tests, 2);
    assert_close(b->against_baseline.p_holm, 2 * 0.019193565579383953, 1e-11);
    assert_int_equal(b->against_baseline.verdict, VERDICT_BETTER);
    assert_int_equal(c->against_baseline.verdict, VERDICT_NOT_DISTINGUISHABLE);
    assert_close(b->against_baseline.detectable,
                 stats_detectable(b->against_baseline.test.sd, 5, 0.025, 0.8), 1e-12);
    assert_int_equal(s.methods[0].against_baseline.verdict, VERDICT_IDENTICAL);
    study_summary_free(&s);
    study_index_free(&index);
}

static void pairs_are_one_family_and_mirror_each_other(void **state) {
    (void)state;
    StudyIndex index = three_methods();
    StudySummary s = summarize(&index, NULL);
    const StudyComparison *ab = &s.pairs[0 * 3 + 1], *ba = &s.pairs[1 * 3 + 0], *bc = &s.pairs[1 * 3 + 2];
    assert_int_equal(s.pair_tests, 3);
    assert_close(ba->test.mean, -0.00238, 1e-12);
    assert_close(ab->test.mean, 0.00238, 1e-12);
    assert_true(ab->test.low == -ba->test.high && ab->test.p == ba->test.p && ab->p_holm == ba->p_holm);
    /* b - c: -.0033 -.0004 -.0047 .0001 -.004: SciPy's p is 0.0646; the smallest of the three is ab's, so ab's is
     * tripled: above 0.05, though below it in the smaller family of the baseline. */
    assert_close(ab->p_holm, 3 * 0.019193565579383953, 1e-11);
    assert_int_equal(ba->verdict, VERDICT_NOT_DISTINGUISHABLE);
    assert_close(bc->p_holm, 2 * 0.06458830290940223, 1e-11);
    assert_int_equal(s.pairs[4].verdict, VERDICT_IDENTICAL);
    study_summary_free(&s);
    study_index_free(&index);
}

static void another_baseline_can_be_chosen(void **state) {
    (void)state;
    Error err;
    StudyIndex index = three_methods();
    StudySummary s = summarize(&index, "b");
    assert_int_equal(s.baseline, 1);
    assert_int_equal(s.methods[0].against_baseline.verdict, VERDICT_WORSE);
    study_summary_free(&s);
    assert_false(study_summary_make(&s, &index, "d", 0.05, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    study_index_free(&index);
}

/* At "a": 0.5, branches are 0.125, 0.25 and 0.375 below the runs that they left; at 0.75 only seed 1 has ended, and a tuning
 * run counts nowhere. t = -0.25 / (0.125 / sqrt 3) = -2 sqrt 3, p = 0.07417990022744847 (SciPy). */
static void branches_are_paired_with_the_very_runs_that_they_left(void **state) {
    (void)state;
    begin_index();
    for (int seed = 1; seed <= 3; seed++)
        add_run("hard", "final", "\"lr\":1", seed, seed == 1 ? "3.0" : seed == 2 ? "3.5" : "4.0");
    add_run("hard", "tune", "\"lr\":2", 1, "9.0"); /* another run of the trunk's method and seed */
    add_branch("soft", "final", "\"lr\":1,\"a\":0.5", 1, 0, "2.875");
    add_branch("soft", "final", "\"lr\":1,\"a\":0.5", 3, 2, "3.625");
    add_branch("soft", "final", "\"lr\":1,\"a\":0.5", 2, 1, "3.25");
    add_branch("soft", "final", "\"lr\":1,\"a\":0.75", 1, 0, "3.5");
    add_branch("soft", "final", "\"lr\":1,\"a\":0.75", 2, 1, "diverged");
    add_branch("soft", "tune", "\"lr\":1,\"a\":0.9", 1, 0, "1.0");
    StudyIndex index = read_index(
        "hard", METHOD("hard", "{\"lr\":1}") "," BRANCH("soft", "\"hard\"", "{\"lr\":1,\"a\":0.5}"));
    StudySummary s = summarize(&index, NULL);
    const StudyResult *soft = &s.methods[1];
    assert_int_equal(s.methods[0].branch_count, 0);
    assert_int_equal(soft->branch_count, 2);
    assert_int_equal(s.branch_tests, 1);
    const StudyComparison *all = &soft->branches[0].against_trunk, *one = &soft->branches[1].against_trunk;
    assert_int_equal(all->test.n, 3);
    assert_close(all->test.mean, -0.25, 1e-15);
    assert_close(all->p_holm, 0.07417990022744847, 1e-12);
    assert_int_equal(all->verdict, VERDICT_NOT_DISTINGUISHABLE);
    assert_int_equal(one->test.n, 1);
    assert_close(one->test.mean, 0.5, 1e-15);
    assert_int_equal(one->verdict, VERDICT_TOO_FEW);
    study_summary_free(&s);
    study_index_free(&index);
}

/* Seeds that one of two lacks, or on which it diverged, are no pairs. */
static void only_seeds_that_both_have_are_pairs(void **state) {
    (void)state;
    begin_index();
    const char *at = "\"optimizer.lr\":0.1";
    add_run("a", "final", at, 1, "3.0");
    add_run("a", "final", at, 2, "3.5");
    add_run("a", "final", at, 4, "3.25");
    add_run("a", "final", at, 5, "diverged");
    add_run("b", "final", at, 2, "3.0");
    add_run("b", "final", at, 3, "failed");
    add_run("b", "final", at, 4, "3.0");
    add_run("b", "final", at, 5, "3.0");
    add_run("b", "final", at, 6, "running");
    add_run("b", "final", "\"optimizer.lr\":0.2", 1, "0.5"); /* not the chosen point */
    add_run("b", "tune", at, 1, "0.5");
    add_run("b", "tune", at, 7, "diverged");
    add_run("c", "final", at, 1, "1.0");
    StudyIndex index = read_index("a", METHOD("a", "{\"optimizer.lr\":0.1}") "," METHOD(
                                           "b", "{\"optimizer.lr\":0.1}") "," METHOD("c", "null"));
    StudySummary s = summarize(&index, NULL);
    const StudyResult *a = &s.methods[0], *b = &s.methods[1], *c = &s.methods[2];
    assert_int_equal(b->against_baseline.test.n, 2); /* 2 and 4: -0.5 and -0.25 */
    assert_close(b->against_baseline.test.mean, -0.375, 1e-15);
    assert_int_equal(a->diverged, 1);
    assert_int_equal(a->loss.n, 3);
    assert_close(a->loss.mean, 3.25, 1e-15);
    assert_int_equal(b->runs, 5);
    assert_int_equal(b->failed, 1);
    assert_int_equal(b->open, 1);
    assert_int_equal(b->tuned, 2); /* not the final run at another point */
    assert_int_equal(b->tuned_diverged, 1);
    assert_int_equal(c->runs, 0); /* nothing is chosen yet */
    assert_int_equal(c->against_baseline.verdict, VERDICT_TOO_FEW);
    assert_true(isnan(c->against_baseline.p_holm));
    assert_int_equal(s.baseline_tests, 1);
    assert_int_equal(s.order[2], 2);
    study_summary_free(&s);
    study_index_free(&index);
}

/* ------------------------------------------------------------------------------------------------------------ */

static void curves_follow_each_tuned_key_on_the_tuning_seeds(void **state) {
    (void)state;
    begin_index();
    add_run("a", "tune", "\"optimizer.lr\":0.3,\"optimizer.alpha\":0.5", 1, "3.5");
    add_run("a", "final", "\"optimizer.lr\":0.1,\"optimizer.alpha\":0.5", 1, "3.0");
    add_run("a", "final", "\"optimizer.lr\":0.1,\"optimizer.alpha\":0.5", 2, "9.0"); /* no tuning seed */
    add_run("a", "tune", "\"optimizer.lr\":0.1,\"optimizer.alpha\":0.25", 1, "3.25");
    add_run("a", "tune", "\"optimizer.lr\":0.3,\"optimizer.alpha\":0.25", 1, "3.125");
    add_run("a", "tune", "\"optimizer.lr\":0.03,\"optimizer.alpha\":0.5", 1, "3.75");
    add_run("a", "tune", "\"optimizer.lr\":1,\"optimizer.alpha\":0.5", 1, "diverged");
    add_run("a", "tune", "\"optimizer.lr\":1,\"optimizer.alpha\":0.25", 1, "waiting");
    add_run("a", "tune", "\"optimizer.lr\":3,\"optimizer.alpha\":0.25", 1, "waiting");
    StudyIndex index = read_index("a", METHOD("a", "{\"optimizer.lr\":0.1,\"optimizer.alpha\":0.5}"));
    StudySummary s = summarize(&index, NULL);
    const StudyResult *a = &s.methods[0];
    assert_int_equal(a->curve_count, 2);
    const StudyCurve *lr = &a->curves[0], *alpha = &a->curves[1];
    assert_string_equal(lr->key, "optimizer.lr");
    assert_int_equal(lr->count, 4); /* 3 has not been seen */
    assert_string_equal(lr->points[0].text, "0.03");
    assert_true(lr->points[1].value == 0.1 && lr->points[1].loss == 3.0 && lr->points[1].n == 1);
    assert_true(lr->points[2].loss == 3.125); /* the better alpha */
    assert_true(isnan(lr->points[3].loss) && lr->points[3].n == 0);
    assert_int_equal(lr->points[3].diverged, 1);
    assert_int_equal(lr->best, 1);
    assert_false(lr->on_edge);
    assert_string_equal(alpha->key, "optimizer.alpha");
    assert_int_equal(alpha->count, 2);
    assert_int_equal(alpha->best, 1);
    assert_true(alpha->on_edge);
    study_summary_free(&s);
    study_index_free(&index);
}

static void a_point_is_the_mean_of_its_tuning_seeds_unless_one_diverged(void **state) {
    (void)state;
    begin_index();
    add_run("a", "tune", "\"optimizer.lr\":1,\"x\":\"p\"", 1, "3.0");
    add_run("a", "tune", "\"optimizer.lr\":1,\"x\":\"p\"", 2, "4.0");
    add_run("a", "tune", "\"optimizer.lr\":2,\"x\":\"p\"", 1, "1.0");
    add_run("a", "tune", "\"optimizer.lr\":2,\"x\":\"p\"", 2, "diverged");
    add_run("a", "tune", "\"optimizer.lr\":2,\"x\":\"o\"", 1, "5.0");
    StudyIndex index = read_index("a", METHOD("a", "null"));
    StudySummary s = summarize(&index, NULL);
    const StudyCurve *lr = &s.methods[0].curves[0], *x = &s.methods[0].curves[1];
    assert_true(lr->points[0].loss == 3.5 && lr->points[0].n == 2);
    assert_true(lr->points[1].loss == 5.0 && lr->points[1].n == 1 && lr->points[1].diverged == 1);
    assert_true(lr->best == 0 && lr->on_edge);
    assert_string_equal(x->points[0].text, "p"); /* texts have no order, and no edge */
    assert_true(x->best == 0 && !x->on_edge && isnan(x->points[0].value));
    study_summary_free(&s);
    study_index_free(&index);
}

/* Every point has every seed, so only the index knows that 1 was the tuning seed. Zero is no edge. */
static void tuning_seeds_are_those_that_the_index_names(void **state) {
    (void)state;
    begin_index();
    tune_seeds = "\"tune_seeds\":[1]";
    add_run("a", "final", "\"optimizer.weight_decay\":0", 1, "3.0");
    add_run("a", "final", "\"optimizer.weight_decay\":0", 2, "4.0");
    add_run("a", "final", "\"optimizer.weight_decay\":0.1", 1, "3.25");
    add_run("a", "final", "\"optimizer.weight_decay\":0.1", 2, "3.0");
    StudyIndex index = read_index("a", METHOD("a", "{\"optimizer.weight_decay\":0}"));
    StudySummary s = summarize(&index, NULL);
    const StudyCurve *curve = &s.methods[0].curves[0];
    assert_int_equal(index.tune_seed_count, 1);
    assert_int_equal(s.methods[0].tuned, 0);
    assert_int_equal(curve->best, 0);
    assert_true(curve->points[0].loss == 3.0 && curve->points[0].n == 1 && curve->points[1].loss == 3.25);
    assert_false(curve->on_edge);
    study_summary_free(&s);
    study_index_free(&index);
}

static void settings_have_a_short_text(void **state) {
    (void)state;
    char text[64], small[8];
    cJSON *settings = cJSON_Parse(
        "{\"optimizer.lr\":0.003,\"optimizer.aux.lr\":2,\"schedule.name\":\"cosine\",\"bias\":false}");
    assert_string_equal(study_settings_text(settings, text, sizeof text),
                        "lr=0.003 aux.lr=2 name=cosine bias=false");
    assert_string_equal(study_settings_text(settings, small, sizeof small), "lr=0.00");
    assert_string_equal(study_settings_text(NULL, text, sizeof text), "");
    cJSON_Delete(settings);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(methods_are_ranked_and_compared_with_the_baseline, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(pairs_are_one_family_and_mirror_each_other, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(another_baseline_can_be_chosen, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(only_seeds_that_both_have_are_pairs, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(branches_are_paired_with_the_very_runs_that_they_left, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(curves_follow_each_tuned_key_on_the_tuning_seeds, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(a_point_is_the_mean_of_its_tuning_seeds_unless_one_diverged,
                                        make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(tuning_seeds_are_those_that_the_index_names, make_dir, remove_dir),
        cmocka_unit_test(settings_have_a_short_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
