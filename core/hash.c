/* hash.c: see hash.h. */
#include "core/hash.h"

#include "core/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define READ_BYTES ((size_t)4 << 20) /* so large that memory_alloc aligns it to pages */

static char *text_of(XXH128_hash_t hash, char out[HASH_TEXT_SIZE]) {
    snprintf(out, HASH_TEXT_SIZE, "%016llx%016llx", (unsigned long long)hash.high64,
             (unsigned long long)hash.low64);
    return out;
}

char *hash_bytes(const void *bytes, size_t size, char out[HASH_TEXT_SIZE]) {
    return text_of(XXH3_128bits(bytes, size), out);
}

/* false with errno. */
static bool hash_open_file(int fd, XXH3_state_t *state, void *buffer, size_t *size) {
    bool direct = fcntl(fd, F_SETFL, O_DIRECT) == 0;
    ssize_t got;
    XXH3_128bits_reset(state);
    for (*size = 0; (got = read(fd, buffer, READ_BYTES)) != 0;) {
        if (got < 0 && errno == EINTR) continue;
        if (got < 0 && errno == EINVAL && direct) { /* this file system does not */
            direct = false;
            if (fcntl(fd, F_SETFL, 0) == 0) continue;
        }
        if (got < 0) return false;
        XXH3_128bits_update(state, buffer, (size_t)got);
        *size += (size_t)got;
    }
    return true;
}

bool hash_file(const char *path, char out[HASH_TEXT_SIZE], size_t *size, Error *err) {
    void *buffer = memory_alloc(READ_BYTES, 1, path, err);
    XXH3_state_t *state = XXH3_createState();
    if (buffer && state == NULL) error_set(err, ERR_IO, "%s: out of memory", path);
    bool ok = buffer && state;
    int fd = ok ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (ok && (fd < 0 || !hash_open_file(fd, state, buffer, size))) ok = error_errno(err, path, "be read");
    if (ok) text_of(XXH3_128bits_digest(state), out);
    if (fd >= 0) close(fd);
    XXH3_freeState(state);
    memory_free(buffer);
    return ok;
}
