/* optim.h: the plug-in contract of optimizers, and the framework that runs them.
 *
 * An optimizer is one file, optim/<name>.c, that defines one `const Optimizer`, and one line in the list at
 * the top of optim/optim.c. It declares its hyper-parameters, the roles it can update and its state; the
 * framework parses, allocates, zeroes, saves and frees, cuts the work and runs it on all threads.
 *
 * A step has up to three phases, each run over the whole group before the next:
 *     observe   per piece of a tensor: fold the gradient into state
 *     agree     once per group, sees all its tensors: global norms, medians, temperatures
 *     update    per piece of a tensor: change the weights
 * Only `agree` may look beyond its piece. A piece is a slice of any length (CUT_SLICES) or a whole matrix
 * (CUT_MATRICES; a fused q|k|v counts as three unless the optimizer says otherwise). Pieces do not depend
 * on the number of threads, so neither do the results.
 *
 * The weight update is always W <- (1 - lr * weight_decay) W - lr U: decoupled decay first, then the step.
 */
#ifndef OPTIM_OPTIM_H
#define OPTIM_OPTIM_H

#include "core/error.h"
#include "core/field.h"
#include "core/param.h"
#include <stddef.h>
#include <stdint.h>

#define OPTIM_MAX_SLOTS   4
#define OPTIM_MAX_SCALARS 8
#define ROLE_BIT(role)    (1u << (role))
#define ROLES_ALL         ((1u << ROLE_COUNT) - 1)

typedef struct Optimizer Optimizer;

/* One tensor as its optimizer sees it, at one step. */
typedef struct OptimTensor {
    const Param *param;            /* name, role, shape, w, g */
    double lr;                     /* of this step: schedule and role settings applied */
    double weight_decay;           /* of this role */
    float *slot[OPTIM_MAX_SLOTS];  /* state arrays as declared, each like the weights, zero at first */
    double agreed;                 /* for `agree` to leave to `update`: a norm, say; not saved */
} OptimTensor;

/* The tensors that share one optimizer and one set of hyper-parameters. */
typedef struct OptimGroup {
    const Optimizer *optimizer;
    const void *hyper; /* the optimizer's own struct, filled from its fields */
    OptimTensor *tensors;
    int tensor_count;
    double scalars[OPTIM_MAX_SCALARS]; /* saved state, as declared; zero at first */

    /* this step, set by the framework */
    int64_t step, total_steps; /* 1-based */
    double lr;                 /* of its first tensor at this step */
    bool measure;              /* the caller will log: fill in costly figures (saturated) too */
    int threads;               /* for loops inside `agree` */

    /* this step, set by the optimizer; NAN where the method has none */
    double temperature;     /* tau; INFINITY in the hard phase */
    double saturated_frac;  /* share of coordinates or singular values still in the sign regime */
} OptimGroup;

/* What a piece of work gets: its range, and room of its own. */
typedef struct OptimPiece {
    size_t begin, end; /* elements of the tensor; for CUT_MATRICES begin is a multiple of cols */
    int rows, cols;    /* CUT_MATRICES: shape of the piece */
    float *work;       /* work_size floats, content undefined; private to the running thread */
    double *counted;   /* two sums over pieces that the optimizer may add to in `update`: after the phase the
                          framework sets saturated_frac = counted[0] / counted[1] if counted[1] > 0 */
} OptimPiece;

typedef enum { CUT_SLICES, CUT_MATRICES } OptimCut;

struct Optimizer {
    const char *name;     /* as written in a config: "softmuon" */
    const char *title;    /* "SoftMuon" */
    const char *equation; /* ASCII, one step per line */
    const char *source;   /* paper, section, arXiv number */
    const char *differs;  /* how this implementation differs from the source, or "" */
    double lr, weight_decay; /* defaults */

    const Field *fields; /* hyper-parameters beyond lr and weight_decay; ends with {0}; NULL for none */
    size_t hyper_size;
    const char *(*check)(const void *hyper); /* optional: NULL or what is wrong with the combination */

    unsigned roles;       /* ROLE_BIT(...) it can update */
    OptimCut cut;
    const char *const *slots;   /* state array names, NULL-terminated; NULL for none */
    const char *const *scalars; /* saved group scalars' names, NULL-terminated; NULL for none */

    size_t (*work_size)(const void *hyper, int rows, int cols); /* optional: floats of scratch for one piece */
    bool (*fuse_split)(const void *hyper); /* optional: true = treat a fused q|k|v as one matrix */

    void (*observe)(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece); /* optional */
    bool (*agree)(OptimGroup *group, Error *err);                                                 /* optional */
    void (*update)(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece);
};

/* Every optimizer, NULL-terminated, and look-up by name (NULL if unknown). */
extern const Optimizer *const OPTIMIZERS[];
const Optimizer *optimizer_find(const char *name);

/* Who updates which role, and how. Roles with the same optimizer and `hyper` pointer form one group; groups
 * come in the order of their first role. */
typedef struct OptimPlan {
    struct {
        const Optimizer *optimizer;
        const void *hyper; /* must outlive the Optim */
        double lr;         /* before the schedule */
        double weight_decay;
    } role[ROLE_COUNT];
} OptimPlan;

typedef struct Optim {
    OptimGroup *groups;
    int group_count;
    int threads;
    OptimPlan plan;          /* as given to optim_create */
    float **work;            /* one per thread */
    struct OptimTask *tasks; /* the fixed cut, largest first */
    int task_count;
} Optim;

/* Allocates state for every tensor. A tensor whose role no optimizer covers is an error (ERR_CONFIG). */
bool optim_create(Optim *optim, const OptimPlan *plan, const Param *params, int param_count, int threads, Error *err);
void optim_free(Optim *optim);

/* Applies gradients to weights. step is 1-based; lr_factor is the schedule's value in [0, 1], which
 * multiplies every learning rate of the plan. The caller has checked that gradients are finite. */
bool optim_step(Optim *optim, int64_t step, int64_t total_steps, double lr_factor, bool measure, Error *err);

/* Bytes of state that optim_create would allocate, for --dry-run. */
size_t optim_state_bytes(const OptimPlan *plan, const Param *params, int param_count);

#endif
