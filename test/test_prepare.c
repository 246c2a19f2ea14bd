/* test_prepare.c: from text files to a data folder: documents, the two splits, shards, bad input. */
#include "core/file.h"
#include "data/corpus.h"
#include "data/preparation.h"
#include "data/tokenizer.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define PATH_ROOM 256

static Error err;
static char scratch[] = "/tmp/test_prepare_XXXXXX";

/* --- helpers --- */

static char *path_of(const char *name) {
    static char names[64][PATH_ROOM];
    static int next;
    char *path = names[next = (next + 1) % 64];
    snprintf(path, PATH_ROOM, "%s/%s", scratch, name);
    return path;
}

static void write_bytes(const char *name, const char *bytes, size_t length) {
    FILE *f = fopen(path_of(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, length, f), length);
    assert_int_equal(fclose(f), 0);
}

static void write_text(const char *name, const char *text) {
    write_bytes(name, text, strlen(text));
}

/* `count` paragraphs of pseudo-random words with `between` between them; free() it. */
static char *make_text(int count, const char *between) {
    static const char *const words[] = {"one",  "two", "three", "sun", "moon",
                                        "rain", "and", "if",    "the", "of"};
    char *text = NULL;
    size_t length = 0;
    uint64_t state = 1;
    FILE *f = open_memstream(&text, &length);
    assert_non_null(f);
    for (int i = 0; i < count; i++) {
        fprintf(f, "%sparagraph %d", i ? between : "", i);
        for (int k = 0; k < 30; k++) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            fprintf(f, " %s", words[(state >> 33) % 10]);
        }
        fprintf(f, ".");
    }
    assert_int_equal(fclose(f), 0);
    return text;
}

static void make_file(const char *name, int count, const char *between) {
    char *text = make_text(count, between);
    write_text(name, text);
    free(text);
}

static bool exists(const char *name) {
    return access(path_of(name), F_OK) == 0;
}

static Corpus open_corpus(const char *name) {
    Corpus c;
    char *paths[] = {path_of(name)};
    if (!corpus_open(&c, paths, 1, NULL, &err)) fail_msg("%s", err.text);
    return c;
}

static void assert_document(Corpus *c, size_t i, const char *text) {
    const char *bytes = corpus_text(c, i, &err);
    assert_non_null(bytes);
    assert_int_equal(c->documents[i].end - c->documents[i].begin, strlen(text));
    assert_memory_equal(bytes, text, strlen(text));
}

static size_t val_bytes(const Corpus *c) {
    size_t bytes = 0;
    for (size_t i = 0; i < c->document_count; i++)
        if (c->documents[i].val) bytes += c->documents[i].end - c->documents[i].begin;
    return bytes;
}

static PrepareOptions options_for(char **input, const char *out) {
    PrepareOptions o = PREPARE_DEFAULTS;
    o.inputs = input;
    o.input_count = 1;
    o.out = out;
    return o;
}

static PrepareResult prepare(const PrepareOptions *o) {
    PrepareResult result;
    if (!prepare_run(o, NULL, &result, &err)) fail_msg("%s", err.text);
    return result;
}

/* All ids of one shard; free() them. */
static uint16_t *read_shard(const char *name, size_t *count) {
    size_t length;
    int32_t header[SHARD_HEADER_INTS];
    char *bytes = file_read(path_of(name), 1 << 24, &length, &err);
    if (bytes == NULL) fail_msg("%s", err.text);
    assert_true(length >= sizeof header);
    memcpy(header, bytes, sizeof header);
    assert_int_equal(header[0], 20240520);
    assert_int_equal(header[1], 1);
    for (int i = 3; i < SHARD_HEADER_INTS; i++) assert_int_equal(header[i], 0);
    *count = (size_t)header[2];
    assert_int_equal(length, sizeof header + *count * sizeof(uint16_t));
    memmove(bytes, bytes + sizeof header, *count * sizeof(uint16_t));
    return (uint16_t *)(void *)bytes;
}

/* --- documents --- */

