/* gemm.c: see gemm.h. One kernel; sweep takes a block of A through all panels, gemm_panels walks the blocks. */
#include "core/gemm.h"

#include <stdint.h>
#include <string.h>

/* Registers: ROWS * VECTORS sums plus VECTORS of B must fit the file (32 with AVX-512 and NEON, 16 with
 * AVX2), and ROWS * VECTORS must exceed latency * units (4 * 2) so that the multiply-adds never wait for
 * each other. */
#if defined(__AVX512F__)
#define LANES   16
#define VECTORS 4
#elif defined(__AVX__)
#define LANES   8
#define VECTORS 2
#elif defined(__aarch64__)
#define LANES   4
#define VECTORS 4
#else
#define LANES   4
#define VECTORS 2
#endif
#define ROWS 6
#define LINE 16 /* floats of a cache line */

/* A block of A is used for every panel while it lies in L2; the part of a panel that is as deep as the block is read once
 * for every 6 rows of the block. The block's long side lies along memory, so that a page is used whole while the TLB knows it
 * (pages count as 4 KB: on virtual machines the host's do, whatever the guest has asked for).
 *
 *     A read by rows            A read by columns         in 1 MB of L2
 *                256 deep           128 deep
 *               +-----+               +--+                by rows: A and what is next 2 * 192 KB    = 384 KB
 *      192 rows |-> k |               |  | |                       B and what is next 2 * 64 KB     = 128 KB
 *               +-----+      384 rows |  | i              by columns: copy of A and what is next    = 384 KB
 *                                     |  | v                       B and what is next 2 * 32 KB     =  64 KB
 *                                     +--+
 *
 * A block read by columns is copied by rows: of its lines, a power of two apart as they may lie, 6 of 16 floats would be
 * used before they push each other out of the cache.
 *
 * What comes next, of A, of B and of C, is asked for a line at a time between the multiply-adds: in a burst it would take
 * all of the core's buffers for missing lines, and the loads that are needed now would wait. */
#define ROWS_BLOCK 192 /* A by rows */
#define ROWS_DEPTH 256
#define COLS_BLOCK 384 /* A by columns */
#define COLS_DEPTH 128

typedef float Vector __attribute__((vector_size(4 * LANES)));

static inline Vector load(const float *p) {
    Vector v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void store(float *p, Vector v) {
    memcpy(p, &v, sizeof v);
}

/* Is A's depth without cuts? */
static inline bool is_whole(GemmA A) {
    return A.segment == GEMM_NR * A.depth;
}

/* May lie behind its array: only to be fetched ahead. */
static inline const float *beyond(const float *p, size_t n) {
    return (const float *)((uintptr_t)p + n * sizeof *p);
}

/* Memory that is needed soon, `runs` runs of `floats` floats, `apart` floats apart: fetched into L2, a line at a time. */
typedef struct Ahead {
    const float *p;
    size_t apart;
    int runs, floats, at; /* at: the next line's place in its run */
} Ahead;

static Ahead ahead_of(GemmA A, int rows, int depth) {
    if (A.row == 1) return (Ahead){A.p, A.depth, depth, rows, 0};
    if (A.segment == GEMM_NR) return (Ahead){A.p, A.row, rows, depth, 0};
    return (Ahead){A.p, A.segment, (depth + GEMM_NR - 1) / GEMM_NR, rows * GEMM_NR, 0}; /* rows 64 apart */
}

static inline void fetch(Ahead *next) {
    if (next->runs == 0) return;
    __builtin_prefetch(next->p + next->at, 0, 2);
    next->at += LINE;
    if (next->at < next->floats) return;
    next->at = 0;
    next->runs--;
    next->p = beyond(next->p, next->apart);
}

/* What the products to come need of A and B. */
typedef struct Soon {
    Ahead a, b;
} Soon;

/* sum (rows, VECTORS * LANES) += a column of A times a row of B. */
static inline __attribute__((always_inline)) void multiply_add(Vector sum[ROWS][VECTORS], int rows,
                                                               const float *a, size_t row, const float *B) {
    Vector b[VECTORS];
    for (int v = 0; v < VECTORS; v++) b[v] = load(B + v * LANES);
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < VECTORS; v++) sum[i][v] += a[(size_t)i * row] * b[v];
}

