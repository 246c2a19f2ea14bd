/* test_report.c: the report's data: runs as methods, curves over seeds, hostile text; figures against hand-made ones. */
#include "core/file.h"
#include "core/json.h"
#include "core/json_out.h"
#include "train/curve.h"
#include "train/report.h"
#include "train/run_figures.h"
#include "train/run_group.h"
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "test/tempdir.h"

static Error err;

static void write_bytes(const char *run, const char *name, const char *bytes, size_t length) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, run);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/%s/%s", dir, run, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, length, f), length);
    assert_int_equal(fclose(f), 0);
}

static void write_text(const char *run, const char *name, const char *text) {
    write_bytes(run, name, text, strlen(text));
}

/* A finished run of 3 evaluations, the last `loss`, of an optimizer with a seed. */
static Run make_run(const char *name, const char *optimizer, int seed, double loss) {
    char path[256], text[1024];
    Run run;
    snprintf(
        text, sizeof text,
        "{\"optimizer\":{\"name\":\"%s\",\"lr\":0.1},\"train\":{\"seed\":%d},\"run\":{\"dir\":\"%s\"}}",
        optimizer, seed, name);
    write_text(name, "config.json", text);
    snprintf(
        text, sizeof text,
        "{\"step\":0,\"tokens\":0,\"time_s\":1,\"val/loss\":8,\"eval_s\":1}\n"
        "{\"step\":1,\"tokens\":64,\"time_s\":2,\"train/loss\":7,\"flops\":640,\"forward_s\":0.25,\"backward_s\":0.5}\n"
        "{\"step\":2,\"tokens\":128,\"time_s\":4,\"train/loss\":6,\"val/loss\":%.17g,\"flops\":1280,"
        "\"forward_s\":0.25,\"backward_s\":0.5,\"eval_s\":1}\n",
        loss);
    write_text(name, "metrics.jsonl", text);
    write_text(name, "summary.json", "{\"outcome\":\"finished\"}");
    write_text(name, "samples.txt", "");
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (!run_read(&run, path, &err)) fail_msg("%s", err.text);
    return run;
}

/* The data of a report of these runs, as a tree. */
static cJSON *report_of(Run *runs, int count, char **text) {
    StudyIndex index;
    StudySummary summary;
    size_t length;
    FILE *f = open_memstream(text, &length);
    assert_true(run_group(&index, runs, count, &err));
    assert_true(study_summary_make(&summary, &index, NULL, 0.05, &err));
    ReportSource source = {&index, &summary, runs};
    if (!report_write_data(f, &source, &err)) fail_msg("%s", err.text);
    fclose(f);
    study_summary_free(&summary);
    study_index_free(&index);
    for (int i = 0; i < count; i++) run_free(&runs[i]);
    cJSON *tree = json_parse(*text, length, "data", ERR_DATA, &err);
    if (!tree) fail_msg("%s", err.text);
    return tree;
}

/* The item at "methods.0.loss.mean"; never NULL. */
static const cJSON *at(const cJSON *tree, const char *path) {
    char key[64];
    for (const char *p = path; *p; p += strcspn(p, ".") + (p[strcspn(p, ".")] == '.')) {
        snprintf(key, sizeof key, "%.*s", (int)strcspn(p, "."), p);
        tree = cJSON_IsArray(tree) ? cJSON_GetArrayItem(tree, atoi(key))
                                   : cJSON_GetObjectItemCaseSensitive(tree, key);
        if (!tree) fail_msg("no %s in %s", key, path);
    }
    return tree;
}

static void assert_number(const cJSON *tree, const char *path, double expected) {
    double value = cJSON_GetNumberValue(at(tree, path));
    if (!(fabs(value - expected) <= 1e-9 * fmax(1, fabs(expected))))
        fail_msg("%s: %.17g, not %.17g", path, value, expected);
}

static void assert_text(const cJSON *tree, const char *path, const char *expected) {
    const char *text = cJSON_GetStringValue(at(tree, path));
    assert_non_null(text);
    assert_string_equal(text, expected);
}

/* -------------------------------------------------------------------------------------------------- JSON */

