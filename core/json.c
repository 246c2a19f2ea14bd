/* json.c: see json.h. */
#include "core/json.h"

#include "core/utf8.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

size_t utf8_valid_length(const char *text, size_t length) {
    size_t at = 0;
    uint32_t code;
    while (at < length) {
        int n = utf8_decode(text + at, length - at, &code);
        if (n == 0) break;
        at += (size_t)n;
    }
    return at;
}

static const char *digits_end(const char *s) {
    while (isdigit((unsigned char)*s)) s++;
    return s;
}

/* The end of a JSON number, or NULL if what stands at s is none, or is glued to something else. */
static const char *number_end(const char *s) {
    s += *s == '-';
    const char *end = digits_end(s);
    if (end == s || (*s == '0' && end > s + 1)) return NULL;
    if (*end == '.') {
        s = end + 1;
        if ((end = digits_end(s)) == s) return NULL;
    }
    if (*end == 'e' || *end == 'E') {
        s = end + (end[1] == '+' || end[1] == '-' ? 2 : 1);
        if ((end = digits_end(s)) == s) return NULL;
    }
    return isalnum((unsigned char)*end) || (*end && strchr("+-.", *end)) ? NULL : end;
}

/* Is it too small for a double, though not written as zero? */
static bool number_vanishes(const char *s) {
    size_t length = strspn(s, "-.0123456789"), zeros = strspn(s, "-.0");
    return zeros < length && strtod(s, NULL) == 0;
}

/* The closing quote of the string that opens at s; NULL with *what where it may not go on (*at). */
static const char *string_end(const char *s, const char **at, const char **what) {
    for (s++; *s != '"'; s++) {
        *at = s;
        if ((unsigned char)*s < 0x20) {
            *what = *s ? "control character in a string (write \\n, \\t)" : "string without an end";
            return NULL;
        }
        if (*s != '\\') continue;
        s++;
        if (strncmp(s, "u0000", 5) == 0) {
            *what = "\\u0000 in a string";
            return NULL;
        }
        if (!*s) s--;
    }
    return s;
}

/* What cJSON would let pass: NULL, or what is wrong and where. */
static const char *find_fault(const char *text, size_t length, const char **at) {
    const char *what = NULL;
    int depth = 0;
    for (const char *s = text; s < text + length; s++) {
        *at = s;
        if (*s == '"') {
            if (!(s = string_end(s, at, &what))) return what;
        } else if (*s == '-' || isdigit((unsigned char)*s)) {
            if (!(s = number_end(s))) return "not a number in JSON";
            if (number_vanishes(*at)) return "a number too close to 0";
            s--;
        } else if (*s == '{' || *s == '[') {
            if (++depth > JSON_MAX_DEPTH) return "nested too deeply";
        } else if (*s == '}' || *s == ']') {
            depth--;
        } else if (iscntrl((unsigned char)*s) && *s != '\n' && *s != '\t' && *s != '\r') {
            return "control character";
        }
    }
    return NULL;
}

static cJSON *fail_at(const char *text, const char *at, const char *what, const char *name, ErrorCode code,
                      Error *err) {
    int line = 1;
    const char *start = text;
    for (const char *s = text; s < at; s++)
        if (*s == '\n') {
            line++;
            start = s + 1;
        }
    error_set(err, code, "%s: line %d, column %d: %s", name, line, (int)(at - start) + 1, what);
    return NULL;
}

cJSON *json_parse(const char *text, size_t length, const char *name, ErrorCode code, Error *err) {
    const char *nul = memchr(text, '\0', length), *at = text;
    if (nul) return fail_at(text, nul, "NUL byte", name, code, err);
    size_t valid = utf8_valid_length(text, length);
    if (valid < length) return fail_at(text, text + valid, "not UTF-8", name, code, err);
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0)
        return fail_at(text, text, "byte order mark; save the file as UTF-8 without one", name, code, err);
    const char *fault = find_fault(text, length, &at);
    if (fault) return fail_at(text, at, fault, name, code, err);

    errno = 0;
    cJSON *root = cJSON_ParseWithLengthOpts(text, length + 1, &at, false);
    if (!root && errno == ENOMEM) return error_set(err, ERR_IO, "%s: out of memory", name), NULL;
    if (!root) return fail_at(text, at, length ? "JSON syntax error" : "empty, not JSON", name, code, err);
    at += strspn(at, " \t\r\n");
    if (*at) {
        cJSON_Delete(root);
        return fail_at(text, at, "text behind the end of the document", name, code, err);
    }
    return root;
}

cJSON *json_read(const char *path, size_t limit_bytes, ErrorCode code, Error *err) {
    cJSON *root = NULL;
    struct stat st;
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (uintmax_t)st.st_size < limit_bytes)
        limit_bytes = (size_t)st.st_size;
    char *text = malloc(limit_bytes + 2);
    FILE *file = text ? fopen(path, "rb") : NULL;
    if (!file) {
        error_set(err, errno == ENOMEM || errno == EIO ? ERR_IO : code, "%s: %s", path, strerror(errno));
    } else {
        size_t length = fread(text, 1, limit_bytes + 1, file);
        if (ferror(file)) error_set(err, errno == EISDIR ? code : ERR_IO, "%s: %s", path, strerror(errno));
        else if (length > limit_bytes) error_set(err, code, "%s: larger than %zu bytes", path, limit_bytes);
        else {
            text[length] = '\0';
            root = json_parse(text, length, path, code, err);
        }
        fclose(file);
    }
    free(text);
    return root;
}

char *json_print(const cJSON *root) {
    char *text = cJSON_Print(root);
    for (char *c = text; c && *c; c++) /* a tab in a string is written as \t, so this one follows a key */
        if (c[0] == ':' && c[1] == '\t') c[1] = ' ';
    return text;
}
