/* report.c: see report.h. What the page is given:
 *
 *     title, level, baseline (a method), build, notes, methods (the best first), runs, pair_tests, baseline_tests, pairs,
 *     branch_tests, branches, baselines_max, differences, settings, config (the best method's)
 *
 * Curves are objects {"step", "y", "se", "low", "high"} of arrays, as in curve.h; a run's "clock" says what its steps
 * are in tokens and seconds. */
#include "train/report.h"

#include "core/file.h"
#include "core/json.h"
#include "core/json_out.h"
#include "train/curve.h"
#include "train/report_page.h"
#include "train/run_figures.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A page of a hundred runs stays at a few MB: points of all curves of one kind, and of one curve. */
enum {
    POINTS_OF_A_FIGURE = 40000,
    POINTS_MIN = 150,
    POINTS_MAX = 1500,
    POINTS_OF_TENSORS = 4000,
    TENSOR_POINTS_MIN = 6,
    TENSOR_POINTS_MAX = 30,
    CLOCK_POINTS = 100,
    POINTS_OF_DIFFERENCES = 40000,
    DIFFERENCE_POINTS_MIN = 20,
    DIFFERENCE_POINTS_MAX = 200,
    BASELINES_MAX = 12, /* the best methods, that all others are compared with */
    SAMPLES_MAX = 8,
    SAMPLE_BYTES_MAX = 2000,
    MACHINE_BYTES_MAX = 1 << 20,
    SAMPLES_BYTES_MAX = 64 << 20,
    CURVE_DIGITS = 7,
    RESULT_DIGITS = 12,
};

typedef struct Report {
    JsonOut out;
    const ReportSource *source;
    RunFigures *figures; /* (run_count) of those shown */
    int *position;       /* (methods) the best is 0 */
    int shown;
    Error *err;
} Report;

static bool out_of_memory(Error *err) {
    return error_set(err, ERR_IO, "out of memory for the report");
}

static bool is_shown(const Report *r, int run) {
    return r->source->runs[run].dir != NULL;
}

static const StudyMethod *method_at(const Report *r, int position) {
    return &r->source->index->methods[r->source->summary->order[position]];
}

static const StudyResult *result_at(const Report *r, int position) {
    return &r->source->summary->methods[r->source->summary->order[position]];
}

static int position_of(const Report *r, const StudyRun *run) {
    return r->position[study_index_method(r->source->index, run->method) - r->source->index->methods];
}

/* ----------------------------------------------------------------------------------------------------- curves */

static size_t within(size_t x, size_t low, size_t high) {
    return x < low ? low : x > high ? high : x;
}

/* Losses are looked at closely. */
static size_t points_of_run(const Report *r, const char *key) {
    size_t points = within(POINTS_OF_A_FIGURE / (size_t)(r->shown + 1), POINTS_MIN, POINTS_MAX);
    return strstr(key, "/loss") ? points : within(points / 3, POINTS_MIN / 2, POINTS_MAX);
}

/* Thins and frees the curve. */
static bool put_curve(Report *r, const char *key, Curve *curve, size_t limit) {
    JsonOut *out = &r->out;
    bool ok = curve_thin(curve, limit, r->err);
    if (ok) {
        json_out_open(out, key, '{');
        json_out_numbers(out, "step", curve->step, curve->count, 9);
        json_out_numbers(out, "y", curve->y, curve->count, CURVE_DIGITS);
        if (curve->se) json_out_numbers(out, "se", curve->se, curve->count, 4);
        if (curve->low) json_out_numbers(out, "low", curve->low, curve->count, CURVE_DIGITS);
        if (curve->high) json_out_numbers(out, "high", curve->high, curve->count, CURVE_DIGITS);
        json_out_close(out, '}');
    }
    curve_free(curve);
    return ok;
}

static bool put_figures(Report *r, const RunFigures *figures) {
    json_out_open(&r->out, "figures", '{');
    for (int k = 0; k < figures->count; k++) {
        const Curve *one = &figures->curves[k];
        Curve copy; /* the mean of one */
        if (!curve_combine(&copy, &one, NULL, 1, r->err)) return false;
        if (!put_curve(r, one->key, &copy, points_of_run(r, one->key))) return false;
    }
    json_out_close(&r->out, '}');
    return true;
}

