/* tokenizer.c: byte pair encoding (Sennrich et al. 2016) of bytes within GPT-2's pieces: in each piece,
 * merge the adjacent pair of lowest rank, the leftmost first, until no pair has a rank. Reading and writing
 * of files is in tokenizer_file.c, training in bpe_train.c. */
#include "core/file.h"
#include "core/memory.h"
#include "core/utf8.h"
#include "data/dataset.h"
#include "data/tokenizer_build.h"

#include <stdlib.h>
#include <string.h>

#define NO_RANK UINT32_MAX

typedef struct PairSlot {
    uint32_t pair;       /* left << 16 | right */
    uint32_t rank_plus1; /* 0: empty */
} PairSlot;

/* Most words of a text are few words: their ids are kept, in a table without chains; the newest stays. */
#define CACHE_BITS    15
#define CACHE_KEY_MAX 23
#define CACHE_ID_MAX  3
typedef struct CacheSlot {
    uint64_t key[3]; /* the piece's bytes, zeros, and its length in the last byte */
    uint16_t ids[CACHE_ID_MAX];
    uint16_t count; /* 0: empty */
} CacheSlot;

/* A piece while it is merged: symbols in a doubly linked list, each knowing the rank of itself with the
 * next. */
typedef struct Chain {
    uint32_t previous, next;
    uint32_t rank;
    uint16_t id;
} Chain;

/* --- building --- */

Tokenizer *tokenizer_begin(TokenizerKind kind, int64_t vocab_size, size_t text_bytes, int64_t merge_count,
                           Error *err) {
    if (vocab_size < 1 || vocab_size > DATASET_VOCAB_LIMIT || merge_count < 0 ||
        merge_count > DATASET_VOCAB_LIMIT) {
        error_set(err, ERR_DATA,
                  "a vocabulary of %jd ids with %jd merges: ids are stored in 16 bits, so at most %d "
                  "are possible; use a smaller vocabulary",
                  (intmax_t)vocab_size, (intmax_t)merge_count, DATASET_VOCAB_LIMIT);
        return NULL;
    }
    uint32_t slots = 256;
    while (slots < 2 * (uint64_t)merge_count) slots *= 2;
    Tokenizer *t = memory_alloc(1, sizeof *t, "tokenizer", err);
    if (t == NULL) return NULL;
    t->kind = kind;
    t->vocab_size = (int)vocab_size;
    t->end_of_text = -1;
    t->text_room = text_bytes;
    t->merge_room = (int)merge_count;
    t->pair_mask = slots - 1;
    if ((t->tokens = memory_alloc((size_t)vocab_size, sizeof *t->tokens, "tokens", err)) &&
        (t->text = memory_alloc(text_bytes, 1, "token texts", err)) &&
        (t->merges = memory_alloc((size_t)merge_count, sizeof *t->merges, "merges", err)) &&
        (t->pairs = memory_alloc(slots, sizeof *t->pairs, "pairs", err)))
        return t;
    tokenizer_free(t);
    return NULL;
}

void tokenizer_free(Tokenizer *t) {
    if (t == NULL) return;
    splitter_free(t->splitter);
    free(t->chain);
    free(t->heap);
    memory_free(t->char_id);
    memory_free(t->cache);
    memory_free(t->pairs);
    memory_free(t->merges);
    memory_free(t->text);
    memory_free(t->tokens);
    memory_free(t);
}

bool tokenizer_add_token(Tokenizer *t, int id, const char *text, size_t length, Error *err) {
    if (id < 0 || id >= t->vocab_size || length == 0 || t->tokens[id].text ||
        length > t->text_room - t->text_bytes)
        return error_set(err, ERR_DATA, "token id %d is %s", id,
                         length == 0                                           ? "an empty token"
                         : id >= 0 && id < t->vocab_size && t->tokens[id].text ? "used twice"
                                                                               : "out of range");
    t->tokens[id] = (Token){memcpy(t->text + t->text_bytes, text, length), (uint32_t)length};
    t->text_bytes += length;
    return true;
}

