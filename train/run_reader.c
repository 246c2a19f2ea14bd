/* run_reader.c: see run_reader.h. */
#include "train/run_reader.h"

#include "core/json.h"
#include "train/stats.h"
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { JSON_FILE_BYTES_MAX = 4 << 20, PATH_BYTES_MAX = 512 };

static bool out_of_memory(const char *dir, Error *err) {
    return error_set(err, ERR_IO, "%s: out of memory reading the run", dir);
}

/* ------------------------------------------------------------------------------------------------ files */

static FILE *open_in(const char *dir, const char *name, Error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "re");
    if (!f && (errno == ENOENT || errno == ENOTDIR))
        error_set(err, ERR_DATA, "%s: not a run directory: it has no %s", dir, name);
    else if (!f) error_errno(err, path, "open");
    return f;
}

static cJSON *read_json(const char *dir, const char *name, Error *err) {
    char path[4096];
    FILE *f = open_in(dir, name, err); /* or it says that this is no run directory */
    if (!f) return NULL;
    fclose(f);
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return json_read(path, JSON_FILE_BYTES_MAX, ERR_DATA, err);
}

/* ---------------------------------------------------------------------------------------------- records */

static bool parse_record(const char *text, size_t length, StepRecord *record) {
    Error none;
    cJSON *line = json_parse(text, length, "", ERR_DATA, &none);
    bool ok = step_record_parse(line, record);
    cJSON_Delete(line);
    return ok;
}

static bool append_record(Run *run, const StepRecord *record, Error *err) {
    size_t n = run->record_count;
    if ((n & (n - 1)) == 0) { /* full at every power of two */
        StepRecord *more = realloc(run->records, (n ? 2 * n : 1) * sizeof *more);
        if (!more) return out_of_memory(run->dir, err);
        run->records = more;
    }
    run->records[run->record_count++] = *record;
    return true;
}

static bool read_metrics(Run *run, Error *err) {
    FILE *f = open_in(run->dir, "metrics.jsonl", err);
    if (!f) return false;
    char *line = NULL;
    size_t room = 0, number = 0;
    ssize_t length;
    bool ok = true;
    while (ok && (length = getline(&line, &room, f)) > 0) {
        StepRecord record;
        number++;
        if (parse_record(line, (size_t)length, &record)) {
            ok = append_record(run, &record, err);
        } else if (getc(f) == EOF && !ferror(f)) {
            run->torn = true;
            break;
        } else {
            ok = error_set(err, ERR_DATA, "%s/metrics.jsonl: line %zu is not a JSON object", run->dir,
                           number);
        }
    }
    if (ok && ferror(f))
        ok = error_set(err, ERR_IO, "%s/metrics.jsonl: cannot read: %s", run->dir, strerror(errno));
    free(line);
    fclose(f);
    return ok;
}

static bool read_outcome(Run *run) {
    Error none;
    cJSON *summary = read_json(run->dir, "summary.json", &none); /* not there while the run lasts */
    const char *outcome = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(summary, "outcome"));
    snprintf(run->outcome, sizeof run->outcome, "%s", outcome ? outcome : "");
    cJSON_Delete(summary);
    return true;
}

static bool name_run(Run *run, const char *dir, Error *err) {
    size_t length = strlen(dir);
    while (length > 1 && dir[length - 1] == '/') length--;
    run->dir = strndup(dir, length);
    if (!run->dir) return out_of_memory(dir, err);
    const char *slash = strrchr(run->dir, '/');
    run->name = strdup(slash && slash[1] ? slash + 1 : run->dir);
    return run->name || out_of_memory(dir, err);
}

bool run_read(Run *run, const char *dir, Error *err) {
    *run = (Run){0};
    if (name_run(run, dir, err) && (run->config = read_json(run->dir, "config.json", err)) &&
        read_metrics(run, err))
        return read_outcome(run);
    run_free(run);
    return false;
}

void run_free(Run *run) {
    free(run->dir);
    free(run->name);
    free(run->records);
    cJSON_Delete(run->config);
    *run = (Run){0};
}

/* ---------------------------------------------------------------------------------------------- figures */

const char *const RUN_AXIS_NAMES[] = {[BY_STEP] = "step", [BY_TOKENS] = "tokens", [BY_TIME] = "time (s)"};

static double median_speed(const Run *run) {
    double *speeds = malloc((run->record_count + 1) * sizeof *speeds);
    int count = 0;
    for (size_t i = 0; speeds && i < run->record_count; i++)
        if (isfinite(run->records[i].tokens_per_s)) speeds[count++] = run->records[i].tokens_per_s;
    double median = stats_median(speeds, count);
    free(speeds);
    return median;
}

RunResult run_result(const Run *run) {
    RunResult result = {
        .final_val = NAN, .best_val = NAN, .time_s = NAN, .tokens_per_s = median_speed(run)};
    for (size_t i = 0; i < run->record_count; i++) {
        const StepRecord *r = &run->records[i];
        if (r->step > result.steps) result.steps = r->step;
        if (r->tokens > result.tokens) result.tokens = r->tokens;
        if (isfinite(r->time_s)) result.time_s = r->time_s;
        if (!isfinite(r->val_loss)) continue;
        result.final_val = r->val_loss;
        if (!(r->val_loss >= result.best_val)) result.best_val = r->val_loss, result.best_step = r->step;
    }
    if (isnan(result.tokens_per_s) && result.time_s > 0)
        result.tokens_per_s = (double)result.tokens / result.time_s;
    return result;
}

