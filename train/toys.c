/* toys.c: see toys.h. */
#include "train/toys.h"

#include "core/memory.h"
#include "train/gradient.h"
#include "train/schedule.h"

#include <math.h>
#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const Toy TOYS[] = {
    {"deterministic", "1/2 sum L_i x_i^2, d = 5000, L_0 = 1000, other L_i = 1", 5000, 1, 1000, 0},
    {"stochastic", "1/2 sum x_i^2, d = 100, noise 100 N(0,1) on the gradient of x_0", 100, 42, 1, 100},
    {0}};

/* Once every coordinate is within lr of 0, SignSGD's deterministic loss alternates between two values; the
 * figure ends with the upper one. */
const ToyPoint TOY_PUBLISHED[] = {{"deterministic", "sgd", 0, 2472},
                                  {"deterministic", "sgd", 500, 909},
                                  {"deterministic", "sgd", 1000, 334},
                                  {"deterministic", "sgd", 2998, 6.13},
                                  {"deterministic", "signsgd", 0, 2472},
                                  {"deterministic", "signsgd", 500, 0.088},
                                  {"deterministic", "signsgd", 1000, 0.093},
                                  {"deterministic", "signsgd", 2999, 0.127},
                                  {"stochastic", "sgd", 0, 49.7},
                                  {"stochastic", "sgd", 500, 20.3},
                                  {"stochastic", "sgd", 2998, 2.60},
                                  {"stochastic", "signsgd", 0, 49.7},
                                  {"stochastic", "signsgd", 500, 0.59},
                                  {"stochastic", "signsgd", 2998, 0.445},
                                  {0}};

bool toy_find(const Toy **toy, const char *name, Error *err) {
    const char *names[sizeof TOYS / sizeof *TOYS] = {NULL};
    for (*toy = TOYS; (*toy)->name; ++*toy) {
        if (strcmp((*toy)->name, name) == 0) return true;
        names[*toy - TOYS] = (*toy)->name;
    }
    const char *near = nearest_name(name, names);
    return error_set(err, ERR_CONFIG, "%.60s: no toy problem; %s%s%s", name,
                     near ? "did you mean \"" : "there are deterministic and stochastic", near ? near : "",
                     near ? "\"?" : "");
}

/* ---- torch.manual_seed and torch.randn on the CPU -------------------------------------------------- */

/* MT19937 (Matsumoto and Nishimura 1998). */
typedef struct Twister {
    uint32_t state[624];
    int used;
} Twister;

static void twister_seed(Twister *t, uint32_t seed) {
    t->state[0] = seed;
    for (uint32_t i = 1; i < 624; i++)
        t->state[i] = 1812433253u * (t->state[i - 1] ^ (t->state[i - 1] >> 30)) + i;
    t->used = 624;
}

static void twister_renew(Twister *t) {
    for (int i = 0; i < 624; i++) {
        uint32_t y = (t->state[i] & 0x80000000u) | (t->state[(i + 1) % 624] & 0x7fffffffu);
        t->state[i] = t->state[(i + 397) % 624] ^ (y >> 1) ^ (y & 1 ? 0x9908b0dfu : 0);
    }
    t->used = 0;
}

/* In [0, 1), 24 bits. */
static float twister_uniform(Twister *t) {
    if (t->used == 624) twister_renew(t);
    uint32_t y = t->state[t->used++];
    y ^= y >> 11;
    y ^= (y << 7) & 0x9d2c5680u;
    y ^= (y << 15) & 0xefc60000u;
    y ^= y >> 18;
    return (float)(y & 0xffffff) * 0x1p-24f;
}

/* 16 uniform numbers into normal ones (Box and Muller), number i with i + 8. */
static void make_normal(float *z) {
    for (int i = 0; i < 8; i++) {
        float radius = sqrtf(-2 * logf(1 - z[i])), angle = (float)(2 * M_PI * z[i + 8]);
        z[i] = radius * cosf(angle);
        z[i + 8] = radius * sinf(angle);
    }
}

/* torch.randn(count) for count >= 16: when 16 does not divide it, the last 16 are drawn anew. */
static void torch_randn(Twister *t, float *z, size_t count) {
    for (size_t i = 0; i < count; i++) z[i] = twister_uniform(t);
    for (size_t i = 0; i + 16 <= count; i += 16) make_normal(z + i);
    if (count % 16 == 0) return;
    z += count - 16;
    for (int i = 0; i < 16; i++) z[i] = twister_uniform(t);
    make_normal(z);
}

/* ---- a config -------------------------------------------------------------------------------------- */

