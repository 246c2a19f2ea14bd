/* study_print.c: see study_print.h. The numbers are study_summary's; here they get words, columns and a chart. */
#include "train/study_print.h"

#include "train/chart.h"
#include "train/progress.h"
#include "train/study_summary.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { CHART_ROWS = 18 };

/* The runs of a method that count and could be read. */
typedef struct MethodRuns {
    Run *runs;
    int count;
} MethodRuns;

typedef struct View {
    FILE *out;
    const StudyPrint *what;
    ChartStyle style;
    StudyIndex index;
    StudySummary s;
    MethodRuns *runs; /* by method */
    int names;        /* columns of the longest name */
} View;

/* ----------------------------------------------------------------------------------------------------- reading */

static bool read_runs(View *v, int method, Error *err) {
    const StudyResult *m = &v->s.methods[method];
    MethodRuns *r = &v->runs[method];
    r->runs = calloc((size_t)m->loss.n + 1, sizeof *r->runs);
    if (!r->runs) return error_set(err, ERR_IO, "out of memory reading the study's runs");
    for (int i = 0; i < m->loss.n; i++) {
        char path[2 * STUDY_DIR_MAX + 2];
        Error unread;
        snprintf(path, sizeof path, "%s/%s", v->what->dir, m->done[i]->dir);
        if (run_read(&r->runs[r->count], path, &unread)) r->count++;
        else fprintf(v->out, "note: left out of curves and times: %s\n", unread.text);
    }
    return true;
}

static bool open_view(View *v, FILE *out, const StudyPrint *what, Error *err) {
    *v = (View){.out = out, .what = what, .style = chart_style(out), .names = 6};
    if (!study_index_read(&v->index, what->dir, err) ||
        !study_summary_make(&v->s, &v->index, what->baseline, STUDY_LEVEL, err))
        return false;
    v->runs = calloc((size_t)v->s.count + 1, sizeof *v->runs);
    if (!v->runs) return error_set(err, ERR_IO, "out of memory reading the study's runs");
    for (int i = 0; i < v->s.count; i++) {
        int width = (int)strlen(v->index.methods[i].name);
        if (width > v->names) v->names = width;
        if (!read_runs(v, i, err)) return false;
    }
    return true;
}

static void close_view(View *v) {
    for (int i = 0; v->runs && i < v->s.count; i++) {
        for (int k = 0; k < v->runs[i].count; k++) run_free(&v->runs[i].runs[k]);
        free(v->runs[i].runs);
    }
    free(v->runs);
    study_summary_free(&v->s);
    study_index_free(&v->index);
}

/* ------------------------------------------------------------------------------------------------------- words */

static const char *plus_minus(const View *v) {
    return v->style.unicode ? "±" : "+-";
}

/* "-" where there is no number. */
static const char *number(char out[32], const char *format, double value) {
    snprintf(out, 32, isfinite(value) ? format : "-", value);
    return out;
}

/* "  a adamw   ", the place-th best. */
static void print_name(const View *v, int place) {
    fprintf(v->out, "  %s%c %-*s%s", chart_color(&v->style, place), chart_letter(place), v->names,
            v->s.methods[v->s.order[place]].method->name, chart_color_end(&v->style));
}

/* The mean, and its standard error. */
static StatsSample mean_of(const View *v, int method, double (*figure)(const Run *run)) {
    const MethodRuns *r = &v->runs[method];
    double *values = malloc(((size_t)r->count + 1) * sizeof *values);
    int n = 0;
    for (int i = 0; values && i < r->count; i++) {
        values[n] = figure(&r->runs[i]);
        n += isfinite(values[n]) != 0;
    }
    StatsSample s = stats_sample(values, n);
    free(values);
    return s;
}

static double tokens_per_s(const Run *run) {
    return run_result(run).tokens_per_s;
}

static double time_s(const Run *run) {
    return run_result(run).time_s;
}

static double spikes(const Run *run) {
    return run_last_figure(run, "spikes");
}

/* ---------------------------------------------------------------------------------------------------- verdicts */

