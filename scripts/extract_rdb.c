/* extract_rdb.c: text out of an R package, without R.
 *
 *     extract_rdb BASE            the names of the objects in BASE.rdx and BASE.rdb
 *     extract_rdb BASE OBJECT     the strings of a character vector, one a line
 *
 * An R lazy-load database is two files. BASE.rdx, gzip: a serialized list whose first element, "variables",
 * holds (offset, length) for each object, with the objects' names as its attribute. BASE.rdb: at each
 * offset a big-endian 4-byte size and a zlib stream, which inflates to a serialized object. Serialization
 * is R's XDR format ("X\n"): big-endian words; every item opens with a word of type (low byte) and flags (R
 * Internals, section 1.8). Only what these two need is read; anything else is refused.
 */
#include "core/error.h"
#include "core/memory.h"
#include <errno.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <zlib.h>

enum { SYMBOL = 1, PAIRLIST = 2, CHARSXP = 9, INTEGERS = 13, STRINGS = 16, LIST = 19 };
enum { HAS_ATTRIBUTES = 0x200, HAS_TAG = 0x400 };
enum { INDEX_BYTES_MAX = 64 << 20, DEFLATE_RATIO_MAX = 1032 };

/* A serialized object in memory. The first thing that does not fit fills *err; later reads give zeros. */
typedef struct Reader {
    const char *name;
    unsigned char *data;
    size_t size, at;
    bool failed;
    Error *err;
} Reader;

typedef struct Place {
    uint32_t offset, length;
} Place;

static void fail(Reader *r, const char *what) {
    if (!r->failed)
        error_set(r->err, ERR_DATA, "%s: byte %zu of the unpacked data: %s", r->name, r->at, what);
    r->failed = true;
}

static const unsigned char *take(Reader *r, size_t bytes) {
    if (!r->failed && bytes > r->size - r->at) fail(r, "ends in the middle of an item");
    if (r->failed) return NULL;
    r->at += bytes;
    return r->data + r->at - bytes;
}