/* Steps in tokens and seconds, evenly chosen. */
static void put_clock(Report *r, const Run *run) {
    JsonOut *out = &r->out;
    size_t count = run->record_count, points = count < CLOCK_POINTS ? count : CLOCK_POINTS;
    static const char *const names[] = {"step", "tokens", "time_s"};
    json_out_open(out, "clock", '{');
    for (int k = 0; k < 3; k++) {
        json_out_open(out, names[k], '[');
        for (size_t i = 0; i < points; i++) {
            const StepRecord *at = &run->records[points > 1 ? i * (count - 1) / (points - 1) : 0];
            json_out_number(out, NULL,
                            k == 0   ? (double)at->step
                            : k == 1 ? (double)at->tokens
                                     : at->time_s,
                            k == 2 ? 6 : 15);
        }
        json_out_close(out, ']');
    }
    json_out_close(out, '}');
}

/* ------------------------------------------------------------------------------------------------------- runs */

static double flops_a_token(const Run *run) {
    for (size_t i = run->record_count; i-- > 0;)
        if (run->records[i].flops > 0 && run->records[i].tokens > 0)
            return run->records[i].flops / (double)run->records[i].tokens;
    return NAN;
}

/* machine.json, or NULL: it only says where a run was made. */
static cJSON *read_machine(const Run *run) {
    char path[4096];
    Error none;
    snprintf(path, sizeof path, "%s/machine.json", run->dir);
    return json_read(path, MACHINE_BYTES_MAX, ERR_DATA, &none);
}

/* The text behind "--- step N ---" at `at`, up to the next such line; NULL at the end. */
static const char *next_sample(const char **at, double *step, size_t *length) {
    static const char head[] = "--- step ";
    if (strncmp(*at, head, sizeof head - 1) != 0) return NULL;
    *step = strtod(*at + sizeof head - 1, NULL);
    const char *text = strchr(*at, '\n');
    if (!text) return NULL;
    const char *end = strstr(++text, "\n\n--- step ");
    *length = end ? (size_t)(end - text) : strlen(text);
    *at = end ? end + 2 : text + *length;
    if (!end)
        while (*length && text[*length - 1] == '\n') --*length;
    return text;
}

/* The last ones, NUL bytes as spaces. */
static void put_samples(Report *r, const Run *run) {
    char path[4096];
    Error none;
    size_t size, length;
    double step;
    snprintf(path, sizeof path, "%s/samples.txt", run->dir);
    char *text = file_read(path, SAMPLES_BYTES_MAX, &size, &none);
    int count = 0, skip;
    for (size_t i = 0; text && i < size; i++)
        if (text[i] == '\0') text[i] = ' ';
    json_out_open(&r->out, "samples", '[');
    for (const char *at = text; at && next_sample(&at, &step, &length);) count++;
    skip = count - SAMPLES_MAX;
    for (const char *at = text, *found; at && (found = next_sample(&at, &step, &length)); skip--) {
        if (skip > 0) continue;
        json_out_open(&r->out, NULL, '{');
        json_out_number(&r->out, "step", step, 15);
        json_out_bytes(&r->out, "text", found, length < SAMPLE_BYTES_MAX ? length : SAMPLE_BYTES_MAX);
        json_out_close(&r->out, '}');
    }
    json_out_close(&r->out, ']');
    free(text);
}

/* Seconds of a run by what they were spent on, and in all. */
static void put_times(Report *r, const Run *run) {
    RunTimes times = run_times(run);
    json_out_open(&r->out, "times", '{');
    for (int k = 0; k < times.count; k++) json_out_number(&r->out, times.key[k], times.seconds[k], 6);
    json_out_number(&r->out, "all", times.all_s, 6);
    json_out_close(&r->out, '}');
}

static void put_result(Report *r, const Run *run) {
    JsonOut *out = &r->out;
    RunResult result = run_result(run);
    json_out_text(out, "outcome", run->outcome);
    json_out_number(out, "tokens", (double)result.tokens, 15);
    json_out_number(out, "final", result.final_val, RESULT_DIGITS);
    json_out_number(out, "best", result.best_val, RESULT_DIGITS);
    json_out_number(out, "best_step", (double)result.best_step, 15);
    json_out_number(out, "time_s", result.time_s, 6);
    json_out_number(out, "flops_a_token", flops_a_token(run), RESULT_DIGITS);
}

