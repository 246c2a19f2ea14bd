/* study_spec.c: see study_spec.h. */
#include "train/study_spec.h"

#include "core/json.h"
#include "train/strict.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES ((size_t)1 << 20)
#define NAME_LETTERS   "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-"

/* Fields of no type are read by hand; what they take stands in the range. */
static const Field STUDY_FIELDS[] = {
    {"name", FIELD_TEXT, offsetof(StudySpec, name), "", "", "of the study; empty = the file's"},
    {"dir", FIELD_TEXT, offsetof(StudySpec, dir), "", "", "its folder; empty = studies/NAME"},
    {"base", 0, 0, "", "a config, or its path", "what every method starts from"},
    {"seeds", 0, 0, "", "a list of integers", "train.seed of the runs that count: one run of each method"},
    {"tune_seeds", 0, 0, "the first of seeds", "a list of integers",
     "train.seed of the runs by which points are chosen"},
    {"baseline", FIELD_TEXT, offsetof(StudySpec, baseline), "", "",
     "the method that others are compared with; empty = the first"},
    {"side_by_side", FIELD_INT, offsetof(StudySpec, side_by_side), "0", "[0,1024]",
     "runs at a time, the cores shared out among them; 0 = what is measured to be faster"},
    {"checkpoints", FIELD_CHOICE, offsetof(StudySpec, checkpoints), "none", "none|final",
     "what stays of the checkpoints of a run that has ended: none, or those of final runs"},
    {"methods", 0, 0, "", "an object", "the methods by their names, each an object with the keys below"},
    {0}};

typedef struct MethodFields {
    char like[FIELD_TEXT_MAX], trunk[FIELD_TEXT_MAX];
    int64_t extend;
    int final;
} MethodFields;

static const Field METHOD_FIELDS[] = {
    {"like", FIELD_TEXT, offsetof(MethodFields, like), "", "",
     "starts from this method's settings and its chosen point; one that is written above"},
    {"trunk", FIELD_TEXT, offsetof(MethodFields, trunk), "", "",
     "like, and each run branches off that method's run of the same seed, at step alpha_sign * steps"},
    {"set", 0, 0, "", "an object: values by key path", "settings; null takes away what base or like set"},
    {"scale", 0, 0, "", "an object: numbers by key path", "settings to multiply, after set"},
    {"grid", 0, 0, "", "an object: lists by key path",
     "values to try, in all combinations; none = one point"},
    {"extend", FIELD_INT, offsetof(MethodFields, extend), "3", "[0,20]",
     "at most so many values beyond each edge of a grid, while the best point lies on it"},
    {"final", FIELD_CHOICE, offsetof(MethodFields, final), "chosen", "chosen|all",
     "which points are trained on all seeds: the best, or every one"},
    {0}};

/* What the study sets itself. */
static const char *const OWN_KEYS[] = {
    "train.seed", "train.init_from", "train.init_take",       "train.resume",
    "run.dir",    "checkpoint.save", "checkpoint.keep_steps", NULL};

/* ------------------------------------------------------------------------------------------------- values */

static bool is_scalar(const cJSON *item) {
    return cJSON_IsString(item) || cJSON_IsBool(item) ||
           (cJSON_IsNumber(item) && isfinite(item->valuedouble));
}

static void check_key(Problems *p, const char *path, const cJSON *object, const cJSON *item) {
    if (!strchr(item->string, '.'))
        strict_problem(p, "%s.%.60s: must be a section and a key, such as optimizer.lr", path,
                       item->string);
    if (cJSON_GetObjectItemCaseSensitive(object, item->string) != item)
        strict_problem(p, "%s.%.60s: written twice", path, item->string);
    for (const char *const *own = OWN_KEYS; *own; own++)
        if (strcmp(*own, item->string) == 0)
            strict_problem(p, "%s.%s: the study sets it; remove it", path, item->string);
}