static uint32_t pair_slot(const Tokenizer *t, uint32_t pair) {
    uint32_t i = (pair * 0x9e3779b1u) >> 7 & t->pair_mask;
    while (t->pairs[i].rank_plus1 && t->pairs[i].pair != pair) i = (i + 1) & t->pair_mask;
    return i;
}

static uint32_t pair_rank(const Tokenizer *t, uint16_t left, uint16_t right) {
    uint32_t rank_plus1 = t->pairs[pair_slot(t, (uint32_t)left << 16 | right)].rank_plus1;
    return rank_plus1 - 1; /* empty: wraps to NO_RANK */
}

bool tokenizer_add_merge(Tokenizer *t, int left, int right, int merged, Error *err) {
    const Token *a = &t->tokens[left], *b = &t->tokens[right], *ab = &t->tokens[merged];
    if (t->merge_count == t->merge_room || ab->length != a->length + b->length ||
        memcmp(ab->text, a->text, a->length) != 0 || memcmp(ab->text + a->length, b->text, b->length) != 0)
        return error_set(err, ERR_DATA, "merge %d does not join tokens %d and %d into %d", t->merge_count,
                         left, right, merged);
    PairSlot *slot = &t->pairs[pair_slot(t, (uint32_t)left << 16 | (uint32_t)right)];
    if (slot->rank_plus1)
        return error_set(err, ERR_DATA, "merge %d repeats an earlier one", t->merge_count);
    t->merges[t->merge_count++] = (Merge){(uint16_t)left, (uint16_t)right, (uint16_t)merged};
    *slot = (PairSlot){(uint32_t)left << 16 | (uint32_t)right, (uint32_t)t->merge_count};
    return true;
}

bool tokenizer_index_bytes(Tokenizer *t, Error *err) {
    memset(t->byte_id, 0xff, sizeof t->byte_id);
    for (int id = 0; id < t->vocab_size; id++)
        if (t->tokens[id].length == 1) t->byte_id[(unsigned char)t->tokens[id].text[0]] = (uint16_t)id;
    for (int byte = 0; byte < 256; byte++)
        if (t->byte_id[byte] == NO_ID)
            return error_set(err, ERR_DATA, "no token for byte 0x%02x: not a byte-level vocabulary", byte);
    return true;
}

static bool index_chars(Tokenizer *t, Error *err) {
    uint32_t code = 0;
    t->char_id = memory_alloc(UTF8_CODES, sizeof *t->char_id, "characters", err);
    if (t->char_id == NULL) return false;
    memset(t->char_id, 0xff, UTF8_CODES * sizeof *t->char_id);
    for (int id = 0; id < t->vocab_size; id++) {
        const Token *token = &t->tokens[id];
        if (id == t->end_of_text || token->text == NULL) continue;
        if (utf8_decode(token->text, token->length, &code) != (int)token->length)
            return error_set(err, ERR_DATA, "token %d of a character vocabulary is not one character", id);
        t->char_id[code] = (uint16_t)id;
    }
    return true;
}

Tokenizer *tokenizer_finish(Tokenizer *t, int end_of_text, Error *err) {
    t->end_of_text = end_of_text;
    if (t->kind == TOKENIZER_CHAR
            ? index_chars(t, err)
            : tokenizer_index_bytes(t, err) && (t->splitter = splitter_create(err)) &&
                  (t->cache = memory_alloc((size_t)1 << CACHE_BITS, sizeof *t->cache, "word cache", err)))
        return t;
    tokenizer_free(t);
    return NULL;
}

Tokenizer *tokenizer_create_bytes(Error *err) {
    Tokenizer *t = tokenizer_begin(TOKENIZER_BPE, 257, 256 + strlen(END_OF_TEXT), 0, err);
    bool done = t != NULL;
    for (int byte = 0; done && byte < 256; byte++)
        done = tokenizer_add_token(t, byte, &(char){(char)byte}, 1, err);
    if (done && tokenizer_add_token(t, 256, END_OF_TEXT, strlen(END_OF_TEXT), err))
        return tokenizer_finish(t, 256, err);
    tokenizer_free(t);
    return NULL;
}