static void put_origin(Report *r, const StudyRun *run, const Run *read) {
    JsonOut *out = &r->out;
    char from[512];
    const char *branched = run_setting(read, "train.init_from", from, sizeof from);
    if (*run->trunk) branched = run->trunk;
    json_out_text(out, "trunk", branched && *branched ? branched : NULL);
    json_out_number(out, "branch_step", run->branch_step >= 0 ? (double)run->branch_step : NAN, 15);
    cJSON *machine = read_machine(read);
    json_out_tree(out, "machine", machine);
    cJSON_Delete(machine);
}

static bool put_run(Report *r, int i) {
    const StudyRun *run = &r->source->index->runs[i];
    const Run *read = &r->source->runs[i];
    JsonOut *out = &r->out;
    json_out_open(out, NULL, '{');
    json_out_text(out, "dir", run->dir);
    json_out_number(out, "method", position_of(r, run), 9);
    json_out_number(out, "seed", (double)run->seed, 17);
    put_result(r, read);
    put_origin(r, run, read);
    put_times(r, read);
    put_samples(r, read);
    put_clock(r, read);
    bool ok = put_figures(r, &r->figures[i]);
    json_out_close(out, '}');
    return ok;
}

static bool put_runs(Report *r) {
    bool ok = true;
    json_out_open(&r->out, "runs", '[');
    for (int i = 0; ok && i < r->source->index->run_count; i++)
        if (is_shown(r, i)) ok = put_run(r, i);
    json_out_close(&r->out, ']');
    return ok;
}

/* ---------------------------------------------------------------------------------------------------- methods */

/* The figure of the runs that count for a method, by ascending seed; returns how many have it. */
static int curves_of(const Report *r, const StudyResult *m, const char *key, const Curve **curves,
                     int64_t *seeds) {
    int n = 0;
    for (int i = 0; i < m->loss.n; i++) {
        int run = (int)(m->done[i] - r->source->index->runs);
        const Curve *curve = is_shown(r, run) ? run_figures_find(&r->figures[run], key) : NULL;
        if (!curve) continue;
        seeds[n] = m->done[i]->seed;
        curves[n++] = curve;
    }
    return n;
}

typedef struct Seeds { /* room for the curves of two methods */
    const Curve **curves[2];
    int64_t *seeds[2];
} Seeds;

static bool seeds_create(Seeds *s, const Report *r) {
    size_t room = (size_t)r->source->index->run_count + 1;
    for (int k = 0; k < 2; k++) {
        s->curves[k] = calloc(room, sizeof(void *));
        s->seeds[k] = malloc(room * sizeof *s->seeds[k]);
    }
    return (s->curves[0] && s->curves[1] && s->seeds[0] && s->seeds[1]) || out_of_memory(r->err);
}

static void seeds_free(Seeds *s) {
    for (int k = 0; k < 2; k++) {
        free(s->curves[k]);
        free(s->seeds[k]);
    }
}

/* Figures of the method's first run that counts and can be read; NULL: there is none. */
static const RunFigures *first_figures(const Report *r, const StudyResult *m) {
    for (int i = 0; i < m->loss.n; i++) {
        int run = (int)(m->done[i] - r->source->index->runs);
        if (is_shown(r, run)) return &r->figures[run];
    }
    return NULL;
}

/* Means over two seeds and more; of one, its run's curves are there. */
static bool put_means(Report *r, const StudyResult *m, Seeds *s) {
    bool ok = true;
    json_out_open(&r->out, "figures", '{');
    const RunFigures *first = first_figures(r, m);
    for (int k = 0; ok && first && k < first->count; k++) {
        Curve mean;
        const char *key = first->curves[k].key;
        int n = curves_of(r, m, key, s->curves[0], s->seeds[0]);
        if (n < 2) continue;
        size_t limit = strstr(key, "/loss") ? POINTS_MAX / 2 : POINTS_MAX / 4;
        ok = curve_combine(&mean, s->curves[0], NULL, n, r->err) && put_curve(r, key, &mean, limit);
    }
    json_out_close(&r->out, '}');
    return ok;
}

