/* json.h: JSON files, read as strictly as RFC 8259 says, on top of cJSON, which by itself lets pass: text
 * behind the document, NUL bytes and \u0000 (they cut strings short), bytes that are not UTF-8, control
 * characters, numbers such as 007 or 1., and 1,000 levels of nesting. Beyond the RFC: no byte order
 * mark, no 1e-999 (it would become 0).
 *
 *     cJSON *root = json_read("configs/adamw.json", 1 << 20, ERR_CONFIG, &err);
 *     ...
 *     cJSON_Delete(root);
 *
 * What is left to the caller: duplicate keys (cJSON keeps them all, look-ups find the first), look-ups that
 * ignore case (use cJSON_GetObjectItemCaseSensitive), integers (take valuedouble; valueint saturates), and
 * 1e999, which arrives as an infinite valuedouble.
 */
#ifndef CORE_JSON_H
#define CORE_JSON_H

#include "core/error.h"
#include <cjson/cJSON.h>
#include <stddef.h>

#define JSON_MAX_DEPTH 32

/* The document in `path`, or NULL with `err` (code as given; path, line and column in its text). Never
 * reads more than limit_bytes. */
cJSON *json_read(const char *path, size_t limit_bytes, ErrorCode code, Error *err);

/* The document in text[0 .. length); `name` stands for the path in errors. text[length] must be '\0'. */
cJSON *json_parse(const char *text, size_t length, const char *name, ErrorCode code, Error *err);

/* The tree as text for people and programs: tabs to indent, a blank after colons. malloc'ed; NULL when
 * memory runs out. */
char *json_print(const cJSON *root);

/* Is it UTF-8, without surrogates and overlong forms? The number of bytes that are; `length` if all. */
size_t utf8_valid_length(const char *text, size_t length);

#endif