/* C (rows, VECTORS * LANES) = A B + beta C + bias for `segments` segments of depth 64, or, with 1, one of any depth; the
 * last one is `last` deep. Between the multiply-adds, the rows of C behind these and some of `soon` are fetched. `rows` and
 * one of A's strides are constants at every call, so that the compiler keeps `sum` in registers and unrolls. */
static inline __attribute__((always_inline)) void kernel_step(int rows, int segments, int last, GemmA A,
                                                              const float *restrict B, float beta,
                                                              const float *bias, float *restrict C,
                                                              size_t ldc, Soon *soon) {
    Vector sum[ROWS][VECTORS];
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < VECTORS; v++) {
            sum[i][v] = (Vector){0};
            if (beta != 0) sum[i][v] = beta * load(C + (size_t)i * ldc + v * LANES);
            if (bias) sum[i][v] += bias[i];
        }
    int s = 0;
    do {
        const float *a = A.p + (size_t)s * A.segment;
        int deep = s == segments - 1 ? last : GEMM_NR, k = 0;
        for (; k + 4 <= deep; k += 4) {
            const float *next = beyond(C, (size_t)(rows + k / 4) * ldc);
            for (int v = 0; v < VECTORS && s == 0 && k < 4 * rows; v++)
                __builtin_prefetch(beyond(next, (size_t)v * LANES), 1);
            fetch(&soon->a);
            fetch(&soon->b);
            for (int u = 0; u < 4; u++, a += A.depth, B += GEMM_NR) multiply_add(sum, rows, a, A.row, B);
        }
        for (; k < deep; k++, a += A.depth, B += GEMM_NR) multiply_add(sum, rows, a, A.row, B);
    } while (++s < segments);
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < VECTORS; v++) store(C + (size_t)i * ldc + v * LANES, sum[i][v]);
}

/* The same for all 64 columns of a panel, for either order of A's strides. */
static inline __attribute__((always_inline)) void kernel_rows(int rows, int depth, GemmA A, const float *B,
                                                              float beta, const float *bias, float *C,
                                                              size_t ldc, Soon *soon) {
    int segments = is_whole(A) ? 1 : (depth + GEMM_NR - 1) / GEMM_NR,
        last = depth - (segments - 1) * GEMM_NR;
    for (int j = 0; j < GEMM_NR; j += VECTORS * LANES) {
        if (A.row == 1)
            kernel_step(rows, 1, depth, (GemmA){A.p, 1, A.depth, 0}, B + j, beta, bias, C + j, ldc, soon);
        else
            kernel_step(rows, segments, last, (GemmA){A.p, A.row, 1, A.segment}, B + j, beta, bias, C + j,
                        ldc, soon);
    }
}

/* 1 to ROWS rows of A against one panel. */
static void kernel(int rows, int depth, GemmA A, const float *B, float beta, const float *bias, float *C,
                   size_t ldc, Soon *soon) {
    switch (rows) {
    case 1: kernel_rows(1, depth, A, B, beta, bias, C, ldc, soon); return;
    case 2: kernel_rows(2, depth, A, B, beta, bias, C, ldc, soon); return;
    case 3: kernel_rows(3, depth, A, B, beta, bias, C, ldc, soon); return;
    case 4: kernel_rows(4, depth, A, B, beta, bias, C, ldc, soon); return;
    case 5: kernel_rows(5, depth, A, B, beta, bias, C, ldc, soon); return;
    default: kernel_rows(ROWS, depth, A, B, beta, bias, C, ldc, soon); return;
    }
}

/* The same where fewer than 64 columns of C exist: by way of a copy. */
static void kernel_narrow(int rows, int depth, GemmA A, const float *B, float beta, const float *bias,
                          float *C, size_t ldc, int columns, Soon *soon) {
    float edge[ROWS * GEMM_NR] = {0};
    for (int i = 0; i < rows && beta != 0; i++)
        memcpy(edge + i * GEMM_NR, C + (size_t)i * ldc, (size_t)columns * sizeof(float));
    kernel(rows, depth, A, B, beta, bias, edge, GEMM_NR, soon);
    for (int i = 0; i < rows; i++)
        memcpy(C + (size_t)i * ldc, edge + i * GEMM_NR, (size_t)columns * sizeof(float));
}

