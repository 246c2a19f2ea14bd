/* golden.h: runs an optimizer, through the framework, along a recorded float64 trajectory.
 *
 *     double error = golden_error("test/golden/optim/signum_formula.json", "signum", "momentum=0.9", 0.01,
 * 0.1);
 *
 * A file holds `shapes`, `params0`, `grads` [step][name] and `params_after_step` {"20": {name: [...]}}.
 * For tests only: a file that does not fit ends the test.
 */
#ifndef TEST_GOLDEN_H
#define TEST_GOLDEN_H

#include "optim/optim.h"
#include <cjson/cJSON.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static inline cJSON *golden_parse(const char *path) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) fail_msg("%s: cannot be opened; run tests from the repository root", path);
    static char text[1 << 20];
    size_t size = fread(text, 1, sizeof text - 1, file);
    fclose(file);
    text[size] = '\0';
    cJSON *json = cJSON_Parse(text);
    if (json == NULL) fail_msg("%s: not JSON", path);
    return json;
}

static inline void golden_floats(const cJSON *list, float *out) {
    for (const cJSON *x = list->child; x; x = x->next) *out++ = (float)x->valuedouble;
}

/* Copies {name: [...]} into the parameters' weights, or into their gradients. */
static inline void golden_fill(const cJSON *lists, Param *params, int param_count, bool gradients) {
    for (int i = 0; i < param_count; i++)
        golden_floats(cJSON_GetObjectItem(lists, params[i].name), gradients ? params[i].g : params[i].w);
}

/* Parameters as `shapes` says: one dimension makes a vector, two make a matrix, unless `roles` knows better.
 * Returns their number. */
static inline int golden_params(const cJSON *json, Param *params) {
    int count = 0;
    for (const cJSON *shape = cJSON_GetObjectItem(json, "shapes")->child; shape;
         shape = shape->next, count++) {
        Param *p = &params[count];
        bool vector = cJSON_GetArraySize(shape) == 1;
        *p = (Param){.role = vector ? ROLE_VECTOR : ROLE_MATRIX, .rows = 1, .split = 1};
        snprintf(p->name, sizeof p->name, "%s", shape->string);
        const cJSON *role = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "roles"), p->name);
        for (Role r = 0; role && r < ROLE_COUNT; r++)
            if (strcmp(role->valuestring, ROLE_NAMES[r]) == 0) p->role = r;
        if (!vector) p->rows = shape->child->valueint;
        p->cols = (vector ? shape->child : shape->child->next)->valueint;
        p->w = calloc(param_size(p), sizeof(float));
        p->g = calloc(param_size(p), sizeof(float));
    }
    golden_fill(cJSON_GetObjectItem(json, "params0"), params, count, false);
    return count;
}

static inline void golden_params_free(Param *params, int count) {
    for (int i = 0; i < count; i++) {
        free(params[i].w);
        free(params[i].g);
    }
}

/* ||w - expected|| / ||expected||, the worst over tensors. */
static inline double golden_distance(const cJSON *lists, const Param *params, int count) {
    double worst = 0;
    for (int i = 0; i < count; i++) {
        double difference = 0, norm = 0;
        const float *w = params[i].w;
        for (const cJSON *x = cJSON_GetObjectItem(lists, params[i].name)->child; x; x = x->next, w++) {
            difference += (*w - x->valuedouble) * (*w - x->valuedouble);
            norm += x->valuedouble * x->valuedouble;
        }
        double error = sqrt(difference / norm);
        if (!(error <= worst)) worst = error;
    }
    return worst;
}

/* The optimizer's hyper-parameters: its defaults, then "name=value name=value", as a preset's; what that says of
 * lr and weight_decay goes to `rates` unless that is NULL. Free with free. */
static inline void *golden_settings(const Optimizer *optimizer, const char *settings, double rates[2]) {
    static const Field fields[] = {{"lr", FIELD_REAL, 0, "0", "[0,inf)", ""},
                                   {"weight_decay", FIELD_REAL, sizeof(double), "0", "[0,inf)", ""},
                                   {0}};
    void *hyper = calloc(1, optimizer->hyper_size + 1);
    double unused[2];
    Error err;
    field_defaults(optimizer->fields, hyper);
    if (!field_set_words((const Field *const[2]){optimizer->fields, fields},
                         (void *const[2]){hyper, rates ? rates : unused}, settings, &err))
        fail_msg("%s: %s", optimizer->name, err.text);
    return hyper;
}

static inline void *golden_hyper(const Optimizer *optimizer, const char *settings) {
    return golden_settings(optimizer, settings, NULL);
}

/* One optimizer for every role. */
static inline OptimPlan golden_plan(const Optimizer *optimizer, const void *hyper, double lr,
                                    double weight_decay) {
    OptimPlan plan;
    for (int role = 0; role < ROLE_COUNT; role++) {
        plan.role[role].optimizer = optimizer;
        plan.role[role].hyper = hyper;
        plan.role[role].lr = lr;
        plan.role[role].weight_decay = weight_decay;
    }
    return plan;
}

/* Follows the trajectory in `path`; the worst relative error over tensors and recorded steps. */
static inline double golden_error(const char *path, const char *name, const char *settings, double lr,
                                  double weight_decay) {
    cJSON *json = golden_parse(path);
    Param params[16];
    int count = golden_params(json, params), steps = cJSON_GetObjectItem(json, "steps")->valueint;
    const Optimizer *optimizer = optimizer_find(name);
    if (optimizer == NULL) fail_msg("no optimizer is called %s", name);
    void *hyper = golden_hyper(optimizer, settings);
    OptimPlan plan = golden_plan(optimizer, hyper, lr, weight_decay);
    Optim optim;
    Error err;
    if (!optim_create(&optim, &plan, params, count, 1, &err)) fail_msg("%s", err.text);
    double worst = 0;
    for (int step = 1; step <= steps; step++) {
        char key[16];
        snprintf(key, sizeof key, "%d", step);
        golden_fill(cJSON_GetArrayItem(cJSON_GetObjectItem(json, "grads"), step - 1), params, count, true);
        if (!optim_step(&optim, step, steps, 1, true, &err)) fail_msg("%s", err.text);
        const cJSON *expected = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "params_after_step"), key);
        double error = expected ? golden_distance(expected, params, count) : 0;
        if (!(error <= worst)) worst = error;
    }
    optim_free(&optim);
    golden_params_free(params, count);
    free(hyper);
    cJSON_Delete(json);
    return worst;
}

#endif