static void text_should_never_end_the_script_it_stands_in(void **state) {
    (void)state;
    static const char hostile[] =
        "</script><!--<script>\0\"\\\n\x01\x7f\xff\xc3(&\xe2\x80\xa8\xe2\x80\xa9\xf0\x9f\x90\xa2";
    char *text;
    size_t length;
    FILE *f = open_memstream(&text, &length);
    JsonOut out = {.file = f};
    json_out_open(&out, NULL, '{');
    json_out_bytes(&out, "a", hostile, sizeof hostile - 1);
    json_out_text(&out, "</script>", NULL);
    json_out_close(&out, '}');
    fclose(f);
    assert_null(strpbrk(text, "<>&"));
    assert_null(strstr(text, "\xe2\x80\xa8"));
    cJSON *tree = json_parse(text, length, "text", ERR_DATA, &err);
    assert_non_null(tree);
    assert_text(
        tree, "a",
        "</script><!--<script>\xef\xbf\xbd\"\\\n\x01\x7f\xef\xbf\xbd\xef\xbf\xbd(&\xe2\x80\xa8\xe2\x80\xa9\xf0\x9f\x90\xa2");
    assert_true(cJSON_IsNull(at(tree, "</script>")));
    cJSON_Delete(tree);
    free(text);
}

static void trees_should_come_out_as_they_are(void **state) {
    (void)state;
    static const char text[] =
        "{\"a\":[1,0.1,1e-300,3.1415926535897931,true,null],\"b\":{\"c\":\"<x>\"},\"d\":[]}";
    char *copy;
    size_t length;
    FILE *f = open_memstream(&copy, &length);
    JsonOut out = {.file = f};
    cJSON *tree = cJSON_Parse(text);
    json_out_tree(&out, NULL, tree);
    fclose(f);
    assert_string_equal(
        copy,
        "{\"a\":[1,0.1,1e-300,3.141592653589793,true,null],\"b\":{\"c\":\"\\u003cx\\u003e\"},\"d\":[]}");
    cJSON_Delete(tree);
    free(copy);
}

/* ------------------------------------------------------------------------------------------------ curves */

static Curve curve_of(const double *step, const double *y, size_t count) {
    Curve curve;
    assert_true(curve_create(&curve, "k", count, false, &err));
    curve.count = count;
    memcpy(curve.step, step, count * sizeof *step);
    memcpy(curve.y, y, count * sizeof *y);
    return curve;
}

/* At steps 2 and 4, that all have: differences 1, 2, 3 and 5, 5, 8. */
static void combined_curves_should_be_means_of_differences_at_common_steps(void **state) {
    (void)state;
    Curve a[] = {curve_of((double[]){1, 2, 4, 5}, (double[]){9, 2, 6, 9}, 4),
                 curve_of((double[]){2, 3, 4}, (double[]){3, 9, 7}, 3),
                 curve_of((double[]){2, 4}, (double[]){4, 9}, 2)};
    Curve b[] = {curve_of((double[]){2, 4, 5}, (double[]){1, 1, 1}, 3),
                 curve_of((double[]){2, 4}, (double[]){1, 2}, 2),
                 curve_of((double[]){0, 2, 4}, (double[]){0, 1, 1}, 3)};
    const Curve *plus[] = {&a[0], &a[1], &a[2]}, *minus[] = {&b[0], &b[1], &b[2]};
    Curve mean;
    assert_true(curve_combine(&mean, plus, minus, 3, &err));
    assert_int_equal(mean.count, 2);
    assert_true(mean.step[0] == 2 && mean.step[1] == 4 && mean.y[0] == 2 && mean.y[1] == 6);
    assert_true(fabs(mean.se[0] - 1 / sqrt(3)) < 1e-15 && fabs(mean.se[1] - 1) < 1e-15);
    curve_free(&mean);
    assert_true(curve_combine(&mean, plus, NULL, 1, &err));
    assert_true(mean.count == 4 && mean.se == NULL && mean.y[3] == 9);
    curve_free(&mean);
    for (int i = 0; i < 3; i++) curve_free(&a[i]), curve_free(&b[i]);
}

