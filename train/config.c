/* config.c: JSON and key=value words -> Config, and back; see config.h.
 *
 * Overrides are put into the JSON tree first, as raw text without a JSON type, so that one pass checks
 * everything. That pass never stops at the first problem: a bad value keeps its default, and the problem
 * goes on the list. */
#include "train/config.h"

#include "core/json.h"
#include "train/schedule.h"
#include "train/schema.h"
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES ((size_t)1 << 20)
#define PROBLEMS_MAX   40 /* then the reader gives up: that is no config */

/* ----------------------------------------------------------------------------------------------- problems */

typedef struct Problems {
    char text[3600]; /* "\n  problem" each */
    size_t length;
    int count, shown;
    bool out_of_memory;
} Problems;

static void problem(Problems *p, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void problem(Problems *p, const char *format, ...) {
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

static void problem_memory(Problems *p, const char *path) {
    p->out_of_memory = true;
    problem(p, "%s: out of memory", path);
}

static bool given_up(const Problems *p) {
    return p->count >= PROBLEMS_MAX;
}

/* One problem stays one line. */
static bool report(const Problems *p, const char *path, Error *err) {
    if (p->count == 0) return true;
    ErrorCode code = p->out_of_memory ? ERR_IO : ERR_CONFIG;
    if (p->count == 1) return error_set(err, code, "%.200s: %s", path, p->text + 3);
    return error_set(err, code, "%.200s: %d problems%s%s%s", path, p->count, given_up(p) ? " or more" : "",
                     p->text, p->shown < p->count ? "\n  ..." : "");
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

/* What was found, to begin a sentence. */
static const char *found_text(const cJSON *item, char *out, size_t size) {
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

static void read_value(Problems *p, const char *path, const cJSON *item, const Field *field, void *object) {
    char buffer[64], found[64], expects[256];
    const char *text = value_text(field, item, buffer, sizeof buffer);
    Error err;
    if (!text)
        problem(p, "%s.%s: %s must be %s", path, field->name, found_text(item, found, sizeof found),
                field_expects(field, expects, sizeof expects));
    else if (!field_set(field, object, text, &err)) problem(p, "%s.%s: %s", path, field->name, err.text);
}

/* ------------------------------------------------------------------------------------------------ objects */

#define NAMES_MAX 64

/* What an object may hold: fields of up to two tables, and keys that the caller reads itself. */
typedef struct Shape {
    const Field *fields[2];
    void *object[2];
    const char *const *others; /* ends with NULL */
} Shape;

/* Every key of the shape, NULL-terminated. */
static void shape_names(const Shape *shape, const char *names[NAMES_MAX]) {
    int n = 0;
    for (const char *const *other = shape->others; *other; other++) names[n++] = *other;
    for (int table = 0; table < 2; table++)
        for (const Field *f = shape->fields[table]; f && f->name && n < NAMES_MAX - 1; f++)
            names[n++] = f->name;
    names[n] = NULL;
}

static bool among(const char *word, const char *const *names) {
    for (; *names; names++)
        if (strcmp(word, *names) == 0) return true;
    return false;
}

/* "did you mean" the nearest of the names, or all of them when none is near. */
static void unknown_key(Problems *p, const char *path, const char *key, const char *const *names) {
    char hint[400];
    const char *near = nearest_name(key, names);
    if (near) snprintf(hint, sizeof hint, "did you mean \"%s\"?", near);
    else {
        size_t n = (size_t)snprintf(hint, sizeof hint, "known here:");
        for (; *names && n < sizeof hint; names++)
            n += (size_t)snprintf(hint + n, sizeof hint - n, " %s%s", *names, names[1] ? "," : "");
    }
    problem(p, "%s%s%.60s: unknown key; %s", path, *path ? "." : "", key, hint);
}

static bool is_object(Problems *p, const char *path, const cJSON *item) {
    char found[64];
    if (cJSON_IsObject(item)) return true;
    problem(p, "%s: %s must be an object, {...}", path, found_text(item, found, sizeof found));
    return false;
}

/* Reads fields, and reports keys that are unknown or written twice. */
static void read_object(Problems *p, const char *path, const cJSON *object, const Shape *shape) {
    const char *names[NAMES_MAX];
    shape_names(shape, names);
    for (const cJSON *item = object ? object->child : NULL; item && !given_up(p); item = item->next) {
        if (!among(item->string, names)) {
            unknown_key(p, path, item->string, names);
            continue;
        }
        if (cJSON_GetObjectItemCaseSensitive(object, item->string) != item) {
            problem(p, "%s%s%s: written twice", path, *path ? "." : "", item->string);
            continue;
        }
        for (int table = 0; table < 2; table++) {
            const Field *field = field_find(shape->fields[table], item->string);
            if (field) read_value(p, path, item, field, shape->object[table]);
        }
    }
}

/* ---------------------------------------------------------------------------------------------- optimizers */

/* The optimizer that `object` names; NULL, with a problem, if there is none of that name. */
static const Optimizer *read_name(Problems *p, const char *path, const cJSON *object,
                                  const char *default_name) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, "name");
    const char *word = item ? NULL : default_name;
    if (item && (cJSON_IsString(item) || cJSON_IsRaw(item))) word = item->valuestring;
    const Optimizer *optimizer = word ? optimizer_find(word) : NULL;
    if (optimizer) return optimizer;
    const char *near = word ? nearest_optimizer(word) : NULL;
    char found[64] = "";
    problem(p, "%s.name: %s is no optimizer; %s%s%s", path, found_text(item, found, sizeof found),
            near ? "did you mean \"" : "see --list-optimizers", near ? near : "", near ? "\"?" : "");
    return NULL;
}

static const char *const NO_KEYS[] = {NULL};
static const char *const NAME_ONLY[] = {"name", NULL};
static const char *const CHOICE_KEYS[] = {"name", "as", NULL};

/* "as": the reading of a method that the other keys then change. */
static void read_preset(Problems *p, const char *path, const cJSON *object, OptimizerChoice *choice) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, "as");
    const Optimizer *o = choice->optimizer;
    char found[64], known[256] = "";
    Error err;
    if (!item) return;
    if (cJSON_IsString(item) || cJSON_IsRaw(item)) choice->preset = optimizer_preset(o, item->valuestring);
    if (choice->preset) {
        if (!field_set_words((const Field *[]){RATE_FIELDS, o->fields}, (void *[]){choice, choice->hyper},
                             choice->preset->settings, &err))
            problem(p, "%s.as: %s", path, err.text);
        return;
    }
    for (const Preset *preset = o->presets; preset && preset->name; preset++) {
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", n ? "|" : "", preset->name);
    }
    if (*known)
        problem(p, "%s.as: %s is no reading of %s; write one of %s", path,
                found_text(item, found, sizeof found), o->name, known);
    else problem(p, "%s.as: %s has one reading only; remove it", path, o->name);
}

