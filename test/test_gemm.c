/* test_gemm.c: products against double precision, and the promise that a cut changes no bit. */
#include "core/gemm.h"
#include "core/rng.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static float *random_matrix(size_t n, uint64_t stream) {
    float *p = malloc((n ? n : 1) * sizeof *p);
    assert_non_null(p);
    for (size_t i = 0; i < n; i++) p[i] = (float)rng_normal(1, stream, i);
    return p;
}

static const int SHAPES[][3] = {{1, 1, 1},    {6, 64, 64},  {7, 65, 63}, {5, 3, 130},   {97, 24, 24},
                                {13, 200, 9}, {193, 70, 5}, {2, 1, 600}, {64, 64, 513}, {200, 65, 1100}};

static void gemm_should_match_double_precision_for_every_shape(void **state) {
    (void)state;
    for (size_t s = 0; s < sizeof SHAPES / sizeof *SHAPES; s++) {
        size_t M = (size_t)SHAPES[s][0], N = (size_t)SHAPES[s][1], K = (size_t)SHAPES[s][2];
        size_t lda = K + 3, ldb = N + 2, ldc = N + 1;
        float *A = random_matrix(M * lda, 1), *B = random_matrix(K * ldb, 2);
        float *C = random_matrix(M * ldc, 3), *before = random_matrix(M * ldc, 3);
        float *work = random_matrix(gemm_work_size((int)K), 4);
        gemm((int)M, (int)N, (int)K, 0.5f, A, lda, B, ldb, -2.0f, C, ldc, work);
        for (size_t i = 0; i < M; i++) {
            for (size_t j = 0; j < N; j++) {
                double sum = 0, size = 1;
                for (size_t k = 0; k < K; k++) {
                    double term = (double)A[i * lda + k] * B[k * ldb + j];
                    sum += term;
                    size += fabs(term);
                }
                double error = fabs(C[i * ldc + j] - (0.5 * sum - 2.0 * before[i * ldc + j]));
                if (error > 1e-6 * size) fail_msg("%zu %zu %zu: error %g", M, N, K, error);
            }
            assert_true(C[i * ldc + N] == before[i * ldc + N]); /* columns beyond N belong to others */
        }
        free(A), free(B), free(C), free(before), free(work);
    }
}

static void beta_zero_should_overwrite_nan(void **state) {
    (void)state;
    float A[4] = {1, 2, 3, 4}, B[4] = {1, 0, 0, 1}, C[4] = {NAN, NAN, NAN, NAN}, work[2 * GEMM_NR];
    gemm(2, 2, 2, 1, A, 2, B, 2, 0, C, 2, work);
    assert_memory_equal(A, C, sizeof A);
}

static void cutting_rows_and_panels_should_change_no_bit(void **state) {
    (void)state;
    enum { M = 211, K = 700, P = 3 };
    float *A = random_matrix((size_t)M * K, 1), *B = random_matrix((size_t)P * K * GEMM_NR, 2);
    float *whole = random_matrix((size_t)P * M * GEMM_NR, 3),
          *cut = random_matrix((size_t)P * M * GEMM_NR, 3);
    size_t bs = (size_t)K * GEMM_NR, cs = (size_t)M * GEMM_NR;
    gemm_panels(M, K, gemm_rows(A, K), B, bs, 1, A, whole, GEMM_NR, cs, P, P * GEMM_NR);
    for (int i = 0; i < M; i += 37)
        for (int j = 0; j < P; j++)
            gemm_panels(M - i < 37 ? M - i : 37, K, gemm_rows(A + (size_t)i * K, K), B + (size_t)j * bs, bs,
                        1, A + i, cut + (size_t)j * cs + (size_t)i * GEMM_NR, GEMM_NR, cs, 1, GEMM_NR);
    assert_memory_equal(whole, cut, (size_t)P * cs * sizeof(float));
    free(A), free(B), free(whole), free(cut);
}

