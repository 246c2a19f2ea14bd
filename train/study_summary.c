/* study_summary.c: see study_summary.h. */
#include "train/study_summary.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool out_of_memory(Error *err) {
    return error_set(err, ERR_IO, "out of memory evaluating the study");
}

/* -------------------------------------------------------------------------------------------------- settings */

static void value_text(const cJSON *item, char *out, size_t size) {
    if (cJSON_IsNumber(item)) snprintf(out, size, "%.6g", item->valuedouble);
    else
        snprintf(out, size, "%s",
                 cJSON_IsString(item) ? item->valuestring
                 : cJSON_IsTrue(item) ? "true"
                                      : "false");
}

char *study_settings_text(const cJSON *settings, char *out, size_t size) {
    size_t n = 0;
    *out = '\0';
    for (const cJSON *item = settings ? settings->child : NULL; item && n < size; item = item->next) {
        char value[48];
        const char *dot = strchr(item->string, '.');
        value_text(item, value, sizeof value);
        n += (size_t)snprintf(out + n, size - n, "%s%s=%s", n ? " " : "", dot ? dot + 1 : item->string,
                              value);
    }
    return out;
}

/* Has the run every setting of `point`? */
static bool run_is_at(const StudyRun *run, const cJSON *point) {
    const cJSON *item;
    cJSON_ArrayForEach(
        item, point) if (!cJSON_Compare(item, cJSON_GetObjectItemCaseSensitive(run->settings, item->string),
                                        true)) return false;
    return true;
}

/* -------------------------------------------------------------------------------------------------- one method */

static bool is_of(const StudyRun *run, const StudyResult *m) {
    return strcmp(run->method, m->method->name) == 0;
}

bool study_run_counts(const StudyRun *run, const StudyMethod *method) {
    return strcmp(run->method, method->name) == 0 && run->phase == STUDY_FINAL && method->settings &&
           run_is_at(run, method->settings);
}

static int by_seed(const void *a, const void *b) {
    int64_t x = (*(const StudyRun *const *)a)->seed, y = (*(const StudyRun *const *)b)->seed;
    return (x > y) - (x < y);
}

static bool gather_runs(StudyResult *m, const StudyIndex *index) {
    double *losses = malloc(((size_t)index->run_count + 1) * sizeof *losses);
    m->done = malloc(((size_t)index->run_count + 1) * sizeof(const StudyRun *));
    int done = 0;
    for (int i = 0; losses && m->done && i < index->run_count; i++) {
        const StudyRun *run = &index->runs[i];
        if (!is_of(run, m)) continue;
        if (run->phase == STUDY_TUNE) {
            m->tuned++;
            m->tuned_diverged += run->state == STUDY_DIVERGED;
        }
        if (!study_run_counts(run, m->method)) continue;
        m->runs++;
        m->diverged += run->state == STUDY_DIVERGED;
        m->failed += run->state == STUDY_FAILED;
        m->open += run->state == STUDY_WAITING || run->state == STUDY_RUNNING;
        if (run->state == STUDY_DONE) m->done[done++] = run;
    }
    bool ok = losses && m->done;
    if (ok) {
        qsort(m->done, (size_t)done, sizeof(const StudyRun *), by_seed);
        for (int i = 0; i < done; i++) losses[i] = m->done[i]->loss;
        m->loss = stats_sample(losses, done);
    }
    free(losses);
    return ok;
}

/* ---------------------------------------------------------------------------------------------------- U-curves */

/* A point of the grid and its runs on the tuning seeds. */
typedef struct GridPoint {
    const cJSON *settings;
    double sum;
    int n, diverged;
} GridPoint;

/* Points are compared on the same seeds, though the chosen one has more. Where the index does not say which, they are
 * those of runs of phase "tune", or, without any, all. */
static bool is_tuning_seed(const StudyIndex *index, const StudyResult *m, int64_t seed) {
    for (int i = 0; i < index->tune_seed_count; i++)
        if (index->tune_seeds[i] == seed) return true;
    bool any = index->tune_seed_count > 0;
    for (int i = 0; i < index->run_count; i++) {
        const StudyRun *run = &index->runs[i];
        if (!is_of(run, m) || run->phase != STUDY_TUNE) continue;
        if (run->seed == seed) return true;
        any = true;
    }
    return !any;
}

