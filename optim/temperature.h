/* temperature.h: the schedule by which SoftSignum and SoftMuon let go of the sign (arXiv 2605.31371).
 *
 * The first round(alpha_sign T) steps use the hard map (sign, polar factor): temperature is infinite. Then,
 * over the N steps that are left, k = 0 ... N-1,
 *
 *     tau_k = clamp(c / q(k/N), 1, tau_max),      map(c) = 1 - eps
 *
 * where q(p) is the p-quantile of |X|, X ~ Cauchy(median, mad) fitted to all momentum entries (or singular
 * values) of the group at the first soft step. So the share of entries still in the sign regime falls
 * evenly from 1 to 0. tau is a pure function of (step, total steps, the two saved statistics,
 * hyper-parameters): nothing else to save.
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

/* From y = tau x to [-1, 1]; the soft ones have slope 1 at zero and tend to the sign as tau grows. */
typedef enum { MAP_TANH, MAP_ALGEBRAIC, MAP_CLIP, MAP_SIGN } SoftMap;

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
    case MAP_SIGN: break;
    }
    return sign(y);
}

typedef struct Temperature {
    double alpha_sign, eps, tau_max;
    int64_t newton_iters;
    int map; /* SoftMap of the soft phase */
} Temperature;

/* clang-format off */
#define TEMPERATURE_FIELDS(Type, member, map_default, tau_max_default)                                    \
    {"alpha_sign", FIELD_REAL, offsetof(Type, member.alpha_sign), "0.9", "[0,1]",                         \
     "share of the steps that use the hard map, before the temperature falls"},                           \
    {"map", FIELD_CHOICE, offsetof(Type, member.map), map_default, "tanh|algebraic|clip",                 \
     "the soft map: tanh y, y/sqrt(1+y^2), or y clipped to [-1,1]"},                                      \
    {"eps", FIELD_REAL, offsetof(Type, member.eps), "1e-4", "(0,1)",                                      \
     "an entry counts as a sign while map(tau x) >= 1 - eps"},                                            \
    {"tau_max", FIELD_REAL, offsetof(Type, member.tau_max), tau_max_default, "[1,inf)",                   \
     "highest temperature, 1/units of the momentum"},                                                     \
    {"newton_iters", FIELD_INT, offsetof(Type, member.newton_iters), "10", "[1,100]",                     \
     "Newton iterations for a quantile of the folded Cauchy law"}
/* clang-format on */

/* Saved state of a group; must be its first scalars. measured_step is 0 until the statistics are taken. */
#define TEMPERATURE_SCALARS "median", "mad", "measured_step"
enum { SCALAR_MEDIAN, SCALAR_MAD, SCALAR_MEASURED_STEP };

/* A sample may lie in several arrays. */
typedef struct SamplePart {
    const float *x;
    size_t count;
} SamplePart;

/* Lower median of all x, and lower median of |x - median| in float; 0, 0 for an empty sample. Exact, needs
 * no memory, and the same for any number of threads. */
void median_and_mad(const SamplePart *parts, int part_count, int threads, double *median, double *mad);

/* c with map(c) = 1 - eps: where the map counts as saturated. */
double soft_map_saturation(int map, double eps);

/* q with P(|X| <= q) = p for X ~ Cauchy(median, mad), 0 <= p < 1, as the authors' code computes it. */
double folded_cauchy_quantile(double p, double median, double mad, int64_t newton_iters);

/* How many steps of a run are hard. */
int64_t temperature_hard_steps(const Temperature *t, int64_t total_steps);

/* tau at a step (1-based); INFINITY in the hard phase. */
double temperature_at(const Temperature *t, double median, double mad, int64_t step, int64_t total_steps);

/* Whether this step has to take the statistics: the first soft step that the group sees. */
bool temperature_is_due(const OptimGroup *group, const Temperature *t);

/* Takes them into the group's scalars. */
void temperature_measure(OptimGroup *group, const SamplePart *parts, int part_count);

/* temperature_at for this step and the group's statistics. */
double temperature_now(const OptimGroup *group, const Temperature *t);

#endif
