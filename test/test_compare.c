/* test_compare.c: reading runs back, their figures, how configs differ, and the chart. */
#include "train/chart.h"
#include "train/run_reader.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "test/tempdir.h"

static void write_file(const char *run, const char *name, const char *text) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, run);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/%s/%s", dir, run, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static const char *run_dir(const char *run) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, run);
    return path;
}

static Run read_run(const char *name, const char *config, const char *metrics) {
    Run run;
    Error err = {0};
    write_file(name, "config.json", config);
    write_file(name, "metrics.jsonl", metrics);
    if (!run_read(&run, run_dir(name), &err)) fail_msg("%s", err.text);
    return run;
}

static void assert_refused(const char *name, const char *words) {
    Run run;
    Error err = {0};
    assert_false(run_read(&run, run_dir(name), &err));
    assert_int_equal(err.code, ERR_DATA);
    if (!strstr(err.text, words) || strchr(err.text, '\n')) fail_msg("no '%s' in '%s'", words, err.text);
}

/* ---------------------------------------------------------------------------------------------- reading */

static const char *const METRICS =
    "{\"step\":0,\"tokens\":0,\"time_s\":0,\"val/loss\":8.5}\n"
    "{\"step\":10,\"tokens\":1000,\"time_s\":2.5,\"train/"
    "loss\":5,\"lr\":0.1,\"tokens_per_s\":400,\"temperature\":null}\n"
    "{\"step\":20,\"tokens\":2000,\"time_s\":5,\"train/loss\":4,\"val/"
    "loss\":4.25,\"tokens_per_s\":900,\"temperature\":8}\n"
    "{\"step\":30,\"tokens\":3000,\"time_s\":8,\"train/loss\":3,\"val/loss\":4.5,\"tokens_per_s\":500}\n";

static void records_should_hold_what_the_lines_say(void **state) {
    (void)state;
    Run run = read_run("a", "{}", METRICS);
    assert_int_equal(run.record_count, 4);
    assert_string_equal(run.name, "a");
    assert_string_equal(run.outcome, "");
    assert_false(run.torn);
    assert_int_equal(run.records[1].step, 10);
    assert_int_equal(run.records[1].tokens, 1000);
    assert_true(run.records[1].train_loss == 5 && run.records[1].lr == 0.1);
    assert_true(isnan(run.records[1].val_loss) && isnan(run.records[0].temperature));
    assert_true(isinf(run.records[1].temperature) && run.records[2].temperature == 8);
    run_free(&run);
}

static void results_should_tell_final_from_best(void **state) {
    (void)state;
    Run run = read_run("a", "{}", METRICS);
    RunResult r = run_result(&run);
    assert_true(r.final_val == 4.5 && r.best_val == 4.25 && r.time_s == 8);
    assert_int_equal(r.best_step, 20);
    assert_int_equal(r.steps, 30);
    assert_int_equal(r.tokens, 3000);
    assert_true(r.tokens_per_s == 500); /* the median */
    run_free(&run);
}

static void a_run_without_lines_should_have_no_figures(void **state) {
    (void)state;
    Run run = read_run("a", "{}", "");
    RunResult r = run_result(&run);
    assert_true(isnan(r.final_val) && isnan(r.best_val) && isnan(r.time_s) && isnan(r.tokens_per_s));
    assert_null(run_reach(&run, 100));
    run_free(&run);
}

static void a_target_should_be_reached_at_the_first_evaluation_below(void **state) {
    (void)state;
    Run run = read_run("a", "{}", METRICS);
    assert_int_equal(run_reach(&run, 4.6)->step, 20);
    assert_int_equal(run_reach(&run, 4.25)->step, 20);
    assert_null(run_reach(&run, 4.2));
    run_free(&run);
}