static void put_sample(JsonOut *out, const char *key, const StatsSample *s) {
    json_out_open(out, key, '{');
    json_out_number(out, "n", s->n, 9);
    json_out_number(out, "mean", s->mean, RESULT_DIGITS);
    json_out_number(out, "se", s->se, RESULT_DIGITS);
    json_out_close(out, '}');
}

/* Over the runs shown: mean speed, time and so on. */
static bool put_costs(Report *r, const StudyResult *m) {
    double *values = malloc(((size_t)m->loss.n + 1) * sizeof *values);
    static const char *const keys[] = {"tokens_per_s", "time_s", "best"};
    if (!values) return out_of_memory(r->err);
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        int n = 0;
        for (int i = 0; i < m->loss.n; i++) {
            const Run *run = &r->source->runs[m->done[i] - r->source->index->runs];
            RunResult result = run->dir ? run_result(run) : (RunResult){.best_val = NAN};
            double value[] = {result.tokens_per_s, result.time_s, result.best_val};
            if (run->dir && isfinite(value[k])) values[n++] = value[k];
        }
        StatsSample sample = stats_sample(values, n);
        put_sample(&r->out, keys[k], &sample);
    }
    free(values);
    return true;
}

static void put_tuning(Report *r, const StudyResult *m) {
    JsonOut *out = &r->out;
    json_out_open(out, "tuning", '[');
    for (int k = 0; k < m->curve_count; k++) {
        const StudyCurve *curve = &m->curves[k];
        json_out_open(out, NULL, '{');
        json_out_text(out, "key", curve->key);
        json_out_number(out, "best", curve->best, 9);
        json_out_flag(out, "on_edge", curve->on_edge);
        json_out_open(out, "points", '[');
        for (int i = 0; i < curve->count; i++) {
            json_out_open(out, NULL, '{');
            json_out_text(out, "text", curve->points[i].text);
            json_out_number(out, "value", curve->points[i].value, RESULT_DIGITS);
            json_out_number(out, "loss", curve->points[i].loss, RESULT_DIGITS);
            json_out_number(out, "diverged", curve->points[i].diverged, 9);
            json_out_close(out, '}');
        }
        json_out_close(out, ']');
        json_out_close(out, '}');
    }
    json_out_close(out, ']');
}

/* ---------------------------------------------------------------------------------------------------- tensors */

/* Singular values before and after the map, as quantiles, at a few steps. */
static void put_spectra(Report *r, const TensorFigures *tensor) {
    static const char *const sides[SPECTRUM_SIDES] = {"before", "after"};
    json_out_open(&r->out, "spectra", '[');
    for (int i = 0; i < tensor->spectrum_count; i++) {
        const TensorSpectrum *spectrum = &tensor->spectra[i];
        json_out_open(&r->out, NULL, '{');
        json_out_number(&r->out, "step", spectrum->step, 15);
        for (int k = 0; k < SPECTRUM_SIDES; k++)
            json_out_numbers(&r->out, sides[k], spectrum->sigma[k], (size_t)spectrum->count[k], 5);
        json_out_close(&r->out, '}');
    }
    json_out_close(&r->out, ']');
}

static bool put_tensor(Report *r, TensorFigures *tensor, size_t limit) {
    bool ok = true;
    json_out_open(&r->out, NULL, '{');
    json_out_text(&r->out, "name", tensor->name);
    put_spectra(r, tensor);
    json_out_open(&r->out, "figures", '{');
    for (int k = 0; ok && k < tensor->figures.count; k++) {
        char key[sizeof tensor->figures.curves->key];
        strcpy(key, tensor->figures.curves[k].key);
        ok = put_curve(r, key, &tensor->figures.curves[k], limit);
    }
    json_out_close(&r->out, '}');
    json_out_close(&r->out, '}');
    return ok;
}

