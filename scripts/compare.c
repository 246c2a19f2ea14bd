/* compare.c: which optimizer won. Reads run directories, prints a table, a chart of the losses, and what
 * differs between the configs.
 *
 *     ./compare runs/adamw runs/muon runs/softmuon
 *     ./compare --target 3.5 --x time runs/?*
 *     ./compare --html report.html runs/?*
 *     ./compare studies/small                          a study: means over seeds and verdicts
 *     ./compare --csv studies/small > small.csv
 */
#include "train/chart.h"
#include "train/progress.h"
#include "train/report.h"
#include "train/run_csv.h"
#include "train/run_group.h"
#include "train/study_print.h"
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CHART_ROWS = 18, RUNS_MAX = 200 };

typedef struct Options {
    double target; /* NAN: none */
    RunAxis by;
    bool train, csv;
    const char *baseline; /* of a study; NULL: its own */
    const char *html;     /* the report's path; NULL: none */
    char **dirs;
    int count;
} Options;

/* A run and its place: runs are sorted, the best first. */
typedef struct Entry {
    Run run;
    RunResult result;
    char optimizer[64];
} Entry;

/* ----------------------------------------------------------------------------------------- command line */

static void print_usage(FILE *out) {
    fputs(
        "usage: compare [--target LOSS] [--train] [--x step|tokens|time] [--html FILE] RUN...\n"
        "       compare [--target LOSS] [--train] [--x step|tokens|time] [--html FILE] [--baseline METHOD] STUDY\n"
        "       compare --csv RUN|STUDY...\n"
        "Compares runs: a table sorted by final validation loss, a chart, and how the configs differ. Of a study:\n"
        "means over seeds, differences to the baseline with intervals and verdicts, and what was tuned.\n"
        "  RUN              a run directory, such as runs/adamw\n"
        "  STUDY            a study's directory, such as studies/small\n"
        "  --target LOSS    also how many steps, tokens and seconds each run took to reach this "
        "validation loss\n"
        "  --train          draw the training loss (smoothed) instead of the validation loss\n"
        "  --x AXIS         draw over steps (default), tokens, or time in seconds\n"
        "  --html FILE      also write a report for a browser: one file that needs no network\n"
        "  --baseline NAME  compare with this method instead of the study's baseline\n"
        "  --csv            every figure of every logged step as comma-separated values, and nothing else\n"
        "The chart uses color in a terminal (NO_COLOR=1 turns it off) and is as wide as the terminal. "
        "docs/comparing.md\nsays what the verdicts mean.\n",
        out);
}

static bool parse_target(const char *text, double *target, Error *err) {
    char *end;
    *target = text ? strtod(text, &end) : NAN;
    if (!text || end == text || *end || !isfinite(*target))
        return error_set(err, ERR_CONFIG, "--target needs a loss, such as 3.5, not '%s'", text ? text : "");
    return true;
}

static bool parse_axis(const char *text, RunAxis *by, Error *err) {
    if (text && !strcmp(text, "step")) *by = BY_STEP;
    else if (text && !strcmp(text, "tokens")) *by = BY_TOKENS;
    else if (text && !strcmp(text, "time")) *by = BY_TIME;
    else return error_set(err, ERR_CONFIG, "--x needs step, tokens or time, not '%s'", text ? text : "");
    return true;
}

static bool parse_html(const char *text, const char **path, Error *err) {
    *path = text;
    return (text && *text) ||
           error_set(err, ERR_CONFIG, "--html needs a file to write, such as report.html");
}

static bool parse_baseline(const char *text, const char **baseline, Error *err) {
    *baseline = text;
    return text != NULL || error_set(err, ERR_CONFIG, "--baseline needs the name of a method");
}

/* Do the words go together? */
static bool check_options(const Options *o, Error *err) {
    int studies = 0;
    for (int i = 0; i < o->count; i++) studies += study_index_exists(o->dirs[i]);
    if (o->count == 0)
        return error_set(err, ERR_CONFIG, "no run to compare. Type ./compare RUN..., or --help");
    if (o->csv && (o->html || o->train || o->by != BY_STEP || o->baseline || isfinite(o->target)))
        return error_set(err, ERR_CONFIG, "--csv prints every figure, and takes no other option");
    if (!o->csv && studies && o->count > 1)
        return error_set(err, ERR_CONFIG, "one study at a time, and no runs beside it");
    if (!studies && o->baseline) return error_set(err, ERR_CONFIG, "--baseline goes with a study");
    if (!o->csv && o->count > RUNS_MAX)
        return error_set(err, ERR_CONFIG, "%d runs, more than %d", o->count, RUNS_MAX);
    return true;
}

