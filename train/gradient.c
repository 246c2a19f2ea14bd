/* gradient.c: see gradient.h. */
#include "train/gradient.h"

#include <math.h>
#include <stddef.h>

#define PIECE 65536 /* elements that are summed by one thread */
#define LANES 16 /* independent sums, so that the loop becomes vector code without reordering any of them */

static double sum_of_squares(const float *g, size_t n) {
    double lane[LANES] = {0}, sum = 0;
    size_t whole = n / LANES * LANES;
    for (size_t i = 0; i < whole; i += LANES)
        for (size_t j = 0; j < LANES; j++) lane[j] += (double)g[i + j] * g[i + j];
    for (size_t i = whole; i < n; i++) lane[i - whole] += (double)g[i] * g[i];
    for (size_t j = 0; j < LANES; j++) sum += lane[j];
    return sum;
}

double gradient_norm(const Param *params, int count, int threads) {
    double total = 0;
    for (int i = 0; i < count; i++) {
        const Param *p = &params[i];
        size_t n = param_size(p), pieces = (n + PIECE - 1) / PIECE;
        for (size_t k0 = 0; k0 < pieces; k0 += 256) { /* a fixed-size list of sums, added in order */
            double part[256];
            size_t k1 = pieces - k0 < 256 ? pieces - k0 : 256;
#pragma omp parallel for num_threads(threads) if (k1 > 1)
            for (size_t k = 0; k < k1; k++) {
                size_t begin = (k0 + k) * PIECE, length = n - begin < PIECE ? n - begin : PIECE;
                part[k] = sum_of_squares(p->g + begin, length);
            }
            for (size_t k = 0; k < k1; k++) total += part[k];
        }
    }
    return sqrt(total);
}

const Param *gradient_find_nonfinite(const Param *params, int count) {
    for (int i = 0; i < count; i++)
        for (size_t k = 0; k < param_size(&params[i]); k++)
            if (!isfinite(params[i].g[k])) return &params[i];
    return NULL;
}
