/* events.c: see events.h. */
#include "train/events.h"

#include "core/utf8.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Grows as it is written to; `failed` stays once memory has run out. */
typedef struct Bytes {
    char *data;
    size_t size, room;
    bool failed;
} Bytes;

static void put(Bytes *b, const void *bytes, size_t size) {
    if (b->size + size > b->room && !b->failed) {
        size_t room = 2 * (b->size + size) + 64;
        char *more = realloc(b->data, room);
        b->failed = more == NULL;
        if (more) b->data = more, b->room = room;
    }
    if (b->failed || size == 0) return;
    memcpy(b->data + b->size, bytes, size);
    b->size += size;
}

static void put_little_endian(Bytes *b, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++) put(b, &(uint8_t){(uint8_t)(value >> (8 * i))}, 1);
}

/* -------------------------------------------------------------------------------------------- protocol buffers */

/* How the value of a field is written; the numbers of the fields are those of the .proto files. */
enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

static void put_varint(Bytes *b, uint64_t value) {
    for (; value >= 0x80; value >>= 7) put(b, &(uint8_t){(uint8_t)(value | 0x80)}, 1);
    put(b, &(uint8_t){(uint8_t)value}, 1);
}

static void put_tag(Bytes *b, unsigned field, unsigned wire) {
    put_varint(b, field << 3 | wire);
}

static void put_integer(Bytes *b, unsigned field, uint64_t value) {
    put_tag(b, field, WIRE_VARINT);
    put_varint(b, value);
}

static void put_bytes(Bytes *b, unsigned field, const void *bytes, size_t size) {
    put_tag(b, field, WIRE_BYTES);
    put_varint(b, size);
    put(b, bytes, size);
}

/* A message in a message; frees the inner one. */
static void put_message(Bytes *b, unsigned field, Bytes *inner) {
    put_bytes(b, field, inner->data, inner->size);
    b->failed |= inner->failed;
    free(inner->data);
    *inner = (Bytes){0};
}

static void put_double(Bytes *b, unsigned field, double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_tag(b, field, WIRE_64);
    put_little_endian(b, bits, 8);
}

static void put_float(Bytes *b, unsigned field, float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    put_tag(b, field, WIRE_32);
    put_little_endian(b, bits, 4);
}

/* ------------------------------------------------------------------------------------------------------ frames */

/* Reflected polynomial of Castagnoli. A bit at a time: records are short. */
uint32_t events_crc32c(const void *bytes, size_t size) {
    uint32_t crc = ~0u;
    for (size_t i = 0; i < size; i++) {
        crc ^= ((const uint8_t *)bytes)[i];
        for (int bit = 0; bit < 8; bit++) crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
    }
    return ~crc;
}

/* TFRecord masks a CRC so that one taken over data that hold CRCs stays a good one. */
static uint32_t masked_crc(const void *bytes, size_t size) {
    uint32_t crc = events_crc32c(bytes, size);
    return (crc >> 15 | crc << 17) + 0xa282ead8u;
}

/* The event as a record; frees it. */
static char *frame(Bytes *event, size_t *size) {
    Bytes record = {.failed = event->failed};
    put_little_endian(&record, event->size, 8);
    if (!record.failed) put_little_endian(&record, masked_crc(record.data, 8), 4);
    put(&record, event->data, event->size);
    if (!record.failed) put_little_endian(&record, masked_crc(event->data, event->size), 4);
    free(event->data);
    if (record.failed) free(record.data);
    *size = record.size;
    return record.failed ? NULL : record.data;
}

/* Event: wall_time = 1, step = 2, file_version = 3, summary = 5. */
static Bytes begin_event(double wall_s, int64_t step) {
    Bytes event = {0};
    put_double(&event, 1, wall_s);
    if (step) put_integer(&event, 2, (uint64_t)step); /* 0 is what a reader takes where there is none */
    return event;
}

char *events_version(double wall_s, size_t *size) {
    static const char version[] = "brain.Event:2";
    Bytes event = begin_event(wall_s, 0);
    put_bytes(&event, 3, version, strlen(version));
    return frame(&event, size);
}

/* Summary: value = 1, which is tag = 1, simple_value = 2. */
static void put_scalar(Bytes *summary, const char *tag, double value) {
    Bytes entry = {0};
    put_bytes(&entry, 1, tag, strlen(tag));
    put_float(&entry, 2, (float)value);
    put_message(summary, 1, &entry);
}

char *events_figures(const StepRecord *record, double wall_s, size_t *size) {
    StepRecord r = *record;
    Bytes event = begin_event(wall_s, r.step), summary = {0};
    put_scalar(&summary, "tokens", (double)r.tokens);
    for (const StepFigure *f = STEP_FIGURES; f->key; f++)
        if (isfinite(*step_figure(&r, f))) put_scalar(&summary, f->key, *step_figure(&r, f));
    put_message(&event, 5, &summary);
    return frame(&event, size);
}

/* -------------------------------------------------------------------------------------------------------- text */

/* Four blanks before each line make a code block of Markdown. */
static void put_markdown(Bytes *b, const char *text, size_t length) {
    put(b, "    ", 4);
    while (length > 0) {
        uint32_t code = 0;
        int n = utf8_decode(text, length, &code);
        bool shown = n > 0 && (code >= ' ' || code == '\n' || code == '\t') && code != 0x7f;
        if (shown) put(b, text, (size_t)n);
        else put(b, "\xef\xbf\xbd", 3); /* U+FFFD */
        if (n > 0 && code == '\n') put(b, "    ", 4);
        text += n > 0 ? n : 1;
        length -= (size_t)(n > 0 ? n : 1);
    }
}

/* A value of the text plug-in: tag = 1, tensor = 8, metadata = 9; TensorProto: dtype = 1 (7: string), tensor_shape = 2 (empty:
 * a scalar), string_val = 8; SummaryMetadata: plugin_data = 1, which is plugin_name = 1. */
char *events_text(int64_t step, const char *tag, const char *text, size_t length, double wall_s,
                  size_t *size) {
    Bytes event = begin_event(wall_s, step), summary = {0}, value = {0}, tensor = {0}, shape = {0},
          plugin = {0}, metadata = {0}, markdown = {0};
    put_markdown(&markdown, text, length);
    put_integer(&tensor, 1, 7);
    put_message(&tensor, 2, &shape);
    put_message(&tensor, 8, &markdown);
    put_bytes(&plugin, 1, "text", 4);
    put_message(&metadata, 1, &plugin);
    put_bytes(&value, 1, tag, strlen(tag));
    put_message(&value, 8, &tensor);
    put_message(&value, 9, &metadata);
    put_message(&summary, 1, &value);
    put_message(&event, 5, &summary);
    return frame(&event, size);
}