static GridPoint *find_point(GridPoint *points, int *count, const cJSON *settings) {
    for (int i = 0; i < *count; i++)
        if (cJSON_Compare(points[i].settings, settings, true)) return &points[i];
    points[*count] = (GridPoint){.settings = settings};
    return &points[(*count)++];
}

static GridPoint *grid_of(const StudyIndex *index, const StudyResult *m, int *count) {
    GridPoint *points = malloc(((size_t)index->run_count + 1) * sizeof *points);
    *count = 0;
    for (int i = 0; points && i < index->run_count; i++) {
        const StudyRun *run = &index->runs[i];
        if (!is_of(run, m) || !is_tuning_seed(index, m, run->seed)) continue;
        GridPoint *p = find_point(points, count, run->settings);
        if (run->state == STUDY_DONE) p->sum += run->loss, p->n++;
        p->diverged += run->state == STUDY_DIVERGED;
    }
    return points;
}

static int by_value(const void *a, const void *b) {
    double x = ((const StudyPoint *)a)->value, y = ((const StudyPoint *)b)->value;
    return (x > y) - (x < y);
}

static StudyPoint *find_value(StudyCurve *curve, const cJSON *item) {
    char text[sizeof curve->points->text];
    value_text(item, text, sizeof text);
    double value = cJSON_IsNumber(item) ? item->valuedouble : NAN;
    for (int i = 0; i < curve->count; i++)
        if (isnan(value) ? strcmp(curve->points[i].text, text) == 0 : curve->points[i].value == value)
            return &curve->points[i];
    StudyPoint *p = &curve->points[curve->count++];
    *p = (StudyPoint){.value = value, .loss = NAN};
    memcpy(p->text, text, sizeof text);
    return p;
}

static void find_best(StudyCurve *curve) {
    bool numbers = true;
    curve->best = -1;
    for (int i = 0; i < curve->count; i++) numbers &= !isnan(curve->points[i].value);
    if (numbers) qsort(curve->points, (size_t)curve->count, sizeof *curve->points, by_value);
    for (int i = 0; i < curve->count; i++)
        if (curve->points[i].n &&
            (curve->best < 0 || curve->points[i].loss < curve->points[curve->best].loss))
            curve->best = i;
    bool lowest = curve->best == 0 && curve->points[0].value != 0; /* nothing lies below zero */
    curve->on_edge = numbers && (lowest || curve->best == curve->count - 1);
}

/* Points that have neither ended nor diverged anywhere are not there yet. */
static bool make_curve(StudyCurve *curve, const char *key, const GridPoint *grid, int grid_count) {
    *curve = (StudyCurve){.key = key, .points = malloc(((size_t)grid_count + 1) * sizeof *curve->points)};
    for (int i = 0; curve->points && i < grid_count; i++) {
        const GridPoint *g = &grid[i];
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(g->settings, key);
        if (!item || (!g->n && !g->diverged)) continue;
        StudyPoint *p = find_value(curve, item);
        double loss = g->diverged ? NAN : g->sum / g->n;
        p->diverged += g->diverged;
        if (!(loss >= p->loss) && !isnan(loss)) p->loss = loss, p->n = g->n;
    }
    if (curve->points) find_best(curve);
    return curve->points != NULL;
}

static bool has_curve(const StudyResult *m, const char *key) {
    for (int i = 0; i < m->curve_count; i++)
        if (strcmp(m->curves[i].key, key) == 0) return true;
    return false;
}

/* A curve for each key with two values or more. */
static bool add_curve(StudyResult *m, const char *key, const GridPoint *grid, int grid_count) {
    StudyCurve curve, *more = realloc(m->curves, ((size_t)m->curve_count + 1) * sizeof *more);
    if (more) m->curves = more;
    if (!more || !make_curve(&curve, key, grid, grid_count)) return false;
    if (curve.count > 1) m->curves[m->curve_count++] = curve;
    else free(curve.points);
    return true;
}

static bool make_curves(StudyResult *m, const StudyIndex *index) {
    int count = 0;
    GridPoint *grid = grid_of(index, m, &count);
    bool ok = grid != NULL;
    for (int i = 0; i < count; i++) {
        const cJSON *item;
        cJSON_ArrayForEach(item, grid[i].settings) if (ok && !has_curve(m, item->string)) ok =
            add_curve(m, item->string, grid, count);
    }
    free(grid);
    return ok;
}

