/* fuzz_run.c: a run directory: config.json, metrics.jsonl, summary.json, and a second config to compare with. */
#include "test/fuzz/fuzz.h"
#include "train/run_reader.h"

#include <sys/stat.h>

static void read_curves(const Run *run) {
    double *x = malloc((run->record_count + 1) * sizeof *x),
           *y = malloc((run->record_count + 1) * sizeof *y);
    FUZZ_CHECK(x && y);
    for (int by = BY_STEP; by <= BY_TIME; by++)
        for (int train = 0; train < 2; train++)
            FUZZ_CHECK(run_curve(run, (RunAxis)by, train, x, y) <= run->record_count);
    free(y);
    free(x);
}

static void compare(const Run runs[2]) {
    int count;
    Error err;
    RunDifference *found = run_differences(runs, 2, &count, &err);
    FUZZ_CHECK(found);
    for (int i = 0; i < count; i++) FUZZ_CHECK(found[i].path && (found[i].values[0] || found[i].values[1]));
    run_differences_free(found, count, 2);
}

/* As far as the files go. */
static bool read_run(Run *run, Bytes config, Bytes metrics, Bytes summary) {
    Error err;
    fuzz_write("run/config.json", config);
    fuzz_write("run/metrics.jsonl", metrics);
    fuzz_write("run/summary.json", summary);
    if (run_read(run, "run", &err)) return true;
    fuzz_refused(&err);
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Bytes rest = {(const char *)data, size}, config = fuzz_part(&rest), metrics = fuzz_part(&rest);
    Bytes summary = fuzz_part(&rest);
    char setting[16];
    Run runs[2];
    mkdir("run", 0777);
    if (!read_run(&runs[0], config, metrics, summary)) return 0;
    RunResult result = run_result(&runs[0]);
    run_reach(&runs[0], result.final_val);
    read_curves(&runs[0]);
    run_setting(&runs[0], "optimizer.lr", setting, sizeof setting);
    if (read_run(&runs[1], rest, metrics, summary)) {
        fuzz_accepted++;
        compare(runs);
        run_free(&runs[1]);
    }
    run_free(&runs[0]);
    return 0;
}