static void the_name_should_be_the_last_part_of_the_path(void **state) {
    (void)state;
    Run run = read_run("a", "{}", METRICS);
    char path[300];
    Error err;
    run_free(&run);
    snprintf(path, sizeof path, "%s///", run_dir("a"));
    assert_true(run_read(&run, path, &err));
    assert_string_equal(run.name, "a");
    run_free(&run);
}

static void the_outcome_should_come_from_the_summary(void **state) {
    (void)state;
    write_file("a", "summary.json", "{\"outcome\": \"diverged\"}");
    Run run = read_run("a", "{}", METRICS);
    assert_string_equal(run.outcome, "diverged");
    run_free(&run);
}

static void a_torn_last_line_should_be_left_out_and_told(void **state) {
    (void)state;
    char text[1024];
    size_t whole = strlen(METRICS), last = whole - strlen(strstr(METRICS, "{\"step\":30"));
    for (size_t length = last + 1; length < whole - 1; length++) {
        snprintf(text, sizeof text, "%.*s", (int)length, METRICS);
        Run run = read_run("a", "{}", text);
        assert_true(run.torn);
        assert_int_equal(run.record_count, 3);
        run_free(&run);
    }
}

static void a_damaged_line_inside_should_be_refused_by_number(void **state) {
    (void)state;
    write_file("a", "config.json", "{}");
    write_file("a", "metrics.jsonl", "{\"step\":1}\n{\"step\":2,\"val\n{\"step\":3}\n");
    assert_refused("a", "metrics.jsonl: line 2 is not a JSON object");
    write_file("a", "metrics.jsonl", "{\"step\":1}\n[2]\n{\"step\":3}\n");
    assert_refused("a", "metrics.jsonl: line 2 is not a JSON object");
}

static void what_is_no_run_should_be_refused(void **state) {
    (void)state;
    assert_refused("nowhere", "nowhere: not a run directory: it has no config.json");
    write_file("a", "config.json", "{}");
    assert_refused("a", "a: not a run directory: it has no metrics.jsonl");
    assert_refused("a/config.json", "not a run directory");
    write_file("a", "metrics.jsonl", "");
    write_file("a", "config.json", "{\"a\":");
    assert_refused("a", "config.json: line 1, column 6: JSON syntax error");
}

/* ----------------------------------------------------------------------------------------------- curves */

static void curves_should_follow_the_axis_asked_for(void **state) {
    (void)state;
    Run run = read_run("a", "{}", METRICS);
    double x[4], y[4];
    assert_int_equal(run_curve(&run, BY_TOKENS, false, x, y), 3);
    assert_true(x[0] == 0 && x[1] == 2000 && x[2] == 3000 && y[0] == 8.5 && y[1] == 4.25 && y[2] == 4.5);
    assert_int_equal(run_curve(&run, BY_TIME, true, x, y), 3);
    assert_true(x[0] == 2.5 && x[2] == 8 && y[0] == 5 && y[2] == 3);
    run_free(&run);
}

/* A centred mean keeps a straight line; noise of sign (-1)^i on it goes down to about 1 / (2 reach + 1). */
static void smoothing_should_not_lag_and_should_remove_noise(void **state) {
    (void)state;
    enum { N = 1000 };
    char *text = NULL;
    size_t length;
    FILE *f = open_memstream(&text, &length);
    for (int i = 0; i < N; i++)
        fprintf(f, "{\"step\":%d,\"train/loss\":%.9g}\n", i, 10 - i / 200.0 + (i % 2 ? 0.5 : -0.5));
    fclose(f);
    Run run = read_run("a", "{}", text);
    double x[N], y[N];
    assert_int_equal(run_curve(&run, BY_STEP, true, x, y), N);
    for (int i = 20; i < N - 20; i++) assert_true(fabs(y[i] - (10 - i / 200.0)) < 0.5 / 41 + 1e-6);
    run_free(&run);
    free(text);
}

/* ---------------------------------------------------------------------------------------------- configs */

