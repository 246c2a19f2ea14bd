/* test_tokenizer.c: splitting, merging, training, and files of tokenizers.
 *
 * golden/tokenizer holds GPT-2's first 700 merges, a text of many scripts, and its ids by OpenAI's
 * tiktoken. */
#include "core/file.h"
#include "data/bpe_train.h"
#include "data/splitter.h"
#include "data/tokenizer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cjson/cJSON.h>
#include <cmocka.h>

#define GOLDEN     "test/golden/tokenizer"
#define SHARED     "../shared"
#define SCRATCH    "/tmp/test_tokenizer_XXXXXX"
#define FUZZ_BYTES 200

static Error err;

static char *read_text(const char *path, size_t *length) {
    char *text = file_read(path, 1 << 24, length, &err);
    if (text == NULL) fail_msg("%s", err.text);
    return text;
}

static void write_text(const char *path, const char *text) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
}

static Tokenizer *load(const char *path) {
    Tokenizer *t = tokenizer_load(path, &err);
    if (t == NULL) fail_msg("%s", err.text);
    return t;
}

/* malloc'ed ids */
static uint16_t *encode(Tokenizer *t, const char *text, size_t length, size_t *count) {
    uint16_t *ids = malloc((length + 1) * sizeof *ids);
    assert_non_null(ids);
    *count = tokenizer_encode(t, text, length, ids, &err);
    assert_true(*count != SIZE_MAX && *count <= length);
    return ids;
}

static Tokenizer *learn(const char *text, int vocab_size) {
    BpeTrainer *trainer = bpe_trainer_create(&err);
    assert_non_null(trainer);
    assert_true(bpe_trainer_add(trainer, text, strlen(text), &err));
    Tokenizer *t = bpe_trainer_finish(trainer, vocab_size, NULL, &err);
    bpe_trainer_free(trainer);
    return t;
}

static Tokenizer *learn_golden_text(int vocab_size) {
    size_t length;
    char *text = read_text(GOLDEN "/text.txt", &length);
    Tokenizer *t = learn(text, vocab_size);
    free(text);
    assert_non_null(t);
    return t;
}

/* --- splitting --- */

static void assert_split(const char *text, const char *pieces) {
    char joined[512] = "";
    size_t length = strlen(text);
    Splitter *s = splitter_create(&err);
    assert_non_null(s);
    for (size_t at = 0, end; at < length; at = end) {
        end = splitter_next(s, text, length, at);
        assert_in_range(end, at + 1, length);
        if (at) strcat(joined, "|");
        strncat(joined, text + at, end - at);
    }
    splitter_free(s);
    assert_string_equal(joined, pieces);
}

static void splitting_should_follow_gpt2(void **state) {
    (void)state;
    assert_split("Hello world", "Hello| world");
    assert_split("I'm they've we'll he'd she's can't you're IT'S",
                 "I|'m| they|'ve| we|'ll| he|'d| she|'s| can|'t| you|'re| IT|'|S");
    assert_split("don'tcha 'tis ''ll", "don|'t|cha| '|tis| ''|ll");
    assert_split("a  b", "a| | b");
    assert_split("a   \n\n b", "a|   \n\n| b");
    assert_split("a \n", "a| \n");
    assert_split("x=12ab", "x|=|12|ab");
    assert_split(" 1½Ⅳ٣ $€ é", " 1½Ⅳ٣| $€| é");
    assert_split("e\u0301", "e|\u0301"); /* a combining mark is no letter */
}

static void space_should_be_unicodes_white_space(void **state) {
    (void)state;
    assert_split("a\u00a0b", "a|\u00a0|b");
    assert_split("a\xc2\x85\u3000b", "a|\xc2\x85|\u3000|b"); /* U+0085 */
    assert_split("a\u2028\u1680", "a|\u2028\u1680");
    assert_split("a \u180e.", "a| \u180e."); /* these are none, and so take a space in front */
    assert_split("a \u200b.", "a| \u200b.");
    assert_split("a \x1c.", "a| \x1c.");
    assert_split("a \ufeff.", "a| \ufeff.");
}

