/* bench_optim.c: what does an optimizer's step cost on GPT-2 124M?
 *
 *     ./bench_optim                                   # every optimizer, about four minutes
 *     ./bench_optim "muon coefficients=converged" adamw --threads 1 --json new.json
 *
 * Every step is timed next to something else: element-wise methods beside a plain triad, a = b + s c, over 512 MB
 * on the same threads; methods of whole matrices beside Muon's step. Only these ratios can be compared between two
 * runs. A method updates what it updates in a config that names only it: AdamW has the roles it leaves. Gradients
 * are those of one backward pass over drawn tokens, so their singular values are a network's.
 */
#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "core/rng.h"
#include "core/threads.h"
#include "model/gpt2.h"
#include "optim/optim.h"
#include "train/stats.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TRIAD_FLOATS ((size_t)128 << 20 >> 2) /* of each of three arrays */
#define STEP_TOKENS  524288.0                 /* of a training step, for the optimizer's share */
#define SOFT_STEPS   100                      /* a run's length; its second half is soft */

static const GPT2Config GPT2_124M = {.L = 12, .C = 768, .NH = 12, .T = 1024, .V = 50257, .bias = true};

typedef struct Bench {
    GPT2 model;
    int threads;
    size_t weights;
    double tokens_per_s; /* forward and backward */
    float *triad;        /* three arrays */
    cJSON *json;         /* a list of rows */
} Bench;

/* One optimizer with its settings, and AdamW for what it leaves. */
typedef struct Contestant {
    char name[64];
    const Optimizer *optimizer;
    void *hyper, *aux_hyper;
    Optim optim;
    size_t state_bytes;
} Contestant;

static void contestant_close(Contestant *c) {
    optim_free(&c->optim);
    memory_free(c->hyper);
    memory_free(c->aux_hyper);
}

/* `words`: "muon coefficients=converged". */
static bool contestant_open(Contestant *c, Bench *b, const char *words, Error *err) {
    const Optimizer *adamw = optimizer_find("adamw");
    size_t length = strcspn(words, " "), work_bytes;
    *c = (Contestant){0};
    snprintf(c->name, sizeof c->name, "%.*s", (int)length, words);
    const Optimizer *o = c->optimizer = optimizer_find(c->name);
    if (o == NULL)
        return error_set(err, ERR_CONFIG, "\"%s\" is no optimizer; see --list-optimizers", c->name);
    c->hyper = memory_alloc(o->hyper_size + 1, 1, "settings", err);
    c->aux_hyper = c->hyper ? memory_alloc(adamw->hyper_size, 1, "settings", err) : NULL;
    if (c->aux_hyper == NULL) return false;
    field_defaults(o->fields, c->hyper);
    field_defaults(adamw->fields, c->aux_hyper);
    bool soft = field_find(o->fields, "alpha_sign") != NULL;
    const Field *const tables[2] = {o->fields, NULL};
    void *const objects[2] = {c->hyper, NULL};
    if (soft && !field_set_words(tables, objects, "alpha_sign=0.5", err)) return false;
    if (!field_set_words(tables, objects, words + length, err)) return false;
    OptimPlan plan;
    for (int role = 0; role < ROLE_COUNT; role++) {
        bool own = o->roles == ROLES_ALL || role == ROLE_MATRIX;
        plan.role[role].optimizer = own ? o : adamw;
        plan.role[role].hyper = own ? c->hyper : c->aux_hyper;
        plan.role[role].lr = 1e-6; /* weights stay near where they were */
        plan.role[role].weight_decay = role == ROLE_VECTOR ? 0 : 0.1;
    }
    Param *params = b->model.params;
    int count = b->model.param_count;
    if (!optim_plan(&c->optim, &plan, params, count, b->threads, &c->state_bytes, &work_bytes, err))
        return false;
    optim_free(&c->optim);
    return optim_create(&c->optim, &plan, params, count, b->threads, err);
}

/* Seconds of the run's `step`. */
static bool timed_step(Contestant *c, int step, double *seconds, Error *err) {
    double start = omp_get_wtime();
    bool ok = optim_step(&c->optim, step, SOFT_STEPS, 1, false, err);
    *seconds = omp_get_wtime() - start;
    return ok;
}

/* Bytes a second, counted as STREAM does: two arrays read, one written. */
static double triad(const Bench *b) {
    float *restrict x = b->triad, *restrict y = x + TRIAD_FLOATS, *restrict z = y + TRIAD_FLOATS;
    double start = omp_get_wtime();
#pragma omp parallel for num_threads(b->threads)
    for (size_t i = 0; i < TRIAD_FLOATS; i++) x[i] = y[i] + 3.0f * z[i];
    return 3.0 * TRIAD_FLOATS * sizeof(float) / (omp_get_wtime() - start);
}

