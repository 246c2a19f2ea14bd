/* json_out.h: JSON written piece by piece, for text too long for a tree. It may stand inside <script> in an HTML
 * page: "<", ">" and "&" are written as \u003c ..., so no text can end the script or open a comment.
 *
 *     JsonOut out = {file};
 *     json_out_open(&out, NULL, '{');
 *     json_out_text(&out, "name", name);
 *     json_out_numbers(&out, "loss", loss, count, 7);
 *     json_out_close(&out, '}');
 *
 * Commas are set by themselves. `key` is NULL in an array. Whether everything was written, the file says.
 */
#ifndef CORE_JSON_OUT_H
#define CORE_JSON_OUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

struct cJSON;

typedef struct JsonOut {
    FILE *file;
    bool comma; /* something stands before what comes next */
} JsonOut;

/* '{' or '['; '}' or ']' */
void json_out_open(JsonOut *out, const char *key, char bracket);
void json_out_close(JsonOut *out, char bracket);

/* Any bytes: what is not UTF-8, and NUL, becomes U+FFFD. NULL is written as null. */
void json_out_text(JsonOut *out, const char *key, const char *text);
void json_out_bytes(JsonOut *out, const char *key, const char *text, size_t length);

/* With so many significant digits, 17 are exact; null for NAN and infinities. */
void json_out_number(JsonOut *out, const char *key, double value, int digits);
void json_out_numbers(JsonOut *out, const char *key, const double *values, size_t count, int digits);
void json_out_flag(JsonOut *out, const char *key, bool value);

/* A whole tree, its numbers exact; NULL is written as null. */
void json_out_tree(JsonOut *out, const char *key, const struct cJSON *tree);

#endif
