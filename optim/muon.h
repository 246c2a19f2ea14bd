/* muon.h: what Muon and its kin share: everything but the map of singular values. Their hyper-parameters
 * begin with a Muon. */
#ifndef OPTIM_MUON_H
#define OPTIM_MUON_H

#include "optim/momentum.h"
#include "optim/spectral.h"

typedef struct Muon {
    Momentum momentum;
    int coefficients; /* PolarKind */
    int64_t steps;
    int scale; /* as listed in MUON_FIELDS */
    bool split_qkv;
} Muon;

/* clang-format off */
#define MUON_FIELDS(Type, member)                                                                         \
    MOMENTUM_FIELDS(Type, member.momentum, "0.95", "ema", "true"),                                        \
    {"coefficients", FIELD_CHOICE, offsetof(Type, member.coefficients), "classic",                        \
     "classic|polar_express|converged",                                                                   \
     "polynomials of the polar factor: Jordan's one, five tabulated, or as many as convergence takes"},   \
    {"steps", FIELD_INT, offsetof(Type, member.steps), "5", "[1,20]",                                     \
     "Newton-Schulz steps; not used by converged"},                                                       \
    {"scale", FIELD_CHOICE, offsetof(Type, member.scale), "tall", "tall|aspect|rms|none",                 \
     "factor of an update: sqrt(max(1, rows / cols)), sqrt(rows / cols), 0.2 sqrt(max(rows, cols)), 1"},  \
    {"split_qkv", FIELD_BOOL, offsetof(Type, member.split_qkv), "true", "",                               \
     "take a fused q|k|v as three matrices, not as one"}
/* clang-format on */

/* A matrix out for mapping: X (n, m) with n <= m, transposed if the weights are tall, and what is left of
 * the piece's work. */
typedef struct MuonMatrix {
    float *X;
    int n, m;
    float *work;
} MuonMatrix;

size_t muon_work_size(const void *hyper, int rows, int cols);

const char *muon_check(const void *hyper);
bool muon_fuse_split(const void *hyper);

/* m <- beta m + gain g */
void muon_observe(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece);

/* X = own m + ahead g, in piece->work. */
MuonMatrix muon_matrix(float own, float ahead, const OptimTensor *tensor, const OptimPiece *piece);

/* What the step maps: the momentum, or Nesterov's beta m + gain g. After muon_observe. This and muon_apply leave
 * copies for diagnostics in tensor->mapped. */
MuonMatrix muon_input(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece);

/* The hard map, in place. */
void muon_polar(const Muon *h, const MuonMatrix *x);

/* W <- (1 - lr wd) W - lr scale X */
void muon_apply(const Muon *h, const OptimTensor *tensor, const OptimPiece *piece, const MuonMatrix *x);

#endif
