/* diagnostics.c: see diagnostics.h.
 *
 * The noise takes two doubles a weight, but only before the update; what is kept around the update (a copy of the weights,
 * and two of each matrix that is mapped) lies in the same memory.
 */
#include "train/diagnostics.h"

#include "core/denormals.h"
#include "core/eigen.h"
#include "core/memory.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PIECE ((size_t)65536) /* weights that one thread sums up */

/* What singular values are taken of. */
typedef enum { OF_GRADIENT, OF_UPDATE, OF_MAPPED, OF_MAP } Source;

static const struct {
    const char *key;
    size_t offset;
} FIGURES[] = {{"grad_l1", offsetof(Diagnosis, grad_l1)},
               {"grad_l2", offsetof(Diagnosis, grad_l2)},
               {"grad_linf", offsetof(Diagnosis, grad_linf)},
               {"grad_nuclear", offsetof(Diagnosis, grad_nuclear)},
               {"grad_density", offsetof(Diagnosis, grad_density)},
               {"noise_phi", offsetof(Diagnosis, noise_phi)},
               {"weight_norm", offsetof(Diagnosis, weight_norm)},
               {"update_rms", offsetof(Diagnosis, update_rms)},
               {"update_spectral", offsetof(Diagnosis, update_spectral)},
               {"dual_progress", offsetof(Diagnosis, dual_progress)},
               {"saturated_frac", offsetof(Diagnosis, saturated_frac)},
               {"temperature", offsetof(Diagnosis, temperature)}};
enum { FIGURE_COUNT = sizeof FIGURES / sizeof *FIGURES };

/* ---- memory --------------------------------------------------------------------------------------------- */

static bool is_matrix(const DiagnosedTensor *t) {
    return t->param->role == ROLE_MATRIX;
}

static size_t lesser(int a, int b) {
    return (size_t)(a < b ? a : b);
}

/* Of Muon's kind: those that keep what muon_input and muon_apply see. */
static bool maps_singular_values(const OptimGroup *group) {
    const char *const *slots = group ? group->optimizer->slots : NULL;
    return slots && group->optimizer->cut == CUT_MATRICES && strcmp(slots[0], "momentum") == 0;
}

static void find_optim(DiagnosedTensor *t, Optim *optim) {
    for (OptimGroup *group = optim->groups; group < optim->groups + optim->group_count; group++)
        for (OptimTensor *o = group->tensors; o < group->tensors + group->tensor_count; o++)
            if (o->param == t->param) t->group = group, t->optim = o;
}

static void add_tensor(Diagnostics *d, const Param *p, Optim *optim, int64_t vocab_size) {
    DiagnosedTensor *t = &d->tensors[d->tensor_count++];
    *t = (DiagnosedTensor){
        .param = p, .size = param_size(p), .at = d->weight_count, .values_at = d->value_count};
    find_optim(t, optim);
    if (strcmp(p->name, "wte.weight") == 0 && vocab_size < p->rows)
        t->size = (size_t)vocab_size * (size_t)p->cols;
    t->maps = d->how.spectra && is_matrix(t) && maps_singular_values(t->group);
    d->weight_count += param_size(p);
    if (!is_matrix(t) || !d->how.spectra) return;
    d->value_count += lesser(p->rows / p->split, p->cols) * (size_t)p->split;
    size_t scratch = eigen_work_size(p->rows < p->cols ? p->rows : p->cols) + param_size(p);
    if (scratch > d->scratch_floats) d->scratch_floats = (scratch + 15) / 16 * 16;
}

/* Floats around an update. */
static size_t update_floats(const Diagnostics *d) {
    size_t floats = d->weight_count;
    for (const DiagnosedTensor *t = d->tensors; t < d->tensors + d->tensor_count; t++)
        if (t->maps) floats += 2 * param_size(t->param);
    return floats;
}

/* Bytes that noise and update share. */
static size_t shared_bytes(const Diagnostics *d) {
    size_t noise = d->how.noise_every > 0 ? 2 * d->weight_count * sizeof(double) : 0;
    size_t update = update_floats(d) * sizeof(float), most = noise > update ? noise : update;
    return (most + 63) / 64 * 64;
}

