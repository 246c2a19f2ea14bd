/* fault_damage.c: what is on the disk is not what was written, or numbers are none: a checkpoint that is damaged is told
 * and the one before it used, data that is cut short ends the run, a loss that is not finite is never learned from. */
#include "test/faults/world.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { STEPS = 12 };

static const char *const FILES[] = {"manifest.json", "model.safetensors", "optimizer.safetensors",
                                    "config.json"};

/* short: a whole run. base: one that was stopped after step 11, with the checkpoints 5, 10 and 11. */
static void begin(void) {
    world_set("train.steps=12 eval.every=6 sample.every=6");
    CHECK(train("run.dir=short", NULL) == 0, "it does not run");
    CHECK(train("run.dir=base", "FAULT_PATH=/metrics.jsonl", "FAULT_KINDS=write", "FAULT_AT=12",
                "FAULT_HOW=TERM", NULL) == 75,
          "it does not stop");
    CHECK(newest_step("base") == 11, "step %d is the newest", newest_step("base"));
}

static long file_size(const char *path) {
    struct stat info;
    CHECK(stat(path, &info) == 0, "%s is not there", path);
    return (long)info.st_size;
}

static void flip(const char *path, long byte, int bit) {
    unsigned char c;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && pread(fd, &c, 1, byte) == 1, "%s cannot be read", path);
    c ^= (unsigned char)(1 << bit);
    CHECK(pwrite(fd, &c, 1, byte) == 1 && close(fd) == 0, "%s cannot be written", path);
}

static void falls_back(int from, int to) {
    char words[128];
    check_goes_on("hurt", "short", STEPS);
    snprintf(words, sizeof words, "warning: hurt/checkpoints/step_%08d", from);
    CHECK(file_has("err", words), "it does not warn");
    snprintf(words, sizeof words, "continuing from hurt/checkpoints/step_%08d", to);
    CHECK(file_has("out", words), "it does not go on from step %d", to);
    snprintf(words, sizeof words, "hurt/checkpoints/step_%08d.damaged", from);
    CHECK(access(words, F_OK) == 0, "what is damaged is not kept");
}

static void a_flipped_bit_anywhere_is_seen(void) {
    char path[128];
    begin();
    for (int n = 0; n < 100 * world_scale; n++) {
        const char *name = FILES[n % 3];
        shell("rm -rf hurt; cp -r base hurt");
        snprintf(path, sizeof path, "hurt/checkpoints/step_00000011/%s", name);
        long byte = random_below((uint32_t)file_size(path));
        if (n % 2) byte %= 4096; /* headers, too */
        if (byte >= file_size(path)) byte = 0;
        int bit = (int)random_below(8);
        world_context("%s, byte %ld, bit %d", name, byte, bit);
        flip(path, byte, bit);
        falls_back(11, 10);
    }
}

static void a_file_cut_short_is_seen(void) {
    char path[128];
    begin();
    for (int n = 0; n < 4 * 8; n++) {
        shell("rm -rf hurt; cp -r base hurt");
        snprintf(path, sizeof path, "hurt/checkpoints/step_00000011/%s", FILES[n % 4]);
        long size = file_size(path),
             lengths[] = {0, 1, 7, 8, size / 2, size - 1, size - 4, (long)random_below(200)};
        world_context("%s, %ld of %ld bytes", FILES[n % 4], lengths[n / 4], size);
        CHECK(truncate(path, lengths[n / 4]) == 0, "it cannot be cut");
        falls_back(11, 10);
    }
}

static void several_damaged_checkpoints_fall_back_to_one_that_is_whole(void) {
    begin();
    shell("rm -rf hurt; cp -r base hurt; rm hurt/checkpoints/step_00000011/model.safetensors");
    flip("hurt/checkpoints/step_00000010/manifest.json", 200, 3);
    falls_back(11, 5);
    CHECK(count_lines("err", "warning: ") == 2, "not two warnings");
    CHECK(access("hurt/checkpoints/step_00000010.damaged", F_OK) == 0, "what is damaged is not kept");
}