/* ------------------------------------------------------------------------------------------------- comparisons */

/* Both sorted by seed. Verdict and corrected p follow when the whole family is known; a method and
 * itself are no test. */
static bool compare(const StudyResult *x, const StudyResult *y, double level, StudyComparison *c) {
    size_t room = (size_t)(x->loss.n + y->loss.n) + 1;
    double *a = malloc(room * sizeof *a), *b = malloc(room * sizeof *b);
    int n = 0;
    for (int i = 0, j = 0; a && b && i < x->loss.n && j < y->loss.n;) {
        int64_t u = x->done[i]->seed, v = y->done[j]->seed;
        if (u == v) a[n] = x->done[i]->loss, b[n++] = y->done[j]->loss;
        i += u <= v, j += v <= u;
    }
    bool ok = a && b;
    if (ok) *c = (StudyComparison){stats_paired(a, b, n, level), NAN, VERDICT_IDENTICAL, NAN};
    free(a);
    free(b);
    return ok;
}

/* What the whole family decides, and how many tests it has. */
static bool judge(StudyComparison **family, int count, double level, int *made) {
    double *p = malloc(((size_t)count + 1) * sizeof *p);
    int tests = 0;
    for (int i = 0; p && i < count; i++) tests += !isnan(p[i] = family[i]->test.p);
    *made = tests;
    if (!p) return false;
    stats_holm(p, count);
    for (int i = 0; i < count; i++) {
        const StatsPaired *d = &family[i]->test;
        family[i]->p_holm = p[i];
        family[i]->verdict = stats_verdict(d, p[i], level);
        family[i]->detectable = isnan(d->p) ? NAN : stats_detectable(d->sd, d->n, level / tests, 0.8);
    }
    free(p);
    return true;
}

/* b against a has a against b's place in the family. */
static void mirror(const StudySummary *s, int a, int b) {
    const StudyComparison *from = &s->pairs[a * s->count + b];
    StudyComparison *to = &s->pairs[b * s->count + a];
    to->p_holm = from->p_holm;
    to->detectable = from->detectable;
    to->verdict = stats_verdict(&to->test, to->p_holm, s->level);
}

static bool compare_all(StudySummary *s) {
    int count = s->count, made = 0;
    size_t room = (size_t)count * (size_t)count + 1;
    StudyComparison **family = malloc(room * sizeof(StudyComparison *));
    bool ok = family != NULL;
    for (int a = 0; ok && a < count; a++) {
        ok = compare(&s->methods[a], &s->methods[s->baseline], s->level, &s->methods[a].against_baseline);
        family[made++] = &s->methods[a].against_baseline;
    }
    ok = ok && judge(family, made, s->level, &s->baseline_tests);
    made = 0;
    for (int a = 0; ok && a < count; a++)
        for (int b = 0; ok && b < count; b++) {
            ok = compare(&s->methods[a], &s->methods[b], s->level, &s->pairs[a * count + b]);
            if (b > a) family[made++] = &s->pairs[a * count + b];
        }
    ok = ok && judge(family, made, s->level, &s->pair_tests);
    for (int a = 0; ok && a < count; a++)
        for (int b = a + 1; b < count; b++) mirror(s, a, b);
    free(family);
    return ok;
}

/* ---------------------------------------------------------------------------------------------------- branches */

static const StudyRun *run_in(const StudyIndex *index, const char *dir) {
    for (int i = 0; i < index->run_count; i++)
        if (strcmp(index->runs[i].dir, dir) == 0) return &index->runs[i];
    return NULL;
}

static bool has_branch(const StudyResult *m, const cJSON *settings) {
    for (int i = 0; i < m->branch_count; i++)
        if (cJSON_Compare(m->branches[i].settings, settings, true)) return true;
    return false;
}