Tokenizer *tokenizer_create_chars(const bool *seen, bool end_of_text, Error *err) {
    int count = 0, id = 0;
    char text[4];
    for (uint32_t code = 0; code < UTF8_CODES; code++) count += seen[code];
    Tokenizer *t = tokenizer_begin(TOKENIZER_CHAR, count + end_of_text,
                                   (size_t)count * 4 + strlen(END_OF_TEXT), 0, err);
    bool done = t != NULL;
    for (uint32_t code = 0; done && code < UTF8_CODES; code++)
        if (seen[code]) done = tokenizer_add_token(t, id++, text, (size_t)utf8_encode(code, text), err);
    if (done && end_of_text) done = tokenizer_add_token(t, count, END_OF_TEXT, strlen(END_OF_TEXT), err);
    if (done) return tokenizer_finish(t, end_of_text ? count : -1, err);
    tokenizer_free(t);
    return NULL;
}

/* --- looking things up --- */

int tokenizer_vocab_size(const Tokenizer *t) {
    return t->vocab_size;
}

int tokenizer_end_of_text(const Tokenizer *t) {
    return t->end_of_text;
}

const char *tokenizer_token(const Tokenizer *t, int id, size_t *length) {
    bool known = id >= 0 && id < t->vocab_size && t->tokens[id].text;
    *length = known ? t->tokens[id].length : 0;
    return known ? t->tokens[id].text : "";
}

size_t tokenizer_decode(const Tokenizer *t, const uint16_t *ids, size_t count, char *out, size_t size) {
    size_t written = 0, length;
    for (size_t i = 0; i < count; i++) {
        const char *text = tokenizer_token(t, ids[i], &length);
        if (length > size - written) break;
        memcpy(out + written, text, length);
        written += length;
    }
    return written;
}

/* --- merging --- */

/* A min-heap of rank << 32 | position. */
static void heap_push(uint64_t *heap, size_t *count, uint64_t entry) {
    size_t i = (*count)++;
    for (; i > 0 && heap[(i - 1) / 2] > entry; i = (i - 1) / 2) heap[i] = heap[(i - 1) / 2];
    heap[i] = entry;
}

