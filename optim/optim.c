/* optim.c: the list of optimizers, and the framework that runs them. See optim.h. */
#include "optim/optim.h"

#include "core/denormals.h"
#include "core/memory.h"
#include <math.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>

/* clang-format off */
#define EACH_OPTIMIZER(X) \
    X(adamw)              \
    X(ademamix)           \
    X(adopt)              \
    X(hard_switch)        \
    X(hard_switch_muon)   \
    X(lion)               \
    X(mars)               \
    X(muon)               \
    X(normuon)            \
    X(nsgd)               \
    X(prodigy)            \
    X(s3)                 \
    X(scion)              \
    X(sf_adamw)           \
    X(sgd)                \
    X(signsgd)            \
    X(signum)             \
    X(soap)               \
    X(soft_adam)          \
    X(softmuon)           \
    X(softsignum)
/* clang-format on */

#define DECLARATION(name) extern const Optimizer optimizer_##name;
#define ADDRESS(name)     &optimizer_##name,
EACH_OPTIMIZER(DECLARATION)
const Optimizer *const OPTIMIZERS[] = {EACH_OPTIMIZER(ADDRESS) NULL};

const Optimizer *optimizer_find(const char *name) {
    for (const Optimizer *const *o = OPTIMIZERS; *o; o++)
        if (strcmp((*o)->name, name) == 0) return *o;
    return NULL;
}

const Preset *optimizer_preset(const Optimizer *optimizer, const char *name) {
    for (const Preset *p = optimizer->presets; p && p->name; p++)
        if (strcmp(p->name, name) == 0) return p;
    return NULL;
}

int optimizer_slot_count(const Optimizer *optimizer) {
    int n = 0;
    while (optimizer->slots && optimizer->slots[n]) n++;
    return n;
}

/* Elements of a slice: four arrays of it stay in a core's second-level cache between two loops. */
#define SLICE_SIZE ((size_t)32768)

struct OptimTask {
    OptimGroup *group;
    OptimTensor *tensor;
    OptimPiece piece;
    double counted[COUNTS];
    double cost; /* in multiplications, roughly */
    int order;   /* as cut: settles the order of equal costs */
};

/* ---- the cut ------------------------------------------------------------------------------------ */

int optim_matrix_count(const OptimGroup *group, const Param *p) {
    const Optimizer *o = group->optimizer;
    return o->fuse_split && o->fuse_split(group->hyper) ? 1 : p->split;
}

static size_t piece_size(const OptimGroup *group, const Param *p) {
    return group->optimizer->cut == CUT_SLICES ? SLICE_SIZE
                                               : param_size(p) / (size_t)optim_matrix_count(group, p);
}

static size_t piece_count(const OptimGroup *group, const Param *p) {
    size_t size = piece_size(group, p);
    return (param_size(p) + size - 1) / size;
}

/* Floats of a state array for one whole piece. */
static size_t piece_slot_size(const OptimGroup *group, const Param *p, int slot) {
    const Optimizer *o = group->optimizer;
    return o->slot_size ? o->slot_size(group->hyper, slot, p->rows / optim_matrix_count(group, p), p->cols)
                        : piece_size(group, p);
}

size_t optim_slot_size(const OptimGroup *group, const Param *p, int slot) {
    if (group->optimizer->slot_size == NULL) return param_size(p);
    return (size_t)optim_matrix_count(group, p) * piece_slot_size(group, p, slot);
}

static void cut_tensor(Optim *optim, OptimGroup *group, OptimTensor *tensor) {
    const Param *p = tensor->param;
    size_t size = piece_size(group, p), whole = param_size(p);
    for (size_t begin = 0, index = 0; begin < whole; begin += size, index++) {
        size_t end = whole - begin < size ? whole : begin + size;
        struct OptimTask task = {.group = group, .tensor = tensor, .order = optim->task_count};
        task.piece = (OptimPiece){.begin = begin, .end = end};
        for (int i = 0; i < optimizer_slot_count(group->optimizer); i++)
            task.piece.slot[i] = tensor->slot[i] + index * piece_slot_size(group, p, i);
        task.cost = (double)(end - begin);
        if (group->optimizer->cut == CUT_MATRICES) {
            int rows = p->rows / optim_matrix_count(group, p), cols = p->cols;
            task.piece.rows = rows;
            task.piece.cols = cols;
            task.cost *= rows < cols ? rows : cols;
        }
        optim->tasks[optim->task_count++] = task;
    }
}