bool diagnostics_plan(Diagnostics *d, const DiagnosticsSection *how, Optim *optim, const Param *params,
                      int param_count, int64_t vocab_size, size_t *bytes, Error *err) {
    *d = (Diagnostics){.how = *how, .optim = optim};
    d->tensors = memory_alloc((size_t)param_count, sizeof *d->tensors, "diagnostics", err);
    if (d->tensors == NULL) return false;
    for (int i = 0; i < param_count; i++) add_tensor(d, &params[i], optim, vocab_size);
    *bytes =
        shared_bytes(d) +
        ((d->value_count + 15) / 16 * 16 + (size_t)d->optim->threads * d->scratch_floats) * sizeof(float);
    return true;
}

bool diagnostics_create(Diagnostics *d, const DiagnosticsSection *how, Optim *optim, const Param *params,
                        int param_count, int64_t vocab_size, Error *err) {
    size_t bytes;
    if (!diagnostics_plan(d, how, optim, params, param_count, vocab_size, &bytes, err)) return false;
    d->memory = memory_alloc(bytes, 1, "diagnostics", err);
    if (d->memory == NULL) {
        diagnostics_free(d);
        return false;
    }
    d->mean = d->memory;
    d->deviation = d->mean + d->weight_count;
    d->before = d->memory;
    d->values = d->before + shared_bytes(d) / sizeof(float);
    d->scratch = d->values + (d->value_count + 15) / 16 * 16;
    return true;
}

void diagnostics_free(Diagnostics *d) {
    memory_free(d->tensors);
    memory_free(d->memory);
    *d = (Diagnostics){0};
}

#define EACH_TENSOR(t, d) for (DiagnosedTensor *t = (d)->tensors; t < (d)->tensors + (d)->tensor_count; t++)

static void forget(Diagnosis *found) {
    for (int i = 0; i < FIGURE_COUNT; i++) *(double *)((char *)found + FIGURES[i].offset) = NAN;
}

void diagnostics_begin(Diagnostics *d) {
    forget(&d->all);
    EACH_TENSOR(t, d) {
        forget(&t->found);
        t->sigma[0][0] = t->sigma[1][0] = NAN;
    }
    d->noise_count = 0;
    d->cost_s = 0;
}

/* ---- sums ------------------------------------------------------------------------------------------------ */

typedef struct Sums {
    double l1, square, largest;
} Sums;

typedef Sums SumPart(const Diagnostics *d, const DiagnosedTensor *t, size_t begin, size_t end);

static void add(Sums *sums, Sums more) {
    sums->l1 += more.l1;
    sums->square += more.square;
    sums->largest = fmax(sums->largest, more.largest);
}

/* Over the weights of a tensor that count: pieces in any order, their sums in theirs. */
static Sums sum_up(const Diagnostics *d, const DiagnosedTensor *t, SumPart *part) {
    enum { AT_ONCE = 256 };
    Sums sums = {0}, parts[AT_ONCE];
    size_t pieces = (t->size + PIECE - 1) / PIECE;
    for (size_t first = 0; first < pieces; first += AT_ONCE) {
        size_t count = pieces - first < AT_ONCE ? pieces - first : AT_ONCE;
#pragma omp parallel num_threads(d->optim->threads) if (count > 1)
        {
            denormals_flush();
#pragma omp for
            for (size_t k = 0; k < count; k++) {
                size_t begin = (first + k) * PIECE, left = t->size - begin;
                parts[k] = part(d, t, begin, begin + (left < PIECE ? left : PIECE));
            }
        }
        for (size_t k = 0; k < count; k++) add(&sums, parts[k]);
    }
    return sums;
}

static Sums sum_gradient(const Diagnostics *d, const DiagnosedTensor *t, size_t begin, size_t end) {
    const float *g = t->param->g;
    double l1 = 0, square = 0;
    float largest = 0;
    (void)d;
#pragma omp simd reduction(+ : l1, square)
    for (size_t i = begin; i < end; i++) {
        l1 += fabsf(g[i]);
        square += (double)g[i] * g[i];
    }
    for (size_t i = begin; i < end; i++) largest = fabsf(g[i]) > largest ? fabsf(g[i]) : largest;
    return (Sums){l1, square, largest};
}

