/* memory.c: see memory.h. */
#include "core/memory.h"

#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define CACHE_LINE ((size_t)64)
#define HUGE_PAGE  ((size_t)2 << 20)

void *memory_alloc(size_t count, size_t size, const char *what, Error *err) {
    size_t bytes, align;
    if (__builtin_mul_overflow(count, size, &bytes) || bytes > SIZE_MAX / 2) {
        error_set(err, ERR_IO, "%s: %zu times %zu bytes does not fit an address space", what, count, size);
        return NULL;
    }
    align = bytes >= HUGE_PAGE ? HUGE_PAGE : CACHE_LINE;
    bytes = (bytes + align - 1) / align * align;
    void *p = aligned_alloc(align, bytes ? bytes : align);
    if (p == NULL) {
        error_set(err, ERR_IO, "%s: out of memory (%.1f MB asked for)", what, (double)bytes / 1e6);
        return NULL;
    }
    if (align == HUGE_PAGE) madvise(p, bytes, MADV_HUGEPAGE); /* a wish; failing costs only speed */
        /* All threads, so that on a machine of several memory nodes the pages of a large array come from all of them. */
#pragma omp parallel for schedule(static) if (bytes > 16 * HUGE_PAGE)
    for (size_t at = 0; at < bytes; at += HUGE_PAGE)
        memset((char *)p + at, 0, bytes - at < HUGE_PAGE ? bytes - at : HUGE_PAGE);
    return p;
}

void memory_free(void *p) {
    free(p);
}

/* The number behind `key` in a file of lines, or the file's first number when key is "". */
static bool read_number(const char *path, const char *key, uint64_t *out) {
    char line[256];
    bool found = false;
    FILE *f = fopen(path, "r");
    while (f && !found && fgets(line, sizeof line, f))
        found = strncmp(line, key, strlen(key)) == 0 && sscanf(line + strlen(key), "%" SCNu64, out) == 1;
    if (f) fclose(f);
    return found;
}

static size_t status_bytes(const char *key) {
    uint64_t kilobytes = 0;
    read_number("/proc/self/status", key, &kilobytes);
    return (size_t)kilobytes * 1024;
}

size_t memory_resident(void) {
    return status_bytes("VmRSS:");
}

size_t memory_peak(void) {
    return status_bytes("VmHWM:");
}

size_t memory_available(void) {
    uint64_t available = SIZE_MAX, limit, used, active = 0, inactive = 0;
    if (read_number("/proc/meminfo", "MemAvailable:", &available)) available *= 1024;
    if (read_number("/sys/fs/cgroup/memory.max", "", &limit) &&
        read_number("/sys/fs/cgroup/memory.current", "", &used)) {
        /* used counts cached files, which make room: a corpus just prepared must not look like a full machine */
        read_number("/sys/fs/cgroup/memory.stat", "active_file ", &active);
        read_number("/sys/fs/cgroup/memory.stat", "inactive_file ", &inactive);
        used -= active + inactive < used ? active + inactive : used;
        uint64_t left = limit > used ? limit - used : 0;
        if (left < available) available = left;
    }
    return (size_t)available;
}
