/* fault_io.c: a call to the system that fails, once or from then on, neither ends a run without need nor lets it say what
 * is not so. Whatever happens, the run can be gone on with, and ends as if nothing had. */
#include "test/faults/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const HOWS[] = {"EIO", "ENOSPC", "EINTR", "short", NULL};

/* A line of the file "calls", from 1. */
static char *call_name(int number, char line[512]) {
    FILE *f = fopen("calls", "r");
    while (f && number-- > 0 && fgets(line, 512, f)) line[strcspn(line, "\n")] = '\0';
    if (f) fclose(f);
    return line;
}

/* Must a save in which this call fails be tried again? Not where it only removes or looks. */
static bool spoils(const char *call, const char *how) {
    static const char *const kinds[] = {"mkdir ", "write ", "fsync ", "read "};
    bool spoils = false;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        spoils |= strncmp(call, kinds[i], strlen(kinds[i])) == 0;
    return spoils && (strcmp(how, "EIO") == 0 || strcmp(how, "ENOSPC") == 0);
}

static int run_with(const char *how, const char *path, int first, int last, const char *kinds) {
    char words[5][512];
    snprintf(words[0], 512, "FAULT_HOW=%s", how);
    snprintf(words[1], 512, "FAULT_PATH=%s", path);
    snprintf(words[2], 512, "FAULT_AT=%d", first);
    snprintf(words[3], 512, "FAULT_LAST=%d", last);
    snprintf(words[4], 512, "FAULT_KINDS=%s", kinds);
    unlink("seen");
    return train("run.dir=hit", words[0], words[1], words[2], words[3], "FAULT_LOG=seen",
                 *kinds ? words[4] : NULL, NULL);
}

/* A save keeps one checkpoint only: what is removed too early is missed. */
static void begin(void) {
    world_set("train.steps=15 checkpoint.keep_last=1");
    CHECK(train("run.dir=short", NULL) == 0, "it does not run");
}

/* Each is tried again with a new file, and succeeds. */
static void one_failure_within_a_save_does_no_harm(void) {
    char name[512];
    begin();
    int calls = count_calls("/checkpoints/step_"), saves = count_lines("calls", "mkdir ");
    for (int call = 1; call <= calls; call++)
        for (const char *const *how = HOWS; *how; how++) {
            world_context("%s at call %d of %d, %s", *how, call, calls, call_name(call, name));
            int status = run_with(*how, "/checkpoints/step_", call, call, "");
            CHECK(status == 0, "exit status %d", status);
            CHECK(!file_has("out", "could not be saved"), "it says that it could not save");
            int again = count_lines("seen", "mkdir ") - saves;
            CHECK(again == 1 || (again == 0 && !spoils(name, *how)), "tried again %d times", again);
            check_same_end("short", "hit", 15);
            shell("rm -rf hit");
        }
    printf("    %d calls\n", calls);
}

/* From some call on the disk is full, or broken. The run goes on, tells of each checkpoint that is not saved; at the end,
 * which it cannot save, it fails. What was saved before is whole. */
static void a_disk_that_fails_for_good_loses_nothing_that_was_saved(void) {
    char name[512], words[128];
    begin();
    int calls = count_calls("/checkpoints/step_");
    for (int call = 1; call <= calls; call++)
        for (int h = 0; h < 2; h++) {
            world_context("%s from call %d of %d, %s", HOWS[h], call, calls, call_name(call, name));
            int status = run_with(HOWS[h], "/checkpoints/step_", call, 1000000, "");
            int saved = newest_step("hit");
            CHECK(status == 1 || (status == 0 && saved == 15), "exit status %d, step %d is saved", status,
                  saved);
            for (int step = 5; step < 15; step += 5) {
                snprintf(words, sizeof words, "step %d could not be saved", step);
                CHECK(step <= saved || file_has("out", words), "not a word of step %d; %d is saved", step,
                      saved);
            }
            CHECK(count_lines("err", "error: ") == status, "errors on stderr");
            if (status) check_goes_on("hit", "short", 15);
            else check_same_end("short", "hit", 15);
            CHECK(!file_has("err", "warning"), "what was saved is damaged");
            shell("rm -rf hit hit.*");
        }
}

