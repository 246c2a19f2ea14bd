/* test_gpt2.c: the model against recorded float64 numbers, against a second GPT-2 written here in double precision
 * and row by row, and against central differences of that one; then what it promises about bits and memory.
 */
#define HEAD_BYTES ((size_t)128 << 10) /* small, so that the head needs several chunks */
#include "model/gpt2.c"

#include "model/gpt2_file.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#include "test/tempdir.h"

/* ------------------------------------------------------------------------------------------------------------
 * Helpers. Activations are (tokens, features) row by row here, and tiles there.
 */

static void *array(size_t count, size_t size) {
    Error err;
    void *p = memory_alloc(count, size, "test", &err);
    assert_non_null(p);
    return p;
}

static double *normals(size_t n, double std, uint64_t stream) {
    double *p = array(n, sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = (float)(std * rng_normal(7, stream, i)); /* a float has it, too */
    return p;
}

static float *floats(const double *x, size_t n) {
    float *p = array(n, sizeof *p);
    for (size_t i = 0; i < n; i++) p[i] = (float)x[i];
    return p;
}

/* Where feature f of token t lies in tiles of F features. */
static size_t tiled(int F, int t, int f) {
    return ((size_t)(t / TILE) * (size_t)F + (size_t)f) * TILE + (size_t)(t % TILE);
}

/* Tiles of x (n, F), the empty lanes of the last one zero. */
static float *tiles_of(const double *x, int n, int F) {
    float *p = array((size_t)(ceil_div(n, TILE) * TILE) * (size_t)F, sizeof *p);
    for (int t = 0; t < n; t++)
        for (int f = 0; f < F; f++) p[tiled(F, t, f)] = (float)x[t * F + f];
    return p;
}

/* |difference| / |expected|, both L2 norms, gathered element by element. */
typedef struct Distance {
    double difference2, size2;
} Distance;

static void distance_add(Distance *d, double ours, double theirs) {
    d->difference2 += (ours - theirs) * (ours - theirs);
    d->size2 += theirs * theirs;
}

static double distance(Distance d) {
    return sqrt(d.difference2 / (d.size2 > 0 ? d.size2 : 1));
}

static void assert_near(const char *what, Distance d, double tolerance) {
    if (!(distance(d) <= tolerance))
        fail_msg("%s: relative error %.2e above %.0e", what, distance(d), tolerance);
}

static double dot(const double *x, const double *y, size_t n) {
    double sum = 0;
#pragma omp simd reduction(+ : sum)
    for (size_t i = 0; i < n; i++) sum += x[i] * y[i];
    return sum;
}

/* df/dx by central differences of a function in double precision: good to about 1e-9 relative. */
static double slope(double (*f)(const void *), const void *context, double *x) {
    double at_x = *x, h = 1e-5;
    *x = at_x + h;
    double above = f(context);
    *x = at_x - h;
    double below = f(context);
    *x = at_x;
    return (above - below) / (2 * h);
}

/* ------------------------------------------------------------------------------------------------------------
 * GPT-2 from its definition, in double precision.
 */

static void ref_layernorm(double *out, const double *x, const double *w, const double *b, int n, int C) {
    for (int t = 0; t < n; t++, x += C, out += C) {
        double mean = 0, var = 0;
        for (int c = 0; c < C; c++) mean += x[c] / C;
        for (int c = 0; c < C; c++) var += (x[c] - mean) * (x[c] - mean) / C;
        for (int c = 0; c < C; c++) out[c] = (x[c] - mean) / sqrt(var + 1e-5) * w[c] + (b ? b[c] : 0);
    }
}

static void ref_linear(double *out, const double *in, const double *w, const double *b, int n, int IC,
                       int OC) {
    for (int t = 0; t < n; t++)
        for (int o = 0; o < OC; o++)
            out[t * OC + o] = dot(in + t * IC, w + (size_t)o * (size_t)IC, (size_t)IC) + (b ? b[o] : 0);
}

static double ref_gelu(double x) {
    return 0.5 * x * (1 + tanh(sqrt(2 / 3.14159265358979323846) * (x + 0.044715 * x * x * x)));
}

/* out (n, hs) of one head; a token's query, key and value are hs numbers at `row`-strided q, k, v. */
static void ref_attention(double *out, size_t out_row, const double *q, const double *k, const double *v,
                          size_t row, int n, int hs) {
    double *p = array((size_t)n, sizeof *p);
    for (int t = 0; t < n; t++) {
        double max = -INFINITY, sum = 0, *o = out + (size_t)t * out_row;
        for (int j = 0; j <= t; j++) {
            p[j] = dot(q + (size_t)t * row, k + (size_t)j * row, (size_t)hs) / sqrt(hs);
            max = fmax(max, p[j]);
        }
        for (int j = 0; j <= t; j++) sum += p[j] = exp(p[j] - max);
        memset(o, 0, (size_t)hs * sizeof *o);
        for (int j = 0; j <= t; j++)
            for (int d = 0; d < hs; d++) o[d] += p[j] / sum * v[(size_t)j * row + (size_t)d];
    }
    memory_free(p);
}

static double ref_cross_entropy(const double *logits, int V, int target) {
    double max = -INFINITY, sum = 0;
    for (int v = 0; v < V; v++) max = fmax(max, logits[v]);
    for (int v = 0; v < V; v++) sum += exp(logits[v] - max);
    return max + log(sum) - logits[target];
}

/* The model's weights in double precision, and a batch. */
typedef struct Reference {
    GPT2Config m;
    const Param *params;
    int param_count, B, T;
    double **w;
    const int32_t *inputs, *targets;
} Reference;

static Reference ref_create(const GPT2 *model, const int32_t *inputs, const int32_t *targets, int B,
                            int T) {
    Reference r = {model->config, model->params, model->param_count, B, T, NULL, inputs, targets};
    r.w = array((size_t)r.param_count, sizeof *r.w);
    for (int i = 0; i < r.param_count; i++) {
        r.w[i] = array(param_size(&r.params[i]), sizeof(double));
        for (size_t j = 0; j < param_size(&r.params[i]); j++) r.w[i][j] = r.params[i].w[j];
    }
    return r;
}

static void ref_free(Reference *r) {
    for (int i = 0; i < r->param_count; i++) memory_free(r->w[i]);
    memory_free(r->w);
}

/* The tensor "h.<l>.<name>", or "<name>" when l < 0; NULL when the model has none. */
static const double *ref_weight(const Reference *r, int l, const char *name) {
    char full[64];
    if (l < 0) snprintf(full, sizeof full, "%s", name);
    else snprintf(full, sizeof full, "h.%d.%s", l, name);
    for (int i = 0; i < r->param_count; i++)
        if (strcmp(r->params[i].name, full) == 0) return r->w[i];
    return NULL;
}

/* x (T, C) += layer l's attention or feed-forward branch. y (T, C), wide (T, 4 * C): work. */
static void ref_layer(const Reference *r, int l, double *x, double *y, double *wide) {
    int T = r->T, C = r->m.C, hs = C / r->m.NH;
    ref_layernorm(y, x, ref_weight(r, l, "ln_1.weight"), ref_weight(r, l, "ln_1.bias"), T, C);
    ref_linear(wide, y, ref_weight(r, l, "attn.c_attn.weight"), ref_weight(r, l, "attn.c_attn.bias"), T, C,
               3 * C);
    for (int d = 0; d < C; d += hs)
        ref_attention(y + d, (size_t)C, wide + d, wide + C + d, wide + 2 * C + d, (size_t)(3 * C), T, hs);
    ref_linear(wide, y, ref_weight(r, l, "attn.c_proj.weight"), ref_weight(r, l, "attn.c_proj.bias"), T, C,
               C);
    for (int i = 0; i < T * C; i++) x[i] += wide[i];
    ref_layernorm(y, x, ref_weight(r, l, "ln_2.weight"), ref_weight(r, l, "ln_2.bias"), T, C);
    ref_linear(wide, y, ref_weight(r, l, "mlp.c_fc.weight"), ref_weight(r, l, "mlp.c_fc.bias"), T, C,
               4 * C);
    for (int i = 0; i < T * 4 * C; i++) wide[i] = ref_gelu(wide[i]);
    ref_linear(y, wide, ref_weight(r, l, "mlp.c_proj.weight"), ref_weight(r, l, "mlp.c_proj.bias"), T,
               4 * C, C);
    for (int i = 0; i < T * C; i++) x[i] += y[i];
}

/* logits (T, V) of one sequence. */
static void ref_logits(const Reference *r, const int32_t *inputs, double *logits) {
    int T = r->T, C = r->m.C;
    double *x = array((size_t)(T * C), sizeof *x), *y = array((size_t)(T * C), sizeof *y),
           *wide = array((size_t)(4 * T * C), sizeof *wide);
    const double *wte = ref_weight(r, -1, "wte.weight"), *wpe = ref_weight(r, -1, "wpe.weight");
    for (int t = 0; t < T; t++)
        for (int c = 0; c < C; c++) x[t * C + c] = wte[inputs[t] * C + c] + wpe[t * C + c];
    for (int l = 0; l < r->m.L; l++) ref_layer(r, l, x, y, wide);
    ref_layernorm(y, x, ref_weight(r, -1, "ln_f.weight"), ref_weight(r, -1, "ln_f.bias"), T, C);
    ref_linear(logits, y, wte, NULL, T, C, r->m.V);
    memory_free(x), memory_free(y), memory_free(wide);
}

static double ref_loss(const void *reference) {
    const Reference *r = reference;
    double sum = 0, *logits = array((size_t)r->T * (size_t)r->m.V, sizeof *logits);
    for (int b = 0; b < r->B; b++) {
        ref_logits(r, r->inputs + b * r->T, logits);
        for (int t = 0; t < r->T; t++)
            sum += ref_cross_entropy(logits + (size_t)t * (size_t)r->m.V, r->m.V, r->targets[b * r->T + t]);
    }
    memory_free(logits);
    return sum / (r->B * r->T);
}

/* d/ds of the loss when every element of tensor i moves by s times its element of `direction`. */
static double ref_slope_along(Reference *r, int i, const double *direction) {
    size_t n = param_size(&r->params[i]);
    double h = 1e-5, side[2], *here = r->w[i], *moved = array(n, sizeof *moved);
    r->w[i] = moved;
    for (int k = 0; k < 2; k++) {
        for (size_t j = 0; j < n; j++) moved[j] = here[j] + (k ? h : -h) * direction[j];
        side[k] = ref_loss(r);
    }
    r->w[i] = here;
    memory_free(moved);
    return (side[1] - side[0]) / (2 * h);
}

/* ------------------------------------------------------------------------------------------------------------
 * Models and batches to test with.
 */

typedef struct Batch {
    int B, T;
    int32_t *inputs, *targets;
} Batch;

static Batch batch_create(int B, int T, int V) {
    Batch b = {B, T, array((size_t)(B * T), sizeof(int32_t)), array((size_t)(B * T), sizeof(int32_t))};
    for (int i = 0; i < B * T; i++) {
        b.inputs[i] = (int32_t)(rng_bits(3, 1, (uint64_t)i) % (uint64_t)V);
        b.targets[i] = (int32_t)(rng_bits(3, 2, (uint64_t)i) % (uint64_t)V);
    }
    return b;
}

static void batch_free(Batch b) {
    memory_free(b.inputs), memory_free(b.targets);
}

/* A model far from its initialisation: every weight, bias and norm takes part. Padding stays zero. */
static GPT2 lively_model(GPT2Config config, int max_B, int threads) {
    GPT2 model;
    Error err;
    if (!gpt2_create(&model, config, max_B, threads, &err)) fail_msg("%s", err.text);
    for (int i = 0; i < model.param_count; i++) {
        Param *p = &model.params[i];
        bool norm = strstr(p->name, "ln_") && strstr(p->name, ".weight");
        double std = p->role == ROLE_MATRIX ? 0.7 / sqrt(p->cols) : 0.3;
        size_t n = (size_t)(i == 0 ? config.V : p->rows) * (size_t)p->cols;
        for (size_t j = 0; j < n; j++) p->w[j] = (float)(norm + std * rng_normal(5, (uint64_t)i, j));
    }
    return model;
}

static double run(GPT2 *model, Batch b) {
    return gpt2_forward_backward(model, b.inputs, b.targets, b.B, b.T, 0, 1);
}

static size_t gradient_count(const GPT2 *model) {
    size_t n = 0;
    for (int i = 0; i < model->param_count; i++) n += param_size(&model->params[i]);
    return n;
}

/* All gradients in a row, to compare bits. */
static float *gradients_of(const GPT2 *model) {
    float *all = array(gradient_count(model), sizeof *all), *at_g = all;
    for (int i = 0; i < model->param_count; i++) {
        memcpy(at_g, model->params[i].g, param_size(&model->params[i]) * sizeof *all);
        at_g += param_size(&model->params[i]);
    }
    return all;
}

static const GPT2Config SMALL = {.T = 130, .V = 200, .L = 2, .NH = 3, .C = 24, .bias = true};

/* ------------------------------------------------------------------------------------------------------------
 * Each layer's backward against central differences of its definition.
 */

typedef struct LayernormCase {
    double *x, *w, *b, *dout, *out;
    int n, C;
} LayernormCase;

static double layernorm_value(const void *context) {
    const LayernormCase *c = context;
    ref_layernorm(c->out, c->x, c->w, c->b, c->n, c->C);
    return dot(c->out, c->dout, (size_t)(c->n * c->C));
}

static void layernorm_should_match_its_definition_and_central_differences(void **state) {
    (void)state;
    enum { N = TILE, C = 24 };
    LayernormCase k = {normals(N * C, 2, 1),
                       normals(C, 1, 2),
                       normals(C, 1, 3),
                       normals(N * C, 1, 4),
                       array(N * C, sizeof(double)),
                       N,
                       C};
    double *skip = normals(N * C, 1, 5);
    float *x = tiles_of(k.x, N, C), *dout = tiles_of(k.dout, N, C), *dskip = tiles_of(skip, N, C);
    float *w = floats(k.w, C), *b = floats(k.b, C), *out = array(N * C, sizeof *out);
    float *again = array(N * C, sizeof *again), *dx = array(N * C, sizeof *dx), dw[C], db[C];
    float stats[2 * TILE];
    layernorm_forward(out, stats, x, w, b, C);
    layernorm_again(again, stats, x, w, b, C);
    layernorm_backward(dx, dw, db, dskip, dout, x, stats, w, C);
    assert_memory_equal(out, again, N * C * sizeof *out);
    Distance d_out = {0}, d_x = {0}, d_w = {0}, d_b = {0};
    layernorm_value(&k);
    for (int t = 0; t < N; t++)
        for (int c = 0; c < C; c++) distance_add(&d_out, out[tiled(C, t, c)], k.out[t * C + c]);
    for (int t = 0; t < N; t += 3)
        for (int c = 0; c < C; c++)
            distance_add(&d_x, dx[tiled(C, t, c)] - skip[t * C + c],
                         slope(layernorm_value, &k, &k.x[t * C + c]));
    for (int c = 0; c < C; c++) {
        distance_add(&d_w, dw[c], slope(layernorm_value, &k, &k.w[c]));
        distance_add(&d_b, db[c], slope(layernorm_value, &k, &k.b[c]));
    }
    assert_near("out", d_out, 1e-6);
    assert_near("dx", d_x, 2e-6);
    assert_near("dw", d_w, 2e-6);
    assert_near("db", d_b, 2e-6);
    layernorm_backward(out, dw, db, NULL, dout, x, stats, w, C); /* nothing to skip */
    for (int i = 0; i < N * C; i++) assert_true(fabsf(out[i] + dskip[i] - dx[i]) < 1e-5f);
    memory_free(k.x), memory_free(k.w), memory_free(k.b), memory_free(k.dout), memory_free(k.out);
    memory_free(skip), memory_free(x), memory_free(dout), memory_free(dskip), memory_free(w),
        memory_free(b);
    memory_free(out), memory_free(again), memory_free(dx);
}

static void gelu_should_match_its_definition_and_central_differences(void **state) {
    (void)state;
    enum { N = 16 * 401 };
    float *x = array(N, sizeof *x), *out = array(N, sizeof *out), *again = array(N, sizeof *again),
          *d = array(N, sizeof *d);
    for (int i = 0; i < N; i++) {
        x[i] = (float)(i - N / 2) * 16.0f / N;
        d[i] = 1.5f;
    }
    gelu_forward(out, x, N);
    gelu_backward(d, again, x, N);
    for (int i = 0; i < N; i++) {
        double h = 1e-5, expected = (ref_gelu(x[i] + h) - ref_gelu(x[i] - h)) / (2 * h);
        assert_true(fabs(out[i] - ref_gelu(x[i])) < 1e-6);
        assert_true(fabsf(out[i] - again[i]) < 1e-6f);
        assert_true(fabs(d[i] / 1.5 - expected) < 2e-6);
    }
    memory_free(x), memory_free(out), memory_free(again), memory_free(d);
}

static void linear_should_match_its_definition(void **state) {
    (void)state;
    enum { TILES = 3, N = TILES * TILE, IC = 70, OC = 29, CUT = 13 };
    double *in = normals(N * IC, 1, 1), *w = normals(OC * IC, 1, 2), *b = normals(OC, 1, 3);
    double *dout = normals(N * OC, 1, 4), *expected = array(N * OC, sizeof *expected);
    float *in_f = tiles_of(in, N, IC), *w_f = floats(w, OC * IC), *b_f = floats(b, OC),
          *out = array(N * OC, sizeof *out);
    float *dout_f = tiles_of(dout, N, OC), *din = array(N * IC, sizeof *din), db[OC];
    float *in_t = array((size_t)ceil_div(IC, TILE) * TILE * N, sizeof *in_t),
          *dw = array(OC * IC, sizeof *dw);
    Distance d_out = {0}, d_in = {0}, d_w = {0}, d_b = {0};

    linear_forward(out, dout_f, in_f, w_f, b_f, IC, OC, TILES); /* dout stands for what is skipped */
    ref_linear(expected, in, w, b, N, IC, OC);
    for (int t = 0; t < N; t++)
        for (int o = 0; o < OC; o++)
            distance_add(&d_out, out[tiled(OC, t, o)], expected[t * OC + o] + dout[t * OC + o]);

    linear_backward_input(din, dout_f, w_f, IC, OC, TILES);
    for (int t = 0; t < N; t++)
        for (int i = 0; i < IC; i++) {
            double sum = 0;
            for (int o = 0; o < OC; o++) sum += dout[t * OC + o] * w[o * IC + i];
            distance_add(&d_in, din[tiled(IC, t, i)], sum);
        }

    for (int tile = 0; tile < TILES; tile++) transpose_tile(in_t, in_f + tile * IC * TILE, IC, tile, TILES);
    for (int twice = 0; twice < 2; twice++) { /* written, then added to */
        for (int col = 0; col < IC; col += TILE) {
            Piece above = {0, CUT, col, min_int(TILE, IC - col)}, below = above;
            below.row = CUT, below.rows = OC - CUT;
            linear_backward_weight(dw, db, dout_f, in_t, IC, OC, TILES, 1, above, twice);
            linear_backward_weight(dw, db, dout_f, in_t, IC, OC, TILES, 1, below, twice);
        }
    }
    for (int o = 0; o < OC; o++) {
        double sum_b = 0;
        for (int t = 0; t < N; t++) sum_b += dout[t * OC + o];
        distance_add(&d_b, db[o], 2 * sum_b);
        for (int i = 0; i < IC; i++) {
            double sum = 0;
            for (int t = 0; t < N; t++) sum += dout[t * OC + o] * in[t * IC + i];
            distance_add(&d_w, dw[o * IC + i], 2 * sum);
        }
    }
    assert_near("out", d_out, 1e-6);
    assert_near("din", d_in, 1e-6);
    assert_near("dw", d_w, 2e-6);
    assert_near("db", d_b, 2e-6);
    memory_free(in), memory_free(w), memory_free(b), memory_free(dout), memory_free(expected),
        memory_free(in_f);
    memory_free(w_f), memory_free(b_f), memory_free(out), memory_free(dout_f), memory_free(din);
    memory_free(in_t), memory_free(dw);
}

static void pieces_should_cover_a_weight_once(void **state) {
    (void)state;
    const int sizes[][2] = {{1, 1},      {97, 64},    {128, 512}, {384, 1536},
                            {1152, 385}, {3072, 768}, {2001, 70}};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        const int OC = sizes[k][0], IC = sizes[k][1];
        char *seen = calloc((size_t)OC * (size_t)IC, 1);
        assert_non_null(seen);
        for (int i = 0; i < piece_count(OC, IC); i++) {
            Piece p = piece_at(i, OC, IC);
            assert_true(p.rows > 0 && p.rows <= 192 && p.cols > 0 && p.cols <= PIECE_COLS &&
                        p.col % TILE == 0);
            for (int r = p.row; r < p.row + p.rows; r++)
                for (int c = p.col; c < p.col + p.cols; c++) assert_int_equal(seen[r * IC + c]++, 0);
        }
        assert_null(memchr(seen, 0, (size_t)OC * (size_t)IC));
        free(seen);
    }
}

