/* bench.c: how fast is a training step, and where does its time go?
 *
 *     ./bench                              # every configuration, about two minutes
 *     ./bench --threads 1 --json new.json a d
 *     ./bench --compare old.json new.json
 *     ./bench --growth                     # does time grow as the FLOPs do?
 *     ./bench --serve a                    # a step for each line of input: for scripts/bench_peers.py
 *
 * A machine that others use, too, has no speed of its own: it swings by a factor of two within minutes. So a
 * probe, 20 ms of multiply-adds in registers on the same threads, runs between any two steps, and a step's ratio
 * is its FLOP/s over the mean of the probe before and the one behind. Only ratios can be compared between two runs.
 *
 * Another program's thread on the same physical core may leave that probe alone and yet take a fifth from all that reads
 * its operands from a cache. So the kernel of core/gemm.h, on data in the second-level cache, is probed with it: no step
 * can be faster than that, and one is quiet when the kernel was near its best on both sides.
 */
#include "core/file.h"
#include "core/gemm.h"
#include "core/json.h"
#include "core/memory.h"
#include "core/rng.h"
#include "core/threads.h"
#include "model/gpt2.h"
#include "optim/optim.h"
#include "train/gradient.h"
#include "train/stats.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#ifndef TRAIN_GPT_COMMIT
#define TRAIN_GPT_COMMIT "unknown"
#endif

#define PROBE_S     0.020
#define QUIET       0.90 /* of the kernel's best probe */
#define BUDGET_S    15.0 /* for the steps of a configuration, when --steps does not say how many */
#define STEPS_LEAST 3
#define STEPS_MOST  1000

typedef struct Shape {
    const char *name, *title;
    GPT2Config model;
    int B;
} Shape;

static const Shape SHAPES[] = {
    {"a", "124M, B4 T64", {.L = 12, .C = 768, .NH = 12, .T = 64, .V = 50257, .bias = true}, 4},
    {"b", "124M, B1 T1024", {.L = 12, .C = 768, .NH = 12, .T = 1024, .V = 50257, .bias = true}, 1},
    {"c", "6L C384 V50257, B16 T256", {.L = 6, .C = 384, .NH = 6, .T = 256, .V = 50257, .bias = true}, 16},
    {"c'", "6L C384 V256, B16 T256", {.L = 6, .C = 384, .NH = 6, .T = 256, .V = 256, .bias = true}, 16},
    {"d", "4L C128 V256, B32 T128", {.L = 4, .C = 128, .NH = 4, .T = 128, .V = 256, .bias = true}, 32},
};
enum { SHAPE_COUNT = sizeof SHAPES / sizeof *SHAPES };

/* The sections of a pass, and what surrounds it. */
enum { PART_OPTIMIZER = SECTION_COUNT, PART_WAITING, PART_COUNT };
static const char *const PARTS[PART_COUNT] = {
    [SECTION_FORWARD] = "forward",  [SECTION_DX] = "dX",       [SECTION_DW] = "dW",
    [SECTION_HEAD] = "head",        [SECTION_NORM] = "norm",   [SECTION_ATTENTION] = "attention",
    [SECTION_GELU] = "gelu",        [SECTION_LOSS] = "loss",   [SECTION_OTHER] = "other",
    [PART_OPTIMIZER] = "optimizer", [PART_WAITING] = "waiting"};

/* What was measured of one configuration. */
typedef struct Figures {
    int steps, quiet_steps;
    double step_s, best_step_s;
    double ratio, best_ratio, quiet_ratio; /* medians, and the best; NAN without quiet steps */
    double probe;                          /* FLOP/s, the best */
    double kernel_ratio;                   /* the kernel's probe over the other: median */
    double part_frac[PART_COUNT];          /* of all threads' time */
    double planned_bytes, peak_bytes;
    double barrier_s;
} Figures;

typedef struct Options {
    int threads;
    int steps;        /* 0: as many as the budget holds */
    const char *json; /* NULL: none */
    bool serve, growth;
    const Shape *shapes[SHAPE_COUNT];
    int shape_count;
} Options;