static void bytes_that_are_not_utf8_should_be_pieces_of_their_own(void **state) {
    (void)state;
    assert_split("ab\xff\xfe"
                 "cd",
                 "ab|\xff\xfe|cd");
    assert_split("a\xe4\xb8", "a|\xe4\xb8");
}

static void a_safe_cut_should_not_change_the_pieces(void **state) {
    (void)state;
    size_t length, whole_count, head_count, tail_count;
    char *text = read_text(GOLDEN "/text.txt", &length);
    Tokenizer *t = load(GOLDEN);
    uint16_t *whole = encode(t, text, length, &whole_count);
    for (size_t want = 1; want < length; want++) {
        size_t cut = splitter_safe_cut(text, length, want);
        uint16_t *head = encode(t, text, cut, &head_count),
                 *tail = encode(t, text + cut, length - cut, &tail_count);
        assert_int_equal(head_count + tail_count, whole_count);
        assert_memory_equal(head, whole, head_count * sizeof *whole);
        assert_memory_equal(tail, whole + head_count, tail_count * sizeof *whole);
        free(head);
        free(tail);
    }
    free(whole);
    free(text);
    tokenizer_free(t);
}

/* --- encoding --- */

static void assert_golden_ids(Tokenizer *t) {
    size_t length, ids_length, count;
    char *text = read_text(GOLDEN "/text.txt", &length),
         *expected = read_text(GOLDEN "/ids.txt", &ids_length);
    uint16_t *ids = encode(t, text, length, &count);
    char *p = expected;
    for (size_t i = 0; i < count; i++) assert_int_equal(ids[i], strtol(p, &p, 10));
    assert_string_equal(p, "\n");
    free(ids);
    free(expected);
    free(text);
}

static void ids_should_be_those_of_tiktoken(void **state) {
    (void)state;
    static const char *const forms[] = {GOLDEN, GOLDEN "/small.tiktoken"};
    for (size_t i = 0; i < 2; i++) {
        Tokenizer *t = load(forms[i]);
        assert_int_equal(tokenizer_vocab_size(t), 957);
        assert_int_equal(tokenizer_end_of_text(t), 956);
        assert_golden_ids(t);
        assert_golden_ids(t); /* now out of the cache */
        tokenizer_free(t);
    }
}

static void assert_round_trip(Tokenizer *t, const char *bytes, size_t length) {
    size_t count;
    uint16_t *ids = encode(t, bytes, length, &count);
    char *back = malloc(length + 1);
    assert_non_null(back);
    assert_int_equal(tokenizer_decode(t, ids, count, back, length), length);
    assert_memory_equal(back, bytes, length);
    for (size_t i = 0; i < count; i++) assert_in_range(ids[i], 0, tokenizer_vocab_size(t) - 1);
    free(back);
    free(ids);
}

static void any_bytes_should_come_back(void **state) {
    (void)state;
    static const char usual[] = "the 's \xe4\xb8\xad\xc3\n\t  12'll";
    Tokenizer *made[] = {load(GOLDEN), tokenizer_create_bytes(&err), learn_golden_text(300)};
    char bytes[FUZZ_BYTES];
    srand(1);
    for (int round = 0; round < 3000; round++) {
        size_t length = (size_t)rand() % sizeof bytes;
        for (size_t i = 0; i < length; i++)
            bytes[i] = rand() % 3 ? usual[(size_t)rand() % (sizeof usual - 1)] : (char)rand();
        for (size_t i = 0; i < 3; i++) assert_round_trip(made[i], bytes, length);
    }
    for (size_t i = 0; i < 3; i++) tokenizer_free(made[i]);
}

static void long_pieces_should_come_back(void **state) {
    (void)state;
    static const char *const fillings[] = {" ", "a", "\n", "\xff", "中", "\xe4\xb8"};
    size_t length = PIECE_MAX_BYTES / 4 * 5;
    char *bytes = malloc(length);
    assert_non_null(bytes);
    Tokenizer *t = load(GOLDEN);
    for (size_t k = 0; k < sizeof fillings / sizeof *fillings; k++) {
        for (size_t i = 0; i < length; i++) bytes[i] = fillings[k][i % strlen(fillings[k])];
        assert_round_trip(t, bytes, length);
    }
    tokenizer_free(t);
    free(bytes);
}

