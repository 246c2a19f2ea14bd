/* The toy problems of arXiv 2605.06615: the published losses, and what the program around them promises. */
#include "train/toys.h"

#include "train/run_reader.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test/tempdir.h"

enum { MOST_STEPS = 3000, WORDS_MAX = 8 };

static Config config;
static StepRecord curve[MOST_STEPS + 1];
static Error err;

static const Toy *find(const char *name) {
    const Toy *toy;
    if (!toy_find(&toy, name, &err)) fail_msg("%s", err.text);
    return toy;
}

/* `words` are separated by blanks. */
static bool load(const char *toy, const char *optimizer, const char *words) {
    char text[256], *list[WORDS_MAX], *rest = text;
    int count = 0;
    snprintf(text, sizeof text, "%s", words);
    while (count < WORDS_MAX && (list[count] = strtok_r(rest, " ", &rest))) count++;
    return toy_load(&config, find(toy), optimizer, list, count, &err);
}

static void must_run(const char *toy, const char *optimizer, const char *words) {
    if (!load(toy, optimizer, words) || !toy_run(find(toy), &config, curve, &err)) fail_msg("%s", err.text);
}

static void must_tune(const char *toy, const char *optimizer, const char *words) {
    if (!load(toy, optimizer, words) || !toy_tune(find(toy), &config, curve, &err))
        fail_msg("%s", err.text);
}

static int free_config(void **state) {
    (void)state;
    config_free(&config);
    return 0;
}

/* The largest relative difference of the curve from what was published for the optimizer. */
static double distance(const char *toy, const char *optimizer) {
    double largest = 0;
    int found = 0;
    for (const ToyPoint *p = TOY_PUBLISHED; p->toy; p++) {
        if (strcmp(p->toy, toy) != 0 || strcmp(p->optimizer, optimizer) != 0) continue;
        largest = fmax(largest, fabs(curve[p->step].val_loss / p->loss - 1));
        found++;
    }
    assert_true(found >= 3);
    return largest;
}

/* ---- the published losses -------------------------------------------------------------------------- */

static void sgd_should_descend_the_deterministic_toy_as_published(void **state) {
    (void)state;
    must_tune("deterministic", "sgd", "momentum=0");
    assert_true(distance("deterministic", "sgd") < 0.1);
    assert_true(config.chosen[CHOICE_MAIN].lr == 1e-3);
}

static void signsgd_should_descend_the_deterministic_toy_as_published(void **state) {
    (void)state;
    must_tune("deterministic", "signsgd", "");
    assert_true(distance("deterministic", "signsgd") < 0.1);
    assert_true(config.chosen[CHOICE_MAIN].lr == 1e-2);
}

/* The random numbers are the authors', so these agree to the figure's digits. */
static void sgd_should_descend_the_stochastic_toy_as_published(void **state) {
    (void)state;
    must_run("stochastic", "sgd", "momentum=0 lr=1e-3");
    assert_true(distance("stochastic", "sgd") < 0.01);
}

static void signsgd_should_descend_the_stochastic_toy_as_published(void **state) {
    (void)state;
    must_run("stochastic", "signsgd", "lr=1e-2");
    assert_true(distance("stochastic", "signsgd") < 0.01);
}

static void momentum_should_be_told_from_none(void **state) {
    (void)state;
    must_run("deterministic", "signum", "lr=1e-2 momentum=0.5");
    assert_true(distance("deterministic", "signsgd") > 0.1);
    config_free(&config);
    must_run("deterministic", "sgd", "lr=1e-3 momentum=0.5");
    assert_true(distance("deterministic", "sgd") > 0.1);
}

/* ---- any optimizer --------------------------------------------------------------------------------- */