static Sums sum_weights(const Diagnostics *d, const DiagnosedTensor *t, size_t begin, size_t end) {
    const float *w = t->param->w;
    double square = 0;
    (void)d;
#pragma omp simd reduction(+ : square)
    for (size_t i = begin; i < end; i++) square += (double)w[i] * w[i];
    return (Sums){.square = square};
}

/* Also leaves the difference in place of the weights before. */
static Sums sum_update(const Diagnostics *d, const DiagnosedTensor *t, size_t begin, size_t end) {
    const float *restrict w = t->param->w;
    float *restrict before = d->before + t->at;
    double square = 0;
#pragma omp simd reduction(+ : square)
    for (size_t i = begin; i < end; i++) {
        before[i] = w[i] - before[i];
        square += (double)before[i] * before[i];
    }
    return (Sums){.square = square};
}

/* Of standard deviations, and their squares. */
static Sums sum_noise(const Diagnostics *d, const DiagnosedTensor *t, size_t begin, size_t end) {
    const double *deviation = d->deviation + t->at, count = (double)d->noise_count;
    double l1 = 0, square = 0;
#pragma omp simd reduction(+ : l1, square)
    for (size_t i = begin; i < end; i++) {
        double variance = deviation[i] / count;
        l1 += sqrt(variance);
        square += variance;
    }
    return (Sums){.l1 = l1, .square = square};
}

/* NAN when all is zero. */
static double density(Sums sums, size_t size) {
    return sums.square > 0 ? sums.l1 * sums.l1 / ((double)size * sums.square) : NAN;
}

static size_t counted_weights(const Diagnostics *d) {
    size_t size = 0;
    EACH_TENSOR(t, d) size += t->size;
    return size;
}

/* ---- noise ----------------------------------------------------------------------------------------------- */

/* Welford 1962: a mean far larger than its deviation costs no digits. */
static void add_noise(const Diagnostics *d, const DiagnosedTensor *t) {
    const float *restrict g = t->param->g;
    double *restrict mean = d->mean + t->at, *restrict deviation = d->deviation + t->at;
    const double share = 1 / (double)d->noise_count;
#pragma omp parallel num_threads(d->optim->threads) if (t->size > PIECE)
    {
        denormals_flush();
#pragma omp for simd
        for (size_t i = 0; i < t->size; i++) {
            double from_mean = g[i] - mean[i];
            mean[i] += share * from_mean;
            deviation[i] += from_mean * (g[i] - mean[i]);
        }
    }
}

void diagnostics_add_noise(Diagnostics *d) {
    if (d->noise_count++ == 0) memset(d->mean, 0, 2 * d->weight_count * sizeof *d->mean);
    EACH_TENSOR(t, d) add_noise(d, t);
}

static void find_noise(Diagnostics *d) {
    Sums all = {0};
    EACH_TENSOR(t, d) {
        Sums sums = sum_up(d, t, sum_noise);
        t->found.noise_phi = density(sums, t->size);
        add(&all, sums);
    }
    d->all.noise_phi = density(all, counted_weights(d));
}

/* ---- singular values --------------------------------------------------------------------------------------- */

/* The first of the tensor's matrices that the source has. */
static const float *source_of(const Diagnostics *d, const DiagnosedTensor *t, Source source) {
    switch (source) {
    case OF_GRADIENT: return t->param->g;
    case OF_UPDATE: return d->before + t->at;
    default: return t->optim->mapped[source == OF_MAP ? MAPPED_OUT : MAPPED_IN];
    }
}

static int matrix_count(const DiagnosedTensor *t, Source source) {
    if (!is_matrix(t) || (source >= OF_MAPPED && !t->maps)) return 0;
    return source >= OF_MAPPED ? optim_matrix_count(t->group, t->param) : t->param->split;
}

static void transpose(float *out, const float *in, int rows, int cols) {
    enum { TILE = 32 };
    for (int r0 = 0; r0 < rows; r0 += TILE)
        for (int c0 = 0; c0 < cols; c0 += TILE)
            for (int r = r0; r < rows && r < r0 + TILE; r++)
                for (int c = c0; c < cols && c < c0 + TILE; c++)
                    out[(size_t)c * (size_t)rows + (size_t)r] = in[(size_t)r * (size_t)cols + (size_t)c];
}

