/* test_study_print.c: what a person reads of a study, and runs as CSV. */
#include "train/run_csv.h"
#include "train/study_print.h"

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

static void put(const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

/* A run with evaluations at steps 0, 10 and 20, at twice as many seconds, and then at `last` if that is not 0, with a loss
 * of 9. */
static void put_run(const char *name, const char *optimizer, int seed, const double loss[3], int last) {
    char command[256], path[128], text[2048];
    snprintf(command, sizeof command, "mkdir -p '%s/%s'", dir, name);
    assert_int_equal(system(command), 0);
    snprintf(path, sizeof path, "%s/config.json", name);
    snprintf(text, sizeof text, "{\"optimizer\":{\"name\":\"%s\",\"lr\":0.1},\"train\":{\"seed\":%d}}",
             optimizer, seed);
    put(path, text);
    int n = 0;
    for (int i = 0; i < 3; i++)
        n += snprintf(text + n, sizeof text - (size_t)n,
                      "{\"step\":%d,\"tokens\":%d,\"time_s\":%d,\"val/loss\":%.17g,\"tokens_per_s\":50}\n",
                      10 * i, 1000 * i, 20 * i, loss[i]);
    if (last) snprintf(text + n, sizeof text - (size_t)n, "{\"step\":%d,\"val/loss\":9}\n", last);
    snprintf(path, sizeof path, "%s/metrics.jsonl", name);
    put(path, text);
}

static char index_text[1 << 14];

static void add_run(const char *method, const char *phase, double lr, int seed, const char *state,
                    double loss, int last) {
    char name[128], number[32], trunk[128] = "null,\"branch_step\":null";
    size_t n = strlen(index_text);
    snprintf(name, sizeof name, "runs/%s/lr=%g/seed=%d", method, lr, seed);
    snprintf(number, sizeof number, isnan(loss) ? "null" : "%.17g", loss);
    if (strcmp(method, "soft") == 0) /* a branch of adamw's run with this seed */
        snprintf(trunk, sizeof trunk, "\"runs/adamw/lr=0.1/seed=%d\",\"branch_step\":5", seed);
    snprintf(
        index_text + n, sizeof index_text - n,
        "%s{\"dir\":\"%s\",\"method\":\"%s\",\"phase\":\"%s\",\"settings\":{\"optimizer.lr\":%g},\"seed\":%d,"
        "\"trunk\":%s,\"state\":\"%s\",\"loss\":%s}",
        n ? "," : "", name, method, phase, lr, seed, trunk, state, number);
    const double losses[] = {5, 4 + seed, loss};
    if (!isnan(loss)) put_run(name, "adamw", seed, losses, last);
}

/* adamw against soft on three seeds (two pairs at most without the third), one method not chosen. Differences of soft:
 * -0.1, -0.2, -0.3: mean -0.2, sd 0.1, t = -0.2 / (0.1 / sqrt 3) = -3.4641, p = 0.0742 (SciPy), Holm doubles nothing:
 * one test. */
static void put_study(void) {
    static const double base[] = {3, 3.25, 3.5};
    char text[1 << 15];
    *index_text = '\0';
    for (int i = 0; i < 3; i++) {
        add_run("adamw", "final", 0.1, i + 1, "done", base[i], 30 - i);
        add_run("soft", "final", 0.2, i + 1, "done", base[i] - 0.1 * (i + 1), 0);
    }
    add_run("adamw", "final", 0.1, 4, "diverged", NAN, 0);
    add_run("adamw", "tune", 0.2, 1, "done", 3.75, 0);
    add_run("adamw", "tune", 0.4, 1, "diverged", NAN, 0);
    add_run("adamw", "tune", 0.8, 1, "diverged", NAN, 0);
    add_run("late", "tune", 0.1, 1, "waiting", NAN, 0);
    snprintf(
        text, sizeof text,
        "{\"name\":\"tiny\",\"baseline\":\"adamw\",\"state\":\"running\",\"methods\":["
        "{\"name\":\"adamw\",\"optimizer\":\"adamw\",\"trunk\":null,\"settings\":{\"optimizer.lr\":0.1},\"edge\":null},"
        "{\"name\":\"soft\",\"optimizer\":\"softsignum\",\"trunk\":\"adamw\",\"settings\":{\"optimizer.lr\":0.2},"
        "\"edge\":null},"
        "{\"name\":\"late\",\"optimizer\":\"lion\",\"trunk\":null,\"settings\":null,\"edge\":null}],\"runs\":[%s]}",
        index_text);
    put("index.json", text);
}

static char *print(StudyPrint what) {
    char *text = NULL;
    size_t size;
    Error err;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    what.dir = dir;
    setenv("COLUMNS", "100", 1);
    if (!study_print(out, &what, &err)) fail_msg("%s", err.text);
    fclose(out);
    return text;
}

static void assert_line(const char *text, const char *line) {
    for (const char *at = text; (at = strstr(at, line)); at++)
        if ((at == text || at[-1] == '\n') && at[strlen(line)] == '\n') return;
    fail_msg("no line\n%s\nin\n%s", line, text);
}

static void a_study_has_its_verdicts_in_words(void **state) {
    (void)state;
    put_study();
    char *text = print((StudyPrint){.target = NAN});
    assert_line(text, "study tiny: 3 methods, 11 runs (7 done, 3 diverged, 1 waiting); it has not ended");
    /* the mean's error: soft is 2.9, 3.05, 3.2: sd 0.15, over sqrt 3: 0.0866; SciPy: interval of the difference */
    assert_line(
        text,
        "  a soft        3   3.05000 +- 0.08660    -0.20000  [-0.44841, +0.04841]   0.0742  not distinguishable");
    assert_line(text, "  b adamw       3   3.25000 +- 0.14434    baseline");
    assert_line(
        text,
        "  c late        0         - +- -                 -  -                           -  no verdict: fewer than "
        "two pairs");
    assert_line(
        text,
        "difference to adamw in nats a token; paired t-test by seed, two-sided; p after Holm over 1 comparison;");
    assert_line(text,
                "exact sign-flip test as a check, before Holm (3 pairs give no less than 0.25): a 0.2500");
    assert_line(text,
                "branches against the very runs that they left, by seed; p after Holm over 1 comparison");
    assert_line(
        text,
        "  a soft    lr=0.2       5      3    -0.20000  [-0.44841, +0.04841]   0.0742  not distinguishable");
    assert_line(text, "note: adamw diverged on 1 of 4 seeds, which no mean or pair has: that flatters it");
    assert_line(text, "note: late: no point of its grid is chosen yet");
    assert_null(strstr(text, "late: 0 seeds"));
    free(text);
}

/* Two pairs of three are compared; p is that of -0.1 and -0.2. */
static void pairs_that_lack_a_seed_are_told(void **state) {
    (void)state;
    put_study();
    char command[128];
    snprintf(command, sizeof command, "sed -i 's/\"seed\":3,/\"seed\":9,/2' '%s/index.json'", dir);
    assert_int_equal(system(command), 0);
    char *text = print((StudyPrint){.target = NAN});
    assert_line(text, "note: soft has 3 seeds, adamw 3; the 2 that both have are pairs");
    assert_line(
        text,
        "  a soft        3   3.05000 +- 0.08660    -0.15000  [-0.78531, +0.48531]   0.2048  not distinguishable");
    free(text);
}

static void every_pair_and_every_tuned_value_is_there(void **state) {
    (void)state;
    put_study();
    char *text = print((StudyPrint){.target = NAN});
    assert_line(text, "            a b c");
    assert_line(text, "  a soft    . ~ ?");
    assert_line(text, "  b adamw   ~ . ?");
    assert_line(text, "  a soft    lr=0.2, branches from adamw");
    assert_line(text, "            optimizer.lr  0.1* 3.0000  0.2 3.7500  0.4 diverged  0.8 diverged");
    assert_line(text, "            warning: the best lies on the edge: what comes below it was not tried");
    assert_line(text, "  c late    not chosen yet");
    assert_line(text, "  b adamw     1 of 4       2 of 3                -        50     0:40");
    free(text);
}

static void a_target_counts_the_runs_that_reach_it(void **state) {
    (void)state;
    put_study();
    char *text = print((StudyPrint){.target = 3.1}); /* adamw: seed 1, at step 20; soft: 2.9 and 3.05 */
    assert_line(text, "  a soft      2 of 3          20 +- 0          2.00k      0:40");
    assert_line(text, "  b adamw     1 of 3          20 +- -          2.00k      0:40");
    assert_line(text, "  c late      0 of 0");
    free(text);
    text = print((StudyPrint){.target = NAN, .baseline = "soft"});
    assert_line(
        text,
        "  b adamw       3   3.25000 +- 0.14434    +0.20000  [-0.04841, +0.44841]   0.0742  not distinguishable");
    free(text);
}

/* Means over the runs at steps 0, 10 and 20; later ones are not in all of them. */
static void the_chart_shows_the_mean_of_all_runs(void **state) {
    (void)state;
    put_study();
    char *text = print((StudyPrint){.target = NAN});
    assert_non_null(strstr(text, "mean validation loss by step"));
    assert_non_null(strstr(text, " a soft 3.0500"));
    assert_non_null(strstr(text, " b adamw 3.2500"));
    const char *axis = text + strlen(text) - 2;
    while (*axis != '\n') axis--;
    assert_true(strstr(axis, "20") && !strstr(axis, "30") && !strstr(axis, "60"));
    free(text);
}

static void a_run_that_is_gone_is_named(void **state) {
    (void)state;
    put_study();
    char command[128];
    snprintf(command, sizeof command, "rm -r '%s/runs/soft/lr=0.2/seed=2'", dir);
    assert_int_equal(system(command), 0);
    char *text = print((StudyPrint){.target = 3.1});
    assert_non_null(strstr(text, "note: left out of curves and times: "));
    assert_non_null(strstr(text, "runs/soft/lr=0.2/seed=2"));
    assert_line(text, "  a soft      1 of 2          20 +- -          2.00k      0:40");
    assert_non_null(strstr(text, "  a soft        3   3.05000")); /* the index has the loss */
    free(text);
}

static void damaged_or_unknown_is_refused(void **state) {
    (void)state;
    Error err;
    put_study();
    assert_false(study_print(stdout, &(StudyPrint){.dir = dir, .baseline = "lion", .target = NAN}, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    put("index.json", "{");
    assert_false(study_print(stdout, &(StudyPrint){.dir = dir, .target = NAN}, &err));
    assert_int_equal(err.code, ERR_DATA);
}

/* --------------------------------------------------------------------------------------------------------- CSV */

static char *csv(char *const *dirs, int count, bool ok) {
    char *text = NULL;
    size_t size;
    Error err;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    if (run_csv_print(out, dirs, count, &err) != ok) fail_msg("%s", ok ? err.text : "no error");
    fclose(out);
    return text;
}

/* The place of a column in the head, and that field of a line; both without quotes. */
static const char *field(const char *text, int line, const char *column) {
    static char out[256];
    char head[1024], *at = head, *name;
    int place = 0;
    snprintf(head, sizeof head, "%.*s", (int)strcspn(text, "\n"), text);
    while ((name = strsep(&at, ",")) && strcmp(name, column) != 0) place++;
    assert_non_null(name);
    for (; line > 0; line--) text = strchr(text, '\n') + 1;
    for (; place > 0; place--) text = strchr(text, ',') + 1;
    snprintf(out, sizeof out, "%.*s", (int)strcspn(text, ",\n"), text);
    return out;
}

static void a_lone_run_is_a_line_a_step(void **state) {
    (void)state;
    char path[128];
    put_run("x", "lion", 7, (double[]){0.1 + 0.2, 2, 3}, 0);
    put("x/metrics.jsonl",
        "{\"step\":5,\"tokens\":10,\"time_s\":1.5,\"lr\":0.30000000000000004,\"temperature\":null}\n"
        "{\"step\":6,\"tokens\":12,\"val/loss\":2}\n{\"step\":7,\"tok");
    snprintf(path, sizeof path, "%s/x", dir);
    char *text = csv((char *[]){path}, 1, true);
    assert_int_equal(
        strncmp(text, "run,method,seed,phase,settings,step,tokens,time_s,train/loss,val/loss,lr,", 73), 0);
    assert_string_equal(field(text, 1, "run"), path);
    assert_string_equal(field(text, 1, "method"), "lion");
    assert_string_equal(field(text, 1, "seed"), "7");
    assert_string_equal(field(text, 1, "phase"), "");
    assert_string_equal(field(text, 1, "step"), "5");
    assert_string_equal(field(text, 1, "time_s"), "1.5");
    assert_true(strtod(field(text, 1, "lr"), NULL) == 0.1 + 0.2);
    assert_string_equal(field(text, 1, "temperature"), "inf");
    assert_string_equal(field(text, 1, "val/loss"), "");
    assert_string_equal(field(text, 2, "val/loss"), "2");
    int lines = 0;
    for (const char *c = text; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, 3); /* the torn line is none */
    free(text);
}

static void a_studys_runs_have_method_phase_and_settings(void **state) {
    (void)state;
    put_study();
    char *text = csv((char *[]){dir}, 1, false); /* the diverged runs are not there */
    free(text);
    put_run("runs/adamw/lr=0.1/seed=4", "adamw", 4, (double[]){1, 2, 3}, 0);
    put_run("runs/adamw/lr=0.4/seed=1", "adamw", 1, (double[]){1, 2, 3}, 0);
    put_run("runs/adamw/lr=0.8/seed=1", "adamw", 1, (double[]){1, 2, 3}, 0);
    text = csv((char *[]){dir}, 1, true);
    assert_string_equal(field(text, 5, "method"), "soft");
    assert_string_equal(field(text, 5, "phase"), "final");
    assert_string_equal(field(text, 5, "settings"), "lr=0.2");
    int lines = 0;
    for (const char *c = text; *c; c++) lines += *c == '\n';
    assert_int_equal(lines, 1 + 10 * 3 + 3);
    free(text);
}

/* b beats a by 0.1, 0.11, 0.12, and c is a. */
static void the_matrix_reads_from_row_to_column(void **state) {
    (void)state;
    char text[1 << 15];
    *index_text = '\0';
    for (int i = 1; i <= 3; i++) {
        add_run("a", "final", 0.1, i, "done", 3 + i, 0);
        add_run("b", "final", 0.1, i, "done", 2.91 + 0.99 * i, 0);
        add_run("c", "final", 0.1, i, "done", 3 + i, 0);
    }
#define ONE(name)                                                                                          \
    "{\"name\":\"" name                                                                                    \
    "\",\"optimizer\":\"x\",\"trunk\":null,\"settings\":{\"optimizer.lr\":0.1},\"edge\":null}"
    snprintf(text, sizeof text,
             "{\"name\":\"t\",\"baseline\":\"a\",\"state\":\"done\",\"methods\":[" ONE("a") "," ONE(
                 "b") "," ONE("c") "],\"runs\":[%s]}",
             index_text);
    put("index.json", text);
    char *shown = print((StudyPrint){.target = NAN});
    assert_line(shown, "  a b       . + +");
    assert_line(shown, "  b a       - . =");
    assert_line(shown, "  c c       - = .");
    assert_non_null(strstr(shown, "0.0027  better")); /* SciPy: 0.002743; a and c are no test */
    free(shown);
}

static void texts_are_quoted_where_they_must_be(void **state) {
    (void)state;
    char path[128], expected[256];
    put_run("a,b \"c\"\nd", "li\\\"on", 1, (double[]){1, 2, 3}, 0);
    snprintf(path, sizeof path, "%s/a,b \"c\"\nd", dir);
    char *text = csv((char *[]){path}, 1, true);
    snprintf(expected, sizeof expected, "\n\"%s/a,b \"\"c\"\"\nd\",\"li\"\"on\",1,,,0,0,0,,1,", dir);
    if (!strstr(text, expected)) fail_msg("no %s in %s", expected, text);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_study_has_its_verdicts_in_words, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(pairs_that_lack_a_seed_are_told, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(every_pair_and_every_tuned_value_is_there, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(the_matrix_reads_from_row_to_column, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_target_counts_the_runs_that_reach_it, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(the_chart_shows_the_mean_of_all_runs, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_run_that_is_gone_is_named, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(damaged_or_unknown_is_refused, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_lone_run_is_a_line_a_step, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_studys_runs_have_method_phase_and_settings, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(texts_are_quoted_where_they_must_be, make_dir, remove_dir),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