static void check_values(Problems *p, const char *path, const cJSON *item) {
    int count = cJSON_GetArraySize(item);
    char found[64];
    if (!cJSON_IsArray(item) || count == 0 || count > STUDY_VALUES_MAX) {
        strict_problem(p, "%s: %s must be a list of 1 to %d values", path,
                       cJSON_IsArray(item) ? "this" : strict_found(item, found, sizeof found),
                       STUDY_VALUES_MAX);
        return;
    }
    for (const cJSON *value = item->child; value; value = value->next) {
        if (!is_scalar(value) || value->type != item->child->type) {
            strict_problem(p, "%s: %s: values must be all numbers, all texts, or all true or false", path,
                           strict_found(value, found, sizeof found));
            return;
        }
        for (const cJSON *before = item->child; before != value; before = before->next)
            if (cJSON_Compare(before, value, true))
                strict_problem(p, "%s: %s is there twice", path, strict_found(value, found, sizeof found));
    }
}

/* set, scale or grid of a method: its object, or NULL. */
static const cJSON *read_settings(Problems *p, const char *method, const cJSON *object, const char *key) {
    char path[160], one[256], found[64];
    const cJSON *settings = cJSON_GetObjectItemCaseSensitive(object, key);
    snprintf(path, sizeof path, "methods.%s.%s", method, key);
    if (!settings || !strict_is_object(p, path, settings)) return NULL;
    for (const cJSON *item = settings->child; item && !strict_given_up(p); item = item->next) {
        check_key(p, path, settings, item);
        snprintf(one, sizeof one, "%s.%.60s", path, item->string);
        strict_found(item, found, sizeof found);
        if (strcmp(key, "grid") == 0) check_values(p, one, item);
        else if (strcmp(key, "scale") == 0 && (!cJSON_IsNumber(item) || !isfinite(item->valuedouble)))
            strict_problem(p, "%s: %s must be a number", one, found);
        else if (strcmp(key, "set") == 0 && !is_scalar(item) && !cJSON_IsNull(item))
            strict_problem(p, "%s: %s must be a number, a text, true, false or null", one, found);
    }
    return settings;
}

/* ------------------------------------------------------------------------------------------------ methods */

static bool is_name(const char *name) {
    size_t length = strlen(name);
    return length > 0 && length < STUDY_NAME_MAX && name[strspn(name, NAME_LETTERS)] == '\0' &&
           *name != '.';
}

/* The place of a method that is written above `before`; -1 for "". */
static int find_above(Problems *p, const StudySpec *spec, int before, const char *key, const char *name) {
    const char *names[STUDY_METHODS_MAX + 1] = {NULL};
    for (int i = 0; i < before; i++) {
        if (strcmp(spec->methods[i].name, name) == 0) return i;
        names[i] = spec->methods[i].name;
    }
    if (!*name) return -1;
    const char *near = nearest_name(name, names);
    strict_problem(p, "methods.%s.%s: \"%.60s\" is no method that is written above this one%s%s%s",
                   spec->methods[before].name, key, name, near ? "; did you mean \"" : "", near ? near : "",
                   near ? "\"?" : "");
    return -1;
}

static void read_method(Problems *p, StudySpec *spec, int place, const cJSON *object) {
    MethodSpec *m = &spec->methods[place];
    MethodFields fields;
    char path[160];
    snprintf(m->name, sizeof m->name, "%s", object->string);
    snprintf(path, sizeof path, "methods.%s", m->name);
    field_defaults(METHOD_FIELDS, &fields);
    if (!strict_is_object(p, path, object)) return;
    strict_read(p, path, object, &(Shape){{METHOD_FIELDS}, {&fields}, (const char *const[]){NULL}});
    m->extend = fields.extend;
    m->final = fields.final;
    m->like = find_above(p, spec, place, "like", fields.like);
    m->trunk = find_above(p, spec, place, "trunk", fields.trunk);
    m->set = read_settings(p, m->name, object, "set");
    m->scale = read_settings(p, m->name, object, "scale");
    m->grid = read_settings(p, m->name, object, "grid");
    if (cJSON_GetArraySize(m->grid) > STUDY_AXES_MAX)
        strict_problem(p, "%s.grid: more than %d keys", path, STUDY_AXES_MAX);
    for (const cJSON *item = m->grid ? m->grid->child : NULL; item; item = item->next)
        if (cJSON_GetObjectItemCaseSensitive(m->set, item->string) ||
            cJSON_GetObjectItemCaseSensitive(m->scale, item->string))
            strict_problem(p, "%s.grid.%s: is in set or scale, too; remove one", path, item->string);
}

