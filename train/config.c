/* config.c: JSON and key=value words -> Config, and back; see config.h.
 *
 * Overrides are put into the JSON tree first, as raw text without a JSON type, so that one pass checks
 * everything. */
#include "train/config.h"

#include "core/json.h"
#include "train/schedule.h"
#include "train/schema.h"
#include "train/strict.h"
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FILE_MAX_BYTES ((size_t)1 << 20)

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
    strict_problem(p, "%s.name: %s is no optimizer; %s%s%s", path, strict_found(item, found, sizeof found),
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
            strict_problem(p, "%s.as: %s", path, err.text);
        return;
    }
    for (const Preset *preset = o->presets; preset && preset->name; preset++) {
        size_t n = strlen(known);
        snprintf(known + n, sizeof known - n, "%s%s", n ? "|" : "", preset->name);
    }
    if (*known)
        strict_problem(p, "%s.as: %s is no reading of %s; write one of %s", path,
                       strict_found(item, found, sizeof found), o->name, known);
    else strict_problem(p, "%s.as: %s has one reading only; remove it", path, o->name);
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
            if (item) strict_read_value(p, path, item, f, &none);
        }
        return false;
    }
    *choice = (OptimizerChoice){.optimizer = o,
                                .hyper = calloc(1, o->hyper_size ? o->hyper_size : 1),
                                .lr = o->lr,
                                .weight_decay = o->weight_decay};
    if (!choice->hyper) {
        strict_out_of_memory(p, path);
        return false;
    }
    field_defaults(o->fields, choice->hyper);
    read_preset(p, path, object, choice);

    int before = p->count;
    Shape shape = {{RATE_FIELDS, o->fields}, {choice, choice->hyper}, others};
    strict_read(p, path, object, &shape);
    const char *wrong = o->check && p->count == before ? o->check(choice->hyper) : NULL;
    if (wrong) strict_problem(p, "%s: %s", path, wrong);
    return true;
}

