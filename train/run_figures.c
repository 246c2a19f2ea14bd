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

/* A new last curve; false with ERR_IO. Without room for more figures it stays away. */
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

const Curve *run_figures_find(const RunFigures *figures, const char *key) {
    return find(figures, key);
}

bool run_figures_read(RunFigures *figures, const Run *run, Error *err) {
    *figures = (RunFigures){.curves = calloc(FIGURES_MAX, sizeof *figures->curves)};
    if (!figures->curves) return error_set(err, ERR_IO, "%s: out of memory for its curves", run->dir);
    if (add_metrics(figures, run, err)) return true;
    run_figures_free(figures);
    return false;
}

void run_figures_free(RunFigures *figures) {
    for (int i = 0; i < figures->count; i++) curve_free(&figures->curves[i]);
    free(figures->curves);
    *figures = (RunFigures){0};
}

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