static void a_byte_tokenizer_should_map_bytes_to_themselves(void **state) {
    (void)state;
    uint16_t ids[3];
    Tokenizer *t = tokenizer_create_bytes(&err);
    assert_int_equal(tokenizer_encode(t, "a\xff\0", 3, ids, &err), 3);
    assert_int_equal(ids[0], 'a');
    assert_int_equal(ids[1], 255);
    assert_int_equal(ids[2], 0);
    assert_int_equal(tokenizer_end_of_text(t), 256);
    tokenizer_free(t);
}

static void a_char_tokenizer_should_number_characters_in_order(void **state) {
    (void)state;
    uint16_t ids[16];
    bool *seen = calloc(0x110000, sizeof *seen);
    assert_non_null(seen);
    seen['a'] = seen['b'] = seen[0x4e2d] = seen[0x1f600] = true;
    Tokenizer *t = tokenizer_create_chars(seen, false, &err),
              *with_end = tokenizer_create_chars(seen, true, &err);
    assert_int_equal(tokenizer_vocab_size(t), 4);
    assert_int_equal(tokenizer_end_of_text(t), -1);
    assert_int_equal(tokenizer_end_of_text(with_end), 4);
    assert_int_equal(tokenizer_encode(t, "中b\U0001f600a", 9, ids, &err), 4);
    assert_int_equal(ids[0], 2);
    assert_int_equal(ids[1], 1);
    assert_int_equal(ids[2], 3);
    assert_int_equal(ids[3], 0);
    assert_true(tokenizer_encode(t, "abc", 3, ids, &err) == SIZE_MAX);
    assert_int_equal(err.code, ERR_DATA);
    assert_non_null(strstr(err.text, "byte 2: the character c"));
    assert_true(tokenizer_encode(t, "a\xff", 2, ids, &err) == SIZE_MAX);
    tokenizer_free(t);
    tokenizer_free(with_end);
    free(seen);
}

/* --- training --- */

static void assert_token(const Tokenizer *t, int id, const char *text) {
    size_t length;
    const char *token = tokenizer_token(t, id, &length);
    assert_int_equal(length, strlen(text));
    assert_memory_equal(token, text, length);
}

/* Pieces: low x1, " low" x1, " lower" x2, " newest" x3, " widest" x3. */
static void training_should_merge_the_most_frequent_pair_first(void **state) {
    (void)state;
    Tokenizer *t = learn("low low lower lower newest newest newest widest widest widest", 262);
    assert_int_equal(tokenizer_vocab_size(t), 262);
    assert_token(t, 256, "es");  /* 6: (e,s) and (s,t); the smaller left id wins */
    assert_token(t, 257, "est"); /* 6 */
    assert_token(t, 258, "lo");  /* 4: (l,o) and (o,w) */
    assert_token(t, 259, "low"); /* 4 */
    assert_token(t, 260, " n");  /* 3, with " w", "ne", "ew", "wi", "id", (d,est), (w,est) and " low" */
    assert_token(t, 261, END_OF_TEXT);
    tokenizer_free(t);
}

static void training_should_stop_where_nothing_repeats(void **state) {
    (void)state;
    Tokenizer *t = learn("abab cd", 1000);
    assert_int_equal(tokenizer_vocab_size(t), 258);
    assert_token(t, 256, "ab");
    assert_int_equal(tokenizer_end_of_text(t), 257);
    tokenizer_free(t);
}

static void training_should_refuse_other_sizes(void **state) {
    (void)state;
    assert_null(learn("text", 256));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_null(learn("text", 50258));
    Tokenizer *t = learn("text text", 257);
    assert_int_equal(tokenizer_vocab_size(t), 257);
    tokenizer_free(t);
}

