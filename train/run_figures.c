/* run_figures.c: see run_figures.h. */
#include "train/run_figures.h"

#include "core/json.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FIGURES_MAX = 64 };

/* Seconds of a line: they are added up, not drawn. */
static bool is_time(const StepFigure *f) {
    return f->summed && strlen(f->key) > 2 && strcmp(f->key + strlen(f->key) - 2, "_s") == 0;
}

static bool is_drawn(const StepFigure *f) {
    return !is_time(f) && strcmp(f->key, "time_s") != 0 && strcmp(f->key, "flops") != 0;
}

/* A new last curve; NULL with ERR_IO. */
static Curve *add_curve(RunFigures *figures, const char *key, size_t room, Error *err) {
    Curve *curve = &figures->curves[figures->count];
    if (!curve_create(curve, key, room, false, err)) return NULL;
    figures->count++;
    return curve;
}

static void add_point(Curve *curve, double step, double y) {
    if (!isfinite(y)) return;
    curve->step[curve->count] = step;
    curve->y[curve->count++] = y;
}

static bool add_metrics(RunFigures *figures, const Run *run, Error *err) {
    for (const StepFigure *f = STEP_FIGURES; f->key; f++) {
        if (!is_drawn(f)) continue;
        Curve *curve = add_curve(figures, f->key, run->record_count, err);
        if (!curve) return false;
        for (size_t i = 0; i < run->record_count; i++)
            add_point(curve, (double)run->records[i].step, *step_figure(&run->records[i], f));
        if (curve->count == 0) curve_free(&figures->curves[--figures->count]);
    }
    return true;
}

static Curve *find(const RunFigures *figures, const char *key) {
    for (int i = 0; i < figures->count; i++)
        if (strcmp(figures->curves[i].key, key) == 0) return &figures->curves[i];
    return NULL;
}

/* ------------------------------------------------------------------------------------------- diagnostics.jsonl */

/* line `index` of `count` */
typedef bool (*VisitLine)(void *context, size_t index, size_t count, const cJSON *line, Error *err);

static bool parse_line(const char *text, size_t length, cJSON **line) {
    Error none;
    *line = json_parse(text, length, "", ERR_DATA, &none);
    return cJSON_IsObject(*line);
}

static bool visit_lines(FILE *f, const Run *run, size_t count, VisitLine visit, void *context, Error *err) {
    char *text = NULL;
    size_t room = 0;
    ssize_t length;
    bool ok = true;
    for (size_t i = 0; ok && (length = getline(&text, &room, f)) > 0; i++) {
        cJSON *line;
        if (parse_line(text, (size_t)length, &line)) ok = visit(context, i, count, line, err);
        else if (i + 1 < count) /* the last one may be torn */
            ok = error_set(err, ERR_DATA, "%s/diagnostics.jsonl: line %zu is not a JSON object", run->dir,
                           i + 1);
        cJSON_Delete(line);
    }
    free(text);
    return ok;
}

static size_t count_lines(FILE *f) {
    size_t lines = 0;
    int c, last = '\n';
    while ((c = getc_unlocked(f)) != EOF) {
        lines += c == '\n';
        last = c;
    }
    rewind(f);
    return lines + (last != '\n');
}

/* Every line, if there is such a file. */
static bool each_diagnosis(const Run *run, VisitLine visit, void *context, Error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/diagnostics.jsonl", run->dir);
    FILE *f = fopen(path, "re");
    if (!f && errno == ENOENT) return true;
    if (!f) return error_errno(err, path, "open");
    bool ok = visit_lines(f, run, count_lines(f), visit, context, err);
    if (ok && ferror(f)) ok = error_errno(err, path, "read");
    fclose(f);
    return ok;
}

/* Numbers that say how something was measured. */
static bool is_figure(const cJSON *item) {
    static const char *const others[] = {"step", "tokens", "cost_s", "noise_batches"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (strcmp(item->string, others[i]) == 0) return false;
    return cJSON_IsNumber(item);
}

/* The numbers of an object at a step; curves before `first` stay as they are. */
static bool add_numbers(RunFigures *figures, int first, const cJSON *object, double step, size_t room,
                        Error *err) {
    const cJSON *item;
    cJSON_ArrayForEach(item, object) {
        if (!is_figure(item)) continue;
        Curve *curve = find(figures, item->string);
        if (curve ? curve - figures->curves < first : figures->count == FIGURES_MAX) continue;
        if (!curve && !(curve = add_curve(figures, item->string, room, err))) return false;
        if (curve->count < room) add_point(curve, step, item->valuedouble);
    }
    return true;
}

static double step_of(const cJSON *line) {
    double step = cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(line, "step"));
    return isfinite(step) ? step : 0;
}

typedef struct Whole {
    RunFigures *figures;
    int first; /* what metrics.jsonl has is finer, and stays */
} Whole;

static bool visit_whole(void *context, size_t index, size_t count, const cJSON *line, Error *err) {
    Whole *whole = context;
    (void)index;
    return add_numbers(whole->figures, whole->first, line, step_of(line), count, err);
}

const Curve *run_figures_find(const RunFigures *figures, const char *key) {
    return find(figures, key);
}

