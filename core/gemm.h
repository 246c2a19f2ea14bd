/* gemm.h: the one door to matrix products. Single-threaded: callers cut the work, so results never depend on the
 * number of threads. Each element is summed over k in increasing order (in blocks of GEMM_KC), whatever the shape
 * of the rest, so cutting M or N anywhere gives the same bits.
 */
#ifndef CORE_GEMM_H
#define CORE_GEMM_H

#include <stdbool.h>
#include <stddef.h>

/* Columns of a panel. Every product here is C (M, N) += A (M, K) B (K, N) with B cut into panels of 64 columns,
 * each stored as (K, 64) without gaps: b[k * GEMM_NR + j]. */
#define GEMM_NR 64

/* Row-major products for matrices of any shape, as Newton-Schulz needs them:
 *     C (M, N) = alpha A (M, K) op(B) + beta C
 * with op(B) = B (K, N) or, when b_transposed, the transpose of B (N, K). `a_transposed`: A is stored (K, M).
 * ld* are row strides in elements. `work` holds gemm_work_size(K) floats. C must not overlap A or B.
 * beta = 0 overwrites C even where it holds NaN. */
void gemm(int M, int N, int K, float alpha, const float *A, size_t lda, bool a_transposed, const float *B, size_t ldb,
          bool b_transposed, float beta, float *C, size_t ldc, float *work);
size_t gemm_work_size(int K);

#endif
