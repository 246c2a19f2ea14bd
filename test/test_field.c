/* Values from text and back (core/field.h). */
#include "core/field.h"

#include <float.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

typedef struct Thing {
    bool on;
    int64_t count, any;
    double share, size, real;
    int kind;
    char name[FIELD_TEXT_MAX], note[FIELD_TEXT_MAX];
} Thing;

static const Field fields[] = {
    {"on", FIELD_BOOL, offsetof(Thing, on), "true", "", ""},
    {"count", FIELD_INT, offsetof(Thing, count), "3", "[1,inf)", ""},
    {"any", FIELD_INT, offsetof(Thing, any), "-7", "", ""},
    {"share", FIELD_REAL, offsetof(Thing, share), "0.5", "[0,1)", ""},
    {"size", FIELD_REAL, offsetof(Thing, size), "1e-8", "(0,inf)", ""},
    {"real", FIELD_REAL, offsetof(Thing, real), "-0.25", "", ""},
    {"kind", FIELD_CHOICE, offsetof(Thing, kind), "linear", "constant|cosine|linear", ""},
    {"name", FIELD_TEXT, offsetof(Thing, name), "x", "nonempty", ""},
    {"note", FIELD_TEXT, offsetof(Thing, note), "", "", ""},
    {0}};

static Thing thing;
static Error err;

static bool set(const char *name, const char *text) {
    return field_set(field_find(fields, name), &thing, text, &err);
}

static void defaults_should_be_set_from_their_texts(void **state) {
    (void)state;
    memset(&thing, 0xee, sizeof thing);
    field_defaults(fields, &thing);
    assert_true(thing.on && thing.count == 3 && thing.any == -7 && thing.kind == 2);
    assert_true(thing.share == 0.5 && thing.size == 1e-8 && thing.real == -0.25);
    assert_string_equal(thing.name, "x");
    assert_string_equal(thing.note, "");
}

static void integers_should_be_exact_over_all_of_int64(void **state) {
    (void)state;
    assert_true(set("any", "9223372036854775807") && thing.any == INT64_MAX);
    assert_true(set("any", "-9223372036854775808") && thing.any == INT64_MIN);
    assert_true(set("any", "9007199254740993") && thing.any == 9007199254740993);
    assert_true(set("any", "1e9") && thing.any == 1000000000);
    assert_true(set("any", "2.0") && thing.any == 2);
    assert_true(set("any", "0") && thing.any == 0);
    thing.any = 5;
    const char *wrong[] = {"9223372036854775808",
                           "-9223372036854775809",
                           "99999999999999999999999",
                           "1.5",
                           "1e400",
                           "9.007199254740993e15",
                           "1e-400",
                           "ten",
                           "true"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) assert_false(set("any", wrong[i]));
    assert_int_equal(thing.any, 5);
}

static void numbers_should_take_the_whole_text_and_only_decimals(void **state) {
    (void)state;
    const char *wrong[] = {"",       " 1",     "1 ",   "+1",    "0x10",     "010",  "1e",
                           "1e+",    "e5",     ".",    "-",     "--1",      "1,5",  "1.2.",
                           "inf",    "-inf",   "nan",  "NaN",   "1e5x",     "1d5",  "1e999",
                           "-1e999", "1e-999", "00.5", "0x1p3", "infinity", "1_000"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        assert_false(set("real", wrong[i]));
        assert_false(set("any", wrong[i]));
    }
    assert_true(set("real", ".5") && thing.real == 0.5);
    assert_true(set("real", "-2E+3") && thing.real == -2000);
    assert_true(set("real", "0e5") && thing.real == 0);
    assert_true(set("real", "0.000") && thing.real == 0);
}

static void ends_of_a_range_should_be_open_or_closed_as_written(void **state) {
    (void)state;
    assert_true(set("share", "0") && set("share", "0.999999"));
    assert_false(set("share", "1"));
    assert_false(set("share", "-1e-9"));
    assert_false(set("size", "0"));
    assert_true(set("size", "1e300"));
    assert_true(set("count", "1"));
    assert_false(set("count", "0"));
    assert_string_equal(err.text, "0 must be an integer in [1,inf)");
    assert_int_equal(err.code, ERR_CONFIG);
}

static void a_refused_value_should_leave_the_member_alone(void **state) {
    (void)state;
    field_defaults(fields, &thing);
    Thing before = thing;
    assert_false(set("on", "yes") || set("on", "True") || set("on", "1") || set("count", "-1") ||
                 set("share", "7") || set("kind", "2") || set("name", ""));
    assert_memory_equal(&before, &thing, sizeof thing);
}