static void every_optimizer_should_take_both_toys(void **state) {
    (void)state;
    for (const Toy *toy = TOYS; toy->name; toy++)
        for (const Optimizer *const *o = OPTIMIZERS; *o; o++) {
            must_run(toy->name, (*o)->name, "train.steps=4");
            if (!isfinite(curve[4].val_loss) || curve[4].val_loss == curve[0].val_loss)
                fail_msg("%s, %s: %g", toy->name, (*o)->name, curve[4].val_loss);
            bool same = curve[3].val_loss == curve[4].train_loss;
            if (same == ((*o)->show != NULL)) fail_msg("%s: evaluates the wrong weights", (*o)->name);
            config_free(&config);
        }
}

static void x_should_be_a_matrix_of_one_row_only_where_vectors_are_refused(void **state) {
    (void)state;
    assert_true(load("deterministic", "muon", ""));
    assert_int_equal(toy_role(&config), ROLE_MATRIX);
    config_free(&config);
    assert_true(load("deterministic", "adamw", ""));
    assert_int_equal(toy_role(&config), ROLE_VECTOR);
}

static void weights_should_decay_only_when_told_to(void **state) {
    (void)state;
    must_run("deterministic", "signsgd", "lr=0 train.steps=2");
    double start = curve[0].val_loss;
    assert_true(curve[2].val_loss == start);
    config_free(&config);
    must_run("deterministic", "adamw", "lr=1e-8 weight_decay=1e7 train.steps=1");
    assert_true(fabs(curve[1].val_loss / start - 0.81) < 1e-3);
}

static void a_clipped_step_should_have_length_lr(void **state) {
    (void)state;
    must_run("deterministic", "sgd", "momentum=0 lr=1 train.grad_clip=1 train.steps=1");
    double fall = curve[0].val_loss - curve[1].val_loss;
    assert_true(curve[1].grad_norm > 70 && curve[1].grad_norm - fall > 0.5 &&
                curve[1].grad_norm - fall < 1.5);
}

static void the_schedule_should_shape_the_rate(void **state) {
    (void)state;
    must_run("deterministic", "signsgd", "schedule.name=linear schedule.final_frac=0 train.steps=2");
    assert_true(curve[1].val_loss < curve[0].val_loss && curve[2].val_loss == curve[1].val_loss);
}

static void the_bits_should_not_depend_on_threads(void **state) {
    (void)state;
    must_run("deterministic", "softsignum", "lr=1e-2 train.steps=300");
    double end = curve[300].val_loss, norm = curve[300].grad_norm;
    config_free(&config);
    must_run("deterministic", "softsignum", "lr=1e-2 train.steps=300 train.threads=3");
    assert_true(end == curve[300].val_loss && norm == curve[300].grad_norm);
}

static void another_seed_should_start_elsewhere(void **state) {
    (void)state;
    must_run("deterministic", "signsgd", "lr=0 train.steps=1");
    double start = curve[0].val_loss;
    config_free(&config);
    must_run("deterministic", "signsgd", "lr=0 train.steps=1 train.seed=43");
    assert_true(curve[0].val_loss != start && fabs(curve[0].val_loss / 2500 - 1) < 0.1);
}

/* ---- the log --------------------------------------------------------------------------------------- */

static void log_into(Run *run, const char *name) {
    char path[128];
    RunLog log;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    snprintf(config.run.dir, sizeof config.run.dir, "%s", path);
    if (!toy_log(&log, &config, curve, "./toy", &err) || !run_read(run, path, &err))
        fail_msg("%s", err.text);
}

static void a_run_should_be_read_back_by_compare(void **state) {
    (void)state;
    Run run;
    must_run("stochastic", "softsignum",
             "lr=1e-3 train.steps=25 schedule.name=linear schedule.final_frac=0.5");
    log_into(&run, "softsignum");
    assert_string_equal(run.outcome, "finished");
    assert_int_equal(run.record_count, 4); /* 0, 10, 20, 25 */
    const StepRecord *last = &run.records[3];
    assert_int_equal(last->step, 25);
    assert_true(last->val_loss == curve[25].val_loss && last->train_loss == curve[24].val_loss);
    assert_true(last->lr == 0.5e-3 && last->grad_norm == curve[25].grad_norm &&
                isfinite(last->temperature));
    assert_true(isinf(run.records[1].temperature) && isfinite(last->saturated_frac));
    char text[64];
    assert_string_equal(run_setting(&run, "optimizer.lr", text, sizeof text), "0.001");
    assert_string_equal(run_setting(&run, "data.dir", text, sizeof text), "toy/stochastic");
    run_free(&run);
}