/* Reads an optimizer object (rates, hyper-parameters and the keys in `others`); object NULL: defaults.
 * False if it names no optimizer. */
static bool read_choice(Problems *p, const char *path, const cJSON *object, const char *default_name,
                        const char *const *others, OptimizerChoice *choice) {
    const Optimizer *o = read_name(p, path, object, default_name);
    if (!o) { /* which keys it takes is unknown, but all take rates */
        OptimizerChoice none;
        for (const Field *f = RATE_FIELDS; f->name; f++) {
            const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, f->name);
            if (item) read_value(p, path, item, f, &none);
        }
        return false;
    }
    *choice = (OptimizerChoice){.optimizer = o,
                                .hyper = calloc(1, o->hyper_size ? o->hyper_size : 1),
                                .lr = o->lr,
                                .weight_decay = o->weight_decay};
    if (!choice->hyper) {
        problem_memory(p, path);
        return false;
    }
    field_defaults(o->fields, choice->hyper);
    read_preset(p, path, object, choice);

    int before = p->count;
    Shape shape = {{RATE_FIELDS, o->fields}, {choice, choice->hyper}, others};
    read_object(p, path, object, &shape);
    const char *wrong = o->check && p->count == before ? o->check(choice->hyper) : NULL;
    if (wrong) problem(p, "%s: %s", path, wrong);
    return true;
}

/* One entry of "roles": with a name an optimizer of its own, without one only rates (NAN where not written). */
static bool read_role(Problems *p, const cJSON *object, Role role, OptimizerChoice *own,
                      OptimizerChoice *rates) {
    char path[64];
    snprintf(path, sizeof path, "optimizer.roles.%s", ROLE_NAMES[role]);
    if (!object || !is_object(p, path, object)) return true;
    if (!cJSON_GetObjectItemCaseSensitive(object, "name")) {
        Shape shape = {{RATE_FIELDS}, {rates}, NAME_ONLY};
        read_object(p, path, object, &shape);
        return true;
    }
    bool named = read_choice(p, path, object, "", CHOICE_KEYS, own);
    if (cJSON_GetObjectItemCaseSensitive(object, "weight_decay")) rates->weight_decay = own->weight_decay;
    return named;
}