/* Moves the runs to the front of argv. */
static bool parse_options(Options *o, int argc, char **argv, Error *err) {
    *o = (Options){.target = NAN, .dirs = argv};
    for (int i = 1; i < argc; i++) {
        const char *word = argv[i];
        bool ok = true;
        if (!strcmp(word, "--target")) ok = parse_target(argv[++i], &o->target, err);
        else if (!strcmp(word, "--x")) ok = parse_axis(argv[++i], &o->by, err);
        else if (!strcmp(word, "--train")) o->train = true;
        else if (!strcmp(word, "--html")) ok = parse_html(argv[++i], &o->html, err);
        else if (!strcmp(word, "--csv")) o->csv = true;
        else if (!strcmp(word, "--baseline")) ok = parse_baseline(argv[++i], &o->baseline, err);
        else if (word[0] == '-')
            ok = error_set(err, ERR_CONFIG, "unknown option %s. Type ./compare --help", word);
        else o->dirs[o->count++] = argv[i];
        if (!ok) return false;
    }
    return check_options(o, err);
}

/* ------------------------------------------------------------------------------------------------ order */

static bool diverged(const Entry *e) {
    return !strcmp(e->run.outcome, "diverged");
}

/* By final validation loss; runs that diverged, and then those without any, come last. */
static int by_final_loss(const void *a, const void *b) {
    const Entry *x = a, *y = b;
    double u = x->result.final_val, v = y->result.final_val;
    if (isnan(u) || isnan(v)) return isnan(u) - isnan(v);
    if (diverged(x) != diverged(y)) return diverged(x) - diverged(y);
    return (u > v) - (u < v);
}

/* Runs of the same name are called by their whole path. */
static bool name_apart(Entry *entries, int count, Error *err) {
    bool twice[RUNS_MAX] = {false};
    for (int i = 0; i < count; i++)
        for (int j = 0; j < count; j++)
            twice[i] |= i != j && !strcmp(entries[i].run.name, entries[j].run.name);
    for (int i = 0; i < count; i++) {
        if (!twice[i]) continue;
        char *whole = strdup(entries[i].run.dir);
        if (!whole) return error_set(err, ERR_IO, "out of memory");
        free(entries[i].run.name);
        entries[i].run.name = whole;
    }
    return true;
}

static bool load_runs(Entry *entries, const Options *o, Error *err) {
    for (int i = 0; i < o->count; i++) {
        Entry *e = &entries[i];
        if (!run_read(&e->run, o->dirs[i], err)) return false;
        e->result = run_result(&e->run);
        if (!run_setting(&e->run, "optimizer.name", e->optimizer, sizeof e->optimizer))
            strcpy(e->optimizer, "-");
    }
    if (!name_apart(entries, o->count, err)) return false;
    qsort(entries, (size_t)o->count, sizeof *entries, by_final_loss);
    return true;
}

/* ------------------------------------------------------------------------------------------------ table */

static int width_of(const char *text, int at_least) {
    int length = (int)strlen(text);
    return length > at_least ? length : at_least;
}

static const char *number(char *out, size_t size, const char *format, double value) {
    snprintf(out, size, isfinite(value) ? format : "-", value);
    return out;
}

static const char *duration(char *out, size_t size, double seconds) {
    return isfinite(seconds) ? format_duration(seconds, out, size) : "-";
}

static const char *count_text(char *out, size_t size, double count) {
    return isfinite(count) && count > 0 ? format_count(count, out, size) : "-";
}

static bool has_spikes(const Entry *entries, int count) {
    for (int i = 0; i < count; i++)
        if (isfinite(run_last_figure(&entries[i].run, "spikes"))) return true;
    return false;
}

