/* vmath.h: exp, log, tanh and the cube root for loops that the compiler turns into vector code.
 *
 *     for (int i = 0; i < n; i++) y[i] = fast_expf(x[i]);
 *
 * No table, no branch, no libm call: the same bits with every compiler that contracts a*b+c the same way,
 * and at any vector width. NaN in, NaN out. Coefficients are those of S. Moshier's Cephes library (expf,
 * logf, tanhf).
 */
#ifndef CORE_VMATH_H
#define CORE_VMATH_H

#include <float.h>
#include <math.h>
#include <stdint.h>
#include <string.h>

/* e^x within 2 ulp; 0 below -87.3 (no denormal results), +inf above 88.37 (a third below the
 * largest float, so that 2^n is always a normal number). */
static inline float fast_expf(float x) {
    const float round_magic = 0x1.8p23f; /* adding it leaves the nearest integer in the low bits */
    float clamped = x < -87.33654f ? -87.33654f : x;
    clamped = clamped > 88.37626f ? 88.37626f : clamped;
    float shifted = clamped * 1.44269504088896341f + round_magic;
    float n = shifted - round_magic;
    float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f; /* ln 2 in two parts */
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    uint32_t bits; /* of 2^n */
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    float y = p * scale;
    y = x < -87.33654f ? 0.0f : y;
    return x > 88.37626f ? INFINITY : y;
}

/* log x of a finite x >= 0, within 2 ulp (beside 1: within 1e-7); -inf for zero and for denormals. */
static inline float fast_logf(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t e = (int32_t)(bits - 0x3f3504f3u) >> 23; /* x = 2^e m, sqrt(1/2) <= m < sqrt(2) */
    bits -= (uint32_t)e << 23;
    float m, n = (float)e;
    memcpy(&m, &bits, sizeof m);
    float z = m - 1.0f, zz = z * z;
    float p = 7.0376836292e-2f;
    p = p * z - 1.1514610310e-1f;
    p = p * z + 1.1676998740e-1f;
    p = p * z - 1.2420140846e-1f;
    p = p * z + 1.4249322787e-1f;
    p = p * z - 1.6668057665e-1f;
    p = p * z + 2.0000714765e-1f;
    p = p * z - 2.4999993993e-1f;
    p = p * z + 3.3333331174e-1f;
    float y = p * z * zz - n * 2.12194440e-4f - 0.5f * zz; /* ln 2 in two parts */
    y = z + y + n * 0.693359375f;
    return x < FLT_MIN ? -INFINITY : x == x ? y : x;
}

/* The cube root of a normal x > 0, or of 0, within 2 ulp: x^(-1/3), which Newton finds without division,
 * from a third of the exponent; then a step for the root itself. */
static inline float fast_cbrtf(float x) {
    int32_t bits;
    memcpy(&bits, &x, sizeof bits);
    bits = 0x54a2fa8c - (int32_t)((float)bits * (1.0f / 3)); /* off by 4 %, then 0.3 %, then 2e-5 */
    float y;
    memcpy(&y, &bits, sizeof y);
    for (int i = 0; i < 2; i++) y += y * (1.0f / 3) * (1.0f - (x * y) * (y * y));
    float yy = y * y, root = x * yy;
    return root + (x - root * root * root) * (yy * (1.0f / 3));
}

/* tanh(x) within 3 ulp, exactly +-1 for large |x|. */
static inline float fast_tanhf(float x) {
    float a = fabsf(x), z = x * x;
    float small = -5.70498872745e-3f;
    small = small * z + 2.06390887954e-2f;
    small = small * z - 5.37397155531e-2f;
    small = small * z + 1.33314422036e-1f;
    small = small * z - 3.33332819422e-1f;
    small = small * z * x + x;
    float large = copysignf(1.0f - 2.0f / (fast_expf(2.0f * a) + 1.0f), x);
    return a < 0.625f ? small : large;
}

#endif