/* Singular values of matrix `index` of a tensor; NAN should LAPACK find none. */
static void find_values(const Diagnostics *d, const DiagnosedTensor *t, Source source, int index,
                        float *scratch) {
    int rows = t->param->rows / matrix_count(t, source), cols = t->param->cols;
    int n = rows < cols ? rows : cols, m = rows < cols ? cols : rows;
    const float *X = source_of(d, t, source) + (size_t)index * (size_t)rows * (size_t)cols;
    float *values = d->values + t->values_at + (size_t)index * (size_t)n,
          *turned = scratch + eigen_work_size(n);
    if (rows > cols && source < OF_MAPPED) {
        transpose(turned, X, rows, cols);
        X = turned;
    }
    if (singular_values(X, n, m, values, scratch)) return;
    for (int i = 0; i < n; i++) values[i] = NAN;
}

/* A matrix a thread; each result has its place. */
static void find_all_values(const Diagnostics *d, Source source) {
#pragma omp parallel num_threads(d->optim->threads)
    {
        float *scratch = d->scratch + (size_t)omp_get_thread_num() * d->scratch_floats;
        int task = 0;
        denormals_flush();
        EACH_TENSOR(t, d)
        for (int index = 0; index < matrix_count(t, source); index++, task++)
            if (task % omp_get_num_threads() == omp_get_thread_num())
                find_values(d, t, source, index, scratch);
    }
}

static int value_count(const DiagnosedTensor *t, Source source) {
    int count = matrix_count(t, source);
    return count ? count * (int)lesser(t->param->rows / count, t->param->cols) : 0;
}