typedef struct AttentionCase {
    double *qkv, *dout, *out; /* (n, 3 * C), (n, C) */
    int n, hs, C, head;
} AttentionCase;

static double attention_value(const void *context) {
    const AttentionCase *k = context;
    const double *q = k->qkv + k->head * k->hs;
    double sum = 0;
    ref_attention(k->out, (size_t)k->hs, q, q + k->C, q + 2 * k->C, (size_t)(3 * k->C), k->n, k->hs);
    for (int t = 0; t < k->n; t++)
        sum += dot(k->out + t * k->hs, k->dout + t * k->C + k->head * k->hs, (size_t)k->hs);
    return sum;
}

/* Head 1 of 2 on n tokens; `step` picks the elements that are differentiated. */
static void check_attention(int n, int hs, int step) {
    int C = 2 * hs, tiles = ceil_div(n, TILE), head = hs * TILE;
    AttentionCase k = {normals((size_t)(n * 3 * C), 1, 1),
                       normals((size_t)(n * C), 1, 2),
                       array((size_t)(n * hs), sizeof(double)),
                       n,
                       hs,
                       C,
                       1};
    float *qkv = tiles_of(k.qkv, n, 3 * C), *dout = tiles_of(k.dout, n, C);
    float *out = array((size_t)(tiles * TILE * C), sizeof *out),
          *lse = array((size_t)(tiles * TILE * 2), sizeof *lse);
    float *dqkv = array((size_t)(tiles * TILE * 3 * C), sizeof *dqkv);
    float *work = array((size_t)(tiles > 4 ? tiles : 4) * TILE * TILE, sizeof *work);
    for (int i = 0; i < tiles; i++)
        attention_forward(out + i * C * TILE + head, lse + (2 * i + 1) * TILE, qkv + head, i, hs, C, work);
    attention_backward(dqkv + head, dout + head, out + head, lse + TILE, qkv + head, tiles, hs, C, 2, work);
    Distance d_out = {0}, d_qkv[3] = {0};
    attention_value(&k);
    for (int t = 0; t < n; t++)
        for (int d = 0; d < hs; d++) distance_add(&d_out, out[tiled(C, t, hs + d)], k.out[t * hs + d]);
    for (int i = 0; i < n * 3 * hs; i += step) {
        int t = i / (3 * hs), part = i % (3 * hs) / hs, f = part * C + hs + i % hs;
        distance_add(&d_qkv[part], dqkv[tiled(3 * C, t, f)],
                     slope(attention_value, &k, &k.qkv[t * 3 * C + f]));
    }
    assert_near("out", d_out, 1e-6);
    assert_near("dq", d_qkv[0], 3e-6);
    assert_near("dk", d_qkv[1], 3e-6);
    assert_near("dv", d_qkv[2], 3e-6);
    for (int i = 0; i < tiles * 3 * C; i++) /* nothing of the other head's */
        if (i % C < hs) assert_true(dqkv[i * TILE] == 0);
    memory_free(k.qkv), memory_free(k.dout), memory_free(k.out), memory_free(qkv), memory_free(dout);
    memory_free(out), memory_free(lse), memory_free(dqkv), memory_free(work);
}

