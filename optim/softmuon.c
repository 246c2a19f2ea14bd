/* softmuon.c: Muon whose polar factor softens towards the end of a run, one singular value after another.
 *
 *     m <- beta m + (1 - beta) g
 *     X = beta m + (1 - beta) g                    (Nesterov, with the new m; else X = m)
 *     U = X (X^T X + tau^-2 I)^(-1/2)              X = P S Q^T  ->  P diag(tau s / sqrt(1 + (tau s)^2)) Q^T
 *     W <- (1 - lr wd) W - lr sqrt(max(1, rows / cols)) U
 *
 * tau is infinite (exactly Muon) for the first alpha_sign T steps, then falls: see temperature.h. It is
 * fitted to the singular values of all the group's matrices at the first soft step.
 *
 * Source: arXiv 2605.31371. Its authors' code: statistics "gradient", soft_iteration "coupled".
 */
#include "core/denormals.h"
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

static const char *check(const void *hyper) {
    const SoftMuon *h = hyper;
    bool coupled = h->soft_iteration == SOFT_COUPLED;
    return coupled && h->temperature.map != MAP_ALGEBRAIC ? "soft_iteration coupled needs map algebraic"
                                                          : NULL;
}

static bool fuse_split(const void *hyper) {
    return !((const SoftMuon *)hyper)->muon.split_qkv;
}

static void observe(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    muon_observe(&((const SoftMuon *)group->hyper)->muon, tensor, piece);
}

/* ---- statistics: once in a run ---- */

/* One matrix of the group, and where its singular values go. */
typedef struct Sample {
    const OptimTensor *tensor;
    OptimPiece piece;
    float *values;
} Sample;

/* Every matrix of the group, in `samples` unless that is NULL; returns how many. Also the number of all
 * their singular values, which go to `values`, and the most work that any matrix needs. */
static int list_samples(const OptimGroup *group, Sample *samples, float *values, size_t *value_count,
                        size_t *work_floats) {
    int count = 0;
    *value_count = *work_floats = 0;
    for (int t = 0; t < group->tensor_count; t++) {
        const Param *p = group->tensors[t].param;
        int parts = fuse_split(group->hyper) ? 1 : p->split, rows = p->rows / parts;
        size_t size = (size_t)rows * (size_t)p->cols, work = muon_work_size(group->hyper, rows, p->cols);
        for (int i = 0; i < parts; i++, count++) {
            OptimPiece piece = {.begin = (size_t)i * size, .rows = rows, .cols = p->cols};
            if (samples) samples[count] = (Sample){&group->tensors[t], piece, values + *value_count};
            *value_count += (size_t)(rows < p->cols ? rows : p->cols);
        }
        if (work > *work_floats) *work_floats = work;
    }
    return count;
}

/* One matrix per thread; each result has its place, so the number of threads does not matter. */
static bool measure_samples(OptimGroup *group, Sample *samples, int count, float *work,
                            size_t work_floats) {
    bool gradient = ((const SoftMuon *)group->hyper)->statistics == STATISTICS_GRADIENT, ok = true;
#pragma omp parallel num_threads(group->threads) reduction(&& : ok)
    {
        denormals_flush();
#pragma omp for schedule(dynamic, 1)
        for (int i = 0; i < count; i++) {
            Sample *s = &samples[i];
            s->piece.work = work + (size_t)omp_get_thread_num() * work_floats;
            MuonMatrix x = muon_matrix(!gradient, gradient, s->tensor, &s->piece);
            ok = singular_values(x.X, x.n, x.m, s->values, x.work) && ok;
        }
    }
    return ok;
}

static bool measure(OptimGroup *group, Error *err) {
    size_t value_count, work_floats;
    int count = list_samples(group, NULL, NULL, &value_count, &work_floats);
    const char *what = "SoftMuon's singular values";
    Sample *samples = NULL;
    float *values = NULL, *work = NULL;
    bool ok = (samples = memory_alloc((size_t)count, sizeof *samples, what, err)) &&
              (values = memory_alloc(value_count, sizeof *values, what, err)) &&
              (work = memory_alloc((size_t)group->threads, work_floats * sizeof *work, what, err));
    if (ok) {
        list_samples(group, samples, values, &value_count, &work_floats);
        ok = measure_samples(group, samples, count, work, work_floats) ||
             error_set(err, ERR_DIVERGED,
                       "SoftMuon: LAPACK finds no singular values at step %lld; are all weights finite?",
                       (long long)group->step);
    }
    if (ok) temperature_measure(group, &(SamplePart){values, value_count}, 1);
    memory_free(samples);
    memory_free(values);
    memory_free(work);
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
    int map;
    double tau;
} Map;

static double map_value(double s, const void *context) {
    const Map *map = context;
    double y = map->tau * s;
    return map->map == MAP_TANH ? tanh(y) : fmin(y, 1);
}

static void soften(const SoftMuon *h, double tau, const MuonMatrix *x) {
    Map map = {h->temperature.map, tau};
    if (isinf(tau)) muon_polar(&h->muon, x);
    else if (map.map != MAP_ALGEBRAIC) spectral_map(map_value, &map, x->X, x->n, x->m, x->work);
    else if (h->soft_iteration == SOFT_COUPLED)
        soft_sign_coupled(tau, (int)h->soft_steps, x->X, x->n, x->m, x->work);
    else soft_sign(tau, x->X, x->n, x->m, x->work);
}

static void update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    const SoftMuon *h = group->hyper;
    MuonMatrix x = muon_input(&h->muon, tensor, piece);
    if (group->measure) {
        double least = soft_map_saturation(h->temperature.map, h->temperature.eps) / group->temperature;
        piece->counted[COUNT_SATURATED] += least > 0 ? singular_values_above(least, x.X, x.n, x.m, x.work) : x.n;
        piece->counted[COUNT_ALL] += x.n;
    }
    soften(h, group->temperature, &x);
    muon_apply(&h->muon, tensor, piece, &x);
}

const Optimizer optimizer_softmuon = {
    .name = "softmuon",
    .title = "SoftMuon",
    .equation = "m <- beta m + (1 - beta) g\n"
                "X = beta m + (1 - beta) g (nesterov), else m\n"
                "U = X (X^T X + tau^-2 I)^(-1/2); polar(X) while tau is infinite\n"
                "W <- (1 - lr wd) W - lr scale U",
    .source = "arXiv 2605.31371",
    .differs =
        "the soft phase is converged (soft_iteration coupled is the authors'); tanh and clip go through a\n"
        "double-precision eigendecomposition, exact and slow",
    .cost = "Muon's; singular values once",
    .lr = 0.02,
    .weight_decay = 0,
    .scale = SCALE_IGNORED_WHILE_HARD,
    .fields = fields,
    .hyper_size = sizeof(SoftMuon),
    .check = check,
    .roles = ROLE_BIT(ROLE_MATRIX) | ROLE_BIT(ROLE_EMBEDDING) | ROLE_BIT(ROLE_HEAD),
    .cut = CUT_MATRICES,
    .slots = (const char *const[]){"momentum", NULL},
    .scalars = (const char *const[]){TEMPERATURE_SCALARS, NULL},
    .work_size = muon_work_size,
    .fuse_split = fuse_split,
    .observe = observe,
    .agree = agree,
    .update = update,
};
