/* bpe_train.c: see bpe_train.h. Byte pair encoding (Sennrich et al. 2016) over the distinct pieces of a
 * text with their counts. A merge changes only the words that contain its pair, so each pair knows its
 * words, and a heap knows the most frequent pair; a heap entry whose count has changed since goes back with
 * the new count. */
#include "data/bpe_train.h"
#include "core/file.h"
#include "core/memory.h"
#include "data/tokenizer_build.h"

#include <stdlib.h>
#include <string.h>

/* Longer pieces are no words, and would make every merge in them expensive: they teach nothing. */
#define WORD_MAX_BYTES 256
#define NONE           UINT32_MAX

typedef struct Span {
    size_t text; /* offset in texts */
    size_t length;
} Span;

typedef struct Word {
    size_t text; /* offset in texts */
    int64_t count;
    uint32_t symbols; /* offset in symbols; room for `length` */
    uint16_t length;  /* in bytes; later in symbols */
} Word;

typedef struct Pair {
    int64_t count;
    uint32_t *words; /* those that had the pair when it appeared in them; some may have lost it */
    size_t word_count, word_room;
    uint16_t left, right;
} Pair;

typedef struct HeapEntry {
    int64_t count;
    uint32_t pair;
} HeapEntry;

struct BpeTrainer {
    Splitter *splitter;
    char *texts;
    size_t text_bytes, text_room;
    Word *words;
    size_t word_count, word_room;
    uint32_t *word_table; /* open hashing: text -> index in words */
    size_t word_slots;

    uint16_t *symbols;
    Pair *pairs;
    size_t pair_count, pair_room;
    uint32_t *pair_table; /* open hashing: (left, right) -> index in pairs */
    size_t pair_slots;
    HeapEntry *heap;
    size_t heap_count, heap_room;
    Merge merges[BPE_VOCAB_MAX];
    int merge_count;
    Span tokens[BPE_VOCAB_MAX]; /* by id, in texts */
    uint32_t token_count;
    uint32_t *token_table; /* open hashing: text -> id */
    size_t token_slots;
};

BpeTrainer *bpe_trainer_create(Error *err) {
    BpeTrainer *t = memory_alloc(1, sizeof *t, "vocabulary training", err);
    if (t && (t->splitter = splitter_create(err))) return t;
    bpe_trainer_free(t);
    return NULL;
}

void bpe_trainer_free(BpeTrainer *t) {
    if (t == NULL) return;
    for (size_t i = 0; i < t->pair_count; i++) free(t->pairs[i].words);
    splitter_free(t->splitter);
    free(t->texts);
    free(t->words);
    free(t->word_table);
    free(t->pairs);
    free(t->pair_table);
    free(t->heap);
    free(t->token_table);
    memory_free(t->symbols);
    memory_free(t);
}

/* --- hash tables of indices --- */