static void with_nothing_whole_left_it_stops_and_touches_nothing(void) {
    begin();
    shell(
        "rm -rf hurt hurts; cp -r base hurt; truncate -s 100 hurt/checkpoints/*/optimizer.safetensors; cp -r hurt hurts");
    int status = train("run.dir=hurt", NULL);
    CHECK(status == 4 && file_has("err", "train.resume=never"), "exit status %d", status);
    shell("diff -r hurt hurts");
}

/* While the run waits within step 8, a shard loses its end, which it will need. */
static void a_shard_that_is_cut_while_the_run_reads_it_ends_it_with_its_name(void) {
    int status;
    begin();
    shell("cp -r data cut");
    pid_t process = launch("run.dir=torn", "data.dir=cut", "FAULT_PATH=/cut/train_0", "FAULT_AT=34",
                           "FAULT_HOW=stop", NULL);
    CHECK(waitpid(process, &status, WUNTRACED) == process && WIFSTOPPED(status), "it does not stop");
    CHECK(truncate("cut/train_000000.bin", 1030) == 0, "it cannot be cut");
    kill(process, SIGCONT);
    status = ended(process);
    CHECK(status == 3 && file_has("err", "cut/train_000000.bin: ends at byte "), "exit status %d", status);
    CHECK(count_lines("torn/metrics.jsonl", "") >= 8, "what was done is not in the log");
    CHECK(train("run.dir=torn", "data.dir=cut", NULL) == 3, "it goes on without its data");
    check_goes_on("torn", "short", STEPS);
}

/* The loss of a step is no number when a weight is none; a gradient can be none all by itself. The shim writes to the last
 * bias of the weights, or of the gradients between the two micro-batches of a step. */
static void a_number_that_is_none_is_never_learned_from(void) {
    enum { BYTES = 77696, FLOATS = BYTES / 4 }; /* weights, then gradients: see gpt2_create */
    enum { OPENING = 5, READS = 4 };            /* calls on the shard, before the first step and in each */
    char size[64], index[64], at[64], words[64];
    begin();
    for (int step = 1; step <= STEPS; step++)
        for (int gradient = 0; gradient < 2; gradient++) {
            world_context("step %d, %s", step, gradient ? "gradient" : "weight");
            snprintf(size, sizeof size, "FAULT_NAN_BYTES=%d", BYTES);
            snprintf(index, sizeof index, "FAULT_NAN=%d", (gradient ? FLOATS : FLOATS / 2) - 1);
            snprintf(at, sizeof at, "FAULT_AT=%d", OPENING + (step - 1) * READS + (gradient ? 3 : 1));
            int status =
                train("run.dir=nan", "FAULT_PATH=/train_0", "FAULT_HOW=nan", at, size, index, NULL);
            CHECK(status == 6, "exit status %d (are weights and gradients still %d bytes?)", status, BYTES);
            snprintf(words, sizeof words, "error: step %d: ", step);
            CHECK(file_has("err", words), "it does not name the step");
            CHECK(file_has("err", gradient ? "the gradient of ln_f.bias" : "the loss"),
                  "it does not say what");
            CHECK(file_has("err", "data/train_000000.bin, token "), "it does not say where in the data");
            CHECK(file_has("nan/summary.json", "\"diverged\""), "summary.json does not say it");
            CHECK(!file_has("nan/metrics.jsonl", "nan") && count_lines("nan/metrics.jsonl", "") == step,
                  "metrics");
            CHECK(newest_step("nan") < step, "step %d is saved", newest_step("nan"));
            shell(
                "rm nan/summary.json"); /* else it would not be gone on with: the same would happen again */
            check_goes_on("nan", "short", STEPS);
            shell("rm -rf nan nan.*");
        }
}

int main(int argc, char **argv) {
    world_begin(argc, argv);
    TEST(a_flipped_bit_anywhere_is_seen);
    TEST(a_file_cut_short_is_seen);
    TEST(several_damaged_checkpoints_fall_back_to_one_that_is_whole);
    TEST(with_nothing_whole_left_it_stops_and_touches_nothing);
    TEST(a_shard_that_is_cut_while_the_run_reads_it_ends_it_with_its_name);
    TEST(a_number_that_is_none_is_never_learned_from);
    return world_end();
}