double run_last_figure(const Run *run, const char *key) {
    const StepFigure *f = STEP_FIGURES;
    while (f->key && strcmp(f->key, key) != 0) f++;
    for (size_t i = run->record_count; f->key && i-- > 0;) {
        double value = *step_figure(&run->records[i], f);
        if (!isnan(value)) return value;
    }
    return NAN;
}

const StepRecord *run_reach(const Run *run, double target) {
    for (size_t i = 0; i < run->record_count; i++)
        if (run->records[i].val_loss <= target) return &run->records[i];
    return NULL;
}

/* y[i] <- mean of y[i - reach .. i + reach], the window staying symmetric near the ends so that they do
 * not bend. */
static void smooth(double *y, size_t count, size_t reach) {
    double *sums = malloc((count + 1) * sizeof *sums);
    if (!sums) return;
    sums[0] = 0;
    for (size_t i = 0; i < count; i++) sums[i + 1] = sums[i] + y[i];
    for (size_t i = 0; i < count; i++) {
        size_t side = i < reach ? i : reach;
        if (count - 1 - i < side) side = count - 1 - i;
        y[i] = (sums[i + side + 1] - sums[i - side]) / (double)(2 * side + 1);
    }
    free(sums);
}

size_t run_curve(const Run *run, RunAxis by, bool train, double *x, double *y) {
    size_t count = 0;
    for (size_t i = 0; i < run->record_count; i++) {
        const StepRecord *r = &run->records[i];
        double at = by == BY_STEP ? (double)r->step : by == BY_TOKENS ? (double)r->tokens : r->time_s;
        double loss = train ? r->train_loss : r->val_loss;
        if (!isfinite(at) || !isfinite(loss)) continue;
        x[count] = at;
        y[count++] = loss;
    }
    if (train) smooth(y, count, count / 50);
    return count;
}

/* ---------------------------------------------------------------------------------------------- configs */

static char *text_of(const cJSON *item) {
    return cJSON_IsString(item) ? strdup(item->valuestring) : cJSON_PrintUnformatted(item);
}

static const cJSON *find_path(const cJSON *json, const char *path) {
    char key[PATH_BYTES_MAX];
    while (json && *path) {
        size_t length = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)length, path);
        json = cJSON_GetObjectItemCaseSensitive(json, key);
        path += length + (path[length] == '.');
    }
    return json;
}

const char *run_setting(const Run *run, const char *path, char *out, size_t size) {
    const cJSON *item = find_path(run->config, path);
    char *text = item ? text_of(item) : NULL;
    if (text) snprintf(out, size, "%s", text);
    free(text);
    return text ? out : NULL;
}

typedef struct Collector {
    const Run *runs;
    int run_count, count;
    RunDifference *found;
    bool failed;
} Collector;

static bool seen_before(const Collector *c, const char *path, int run) {
    for (int r = 0; r < run; r++)
        if (find_path(c->runs[r].config, path)) return true;
    return false;
}

static bool values_differ(char *const *values, int count) {
    for (int i = 1; i < count; i++)
        if (!values[0] != !values[i] || (values[0] && strcmp(values[0], values[i]) != 0)) return true;
    return false;
}

static void free_values(char **values, int count) {
    for (int i = 0; values && i < count; i++) free(values[i]);
    free(values);
}

static void compare_leaf(Collector *c, const char *path) {
    char **values = calloc((size_t)c->run_count, sizeof *values);
    for (int r = 0; values && r < c->run_count; r++) {
        const cJSON *item = find_path(c->runs[r].config, path);
        if (item && !cJSON_IsObject(item) && !(values[r] = text_of(item))) c->failed = true;
    }
    if (values && !c->failed && !values_differ(values, c->run_count)) {
        free_values(values, c->run_count);
        return;
    }
    char *copy = strdup(path);
    RunDifference *more = realloc(c->found, ((size_t)c->count + 1) * sizeof *more);
    if (more) c->found = more;
    if (!values || !copy || !more || c->failed) {
        c->failed = true;
        free_values(values, c->run_count);
        free(copy);
        return;
    }
    c->found[c->count++] = (RunDifference){copy, values};
}

/* Visits the leaves of run's config (NULL: it has none) that no earlier run has. */
static void collect(Collector *c, const cJSON *object, const char *prefix, int run) {
    for (const cJSON *item = object ? object->child : NULL; item && !c->failed; item = item->next) {
        char path[PATH_BYTES_MAX];
        if (!item->string) continue;
        if (snprintf(path, sizeof path, "%s%s%s", prefix, *prefix ? "." : "", item->string) >=
            (int)sizeof path)
            continue;
        if (cJSON_IsObject(item)) collect(c, item, path, run);
        else if (strcmp(path, "run.dir") != 0 && !seen_before(c, path, run)) compare_leaf(c, path);
    }
}

RunDifference *run_differences(const Run *runs, int run_count, int *count, Error *err) {
    Collector c = {.runs = runs, .run_count = run_count, .found = calloc(1, sizeof(RunDifference))};
    c.failed = !c.found;
    for (int r = 0; r < run_count && !c.failed; r++) collect(&c, runs[r].config, "", r);
    *count = c.count;
    if (!c.failed) return c.found;
    run_differences_free(c.found, c.count, run_count);
    error_set(err, ERR_IO, "out of memory comparing configs");
    return NULL;
}

void run_differences_free(RunDifference *differences, int count, int run_count) {
    for (int i = 0; differences && i < count; i++) {
        free(differences[i].path);
        free_values(differences[i].values, run_count);
    }
    free(differences);
}