/* Columns that depend on the runs. */
typedef struct Table {
    int names, optimizers;
    bool spikes;
} Table;

static void print_table_row(const Entry *e, int index, bool winner, const Table *table,
                            const ChartStyle *style) {
    char text[32], step[32];
    const RunResult *r = &e->result;
    if (isnan(r->best_val)) *step = '\0';
    else snprintf(step, sizeof step, "@%" PRId64, r->best_step);
    printf("%s %s%c %-*s%s  %-*s", winner ? "*" : " ", chart_color(style, index), chart_letter(index),
           table->names, e->run.name, chart_color_end(style), table->optimizers, e->optimizer);
    printf("  %9s", number(text, sizeof text, "%.4f", r->final_val));
    printf("  %8s %-6s", number(text, sizeof text, "%.4f", r->best_val), step);
    printf(" %10s", number(text, sizeof text, "%.2f", exp(r->final_val)));
    printf("  %8s", count_text(text, sizeof text, r->tokens_per_s));
    printf("  %7s", duration(text, sizeof text, r->time_s));
    if (table->spikes)
        printf("  %6s", number(text, sizeof text, "%.0f", run_last_figure(&e->run, "spikes")));
    putchar('\n');
}

static void print_table(const Entry *entries, int count, const ChartStyle *style) {
    char tokens[32];
    Table table = {3, 9, has_spikes(entries, count)};
    for (int i = 0; i < count; i++) {
        table.names = width_of(entries[i].run.name, table.names);
        table.optimizers = width_of(entries[i].optimizer, table.optimizers);
    }
    printf("    %-*s  %-*s  %9s  %8s %-6s %10s  %8s  %7s%s\n", table.names, "run", table.optimizers,
           "optimizer", "final val", "best val", "@step", "perplexity", "tokens/s", "time",
           table.spikes ? "  spikes" : "");
    bool won = count > 1 && isfinite(entries[0].result.final_val) && !diverged(&entries[0]);
    for (int i = 0; i < count; i++) print_table_row(&entries[i], i, won && i == 0, &table, style);
    if (won)
        printf("* lowest final validation loss, in nats a token, after %s tokens of training\n",
               count_text(tokens, sizeof tokens, (double)entries[0].result.tokens));
}

static bool setting_differs(const Entry *entries, int count, const char *path) {
    char first[512] = "", other[512] = "";
    for (int i = 0; i < count; i++) {
        const char *value = run_setting(&entries[i].run, path, i ? other : first, sizeof other);
        if (!value) (i ? other : first)[0] = '\0';
        if (i && strcmp(first, other) != 0) return true;
    }
    return false;
}

/* What makes the table misleading. */
static void print_notes(const Entry *entries, int count) {
    static const char *const same[] = {"data.dir", "eval.tokens", "model.block_size"};
    char text[32];
    bool tokens_differ = false;
    int64_t tokens = 0; /* of a run that finished */
    for (int i = 0; i < count; i++) {
        const Run *run = &entries[i].run;
        bool finished = strcmp(run->outcome, "finished") == 0;
        if (finished && tokens > 0) tokens_differ |= entries[i].result.tokens != tokens;
        if (finished) tokens = entries[i].result.tokens;
        if (run->torn) printf("note: %s: the last line of metrics.jsonl is torn; left out\n", run->name);
        if (!*run->outcome) printf("note: %s: has not ended (still running, or killed)\n", run->name);
        else if (strcmp(run->outcome, "finished") != 0) printf("note: %s: %s\n", run->name, run->outcome);
    }
    for (size_t k = 0; k < sizeof same / sizeof *same; k++)
        if (setting_differs(entries, count, same[k]))
            printf("note: %s differs, so these validation losses are not of the same text\n", same[k]);
    if (tokens_differ) {
        printf("note: the runs trained on different numbers of tokens:");
        for (int i = 0; i < count; i++)
            printf(" %c %s", chart_letter(i),
                   count_text(text, sizeof text, (double)entries[i].result.tokens));
        putchar('\n');
    }
}

/* ----------------------------------------------------------------------------------------------- target */

