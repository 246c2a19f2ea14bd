/* The learning rate over a run (train/schedule.h). */
#include "train/schedule.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { T = 1000, W = 100 };

static ScheduleSection schedule(ScheduleKind kind, WarmupKind warmup, int64_t warmup_steps) {
    return (ScheduleSection){.name = kind,
                             .warmup = warmup,
                             .warmup_steps = warmup_steps,
                             .final_frac = 0.1,
                             .decay_frac = 0.2};
}

static double factor(ScheduleKind kind, int64_t warmup_steps, int64_t step) {
    ScheduleSection s = schedule(kind, WARMUP_LINEAR, warmup_steps);
    return schedule_factor(&s, step, T);
}

static void the_peak_should_be_reached_exactly_at_the_end_of_the_warmup(void **state) {
    (void)state;
    for (int kind = SCHEDULE_CONSTANT; kind <= SCHEDULE_WSD; kind++) {
        assert_true(factor(kind, W, W) == 1.0);
        assert_true(factor(kind, 0, 1) == 1.0);
        assert_true(factor(kind, 1, 1) == 1.0);
    }
}

static void the_final_fraction_should_be_reached_exactly_at_the_last_step(void **state) {
    (void)state;
    const double fracs[] = {0, 0.1, 0.01, 1.0 / 3, 0.7, 1};
    for (int kind = SCHEDULE_COSINE; kind <= SCHEDULE_WSD; kind++)
        for (size_t i = 0; i < sizeof fracs / sizeof *fracs; i++) {
            ScheduleSection s = schedule(kind, WARMUP_COSINE, 7);
            s.final_frac = fracs[i];
            assert_true(schedule_factor(&s, T, T) == fracs[i]);
            assert_true(schedule_factor(&s, T - 1, T) >= fracs[i]);
        }
    assert_true(factor(SCHEDULE_CONSTANT, W, T) == 1.0);
}

static void shapes_should_have_their_textbook_values(void **state) {
    (void)state;
    int64_t middle = W + (T - W) / 2;
    assert_true(fabs(factor(SCHEDULE_COSINE, W, middle) - 0.55) < 1e-12);
    assert_true(fabs(factor(SCHEDULE_LINEAR, W, middle) - 0.55) < 1e-12);
    double quarter = 0.1 + 0.9 * (1 + sqrt(0.5)) / 2;
    assert_true(fabs(factor(SCHEDULE_COSINE, W, W + (T - W) / 4) - quarter) < 1e-12);
    assert_true(factor(SCHEDULE_WSD, W, 800) == 1.0);
    assert_true(factor(SCHEDULE_WSD, W, 801) < 1.0);
    assert_true(fabs(factor(SCHEDULE_WSD, W, 900) - 0.55) < 1e-12);
}

static void warmups_should_rise_from_above_zero_without_a_jump(void **state) {
    (void)state;
    for (int kind = WARMUP_LINEAR; kind <= WARMUP_COSINE; kind++) {
        ScheduleSection s = schedule(SCHEDULE_COSINE, kind, W);
        double before = 0;
        for (int step = 1; step <= W; step++) {
            double now = schedule_factor(&s, step, T);
            assert_true(now > before && now - before < 2.0 / W);
            before = now;
        }
        assert_true(fabs(before - schedule_factor(&s, W + 1, T)) < 2.0 / W);
        assert_true(fabs(schedule_factor(&s, W / 2, T) - 0.5) < 1e-12);
    }
    assert_true(factor(SCHEDULE_LINEAR, W, 1) == 0.01);
}

static void a_warmup_should_rise_from_the_initial_fraction(void **state) {
    (void)state;
    ScheduleSection s = schedule(SCHEDULE_COSINE, WARMUP_COSINE, W);
    s.initial_frac = 0.01;
    assert_true(schedule_factor(&s, 0, T) == 0.01);
    assert_true(fabs(schedule_factor(&s, W / 2, T) - 0.505) < 1e-12);
    assert_true(schedule_factor(&s, W, T) == 1.0);
    assert_true(schedule_factor(&s, T, T) == 0.1);
}

static void decays_should_never_rise_nor_leave_the_range(void **state) {
    (void)state;
    for (int kind = SCHEDULE_CONSTANT; kind <= SCHEDULE_WSD; kind++) {
        double before = 1;
        for (int step = W; step <= T; step++) {
            double now = factor(kind, W, step);
            assert_true(now <= before && now >= 0.1 && before - now < 0.01);
            before = now;
        }
    }
}

static void a_stable_phase_without_room_should_decay_from_the_peak(void **state) {
    (void)state;
    ScheduleSection s = {.name = SCHEDULE_WSD, .warmup_steps = 600, .decay_frac = 1};
    assert_true(schedule_factor(&s, 600, T) == 1.0);
    assert_true(schedule_factor(&s, 800, T) == 0.5);
    s.decay_frac = 0;
    assert_true(schedule_factor(&s, T - 1, T) == 1.0);
}

static void short_runs_should_stay_in_range(void **state) {
    (void)state;
    for (int kind = SCHEDULE_CONSTANT; kind <= SCHEDULE_WSD; kind++)
        for (int64_t warmup = 0; warmup <= 4; warmup++)
            for (int64_t total = 1; total <= 4; total++)
                for (int64_t step = 1; step <= total; step++) {
                    ScheduleSection s = schedule(kind, WARMUP_COSINE, warmup);
                    double now = schedule_factor(&s, step, total);
                    assert_true(now > 0 && now <= 1);
                }
}

static void a_warmup_that_does_not_end_before_the_run_should_be_refused(void **state) {
    (void)state;
    Error err = {0};
    ScheduleSection s = schedule(SCHEDULE_COSINE, WARMUP_LINEAR, W);
    assert_true(schedule_check(&s, W + 1, &err));
    assert_false(schedule_check(&s, W, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_non_null(strstr(err.text, "schedule.warmup_steps: 100"));
    s.warmup_steps = 0;
    assert_true(schedule_check(&s, 1, &err));
    s.warmup_steps = 2 * T;
    assert_true(schedule_factor(&s, T, T) == 0.5);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_peak_should_be_reached_exactly_at_the_end_of_the_warmup),
        cmocka_unit_test(the_final_fraction_should_be_reached_exactly_at_the_last_step),
        cmocka_unit_test(shapes_should_have_their_textbook_values),
        cmocka_unit_test(warmups_should_rise_from_above_zero_without_a_jump),
        cmocka_unit_test(a_warmup_should_rise_from_the_initial_fraction),
        cmocka_unit_test(decays_should_never_rise_nor_leave_the_range),
        cmocka_unit_test(a_stable_phase_without_room_should_decay_from_the_peak),
        cmocka_unit_test(short_runs_should_stay_in_range),
        cmocka_unit_test(a_warmup_that_does_not_end_before_the_run_should_be_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