static void differences_should_be_key_paths_with_a_value_a_run(void **state) {
    (void)state;
    Run runs[] = {
        read_run("a",
                 "{\"train\":{\"seed\":1,\"steps\":10},\"optimizer\":{\"name\":\"adamw\",\"lr\":0.001},"
                 "\"run\":{\"dir\":\"x\"}}",
                 ""),
        read_run(
            "b",
            "{\"optimizer\":{\"lr\":0.02,\"name\":\"muon\",\"aux\":{\"lr\":0.001}},\"run\":{\"dir\":\"y\"},"
            "\"train\":{\"steps\":10,\"seed\":1}}",
            ""),
    };
    int count;
    Error err;
    RunDifference *d = run_differences(runs, 2, &count, &err);
    assert_non_null(d);
    assert_int_equal(count, 3);
    assert_string_equal(d[0].path, "optimizer.name");
    assert_string_equal(d[0].values[0], "adamw");
    assert_string_equal(d[0].values[1], "muon");
    assert_string_equal(d[1].path, "optimizer.lr");
    assert_string_equal(d[1].values[1], "0.02");
    assert_string_equal(d[2].path, "optimizer.aux.lr");
    assert_null(d[2].values[0]);
    assert_string_equal(d[2].values[1], "0.001");
    run_differences_free(d, count, 2);
    for (int i = 0; i < 2; i++) run_free(&runs[i]);
}

static void settings_should_be_found_by_their_path(void **state) {
    (void)state;
    char out[32];
    Run run = read_run("a", "{\"optimizer\":{\"name\":\"muon\",\"aux\":{\"lr\":0.001}}}", "");
    assert_string_equal(run_setting(&run, "optimizer.name", out, sizeof out), "muon");
    assert_string_equal(run_setting(&run, "optimizer.aux.lr", out, sizeof out), "0.001");
    assert_null(run_setting(&run, "optimizer.Name", out, sizeof out));
    assert_null(run_setting(&run, "optimizer.name.x", out, sizeof out));
    run_free(&run);
}

/* ------------------------------------------------------------------------------------------------ chart */

enum { POINTS = 101 };

/* y = base + height exp(-i / 8), over x = 0 .. 100. */
static ChartSeries falling(const char *label, double base, double height, double *x, double *y) {
    for (int i = 0; i < POINTS; i++) x[i] = i, y[i] = base + height * exp(-i / 8.0);
    return (ChartSeries){label, x, y, POINTS};
}

static char *draw(const ChartSeries *series, int count, int columns, bool unicode, bool color) {
    static char text[1 << 18];
    Error err;
    FILE *f = fmemopen(text, sizeof text, "w");
    Chart chart = {"loss", series, count, 18, {columns, unicode, color}};
    assert_non_null(f);
    assert_true(chart_print(f, &chart, &err));
    assert_int_equal(fclose(f), 0);
    return strdup(text);
}

/* Columns on the screen of the widest line: bytes that do not continue a character, without color
 * sequences. */
static int widest_line(const char *text) {
    int widest = 0, width = 0;
    for (const char *p = text; *p; p++) {
        if (*p == '\033') p = strchr(p, 'm');
        else if (*p == '\n') width = 0;
        else if (((unsigned char)*p & 0xc0) != 0x80) width++;
        if (width > widest) widest = width;
    }
    return widest;
}

static int count_of(const char *text, const char *word) {
    int count = 0;
    while ((text = strstr(text, word))) count++, text += strlen(word);
    return count;
}

