/* gpt2.c: GPT-2 (Radford et al. 2019), forward and backward, read top to bottom: layers, then structs, then the
 * passes over the network.
 *
 * A *tile* is 64 tokens of one sequence side by side: activations of F features are stored as (F, TILE), features
 * down, tokens across, one tile after the other. That is the panel gemm.h multiplies weights with, so activations are
 * never packed; every loop's inner dimension is the 64 tokens, so LayerNorm, softmax and the loss need no sums across
 * vector lanes. A sequence's last tile may be partly empty: its empty lanes compute on zeros, and get no gradient.
 * Whichever thread computes a number, it is one sum in one order: results do not depend on how many threads there are.
 *
 * No (T, T) matrix is kept. Attention stores a log-sum-exp for each query and recomputes scores in backward
 * (Dao et al. 2022, arXiv 2205.14135); logits live a few tiles at a time (head).
 */
#include "model/gpt2.h"

#include "core/denormals.h"
#include "core/gemm.h"
#include "core/memory.h"
#include "core/rng.h"
#include "core/vmath.h"

#include <math.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TILE       GEMM_NR
#define GROUP      4   /* tiles that share one sweep over a layer's weights */
#define HEAD_ROWS  192 /* vocabulary rows of one task of the head */
#define HEAD_GROUP 8   /* tiles of one task of the head */
#define LN_EPS     1e-5f
#ifndef HEAD_BYTES /* logits held at a time: about what a last-level cache holds; tests shrink it */
#define HEAD_BYTES ((size_t)64 << 20)
#endif

static inline int ceil_div(int a, int b) {
    return (a + b - 1) / b;
}
static inline int min_int(int a, int b) {
    return a < b ? a : b;
}

/* ------------------------------------------------------------------------------------------------------------
 * Where time goes: TIMED charges what follows in its block to a section. A timer inside another rests, so that the
 * head's products are the head's. Two readings of the clock a tile come to less than 0.4 % of a step.
 */

/* This thread's seconds by section. NULL: nobody asks, or a timer runs. */
static _Thread_local double *spent;

typedef struct Timer {
    GPT2Section section;
    double *spent, start;
} Timer;

static inline Timer timer_start(GPT2Section section) {
    Timer timer = {section, spent, spent ? omp_get_wtime() : 0};
    spent = NULL;
    return timer;
}

static inline void timer_stop(Timer *timer) {
    spent = timer->spent;
    if (spent) spent[timer->section] += omp_get_wtime() - timer->start;
}

