/* test_events.c: event files byte for byte as TensorBoard's own writer makes them, and the CRC's known answers. */
#include "train/events.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* tensorboard 2.21.0: RecordWriter over event_pb2.Event(...).SerializeToString(deterministic=True). */

/* wall_time=1.5, file_version="brain.Event:2" */
static const uint8_t VERSION[] = {
    0x18, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0xa3, 0x7f, 0x4b, 0x22, 0x09, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x00, 0xf8, 0x3f, 0x1a, 0x0d, 0x62, 0x72, 0x61, 0x69, 0x6e,
    0x2e, 0x45, 0x76, 0x65, 0x6e, 0x74, 0x3a, 0x32, 0x2a, 0x28, 0x64, 0x6c,
};

/* wall_time=1795845889.25, step=300, tokens 1000, val/loss 2.3, lr 0.001 */
static const uint8_t FIGURES[] = {
    0x39, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x8b, 0x07, 0x37, 0xf1, 0x09, 0x00, 0x00,
    0x50, 0xc0, 0x9b, 0xc2, 0xda, 0x41, 0x10, 0xac, 0x02, 0x2a, 0x2b, 0x0a, 0x0d, 0x0a, 0x06,
    0x74, 0x6f, 0x6b, 0x65, 0x6e, 0x73, 0x15, 0x00, 0x00, 0x7a, 0x44, 0x0a, 0x0f, 0x0a, 0x08,
    0x76, 0x61, 0x6c, 0x2f, 0x6c, 0x6f, 0x73, 0x73, 0x15, 0x33, 0x33, 0x13, 0x40, 0x0a, 0x09,
    0x0a, 0x02, 0x6c, 0x72, 0x15, 0x6f, 0x12, 0x83, 0x3a, 0xb8, 0x85, 0xc2, 0xa3,
};

/* wall_time=2, step=7, "samples": "    a\n    b\u00e9\ufffd\ufffd", plug-in "text" */
static const uint8_t TEXT[] = {
    0x3d, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x60, 0x49, 0xf1, 0xec, 0x09, 0x00, 0x00, 0x00,
    0x00, 0x00, 0x00, 0x00, 0x40, 0x10, 0x07, 0x2a, 0x30, 0x0a, 0x2e, 0x0a, 0x07, 0x73, 0x61, 0x6d,
    0x70, 0x6c, 0x65, 0x73, 0x42, 0x19, 0x08, 0x07, 0x12, 0x00, 0x42, 0x13, 0x20, 0x20, 0x20, 0x20,
    0x61, 0x0a, 0x20, 0x20, 0x20, 0x20, 0x62, 0xc3, 0xa9, 0xef, 0xbf, 0xbd, 0xef, 0xbf, 0xbd, 0x4a,
    0x08, 0x0a, 0x06, 0x0a, 0x04, 0x74, 0x65, 0x78, 0x74, 0xf5, 0x73, 0xcf, 0x72,
};

static void check(char *bytes, size_t size, const uint8_t *expected, size_t expected_size) {
    assert_non_null(bytes);
    assert_int_equal(size, expected_size);
    assert_memory_equal(bytes, expected, size);
    free(bytes);
}

static void crc32c_has_its_known_answers(void **state) {
    (void)state;
    uint8_t bytes[32];
    memset(bytes, 0, sizeof bytes);
    assert_int_equal(events_crc32c(bytes, 32), 0x8a9136aa); /* RFC 3720, B.4 */
    memset(bytes, 0xff, sizeof bytes);
    assert_int_equal(events_crc32c(bytes, 32), 0x62a8ab43);
    for (uint8_t i = 0; i < 32; i++) bytes[i] = i;
    assert_int_equal(events_crc32c(bytes, 32), 0x46dd794e);
    for (uint8_t i = 0; i < 32; i++) bytes[i] = 31 - i;
    assert_int_equal(events_crc32c(bytes, 32), 0x113fdb5c);
    assert_int_equal(events_crc32c("123456789", 9), 0xe3069283);
    assert_int_equal(events_crc32c("", 0), 0);
}

static void a_file_begins_with_its_version(void **state) {
    (void)state;
    size_t size;
    char *bytes = events_version(1.5, &size);
    check(bytes, size, VERSION, sizeof VERSION);
}

static void figures_are_one_event_of_scalars(void **state) {
    (void)state;
    size_t size;
    StepRecord r = step_record_empty();
    r.step = 300, r.tokens = 1000, r.val_loss = 2.3, r.lr = 1e-3;
    r.temperature = INFINITY; /* a hard phase: no number to show */
    char *bytes = events_figures(&r, 1795845889.25, &size);
    check(bytes, size, FIGURES, sizeof FIGURES);
    r.step = 128; /* the first step of two bytes */
    bytes = events_figures(&r, 1, &size);
    assert_memory_equal(bytes + 21, "\x10\x80\x01", 3);
    free(bytes);
}

static void text_is_a_code_block_of_what_is_utf8(void **state) {
    (void)state;
    size_t size;
    const char text[] = "a\nb\u00e9\xff\0";
    char *bytes = events_text(7, "samples", text, sizeof text - 1, 2, &size);
    check(bytes, size, TEXT, sizeof TEXT);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(crc32c_has_its_known_answers),
        cmocka_unit_test(a_file_begins_with_its_version),
        cmocka_unit_test(figures_are_one_event_of_scalars),
        cmocka_unit_test(text_is_a_code_block_of_what_is_utf8),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