static void print_head(const View *v) {
    static const StudyState order[] = {STUDY_DONE, STUDY_DIVERGED, STUDY_FAILED, STUDY_RUNNING,
                                       STUDY_WAITING};
    int counts[STUDY_FAILED + 1] = {0};
    const char *before = "";
    for (int i = 0; i < v->index.run_count; i++) counts[v->index.runs[i].state]++;
    fprintf(v->out, "study %s: %d methods, %d runs (", v->index.name, v->index.method_count,
            v->index.run_count);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        if (!counts[order[i]]) continue;
        fprintf(v->out, "%s%d %s", before, counts[order[i]], study_state_text(order[i]));
        before = ", ";
    }
    fprintf(v->out, ")%s\n\n", v->index.done ? "" : "; it has not ended");
}

static void print_comparison(const View *v, const StudyComparison *c) {
    char mean[32], low[32], high[32], interval[80] = "-", p[32];
    if (isfinite(c->test.low))
        snprintf(interval, sizeof interval, "[%s, %s]", number(low, "%+.5f", c->test.low),
                 number(high, "%+.5f", c->test.high));
    fprintf(v->out, "  %10s  %-20s  %7s  %s", number(mean, "%+.5f", c->test.mean), interval,
            c->p_holm < 1e-4 ? "<0.0001" : number(p, "%.4f", c->p_holm), stats_verdict_text(c->verdict));
}

static void print_verdicts(const View *v) {
    char mean[32], se[32];
    fprintf(v->out,
            "    %-*s  seeds  final val %s s.e.    difference  95 %% interval         p (Holm)  verdict\n",
            v->names, "method", plus_minus(v));
    for (int i = 0; i < v->s.count; i++) {
        const StudyResult *m = &v->s.methods[v->s.order[i]];
        print_name(v, i);
        fprintf(v->out, "  %5d  %8s %s %-7s", m->loss.n, number(mean, "%.5f", m->loss.mean), plus_minus(v),
                number(se, "%.5f", m->loss.se));
        if (m == &v->s.methods[v->s.baseline]) fprintf(v->out, "  %10s", "baseline");
        else print_comparison(v, &m->against_baseline);
        putc('\n', v->out);
    }
}

/* "what it is: a 0.0625, c 0.5", with a number of every comparison with the baseline that was tested. */
static void print_of_tests(const View *v, const char *what, const char *format,
                           double (*of)(const StudyComparison *c)) {
    char number_text[32], text[48];
    int column = 0;
    for (int i = 0; i < v->s.count; i++) {
        const StudyComparison *c = &v->s.methods[v->s.order[i]].against_baseline;
        if (isnan(of(c))) continue;
        if (!column) column = fprintf(v->out, "%s:", what);
        else putc(',', v->out), column++;
        int width =
            snprintf(text, sizeof text, " %c %s", chart_letter(i), number(number_text, format, of(c)));
        if (column + width >= v->style.columns) column = fprintf(v->out, "\n ") - 1;
        column += fprintf(v->out, "%s", text);
    }
    if (column) putc('\n', v->out);
}

static double detectable(const StudyComparison *c) {
    return c->detectable;
}

static double flipped(const StudyComparison *c) {
    return c->test.p_flip;
}

/* How the verdicts came about, and what they could have seen. */
static void print_method_of_test(const View *v) {
    int pairs = 0;
    for (int i = 0; i < v->s.count; i++) {
        const StatsPaired *d = &v->s.methods[i].against_baseline.test;
        if (!isnan(d->p) && d->n > pairs) pairs = d->n;
    }
    if (!pairs) return;
    fprintf(v->out,
            "difference to %s in nats a token; paired t-test by seed, two-sided; p after Holm over %d "
            "comparison%s;\nverdicts at %g; each interval alone\n",
            v->s.methods[v->s.baseline].method->name, v->s.baseline_tests,
            v->s.baseline_tests == 1 ? "" : "s", v->s.level);
    print_of_tests(v, "a true difference of so much would be found four times in five", "%.5f", detectable);
    char check[96];
    snprintf(check, sizeof check,
             "exact sign-flip test as a check, before Holm (%d pairs give no less than %.4g)", pairs,
             ldexp(1, 1 - pairs));
    if (pairs <= STATS_FLIP_MAX) print_of_tests(v, check, "%.4f", flipped);
}