static void a_misspelt_choice_should_name_the_words_and_the_nearest(void **state) {
    (void)state;
    assert_true(set("kind", "cosine") && thing.kind == 1);
    assert_false(set("kind", "cosin"));
    assert_string_equal(err.text,
                        "\"cosin\" must be one of constant|cosine|linear; did you mean \"cosine\"?");
    assert_false(set("kind", "Linear"));
    assert_non_null(strstr(err.text, "did you mean \"linear\""));
    assert_false(set("kind", "constant|cosine"));
    assert_false(set("kind", ""));
}

static void text_should_fit_or_be_refused(void **state) {
    (void)state;
    char text[FIELD_TEXT_MAX + 1];
    memset(text, 'a', sizeof text);
    text[FIELD_TEXT_MAX] = '\0';
    assert_false(set("note", text));
    text[FIELD_TEXT_MAX - 1] = '\0';
    assert_true(set("note", text));
    assert_string_equal(thing.note, text);
    assert_true(set("note", "") && !set("name", ""));
}

static void text_of_a_value_should_read_back_to_the_same_bits(void **state) {
    (void)state;
    const double values[] = {0.1, 0.02, 1.0 / 3, 5e-324, DBL_MAX, -DBL_MIN, 0.30000000000000004, 1e22, 3.0};
    const Field *field = field_find(fields, "real");
    char text[64];
    for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
        thing.real = values[i];
        field_text(field, &thing, text, sizeof text);
        thing.real = 0;
        assert_true(field_set(field, &thing, text, &err));
        assert_memory_equal(&thing.real, &values[i], sizeof(double));
    }
    thing.real = 0.02;
    assert_string_equal(field_text(field, &thing, text, sizeof text), "0.02");
    field_defaults(fields, &thing);
    const char *texts[] = {"true", "3", "-7", "0.5", "1e-08", "-0.25", "linear", "x", ""};
    for (int i = 0; fields[i].name; i++)
        assert_string_equal(field_text(&fields[i], &thing, text, sizeof text), texts[i]);
}

static void nearest_name_should_forgive_slips_but_not_guess(void **state) {
    (void)state;
    const char *const names[] = {"lr", "weight_decay", "beta1", "softmuon", "softsignum", "muon", NULL};
    assert_string_equal(nearest_name("softmoun", names), "softmuon");
    assert_string_equal(nearest_name("SoftMuon", names), "softmuon");
    assert_string_equal(nearest_name("wieght_decay", names), "weight_decay");
    assert_string_equal(nearest_name("weight", names), "weight_decay");
    assert_string_equal(nearest_name("LR", names), "lr");
    assert_string_equal(nearest_name("rl", names), "lr");
    assert_string_equal(nearest_name("beta_1", names), "beta1");
    assert_null(nearest_name("banana", names));
    assert_null(nearest_name("", names));
    assert_null(nearest_name("x", names));
    assert_null(nearest_name("a_word_that_is_far_longer_than_any_name_could_ever_be", names));
}

static void an_unknown_field_should_not_be_found(void **state) {
    (void)state;
    assert_null(field_find(fields, "Count"));
    assert_null(field_find(NULL, "count"));
    assert_ptr_equal(field_find(fields, "count"), &fields[1]);
}

static void words_should_set_fields_of_two_tables(void **state) {
    (void)state;
    static const Field others[] = {{"extra", FIELD_INT, 0, "1", "[0,9]", "another table's"}, {0}};
    int64_t extra = 1;
    const Field *const tables[2] = {others, fields};
    void *const objects[2] = {&extra, &thing};
    field_defaults(fields, &thing);
    assert_true(field_set_words(tables, objects, "real=0.75  extra=7 kind=cosine", &err));
    assert_true(thing.real == 0.75 && extra == 7);
    assert_true(field_set_words(tables, objects, "", &err));
    assert_false(field_set_words(tables, objects, "extra=10", &err));
    assert_false(field_set_words(tables, objects, "reel=1", &err));
    assert_string_equal(err.text, "reel: no such setting");
    assert_false(field_set_words(tables, objects, "real", &err));
    assert_false(field_set_words((const Field *const[2]){others, NULL}, objects, "real=1", &err));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_should_be_set_from_their_texts),
        cmocka_unit_test(integers_should_be_exact_over_all_of_int64),
        cmocka_unit_test(numbers_should_take_the_whole_text_and_only_decimals),
        cmocka_unit_test(ends_of_a_range_should_be_open_or_closed_as_written),
        cmocka_unit_test(a_refused_value_should_leave_the_member_alone),
        cmocka_unit_test(a_misspelt_choice_should_name_the_words_and_the_nearest),
        cmocka_unit_test(text_should_fit_or_be_refused),
        cmocka_unit_test(text_of_a_value_should_read_back_to_the_same_bits),
        cmocka_unit_test(nearest_name_should_forgive_slips_but_not_guess),
        cmocka_unit_test(an_unknown_field_should_not_be_found),
        cmocka_unit_test(words_should_set_fields_of_two_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
