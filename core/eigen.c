/* eigen.c: see eigen.h. */
#include "core/eigen.h"

#include <dlfcn.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static size_t doubles(size_t n) {
    return n * n + n + (1 + 6 * n + 2 * n * n);
}

static size_t integers(size_t n) {
    return 3 + 5 * n;
}

size_t eigen_work_size(int n) {
    return 2 * doubles((size_t)n) + integers((size_t)n);
}

Eigen eigen_create(int n, float *work) {
    size_t rows = (size_t)n;
    Eigen e = {.A = (double *)work, .integer_count = (lapack_int)integers(rows)};
    e.values = e.A + rows * rows;
    e.work = e.values + rows;
    e.work_count = (lapack_int)(1 + 6 * rows + 2 * rows * rows);
    e.integers = (lapack_int *)(e.A + doubles(rows));
    return e;
}

/* C's row-major lower triangle is Fortran's upper one. */
bool eigen_solve(Eigen *e, char job, int n) {
    return LAPACKE_dsyevd_work(LAPACK_COL_MAJOR, job, 'U', n, e->A, n, e->values, e->work, e->work_count,
                               e->integers, e->integer_count) == 0;
}

void eigen_gram(const float *X, int n, int m, double *G) {
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++) {
            const float *x = X + (size_t)i * (size_t)m, *y = X + (size_t)j * (size_t)m;
            double sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int k = 0; k < m; k++) sum += (double)x[k] * y[k];
            G[(size_t)i * (size_t)n + (size_t)j] = sum;
        }
}

bool singular_values(const float *X, int n, int m, float *values, float *work) {
    Eigen e = eigen_create(n, work);
    eigen_gram(X, n, m, e.A);
    if (!eigen_solve(&e, 'N', n)) return false;
    for (int i = 0; i < n; i++) values[i] = (float)sqrt(fmax(0, e.values[i]));
    return true;
}

char *eigen_library(char out[PATH_MAX]) {
    Dl_info info;
    void *dsyevd = dlsym(RTLD_DEFAULT, "dsyevd_");
    if (!dsyevd || !dladdr(dsyevd, &info) || !realpath(info.dli_fname, out)) strcpy(out, "unknown");
    return out;
}