static void documents_should_end_at_markers(void **state) {
    (void)state;
    write_text("a.txt", "\xef\xbb\xbf"
                        "one\n<|endoftext|>\ntwo <|endoftext|>three\n<|endoftext|>\r\n \n\t<|endoftext|>");
    Corpus c = open_corpus("a.txt");
    assert_int_equal(c.document_count, 3);
    assert_document(&c, 0, "one\n");
    assert_document(&c, 1, "two ");
    assert_document(&c, 2, "three\n");
    assert_int_equal(c.bytes, 14);
    corpus_close(&c);
}

static void folders_should_be_read_in_the_order_of_names(void **state) {
    (void)state;
    mkdir(path_of("books"), 0777);
    mkdir(path_of("books/b"), 0777);
    write_text("books/c.txt", "third");
    write_text("books/b/Z.txt", "second, deeper");
    write_text("books/B.txt", "first");
    write_text("books/.hidden", "never");
    write_text("books/d.txt", "");
    Corpus c = open_corpus("books");
    assert_int_equal(c.document_count, 3);
    assert_document(&c, 0, "first");
    assert_document(&c, 1, "second, deeper");
    assert_document(&c, 2, "third");
    assert_document(&c, 0, "first");
    corpus_close(&c);
}

/* --- training and validation --- */

static void validation_should_be_whole_documents(void **state) {
    (void)state;
    make_file("many.txt", 300, "\n<|endoftext|>\n");
    Corpus c = open_corpus("many.txt"), same = open_corpus("many.txt"), other = open_corpus("many.txt");
    assert_true(corpus_split(&c, 0.1, 1, &err) && corpus_split(&same, 0.1, 1, &err) &&
                corpus_split(&other, 0.1, 2, &err));
    assert_false(c.sections);
    assert_int_equal(c.document_count, 300);
    assert_in_range(val_bytes(&c), c.bytes * 8 / 100, c.bytes * 12 / 100);
    int different = 0;
    for (size_t i = 0; i < 300; i++) {
        assert_int_equal(c.documents[i].val, same.documents[i].val);
        different += c.documents[i].val != other.documents[i].val;
    }
    assert_true(different > 10);
    corpus_close(&c);
    corpus_close(&same);
    corpus_close(&other);
}

static void few_documents_should_be_cut_rather_than_miss_the_fraction(void **state) {
    (void)state;
    char *book = make_text(60, "\n\n"), *text = NULL;
    assert_true(asprintf(&text, "%sx" END_OF_TEXT "%sy" END_OF_TEXT "%sz", book, book, book) > 0);
    write_text("few.txt", text);
    Corpus c = open_corpus("few.txt");
    assert_int_equal(c.document_count, 3);
    assert_true(corpus_split(&c, 0.1, 1, &err));
    assert_true(c.sections);
    assert_in_range(val_bytes(&c), c.bytes * 8 / 100, c.bytes * 12 / 100);
    corpus_close(&c);
    free(text);
    free(book);
}

static void one_document_should_be_cut_at_paragraphs(void **state) {
    (void)state;
    make_file("single.txt", 400, "\n\n");
    Corpus c = open_corpus("single.txt");
    int64_t bytes = c.bytes;
    size_t end = 0;
    assert_true(corpus_split(&c, 0.1, 1, &err));
    assert_true(c.sections);
    assert_in_range(val_bytes(&c), bytes * 8 / 100, bytes * 12 / 100);
    for (size_t i = 0; i < c.document_count; i++) {
        const char *text = corpus_text(&c, i, &err);
        assert_int_equal(c.documents[i].begin, end);
        assert_memory_equal(text, "paragraph ", 10);
        if (i) assert_true(c.documents[i].val != c.documents[i - 1].val);
        end = c.documents[i].end;
    }
    assert_int_equal(end, bytes);
    corpus_close(&c);
}