static void attention_should_match_its_definition_and_central_differences(void **state) {
    (void)state;
    check_attention(1, 4, 1);
    check_attention(64, 5, 7);
    check_attention(65, 16, 17);
    check_attention(150, 7, 11);
}

static void embedding_should_sum_token_and_position_and_scatter_their_gradients(void **state) {
    (void)state;
    enum { T = 70, B = 2, V = 9, C = 66 };
    GPT2 model = lively_model((GPT2Config){.T = T + 3, .V = V, .L = 1, .NH = 1, .C = C}, B, 1);
    Batch b = batch_create(B, T, V);
    double *dres = normals(B * T * C, 1, 1), *dwte = array(V * C, sizeof *dwte),
           *dwpe = array(T * C, sizeof *dwpe);
    float *dres_f[B] = {tiles_of(dres, T, C), tiles_of(dres + T * C, T, C)};
    float *tiles = array(2 * B * C * TILE, sizeof *tiles);
    for (int s = 0; s < B; s++) memcpy(tiles + s * 2 * C * TILE, dres_f[s], 2 * C * TILE * sizeof *tiles);
    set_batch(&model, b.inputs, b.targets, b.B, b.T);
    for (int i = 0; i < V * C; i++) model.g.wte[i] = 100; /* the head was here before */
    embedding_backward(&model, tiles);
    for (int i = 0; i < B * T; i++)
        for (int c = 0; c < C; c++) {
            dwte[b.inputs[i] * C + c] += dres[i * C + c];
            dwpe[i % T * C + c] += dres[i * C + c];
        }
    for (int i = 0; i < V * C; i++) assert_true(fabs(model.g.wte[i] - 100 - dwte[i]) < 1e-4);
    for (int i = 0; i < T * C; i++) assert_true(fabs(model.g.wpe[i] - dwpe[i]) < 1e-6);
    for (int s = 0; s < B; s++)
        for (int tile = 0; tile < 2; tile++) {
            embed_tile(&model, tiles, 2 * s + tile);
            for (int t = 0; t < TILE; t++)
                for (int c = 0; c < C; c++) {
                    int pos = tile * TILE + t, token = pos < T ? b.inputs[s * T + pos] : 0;
                    float expected = pos < T ? model.w.wte[token * C + c] + model.w.wpe[pos * C + c] : 0;
                    assert_true(tiles[c * TILE + t] == expected);
                }
        }
    memory_free(dres), memory_free(dwte), memory_free(dwpe), memory_free(tiles);
    memory_free(dres_f[0]), memory_free(dres_f[1]);
    batch_free(b);
    gpt2_free(&model);
}

