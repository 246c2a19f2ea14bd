/* loader.h: token shards -> batches.
 *
 * A split ("train" or "val") is every file <split>_*.bin of a data folder, in name order: llm.c's format,
 * 256 int32 of header (20240520, version 1, number of tokens), then uint16 ids. It is cut into windows of T
 * inputs, and each window's targets are its inputs moved on by one. The order of windows is a pseudo-random
 * permutation, a pure function of (seed, epoch), so the cursor, one integer, is all the state there is.
 */
#ifndef DATA_LOADER_H
#define DATA_LOADER_H

#include "core/error.h"
#include "core/hash.h"
#include <stddef.h>
#include <stdint.h>

typedef struct Loader {
    struct LoaderShard *shards;
    int shard_count;
    int T;
    int64_t vocab_size;
    uint64_t seed;
    bool shuffle;
    int64_t window_count; /* of one epoch */
    int64_t token_count;  /* of all shards */
    int64_t cursor;   /* windows handed out since the start: epoch = cursor / window_count. Saved state. */
    uint16_t *buffer; /* T + 1 tokens */
} Loader;

/* Opens a split of `dir`. Every id is checked against vocab_size as it is read. Errors (ERR_DATA) name file
 * and offset, and say what to type when the folder was never prepared. A split with no whole window is an
 * error. */
bool loader_open(Loader *loader, const char *dir, const char *split, int T, int64_t vocab_size,
                 bool shuffle, uint64_t seed, Error *err);
void loader_close(Loader *loader);

/* The next B windows: inputs (B, T) and targets (B, T). Advances the cursor. */
bool loader_next(Loader *loader, int B, int32_t *inputs, int32_t *targets, Error *err);

/* The place of `index` in epoch `epoch`'s order: for each (seed, epoch) a permutation of [0, count), in
 * O(1) memory. */
int64_t loader_order(int64_t count, uint64_t seed, uint64_t epoch, int64_t index);

/* Tells other data from the same data in another folder, without reading all of it: a hash over the name
 * and the number of tokens of each shard, and 4,096 tokens at its beginning, middle and end. */
bool loader_identity(const Loader *loader, char hash[HASH_TEXT_SIZE], Error *err);

/* Where window `cursor` lies, as "data/austen/train_000.bin, token 8192". Returns out. */
char *loader_where(const Loader *loader, int64_t cursor, char *out, size_t size);

#endif
