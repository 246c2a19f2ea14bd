/* Strict JSON (core/json.h). */
#include "core/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static Error err;

static bool parses(const char *text) {
    cJSON *root = json_parse(text, strlen(text), "x.json", ERR_DATA, &err);
    cJSON_Delete(root);
    return root != NULL;
}

static void what_rfc_8259_allows_should_parse(void **state) {
    (void)state;
    const char *good[] = {"{}",
                          "[]",
                          " \t\r\n{\"a\": [1, -0, 0.5, 1e5, 2E-3, -12.25e+10]}\n",
                          "\"\\u0041\\\"\\\\\"",
                          "true",
                          "[0e-999, 0.0, 5e-324]",
                          "[\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"]",
                          "null",
                          "\"\\ud83d\\ude00\""};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        if (!parses(good[i])) fail_msg("%s: %s", good[i], err.text);
}

static void what_it_forbids_should_be_refused(void **state) {
    (void)state;
    const char *bad[] = {"",
                         " ",
                         "{",
                         "{} x",
                         "{}{}",
                         "[1,]",
                         "{\"a\":1,}",
                         "[01]",
                         "[1.]",
                         "[.5]",
                         "[+1]",
                         "[1e]",
                         "[0x10]",
                         "[NaN]",
                         "[inf]",
                         "[--1]",
                         "[1e-999]",
                         "[-0.001e-400]",
                         "[1-2]",
                         "[1.2.3]",
                         "{a:1}",
                         "['a']",
                         "[\"a]",
                         "[\"a\nb\"]",
                         "[\"\\u0000\"]",
                         "[\"a\\",
                         "[\"\\x\"]",
                         "[\"\xff\"]",
                         "[\"\xc0\x80\"]",
                         "[\"\xe0\x80\xaf\"]",
                         "[\"\xf0\x80\x80\xaf\"]",
                         "[\"\xed\xa0\x80\"]",
                         "[\"\\ud800\"]",
                         "// c\n{}",
                         "\xef\xbb\xbf{}",
                         "[\x01]",
                         "tru",
                         "[\"\xf4\x90\x80\x80\"]",
                         "[1 2]",
                         "]"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (parses(bad[i])) fail_msg("%s", bad[i]);
    assert_int_equal(err.code, ERR_DATA);
}

static void an_error_should_name_line_and_column(void **state) {
    (void)state;
    assert_false(parses("{\n  \"a\": 1,\n  \"b\": 007\n}"));
    assert_string_equal(err.text, "x.json: line 3, column 8: not a number in JSON");
    assert_false(parses("{}\n!"));
    assert_string_equal(err.text, "x.json: line 2, column 1: text behind the end of the document");
}

static void a_nul_byte_should_be_refused_wherever_it_is(void **state) {
    (void)state;
    assert_null(json_parse("{}\0", 3, "x.json", ERR_CONFIG, &err));
    assert_null(json_parse("[\"a\0b\"]", 7, "x.json", ERR_CONFIG, &err));
    assert_string_equal(err.text, "x.json: line 1, column 4: NUL byte");
}

static void nesting_should_end_at_the_limit(void **state) {
    (void)state;
    char text[2 * JSON_MAX_DEPTH + 3] = "";
    memset(text, '[', JSON_MAX_DEPTH);
    memset(text + JSON_MAX_DEPTH, ']', JSON_MAX_DEPTH);
    assert_true(parses(text));
    memset(text, '[', JSON_MAX_DEPTH + 1);
    memset(text + JSON_MAX_DEPTH + 1, ']', JSON_MAX_DEPTH + 1);
    assert_false(parses(text));
    char *deep = malloc(1000001);
    assert_non_null(deep);
    memset(deep, '[', 1000000);
    deep[1000000] = '\0';
    assert_false(parses(deep));
    free(deep);
}

static void truncation_anywhere_should_be_refused(void **state) {
    (void)state;
    const char *text = "{\"a\": [1.5, \"x\\n\\u0041\", true], \"b\": {\"c\": null}}";
    assert_true(parses(text));
    for (size_t n = 0; n < strlen(text); n++) {
        char *cut = strndup(text, n);
        assert_false(parses(cut));
        free(cut);
    }
}

static void files_should_be_read_up_to_their_limit(void **state) {
    (void)state;
    char path[] = "/tmp/test_json.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0 && write(fd, "{\"a\":1}", 7) == 7);
    close(fd);
    cJSON *root = json_read(path, 7, ERR_CONFIG, &err);
    assert_non_null(root);
    cJSON_Delete(root);
    assert_null(json_read(path, 6, ERR_CONFIG, &err));
    assert_non_null(strstr(err.text, "larger than 6 bytes"));
    unlink(path);
    assert_null(json_read(path, 7, ERR_CONFIG, &err));
    assert_non_null(strstr(err.text, "No such file"));
    assert_null(json_read("/tmp", 7, ERR_CONFIG, &err));
    assert_null(json_read("/dev/zero", 7, ERR_CONFIG, &err));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_rfc_8259_allows_should_parse),
        cmocka_unit_test(what_it_forbids_should_be_refused),
        cmocka_unit_test(an_error_should_name_line_and_column),
        cmocka_unit_test(a_nul_byte_should_be_refused_wherever_it_is),
        cmocka_unit_test(nesting_should_end_at_the_limit),
        cmocka_unit_test(truncation_anywhere_should_be_refused),
        cmocka_unit_test(files_should_be_read_up_to_their_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