/* Largest first, so that threads finish together. */
static int by_cost(const void *a, const void *b) {
    const struct OptimTask *x = a, *y = b;
    return x->cost != y->cost ? (x->cost < y->cost) - (x->cost > y->cost) : x->order - y->order;
}

/* ---- creation ----------------------------------------------------------------------------------- */

/* The group of a role: the first that has the same optimizer and hyper-parameters, else a new one. */
static OptimGroup *group_of_role(Optim *optim, Role role) {
    const Optimizer *optimizer = optim->plan.role[role].optimizer;
    const void *hyper = optim->plan.role[role].hyper;
    for (int i = 0; i < optim->group_count; i++)
        if (optim->groups[i].optimizer == optimizer && optim->groups[i].hyper == hyper)
            return &optim->groups[i];
    OptimGroup *group = &optim->groups[optim->group_count++];
    *group = (OptimGroup){.optimizer = optimizer, .hyper = hyper, .threads = optim->threads};
    return group;
}

static bool check_covered(const OptimPlan *plan, const Param *p, Error *err) {
    const Optimizer *o = plan->role[p->role].optimizer;
    if (o == NULL)
        return error_set(err, ERR_CONFIG, "no optimizer covers %s (role %s)", p->name, ROLE_NAMES[p->role]);
    if (!(o->roles & ROLE_BIT(p->role)))
        return error_set(err, ERR_CONFIG, "%s cannot update %s (role %s)", o->name, p->name,
                         ROLE_NAMES[p->role]);
    return true;
}

static bool add_tensor(OptimGroup *group, const Param *p, int most, Error *err) {
    if (group->tensors == NULL)
        group->tensors = memory_alloc((size_t)most, sizeof *group->tensors, "optimizer tensors", err);
    if (group->tensors == NULL) return false;
    group->tensors[group->tensor_count++].param = p;
    return true;
}

/* Tensors into groups, groups in the order of the roles. */
static bool build_groups(Optim *optim, const Param *params, int param_count, Error *err) {
    optim->groups = memory_alloc(ROLE_COUNT, sizeof *optim->groups, "optimizer groups", err);
    if (optim->groups == NULL) return false;
    for (Role role = 0; role < ROLE_COUNT; role++)
        for (const Param *p = params; p < params + param_count; p++) {
            if (p->role != role) continue;
            if (!check_covered(&optim->plan, p, err)) return false;
            if (!add_tensor(group_of_role(optim, role), p, param_count, err)) return false;
        }
    return true;
}

#define EACH_TENSOR(group, tensor, optim)                                                                  \
    for (OptimGroup *group = (optim)->groups; group < (optim)->groups + (optim)->group_count; group++)     \
        for (OptimTensor *tensor = group->tensors; tensor < group->tensors + group->tensor_count; tensor++)

static bool build_tasks(Optim *optim, Error *err) {
    size_t count = 0;
    EACH_TENSOR(group, tensor, optim) count += piece_count(group, tensor->param);
    optim->tasks = memory_alloc(count, sizeof *optim->tasks, "optimizer tasks", err);
    if (optim->tasks == NULL) return false;
    EACH_TENSOR(group, tensor, optim) cut_tensor(optim, group, tensor);
    qsort(optim->tasks, count, sizeof *optim->tasks, by_cost);
    return true;
}

/* Places every state array in one block, a cache line apart from the next, and returns the block's floats,
 * SIZE_MAX when they fit no address space. base NULL only counts. */
