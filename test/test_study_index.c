/* test_study_index.c: an index is read as it was written; whatever is wrong with one is refused by name. */
#include "core/json.h"
#include "train/study_index.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/tempdir.h"

/* As docs/studies.md describes it, written by hand. */
static const char *const WRITTEN =
    "{\"name\":\"small\",\"baseline\":\"adamw\",\"state\":\"running\",\"tune_seeds\":[1,2],\"methods\":["
    "{\"name\":\"adamw\",\"optimizer\":\"adamw\",\"trunk\":null,\"settings\":{\"optimizer.lr\":0.003},"
    "\"edge\":\"optimizer.lr at its lowest value\"},"
    "{\"name\":\"soft\",\"optimizer\":\"softsignum\",\"trunk\":\"adamw\",\"settings\":null,\"edge\":null}],"
    "\"runs\":["
    "{\"dir\":\"runs/adamw/optimizer.lr=0.003/seed=1\",\"method\":\"adamw\",\"phase\":\"final\","
    "\"settings\":{\"optimizer.lr\":0.003,\"schedule.name\":\"cosine\",\"model.bias\":false},\"seed\":1,"
    "\"trunk\":null,\"branch_step\":null,\"state\":\"done\",\"loss\":4.25},"
    "{\"dir\":\"runs/soft/seed=1\",\"method\":\"soft\",\"phase\":\"tune\",\"settings\":{},\"seed\":1,"
    "\"trunk\":\"runs/adamw/optimizer.lr=0.003/seed=1\",\"branch_step\":700,\"state\":\"diverged\",\"loss\":null}]}";

static void put(const char *text) {
    char path[128];
    snprintf(path, sizeof path, "%s/index.json", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
}

static void an_index_written_by_hand_is_read(void **state) {
    (void)state;
    StudyIndex index;
    Error err;
    put(WRITTEN);
    if (!study_index_read(&index, dir, &err)) fail_msg("%s", err.text);
    assert_string_equal(index.name, "small");
    assert_string_equal(index.baseline, "adamw");
    assert_false(index.done);
    assert_int_equal(index.method_count, 2);
    assert_string_equal(index.methods[0].edge, "optimizer.lr at its lowest value");
    assert_true(cJSON_GetObjectItemCaseSensitive(index.methods[0].settings, "optimizer.lr")->valuedouble ==
                0.003);
    assert_string_equal(index.methods[1].trunk, "adamw");
    assert_null(index.methods[1].settings);
    assert_int_equal(index.run_count, 2);
    assert_int_equal(index.runs[0].phase, STUDY_FINAL);
    assert_int_equal(index.runs[0].state, STUDY_DONE);
    assert_true(index.runs[0].loss == 4.25);
    assert_int_equal(index.runs[0].branch_step, -1);
    assert_string_equal(index.runs[1].trunk, index.runs[0].dir);
    assert_int_equal(index.runs[1].branch_step, 700);
    assert_int_equal(index.runs[1].state, STUDY_DIVERGED);
    assert_true(isnan(index.runs[1].loss));
    assert_ptr_equal(study_index_method(&index, "soft"), &index.methods[1]);
    assert_null(study_index_method(&index, "sof"));
    assert_true(index.tune_seed_count == 2 && index.tune_seeds[1] == 2);
    study_index_free(&index);
}

static void what_is_written_reads_back_to_the_bit(void **state) {
    (void)state;
    StudyIndex index, again;
    Error err;
    put(WRITTEN);
    assert_true(study_index_read(&index, dir, &err));
    double lr = 0.1 + 0.2, loss = nextafter(4.25, 5);
    cJSON_SetNumberHelper(cJSON_GetObjectItemCaseSensitive(index.runs[0].settings, "optimizer.lr"), lr);
    index.runs[0].loss = loss;
    index.done = true;
    if (!study_index_write(&index, dir, &err)) fail_msg("%s", err.text);
    if (!study_index_read(&again, dir, &err)) fail_msg("%s", err.text);
    assert_true(again.done);
    assert_true(again.runs[0].loss == loss);
    assert_true(cJSON_GetObjectItemCaseSensitive(again.runs[0].settings, "optimizer.lr")->valuedouble ==
                lr);
    assert_true(cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(again.runs[0].settings, "model.bias")));
    assert_memory_equal(again.methods[0].name, index.methods[0].name, STUDY_NAME_MAX);
    assert_string_equal(again.methods[0].edge, index.methods[0].edge);
    assert_null(again.methods[1].settings);
    assert_string_equal(again.runs[1].trunk, index.runs[1].trunk);
    assert_int_equal(again.runs[1].branch_step, 700);
    assert_int_equal(again.runs[1].phase, STUDY_TUNE);
    assert_true(again.tune_seed_count == 2 && again.tune_seeds[0] == 1 && again.tune_seeds[1] == 2);
    study_index_free(&index);
    study_index_free(&again);
}

/* One piece of the text replaced. */
typedef struct Fault {
    const char *from, *to, *says;
} Fault;