static void text_without_paragraphs_should_be_cut_at_words(void **state) {
    (void)state;
    make_file("line.txt", 400, " ");
    Corpus c = open_corpus("line.txt");
    assert_true(corpus_split(&c, 0.1, 1, &err));
    assert_true(c.document_count > 2);
    for (size_t i = 1; i < c.document_count; i++) assert_int_equal(*corpus_text(&c, i, &err), ' ');
    corpus_close(&c);
}

static void the_tail_should_be_cut_by_characters(void **state) {
    (void)state;
    write_text("tail.txt", "abcd<|endoftext|>éééééé<|endoftext|>xy");
    Corpus c = open_corpus("tail.txt");
    assert_true(corpus_split_tail(&c, 0.5, &err)); /* 12 characters */
    assert_int_equal(c.document_count, 4);
    assert_document(&c, 0, "abcd");
    assert_document(&c, 1, "éé");
    assert_document(&c, 2, "éééé");
    assert_document(&c, 3, "xy");
    assert_false(c.documents[1].val);
    assert_true(c.documents[2].val && c.documents[3].val);
    corpus_close(&c);
}

/* --- the folder --- */

static void shards_should_hold_the_text(void **state) {
    (void)state;
    make_file("text.txt", 50, "\n<|endoftext|>\n");
    char *text = make_text(50, "\n" END_OF_TEXT), *input = path_of("text.txt"), *out = path_of("made/data");
    PrepareOptions o = options_for(&input, out);
    o.val_frac = 0;
    o.shard_tokens = 1000;
    PrepareResult r = prepare(&o);
    Tokenizer *t = tokenizer_load(path_of("made/data/tokenizer.json"), &err);
    assert_non_null(t);
    assert_int_equal(r.info.train_documents, 50);
    assert_int_equal(r.info.vocab_size, tokenizer_vocab_size(t));
    assert_false(exists("made/data/val_000000.bin"));
    size_t at = 0, count, tokens = 0;
    for (int shard = 0; at < strlen(text); shard++) {
        char name[64], decoded[1 << 14];
        snprintf(name, sizeof name, "made/data/train_%06d.bin", shard);
        uint16_t *ids = read_shard(name, &count);
        size_t length = tokenizer_decode(t, ids, count, decoded, sizeof decoded);
        assert_true(at + length <= strlen(text));
        assert_memory_equal(decoded, text + at, length);
        assert_true(count == 1000 || at + length == strlen(text));
        at += length;
        tokens += count;
        free(ids);
    }
    assert_int_equal(tokens, r.info.train_tokens);
    tokenizer_free(t);
    free(text);
}

static void the_folder_should_describe_itself(void **state) {
    (void)state;
    DatasetInfo info;
    make_file("text.txt", 50, "\n<|endoftext|>\n");
    char *input = path_of("text.txt"), *out = path_of("described");
    PrepareOptions o = options_for(&input, out);
    o.vocab_size = 280;
    PrepareResult r = prepare(&o);
    assert_true(dataset_info(out, &info, &err));
    assert_memory_equal(&info, &r.info, sizeof info);
    assert_int_equal(info.vocab_size, 280);
    assert_int_equal(info.end_of_text, 279);
    assert_int_equal(info.train_documents + info.val_documents, 50);
    assert_string_equal(info.tokenizer, "bpe");
    size_t train, val;
    free(read_shard("described/train_000000.bin", &train));
    free(read_shard("described/val_000000.bin", &val));
    assert_int_equal(train, info.train_tokens);
    assert_int_equal(val, info.val_tokens);
}

static void char_should_need_an_end_of_text_only_between_documents(void **state) {
    (void)state;
    char *input = path_of("c.txt"), *out = path_of("char");
    PrepareOptions o = options_for(&input, out);
    o.tokenizer = "char";
    o.val_tail = true;
    write_text("c.txt", "abcabcabca");
    PrepareResult r = prepare(&o);
    assert_int_equal(r.info.vocab_size, 3);
    assert_int_equal(r.info.end_of_text, -1);
    assert_int_equal(r.info.train_tokens, 9);
    assert_int_equal(r.info.val_tokens, 1);
    write_text("c.txt", "abc<|endoftext|>abc");
    r = prepare(&o);
    assert_int_equal(r.info.vocab_size, 4);
    assert_int_equal(r.info.end_of_text, 3);
    assert_int_equal(r.info.train_tokens + r.info.val_tokens, 7);
}

