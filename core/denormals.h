/* denormals.h: flush-to-zero for the calling thread.
 *
 * Numbers below 1e-38 are computed in microcode, ten to a hundred times slower, and running averages decay
 * right into them. Every thread that runs kernels calls this once; calling it again costs a few cycles.
 */
#ifndef CORE_DENORMALS_H
#define CORE_DENORMALS_H

#include <stdint.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

static inline void denormals_flush(void) {
#if defined(__SSE__)
    _mm_setcsr(_mm_getcsr() | 0x8040); /* results (FTZ) and operands (DAZ) */
#elif defined(__aarch64__)
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr | (UINT64_C(1) << 24)));
#endif
}

#endif
