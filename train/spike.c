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

bool spike_add_json(cJSON *object, const char *key, const SpikeWindow *w) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    bool ok = out && fprintf(out, "{\"length\":%lld,\"count\":%lld", (long long)w->length,
                             (long long)w->count) > 0;
    for (int part = 0; part < 2 && ok; part++) {
        const double *values = part ? w->grad_norm : w->loss;
        ok = fprintf(out, ",\"%s\":[", part ? "grad_norm" : "loss") > 0;
        for (int64_t i = 0; i < held(w) && ok; i++)
            ok = fprintf(out, "%s%.17g", i ? "," : "", values[i]) > 0;
        ok = ok && fputc(']', out) != EOF;
    }
    ok = ok && fputc('}', out) != EOF;
    if (out && fclose(out) != 0) ok = false;
    ok = ok && text && cJSON_AddRawToObject(object, key, text) != NULL;
    free(text);
    return ok;
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