/* The plain reference: encodes the text with what is learnt so far, counts all pairs, takes the best. */
static void best_pair(Tokenizer *t, const char *text, size_t length, char *best) {
    static int counts[300][300];
    int most = 0, left = 0, right = 0;
    size_t count, a, b;
    Splitter *s = splitter_create(&err);
    memset(counts, 0, sizeof counts);
    for (size_t at = 0, end; at < length; at = end) {
        end = splitter_next(s, text, length, at);
        uint16_t *ids = encode(t, text + at, end - at, &count);
        for (size_t i = 0; i + 1 < count; i++) counts[ids[i]][ids[i + 1]]++;
        free(ids);
    }
    for (int i = 0; i < 300; i++)
        for (int k = 0; k < 300; k++)
            if (counts[i][k] > most) most = counts[left = i][right = k];
    const char *x = tokenizer_token(t, left, &a), *y = tokenizer_token(t, right, &b);
    sprintf(best, "%.*s%.*s", (int)a, x, (int)b, y);
    splitter_free(s);
}

static void training_should_equal_counting_anew_at_every_merge(void **state) {
    (void)state;
    char best[64];
    size_t length;
    char *text = read_text(GOLDEN "/text.txt", &length);
    Tokenizer *t = learn(text, 300);
    for (int size = 257; size < 300; size++) {
        Tokenizer *smaller = learn(text, size);
        best_pair(smaller, text, length, best);
        assert_token(t, size - 1, best);
        tokenizer_free(smaller);
    }
    tokenizer_free(t);
    free(text);
}

/* --- files --- */

static void assert_same(const Tokenizer *a, const Tokenizer *b) {
    assert_int_equal(tokenizer_vocab_size(a), tokenizer_vocab_size(b));
    assert_int_equal(tokenizer_end_of_text(a), tokenizer_end_of_text(b));
    for (int id = 0; id < tokenizer_vocab_size(a); id++) {
        size_t n, m;
        const char *x = tokenizer_token(a, id, &n), *y = tokenizer_token(b, id, &m);
        assert_int_equal(n, m);
        assert_memory_equal(x, y, n);
    }
}

static void a_saved_tokenizer_should_load_the_same(void **state) {
    (void)state;
    char dir[] = SCRATCH, path[64];
    bool *seen = calloc(0x110000, sizeof *seen);
    assert_non_null(seen);
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    seen['"'] = seen['\\'] = seen['\n'] = seen[0x7f] = seen[0xe9] = seen[0x4e2d] = true;
    Tokenizer *made[] = {load(GOLDEN), tokenizer_create_bytes(&err), learn_golden_text(300),
                         tokenizer_create_chars(seen, false, &err),
                         tokenizer_create_chars(seen, true, &err)};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) {
        assert_true(tokenizer_save(made[i], path, &err));
        Tokenizer *again = load(i % 2 ? path : dir);
        assert_same(made[i], again);
        if (i == 0) assert_golden_ids(again);
        tokenizer_free(again);
        tokenizer_free(made[i]);
    }
    unlink(path);
    rmdir(dir);
    free(seen);
}

static cJSON *read_json(const char *path) {
    size_t length;
    char *text = read_text(path, &length);
    cJSON *json = cJSON_Parse(text);
    assert_non_null(json);
    free(text);
    return json;
}

/* Hugging Face knows a byte only by the character that GPT-2 prints for it. */
static void bytes_should_be_printed_as_gpt2_does(void **state) {
    (void)state;
    char path[] = SCRATCH;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    Tokenizer *t = load(GOLDEN);
    assert_true(tokenizer_save(t, path, &err));
    cJSON *saved = read_json(path), *gpt2 = read_json(GOLDEN "/encoder.json");
    const cJSON *vocab = cJSON_GetObjectItem(cJSON_GetObjectItem(saved, "model"), "vocab");
    assert_true(cJSON_Compare(vocab, gpt2, true));
    cJSON_Delete(saved);
    cJSON_Delete(gpt2);
    tokenizer_free(t);
    unlink(path);
}

/* All bytes by their own ids, then "abc", which no two of them make. */
static void a_tiktoken_file_that_is_not_byte_pairs_should_be_refused(void **state) {
    (void)state;
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    char path[] = SCRATCH;
    int fd = mkstemp(path);
    FILE *f = fdopen(fd, "wb");
    assert_non_null(f);
    for (int byte = 0; byte < 256; byte++)
        fprintf(f, "%c%c== %d\n", digits[byte >> 2], digits[(byte & 3) << 4], byte);
    fprintf(f, "YWJj 256\n");
    assert_int_equal(fclose(f), 0);
    assert_null(tokenizer_load(path, &err));
    assert_non_null(strstr(err.text, "token 256 is not made of two earlier ones"));
    unlink(path);
}