static uint32_t take_word(Reader *r) {
    const unsigned char *p = take(r, 4);
    return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

/* The flags of an item that has to be of this type. */
static uint32_t take_item(Reader *r, uint32_t type, const char *otherwise) {
    uint32_t word = take_word(r);
    if ((word & 0xff) != type) fail(r, otherwise);
    return word;
}

/* A length; `least` bytes of input are needed for each element, which bounds it before anything is
 * allocated. */
static size_t take_count(Reader *r, size_t least) {
    size_t count = take_word(r);
    if (!r->failed && count > (r->size - r->at) / least) fail(r, "a length beyond the end of the data");
    return r->failed ? 0 : count;
}

/* A string; NULL with length 0 for R's NA. */
static const char *take_string(Reader *r, size_t *length) {
    take_item(r, CHARSXP, "not a string");
    uint32_t bytes = take_word(r);
    *length = bytes == UINT32_MAX ? 0 : bytes;
    return bytes == UINT32_MAX ? NULL : (const char *)take(r, bytes);
}

static void take_header(Reader *r) {
    const unsigned char *magic = take(r, 2);
    if (magic && memcmp(magic, "X\n", 2) != 0) fail(r, "not R's XDR serialization");
    uint32_t version = take_word(r);
    take(r, 8);                              /* the R that wrote it, the oldest that can read it */
    if (version == 3) take(r, take_word(r)); /* name of the native encoding */
    else if (version != 2) fail(r, "a serialization version other than 2 and 3");
}

/* ------------------------------------------------------------------------------------------------ index */

static bool load_index(Reader *r, Error *err) {
    gzFile f = gzopen(r->name, "rb");
    if (!f) return error_errno(err, r->name, "open");
    size_t room = 1 << 16;
    int got = 0;
    unsigned char *buffer = memory_alloc(room, 1, r->name, err);
    while (buffer && (got = gzread(f, buffer + r->size, (unsigned)(room - r->size))) > 0) {
        r->size += (size_t)got;
        if (r->size < room) continue;
        unsigned char *more = room < INDEX_BYTES_MAX ? memory_alloc(room *= 2, 1, r->name, err) : NULL;
        if (more) memcpy(more, buffer, r->size);
        else if (room >= INDEX_BYTES_MAX) error_set(err, ERR_DATA, "%s: too large for an index", r->name);
        memory_free(buffer);
        buffer = more;
    }
    if (buffer && got < 0) error_set(err, ERR_DATA, "%s: damaged: %s", r->name, gzerror(f, &got));
    if (gzclose(f) != Z_OK && buffer && got >= 0)
        got = -1, error_set(err, ERR_DATA, "%s: ends early", r->name);
    r->data = buffer;
    return buffer && got >= 0;
}

/* Looks up `object`, or prints every name when it is NULL. */
static bool search_index(Reader *r, const char *object, Place *found) {
    take_header(r);
    take_item(r, LIST, "not a list");
    take_count(r, 4);
    uint32_t flags = take_item(r, LIST, "the first element is not a list of objects");
    size_t count = take_count(r, 16), places = r->at;
    take(r, count * 16);
    if (!(flags & HAS_ATTRIBUTES) || !(take_item(r, PAIRLIST, "no names") & HAS_TAG))
        fail(r, "objects without names");
    take_item(r, SYMBOL, "no names");
    size_t length;
    const char *name = take_string(r, &length);
    if (!name || length != 5 || memcmp(name, "names", 5) != 0) fail(r, "objects without names");
    take_item(r, STRINGS, "names that are not strings");
    if (take_count(r, 8) != count) fail(r, "as many names as objects were expected");
    for (size_t i = 0; i < count && !r->failed; i++) {
        name = take_string(r, &length);
        if (!name) continue;
        if (!object) printf("%.*s\n", (int)length, name);
        if (!object || strlen(object) != length || memcmp(object, name, length) != 0) continue;
        r->at = places + 16 * i;
        take_item(r, INTEGERS, "an object's place is not a pair of integers");
        if (take_word(r) != 2) fail(r, "an object's place is not a pair of integers");
        found->offset = take_word(r);
        found->length = take_word(r);
        return !r->failed;
    }
    if (object && !r->failed) error_set(r->err, ERR_DATA, "%s: no object '%s' in it", r->name, object);
    return !object && !r->failed;
}

/* ----------------------------------------------------------------------------------------------- object */

static bool inflate_object(Reader *r, const unsigned char *packed, size_t length, Error *err) {
    size_t size = (size_t)packed[0] << 24 | (size_t)packed[1] << 16 | (size_t)packed[2] << 8 | packed[3];
    if (size / DEFLATE_RATIO_MAX > length)
        return error_set(err, ERR_DATA, "%s: %zu bytes cannot unpack to %zu", r->name, length, size);
    r->data = memory_alloc(size, 1, r->name, err);
    if (!r->data) return false;
    uLongf done = size;
    int status = uncompress(r->data, &done, packed + 4, length - 4);
    r->size = done;
    if (status != Z_OK || done != size)
        return error_set(err, ERR_DATA, "%s: the object is damaged, or not compressed with zlib", r->name);
    return true;
}

static bool load_object(Reader *r, Place place, Error *err) {
    FILE *f = fopen(r->name, "rb");
    if (!f) return error_errno(err, r->name, "open");
    bool ok = place.length > 4 ||
              error_set(err, ERR_DATA, "%s: an object of %" PRIu32 " bytes", r->name, place.length);
    if (ok && (fseeko(f, 0, SEEK_END) != 0 || ftello(f) < (off_t)place.offset + (off_t)place.length))
        ok = error_set(err, ERR_DATA, "%s: shorter than its index says", r->name);
    unsigned char *packed = ok ? memory_alloc(place.length, 1, r->name, err) : NULL;
    ok = packed != NULL;
    if (ok && (fseeko(f, place.offset, SEEK_SET) != 0 || fread(packed, 1, place.length, f) != place.length))
        ok = error_errno(err, r->name, "read");
    fclose(f);
    ok = ok && inflate_object(r, packed, place.length, err);
    memory_free(packed);
    return ok;
}

static bool print_strings(Reader *r) {
    take_header(r);
    take_item(r, STRINGS, "the object is not a character vector");
    size_t count = take_count(r, 8);
    for (size_t i = 0; i < count && !r->failed; i++) {
        size_t length;
        const char *text = take_string(r, &length);
        if (text) fwrite(text, 1, length, stdout);
        if (!r->failed) putchar('\n');
    }
    return !r->failed;
}

int main(int argc, char **argv) {
    if (argc < 2 || argc > 3 || argv[1][0] == '-') {
        fprintf(
            argc > 1 && !strcmp(argv[1], "--help") ? stdout : stderr,
            "usage: extract_rdb BASE [OBJECT]\n"
            "Prints the strings of OBJECT, an R character vector in BASE.rdx and BASE.rdb, one a line;\n"
            "without OBJECT, the names of all objects.\n");
        return argc > 1 && !strcmp(argv[1], "--help") ? 0 : ERR_CONFIG;
    }
    Error err = {0};
    char index_path[4096], data_path[4096];
    snprintf(index_path, sizeof index_path, "%s.rdx", argv[1]);
    snprintf(data_path, sizeof data_path, "%s.rdb", argv[1]);
    Reader index = {.name = index_path, .err = &err}, object = {.name = data_path, .err = &err};
    Place place = {0};
    bool ok = load_index(&index, &err) && search_index(&index, argv[2], &place);
    if (ok && argv[2]) ok = load_object(&object, place, &err) && print_strings(&object);
    memory_free(index.data);
    memory_free(object.data);
    return ok && error_check_stdout(&err) ? 0 : error_print(&err);
}
