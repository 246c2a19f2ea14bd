/* memory.c: see memory.h. */
#include "core/memory.h"

#include <inttypes.h>
#include <limits.h>
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

/* What the two versions of control groups call the same things. */
typedef struct GroupFiles {
    const char *root, *limit, *used, *active, *inactive;
} GroupFiles;

static const GroupFiles GROUPS[] = {
    {"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_active_file ",
     "total_inactive_file "},
    {"/sys/fs/cgroup", "memory.max", "memory.current", "active_file ", "inactive_file "}};

/* A number in one of the group's files; false when it says "max", or there is none. */
static bool read_group(const GroupFiles *files, const char *group, const char *name, const char *key,
                       uint64_t *out) {
    char path[PATH_MAX];
    int n = snprintf(path, sizeof path, "%s%s/%s", files->root, group, name);
    return n < (int)sizeof path && read_number(path, key, out);
}

/* What the group's limit leaves; UINT64_MAX where it has none. */
static uint64_t left_in_group(const GroupFiles *files, const char *group) {
    uint64_t limit, used, active = 0, inactive = 0;
    if (!read_group(files, group, files->limit, "", &limit) ||
        !read_group(files, group, files->used, "", &used))
        return UINT64_MAX;
    /* used counts cached files, which make room: a corpus just prepared must not look like a full machine */
    read_group(files, group, "memory.stat", files->active, &active);
    read_group(files, group, "memory.stat", files->inactive, &inactive);
    used -= active + inactive < used ? active + inactive : used;
    return limit > used ? limit - used : 0;
}

/* The least that this process's groups and those above them leave. A line is "4:memory:/batch/job7", or, version 2,
 * "0::/batch/job7"; within a container such a path may not be there, but its root is. */
static uint64_t left_in_groups(void) {
    char line[PATH_MAX];
    uint64_t least = UINT64_MAX;
    FILE *f = fopen("/proc/self/cgroup", "r");
    while (f && fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        char *kinds = strchr(line, ':'), *group = kinds ? strchr(kinds + 1, ':') : NULL;
        if (!group) continue;
        *group++ = '\0';
        bool second = kinds[1] == '\0';
        if (!second && !strstr(kinds, "memory")) continue;
        char *slash;
        do {
            uint64_t left = left_in_group(&GROUPS[second], group);
            if (left < least) least = left;
            if ((slash = strrchr(group, '/'))) *slash = '\0';
        } while (slash);
    }
    if (f) fclose(f);
    return least;
}

size_t memory_available(void) {
    uint64_t available = SIZE_MAX, left = left_in_groups();
    if (read_number("/proc/meminfo", "MemAvailable:", &available)) available *= 1024;
    return (size_t)(left < available ? left : available);
}