static void wrong_files_should_be_refused_in_a_line(void **state) {
    (void)state;
#define MODEL(pre, model) "{\"pre_tokenizer\": " pre ", \"model\": " model "}"
#define LEVEL             "{\"type\": \"ByteLevel\", \"add_prefix_space\": false}"
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"", "no token for byte"},
        {"{", "not a JSON object"},
        {"{} trailing", "not a JSON object"},
        {"{\"a\": 0}", "model.vocab is missing"},
        {MODEL(LEVEL, "{\"type\": \"WordPiece\", \"vocab\": {}}"), "not BPE"},
        {MODEL("{\"type\": \"Whitespace\"}", "{\"vocab\": {}}"), "not ByteLevel"},
        {MODEL("{\"type\": \"ByteLevel\"}", "{\"vocab\": {}}"), "adds a space"},
        {MODEL(LEVEL, "{\"vocab\": {}}"), "vocabulary of 0"},
        {MODEL(LEVEL, "{\"vocab\": {\"a\": 0}}"), "no token for byte"},
        {MODEL(LEVEL, "{\"vocab\": {\"a\": 0, \"b\": 0}}"), "used twice"},
        {MODEL(LEVEL, "{\"vocab\": {\"a\": -1}}"), "vocabulary of 0"},
        {MODEL(LEVEL, "{\"vocab\": {\"a\": 0, \"b\": 0.5}}"), "out of range"},
        {MODEL(LEVEL, "{\"vocab\": {\"a\": 70000}}"), "16 bits"},
        {MODEL(LEVEL, "{\"vocab\": {\"a\": 0, \"a\": 1}}"), "same bytes"},
        {MODEL(LEVEL, "{\"vocab\": {\"a\": 0}, \"merges\": [\"a b\"]}"), "merge 0"},
        {MODEL(LEVEL, "{\"vocab\": {\"a\": 0}, \"merges\": [\"ab\"]}"), "merge 0"},
        {MODEL(LEVEL, "{\"vocab\": {\"a\": 0}, \"merges\": [[\"a\"]]}"), "merge 0"},
        {MODEL(LEVEL, "{\"vocab\": {\"a\": 0, \"aa\": 1}, \"merges\": [\"a a\", \"a a\"]}"), "repeats"},
        {MODEL("null", "{\"vocab\": {\"ab\": 0}}"), "not one character"},
        {"IQ== 0\nIg== x\n", "line 2"},
        {"IQ== 0\nIg== 99999\n", "16 bits"},
        {"IQ== 0\nIQ== 0\n", "used twice"},
        {"just some text\n", "line 1"},
    };
    char path[] = SCRATCH;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_text(path, cases[i].text);
        assert_null(tokenizer_load(path, &err));
        assert_int_equal(err.code, ERR_DATA);
        if (strstr(err.text, cases[i].says) == NULL) fail_msg("%s: says %s", cases[i].text, err.text);
        assert_non_null(strstr(err.text, path));
        assert_null(strchr(err.text, '\n'));
    }
    unlink(path);
    assert_null(tokenizer_load(path, &err));
    assert_int_equal(err.code, ERR_DATA);
    assert_null(tokenizer_load("/tmp", &err));
    assert_non_null(strstr(err.text, "holds no tokenizer"));
}

/* Every prefix of a file that loads must fail or load, never crash. */
static void truncated_files_should_not_crash(void **state) {
    (void)state;
    char path[] = SCRATCH;
    size_t length;
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    Tokenizer *t = tokenizer_create_bytes(&err);
    assert_true(tokenizer_save(t, path, &err));
    tokenizer_free(t);
    char *text = read_text(path, &length);
    for (size_t end = 0; end < length; end += 7) {
        FILE *f = fopen(path, "wb");
        assert_int_equal(fwrite(text, 1, end, f), end);
        fclose(f);
        t = tokenizer_load(path, &err);
        if (end < length - 2) assert_null(t);
        tokenizer_free(t);
    }
    free(text);
    unlink(path);
}