static void check_used(Problems *p, const Config *config, int which, const char *path) {
    const OptimizerChoice *choice = &config->chosen[which];
    bool used = !choice->optimizer;
    for (int role = 0; role < ROLE_COUNT; role++)
        used |= choice->hyper == config->optimizer.role[role].hyper;
    if (!used) problem(p, "%s: %s has nothing to update; remove it", path, choice->optimizer->name);
}

/* Does "optimizer" update this role by itself? Methods for every role do; those for matrices only (Muon's
 * kind) leave embeddings and the head to "aux" unless roles.embedding or roles.head names them, although
 * both are matrices. */
static bool takes(const Optimizer *o, int role) {
    return o->roles == ROLES_ALL || (role == ROLE_MATRIX && (o->roles & ROLE_BIT(ROLE_MATRIX)));
}

/* Who updates which role. */
static void resolve_roles(Problems *p, Config *config, const OptimizerChoice rates[ROLE_COUNT]) {
    OptimizerChoice *first = &config->chosen[CHOICE_MAIN], *aux = &config->chosen[CHOICE_AUX];
    for (int role = 0; role < ROLE_COUNT; role++) {
        OptimizerChoice *choice = &config->chosen[CHOICE_ROLE + role];
        if (!choice->optimizer) choice = takes(first->optimizer, role) ? first : aux;
        if (!choice->optimizer && !read_choice(p, "optimizer.aux", NULL, "adamw", CHOICE_KEYS, aux)) return;
        if (!(choice->optimizer->roles & ROLE_BIT(role)))
            problem(p, "optimizer.%s%s.name: %s cannot update the role %s; name another",
                    choice == aux ? "aux" : "roles.", choice == aux ? "" : ROLE_NAMES[role],
                    choice->optimizer->name, ROLE_NAMES[role]);
        double decay = role == ROLE_VECTOR ? 0 : choice->weight_decay;
        config->optimizer.role[role].optimizer = choice->optimizer;
        config->optimizer.role[role].hyper = choice->hyper;
        config->optimizer.role[role].lr = isnan(rates[role].lr) ? choice->lr : rates[role].lr;
        config->optimizer.role[role].weight_decay =
            isnan(rates[role].weight_decay) ? decay : rates[role].weight_decay;
    }
    check_used(p, config, CHOICE_MAIN, "optimizer.name");
    check_used(p, config, CHOICE_AUX, "optimizer.aux");
}

static void read_optimizer(Problems *p, Config *config, const cJSON *object) {
    static const char *const others[] = {"name", "as", "aux", "roles", NULL};
    const char *role_names[ROLE_COUNT + 1] = {0};
    memcpy(role_names, ROLE_NAMES, sizeof ROLE_NAMES);
    if (object && !is_object(p, "optimizer", object)) return;
    const cJSON *aux = cJSON_GetObjectItemCaseSensitive(object, "aux");
    const cJSON *roles = cJSON_GetObjectItemCaseSensitive(object, "roles");
    OptimizerChoice rates[ROLE_COUNT];

    bool named = read_choice(p, "optimizer", object, "adamw", others, &config->chosen[CHOICE_MAIN]);
    if (aux && is_object(p, "optimizer.aux", aux))
        named &= read_choice(p, "optimizer.aux", aux, "adamw", CHOICE_KEYS, &config->chosen[CHOICE_AUX]);
    if (roles && is_object(p, "optimizer.roles", roles)) {
        read_object(p, "optimizer.roles", roles, &(Shape){.others = role_names});
    }
    for (int role = 0; role < ROLE_COUNT; role++) {
        rates[role] = (OptimizerChoice){.lr = NAN, .weight_decay = NAN};
        named &= read_role(p, cJSON_GetObjectItemCaseSensitive(roles, ROLE_NAMES[role]), role,
                           &config->chosen[CHOICE_ROLE + role], &rates[role]);
    }
    if (named) resolve_roles(p, config, rates);
}

/* ------------------------------------------------------------------------------------------ the whole config */