/* The head alone, a function of the last layer's output. */
typedef struct HeadCase {
    double *x, *wte, *lnfw, *lnfb;
    const int32_t *targets;
    int n, C, V;
} HeadCase;

static double head_value(const void *context) {
    const HeadCase *k = context;
    double sum = 0, norm[64], logits[256];
    for (int t = 0; t < k->n; t++) {
        ref_layernorm(norm, k->x + t * k->C, k->lnfw, k->lnfb, 1, k->C);
        ref_linear(logits, norm, k->wte, NULL, 1, k->C, k->V);
        sum += ref_cross_entropy(logits, k->V, k->targets[t]);
    }
    return sum / k->n;
}

static void head_should_match_its_definition_and_central_differences(void **state) {
    (void)state;
    enum {
        T = 100,
        B = 2,
        C = 6,
        V = 200,
        N = B * T
    }; /* two blocks of the vocabulary, two chunks of tiles */
    GPT2 model = lively_model((GPT2Config){.T = T, .V = V, .L = 1, .NH = 1, .C = C, .bias = true}, B, 1);
    Batch b = batch_create(B, T, V);
    Activations *a = model.acts;
    HeadCase k = {
        normals(N * C, 1, 1), normals(V * C, 1, 2), normals(C, 1, 3), normals(C, 1, 4), b.targets, N, C, V};
    for (int i = 0; i < V * C; i++) model.w.wte[i] = (float)k.wte[i];
    for (int c = 0; c < C; c++) model.w.lnfw[c] = (float)k.lnfw[c], model.w.lnfb[c] = (float)k.lnfb[c];
    set_batch(&model, b.inputs, b.targets, B, T);
    a->gradient_scale = 1.0f / N;
    a->accumulate = false;
    float *last = slab(a, a->res, C, 1);
    for (int i = 0; i < N; i++)
        for (int c = 0; c < C; c++) last[tiled(C, i / T * 2 * TILE + i % T, c)] = (float)k.x[i * C + c];
    head(&model, true);
    assert_true(a->head_tiles < a->tiles);
    assert_true(fabs(mean_loss(a) - head_value(&k)) < 1e-6);
    sum_parts(model.g.lnfw, a->dln + 4 * a->max_tiles * C, C, a->tiles, false);
    sum_parts(model.g.lnfb, a->dln + 5 * a->max_tiles * C, C, a->tiles, false);
    Distance d_x = {0}, d_wte = {0}, d_w = {0}, d_b = {0};
    for (int i = 0; i < N; i += 11)
        for (int c = 0; c < C; c++)
            distance_add(&d_x, a->dout[tiled(C, i / T * 2 * TILE + i % T, c)],
                         slope(head_value, &k, &k.x[i * C + c]));
    for (int i = 0; i < V * C; i += 13)
        distance_add(&d_wte, model.g.wte[i], slope(head_value, &k, &k.wte[i]));
    for (int c = 0; c < C; c++) {
        distance_add(&d_w, model.g.lnfw[c], slope(head_value, &k, &k.lnfw[c]));
        distance_add(&d_b, model.g.lnfb[c], slope(head_value, &k, &k.lnfb[c]));
    }
    assert_near("dx", d_x, 5e-6);
    assert_near("dwte", d_wte, 5e-6);
    assert_near("dlnfw", d_w, 5e-6);
    assert_near("dlnfb", d_b, 5e-6);
    memory_free(k.x), memory_free(k.wte), memory_free(k.lnfw), memory_free(k.lnfb);
    batch_free(b);
    gpt2_free(&model);
}

/* ------------------------------------------------------------------------------------------------------------
 * The whole model.
 */

static void read_ids(int32_t *out, const SafeTensor *t) {
    for (size_t i = 0; i < t->count; i++) out[i] = (int32_t)safetensor_value(t, i);
}

