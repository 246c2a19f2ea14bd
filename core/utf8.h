/* utf8.h: UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF. */
#ifndef CORE_UTF8_H
#define CORE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_CODES 0x110000 /* code points are below */

/* The character at the start of p[0..left), left > 0: its length in bytes, or 0 if it is not UTF-8. */
static inline int utf8_decode(const char *text, size_t left, uint32_t *code) {
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *p = (const unsigned char *)text;
    if (p[0] < 0x80) return *code = p[0], 1;
    int n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || left < (size_t)n) return 0;
    uint32_t c = p[0] & (0x7fu >> n);
    for (int i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (p[i] & 0x3fu);
    }
    if (c < smallest[n] || c >= UTF8_CODES || (c >= 0xd800 && c < 0xe000)) return 0;
    return *code = c, n;
}

/* Writes `code` to out (room for 4) and returns its length in bytes. */
static inline int utf8_encode(uint32_t code, char *out) {
    if (code < 0x80) return out[0] = (char)code, 1;
    int n = code < 0x800 ? 2 : code < 0x10000 ? 3 : 4;
    for (int i = n - 1; i > 0; i--, code >>= 6) out[i] = (char)(0x80 | (code & 0x3f));
    out[0] = (char)((0xf00u >> n) | code);
    return n;
}

#endif
