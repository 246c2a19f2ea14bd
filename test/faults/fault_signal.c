/* fault_signal.c: a run that is told to stop, wherever it is, saves and exits with 75; going on, it ends as if it had not
 * been. One process writes in a run's directory. Clocks may jump. */
#include "test/faults/world.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STEPS = 12 };

static void begin(void) {
    world_set("train.steps=12 eval.every=6 sample.every=6");
    CHECK(train("run.dir=short", NULL) == 0, "it does not run");
}

/* Signals at the N-th call on a path, and lists all in the file "calls". Reads of training data lie within accumulation
 * and at each step's beginning, those of validation data within evaluation, writes of metrics and samples between steps. */
static int stop_at(const char *how, const char *path, int call) {
    char words[3][128];
    snprintf(words[0], sizeof words[0], "FAULT_HOW=%s", how);
    snprintf(words[1], sizeof words[1], "FAULT_PATH=%s", path);
    snprintf(words[2], sizeof words[2], "FAULT_AT=%d", call);
    unlink("calls");
    return train("run.dir=stopped", words[0], words[1], words[2], "FAULT_LOG=calls", NULL);
}

static void stopped_at_any_moment_a_run_saves_and_goes_on(void) {
    static const char *const paths[] = {"/train_0", "/val_0", "/metrics.jsonl", "/samples.txt"};
    static const char *const hows[] = {"TERM", "INT", "USR1"};
    int all = 0, stops = 0;
    begin();
    for (int i = 0; i < 4; i++) {
        int calls = count_calls(paths[i]);
        for (int call = 1; call <= calls; call++, all++) {
            const char *how = hows[all % 3];
            world_context("SIG%s at call %d of %d on %s", how, call, calls, paths[i]);
            int status = stop_at(how, paths[i], call);
            bool early = status > 128; /* before it listens, while it looks at the data */
            CHECK(status == 75 || (early && !file_has("out", "step  0")) ||
                      (status == 0 && newest_step("stopped") == STEPS),
                  "exit status %d", status);
            if (status == 75) {
                stops++;
                int more = count_lines("calls", "") - call; /* the batch's other window, closing the file */
                CHECK(more <= 2 || i >= 2, "it goes on with data %d times", more);
                CHECK(file_has("stopped/summary.json", "\"outcome\": \"stopped\""),
                      "summary.json does not say it");
                CHECK(count_lines("err", "") == 1 && file_has("err", "stopped by"),
                      "not one line that says why");
            }
            check_goes_on("stopped", "short", STEPS);
            CHECK(early || status == 0 || file_has("out", "continuing from") || newest_step("stopped") == 0,
                  "it begins anew");
            shell("rm -rf stopped stopped.*");
        }
    }
    CHECK(stops > all / 2, "only %d of %d signals stopped it", stops, all);
    printf("    %d moments, at %d of them the run listens\n", all, stops);
}

/* Five windows a shard, 17 or so an epoch, two a batch, two batches a step: each of these edges is met within, and
 * between, the others, and the run is stopped before each window that it reads, then gone on with by more threads. */
static void stopped_at_the_edges_of_shards_and_epochs_a_run_goes_on(void) {
    char at[64], settings[256];
    int stops = 0;
    shell("%s/prepare text/1.txt --out edges --tokenizer byte --val-tail .2 --shard-tokens 90 >/dev/null",
          world_bin());
    begin();
    world_set("data.dir=edges train.steps=12 eval.every=6 sample.every=6");
    CHECK(train("run.dir=short", "train.resume=never", NULL) == 0 && file_has("out", " epochs"),
          "it does not run");
    int calls = count_calls("/edges/train_");
    for (int call = 1; call <= calls; call++) {
        world_context("call %d of %d", call, calls);
        snprintf(at, sizeof at, "FAULT_AT=%d", call);
        int status = train("run.dir=stopped", "FAULT_PATH=/edges/train_", "FAULT_HOW=TERM", at, NULL);
        stops += status == 75;
        snprintf(settings, sizeof settings,
                 "data.dir=edges train.steps=12 eval.every=6 sample.every=6 train.threads=%d",
                 call % 3 + 1);
        world_set(settings);
        check_goes_on("stopped", "short", STEPS);
        world_set("data.dir=edges train.steps=12 eval.every=6 sample.every=6");
        shell("rm -rf stopped stopped.*");
    }
    CHECK(stops >= 4 * STEPS - 1, "only %d of %d signals stopped it", stops, calls);
    printf("    %d moments, at %d of them the run listens\n", calls, stops);
}

