/* field.c: values from text and back, see field.h. Numbers are decimal (JSON's grammar, ".5" also taken):
 * no octal, no hexadecimal, no "inf" or "nan", no blanks. */
#include "core/field.h"

#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Whole numbers written with a point or an exponent ("1e9") are exact in a double up to here. */
#define EXACT_MAX 0x1p53

static void *member(const Field *field, void *object) {
    return (char *)object + field->offset;
}

static const void *member_const(const Field *field, const void *object) {
    return (const char *)object + field->offset;
}

/* ----------------------------------------------------------------------------------------------- ranges */

/* Is `value` in an interval such as "[0,1)", "(0,inf)"? "" and NULL hold everything. */
static bool range_holds(const char *range, double value) {
    if (!range || !*range) return true;
    char *end;
    double low = strtod(range + 1, &end), high = strtod(end + 1, &end);
    return (range[0] == '(' ? value > low : value >= low) && (*end == ')' ? value < high : value <= high);
}

/* Copies the choice at *words ("a|b|c") into out and moves *words behind it; false at the end. */
static bool choice_next(const char **words, char *out, size_t size) {
    if (!**words) return false;
    size_t length = strcspn(*words, "|");
    snprintf(out, size, "%.*s", (int)length, *words);
    *words += length + ((*words)[length] == '|');
    return true;
}

char *field_expects(const Field *field, char *out, size_t size) {
    bool any = !field->range || !*field->range;
    const char *in = any ? "" : " in ", *range = any ? "" : field->range;
    switch (field->type) {
    case FIELD_BOOL: snprintf(out, size, "true or false"); break;
    case FIELD_INT: snprintf(out, size, "an integer%s%s", in, range); break;
    case FIELD_REAL: snprintf(out, size, "a number%s%s", in, range); break;
    case FIELD_CHOICE: snprintf(out, size, "one of %s", range); break;
    case FIELD_TEXT: snprintf(out, size, "text of %d to %d bytes", any ? 0 : 1, FIELD_TEXT_MAX - 1); break;
    }
    return out;
}

/* ---------------------------------------------------------------------------------------------- numbers */

static const char *skip_digits(const char *s) {
    while (isdigit((unsigned char)*s)) s++;
    return s;
}

/* Is the whole text a decimal number? *integral: it has neither point nor exponent. */
static bool number_is_plain(const char *text, bool *integral) {
    const char *whole = text + (*text == '-'), *s = skip_digits(whole);
    ptrdiff_t whole_digits = s - whole, digits = whole_digits;
    *integral = *s == '\0';
    if (*s == '.') {
        const char *end = skip_digits(s + 1);
        digits += end - (s + 1);
        s = end;
    }
    if (digits == 0 || (whole_digits > 1 && *whole == '0')) /* "007" may be meant as octal */
        return false;
    if (*s == 'e' || *s == 'E') {
        s += s[1] == '-' || s[1] == '+' ? 2 : 1;
        if (!isdigit((unsigned char)*s)) return false;
        s = skip_digits(s);
    }
    return *s == '\0';
}

/* Finite, and not rounded to zero unless zero was written. */
static bool parse_real(const char *text, double *value) {
    bool integral;
    if (!number_is_plain(text, &integral)) return false;
    *value = strtod(text, NULL);
    bool zero_written = strcspn(text, "123456789") >= strcspn(text, "eE");
    return isfinite(*value) && (*value != 0 || zero_written);
}

/* Exact, or refused: strtoll saturates beyond int64, doubles round beyond 2^53. */
static bool parse_int(const char *text, int64_t *value) {
    bool integral;
    if (!number_is_plain(text, &integral)) return false;
    if (integral) {
        const char *digits = text + (*text == '-');
        *value = strtoll(text, NULL, 10);
        return strlen(digits) < 19 || (*value != INT64_MAX && *value != INT64_MIN) ||
               strcmp(text, *value < 0 ? "-9223372036854775808" : "9223372036854775807") == 0;
    }
    double real;
    if (!parse_real(text, &real)) return false;
    *value = fabs(real) < EXACT_MAX ? (int64_t)real : 0;
    return (double)*value == real;
}

/* ----------------------------------------------------------------------------------------------- values */

static bool parse_choice(const char *words, const char *text, int *value) {
    char word[64];
    for (int i = 0; choice_next(&words, word, sizeof word); i++)
        if (strcmp(word, text) == 0) {
            *value = i;
            return true;
        }
    return false;
}

static bool value_set(const Field *field, void *object, const char *text) {
    switch (field->type) {
    case FIELD_BOOL: {
        bool value = strcmp(text, "true") == 0;
        if (!value && strcmp(text, "false") != 0) return false;
        *(bool *)member(field, object) = value;
        return true;
    }
    case FIELD_INT: {
        int64_t value;
        if (!parse_int(text, &value) || !range_holds(field->range, (double)value)) return false;
        *(int64_t *)member(field, object) = value;
        return true;
    }
    case FIELD_REAL: {
        double value;
        if (!parse_real(text, &value) || !range_holds(field->range, value)) return false;
        *(double *)member(field, object) = value;
        return true;
    }
    case FIELD_CHOICE: return parse_choice(field->range, text, member(field, object));
    case FIELD_TEXT:
        if (strlen(text) >= FIELD_TEXT_MAX || (field->range && *field->range && !*text)) return false;
        strcpy(member(field, object), text);
        return true;
    }
    return false;
}