bool run_figures_read(RunFigures *figures, const Run *run, Error *err) {
    *figures = (RunFigures){.curves = calloc(FIGURES_MAX, sizeof *figures->curves)};
    if (!figures->curves) return error_set(err, ERR_IO, "%s: out of memory for its curves", run->dir);
    Whole whole = {figures, 0};
    bool ok = add_metrics(figures, run, err);
    whole.first = figures->count;
    if (ok && each_diagnosis(run, visit_whole, &whole, err)) return true;
    run_figures_free(figures);
    return false;
}

void run_figures_free(RunFigures *figures) {
    for (int i = 0; i < figures->count; i++) curve_free(&figures->curves[i]);
    free(figures->curves);
    *figures = (RunFigures){0};
}

/* ---------------------------------------------------------------------------------------------------- tensors */

static const char *text_of(const cJSON *object, const char *key) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    return text ? text : "";
}

/* The tensor of this name, a new one if need be; NULL: no memory. */
static TensorFigures *tensor_named(RunTensors *all, const char *name) {
    char cut[sizeof all->tensors->name];
    snprintf(cut, sizeof cut, "%s", name);
    for (int i = 0; i < all->count; i++)
        if (strcmp(all->tensors[i].name, cut) == 0) return &all->tensors[i];
    TensorFigures *more = realloc(all->tensors, ((size_t)all->count + 1) * sizeof *more);
    if (!more) return NULL;
    all->tensors = more;
    TensorFigures *tensor = &more[all->count];
    *tensor = (TensorFigures){.figures = {.curves = calloc(FIGURES_MAX, sizeof(Curve))}};
    memcpy(tensor->name, cut, sizeof cut);
    if (!tensor->figures.curves) return NULL;
    all->count++;
    return tensor;
}

/* Is line `index` among SPECTRA_MAX evenly chosen ones? */
static bool is_chosen(size_t index, size_t count) {
    if (count <= SPECTRA_MAX || index == 0) return true;
    return index * (SPECTRA_MAX - 1) / (count - 1) != (index - 1) * (SPECTRA_MAX - 1) / (count - 1);
}

static int read_sigma(const cJSON *values, double *sigma) {
    const cJSON *item;
    int n = 0;
    cJSON_ArrayForEach(item, values) if (n < QUANTILES_MAX && cJSON_IsNumber(item)) sigma[n++] =
        item->valuedouble;
    return n;
}

static void add_spectrum(TensorFigures *tensor, const cJSON *object, double step) {
    static const char *const sides[SPECTRUM_SIDES] = {"sigma", "sigma_update"};
    if (tensor->spectrum_count == SPECTRA_MAX) return;
    TensorSpectrum *spectrum = &tensor->spectra[tensor->spectrum_count];
    *spectrum = (TensorSpectrum){.step = step};
    for (int k = 0; k < SPECTRUM_SIDES; k++)
        spectrum->count[k] =
            read_sigma(cJSON_GetObjectItemCaseSensitive(object, sides[k]), spectrum->sigma[k]);
    tensor->spectrum_count += spectrum->count[0] > 0 || spectrum->count[1] > 0;
}

static bool visit_tensors(void *context, size_t index, size_t count, const cJSON *line, Error *err) {
    RunTensors *all = context;
    const cJSON *object;
    cJSON_ArrayForEach(object, cJSON_GetObjectItemCaseSensitive(line, "tensors")) {
        if (strcmp(text_of(object, "role"), "vector") == 0) continue;
        TensorFigures *tensor = tensor_named(all, text_of(object, "name"));
        if (!tensor) return error_set(err, ERR_IO, "out of memory for diagnosed tensors");
        if (!add_numbers(&tensor->figures, 0, object, step_of(line), count, err)) return false;
        if (is_chosen(index, count)) add_spectrum(tensor, object, step_of(line));
    }
    return true;
}

bool run_tensors_read(RunTensors *tensors, const Run *run, Error *err) {
    *tensors = (RunTensors){0};
    if (each_diagnosis(run, visit_tensors, tensors, err)) return true;
    run_tensors_free(tensors);
    return false;
}

void run_tensors_free(RunTensors *tensors) {
    for (int i = 0; i < tensors->count; i++) run_figures_free(&tensors->tensors[i].figures);
    free(tensors->tensors);
    *tensors = (RunTensors){0};
}

/* ------------------------------------------------------------------------------------------------------ times */

RunTimes run_times(const Run *run) {
    RunTimes times = {.all_s = NAN};
    double before = 0;
    for (size_t i = 0; i < run->record_count; i++)
        if (isfinite(run->records[i].time_s)) times.all_s = run->records[i].time_s;
    if (run->record_count) before = run->records[0].time_s;
    for (const StepFigure *f = STEP_FIGURES; f->key && times.count < RUN_TIMES_MAX; f++) {
        double sum = NAN;
        for (size_t i = 0; is_time(f) && i < run->record_count; i++) {
            double seconds = *step_figure(&run->records[i], f);
            if (i == 0 && isfinite(seconds)) before -= seconds; /* the first line counts whole */
            if (isfinite(seconds)) sum = isnan(sum) ? seconds : sum + seconds;
        }
        if (isnan(sum)) continue;
        times.key[times.count] = f->key;
        times.seconds[times.count++] = sum;
    }
    if (before > 0) times.all_s -= before; /* a branch's clock goes on from its trunk's */
    return times;
}