static size_t lay_out_state(Optim *optim, float *base) {
    size_t used = 0;
    EACH_TENSOR(group, tensor, optim)
    for (int s = 0; s < optimizer_slot_count(group->optimizer); s++) {
        if (base) tensor->slot[s] = base + used;
        size_t size = optim_slot_size(group, tensor->param, s);
        if (size > SIZE_MAX / 16 || used > SIZE_MAX / 16) return SIZE_MAX;
        used += (size + 15) / 16 * 16;
    }
    return used;
}

/* Floats of scratch that a thread needs for the largest piece. */
static size_t largest_work(const Optim *optim) {
    size_t most = 0;
    EACH_TENSOR(group, tensor, optim) {
        const Param *p = tensor->param;
        if (group->optimizer->work_size == NULL) continue;
        size_t size =
            group->optimizer->work_size(group->hyper, p->rows / optim_matrix_count(group, p), p->cols);
        if (size > most) most = size;
    }
    return most;
}

static bool alloc_work(Optim *optim, Error *err) {
    size_t most = largest_work(optim);
    if (!(optim->work = memory_alloc((size_t)optim->threads, sizeof *optim->work, "optimizer work", err)))
        return false;
    for (int t = 0; t < optim->threads && most > 0; t++)
        if (!(optim->work[t] = memory_alloc(most, sizeof(float), "optimizer work", err))) return false;
    return true;
}

bool optim_plan(Optim *optim, const OptimPlan *plan, const Param *params, int param_count, int threads,
                size_t *state_bytes, size_t *work_bytes, Error *err) {
    *optim = (Optim){.threads = threads, .gradient_factor = 1, .plan = *plan};
    if (!build_groups(optim, params, param_count, err)) {
        optim_free(optim);
        return false;
    }
    size_t floats = lay_out_state(optim, NULL);
    *state_bytes = floats == SIZE_MAX ? SIZE_MAX : floats * sizeof(float);
    *work_bytes = largest_work(optim) * sizeof(float) * (size_t)threads;
    return true;
}

bool optim_create(Optim *optim, const OptimPlan *plan, const Param *params, int param_count, int threads,
                  Error *err) {
    size_t state_bytes, work_bytes;
    if (!optim_plan(optim, plan, params, param_count, threads, &state_bytes, &work_bytes, err))
        return false;
    optim->state = memory_alloc(state_bytes, 1, "optimizer state", err);
    if (optim->state) lay_out_state(optim, optim->state);
    if (optim->state && build_tasks(optim, err) && alloc_work(optim, err)) return true;
    optim_free(optim);
    return false;
}

void optim_free(Optim *optim) {
    for (int g = 0; g < optim->group_count; g++) memory_free(optim->groups[g].tensors);
    for (int t = 0; optim->work && t < optim->threads; t++) memory_free(optim->work[t]);
    memory_free(optim->work);
    memory_free(optim->state);
    memory_free(optim->groups);
    memory_free(optim->tasks);
    *optim = (Optim){0};
}

/* ---- a step ------------------------------------------------------------------------------------- */

static void begin_step(Optim *optim, int64_t step, int64_t total_steps, double lr_factor, bool measure) {
    for (OptimGroup *g = optim->groups; g < optim->groups + optim->group_count; g++) {
        g->age++;
        g->step = step;
        g->total_steps = total_steps;
        g->measure = measure;
        g->work = optim->work;
        g->temperature = g->saturated_frac = g->dual_progress = NAN;
        for (int i = 0; i < g->tensor_count; i++) {
            OptimTensor *t = &g->tensors[i];
            t->lr = optim->plan.role[t->param->role].lr * lr_factor;
            t->weight_decay = optim->plan.role[t->param->role].weight_decay;
        }
        g->lr = g->tensors[0].lr;
    }
}

typedef enum { OBSERVE, UPDATE } Phase;

void optim_scale_gradient(Optim *optim, double factor) {
    optim->gradient_factor = (float)factor;
}

static void scale_piece(const struct OptimTask *task, float factor) {
    float *g = task->tensor->param->g;
    for (size_t i = task->piece.begin; i < task->piece.end; i++) g[i] *= factor;
}

