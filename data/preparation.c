/* preparation.c: see preparation.h. */
#include "data/preparation.h"
#include "core/file.h"
#include "core/memory.h"
#include "core/utf8.h"
#include "data/bpe_train.h"
#include "data/corpus.h"
#include "data/splitter.h"
#include "data/tokenizer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

/* Text is encoded in chunks of about this size: bounds memory, whatever the size of a document. */
#define CHUNK_BYTES ((size_t)1 << 20)

typedef struct Encoder {
    Tokenizer *tokenizer;
    uint16_t *ids;
    size_t id_room;
    int64_t done_bytes, total_bytes;
    const Progress *progress;
} Encoder;

static bool check_options(const PrepareOptions *o, Error *err) {
    if (strcmp(o->tokenizer, "bpe") == 0 &&
        (o->vocab_size < BPE_VOCAB_MIN || o->vocab_size > BPE_VOCAB_MAX))
        return error_set(err, ERR_CONFIG,
                         "--vocab-size %d: not in [%d,%d]: the 256 bytes, merges of them, and the end "
                         "of text",
                         o->vocab_size, BPE_VOCAB_MIN, BPE_VOCAB_MAX);
    if (!(o->val_frac >= 0 && o->val_frac <= 0.5))
        return error_set(err, ERR_CONFIG, "%s %g: not in [0,0.5]",
                         o->val_tail ? "--val-tail" : "--val-frac", o->val_frac);
    if (o->shard_tokens < 1 || o->shard_tokens > INT32_MAX)
        return error_set(err, ERR_CONFIG, "--shard-tokens %jd: not in [1,%d]", (intmax_t)o->shard_tokens,
                         INT32_MAX);
    return true;
}

/* --- the tokenizer --- */

static Tokenizer *learn_bpe(Corpus *c, int vocab_size, const Progress *progress, Error *err) {
    BpeTrainer *trainer = bpe_trainer_create(err);
    int64_t done_bytes = 0;
    bool done = trainer != NULL;
    for (size_t i = 0; done && i < c->document_count; i++) {
        const Document *d = &c->documents[i];
        if (d->val) continue;
        const char *text = corpus_text(c, i, err);
        done = text && bpe_trainer_add(trainer, text, d->end - d->begin, err);
        progress_show(progress, "counting words",
                      (double)(done_bytes += (int64_t)(d->end - d->begin)) / (double)c->bytes);
    }
    Tokenizer *t = done ? bpe_trainer_finish(trainer, vocab_size, progress, err) : NULL;
    bpe_trainer_free(trainer);
    return t;
}

static Tokenizer *learn_chars(Corpus *c, bool end_of_text, Error *err) {
    uint32_t code = 0;
    bool *seen = memory_alloc(UTF8_CODES, sizeof *seen, "characters", err);
    bool done = seen != NULL;
    for (size_t i = 0; done && i < c->document_count; i++) {
        size_t length = c->documents[i].end - c->documents[i].begin;
        const char *text = corpus_text(c, i, err);
        done = text != NULL;
        for (size_t at = 0; done && at < length; seen[code] = true) {
            int n = utf8_decode(text + at, length - at, &code);
            if (n == 0)
                done = error_set(err, ERR_DATA, "%s: changed while it was read",
                                 c->files[c->documents[i].file]);
            at += (size_t)n;
        }
    }
    Tokenizer *t = done ? tokenizer_create_chars(seen, end_of_text, err) : NULL;
    memory_free(seen);
    return t;
}

/* Those that need no text; NULL with err->code 0 for those that do. */
static Tokenizer *tokenizer_given(const char *name, PrepareResult *result, Error *err) {
    err->code = 0;
    if (strcmp(name, "bpe") == 0 || strcmp(name, "char") == 0) return NULL;
    if (strcmp(name, "byte") == 0) return tokenizer_create_bytes(err);
    if (strcmp(name, "gpt2") == 0)
        return tokenizer_load_gpt2(result->gpt2_found, sizeof result->gpt2_found, err);
    if (access(name, F_OK) == 0) return tokenizer_load(name, err);
    error_set(err, ERR_CONFIG, "--tokenizer %s: neither bpe, gpt2, char or byte, nor a file or folder",
              name);
    return NULL;
}

/* --- tokens --- */

/* "file, after byte n: " in front of what the tokenizer could not encode. */
static bool located(const Corpus *c, const Document *d, size_t at, Error *err) {
    char text[sizeof err->text];
    memcpy(text, err->text, sizeof text);
    return error_set(err, err->code, "%s, after byte %zu: %.3000s", c->files[d->file], d->begin + at, text);
}

static bool encode_document(Encoder *e, Corpus *c, size_t index, ShardWriter *w, Error *err) {
    const Document *d = &c->documents[index];
    size_t length = d->end - d->begin;
    const char *text = corpus_text(c, index, err);
    if (text == NULL) return false;
    for (size_t at = 0, end; at < length; at = end) {
        end = at + splitter_safe_cut(text + at, length - at, CHUNK_BYTES);
        if (!array_reserve(&e->ids, &e->id_room, end - at, sizeof *e->ids, "ids", err)) return false;
        size_t count = tokenizer_encode(e->tokenizer, text + at, end - at, e->ids, err);
        if (count == SIZE_MAX) return located(c, d, at, err);
        if (!shards_write(w, e->ids, count, err)) return false;
        progress_show(e->progress, "encoding",
                      (double)(e->done_bytes += (int64_t)(end - at)) / (double)e->total_bytes);
    }
    return true;
}