static void thin_curves_should_keep_ends_means_and_extremes(void **state) {
    (void)state;
    enum { N = 1000, LIMIT = 37 };
    double step[N], y[N], sum = 0, thin_sum = 0, low = 1e9, high = 0;
    for (int i = 0; i < N; i++) step[i] = 3 * i, y[i] = i == 500 ? 99 : i == 700 ? -5 : 1 + i % 7;
    for (int i = 1; i < N - 1; i++) sum += y[i];
    Curve curve = curve_of(step, y, N);
    assert_true(curve_thin(&curve, N, &err) && curve.count == N && curve.low == NULL);
    assert_true(curve_thin(&curve, LIMIT, &err));
    assert_int_equal(curve.count, LIMIT);
    assert_true(curve.step[0] == 0 && curve.step[LIMIT - 1] == 3 * (N - 1) &&
                curve.y[LIMIT - 1] == y[N - 1]);
    for (int k = 0; k < LIMIT; k++) {
        int n = k == 0 || k == LIMIT - 1 ? 0 : (k * 998 / 35) - ((k - 1) * 998 / 35);
        thin_sum += n * curve.y[k];
        low = fmin(low, curve.low[k]);
        high = fmax(high, curve.high[k]);
        assert_true(k == 0 || curve.step[k] > curve.step[k - 1]);
        assert_true(curve.low[k] <= curve.y[k] && curve.y[k] <= curve.high[k]);
    }
    assert_true(fabs(thin_sum - sum) < 1e-9 && low == -5 && high == 99);
    curve_free(&curve);
}

/* ---------------------------------------------------------------------------------------------- grouping */

static void runs_that_differ_in_the_seed_alone_should_be_one_method(void **state) {
    (void)state;
    StudyIndex index;
    Run runs[] = {make_run("x", "muon", 1, 3), make_run("y", "muon", 2, 4), make_run("only", "adamw", 1, 5),
                  make_run("z", "muon", 3, 4)};
    assert_true(run_group(&index, runs, 4, &err));
    assert_int_equal(index.method_count, 2);
    assert_string_equal(index.methods[0].name, "muon");
    assert_string_equal(index.methods[1].name, "only");
    assert_string_equal(index.methods[1].optimizer, "adamw");
    assert_string_equal(index.baseline, "muon");
    assert_string_equal(index.runs[3].method, "muon");
    assert_true(index.runs[1].seed == 2 && index.runs[1].loss == 4 && index.runs[1].state == STUDY_DONE);
    study_index_free(&index);
    for (int i = 0; i < 4; i++) run_free(&runs[i]);
}

static void a_run_given_twice_should_count_once(void **state) {
    (void)state;
    StudyIndex index;
    Run runs[] = {make_run("x", "muon", 1, 3), make_run("x.1", "muon", 1, 3), make_run("y", "muon", 2, 4)};
    assert_true(run_group(&index, runs, 3, &err));
    assert_int_equal(index.method_count, 1);
    assert_true(index.runs[0].phase == STUDY_FINAL && index.runs[2].phase == STUDY_FINAL);
    assert_int_equal(index.runs[1].phase, STUDY_TUNE);
    study_index_free(&index);
    for (int i = 0; i < 3; i++) run_free(&runs[i]);
}

static Run make_branch(const char *name, int seed, const char *from) {
    char config[256];
    Run run = make_run(name, "softmuon", seed, 3);
    run_free(&run);
    snprintf(config, sizeof config,
             "{\"optimizer\":{\"name\":\"softmuon\"},\"train\":{\"seed\":%d,\"init_from\":\"%s\"}}", seed,
             from);
    write_text(name, "config.json", config);
    snprintf(config, sizeof config, "%s/%s", dir, name);
    assert_true(run_read(&run, config, &err));
    return run;
}

static void branches_at_one_step_should_be_alike_and_names_told_apart(void **state) {
    (void)state;
    StudyIndex index;
    Run runs[] = {make_branch("p", 1, "t/seed=1/checkpoints/step_7"),
                  make_branch("q", 2, "t/seed=2/checkpoints/step_7"),
                  make_branch("r", 1, "t/seed=1/checkpoints/step_9"),
                  make_branch("s", 2, "t/seed=2/checkpoints/step_9")};
    assert_true(run_group(&index, runs, 4, &err));
    assert_int_equal(index.method_count, 2);
    assert_string_equal(index.runs[1].method, "softmuon");
    assert_string_equal(index.runs[3].method, "softmuon 2");
    study_index_free(&index);
    for (int i = 0; i < 4; i++) run_free(&runs[i]);
}

/* ------------------------------------------------------------------------------------------- diagnostics */