static void print_reached(const Entry *e, int index, const StepRecord *at, int names,
                          const ChartStyle *style) {
    char tokens[32], time[32];
    printf("  %s%c %-*s%s", chart_color(style, index), chart_letter(index), names, e->run.name,
           chart_color_end(style));
    if (at)
        printf("  %8" PRId64 "  %8s  %8s\n", at->step,
               count_text(tokens, sizeof tokens, (double)at->tokens),
               duration(time, sizeof time, at->time_s));
    else printf("  not reached; best %s\n", number(tokens, sizeof tokens, "%.4f", e->result.best_val));
}

static void print_target(const Entry *entries, int count, double target, const ChartStyle *style) {
    int names = 3;
    for (int i = 0; i < count; i++) names = width_of(entries[i].run.name, names);
    printf("\nfirst evaluation with a validation loss of at most %g\n    %-*s  %8s  %8s  %8s\n", target,
           names, "run", "step", "tokens", "time");
    for (int i = 0; i < count; i++)
        print_reached(&entries[i], i, run_reach(&entries[i].run, target), names, style);
}

/* ------------------------------------------------------------------------------------------------ chart */

static bool make_series(const Entry *e, const Options *o, ChartSeries *series, Error *err) {
    double *x = malloc((e->run.record_count + 1) * sizeof *x),
           *y = malloc((e->run.record_count + 1) * sizeof *y);
    *series = (ChartSeries){e->run.name, x, y, 0};
    if (!x || !y) return error_set(err, ERR_IO, "out of memory");
    series->count = run_curve(&e->run, o->by, o->train, x, y);
    return true;
}

static bool print_chart(const Entry *entries, const Options *o, const ChartStyle *style, Error *err) {
    char title[64];
    ChartSeries series[RUNS_MAX] = {{0}};
    bool ok = true;
    for (int i = 0; ok && i < o->count; i++) ok = make_series(&entries[i], o, &series[i], err);
    snprintf(title, sizeof title, "%s loss by %s", o->train ? "training" : "validation",
             RUN_AXIS_NAMES[o->by]);
    Chart chart = {title, series, o->count, CHART_ROWS, *style};
    putchar('\n');
    ok = ok && chart_print(stdout, &chart, err);
    for (int i = 0; i < o->count; i++) {
        free((void *)series[i].x);
        free((void *)series[i].y);
    }
    return ok;
}

/* ------------------------------------------------------------------------------------------ differences */

static void print_letter(int run, const ChartStyle *style) {
    printf("%s%c%s ", chart_color(style, run), chart_letter(run), chart_color_end(style));
}

/* "a 0.001   b c 0.02": each value once, after the letters of the runs that have it. */
static void print_values(char *const *values, int count, const ChartStyle *style) {
    bool done[RUNS_MAX] = {false};
    for (int i = 0; i < count; i++) {
        if (done[i] || !values[i]) continue;
        printf("  ");
        for (int j = i; j < count; j++)
            if (values[j] && !strcmp(values[i], values[j])) {
                done[j] = true;
                print_letter(j, style);
            }
        printf("%s", values[i]);
    }
    putchar('\n');
}

/* A setting that some runs do not have at all, and the others agree on: returns its value. */
static const char *owned_value(char *const *values, int count) {
    const char *value = NULL;
    bool lacking = false;
    for (int i = 0; i < count; i++) {
        if (value && values[i] && strcmp(value, values[i]) != 0) return NULL;
        if (values[i]) value = values[i];
        else lacking = true;
    }
    return lacking ? value : NULL;
}

static bool same_owners(char *const *a, char *const *b, int count) {
    for (int i = 0; i < count; i++)
        if (!a[i] != !b[i]) return false;
    return true;
}

/* "only a b  optimizer.momentum=0.95 ...": what only these runs have, as one would type it, in lines
 * that fit. */
static void print_owned(const RunDifference *d, int found, int first, int count, const ChartStyle *style) {
    int column = 7;
    printf("  only ");
    for (int i = 0; i < count; i++)
        if (d[first].values[i]) print_letter(i, style), column += 2;
    for (int k = first; k < found; k++) {
        const char *value = owned_value(d[k].values, count);
        if (!value || !same_owners(d[first].values, d[k].values, count)) continue;
        int width = (int)(strlen(d[k].path) + strlen(value)) + 2;
        if (column + width > style->columns) printf("\n       "), column = 7;
        printf(" %s=%s", d[k].path, value);
        column += width;
    }
    putchar('\n');
}