/* Whichever phase comes first scales the gradient. */
static void run_phase(Optim *optim, Phase phase) {
#pragma omp parallel num_threads(optim->threads)
    {
        float *work = optim->work[omp_get_thread_num()];
        denormals_flush();
#pragma omp for schedule(runtime)
        for (int i = 0; i < optim->task_count; i++) {
            struct OptimTask *task = &optim->tasks[i];
            const Optimizer *o = task->group->optimizer;
            task->piece.work = work;
            task->piece.counted = task->counted;
            memset(task->counted, 0, sizeof task->counted);
            if (optim->gradient_factor != 1) scale_piece(task, optim->gradient_factor);
            if (phase == UPDATE) o->update(task->group, task->tensor, &task->piece);
            else if (o->observe) o->observe(task->group, task->tensor, &task->piece);
        }
    }
    optim->gradient_factor = 1;
}

/* Does any method look at a gradient before its update? */
static bool any_looks_ahead(const Optim *optim) {
    for (int g = 0; g < optim->group_count; g++)
        if (optim->groups[g].optimizer->observe || optim->groups[g].optimizer->agree) return true;
    return false;
}

/* In the tasks' order, so that no number of threads changes the sums. */
static void sum_counted(Optim *optim) {
    EACH_TENSOR(group, tensor, optim) memset(tensor->counted, 0, sizeof tensor->counted);
    for (int i = 0; i < optim->task_count; i++)
        for (int k = 0; k < COUNTS; k++) optim->tasks[i].tensor->counted[k] += optim->tasks[i].counted[k];
    for (OptimGroup *g = optim->groups; g < optim->groups + optim->group_count; g++) {
        double sum[COUNTS] = {0};
        for (int i = 0; i < optim->task_count; i++)
            for (int k = 0; k < COUNTS && optim->tasks[i].group == g; k++)
                sum[k] += optim->tasks[i].counted[k];
        if (sum[COUNT_ALL] == 0) continue;
        g->saturated_frac = sum[COUNT_SATURATED] / sum[COUNT_ALL];
        g->dual_progress = sum[COUNT_DUAL];
    }
}

bool optim_step(Optim *optim, int64_t step, int64_t total_steps, double lr_factor, bool measure,
                Error *err) {
    begin_step(optim, step, total_steps, lr_factor, measure);
    if (any_looks_ahead(optim)) run_phase(optim, OBSERVE);
    for (int g = 0; g < optim->group_count; g++)
        if (optim->groups[g].optimizer->agree && !optim->groups[g].optimizer->agree(&optim->groups[g], err))
            return false;
    run_phase(optim, UPDATE);
    sum_counted(optim);
    return true;
}

void optim_show(Optim *optim, OptimWeights which) {
#pragma omp parallel for num_threads(optim->threads) schedule(runtime)
    for (int i = 0; i < optim->task_count; i++) {
        const struct OptimTask *task = &optim->tasks[i];
        const Optimizer *o = task->group->optimizer;
        if (o->show && task->group->age > 0) o->show(task->group, task->tensor, &task->piece, which);
    }
}

/* Parts of a fixed number, so that the number of threads does not change the sum. */
double optim_sum(const OptimGroup *group, const OptimTensor *tensor,
                 double (*part)(const OptimGroup *group, const OptimTensor *tensor, size_t begin,
                                size_t end)) {
    enum { PARTS = 64 };
    double parts[PARTS] = {0}, sum = 0;
    const size_t size = param_size(tensor->param), length = (size + PARTS - 1) / PARTS;
#pragma omp parallel num_threads(group->threads) if (size > 1 << 16)
    {
        denormals_flush();
#pragma omp for
        for (int k = 0; k < PARTS; k++) {
            size_t begin = (size_t)k * length, end = begin + length < size ? begin + length : size;
            if (begin < end) parts[k] = part(group, tensor, begin, end);
        }
    }
    for (int k = 0; k < PARTS; k++) sum += parts[k];
    return sum;
}
