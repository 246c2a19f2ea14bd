/* curve.c: see curve.h. */
#include "train/curve.h"

#include "train/stats.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* One allocation, at `step`: step, y, then se, or low and high, or nothing. */
static double *take(size_t count, size_t arrays, Error *err) {
    double *memory = malloc((count + 1) * arrays * sizeof *memory);
    if (!memory) error_set(err, ERR_IO, "out of memory for a curve of %zu points", count);
    return memory;
}

bool curve_create(Curve *curve, const char *key, size_t count, bool with_se, Error *err) {
    *curve = (Curve){.step = take(count, with_se ? 3 : 2, err)};
    if (!curve->step) return false;
    snprintf(curve->key, sizeof curve->key, "%s", key);
    curve->y = curve->step + count;
    curve->se = with_se ? curve->y + count : NULL;
    return true;
}

void curve_free(Curve *curve) {
    free(curve->step);
    *curve = (Curve){0};
}

/* Moves *at to the first point at `step` or behind it; is it there? */
static bool seek(const Curve *curve, size_t *at, double step) {
    while (*at < curve->count && curve->step[*at] < step) ++*at;
    return *at < curve->count && curve->step[*at] == step;
}

/* values[i] <- plus[i] - minus[i] at `step`; false where one of them has no such point. */
static bool values_at(double step, const Curve *const *plus, const Curve *const *minus, int n, size_t *at,
                      double *values) {
    for (int i = 0; i < n; i++) {
        if (!seek(plus[i], &at[i], step) || (minus && !seek(minus[i], &at[n + i], step))) return false;
        values[i] = plus[i]->y[at[i]] - (minus ? minus[i]->y[at[n + i]] : 0);
    }
    return true;
}

bool curve_combine(Curve *out, const Curve *const *plus, const Curve *const *minus, int n, Error *err) {
    *out = (Curve){0};
    size_t *at = calloc(2 * (size_t)n + 1, sizeof *at);
    double *values = take((size_t)n, 1, err);
    bool ok = at && values && curve_create(out, plus[0]->key, plus[0]->count, n > 1, err);
    if (!at) error_set(err, ERR_IO, "out of memory for a mean of %d curves", n);
    for (size_t i = 0; ok && i < plus[0]->count; i++) {
        double step = plus[0]->step[i];
        if (!values_at(step, plus, minus, n, at, values)) continue;
        StatsSample sample = stats_sample(values, n);
        out->step[out->count] = step;
        out->y[out->count] = sample.mean;
        if (out->se) out->se[out->count] = sample.se;
        out->count++;
    }
    free(at);
    free(values);
    return ok;
}

/* Point `to` <- points [begin, end) of `from`, means and extremes. */
static void merge(Curve *to, const Curve *from, size_t begin, size_t end) {
    double step = 0, y = 0, se = 0, low = INFINITY, high = -INFINITY;
    for (size_t i = begin; i < end; i++) {
        step += from->step[i];
        y += from->y[i];
        if (from->se) se += from->se[i];
        low = fmin(low, from->y[i]);
        high = fmax(high, from->y[i]);
    }
    double n = (double)(end - begin);
    to->step[to->count] = step / n;
    to->y[to->count] = y / n;
    if (to->se) to->se[to->count] = se / n;
    to->low[to->count] = low;
    to->high[to->count++] = high;
}

bool curve_thin(Curve *curve, size_t limit, Error *err) {
    if (curve->count <= limit) return true;
    Curve thin = *curve;
    if (!(thin.step = take(limit, 5, err))) return false;
    thin.count = 0;
    thin.y = thin.step + limit;
    thin.low = thin.y + limit;
    thin.high = thin.low + limit;
    thin.se = curve->se ? thin.high + limit : NULL;
    size_t inner = curve->count - 2, runs = limit - 2;
    merge(&thin, curve, 0, 1);
    for (size_t k = 0; k < runs; k++) merge(&thin, curve, 1 + k * inner / runs, 1 + (k + 1) * inner / runs);
    merge(&thin, curve, curve->count - 1, curve->count);
    curve_free(curve);
    *curve = thin;
    return true;
}
