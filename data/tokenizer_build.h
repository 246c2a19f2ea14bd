/* tokenizer_build.h: how loaders and the trainer put a tokenizer together. Not for users of tokenizers.
 *
 *     Tokenizer *t = tokenizer_begin(TOKENIZER_BPE, vocab_size, text_bytes, merge_count, &err);
 *     tokenizer_add_token(t, id, bytes, length, &err);        // every id, any order
 *     tokenizer_add_merge(t, left, right, merged, &err);      // in order of rank
 *     t = tokenizer_finish(t, end_of_text, &err);             // checks; NULL if it is not a tokenizer
 */
#ifndef DATA_TOKENIZER_BUILD_H
#define DATA_TOKENIZER_BUILD_H

#include "data/splitter.h"
#include "data/tokenizer.h"

typedef enum { TOKENIZER_BPE, TOKENIZER_CHAR } TokenizerKind;

typedef struct Token {
    const char *text; /* NULL: no such id */
    uint32_t length;
} Token;

typedef struct Merge {
    uint16_t left, right, merged;
} Merge;

struct Tokenizer {
    TokenizerKind kind;
    int vocab_size, end_of_text;
    Token *tokens; /* by id */
    char *text;    /* all tokens end to end */
    size_t text_bytes, text_room;

    /* BPE */
    uint16_t byte_id[256];
    Merge *merges; /* by rank */
    int merge_count, merge_room;
    struct PairSlot *pairs; /* hash table: pair of ids -> rank */
    uint32_t pair_mask;
    struct CacheSlot *cache; /* hash table: short piece -> ids */
    Splitter *splitter;
    struct Chain *chain; /* room for merging one piece */
    uint64_t *heap;
    size_t chain_room, heap_room;

    /* CHAR */
    uint16_t *char_id; /* by code point; NO_ID: unseen */
};

#define NO_ID UINT16_MAX /* vocabularies end before it */

/* Room for ids below vocab_size, text_bytes of tokens and merge_count merges. ERR_DATA when a vocabulary is
 * empty or larger than shards hold. */
Tokenizer *tokenizer_begin(TokenizerKind kind, int64_t vocab_size, size_t text_bytes, int64_t merge_count,
                           Error *err);
bool tokenizer_add_token(Tokenizer *t, int id, const char *text, size_t length, Error *err);
bool tokenizer_add_merge(Tokenizer *t, int left, int right, int merged, Error *err);

/* Returns t, ready, or frees it and returns NULL. */
Tokenizer *tokenizer_finish(Tokenizer *t, int end_of_text, Error *err);

/* Merges one piece of 1 to PIECE_MAX_BYTES bytes; SIZE_MAX when memory runs out. Works before
 * tokenizer_finish too, once bytes have ids: with the merges added so far. */
size_t tokenizer_merge_piece(Tokenizer *t, const char *piece, size_t length, uint16_t *ids, Error *err);

/* Sets byte_id from the one-byte tokens; false when a byte has none. */
bool tokenizer_index_bytes(Tokenizer *t, Error *err);

#endif
