/* stats.c: see stats.h. */
#include "train/stats.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

StatsSample stats_sample(const double *x, int n) {
    StatsSample s = {n, NAN, NAN, NAN};
    double sum = 0, square = 0;
    for (int i = 0; i < n; i++) sum += x[i];
    if (n > 0) s.mean = sum / n;
    for (int i = 0; i < n; i++) square += (x[i] - s.mean) * (x[i] - s.mean);
    if (n > 1) s.sd = sqrt(square / (n - 1)), s.se = s.sd / sqrt(n);
    return s;
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double stats_median(double *x, int n) {
    if (n == 0) return NAN;
    qsort(x, (size_t)n, sizeof *x, by_value);
    return x[(n - 1) / 2];
}

/* ---------------------------------------------------------------------------------------------- Student's t */

/* The k-th coefficient of the continued fraction 1 / (1 + d_1 / (1 + d_2 / (1 + ...))). */
static double beta_term(double a, double b, double x, int k) {
    double m = floor(k / 2.0);
    return k % 2 ? -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
                 : m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
}

/* It converges fast where x < (a + 1) / (a + b + 2), within about sqrt(max(a, b)) terms; beyond, I_x(a, b) =
 * 1 - I_{1-x}(b, a). */
double stats_beta(double a, double b, double x) {
    if (x <= 0 || x >= 1) return x <= 0 ? 0 : 1;
    if (x > (a + 1) / (a + b + 2)) return 1 - stats_beta(b, a, 1 - x);
    double rest = 1, log_front = a * log(x) + b * log1p(-x) + lgamma(a + b) - lgamma(a) - lgamma(b);
    for (int k = 100 + (int)(10 * sqrt(fmax(a, b))); k > 0; k--) rest = 1 + beta_term(a, b, x, k) / rest;
    return exp(log_front) / (a * rest);
}

double stats_t_two_sided(double t, double dof) {
    return stats_beta(dof / 2, 0.5, dof / (dof + t * t));
}

double stats_t_quantile(double p, double dof) {
    double low = 0, high = 1;
    while (stats_t_two_sided(high, dof) > p) high *= 2;
    for (int i = 0; i < 100; i++) {
        double middle = (low + high) / 2;
        if (stats_t_two_sided(middle, dof) > p) low = middle;
        else high = middle;
    }
    return high;
}

/* ------------------------------------------------------------------------------------------------- tests */

double stats_sign_flip(const double *differences, int n) {
    if (n < 2 || n > STATS_FLIP_MAX) return NAN;
    double seen = 0, size = 0;
    for (int i = 0; i < n; i++) seen += differences[i], size += fabs(differences[i]);
    int as_far = 0, half = 1 << (n - 1); /* the last sign stays: the other half is the mirror image */
    for (int signs = 0; signs < half; signs++) {
        double sum = 0;
        for (int i = 0; i < n; i++) sum += signs >> i & 1 ? -differences[i] : differences[i];
        as_far += fabs(sum) >= fabs(seen) - n * DBL_EPSILON * size;
    }
    return (double)as_far / half;
}

/* Fills what needs the differences to vary. */
static void test_mean(StatsPaired *d, double alpha) {
    double reach = stats_t_quantile(alpha, d->n - 1) * d->se;
    d->t = d->mean / d->se;
    d->p = stats_t_two_sided(d->t, d->n - 1);
    d->low = d->mean - reach;
    d->high = d->mean + reach;
}

StatsPaired stats_paired(const double *a, const double *b, int n, double alpha) {
    StatsPaired d = {n, NAN, NAN, NAN, NAN, NAN, NAN, NAN, NAN, false};
    double *differences = malloc(((size_t)n + 1) * sizeof *differences), scale = 0;
    if (!differences) return d;
    for (int i = 0; i < n; i++) {
        differences[i] = a[i] - b[i];
        scale = fmax(scale, fmax(fabs(a[i]), fabs(b[i])));
    }
    StatsSample s = stats_sample(differences, n);
    d.mean = s.mean, d.sd = s.sd, d.se = s.se;
    d.constant = n > 1 && s.sd <= 4 * DBL_EPSILON * scale; /* a - b is rounded */
    d.p_flip = d.constant ? NAN : stats_sign_flip(differences, n);
    if (n > 1 && !d.constant) test_mean(&d, alpha);
    free(differences);
    return d;
}

typedef struct Ranked {
    double p;
    int index;
} Ranked;

static int by_p(const void *a, const void *b) {
    double x = ((const Ranked *)a)->p, y = ((const Ranked *)b)->p;
    return (x > y) - (x < y);
}

void stats_holm(double *p, int count) {
    Ranked *ranked = malloc(((size_t)count + 1) * sizeof *ranked);
    int made = 0;
    double least = 0;
    for (int i = 0; i < count; i++) {
        if (ranked && !isnan(p[i])) ranked[made++] = (Ranked){p[i], i};
        else p[i] = NAN;
    }
    if (made) qsort(ranked, (size_t)made, sizeof *ranked, by_p);
    for (int i = 0; i < made; i++) {
        least = fmax(least, fmin(1, (made - i) * ranked[i].p));
        p[ranked[i].index] = least;
    }
    free(ranked);
}

/* ---------------------------------------------------------------------------------------------- verdicts */

StatsVerdict stats_verdict(const StatsPaired *d, double p_corrected, double level) {
    if (d->n < 2) return VERDICT_TOO_FEW;
    if (d->constant) return fabs(d->mean) <= d->sd ? VERDICT_IDENTICAL : VERDICT_CONSTANT;
    if (!(p_corrected < level)) return VERDICT_NOT_DISTINGUISHABLE;
    return d->mean < 0 ? VERDICT_BETTER : VERDICT_WORSE;
}

const char *stats_verdict_text(StatsVerdict verdict) {
    static const char *const texts[] = {
        [VERDICT_TOO_FEW] = "no verdict: fewer than two pairs",
        [VERDICT_CONSTANT] = "no verdict: the same difference in every pair",
        [VERDICT_IDENTICAL] = "identical",
        [VERDICT_NOT_DISTINGUISHABLE] = "not distinguishable",
        [VERDICT_BETTER] = "better",
        [VERDICT_WORSE] = "worse",
    };
    return texts[verdict];
}

static double normal_below(double x) {
    return 0.5 * erfc(-x / M_SQRT2);
}

/* The probability that the test finds a mean of `shift` standard errors: that |Z + shift| > critical * S, where Z is
 * normal and dof S^2 chi-square. Simpson's rule over S, whose density is 2 (dof/2)^(dof/2) / Gamma(dof/2) s^(dof-1)
 * exp(-dof s^2 / 2). */
static double power_of(double shift, double critical, double dof) {
    enum { PIECES = 2000 };
    double from = fmax(0, 1 - 9 / sqrt(dof)), width = (1 + 9 / sqrt(dof) - from) / PIECES, sum = 0;
    double log_front = M_LN2 + dof / 2 * log(dof / 2) - lgamma(dof / 2);
    for (int i = 0; i <= PIECES; i++) {
        double s = from + i * width, weight = i % PIECES == 0 ? 1 : i % 2 ? 4 : 2;
        double log_power = dof > 1 ? (dof - 1) * log(s) : 0; /* log(0) = -inf: no density there */
        double density = exp(log_front + log_power - dof * s * s / 2);
        double found = normal_below(shift - critical * s) + normal_below(-shift - critical * s);
        sum += weight * density * found;
    }
    return sum * width / 3;
}

double stats_detectable(double sd, int n, double alpha, double power) {
    if (n < 2) return NAN;
    double critical = stats_t_quantile(alpha, n - 1), low = 0, high = 1;
    while (power_of(high, critical, n - 1) < power) high *= 2;
    for (int i = 0; i < 60; i++) {
        double middle = (low + high) / 2;
        if (power_of(middle, critical, n - 1) < power) low = middle;
        else high = middle;
    }
    return high * sd / sqrt(n);
}