static uint64_t heap_pop(uint64_t *heap, size_t *count) {
    uint64_t top = heap[0], last = heap[--*count];
    size_t i = 0, child;
    for (; (child = 2 * i + 1) < *count; i = child) {
        if (child + 1 < *count && heap[child + 1] < heap[child]) child++;
        if (last <= heap[child]) break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return top;
}

/* Ranks symbol i with its next one anew; `end` is the position after the last symbol. */
static void rank_pair(const Tokenizer *t, Chain *chain, uint32_t i, uint32_t end, size_t *queued) {
    chain[i].rank = chain[i].next == end ? NO_RANK : pair_rank(t, chain[i].id, chain[chain[i].next].id);
    if (chain[i].rank != NO_RANK) heap_push(t->heap, queued, (uint64_t)chain[i].rank << 32 | i);
}

size_t tokenizer_merge_piece(Tokenizer *t, const char *piece, size_t length, uint16_t *ids, Error *err) {
    /* each of at most length - 1 merges queues at most two pairs */
    if (!array_reserve(&t->chain, &t->chain_room, length, sizeof *t->chain, "merging", err) ||
        !array_reserve(&t->heap, &t->heap_room, 3 * length, sizeof *t->heap, "merging", err))
        return SIZE_MAX;
    Chain *chain = t->chain;
    uint32_t end = (uint32_t)length;
    size_t queued = 0, count = 0;
    for (uint32_t i = 0; i < end; i++)
        chain[i] = (Chain){.previous = i - 1, .next = i + 1, .id = t->byte_id[(unsigned char)piece[i]]};
    for (uint32_t i = 0; i < end; i++) rank_pair(t, chain, i, end, &queued);
    while (queued > 0) {
        uint64_t entry = heap_pop(t->heap, &queued);
        uint32_t i = (uint32_t)entry, rank = (uint32_t)(entry >> 32);
        if (chain[i].rank != rank) continue; /* one of the two has been merged since */
        uint32_t gone = chain[i].next;
        chain[i].id = t->merges[rank].merged;
        chain[i].next = chain[gone].next;
        chain[gone].rank = NO_RANK;
        if (chain[i].next != end) chain[chain[i].next].previous = i;
        rank_pair(t, chain, i, end, &queued);
        if (i > 0) rank_pair(t, chain, chain[i].previous, end, &queued);
    }
    for (uint32_t i = 0; i < end; i = chain[i].next) ids[count++] = chain[i].id;
    return count;
}

/* --- encoding --- */

static CacheSlot *cache_slot(const Tokenizer *t, const char *piece, size_t length, uint64_t key[3]) {
    key[0] = key[1] = key[2] = 0;
    memcpy(key, piece, length);
    key[2] |= (uint64_t)length << 56;
    uint64_t hash =
        (key[0] ^ key[1] * 0xff51afd7ed558ccdu ^ key[2] * 0xc4ceb9fe1a85ec53u) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 32;
    return &t->cache[hash * 0x9e3779b97f4a7c15u >> (64 - CACHE_BITS)];
}

static size_t encode_piece(Tokenizer *t, const char *piece, size_t length, uint16_t *ids, Error *err) {
    uint64_t key[3];
    if (length > CACHE_KEY_MAX) return tokenizer_merge_piece(t, piece, length, ids, err);
    CacheSlot *slot = cache_slot(t, piece, length, key);
    if (slot->count && slot->key[0] == key[0] && slot->key[1] == key[1] && slot->key[2] == key[2]) {
        for (int i = 0; i < slot->count; i++) ids[i] = slot->ids[i];
        return slot->count;
    }
    size_t count = tokenizer_merge_piece(t, piece, length, ids, err);
    if (count <= CACHE_ID_MAX) {
        memcpy(slot->key, key, sizeof slot->key);
        memcpy(slot->ids, ids, count * sizeof *ids);
        slot->count = (uint16_t)count;
    }
    return count;
}

static size_t encode_pieces(Tokenizer *t, const char *text, size_t length, uint16_t *ids, Error *err) {
    size_t count = 0;
    for (size_t at = 0, end; at < length; at = end) {
        end = splitter_next(t->splitter, text, length, at);
        size_t n = encode_piece(t, text + at, end - at, ids + count, err);
        if (n == SIZE_MAX) return SIZE_MAX;
        count += n;
    }
    return count;
}

static size_t encode_chars(const Tokenizer *t, const char *text, size_t length, uint16_t *ids, Error *err) {
    size_t count = 0;
    uint32_t code = 0;
    for (size_t at = 0; at < length;) {
        int n = utf8_decode(text + at, length - at, &code);
        if (n == 0 || t->char_id[code] == NO_ID) {
            error_set(err, ERR_DATA,
                      "byte %zu: %s%.*s is not in the vocabulary of this character tokenizer", at,
                      n ? "the character " : "what is not UTF-8", n, text + at);
            return SIZE_MAX;
        }
        ids[count++] = t->char_id[code];
        at += (size_t)n;
    }
    return count;
}

size_t tokenizer_encode(Tokenizer *t, const char *text, size_t length, uint16_t *ids, Error *err) {
    if (t->kind == TOKENIZER_CHAR) return encode_chars(t, text, length, ids, err);
    if (t->merge_count) return encode_pieces(t, text, length, ids, err);
    for (size_t i = 0; i < length; i++) ids[i] = t->byte_id[(unsigned char)text[i]];
    return length;
}