static void note_method(const View *v, const StudyResult *m) {
    const char *name = m->method->name;
    const StudyResult *base = &v->s.methods[v->s.baseline];
    if (!m->method->settings) fprintf(v->out, "note: %s: no point of its grid is chosen yet\n", name);
    if (m->diverged)
        fprintf(v->out,
                "note: %s diverged on %d of %d seeds, which no mean or pair has: that flatters it\n", name,
                m->diverged, m->runs);
    if (m->failed) fprintf(v->out, "note: %s: %d of %d runs failed\n", name, m->failed, m->runs);
    if (m->open) fprintf(v->out, "note: %s: %d of %d runs have not ended\n", name, m->open, m->runs);
    int most = m->loss.n > base->loss.n ? m->loss.n : base->loss.n;
    if (m != base && m->loss.n && m->against_baseline.test.n < most)
        fprintf(v->out, "note: %s has %d seed%s, %s %d; the %d that both have are pairs\n", name, m->loss.n,
                m->loss.n == 1 ? "" : "s", base->method->name, base->loss.n, m->against_baseline.test.n);
}

/* ----------------------------------------------------------------------------------------------------- branches */

/* Columns of the longest point of a branch. */
static int branch_columns(const View *v) {
    char settings[512];
    int columns = 2;
    for (int i = 0; i < v->s.count; i++)
        for (int k = 0; k < v->s.methods[i].branch_count; k++) {
            int n = (int)strlen(
                study_settings_text(v->s.methods[i].branches[k].settings, settings, sizeof settings));
            if (n > columns) columns = n;
        }
    return columns;
}

static void print_branches(const View *v) {
    char settings[512];
    int columns = branch_columns(v);
    fprintf(v->out,
            "\nbranches against the very runs that they left, by seed; p after Holm over %d comparison%s\n"
            "    %-*s  %-*s    step  pairs  difference  95 %% interval         p (Holm)  verdict\n",
            v->s.branch_tests, v->s.branch_tests == 1 ? "" : "s", v->names, "method", columns, "at");
    for (int i = 0; i < v->s.count; i++) {
        const StudyResult *m = &v->s.methods[v->s.order[i]];
        for (int k = 0; k < m->branch_count; k++) {
            const StudyBranch *b = &m->branches[k];
            print_name(v, i);
            fprintf(v->out, "  %-*s  %6" PRId64 "  %5d", columns,
                    study_settings_text(b->settings, settings, sizeof settings), b->step,
                    b->against_trunk.test.n);
            print_comparison(v, &b->against_trunk);
            putc('\n', v->out);
        }
    }
}

/* ------------------------------------------------------------------------------------------------- every pair */

static char pair_sign(StatsVerdict verdict) {
    static const char signs[] = {[VERDICT_TOO_FEW] = '?',   [VERDICT_CONSTANT] = '?',
                                 [VERDICT_IDENTICAL] = '=', [VERDICT_NOT_DISTINGUISHABLE] = '~',
                                 [VERDICT_BETTER] = '+',    [VERDICT_WORSE] = '-'};
    return signs[verdict];
}

static void print_pairs(const View *v) {
    const StudySummary *s = &v->s;
    if (s->pair_tests == 0 || s->count < 3) return;
    fprintf(
        v->out,
        "\nevery pair, p after Holm over %d comparison%s: is the row better (+) or worse (-) than the column, not\n"
        "distinguishable (~), identical (=), or without a verdict (?)\n    %-*s ",
        s->pair_tests, s->pair_tests == 1 ? "" : "s", v->names, "");
    for (int i = 0; i < s->count; i++) fprintf(v->out, " %c", chart_letter(i));
    for (int i = 0; i < s->count; i++) {
        putc('\n', v->out);
        print_name(v, i);
        putc(' ', v->out);
        for (int j = 0; j < s->count; j++)
            fprintf(v->out, " %c",
                    i == j ? '.' : pair_sign(s->pairs[s->order[i] * s->count + s->order[j]].verdict));
    }
    putc('\n', v->out);
}

/* -------------------------------------------------------------------------------------------------------- costs */