/* One kind of call fails, always, from the second save on: all three attempts at it. The first one stays. */
static void what_fails_each_time_is_told_and_what_was_saved_before_stays(void) {
    static const char *const kinds[] = {"mkdir", "open", "write", "fsync", "close", "rename", "read"};
    begin();
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        for (int h = 0; h < 2; h++) {
            world_context("%s of each %s", HOWS[h], kinds[i]);
            int status = run_with(HOWS[h], "/checkpoints/step_0000001", 1, 1000000, kinds[i]);
            CHECK(status == 1 && count_lines("err", "error: ") == 1, "exit status %d", status);
            CHECK(file_has("out", "step 10 could not be saved"), "it does not tell");
            bool removed =
                !is_saving("hit") || strcmp(kinds[i], "open") == 0; /* which removing begins with */
            CHECK(newest_step("hit") == 5 && removed, "step %d is the newest", newest_step("hit"));
            check_goes_on("hit", "short", 15);
            CHECK(file_has("out", "continuing from hit/checkpoints/step_00000005"), "it begins anew");
            shell("rm -rf hit");
        }
}

static void what_can_never_be_removed_does_no_harm(void) {
    begin();
    CHECK(run_with("EIO", "/checkpoints/step_", 1, 1000000, "unlink") == 0, "it fails");
    check_same_end("short", "hit", 15);
}

/* Each read and write transfers half of what it was asked for. */
static void short_reads_and_writes_all_along_change_nothing(void) {
    static const char *const paths[] = {"/hit", "/data/"};
    begin();
    for (int i = 0; i < 2; i++) {
        world_context("%s", paths[i]);
        CHECK(run_with("short", paths[i], 1, 1000000, "") == 0, "it fails");
        check_same_end("short", "hit", 15);
        CHECK(run_with("short", paths[i], 1, 1000000, "") == 0, "it does not move the run aside");
        shell("rm -rf hit hit.*");
    }
    int status = run_with("TERM", "/hit/metrics.jsonl", 8, 8, "write");
    CHECK(status == 75, "exit status %d", status);
    CHECK(run_with("short", "/", 1, 1000000, "") == 0 && file_has("out", "continuing from"),
          "it does not go on");
    check_same_end("short", "hit", 15);
}

/* Any call that has to do with the run's directory or its data. */
static void one_failure_anywhere_ends_well_or_with_an_error_and_can_be_gone_on_from(void) {
    static const struct {
        const char *path, *how;
    } sweeps[] = {
        {"/hit", "EIO"}, {"/hit", "short"}, {"/hit", "EINTR"}, {"/data/", "EIO"}, {"/data/", "short"}};
    char name[512];
    int all = 0, survived = 0;
    begin();
    for (size_t i = 0; i < sizeof sweeps / sizeof *sweeps; i++) {
        int calls = count_calls(strcmp(sweeps[i].path, "/hit") == 0 ? "/counted" : sweeps[i].path);
        for (int call = 1; call <= calls; call++, all++) {
            world_context("%s at call %d of %d, %s", sweeps[i].how, call, calls, call_name(call, name));
            int status = run_with(sweeps[i].how, sweeps[i].path, call, call, "");
            CHECK(status == 0 || status == 1 || (status == 3 && i >= 3), "exit status %d", status);
            CHECK(count_lines("err", "") == (status != 0), "not one line on stderr");
            survived += status == 0;
            if (status == 0) check_same_end("short", "hit", 15);
            else check_goes_on("hit", "short", 15);
            shell("rm -rf hit hit.*");
        }
    }
    printf("    %d calls, %d without consequence\n", all, survived);
}