/* Puts "a.b.c=text" into the tree as raw text. A path through something that is no object is left to the check. */
static void apply_override(Problems *p, cJSON *root, const char *word) {
    char path[256];
    const char *equals = strchr(word, '=');
    if (!equals || equals == word || (size_t)(equals - word) >= sizeof path) {
        problem(p, "\"%.60s\": not an override; write section.key=value", word);
        return;
    }
    if (utf8_valid_length(word, strlen(word)) < strlen(word)) {
        problem(p, "%.*s: not UTF-8", (int)(equals - word), word);
        return;
    }
    snprintf(path, sizeof path, "%.*s", (int)(equals - word), word);
    char *key = path, *dot;
    for (; (dot = strchr(key, '.')); key = dot + 1) {
        *dot = '\0';
        cJSON *child = cJSON_GetObjectItemCaseSensitive(root, key);
        if (!child && !(child = cJSON_AddObjectToObject(root, key))) {
            problem_memory(p, key);
            return;
        }
        if (!cJSON_IsObject(child)) {
            problem(p, "%.*s: there is no such key", (int)(equals - word), word);
            return;
        }
        root = child;
    }
    cJSON *value = cJSON_CreateRaw(equals + 1);
    bool there = cJSON_GetObjectItemCaseSensitive(root, key) != NULL;
    bool done = there ? cJSON_ReplaceItemInObjectCaseSensitive(root, key, value)
                      : cJSON_AddItemToObject(root, key, value);
    if (done && value->string) return;
    cJSON_Delete(done ? cJSON_DetachItemViaPointer(root, value)
                      : value); /* cJSON may replace by one without a name */
    problem_memory(p, key);
}

/* Was nothing in this section refused? Refused fields hold defaults, from which nothing should be concluded. */
static bool clean(const Problems *p, const char *section) {
    char start[32];
    snprintf(start, sizeof start, "\n  %s", section);
    return !strstr(p->text, start);
}

static void check_budget(Problems *p, const Config *c, int64_t step_tokens) {
    const TrainSection *t = &c->train;
    int budgets = (t->steps > 0) + (t->tokens > 0) + (t->epochs > 0);
    if (budgets == 0) problem(p, "train: set one of steps, tokens, epochs: how long to train");
    if (budgets > 1)
        problem(p, "train: only one of steps, tokens, epochs may be above 0; found %lld, %lld, %g",
                (long long)t->steps, (long long)t->tokens, t->epochs);
    if (t->tokens > 0 && t->tokens < step_tokens)
        problem(
            p,
            "train.tokens: %lld is less than one step, %lld (batch_size * grad_accum * model.block_size)",
            (long long)t->tokens, (long long)step_tokens);
    Error err;
    if (budgets == 1 && t->steps > 0 && clean(p, "schedule") &&
        !schedule_check(&c->schedule, t->steps, &err))
        problem(p, "%s", err.text);
}

/* What no single field can tell. */
static void check_together(Problems *p, const Config *c) {
    int64_t batch_tokens = c->train.batch_size * c->model.block_size; /* ranges keep products below 2^48 */
    bool sizes = clean(p, "model") && clean(p, "train");
    if (clean(p, "model") && c->model.n_embd % c->model.n_head != 0)
        problem(p, "model.n_head: %lld does not divide model.n_embd, %lld", (long long)c->model.n_head,
                (long long)c->model.n_embd);
    if (c->train.max_rollbacks > 0 && (!c->checkpoint.save || c->checkpoint.every == 0))
        problem(p, "train.max_rollbacks: set checkpoint.every, for there must be something to go back to");
    if (clean(p, "train")) check_budget(p, c, sizes ? batch_tokens * c->train.grad_accum : 0);
}

static void read_sections(Problems *p, Config *config, const cJSON *root) {
    const char *names[NAMES_MAX] = {"optimizer"};
    for (int i = 0; CONFIG_SECTIONS[i].name; i++) names[1 + i] = CONFIG_SECTIONS[i].name;
    read_object(p, "", root, &(Shape){.others = names});

    for (const Section *s = CONFIG_SECTIONS; s->name; s++) {
        void *section = (char *)config + s->offset;
        const cJSON *object = cJSON_GetObjectItemCaseSensitive(root, s->name);
        field_defaults(s->fields, section);
        if (object && is_object(p, s->name, object))
            read_object(p, s->name, object, &(Shape){{s->fields}, {section}, NO_KEYS});
    }
    read_optimizer(p, config, cJSON_GetObjectItemCaseSensitive(root, "optimizer"));
    check_together(p, config);
}

/* runs/<name of the file without .json> */
static void name_run(Problems *p, const char *path, RunSection *run) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    size_t length = strlen(name);
    if (length > 5 && strcmp(name + length - 5, ".json") == 0) length -= 5;
    if (length + sizeof "runs/" > sizeof run->dir)
        problem(p, "run.dir: the config's name is too long for a folder; set run.dir");
    else snprintf(run->dir, sizeof run->dir, "runs/%.*s", (int)length, name);
}