static void print_costs(const View *v) {
    char spiked[32], speed[32], time[32];
    fprintf(v->out, "\n    %-*s  diverged  while tuning  spikes a run  tokens/s     time\n", v->names,
            "method");
    for (int i = 0; i < v->s.count; i++) {
        int at = v->s.order[i];
        const StudyResult *m = &v->s.methods[at];
        double per_s = mean_of(v, at, tokens_per_s).mean, seconds = mean_of(v, at, time_s).mean;
        print_name(v, i);
        fprintf(v->out, "  %3d of %-2d  %5d of %-4d  %12s  %8s  %7s\n", m->diverged, m->runs,
                m->tuned_diverged, m->tuned, number(spiked, "%.1f", mean_of(v, at, spikes).mean),
                per_s > 0 ? format_count(per_s, speed, sizeof speed) : "-",
                isfinite(seconds) ? format_duration(seconds, time, sizeof time) : "-");
    }
}

/* -------------------------------------------------------------------------------------------------------- tuning */

/* A block as high as the loss lies between the curve's lowest and highest. */
static const char *block(const StudyCurve *curve, double loss) {
    static const char *const blocks[] = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
    double low = INFINITY, high = -INFINITY;
    for (int i = 0; i < curve->count; i++)
        if (curve->points[i].n)
            low = fmin(low, curve->points[i].loss), high = fmax(high, curve->points[i].loss);
    return blocks[high > low ? (int)(7 * (loss - low) / (high - low)) : 0];
}

static int print_point(const View *v, const StudyCurve *curve, int i, bool draw) {
    char loss[32];
    const StudyPoint *p = &curve->points[i];
    const char *mark = i == curve->best ? "*" : "";
    if (draw) {
        fprintf(v->out, "  %s%s %s%s%s", p->text, mark,
                v->style.unicode && p->n ? block(curve, p->loss) : "",
                p->n ? number(loss, "%.4f", p->loss) : "diverged",
                p->n && p->diverged ? " (some diverged)" : "");
    }
    return 2 + (int)strlen(p->text) + (int)strlen(mark) + 1 + (p->n ? 7 : 8) +
           (p->n && p->diverged ? 16 : 0);
}

static void print_curve(const View *v, const StudyCurve *curve) {
    int indent = v->names + 4, column = indent + 2 + (int)strlen(curve->key);
    fprintf(v->out, "%*s  %s", indent, "", curve->key);
    for (int i = 0; i < curve->count; i++) {
        int width = print_point(v, curve, i, false);
        if (column + width > v->style.columns)
            fprintf(v->out, "\n%*s", indent + 2, ""), column = indent + 2;
        column += width;
        print_point(v, curve, i, true);
    }
    if (curve->on_edge)
        fprintf(v->out, "\n%*s  warning: the best lies on the edge: what comes %s it was not tried", indent,
                "", curve->best == 0 ? "below" : "above");
    putc('\n', v->out);
}

static void print_tuning(const View *v) {
    char settings[512];
    fputs(
        "\nchosen, and loss by what was tuned (mean over the tuning seeds, at the best of the rest; * the best)\n",
        v->out);
    for (int i = 0; i < v->s.count; i++) {
        const StudyResult *m = &v->s.methods[v->s.order[i]];
        print_name(v, i);
        study_settings_text(m->method->settings, settings, sizeof settings);
        fprintf(v->out, "  %s%s%s\n",
                !m->method->settings ? "not chosen yet"
                : *settings          ? settings
                                     : "nothing to tune",
                *m->method->trunk ? ", branches from " : "", m->method->trunk);
        for (int k = 0; k < m->curve_count; k++) print_curve(v, &m->curves[k]);
    }
}

/* ------------------------------------------------------------------------------------------------------- target */

typedef struct Reached {
    int count;
    double *steps, tokens, time_s; /* tokens and seconds: sums */
} Reached;

static void print_reached(const View *v, int method) {
    char steps[32], se[32], tokens[32], time[32];
    const MethodRuns *runs = &v->runs[method];
    Reached r = {.steps = malloc(((size_t)runs->count + 1) * sizeof *r.steps)};
    for (int i = 0; r.steps && i < runs->count; i++) {
        const StepRecord *at = run_reach(&runs->runs[i], v->what->target);
        if (!at) continue;
        r.steps[r.count++] = (double)at->step;
        r.tokens += (double)at->tokens;
        r.time_s += at->time_s;
    }
    StatsSample s = stats_sample(r.steps, r.count);
    fprintf(v->out, "  %3d of %d", r.count, runs->count);
    if (r.count)
        fprintf(v->out, "  %10s %s %-6s  %8s  %8s", number(steps, "%.0f", s.mean), plus_minus(v),
                number(se, "%.0f", s.se), format_count(r.tokens / r.count, tokens, sizeof tokens),
                isfinite(r.time_s) ? format_duration(r.time_s / r.count, time, sizeof time) : "-");
    putc('\n', v->out);
    free(r.steps);
}

