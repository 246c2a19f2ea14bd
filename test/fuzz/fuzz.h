/* fuzz.h: what the fuzz targets share. A target takes bytes that somebody may have put into a file, and lets the module
 * that reads such files read them: it must refuse them with an error of ours, or what it understood must hold together.
 * libFuzzer looks for bytes that break that (make fuzz); what it found stays in corpus/<target>/ and is run again by
 * make test (replay.c), with any compiler.
 *
 *     int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
 *         Bytes rest = {(const char *)data, size};
 *         fuzz_write("config.json", fuzz_part(&rest));
 *         if (config_load(&config, "config.json", NULL, 0, &err)) ...
 *         else fuzz_refused(&err);
 *
 * Files are written into the working directory, which is a scratch folder of the fuzzer's own. */
#ifndef TEST_FUZZ_FUZZ_H
#define TEST_FUZZ_FUZZ_H

#include "core/error.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program, which both libFuzzer and replay.c report with the input at fault. */
#define FUZZ_CHECK(holds)                                                                                  \
    do {                                                                                                   \
        if (!(holds)) {                                                                                    \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #holds);                     \
            abort();                                                                                       \
        }                                                                                                  \
    } while (0)

typedef struct Bytes {
    const char *at;
    size_t size;
} Bytes;

/* Inputs that were understood. Of a corpus some must be, or it is out of date: replay.c sees to it. */
__attribute__((weak)) int fuzz_accepted;

/* One input may hold several files, with this line between. */
#define FUZZ_SEPARATOR "\n===\n"

/* What stands before the next separator; *rest moves behind it. */
static inline Bytes fuzz_part(Bytes *rest) {
    Bytes part = *rest;
    const char *end = memmem(rest->at, rest->size, FUZZ_SEPARATOR, strlen(FUZZ_SEPARATOR));
    if (end) part.size = (size_t)(end - part.at);
    size_t used = part.size + (end ? strlen(FUZZ_SEPARATOR) : 0);
    *rest = (Bytes){rest->at + used, rest->size - used};
    return part;
}

static inline void fuzz_write(const char *path, Bytes content) {
    FILE *f = fopen(path, "wb");
    FUZZ_CHECK(f && fwrite(content.at, 1, content.size, f) == content.size && fclose(f) == 0);
}

/* An error has a code, says something, and nothing in it commands a terminal. */
static inline void fuzz_refused(const Error *err) {
    FUZZ_CHECK(err->code >= ERR_IO && err->code <= ERR_CHECKPOINT && *err->text);
    for (const char *c = err->text; *c; c++)
        FUZZ_CHECK(((unsigned char)*c >= ' ' && *c != 0x7f) || *c == '\n');
}

#endif