/* Of the method's first run that has any. */
static bool put_tensors(Report *r, int position) {
    RunTensors tensors = {0};
    const StudyRun *run = NULL;
    bool ok = true;
    for (int i = 0; ok && tensors.count == 0 && i < r->source->index->run_count; i++) {
        run = &r->source->index->runs[i];
        if (is_shown(r, i) && position_of(r, run) == position)
            ok = run_tensors_read(&tensors, &r->source->runs[i], r->err);
    }
    size_t figures = (size_t)(tensors.count + 1) * (size_t)r->source->summary->count;
    size_t limit = within(POINTS_OF_TENSORS / figures, TENSOR_POINTS_MIN, TENSOR_POINTS_MAX);
    json_out_text(&r->out, "diagnosed", tensors.count ? run->dir : NULL);
    json_out_open(&r->out, "tensors", '[');
    for (int i = 0; ok && i < tensors.count; i++) ok = put_tensor(r, &tensors.tensors[i], limit);
    json_out_close(&r->out, ']');
    run_tensors_free(&tensors);
    return ok;
}

static void put_comparison(JsonOut *out, const char *key, int a, int b, const StudyComparison *c) {
    json_out_open(out, key, '{');
    json_out_number(out, "a", a, 9);
    json_out_number(out, "b", b, 9);
    json_out_number(out, "n", c->test.n, 9);
    json_out_number(out, "mean", c->test.mean, RESULT_DIGITS);
    json_out_number(out, "se", c->test.se, RESULT_DIGITS);
    json_out_number(out, "low", c->test.low, RESULT_DIGITS);
    json_out_number(out, "high", c->test.high, RESULT_DIGITS);
    json_out_number(out, "p", c->test.p, 6);
    json_out_number(out, "p_holm", c->p_holm, 6);
    json_out_number(out, "p_flip", c->test.p_flip, 6);
    json_out_number(out, "detectable", c->detectable, 6);
    json_out_text(out, "verdict", stats_verdict_text(c->verdict));
    json_out_close(out, '}');
}

static bool put_method(Report *r, int position, Seeds *s) {
    const StudyMethod *method = method_at(r, position);
    const StudyResult *m = result_at(r, position);
    JsonOut *out = &r->out;
    char settings[512];
    json_out_open(out, NULL, '{');
    json_out_text(out, "name", method->name);
    json_out_text(out, "optimizer", method->optimizer);
    json_out_text(out, "settings", study_settings_text(method->settings, settings, sizeof settings));
    json_out_text(out, "edge", *method->edge ? method->edge : NULL);
    json_out_number(out, "diverged", m->diverged, 9);
    json_out_number(out, "failed", m->failed, 9);
    json_out_number(out, "open", m->open, 9);
    put_sample(out, "loss", &m->loss);
    json_out_number(out, "perplexity", exp(m->loss.mean), RESULT_DIGITS);
    put_comparison(out, "against_baseline", position, r->position[r->source->summary->baseline],
                   &m->against_baseline);
    put_tuning(r, m);
    bool ok = put_costs(r, m) && put_means(r, m, s) && put_tensors(r, position);
    json_out_close(out, '}');
    return ok;
}

static bool put_methods(Report *r) {
    Seeds s;
    bool ok = seeds_create(&s, r);
    json_out_open(&r->out, "methods", '[');
    for (int i = 0; ok && i < r->source->summary->count; i++) ok = put_method(r, i, &s);
    json_out_close(&r->out, ']');
    seeds_free(&s);
    return ok;
}

/* ---------------------------------------------------------------------------------------------------- verdicts */

static void put_pairs(Report *r) {
    const StudySummary *s = r->source->summary;
    json_out_number(&r->out, "pair_tests", s->pair_tests, 9);
    json_out_number(&r->out, "baseline_tests", s->baseline_tests, 9);
    json_out_open(&r->out, "pairs", '[');
    for (int a = 0; a < s->count; a++)
        for (int b = a + 1; b < s->count; b++) {
            const StudyComparison *c = &s->pairs[s->order[a] * s->count + s->order[b]];
            if (c->test.n > 1) put_comparison(&r->out, NULL, a, b, c);
        }
    json_out_close(&r->out, ']');
}

