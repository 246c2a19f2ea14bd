/* stats.h: is a difference between two methods more than what the seed makes of it?
 *
 *     StatsPaired d = stats_paired(soft, hard, 5, 0.05);             // losses of seeds 1 ... 5 of each
 *     printf("%+.4f [%+.4f, %+.4f]\n", d.mean, d.low, d.high);
 *     double p[3] = {d.p, ...};                                      // all comparisons that are made
 *     stats_holm(p, 3);
 *     puts(stats_verdict_text(stats_verdict(&d, p[0], 0.05)));       // "better", "not distinguishable", ...
 *
 * Values are losses: lower is better. They must be finite; runs without a loss are left out before.
 */
#ifndef TRAIN_STATS_H
#define TRAIN_STATS_H

#include <stdbool.h>

/* sd divides by n - 1; se = sd / sqrt(n) is the standard error of the mean. NAN where n is too small. */
typedef struct StatsSample {
    int n;
    double mean, sd, se;
} StatsSample;

StatsSample stats_sample(const double *x, int n);

/* The lower one of two in the middle; NAN of none. Sorts x. */
double stats_median(double *x, int n);

/* Regularized incomplete beta function I_x(a, b); a, b > 0, x in [0, 1]. Continued fraction DLMF 8.17.22. */
double stats_beta(double a, double b, double x);

/* P(|T| >= |t|) of Student's t with dof > 0 degrees of freedom (DLMF 8.17.2 with Abramowitz & Stegun 26.7.1), and the t
 * whose two-sided probability is p, in (0, 1). */
double stats_t_two_sided(double t, double dof);
double stats_t_quantile(double p, double dof);

/* The paired t-test of a - b: are the differences, one a seed, of mean zero? */
typedef struct StatsPaired {
    int n;            /* pairs */
    double mean;      /* of a - b */
    double sd, se;    /* of the differences, of their mean */
    double t, p;      /* two-sided, n - 1 degrees of freedom */
    double low, high; /* mean -+ t_quantile(alpha) se: confidence interval of 1 - alpha */
    double p_flip;    /* see stats_sign_flip */
    bool constant; /* all differences are the same but for rounding: no noise is seen, so t and p are NAN */
} StatsPaired;

StatsPaired stats_paired(const double *a, const double *b, int n, double alpha);

/* The t-test's check, which takes no normal distribution for granted: the fraction of the 2^n ways to give the
 * differences signs whose mean is as far from zero as theirs, exact (Fisher 1935, The Design of Experiments, section 21).
 * Never below 2^(1 - n): 0.0625 with 5 pairs. NAN for n < 2 and n > STATS_FLIP_MAX. */
enum { STATS_FLIP_MAX = 20 };
double stats_sign_flip(const double *differences, int n);

/* Holm's step-down correction (Scand. J. Statist. 6, 1979): p[i] becomes the smallest level for the whole family at which
 * comparison i is significant. NAN, a comparison that was not made, stays and does not count. */
void stats_holm(double *p, int count);

typedef enum {
    VERDICT_TOO_FEW,   /* fewer than two pairs */
    VERDICT_CONSTANT,  /* every pair differs by the same amount, not zero: no noise to compare it with */
    VERDICT_IDENTICAL, /* every pair is the same value */
    VERDICT_NOT_DISTINGUISHABLE,
    VERDICT_BETTER,
    VERDICT_WORSE,
} StatsVerdict;

/* What a paired test says of a against b at `level`, with its p as corrected. */
StatsVerdict stats_verdict(const StatsPaired *d, double p_corrected, double level);
const char *stats_verdict_text(StatsVerdict verdict);

/* The true mean difference that a two-sided paired t-test of n pairs at level alpha finds with probability `power`, if the
 * differences have this standard deviation: from the noncentral t distribution, integrated numerically. NAN for n < 2. */
double stats_detectable(double sd, int n, double alpha, double power);

#endif