static bool owners_seen(const RunDifference *d, int at, int count) {
    for (int k = 0; k < at; k++)
        if (owned_value(d[k].values, count) && same_owners(d[k].values, d[at].values, count)) return true;
    return false;
}

static void print_found(const RunDifference *d, int found, int count, const ChartStyle *style) {
    int width = 0;
    for (int i = 0; i < found; i++)
        if (!owned_value(d[i].values, count)) width = width_of(d[i].path, width);
    printf(found ? "\nthe configs differ in\n" : "\nthe configs are the same\n");
    for (int i = 0; i < found; i++) {
        if (owned_value(d[i].values, count)) continue;
        printf("  %-*s", width, d[i].path);
        print_values(d[i].values, count, style);
    }
    for (int i = 0; i < found; i++)
        if (owned_value(d[i].values, count) && !owners_seen(d, i, count))
            print_owned(d, found, i, count, style);
}

static bool print_differences(const Entry *entries, int count, const ChartStyle *style, Error *err) {
    Run runs[RUNS_MAX];
    for (int i = 0; i < count; i++) runs[i] = entries[i].run; /* borrowed */
    int found = 0;
    RunDifference *differences = run_differences(runs, count, &found, err);
    if (!differences) return false;
    print_found(differences, found, count, style);
    run_differences_free(differences, found, count);
    return true;
}

/* ---------------------------------------------------------------------------------------------- report */

static bool write_report(const Entry *entries, const Options *o, Error *err) {
    static Run runs[RUNS_MAX]; /* borrowed */
    StudyIndex index;
    StudySummary summary = {0};
    for (int i = 0; i < o->count; i++) runs[i] = entries[i].run;
    if (!run_group(&index, runs, o->count, err)) return false;
    ReportSource source = {&index, &summary, runs};
    bool ok =
        study_summary_make(&summary, &index, NULL, STUDY_LEVEL, err) && report_write(o->html, &source, err);
    study_summary_free(&summary);
    study_index_free(&index);
    if (ok) printf("\nreport: %s\n", o->html);
    return ok;
}

static bool compare(Entry *entries, const Options *o, Error *err) {
    ChartStyle style = chart_style(stdout);
    if (!load_runs(entries, o, err)) return false;
    print_table(entries, o->count, &style);
    print_notes(entries, o->count);
    if (isfinite(o->target)) print_target(entries, o->count, o->target, &style);
    if (!print_chart(entries, o, &style, err)) return false;
    if (o->count > 1 && !print_differences(entries, o->count, &style, err)) return false;
    if (o->html && !write_report(entries, o, err)) return false;
    return error_check_stdout(err);
}

static bool write_study_report(const Options *o, Error *err) {
    if (!report_write_study(o->html, o->dirs[0], o->baseline, STUDY_LEVEL, err)) return false;
    printf("\nreport: %s\n", o->html);
    return true;
}

static bool compare_study(const Options *o, Error *err) {
    StudyPrint what = {o->dirs[0], o->baseline, o->target, o->by, o->train};
    return study_print(stdout, &what, err) && (!o->html || write_study_report(o, err)) &&
           error_check_stdout(err);
}

static bool print_csv(const Options *o, Error *err) {
    return run_csv_print(stdout, o->dirs, o->count, err) && error_check_stdout(err);
}

int main(int argc, char **argv) {
    Options options;
    Error err = {0};
    setlocale(LC_CTYPE, "");
    for (int i = 1; i < argc; i++)
        if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) {
            print_usage(stdout);
            return error_check_stdout(&err) ? 0 : error_print(&err);
        }
    if (!parse_options(&options, argc, argv, &err)) return error_print(&err);
    static Entry entries[RUNS_MAX];
    bool ok = options.csv                           ? print_csv(&options, &err)
              : study_index_exists(options.dirs[0]) ? compare_study(&options, &err)
                                                    : compare(entries, &options, &err);
    for (int i = 0; i < options.count && i < RUNS_MAX; i++) run_free(&entries[i].run);
    return ok ? 0 : error_print(&err);
}