/* ------------------------------------------------------------------------------------------------ a step */

typedef struct Trainer {
    const Shape *shape;
    int threads;
    int64_t step;
    GPT2 model;
    void *hyper;
    Optim optim;
    int32_t *tokens; /* inputs, then targets */
    double pass_s, optimizer_s, planned_bytes;
} Trainer;

static void trainer_close(Trainer *t) {
    optim_free(&t->optim);
    gpt2_free(&t->model);
    memory_free(t->tokens);
    memory_free(t->hyper);
}

static bool trainer_open(Trainer *t, const Shape *shape, int threads, Error *err) {
    const Optimizer *adamw = optimizer_find("adamw");
    OptimPlan plan;
    size_t param_bytes, act_bytes, state_bytes, work_bytes,
        count = 2 * (size_t)shape->B * (size_t)shape->model.T;
    *t = (Trainer){.shape = shape, .threads = threads};
    t->hyper = memory_alloc(1, adamw->hyper_size, "optimizer", err);
    t->tokens = t->hyper ? memory_alloc(count, sizeof *t->tokens, "tokens", err) : NULL;
    if (!t->tokens || !gpt2_plan(&t->model, shape->model, shape->B, threads, &param_bytes, &act_bytes, err))
        return false;
    field_defaults(adamw->fields, t->hyper);
    for (int r = 0; r < ROLE_COUNT; r++) {
        plan.role[r].optimizer = adamw;
        plan.role[r].hyper = t->hyper;
        plan.role[r].lr = adamw->lr;
        plan.role[r].weight_decay = adamw->weight_decay;
    }
    if (!optim_plan(&t->optim, &plan, t->model.params, t->model.param_count, threads, &state_bytes,
                    &work_bytes, err))
        return false;
    t->planned_bytes = (double)(param_bytes + act_bytes + state_bytes + work_bytes + memory_resident());
    optim_free(&t->optim);
    gpt2_free(&t->model);
    if (!gpt2_create(&t->model, shape->model, shape->B, threads, err)) return false;
    gpt2_init_weights(&t->model, 1);
    return optim_create(&t->optim, &plan, t->model.params, t->model.param_count, threads, err);
}

/* What train_gpt does between two lines of its log, on tokens drawn uniformly. */
static bool trainer_step(Trainer *t, Error *err) {
    int B = t->shape->B, T = t->shape->model.T, threads = t->threads, count = t->model.param_count;
    t->step++;
    for (int i = 0; i < 2 * B * T; i++)
        t->tokens[i] = (int32_t)(rng_bits(1, (uint64_t)t->step, (uint64_t)i) % (uint64_t)t->shape->model.V);
    double start = omp_get_wtime();
    gpt2_forward_backward(&t->model, t->tokens, t->tokens + B * T, B, T, 0, 1);
    double middle = omp_get_wtime();
    double norm = gradient_norm(t->model.params, count, threads);
    if (norm > 1) optim_scale_gradient(&t->optim, 1 / norm);
    bool ok = optim_step(&t->optim, t->step, INT32_MAX, 1, false, err);
    t->pass_s = middle - start;
    t->optimizer_s = omp_get_wtime() - middle;
    return ok;
}

/* ------------------------------------------------------------------------------------------------ figures */

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
enum { CHAINS = 12 }; /* more than latency * units, and they fit 16 registers with the two factors */

/* Floating-point operations of independent chains of multiply-adds that do not leave the registers until they end. */
static double chains(float *room) {
    typedef float Vector __attribute__((vector_size(4 * LANES)));
    volatile float half = 0.5f;
    Vector sum[CHAINS], factor = (Vector){0} + half;
    memcpy(sum, room, sizeof sum); /* unknown to the compiler: or else it makes one chain of all */
    for (int i = 0; i < 1000; i++)
        for (int c = 0; c < CHAINS; c++) sum[c] = sum[c] * factor + factor;
    memcpy(room, sum, sizeof sum);
    return 2.0 * 1000 * CHAINS * LANES;
}