/* Only text of the training split may shape the vocabulary. */
static void bpe_should_not_learn_from_validation(void **state) {
    (void)state;
    write_text("leak.txt", "aa aa aa aa aa aa aa aa aa aa zqzqzqzqzqzqzqzq");
    char *input = path_of("leak.txt"), *out = path_of("leak");
    PrepareOptions o = options_for(&input, out);
    o.val_tail = true;
    o.val_frac = 0.4;
    PrepareResult r = prepare(&o);
    Tokenizer *t = tokenizer_load(path_of("leak/tokenizer.json"), &err);
    uint16_t ids[4];
    assert_int_equal(tokenizer_encode(t, "zq", 2, ids, &err), 2);
    assert_int_equal(r.info.vocab_size, 256 + 2 + 1);
    tokenizer_free(t);
}

static void preparing_again_should_replace_only_its_own_files(void **state) {
    (void)state;
    make_file("text.txt", 50, "\n<|endoftext|>\n");
    char *input = path_of("text.txt"), *out = path_of("again");
    PrepareOptions o = options_for(&input, out);
    o.shard_tokens = 300;
    prepare(&o);
    assert_true(exists("again/train_000001.bin"));
    write_text("again/notes.txt", "mine");
    write_text("again/train_000007.bin.tmp", "left by a process that was killed");
    o.shard_tokens = 100000;
    prepare(&o);
    assert_true(exists("again/train_000000.bin"));
    assert_false(exists("again/train_000001.bin"));
    assert_false(exists("again/train_000007.bin.tmp"));
    assert_true(exists("again/notes.txt"));
}

static void a_failed_preparation_should_leave_the_old_folder(void **state) {
    (void)state;
    DatasetInfo before, after;
    PrepareResult result;
    make_file("text.txt", 50, "\n<|endoftext|>\n");
    char *input = path_of("text.txt"), *out = path_of("kept");
    PrepareOptions o = options_for(&input, out);
    prepare(&o);
    assert_true(dataset_info(out, &before, &err));
    mkdir(path_of("kept/val_000000.bin.tmp"), 0777); /* the second split cannot be written */
    o.tokenizer = "byte";
    assert_false(prepare_run(&o, NULL, &result, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.text, "val_000000.bin.tmp"));
    assert_true(dataset_info(out, &after, &err));
    assert_memory_equal(&before, &after, sizeof before);
    assert_false(exists("kept/train_000000.bin.tmp"));
}