static void check_golden(const char *golden) {
    char path[256];
    Error err;
    GPT2Config config;
    GPT2 model;
    SafeTensors expected;
    snprintf(path, sizeof path, "%s/expected.safetensors", golden);
    if (!gpt2_file_config(&config, golden, &err) || !safetensors_open(&expected, path, &err))
        fail_msg("%s", err.text);
    const SafeTensor *inputs = safetensors_find(&expected, "inputs"),
                     *logits = safetensors_find(&expected, "logits");
    Batch b = batch_create((int)inputs->shape[0], (int)inputs->shape[1], config.V);
    read_ids(b.inputs, inputs);
    read_ids(b.targets, safetensors_find(&expected, "targets"));
    if (!gpt2_create(&model, config, b.B, 2, &err) || !gpt2_file_load(&model, golden, &err))
        fail_msg("%s", err.text);
    float *ours = array(logits->count, sizeof *ours);
    gpt2_logits(&model, b.inputs, b.B, b.T, ours);
    Distance d = {0};
    for (size_t i = 0; i < logits->count; i++) distance_add(&d, ours[i], safetensor_value(logits, i));
    assert_near("logits", d, 2e-6);
    double loss = safetensor_value(safetensors_find(&expected, "loss"), 0);
    assert_true(fabs(run(&model, b) - loss) <= 1e-6 * loss);
    for (int i = 0; i < model.param_count; i++) {
        const Param *p = &model.params[i];
        const SafeTensor *t = gpt2_file_find(&expected, &model, p, "grad.", &err);
        if (t == NULL) fail_msg("%s", err.text);
        size_t cols = (size_t)p->cols;
        d = (Distance){0};
        for (size_t j = 0; j < t->count; j++)
            distance_add(&d, p->g[j], gpt2_file_value(t, p, j / cols, j % cols));
        assert_near(p->name, d, 5e-6);
    }
    memory_free(ours);
    batch_free(b);
    gpt2_free(&model);
    safetensors_close(&expected);
}

static void logits_loss_and_gradients_should_match_hugging_face(void **state) {
    (void)state;
    check_golden("test/golden/gpt2/tiny");
    check_golden("test/golden/gpt2/odd");
}

/* Logits, loss and, for small vocabularies, each tensor's gradient along a random direction. */
static void check_against_reference(GPT2Config config, int B, int T) {
    GPT2 model = lively_model(config, B, 1);
    Batch b = batch_create(B, T, config.V);
    Reference r = ref_create(&model, b.inputs, b.targets, B, T);
    size_t V = (size_t)config.V, n = (size_t)T * V;
    float *ours = array((size_t)B * n, sizeof *ours);
    double *theirs = array(n, sizeof *theirs);
    Distance d = {0};
    gpt2_logits(&model, b.inputs, B, T, ours);
    for (int s = 0; s < B; s++) {
        ref_logits(&r, b.inputs + s * T, theirs);
        for (size_t i = 0; i < n; i++) distance_add(&d, ours[(size_t)s * n + i], theirs[i]);
    }
    assert_near("logits", d, 2e-6);
    double loss = ref_loss(&r);
    assert_true(fabs(gpt2_forward(&model, b.inputs, b.targets, B, T, 0) - loss) <= 1e-6 * loss);
    assert_true(fabs(run(&model, b) - loss) <= 1e-6 * loss);
    for (int i = 0; i < model.param_count; i++) {
        const Param *p = &model.params[i];
        double along = 0, size2 = 0, *direction = normals(param_size(p), 1, (uint64_t)(100 + i));
        for (size_t j = 0; j < param_size(p); j++) {
            along += p->g[j] * direction[j];
            size2 += (double)p->g[j] * p->g[j];
        }
        double error = fabs(along - ref_slope_along(&r, i, direction));
        if (!(error <= 5e-6 * sqrt(size2)))
            fail_msg("T %d V %d C %d, gradient of %s: error %.2e", T, config.V, config.C, p->name,
                     error / sqrt(size2));
        memory_free(direction);
    }
    memory_free(ours), memory_free(theirs);
    ref_free(&r);
    batch_free(b);
    gpt2_free(&model);
}

static void model_and_gradients_should_match_a_plain_double_precision_one(void **state) {
    (void)state;
    static const struct {
        int B, T;
        GPT2Config m;
    } CASES[] = {
        {1, 1, {.T = 4, .V = 2, .NH = 1, .C = 8, .L = 1, .bias = true}},
        {2, 63, {.T = 63, .V = 61, .NH = 3, .C = 24, .L = 2, .bias = true}},
        {1, 64, {.T = 64, .V = 200, .NH = 4, .C = 64, .L = 1, .bias = true}},
        {1, 65, {.T = 70, .V = 4096, .NH = 2, .C = 8, .L = 1, .bias = true}},
        {5, 130, {.T = 130, .V = 200, .NH = 2, .C = 8, .L = 1, .bias = false}},
        {2, 200, {.T = 200, .V = 61, .NH = 2, .C = 24, .L = 1, .bias = true}},
        {1, 130, {.T = 200, .V = 193, .NH = 10, .C = 70, .L = 1, .bias = false}},
    };
    for (size_t i = 0; i < sizeof CASES / sizeof *CASES; i++)
        check_against_reference(CASES[i].m, CASES[i].B, CASES[i].T);
}

static void threads_should_change_no_bit(void **state) {
    (void)state;
    static const int THREADS[] = {1, 2, 3, 7};
    for (int B = 1; B <= 3; B += 2) {
        Batch b = batch_create(B, 130, SMALL.V);
        float *first = NULL;
        double first_loss = 0;
        for (int i = 0; i < 4; i++) {
            GPT2 model = lively_model(SMALL, B, THREADS[i]);
            size_t n = gradient_count(&model);
            double loss = run(&model, b);
            float *g = gradients_of(&model);
            if (i == 0) first = g, first_loss = loss;
            assert_memory_equal(&loss, &first_loss, sizeof loss);
            assert_memory_equal(g, first, n * sizeof *g);
            loss = gpt2_forward(&model, b.inputs, b.targets, B, 130, 0);
            assert_memory_equal(&loss, &first_loss, sizeof loss);
            if (i > 0) memory_free(g);
            gpt2_free(&model);
        }
        memory_free(first);
        batch_free(b);
    }
}

/* More threads than tiles, sequences and cores; tasks given out in any order. */
static void schedules_should_change_no_bit_in_twenty_repetitions(void **state) {
    (void)state;
    static const int THREADS[] = {1, 2, 3, 7, 16};
    static const omp_sched_t KINDS[] = {omp_sched_static, omp_sched_dynamic};
    Batch b = batch_create(3, 130, SMALL.V);
    GPT2 one = lively_model(SMALL, 3, 1);
    size_t n = gradient_count(&one);
    double expected_loss = run(&one, b);
    float *expected = gradients_of(&one);
    for (int k = 0; k < 10; k++) {
        GPT2 model = lively_model(SMALL, 3, THREADS[k % 5]);
        omp_set_schedule(KINDS[k / 5], 1);
        for (int repetition = 0; repetition < 20; repetition++) {
            double loss = run(&model, b);
            float *g = gradients_of(&model);
            assert_memory_equal(&loss, &expected_loss, sizeof loss);
            assert_memory_equal(g, expected, n * sizeof *g);
            memory_free(g);
        }
        gpt2_free(&model);
    }
    memory_free(expected);
    batch_free(b);
    gpt2_free(&one);
}