/* Those of a product of which everything fits a second-level cache. */
enum { PROBE_M = 192, PROBE_K = 256, PROBE_PANELS = 4, PROBE_N = PROBE_PANELS * GEMM_NR };
#define PROBE_FLOATS (PROBE_M * PROBE_K + PROBE_K * PROBE_N + PROBE_M * PROBE_N)

static double product(float *room) {
    float *B = room + PROBE_M * PROBE_K, *C = B + PROBE_K * PROBE_N;
    gemm_panels(PROBE_M, PROBE_K, gemm_rows(room, PROBE_K), B, (size_t)PROBE_K * GEMM_NR, 0, NULL, C,
                GEMM_NR, (size_t)PROBE_M * GEMM_NR, PROBE_PANELS, PROBE_N);
    return 2.0 * PROBE_M * PROBE_K * PROBE_N;
}

/* FLOP/s of all threads together; room: PROBE_FLOATS for each, zeros at first. */
static double rate(double (*work)(float *room), float *room, int threads) {
    double sum = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum)
    {
        float *own = room + (size_t)omp_get_thread_num() * PROBE_FLOATS;
        double start = omp_get_wtime(), elapsed, flops = 0;
        do {
            flops += work(own);
            elapsed = omp_get_wtime() - start;
        } while (elapsed < PROBE_S);
        sum += flops / elapsed;
    }
    return sum;
}

typedef struct Probe {
    double fma, kernel; /* FLOP/s */
} Probe;

static Probe probe(float *room, int threads) {
    double fma = rate(chains, room, threads);
    return (Probe){fma, rate(product, room, threads)};
}

/* Seconds of one barrier, the least of some rounds: a round in which the system takes a core away says nothing. */
static double barrier_s(int threads) {
    enum { ROUNDS = 50, BARRIERS = 200 };
    double least = INFINITY;
    for (int round = 0; round < ROUNDS; round++) {
        double start = 0;
#pragma omp parallel num_threads(threads)
        {
#pragma omp barrier
#pragma omp master
            start = omp_get_wtime();
            for (int i = 0; i < BARRIERS; i++) {
#pragma omp barrier
            }
#pragma omp master
            least = fmin(least, (omp_get_wtime() - start) / BARRIERS);
        }
    }
    return least;
}

/* From seconds of each step and probes around them, probe[n] before step n and probe[n + 1] behind. */
static void summarize(Figures *f, const double *step_s, const Probe *probes, int steps, double flops) {
    double x[STEPS_MOST] = {0}, ratio[STEPS_MOST] = {0}, quiet[STEPS_MOST] = {0}, kernel[STEPS_MOST] = {0};
    double best_kernel = 0;
    f->steps = steps;
    for (int n = 0; n <= steps; n++) {
        f->probe = fmax(f->probe, probes[n].fma);
        best_kernel = fmax(best_kernel, probes[n].kernel);
    }
    for (int n = 0; n < steps; n++) {
        const Probe *before = &probes[n], *behind = before + 1;
        double fma = (before->fma + behind->fma) / 2;
        x[n] = step_s[n];
        ratio[n] = flops / step_s[n] / fma;
        kernel[n] = (before->kernel + behind->kernel) / 2 / fma;
        if (fmin(before->kernel, behind->kernel) >= QUIET * best_kernel) quiet[f->quiet_steps++] = ratio[n];
    }
    f->step_s = stats_median(x, steps);
    f->best_step_s = x[0];
    f->quiet_ratio = stats_median(quiet, f->quiet_steps);
    f->ratio = stats_median(ratio, steps);
    f->best_ratio = ratio[steps - 1];
    f->kernel_ratio = stats_median(kernel, steps);
}

/* Shares of the threads' time: the sections' as charged, the optimizer's by the clock, and what is left. */
static void split(double part_frac[PART_COUNT], const GPT2Seconds *spent_s, int threads, double pass_s,
                  double optimizer_s) {
    double total = pass_s + optimizer_s;
    memset(part_frac, 0, PART_COUNT * sizeof *part_frac);
    part_frac[PART_OPTIMIZER] = optimizer_s / total;
    part_frac[PART_WAITING] = pass_s / total;
    for (int id = 0; id < threads; id++)
        for (int k = 0; k < SECTION_COUNT; k++) {
            double frac = spent_s[id][k] / (threads * total);
            part_frac[k] += frac;
            part_frac[PART_WAITING] -= frac;
        }
}