Role toy_role(const Config *config) {
    unsigned roles = config->chosen[CHOICE_MAIN].optimizer->roles;
    return roles & ROLE_BIT(ROLE_VECTOR) ? ROLE_VECTOR : ROLE_MATRIX;
}

/* Of every role that the optimizer updates: the logged config shall name one rate. */
static void set_lr(Config *config, double lr) {
    OptimizerChoice *chosen = &config->chosen[CHOICE_MAIN];
    chosen->lr = lr;
    for (Role role = 0; role < ROLE_COUNT; role++)
        if (config->optimizer.role[role].hyper == chosen->hyper) config->optimizer.role[role].lr = lr;
}

/* The next word of a list with room for it; keeps NULL when memory runs out. */
static void add_word(char **list, int *count, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add_word(char **list, int *count, const char *format, ...) {
    va_list args;
    va_start(args, format);
    if (vasprintf(&list[*count], format, args) < 0) list[*count] = NULL;
    *count += list[*count] != NULL;
    va_end(args);
}

/* What the toy sets, then what the user says, which wins. */
static int make_words(char **list, const Toy *toy, const char *optimizer, char *const *words,
                      int word_count) {
    int count = 0;
    add_word(list, &count, "optimizer.name=%s", optimizer);
    add_word(list, &count, "optimizer.weight_decay=0");
    add_word(list, &count, "data.dir=toy/%s", toy->name);
    add_word(list, &count, "run.dir=build/toys/%s_%s", toy->name, optimizer);
    for (int i = 0; i < word_count; i++) {
        bool dotted = memchr(words[i], '.', strcspn(words[i], "=")) != NULL;
        add_word(list, &count, "%s%s", dotted ? "" : "optimizer.", words[i]);
    }
    return count;
}

bool toy_load(Config *config, const Toy *toy, const char *optimizer, char *const *words, int word_count,
              Error *err) {
    int wanted = word_count + 4;
    char **list = memory_alloc((size_t)wanted, sizeof *list, "words", err);
    if (list == NULL) return false;
    int count = make_words(list, toy, optimizer, words, word_count);
    bool ok = count == wanted ? config_load(config, "scripts/toys.json", list, count, err)
                              : error_set(err, ERR_IO, "out of memory");
    while (count > 0) free(list[--count]);
    memory_free(list);
    if (!ok) return false;
    /* A matrix's rates, for a vector too: a config's weight_decay leaves vectors alone. */
    config->optimizer.role[toy_role(config)] = config->optimizer.role[ROLE_MATRIX];
    if (config->train.steps > 0) return true;
    config_free(config);
    return error_set(err, ERR_CONFIG,
                     "train.steps: a toy problem needs a number of steps, not of tokens or epochs");
}

/* ---- descent --------------------------------------------------------------------------------------- */

static int thread_count(const Config *config) {
    return config->train.threads > 0 ? (int)config->train.threads : 1;
}

static bool is_logged(const Config *config, int64_t step) {
    return step % config->log.every == 0 || step == config->train.steps;
}

static double loss(const Toy *toy, const float *x) {
    double sum = toy->curvature * x[0] * x[0];
    for (int i = 1; i < toy->dims; i++) sum += (double)x[i] * x[i];
    return sum / 2;
}

/* Fills p->g, has it clipped, and returns its norm before that. */
static double gradient(const Toy *toy, const Param *p, float noise, double clip, Optim *optim) {
    memcpy(p->g, p->w, param_size(p) * sizeof *p->g);
    p->g[0] = (float)toy->curvature * p->w[0] + noise;
    double norm = gradient_norm(p, 1, optim->threads);
    if (clip > 0 && norm > clip) optim_scale_gradient(optim, clip / norm);
    return norm;
}

/* The update from the line before to `line`. */
static bool update(const Config *config, Optim *optim, StepRecord *line, int runs, Error *err) {
    double factor = schedule_factor(&config->schedule, line->step, config->train.steps);
    bool measure = is_logged(config, line->step);
    if (!optim_step(optim, line->step, config->train.steps, factor, measure, err)) return false;
    line->temperature += optim->groups[0].temperature / runs;
    line->saturated_frac += optim->groups[0].saturated_frac / runs;
    return true;
}

/* One run, from p->w; noise[(t - 1) * runs] belongs to step t. Adds its share to every line, or NAN behind
 * a gradient that is not finite. */
static bool descend(const Toy *toy, const Config *config, Optim *optim, const Param *p, const float *noise,
                    StepRecord *curve, Error *err) {
    double start = omp_get_wtime();
    for (StepRecord *line = curve;; line++) {
        optim_show(optim, WEIGHTS_EVALUATED);
        line->val_loss += loss(toy, p->w) / toy->runs;
        optim_show(optim, WEIGHTS_TRAINED);
        if (is_logged(config, line->step)) line->time_s += omp_get_wtime() - start;
        if (line->step == config->train.steps) return true;
        line[1].train_loss += loss(toy, p->w) / toy->runs;
        double norm =
            gradient(toy, p, noise[line->step * toy->runs], config->train.grad_clip, optim);
        line[1].grad_norm += norm / toy->runs;
        if (!isfinite(norm)) {
            while (line++->step < config->train.steps) line->val_loss = NAN;
            return true;
        }
        if (!update(config, optim, line + 1, toy->runs, err)) return false;
    }
}

static bool run_from(const Toy *toy, const Config *config, float *x, const float *noise, StepRecord *curve,
                     Error *err) {
    Param p = {.name = "x", .role = toy_role(config), .rows = 1, .cols = toy->dims, .split = 1, .w = x};
    Optim optim = {0};
    p.g = memory_alloc(param_size(&p), sizeof *p.g, "gradient", err);
    bool ok = p.g && optim_create(&optim, &config->optimizer, &p, 1, thread_count(config), err) &&
              descend(toy, config, &optim, &p, noise, curve, err);
    optim_free(&optim);
    memory_free(p.g);
    return ok;
}

static void clear(const Config *config, StepRecord *curve) {
    double lr = config->chosen[CHOICE_MAIN].lr;
    int64_t steps = config->train.steps;
    for (int64_t t = 0; t <= steps; t++) {
        curve[t] = step_record_empty();
        curve[t].step = t;
        curve[t].val_loss = curve[t].time_s = 0;
        if (t == 0) continue;
        curve[t].train_loss = curve[t].grad_norm = curve[t].temperature = curve[t].saturated_frac = 0;
        curve[t].lr = lr * schedule_factor(&config->schedule, t, steps);
    }
}

/* In the authors' order: all starts, then step by step the noise of all runs. */
static void draw(const Toy *toy, const Config *config, float *x, float *noise) {
    Twister twister;
    size_t runs = (size_t)toy->runs, dims = (size_t)toy->dims;
    twister_seed(&twister, (uint32_t)config->train.seed);
    torch_randn(&twister, x, runs * dims);
    for (size_t run = 0; run < runs; run++) x[run * dims] /= (float)toy->curvature;
    for (int64_t t = 0; t < config->train.steps && toy->noise > 0; t++, noise += runs) {
        torch_randn(&twister, noise, runs);
        for (size_t run = 0; run < runs; run++) noise[run] *= (float)toy->noise;
    }
}

bool toy_run(const Toy *toy, const Config *config, StepRecord *curve, Error *err) {
    size_t runs = (size_t)toy->runs, dims = (size_t)toy->dims;
    float *x = memory_alloc(runs * dims, sizeof *x, "weights", err);
    float *noise = memory_alloc(runs * (size_t)config->train.steps, sizeof *noise, "noise", err);
    bool ok = x && noise;
    clear(config, curve);
    if (ok) draw(toy, config, x, noise);
    for (size_t run = 0; ok && run < runs; run++)
        ok = run_from(toy, config, x + run * dims, noise + run, curve, err);
    memory_free(x);
    memory_free(noise);
    return ok;
}

bool toy_tune(const Toy *toy, Config *config, StepRecord *curve, Error *err) {
    const double rates[] = {config->chosen[CHOICE_MAIN].lr, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8};
    double best = INFINITY, best_lr = NAN;
    for (size_t i = 0; i < sizeof rates / sizeof *rates; i++) {
        set_lr(config, rates[i]);
        if (!toy_run(toy, config, curve, err)) return false;
        double end = curve[config->train.steps].val_loss;
        if (end < best && end <= curve[0].val_loss) best = end, best_lr = rates[i];
    }
    if (isnan(best_lr))
        return error_set(err, ERR_DIVERGED,
                         "no learning rate from 1e-2 to 1e-8, nor %g, ends lower than it starts; set lr",
                         rates[0]);
    set_lr(config, best_lr);
    return toy_run(toy, config, curve, err);
}

/* ---- the log --------------------------------------------------------------------------------------- */

bool toy_log(RunLog *log, const Config *config, const StepRecord *curve, const char *command_line,
             Error *err) {
    int64_t steps = config->train.steps, last = 0;
    while (last < steps && isfinite(curve[last + 1].val_loss)) last++;
    bool ok = runlog_open(log, config, config->run.dir, command_line, thread_count(config), err);
    for (int64_t t = 0; ok && t <= last; t++)
        if (is_logged(config, t)) ok = runlog_step(log, &curve[t], err);
    ok = ok && runlog_finish(log, last == steps ? "finished" : "diverged", err);
    runlog_close(log);
    return ok;
}
