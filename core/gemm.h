/* gemm.h: the one door to matrix products, C (M, N) = A (M, K) B (K, N) + beta C.
 *
 * The panel is the unit: 64 columns of B or C, stored as (K, 64) without gaps, a row of a panel being four
 * AVX-512 vectors. The model keeps every activation in panels (a tile: 64 tokens across, features down), so
 * weights are read where they lie, except that a transposed one is copied, a block of it at a time:
 *
 *      weights (M, K)            activations (K, 64) a tile
 *      k ->                      64 tokens ->
 *     +-----------+             +----+ +----+        a step of the kernel: 6 rows of A against 64 columns
 *   i |  broadcast|      times  | k  | |    |  ...   of one panel, 24 vector registers of sums, one
 *     +-----------+             +----+ +----+        broadcast and four multiply-adds a row for each k
 *
 * Single-threaded: callers cut the work along M or N. Each element is one sum over increasing k, whatever
 * the blocking and the cut, so results do not depend on the number of threads.
 */
#ifndef CORE_GEMM_H
#define CORE_GEMM_H

#include <stdbool.h>
#include <stddef.h>

#define GEMM_NR 64 /* columns of a panel */

/* A matrix read by rows i and depth k: element (i, k) is
 *     p[i * row + (k / 64) * segment + (k % 64) * depth]
 * One of `row` and `depth` is 1. A plain row-major matrix is gemm_rows(p, ld), its transpose gemm_columns(p, ld); with
 * `segment` the depth can run through tiles that do not follow each other. */
typedef struct GemmA {
    const float *p;
    size_t row, depth, segment;
} GemmA;

static inline GemmA gemm_rows(const float *p, size_t ld) {
    return (GemmA){p, ld, 1, GEMM_NR};
}
static inline GemmA gemm_columns(const float *p, size_t ld) {
    return (GemmA){p, 1, ld, GEMM_NR * ld};
}

/* Products with B and C in panels: for each of `panels` panels j
 *     C_j (M, 64) = A (M, K) B_j (K, 64) + beta C_j + bias
 * B_j lies at B + j * b_stride, C_j at C + j * c_stride with rows ldc apart; only `columns` columns of C in
 * all are touched (64 * (panels - 1) < columns <= 64 * panels; K >= 1; B is read whole and must be finite).
 * beta = 0 overwrites even NaN. */
void gemm_panels(int M, int K, GemmA A, const float *B, size_t b_stride, float beta, const float *bias,
                 float *C, size_t ldc, size_t c_stride, int panels, int columns);

/* Row-major product of matrices of any shape, as Newton-Schulz needs it:
 *     C (M, N) = alpha A (M, K) B (K, N) + beta C
 * ld* are row strides in elements. `work` holds gemm_work_size(K) floats. C must not overlap A or B. */
void gemm(int M, int N, int K, float alpha, const float *A, size_t lda, const float *B, size_t ldb,
          float beta, float *C, size_t ldc, float *work);
size_t gemm_work_size(int K);

/* panel (K, 64) = alpha times `columns` <= 64 columns of B, whose K rows are ldb floats apart; zero beyond. */
void gemm_pack(float *panel, int K, int columns, float alpha, const float *B, size_t ldb);

/* out (64, 64) = transpose of in (rows, 64), rows <= 64; columns of `out` from `rows` on are zero. */
void gemm_transpose(float *out, const float *in, int rows);

#endif
