/* field.h: one declared option, from which parsing, defaults, range errors, help and documentation all
 * come.
 *
 *     typedef struct Lion { double beta1, beta2; } Lion;
 *     static const Field lion_fields[] = {
 *         {"beta1", FIELD_REAL, offsetof(Lion, beta1), "0.9", "[0,1)", "share of momentum in the update"},
 *         {"beta2", FIELD_REAL, offsetof(Lion, beta2), "0.99", "[0,1)", "decay of the momentum"},
 *         {0}};
 *
 * Used by optim/ for hyper-parameters and by train/config for every other key. Knows no JSON.
 */
#ifndef CORE_FIELD_H
#define CORE_FIELD_H

#include "core/error.h"
#include <stddef.h>

typedef enum {
    FIELD_BOOL = 1, /* bool; "true" or "false" */
    FIELD_INT,      /* int64_t, exact */
    FIELD_REAL,     /* double, finite */
    FIELD_CHOICE,   /* int: index into range, which lists the words: "cosine|linear|wsd" */
    FIELD_TEXT,     /* char[FIELD_TEXT_MAX]; range "" or "nonempty" */
} FieldType;

#define FIELD_TEXT_MAX 512

typedef struct Field {
    const char *name;
    FieldType type;            /* 0: only declared here, read by hand */
    size_t offset;             /* of the member in its struct */
    const char *default_value; /* as text; must pass its own range */
    const char *range;         /* numbers: an interval, "[0,1)", "(0,inf)", "" = any; choices: "a|b|c" */
    const char *doc;           /* one line, units included */
} Field;

/* Sets every field of `object` to its default. */
void field_defaults(const Field *fields, void *object);

/* The field called `name`, or NULL. */
const Field *field_find(const Field *fields, const char *name);

/* Parses `text` ("0.02", "true", "cosine") into the member; false with err (ERR_CONFIG, no key path: the
 * caller prefixes it) when the type or the range does not fit. Numbers take the whole text, or fail. */
bool field_set(const Field *field, void *object, const char *text, Error *err);

/* Sets fields from "name=value name=value"; each name is looked up in two tables (the second may be NULL). */
bool field_set_words(const Field *const tables[2], void *const objects[2], const char *words, Error *err);

/* The member's value as text, so that field_set(field_text()) gives the same bits back. Returns `out`. */
char *field_text(const Field *field, const void *object, char *out, size_t size);

/* What the field takes, to end a sentence: "an integer in [1,inf)", "one of a|b|c". Returns `out`. */
char *field_expects(const Field *field, char *out, size_t size);

/* The name among `names` (NULL-terminated) nearest to `word` by edit distance, or NULL if none is near
 * enough to suggest. */
const char *nearest_name(const char *word, const char *const *names);

#endif