#define TIMED(section)                                                                                     \
    __attribute__((cleanup(timer_stop), unused)) Timer timer = timer_start(SECTION_##section)

/* ------------------------------------------------------------------------------------------------------------
 * Layers, on one tile. x and out are (C, TILE) unless a comment says otherwise.
 */

/* out = (x - mean) * rstd * w + b over the C features of each token. stats (2, TILE): mean, rstd. */
static void layernorm_forward(float *restrict out, float *restrict stats, const float *restrict x,
                              const float *restrict w, const float *restrict b, int C) {
    TIMED(NORM);
    float *restrict mean = stats, *restrict rstd = stats + TILE;
    float var[TILE] = {0};
    memset(stats, 0, 2 * TILE * sizeof(float));
    for (int c = 0; c < C; c++)
        for (int t = 0; t < TILE; t++) mean[t] += x[c * TILE + t];
    for (int t = 0; t < TILE; t++) mean[t] /= (float)C;
    for (int c = 0; c < C; c++)
        for (int t = 0; t < TILE; t++) {
            float d = x[c * TILE + t] - mean[t];
            var[t] += d * d;
        }
    for (int t = 0; t < TILE; t++) rstd[t] = 1.0f / sqrtf(var[t] / (float)C + LN_EPS);
    for (int c = 0; c < C; c++) {
        float wc = w[c], bc = b ? b[c] : 0.0f;
        for (int t = 0; t < TILE; t++) out[c * TILE + t] = (x[c * TILE + t] - mean[t]) * rstd[t] * wc + bc;
    }
}

/* The forward output again, from saved statistics. */
static void layernorm_again(float *restrict out, const float *restrict stats, const float *restrict x,
                            const float *restrict w, const float *restrict b, int C) {
    TIMED(NORM);
    const float *restrict mean = stats, *restrict rstd = stats + TILE;
    for (int c = 0; c < C; c++) {
        float wc = w[c], bc = b ? b[c] : 0.0f;
        for (int t = 0; t < TILE; t++) out[c * TILE + t] = (x[c * TILE + t] - mean[t]) * rstd[t] * wc + bc;
    }
}

/* Sum over the 64 lanes, always in the same tree. v is overwritten. */
static inline float lane_sum(float v[TILE]) {
    for (int width = TILE / 2; width > 0; width /= 2)
        for (int t = 0; t < width; t++) v[t] += v[t + width];
    return v[0];
}

/* dx = dskip + gradient through the norm; dw, db (C): this tile's part of the weights' gradients. */
static void layernorm_backward(float *restrict dx, float *restrict dw, float *restrict db,
                               const float *restrict dskip, const float *restrict dout,
                               const float *restrict x, const float *restrict stats,
                               const float *restrict w, int C) {
    TIMED(NORM);
    const float *restrict mean = stats, *restrict rstd = stats + TILE;
    float sum[TILE] = {0}, dot[TILE] = {0}; /* over features, of dnorm and dnorm * norm */
    for (int c = 0; c < C; c++) {
        float wc = w[c], dw_lane[TILE], db_lane[TILE];
        for (int t = 0; t < TILE; t++) {
            float norm = (x[c * TILE + t] - mean[t]) * rstd[t], d = dout[c * TILE + t];
            sum[t] += d * wc;
            dot[t] += d * wc * norm;
            dw_lane[t] = d * norm;
            db_lane[t] = d;
        }
        dw[c] = lane_sum(dw_lane);
        db[c] = lane_sum(db_lane);
    }
    for (int t = 0; t < TILE; t++) sum[t] /= (float)C, dot[t] /= (float)C;
    for (int c = 0; c < C; c++)
        for (int t = 0; t < TILE; t++) {
            float norm = (x[c * TILE + t] - mean[t]) * rstd[t];
            float d = (dout[c * TILE + t] * w[c] - sum[t] - norm * dot[t]) * rstd[t];
            dx[c * TILE + t] = (dskip ? dskip[c * TILE + t] : 0.0f) + d;
        }
}

/* out (OC) = w (OC, IC) in (IC) + b, and + skip (OC) if not NULL, for `tiles` tiles in a row. */
static void linear_forward(float *out, const float *skip, const float *in, const float *w, const float *b,
                           int IC, int OC, int tiles) {
    TIMED(FORWARD);
    if (skip) memcpy(out, skip, (size_t)tiles * (size_t)OC * TILE * sizeof(float));
    gemm_panels(OC, IC, gemm_rows(w, (size_t)IC), in, (size_t)IC * TILE, skip ? 1.0f : 0.0f, b, out, TILE,
                (size_t)OC * TILE, tiles, tiles * TILE);
}

/* din (IC) = transpose of w (OC, IC) times dout (OC). */
static void linear_backward_input(float *din, const float *dout, const float *w, int IC, int OC,
                                  int tiles) {
    TIMED(DX);
    gemm_panels(IC, OC, gemm_columns(w, (size_t)IC), dout, (size_t)OC * TILE, 0, NULL, din, TILE,
                (size_t)IC * TILE, tiles, tiles * TILE);
}

/* Part of a weight's gradient, small enough that threads share the work evenly. */
typedef struct Piece {
    int row, rows, col, cols;
} Piece;

#define PIECE_COLS (6 * TILE)

/* Rows of a piece, a multiple of the kernel's 6: at most 96 while that makes no more than 8 pieces, else an eighth of them,
 * but at most 192. Fewer would read the inputs more often than memory can give them. */
static int piece_rows(int OC) {
    int pieces = ceil_div(OC, 96);
    if (pieces > 8) pieces = ceil_div(OC, 192) > 8 ? ceil_div(OC, 192) : 8;
    return ceil_div(ceil_div(OC, pieces), 6) * 6;
}

static int piece_count(int OC, int IC) {
    return ceil_div(OC, piece_rows(OC)) * ceil_div(IC, PIECE_COLS);
}

static Piece piece_at(int index, int OC, int IC) {
    int rows = piece_rows(OC), across = ceil_div(IC, PIECE_COLS);
    int row = index / across * rows, col = index % across * PIECE_COLS;
    return (Piece){row, min_int(rows, OC - row), col, min_int(PIECE_COLS, IC - col)};
}

/* A piece of dw (OC, IC), and its rows of db (OC): sums over all tokens of all tiles, S a sequence, in order. The inputs
 * come transposed, in_t (IC / 64, tiles * TILE, 64): see transpose_tile. */
static void linear_backward_weight(float *dw, float *db, const float *dout, const float *in_t, int IC,
                                   int OC, int tiles, int S, Piece at, bool accumulate) {
    TIMED(DW);
    GemmA d = {dout + (size_t)at.row * TILE, TILE, 1, (size_t)OC * TILE};
    size_t panel = (size_t)tiles * TILE * TILE;
    gemm_panels(at.rows, tiles * TILE, d, in_t + (size_t)(at.col / TILE) * panel, panel,
                accumulate ? 1.0f : 0.0f, NULL, dw + (size_t)at.row * (size_t)IC + at.col, (size_t)IC, TILE,
                ceil_div(at.cols, TILE), at.cols);
    if (!db || at.col > 0) return;
    for (int i = at.row; i < at.row + at.rows; i++) {
        float sum = accumulate ? db[i] : 0; /* by sequences: one order, however a step is cut in parts */
        for (int tile = 0; tile < tiles; tile += S) {
            float lanes[TILE] = {0};
            for (int j = tile; j < tile + S; j++) {
                const float *d_i = dout + ((size_t)j * (size_t)OC + (size_t)i) * TILE;
                for (int t = 0; t < TILE; t++) lanes[t] += d_i[t];
            }
            sum += lane_sum(lanes);
        }
        db[i] = sum;
    }
}

/* Tile number `tile` of in_t (F / 64, tiles * TILE, 64) from x (F, TILE). */
static void transpose_tile(float *in_t, const float *x, int F, int tile, int tiles) {
    TIMED(OTHER);
    for (int f = 0; f < F; f += TILE)
        gemm_transpose(in_t + ((size_t)(f / TILE) * (size_t)tiles + (size_t)tile) * TILE * TILE,
                       x + (size_t)f * TILE, min_int(TILE, F - f));
}

/* GELU, tanh form (Hendrycks and Gimpel 2016): x / 2 (1 + tanh u), u = sqrt(2 / pi) (x + 0.044715 x^3). That is x times
 * the logistic function of 2 u, which takes one exponential and keeps small results exact. */
#define GELU_SCALE 1.5957691216057308f /* 2 sqrt(2 / pi) */
#define GELU_CUBIC 0.044715f

static inline float gelu_gate(float x) {
    return 1.0f / (1.0f + fast_expf(-GELU_SCALE * (x + GELU_CUBIC * x * x * x)));
}

static void gelu_forward(float *restrict out, const float *restrict x, size_t n) {
    TIMED(GELU);
    for (size_t i = 0; i < n; i++) out[i] = x[i] * gelu_gate(x[i]);
}

/* Recomputes out = gelu(x), and turns d in place from the gradient of out into that of x. */
static void gelu_backward(float *restrict d, float *restrict out, const float *restrict x, size_t n) {
    TIMED(GELU);
    for (size_t i = 0; i < n; i++) {
        float gate = gelu_gate(x[i]), slope = GELU_SCALE * (1.0f + 3.0f * GELU_CUBIC * x[i] * x[i]);
        out[i] = x[i] * gate;
        d[i] *= gate + out[i] * (1.0f - gate) * slope;
    }
}

/* Of rows of logits x (rows, TILE): each token's maximum, and its sum of exp(x - max). */
static void softmax_partial(float *restrict max, float *restrict sum, const float *restrict x, int rows) {
    TIMED(LOSS);
    memcpy(max, x, TILE * sizeof(float));
    memset(sum, 0, TILE * sizeof(float));
    for (int v = 1; v < rows; v++)
        for (int t = 0; t < TILE; t++) max[t] = x[v * TILE + t] > max[t] ? x[v * TILE + t] : max[t];
    for (int v = 0; v < rows; v++)
        for (int t = 0; t < TILE; t++) sum[t] += fast_expf(x[v * TILE + t] - max[t]);
}

/* Causal attention of one head for the queries of one tile. qkv points at this head's queries in the sequence's
 * first tile; keys and values lie C and 2C features below; tiles are 3C features apart. out (hs, TILE), lse (TILE):
 * log of the softmax denominators. strip: (tile + 1) * TILE rows of scores, keys down, queries across. */
static void attention_forward(float *out, float *restrict lse, const float *qkv, int tile, int hs, int C,
                              float *restrict strip) {
    TIMED(ATTENTION);
    size_t apart = (size_t)3 * (size_t)C * TILE;
    const float *q = qkv + (size_t)tile * apart, *k = qkv + (size_t)C * TILE, *v = k + (size_t)C * TILE;
    float scale = 1.0f / sqrtf((float)hs), max[TILE], sum[TILE] = {0};
    for (int j = 0; j <= tile; j++) /* strip = K' Q */
        gemm_panels(TILE, hs, gemm_columns(k + (size_t)j * apart, TILE), q, 0, 0, NULL,
                    strip + (size_t)j * TILE * TILE, TILE, 0, 1, TILE);
    for (int j = 0; j < TILE; j++) /* a key after the query */
        for (int t = 0; t < j; t++) strip[((size_t)tile * TILE + (size_t)j) * TILE + (size_t)t] = -INFINITY;
    int keys = (tile + 1) * TILE;
    for (int t = 0; t < TILE; t++) max[t] = strip[t];
    for (int j = 1; j < keys; j++)
        for (int t = 0; t < TILE; t++) max[t] = strip[j * TILE + t] > max[t] ? strip[j * TILE + t] : max[t];
    for (int j = 0; j < keys; j++)
        for (int t = 0; t < TILE; t++) {
            float p = fast_expf((strip[j * TILE + t] - max[t]) * scale);
            strip[j * TILE + t] = p;
            sum[t] += p;
        }
    gemm_panels(hs, keys, (GemmA){v, TILE, 1, apart}, strip, 0, 0, NULL, out, TILE, 0, 1, TILE); /* V P */
    for (int d = 0; d < hs; d++)
        for (int t = 0; t < TILE; t++) out[d * TILE + t] /= sum[t];
    for (int t = 0; t < TILE; t++) lse[t] = max[t] * scale + logf(sum[t]);
}

/* Gradients of one head's queries, keys and values for a whole sequence of `tiles` tiles. dqkv is laid out as qkv;
 * out and dout are this head's features, tiles C features apart; lse is NH rows apart. work: 3 TILE * TILE. */
static void attention_backward(float *dqkv, const float *dout, const float *out, const float *lse,
                               const float *qkv, int tiles, int hs, int C, int NH, float *restrict work) {
    TIMED(ATTENTION);
    size_t apart = (size_t)3 * (size_t)C * TILE, down = (size_t)C * TILE;
    float *p = work, *dp = p + TILE * TILE, *turned = dp + TILE * TILE;
    float scale = 1.0f / sqrtf((float)hs);
    for (int i = 0; i < tiles; i++) { /* tile of queries */
        const float *q = qkv + (size_t)i * apart, *o = out + (size_t)i * down,
                    *d_o = dout + (size_t)i * down;
        const float *lse_i = lse + (size_t)i * (size_t)NH * TILE;
        float *dq = dqkv + (size_t)i * apart, od[TILE] = {0}; /* od: sum over features of out * dout */
        for (int d = 0; d < hs; d++)
            for (int t = 0; t < TILE; t++) od[t] += o[d * TILE + t] * d_o[d * TILE + t];
        for (int j = 0; j <= i; j++) { /* tile of keys */
            const float *k = qkv + (size_t)j * apart + down, *v = k + down;
            float *dk = dqkv + (size_t)j * apart + down, *dv = dk + down;
            float first = i == j ? 0.0f : 1.0f; /* the first query tile a key tile meets is its own */
            gemm_panels(TILE, hs, gemm_columns(k, TILE), q, 0, 0, NULL, p, TILE, 0, 1, TILE);    /* K' Q */
            gemm_panels(TILE, hs, gemm_columns(v, TILE), d_o, 0, 0, NULL, dp, TILE, 0, 1, TILE); /* V' dO */
            for (int r = 0; r < TILE; r++) {
                for (int t = 0; t < TILE; t++) {
                    float e = fast_expf(p[r * TILE + t] * scale - lse_i[t]);
                    e = i == j && r > t ? 0.0f : e;
                    p[r * TILE + t] = e;
                    dp[r * TILE + t] = e * (dp[r * TILE + t] - od[t]) * scale;
                }
            }
            gemm_panels(hs, TILE, gemm_rows(k, TILE), dp, 0, j == 0 ? 0.0f : 1.0f, NULL, dq, TILE, 0, 1,
                        TILE);
            gemm_transpose(turned, p, TILE);
            gemm_panels(hs, TILE, gemm_rows(d_o, TILE), turned, 0, first, NULL, dv, TILE, 0, 1, TILE);
            gemm_transpose(turned, dp, TILE);
            gemm_panels(hs, TILE, gemm_rows(q, TILE), turned, 0, first, NULL, dk, TILE, 0, 1, TILE);
        }
    }
}

/* ------------------------------------------------------------------------------------------------------------
 * Structs and memory.
 */

typedef struct Activations {
    /* the batch at hand */
    int B, T, S; /* S tiles a sequence, B * S in all */
    int tiles;
    int first_tile; /* > 0 only when a generated text grows: tiles before it are up to date */
    const int32_t *inputs, *targets; /* (B, T) */
    int part, parts;                 /* this batch is one of so many that make a step */
    float gradient_scale;            /* of a token's loss */
    bool accumulate;                 /* gradients of earlier parts are there */
    double loss_sum, loss_tokens;    /* of all parts so far */

    /* kept by forward for backward; one slab of max_tiles for each layer */
    int max_tiles;
    float *res;       /* (L + 1, tiles, C, TILE)  inputs of the layers, and the last one's output */
    float *mid;       /* (L, tiles, C, TILE)      after attention's residual */
    float *qkv;       /* (L, tiles, 3 * C, TILE) */
    float *att;       /* (L, tiles, C, TILE)      heads' outputs */
    float *fch;       /* (L, tiles, 4 * C, TILE)  before GELU */
    float *lse;       /* (L, tiles, NH, TILE) */
    float *ln1, *ln2; /* (L, tiles, 2, TILE)     statistics */
    float *lnf;       /* (tiles, 2, TILE) */

    /* Tokens by id, for the gradient of wte: where an id comes first (first_count of them), where it comes next, and
     * its last place so far in the step (V); -1: nowhere. */
    int first_count;
    int32_t *first, *next, *last;
    float *dwte; /* (V, C) or NULL: the embedding's part of wte's gradient while parts come */

    double *loss; /* (tiles, TILE) */

    /* The head, for head_tiles at a time. Lies where backward's buffers do. */
    int head_tiles, head_blocks;
    float *head_in, *head_din;    /* (head_tiles, C, TILE) */
    float *head_in_t;             /* (C / 64, head_tiles * TILE, 64) */
    float *logits;                /* (head_tiles, V, TILE), then their gradients */
    float *block_max, *block_sum; /* (head_blocks, head_tiles, TILE) */
    float *head_lse;              /* (head_tiles, TILE) */

    /* backward, one layer at a time */
    float *dres, *dmid, *dout; /* (tiles, C, TILE) gradients of the layer's input, of mid, of its output */
    float *datt;               /* (tiles, C, TILE) */
    float *dqkv, *dfch;        /* (tiles, 3 * C, TILE), (tiles, 4 * C, TILE) */
    float *ln1_t, *att_t, *ln2_t; /* (C / 64, tiles * TILE, 64): inputs of the linear layers, transposed */
    float *gelu_t;                /* (4 * C / 64, tiles * TILE, 64) */
    float *dln; /* (6, tiles, C): each tile's part of the norms' gradients, see norm_part */

    float *scratch; /* (threads, scratch_size) */
    size_t scratch_size;
} Activations;

/* Hands out parts of one block; with base == NULL it only counts. */
typedef struct Arena {
    float *base;
    size_t used; /* floats */
} Arena;

static float *arena_take(Arena *arena, size_t count) {
    float *p = arena->base ? arena->base + arena->used : NULL;
    arena->used += (count + 15) / 16 * 16; /* 64 bytes */
    return p;
}

static void add_param(GPT2 *model, Arena *weights, Arena *gradients, const char *name, Role role, int rows,
                      int cols, float **w, float **g) {
    Param *p = &model->params[model->param_count++];
    *p = (Param){.role = role, .rows = rows, .cols = cols, .split = 1};
    snprintf(p->name, sizeof p->name, "%s", name);
    *w = p->w = arena_take(weights, param_size(p));
    *g = p->g = arena_take(gradients, param_size(p));
}

/* A weight and, where the model has them, its bias: "<name>.weight", "<name>.bias". */
static void add_pair(GPT2 *model, Arena *weights, Arena *gradients, const char *prefix, const char *name,
                     Role role, int rows, int cols, float **w, float **g, float **w_bias, float **g_bias) {
    char full[64];
    snprintf(full, sizeof full, "%s%s.weight", prefix, name);
    add_param(model, weights, gradients, full, role, rows, cols, w, g);
    if (!model->config.bias) return;
    snprintf(full, sizeof full, "%s%s.bias", prefix, name);
    add_param(model, weights, gradients, full, ROLE_VECTOR, 1, role == ROLE_VECTOR ? cols : rows, w_bias,
              g_bias);
}

/* The parameter table, in Hugging Face's names and order. */
static void lay_out_params(GPT2 *model, Arena *weights, Arena *gradients) {
    int C = model->config.C;
    Tensors *w = &model->w, *g = &model->g;
    model->param_count = 0;
    add_param(model, weights, gradients, "wte.weight", ROLE_EMBEDDING, model->Vp, C, &w->wte, &g->wte);
    add_param(model, weights, gradients, "wpe.weight", ROLE_EMBEDDING, model->config.T, C, &w->wpe,
              &g->wpe);
    for (int l = 0; l < model->config.L; l++) {
        LayerTensors *wl = &w->layers[l], *gl = &g->layers[l];
        char h[32];
        snprintf(h, sizeof h, "h.%d.", l);
#define PAIR(name, role, rows, cols, x)                                                                    \
    add_pair(model, weights, gradients, h, name, role, rows, cols, &wl->x##w, &gl->x##w, &wl->x##b,        \
             &gl->x##b)
        PAIR("ln_1", ROLE_VECTOR, 1, C, ln1);
        PAIR("attn.c_attn", ROLE_MATRIX, 3 * C, C, qkv);
        model->params[model->param_count - (model->config.bias ? 2 : 1)].split = 3;
        PAIR("attn.c_proj", ROLE_MATRIX, C, C, attproj);
        PAIR("ln_2", ROLE_VECTOR, 1, C, ln2);
        PAIR("mlp.c_fc", ROLE_MATRIX, 4 * C, C, fc);
        PAIR("mlp.c_proj", ROLE_MATRIX, C, 4 * C, fcproj);
#undef PAIR
    }
    add_pair(model, weights, gradients, "", "ln_f", ROLE_VECTOR, 1, C, &w->lnfw, &g->lnfw, &w->lnfb,
             &g->lnfb);
}

static void lay_out_acts(const GPT2 *model, Activations *a, Arena *arena) {
    const GPT2Config *m = &model->config;
    size_t C = (size_t)m->C, L = (size_t)m->L, V = (size_t)m->V,
           n = (size_t)a->max_tiles * TILE; /* tokens */
    size_t head = (size_t)a->head_tiles * TILE, padded = (C + TILE - 1) / TILE * TILE;
    a->res = arena_take(arena, (L + 1) * C * n);
    a->mid = arena_take(arena, L * C * n);
    a->qkv = arena_take(arena, L * 3 * C * n);
    a->att = arena_take(arena, L * C * n);
    a->fch = arena_take(arena, L * 4 * C * n);
    a->lse = arena_take(arena, L * (size_t)m->NH * n);
    a->ln1 = arena_take(arena, L * 2 * n);
    a->ln2 = arena_take(arena, L * 2 * n);
    a->lnf = arena_take(arena, 2 * n);
    a->loss = (double *)(void *)arena_take(arena, 2 * n);
    a->first = (int32_t *)(void *)arena_take(arena, n);
    a->next = (int32_t *)(void *)arena_take(arena, n);
    a->last = (int32_t *)(void *)arena_take(arena, V);
    a->dwte = m->parts ? arena_take(arena, V * C) : NULL;
    a->dres = arena_take(arena, C * n);
    a->dout = arena_take(arena, C * n);
    a->dln = arena_take(arena, 6 * (size_t)a->max_tiles * C);
    a->scratch = arena_take(arena, (size_t)model->threads * a->scratch_size);
    const size_t shared = arena->used;
    a->head_in = arena_take(arena, C * head);
    a->head_in_t = arena_take(arena, padded * head);
    a->head_din = arena_take(arena, C * head);
    a->logits = arena_take(arena, V * head);
    a->block_max = arena_take(arena, (size_t)a->head_blocks * head);
    a->block_sum = arena_take(arena, (size_t)a->head_blocks * head);
    a->head_lse = arena_take(arena, head);
    const size_t head_end = arena->used;
    arena->used = shared;
    a->dmid = arena_take(arena, C * n);
    a->datt = arena_take(arena, C * n);
    a->dqkv = arena_take(arena, 3 * C * n);
    a->dfch = arena_take(arena, 4 * C * n);
    a->ln1_t = arena_take(arena, padded * n);
    a->att_t = arena_take(arena, padded * n);
    a->ln2_t = arena_take(arena, padded * n);
    a->gelu_t = arena_take(arena, (4 * C + TILE - 1) / TILE * TILE * n);
    if (arena->used < head_end) arena->used = head_end;
}

/* Is it a size that some machine has? Only then do products of sizes fit their types. */
static bool is_feasible(GPT2Config m, int max_B) {
    double C = m.C, L = m.L, tokens = (double)max_B * ((double)m.T + TILE);
    double floats = 12 * L * C * C + (m.V + (double)m.T) * C + 20 * (L + 1) * C * tokens;
    return floats < 0x1p40 && tokens < 0x1p31 && m.L < 1 << 16 && m.V < 1 << 30;
}

bool gpt2_plan(GPT2 *model, GPT2Config config, int max_B, int threads, size_t *param_bytes,
               size_t *act_bytes, Error *err) {
    *param_bytes = *act_bytes = 0;
    if (!is_feasible(config, max_B)) {
        *model = (GPT2){0};
        return error_set(err, ERR_CONFIG,
                         "no machine holds %d layers, %d channels, %d ids, batches of %d x %d", config.L,
                         config.C, config.V, max_B, config.T);
    }
    *model =
        (GPT2){.config = config, .Vp = ceil_div(config.V, 128) * 128, .max_B = max_B, .threads = threads};
    size_t L = (size_t)config.L;
    model->params = calloc(4 + 12 * L, sizeof *model->params);
    model->w.layers = calloc(L, sizeof(LayerTensors));
    model->g.layers = calloc(L, sizeof(LayerTensors));
    Activations *a = model->acts = calloc(1, sizeof *model->acts);
    if (!model->params || !model->w.layers || !model->g.layers || !a) {
        gpt2_free(model);
        return error_set(err, ERR_IO, "model: out of memory");
    }

    int S = ceil_div(config.T, TILE);
    a->max_tiles = max_B * S;
    a->head_tiles = (int)(HEAD_BYTES / ((size_t)config.V * TILE * sizeof(float)));
    a->head_tiles = a->head_tiles < 1 ? 1 : min_int(a->head_tiles, a->max_tiles);
    a->head_blocks = ceil_div(config.V, HEAD_ROWS);
    size_t feed = (size_t)(5 * config.C) * GROUP * TILE, strip = (size_t)S * TILE * TILE,
           turn = 3 * TILE * TILE;
    a->scratch_size = feed > strip ? feed : strip;
    a->scratch_size = a->scratch_size > turn ? a->scratch_size : turn;

    Arena weights = {0}, gradients = {0}, acts = {0};
    lay_out_params(model, &weights, &gradients);
    lay_out_acts(model, a, &acts);
    *param_bytes = (weights.used + gradients.used) * sizeof(float);
    *act_bytes = acts.used * sizeof(float);
    return true;
}

bool gpt2_create(GPT2 *model, GPT2Config config, int max_B, int threads, Error *err) {
    size_t param_bytes, act_bytes;
    if (!gpt2_plan(model, config, max_B, threads, &param_bytes, &act_bytes, err)) return false;
    model->param_memory = memory_alloc(param_bytes, 1, "weights and gradients", err);
    if (model->param_memory) model->act_memory = memory_alloc(act_bytes, 1, "activations", err);
    if (!model->act_memory) {
        gpt2_free(model);
        return false;
    }
    Arena weights = {.base = model->param_memory},
          gradients = {.base = weights.base + param_bytes / 2 / sizeof(float)};
    Arena acts = {.base = model->act_memory};
    lay_out_params(model, &weights, &gradients);
    lay_out_acts(model, model->acts, &acts);
    return true;
}

void gpt2_free(GPT2 *model) {
    memory_free(model->param_memory);
    memory_free(model->act_memory);
    free(model->acts);
    free(model->w.layers);
    free(model->g.layers);
    free(model->params);
    *model = (GPT2){0};
}

void gpt2_init_weights(GPT2 *model, uint64_t seed) {
    float residual = 0.02f / sqrtf(2.0f * (float)model->config.L);
    for (int i = 0; i < model->param_count; i++) {
        Param *p = &model->params[i];
        size_t n = param_size(p);
        float std = strstr(p->name, ".c_proj.") ? residual : 0.02f;
        bool is_norm = strstr(p->name, "ln_") != NULL;
        if (p->w == model->w.wte) n = (size_t)model->config.V * (size_t)p->cols; /* padding stays zero */
        if (p->role == ROLE_VECTOR)
            for (size_t j = 0; j < n; j++) p->w[j] = is_norm && !strstr(p->name, ".bias") ? 1.0f : 0.0f;
        else
            for (size_t j = 0; j < n; j++) p->w[j] = std * (float)rng_normal(seed, (uint64_t)i, j);
    }
}

double gpt2_flops_per_token(GPT2Config m, int T) {
    double C = m.C, L = m.L, Vp = ceil_div(m.V, 128) * 128;
    return 6.0 * (12.0 * L * C * C + Vp * C) + 6.0 * L * C * T;
}

/* ------------------------------------------------------------------------------------------------------------
 * Who does what. Sequences are shared out to teams of threads. Where they come out even, a team is one thread, and is dealt
 * sequences as it gets free, as many at a time as fill a group of tiles; in forward it takes them from the first layer to
 * the last. Or else several threads share a team's sequences, tile by tile, with a barrier around attention.
 */

typedef struct Share {
    int tile0, tile1; /* this thread's tiles */
    int seq0, seq1;   /* its team's sequences */
    int rank, size;   /* its place in the team */
    float *scratch;
} Share;

static Share share_of(const GPT2 *model, int id) {
    const Activations *a = model->acts;
    int n = omp_get_num_threads(), teams = 1, least = 0; /* may be fewer than asked for */
    for (int k = 1; k <= n; k++) { /* the number of teams that keeps the slowest thread shortest */
        if (n % k != 0) continue;
        int longest = ceil_div(ceil_div(a->B, k) * a->S, n / k);
        if (k == 1 || longest <= least) teams = k, least = longest;
    }
    Share s = {.size = n / teams, .scratch = a->scratch + (size_t)id * a->scratch_size};
    int team = id / s.size;
    s.rank = id % s.size;
    s.seq0 = (int)((int64_t)a->B * team / teams);
    s.seq1 = (int)((int64_t)a->B * (team + 1) / teams);
    int first = s.seq0 * a->S + a->first_tile, count = s.seq1 * a->S - first;
    s.tile0 = first + (int)((int64_t)count * s.rank / s.size);
    s.tile1 = first + (int)((int64_t)count * (s.rank + 1) / s.size);
    return s;
}

static int deal_size(const Activations *a) {
    return min_int(ceil_div(GROUP, a->S), ceil_div(a->B, omp_get_num_threads()));
}

/* 0 where teams have a share each. */
static int deal_count(const Activations *a, const Share *s) {
    return s->size > 1 ? 0 : ceil_div(a->B, deal_size(a));
}

static Share deal_at(const Activations *a, const Share *s, int index) {
    Share dealt = *s;
    dealt.seq0 = index * deal_size(a);
    dealt.seq1 = min_int(dealt.seq0 + deal_size(a), a->B);
    dealt.tile0 = dealt.seq0 * a->S + a->first_tile;
    dealt.tile1 = dealt.seq1 * a->S;
    return dealt;
}

/* At the start of a parallel region, on every thread. */
static void thread_start(const GPT2 *model) {
    denormals_flush();
    spent = model->spent_s ? model->spent_s[omp_get_thread_num()] : NULL;
}

static void team_barrier(const Share *s) {
    if (s->size > 1) { /* the same for every thread: all teams are of one size */
#pragma omp barrier
    }
}

/* Part `tile` of an array of (F, TILE) tiles. */
static inline float *at(float *array, int F, int tile) {
    return array + (size_t)F * TILE * (size_t)tile;
}

/* The six norm weights that have gradients at one time, in dln. */
typedef enum { LN1_W, LN1_B, LN2_W, LN2_B, LNF_W, LNF_B } NormWeight;

/* Tile `tile`'s part (C) of a norm weight's gradient; tiles are C apart. */
static inline float *norm_part(const Activations *a, int C, NormWeight weight, int tile) {
    return a->dln + ((size_t)weight * (size_t)a->max_tiles + (size_t)tile) * (size_t)C;
}

/* Layer l's slab of an array of (L, tiles, F, TILE). */
static inline float *slab(const Activations *a, float *array, int F, int l) {
    return at(array, F, l * a->max_tiles);
}

/* ------------------------------------------------------------------------------------------------------------
 * Forward. The functions below run inside a parallel region, on every thread.
 */

/* res (C, TILE) = wte[token] + wpe[position]; zero beyond the sequence's end. */
static void embed_tile(const GPT2 *model, float *res, int tile) {
    TIMED(OTHER);
    const Activations *a = model->acts;
    int C = model->config.C, seq = tile / a->S, pos = tile % a->S * TILE,
        tokens = min_int(TILE, a->T - pos);
    for (int c = 0; c < C; c += TILE) {
        int width = min_int(TILE, C - c);
        float in[TILE * TILE] = {0}, out[TILE * TILE];
        for (int t = 0; t < tokens; t++) {
            const float *wte = model->w.wte + (size_t)a->inputs[seq * a->T + pos + t] * (size_t)C + c;
            const float *wpe = model->w.wpe + (size_t)(pos + t) * (size_t)C + c;
            for (int i = 0; i < width; i++) in[t * TILE + i] = wte[i] + wpe[i];
        }
        gemm_transpose(out, in, TILE);
        memcpy(res + c * TILE, out, (size_t)width * TILE * sizeof(float));
    }
}

static void layer_forward(const GPT2 *model, int l, const Share *s) {
    Activations *a = model->acts;
    const LayerTensors *w = &model->w.layers[l];
    int C = model->config.C, NH = model->config.NH, hs = C / NH;
    float *res = slab(a, a->res, C, l), *mid = slab(a, a->mid, C, l), *next = slab(a, a->res, C, l + 1);
    float *qkv = slab(a, a->qkv, 3 * C, l), *att = slab(a, a->att, C, l), *fch = slab(a, a->fch, 4 * C, l);
    float *lse = slab(a, a->lse, NH, l), *ln1 = slab(a, a->ln1, 2, l), *ln2 = slab(a, a->ln2, 2, l);
    float *norm = s->scratch, *gelu = norm + (size_t)C * TILE * GROUP;

    for (int i = s->tile0; i < s->tile1; i += GROUP) {
        int tiles = min_int(GROUP, s->tile1 - i);
        for (int j = 0; j < tiles; j++)
            layernorm_forward(at(norm, C, j), at(ln1, 2, i + j), at(res, C, i + j), w->ln1w, w->ln1b, C);
        linear_forward(at(qkv, 3 * C, i), NULL, norm, w->qkvw, w->qkvb, C, 3 * C, tiles);
    }
    team_barrier(s);
    int turn = 0;
    for (int seq = s->seq0; seq < s->seq1; seq++)
        for (int h = 0; h < NH; h++)
            for (int i = a->first_tile; i < a->S; i++) {
                if (turn++ % s->size != s->rank) continue;
                int tile = seq * a->S + i;
                attention_forward(at(att, C, tile) + h * hs * TILE, at(lse, NH, tile) + h * TILE,
                                  at(qkv, 3 * C, seq * a->S) + h * hs * TILE, i, hs, C, s->scratch);
            }
    team_barrier(s);
    for (int i = s->tile0; i < s->tile1; i += GROUP) {
        int tiles = min_int(GROUP, s->tile1 - i);
        linear_forward(at(mid, C, i), at(res, C, i), at(att, C, i), w->attprojw, w->attprojb, C, C, tiles);
        for (int j = 0; j < tiles; j++)
            layernorm_forward(at(norm, C, j), at(ln2, 2, i + j), at(mid, C, i + j), w->ln2w, w->ln2b, C);
        linear_forward(at(fch, 4 * C, i), NULL, norm, w->fcw, w->fcb, C, 4 * C, tiles);
        gelu_forward(gelu, at(fch, 4 * C, i), (size_t)tiles * 4 * (size_t)C * TILE);
        linear_forward(at(next, C, i), at(mid, C, i), gelu, w->fcprojw, w->fcprojb, 4 * C, C, tiles);
    }
}

static void share_forward(const GPT2 *model, const Share *s) {
    for (int i = s->tile0; i < s->tile1; i++)
        embed_tile(model, at(model->acts->res, model->config.C, i), i);
    for (int l = 0; l < model->config.L; l++) layer_forward(model, l, s);
}

/* Embedding and all layers: a->res up to the last slab. Ends with a barrier. */
static void layers_forward(const GPT2 *model) {
    Share s = share_of(model, omp_get_thread_num());
    if (s.size > 1) share_forward(model, &s);
#pragma omp for schedule(runtime)
    for (int k = 0; k < deal_count(model->acts, &s); k++) {
        Share dealt = deal_at(model->acts, &s, k);
        share_forward(model, &dealt);
    }
}

/* ------------------------------------------------------------------------------------------------------------
 * The head: final LayerNorm, logits, loss, and their gradients, for head_tiles tiles at a time. All threads work on
 * the same tiles, so that a sweep over wte serves all of them and logits never leave a chunk. Tasks are cut by the
 * vocabulary and by tiles; each `omp for` but that of dX ends with a barrier.
 */

/* head_in, logits, and for each block of the vocabulary the maximum and the sum of exp(logit - maximum). */
static void head_logits(const GPT2 *model, int tile0, int tiles) {
    Activations *a = model->acts;
    int C = model->config.C, V = model->config.V;
    float *last = slab(a, a->res, C, model->config.L);
#pragma omp for schedule(static)
    for (int i = 0; i < tiles; i++) {
        layernorm_forward(at(a->head_in, C, i), at(a->lnf, 2, tile0 + i), at(last, C, tile0 + i),
                          model->w.lnfw, model->w.lnfb, C);
        transpose_tile(a->head_in_t, at(a->head_in, C, i), C, i, tiles);
    }
    int groups = ceil_div(tiles, HEAD_GROUP);
#pragma omp for collapse(2) schedule(static)
    for (int block = 0; block < a->head_blocks; block++)
        for (int g = 0; g < groups; g++) {
            int row = block * HEAD_ROWS, rows = min_int(HEAD_ROWS, V - row);
            int first = g * HEAD_GROUP, n = min_int(HEAD_GROUP, tiles - first);
            float *x = at(a->logits, V, first) + (size_t)row * TILE;
            {
                TIMED(HEAD);
                gemm_panels(rows, C, gemm_rows(model->w.wte + (size_t)row * (size_t)C, (size_t)C),
                            at(a->head_in, C, first), (size_t)C * TILE, 0, NULL, x, TILE, (size_t)V * TILE,
                            n, n * TILE);
            }
            for (int i = first; i < first + n; i++)
                softmax_partial(at(a->block_max, a->head_tiles, block) + i * TILE,
                                at(a->block_sum, a->head_tiles, block) + i * TILE,
                                at(a->logits, V, i) + (size_t)row * TILE, rows);
        }
}

/* head_lse and loss of each token. */
static void head_loss(const GPT2 *model, int tile0, int tiles) {
    Activations *a = model->acts;
    int V = model->config.V;
#pragma omp for schedule(static)
    for (int i = 0; i < tiles; i++) {
        TIMED(LOSS);
        int seq = (tile0 + i) / a->S, pos = (tile0 + i) % a->S * TILE;
        float *lse_i = at(a->head_lse, 1, i);
        for (int t = 0; t < TILE; t++) lse_i[t] = INFINITY; /* an empty lane: all its probabilities are 0 */
        for (int t = 0; t < min_int(TILE, a->T - pos); t++) {
            float max = -INFINITY;
            double sum = 0;
            for (int b = 0; b < a->head_blocks; b++)
                max = fmaxf(max, at(a->block_max, a->head_tiles, b)[i * TILE + t]);
            for (int b = 0; b < a->head_blocks; b++)
                sum += at(a->block_sum, a->head_tiles, b)[i * TILE + t] *
                       exp((double)at(a->block_max, a->head_tiles, b)[i * TILE + t] - max);
            double lse = max + log(sum);
            int target = a->targets[seq * a->T + pos + t];
            lse_i[t] = (float)lse;
            a->loss[(tile0 + i) * TILE + t] = lse - at(a->logits, V, i)[(size_t)target * TILE + (size_t)t];
        }
    }
}

/* From logits to gradients: of wte (as the head), of the final LayerNorm (parts in dln) and of the last layer's
 * output (dout). */
static void head_backward(const GPT2 *model, int tile0, int tiles) {
    Activations *a = model->acts;
    int C = model->config.C, V = model->config.V;
#pragma omp for collapse(2) schedule(static)
    for (int block = 0; block < a->head_blocks; block++)
        for (int i = 0; i < tiles; i++) {
            TIMED(LOSS);
            int row = block * HEAD_ROWS, rows = min_int(HEAD_ROWS, V - row);
            int seq = (tile0 + i) / a->S, pos = (tile0 + i) % a->S * TILE,
                tokens = min_int(TILE, a->T - pos);
            float *restrict x = at(a->logits, V, i) + (size_t)row * TILE;
            const float *restrict lse = at(a->head_lse, 1, i);
            float scale = a->gradient_scale;
            for (int v = 0; v < rows; v++)
                for (int t = 0; t < TILE; t++)
                    x[v * TILE + t] = fast_expf(x[v * TILE + t] - lse[t]) * scale;
            for (int t = 0; t < tokens; t++) {
                int target = a->targets[seq * a->T + pos + t] - row;
                if (target >= 0 && target < rows) x[target * TILE + t] -= scale;
            }
        }
    /* dX in as few and large tasks as there are threads, because each reads all logits; dW's many fill the gaps. */
    int groups = ceil_div(tiles, HEAD_GROUP);
    int width = ceil_div(ceil_div(C * groups, omp_get_num_threads()), 48) * 48, blocks = ceil_div(C, width);
#pragma omp for collapse(2) schedule(runtime) nowait
    for (int g = 0; g < groups; g++)
        for (int block = 0; block < blocks; block++) {
            TIMED(HEAD);
            int c = block * width, first = g * HEAD_GROUP, n = min_int(HEAD_GROUP, tiles - first);
            gemm_panels(min_int(width, C - c), V, gemm_columns(model->w.wte + c, (size_t)C),
                        at(a->logits, V, first), (size_t)V * TILE, 0, NULL,
                        at(a->head_din, C, first) + (size_t)c * TILE, TILE, (size_t)C * TILE, n, n * TILE);
        }
#pragma omp for schedule(runtime)
    for (int row = 0; row < V; row += HEAD_ROWS) { /* all columns at once: logits are more than inputs */
        TIMED(HEAD);
        Piece piece = {row, min_int(HEAD_ROWS, V - row), 0, C};
        linear_backward_weight(model->g.wte, NULL, a->logits, a->head_in_t, C, V, tiles, 1, piece,
                               a->accumulate || tile0 > 0);
    }
#pragma omp for schedule(static)
    for (int i = 0; i < tiles; i++) {
        layernorm_backward(at(a->dout, C, tile0 + i), norm_part(a, C, LNF_W, tile0 + i),
                           norm_part(a, C, LNF_B, tile0 + i), NULL, at(a->head_din, C, i),
                           at(slab(a, a->res, C, model->config.L), C, tile0 + i), at(a->lnf, 2, tile0 + i),
                           model->w.lnfw, C);
    }
}

static void head(const GPT2 *model, bool backward) {
    Activations *a = model->acts;
    for (int tile0 = 0; tile0 < a->tiles; tile0 += a->head_tiles) {
        int tiles = min_int(a->head_tiles, a->tiles - tile0);
        head_logits(model, tile0, tiles);
        head_loss(model, tile0, tiles);
        if (backward) head_backward(model, tile0, tiles);
    }
}

/* ------------------------------------------------------------------------------------------------------------
 * Backward.
 */

/* From dout, the gradient of layer l's output, to dres, that of its input, for this thread's share; on the way all
 * that layer_weights_backward needs. */
static void layer_backward(const GPT2 *model, int l, const Share *s) {
    Activations *a = model->acts;
    const LayerTensors *w = &model->w.layers[l];
    int C = model->config.C, NH = model->config.NH, hs = C / NH;
    float *res = slab(a, a->res, C, l), *mid = slab(a, a->mid, C, l), *qkv = slab(a, a->qkv, 3 * C, l);
    float *att = slab(a, a->att, C, l), *fch = slab(a, a->fch, 4 * C, l), *lse = slab(a, a->lse, NH, l);
    float *ln1 = slab(a, a->ln1, 2, l), *ln2 = slab(a, a->ln2, 2, l);
    float *dnorm = s->scratch, *again = dnorm + (size_t)C * TILE * GROUP;

    for (int i = s->tile0; i < s->tile1; i += GROUP) {
        int tiles = min_int(GROUP, s->tile1 - i);
        linear_backward_input(at(a->dfch, 4 * C, i), at(a->dout, C, i), w->fcprojw, 4 * C, C, tiles);
        for (int j = i; j < i + tiles; j++) {
            gelu_backward(at(a->dfch, 4 * C, j), again, at(fch, 4 * C, j), (size_t)4 * (size_t)C * TILE);
            transpose_tile(a->gelu_t, again, 4 * C, j, a->tiles);
        }
        linear_backward_input(dnorm, at(a->dfch, 4 * C, i), w->fcw, C, 4 * C, tiles);
        for (int j = i; j < i + tiles; j++) {
            layernorm_again(again, at(ln2, 2, j), at(mid, C, j), w->ln2w, w->ln2b, C);
            transpose_tile(a->ln2_t, again, C, j, a->tiles);
            layernorm_backward(at(a->dmid, C, j), norm_part(a, C, LN2_W, j), norm_part(a, C, LN2_B, j),
                               at(a->dout, C, j), at(dnorm, C, j - i), at(mid, C, j), at(ln2, 2, j),
                               w->ln2w, C);
            transpose_tile(a->att_t, at(att, C, j), C, j, a->tiles);
        }
        linear_backward_input(at(a->datt, C, i), at(a->dmid, C, i), w->attprojw, C, C, tiles);
    }
    team_barrier(s);
    int turn = 0;
    for (int seq = s->seq0; seq < s->seq1; seq++)
        for (int h = 0; h < NH; h++) {
            if (turn++ % s->size != s->rank) continue;
            int tile = seq * a->S, d = h * hs * TILE;
            attention_backward(at(a->dqkv, 3 * C, tile) + d, at(a->datt, C, tile) + d, at(att, C, tile) + d,
                               at(lse, NH, tile) + h * TILE, at(qkv, 3 * C, tile) + d, a->S, hs, C, NH,
                               s->scratch);
        }
    team_barrier(s);
    for (int i = s->tile0; i < s->tile1; i += GROUP) {
        int tiles = min_int(GROUP, s->tile1 - i);
        linear_backward_input(dnorm, at(a->dqkv, 3 * C, i), w->qkvw, C, 3 * C, tiles);
        for (int j = i; j < i + tiles; j++) {
            layernorm_again(again, at(ln1, 2, j), at(res, C, j), w->ln1w, w->ln1b, C);
            transpose_tile(a->ln1_t, again, C, j, a->tiles);
            layernorm_backward(at(a->dres, C, j), norm_part(a, C, LN1_W, j), norm_part(a, C, LN1_B, j),
                               at(a->dmid, C, j), at(dnorm, C, j - i), at(res, C, j), at(ln1, 2, j),
                               w->ln1w, C);
        }
    }
}

/* g (C) = or += sums over tiles of their parts (tiles, C), in order. */
static void sum_parts(float *g, const float *parts, int C, int tiles, bool accumulate) {
    TIMED(NORM);
    if (!g) return;
    if (!accumulate) memset(g, 0, (size_t)C * sizeof(float));
    for (int i = 0; i < tiles; i++)
        for (int c = 0; c < C; c++) g[c] += parts[(size_t)i * (size_t)C + (size_t)c];
}

/* Weight gradients of layer l: each element is one sum over all tokens, done by one thread. */
static void layer_weights_backward(const GPT2 *model, int l) {
    Activations *a = model->acts;
    const LayerTensors *g = &model->g.layers[l];
    int C = model->config.C;
    const struct {
        float *dw, *db;
        const float *dout, *in_t;
        int IC, OC;
    } linear[] = {{g->fcw, g->fcb, a->dfch, a->ln2_t, C, 4 * C},
                  {g->fcprojw, g->fcprojb, a->dout, a->gelu_t, 4 * C, C},
                  {g->qkvw, g->qkvb, a->dqkv, a->ln1_t, C, 3 * C},
                  {g->attprojw, g->attprojb, a->dmid, a->att_t, C, C}};
    int end[4], tasks = 0;
    for (int k = 0; k < 4; k++) end[k] = tasks += piece_count(linear[k].OC, linear[k].IC);
#pragma omp for schedule(runtime) nowait
    for (int task = 0; task < tasks; task++) {
        int k = 0;
        while (task >= end[k]) k++;
        Piece piece = piece_at(task - (k ? end[k - 1] : 0), linear[k].OC, linear[k].IC);
        linear_backward_weight(linear[k].dw, linear[k].db, linear[k].dout, linear[k].in_t, linear[k].IC,
                               linear[k].OC, a->tiles, a->S, piece, a->accumulate);
    }
    float *norms[] = {[LN1_W] = g->ln1w, [LN1_B] = g->ln1b, [LN2_W] = g->ln2w, [LN2_B] = g->ln2b};
#pragma omp for schedule(runtime)
    for (int k = 0; k < 4; k++)
        sum_parts(norms[k], norm_part(a, C, (NormWeight)k, 0), C, a->tiles, a->accumulate);
}

/* first, next and last of the batch's tokens; last also keeps the ids of the step's earlier parts. */
static void chain_tokens(const GPT2 *model) {
    Activations *a = model->acts;
    if (!a->accumulate || !a->dwte)
        for (int v = 0; v < model->config.V; v++) a->last[v] = -1;
    a->first_count = 0;
    for (int k = 0; k < a->B * a->T; k++) {
        int32_t *last = &a->last[a->inputs[k]];
        if (*last >= 0 && !a->dwte) a->next[*last] = k;
        else if (*last < 0) a->first[a->first_count++] = k;
        a->next[k] = -1;
        *last = k;
    }
}

/* g += the sum of an id's rows of `width` floats, in the tokens' order; rows (S * B * TILE, TILE). */
static void add_chain(float *g, const Activations *a, const float *rows, int k, int width) {
    float sum[TILE] = {0};
    for (; k >= 0; k = a->next[k]) {
        const float *row = rows + ((size_t)(k / a->T) * (size_t)a->S * TILE + (size_t)(k % a->T)) * TILE;
        for (int i = 0; i < width; i++) sum[i] += row[i];
    }
    for (int i = 0; i < width; i++) g[i] += sum[i];
}

/* Channels [c, c + width) of the gradients of wte, as the embedding, and wpe from dres, that of the first layer's
 * input. The rows of an id are summed up by themselves, and added to the head's part when the step's last batch is
 * there: so however a step is cut into batches, each number is one sum in one order. */
static void embedding_channels_backward(const GPT2 *model, const float *dres, int c, int width) {
    const Activations *a = model->acts;
    const size_t C = (size_t)model->config.C, c0 = (size_t)c;
    float *rows = a->gelu_t + c0 * (size_t)a->tiles * TILE, *dwte = model->g.wte + c0;
    for (int tile = 0; tile < a->tiles; tile++)
        gemm_transpose(rows + (size_t)tile * TILE * TILE, dres + ((size_t)tile * C + c0) * TILE, width);
    for (int k = 0; k < a->B * a->T; k++) {
        bool fresh = k < a->T && !a->accumulate;
        const float *row = rows + ((size_t)(k / a->T) * (size_t)a->S * TILE + (size_t)(k % a->T)) * TILE;
        float *dwpe = model->g.wpe + (size_t)(k % a->T) * C + c0;
        for (int i = 0; i < width; i++) dwpe[i] = (fresh ? 0.0f : dwpe[i]) + row[i];
        float *sum = a->dwte ? a->dwte + (size_t)a->inputs[k] * C + c0 : NULL;
        for (int i = 0; sum && i < width; i++) sum[i] += row[i];
    }
    for (int k = 0; k < a->first_count && !a->dwte; k++)
        add_chain(dwte + (size_t)a->inputs[a->first[k]] * C, a, rows, a->first[k], width);
    for (int v = 0; v < model->config.V && a->dwte && a->part == a->parts - 1; v++) {
        const float *sum = a->dwte + (size_t)v * C + c0;
        for (int i = 0; i < width && a->last[v] >= 0; i++) dwte[(size_t)v * C + (size_t)i] += sum[i];
    }
}

static void embedding_backward(const GPT2 *model, const float *dres) {
    const Activations *a = model->acts;
    const size_t C = (size_t)model->config.C, V = (size_t)model->config.V;
    size_t behind = (size_t)(model->config.T - a->T) * C; /* positions beyond this batch */
#pragma omp single
    {
        TIMED(OTHER);
        if (!a->accumulate) memset(model->g.wpe + (size_t)a->T * C, 0, behind * sizeof(float));
        if (!a->accumulate && a->dwte) memset(a->dwte, 0, V * C * sizeof(float));
        chain_tokens(model);
    }
#pragma omp for schedule(runtime)
    for (int c = 0; c < model->config.C; c += TILE) {
        TIMED(OTHER);
        embedding_channels_backward(model, dres, c, min_int(TILE, model->config.C - c));
    }
}

static void layers_backward(const GPT2 *model) {
    Activations *a = model->acts;
    int C = model->config.C;
    Share s = share_of(model, omp_get_thread_num());
#pragma omp for schedule(static)
    for (int k = 0; k < 2; k++)
        sum_parts(k ? model->g.lnfb : model->g.lnfw, norm_part(a, C, k ? LNF_B : LNF_W, 0), C, a->tiles,
                  a->accumulate);
    for (int l = model->config.L - 1; l >= 0; l--) {
        if (s.size > 1) layer_backward(model, l, &s);
#pragma omp for schedule(runtime)
        for (int k = 0; k < deal_count(a, &s); k++) {
            Share dealt = deal_at(a, &s, k);
            layer_backward(model, l, &dealt);
        }
        layer_weights_backward(model, l);
#pragma omp single
        { /* the layer's input is the output of the one below */
            float *swap = a->dout;
            a->dout = a->dres;
            a->dres = swap;
        }
    }
    embedding_backward(model, a->dout);
}

/* ------------------------------------------------------------------------------------------------------------
 * What callers see.
 */

static void set_batch(GPT2 *model, const int32_t *inputs, const int32_t *targets, int B, int T) {
    Activations *a = model->acts;
    a->B = B;
    a->T = T;
    a->S = ceil_div(T, TILE);
    a->tiles = B * a->S;
    a->first_tile = 0;
    a->part = 0;
    a->parts = 1;
    a->inputs = inputs;
    a->targets = targets;
}

/* Of all parts so far. */
static double mean_loss(Activations *a) {
    if (a->part == 0) a->loss_sum = a->loss_tokens = 0;
    a->loss_tokens += (double)a->B * a->T;
    for (int seq = 0; seq < a->B; seq++)
        for (int t = 0; t < a->T; t++) a->loss_sum += a->loss[seq * a->S * TILE + t];
    return a->loss_sum / a->loss_tokens;
}

double gpt2_forward(GPT2 *model, const int32_t *inputs, const int32_t *targets, int B, int T, int part) {
    set_batch(model, inputs, targets, B, T);
    model->acts->part = part;
#pragma omp parallel num_threads(model->threads)
    {
        thread_start(model);
        layers_forward(model);
        head(model, false);
    }
    return mean_loss(model->acts);
}

double gpt2_forward_backward(GPT2 *model, const int32_t *inputs, const int32_t *targets, int B, int T,
                             int part, int parts) {
    set_batch(model, inputs, targets, B, T);
    model->acts->part = part;
    model->acts->parts = parts;
    model->acts->gradient_scale = (float)(1 / ((double)B * T * parts));
    model->acts->accumulate = part > 0;
    double start = omp_get_wtime(), middle = start;
#pragma omp parallel num_threads(model->threads)
    {
        thread_start(model);
        layers_forward(model);
#pragma omp master
        middle = omp_get_wtime();
        head(model, true);
        layers_backward(model);
    }
    model->forward_s = middle - start;
    model->backward_s = omp_get_wtime() - middle;
    return mean_loss(model->acts);
}

void gpt2_logits(GPT2 *model, const int32_t *inputs, int B, int T, float *logits) {
    set_batch(model, inputs, NULL, B, T);
    Activations *a = model->acts;
    int V = model->config.V;
#pragma omp parallel num_threads(model->threads)
    {
        thread_start(model);
        layers_forward(model);
        for (int tile = 0; tile < a->tiles; tile++) {
            head_logits(model, tile, 1);
#pragma omp single
            for (int t = 0; t < min_int(TILE, T - tile % a->S * TILE); t++) {
                size_t token = (size_t)(tile / a->S) * (size_t)T + (size_t)(tile % a->S * TILE + t);
                for (int v = 0; v < V; v++) logits[token * (size_t)V + (size_t)v] = a->logits[v * TILE + t];
            }
        }
    }
}

void gpt2_next_logits(GPT2 *model, const int32_t *tokens, int n, bool extend, float *logits) {
    set_batch(model, tokens, NULL, 1, n);
    Activations *a = model->acts;
    int last = a->S - 1;
    if (extend) a->first_tile = last;
#pragma omp parallel num_threads(model->threads)
    {
        thread_start(model);
        layers_forward(model);
        head_logits(model, last, 1);
    }
    for (int v = 0; v < model->config.V; v++) logits[v] = a->logits[v * TILE + (n - 1) % TILE];
}
