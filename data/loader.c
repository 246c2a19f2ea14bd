/* loader.c: token shards -> batches. Nothing is mapped and nothing is kept but open files and one window: a
 * shard that shrinks during a run ends it with an error line, not with SIGBUS.
 */
#include "data/loader.h"
#include "core/memory.h"
#include "core/rng.h"
#include "data/dataset.h"
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { HEADER_BYTES = SHARD_HEADER_INTS * 4, TOKEN_BYTES = 2, FEISTEL_ROUNDS = 8 };

/* Keeps the order of windows apart from other draws that use the run's seed. */
#define ORDER_TAG 0x6f72646572u

typedef struct LoaderShard {
    char *path;
    int fd;
    int64_t token_count;
    int64_t first_window, window_count; /* windows never cross shards */
} LoaderShard;

/* ------------------------------------------------------------------------------------- order of windows */

/* A Feistel network permutes [0, 4^half_bits); walking its cycle until the value falls below `count`
 * restricts that to a permutation of [0, count) (Black and Rogaway 2002, "Ciphers with Arbitrary Finite
 * Domains"). The domain is less than four times `count`, so a walk takes less than four steps or so. */
int64_t loader_order(int64_t count, uint64_t seed, uint64_t epoch, int64_t index) {
    int half_bits = 1;
    while (half_bits < 31 && (INT64_C(1) << (2 * half_bits)) < count) half_bits++;
    uint64_t mask = (UINT64_C(1) << half_bits) - 1, x = (uint64_t)index;
    do {
        uint64_t left = x >> half_bits, right = x & mask;
        for (unsigned round = 0; round < FEISTEL_ROUNDS; round++) {
            uint64_t mixed =
                left ^ (rng_bits(seed ^ ORDER_TAG, epoch * FEISTEL_ROUNDS + round, right) & mask);
            left = right, right = mixed;
        }
        x = left << half_bits | right;
    } while (x >= (uint64_t)count);
    return (int64_t)x;
}

/* The shard that holds the window which `cursor` points at, and the window's first token in it. */
static const LoaderShard *find_window(const Loader *l, int64_t cursor, int64_t *token) {
    int64_t window = cursor % l->window_count;
    if (l->shuffle)
        window = loader_order(l->window_count, l->seed, (uint64_t)(cursor / l->window_count), window);
    int low = 0, high = l->shard_count - 1;
    while (low < high) {
        int middle = low + (high - low + 1) / 2;
        if (l->shards[middle].first_window <= window) low = middle;
        else high = middle - 1;
    }
    *token = (window - l->shards[low].first_window) * l->T;
    return &l->shards[low];
}

/* ------------------------------------------------------------------------------------------------ files */

static bool read_fully(const LoaderShard *shard, void *to, size_t bytes, int64_t offset, Error *err) {
    for (size_t done = 0; done < bytes;) {
        ssize_t got = pread(shard->fd, (char *)to + done, bytes - done, (off_t)offset + (off_t)done);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_errno(err, shard->path, "read");
        if (got == 0)
            return error_set(err, ERR_DATA,
                             "%s: ends at byte %" PRId64
                             ", but was longer when the run began; prepare it again",
                             shard->path, offset + (int64_t)done);
        done += (size_t)got;
    }
    return true;
}

static bool check_header(LoaderShard *shard, int64_t file_bytes, Error *err) {
    uint32_t header[3];
    if (file_bytes < HEADER_BYTES)
        return error_set(err, ERR_DATA,
                         "%s: %" PRId64 " bytes, shorter than the %d of a shard's header; prepare it again",
                         shard->path, file_bytes, HEADER_BYTES);
    if (!read_fully(shard, header, sizeof header, 0, err)) return false;
    uint32_t magic = le32toh(header[0]), version = le32toh(header[1]);
    int64_t count = (int32_t)le32toh(header[2]), expected = HEADER_BYTES + count * TOKEN_BYTES;
    if (magic != SHARD_MAGIC || version != SHARD_VERSION)
        return error_set(err, ERR_DATA,
                         "%s: magic %" PRIu32 " version %" PRIu32
                         " at byte 0, not %d version %d: no shard of 16-bit "
                         "tokens (`./prepare` writes them)",
                         shard->path, magic, version, SHARD_MAGIC, SHARD_VERSION);
    if (count <= 0)
        return error_set(err, ERR_DATA, "%s: the header says %" PRId64 " tokens (byte 8); prepare it again",
                         shard->path, count);
    if (file_bytes != expected)
        return error_set(err, ERR_DATA,
                         "%s: %" PRId64 " bytes, but %" PRId64 " tokens take %" PRId64
                         ": %s; prepare or download it again",
                         shard->path, file_bytes, count, expected,
                         file_bytes < expected ? "the file is truncated" : "bytes follow the last token");
    shard->token_count = count;
    return true;
}