/* Points of methods that branch off, against the runs that they left; `b` is the trunk's method. */
static void put_branches(Report *r) {
    const StudySummary *s = r->source->summary;
    char settings[512];
    json_out_number(&r->out, "branch_tests", s->branch_tests, 9);
    json_out_open(&r->out, "branches", '[');
    for (int i = 0; i < s->count; i++) {
        const StudyResult *m = result_at(r, i);
        const StudyMethod *trunk = study_index_method(r->source->index, m->method->trunk);
        for (int k = 0; k < m->branch_count; k++) {
            const StudyBranch *branch = &m->branches[k];
            json_out_open(&r->out, NULL, '{');
            json_out_text(&r->out, "at", study_settings_text(branch->settings, settings, sizeof settings));
            put_comparison(&r->out, "against_trunk", i, r->position[trunk - r->source->index->methods],
                           &branch->against_trunk);
            json_out_close(&r->out, '}');
        }
    }
    json_out_close(&r->out, ']');
}

/* Keeps the curves of seeds that both have. Returns their number. */
static int pair_up(Seeds *s, int na, int nb) {
    int n = 0;
    for (int i = 0, j = 0; i < na && j < nb;) {
        int64_t a = s->seeds[0][i], b = s->seeds[1][j];
        if (a == b) {
            s->curves[0][n] = s->curves[0][i];
            s->curves[1][n++] = s->curves[1][j];
        }
        i += a <= b;
        j += b <= a;
    }
    return n;
}

/* a - b over the steps, the mean over seeds that both have. */
static bool put_difference(Report *r, int a, int b, size_t limit, Seeds *s) {
    static const char *const keys[] = {"val/loss", "train/loss"};
    bool ok = true;
    json_out_open(&r->out, NULL, '{');
    json_out_number(&r->out, "a", a, 9);
    json_out_number(&r->out, "b", b, 9);
    for (int k = 0; ok && k < 2; k++) {
        Curve difference;
        int na = curves_of(r, result_at(r, a), keys[k], s->curves[0], s->seeds[0]);
        int nb = curves_of(r, result_at(r, b), keys[k], s->curves[1], s->seeds[1]);
        int n = pair_up(s, na, nb);
        if (n == 0) continue;
        if (k == 0) json_out_number(&r->out, "n", n, 9);
        ok = curve_combine(&difference, s->curves[0], s->curves[1], n, r->err) &&
             put_curve(r, keys[k], &difference, limit);
    }
    json_out_close(&r->out, '}');
    return ok;
}

/* To the best methods and the baseline; a pair once, whose sign the page turns if need be. */
static bool is_difference(const Report *r, int a, int b) {
    int base = r->position[r->source->summary->baseline];
    bool a_is = a < BASELINES_MAX || a == base, b_is = b < BASELINES_MAX || b == base;
    return b_is && a != b && (a > b || !a_is);
}

static bool put_differences(Report *r) {
    Seeds s;
    bool ok = seeds_create(&s, r);
    int count = r->source->summary->count;
    size_t pairs = 1;
    for (int i = 0; i < count * count; i++) pairs += is_difference(r, i % count, i / count);
    size_t limit = within(POINTS_OF_DIFFERENCES / pairs, DIFFERENCE_POINTS_MIN, DIFFERENCE_POINTS_MAX);
    json_out_number(&r->out, "baselines_max", BASELINES_MAX, 9);
    json_out_open(&r->out, "differences", '[');
    for (int b = 0; ok && b < count; b++)
        for (int a = 0; ok && a < count; a++)
            if (is_difference(r, a, b)) ok = put_difference(r, a, b, limit, &s);
    json_out_close(&r->out, ']');
    seeds_free(&s);
    return ok;
}

/* --------------------------------------------------------------------------------------------------- provenance */

/* The first shown run of each method, for those that have one. */
static int first_runs(const Report *r, Run *runs, int *positions) {
    int n = 0;
    for (int p = 0; p < r->source->summary->count; p++)
        for (int i = 0; i < r->source->index->run_count; i++) {
            if (!is_shown(r, i) || position_of(r, &r->source->index->runs[i]) != p) continue;
            runs[n] = r->source->runs[i]; /* borrowed */
            positions[n++] = p;
            break;
        }
    return n;
}