/* `lines` diagnosed steps: noise_phi is a hundredth of the step, the third tensor is a vector. */
static void write_diagnostics(const char *run, int lines, const char *tail) {
    char *text;
    size_t length;
    FILE *f = open_memstream(&text, &length);
    for (int i = 1; i <= lines; i++)
        fprintf(
            f,
            "{\"step\":%d,\"tokens\":64,\"cost_s\":1,\"noise_phi\":%g,\"noise_batches\":8,\"flops\":7,"
            "\"temperature\":null,\"train/loss\":5,\"tensors\":["
            "{\"name\":\"m\",\"role\":\"matrix\",\"grad_l2\":%d,\"sigma\":[1,2,%d],\"sigma_update\":[3]},"
            "{\"name\":\"e\",\"role\":\"embedding\",\"grad_l2\":1},"
            "{\"name\":\"v\",\"role\":\"vector\",\"grad_l2\":1}]}\n",
            i, i / 100.0, 2 * i, i);
    fputs(tail, f);
    fclose(f);
    write_text(run, "diagnostics.jsonl", text);
    free(text);
}

static void diagnosed_figures_should_be_curves_beside_those_of_metrics(void **state) {
    (void)state;
    RunFigures figures;
    Run run = make_run("d", "muon", 1, 3);
    write_diagnostics("d", 3, "{\"step\":4,\"noi"); /* torn */
    if (!run_figures_read(&figures, &run, &err)) fail_msg("%s", err.text);
    const Curve *phi = run_figures_find(&figures, "noise_phi"),
                *loss = run_figures_find(&figures, "train/loss");
    assert_true(phi && phi->count == 3 && phi->step[2] == 3 && phi->y[2] == 0.03);
    assert_true(loss && loss->count == 2 && loss->y[0] == 7); /* of metrics.jsonl, which is finer */
    static const char *const absent[] = {"tokens",      "cost_s", "noise_batches",
                                         "temperature", "time_s", "forward_s"};
    for (size_t i = 0; i < sizeof absent / sizeof *absent; i++)
        assert_null(run_figures_find(&figures, absent[i]));
    run_figures_free(&figures);
    run_free(&run);
}

static void damaged_diagnostics_should_be_refused_by_line(void **state) {
    (void)state;
    RunFigures figures;
    Run run = make_run("d", "muon", 1, 3);
    write_diagnostics("d", 2, "{\"step\":3,\n{\"step\":4}\n");
    assert_false(run_figures_read(&figures, &run, &err));
    assert_int_equal(err.code, ERR_DATA);
    assert_non_null(strstr(err.text, "diagnostics.jsonl: line 3"));
    write_text("d", "diagnostics.jsonl", "");
    assert_true(run_figures_read(&figures, &run, &err));
    run_figures_free(&figures);
    run_free(&run);
}

static void tensors_should_have_figures_and_a_few_spectra(void **state) {
    (void)state;
    RunTensors tensors;
    Run run = make_run("d", "muon", 1, 3);
    for (int lines = 1; lines <= 40; lines += 13) {
        write_diagnostics("d", lines, "");
        assert_true(run_tensors_read(&tensors, &run, &err));
        assert_int_equal(tensors.count, 2); /* vectors are left out */
        const TensorFigures *m = &tensors.tensors[0];
        assert_string_equal(m->name, "m");
        assert_int_equal(m->spectrum_count, lines < SPECTRA_MAX ? lines : SPECTRA_MAX);
        assert_true(m->spectra[0].step == 1 && m->spectra[m->spectrum_count - 1].step == lines);
        assert_true(m->spectra[0].count[0] == 3 && m->spectra[0].sigma[0][2] == 1 &&
                    m->spectra[0].sigma[1][0] == 3);
        assert_int_equal(run_figures_find(&m->figures, "grad_l2")->count, lines);
        assert_true(run_figures_find(&m->figures, "grad_l2")->y[lines - 1] == 2 * lines);
        assert_int_equal(tensors.tensors[1].spectrum_count, 0);
        run_tensors_free(&tensors);
    }
    run_free(&run);
}

