/* eigen.h: eigenvalues of X X^T, and so the singular values of X, in double, by LAPACK on the calling thread.
 *
 * X is (n, m), row-major, n <= m (transpose a tall matrix first), and is kept.
 *
 *     float values[n], *work = ...;               // eigen_work_size(n) floats, aligned to 8 bytes
 *     if (singular_values(X, n, m, values, work)) ...
 */
#ifndef CORE_EIGEN_H
#define CORE_EIGEN_H

#include <lapacke.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

/* Room for LAPACK's dsyevd, and its results; all of it in the caller's work. */
typedef struct Eigen {
    double *A;      /* (n, n): the matrix, then its eigenvectors by rows */
    double *values; /* n, increasing */
    double *work;
    lapack_int work_count, integer_count;
    lapack_int *integers;
} Eigen;

/* Floats of work for a matrix (n, n). The integers are its end, and take as many floats as there are. */
size_t eigen_work_size(int n);
Eigen eigen_create(int n, float *work);

/* Lower triangle of X X^T into G (n, n). */
void eigen_gram(const float *X, int n, int m, double *G);

/* Eigenvalues (job 'N'), or also eigenvectors ('V'), of the symmetric A of which the lower triangle is there. False if
 * LAPACK does not converge. */
bool eigen_solve(Eigen *e, char job, int n);

/* The n singular values, increasing, exact to about 1e-8 of the largest one. About n^2 m + 4/3 n^3 double-precision
 * flops. False if LAPACK does not converge. */
bool singular_values(const float *X, int n, int m, float *values, float *work);

/* Where the LAPACK lies that is used: the system may have several, and each has rounding errors of its own. Returns out. */
char *eigen_library(char out[PATH_MAX]);

#endif
