/* world.h: a small model of every role, for tests of optimizers through the framework. */
#ifndef TEST_WORLD_H
#define TEST_WORLD_H

#include "core/rng.h"
#include "test/golden.h"

/* A model of one tensor for each role that an optimizer can update, with room for several slices, three stacked
 * matrices, a matrix of one row and one of one column. */
enum { TENSORS = 6, STEPS = 10 };

typedef struct World {
    const Optimizer *optimizer;
    void *hyper;
    Param params[TENSORS];
    int count;
    Optim optim;
} World;

static inline void world_open(World *world, const Optimizer *optimizer, const char *settings, double lr,
                              double decay, int threads) {
    static const Param shapes[TENSORS] = {
        {.name = "matrix", .role = ROLE_MATRIX, .rows = 24, .cols = 10, .split = 3},
        {.name = "embedding", .role = ROLE_EMBEDDING, .rows = 350, .cols = 101, .split = 1},
        {.name = "head", .role = ROLE_HEAD, .rows = 9, .cols = 11, .split = 1},
        {.name = "vector", .role = ROLE_VECTOR, .rows = 1, .cols = 37, .split = 1},
        {.name = "row", .role = ROLE_MATRIX, .rows = 1, .cols = 40, .split = 1},
        {.name = "column", .role = ROLE_MATRIX, .rows = 40, .cols = 1, .split = 1},
    };
    Error err;
    *world = (World){.optimizer = optimizer, .hyper = golden_hyper(optimizer, settings)};
    for (int i = 0; i < TENSORS; i++) {
        if (!(optimizer->roles & ROLE_BIT(shapes[i].role))) continue;
        Param *p = &world->params[world->count++];
        *p = shapes[i];
        p->w = calloc(param_size(p), sizeof(float));
        p->g = calloc(param_size(p), sizeof(float));
        for (size_t k = 0; k < param_size(p); k++) p->w[k] = (float)rng_normal(1, p->role, k);
    }
    OptimPlan plan = golden_plan(optimizer, world->hyper, lr, decay);
    if (!optim_create(&world->optim, &plan, world->params, world->count, threads, &err))
        fail_msg("%s", err.text);
}

static inline void world_close(World *world) {
    optim_free(&world->optim);
    golden_params_free(world->params, world->count);
    free(world->hyper);
}

/* Gradients of a step: `scale` times numbers between -1 and 1. */
static inline void world_draw(World *world, int step, float scale) {
    for (int i = 0; i < world->count; i++)
        for (size_t k = 0; k < param_size(&world->params[i]); k++)
            world->params[i].g[k] =
                scale * (float)(2 * rng_uniform(2 + (uint64_t)step, world->params[i].role, k) - 1);
}

static inline void world_step(World *world, int step, int total) {
    Error err;
    if (!optim_step(&world->optim, step, total, 1, true, &err)) fail_msg("%s", err.text);
}

static inline void world_run(World *world, int steps, float scale) {
    for (int step = 1; step <= steps; step++) {
        world_draw(world, step, scale);
        world_step(world, step, STEPS);
    }
}

static inline void assert_same_weights(const World *a, const World *b) {
    for (int i = 0; i < a->count; i++)
        if (memcmp(a->params[i].w, b->params[i].w, param_size(&a->params[i]) * sizeof(float)) != 0)
            fail_msg("%s: weights of %s differ", a->optimizer->name, a->params[i].name);
}

static inline bool weights_differ(const World *a, const World *b) {
    for (int i = 0; i < a->count; i++)
        if (memcmp(a->params[i].w, b->params[i].w, param_size(&a->params[i]) * sizeof(float)) != 0)
            return true;
    return false;
}

/* What is rare by default comes within STEPS: half of them soft where there is a soft phase, bases that turn, a
 * distance that grows. */
static inline const char *half_soft(const Optimizer *o) {
    if (field_find(o->fields, "d_coef")) return "d0=1e-3 d_coef=1e5";
    if (field_find(o->fields, "frequency")) return "frequency=3 max_dim=200";
    return field_find(o->fields, "alpha_sign") ? "alpha_sign=0.5" : "";
}

#define EACH(o) for (const Optimizer *const *o = OPTIMIZERS; *o; o++)

#endif
