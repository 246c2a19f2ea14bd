/* spectral.h: functions of a matrix that act on its singular values, M = P diag(s) Q^T -> P diag(f(s)) Q^T:
 * the polar factor (f = 1) and the soft sign at a temperature. Singular values themselves: core/eigen.h.
 *
 * Everything works in place on X (n, m), row-major, n <= m (transpose a tall matrix first), in fp32, in the
 * caller's `work` of spectral_work_size(n, m) floats, 64-byte aligned, on the calling thread.
 *
 *     soft_sign(tau, X, n, m, work);      X <- (X X^T + tau^-2 I)^(-1/2) X
 *
 * Zero gives zero, and any finite input gives a finite output.
 */
#ifndef OPTIM_SPECTRAL_H
#define OPTIM_SPECTRAL_H

#include <stddef.h>

/* Where the polynomials of Newton-Schulz iterations come from; they only approach the polar factor. */
typedef enum {
    POLAR_CLASSIC, /* (3.4445, -4.7750, 2.0315), K. Jordan's Muon 2024: quick and rough, s -> 0.7 ... 1.2 */
    POLAR_EXPRESS, /* Amsel et al., arXiv 2505.16932: five tabulated, the last one repeated */
    POLAR_CONVERGED, /* none: the polar factor itself, as accurate as soft_sign */
} PolarKind;

size_t spectral_work_size(int n, int m);

/* The polar factor by `steps` Newton-Schulz iterations (no matter for POLAR_CONVERGED). */
void polar_factor(PolarKind kind, int steps, float *X, int n, int m, float *work);

/* s -> tau s / sqrt(1 + (tau s)^2), converged: relative error (Frobenius) below 1e-3 for condition numbers
 * to 1e4 and any tau > 0; 2e-5 is usual. No more than four Halley steps: see spectral.c. */
void soft_sign(double tau, float *X, int n, int m, float *work);

/* The same by `steps` coupled Newton-Schulz iterations for the inverse square root, as the authors of
 * SoftMuon do (arXiv 2605.31371, official code, 5 steps): for comparison; far from converged when tau |M|
 * is large. */
void soft_sign_coupled(double tau, int steps, float *X, int n, int m, float *work);

/* s -> f(s) for any f, through the eigenvectors of X X^T in double: about ten times slower than Newton-
 * Schulz. Fills X with NaN should LAPACK not converge. */
void spectral_map(double (*f)(double s, const void *context), const void *context, float *X, int n, int m,
                  float *work);

/* How many singular values are >= bound: n^2 m + n^3 / 3 double-precision flops. X is kept. */
int singular_values_above(double bound, const float *X, int n, int m, float *work);

#endif