static void wide_spectra_and_many_figures_should_be_cut(void **state) {
    (void)state;
    RunTensors tensors;
    char *text;
    size_t length;
    Run run = make_run("d", "muon", 1, 3);
    FILE *f = open_memstream(&text, &length);
    fprintf(f, "{\"step\":1,\"tensors\":[{\"name\":\"%0300d\",\"role\":\"matrix\",\"sigma\":[0", 7);
    for (int i = 1; i < 100; i++) fprintf(f, ",%d", i);
    fputc(']', f);
    for (int i = 0; i < 200; i++) fprintf(f, ",\"%0200d_%d\":1", 5, i);
    fputs("}]}\n", f);
    fclose(f);
    write_text("d", "diagnostics.jsonl", text);
    assert_true(run_tensors_read(&tensors, &run, &err));
    assert_int_equal(tensors.tensors[0].spectra[0].count[0], QUANTILES_MAX);
    assert_true(tensors.tensors[0].figures.count > 0);
    run_tensors_free(&tensors);
    run_free(&run);
    free(text);
}

/* -------------------------------------------------------------------------------------------------- data */

/* Losses 3.1, 3.2, 3.3 and 3.0, 3.0, 3.0: differences .1, .2, .3, mean .2, se .1/sqrt(3), t = 2 sqrt(3), and with 2
 * degrees of freedom p = 1 - t/sqrt(2 + t^2) = 0.0741799. */
static void data_should_hold_means_and_paired_verdicts(void **state) {
    (void)state;
    char *text;
    Run runs[6];
    char name[] = "a0";
    for (int i = 0; i < 6; i++, name[1]++)
        runs[i] = make_run(name, i < 3 ? "adamw" : "muon", 1 + i % 3, i < 3 ? 3.1 + 0.1 * i : 3);
    cJSON *data = report_of(runs, 6, &text);
    assert_text(data, "methods.0.name", "muon");
    assert_text(data, "methods.1.name", "adamw");
    assert_number(data, "baseline", 1);
    assert_number(data, "methods.1.loss.mean", 3.2);
    assert_number(data, "methods.1.loss.se", 0.1 / sqrt(3));
    assert_number(data, "methods.0.perplexity", exp(3));
    assert_number(data, "methods.1.time_s.mean", 4);
    assert_number(data, "pairs.0.a", 0);
    assert_number(data, "pairs.0.mean", -0.2);
    assert_true(fabs(cJSON_GetNumberValue(at(data, "pairs.0.p")) - 0.0741799) < 1e-6);
    assert_text(data, "pairs.0.verdict", "not distinguishable");
    assert_number(data, "methods.0.against_baseline.mean", -0.2);
    assert_number(data, "baseline_tests", 1);
    assert_number(data, "differences.0.a", 1);
    assert_number(data, "differences.0.n", 3);
    assert_int_equal(cJSON_GetArraySize(at(data, "differences.0.val/loss.step")), 2);
    assert_number(data, "differences.0.val/loss.y.1", 0.2);
    assert_number(data, "differences.0.val/loss.y.0", 0);
    assert_true(fabs(cJSON_GetNumberValue(at(data, "differences.0.val/loss.se.1")) - 0.1 / sqrt(3)) < 1e-4);
    assert_number(data, "methods.1.figures.train/loss.y.1", 6);
    assert_number(data, "runs.0.flops_a_token", 10);
    assert_number(data, "runs.0.clock.tokens.2", 128);
    assert_number(data, "runs.0.times.backward_s", 1);
    assert_number(data, "runs.0.times.all", 4);
    assert_text(data, "settings.0.key", "optimizer.name");
    assert_text(data, "settings.0.values.1", "adamw");
    assert_int_equal(cJSON_GetArraySize(at(data, "settings")), 1);
    assert_int_equal(cJSON_GetArraySize(at(data, "notes")), 0);
    cJSON_Delete(data);
    free(text);
}

/* Of seeds 1 2 and 2 3 only 2 is a pair: 4.5 - 4. */
static void differences_should_be_of_the_same_seed(void **state) {
    (void)state;
    char *text;
    Run runs[] = {make_run("a1", "adamw", 1, 3), make_run("a2", "adamw", 2, 4),
                  make_run("b2", "muon", 2, 4.5), make_run("b3", "muon", 3, 9)};
    cJSON *data = report_of(runs, 4, &text);
    assert_text(data, "methods.1.name", "muon");
    assert_number(data, "differences.0.n", 1);
    assert_number(data, "differences.0.val/loss.y.1", 0.5);
    assert_null(cJSON_GetObjectItemCaseSensitive(at(data, "differences.0.val/loss"), "se"));
    assert_int_equal(cJSON_GetArraySize(at(data, "pairs")), 0);
    cJSON_Delete(data);
    free(text);
}