static void tick_steps_should_be_round(void **state) {
    (void)state;
    const double cases[][3] = {{10, 5, 2},   {1000, 6, 200},    {0.9, 8, 0.2},
                               {1, 10, 0.1}, {4.1e-3, 5, 1e-3}, {3e9, 6, 5e8}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(fabs(chart_tick_step(cases[i][0], (int)cases[i][1]) / cases[i][2] - 1) < 1e-9);
}

static void the_range_should_leave_out_the_steep_beginning(void **state) {
    (void)state;
    double x[POINTS], y[POINTS];
    ChartSeries s = falling("a", 3, 5, x, y);
    ChartRange r = chart_range(&s, 1);
    assert_true(r.clipped && r.x0 == 0 && r.x1 == 100);
    assert_true(fabs(r.y1 - y[20]) < 1e-12 && r.y0 < 3 && r.y0 > 2.9);
}

static void one_bad_run_should_not_flatten_the_others(void **state) {
    (void)state;
    double x[4][POINTS], y[4][POINTS];
    ChartSeries s[] = {falling("a", 3, 5, x[0], y[0]), falling("b", 3.1, 5, x[1], y[1]),
                       falling("c", 3.2, 5, x[2], y[2]), falling("d", 1e6, 5, x[3], y[3])};
    assert_true(chart_range(s, 4).y1 < 5);
    char *text = draw(s, 4, 80, true, false);
    assert_int_equal(count_of(text, "d d 1000000.0000"), 1); /* still told, at the top */
    free(text);
}

static void charts_should_fit_the_columns_given(void **state) {
    (void)state;
    double x[3][POINTS], y[3][POINTS];
    ChartSeries s[] = {falling("softmuon", 3, 5, x[0], y[0]), falling("muon", 3.1, 5, x[1], y[1]),
                       falling("a name that is far too long to be shown whole", 3.2, 5, x[2], y[2])};
    for (int columns = 30; columns <= 200; columns += 7)
        for (int style = 0; style < 4; style++) {
            char *text = draw(s, 3, columns, style & 1, style & 2);
            assert_in_range(widest_line(strchr(text, '\n') + 1), 20, columns);
            assert_int_equal(count_of(text, "\n"), 1 + 18 + 2);
            assert_true((count_of(text, "\033[38") > 0) == ((style & 2) != 0));
            if (!(style & 1))
                for (const char *p = text; *p; p++) assert_true((unsigned char)*p < 128);
            free(text);
        }
}

/* A straight line from (0, 10) to (100, 0) runs from the top left to the bottom right, once in every
 * row. */
static void a_straight_line_should_be_drawn_straight(void **state) {
    (void)state;
    double x[] = {0, 100}, y[] = {10, 0};
    ChartSeries s = {"line", x, y, 2};
    char *text = draw(&s, 1, 59, false, false), *line = strchr(text, '\n') + 1; /* 59 columns: no labels */
    for (int row = 0, last = -1; row < 18; row++, line = strchr(line, '\n') + 1) {
        int column = (int)(strchr(line, 'a') - line) - 9;
        assert_in_range(column, last + 1, 49);
        assert_true(abs(column - (int)lround((row + 0.0) * 48 / 17 * 1.02)) <= 3);
        last = column;
    }
    free(text);
}

static void every_series_should_be_labelled_once_even_where_all_end_together(void **state) {
    (void)state;
    double x[6][POINTS], y[6][POINTS];
    const char *names[] = {"one", "two", "three", "four", "five", "six"};
    ChartSeries s[6];
    for (int i = 0; i < 6; i++) s[i] = falling(names[i], 3, 5, x[i], y[i]);
    char *text = draw(s, 6, 80, true, false), label[32];
    for (int i = 0; i < 6; i++) {
        snprintf(label, sizeof label, "%c %s 3.0000\n", 'a' + i, names[i]);
        assert_int_equal(count_of(text, label), 1);
    }
    free(text);
}

static void runs_off_the_chart_should_be_labelled_at_its_top(void **state) {
    (void)state;
    double x[7][POINTS], y[7][POINTS];
    ChartSeries s[7];
    for (int i = 0; i < 7; i++) s[i] = falling("run", i < 4 ? 3 : 100, 1, x[i], y[i]);
    char *text = draw(s, 7, 80, true, false), *line = strchr(text, '\n') + 1;
    for (int row = 0; row < 3; row++, line = strchr(line, '\n') + 1) {
        char label[32], *end = strchr(line, '\n');
        snprintf(label, sizeof label, "%c run 100.0000\n", 'e' + row);
        assert_int_equal(strncmp(end + 1 - strlen(label), label, strlen(label)), 0);
    }
    free(text);
}

static void without_color_each_curve_should_carry_its_letter(void **state) {
    (void)state;
    double x[2][POINTS], y[2][POINTS];
    ChartSeries s[] = {falling("...", 3, 5, x[0], y[0]), falling("...", 4, 5, x[1], y[1])};
    char *plain = draw(s, 2, 80, true, false), *colored = draw(s, 2, 80, true, true);
    assert_true(count_of(plain, "a") > 2 && count_of(plain, "b") > 2);
    assert_true(count_of(strchr(colored, '\n'), "b") == 1); /* the label */
    free(plain);
    free(colored);
}

static void nothing_to_draw_should_be_said(void **state) {
    (void)state;
    double x[] = {5}, y[] = {1};
    ChartSeries none = {"a", x, y, 0}, one = {"a", x, y, 1};
    char *text = draw(&none, 1, 80, true, true);
    assert_string_equal(text, "loss: nothing to draw yet\n");
    free(text);
    text = draw(&one, 1, 80, true, true);
    assert_string_equal(text, "loss: nothing to draw yet\n");
    free(text);
}

static void odd_values_should_be_drawn_all_the_same(void **state) {
    (void)state;
    double x[] = {0, 1, 2, 3, 1e12}, y[] = {1e300, 2, 1e-300, -1e30, -1e300}, same[] = {3, 3, 3, 3, 3};
    ChartSeries wild = {"wild", x, y, 5}, flat = {"flat", x, same, 5};
    for (int unicode = 0; unicode < 2; unicode++) {
        free(draw(&wild, 1, 80, unicode, false));
        char *text = draw(&flat, 1, 80, unicode, false);
        assert_int_equal(count_of(text, "a flat 3.0000"), 1);
        free(text);
    }
}

#define WITH_DIR(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void) {
    const struct CMUnitTest tests[] = {
        WITH_DIR(records_should_hold_what_the_lines_say),
        WITH_DIR(results_should_tell_final_from_best),
        WITH_DIR(a_run_without_lines_should_have_no_figures),
        WITH_DIR(a_target_should_be_reached_at_the_first_evaluation_below),
        WITH_DIR(the_name_should_be_the_last_part_of_the_path),
        WITH_DIR(the_outcome_should_come_from_the_summary),
        WITH_DIR(a_torn_last_line_should_be_left_out_and_told),
        WITH_DIR(a_damaged_line_inside_should_be_refused_by_number),
        WITH_DIR(what_is_no_run_should_be_refused),
        WITH_DIR(curves_should_follow_the_axis_asked_for),
        WITH_DIR(smoothing_should_not_lag_and_should_remove_noise),
        WITH_DIR(differences_should_be_key_paths_with_a_value_a_run),
        WITH_DIR(settings_should_be_found_by_their_path),
        cmocka_unit_test(tick_steps_should_be_round),
        cmocka_unit_test(the_range_should_leave_out_the_steep_beginning),
        cmocka_unit_test(one_bad_run_should_not_flatten_the_others),
        cmocka_unit_test(charts_should_fit_the_columns_given),
        cmocka_unit_test(a_straight_line_should_be_drawn_straight),
        cmocka_unit_test(every_series_should_be_labelled_once_even_where_all_end_together),
        cmocka_unit_test(runs_off_the_chart_should_be_labelled_at_its_top),
        cmocka_unit_test(without_color_each_curve_should_carry_its_letter),
        cmocka_unit_test(nothing_to_draw_should_be_said),
        cmocka_unit_test(odd_values_should_be_drawn_all_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
