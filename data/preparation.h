/* preparation.h: all that the program `prepare` does: text -> tokenizer -> a data folder (dataset.h).
 *
 *     PrepareOptions options = PREPARE_DEFAULTS;
 *     options.inputs = (char *[]){"books"}, options.input_count = 1, options.out = "data/books";
 *     prepare_run(&options, NULL, &result, &err);
 */
#ifndef DATA_PREPARATION_H
#define DATA_PREPARATION_H

#include "data/dataset.h"
#include "data/progress.h"
#include <limits.h>

typedef struct PrepareOptions {
    char *const *inputs; /* files and folders */
    size_t input_count;
    const char *out;
    const char *tokenizer; /* "bpe", "gpt2", "char", "byte", or what tokenizer_load reads */
    int vocab_size;        /* of a bpe vocabulary to learn */
    double val_frac;       /* [0,0.5]: share of the bytes for validation */
    bool val_tail; /* take it from the end of the text, by characters, instead of drawing documents */
    int64_t shard_tokens;
    uint64_t seed;
} PrepareOptions;

#define PREPARE_DEFAULTS                                                                                   \
    { .tokenizer = "bpe", .vocab_size = 4096, .val_frac = 0.1, .shard_tokens = 100000000, .seed = 1337 }

typedef struct PrepareResult {
    DatasetInfo info;
    size_t file_count;
    bool sections;             /* documents were cut into sections, see corpus.h */
    char gpt2_found[PATH_MAX]; /* where GPT-2's vocabulary lay, or "" */
} PrepareResult;

/* Replaces what an earlier call wrote to the same folder, and nothing else in it. Until the new files are
 * whole the old ones stay; between the two the folder has no dataset.json. ERR_BUSY when another process
 * prepares it. */
bool prepare_run(const PrepareOptions *options, const Progress *progress, PrepareResult *result,
                 Error *err);

#endif