static double flops_of(const Shape *s) {
    return gpt2_flops_per_token(s->model, s->model.T) * s->B * s->model.T;
}

static bool measure_steps(Trainer *t, float *room, int steps, Figures *f, Error *err) {
    double step_s[STEPS_MOST], pass_s = 0, optimizer_s = 0;
    Probe probes[STEPS_MOST + 1];
    if (!trainer_step(t, err)) return false; /* touches all memory for the first time */
    memset(t->model.spent_s, 0, (size_t)t->threads * sizeof(GPT2Seconds));
    double start = omp_get_wtime();
    int n = 0;
    probes[0] = probe(room, t->threads);
    while (steps > 0 ? n < steps
                     : n < STEPS_LEAST || (n < STEPS_MOST && omp_get_wtime() - start < BUDGET_S)) {
        if (!trainer_step(t, err)) return false;
        pass_s += t->pass_s;
        optimizer_s += t->optimizer_s;
        step_s[n++] = t->pass_s + t->optimizer_s;
        probes[n] = probe(room, t->threads);
    }
    summarize(f, step_s, probes, n, flops_of(t->shape));
    split(f->part_frac, t->model.spent_s, t->threads, pass_s, optimizer_s);
    f->planned_bytes = t->planned_bytes;
    f->barrier_s = barrier_s(t->threads);
    return true;
}

static bool measure(const Shape *shape, const Options *o, Figures *f, Error *err) {
    Trainer t;
    GPT2Seconds *spent_s = NULL;
    float *room = NULL;
    bool ok = trainer_open(&t, shape, o->threads, err) &&
              (spent_s = memory_alloc((size_t)o->threads, sizeof *spent_s, "timers", err)) &&
              (room = memory_alloc((size_t)o->threads * PROBE_FLOATS, sizeof *room, "the probe", err));
    t.model.spent_s = spent_s;
    ok = ok && measure_steps(&t, room, o->steps, f, err);
    memory_free(room);
    memory_free(spent_s);
    trainer_close(&t);
    return ok;
}

