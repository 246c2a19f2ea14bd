/* strict.h: reading JSON objects by declared fields, telling every problem at once.
 *
 *     Problems problems = {0};
 *     Shape shape = {{TRAIN_FIELDS}, {&train}, (const char *const[]){"extra", NULL}};
 *     if (strict_is_object(&problems, "train", object)) strict_read(&problems, "train", object, &shape);
 *     return strict_report(&problems, path, err);
 *
 * Reading never stops at the first problem: a bad value keeps its default, and the problem goes on the
 * list, with its key path, what may stand there and the nearest known name.
 */
#ifndef TRAIN_STRICT_H
#define TRAIN_STRICT_H

#include "core/field.h"
#include <stdbool.h>

struct cJSON;

typedef struct Problems {
    char text[3600]; /* "\n  problem" each */
    size_t length;
    int count, shown;
    bool out_of_memory;
} Problems;

/* One problem: one line. What is not printable in it becomes "?". */
void strict_problem(Problems *p, const char *format, ...) __attribute__((format(printf, 2, 3)));
void strict_out_of_memory(Problems *p, const char *path);

/* Are they so many that this is no such file at all? */
bool strict_given_up(const Problems *p);

/* true: there are none. Else err has them all (ERR_CONFIG, or ERR_IO when memory ran out). */
bool strict_report(const Problems *p, const char *path, Error *err);

/* What was found, to begin a sentence: "the text \"x\"", "12", "a list". Returns `out`. */
const char *strict_found(const struct cJSON *item, char *out, size_t size);

/* Is the item an object? A problem if not. */
bool strict_is_object(Problems *p, const char *path, const struct cJSON *item);

/* What an object may hold: fields of up to two tables, and keys that the caller reads itself. Fields of no
 * type are such keys, too. */
typedef struct Shape {
    const Field *fields[2];
    void *object[2];
    const char *const *others; /* ends with NULL */
} Shape;

enum { STRICT_NAMES_MAX = 64 };

/* Reads the fields of an object (NULL: nothing), and reports keys that are unknown or written twice. */
void strict_read(Problems *p, const char *path, const struct cJSON *object, const Shape *shape);

/* One field. */
void strict_read_value(Problems *p, const char *path, const struct cJSON *item, const Field *field,
                       void *object);

/* A key that is not among `names` (NULL-terminated): "did you mean" the nearest, or all of them. */
void strict_unknown_key(Problems *p, const char *path, const char *key, const char *const *names);

#endif