static void fewer_threads_than_asked_for_should_change_no_bit(void **state) {
    (void)state;
    GPT2 model = lively_model(SMALL, 2, 2), plan;
    Batch b = batch_create(2, 130, SMALL.V);
    size_t param_bytes, act_bytes;
    Error err;
    assert_true(gpt2_plan(&plan, SMALL, 2, 2, &param_bytes, &act_bytes, &err));
    double loss = run(&model, b), inside = 0;
    float *g = gradients_of(&model), *g_inside;
    memset(model.act_memory, 0, act_bytes); /* nothing may be left over from the first call */
#pragma omp parallel num_threads(2)
#pragma omp single
    inside = run(&model, b); /* parallel regions do not nest: one thread runs it */
    g_inside = gradients_of(&model);
    assert_memory_equal(&loss, &inside, sizeof loss);
    assert_memory_equal(g, g_inside, gradient_count(&model) * sizeof *g);
    memory_free(g), memory_free(g_inside);
    batch_free(b);
    gpt2_free(&model), gpt2_free(&plan);
}

/* With one thread nobody waits, so that sections should hold all of its time: half of it is asked for here. */
static void timers_should_change_no_bit_and_account_for_the_time(void **state) {
    (void)state;
    Batch b = batch_create(3, 130, SMALL.V);
    for (int threads = 1; threads <= 3; threads += 2) {
        GPT2 model = lively_model(SMALL, 3, threads);
        double loss = run(&model, b);
        float *g = gradients_of(&model);
        GPT2Seconds spent_s[3] = {{0}};
        model.spent_s = spent_s;
        double loss_timed = run(&model, b);
        float *g_timed = gradients_of(&model);
        assert_memory_equal(&loss, &loss_timed, sizeof loss);
        assert_memory_equal(g, g_timed, gradient_count(&model) * sizeof *g);
        for (int k = 0; k < SECTION_COUNT; k++) {
            double section = 0;
            for (int id = 0; id < threads; id++) section += spent_s[id][k];
            assert_true(section > 0);
        }
        /* the loss is shared out evenly; sequences go to whoever is free */
        for (int id = 0; id < threads; id++) assert_true(spent_s[id][SECTION_LOSS] > 0);
        /* the machine may take the core away between two sections: once it will not */
        bool accounted = false;
        for (int i = 0; i < 100 && !accounted; i++) {
            memset(spent_s, 0, sizeof spent_s);
            double start = omp_get_wtime(), all = 0;
            run(&model, b);
            double wall = omp_get_wtime() - start;
            for (int id = 0; id < threads; id++)
                for (int k = 0; k < SECTION_COUNT; k++) all += spent_s[id][k];
            assert_true(all <= threads * wall);
            accounted = threads > 1 || all >= 0.5 * wall;
        }
        assert_true(accounted);
        memory_free(g), memory_free(g_timed);
        gpt2_free(&model);
    }
    batch_free(b);
}

/* Six sequences in parts of 6, 3, 2 and 1; ids repeat within a part and over parts, tiles are not full. */
static void parts_of_a_batch_should_change_no_bit(void **state) {
    (void)state;
    const Batch b = batch_create(6, 130, SMALL.V);
    GPT2Config config = SMALL;
    config.parts = true;
    for (int i = 0; i < 6 * 130; i += 3) b.inputs[i] = b.inputs[i % 7];
    GPT2 plain = lively_model(SMALL, 6, 2), model = lively_model(config, 6, 2);
    double loss = run(&plain, b), some = 0;
    float *expected = gradients_of(&plain);
    size_t n = gradient_count(&plain);
    for (int k = 0, B = 4; k < 2; k++, B = 2) /* forward alone: parts may differ in size */
        some = gpt2_forward(&plain, b.inputs + k * 4 * 130, b.targets + k * 4 * 130, B, 130, k);
    assert_memory_equal(&some, &loss, sizeof loss);
    for (int parts = 1; parts <= 6; parts += parts < 3 ? 1 : 3)
        for (int again = 0; again < 2; again++) {
            int B = 6 / parts;
            double mean = 0;
            for (int k = 0; k < parts; k++)
                mean = gpt2_forward_backward(&model, b.inputs + k * B * 130, b.targets + k * B * 130, B,
                                             130, k, parts);
            float *g = gradients_of(&model);
            assert_memory_equal(&mean, &loss, sizeof loss);
            assert_memory_equal(g, expected, n * sizeof *g);
            memory_free(g);
        }
    memory_free(expected);
    batch_free(b);
    gpt2_free(&plain), gpt2_free(&model);
}

/* Also without room for the embedding's part: then only rounding may differ. */
static void gradients_should_accumulate_over_micro_batches(void **state) {
    (void)state;
    GPT2 model = lively_model(SMALL, 4, 2);
    Batch b = batch_create(4, 130, SMALL.V);
    size_t n = gradient_count(&model), half = 2 * 130;
    double loss = run(&model, b);
    float *whole = gradients_of(&model);
    gpt2_forward_backward(&model, b.inputs, b.targets, 2, 130, 0, 2);
    float *one = gradients_of(&model);
    double mean = gpt2_forward_backward(&model, b.inputs + half, b.targets + half, 2, 130, 1, 2);
    float *sum = gradients_of(&model);
    gpt2_forward_backward(&model, b.inputs + half, b.targets + half, 2, 130, 0, 2);
    float *other = gradients_of(&model);
    Distance d_whole = {0}, d_parts = {0};
    for (size_t i = 0; i < n; i++) {
        distance_add(&d_whole, sum[i], whole[i]);
        distance_add(&d_parts, sum[i], (double)one[i] + other[i]);
    }
    assert_true(loss == mean);
    assert_near("against the whole batch", d_whole, 1e-6);
    assert_near("against the sum of halves", d_parts, 1e-6);
    memory_free(whole), memory_free(one), memory_free(sum), memory_free(other);
    batch_free(b);
    gpt2_free(&model);
}

static void a_shorter_batch_should_leave_nothing_of_the_longer_one(void **state) {
    (void)state;
    GPT2 used = lively_model(SMALL, 2, 2), fresh = lively_model(SMALL, 2, 2);
    Batch b = batch_create(2, 130, SMALL.V);
    run(&used, b);
    b.B = 1, b.T = 70;
    double loss = run(&used, b), expected = run(&fresh, b);
    float *g = gradients_of(&used), *g_expected = gradients_of(&fresh);
    assert_memory_equal(&loss, &expected, sizeof loss);
    assert_memory_equal(g, g_expected, gradient_count(&used) * sizeof *g);
    memory_free(g), memory_free(g_expected);
    batch_free(b);
    gpt2_free(&used), gpt2_free(&fresh);
}

static void padding_should_get_no_gradient_and_stay_zero(void **state) {
    (void)state;
    GPT2 model;
    Error err;
    assert_true(gpt2_create(&model, SMALL, 2, 2, &err));
    gpt2_init_weights(&model, 1);
    Batch b = batch_create(2, 130, SMALL.V);
    run(&model, b);
    gpt2_forward_backward(&model, b.inputs, b.targets, 2, 130, 1, 2);
    assert_int_equal(model.Vp, 256);
    assert_int_equal(model.params[0].rows, 256);
    for (int i = SMALL.V * SMALL.C; i < model.Vp * SMALL.C; i++)
        assert_true(model.w.wte[i] == 0 && model.g.wte[i] == 0);
    batch_free(b);
    gpt2_free(&model);
}

static void empty_lanes_should_not_spoil_gradients_however_large_the_logits(void **state) {
    (void)state;
    GPT2 model = lively_model(SMALL, 1, 1);
    Batch b = batch_create(1, 13, SMALL.V);
    for (int i = 0; i < SMALL.V * SMALL.C; i++) model.w.wte[i] *= 500;
    assert_true(isfinite(run(&model, b)));
    float *g = gradients_of(&model);
    for (size_t i = 0; i < gradient_count(&model); i++) assert_true(isfinite(g[i]));
    memory_free(g);
    batch_free(b);
    gpt2_free(&model);
}

static double deviation(const float *x, size_t n) {
    double sum = 0, sum2 = 0;
    for (size_t i = 0; i < n; i++) sum += x[i], sum2 += (double)x[i] * x[i];
    return sqrt(sum2 / (double)n - sum / (double)n * sum / (double)n);
}

