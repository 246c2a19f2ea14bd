/* test_extract_rdb.c: R databases made here, whole and damaged, through the program's own main. */
#define main extract_main
int extract_main(int argc, char **argv);
#include "scripts/extract_rdb.c"
#undef main

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/tempdir.h"

/* ----------------------------------------------------------------------------------- a database to read */

typedef struct Bytes {
    unsigned char data[4096];
    size_t size;
} Bytes;

static void put(Bytes *b, const void *data, size_t size) {
    assert_true(b->size + size <= sizeof b->data);
    memcpy(b->data + b->size, data, size);
    b->size += size;
}

static void put_word(Bytes *b, uint32_t word) {
    unsigned char big[4] = {(unsigned char)(word >> 24), (unsigned char)(word >> 16),
                            (unsigned char)(word >> 8), (unsigned char)word};
    put(b, big, 4);
}

static void put_string(Bytes *b, const char *text) {
    put_word(b, 0x40009);
    put_word(b, text ? (uint32_t)strlen(text) : UINT32_MAX);
    if (text) put(b, text, strlen(text));
}

static void put_header(Bytes *b) {
    put(b, "X\n", 2);
    put_word(b, 3);
    put_word(b, 0x40201);
    put_word(b, 0x30500);
    put_word(b, 5);
    put(b, "UTF-8", 5);
}

/* Two lines, an NA, and an empty line. */
static Bytes novel(void) {
    Bytes b = {.size = 0};
    put_header(&b);
    put_word(&b, STRINGS);
    put_word(&b, 4);
    put_string(&b, "It is a truth");
    put_string(&b, "universally acknowledged");
    put_string(&b, NULL);
    put_string(&b, "");
    return b;
}

/* Objects "empty", of no bytes, and "novel", of `length` bytes at the start of the database. */
static Bytes index_of(uint32_t length) {
    Bytes b = {.size = 0};
    put_header(&b);
    put_word(&b, LIST | HAS_ATTRIBUTES);
    put_word(&b, 3);
    put_word(&b, LIST | HAS_ATTRIBUTES);
    put_word(&b, 2);
    for (uint32_t i = 0; i < 2; i++) {
        put_word(&b, INTEGERS);
        put_word(&b, 2);
        put_word(&b, 0);
        put_word(&b, i * length);
    }
    put_word(&b, PAIRLIST | HAS_TAG);
    put_word(&b, SYMBOL);
    put_string(&b, "names");
    put_word(&b, STRINGS);
    put_word(&b, 2);
    put_string(&b, "empty");
    put_string(&b, "novel");
    return b;
}

static void write_database(const Bytes *index, const unsigned char *packed, size_t packed_size) {
    char path[128];
    snprintf(path, sizeof path, "%s/x.rdx", dir);
    gzFile g = gzopen(path, "wb");
    assert_int_equal(gzwrite(g, index->data, (unsigned)index->size), (int)index->size);
    assert_int_equal(gzclose(g), Z_OK);
    snprintf(path, sizeof path, "%s/x.rdb", dir);
    FILE *f = fopen(path, "wb");
    assert_int_equal(fwrite(packed, 1, packed_size, f), packed_size);
    assert_int_equal(fclose(f), 0);
}

static void write_object(const Bytes *object, uint32_t claimed) {
    unsigned char packed[8192] = {(unsigned char)(claimed >> 24), (unsigned char)(claimed >> 16),
                                  (unsigned char)(claimed >> 8), (unsigned char)claimed};
    uLongf size = sizeof packed - 4;
    assert_int_equal(compress(packed + 4, &size, object->data, object->size), Z_OK);
    Bytes index = index_of((uint32_t)size + 4);
    write_database(&index, packed, size + 4);
}

/* Runs the program; `out` gets what it printed, errors included. Returns its exit code. */
static int run(const char *object, char *out, size_t size) {
    char base[128], path[128], *argv[] = {(char[]){"extract_rdb"}, base, (char *)object, NULL};
    snprintf(base, sizeof base, "%s/x", dir);
    snprintf(path, sizeof path, "%s/out", dir);
    fflush(NULL);
    int to = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    int saved_out = dup(1), saved_err = dup(2);
    dup2(to, 1), dup2(to, 2);
    int code = extract_main(object ? 3 : 2, argv);
    fflush(NULL);
    dup2(saved_out, 1), dup2(saved_err, 2);
    ssize_t length = pread(to, out, size - 1, 0);
    assert_true(length >= 0);
    out[length] = '\0';
    close(to), close(saved_out), close(saved_err);
    return code;
}