bool config_load(Config *config, const char *path, char *const *overrides, int override_count, Error *err) {
    Problems problems = {0};
    memset(config, 0, sizeof *config);
    cJSON *root = json_read(path, FILE_MAX_BYTES, ERR_CONFIG, err);
    if (!root) return false;
    if (is_object(&problems, "the document", root)) {
        for (int i = 0; i < override_count; i++) apply_override(&problems, root, overrides[i]);
        read_sections(&problems, config, root);
        if (!*config->run.dir) name_run(&problems, path, &config->run);
    }
    cJSON_Delete(root);
    if (!report(&problems, path, err)) config_free(config);
    return problems.count == 0;
}

void config_free(Config *config) {
    for (int i = 0; i < CHOICE_ROLE + ROLE_COUNT; i++) free(config->chosen[i].hyper);
    memset(config, 0, sizeof *config);
}

/* ------------------------------------------------------------------------------------------------- writing */

/* Adds a field to a JSON object. Numbers go in as raw text: cJSON prints doubles to a tolerance, not to the bit. */
static bool write_field(cJSON *object, const Field *field, const void *values) {
    char text[FIELD_TEXT_MAX];
    field_text(field, values, text, sizeof text);
    bool quoted = field->type == FIELD_CHOICE || field->type == FIELD_TEXT;
    return (quoted ? cJSON_AddStringToObject(object, field->name, text)
                   : cJSON_AddRawToObject(object, field->name, text)) != NULL;
}

static bool write_fields(cJSON *object, const Field *fields, const void *values) {
    bool done = true;
    for (const Field *f = fields; f && f->name; f++) done = done && write_field(object, f, values);
    return done;
}

static bool write_choice(cJSON *object, const OptimizerChoice *choice) {
    return cJSON_AddStringToObject(object, "name", choice->optimizer->name) &&
           (!choice->preset || cJSON_AddStringToObject(object, "as", choice->preset->name)) &&
           write_fields(object, RATE_FIELDS, choice) &&
           write_fields(object, choice->optimizer->fields, choice->hyper);
}

/* Rates that follow from the role's optimizer are left out: an override of optimizer.lr must go on working
 * on a config that a run wrote. */
static bool write_role(cJSON *roles, const Config *config, int role) {
    const OptimizerChoice *own = &config->chosen[CHOICE_ROLE + role], *choice = config->chosen;
    while (choice->hyper != config->optimizer.role[role].hyper) choice++;
    OptimizerChoice rates = *choice;
    rates.lr = config->optimizer.role[role].lr;
    rates.weight_decay = config->optimizer.role[role].weight_decay;
    bool lr = rates.lr != choice->lr;
    bool decay = rates.weight_decay != choice->weight_decay || role == ROLE_VECTOR;
    if (choice != own && !lr && !decay) return true;
    cJSON *entry = cJSON_AddObjectToObject(roles, ROLE_NAMES[role]);
    if (choice == own) return write_choice(entry, &rates);
    return (!lr || write_field(entry, field_find(RATE_FIELDS, "lr"), &rates)) &&
           (!decay || write_field(entry, field_find(RATE_FIELDS, "weight_decay"), &rates));
}

static bool write_optimizer(cJSON *root, const Config *config) {
    const OptimizerChoice *aux = &config->chosen[CHOICE_AUX];
    cJSON *object = cJSON_AddObjectToObject(root, "optimizer");
    bool done = object && write_choice(object, &config->chosen[CHOICE_MAIN]);
    if (aux->optimizer) done = done && write_choice(cJSON_AddObjectToObject(object, "aux"), aux);
    cJSON *roles = cJSON_AddObjectToObject(object, "roles");
    for (int role = 0; role < ROLE_COUNT && done; role++) done = write_role(roles, config, role);
    return done;
}

char *config_to_json(const Config *config) {
    cJSON *root = cJSON_CreateObject();
    bool done = root != NULL;
    for (const Section *s = CONFIG_SECTIONS; s->name; s++) {
        cJSON *object = cJSON_AddObjectToObject(root, s->name);
        done = done && object && write_fields(object, s->fields, (const char *)config + s->offset);
    }
    done = done && write_optimizer(root, config);
    char *text = done ? json_print(root) : NULL;
    cJSON_Delete(root);
    return text;
}