static void initial_weights_should_have_the_published_deviations(void **state) {
    (void)state;
    GPT2 model, same, other;
    Error err;
    GPT2Config m = {.T = 64, .V = 1000, .L = 3, .NH = 4, .C = 64, .bias = true};
    assert_true(gpt2_create(&model, m, 4, 2, &err) && gpt2_create(&same, m, 1, 1, &err) &&
                gpt2_create(&other, m, 1, 1, &err));
    gpt2_init_weights(&model, 11), gpt2_init_weights(&same, 11), gpt2_init_weights(&other, 12);
    for (int i = 0; i < model.param_count; i++) {
        const Param *p = &model.params[i];
        size_t n = (size_t)(i == 0 ? m.V : p->rows) * (size_t)p->cols;
        assert_memory_equal(p->w, same.params[i].w, param_size(p) * sizeof(float));
        if (p->role == ROLE_VECTOR) {
            float expected = strstr(p->name, ".bias") ? 0 : 1;
            for (size_t j = 0; j < n; j++) assert_true(p->w[j] == expected);
        } else {
            double expected = strstr(p->name, "c_proj") ? 0.02 / sqrt(6) : 0.02;
            assert_true(fabs(deviation(p->w, n) / expected - 1) < 0.05);
            assert_true(memcmp(p->w, other.params[i].w, n * sizeof(float)) != 0);
            for (int k = 0; k < i; k++) assert_true(model.params[k].w[0] != p->w[0]);
        }
    }
    Batch b = batch_create(4, 64, m.V);
    assert_true(fabs(run(&model, b) - log(m.V)) < 0.05);
    batch_free(b);
    gpt2_free(&model), gpt2_free(&same), gpt2_free(&other);
}

static void parameters_should_have_hugging_face_names_and_roles(void **state) {
    (void)state;
    static const char *const NAMES[] = {"wte.weight",
                                        "wpe.weight",
                                        "h.0.ln_1.weight",
                                        "h.0.attn.c_attn.weight",
                                        "h.0.attn.c_proj.weight",
                                        "h.0.ln_2.weight",
                                        "h.0.mlp.c_fc.weight",
                                        "h.0.mlp.c_proj.weight",
                                        "ln_f.weight"};
    GPT2 model;
    Error err;
    size_t param_bytes, act_bytes;
    GPT2Config m = {.T = 10, .V = 61, .L = 1, .NH = 1, .C = 8};
    assert_true(gpt2_plan(&model, m, 1, 1, &param_bytes, &act_bytes, &err));
    assert_int_equal(model.param_count, 9);
    for (int i = 0; i < 9; i++) {
        const Param *p = &model.params[i];
        assert_string_equal(p->name, NAMES[i]);
        assert_int_equal(p->role, i < 2                    ? ROLE_EMBEDDING
                                  : strstr(p->name, "ln_") ? ROLE_VECTOR
                                                           : ROLE_MATRIX);
        assert_int_equal(p->split, strstr(p->name, "c_attn") ? 3 : 1);
    }
    assert_true(model.params[3].rows == 24 && model.params[3].cols == 8);
    assert_true(model.params[7].rows == 8 && model.params[7].cols == 32);
    gpt2_free(&model);
}

static void a_token_should_change_no_earlier_logit(void **state) {
    (void)state;
    GPT2 model = lively_model(SMALL, 1, 1);
    Batch b = batch_create(1, 130, SMALL.V);
    size_t V = (size_t)SMALL.V;
    float *before = array(130 * V, sizeof *before), *after = array(130 * V, sizeof *after);
    gpt2_logits(&model, b.inputs, 1, 130, before);
    for (int t = 129; t > 0; t -= 16) {
        b.inputs[t] = (b.inputs[t] + 1) % SMALL.V;
        gpt2_logits(&model, b.inputs, 1, 130, after);
        assert_memory_equal(before, after, (size_t)t * V * sizeof *before);
        assert_true(memcmp(before + (size_t)t * V, after + (size_t)t * V, V * sizeof *before) != 0);
    }
    memory_free(before), memory_free(after);
    batch_free(b);
    gpt2_free(&model);
}

static void logits_of_a_growing_text_should_be_those_of_the_whole(void **state) {
    (void)state;
    size_t V = (size_t)SMALL.V;
    Batch b = batch_create(1, 130, SMALL.V);
    float *all = array(130 * V, sizeof *all), *next = array(V, sizeof *next);
    for (int threads = 1; threads <= 3; threads++) {
        GPT2 model = lively_model(SMALL, 2, threads), grown = lively_model(SMALL, 2, threads);
        gpt2_logits(&model, b.inputs, 1, 130, all);
        for (int n = 5; n <= 130; n++) {
            gpt2_next_logits(&grown, b.inputs, n, n > 5, next);
            assert_memory_equal(next, all + (size_t)(n - 1) * V, V * sizeof *next);
        }
        gpt2_next_logits(&grown, b.inputs, 64, false, next);
        assert_memory_equal(next, all + 63 * V, V * sizeof *next);
        gpt2_free(&model), gpt2_free(&grown);
    }
    memory_free(all), memory_free(next);
    batch_free(b);
}

static void activations_should_grow_linearly_with_the_context(void **state) {
    (void)state;
    size_t param_bytes, shorter = 0, act = 0;
    Error err;
    for (int T = 64; T <= 1 << 20; T *= 2, shorter = act) {
        GPT2 model;
        GPT2Config m = {.T = T, .V = 61, .L = 2, .NH = 4, .C = 64, .bias = true};
        assert_true(gpt2_plan(&model, m, 2, 4, &param_bytes, &act, &err));
        gpt2_free(&model);
        assert_true(T == 64 || act <= 2 * shorter);
    }
}

static void a_plan_should_take_what_create_takes_and_refuse_what_no_machine_has(void **state) {
    (void)state;
    GPT2 model;
    size_t param_bytes, act_bytes;
    Error err;
    GPT2Config huge[] = {{.T = 65536, .V = 65536, .L = 1024, .NH = 1, .C = 65536},
                         {.T = 1000000000, .V = 8, .L = 1, .NH = 1, .C = 8},
                         {.T = 8, .V = 1000000000, .L = 1000000000, .NH = 1, .C = 1000000000}};
    for (int i = 0; i < 3; i++) {
        assert_false(gpt2_plan(&model, huge[i], 65536, 64, &param_bytes, &act_bytes, &err));
        assert_int_equal(err.code, ERR_CONFIG);
        assert_false(gpt2_create(&model, huge[i], 65536, 64, &err));
    }
    assert_true(gpt2_plan(&model, SMALL, 1, 1, &param_bytes, &act_bytes, &err));
    assert_null(model.params[0].w);
    size_t padded = gradient_count(&model) + 16 * (size_t)model.param_count;
    assert_in_range(param_bytes, 2 * sizeof(float) * gradient_count(&model), 2 * sizeof(float) * padded);
    gpt2_free(&model);
}

/* An infinite weight may only mean a probability of zero, but then gradients tell. */
static void nan_or_infinity_in_any_weight_should_show(void **state) {
    (void)state;
    Batch b = batch_create(2, 70, SMALL.V);
    GPT2 model = lively_model(SMALL, 2, 1);
    for (int i = 0; i < model.param_count; i++)
        for (int bad = 0; bad < 2; bad++) {
            float *w = &model.params[i].w[model.params[i].cols - 1], kept = *w;
            *w = bad ? INFINITY : NAN;
            double loss = run(&model, b), sum = 0;
            float *g = gradients_of(&model);
            for (size_t j = 0; j < gradient_count(&model); j++) sum += g[j];
            if (bad ? isfinite(loss + sum) : !isnan(loss))
                fail_msg("%g in %s: loss %g", *w, model.params[i].name, loss);
            *w = kept;
            memory_free(g);
        }
    assert_true(isfinite(run(&model, b)));
    batch_free(b);
    gpt2_free(&model);
}

