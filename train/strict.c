/* strict.c: see strict.h. */
#include "train/strict.h"

#include "core/json.h"
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PROBLEMS_MAX 40 /* then the reader gives up */

void strict_problem(Problems *p, const char *format, ...) {
    char line[512];
    va_list args;
    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    for (char *c = line; *c; c++) /* they come from files: nothing may reach the terminal as a command */
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
    p->count++;
    size_t room = sizeof p->text - p->length, n = strlen(line) + 3;
    if (n >= room) return;
    p->length += (size_t)snprintf(p->text + p->length, room, "\n  %s", line);
    p->shown++;
}

void strict_out_of_memory(Problems *p, const char *path) {
    p->out_of_memory = true;
    strict_problem(p, "%s: out of memory", path);
}

bool strict_given_up(const Problems *p) {
    return p->count >= PROBLEMS_MAX;
}

bool strict_report(const Problems *p, const char *path, Error *err) {
    if (p->count == 0) return true;
    ErrorCode code = p->out_of_memory ? ERR_IO : ERR_CONFIG;
    if (p->count == 1) return error_set(err, code, "%.200s: %s", path, p->text + 3);
    return error_set(err, code, "%.200s: %d problems%s%s%s", path, p->count,
                     strict_given_up(p) ? " or more" : "", p->text, p->shown < p->count ? "\n  ..." : "");
}

/* ------------------------------------------------------------------------------------------------- values */

/* Text for field_set. Whole numbers that a double cannot hold exactly come with an exponent, which integer
 * fields refuse. */
static const char *number_text(double value, char *out, size_t size) {
    const Field real = {.type = FIELD_REAL};
    if (!isfinite(value)) snprintf(out, size, "a number beyond 1.8e308");
    else if (fabs(value) < 0x1p53) field_text(&real, &value, out, size);
    else snprintf(out, size, "%.16e", value);
    return out;
}

const char *strict_found(const cJSON *item, char *out, size_t size) {
    if (cJSON_IsRaw(item)) snprintf(out, size, "\"%.40s\"", item->valuestring);
    if (cJSON_IsString(item)) snprintf(out, size, "the text \"%.40s\"", item->valuestring);
    if (cJSON_IsNumber(item)) number_text(item->valuedouble, out, size);
    if (cJSON_IsBool(item)) snprintf(out, size, "%s", cJSON_IsTrue(item) ? "true" : "false");
    if (cJSON_IsNull(item)) snprintf(out, size, "null");
    if (cJSON_IsArray(item)) snprintf(out, size, "a list");
    if (cJSON_IsObject(item)) snprintf(out, size, "an object");
    return out;
}

/* The text to parse if the JSON type fits the field, else NULL. */
static const char *value_text(const Field *field, const cJSON *item, char *out, size_t size) {
    switch (field->type) {
    case FIELD_BOOL:
        if (cJSON_IsBool(item)) return cJSON_IsTrue(item) ? "true" : "false";
        break;
    case FIELD_INT:
    case FIELD_REAL:
        if (cJSON_IsNumber(item)) return number_text(item->valuedouble, out, size);
        break;
    case FIELD_CHOICE:
    case FIELD_TEXT:
        if (cJSON_IsString(item)) return item->valuestring;
        break;
    }
    return cJSON_IsRaw(item) ? item->valuestring : NULL;
}

void strict_read_value(Problems *p, const char *path, const cJSON *item, const Field *field, void *object) {
    char buffer[64], found[64], expects[256];
    const char *text = value_text(field, item, buffer, sizeof buffer);
    Error err;
    if (!text)
        strict_problem(p, "%s.%s: %s must be %s", path, field->name,
                       strict_found(item, found, sizeof found),
                       field_expects(field, expects, sizeof expects));
    else if (!field_set(field, object, text, &err))
        strict_problem(p, "%s.%s: %s", path, field->name, err.text);
}

/* ------------------------------------------------------------------------------------------------ objects */

/* Every key of the shape, NULL-terminated. */
static void shape_names(const Shape *shape, const char *names[STRICT_NAMES_MAX]) {
    int n = 0;
    for (const char *const *other = shape->others; *other; other++) names[n++] = *other;
    for (int table = 0; table < 2; table++)
        for (const Field *f = shape->fields[table]; f && f->name && n < STRICT_NAMES_MAX - 1; f++)
            names[n++] = f->name;
    names[n] = NULL;
}

static bool among(const char *word, const char *const *names) {
    for (; *names; names++)
        if (strcmp(word, *names) == 0) return true;
    return false;
}

void strict_unknown_key(Problems *p, const char *path, const char *key, const char *const *names) {
    char hint[400];
    const char *near = nearest_name(key, names);
    if (near) snprintf(hint, sizeof hint, "did you mean \"%s\"?", near);
    else {
        size_t n = (size_t)snprintf(hint, sizeof hint, "known here:");
        for (; *names && n < sizeof hint; names++)
            n += (size_t)snprintf(hint + n, sizeof hint - n, " %s%s", *names, names[1] ? "," : "");
    }
    strict_problem(p, "%s%s%.60s: unknown key; %s", path, *path ? "." : "", key, hint);
}

bool strict_is_object(Problems *p, const char *path, const cJSON *item) {
    char found[64];
    if (cJSON_IsObject(item)) return true;
    strict_problem(p, "%s: %s must be an object, {...}", path, strict_found(item, found, sizeof found));
    return false;
}

void strict_read(Problems *p, const char *path, const cJSON *object, const Shape *shape) {
    const char *names[STRICT_NAMES_MAX];
    shape_names(shape, names);
    for (const cJSON *item = object ? object->child : NULL; item && !strict_given_up(p);
         item = item->next) {
        if (!among(item->string, names)) {
            strict_unknown_key(p, path, item->string, names);
            continue;
        }
        if (cJSON_GetObjectItemCaseSensitive(object, item->string) != item) {
            strict_problem(p, "%s%s%s: written twice", path, *path ? "." : "", item->string);
            continue;
        }
        for (int table = 0; table < 2; table++) {
            const Field *field = field_find(shape->fields[table], item->string);
            if (field && field->type) strict_read_value(p, path, item, field, shape->object[table]);
        }
    }
}