/* ------------------------------------------------------------------------------------------------ rows */

typedef struct Row {
    const char *phase;
    double step_s, beside; /* NAN without a ratio */
    const char *beside_what;
} Row;

static void print_row(Bench *b, const Contestant *c, const char *words, const Row *r) {
    double training_s = STEP_TOKENS / b->tokens_per_s, share = r->step_s / (r->step_s + training_s);
    double state = (double)c->state_bytes / (double)b->weights;
    printf("%-34s %-6s%10.1f", words, r->phase, 1e3 * r->step_s);
    if (isnan(r->beside)) printf("%16s", "");
    else printf("%8.2f %-7s", r->beside, r->beside_what);
    printf("%9.2f%9.2f %%\n", state, 100 * share);
    fflush(stdout);
    cJSON *row = cJSON_CreateObject();
    cJSON_AddStringToObject(row, "optimizer", words);
    cJSON_AddStringToObject(row, "phase", r->phase);
    cJSON_AddNumberToObject(row, "step_ms", 1e3 * r->step_s);
    if (!isnan(r->beside)) cJSON_AddNumberToObject(row, r->beside_what, r->beside);
    cJSON_AddNumberToObject(row, "state_bytes_a_weight", state);
    cJSON_AddNumberToObject(row, "share_frac", share);
    cJSON_AddItemToArray(b->json, row);
}

/* Steps from..to, each beside a triad: the median time, and bandwidth over the triad's. */
static bool elementwise_row(Bench *b, Contestant *c, const char *words, const char *phase, int from, int to,
                            Error *err) {
    double seconds[SOFT_STEPS] = {0}, ratio[SOFT_STEPS] = {0};
    double bytes = (12.0 + 8.0 * optimizer_slot_count(c->optimizer)) * (double)b->weights;
    double before = triad(b);
    int n = 0;
    for (int step = from; step <= to; step++, n++) {
        if (!timed_step(c, step, &seconds[n], err)) return false;
        double after = triad(b);
        ratio[n] = bytes / seconds[n] / (0.5 * (before + after));
        before = after;
    }
    print_row(b, c, words, &(Row){phase, stats_median(seconds, n), stats_median(ratio, n), "triad"});
    return true;
}

/* Steps `stride` apart, each beside a step of Muon. */
static bool matrix_row(Bench *b, Contestant *c, Contestant *muon, const char *words, const char *phase,
                       int from, int to, int stride, Error *err) {
    double seconds[SOFT_STEPS] = {0}, ratio[SOFT_STEPS] = {0}, before, after;
    int n = 0;
    if (!timed_step(muon, 2, &before, err)) return false;
    for (int step = from; step <= to; step += stride, n++) {
        if (!timed_step(c, step, &seconds[n], err) || !timed_step(muon, 2, &after, err)) return false;
        ratio[n] = seconds[n] / (0.5 * (before + after));
        before = after;
    }
    print_row(b, c, words, &(Row){phase, stats_median(seconds, n), stats_median(ratio, n), "muon"});
    return true;
}

/* The mean of all steps from one turn of a basis to the next, between two steps of Muon. */
static bool turning_row(Bench *b, Contestant *c, Contestant *muon, const char *words, int period,
                        Error *err) {
    double before, after, seconds, sum = 0;
    if (!timed_step(muon, 2, &before, err)) return false;
    for (int step = 2; step < 2 + period; step++, sum += seconds)
        if (!timed_step(c, step, &seconds, err)) return false;
    if (!timed_step(muon, 2, &after, err)) return false;
    print_row(b, c, words, &(Row){"mean", sum / period, sum / period / (0.5 * (before + after)), "muon"});
    return true;
}

static bool measure(Bench *b, Contestant *muon, const char *words, Error *err) {
    Contestant c;
    double first_s = 0;
    enum { HALF = SOFT_STEPS / 2 };
    bool ok =
        contestant_open(&c, b, words, err) && timed_step(&c, 1, &first_s, err); /* touches its memory */
    bool slices = ok && c.optimizer->cut == CUT_SLICES;
    bool soft = ok && field_find(c.optimizer->fields, "alpha_sign") != NULL;
    const Field *period = ok ? field_find(c.optimizer->fields, "frequency") : NULL;
    if (slices) ok = elementwise_row(b, &c, words, soft ? "hard" : "", 2, 8, err);
    else if (period)
        ok = turning_row(b, &c, muon, words, (int)*(int64_t *)((char *)c.hyper + period->offset), err);
    else if (ok) ok = matrix_row(b, &c, muon, words, soft ? "hard" : "", 2, 4, 1, err);
    if (ok && soft) {
        ok = timed_step(&c, HALF + 1, &first_s, err);
        if (ok) print_row(b, &c, words, &(Row){"switch", first_s, NAN, ""});
    }
    if (ok && soft && slices) ok = elementwise_row(b, &c, words, "soft", HALF + 2, HALF + 8, err);
    else if (ok && soft) ok = matrix_row(b, &c, muon, words, "soft", HALF + 2, SOFT_STEPS, 9, err);
    contestant_close(&c);
    return ok;
}