static void a_second_interrupt_ends_it_without_saving(void) {
    begin();
    CHECK(stop_at("INT2", "/train_0", 30) == 128 + SIGINT, "it does not end at once");
    int saved = newest_step("stopped");
    CHECK(saved % 5 == 0 && saved < 10, "step %d is saved", saved);
    check_goes_on("stopped", "short", STEPS);
}

/* The first process is made to wait at each of its calls in turn, while the second one comes. */
static void two_processes_in_a_directory_do_not_meet(void) {
    begin();
    int calls = count_calls("/counted/");
    int met = 0;
    for (int call = 2; call <= calls; call += 1 + calls / 40) { /* at the first nothing is locked yet */
        char at[64];
        int status;
        world_context("stopped at call %d of %d", call, calls);
        snprintf(at, sizeof at, "FAULT_AT=%d", call);
        pid_t first = launch("run.dir=held", "FAULT_PATH=/held/", at, "FAULT_HOW=stop", NULL);
        CHECK(waitpid(first, &status, WUNTRACED) == first && WIFSTOPPED(status), "it does not stop");
        bool locked = system("flock -n held/lock true 2>/dev/null") != 0;
        shell("cp -r held before");
        status = locked ? train("run.dir=held", NULL) : 7;
        CHECK(status == 7, "exit status %d of the second process", status);
        CHECK(!locked || file_has("err", "another process"), "it does not say why");
        shell("diff -r before held && ! ls -d held.* 2>/dev/null");
        met += locked;
        kill(first, SIGCONT);
        CHECK(ended(first) == 0, "the first process does not end well");
        check_same_end("short", "held", STEPS);
        shell("rm -rf held before");
    }
    CHECK(met > 20, "they met %d times only", met);
}

static void of_two_processes_that_start_together_one_runs(void) {
    begin();
    for (int round = 0; round < 30 * world_scale; round++) {
        world_context("round %d", round);
        pid_t a = launch("run.dir=race", "train.resume=never", NULL),
              b = launch("run.dir=race", "train.resume=never", NULL);
        int ends[2] = {ended(a), ended(b)};
        CHECK((ends[0] == 0 && (ends[1] == 0 || ends[1] == 7)) || (ends[0] == 7 && ends[1] == 0),
              "exit statuses %d and %d", ends[0], ends[1]);
        check_same_end("short", "race", STEPS);
        if (ends[0] == ends[1]) check_same_end("short", "race.1", STEPS); /* one after the other */
        shell("rm -rf race race.*");
    }
}

static void clocks_that_jump_change_no_result(void) {
    char words[64];
    begin();
    for (int n = 1; n <= 20 * world_scale; n++) {
        world_context("clock %d", n);
        snprintf(words, sizeof words, "FAULT_CLOCK=%d", n);
        int status =
            train("run.dir=jumpy", words, "FAULT_PATH=/train_0", "FAULT_AT=20", "FAULT_HOW=TERM", NULL);
        CHECK(status == 75, "exit status %d", status);
        status = train("run.dir=jumpy", words, NULL);
        CHECK(status == 0 && !file_has("err", "warning"), "exit status %d of a run that goes on", status);
        CHECK(file_has("out", "continuing from"), "it begins anew");
        check_same_end("short", "jumpy", STEPS);
        shell("rm -rf jumpy");
    }
}

int main(int argc, char **argv) {
    world_begin(argc, argv);
    TEST(stopped_at_any_moment_a_run_saves_and_goes_on);
    TEST(stopped_at_the_edges_of_shards_and_epochs_a_run_goes_on);
    TEST(a_second_interrupt_ends_it_without_saving);
    TEST(two_processes_in_a_directory_do_not_meet);
    TEST(of_two_processes_that_start_together_one_runs);
    TEST(clocks_that_jump_change_no_result);
    return world_end();
}
