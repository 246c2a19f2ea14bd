/* temperature.h: the family of relaxed geometries, and the schedule by which SoftSignum and SoftMuon let go
 * of the sign (arXiv 2605.31371).
 *
 * A strongly convex V and a temperature tau make an update out of a momentum m:
 *
 *     U = -argmin_d <m, d> + V(d) / tau = map(tau m),      map = gradient of V*, the conjugate of V
 *
 * by entries or by singular values; GEOMETRY_TABLE lists the maps. The first round(alpha_sign T) steps use
 * the hard one (sign, polar factor): temperature is infinite. Then tau is fixed or, over the N steps that
 * are left, k = 0 ... N-1,
 *
 *     tau_k = clamp(c / q(k/N), 1, tau_max),      map(c) = 1 - eps
 *
 * where q(p) is the p-quantile of |X|, X ~ Cauchy(median, mad) fitted to all momentum entries (or singular
 * values) of the group at the first soft step. So the share of entries still in the sign regime falls
 * evenly from 1 to 0. tau is a pure function of (step, total steps, the two saved statistics,
 * hyper-parameters): nothing else to save.
 *
 * The paper measures progress by V*(tau x) / tau, x = what is mapped: the l1 or nuclear norm while hard,
 * near tau |x|^2 / 2 at the end (group->dual_progress).
 *
 *     typedef struct SoftSignum { Temperature temperature; ... } SoftSignum;
 *     fields:   TEMPERATURE_FIELDS(SoftSignum, temperature, "tanh", "1e9"),
 *     scalars:  TEMPERATURE_SCALARS,
 *     agree:    if (temperature_is_due(group, t)) temperature_measure(group, parts, part_count);
 *               group->temperature = temperature_now(group, t);
 */
#ifndef OPTIM_TEMPERATURE_H
#define OPTIM_TEMPERATURE_H

#include "core/vmath.h"
#include "optim/elementwise.h"
#include "optim/optim.h"

/* From y = tau x to [-1, 1] (but for linear); the soft ones have slope 1 at zero. */
typedef enum { MAP_TANH, MAP_ALGEBRAIC, MAP_CLIP, MAP_LINEAR, MAP_SIGN } SoftMap;

/* clang-format off */
#define GEOMETRY_TABLE                                                                                    \
    "map        map(y)            V(d)                                      V*(y)\n"                      \
    "tanh       tanh y            sum ((1+d) ln(1+d) + (1-d) ln(1-d)) / 2   sum ln cosh y\n"              \
    "algebraic  y / sqrt(1+y^2)   sum (1 - sqrt(1-d^2))                     sum (sqrt(1+y^2) - 1)\n"      \
    "clip       y cut to [-1,1]   sum d^2 / 2, all |d| <= 1                 sum y^2/2 or |y|-1/2 (Huber)\n" \
    "linear     y                 sum d^2 / 2                               sum y^2 / 2\n"                \
    "sign       sign y            0, all |d| <= 1                           sum |y|"
/* clang-format on */

/* Not fminf and fmaxf: their rules for NaN keep gcc from vectorising. */
static inline float soft_clip(float y, float bound) {
    y = y < -bound ? -bound : y;
    return y > bound ? bound : y;
}

static inline float soft_map(SoftMap map, float y) {
    float z = soft_clip(y, 0x1p40f); /* z * z must not overflow, and map(z) is exactly +-1 */
    switch (map) {
    case MAP_TANH: return fast_tanhf(y);
    case MAP_ALGEBRAIC: return z / sqrtf(1 + z * z);
    case MAP_CLIP: return soft_clip(y, 1);
    case MAP_LINEAR: return y;
    case MAP_SIGN: break;
    }
    return sign(y);
}

/* ln cosh y, y >= 0, within 5e-7 of itself: a series, or y - ln 2 + ln(1 + e^(-2y)), which neither
 * overflows nor, from 1/2 on, cancels. */
static inline double log_cosh(double y) {
    double z = y * y, series = 10922.0 / 42567525;
    series = series * z - 691.0 / 935550;
    series = series * z + 31.0 / 14175;
    series = series * z - 17.0 / 2520;
    series = series * z + 1.0 / 45;
    series = series * z - 1.0 / 12;
    series = series * z + 0.5;
    float rest = fast_logf(1 + fast_expf(-2 * (float)(y < 40 ? y : 40)));
    return y < 0.5 ? series * z : y - M_LN2 + (double)rest;
}