static void a_half_replaced_folder_should_not_look_whole(void **state) {
    (void)state;
    DatasetInfo info;
    PrepareResult result;
    make_file("text.txt", 50, "\n<|endoftext|>\n");
    char *input = path_of("text.txt"), *out = path_of("half");
    PrepareOptions o = options_for(&input, out);
    prepare(&o);
    unlink(path_of("half/val_000000.bin"));
    mkdir(path_of("half/val_000000.bin"), 0777); /* train can be put in place, val cannot */
    assert_false(prepare_run(&o, NULL, &result, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_false(dataset_info(out, &info, &err));
    assert_int_equal(err.code, ERR_DATA);
    assert_false(exists("half/dataset.json.tmp"));
}

static void two_at_once_should_not_mix(void **state) {
    (void)state;
    PrepareResult result;
    make_file("text.txt", 50, "\n<|endoftext|>\n");
    char *input = path_of("text.txt"), *out = path_of("busy");
    PrepareOptions o = options_for(&input, out);
    prepare(&o);
    int fd = open(out, O_RDONLY | O_DIRECTORY);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_false(prepare_run(&o, NULL, &result, &err));
    assert_int_equal(err.code, ERR_BUSY);
    close(fd);
    prepare(&o);
}

/* --- what is wrong --- */

static void assert_refused(const PrepareOptions *o, ErrorCode code, const char *says) {
    PrepareResult result;
    assert_false(prepare_run(o, NULL, &result, &err));
    if (strstr(err.text, says) == NULL) fail_msg("\"%s\" does not say \"%s\"", err.text, says);
    assert_int_equal(err.code, code);
    assert_null(strchr(err.text, '\n'));
    assert_false(exists("refused/dataset.json"));
}

static void wrong_text_should_be_refused_in_a_line(void **state) {
    (void)state;
    static const struct {
        const char *bytes;
        size_t length;
        const char *says;
    } cases[] = {
        {"", 0, "no text"},
        {" \n\n", 3, "no text"},
        {END_OF_TEXT, 13, "no text"},
        {"abc\0def", 7, "binary, not text (a zero byte at 3)"},
        {"caf\xe9 au lait", 12, "not UTF-8 text (byte 0xe9 at 3)"},
        {"0123456789abcdef\xc3", 17, "not UTF-8 text (byte 0xc3 at 16)"},
        {"\xed\xa0\x80", 3, "not UTF-8 text"},
        {"\xc0\x80", 2, "not UTF-8 text"},
        {"\xe0\x80\x80", 3, "not UTF-8 text"},
        {"\xf0\x80\x80\x80", 4, "not UTF-8 text"},
        {"\xf4\x90\x80\x80", 4, "not UTF-8 text"},
        {"too short to divide", 19, "too few"},
    };
    char *input = path_of("wrong.txt"), *out = path_of("refused");
    PrepareOptions o = options_for(&input, out);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        write_bytes("wrong.txt", cases[i].bytes, cases[i].length);
        assert_refused(&o, ERR_DATA, cases[i].says);
        assert_non_null(strstr(err.text, "wrong.txt"));
    }
    unlink(path_of("wrong.txt"));
    assert_refused(&o, ERR_DATA, "no such file");
}

static void wrong_options_should_be_refused_in_a_line(void **state) {
    (void)state;
    make_file("text.txt", 50, "\n<|endoftext|>\n");
    char *input = path_of("text.txt"), *out = path_of("refused");
    const PrepareOptions good = options_for(&input, out);
    PrepareOptions o = good;
    o.vocab_size = 256;
    assert_refused(&o, ERR_CONFIG, "--vocab-size 256");
    o.vocab_size = 65536;
    assert_refused(&o, ERR_CONFIG, "[257,50257]");
    o = good, o.val_frac = 0.6;
    assert_refused(&o, ERR_CONFIG, "--val-frac 0.6");
    o = good, o.shard_tokens = 0;
    assert_refused(&o, ERR_CONFIG, "--shard-tokens 0");
    o = good, o.tokenizer = "bpee";
    assert_refused(&o, ERR_CONFIG, "bpee");
    o = good, o.tokenizer = input;
    assert_refused(&o, ERR_DATA, "line 1");
    o = good, o.out = input;
    assert_refused(&o, ERR_IO, "text.txt");
    o = good, o.out = "/proc/none/here";
    assert_refused(&o, ERR_IO, "/proc/none: cannot be created");
}

static void characters_that_a_given_tokenizer_lacks_should_be_named(void **state) {
    (void)state;
    write_text("c.txt", "abcabcabca");
    write_text("d.txt", "abcXabcabc");
    char *input = path_of("c.txt"), *out = path_of("lacking");
    PrepareOptions o = options_for(&input, out);
    o.tokenizer = "char";
    o.val_frac = 0;
    prepare(&o);
    char *other = path_of("d.txt"), *tokenizer = path_of("lacking/tokenizer.json");
    o = options_for(&other, path_of("refused"));
    o.val_frac = 0;
    o.tokenizer = tokenizer;
    assert_refused(&o, ERR_DATA, "byte 3: the character X");
    assert_non_null(strstr(err.text, "d.txt"));
}

static void a_folder_that_was_not_prepared_should_say_what_to_type(void **state) {
    (void)state;
    DatasetInfo info;
#define INFO(vocab_size, end_of_text, tokens)                                                              \
    "{\"tokenizer\": \"bpe\", \"vocab_size\": " vocab_size ", \"end_of_text\": " end_of_text               \
    ", \"train_tokens\": " tokens                                                                          \
    ", \"val_tokens\": 0, \"train_documents\": 1, \"val_documents\": 1, \"bytes\": 1}"
    static const struct {
        const char *text, *says;
    } wrong[] = {
        {"", "not a JSON object"},
        {"[]", "not a JSON object"},
        {INFO("9", "8", "7") "}", "not a JSON object"},
        {"{}", "\"vocab_size\" must be"},
        {INFO("0", "-1", "7"), "\"vocab_size\" must be"},
        {INFO("1.5", "-1", "7"), "\"vocab_size\" must be"},
        {INFO("\"9\"", "8", "7"), "\"vocab_size\" must be"},
        {INFO("1e999", "8", "7"), "\"vocab_size\" must be"},
        {INFO("65536", "8", "7"), "more than 65535"},
        {INFO("9", "9", "7"), "end_of_text 9 must be below"},
        {INFO("9", "-2", "7"), "\"end_of_text\" must be"},
        {INFO("9", "8", "-7"), "\"train_tokens\" must be"},
    };
    assert_false(dataset_info(path_of("nowhere"), &info, &err));
    assert_int_equal(err.code, ERR_DATA);
    assert_non_null(
        strstr(err.text, "nowhere: not prepared; type: make quickstart, or ./prepare FILE... --out "));
    mkdir(path_of("wrong"), 0777);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        write_text("wrong/dataset.json", wrong[i].text);
        assert_false(dataset_info(path_of("wrong"), &info, &err));
        assert_int_equal(err.code, ERR_DATA);
        assert_non_null(strstr(err.text, "wrong/dataset.json"));
        if (strstr(err.text, wrong[i].says) == NULL) fail_msg("%s: says %s", wrong[i].text, err.text);
    }
    write_text("wrong/dataset.json", INFO("9", "8", "7"));
    assert_true(dataset_info(path_of("wrong"), &info, &err));
    assert_int_equal(info.vocab_size, 9);
    assert_int_equal(info.train_tokens, 7);
}

