/* sampler.c: see sampler.h. */
#include "train/sampler.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static int descending(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x < y) - (x > y);
}

int sampler_choose(const float *logits, int V, double temperature, int64_t top_k, double uniform,
                   float *work) {
    int best = 0;
    for (int v = 1; v < V; v++)
        if (logits[v] > logits[best]) best = v;
    if (temperature == 0) return best;

    float least = -INFINITY; /* smallest logit that may be drawn */
    if (top_k > 0 && top_k < V) {
        memcpy(work, logits, (size_t)V * sizeof *work);
        qsort(work, (size_t)V, sizeof *work, descending);
        least = work[top_k - 1];
    }
    double sum = 0;
    for (int v = 0; v < V; v++) {
        work[v] = logits[v] >= least ? expf((float)((logits[v] - logits[best]) / temperature)) : 0.0f;
        sum += work[v];
    }
    double rest = uniform * sum;
    for (int v = 0; v < V; v++) {
        rest -= work[v];
        if (rest < 0) return v;
    }
    return best; /* rounding left a crumb */
}
