/* json_out.c: see json_out.h. */
#include "core/json_out.h"

#include "core/utf8.h"
#include <cjson/cJSON.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char REPLACEMENT[] = "\xef\xbf\xbd"; /* U+FFFD */

/* One character of `length` bytes, U+0000 among them. */
static void put_character(FILE *f, const char *at, int length, uint32_t code) {
    if (code == '"' || code == '\\') fprintf(f, "\\%c", (int)code);
    else if (code == '\n') fputs("\\n", f);
    else if (code == 0) fputs(REPLACEMENT, f);
    else if (code < 0x20 || code == 0x7f || code == '<' || code == '>' || code == '&' || code == 0x2028 ||
             code == 0x2029)
        fprintf(f, "\\u%04x", (unsigned)code);
    else fwrite(at, 1, (size_t)length, f);
}

static void put_string(FILE *f, const char *text, size_t length) {
    putc('"', f);
    for (size_t at = 0; at < length;) {
        uint32_t code;
        int n = utf8_decode(text + at, length - at, &code);
        if (n > 0) put_character(f, text + at, n, code);
        else fputs(REPLACEMENT, f);
        at += n > 0 ? (size_t)n : 1;
    }
    putc('"', f);
}

static void put_number(FILE *f, double value, int digits) {
    if (isfinite(value)) fprintf(f, "%.*g", digits, value);
    else fputs("null", f);
}

/* What stands before a value. */
static void begin(JsonOut *out, const char *key) {
    if (out->comma) putc(',', out->file);
    if (key) put_string(out->file, key, strlen(key));
    if (key) putc(':', out->file);
    out->comma = true;
}

void json_out_open(JsonOut *out, const char *key, char bracket) {
    begin(out, key);
    putc(bracket, out->file);
    out->comma = false;
}

void json_out_close(JsonOut *out, char bracket) {
    putc(bracket, out->file);
    out->comma = true;
}

void json_out_bytes(JsonOut *out, const char *key, const char *text, size_t length) {
    begin(out, key);
    put_string(out->file, text, length);
}

void json_out_text(JsonOut *out, const char *key, const char *text) {
    if (text) json_out_bytes(out, key, text, strlen(text));
    else json_out_number(out, key, NAN, 1);
}

void json_out_number(JsonOut *out, const char *key, double value, int digits) {
    begin(out, key);
    put_number(out->file, value, digits);
}

void json_out_numbers(JsonOut *out, const char *key, const double *values, size_t count, int digits) {
    json_out_open(out, key, '[');
    for (size_t i = 0; i < count; i++) json_out_number(out, NULL, values[i], digits);
    json_out_close(out, ']');
}

void json_out_flag(JsonOut *out, const char *key, bool value) {
    begin(out, key);
    fputs(value ? "true" : "false", out->file);
}

/* The fewest digits that read back to the same bits. */
static int exact_digits(double value) {
    char text[40];
    for (int digits = 1; digits < 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value) return digits;
    }
    return 17;
}

void json_out_tree(JsonOut *out, const char *key, const cJSON *tree) {
    bool array = cJSON_IsArray(tree);
    if (array || cJSON_IsObject(tree)) {
        json_out_open(out, key, array ? '[' : '{');
        for (const cJSON *item = tree->child; item; item = item->next)
            json_out_tree(out, array ? NULL : item->string, item);
        json_out_close(out, array ? ']' : '}');
    } else if (cJSON_IsString(tree)) json_out_text(out, key, tree->valuestring);
    else if (cJSON_IsBool(tree)) json_out_flag(out, key, cJSON_IsTrue(tree));
    else if (cJSON_IsNumber(tree))
        json_out_number(out, key, tree->valuedouble, exact_digits(tree->valuedouble));
    else json_out_number(out, key, NAN, 1);
}
