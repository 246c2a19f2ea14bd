/* rng.h: random numbers that are a pure function of (seed, stream, counter).
 *
 * Nothing is advanced, so nothing has to be saved: weight i of tensor s, the order of epoch e, sample k of
 * step n come out the same whatever was drawn before and on any number of threads. The mixer is
 * splitmix64's finalizer (Steele, Lea, Flood 2014), applied to the combined words.
 */
#ifndef CORE_RNG_H
#define CORE_RNG_H

#include <math.h>
#include <stdint.h>

static inline uint64_t rng_mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* 64 random bits. */
static inline uint64_t rng_bits(uint64_t seed, uint64_t stream, uint64_t counter) {
    return rng_mix(rng_mix(rng_mix(seed) ^ stream) ^ counter);
}

/* Uniform in [0, 1), 53 bits. */
static inline double rng_uniform(uint64_t seed, uint64_t stream, uint64_t counter) {
    return (double)(rng_bits(seed, stream, counter) >> 11) * 0x1p-53;
}

/* Standard normal (Box and Muller 1958). */
static inline double rng_normal(uint64_t seed, uint64_t stream, uint64_t counter) {
    double u = 1.0 - rng_uniform(seed, stream, 2 * counter), v = rng_uniform(seed, stream, 2 * counter + 1);
    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

#endif