static int make_scratch(void **state) {
    (void)state;
    return mkdtemp(scratch) ? 0 : -1;
}

static int remove_scratch(void **state) {
    (void)state;
    char command[PATH_ROOM];
    snprintf(command, sizeof command, "rm -rf %s", scratch);
    return system(command);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(documents_should_end_at_markers),
        cmocka_unit_test(folders_should_be_read_in_the_order_of_names),
        cmocka_unit_test(validation_should_be_whole_documents),
        cmocka_unit_test(few_documents_should_be_cut_rather_than_miss_the_fraction),
        cmocka_unit_test(one_document_should_be_cut_at_paragraphs),
        cmocka_unit_test(text_without_paragraphs_should_be_cut_at_words),
        cmocka_unit_test(the_tail_should_be_cut_by_characters),
        cmocka_unit_test(shards_should_hold_the_text),
        cmocka_unit_test(the_folder_should_describe_itself),
        cmocka_unit_test(char_should_need_an_end_of_text_only_between_documents),
        cmocka_unit_test(bpe_should_not_learn_from_validation),
        cmocka_unit_test(preparing_again_should_replace_only_its_own_files),
        cmocka_unit_test(a_failed_preparation_should_leave_the_old_folder),
        cmocka_unit_test(a_half_replaced_folder_should_not_look_whole),
        cmocka_unit_test(two_at_once_should_not_mix),
        cmocka_unit_test(wrong_text_should_be_refused_in_a_line),
        cmocka_unit_test(wrong_options_should_be_refused_in_a_line),
        cmocka_unit_test(characters_that_a_given_tokenizer_lacks_should_be_named),
        cmocka_unit_test(a_folder_that_was_not_prepared_should_say_what_to_type),
    };
    return cmocka_run_group_tests(tests, make_scratch, remove_scratch);
}