/* One that is read by columns is copied block by block; rows that are no multiple of anything, two blocks of rows and
 * several of depth, and columns in segments that lie backwards. */
static void assert_transposed_is_the_same(size_t M, size_t LD) {
    enum { K = 290, P = 2, SEGMENTS = 5 };
    float *A = random_matrix((size_t)M * K, 1), *B = random_matrix((size_t)P * K * GEMM_NR, 2);
    float *turned = random_matrix((size_t)SEGMENTS * GEMM_NR * LD, 3), *end = turned + 4 * GEMM_NR * LD;
    float *rows = random_matrix((size_t)P * M * GEMM_NR, 4),
          *columns = random_matrix((size_t)P * M * GEMM_NR, 4);
    for (size_t i = 0; i < M; i++)
        for (size_t k = 0; k < K; k++)
            turned[((SEGMENTS - 1 - k / GEMM_NR) * GEMM_NR + k % GEMM_NR) * LD + i] = A[i * K + k];
    size_t bs = (size_t)K * GEMM_NR, cs = (size_t)M * GEMM_NR;
    gemm_panels((int)M, K, gemm_rows(A, K), B, bs, 1, A, rows, GEMM_NR, cs, P, P * GEMM_NR - 5);
    gemm_panels((int)M, K, (GemmA){end, 1, LD, (size_t)-GEMM_NR * LD}, B, bs, 1, A, columns, GEMM_NR, cs, P,
                P * GEMM_NR - 5);
    assert_memory_equal(rows, columns, (size_t)P * cs * sizeof(float));
    free(A), free(B), free(turned), free(rows), free(columns);
}

static void a_transposed_matrix_should_give_the_same_bits(void **state) {
    (void)state;
    assert_transposed_is_the_same(433, 450);
    /* columns that would be read where they lie, were they not cut */
    assert_transposed_is_the_same(50, 60);
}

static void depth_should_run_through_separate_tiles(void **state) {
    (void)state;
    enum { M = 9, TILES = 11 }; /* deeper than one block */
    float *tiles = random_matrix((size_t)TILES * M * GEMM_NR, 1),
          *B = random_matrix((size_t)TILES * GEMM_NR * GEMM_NR, 2);
    float C[M * GEMM_NR];
    gemm_panels(M, TILES * GEMM_NR, (GemmA){tiles, GEMM_NR, 1, (size_t)M * GEMM_NR}, B, 0, 0, NULL, C,
                GEMM_NR, 0, 1, 50);
    for (int i = 0; i < M; i++)
        for (int j = 0; j < 50; j++) {
            double sum = 0;
            for (int k = 0; k < TILES * GEMM_NR; k++)
                sum += (double)tiles[((k / GEMM_NR) * M + i) * GEMM_NR + k % GEMM_NR] * B[k * GEMM_NR + j];
            assert_true(fabs(sum - C[i * GEMM_NR + j]) < 1e-3);
        }
    free(tiles), free(B);
}

static void transpose_should_fill_missing_rows_with_zero(void **state) {
    (void)state;
    float *in = random_matrix(64 * 64, 1), *out = random_matrix(64 * 64, 2);
    for (int rows = 0; rows <= 64; rows++) {
        gemm_transpose(out, in, rows);
        for (int i = 0; i < 64; i++)
            for (int j = 0; j < 64; j++) assert_true(out[j * 64 + i] == (i < rows ? in[i * 64 + j] : 0));
    }
    free(in), free(out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gemm_should_match_double_precision_for_every_shape),
        cmocka_unit_test(beta_zero_should_overwrite_nan),
        cmocka_unit_test(cutting_rows_and_panels_should_change_no_bit),
        cmocka_unit_test(a_transposed_matrix_should_give_the_same_bits),
        cmocka_unit_test(depth_should_run_through_separate_tiles),
        cmocka_unit_test(transpose_should_fill_missing_rows_with_zero),
    };
    return cmocka_run_group_tests_name("gemm", tests, NULL, NULL);
}