/* In a process of its own, so that the peak is this configuration's alone. */
static bool measure_apart(const Shape *shape, const Options *o, Figures *f, Error *err) {
    struct Report {
        bool ok;
        Error err;
        Figures figures;
    } *report = mmap(NULL, sizeof *report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (report == MAP_FAILED) return error_set(err, ERR_IO, "bench: out of memory");
    fflush(NULL);
    pid_t child = fork();
    if (child == 0) {
        report->ok = measure(shape, o, &report->figures, &report->err);
        _exit(0);
    }
    int status = 0;
    struct rusage usage;
    bool ok = child > 0 && wait4(child, &status, 0, &usage) == child;
    if (!ok) error_set(err, ERR_IO, "bench: no child process");
    else if (status != 0) ok = error_set(err, ERR_IO, "%s: killed; is there memory enough?", shape->name);
    else if (!(ok = report->ok)) *err = report->err;
    if (ok) *f = report->figures, f->peak_bytes = 1024.0 * (double)usage.ru_maxrss;
    munmap(report, sizeof *report);
    return ok;
}

/* ------------------------------------------------------------------------------------------------ output */

static void print_head(const Options *o) {
    printf(
        "commit %s, %d thread%s. A step is forward, backward, clipping and AdamW; ratio: its FLOP/s over\n"
        "those of the probe, multiply-adds in registers; kernel: the same of a product in a second-level cache;\n"
        "quiet: the median over this many steps beside which the kernel was near its best\n\n",
        TRAIN_GPT_COMMIT, o->threads, o->threads == 1 ? "" : "s");
    printf("%-30s%17s%10s%9s%31s%14s\n", "", "ms a step    ", "", "", "ratio          ", "peak MB");
    printf("%-30s%9s%8s%10s%9s%7s%7s%15s%7s%14s\n", "", "median", "best", "tokens/s", "GFLOP/s", "median",
           "best", "quiet", "kernel", "(planned)");
}

static void print_figures(const Shape *s, const Figures *f) {
    char quiet[32] = "none", memory[32];
    if (f->quiet_steps > 0)
        snprintf(quiet, sizeof quiet, "%.3f (%d/%d)", f->quiet_ratio, f->quiet_steps, f->steps);
    snprintf(memory, sizeof memory, "%.0f (%.0f)", 1e-6 * f->peak_bytes, 1e-6 * f->planned_bytes);
    printf("%-3s %-26s%9.1f%8.1f%10.0f%9.1f%7.3f%7.3f%15s%7.3f%14s\n", s->name, s->title, 1e3 * f->step_s,
           1e3 * f->best_step_s, s->B * s->model.T / f->step_s, 1e-9 * flops_of(s) / f->step_s, f->ratio,
           f->best_ratio, quiet, f->kernel_ratio, memory);
    fflush(stdout);
}

static void print_split(const Shape *const *shapes, const Figures *f, int count) {
    printf("\n%%   ");
    for (int k = 0; k < PART_COUNT; k++) printf("%10s", PARTS[k]);
    for (int i = 0; i < count; i++) {
        printf("\n%-4s", shapes[i]->name);
        for (int k = 0; k < PART_COUNT; k++) printf("%10.1f", 100 * f[i].part_frac[k]);
    }
    printf("\n");
}

/* The keys are those of scripts/bench_peers.py. */
static bool add_figures(cJSON *all, const Shape *s, const Figures *f) {
    const struct {
        const char *key;
        double value;
    } figures[] = {{"steps", f->steps},
                   {"step_ms", 1e3 * f->step_s},
                   {"best_step_ms", 1e3 * f->best_step_s},
                   {"tokens_per_s", s->B * s->model.T / f->step_s},
                   {"gflops", 1e-9 * flops_of(s) / f->step_s},
                   {"probe_gflops", 1e-9 * f->probe},
                   {"ratio", f->ratio},
                   {"best_ratio", f->best_ratio},
                   {"quiet_ratio", f->quiet_ratio}, /* null without quiet steps: cJSON writes NAN so */
                   {"quiet_steps", f->quiet_steps},
                   {"kernel_ratio", f->kernel_ratio},
                   {"peak_bytes", f->peak_bytes},
                   {"planned_bytes", f->planned_bytes},
                   {"barrier_us", 1e6 * f->barrier_s}};
    cJSON *one = cJSON_AddObjectToObject(all, s->name);
    bool ok = one && cJSON_AddStringToObject(one, "title", s->title);
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        ok = ok && cJSON_AddNumberToObject(one, figures[i].key, figures[i].value);
    cJSON *parts = ok ? cJSON_AddObjectToObject(one, "part_frac") : NULL;
    for (int k = 0; k < PART_COUNT; k++)
        ok = parts && ok && cJSON_AddNumberToObject(parts, PARTS[k], f->part_frac[k]);
    return ok;
}

static bool write_json(const Options *o, const Figures *f, Error *err) {
    cJSON *root = cJSON_CreateObject();
    bool ok = cJSON_AddStringToObject(root, "commit", TRAIN_GPT_COMMIT) &&
              cJSON_AddStringToObject(root, "compiler", __VERSION__) &&
              cJSON_AddNumberToObject(root, "threads", o->threads);
    cJSON *all = ok ? cJSON_AddObjectToObject(root, "configurations") : NULL;
    for (int i = 0; i < o->shape_count; i++) ok = all && ok && add_figures(all, o->shapes[i], &f[i]);
    char *text = all && ok ? json_print(root) : NULL;
    ok = file_write_text(o->json, text, err);
    free(text);
    cJSON_Delete(root);
    return ok;
}

static bool bench(const Options *o, Error *err) {
    Figures figures[SHAPE_COUNT] = {{0}};
    print_head(o);
    for (int i = 0; i < o->shape_count; i++) {
        if (!measure_apart(o->shapes[i], o, &figures[i], err)) return false;
        print_figures(o->shapes[i], &figures[i]);
    }
    print_split(o->shapes, figures, o->shape_count);
    printf("\na barrier takes %.2f microseconds\n", 1e6 * figures[0].barrier_s);
    return !o->json || write_json(o, figures, err);
}

/* ------------------------------------------------------------------------------------------------ modes */

/* Each size alone doubled twice: no term of the time should grow faster than the FLOPs do. */
static bool growth(const Options *o, Error *err) {
    const Shape base = {"base", "", {.L = 4, .C = 256, .NH = 4, .T = 256, .V = 4096, .bias = true}, 8};
    Figures least = {0}, f = {0};
    printf("%-8s%10s%12s%12s%10s\n", "", "ms a step", "of base's", "FLOPs' do", "ratio");
    for (int k = -1; k < 8; k++) {
        Shape s = base;
        const char letter = "LCTV"[k < 0 ? 0 : k / 2];
        const int factor = k < 0 ? 1 : k % 2 ? 4 : 2;
        char name[16];
        if (letter == 'L') s.model.L *= factor;
        if (letter == 'C') s.model.C *= factor, s.model.NH *= factor;
        if (letter == 'T') s.model.T *= factor;
        if (letter == 'V') s.model.V *= factor;
        if (!measure_apart(&s, o, &f, err)) return false;
        if (k < 0) least = f;
        snprintf(name, sizeof name, k < 0 ? "base" : "%c x %d", letter, factor);
        printf("%-8s%10.1f%12.2f%12.2f%10.3f\n", name, 1e3 * f.step_s, f.step_s / least.step_s,
               flops_of(&s) / flops_of(&base), f.ratio);
        fflush(stdout);
    }
    printf("\nbase: L 4, C 256 (heads of 64), T 256, V 4096, B 8; ratio: FLOP/s over the probe's\n");
    return true;
}

static double figure(const cJSON *configuration, const char *key) {
    const cJSON *x = cJSON_GetObjectItemCaseSensitive(configuration, key);
    return cJSON_IsNumber(x) ? x->valuedouble : NAN;
}

/* Configurations that two files of --json share. Faster: by the ratio to the probe, whatever the machine did. */
static bool compare(const char *old_path, const char *new_path, Error *err) {
    cJSON *old = json_read(old_path, 1 << 20, ERR_DATA, err), *new = NULL;
    if (old) new = json_read(new_path, 1 << 20, ERR_DATA, err);
    if (new) {
        const cJSON *before = cJSON_GetObjectItemCaseSensitive(old, "configurations"), *x;
        const cJSON *after = cJSON_GetObjectItemCaseSensitive(new, "configurations");
        printf("%-4s%18s%20s%10s%20s\n", "", "ms a step", "over FMA probe's", "faster", "peak MB");
        cJSON_ArrayForEach(x, before) {
            const cJSON *y = cJSON_GetObjectItemCaseSensitive(after, x->string);
            if (!y) continue;
            printf("%-4s%9.1f%9.1f%12.3f%8.3f%+8.1f %%%11.0f%9.0f\n", x->string, figure(x, "step_ms"),
                   figure(y, "step_ms"), figure(x, "ratio"), figure(y, "ratio"),
                   100 * (figure(y, "ratio") / figure(x, "ratio") - 1), 1e-6 * figure(x, "peak_bytes"),
                   1e-6 * figure(y, "peak_bytes"));
        }
    }
    bool ok = new;
    cJSON_Delete(old);
    cJSON_Delete(new);
    return ok;
}

static bool serve(const Options *o, Error *err) {
    Trainer t;
    /* the count is 1, which clang-tidy cannot see */
    const Shape *shape = o->shape_count == 1 ? o->shapes[0] : SHAPES;
    const GPT2Config *m = &shape->model;
    bool ok = trainer_open(&t, shape, o->threads, err);
    if (ok)
        printf("{\"n_layer\": %d, \"n_head\": %d, \"n_embd\": %d, \"block_size\": %d, \"vocab_size\": %d, "
               "\"batch_size\": %d}\n",
               m->L, m->NH, m->C, m->T, m->V, shape->B);
    fflush(stdout);
    for (char line[16]; ok && fgets(line, sizeof line, stdin);) {
        ok = trainer_step(&t, err);
        if (ok) printf("%.6f\n", t.pass_s + t.optimizer_s), fflush(stdout);
    }
    trainer_close(&t);
    return ok;
}

static const char HELP[] =
    "usage: bench [--threads N] [--steps N] [--json FILE] [CONFIGURATION...]\n"
    "       bench --compare OLD.json NEW.json\n"
    "       bench --growth [--threads N] [--steps N]\n"
    "       bench --serve CONFIGURATION [--threads N]\n"
    "\n"
    "Trains small and large GPT-2 models on made-up tokens: time, FLOP/s, memory of a step,\n"
    "its speed over that of a probe beside it (multiply-adds in registers, all threads), and\n"
    "where the threads' time goes. CONFIGURATION: a b c c' d; all of them by default.\n"
    "  --threads N   default: every core\n"
    "  --steps N     default: as many as 15 seconds hold, at least 3\n"
    "  --json FILE   the figures for --compare and other programs\n"
    "  --compare     two such files side by side\n"
    "  --growth      layers, width, context and vocabulary each doubled alone: time beside FLOPs\n"
    "  --serve       says the model, then takes a step for each line of input and says its seconds\n";

static bool parse_count(const char *option, const char *text, int most, int *out, Error *err) {
    char *end = NULL;
    long n = text ? strtol(text, &end, 10) : 0;
    if (!text || *end || n < 1 || n > most)
        return error_set(err, ERR_CONFIG, "%s needs a number from 1 to %d, not '%s'", option, most,
                         text ? text : "");
    *out = (int)n;
    return true;
}

static bool add_shape(Options *o, const char *name, Error *err) {
    for (int i = 0; i < o->shape_count; i++)
        if (strcmp(name, o->shapes[i]->name) == 0) return true; /* once is enough */
    for (int i = 0; i < SHAPE_COUNT; i++)
        if (strcmp(name, SHAPES[i].name) == 0) {
            o->shapes[o->shape_count++] = &SHAPES[i];
            return true;
        }
    return error_set(err, ERR_CONFIG, "unknown option or configuration '%s'; see bench --help", name);
}

static bool parse_options(Options *o, char **argv, Error *err) {
    *o = (Options){.threads = threads_available()};
    bool ok = true;
    for (int i = 1; ok && argv[i]; i++) {
        const char *word = argv[i];
        if (strcmp(word, "--threads") == 0) ok = parse_count(word, argv[++i], 1024, &o->threads, err);
        else if (strcmp(word, "--steps") == 0)
            ok = parse_count(word, argv[++i], STEPS_MOST, &o->steps, err);
        else if (strcmp(word, "--json") == 0 && argv[i + 1]) o->json = argv[++i];
        else if (strcmp(word, "--serve") == 0) o->serve = true;
        else if (strcmp(word, "--growth") == 0) o->growth = true;
        else ok = add_shape(o, word, err);
    }
    if (ok && o->serve && o->shape_count != 1)
        return error_set(err, ERR_CONFIG, "--serve takes one configuration");
    bool all = o->shape_count == 0;
    for (int i = 0; all && i < SHAPE_COUNT; i++) ok = ok && add_shape(o, SHAPES[i].name, err);
    return ok;
}

static bool run(int argc, char **argv, Error *err) {
    Options o;
    if (argc == 4 && strcmp(argv[1], "--compare") == 0) return compare(argv[2], argv[3], err);
    if (!parse_options(&o, argv, err)) return false;
    if (o.growth) return growth(&o, err);
    return o.serve ? serve(&o, err) : bench(&o, err);
}

int main(int argc, char **argv) {
    Error err;
    threads_prepare(argv);
    if (argc == 2 && strcmp(argv[1], "--help") == 0) fputs(HELP, stdout);
    else if (!run(argc, argv, &err)) return error_print(&err);
    return error_check_stdout(&err) ? 0 : error_print(&err);
}
