/* fault_kill.c: kill -9 loses nothing that was saved, and the run that goes on ends as if it had never been killed.
 *
 *     build/release/bin/fault_kill          a thousand random kills, and one at every call that a save makes
 *     build/release/bin/fault_kill 10       ten thousand */
#include "test/faults/world.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double clock_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Whatever has the name of a checkpoint has all its files. */
static void check_names(const char *run) {
    static const char *const files[] = {"model.safetensors", "config.json", "optimizer.safetensors",
                                        "manifest.json"};
    char path[256];
    for (int step = newest_step(run); step > 0; step--) {
        snprintf(path, sizeof path, "%s/checkpoints/step_%08d", run, step);
        for (int i = 0; i < 4 && access(path, F_OK) == 0; i++) {
            snprintf(path, sizeof path, "%s/checkpoints/step_%08d/%s", run, step, files[i]);
            CHECK(access(path, F_OK) == 0, "%s is missing", path);
            *strrchr(path, '/') = '\0';
        }
    }
}

static bool has_begun(void) {
    struct stat out;
    return stat("out", &out) == 0 && out.st_size > 0;
}

/* Dies within life_s after it has said its first word, or, one time in eight, at any moment before. Most lives save often
 * or to a slow disk, so that they spend much of their time within a save. */
static bool live_and_die(const char *run, double life_s) {
    char dir[64];
    bool slow = random_below(2);
    snprintf(dir, sizeof dir, "run.dir=%s", run);
    unlink("out");
    pid_t process = launch(dir, random_below(2) ? "checkpoint.every=1" : "checkpoint.every=5",
                           random_below(4) ? "train.threads=1" : "train.threads=2", "FAULT_LAST=1000000",
                           slow ? "FAULT_AT=1" : "FAULT_AT=1000000", "FAULT_HOW=slow",
                           "FAULT_PATH=/checkpoints/step_", NULL);
    double end = clock_s() + 0.1;
    if (random_below(8))
        while (!has_begun() && clock_s() < end) usleep(200);
    usleep((useconds_t)(life_s * random_below(1000000)));
    kill(process, SIGKILL);
    int status = ended(process);
    CHECK(status == 0 || status == 128 + SIGKILL, "exit status %d", status);
    CHECK(!file_has("err", "warning") && !file_has("err", "error"), "it complains");
    return status == 0 || file_has("killed/summary.json", "\"finished\": true");
}

/* Lives grow longer until one of them saves something, so that a busy machine comes to the end, too. */
static void a_run_killed_at_random_ends_as_if_it_had_not_been(void) {
    int kills = 0, saving = 0, runs = 0, wanted = 1000 * world_scale;
    double start = clock_s();
    CHECK(train("run.dir=timed", "checkpoint.every=1", NULL) == 0, "it does not run");
    double life_s = (clock_s() - start) / 8, longer = 1;
    for (; kills < wanted || saving * 10 < wanted; runs++) {
        int saved = 0;
        world_context("run %d, kill %d, saved step %d", runs, kills, saved);
        while (!live_and_die("killed", life_s * longer)) {
            int now = newest_step("killed");
            kills++;
            saving += is_saving("killed");
            CHECK(now >= saved, "step %d was saved, now %d is the newest", saved, now);
            longer = now > saved ? 1 : longer * 1.1;
            saved = now;
            check_names("killed");
            world_context("run %d, kill %d, saved step %d", runs, kills, saved);
        }
        check_same_end("whole", "killed", 60);
        shell("rm -rf killed killed.*");
        CHECK(kills < 10 * wanted, "of %d kills, %d hit a save", kills, saving);
    }
    printf("    %d kills, %d of them while a checkpoint was half written; %d runs\n", kills, saving, runs);
}

/* A save keeps one checkpoint only: between two there is no moment without one. */
static void a_kill_at_any_call_of_a_save_loses_nothing(void) {
    static const char *const hows[] = {"FAULT_HOW=kill", "FAULT_HOW=torn"};
    char at[64];
    world_set("train.steps=15 checkpoint.keep_last=1");
    CHECK(train("run.dir=short", NULL) == 0, "it does not run");
    int calls = count_calls("/checkpoints");
    for (int call = 1; call <= calls; call++)
        for (int how = 0; how < 2; how++) {
            world_context("%s at call %d of %d", hows[how], call, calls);
            snprintf(at, sizeof at, "FAULT_AT=%d", call);
            int status = train("run.dir=cut", "FAULT_PATH=/checkpoints", at, hows[how], NULL);
            CHECK(status == 128 + SIGKILL, "exit status %d", status);
            int saved = newest_step("cut");
            check_names("cut");
            CHECK(saved >= 5 || call < calls / 2, "nothing is saved any more");
            check_goes_on("cut", "short", 15);
            CHECK(!file_has("err", "warning"), "it warns");
            shell("rm -rf cut cut.*");
        }
    printf("    %d calls\n", calls);
}

int main(int argc, char **argv) {
    world_begin(argc, argv);
    TEST(a_run_killed_at_random_ends_as_if_it_had_not_been);
    TEST(a_kill_at_any_call_of_a_save_loses_nothing);
    return world_end();
}
