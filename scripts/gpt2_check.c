/* gpt2_check: is this program's GPT-2 the real one? Runs Hugging Face weights and compares logits, loss and
 * every gradient with float64 numbers computed elsewhere.
 *
 *     gpt2_check MODEL_DIR EXPECTED.safetensors
 *
 * MODEL_DIR holds config.json and model.safetensors. EXPECTED holds inputs and targets (B, T) as integers,
 * and logits (B, T, V), loss (1) and grad.<parameter>, of the mean cross-entropy. Errors are relative, in
 * the L2 norm: |ours - theirs| / |theirs|. Exit code 4 when one is above its tolerance.
 */
#include "core/memory.h"
#include "model/gpt2_file.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOLERANCE_FORWARD  1e-5
#define TOLERANCE_GRADIENT 1e-4

typedef struct Distance {
    double difference2, size2;
} Distance;

static void distance_add(Distance *d, double ours, double theirs) {
    d->difference2 += (ours - theirs) * (ours - theirs);
    d->size2 += theirs * theirs;
}

/* Prints a line; returns whether it is within tolerance. */
static bool report(const char *name, Distance d, double tolerance) {
    double error = d.size2 > 0 ? sqrt(d.difference2 / d.size2) : sqrt(d.difference2);
    bool ok = error <= tolerance; /* false for NaN */
    printf("%-32s %9.2e  %s\n", name, error, ok ? "ok" : "TOO LARGE");
    return ok;
}

static const SafeTensor *need(const SafeTensors *file, const char *name, int dims, Error *err) {
    const SafeTensor *t = safetensors_find(file, name);
    if (t == NULL || t->dims != dims) {
        error_set(err, ERR_CHECKPOINT, "expected file: tensor %s of %d dimensions is missing", name, dims);
        return NULL;
    }
    return t;
}

static bool read_tokens(int32_t *out, const SafeTensor *t, int V, Error *err) {
    for (size_t i = 0; i < t->count; i++) {
        double id = safetensor_value(t, i);
        if (!(id >= 0 && id < V))
            return error_set(err, ERR_CHECKPOINT, "expected file: %s[%zu] = %g is no id below %d", t->name,
                             i, id, V);
        out[i] = (int32_t)id;
    }
    return true;
}

static bool check_gradients(const GPT2 *model, const SafeTensors *expected, bool *all_ok, Error *err) {
    for (int i = 0; i < model->param_count; i++) {
        const Param *p = &model->params[i];
        const SafeTensor *t = gpt2_file_find(expected, model, p, "grad.", err);
        if (t == NULL) return false;
        Distance d = {0};
        size_t cols = (size_t)p->cols, rows = t->count / cols;
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < cols; c++)
                distance_add(&d, p->g[r * cols + c], gpt2_file_value(t, p, r, c));
        for (size_t r = rows; r < (size_t)p->rows; r++) /* padding must get no gradient at all */
            for (size_t c = 0; c < cols; c++) distance_add(&d, p->g[r * cols + c], 0);
        *all_ok &= report(p->name, d, TOLERANCE_GRADIENT);
    }
    return true;
}

static bool check(const char *dir, const char *expected_path, bool *all_ok, Error *err) {
    GPT2Config config;
    GPT2 model = {0};
    SafeTensors expected = {0};
    if (!gpt2_file_config(&config, dir, err) || !safetensors_open(&expected, expected_path, err))
        return false;
    const SafeTensor *in = need(&expected, "inputs", 2, err),
                     *targets = in ? need(&expected, "targets", 2, err) : NULL;
    const SafeTensor *logits = targets ? need(&expected, "logits", 3, err) : NULL;
    const SafeTensor *loss = logits ? need(&expected, "loss", 1, err) : NULL;
    bool ok = loss != NULL;
    int B = ok ? (int)in->shape[0] : 0, T = ok ? (int)in->shape[1] : 0;
    if (ok && (in->count == 0 || T > config.T || targets->count != in->count ||
               logits->count != in->count * (size_t)config.V || loss->count != 1))
        ok = error_set(err, ERR_CHECKPOINT,
                       "%s: inputs, targets and logits do not fit each other or the model", expected_path);
    int32_t *x = NULL, *y = NULL;
    float *z = NULL;
    ok = ok && gpt2_create(&model, config, B, omp_get_max_threads(), err) &&
         gpt2_file_load(&model, dir, err) && (x = memory_alloc(in->count, sizeof *x, "inputs", err)) &&
         (y = memory_alloc(in->count, sizeof *y, "targets", err)) &&
         (z = memory_alloc(logits->count, sizeof *z, "logits", err)) && read_tokens(x, in, config.V, err) &&
         read_tokens(y, targets, config.V, err);
    if (ok) {
        Distance d_logits = {0}, d_loss = {0};
        gpt2_logits(&model, x, B, T, z);
        for (size_t i = 0; i < logits->count; i++)
            distance_add(&d_logits, z[i], safetensor_value(logits, i));
        distance_add(&d_loss, gpt2_forward_backward(&model, x, y, B, T, 0, 1),
                     safetensor_value(loss, 0));
        printf("%-32s %9s\n", "tensor", "rel. error");
        *all_ok = report("logits", d_logits, TOLERANCE_FORWARD);
        *all_ok &= report("loss", d_loss, TOLERANCE_FORWARD);
        ok = check_gradients(&model, &expected, all_ok, err);
    }
    memory_free(x), memory_free(y), memory_free(z);
    gpt2_free(&model);
    safetensors_close(&expected);
    return ok;
}

static const char HELP[] =
    "usage: gpt2_check MODEL_DIR EXPECTED.safetensors\n"
    "\n"
    "Runs GPT-2 weights in Hugging Face's layout and compares with numbers computed elsewhere.\n"
    "  MODEL_DIR  holds config.json and model.safetensors\n"
    "  EXPECTED   holds inputs and targets (B, T), logits (B, T, V), loss (1) and grad.<parameter>\n"
    "Exit status: 0 within tolerance, 2 wrong command line, 4 weights wrong or beyond tolerance.\n";

int main(int argc, char **argv) {
    Error err;
    bool all_ok = false;
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(HELP, stdout);
        return error_check_stdout(&err) ? 0 : error_print(&err);
    }
    if (argc != 3) {
        error_set(&err, ERR_CONFIG,
                  "what to check? Type: gpt2_check MODEL_DIR EXPECTED.safetensors, or --help");
        return error_print(&err);
    }
    if (!check(argv[1], argv[2], &all_ok, &err)) return error_print(&err);
    puts(all_ok ? "all within tolerance" : "NOT within tolerance");
    if (!error_check_stdout(&err)) return error_print(&err);
    return all_ok ? 0 : ERR_CHECKPOINT;
}
