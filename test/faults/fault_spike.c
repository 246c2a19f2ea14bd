/* fault_spike.c: steps left out and ways back are part of a run like any other: stopped, killed and continued, it ends as
 * if it had not been. */
#include "test/faults/world.h"

#include <stdio.h>

enum { STEPS = 20, OPENING = 5, READS = 4 }; /* calls on the shard, before the first step and in each */

static void steps_left_out_are_the_same_after_a_stop_anywhere(void) {
    char at[64];
    world_set(
        "train.steps=20 train.spike_sigma=1.5 train.spike_window=6 checkpoint.keep_last=1 eval.every=0 log.every=3");
    CHECK(train("run.dir=spiky", NULL) == 0, "it does not run");
    CHECK(file_has("out", "left out; loss") && file_has("spiky/metrics.jsonl", "\"skipped\":1"),
          "no step is left out");
    for (int step = 1; step <= STEPS; step++) {
        world_context("step %d", step);
        snprintf(at, sizeof at, "FAULT_AT=%d", OPENING + step * READS);
        int status = train("run.dir=stopped", "FAULT_PATH=/train_0", at,
                           step % 2 ? "FAULT_HOW=TERM" : "FAULT_HOW=kill", NULL);
        CHECK(status == (step % 2 ? 75 : 137), "exit status %d", status);
        check_goes_on("stopped", "spiky", STEPS);
        shell("rm -rf stopped stopped.*");
    }
}

/* The gradient of `step` is no number; `from` is the checkpoint that the process begins with. */
static int train_with_nan(const char *run, int step, int from, const char *more) {
    char at[64], dir[64];
    snprintf(dir, sizeof dir, "run.dir=%s", run);
    snprintf(at, sizeof at, "FAULT_AT=%d", OPENING + (step - 1 - from) * READS + 3);
    return train(dir, "FAULT_NAN_BYTES=77696", "FAULT_NAN=19423", "FAULT_PATH=/train_0", "FAULT_HOW=nan",
                 at, more, NULL);
}

static void begin(void) {
    world_set("train.steps=20 train.max_rollbacks=2 checkpoint.keep_last=9");
    CHECK(train_with_nan("back", 8, 0, NULL) == 0, "it does not go back");
    CHECK(file_has("out", "warning: step 8: the gradient of ln_f.bias is not finite"),
          "it does not say why");
    CHECK(file_has("out", "Back to step 5"), "it does not say where to");
}

static void after_a_way_back_the_run_goes_on_with_other_data(void) {
    begin();
    CHECK(count_lines("back/metrics.jsonl", "") == STEPS + 1, "a step is missing, or twice in the log");
    CHECK(count_lines("back/metrics.jsonl", "{\"step\":6,") == 1 &&
              file_has("back/metrics.jsonl", "\"rollbacks\":1"),
          "the log does not tell");
    CHECK(file_has("back/checkpoints/step_00000005/manifest.json", "\"data_cursor\": 20"),
          "cursor of step 5");
    CHECK(file_has("back/checkpoints/step_00000010/manifest.json",
                   "\"data_cursor\": 52"), /* 8 steps of 4, and 5 */
          "the data between is not left out");
    CHECK(file_has("back/checkpoints/step_00000010/manifest.json", "\"rollbacks\": 1"), "it is not saved");
}

/* Step 7 is kept on the way that is left, and again on the new one: 8 steps of 4 were read, and 2. */
static void checkpoints_of_the_way_that_is_left_make_room(void) {
    world_set("train.steps=20 train.max_rollbacks=2 checkpoint.keep_last=9");
    CHECK(train_with_nan("back", 8, 0, "checkpoint.keep_steps=7") == 0, "it does not go back");
    CHECK(file_has("back/checkpoints/step_00000007/manifest.json", "\"data_cursor\": 40"),
          "step 7 is that of the way that was left");
}

static void a_run_that_went_back_can_be_gone_on_with(void) {
    char at[64];
    begin();
    shell(
        "cp -r back later; rm -r later/summary.json later/checkpoints/step_00000015 later/checkpoints/step_00000020");
    check_goes_on("later", "back", STEPS); /* from step 10, behind it */
    CHECK(file_has("out", "continuing from later/checkpoints/step_00000010"), "not from step 10");
    for (int line = 6; line <= 8; line++) { /* killed before it, stopped before it: it goes the same way */
        world_context("line %d", line);
        snprintf(at, sizeof at, "FAULT_AT=%d", line);
        const char *how = line % 2 ? "FAULT_HOW=TERM" : "FAULT_HOW=kill";
        train("run.dir=early", "FAULT_PATH=/metrics.jsonl", "FAULT_KINDS=write", at, how, NULL);
        int saved = newest_step("early");
        CHECK(train_with_nan("early", 8, saved, NULL) == 0, "it does not go back");
        check_same_end("back", "early", STEPS);
        shell("rm -rf early early.*");
    }
}

/* Each time with other data, but a learning rate like this one is the same each time. */
static void a_run_goes_back_so_often_and_no_more(void) {
    begin();
    int status =
        train("run.dir=wild", "optimizer.name=sgd", "optimizer.lr=1e30", "optimizer.alpha_sign=0.5", NULL);
    CHECK(status == 2, "exit status %d", status); /* sgd has no such key */
    shell(
        "sed 's/\"softmuon\", \"alpha_sign\": 0.5/\"sgd\", \"lr\": 1e30/; s/\"warmup_steps\": 2/\"warmup_steps\": 7/' tiny.json >wild.json");
    shell("mv tiny.json tame.json; mv wild.json tiny.json");
    status = train("run.dir=wild", "checkpoint.every=1", "train.grad_clip=0", NULL);
    shell("mv tame.json tiny.json");
    CHECK(status == 6, "exit status %d", status);
    CHECK(file_has("wild/summary.json", "\"diverged\""), "summary.json does not say it");
}

static void without_a_place_to_go_back_to_it_is_refused(void) {
    world_set("train.max_rollbacks=1");
    CHECK(train("run.dir=never", "checkpoint.every=0", NULL) == 2 &&
              file_has("err", "set checkpoint.every"),
          "accepted");
    CHECK(train_with_nan("first", 3, 0, NULL) == 6, "there is no checkpoint yet");
}

int main(int argc, char **argv) {
    world_begin(argc, argv);
    TEST(steps_left_out_are_the_same_after_a_stop_anywhere);
    TEST(after_a_way_back_the_run_goes_on_with_other_data);
    TEST(checkpoints_of_the_way_that_is_left_make_room);
    TEST(a_run_that_went_back_can_be_gone_on_with);
    TEST(a_run_goes_back_so_often_and_no_more);
    TEST(without_a_place_to_go_back_to_it_is_refused);
    return world_end();
}