static void put_setting(Report *r, const RunDifference *d, const int *positions, int n) {
    json_out_open(&r->out, NULL, '{');
    json_out_text(&r->out, "key", d->path);
    json_out_open(&r->out, "values", '{');
    for (int i = 0; i < n; i++) {
        char position[16];
        snprintf(position, sizeof position, "%d", positions[i]);
        if (d->values[i]) json_out_text(&r->out, position, d->values[i]);
    }
    json_out_close(&r->out, '}');
    json_out_close(&r->out, '}');
}

/* What differs between the methods' configs, and the whole config of the best. */
static bool put_settings(Report *r) {
    size_t room = (size_t)r->source->summary->count + 1;
    Run *runs = calloc(room, sizeof *runs);
    int *positions = calloc(room, sizeof *positions), count = 0;
    int n = runs && positions ? first_runs(r, runs, positions) : 0;
    RunDifference *found = runs && positions ? run_differences(runs, n, &count, r->err) : NULL;
    bool ok = found || (runs && positions) || out_of_memory(r->err);
    json_out_open(&r->out, "settings", '[');
    for (int k = 0; found && k < count; k++)
        if (strcmp(found[k].path, "train.seed") != 0) put_setting(r, &found[k], positions, n);
    json_out_close(&r->out, ']');
    json_out_tree(&r->out, "config", n ? runs[0].config : NULL);
    run_differences_free(found, count, n);
    free(runs);
    free(positions);
    return ok && found;
}

/* What makes the comparison misleading. */
static void put_note(Report *r, const char *name, const char *text) {
    char note[512];
    snprintf(note, sizeof note, "%s%s%s", name, *name ? ": " : "", text);
    json_out_text(&r->out, NULL, note);
}

static bool setting_differs(const Report *r, const char *path) {
    char first[512] = "", other[512];
    bool any = false;
    for (int i = 0; i < r->source->index->run_count; i++) {
        if (!is_shown(r, i)) continue;
        if (!run_setting(&r->source->runs[i], path, other, sizeof other)) *other = '\0';
        if (any && strcmp(first, other) != 0) return true;
        strcpy(first, other);
        any = true;
    }
    return false;
}

/* Of those that finished. */
static bool tokens_differ(const Report *r) {
    int64_t tokens = -1;
    for (int i = 0; i < r->source->index->run_count; i++) {
        if (!is_shown(r, i) || strcmp(r->source->runs[i].outcome, "finished") != 0) continue;
        int64_t now = run_result(&r->source->runs[i]).tokens;
        if (tokens >= 0 && now != tokens) return true;
        tokens = now;
    }
    return false;
}

static void put_notes(Report *r) {
    static const char *const same[] = {"data.dir", "eval.tokens", "model.block_size"};
    json_out_open(&r->out, "notes", '[');
    if (!r->source->index->done) put_note(r, "", "the study is still running: numbers will change");
    for (size_t k = 0; k < sizeof same / sizeof *same; k++)
        if (setting_differs(r, same[k]))
            put_note(r, same[k],
                     "differs between runs, so their validation losses are not of the same text");
    if (tokens_differ(r)) put_note(r, "", "the runs were trained on different numbers of tokens");
    for (int i = 0; i < r->source->index->run_count; i++) {
        const Run *run = &r->source->runs[i];
        const StudyRun *entry = &r->source->index->runs[i];
        if (!is_shown(r, i) && entry->state == STUDY_DONE &&
            study_run_counts(entry, study_index_method(r->source->index, entry->method)))
            put_note(r, entry->dir,
                     "its files cannot be read: it is in means of final losses, not in curves");
        if (!is_shown(r, i)) continue;
        if (run->torn) put_note(r, entry->dir, "the last line of metrics.jsonl is torn; left out");
        if (!*run->outcome) put_note(r, entry->dir, "has not ended: still running, or killed");
        else if (!strcmp(run->outcome, "diverged"))
            put_note(r, entry->dir, "diverged: it has no final loss, and is in no mean");
        else if (strcmp(run->outcome, "finished") != 0) put_note(r, entry->dir, run->outcome);
    }
    json_out_close(&r->out, ']');
}