/* One entry of "roles": with a name an optimizer of its own, without one only rates (NAN where not written). */
static bool read_role(Problems *p, const cJSON *object, Role role, OptimizerChoice *own,
                      OptimizerChoice *rates) {
    char path[64];
    snprintf(path, sizeof path, "optimizer.roles.%s", ROLE_NAMES[role]);
    if (!object || !strict_is_object(p, path, object)) return true;
    if (!cJSON_GetObjectItemCaseSensitive(object, "name")) {
        Shape shape = {{RATE_FIELDS}, {rates}, NAME_ONLY};
        strict_read(p, path, object, &shape);
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
    if (!used) strict_problem(p, "%s: %s has nothing to update; remove it", path, choice->optimizer->name);
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
            strict_problem(p, "optimizer.%s%s.name: %s cannot update the role %s; name another",
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
    if (object && !strict_is_object(p, "optimizer", object)) return;
    const cJSON *aux = cJSON_GetObjectItemCaseSensitive(object, "aux");
    const cJSON *roles = cJSON_GetObjectItemCaseSensitive(object, "roles");
    OptimizerChoice rates[ROLE_COUNT];

    bool named = read_choice(p, "optimizer", object, "adamw", others, &config->chosen[CHOICE_MAIN]);
    if (aux && strict_is_object(p, "optimizer.aux", aux))
        named &= read_choice(p, "optimizer.aux", aux, "adamw", CHOICE_KEYS, &config->chosen[CHOICE_AUX]);
    if (roles && strict_is_object(p, "optimizer.roles", roles)) {
        strict_read(p, "optimizer.roles", roles, &(Shape){.others = role_names});
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
        strict_problem(p, "\"%.60s\": not an override; write section.key=value", word);
        return;
    }
    if (utf8_valid_length(word, strlen(word)) < strlen(word)) {
        strict_problem(p, "%.*s: not UTF-8", (int)(equals - word), word);
        return;
    }
    snprintf(path, sizeof path, "%.*s", (int)(equals - word), word);
    char *key = path, *dot;
    for (; (dot = strchr(key, '.')); key = dot + 1) {
        *dot = '\0';
        cJSON *child = cJSON_GetObjectItemCaseSensitive(root, key);
        if (!child && !(child = cJSON_AddObjectToObject(root, key))) {
            strict_out_of_memory(p, key);
            return;
        }
        if (!cJSON_IsObject(child)) {
            strict_problem(p, "%.*s: there is no such key", (int)(equals - word), word);
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
    strict_out_of_memory(p, key);
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
    if (budgets == 0) strict_problem(p, "train: set one of steps, tokens, epochs: how long to train");
    if (budgets > 1)
        strict_problem(p, "train: only one of steps, tokens, epochs may be above 0; found %lld, %lld, %g",
                       (long long)t->steps, (long long)t->tokens, t->epochs);
    if (t->tokens > 0 && t->tokens < step_tokens)
        strict_problem(
            p,
            "train.tokens: %lld is less than one step, %lld (batch_size * grad_accum * model.block_size)",
            (long long)t->tokens, (long long)step_tokens);
    Error err;
    if (budgets == 1 && t->steps > 0 && clean(p, "schedule") &&
        !schedule_check(&c->schedule, t->steps, &err))
        strict_problem(p, "%s", err.text);
}

bool config_lists_step(const char *list, int64_t step) {
    char *end;
    for (; *list; list = end + (*end == ',')) {
        if (strtoll(list, &end, 10) == step) return true;
        if (end == list) return false;
    }
    return false;
}

/* Whole numbers from 1 with commas between. */
static bool is_step_list(const char *list) {
    size_t digits;
    for (; (digits = strspn(list, "0123456789")) > 0 && digits <= 15 && *list != '0'; list++)
        if (list[digits] == '\0') return true;
        else if (*(list += digits) != ',') return false;
    return false;
}

/* What no single field can tell. */
static void check_together(Problems *p, const Config *c) {
    int64_t batch_tokens = c->train.batch_size * c->model.block_size; /* ranges keep products below 2^48 */
    bool sizes = clean(p, "model") && clean(p, "train");
    if (clean(p, "model") && c->model.n_embd % c->model.n_head != 0)
        strict_problem(p, "model.n_head: %lld does not divide model.n_embd, %lld",
                       (long long)c->model.n_head, (long long)c->model.n_embd);
    if (c->train.max_rollbacks > 0 && (!c->checkpoint.save || c->checkpoint.every == 0))
        strict_problem(
            p, "train.max_rollbacks: set checkpoint.every, for there must be something to go back to");
    if (*c->checkpoint.keep_steps && !is_step_list(c->checkpoint.keep_steps))
        strict_problem(
            p, "checkpoint.keep_steps: \"%.40s\" must be steps with commas between, such as 300,700",
            c->checkpoint.keep_steps);
    if (clean(p, "train")) check_budget(p, c, sizes ? batch_tokens * c->train.grad_accum : 0);
}

static void read_sections(Problems *p, Config *config, const cJSON *root) {
    const char *names[STRICT_NAMES_MAX] = {"optimizer"};
    for (int i = 0; CONFIG_SECTIONS[i].name; i++) names[1 + i] = CONFIG_SECTIONS[i].name;
    strict_read(p, "", root, &(Shape){.others = names});

    for (const Section *s = CONFIG_SECTIONS; s->name; s++) {
        void *section = (char *)config + s->offset;
        const cJSON *object = cJSON_GetObjectItemCaseSensitive(root, s->name);
        field_defaults(s->fields, section);
        if (object && strict_is_object(p, s->name, object))
            strict_read(p, s->name, object, &(Shape){{s->fields}, {section}, NO_KEYS});
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
        strict_problem(p, "run.dir: the config's name is too long for a folder; set run.dir");
    else snprintf(run->dir, sizeof run->dir, "runs/%.*s", (int)length, name);
}

bool config_parse(Config *config, cJSON *root, const char *path, char *const *overrides, int override_count,
                  Error *err) {
    Problems problems = {0};
    memset(config, 0, sizeof *config);
    if (strict_is_object(&problems, "the document", root)) {
        for (int i = 0; i < override_count; i++) apply_override(&problems, root, overrides[i]);
        read_sections(&problems, config, root);
        if (!*config->run.dir) name_run(&problems, path, &config->run);
    }
    if (!strict_report(&problems, path, err)) config_free(config);
    return problems.count == 0;
}

bool config_load(Config *config, const char *path, char *const *overrides, int override_count, Error *err) {
    memset(config, 0, sizeof *config);
    cJSON *root = json_read(path, FILE_MAX_BYTES, ERR_CONFIG, err);
    bool ok = root && config_parse(config, root, path, overrides, override_count, err);
    cJSON_Delete(root);
    return ok;
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
