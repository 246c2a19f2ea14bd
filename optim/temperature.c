/* temperature.c: see temperature.h. */
#include "optim/temperature.h"

#include "core/denormals.h"
#include <math.h>
#include <string.h>

/* ---- median and MAD ------------------------------------------------------------------------------ */

/* Unsigned integers in the order of the floats they stand for. */
static inline uint32_t key_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits >> 31 ? ~bits : bits | 0x80000000u;
}

static float float_of(uint32_t key) {
    uint32_t bits = key >> 31 ? key & 0x7fffffffu : ~key;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* What a sample is asked about: its entries or, with `deviation`, their distances from `center`. */
typedef struct View {
    bool deviation;
    float center;
} View;

/* Adds to seen[d] how many keys that agree with `found` under `mask` have digit d at `shift`. Integer
 * counts, so any division among threads gives the same sums. */
static void count_digits(const SamplePart *part, View view, uint32_t found, uint32_t mask, int shift,
                         int threads, uint64_t *seen) {
#pragma omp parallel num_threads(threads) if (part->count > 1 << 16)
    {
        denormals_flush();
#pragma omp for reduction(+ : seen[:256])
        for (size_t i = 0; i < part->count; i++) {
            float x = part->g ? part->own * part->x[i] + part->ahead * part->g[i] : part->x[i];
            uint32_t key = key_of(view.deviation ? fabsf(x - view.center) : x);
            if ((key & mask) == found) seen[key >> shift & 255]++;
        }
    }
}

/* The element with `rank` smaller ones before it (radix selection: eight bits of its key a pass). */
static float select_rank(const SamplePart *parts, int part_count, View view, uint64_t rank, int threads) {
    uint32_t found = 0, mask = 0;
    for (int shift = 24; shift >= 0; shift -= 8) {
        uint64_t seen[256] = {0};
        for (int p = 0; p < part_count; p++)
            count_digits(&parts[p], view, found, mask, shift, threads, seen);
        uint32_t digit = 0;
        while (rank >= seen[digit]) rank -= seen[digit++];
        found |= digit << shift;
        mask |= 255u << shift;
    }
    return float_of(found);
}

void median_and_mad(const SamplePart *parts, int part_count, int threads, double *median, double *mad) {
    uint64_t count = 0;
    for (int p = 0; p < part_count; p++) count += parts[p].count;
    *median = *mad = 0;
    if (count == 0) return;
    uint64_t middle = (count - 1) / 2;
    View view = {false, 0};
    view.center = select_rank(parts, part_count, view, middle, threads);
    view.deviation = true;
    *median = view.center;
    *mad = select_rank(parts, part_count, view, middle, threads);
}

/* ---- schedule ------------------------------------------------------------------------------------ */

double soft_map_saturation(int map, double eps) {
    double y = 1 - eps;
    switch ((SoftMap)map) {
    case MAP_TANH: return atanh(y);
    case MAP_ALGEBRAIC: return y / sqrt(1 - y * y);
    case MAP_CLIP:
    case MAP_LINEAR: return y;
    case MAP_SIGN: break;
    }
    return 0;
}

static double cauchy_cdf(double x) {
    return 0.5 + atan(x) / M_PI;
}

static double cauchy_pdf(double x) {
    return 1 / (M_PI * (1 + x * x));
}

double folded_cauchy_quantile(double p, double median, double mad, int64_t newton_iters) {
    double scale = mad + 1e-8; /* the authors guard the arguments, and only them */
    double q = mad * tan(M_PI_2 * p) + fabs(median);
    for (int64_t i = 0; i < newton_iters; i++) {
        double above = (q - median) / scale, below = (-q - median) / scale;
        double excess = cauchy_cdf(above) - cauchy_cdf(below) - p;
        double slope = (cauchy_pdf(above) + cauchy_pdf(below)) / mad; /* infinite for mad = 0: q stays */
        q = fmax(0, q - excess / slope);
    }
    return q;
}

int64_t temperature_hard_steps(const Temperature *t, int64_t total_steps) {
    return llround(t->alpha_sign * (double)total_steps);
}

double temperature_at(const Temperature *t, double median, double mad, int64_t step, int64_t total_steps) {
    int64_t hard = temperature_hard_steps(t, total_steps);
    if (step > total_steps) step = total_steps; /* a run that goes on keeps its last temperature */
    if (step <= hard || t->map == MAP_SIGN) return INFINITY;
    if (t->tau > 0) return t->tau;
    double p = (double)(step - 1 - hard) / (double)(total_steps - hard);
    double q = folded_cauchy_quantile(p, median, mad, t->newton_iters);
    return fmin(fmax(soft_map_saturation(t->map, t->eps) / q, 1), t->tau_max);
}

const char *temperature_check(const Temperature *t) {
    return t->map == MAP_LINEAR && t->tau == 0
               ? "map linear needs tau: by the schedule its steps would begin tau_max times too long"
               : NULL;
}

double temperature_now(const OptimGroup *group, const Temperature *t) {
    return temperature_at(t, group->scalars[SCALAR_MEDIAN], group->scalars[SCALAR_MAD], group->step,
                          group->total_steps);
}

bool temperature_is_due(const OptimGroup *group, const Temperature *t) {
    return t->tau == 0 && isfinite(temperature_now(group, t)) && group->scalars[SCALAR_MEASURED_STEP] == 0;
}

void temperature_measure(OptimGroup *group, const SamplePart *parts, int part_count) {
    double *s = group->scalars;
    median_and_mad(parts, part_count, group->threads, &s[SCALAR_MEDIAN], &s[SCALAR_MAD]);
    s[SCALAR_MEASURED_STEP] = (double)group->step;
}
