/* softmuon.c: Muon whose polar factor softens towards the end of a run, one singular value after another.
 *
 *     m <- beta m + (1 - beta) g
 *     X = beta m + (1 - beta) g                    (Nesterov, with the new m; else X = m)
 *     U = X (X^T X + tau^-2 I)^(-1/2)              X = P S Q^T  ->  P diag(tau s / sqrt(1 + (tau s)^2)) Q^T
 *     W <- (1 - lr wd) W - lr sqrt(max(1, rows / cols)) U
 *
 * tau is infinite (exactly Muon) for the first alpha_sign T steps, then falls: see temperature.h. It is
 * fitted to the singular values of all the group's matrices at the first soft step. Any map of the family
 * can stand in place of the algebraic one; with the hard ball's this is Muon throughout.
 *
 * Source: arXiv 2605.31371; preset `official` is its authors' code.
 */
#include "core/denormals.h"
#include "core/eigen.h"
#include "core/memory.h"
#include "optim/muon.h"
#include "optim/temperature.h"
#include <math.h>
#include <omp.h>

typedef struct SoftMuon {
    Muon muon;
    Temperature temperature;
    int statistics, soft_iteration;
    int64_t soft_steps;
} SoftMuon;

enum { STATISTICS_MOMENTUM, STATISTICS_GRADIENT };
enum { SOFT_STACKED, SOFT_COUPLED };

static const Field fields[] = {
    MUON_FIELDS(SoftMuon, muon),
    TEMPERATURE_FIELDS(SoftMuon, temperature, "algebraic", "1e9"),
    {"statistics", FIELD_CHOICE, offsetof(SoftMuon, statistics), "momentum", "momentum|gradient",
     "whose singular values the temperature is fitted to: the paper's, or its code's"},
    {"soft_iteration", FIELD_CHOICE, offsetof(SoftMuon, soft_iteration), "stacked", "stacked|coupled",
     "stacked converges; coupled is the authors' iteration, which mostly does not"},
    {"soft_steps", FIELD_INT, offsetof(SoftMuon, soft_steps), "5", "[1,100]",
     "steps of the coupled iteration"},
    {0},
};

static const Preset presets[] = {
    {"paper",
     "momentum_form=ema coefficients=converged map=algebraic tau_max=1e9 statistics=momentum "
     "soft_iteration=stacked",
     "polar factor and soft sign as written, both converged; statistics of the momentum"},
    {"official",
     "lr=0.02 weight_decay=0 momentum=0.95 momentum_form=ema nesterov=true coefficients=classic steps=5 "
     "scale=tall map=algebraic tau_max=1e9 statistics=gradient soft_iteration=coupled soft_steps=5",
     "the authors' code: five steps of either iteration, of which the soft one is far from converged; "
     "statistics of the raw gradient. Its other parameters get Adam: configs/softmuon_official.json"},
    {0},
};

static const char *check(const void *hyper) {
    const SoftMuon *h = hyper;
    if (h->soft_iteration == SOFT_COUPLED && h->temperature.map != MAP_ALGEBRAIC)
        return "soft_iteration coupled needs map algebraic";
    const char *wrong = muon_check(hyper);
    return wrong ? wrong : temperature_check(&h->temperature);
}

/* Muon's, and behind it the singular values. */
static size_t work_size(const void *hyper, int rows, int cols) {
    return muon_work_size(hyper, rows, cols) + (size_t)(rows < cols ? rows : cols);
}

/* ---- statistics: once in a run ---- */

/* One matrix of the group, and where its singular values go. */
typedef struct Sample {
    const OptimTensor *tensor;
    OptimPiece piece;
    float *values;
} Sample;

/* Every matrix of the group, in `samples` unless that is NULL; returns how many. Also the number of all
 * their singular values, which go to `values`. */
static int list_samples(const OptimGroup *group, Sample *samples, float *values, size_t *value_count) {
    int count = 0;
    *value_count = 0;
    for (int t = 0; t < group->tensor_count; t++) {
        const Param *p = group->tensors[t].param;
        int parts = muon_fuse_split(group->hyper) ? 1 : p->split, rows = p->rows / parts;
        size_t size = (size_t)rows * (size_t)p->cols;
        for (int i = 0; i < parts; i++, count++) {
            OptimPiece piece = {.begin = (size_t)i * size, .rows = rows, .cols = p->cols};
            if (samples) samples[count] = (Sample){&group->tensors[t], piece, values + *value_count};
            *value_count += (size_t)(rows < p->cols ? rows : p->cols);
        }
    }
    return count;
}

/* One matrix per thread; each result has its place, so the number of threads does not matter. */
static bool measure_samples(OptimGroup *group, Sample *samples, int count) {
    bool gradient = ((const SoftMuon *)group->hyper)->statistics == STATISTICS_GRADIENT, ok = true;
#pragma omp parallel num_threads(group->threads) reduction(&& : ok)
    {
        denormals_flush();
#pragma omp for schedule(dynamic, 1)
        for (int i = 0; i < count; i++) {
            Sample *s = &samples[i];
            s->piece.work = group->work[omp_get_thread_num()];
            MuonMatrix x = muon_matrix(!gradient, gradient, s->tensor, &s->piece);
            ok = singular_values(x.X, x.n, x.m, s->values, x.work) && ok;
        }
    }
    return ok;
}