/* V*(y) of one entry; for loops, like soft_map. */
static inline double soft_map_conjugate(SoftMap map, double y) {
    double a = fabs(y), b = a < 1 ? a : 1;
    switch (map) {
    case MAP_TANH: return log_cosh(a);
    case MAP_ALGEBRAIC: return a * a / (1 + sqrt(1 + a * a));
    case MAP_CLIP: return b * (a - b / 2);
    case MAP_LINEAR: return a * a / 2;
    case MAP_SIGN: break;
    }
    return a;
}

typedef struct Temperature {
    double alpha_sign, tau, eps, tau_max;
    int64_t newton_iters;
    int map; /* SoftMap of the soft phase */
} Temperature;

/* clang-format off */
#define TEMPERATURE_FIELDS(Type, member, map_default, tau_max_default)                                    \
    {"alpha_sign", FIELD_REAL, offsetof(Type, member.alpha_sign), "0.9", "[0,1]",                         \
     "share of the steps that use the hard map, before the temperature falls"},                           \
    {"map", FIELD_CHOICE, offsetof(Type, member.map), map_default, "tanh|algebraic|clip|linear|sign",     \
     "regularizer V: entropy (tanh), algebraic, Huber (clip), Euclidean (linear), hard ball (sign)"},     \
    {"tau", FIELD_REAL, offsetof(Type, member.tau), "0", "[0,1e30]",                                      \
     "fixed temperature of the soft phase, 1/units of the momentum; 0: by the quantile schedule"},        \
    {"eps", FIELD_REAL, offsetof(Type, member.eps), "1e-4", "(0,1)",                                      \
     "an entry counts as a sign while map(tau x) >= 1 - eps"},                                            \
    {"tau_max", FIELD_REAL, offsetof(Type, member.tau_max), tau_max_default, "[1,1e30]",                  \
     "highest temperature, 1/units of the momentum"},                                                     \
    {"newton_iters", FIELD_INT, offsetof(Type, member.newton_iters), "10", "[1,100]",                     \
     "Newton iterations for a quantile of the folded Cauchy law"}
/* clang-format on */

/* Saved state of a group; must be its first scalars. measured_step is 0 until the statistics are taken. */
#define TEMPERATURE_SCALARS "median", "mad", "measured_step"
enum { SCALAR_MEDIAN, SCALAR_MAD, SCALAR_MEASURED_STEP };

/* NULL or what is wrong. */
const char *temperature_check(const Temperature *t);

/* A sample may lie in several arrays: x, or own x + ahead g if there is a g. */
typedef struct SamplePart {
    const float *x;
    size_t count;
    const float *g;
    float own, ahead;
} SamplePart;

/* Lower median of all x, and lower median of |x - median| in float; 0, 0 for an empty sample. Exact, needs
 * no memory, and the same for any number of threads. */
void median_and_mad(const SamplePart *parts, int part_count, int threads, double *median, double *mad);

/* c with map(c) = 1 - eps: where the map counts as saturated. 0 for sign. */
double soft_map_saturation(int map, double eps);

/* q with P(|X| <= q) = p for X ~ Cauchy(median, mad), 0 <= p < 1, as the authors' code computes it. */
double folded_cauchy_quantile(double p, double median, double mad, int64_t newton_iters);

/* How many steps of a run are hard. */
int64_t temperature_hard_steps(const Temperature *t, int64_t total_steps);

/* tau at a step (1-based); INFINITY in the hard phase, and with the hard map. */
double temperature_at(const Temperature *t, double median, double mad, int64_t step, int64_t total_steps);

/* Whether this step has to take the statistics: the first soft step that the group sees, by the schedule. */
bool temperature_is_due(const OptimGroup *group, const Temperature *t);

/* Takes them into the group's scalars. */
void temperature_measure(OptimGroup *group, const SamplePart *parts, int part_count);

/* temperature_at for this step and the group's statistics. */
double temperature_now(const OptimGroup *group, const Temperature *t);

#endif
