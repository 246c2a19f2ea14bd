/* splitter.c: see splitter.h. PCRE2 knows the Unicode properties; its JIT makes it fast. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "data/splitter.h"

#include <pcre2.h>
#include <stdint.h>
#include <stdlib.h>

/* Unicode's White_Space. PCRE2's own \s differs: it takes U+180E in. */
#define SPACE "\\t-\\r\\x{85}\\p{Z}"

static const char PATTERN[] = "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" SPACE
                              "\\p{L}\\p{N}]+|[" SPACE "]+(?![^" SPACE "])|[" SPACE "]+";

/* Without its JIT, PCRE2 checks all it is given for UTF-8 on every call: hand it little. */
#define INTERPRETER_WINDOW_BYTES ((size_t)128)

struct Splitter {
    pcre2_code *code;
    pcre2_match_data *match;
    bool jit;
};

Splitter *splitter_create(Error *err) {
    int code = 0;
    PCRE2_SIZE offset;
    Splitter *s = calloc(1, sizeof *s);
    if (s)
        s->code = pcre2_compile((PCRE2_SPTR)PATTERN, PCRE2_ZERO_TERMINATED,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF, &code, &offset, NULL);
    if (s && s->code) s->match = pcre2_match_data_create(1, NULL);
    if (s == NULL || s->code == NULL || s->match == NULL) {
        error_set(err, ERR_IO, "the splitting rule cannot be compiled by PCRE2 (error %d)", code);
        splitter_free(s);
        return NULL;
    }
    s->jit = pcre2_jit_compile(s->code, PCRE2_JIT_COMPLETE) == 0;
    return s;
}

void splitter_free(Splitter *s) {
    if (s == NULL) return;
    pcre2_match_data_free(s->match);
    pcre2_code_free(s->code);
    free(s);
}

size_t splitter_next(Splitter *s, const char *text, size_t length, size_t at) {
    size_t end = length;
    int rc;
    if (s->jit) {
        rc = pcre2_jit_match(s->code, (PCRE2_SPTR)text, length, at, 0, s->match, NULL);
    } else {
        length = at + splitter_safe_cut(text + at, length - at, INTERPRETER_WINDOW_BYTES);
        end = length;
        rc = pcre2_match(s->code, (PCRE2_SPTR)text, length, at, 0, s->match, NULL);
    }
    if (rc > 0) {
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(s->match);
        end = span[0] > at ? span[0] : span[1];
    }
    return end - at > PIECE_MAX_BYTES ? at + PIECE_MAX_BYTES : end;
}

static bool is_space(unsigned char c) {
    return c == ' ' || (c >= '\t' && c <= '\r');
}

size_t splitter_safe_cut(const char *text, size_t length, size_t want) {
    const unsigned char *p = (const unsigned char *)text;
    for (size_t i = want; i < length; i++)
        if (is_space(p[i]) && p[i - 1] < 0x80 && !is_space(p[i - 1])) return i;
    return length;
}