/* ------------------------------------------------------------------------------------------------------- page */

static bool prepare(Report *r) {
    const StudyIndex *index = r->source->index;
    size_t runs = (size_t)index->run_count + 1, methods = (size_t)r->source->summary->count + 1;
    r->figures = calloc(runs, sizeof *r->figures);
    r->position = calloc(methods, sizeof *r->position);
    if (!r->figures || !r->position) return out_of_memory(r->err);
    for (int p = 0; p < r->source->summary->count; p++) r->position[r->source->summary->order[p]] = p;
    for (int i = 0; i < index->run_count; i++) r->shown += is_shown(r, i);
    for (int i = 0; i < index->run_count; i++)
        if (is_shown(r, i) && !run_figures_read(&r->figures[i], &r->source->runs[i], r->err)) return false;
    return true;
}

static bool put_all(Report *r) {
    const ReportSource *s = r->source;
    json_out_open(&r->out, NULL, '{');
    json_out_text(&r->out, "title", *s->index->name ? s->index->name : NULL);
    json_out_number(&r->out, "level", s->summary->level, 6);
    json_out_number(&r->out, "baseline", r->position[s->summary->baseline], 9);
    json_out_text(&r->out, "build", runlog_build());
    put_notes(r);
    bool ok = put_methods(r) && put_runs(r);
    put_pairs(r);
    put_branches(r);
    ok = ok && put_differences(r) && put_settings(r);
    json_out_close(&r->out, '}');
    return ok;
}

bool report_write_data(FILE *file, const ReportSource *source, Error *err) {
    Report r = {.out = {.file = file}, .source = source, .err = err};
    bool ok = prepare(&r) && put_all(&r);
    for (int i = 0; r.figures && i < source->index->run_count; i++) run_figures_free(&r.figures[i]);
    free(r.figures);
    free(r.position);
    return ok;
}

/* Copies the page; its lines @css, @data and @js say what stands there. */
static bool write_page(FILE *file, const ReportSource *source, Error *err) {
    bool ok = true;
    for (const char *line = REPORT_HTML, *end; ok && *line; line = end) {
        end = line + strcspn(line, "\n");
        end += *end == '\n';
        size_t length = (size_t)(end - line);
        if (!strncmp(line, "@css\n", length)) fputs(REPORT_CSS, file);
        else if (!strncmp(line, "@js\n", length)) fputs(REPORT_JS, file);
        else if (!strncmp(line, "@data\n", length)) ok = report_write_data(file, source, err);
        else fwrite(line, 1, length, file);
    }
    return ok;
}

bool report_write(const char *path, const ReportSource *source, Error *err) {
    FILE *file = file_create(path, err);
    if (!file) return false;
    if (write_page(file, source, err)) return file_publish(file, path, err);
    file_discard(file, path);
    return false;
}

/* ------------------------------------------------------------------------------------------------------ studies */

/* Those that count and can be read. One that waits has no directory yet, one that has just begun no lines. */
static void read_runs(Run *runs, const StudyIndex *index, const char *study_dir) {
    char path[4096];
    Error unread;
    for (int i = 0; i < index->run_count; i++) {
        const StudyRun *run = &index->runs[i];
        snprintf(path, sizeof path, "%s/%s", study_dir, run->dir);
        if (run->state != STUDY_WAITING && study_run_counts(run, study_index_method(index, run->method)))
            run_read(&runs[i], path, &unread);
    }
}

bool report_write_study(const char *path, const char *study_dir, const char *baseline, double level,
                        Error *err) {
    StudyIndex index;
    StudySummary summary = {0};
    if (!study_index_read(&index, study_dir, err)) return false;
    Run *runs = calloc((size_t)index.run_count + 1, sizeof *runs);
    ReportSource source = {&index, &summary, runs};
    bool ok = (runs || out_of_memory(err)) && study_summary_make(&summary, &index, baseline, level, err);
    if (ok) read_runs(runs, &index, study_dir);
    ok = ok && report_write(path, &source, err);
    for (int i = 0; runs && i < index.run_count; i++) run_free(&runs[i]);
    free(runs);
    study_summary_free(&summary);
    study_index_free(&index);
    return ok;
}