static inline int min_int(int a, int b) {
    return a < b ? a : b;
}

/* The part of A from row i and depth k, a multiple of 64, on. */
static inline GemmA part_of(GemmA A, int i, int k) {
    A.p += (size_t)i * A.row + (size_t)(k / GEMM_NR) * A.segment;
    return A;
}

typedef float Row16 __attribute__((vector_size(64)));

/* a = quarters 0 and 2 of a and of b, b = quarters 1 and 3. */
static inline void sort_quarters(Row16 *a, Row16 *b) {
    Row16 even = __builtin_shufflevector(*a, *b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27);
    *b = __builtin_shufflevector(*a, *b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
    *a = even;
}

/* out = transpose of in, both 16 x 16: 4 x 4 inside the quarters of four rows, then the quarters. Each line is one
 * instruction of AVX-512. */
static inline void transpose_16(float *restrict out, size_t out_ld, const float *restrict in,
                                size_t in_ld) {
    Row16 r[16], z[16];
    for (int i = 0; i < 16; i++) memcpy(&r[i], in + (size_t)i * in_ld, sizeof r[i]);
    for (int i = 0; i < 16; i += 2) {
        z[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 16, 1, 17, 4, 20, 5, 21, 8, 24, 9, 25, 12, 28, 13,
                                       29);
        z[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 2, 18, 3, 19, 6, 22, 7, 23, 10, 26, 11, 27, 14,
                                           30, 15, 31);
    }
    for (int i = 0; i < 16; i += 4)
        for (int h = 0; h < 2; h++) {
            r[i + 2 * h] = __builtin_shufflevector(z[i + h], z[i + h + 2], 0, 1, 16, 17, 4, 5, 20, 21, 8, 9,
                                                   24, 25, 12, 13, 28, 29);
            r[i + 2 * h + 1] = __builtin_shufflevector(z[i + h], z[i + h + 2], 2, 3, 18, 19, 6, 7, 22, 23,
                                                       10, 11, 26, 27, 14, 15, 30, 31);
        }
    for (int i = 0; i < 16; i += 8)
        for (int h = 0; h < 4; h++) sort_quarters(&r[i + h], &r[i + h + 4]);
    for (int h = 0; h < 8; h++) sort_quarters(&r[h], &r[h + 8]);
    for (int i = 0; i < 16; i++) memcpy(out + (size_t)i * out_ld, &r[i], sizeof r[i]);
}

/* copy (rows, COLS_DEPTH) = a block of A (rows, depth) that is read by columns. */
static void copy_columns(float *restrict copy, GemmA A, int rows, int depth) {
    for (int i = 0; i < rows; i += 16)
        for (int k = 0; k < depth; k += 16) {
            const float *a = A.p + i + (size_t)(k / GEMM_NR) * A.segment + (size_t)(k % GEMM_NR) * A.depth;
            float *out = copy + (size_t)i * COLS_DEPTH + k;
            if (i + 16 <= rows && k + 16 <= depth) {
                transpose_16(out, COLS_DEPTH, a, A.depth);
                continue;
            }
            for (int r = 0; r < min_int(16, rows - i); r++)
                for (int d = 0; d < min_int(16, depth - k); d++)
                    out[r * COLS_DEPTH + d] = a[(size_t)d * A.depth + (size_t)r];
        }
}

/* All of a product but A. */
typedef struct Product {
    const float *B;
    size_t b_stride;
    float beta;
    const float *bias;
    float *C;
    size_t ldc, c_stride;
    int panels, columns;
} Product;

/* Where a block lies in A: rows [m0, m0 + rows), columns [k0, k0 + depth). */
typedef struct Place {
    int m0, rows, k0, depth;
} Place;

/* A block times every panel, while what the block behind it needs is fetched: `a_next` of A, B's depths from next.k0 on. */
static void sweep(const Product *p, GemmA block, Place at, Place next, Ahead a_next) {
    float beta = at.k0 == 0 ? p->beta : 1;
    const float *bias = at.k0 == 0 && p->bias ? p->bias + at.m0 : NULL;
    Soon soon = {.a = a_next};
    for (int j = 0; j < p->panels; j++) {
        const float *B = p->B + (size_t)j * p->b_stride + (size_t)at.k0 * GEMM_NR;
        float *C = p->C + (size_t)j * p->c_stride + (size_t)at.m0 * p->ldc;
        int width = p->columns - j * GEMM_NR;
        bool last = j == p->panels - 1;
        soon.b = (Ahead){last ? p->B + (size_t)next.k0 * GEMM_NR : B + p->b_stride, 0, 1,
                         (last ? next.depth : at.depth) * GEMM_NR, 0};
        for (int i = 0; i < at.rows; i += ROWS) {
            GemmA a = block;
            a.p += (size_t)i * a.row;
            float *c = C + (size_t)i * p->ldc;
            const float *bias_i = bias ? bias + i : NULL;
            int rows = min_int(ROWS, at.rows - i);
            if (width >= GEMM_NR) kernel(rows, at.depth, a, B, beta, bias_i, c, p->ldc, &soon);
            else kernel_narrow(rows, at.depth, a, B, beta, bias_i, c, p->ldc, width, &soon);
        }
    }
}

void gemm_panels(int M, int K, GemmA A, const float *B, size_t b_stride, float beta, const float *bias,
                 float *C, size_t ldc, size_t c_stride, int panels, int columns) {
    static _Thread_local float copy[COLS_BLOCK * COLS_DEPTH] __attribute__((aligned(64)));
    const Product p = {B, b_stride, beta, bias, C, ldc, c_stride, panels, columns};
    bool copied = A.row == 1 && (A.depth > GEMM_NR || !is_whole(A));
    int block = copied ? COLS_BLOCK : ROWS_BLOCK, deep = copied ? COLS_DEPTH : ROWS_DEPTH;
    Place at = {0, min_int(block, M), 0, min_int(deep, K)};
    while (at.rows > 0) {
        Place next = at; /* along k, then down */
        next.k0 += deep;
        if (next.k0 >= K) next.k0 = 0, next.m0 += block;
        next.rows = min_int(block, M - next.m0), next.depth = min_int(deep, K - next.k0);
        GemmA a = part_of(A, at.m0, at.k0);
        Ahead ahead = {0};
        if (next.rows > 0) ahead = ahead_of(part_of(A, next.m0, next.k0), next.rows, next.depth);
        else next.depth = 0;
        if (copied) {
            copy_columns(copy, a, at.rows, at.depth);
            sweep(&p, gemm_rows(copy, COLS_DEPTH), at, next, ahead);
        } else sweep(&p, a, at, next, ahead);
        at = next;
    }
}

size_t gemm_work_size(int K) {
    return (size_t)K * GEMM_NR;
}

void gemm_pack(float *panel, int K, int columns, float alpha, const float *B, size_t ldb) {
    for (int k = 0; k < K; k++, panel += GEMM_NR, B += ldb) {
        for (int j = 0; j < columns; j++) panel[j] = alpha * B[j];
        for (int j = columns; j < GEMM_NR; j++) panel[j] = 0;
    }
}

void gemm(int M, int N, int K, float alpha, const float *A, size_t lda, const float *B, size_t ldb,
          float beta, float *C, size_t ldc, float *work) {
    for (int n = 0; n < N; n += GEMM_NR) {
        int columns = N - n < GEMM_NR ? N - n : GEMM_NR;
        gemm_pack(work, K, columns, alpha, B + n, ldb);
        gemm_panels(M, K, gemm_rows(A, lda), work, 0, beta, NULL, C + n, ldc, 0, 1, columns);
    }
}

void gemm_transpose(float *out, const float *in, int rows) {
    int whole = rows / 16 * 16;
    for (int i = 0; i < whole; i += 16)
        for (int j = 0; j < GEMM_NR; j += 16)
            transpose_16(out + j * GEMM_NR + i, GEMM_NR, in + i * GEMM_NR + j, GEMM_NR);
    for (int j = 0; j < GEMM_NR; j++)
        for (int i = whole; i < GEMM_NR; i++) out[j * GEMM_NR + i] = i < rows ? in[i * GEMM_NR + j] : 0;
}