/* A branch's clock goes on from its trunk's: 100 s before its first line, which took 3. */
static void a_branch_should_be_charged_only_its_own_time(void **state) {
    (void)state;
    Run run = make_run("b", "muon", 1, 3);
    run.records[0].time_s = 103;
    run.records[0].eval_s = 1;
    run.records[0].forward_s = 2;
    run.records[2].time_s = 110;
    RunTimes times = run_times(&run);
    assert_true(fabs(times.all_s - 10) < 1e-9);
    assert_string_equal(times.key[0], "forward_s");
    assert_true(times.seconds[0] == 2.5);
    run_free(&run);
}

static void what_has_no_end_or_differs_should_be_noted(void **state) {
    (void)state;
    char *text;
    Run runs[] = {make_run("a", "adamw", 1, 3), make_run("b", "muon", 1, 4), make_run("c", "lion", 1, 5)};
    strcpy(runs[1].outcome, "");
    runs[1].torn = true;
    runs[2].records[2].tokens = 77;
    cJSON *data = report_of(runs, 3, &text);
    assert_int_equal(cJSON_GetArraySize(at(data, "notes")), 3);
    assert_non_null(strstr(cJSON_GetStringValue(at(data, "notes.0")), "different numbers of tokens"));
    assert_non_null(strstr(cJSON_GetStringValue(at(data, "notes.1")), "torn"));
    assert_non_null(strstr(cJSON_GetStringValue(at(data, "notes.2")), "has not ended"));
    assert_number(data, "methods.2.open", 1);
    assert_number(data, "runs.1.final", 4);
    cJSON_Delete(data);
    free(text);
}

static void tokens_of_runs_that_did_not_finish_should_not_be_noted(void **state) {
    (void)state;
    char *text;
    Run runs[] = {make_run("a", "adamw", 1, 3), make_run("b", "muon", 1, 4), make_run("c", "lion", 1, 5)};
    strcpy(runs[0].outcome, "diverged");
    strcpy(runs[1].outcome, "");
    runs[0].records[2].tokens = 77;
    runs[1].records[2].tokens = 78;
    cJSON *data = report_of(runs, 3, &text);
    assert_int_equal(cJSON_GetArraySize(at(data, "notes")), 2);
    assert_null(strstr(text, "different numbers of tokens"));
    cJSON_Delete(data);
    free(text);
}

/* The second of two, the first has none. */
static void tensors_should_name_the_run_that_was_diagnosed(void **state) {
    (void)state;
    char *text;
    Run runs[] = {make_run("t1", "muon", 1, 3), make_run("t2", "muon", 2, 4), make_run("t3", "lion", 1, 5)};
    write_diagnostics("t2", 3, "");
    cJSON *data = report_of(runs, 3, &text);
    assert_text(data, "methods.0.diagnosed", cJSON_GetStringValue(at(data, "runs.1.dir")));
    assert_int_equal(cJSON_GetArraySize(at(data, "methods.0.tensors")), 2);
    assert_true(cJSON_IsNull(at(data, "methods.1.diagnosed")));
    cJSON_Delete(data);
    free(text);
}

static void a_run_that_has_just_begun_should_have_a_report(void **state) {
    (void)state;
    char *text;
    Run run = make_run("new", "muon", 1, 3);
    run.record_count = 0;
    strcpy(run.outcome, "");
    cJSON *data = report_of(&run, 1, &text);
    assert_true(cJSON_IsNull(at(data, "runs.0.final")));
    assert_true(cJSON_IsNull(at(data, "methods.0.loss.mean")));
    assert_int_equal(cJSON_GetArraySize(at(data, "runs.0.clock.step")), 0);
    cJSON_Delete(data);
    free(text);
}

static void samples_should_be_the_last_ones_byte_for_byte(void **state) {
    (void)state;
    char *text, samples[2048] = "";
    for (int i = 1; i <= 11; i++)
        sprintf(samples + strlen(samples), "--- step %d ---\nsample\n\n%d\n\n", i, i);
    Run run = make_run("a", "muon", 1, 3);
    write_text("a", "samples.txt", samples);
    cJSON *data = report_of(&run, 1, &text);
    assert_int_equal(cJSON_GetArraySize(at(data, "runs.0.samples")), 8);
    assert_number(data, "runs.0.samples.0.step", 4);
    assert_text(data, "runs.0.samples.0.text", "sample\n\n4");
    assert_text(data, "runs.0.samples.7.text", "sample\n\n11");
    cJSON_Delete(data);
    free(text);
}