static uint64_t hash_text(const char *text, size_t length) {
    uint64_t hash = length;
    for (size_t i = 0; i < length; i++) hash = (hash ^ (unsigned char)text[i]) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

static uint64_t hash_pair(uint16_t left, uint16_t right) {
    uint64_t hash = ((uint64_t)left << 16 | right) * 0x9e3779b97f4a7c15u;
    return hash ^ hash >> 32;
}

static uint64_t hash_of_word(const BpeTrainer *t, uint32_t i) {
    return hash_text(t->texts + t->words[i].text, t->words[i].length);
}

static uint64_t hash_of_pair(const BpeTrainer *t, uint32_t i) {
    return hash_pair(t->pairs[i].left, t->pairs[i].right);
}

static uint64_t hash_of_token(const BpeTrainer *t, uint32_t i) {
    return hash_text(t->texts + t->tokens[i].text, t->tokens[i].length);
}

/* Keeps a table at most half full: when `count` indices reach that, a table of twice the size takes its
 * place. */
static bool table_grow(const BpeTrainer *t, uint32_t **table, size_t *slots, size_t count,
                       uint64_t (*hash_of)(const BpeTrainer *, uint32_t), Error *err) {
    if (2 * count < *slots) return true;
    size_t grown = *slots ? 2 * *slots : 1 << 12;
    uint32_t *fresh = count < NONE ? malloc(grown * sizeof *fresh) : NULL;
    if (fresh == NULL)
        return error_set(err, ERR_IO, "vocabulary training: out of memory (%zu slots)", grown);
    memset(fresh, 0xff, grown * sizeof *fresh);
    for (uint32_t i = 0; i < count; i++) {
        size_t slot = hash_of(t, i) & (grown - 1);
        while (fresh[slot] != NONE) slot = (slot + 1) & (grown - 1);
        fresh[slot] = i;
    }
    free(*table);
    *table = fresh;
    *slots = grown;
    return true;
}

/* --- counting words --- */

static bool add_word(BpeTrainer *t, const char *text, size_t length, Error *err) {
    if (!table_grow(t, &t->word_table, &t->word_slots, t->word_count, hash_of_word, err)) return false;
    size_t slot = hash_text(text, length) & (t->word_slots - 1);
    for (; t->word_table[slot] != NONE; slot = (slot + 1) & (t->word_slots - 1)) {
        Word *word = &t->words[t->word_table[slot]];
        if (word->length != length || memcmp(t->texts + word->text, text, length) != 0) continue;
        word->count++;
        return true;
    }
    if (!array_reserve(&t->words, &t->word_room, t->word_count + 1, sizeof *t->words, "words", err) ||
        !array_reserve(&t->texts, &t->text_room, t->text_bytes + length, 1, "words", err))
        return false;
    memcpy(t->texts + t->text_bytes, text, length);
    t->words[t->word_count] = (Word){.text = t->text_bytes, .length = (uint16_t)length, .count = 1};
    t->text_bytes += length;
    t->word_table[slot] = (uint32_t)t->word_count++;
    return true;
}

bool bpe_trainer_add(BpeTrainer *t, const char *text, size_t length, Error *err) {
    for (size_t at = 0, end; at < length; at = end) {
        end = splitter_next(t->splitter, text, length, at);
        if (end - at > 1 && end - at <= WORD_MAX_BYTES && !add_word(t, text + at, end - at, err))
            return false;
    }
    return true;
}

/* --- the most frequent pair --- */

static bool goes_before(const BpeTrainer *t, HeapEntry a, HeapEntry b) {
    const Pair *p = &t->pairs[a.pair], *q = &t->pairs[b.pair];
    if (a.count != b.count) return a.count > b.count;
    return p->left != q->left ? p->left < q->left : p->right < q->right;
}

static bool heap_push(BpeTrainer *t, uint32_t pair, Error *err) {
    HeapEntry entry = {t->pairs[pair].count, pair};
    if (!array_reserve(&t->heap, &t->heap_room, t->heap_count + 1, sizeof entry, "pairs", err))
        return false;
    size_t i = t->heap_count++;
    for (; i > 0 && goes_before(t, entry, t->heap[(i - 1) / 2]); i = (i - 1) / 2)
        t->heap[i] = t->heap[(i - 1) / 2];
    t->heap[i] = entry;
    return true;
}

static HeapEntry heap_pop(BpeTrainer *t) {
    HeapEntry top = t->heap[0], last = t->heap[--t->heap_count];
    size_t i = 0, child;
    for (; (child = 2 * i + 1) < t->heap_count; i = child) {
        if (child + 1 < t->heap_count && goes_before(t, t->heap[child + 1], t->heap[child])) child++;
        if (!goes_before(t, t->heap[child], last)) break;
        t->heap[i] = t->heap[child];
    }
    t->heap[i] = last;
    return top;
}

/* Takes the most frequent pair that is seen twice or more; NONE in *pair when there is no such pair. */
static bool pop_pair(BpeTrainer *t, uint32_t *pair, Error *err) {
    while (t->heap_count > 0) {
        HeapEntry entry = heap_pop(t);
        *pair = entry.pair;
        if (t->pairs[entry.pair].count < 2) continue;
        if (t->pairs[entry.pair].count == entry.count) return true;
        if (!heap_push(t, entry.pair, err)) return false;
    }
    *pair = NONE;
    return true;
}

/* --- merging --- */

static bool pair_find(BpeTrainer *t, uint16_t left, uint16_t right, uint32_t *found, Error *err) {
    if (!table_grow(t, &t->pair_table, &t->pair_slots, t->pair_count, hash_of_pair, err)) return false;
    size_t slot = hash_pair(left, right) & (t->pair_slots - 1);
    for (; (*found = t->pair_table[slot]) != NONE; slot = (slot + 1) & (t->pair_slots - 1))
        if (t->pairs[*found].left == left && t->pairs[*found].right == right) return true;
    if (!array_reserve(&t->pairs, &t->pair_room, t->pair_count + 1, sizeof *t->pairs, "pairs", err))
        return false;
    t->pairs[t->pair_count] = (Pair){.left = left, .right = right};
    *found = t->pair_table[slot] = (uint32_t)t->pair_count++;
    return true;
}

/* Counts every pair of a word once more. */
static bool count_pairs(BpeTrainer *t, uint32_t index, Error *err) {
    const Word *word = &t->words[index];
    const uint16_t *s = t->symbols + word->symbols;
    for (int i = 0; i + 1 < word->length; i++) {
        uint32_t found;
        if (!pair_find(t, s[i], s[i + 1], &found, err)) return false;
        Pair *pair = &t->pairs[found];
        pair->count += word->count;
        if (pair->word_count && pair->words[pair->word_count - 1] == index) continue;
        if (!array_reserve(&pair->words, &pair->word_room, pair->word_count + 1, sizeof index, "pairs",
                           err))
            return false;
        pair->words[pair->word_count++] = index;
    }
    return true;
}

/* Merges the pair wherever the word has it, left to right. Only pairs that touch the merged symbols change,
 * but words are short: all of the word's pairs are taken out and counted anew. */
static bool merge_in_word(BpeTrainer *t, uint32_t index, Merge merge, Error *err) {
    Word *word = &t->words[index];
    uint16_t *s = t->symbols + word->symbols;
    int length = word->length, kept = 0, i = 0;
    while (i + 1 < length && !(s[i] == merge.left && s[i + 1] == merge.right)) i++;
    if (i + 1 >= length) return true;
    for (int k = 0; k + 1 < length; k++) {
        uint32_t found;
        if (!pair_find(t, s[k], s[k + 1], &found, err)) return false;
        t->pairs[found].count -= word->count;
    }
    for (i = 0; i < length; i++) {
        bool here = i + 1 < length && s[i] == merge.left && s[i + 1] == merge.right;
        s[kept++] = here ? merge.merged : s[i];
        i += here;
    }
    word->length = (uint16_t)kept;
    return count_pairs(t, index, err);
}

static bool start_words(BpeTrainer *t, Error *err) {
    uint32_t offset = 0;
    if (t->text_bytes >= NONE)
        return error_set(err, ERR_IO, "vocabulary training: more than 4 GB of different words");
    t->symbols = memory_alloc(t->text_bytes, sizeof *t->symbols, "words", err);
    if (t->symbols == NULL) return false;
    for (uint32_t i = 0; i < t->word_count; i++) {
        Word *word = &t->words[i];
        word->symbols = offset;
        offset += word->length;
        for (int k = 0; k < word->length; k++)
            t->symbols[word->symbols + (uint32_t)k] = (unsigned char)t->texts[word->text + (size_t)k];
        if (!count_pairs(t, i, err)) return false;
    }
    for (uint32_t i = 0; i < t->pair_count; i++)
        if (!heap_push(t, i, err)) return false;
    return true;
}

/* Makes the next token, of the two's bytes. Its id is NONE when an earlier merge has made those bytes. */
static bool add_token(BpeTrainer *t, const char *left, size_t a, const char *right, size_t b, uint32_t *id,
                      Error *err) {
    char text[WORD_MAX_BYTES];
    memcpy(text, left, a);
    memcpy(text + a, right, b);
    if (!table_grow(t, &t->token_table, &t->token_slots, t->token_count, hash_of_token, err)) return false;
    size_t slot = hash_text(text, a + b) & (t->token_slots - 1);
    for (; t->token_table[slot] != NONE; slot = (slot + 1) & (t->token_slots - 1)) {
        Span token = t->tokens[t->token_table[slot]];
        *id = NONE;
        if (token.length == a + b && memcmp(t->texts + token.text, text, a + b) == 0) return true;
    }
    if (!array_reserve(&t->texts, &t->text_room, t->text_bytes + a + b, 1, "tokens", err)) return false;
    memcpy(t->texts + t->text_bytes, text, a + b);
    t->tokens[t->token_count] = (Span){t->text_bytes, a + b};
    t->text_bytes += a + b;
    *id = t->token_table[slot] = t->token_count++;
    return true;
}

/* A pair whose bytes are a token already stays two tokens: no two ids mean the same. */
static bool merge_pair(BpeTrainer *t, uint32_t index, Error *err) {
    Pair pair = t->pairs[index];
    Span left = t->tokens[pair.left], right = t->tokens[pair.right];
    size_t known = t->pair_count;
    uint32_t id = NONE;
    bool done =
        add_token(t, t->texts + left.text, left.length, t->texts + right.text, right.length, &id, err);
    if (!done || id == NONE) return done;
    Merge merge = {pair.left, pair.right, (uint16_t)id};
    t->merges[t->merge_count++] = merge;
    t->pairs[index].words = NULL; /* taken over: merging leaves this pair nowhere */
    t->pairs[index].word_count = t->pairs[index].word_room = 0;
    for (size_t i = 0; done && i < pair.word_count; i++) done = merge_in_word(t, pair.words[i], merge, err);
    free(pair.words);
    for (size_t i = known; done && i < t->pair_count; i++) done = heap_push(t, (uint32_t)i, err);
    return done;
}

static Tokenizer *build(const BpeTrainer *t, Error *err) {
    int last = (int)t->token_count;
    size_t bytes = strlen(END_OF_TEXT);
    for (int id = 0; id < last; id++) bytes += t->tokens[id].length;
    Tokenizer *made = tokenizer_begin(TOKENIZER_BPE, last + 1, bytes, t->merge_count, err);
    bool done = made && tokenizer_add_token(made, last, END_OF_TEXT, strlen(END_OF_TEXT), err);
    for (int id = 0; done && id < last; id++)
        done = tokenizer_add_token(made, id, t->texts + t->tokens[id].text, t->tokens[id].length, err);
    for (int i = 0; done && i < t->merge_count; i++)
        done = tokenizer_add_merge(made, t->merges[i].left, t->merges[i].right, t->merges[i].merged, err);
    if (done) return tokenizer_finish(made, last, err);
    tokenizer_free(made);
    return NULL;
}

Tokenizer *bpe_trainer_finish(BpeTrainer *t, int vocab_size, const Progress *progress, Error *err) {
    uint32_t best = 0;
    int wanted = vocab_size - BPE_VOCAB_MIN;
    if (vocab_size < BPE_VOCAB_MIN || vocab_size > BPE_VOCAB_MAX) {
        error_set(err, ERR_CONFIG, "vocabulary size %d is not in [%d,%d]", vocab_size, BPE_VOCAB_MIN,
                  BPE_VOCAB_MAX);
        return NULL;
    }
    if (!start_words(t, err)) return NULL;
    for (int byte = 0; byte < 256; byte++)
        if (!add_token(t, &(char){(char)byte}, 1, "", 0, &best, err)) return NULL;
    while (t->merge_count < wanted && pop_pair(t, &best, err) && best != NONE) {
        if (!merge_pair(t, best, err)) return NULL;
        progress_show(progress, "learning the vocabulary", (double)t->merge_count / wanted);
    }
    return best == NONE || t->merge_count == wanted ? build(t, err) : NULL;
}
