/* vmath.h: exp and tanh for loops that the compiler turns into vector code.
 *
 *     for (int i = 0; i < n; i++) y[i] = fast_expf(x[i]);
 *
 * No table, no branch, no libm call: the same bits with every compiler that contracts a*b+c the same way,
 * and at any vector width. NaN in, NaN out. Coefficients are those of S. Moshier's Cephes library (expf,
 * tanhf).
 */
#ifndef CORE_VMATH_H
#define CORE_VMATH_H

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