static bool measure(OptimGroup *group, Error *err) {
    size_t value_count;
    int count = list_samples(group, NULL, NULL, &value_count);
    const char *what = "SoftMuon's singular values";
    Sample *samples = NULL;
    float *values = NULL;
    bool ok = (samples = memory_alloc((size_t)count, sizeof *samples, what, err)) &&
              (values = memory_alloc(value_count, sizeof *values, what, err));
    if (ok) {
        list_samples(group, samples, values, &value_count);
        ok = measure_samples(group, samples, count) ||
             error_set(err, ERR_DIVERGED,
                       "SoftMuon: LAPACK finds no singular values at step %lld; are all weights finite?",
                       (long long)group->step);
    }
    if (ok) temperature_measure(group, &(SamplePart){.x = values, .count = value_count}, 1);
    memory_free(samples);
    memory_free(values);
    return ok;
}

static bool agree(OptimGroup *group, Error *err) {
    const SoftMuon *h = group->hyper;
    if (temperature_is_due(group, &h->temperature) && !measure(group, err)) return false;
    group->temperature = temperature_now(group, &h->temperature);
    return true;
}

/* ---- update ---- */

typedef struct Map {
    SoftMap map;
    double tau;
} Map;

static double map_value(double s, const void *context) {
    const Map *map = context;
    double y = map->tau * s;
    return map->map == MAP_TANH ? tanh(y) : fmin(y, 1);
}

static void soften(const SoftMuon *h, Map map, const MuonMatrix *x) {
    switch (map.map) {
    case MAP_SIGN: muon_polar(&h->muon, x); break;
    case MAP_ALGEBRAIC:
        if (h->soft_iteration == SOFT_COUPLED)
            soft_sign_coupled(map.tau, (int)h->soft_steps, x->X, x->n, x->m, x->work);
        else soft_sign(map.tau, x->X, x->n, x->m, x->work);
        break;
    case MAP_LINEAR:
        for (size_t i = 0; i < (size_t)x->n * (size_t)x->m; i++) x->X[i] *= (float)map.tau;
        break;
    case MAP_TANH:
    case MAP_CLIP: spectral_map(map_value, &map, x->X, x->n, x->m, x->work); break;
    }
}

/* Counts singular values in the sign regime, all of them while tau is infinite, and adds up V*. */
static void count(const SoftMuon *h, Map map, const OptimPiece *piece, const MuonMatrix *x) {
    float *values = piece->work + muon_work_size(h, piece->rows, piece->cols);
    double least = soft_map_saturation(map.map, h->temperature.eps) / map.tau;
    if (!singular_values(x->X, x->n, x->m, values, x->work)) return;
    for (int i = 0; i < x->n; i++) {
        piece->counted[COUNT_SATURATED] += values[i] >= least;
        piece->counted[COUNT_DUAL] += soft_map_conjugate(map.map, map.tau * values[i]) / map.tau;
    }
    piece->counted[COUNT_ALL] += x->n;
}

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const SoftMuon *h = group->hyper;
    Map map = {(SoftMap)h->temperature.map, group->temperature};
    if (isinf(map.tau)) map = (Map){MAP_SIGN, 1};
    MuonMatrix x = muon_input(group, tensor, piece);
    if (group->measure) count(h, map, piece, &x);
    soften(h, map, &x);
    muon_apply(&h->muon, tensor, piece, &x);
}

const Optimizer optimizer_softmuon = {
    .name = "softmuon",
    .title = "SoftMuon",
    .equation = MOMENTUM_EQUATION
    "W <- (1 - lr wd) W - lr scale U,  x = P S Q^T,  U = P map(tau S) Q^T = -argmin_d <x, d> + V(d) / tau\n"
    "for the algebraic map U = x (x^T x + tau^-2 I)^(-1/2); polar(x) = P Q^T while tau is infinite\n"
    "tau = infinity in the first alpha_sign T steps; then fixed, or falling by quantiles of S\n"
    "\n" GEOMETRY_TABLE,
    .source = "Feoktistov et al., Softsign (arXiv 2605.31371): SoftMuon, and its family of geometries",
    .differs =
        "Newton-Schulz in fp32 instead of bfloat16; a fused q|k|v is taken as three matrices; the soft "
        "phase is converged unless soft_iteration is coupled, the authors'",
    .cost =
        "Muon's or less; with map tanh or clip, an eigendecomposition in double precision, 6 to 10 times "
        "Muon's; singular values, 1 to 3 times Muon's, once and in every logged step",
    .lr = 0.02,
    .weight_decay = 0,
    .scale = SCALE_IGNORED_WHILE_HARD,
    .presets = presets,
    .fields = fields,
    .hyper_size = sizeof(SoftMuon),
    .check = check,
    .roles = ROLE_BIT(ROLE_MATRIX) | ROLE_BIT(ROLE_EMBEDDING) | ROLE_BIT(ROLE_HEAD),
    .cut = CUT_MATRICES,
    .slots = (const char *const[]){"momentum", NULL},
    .scalars = (const char *const[]){TEMPERATURE_SCALARS, NULL},
    .work_size = work_size,
    .fuse_split = muon_fuse_split,
    .observe = muon_observe,
    .agree = agree,
    .update = update,
};