/* ------------------------------------------------------------------------------------------------------------
 * Hugging Face folders that are not what they should be.
 */

static void write_file(const char *name, const void *bytes, size_t size) {
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void assert_config_refused(const char *json, const char *words) {
    GPT2Config config;
    Error err = {0};
    write_file("config.json", json, strlen(json));
    if (gpt2_file_config(&config, dir, &err)) fail_msg("accepted: %s", json);
    assert_int_equal(err.code, ERR_CHECKPOINT);
    if (!strstr(err.text, words) || !strstr(err.text, "config.json")) fail_msg("%s: %s", json, err.text);
}

#define SHAPE "\"vocab_size\": 61, \"n_positions\": 20, \"n_embd\": 24, \"n_layer\": 3, \"n_head\": 3"

static void configs_of_other_models_should_be_refused(void **state) {
    (void)state;
    assert_config_refused("{" SHAPE ", \"activation_function\": \"relu\"}", "activation_function");
    assert_config_refused("{" SHAPE ", \"layer_norm_epsilon\": 1e-6}", "layer_norm_epsilon");
    assert_config_refused("{" SHAPE ", \"tie_word_embeddings\": false}", "tie_word_embeddings");
    assert_config_refused("{" SHAPE ", \"scale_attn_weights\": false}", "scale_attn_weights");
    assert_config_refused("{" SHAPE ", \"scale_attn_by_inverse_layer_idx\": true}",
                          "scale_attn_by_inverse");
    assert_config_refused("{" SHAPE ", \"n_inner\": 100}", "n_inner");
    assert_config_refused("{" SHAPE ", \"model_type\": \"llama\"}", "model_type");
    assert_config_refused("{\"vocab_size\": 61}", "n_positions");
    assert_config_refused("{\"vocab_size\": -61}", "vocab_size");
    assert_config_refused("{\"vocab_size\": 61.5}", "vocab_size");
    assert_config_refused("{\"vocab_size\": 1e300}", "vocab_size");
    assert_config_refused("{\"vocab_size\": \"61\"}", "vocab_size");
    assert_config_refused("[1, 2]", "vocab_size");
    assert_config_refused("{", "JSON");
    assert_config_refused(
        "{\"vocab_size\": 61, \"n_positions\": 20, \"n_embd\": 25, \"n_layer\": 3, \"n_head\": 3}",
        "3 heads");
    GPT2Config config;
    Error err;
    const char *good =
        "{" SHAPE ", \"n_inner\": null, \"activation_function\": \"gelu_new\", \"other\": []}";
    write_file("config.json", good, strlen(good));
    assert_true(gpt2_file_config(&config, dir, &err));
    assert_true(config.V == 61 && config.T == 20 && config.C == 24 && config.L == 3 && config.NH == 3 &&
                config.bias);
}

/* test/golden/gpt2/odd's weights with `from` replaced by `to`, of the same length, throughout the header. */
static void write_weights(const char *from, const char *to) {
    static char bytes[200000];
    FILE *f = fopen("test/golden/gpt2/odd/model.safetensors", "rb");
    assert_non_null(f);
    size_t size = fread(bytes, 1, sizeof bytes, f);
    fclose(f);
    assert_int_equal(strlen(from), strlen(to));
    bool found = false;
    for (char *s = bytes + 8, *end = s + *(unsigned char *)bytes + 256 * ((unsigned char *)bytes)[1];
         s < end; s++)
        if (memcmp(s, from, strlen(from)) == 0) memcpy(s, to, strlen(to)), found = true;
    assert_true(found);
    write_file("model.safetensors", bytes, size);
}

static void weights_should_load_with_and_without_prefix_or_say_what_is_wrong(void **state) {
    (void)state;
    GPT2Config config;
    GPT2 model, expected;
    Error err;
    assert_true(gpt2_file_config(&config, "test/golden/gpt2/odd", &err));
    assert_true(gpt2_create(&model, config, 1, 1, &err) && gpt2_create(&expected, config, 1, 1, &err));
    assert_false(gpt2_file_load(&model, dir, &err)); /* no file yet */
    assert_true(gpt2_file_load(&expected, "test/golden/gpt2/odd", &err));
    write_weights("\"transformer.", "            \"");
    if (!gpt2_file_load(&model, dir, &err)) fail_msg("%s", err.text);
    for (int i = 0; i < model.param_count; i++)
        assert_memory_equal(model.params[i].w, expected.params[i].w,
                            param_size(&model.params[i]) * sizeof(float));
    write_weights("h.1.ln_2.bias", "h.1.ln_9.bias");
    assert_false(gpt2_file_load(&model, dir, &err));
    assert_int_equal(err.code, ERR_CHECKPOINT);
    assert_non_null(strstr(err.text, "h.1.ln_2.bias is missing"));
    write_weights("[24, 72]", "[72, 24]");
    assert_false(gpt2_file_load(&model, dir, &err));
    assert_non_null(strstr(err.text, "c_attn.weight does not have the shape"));
    write_weights("[61, 24]", "[24, 61]");
    assert_false(gpt2_file_load(&model, dir, &err));
    assert_non_null(strstr(err.text, "wte.weight does not have the shape"));
    gpt2_free(&model), gpt2_free(&expected);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layernorm_should_match_its_definition_and_central_differences),
        cmocka_unit_test(gelu_should_match_its_definition_and_central_differences),
        cmocka_unit_test(linear_should_match_its_definition),
        cmocka_unit_test(attention_should_match_its_definition_and_central_differences),
        cmocka_unit_test(embedding_should_sum_token_and_position_and_scatter_their_gradients),
        cmocka_unit_test(head_should_match_its_definition_and_central_differences),
        cmocka_unit_test(logits_loss_and_gradients_should_match_hugging_face),
        cmocka_unit_test(model_and_gradients_should_match_a_plain_double_precision_one),
        cmocka_unit_test(threads_should_change_no_bit),
        cmocka_unit_test(schedules_should_change_no_bit_in_twenty_repetitions),
        cmocka_unit_test(fewer_threads_than_asked_for_should_change_no_bit),
        cmocka_unit_test(pieces_should_cover_a_weight_once),
        cmocka_unit_test(timers_should_change_no_bit_and_account_for_the_time),
        cmocka_unit_test(parts_of_a_batch_should_change_no_bit),
        cmocka_unit_test(gradients_should_accumulate_over_micro_batches),
        cmocka_unit_test(a_shorter_batch_should_leave_nothing_of_the_longer_one),
        cmocka_unit_test(padding_should_get_no_gradient_and_stay_zero),
        cmocka_unit_test(empty_lanes_should_not_spoil_gradients_however_large_the_logits),
        cmocka_unit_test(initial_weights_should_have_the_published_deviations),
        cmocka_unit_test(parameters_should_have_hugging_face_names_and_roles),
        cmocka_unit_test(a_token_should_change_no_earlier_logit),
        cmocka_unit_test(logits_of_a_growing_text_should_be_those_of_the_whole),
        cmocka_unit_test(activations_should_grow_linearly_with_the_context),
        cmocka_unit_test(a_plan_should_take_what_create_takes_and_refuse_what_no_machine_has),
        cmocka_unit_test(nan_or_infinity_in_any_weight_should_show),
        cmocka_unit_test_setup_teardown(configs_of_other_models_should_be_refused, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(weights_should_load_with_and_without_prefix_or_say_what_is_wrong,
                                        make_dir, remove_dir),
    };
    return cmocka_run_group_tests_name("gpt2", tests, NULL, NULL);
}