static int by_value(const void *a, const void *b) {
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

/* Quantile q of n sorted values lies at q (n - 1), between two of them on the line that joins them. */
static void find_quantiles(float *values, int n, float quantiles[SIGMA_QUANTILES]) {
    for (int i = 0; i < n; i++)
        if (isnan(values[i])) return;
    qsort(values, (size_t)n, sizeof *values, by_value);
    for (int k = 0; k < SIGMA_QUANTILES; k++) {
        double place = (double)k / (SIGMA_QUANTILES - 1) * (n - 1);
        int below = (int)place, above = below + 1 < n ? below + 1 : below;
        quantiles[k] = (float)(values[below] + (place - below) * ((double)values[above] - values[below]));
    }
}

static void find_nuclear(Diagnostics *d) {
    double all = 0;
    find_all_values(d, OF_GRADIENT);
    EACH_TENSOR(t, d) {
        double sum = 0;
        int n = value_count(t, OF_GRADIENT);
        for (int i = 0; i < n; i++) sum += d->values[t->values_at + (size_t)i];
        if (n > 0) t->found.grad_nuclear = sum;
        all += sum;
    }
    d->all.grad_nuclear = all;
}

static void find_update_spectral(Diagnostics *d) {
    find_all_values(d, OF_UPDATE);
    EACH_TENSOR(t, d)
    for (int i = 0; i < value_count(t, OF_UPDATE); i++)
        t->found.update_spectral = fmax(t->found.update_spectral, d->values[t->values_at + (size_t)i]);
}

static void find_sigma(Diagnostics *d, Source source) {
    find_all_values(d, source);
    EACH_TENSOR(t, d)
    if (t->maps)
        find_quantiles(d->values + t->values_at, value_count(t, source),
                       t->sigma[source == OF_MAP ? 1 : 0]);
}

/* ---- a step ------------------------------------------------------------------------------------------------ */

void diagnostics_gradient(Diagnostics *d) {
    Sums all = {0};
    double start = omp_get_wtime();
    if (d->noise_count > 0) find_noise(d);
    EACH_TENSOR(t, d) {
        Sums sums = sum_up(d, t, sum_gradient);
        t->found.grad_l1 = sums.l1;
        t->found.grad_l2 = sqrt(sums.square);
        t->found.grad_linf = sums.largest;
        t->found.grad_density = density(sums, t->size);
        add(&all, sums);
    }
    d->all.grad_l1 = all.l1;
    d->all.grad_l2 = sqrt(all.square);
    d->all.grad_linf = all.largest;
    d->all.grad_density = density(all, counted_weights(d));
    if (d->how.spectra) find_nuclear(d);
    d->cost_s += omp_get_wtime() - start;
}

void diagnostics_before_update(Diagnostics *d) {
    double start = omp_get_wtime();
    float *room = d->before + d->weight_count;
    EACH_TENSOR(t, d) {
        size_t size = param_size(t->param);
        memcpy(d->before + t->at, t->param->w, size * sizeof(float));
        for (int i = 0; i < 2 && t->maps; i++, room += size) t->optim->mapped[i] = room;
    }
    d->cost_s += omp_get_wtime() - start;
}

/* What the optimizers counted. */
static void take_counts(Diagnostics *d) {
    for (int i = 0; i < d->optim->group_count && isnan(d->all.temperature); i++) {
        const OptimGroup *group = &d->optim->groups[i];
        d->all.temperature = group->temperature;
        d->all.saturated_frac = group->saturated_frac;
        d->all.dual_progress = group->dual_progress;
    }
    EACH_TENSOR(t, d) {
        const double *counted = t->optim->counted;
        if (counted[COUNT_ALL] == 0) continue;
        t->found.saturated_frac = counted[COUNT_SATURATED] / counted[COUNT_ALL];
        t->found.dual_progress = counted[COUNT_DUAL];
    }
}

void diagnostics_after_update(Diagnostics *d) {
    double start = omp_get_wtime(), weights = 0, update = 0;
    EACH_TENSOR(t, d) {
        double w = sum_up(d, t, sum_weights).square, change = sum_up(d, t, sum_update).square;
        t->found.weight_norm = sqrt(w);
        t->found.update_rms = sqrt(change / (double)t->size);
        weights += w;
        update += change;
    }
    d->all.weight_norm = sqrt(weights);
    d->all.update_rms = sqrt(update / (double)counted_weights(d));
    take_counts(d);
    if (d->how.spectra) {
        find_update_spectral(d);
        find_sigma(d, OF_MAPPED);
        find_sigma(d, OF_MAP);
    }
    EACH_TENSOR(t, d) t->optim->mapped[MAPPED_IN] = t->optim->mapped[MAPPED_OUT] = NULL;
    d->cost_s += omp_get_wtime() - start;
}

/* ---- the line ---------------------------------------------------------------------------------------------- */

static void print_figures(FILE *out, const Diagnosis *found) {
    for (int i = 0; i < FIGURE_COUNT; i++) {
        double value = *(const double *)((const char *)found + FIGURES[i].offset);
        if (isfinite(value)) fprintf(out, ",\"%s\":%.9g", FIGURES[i].key, value);
    }
    if (isinf(found->temperature)) fputs(",\"temperature\":null", out); /* as in metrics.jsonl */
}

static void print_sigma(FILE *out, const char *key, const float quantiles[SIGMA_QUANTILES]) {
    if (isnan(quantiles[0])) return;
    fprintf(out, ",\"%s\":[", key);
    for (int k = 0; k < SIGMA_QUANTILES; k++) fprintf(out, "%s%.6g", k ? "," : "", (double)quantiles[k]);
    fputc(']', out);
}

char *diagnostics_text(const Diagnostics *d, int64_t step, int64_t tokens, size_t *length, Error *err) {
    char *text = NULL;
    FILE *out = open_memstream(&text, length);
    if (out) {
        fprintf(out, "{\"step\":%lld,\"tokens\":%lld,\"cost_s\":%.6g", (long long)step, (long long)tokens,
                d->cost_s);
        print_figures(out, &d->all);
        if (d->noise_count > 0) fprintf(out, ",\"noise_batches\":%lld", (long long)d->noise_count);
        EACH_TENSOR(t, d) {
            fprintf(out, "%s{\"name\":\"%s\",\"role\":\"%s\"", t == d->tensors ? ",\"tensors\":[" : ",",
                    t->param->name, ROLE_NAMES[t->param->role]);
            print_figures(out, &t->found);
            print_sigma(out, "sigma", t->sigma[0]);
            print_sigma(out, "sigma_update", t->sigma[1]);
            fputc('}', out);
        }
        fputs("]}\n", out);
    }
    bool whole = out && !ferror(out);
    if (out && fclose(out) != 0) whole = false;
    if (whole && text) return text;
    free(text);
    error_set(err, ERR_IO, "diagnostics: out of memory");
    return NULL;
}
