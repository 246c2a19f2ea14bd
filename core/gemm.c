/* gemm.c: see gemm.h. One kernel, two loops of blocking around it. */
#include "core/gemm.h"

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

/* A block of B, DEPTH_BLOCK * 64 floats, is swept once for every 6 rows of A; a block of A, ROW_BLOCK * DEPTH_BLOCK
 * floats, once for every panel. Together they should fill about half of a core's L2: 128 KB and 384 KB of 1 MB here.
 * A deeper block reads and writes C less often. */
#define DEPTH_BLOCK 512
#define ROW_BLOCK   192

typedef float Vector __attribute__((vector_size(4 * LANES)));

static inline Vector load(const float *p) {
    Vector v;
    memcpy(&v, p, sizeof v);
    return v;
}
static inline void store(float *p, Vector v) {
    memcpy(p, &v, sizeof v);
}

/* C (rows, VECTORS * LANES) = A B + beta C + bias for `segments` segments of depth 64, the last one `last` deep. `rows`
 * and one of A's strides are constants at every call, so that the compiler keeps `sum` in registers and unrolls. */
static inline __attribute__((always_inline)) void kernel_step(int rows, int segments, int last, GemmA A,
                                                              const float *restrict B, float beta,
                                                              const float *bias, float *restrict C,
                                                              size_t ldc) {
    Vector sum[ROWS][VECTORS];
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < VECTORS; v++) {
            sum[i][v] = (Vector){0};
            if (beta != 0) sum[i][v] = beta * load(C + (size_t)i * ldc + v * LANES);
            if (bias) sum[i][v] += bias[i];
            __builtin_prefetch(C + (size_t)i * ldc + v * LANES, 1); /* to be stored a thousand cycles on */
        }
    for (int s = 0; s < segments; s++) {
        const float *a = A.p + (size_t)s * A.segment;
        int deep = s == segments - 1 ? last : GEMM_NR;
        /* What the next steps read of A: the hardware's prefetcher loses rows that are cut in segments, and never
         * finds columns. */
        for (int i = rows; i < 2 * rows && A.depth == 1; i++)
            for (int k = 0; k < deep; k += 16) __builtin_prefetch(a + (size_t)i * A.row + k);
        for (int k = 0; k < deep; k++, a += A.depth, B += GEMM_NR) {
            if (A.row == 1) __builtin_prefetch(a + 2 * rows);
            Vector b[VECTORS];
            for (int v = 0; v < VECTORS; v++) b[v] = load(B + v * LANES);
            for (int i = 0; i < rows; i++)
                for (int v = 0; v < VECTORS; v++) sum[i][v] += a[(size_t)i * A.row] * b[v];
        }
    }
    for (int i = 0; i < rows; i++)
        for (int v = 0; v < VECTORS; v++) store(C + (size_t)i * ldc + v * LANES, sum[i][v]);
}

/* The same for all 64 columns of a panel, for either order of A's strides. */
static inline __attribute__((always_inline)) void kernel_rows(int rows, int segments, int last, GemmA A,
                                                              const float *B, float beta, const float *bias,
                                                              float *C, size_t ldc) {
    for (int j = 0; j < GEMM_NR; j += VECTORS * LANES) {
        if (A.row == 1)
            kernel_step(rows, segments, last, (GemmA){A.p, 1, A.depth, A.segment}, B + j, beta, bias, C + j,
                        ldc);
        else
            kernel_step(rows, segments, last, (GemmA){A.p, A.row, 1, A.segment}, B + j, beta, bias, C + j,
                        ldc);
    }
}

/* 1 to ROWS rows of A against one panel. */
static void kernel(int rows, int depth, GemmA A, const float *B, float beta, const float *bias, float *C,
                   size_t ldc) {
    int segments = (depth + GEMM_NR - 1) / GEMM_NR, last = depth - (segments - 1) * GEMM_NR;
    switch (rows) {
    case 1: kernel_rows(1, segments, last, A, B, beta, bias, C, ldc); return;
    case 2: kernel_rows(2, segments, last, A, B, beta, bias, C, ldc); return;
    case 3: kernel_rows(3, segments, last, A, B, beta, bias, C, ldc); return;
    case 4: kernel_rows(4, segments, last, A, B, beta, bias, C, ldc); return;
    case 5: kernel_rows(5, segments, last, A, B, beta, bias, C, ldc); return;
    default: kernel_rows(ROWS, segments, last, A, B, beta, bias, C, ldc); return;
    }
}