static bool shard_open(LoaderShard *shard, Error *err) {
    shard->fd = open(shard->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* never wait for a FIFO */
    if (shard->fd < 0)
        return error_set(err, ERR_IO, "%s: cannot open: %s%s", shard->path, strerror(errno),
                         errno == EMFILE ? " (every shard stays open: raise the limit with `ulimit -n`)"
                                         : "");
    struct stat st;
    if (fstat(shard->fd, &st) != 0) return error_errno(err, shard->path, "read");
    if (!S_ISREG(st.st_mode)) return error_set(err, ERR_DATA, "%s: not a regular file", shard->path);
    return check_header(shard, st.st_size, err);
}

/* ---------------------------------------------------------------------------------------------- opening */

static int by_path(const void *a, const void *b) {
    return strcmp(((const LoaderShard *)a)->path, ((const LoaderShard *)b)->path);
}

static bool is_shard_of(const char *name, const char *split) {
    size_t length = strlen(name), prefix = strlen(split);
    return length > prefix + 4 && !strncmp(name, split, prefix) && name[prefix] == '_' &&
           !strcmp(name + length - 4, ".bin");
}

static bool add_shard(Loader *l, const char *dir, const char *name, Error *err) {
    LoaderShard *more = realloc(l->shards, ((size_t)l->shard_count + 1) * sizeof *more);
    if (more) l->shards = more;
    char *path = NULL;
    if (!more || asprintf(&path, "%s/%s", dir, name) < 0)
        return error_set(err, ERR_IO, "out of memory listing %s", dir);
    l->shards[l->shard_count++] = (LoaderShard){.path = path, .fd = -1};
    return true;
}

static bool list_shards(Loader *l, const char *dir, const char *split, Error *err) {
    DIR *folder = opendir(dir);
    if (!folder)
        return error_set(
            err, errno == ENOENT || errno == ENOTDIR ? ERR_DATA : ERR_IO,
            "%s: no prepared data: %s. Type `make quickstart`, or `./prepare FILE... --out %s`", dir,
            strerror(errno), dir);
    bool ok = true;
    struct dirent *entry;
    while (ok && (errno = 0, entry = readdir(folder)))
        if (is_shard_of(entry->d_name, split)) ok = add_shard(l, dir, entry->d_name, err);
    if (ok && errno) ok = error_errno(err, dir, "list");
    closedir(folder);
    if (ok && l->shard_count == 0)
        ok = error_set(err, ERR_DATA,
                       "%s: no %s_*.bin in it. Type `make quickstart`, or `./prepare FILE... --out %s`%s",
                       dir, split, dir, strcmp(split, "val") == 0 ? " with a --val-frac above 0" : "");
    if (ok) qsort(l->shards, (size_t)l->shard_count, sizeof *l->shards, by_path);
    return ok;
}

static bool open_all(Loader *l, const char *dir, const char *split, Error *err) {
    for (int i = 0; i < l->shard_count; i++) {
        LoaderShard *shard = &l->shards[i];
        if (!shard_open(shard, err)) return false;
        shard->first_window = l->window_count;
        shard->window_count = (shard->token_count - 1) / l->T; /* the last target needs one token more */
        l->window_count += shard->window_count;
        l->token_count += shard->token_count;
    }
    if (l->window_count == 0)
        return error_set(err, ERR_DATA,
                         "%s: the %s split has %" PRId64
                         " tokens in %d shard%s, too few for one window of %d + 1; lower "
                         "model.block_size or prepare more text",
                         dir, split, l->token_count, l->shard_count, l->shard_count == 1 ? "" : "s", l->T);
    return true;
}

bool loader_open(Loader *loader, const char *dir, const char *split, int T, int64_t vocab_size,
                 bool shuffle, uint64_t seed, Error *err) {
    *loader = (Loader){.T = T, .vocab_size = vocab_size, .shuffle = shuffle, .seed = seed};
    if (list_shards(loader, dir, split, err) && open_all(loader, dir, split, err) &&
        (loader->buffer = memory_alloc((size_t)T + 1, sizeof *loader->buffer, "the data loader", err)))
        return true;
    loader_close(loader);
    return false;
}

void loader_close(Loader *loader) {
    for (int i = 0; i < loader->shard_count; i++) {
        if (loader->shards[i].fd >= 0) close(loader->shards[i].fd);
        free(loader->shards[i].path);
    }
    free(loader->shards);
    memory_free(loader->buffer);
    *loader = (Loader){0};
}

/* ---------------------------------------------------------------------------------------------- reading */

/* T + 1 tokens from `token` on into the buffer, in the machine's byte order, each below vocab_size. */
static bool read_window(Loader *l, const LoaderShard *shard, int64_t token, Error *err) {
    size_t count = (size_t)l->T + 1;
    if (!read_fully(shard, l->buffer, count * TOKEN_BYTES, HEADER_BYTES + token * TOKEN_BYTES, err))
        return false;
    for (size_t i = 0; i < count; i++) {
        l->buffer[i] = le16toh(l->buffer[i]);
        if (l->buffer[i] >= l->vocab_size)
            return error_set(err, ERR_DATA,
                             "%s: token %" PRId64 " is id %d, but the vocabulary ends at %" PRId64
                             "; prepare the data again, or set model.vocab_size to 0",
                             shard->path, token + (int64_t)i, l->buffer[i], l->vocab_size - 1);
    }
    return true;
}

bool loader_next(Loader *loader, int B, int32_t *inputs, int32_t *targets, Error *err) {
    for (int b = 0; b < B; b++) {
        int64_t token;
        const LoaderShard *shard = find_window(loader, loader->cursor + b, &token);
        if (!read_window(loader, shard, token, err)) return false;
        size_t row = (size_t)b * (size_t)loader->T;
        for (int t = 0; t < loader->T; t++) {
            inputs[row + (size_t)t] = loader->buffer[t];
            targets[row + (size_t)t] = loader->buffer[t + 1];
        }
    }
    loader->cursor += B;
    return true;
}

char *loader_where(const Loader *loader, int64_t cursor, char *out, size_t size) {
    int64_t token;
    const LoaderShard *shard = find_window(loader, cursor, &token);
    snprintf(out, size, "%s, token %" PRId64, shard->path, token);
    return out;
}

/* ---------------------------------------------------------------------------------------------- identity */

static bool print_identity(FILE *out, const LoaderShard *shard, Error *err) {
    enum { SAMPLE_TOKENS = 4096 };
    const char *slash = strrchr(shard->path, '/');
    int64_t count = shard->token_count < SAMPLE_TOKENS ? shard->token_count : SAMPLE_TOKENS;
    int64_t last = shard->token_count - count;
    bool printed = fprintf(out, "%s %" PRId64, slash ? slash + 1 : shard->path, shard->token_count) > 0;
    for (int part = 0; part < 3; part++) {
        uint16_t tokens[SAMPLE_TOKENS];
        size_t bytes = (size_t)count * TOKEN_BYTES;
        if (!read_fully(shard, tokens, bytes, HEADER_BYTES + last * part / 2 * TOKEN_BYTES, err))
            return false;
        printed &= fwrite(tokens, 1, bytes, out) == bytes;
    }
    return printed || error_set(err, ERR_IO, "out of memory reading the shards");
}

bool loader_identity(const Loader *loader, char hash[HASH_TEXT_SIZE], Error *err) {
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    bool ok = out != NULL || error_set(err, ERR_IO, "out of memory reading the shards");
    for (int i = 0; ok && i < loader->shard_count; i++) ok = print_identity(out, &loader->shards[i], err);
    if (out && (fclose(out) != 0 || !text) && ok)
        ok = error_set(err, ERR_IO, "out of memory reading the shards");
    if (ok) hash_bytes(text, size, hash);
    free(text);
    return ok;
}