/* The end of the text stands between documents: an epoch begins with the first one's text. */
static bool encode_split(Encoder *e, Corpus *c, bool val, ShardWriter *w, int64_t *documents, Error *err) {
    int end_of_text = tokenizer_end_of_text(e->tokenizer);
    for (size_t i = 0; i < c->document_count; i++) {
        if (c->documents[i].val != val) continue;
        if (w->token_count > 0 && end_of_text >= 0 &&
            !shards_write(w, &(uint16_t){(uint16_t)end_of_text}, 1, err))
            return false;
        if (!encode_document(e, c, i, w, err)) return false;
        ++*documents;
    }
    return shards_close(w, err);
}

/* --- the folder --- */

/* A descriptor that holds the folder's lock, or -1. */
static int lock_folder(const char *path, Error *err) {
    if (!file_make_folders(path, "; set --out to a folder that can", err)) return -1;
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || access(path, W_OK | X_OK) != 0) {
        error_errno(err, path, "be written");
    } else if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        error_set(err, ERR_BUSY, "%s: another process is preparing it", path);
    } else {
        return fd;
    }
    if (fd >= 0) close(fd);
    return -1;
}

/* Shards are on disk under temporary names. Writes the rest so, then takes the old folder's description
 * away, renames, and describes the folder last. */
static bool publish(const char *out, ShardWriter splits[2], const Tokenizer *t, const DatasetInfo *info,
                    const Corpus *c, Error *err) {
    char info_path[PATH_MAX], tokenizer_path[PATH_MAX];
    if (snprintf(info_path, sizeof info_path, "%s/dataset.json", out) >= PATH_MAX ||
        snprintf(tokenizer_path, sizeof tokenizer_path, "%s/tokenizer.json", out) >= PATH_MAX)
        return error_set(err, ERR_IO, "%.80s...: name too long", out);
    bool done = tokenizer_write(t, tokenizer_path, err) &&
                dataset_info_write(out, info, c->files, c->file_count, err);
    if (done && unlink(info_path) != 0 && errno != ENOENT)
        done = error_errno(err, info_path, "be replaced");
    done = done && file_rename(tokenizer_path, err) && shards_publish(&splits[0], err) &&
           shards_publish(&splits[1], err) && file_rename(info_path, err);
    file_discard(NULL, tokenizer_path);
    file_discard(NULL, info_path);
    return done;
}

static bool write_folder(const PrepareOptions *o, Corpus *c, Encoder *e, DatasetInfo *info, Error *err) {
    ShardWriter splits[2] = {0};
    snprintf(info->tokenizer, sizeof info->tokenizer, "%s", o->tokenizer);
    info->vocab_size = tokenizer_vocab_size(e->tokenizer);
    info->end_of_text = tokenizer_end_of_text(e->tokenizer);
    info->bytes = e->total_bytes = c->bytes;
    bool done = shards_open(&splits[0], o->out, "train", o->shard_tokens, err) &&
                shards_open(&splits[1], o->out, "val", o->shard_tokens, err) &&
                encode_split(e, c, false, &splits[0], &info->train_documents, err) &&
                encode_split(e, c, true, &splits[1], &info->val_documents, err);
    info->train_tokens = splits[0].token_count;
    info->val_tokens = splits[1].token_count;
    done = done && publish(o->out, splits, e->tokenizer, info, c, err);
    shards_discard(&splits[0]);
    shards_discard(&splits[1]);
    return done;
}

static bool prepare_corpus(const PrepareOptions *o, Corpus *c, Encoder *e, PrepareResult *result,
                           Error *err) {
    bool several = c->document_count > 1; /* before the cut: characters of one text need no end of text */
    if (!(o->val_tail ? corpus_split_tail(c, o->val_frac, err)
                      : corpus_split(c, o->val_frac, o->seed, err)))
        return false;
    result->file_count = c->file_count;
    result->sections = c->sections;
    int lock = lock_folder(o->out, err);
    if (lock < 0) return false;
    if (strcmp(o->tokenizer, "bpe") == 0) e->tokenizer = learn_bpe(c, o->vocab_size, e->progress, err);
    if (strcmp(o->tokenizer, "char") == 0) e->tokenizer = learn_chars(c, several, err);
    bool done = e->tokenizer && write_folder(o, c, e, &result->info, err);
    close(lock);
    return done;
}

bool prepare_run(const PrepareOptions *options, const Progress *progress, PrepareResult *result,
                 Error *err) {
    Encoder encoder = {.progress = progress};
    Corpus corpus;
    *result = (PrepareResult){0};
    if (!check_options(options, err)) return false;
    encoder.tokenizer = tokenizer_given(options->tokenizer, result, err);
    if (encoder.tokenizer == NULL && err->code) return false;
    bool done = corpus_open(&corpus, options->inputs, options->input_count, progress, err);
    if (done) {
        done = prepare_corpus(options, &corpus, &encoder, result, err);
        corpus_close(&corpus);
    }
    tokenizer_free(encoder.tokenizer);
    free(encoder.ids);
    return done;
}