/* The same where fewer than 64 columns of C exist: by way of a copy. */
static void kernel_narrow(int rows, int depth, GemmA A, const float *B, float beta, const float *bias,
                          float *C, size_t ldc, int columns) {
    float edge[ROWS * GEMM_NR] = {0};
    for (int i = 0; i < rows && beta != 0; i++)
        memcpy(edge + i * GEMM_NR, C + (size_t)i * ldc, (size_t)columns * sizeof(float));
    kernel(rows, depth, A, B, beta, bias, edge, GEMM_NR);
    for (int i = 0; i < rows; i++)
        memcpy(C + (size_t)i * ldc, edge + i * GEMM_NR, (size_t)columns * sizeof(float));
}

void gemm_panels(int M, int K, GemmA A, const float *B, size_t b_stride, float beta, const float *bias,
                 float *C, size_t ldc, size_t c_stride, int panels, int columns) {
    for (int m0 = 0; m0 < M; m0 += ROW_BLOCK) {
        int m1 = m0 + ROW_BLOCK < M ? m0 + ROW_BLOCK : M;
        for (int k0 = 0; k0 < K; k0 += DEPTH_BLOCK) {
            int depth = k0 + DEPTH_BLOCK < K ? DEPTH_BLOCK : K - k0;
            float block_beta = k0 == 0 ? beta : 1;
            const float *block_bias = k0 == 0 ? bias : NULL;
            for (int j = 0; j < panels; j++) {
                const float *b = B + (size_t)j * b_stride + (size_t)k0 * GEMM_NR;
                int width = columns - j * GEMM_NR;
                for (int i = m0; i < m1; i += ROWS) {
                    GemmA a = A;
                    a.p += (size_t)i * A.row + (size_t)(k0 / GEMM_NR) * A.segment;
                    float *c = C + (size_t)j * c_stride + (size_t)i * ldc;
                    int rows = m1 - i < ROWS ? m1 - i : ROWS;
                    if (width >= GEMM_NR)
                        kernel(rows, depth, a, b, block_beta, block_bias ? block_bias + i : NULL, c, ldc);
                    else
                        kernel_narrow(rows, depth, a, b, block_beta, block_bias ? block_bias + i : NULL, c,
                                      ldc, width);
                }
            }
        }
    }
}

size_t gemm_work_size(int K) {
    return (size_t)K * GEMM_NR;
}

/* panel (K, 64) = alpha B[:, 0 : columns], zero beyond. */
static void pack_panel(float *panel, int K, int columns, float alpha, const float *B, size_t ldb) {
    for (int k = 0; k < K; k++, panel += GEMM_NR, B += ldb) {
        for (int j = 0; j < columns; j++) panel[j] = alpha * B[j];
        for (int j = columns; j < GEMM_NR; j++) panel[j] = 0;
    }
}

void gemm(int M, int N, int K, float alpha, const float *A, size_t lda, const float *B, size_t ldb,
          float beta, float *C, size_t ldc, float *work) {
    for (int n = 0; n < N; n += GEMM_NR) {
        int columns = N - n < GEMM_NR ? N - n : GEMM_NR;
        pack_panel(work, K, columns, alpha, B + n, ldb);
        gemm_panels(M, K, gemm_rows(A, lda), work, 0, beta, NULL, C + n, ldc, 0, 1, columns);
    }
}

/* A 16 x 16 transpose is four rounds of the same perfect shuffle: rows i and i + 8 are zipped into 2i and
 * 2i + 1. */
typedef float Row16 __attribute__((vector_size(64)));

static inline void transpose_16(float *restrict out, const float *restrict in) {
    Row16 r[16], z[16];
    for (int i = 0; i < 16; i++) memcpy(&r[i], in + i * GEMM_NR, sizeof r[i]);
    for (int round = 0; round < 4; round++) {
        for (int i = 0; i < 8; i++) {
            z[2 * i] = __builtin_shufflevector(r[i], r[i + 8], 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6,
                                               22, 7, 23);
            z[2 * i + 1] = __builtin_shufflevector(r[i], r[i + 8], 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13,
                                                   29, 14, 30, 15, 31);
        }
        memcpy(r, z, sizeof r);
    }
    for (int i = 0; i < 16; i++) memcpy(out + i * GEMM_NR, &r[i], sizeof r[i]);
}

void gemm_transpose(float *out, const float *in, int rows) {
    int whole = rows / 16 * 16;
    for (int i = 0; i < whole; i += 16)
        for (int j = 0; j < GEMM_NR; j += 16) transpose_16(out + j * GEMM_NR + i, in + i * GEMM_NR + j);
    for (int j = 0; j < GEMM_NR; j++)
        for (int i = whole; i < GEMM_NR; i++) out[j * GEMM_NR + i] = i < rows ? in[i * GEMM_NR + j] : 0;
}