static const Fault FAULTS[] = {
    {"\"name\":\"small\"", "\"name\":\"a/b\"", "name: no name"},
    {"\"name\":\"small\"", "\"name\":\"..\"", "name: no name"},
    {"\"name\":\"small\"", "\"nam\":\"small\"", "name: missing"},
    {"\"name\":\"small\"", "\"name\":\"x\\u001b[2J\"", "control character"},
    {"\"baseline\":\"adamw\"", "\"baseline\":\"muon\"", "baseline: none of the methods"},
    {"\"state\":\"running\"", "\"state\":\"halted\"", "state: none of the words"},
    {"[1,2]", "3", "tune_seeds: no list"},
    {"[1,2]", "[1,-2]", "tune_seeds: no whole number from 0"},
    {"\"methods\":[", "\"methods\":{},\"x\":[", "methods: no list"},
    {"\"name\":\"soft\"", "\"name\":\"adamw\"", "methods[1].name: there twice"},
    {"\"trunk\":\"adamw\"", "\"trunk\":\"muon\"", "methods[1].trunk: none of the methods"},
    {"\"settings\":{\"optimizer.lr\":0.003}", "\"settings\":[]", "methods[0].settings: no object"},
    {"{\"optimizer.lr\":0.003}", "{\"optimizer.lr\":1e999}", "methods[0].settings: holds neither"},
    {"{\"optimizer.lr\":0.003}", "{\"optimizer.lr\":{}}", "methods[0].settings: holds neither"},
    {"{\"optimizer.lr\":0.003}", "{\"a\":1,\"a\":2}", "methods[0].settings: a key is there twice"},
    {"\"dir\":\"runs/soft/seed=1\"", "\"dir\":\"/etc/passwd\"", "runs[1].dir: no folder below runs/"},
    {"\"dir\":\"runs/soft/seed=1\"", "\"dir\":\"runs/../../x\"", "runs[1].dir: no folder below runs/"},
    {"\"dir\":\"runs/soft/seed=1\"", "\"dir\":\"runs/..\"", "runs[1].dir: no folder below runs/"},
    {"\"dir\":\"runs/soft/seed=1\"", "\"dir\":\"runs/adamw/optimizer.lr=0.003/seed=1\"", "there twice"},
    {"\"method\":\"soft\"", "\"method\":\"muon\"", "runs[1].method: none of the methods"},
    {"\"phase\":\"tune\"", "\"phase\":null", "runs[1].phase: none of the words"},
    {"\"settings\":{}", "\"settings\":null", "runs[1].settings: no object"},
    {"\"seed\":1,\"trunk\":\"", "\"seed\":1.5,\"trunk\":\"", "runs[1].seed: no whole number"},
    {"\"seed\":1,\"trunk\":\"", "\"seed\":-1,\"trunk\":\"", "runs[1].seed: no whole number"},
    {"\"trunk\":\"runs/adamw/", "\"trunk\":\"runs/muon/", "runs[1].trunk: none of the runs"},
    {"\"branch_step\":700", "\"branch_step\":null", "runs[1].branch_step: goes with trunk"},
    {"\"state\":\"diverged\"", "\"state\":\"done\"", "runs[1].loss: goes with state done"},
    {"\"loss\":4.25", "\"loss\":\"4\"", "runs[0].loss: neither a number nor null"},
    {"\"loss\":4.25", "\"loss\":null", "runs[0].loss: goes with state done"},
};

static void every_fault_is_named(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof FAULTS / sizeof *FAULTS; i++) {
        const Fault *fault = &FAULTS[i];
        const char *at = strstr(WRITTEN, fault->from);
        char text[4096];
        StudyIndex index;
        Error err;
        assert_non_null(at);
        snprintf(text, sizeof text, "%.*s%s%s", (int)(at - WRITTEN), WRITTEN, fault->to,
                 at + strlen(fault->from));
        put(text);
        if (study_index_read(&index, dir, &err)) fail_msg("%s was accepted", fault->to);
        if (!strstr(err.text, fault->says)) fail_msg("%s: %s lacks %s", fault->to, err.text, fault->says);
        assert_int_equal(err.code, ERR_DATA);
    }
}

static void long_texts_are_refused(void **state) {
    (void)state;
    char text[2048], name[STUDY_NAME_MAX + 1];
    StudyIndex index;
    Error err;
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    snprintf(text, sizeof text, "{\"name\":\"%s\"%s", name, WRITTEN + strlen("{\"name\":\"small\""));
    put(text);
    assert_false(study_index_read(&index, dir, &err));
    assert_non_null(strstr(err.text, "name: no text that fits"));
}

static void a_failed_write_leaves_the_index(void **state) {
    (void)state;
    StudyIndex index, again;
    Error err;
    char blocked[128];
    put(WRITTEN);
    assert_true(study_index_read(&index, dir, &err));
    snprintf(blocked, sizeof blocked, "mkdir %s/index.json.tmp", dir);
    assert_int_equal(system(blocked), 0);
    index.done = true;
    assert_false(study_index_write(&index, dir, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_true(study_index_read(&again, dir, &err));
    assert_false(again.done);
    study_index_free(&again);
    study_index_free(&index);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_index_written_by_hand_is_read),
        cmocka_unit_test(what_is_written_reads_back_to_the_bit),
        cmocka_unit_test(every_fault_is_named),
        cmocka_unit_test(long_texts_are_refused),
        cmocka_unit_test(a_failed_write_leaves_the_index),
    };
    return cmocka_run_group_tests_name("study_index", tests, make_dir, remove_dir);
}
