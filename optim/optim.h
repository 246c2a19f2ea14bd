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
 * The weight update is W <- (1 - lr * weight_decay) W - lr U: decoupled decay first, then the step. An
 * optimizer whose source has another rule says so in `differs` or in its equation.
 */
#ifndef OPTIM_OPTIM_H
#define OPTIM_OPTIM_H

#include "core/error.h"
#include "core/field.h"
#include "core/param.h"
#include <stddef.h>
#include <stdint.h>

#define OPTIM_MAX_SLOTS   6
#define OPTIM_MAX_SCALARS 8
#define ROLE_BIT(role)    (1u << (role))
#define ROLES_ALL         ((1u << ROLE_COUNT) - 1)

typedef struct Optimizer Optimizer;

/* What `update` may count while group->measure; the framework adds up the pieces. */
enum {
    COUNT_SATURATED, /* coordinates, or singular values, in the sign regime */
    COUNT_ALL,       /* of so many; saturated_frac = COUNT_SATURATED / COUNT_ALL if that is above zero */
    COUNT_DUAL,      /* the piece's part of dual_progress */
    COUNTS
};

/* What is mapped[MAPPED_IN], and [MAPPED_OUT]: the update before scale and learning rate. */
enum { MAPPED_IN, MAPPED_OUT };

/* One tensor as its optimizer sees it, at one step. */
typedef struct OptimTensor {
    const Param *param;           /* name, role, shape, w, g; a step may use up g */
    double lr;                    /* of this step: schedule and role settings applied */
    double weight_decay;          /* of this role */
    float *slot[OPTIM_MAX_SLOTS]; /* state arrays as declared, zero at first */
    double agreed;                /* for `agree` to leave to `update`: a norm, say; not saved */

    /* for diagnostics */
    double counted[COUNTS]; /* the pieces' counts of a step that is measured, added up */
    /* NULL, or room (param_size) for what a method of singular values maps, and for what comes out: as muon.c
     * leaves it, one of the tensor's matrices behind the other, transposed if they are tall. */
    float *mapped[2];
} OptimTensor;

/* The tensors that share one optimizer and one set of hyper-parameters. */
typedef struct OptimGroup {
    const Optimizer *optimizer;
    const void *hyper; /* the optimizer's own struct, filled from its fields */
    OptimTensor *tensors;
    int tensor_count;
    double scalars[OPTIM_MAX_SCALARS]; /* saved state, as declared; zero at first */
    int64_t age; /* updates that this state has seen, this one included; saved. 1 at the first */

    /* this step, set by the framework */
    int64_t step, total_steps; /* of the run, 1-based: for schedules. Bias corrections go by age */
    double lr;                 /* of its first tensor at this step */
    bool measure;              /* the caller will log: fill in costly figures (saturated) too */
    int threads;               /* for loops inside `agree`, */
    float *const *work;        /* with scratch for each thread, work_size of the largest piece */

    /* this step, set by the optimizer; NAN where the method has none */
    double temperature;    /* tau; INFINITY in the hard phase */
    double saturated_frac; /* share of coordinates or singular values still in the sign regime */
    double dual_progress;  /* V*(tau m) / tau, see temperature.h */
} OptimGroup;

/* What a piece of work gets: its range, and room of its own. */
typedef struct OptimPiece {
    size_t begin, end;            /* elements of the tensor; for CUT_MATRICES begin is a multiple of cols */
    int rows, cols;               /* CUT_MATRICES: shape of the piece */
    float *slot[OPTIM_MAX_SLOTS]; /* where the piece's part of each state array begins */
    float *work;                  /* work_size floats, content undefined; private to the running thread */
    double *counted;              /* COUNTS sums, zero at first */
} OptimPiece;

typedef enum { CUT_SLICES, CUT_MATRICES } OptimCut;

/* What happens to the updates when all gradients of a run are multiplied by one number >= 1. The tests hold
 * every optimizer to its claim. */
typedef enum {
    SCALE_UNCLAIMED,          /* nothing exact is said */
    SCALE_IGNORED,            /* the same, up to rounding and a small eps */
    SCALE_IGNORED_WHILE_HARD, /* the same while the temperature is infinite, others in the soft phase */
    SCALE_PROPORTIONAL,       /* multiplied too */
} OptimScale;

/* A published reading of a method where it has several: {"as": "official"} in a config. Settings are words
 * "name=value", lr and weight_decay among them, which replace defaults; what a config says itself wins. */
typedef struct Preset {
    const char *name, *settings, *doc;
} Preset;