static void print_target(const View *v) {
    fprintf(v->out,
            "\nfirst evaluation with a validation loss of at most %g: mean over the runs that have it\n"
            "    %-*s  reached     step %s s.e.         tokens      time\n",
            v->what->target, v->names, "method", plus_minus(v));
    for (int i = 0; i < v->s.count; i++) {
        print_name(v, i);
        print_reached(v, v->s.order[i]);
    }
}

/* -------------------------------------------------------------------------------------------------------- chart */

static double axis_of(const StepRecord *r, RunAxis by) {
    return by == BY_STEP ? (double)r->step : by == BY_TOKENS ? (double)r->tokens : r->time_s;
}

/* Adds a run to sums over the steps that all runs before it have too; keeps of them what it has. */
static size_t add_run(const Run *run, const StudyPrint *what, bool first, double *step, double *x,
                      double *y, size_t count, double *steps, double *losses) {
    size_t n = run_curve(run, BY_STEP, what->train, steps, losses), kept = 0, record = 0;
    for (size_t i = 0, k = 0; i < n; i++) {
        while (!first && k < count && step[k] < steps[i]) k++;
        if (!first && (k == count || step[k] != steps[i])) continue;
        while ((double)run->records[record].step < steps[i]) record++;
        double at = axis_of(&run->records[record], what->by);
        if (!isfinite(at)) continue;
        x[kept] = first ? at : x[k] + at;
        y[kept] = first ? losses[i] : y[k] + losses[i];
        step[kept++] = steps[i];
    }
    return kept;
}

/* The mean of a method's runs, over the steps that all of them have. */
static bool mean_curve(const MethodRuns *runs, const StudyPrint *what, ChartSeries *series, Error *err) {
    size_t room = 1, count = 0;
    for (int i = 0; i < runs->count; i++)
        if (runs->runs[i].record_count >= room) room = runs->runs[i].record_count + 1;
    double *memory = malloc(5 * room * sizeof *memory);
    if (!memory) return error_set(err, ERR_IO, "out of memory for the chart");
    double *x = memory, *y = x + room, *step = y + room;
    for (int i = 0; i < runs->count; i++)
        count = add_run(&runs->runs[i], what, i == 0, step, x, y, count, step + room, step + 2 * room);
    for (size_t i = 0; i < count; i++) x[i] /= runs->count, y[i] /= runs->count;
    *series = (ChartSeries){.x = x, .y = y, .count = count};
    return true;
}

static bool print_chart(const View *v, Error *err) {
    char title[96];
    int count = v->s.count;
    ChartSeries *series = calloc((size_t)count + 1, sizeof *series);
    if (!series) return error_set(err, ERR_IO, "out of memory for the chart");
    bool ok = true;
    for (int i = 0; ok && i < count; i++) {
        ok = mean_curve(&v->runs[v->s.order[i]], v->what, &series[i], err);
        series[i].label = v->s.methods[v->s.order[i]].method->name;
    }
    snprintf(title, sizeof title, "mean %s loss by %s", v->what->train ? "training" : "validation",
             RUN_AXIS_NAMES[v->what->by]);
    Chart chart = {title, series, count, CHART_ROWS, v->style};
    putc('\n', v->out);
    ok = ok && chart_print(v->out, &chart, err);
    for (int i = 0; i < count; i++) free((void *)series[i].x);
    free(series);
    return ok;
}

bool study_print(FILE *out, const StudyPrint *what, Error *err) {
    View v;
    bool ok = open_view(&v, out, what, err);
    if (ok) {
        print_head(&v);
        print_verdicts(&v);
        print_method_of_test(&v);
        for (int i = 0; i < v.s.count; i++) note_method(&v, &v.s.methods[v.s.order[i]]);
        if (v.s.branch_tests) print_branches(&v);
        print_pairs(&v);
        print_tuning(&v);
        print_costs(&v);
        if (isfinite(what->target)) print_target(&v);
        ok = print_chart(&v, err);
    }
    close_view(&v);
    return ok;
}