/* --- GPT-2 itself --- */

static void tiny_shakespeare_should_have_nanogpts_counts(void **state) {
    (void)state;
    size_t length, count, cut = 0;
    if (access(SHARED "/gpt2_vocab", F_OK) != 0 ||
        access(SHARED "/corpus/tinyshakespeare.txt", F_OK) != 0) {
        print_message("no " SHARED "/gpt2_vocab and " SHARED "/corpus/tinyshakespeare.txt: not checked\n");
        skip();
    }
    Tokenizer *t = load(SHARED "/gpt2_vocab");
    char *text = read_text(SHARED "/corpus/tinyshakespeare.txt", &length);
    cut = length * 9 / 10; /* the text is ASCII */
    free(encode(t, text, cut, &count));
    assert_int_equal(count, 301966);
    free(encode(t, text + cut, length - cut, &count));
    assert_int_equal(count, 36059);
    free(text);
    tokenizer_free(t);
}

static void gpt2_should_be_found_in_caches(void **state) {
    (void)state;
    char dir[] = SCRATCH, link_path[96], vocab[4096], merges[4096], found[4096] = "";
    if (access(SHARED "/gpt2_vocab", F_OK) != 0) {
        print_message("no " SHARED "/gpt2_vocab: not checked\n");
        skip();
    }
    assert_non_null(mkdtemp(dir));
    assert_non_null(realpath(SHARED "/gpt2_vocab/encoder.json", vocab));
    assert_non_null(realpath(SHARED "/gpt2_vocab/vocab.bpe", merges));
    snprintf(link_path, sizeof link_path, "%s/6c7ea1a7e38e3a7f062df639a5b80947f075ffe6", dir);
    assert_int_equal(symlink(vocab, link_path), 0);
    snprintf(link_path, sizeof link_path, "%s/6d1cbeee0f20b3d9449abfede4726ed8212e3aee", dir);
    assert_int_equal(symlink(merges, link_path), 0);
    setenv("TIKTOKEN_CACHE_DIR", dir, 1);
    Tokenizer *t = tokenizer_load_gpt2(found, sizeof found, &err);
    unsetenv("TIKTOKEN_CACHE_DIR");
    assert_non_null(t);
    assert_int_equal(tokenizer_vocab_size(t), 50257);
    assert_int_equal(tokenizer_end_of_text(t), 50256);
    assert_true(*found);
    tokenizer_free(t);
    unlink(link_path);
    snprintf(link_path, sizeof link_path, "%s/6c7ea1a7e38e3a7f062df639a5b80947f075ffe6", dir);
    unlink(link_path);
    rmdir(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(splitting_should_follow_gpt2),
        cmocka_unit_test(space_should_be_unicodes_white_space),
        cmocka_unit_test(bytes_that_are_not_utf8_should_be_pieces_of_their_own),
        cmocka_unit_test(a_safe_cut_should_not_change_the_pieces),
        cmocka_unit_test(ids_should_be_those_of_tiktoken),
        cmocka_unit_test(any_bytes_should_come_back),
        cmocka_unit_test(long_pieces_should_come_back),
        cmocka_unit_test(a_byte_tokenizer_should_map_bytes_to_themselves),
        cmocka_unit_test(a_char_tokenizer_should_number_characters_in_order),
        cmocka_unit_test(training_should_merge_the_most_frequent_pair_first),
        cmocka_unit_test(training_should_stop_where_nothing_repeats),
        cmocka_unit_test(training_should_refuse_other_sizes),
        cmocka_unit_test(training_should_equal_counting_anew_at_every_merge),
        cmocka_unit_test(a_saved_tokenizer_should_load_the_same),
        cmocka_unit_test(bytes_should_be_printed_as_gpt2_does),
        cmocka_unit_test(a_tiktoken_file_that_is_not_byte_pairs_should_be_refused),
        cmocka_unit_test(wrong_files_should_be_refused_in_a_line),
        cmocka_unit_test(truncated_files_should_not_crash),
        cmocka_unit_test(tiny_shakespeare_should_have_nanogpts_counts),
        cmocka_unit_test(gpt2_should_be_found_in_caches),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