/* Methods that evaluate other weights than those they take gradients at keep both in their state. */
typedef enum { WEIGHTS_TRAINED, WEIGHTS_EVALUATED } OptimWeights;

struct Optimizer {
    const char *name;        /* as written in a config: "softmuon" */
    const char *title;       /* "SoftMuon" */
    const char *equation;    /* ASCII, one step per line */
    const char *source;      /* paper, section, arXiv number */
    const char *differs;     /* how this implementation differs from the source, or "" */
    const char *cost;        /* of a step: passes over memory, or FLOPs of a matrix */
    double lr, weight_decay; /* defaults */
    OptimScale scale;
    const Preset *presets; /* ends with {0}; NULL: there is one reading */

    const Field *fields; /* hyper-parameters beyond lr and weight_decay; ends with {0}; NULL for none */
    size_t hyper_size;
    const char *(*check)(const void *hyper); /* optional: NULL or what is wrong with the combination */

    unsigned roles; /* ROLE_BIT(...) it can update */
    OptimCut cut;
    /* Names, NULL-terminated; NULL for none. Arrays of one name hold the same: a run that branches off another takes
     * over what both methods keep (docs/checkpoints.md). */
    const char *const *slots;   /* state arrays */
    const char *const *scalars; /* of the group */

    /* For CUT_MATRICES, each optional. Floats of scratch for one piece; floats of a state array for one piece,
     * where that is not rows * cols; whether a fused q|k|v is one matrix. */
    size_t (*work_size)(const void *hyper, int rows, int cols);
    size_t (*slot_size)(const void *hyper, int slot, int rows, int cols);
    bool (*fuse_split)(const void *hyper);

    /* The phases; only `update` must be there. `show` is for methods that evaluate other weights than those
     * they train: it writes either kind into the piece's weights from state, and never runs before the first
     * update. */
    void (*observe)(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece);
    bool (*agree)(OptimGroup *group, Error *err);
    void (*update)(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece);
    void (*show)(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece,
                 OptimWeights which);
};

/* Every optimizer, NULL-terminated, and look-up by name (NULL if unknown). */
extern const Optimizer *const OPTIMIZERS[];
const Optimizer *optimizer_find(const char *name);
const Preset *optimizer_preset(const Optimizer *optimizer, const char *name);
int optimizer_slot_count(const Optimizer *optimizer);

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
    float gradient_factor;   /* of the next step, see optim_scale_gradient */
    OptimPlan plan;          /* as given to optim_create */
    float *state;            /* every state array */
    float **work;            /* one per thread */
    struct OptimTask *tasks; /* the fixed cut, largest first */
    int task_count;
} Optim;

/* Groups the tensors and counts the bytes that optim_create would allocate for state and for all threads'
 * scratch, without allocating them. Free with optim_free. */
bool optim_plan(Optim *optim, const OptimPlan *plan, const Param *params, int param_count, int threads,
                size_t *state_bytes, size_t *work_bytes, Error *err);

/* Allocates state for every tensor. A tensor whose role no optimizer covers is an error (ERR_CONFIG). */
bool optim_create(Optim *optim, const OptimPlan *plan, const Param *params, int param_count, int threads,
                  Error *err);
void optim_free(Optim *optim);

/* The next step multiplies the gradient by `factor` before it does anything else: to clip it, without a pass of
 * its own over memory. */
void optim_scale_gradient(Optim *optim, double factor);

/* Applies gradients to weights. step is 1-based; lr_factor is the schedule's value in [0, 1], which
 * multiplies every learning rate of the plan. The caller has checked that gradients are finite. */
bool optim_step(Optim *optim, int64_t step, int64_t total_steps, double lr_factor, bool measure,
                Error *err);

/* Puts the weights to evaluate (and to save) in place of those to train, and back, to the bit. No optimizer's
 * step may run in between. */
void optim_show(Optim *optim, OptimWeights which);

/* Floats of a state array of a tensor. */
size_t optim_slot_size(const OptimGroup *group, const Param *param, int slot);

/* Matrices stacked in a tensor, as its optimizer sees them: param->split, or 1 where it takes a fused q|k|v whole. */
int optim_matrix_count(const OptimGroup *group, const Param *param);

/* For `agree`: the sum over a tensor of what `part` returns for [begin, end), on the group's threads, in an
 * order that does not depend on their number. */
double optim_sum(const OptimGroup *group, const OptimTensor *tensor,
                 double (*part)(const OptimGroup *group, const OptimTensor *tensor, size_t begin,
                                size_t end));

#endif