/* A run that cannot be read is in the means, and named; one that waits is not looked for. */
static void a_study_should_be_reported_without_runs_that_cannot_be_read(void **state) {
    (void)state;
    char path[256], study[256];
    size_t length;
    static const char index[] =
        "{\"name\":\"s\",\"baseline\":\"m\",\"state\":\"running\",\"methods\":[{\"name\":\"m\",\"optimizer\":\"muon\","
        "\"trunk\":null,\"settings\":{\"optimizer.lr\":0.1},\"edge\":null}],\"runs\":["
        "{\"dir\":\"runs/there\",\"method\":\"m\",\"phase\":\"final\",\"settings\":{\"optimizer.lr\":0.1},\"seed\":1,\"trunk\":null,"
        "\"branch_step\":null,\"state\":\"done\",\"loss\":3},"
        "{\"dir\":\"runs/gone\",\"method\":\"m\",\"phase\":\"final\",\"settings\":{\"optimizer.lr\":0.1},\"seed\":2,\"trunk\":null,"
        "\"branch_step\":null,\"state\":\"done\",\"loss\":4},"
        "{\"dir\":\"runs/tuned\",\"method\":\"m\",\"phase\":\"tune\",\"settings\":{\"optimizer.lr\":0.2},\"seed\":1,\"trunk\":null,"
        "\"branch_step\":null,\"state\":\"done\",\"loss\":3.5},"
        "{\"dir\":\"runs/later\",\"method\":\"m\",\"phase\":\"final\",\"settings\":{\"optimizer.lr\":0.1},\"seed\":3,\"trunk\":null,"
        "\"branch_step\":null,\"state\":\"waiting\",\"loss\":null}]}";
    snprintf(path, sizeof path, "%s/runs", dir);
    mkdir(path, 0700);
    Run run = make_run("runs/there", "muon", 1, 3);
    run_free(&run);
    snprintf(study, sizeof study, "%s/index.json", dir);
    FILE *f = fopen(study, "w");
    fputs(index, f);
    fclose(f);
    snprintf(path, sizeof path, "%s/study.html", dir);
    if (!report_write_study(path, dir, NULL, 0.05, &err)) fail_msg("%s", err.text);
    char *page = file_read(path, 1 << 20, &length, &err),
         *data = strchr(strstr(page, "id=\"data\">"), '\n') + 1;
    *strstr(data, "</script") = '\0';
    cJSON *tree = json_parse(data, strlen(data), "data", ERR_DATA, &err);
    assert_non_null(tree);
    assert_text(tree, "title", "s");
    assert_number(tree, "methods.0.loss.mean", 3.5);
    assert_number(tree, "methods.0.open", 1);
    assert_int_equal(cJSON_GetArraySize(at(tree, "runs")), 1);
    assert_int_equal(cJSON_GetArraySize(at(tree, "notes")), 2);
    assert_non_null(strstr(cJSON_GetStringValue(at(tree, "notes.0")), "still running"));
    assert_non_null(
        strstr(cJSON_GetStringValue(at(tree, "notes.1")), "runs/gone: its files cannot be read"));
    assert_text(tree, "methods.0.tuning.0.key", "optimizer.lr");
    assert_number(tree, "methods.0.tuning.0.best", 0);
    assert_number(tree, "methods.0.tuning.0.points.1.loss", 3.5);
    cJSON_Delete(tree);
    free(page);
    assert_false(report_write_study(path, dir, "none", 0.05, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_int_equal(remove(study), 0);
    assert_false(report_write_study(path, dir, NULL, 0.05, &err));
    assert_int_equal(err.code, ERR_DATA);
}

static int count_of(const char *text, const char *word) {
    int count = 0;
    while ((text = strstr(text, word))) count++, text += strlen(word);
    return count;
}

static void hostile_files_should_not_break_the_page(void **state) {
    (void)state;
    static const char samples[] =
        "--- step 1 ---\na\0b</script><script>alert(1)</script>\xff\xe2\x80\xa8<!--\n\n";
    static const char *const names[] = {"a</script>", "b\"'><img src=x onerror=alert(1)>"};
    StudyIndex index;
    StudySummary summary;
    char path[256];
    size_t length;
    Run runs[2];
    for (int i = 0; i < 2; i++) {
        runs[i] = make_run(i ? "b" : "a", i ? "</script>" : "adamw", 1, 3);
        free(runs[i].name);
        runs[i].name = strdup(names[i]);
    }
    write_bytes("a", "samples.txt", samples, sizeof samples - 1);
    write_text("a", "machine.json", "{\"command\":\"</script><b>\"}");
    assert_true(run_group(&index, runs, 2, &err) && study_summary_make(&summary, &index, NULL, 0.05, &err));
    ReportSource source = {&index, &summary, runs};
    snprintf(path, sizeof path, "%s/report.html", dir);
    if (!report_write(path, &source, &err)) fail_msg("%s", err.text);
    char *page = file_read(path, 1 << 20, &length, &err);
    assert_int_equal(strlen(page), length);
    assert_int_equal(count_of(page, "</script"), 2); /* the page's own: of the data, of the program */
    assert_int_equal(count_of(page, "<img") + count_of(page, "http-equiv=\"refresh"), 0);
    char *data = strstr(page, "id=\"data\">");
    data = strchr(data, '\n') + 1;
    char *end = strstr(data, "</script");
    *end = '\0';
    cJSON *tree = json_parse(data, (size_t)(end - data), "data", ERR_DATA, &err);
    if (!tree) fail_msg("%s", err.text);
    assert_text(tree, "methods.0.name", names[0]);
    assert_text(tree, "runs.0.samples.0.text",
                "a b</script><script>alert(1)</script>\xef\xbf\xbd\xe2\x80\xa8<!--");
    cJSON_Delete(tree);
    free(page);
    study_summary_free(&summary);
    study_index_free(&index);
    for (int i = 0; i < 2; i++) run_free(&runs[i]);
}

static void a_report_that_cannot_be_written_should_be_told(void **state) {
    (void)state;
    StudyIndex index;
    StudySummary summary;
    Run run = make_run("a", "adamw", 1, 3);
    assert_true(run_group(&index, &run, 1, &err) && study_summary_make(&summary, &index, NULL, 0.05, &err));
    ReportSource source = {&index, &summary, &run};
    assert_false(report_write("/nowhere/report.html", &source, &err));
    assert_int_equal(err.code, ERR_IO);
    study_summary_free(&summary);
    study_index_free(&index);
    run_free(&run);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_should_never_end_the_script_it_stands_in),
        cmocka_unit_test(trees_should_come_out_as_they_are),
        cmocka_unit_test(combined_curves_should_be_means_of_differences_at_common_steps),
        cmocka_unit_test(thin_curves_should_keep_ends_means_and_extremes),
        cmocka_unit_test(runs_that_differ_in_the_seed_alone_should_be_one_method),
        cmocka_unit_test(a_run_given_twice_should_count_once),
        cmocka_unit_test(branches_at_one_step_should_be_alike_and_names_told_apart),
        cmocka_unit_test(diagnosed_figures_should_be_curves_beside_those_of_metrics),
        cmocka_unit_test(damaged_diagnostics_should_be_refused_by_line),
        cmocka_unit_test(tensors_should_have_figures_and_a_few_spectra),
        cmocka_unit_test(wide_spectra_and_many_figures_should_be_cut),
        cmocka_unit_test(data_should_hold_means_and_paired_verdicts),
        cmocka_unit_test(differences_should_be_of_the_same_seed),
        cmocka_unit_test(a_branch_should_be_charged_only_its_own_time),
        cmocka_unit_test(what_has_no_end_or_differs_should_be_noted),
        cmocka_unit_test(tokens_of_runs_that_did_not_finish_should_not_be_noted),
        cmocka_unit_test(tensors_should_name_the_run_that_was_diagnosed),
        cmocka_unit_test(a_run_that_has_just_begun_should_have_a_report),
        cmocka_unit_test(samples_should_be_the_last_ones_byte_for_byte),
        cmocka_unit_test(a_study_should_be_reported_without_runs_that_cannot_be_read),
        cmocka_unit_test(hostile_files_should_not_break_the_page),
        cmocka_unit_test(a_report_that_cannot_be_written_should_be_told),
    };
    return cmocka_run_group_tests_name("report", tests, make_dir, remove_dir);
}