/* The runs at one point, and the runs that these branched from. */
static bool add_branch(StudyResult *m, const StudyIndex *index, const cJSON *settings, double level) {
    size_t room = (size_t)index->run_count;
    double *a = malloc(room * sizeof *a), *b = malloc(room * sizeof *b);
    StudyBranch *more = realloc(m->branches, ((size_t)m->branch_count + 1) * sizeof *more);
    if (more) m->branches = more;
    int64_t step = 0;
    int n = 0;
    for (int i = 0; a && b && i < index->run_count; i++) {
        const StudyRun *run = &index->runs[i];
        if (!is_of(run, m) || run->phase != STUDY_FINAL || run->state != STUDY_DONE ||
            !cJSON_Compare(run->settings, settings, true))
            continue;
        const StudyRun *trunk = run_in(index, run->trunk);
        if (!trunk || trunk->state != STUDY_DONE) continue;
        if (n == 0) step = run->branch_step;
        a[n] = run->loss, b[n++] = trunk->loss;
    }
    bool ok = a && b && more;
    if (ok && n)
        m->branches[m->branch_count++] =
            (StudyBranch){settings, step, {stats_paired(a, b, n, level), NAN, VERDICT_IDENTICAL, NAN}};
    free(a);
    free(b);
    return ok;
}

static bool make_branches(StudyResult *m, const StudyIndex *index, double level) {
    bool ok = true;
    for (int i = 0; ok && *m->method->trunk && i < index->run_count; i++) {
        const StudyRun *run = &index->runs[i];
        if (is_of(run, m) && run->phase == STUDY_FINAL && !has_branch(m, run->settings))
            ok = add_branch(m, index, run->settings, level);
    }
    return ok;
}

static bool judge_branches(StudySummary *s) {
    int count = 0;
    for (int i = 0; i < s->count; i++) count += s->methods[i].branch_count;
    StudyComparison **family = malloc(((size_t)count + 1) * sizeof(StudyComparison *));
    bool ok = family != NULL;
    count = 0;
    for (int i = 0; ok && i < s->count; i++)
        for (int k = 0; k < s->methods[i].branch_count; k++)
            family[count++] = &s->methods[i].branches[k].against_trunk;
    ok = ok && judge(family, count, s->level, &s->branch_tests);
    free(family);
    return ok;
}

/* ----------------------------------------------------------------------------------------------------- the whole */

/* Insertion sort: equals stay in the index's order. */
static void sort_methods(StudySummary *s) {
    for (int i = 0; i < s->count; i++) {
        double mean = s->methods[i].loss.mean;
        int at = i;
        for (; at > 0 && !isnan(mean) && !(s->methods[s->order[at - 1]].loss.mean <= mean); at--)
            s->order[at] = s->order[at - 1];
        s->order[at] = i;
    }
}

static bool fill(StudySummary *s, const StudyIndex *index) {
    size_t count = (size_t)index->method_count;
    s->methods = calloc(count + 1, sizeof *s->methods);
    s->order = calloc(count + 1, sizeof *s->order);
    s->pairs = calloc(count * count + 1, sizeof *s->pairs);
    if (!s->methods || !s->order || !s->pairs) return false;
    for (s->count = 0; s->count < index->method_count; s->count++) {
        StudyResult *m = &s->methods[s->count];
        m->method = &index->methods[s->count];
        if (!gather_runs(m, index) || !make_curves(m, index) || !make_branches(m, index, s->level))
            return false;
    }
    sort_methods(s);
    return compare_all(s) && judge_branches(s);
}

bool study_summary_make(StudySummary *s, const StudyIndex *index, const char *baseline, double level,
                        Error *err) {
    const StudyMethod *base = study_index_method(index, baseline ? baseline : index->baseline);
    *s = (StudySummary){.level = level};
    if (!base) return error_set(err, ERR_CONFIG, "%s is none of the study's methods", baseline);
    s->baseline = (int)(base - index->methods);
    if (fill(s, index)) return true;
    study_summary_free(s);
    return out_of_memory(err);
}

void study_summary_free(StudySummary *s) {
    for (int i = 0; s->methods && i < s->count + 1; i++) { /* + 1: where memory ran out */
        StudyResult *m = &s->methods[i];
        for (int k = 0; k < m->curve_count; k++) free(m->curves[k].points);
        free(m->curves);
        free(m->branches);
        free(m->done);
    }
    free(s->methods);
    free(s->order);
    free(s->pairs);
    *s = (StudySummary){0};
}