static void read_methods(Problems *p, StudySpec *spec, const cJSON *object) {
    int count = cJSON_GetArraySize(object);
    if (!object || (strict_is_object(p, "methods", object) && count == 0)) {
        strict_problem(p, "methods: name at least one");
        return;
    }
    if (!cJSON_IsObject(object)) return;
    if (count > STUDY_METHODS_MAX) {
        strict_problem(p, "methods: %d are more than %d", count, STUDY_METHODS_MAX);
        return;
    }
    spec->methods = calloc((size_t)count, sizeof *spec->methods);
    if (!spec->methods) {
        strict_out_of_memory(p, "methods");
        return;
    }
    for (const cJSON *item = object->child; item && !strict_given_up(p); item = item->next) {
        if (!is_name(item->string))
            strict_problem(p, "methods.%.60s: a name is of 1 to %d letters, digits, \"_\", \"-\" and \".\"",
                           item->string, STUDY_NAME_MAX - 1);
        else if (cJSON_GetObjectItemCaseSensitive(object, item->string) != item)
            strict_problem(p, "methods.%s: written twice", item->string);
        else read_method(p, spec, spec->method_count++, item);
    }
}

/* ------------------------------------------------------------------------------------------------ the file */

static void read_seeds(Problems *p, const cJSON *root, const char *key, int64_t **seeds, int *count) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, key);
    int n = cJSON_GetArraySize(list);
    if (!cJSON_IsArray(list) || n == 0 || n > STUDY_SEEDS_MAX) {
        strict_problem(p, "%s: must be a list of 1 to %d integers, such as [1,2,3]", key, STUDY_SEEDS_MAX);
        return;
    }
    *seeds = calloc((size_t)n, sizeof **seeds);
    if (!*seeds) {
        strict_out_of_memory(p, key);
        return;
    }
    for (const cJSON *item = list->child; item; item = item->next) {
        double value = cJSON_IsNumber(item) ? item->valuedouble : -1;
        bool fits = value >= 0 && value <= 1e15 && value == floor(value);
        if (!fits) strict_problem(p, "%s: each must be an integer in [0,1e15]", key);
        for (int i = 0; fits && i < *count; i++)
            if ((*seeds)[i] == (int64_t)value) strict_problem(p, "%s: %.0f is there twice", key, value);
        (*seeds)[(*count)++] = fits ? (int64_t)value : 0;
    }
}

static bool copy_first_seed(StudySpec *spec) {
    spec->tune_seeds = calloc(1, sizeof *spec->tune_seeds);
    if (!spec->tune_seeds) return false;
    spec->tune_seeds[0] = spec->seeds[0];
    spec->tune_seed_count = 1;
    return true;
}

static void read_base(Problems *p, StudySpec *spec) {
    const cJSON *base = cJSON_GetObjectItemCaseSensitive(spec->root, "base");
    char found[64];
    Error err;
    if (cJSON_IsString(base)) {
        spec->base = json_read(base->valuestring, FILE_MAX_BYTES, ERR_CONFIG, &err);
        if (!spec->base) strict_problem(p, "base: %s", err.text);
        else strict_is_object(p, "base", spec->base);
    } else if (cJSON_IsObject(base)) {
        spec->base = cJSON_Duplicate(base, true);
        if (!spec->base) strict_out_of_memory(p, "base");
    } else {
        strict_problem(p, "base: %s must be a config, {...}, or its path",
                       base ? strict_found(base, found, sizeof found) : "nothing");
    }
}