/* The metrics fit, the optimizer's file does not. */
static void without_room_for_files_the_run_goes_on_and_fails_in_the_end(void) {
    begin();
    world_limit_files(50000);
    int status = train("run.dir=hit", NULL);
    world_limit_files(0);
    CHECK(status == 1 && count_lines("err", "error: ") == 1, "exit status %d", status);
    CHECK(file_has("out", "step 5 could not be saved"), "it does not tell");
    CHECK(newest_step("hit") == 0, "half a checkpoint has the name of a whole one");
    check_goes_on("hit", "short", 15);
}

/* A file system of two checkpoints, then of many. Needs the right to mount one. */
static void on_a_disk_that_is_full_the_run_goes_on_when_there_is_room_again(void) {
    begin();
    if (system("unshare -rm mount -t tmpfs none /mnt 2>err") != 0)
        return (void)printf("    skipped: nothing can be mounted here\n");
    shell("mkdir disk; unshare -rm sh -ec 'mount -t tmpfs -o size=300k none disk\n"
          "%s/train_gpt tiny.json train.steps=15 run.dir=disk/run >out 2>err && exit 9\n"
          "[ -d disk/run/checkpoints/step_00000010 ] && [ ! -d disk/run/checkpoints/step_00000015 ]\n"
          "mount -o remount,size=9m disk\n"
          "%s/train_gpt tiny.json train.steps=15 run.dir=disk/run >out 2>err\n"
          "cp -r disk/run hit'",
          world_bin(), world_bin());
    CHECK(file_has("out", "continuing from disk/run/checkpoints/step_00000010"), "it begins anew");
    check_same_end("short", "hit", 15);
}

/* As an ordinary user: for root no directory is read-only, but a file system can be. */
static void a_file_system_that_is_read_only_is_told_at_once(void) {
    begin();
    if (system("unshare -rm mount -t tmpfs none /mnt 2>err") != 0)
        return (void)printf("    skipped: nothing can be mounted here\n");
    shell(
        "mkdir disk; cp -r short disk/run; rm disk/run/summary.json\n"
        "unshare -rm sh -ec 'mount --bind disk disk; mount -o remount,bind,ro disk\n"
        "for dir in disk/run disk/new; do\n"
        "  status=0; %s/train_gpt tiny.json train.steps=15 run.dir=$dir >out 2>err || status=$?\n"
        "  [ $status -eq 1 ] && [ $(wc -l <err) -eq 1 ] && grep -q Read-only err && ! grep -q \"step \" out\n"
        "done'",
        world_bin());
}

static void a_directory_that_is_read_only_is_told_at_once(void) {
    begin();
    int status = run_with("EROFS", "/hit", 1, 1000000, "open,mkdir,unlink,rename");
    CHECK(status == 1 && count_lines("err", "error: ") == 1, "exit status %d", status);
    CHECK(!file_has("out", "step "), "it begins to train");
    check_goes_on("hit", "short", 15);
    shell("rm -rf hit");
    CHECK(train("run.dir=hit", "FAULT_PATH=/checkpoints", "FAULT_KINDS=open,mkdir,unlink,rename",
                "FAULT_HOW=EROFS", "FAULT_AT=20", "FAULT_LAST=1000000", NULL) == 1,
          "it ends well though nothing can be written");
    check_goes_on("hit", "short", 15);
}

int main(int argc, char **argv) {
    world_begin(argc, argv);
    TEST(one_failure_within_a_save_does_no_harm);
    TEST(a_disk_that_fails_for_good_loses_nothing_that_was_saved);
    TEST(what_fails_each_time_is_told_and_what_was_saved_before_stays);
    TEST(what_can_never_be_removed_does_no_harm);
    TEST(short_reads_and_writes_all_along_change_nothing);
    TEST(one_failure_anywhere_ends_well_or_with_an_error_and_can_be_gone_on_from);
    TEST(without_room_for_files_the_run_goes_on_and_fails_in_the_end);
    TEST(on_a_disk_that_is_full_the_run_goes_on_when_there_is_room_again);
    TEST(a_file_system_that_is_read_only_is_told_at_once);
    TEST(a_directory_that_is_read_only_is_told_at_once);
    return world_end();
}
