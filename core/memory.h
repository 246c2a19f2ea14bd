/* memory.h: checked allocation, and aligned arrays for kernels. */
#ifndef CORE_MEMORY_H
#define CORE_MEMORY_H

#include "core/error.h"
#include <stddef.h>

/* count * size zeroed bytes, aligned to 64; arrays of 2 MB and more ask for huge pages. NULL (err: ERR_IO,
 * naming `what` and the size) when memory runs out or the product overflows. Free with memory_free. */
void *memory_alloc(size_t count, size_t size, const char *what, Error *err);
void memory_free(void *p);

/* Bytes that the process has in memory now, code and libraries included; 0 when the system does not say. */
size_t memory_resident(void);

/* The most that it ever had. */
size_t memory_peak(void);

/* Bytes that can be taken without swapping: what the kernel calls available, or what the limit of a control group
 * that the process is in leaves, of either version, if that is less. SIZE_MAX when the system does not say. */
size_t memory_available(void);

#endif
