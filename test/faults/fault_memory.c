/* fault_memory.c: an allocation that fails, whichever it is, ends the run with an error and exit status 1, or does not
 * matter; nothing crashes, nothing leaks (in the asan build, which looks), and the run can be gone on with.
 *
 *     build/release/bin/fault_memory     every allocation
 *     build/asan/bin/fault_memory        one of each kind: what the same chain of functions asks for
 *     build/asan/bin/fault_memory 2      every allocation */
#include "test/faults/world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct Allocation {
    long number;
    unsigned long long stack; /* which functions asked for it */
} Allocation;

static int by_stack(const void *x, const void *y) {
    const Allocation *a = x, *b = y;
    if (a->stack != b->stack) return a->stack < b->stack ? -1 : 1;
    return (a->number > b->number) - (a->number < b->number);
}

#ifdef __SANITIZE_ADDRESS__
enum { ALL_FROM_SCALE = 2 }; /* a run takes several times as long */
#else
enum { ALL_FROM_SCALE = 1 };
#endif

/* Those whose failure is tried: all, or of those that the same functions ask for the first. */
static Allocation *list_allocations(int *chosen, int *count) {
    enum { MOST = 20000 };
    Allocation *all = calloc(MOST, sizeof *all);
    FILE *f = fopen("allocations", "r");
    for (*count = 0; f && all && *count < MOST; (*count)++)
        if (fscanf(f, "%ld %llx", &all[*count].number, &all[*count].stack) != 2) break;
    if (f) fclose(f);
    CHECK(all && *count > 1000 && *count < MOST, "%d allocations", *count);
    qsort(all, (size_t)*count, sizeof *all, by_stack);
    *chosen = 0;
    for (int i = 0; i < *count; i++)
        if (world_scale >= ALL_FROM_SCALE || i == 0 || all[i].stack != all[*chosen - 1].stack)
            all[(*chosen)++] = all[i];
    return all;
}

/* Nothing is left out of a file because there was no memory for it. */
static void check_small_files(void) {
    static const char *const names[] = {"config.json", "machine.json", "summary.json"};
    for (int i = 0; i < 3; i++) {
        char run[64], whole[64];
        snprintf(run, sizeof run, "run/%s", names[i]);
        snprintf(whole, sizeof whole, "short/%s", names[i]);
        CHECK(count_lines(run, "") >= count_lines(whole, ""), "%s lacks something", run);
    }
}

/* `prepare`: what is in the run's directory beforehand. */
static void sweep(const char *prepare) {
    char fault[64];
    int ends[2] = {0}, chosen, count;
    shell("%s; rm -f allocations", prepare);
    CHECK(train("run.dir=run", "FAULT_ALLOC_LOG=allocations", NULL) == 0, "it does not run");
    Allocation *list = list_allocations(&chosen, &count);
    for (int i = 0; i < chosen; i++) {
        world_context("allocation %ld of %d", list[i].number, count);
        snprintf(fault, sizeof fault, "FAULT_ALLOC=%ld", list[i].number);
        shell("rm -rf run run.*; %s", prepare);
        int status = train("run.dir=run", fault, NULL);
        CHECK(status == 0 || status == 1, "exit status %d", status);
        CHECK(status == 0 || count_lines("err", "") > 0, "not a word on stderr");
        CHECK(system("ls -d run/checkpoints/*.damaged >err 2>&1") != 0, "a sound checkpoint is set aside");
        ends[status]++;
        if (status == 0) check_same_end("short", "run", 4), check_small_files();
        else if (i % 10 == 0) check_goes_on("run", "short", 4);
    }
    free(list);
    printf("    %d of %d allocations: %d errors, %d of no consequence\n", chosen, count, ends[1], ends[0]);
}

static void begin(void) {
    world_set("train.steps=4 checkpoint.every=2 checkpoint.keep_last=1 eval.every=3 sample.every=3");
    CHECK(train("run.dir=short", NULL) == 0, "it does not run");
}

static void a_failed_allocation_ends_a_new_run_cleanly(void) {
    begin();
    sweep("true");
}

static void a_failed_allocation_ends_a_continued_run_cleanly(void) {
    begin();
    CHECK(train("run.dir=base", "FAULT_PATH=/base/metrics.jsonl", "FAULT_KINDS=write", "FAULT_AT=4",
                "FAULT_HOW=TERM", NULL) == 75,
          "it does not stop");
    sweep("rm -rf run; cp -r base run");
}

/* Of the data, only what says how much there is has been read by then: dataset.json and the shards' headers. */
static void a_model_that_does_not_fit_is_refused_before_data_is_read(void) {
    CHECK(train("run.dir=huge", "model.n_embd=16384", "model.n_layer=100", "FAULT_PATH=/data/",
                "FAULT_KINDS=read", "FAULT_LOG=calls", NULL) == 1,
          "it is not refused");
    CHECK(count_lines("err", "error: this run needs ") == 1, "it does not say why");
    CHECK(count_lines("calls", "read ") == 3, "%d reads", count_lines("calls", "read "));
    shell("! ls -d huge 2>/dev/null");
}

int main(int argc, char **argv) {
    world_begin(argc, argv);
    TEST(a_failed_allocation_ends_a_new_run_cleanly);
    TEST(a_failed_allocation_ends_a_continued_run_cleanly);
    TEST(a_model_that_does_not_fit_is_refused_before_data_is_read);
    return world_end();
}