/* Names that follow from others. */
static void read_names(Problems *p, StudySpec *spec, const char *path) {
    const char *slash = strrchr(path, '/'), *file = slash ? slash + 1 : path;
    size_t length = strlen(file);
    if (length > 5 && strcmp(file + length - 5, ".json") == 0) length -= 5;
    if (!*spec->name) snprintf(spec->name, sizeof spec->name, "%.*s", (int)length, file);
    if (!is_name(spec->name))
        strict_problem(p, "name: \"%.60s\" must be of 1 to %d letters, digits, \"_\", \"-\" and \".\"",
                       spec->name, STUDY_NAME_MAX - 1);
    if (!*spec->dir) snprintf(spec->dir, sizeof spec->dir, "studies/%.*s", STUDY_NAME_MAX, spec->name);
    for (length = strlen(spec->dir); length > 1 && spec->dir[length - 1] == '/';)
        spec->dir[--length] = '\0';
    if (!*spec->baseline && spec->method_count)
        snprintf(spec->baseline, sizeof spec->baseline, "%s", spec->methods[0].name);
    const char *names[STUDY_METHODS_MAX + 1] = {NULL};
    for (int i = 0; i < spec->method_count; i++) {
        if (strcmp(spec->methods[i].name, spec->baseline) == 0) return;
        names[i] = spec->methods[i].name;
    }
    const char *near = nearest_name(spec->baseline, names);
    strict_problem(p, "baseline: \"%.60s\" is none of the methods%s%s%s", spec->baseline,
                   near ? "; did you mean \"" : "", near ? near : "", near ? "\"?" : "");
}

bool study_spec_read(StudySpec *spec, const char *path, Error *err) {
    Problems p = {0};
    *spec = (StudySpec){0};
    spec->root = json_read(path, FILE_MAX_BYTES, ERR_CONFIG, err);
    if (!spec->root) return false;
    field_defaults(STUDY_FIELDS, spec);
    if (strict_is_object(&p, "the document", spec->root)) {
        strict_read(&p, "", spec->root, &(Shape){{STUDY_FIELDS}, {spec}, (const char *const[]){NULL}});
        read_base(&p, spec);
        read_seeds(&p, spec->root, "seeds", &spec->seeds, &spec->seed_count);
        if (cJSON_GetObjectItemCaseSensitive(spec->root, "tune_seeds"))
            read_seeds(&p, spec->root, "tune_seeds", &spec->tune_seeds, &spec->tune_seed_count);
        else if (spec->seed_count && !copy_first_seed(spec)) strict_out_of_memory(&p, "tune_seeds");
        read_methods(&p, spec, cJSON_GetObjectItemCaseSensitive(spec->root, "methods"));
        read_names(&p, spec, path);
    }
    if (strict_report(&p, path, err)) return true;
    study_spec_free(spec);
    return false;
}

void study_spec_free(StudySpec *spec) {
    cJSON_Delete(spec->root);
    cJSON_Delete(spec->base);
    free(spec->seeds);
    free(spec->tune_seeds);
    free(spec->methods);
    *spec = (StudySpec){0};
}

static void print_table(FILE *out, const Field *fields) {
    char takes[256];
    fprintf(out, "| key | takes | default | |\n|---|---|---|---|\n");
    for (const Field *f = fields; f->name; f++) {
        snprintf(takes, sizeof takes, "%s", f->range);
        if (f->type) field_expects(f, takes, sizeof takes);
        for (char *bar; (bar = strchr(takes, '|'));) *bar = '/';
        fprintf(out, "| `%s` | %s | %s | %s |\n", f->name, takes, f->default_value, f->doc);
    }
}

void study_spec_print_markdown(FILE *out) {
    print_table(out, STUDY_FIELDS);
    fprintf(out, "\nEach method:\n\n");
    print_table(out, METHOD_FIELDS);
}