/* ------------------------------------------------------------------------------------------------ main */

/* The model with gradients, and how fast they come. */
static bool bench_open(Bench *b, Error *err) {
    int T = GPT2_124M.T;
    int32_t *tokens = memory_alloc(2 * (size_t)T, sizeof *tokens, "tokens", err);
    if (!tokens || !gpt2_create(&b->model, GPT2_124M, 1, b->threads, err)) {
        memory_free(tokens);
        return false;
    }
    for (int i = 0; i < 2 * T; i++)
        tokens[i] = (int32_t)(rng_bits(1, 0, (uint64_t)i) % (uint64_t)GPT2_124M.V);
    gpt2_init_weights(&b->model, 1);
    for (int pass = 0; pass < 2; pass++) { /* the first touches memory */
        double start = omp_get_wtime();
        gpt2_forward_backward(&b->model, tokens, tokens + T, 1, T, 0, 1);
        b->tokens_per_s = T / (omp_get_wtime() - start);
    }
    memory_free(tokens);
    for (int i = 0; i < b->model.param_count; i++) b->weights += param_size(&b->model.params[i]);
    b->triad = memory_alloc(3 * TRIAD_FLOATS, sizeof *b->triad, "triad", err);
    b->json = cJSON_CreateArray();
    return b->triad != NULL && (b->json || error_set(err, ERR_IO, "out of memory"));
}

static void bench_close(Bench *b) {
    gpt2_free(&b->model);
    memory_free(b->triad);
    cJSON_Delete(b->json);
}

static bool write_json(const Bench *b, const char *path, Error *err) {
    char *text = json_print(b->json);
    bool ok = file_write_text(path, text, err);
    free(text);
    return ok;
}

static bool bench_optimizers(Bench *b, char **words, int count, const char *json, Error *err) {
    Contestant muon;
    double first_s;
    if (!bench_open(b, err)) return false;
    printf(
        "GPT-2 124M, %d thread%s; the model makes %.0f tokens/s, so a step of %.0f tokens takes %.0f s\n\n",
        b->threads, b->threads == 1 ? "" : "s", b->tokens_per_s, STEP_TOKENS,
        STEP_TOKENS / b->tokens_per_s);
    printf("%-34s %-6s%10s%16s%9s%11s\n", "", "phase", "ms a step", "beside      ", "state", "share");
    printf("%-34s %-6s%10s%16s%9s%11s\n", "", "", "", "", "B/weight", "of a step");
    bool ok = contestant_open(&muon, b, "muon", err) && timed_step(&muon, 1, &first_s, err);
    for (int i = 0; ok && i < count; i++) ok = measure(b, &muon, words[i], err);
    for (const Optimizer *const *o = OPTIMIZERS; ok && count == 0 && *o; o++)
        ok = measure(b, &muon, (*o)->name, err);
    contestant_close(&muon);
    if (ok)
        printf(
            "\ntriad: bandwidth over the triad's, 12 bytes a weight and 8 more for each state array; muon: time over\n"
            "that of Muon's step. switch: the first soft step, which fits the temperature, once in a run\n");
    return ok && (!json || write_json(b, json, err));
}

int main(int argc, char **argv) {
    threads_prepare(argv);
    Bench b = {.threads = threads_available()};
    const char *json = NULL;
    int count = 0;
    Error err;
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--threads") == 0 && i + 1 < argc && atoi(argv[i + 1]) > 0)
            b.threads = atoi(argv[++i]);
        else if (strcmp(argv[i], "--json") == 0 && i + 1 < argc) json = argv[++i];
        else if (argv[i][0] != '-') argv[1 + count++] = argv[i];
        else {
            fprintf(stderr,
                    "usage: bench_optim [\"NAME setting=value ...\" ...] [--threads N] [--json FILE]\n");
            return ERR_CONFIG;
        }
    }
    bool ok = bench_optimizers(&b, argv + 1, count, json, &err);
    bench_close(&b);
    return ok && error_check_stdout(&err) ? 0 : error_print(&err);
}