static void a_run_that_diverges_should_end_with_its_last_finite_loss(void **state) {
    (void)state;
    Run run;
    must_run("deterministic", "sgd", "momentum=0 lr=1 train.steps=200");
    assert_true(isnan(curve[200].val_loss));
    log_into(&run, "sgd");
    assert_string_equal(run.outcome, "diverged");
    assert_true(run.records[run.record_count - 1].step < 20);
    run_free(&run);
}

/* ---- errors ---------------------------------------------------------------------------------------- */

static void refuses(const char *optimizer, const char *words, const char *text) {
    assert_false(load("deterministic", optimizer, words));
    assert_int_equal(err.code, ERR_CONFIG);
    if (!strstr(err.text, text)) fail_msg("%s", err.text);
}

static void wrong_words_should_be_told_with_the_nearest_known_one(void **state) {
    (void)state;
    const Toy *toy;
    assert_false(toy_find(&toy, "stocastic", &err));
    assert_non_null(strstr(err.text, "did you mean \"stochastic\"?"));
    refuses("signsdg", "", "did you mean \"signsgd\"?");
    refuses("adamw", "beta3=0.5", "did you mean \"beta1\"?");
    refuses("adamw", "beta1=2", "optimizer.beta1: 2 must be a number in [0,1)");
    refuses("adamw", "train.step=5", "did you mean \"steps\"?");
    refuses("adamw", "train.steps=0 train.epochs=1", "needs a number of steps");
}

static void tuning_should_say_when_no_rate_works(void **state) {
    (void)state;
    assert_true(load("deterministic", "sgd", "weight_decay=1e12 train.steps=2"));
    assert_false(toy_tune(find("deterministic"), &config, curve, &err));
    assert_int_equal(err.code, ERR_DIVERGED);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(sgd_should_descend_the_deterministic_toy_as_published, free_config),
        cmocka_unit_test_teardown(signsgd_should_descend_the_deterministic_toy_as_published, free_config),
        cmocka_unit_test_teardown(sgd_should_descend_the_stochastic_toy_as_published, free_config),
        cmocka_unit_test_teardown(signsgd_should_descend_the_stochastic_toy_as_published, free_config),
        cmocka_unit_test_teardown(momentum_should_be_told_from_none, free_config),
        cmocka_unit_test_teardown(every_optimizer_should_take_both_toys, free_config),
        cmocka_unit_test_teardown(x_should_be_a_matrix_of_one_row_only_where_vectors_are_refused,
                                  free_config),
        cmocka_unit_test_teardown(weights_should_decay_only_when_told_to, free_config),
        cmocka_unit_test_teardown(a_clipped_step_should_have_length_lr, free_config),
        cmocka_unit_test_teardown(the_schedule_should_shape_the_rate, free_config),
        cmocka_unit_test_teardown(the_bits_should_not_depend_on_threads, free_config),
        cmocka_unit_test_teardown(another_seed_should_start_elsewhere, free_config),
        cmocka_unit_test_teardown(a_run_should_be_read_back_by_compare, free_config),
        cmocka_unit_test_teardown(a_run_that_diverges_should_end_with_its_last_finite_loss, free_config),
        cmocka_unit_test_teardown(wrong_words_should_be_told_with_the_nearest_known_one, free_config),
        cmocka_unit_test_teardown(tuning_should_say_when_no_rate_works, free_config),
    };
    return cmocka_run_group_tests_name("toys", tests, make_dir, remove_dir);
}
