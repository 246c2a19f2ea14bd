/* dataset.h: a data folder, as `prepare` writes it and training reads it.
 *
 *     data/austen/train_000000.bin ...   llm.c's format: 256 int32 of header (20240520, 1,
 *     data/austen/val_000000.bin ...     number of tokens), then uint16 ids
 *     data/austen/tokenizer.json         loads in Hugging Face's tokenizers too
 *     data/austen/dataset.json           what lies here; written last, so a folder that has it is whole
 */
#ifndef DATA_DATASET_H
#define DATA_DATASET_H

#include "core/error.h"
#include <stdint.h>
#include <stdio.h>

#define SHARD_MAGIC         20240520
#define SHARD_VERSION       1
#define SHARD_HEADER_INTS   256
#define DATASET_VOCAB_LIMIT 65535 /* ids are uint16 */

/* dataset.json, member by member. */
typedef struct DatasetInfo {
    int64_t vocab_size;
    int64_t end_of_text; /* id between documents; -1: none */
    int64_t train_tokens, val_tokens;
    int64_t train_documents, val_documents;
    int64_t bytes;      /* of text, both splits */
    char tokenizer[64]; /* "bpe", "gpt2", "char", "byte" or the file it was loaded from */
} DatasetInfo;

/* Reads dir/dataset.json. ERR_DATA when it is missing (saying what to type) or wrong. */
bool dataset_info(const char *dir, DatasetInfo *info, Error *err);

/* Writes dir/dataset.json.tmp, for file_rename. `sources` are the files it was made from. */
bool dataset_info_write(const char *dir, const DatasetInfo *info, char *const *sources, size_t source_count,
                        Error *err);

/* One split being written: numbered shards of at most shard_tokens each, all under temporary names until
 * shards_publish. Give shards_open a zeroed struct; shards_discard is safe at any time after that. */
typedef struct ShardWriter {
    const char *dir, *split;
    int64_t shard_tokens;
    int64_t token_count; /* of all shards */
    int shard_count;
    FILE *file; /* the shard being filled, or NULL */
    int64_t file_tokens;
} ShardWriter;

bool shards_open(ShardWriter *w, const char *dir, const char *split, int64_t shard_tokens, Error *err);
bool shards_write(ShardWriter *w, const uint16_t *ids, size_t count, Error *err);
bool shards_close(ShardWriter *w, Error *err);   /* all data is on disk, under temporary names */
bool shards_publish(ShardWriter *w, Error *err); /* final names; removes older shards beyond the last */
void shards_discard(ShardWriter *w);             /* removes what is still under a temporary name */

#endif