/* ------------------------------------------------------------------------------------------------ tests */

static void strings_should_come_out_a_line_each(void **state) {
    (void)state;
    char out[512];
    Bytes object = novel();
    write_object(&object, (uint32_t)object.size);
    assert_int_equal(run("novel", out, sizeof out), 0);
    assert_string_equal(out, "It is a truth\nuniversally acknowledged\n\n\n");
}

static void without_an_object_the_names_should_be_listed(void **state) {
    (void)state;
    char out[512];
    Bytes object = novel();
    write_object(&object, (uint32_t)object.size);
    assert_int_equal(run(NULL, out, sizeof out), 0);
    assert_string_equal(out, "empty\nnovel\n");
}

static void objects_that_are_not_there_should_be_refused(void **state) {
    (void)state;
    char out[512];
    assert_int_equal(run("novel", out, sizeof out), ERR_IO); /* no files yet */
    Bytes object = novel();
    write_object(&object, (uint32_t)object.size);
    assert_int_equal(run("nove", out, sizeof out), ERR_DATA);
    assert_int_equal(run("novelty", out, sizeof out), ERR_DATA);
    assert_non_null(strstr(out, "no object 'novelty' in it"));
    assert_int_equal(run("empty", out, sizeof out), ERR_DATA);
}

static void objects_cut_anywhere_should_be_refused(void **state) {
    (void)state;
    char out[512];
    Bytes object = novel();
    for (size_t size = object.size; size-- > 0;) {
        object.size = size;
        write_object(&object, (uint32_t)size);
        assert_int_equal(run("novel", out, sizeof out), ERR_DATA);
    }
}

static void a_wrong_size_should_be_refused_before_it_is_allocated(void **state) {
    (void)state;
    char out[512];
    Bytes object = novel();
    const uint32_t claims[] = {0,        1,         (uint32_t)object.size - 1, (uint32_t)object.size + 1,
                               1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof claims / sizeof *claims; i++) {
        write_object(&object, claims[i]);
        assert_int_equal(run("novel", out, sizeof out), ERR_DATA);
        assert_true(claims[i] < 1u << 31 || strstr(out, "cannot unpack to"));
    }
}

static void an_index_cut_anywhere_should_be_refused(void **state) {
    (void)state;
    char out[512];
    Bytes index = index_of(40);
    unsigned char nothing[40] = {0};
    for (; index.size-- > 0;) {
        write_database(&index, nothing, sizeof nothing);
        assert_int_equal(run("novel", out, sizeof out), ERR_DATA);
    }
}

static void a_database_shorter_than_its_index_says_should_be_refused(void **state) {
    (void)state;
    char out[512];
    Bytes index = index_of(1u << 30);
    unsigned char nothing[40] = {0};
    write_database(&index, nothing, sizeof nothing);
    assert_int_equal(run("novel", out, sizeof out), ERR_DATA);
}

/* Any one byte of index or object changed: refused or read, never out of bounds (the sanitizers watch). */
static void changed_bytes_should_never_be_read_out_of_bounds(void **state) {
    (void)state;
    char out[4096];
    Bytes object = novel();
    for (size_t i = 0; i < object.size; i++) {
        Bytes changed = object;
        changed.data[i] ^= 0xff;
        write_object(&changed, (uint32_t)object.size);
        int code = run("novel", out, sizeof out);
        assert_true(code == 0 || code == ERR_DATA);
    }
    unsigned char nothing[40] = {0};
    for (size_t i = 0; i < index_of(40).size; i++) {
        Bytes changed = index_of(40);
        changed.data[i] ^= 0xff;
        write_database(&changed, nothing, sizeof nothing);
        assert_int_equal(run("novel", out, sizeof out), ERR_DATA);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(strings_should_come_out_a_line_each),
        TEST(without_an_object_the_names_should_be_listed),
        TEST(objects_that_are_not_there_should_be_refused),
        TEST(objects_cut_anywhere_should_be_refused),
        TEST(a_wrong_size_should_be_refused_before_it_is_allocated),
        TEST(an_index_cut_anywhere_should_be_refused),
        TEST(a_database_shorter_than_its_index_says_should_be_refused),
        TEST(changed_bytes_should_never_be_read_out_of_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
