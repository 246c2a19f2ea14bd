/* spike.c: see spike.h. */
#include "train/spike.h"

#include "core/json.h"
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* Two passes, for a loss that hardly varies. NaN nowhere: x and all values are finite. */
static bool is_beyond(const double *values, int64_t n, double sigma, double x) {
    double mean = 0, square = 0;
    for (int64_t i = 0; i < n; i++) mean += values[i] / (double)n;
    for (int64_t i = 0; i < n; i++) square += (values[i] - mean) * (values[i] - mean);
    return x - mean > sigma * sqrt(square / (double)(n - 1));
}

static int64_t held(const SpikeWindow *w) {
    return w->count < w->length ? w->count : w->length;
}

bool spike_judge(SpikeWindow *w, double sigma, double loss, double grad_norm) {
    int64_t n = held(w), place = w->count % w->length;
    bool spike = n > 1 && n >= w->length / 2 &&
                 (is_beyond(w->loss, n, sigma, loss) || is_beyond(w->grad_norm, n, sigma, grad_norm));
    w->loss[place] = loss;
    w->grad_norm[place] = grad_norm;
    w->count++;
    return spike;
}

/* ---- counting ------------------------------------------------------------------------------------------- */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts the values. */
static double median(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, by_value);
    return (values[(n - 1) / 2] + values[n / 2]) / 2;
}

static int recent(const SpikeCounter *c) {
    return c->count < SPIKE_RECENT ? (int)c->count : SPIKE_RECENT;
}

/* A change is the difference of two losses: sqrt(2) times their deviation, of whose size the median is 0.6745. */
static bool is_spike(const SpikeCounter *c, double loss) {
    const double least_rise = 0.1, factor = 8 / (0.6745 * 1.41421356);
    double values[SPIKE_RECENT], changes[SPIKE_RECENT];
    int n = recent(c);
    if (n < SPIKE_RECENT_LEAST) return false;
    for (int i = 0; i < n; i++) values[i] = c->loss[(c->count - n + i) % SPIKE_RECENT];
    for (int i = 0; i + 1 < n; i++) changes[i] = fabs(values[i + 1] - values[i]);
    double rise = loss - median(values, n);
    return rise > least_rise && rise > factor * median(changes, n - 1);
}

void spike_count(SpikeCounter *c, double loss) {
    bool spike = is_spike(c, loss);
    c->spikes += spike && !c->within;
    c->within = spike;
    c->loss[c->count++ % SPIKE_RECENT] = loss;
}

/* ---- for checkpoints ------------------------------------------------------------------------------------ */

static bool print_values(FILE *out, const char *key, const double *values, int64_t n) {
    bool ok = fprintf(out, ",\"%s\":[", key) > 0;
    for (int64_t i = 0; i < n && ok; i++) ok = fprintf(out, "%s%.17g", i ? "," : "", values[i]) > 0;
    return ok && fputc(']', out) != EOF;
}

/* What was printed to `out`, into *text, becomes the object's. */
static bool add_printed(cJSON *object, const char *key, FILE *out, char **text, bool ok) {
    ok = ok && fputc('}', out) != EOF;
    if (out && fclose(out) != 0) ok = false;
    ok = ok && *text && cJSON_AddRawToObject(object, key, *text) != NULL;
    free(*text);
    return ok;
}

bool spike_counter_add_json(cJSON *object, const char *key, const SpikeCounter *c) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    bool ok = out && fprintf(out, "{\"count\":%lld,\"spikes\":%lld,\"within\":%s", (long long)c->count,
                             (long long)c->spikes, c->within ? "true" : "false") > 0;
    return add_printed(object, key, out, &text, ok && print_values(out, "loss", c->loss, recent(c)));
}

bool spike_add_json(cJSON *object, const char *key, const SpikeWindow *w) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    bool ok = out && fprintf(out, "{\"length\":%lld,\"count\":%lld", (long long)w->length,
                             (long long)w->count) > 0;
    ok = ok && print_values(out, "loss", w->loss, held(w)) &&
         print_values(out, "grad_norm", w->grad_norm, held(w));
    return add_printed(object, key, out, &text, ok);
}

static bool get_values(const cJSON *list, int64_t n, double *values) {
    const cJSON *item;
    int64_t i = 0;
    if (!cJSON_IsArray(list) || cJSON_GetArraySize(list) != n) return false;
    cJSON_ArrayForEach(item, list) {
        if (!cJSON_IsNumber(item)) return false;
        values[i++] = item->valuedouble;
    }
    return true;
}

static bool get_whole(const cJSON *object, const char *key, double low, double high, int64_t *out) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= low && item->valuedouble <= high)) return false;
    *out = (int64_t)item->valuedouble;
    return true;
}

bool spike_get_json(const cJSON *object, const char *key, SpikeWindow *w) {
    const cJSON *window = cJSON_GetObjectItemCaseSensitive(object, key);
    return !window ||
           (get_whole(window, "length", 2, SPIKE_WINDOW_MAX, &w->length) &&
            get_whole(window, "count", 0, 0x1p53, &w->count) &&
            get_values(cJSON_GetObjectItemCaseSensitive(window, "loss"), held(w), w->loss) &&
            get_values(cJSON_GetObjectItemCaseSensitive(window, "grad_norm"), held(w), w->grad_norm));
}

bool spike_counter_get_json(const cJSON *object, const char *key, SpikeCounter *c) {
    const cJSON *counter = cJSON_GetObjectItemCaseSensitive(object, key);
    const cJSON *within = cJSON_GetObjectItemCaseSensitive(counter, "within");
    if (!counter) return true;
    if (!get_whole(counter, "count", 0, 0x1p53, &c->count) ||
        !get_whole(counter, "spikes", 0, (double)c->count, &c->spikes) || !cJSON_IsBool(within))
        return false;
    c->within = cJSON_IsTrue(within);
    return get_values(cJSON_GetObjectItemCaseSensitive(counter, "loss"), recent(c), c->loss);
}