bool field_set(const Field *field, void *object, const char *text, Error *err) {
    if (value_set(field, object, text)) return true;
    char expects[256], word[64], hint[96] = "";
    const char *words = field->range;
    if (field->type == FIELD_CHOICE) {
        char store[16][64];
        const char *names[17] = {0};
        for (int i = 0; i < 16 && choice_next(&words, word, sizeof word); i++)
            names[i] = strcpy(store[i], word);
        const char *near = nearest_name(text, names);
        if (near) snprintf(hint, sizeof hint, "; did you mean \"%s\"?", near);
    }
    bool quoted = field->type == FIELD_CHOICE || field->type == FIELD_TEXT || !*text;
    return error_set(err, ERR_CONFIG, "%s%.40s%s%s must be %s%s", quoted ? "\"" : "", text,
                     strlen(text) > 40 ? "..." : "", quoted ? "\"" : "",
                     field_expects(field, expects, sizeof expects), hint);
}

void field_defaults(const Field *fields, void *object) {
    Error err;
    for (const Field *field = fields; field && field->name; field++)
        if (field->type) (void)field_set(field, object, field->default_value, &err); /* tests see that it can */
}

const Field *field_find(const Field *fields, const char *name) {
    for (const Field *field = fields; field && field->name; field++)
        if (strcmp(field->name, name) == 0) return field;
    return NULL;
}

bool field_set_words(const Field *const tables[2], void *const objects[2], const char *words, Error *err) {
    char name[64], value[64];
    for (int length; sscanf(words, " %63[^= ]=%63[^ ]%n", name, value, &length) == 2; words += length) {
        int table = field_find(tables[0], name) ? 0 : 1;
        const Field *field = field_find(tables[table], name);
        if (!field) return error_set(err, ERR_CONFIG, "%s: no such setting", name);
        if (!field_set(field, objects[table], value, err)) return false;
    }
    return words[strspn(words, " ")] == '\0' ||
           error_set(err, ERR_CONFIG, "\"%s\" is not name=value", words);
}

char *field_text(const Field *field, const void *object, char *out, size_t size) {
    const void *value = member_const(field, object);
    switch (field->type) {
    case FIELD_BOOL: snprintf(out, size, "%s", *(const bool *)value ? "true" : "false"); break;
    case FIELD_INT: snprintf(out, size, "%lld", (long long)*(const int64_t *)value); break;
    case FIELD_REAL:
        for (int digits = 15; digits <= 17; digits++) { /* the shortest that reads back to the same bits */
            snprintf(out, size, "%.*g", digits, *(const double *)value);
            if (strtod(out, NULL) == *(const double *)value) break;
        }
        break;
    case FIELD_CHOICE: {
        const char *words = field->range;
        for (int i = 0; i <= *(const int *)value && choice_next(&words, out, size); i++) continue;
        break;
    }
    case FIELD_TEXT: snprintf(out, size, "%s", (const char *)value); break;
    }
    return out;
}

/* --------------------------------------------------------------------------------------------- spelling */

#define WORD_MAX 40

static int min(int a, int b) {
    return a < b ? a : b;
}

/* Letters to insert, drop, change or swap with a neighbour to get from a to b, ignoring case (Damerau
 * 1964). */
static int edit_distance(const char *a, const char *b) {
    int d[WORD_MAX + 1][WORD_MAX + 1], m = (int)strlen(a), n = (int)strlen(b);
    for (int i = 0; i <= m; i++)
        for (int j = 0; j <= n; j++) {
            if (i == 0 || j == 0) {
                d[i][j] = i + j;
                continue;
            }
            int x = tolower((unsigned char)a[i - 1]), y = tolower((unsigned char)b[j - 1]);
            d[i][j] = min(min(d[i - 1][j], d[i][j - 1]) + 1, d[i - 1][j - 1] + (x != y));
            if (i > 1 && j > 1 && x == tolower((unsigned char)b[j - 2]) &&
                y == tolower((unsigned char)a[i - 2]))
                d[i][j] = min(d[i][j], d[i - 2][j - 2] + 1);
        }
    return d[m][n];
}

const char *nearest_name(const char *word, const char *const *names) {
    const char *best = NULL;
    size_t length = strlen(word);
    if (length == 0 || length > WORD_MAX) return NULL;
    int best_distance = 1 + (int)length / 4; /* the furthest that is still worth a suggestion */
    for (; *names; names++) {
        if (strlen(*names) > WORD_MAX) continue;
        bool begins = length >= 3 && strncasecmp(word, *names, length) == 0;
        int distance = begins ? 1 : edit_distance(word, *names);
        if (distance >= (int)length && length > 1) /* nothing in common */
            continue;
        if (distance < best_distance || (!best && distance == best_distance)) {
            best = *names;
            best_distance = distance;
        }
    }
    return best;
}
