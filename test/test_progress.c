/* What a person sees of a run. */
#include "train/progress.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static StepRecord record_at(int64_t step) {
    StepRecord r = step_record_empty();
    r.step = step;
    r.tokens = step * 2048;
    r.time_s = 0.5 * (double)step;
    r.train_loss = 3.21449;
    r.lr = 0.0013;
    r.tokens_per_s = 12345;
    r.forward_s = 1;
    r.backward_s = 2;
    r.optimizer_s = 1;
    return r;
}

static Progress bare(int64_t total_steps) {
    return (Progress){.total_steps = total_steps, .first_step = -1, .shown = step_record_empty()};
}

static int columns_of(const char *text) {
    int n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

/* -------------------------------------------------------------------------------------------------- formatting */

static void durations_should_read_like_a_clock(void **state) {
    (void)state;
    const struct {
        double seconds;
        const char *text;
    } cases[] = {{0, "0:00"},       {9.4, "0:09"},       {59.6, "1:00"}, {61, "1:01"}, {3599, "59:59"},
                 {3600, "1:00:00"}, {86399, "23:59:59"}, {-5, "0:00"},   {1e300, "?"}, {NAN, "?"}};
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(format_duration(cases[i].seconds, text, sizeof text), cases[i].text);
}

static void counts_should_keep_three_digits(void **state) {
    (void)state;
    const struct {
        double count;
        const char *text;
    } cases[] = {{0, "0"},          {7, "7"},         {999, "999"},     {999.6, "1.00k"},
                 {1234, "1.23k"},   {9999, "10.0k"},  {12345, "12.3k"}, {99960, "100k"},
                 {999600, "1.00M"}, {1.5e9, "1.50G"}, {3e12, "3.00T"}};
    char text[32];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_string_equal(format_count(cases[i].count, text, sizeof text), cases[i].text);
}

static void the_live_line_should_show_everything_in_80_columns(void **state) {
    (void)state;
    Progress p = bare(2000);
    StepRecord r = record_at(1000);
    r.val_loss = 3.4;
    char line[512];
    progress_format_live(&p, &r, 77, line, sizeof line);
    assert_string_equal(line,
                        "===---- 1000/2000 loss 3.214 val 3.400 lr 0.0013 12.3k tok/s opt 25% eta 8:20");
}

static void the_live_line_should_fit_any_width(void **state) {
    (void)state;
    StepRecord r = record_at(123456);
    r.val_loss = 10.98;
    char line[1024], word[1024] = "", whole[1024];
    progress_format_live(&(Progress){.total_steps = 200000, .first_step = -1}, &r, 200, whole,
                         sizeof whole);
    strcat(whole, " ");
    for (int unicode = 0; unicode < 2; unicode++)
        for (int columns = 0; columns < 300; columns++) {
            Progress p = bare(200000);
            p.unicode = unicode;
            progress_format_live(&p, &r, columns, line, sizeof line);
            assert_true(columns_of(line) <= columns);
            assert_true(columns == 0 || columns_of(line) > 0);
            if (columns < 13) continue;
            assert_non_null(strstr(line, "123456/200000"));
            const char *blank = strrchr(line, ' '); /* no figure is cut: the last word is a whole one */
            assert_non_null(strstr(whole, strcat(strcpy(word, blank ? blank : line), " ")));
        }
    assert_non_null(strstr(line, "━╸─"));
}

static void the_bar_should_be_empty_at_first_and_full_at_last(void **state) {
    (void)state;
    Progress p = bare(100);
    char line[512];
    StepRecord r = record_at(0);
    assert_null(strchr(progress_format_live(&p, &r, 120, line, sizeof line), '='));
    r = record_at(100);
    assert_null(strchr(progress_format_live(&p, &r, 120, line, sizeof line), '-'));
    r = record_at(200);
    assert_true(columns_of(progress_format_live(&p, &r, 120, line, sizeof line)) <= 120);
}

static void figures_that_are_absent_should_leave_no_trace(void **state) {
    (void)state;
    Progress p = bare(10);
    StepRecord r = step_record_empty();
    char line[512];
    assert_string_equal(progress_format_live(&p, &r, 20, line, sizeof line), "--------------  0/10");
    r = record_at(5);
    r.train_loss = r.forward_s = NAN;
    progress_format_live(&p, &r, 100, line, sizeof line);
    assert_true(!strstr(line, "nan") && !strstr(line, "loss") && !strstr(line, "opt") &&
                strstr(line, "lr 0.0013"));
}

static void plain_lines_should_be_aligned(void **state) {
    (void)state;
    Progress p = bare(2000);
    StepRecord a = record_at(5), b = record_at(1990);
    b.train_loss = 10.5;
    b.val_loss = 4;
    b.tokens_per_s = 987;
    char first[256], second[256];
    progress_format_plain(&p, &a, first, sizeof first);
    progress_format_plain(&p, &b, second, sizeof second);
    assert_string_equal(
        first, "step    5/2000  loss 3.2145                lr 0.0013     12.3k tok/s  opt 25%   eta 16:38");
    assert_string_equal(
        second, "step 1990/2000  loss 10.5000  val 4.0000   lr 0.0013       987 tok/s  opt 25%   eta 0:05");
    assert_int_equal(strstr(first, "eta") - first, strstr(second, "eta") - second);
}

static void the_eta_should_follow_the_pace_of_this_process(void **state) {
    (void)state;
    Progress p = bare(200);
    p.first_step = 100; /* resumed */
    p.first_s = 1000;
    StepRecord r = record_at(150);
    r.time_s = 1100;
    char line[512];
    assert_non_null(strstr(progress_format_live(&p, &r, 120, line, sizeof line), "eta 1:40"));
}

/* ------------------------------------------------------------------------------------------------------ output */

static char *text;
static size_t text_size;

static Progress opened(int64_t total_steps, bool live) {
    Progress p;
    FILE *out = open_memstream(&text, &text_size);
    assert_non_null(out);
    progress_open(&p, out, total_steps);
    assert_false(p.live || p.color); /* memory is no terminal */
    p.live = live;
    p.unicode = false;
    return p;
}

static void closed(Progress *p) {
    progress_close(p);
    fclose(p->out);
}

static void a_file_should_get_one_line_for_each_logged_step(void **state) {
    (void)state;
    Progress p = opened(30, false);
    for (int step = 1; step <= 30; step++) {
        StepRecord r = record_at(step);
        if (step == 10) r.val_loss = 4;
        progress_update(&p, &r, step % 10 == 0);
    }
    progress_note(&p, "%s", "note");
    closed(&p);
    int lines = 0;
    for (const char *c = text; *c; c++) {
        lines += *c == '\n';
        assert_true(*c == '\n' || (unsigned char)*c >= ' '); /* no escape sequences */
    }
    assert_int_equal(lines, 4);
    assert_ptr_equal(strstr(strstr(text, "val") + 1, "val"), NULL); /* only where it was measured */
    assert_string_equal(text + strlen(text) - 5, "note\n");
    free(text);
}

static void a_terminal_should_be_redrawn_at_most_ten_times_a_second(void **state) {
    (void)state;
    Progress p = opened(100000, true);
    struct timespec start, now;
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (int step = 1; step < 100000; step++) {
        StepRecord r = record_at(step);
        progress_update(&p, &r, true);
    }
    clock_gettime(CLOCK_MONOTONIC, &now);
    double seconds = (double)(now.tv_sec - start.tv_sec) + 1e-9 * (double)(now.tv_nsec - start.tv_nsec);
    closed(&p);
    int draws = 0;
    for (const char *c = text; (c = strstr(c, "/100000")); c++) draws++;
    assert_true(draws >= 2 && draws <= 3 + 10 * seconds);
    free(text);
}

static void the_last_step_should_always_be_drawn_and_left_on_the_screen(void **state) {
    (void)state;
    Progress p = opened(2, true);
    for (int step = 1; step <= 2; step++) {
        StepRecord r = record_at(step);
        progress_update(&p, &r, true);
    }
    fflush(p.out); /* drawn before an evaluation that may follow the last step */
    assert_non_null(strstr(text, "2/2 "));
    closed(&p);
    const char *last = strrchr(text, '\r');
    assert_non_null(last);
    assert_non_null(strstr(last, "2/2 "));
    assert_string_equal(text + strlen(text) - 1, "\n");
    free(text);
}

static void a_note_should_clear_the_line_and_draw_it_again_below(void **state) {
    (void)state;
    Progress p = opened(10, true);
    StepRecord r = record_at(1);
    progress_update(&p, &r, true);
    fflush(p.out);
    size_t before = strlen(text);
    progress_note(&p, "sample:\n\t%s", "It \x1b[2Jis a truth");
    fflush(p.out);
    const char *expected = "\r\x1b[Jsample:\n\tIt ?[2Jis a truth\n";
    assert_memory_equal(text + before, expected, strlen(expected));
    assert_non_null(strstr(text + before + strlen(expected), "1/10 "));
    closed(&p);
    free(text);
}

static void a_line_wrapped_by_a_narrower_terminal_should_be_cleared_whole(void **state) {
    (void)state;
    Progress p = opened(10, true);
    p.drawn_columns = 170; /* three rows of the 80 columns that a stream without a terminal has */
    progress_note(&p, "x");
    closed(&p);
    assert_memory_equal(text, "\x1b[2A\r\x1b[Jx\n", 10);
    free(text);
}

static void the_last_known_validation_loss_should_stay_on_the_live_line(void **state) {
    (void)state;
    Progress p = opened(10, true);
    StepRecord r = record_at(1);
    r.val_loss = 4.5;
    progress_update(&p, &r, true);
    r = record_at(10);
    progress_update(&p, &r, true);
    closed(&p);
    assert_non_null(strstr(strrchr(text, '\r'), "val 4.500"));
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations_should_read_like_a_clock),
        cmocka_unit_test(counts_should_keep_three_digits),
        cmocka_unit_test(the_live_line_should_show_everything_in_80_columns),
        cmocka_unit_test(the_live_line_should_fit_any_width),
        cmocka_unit_test(the_bar_should_be_empty_at_first_and_full_at_last),
        cmocka_unit_test(figures_that_are_absent_should_leave_no_trace),
        cmocka_unit_test(plain_lines_should_be_aligned),
        cmocka_unit_test(the_eta_should_follow_the_pace_of_this_process),
        cmocka_unit_test(a_file_should_get_one_line_for_each_logged_step),
        cmocka_unit_test(a_terminal_should_be_redrawn_at_most_ten_times_a_second),
        cmocka_unit_test(the_last_step_should_always_be_drawn_and_left_on_the_screen),
        cmocka_unit_test(a_note_should_clear_the_line_and_draw_it_again_below),
        cmocka_unit_test(a_line_wrapped_by_a_narrower_terminal_should_be_cleared_whole),
        cmocka_unit_test(the_last_known_validation_loss_should_stay_on_the_live_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
