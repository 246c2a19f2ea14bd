/* config_help.c: what can be written in a config, as text for people: --help, --list-optimizers, --describe
 * docs/config.md and docs/optimizers.md. All of it comes from the tables in schema.c and from the optimizers' own. */
#include "train/schema.h"
#include <stdlib.h>
#include <string.h>

#define COLUMNS 100

/* Prints words from column `at` on, going on at column `indent` in new lines; ends the line. */
static void print_wrapped(FILE *out, int at, int indent, const char *text) {
    bool first = true;
    while (*text) {
        int length = (int)strcspn(text, " \n");
        if (!first && at + 1 + length > COLUMNS) {
            fprintf(out, "\n%*s", indent, "");
            at = indent;
            first = true;
        }
        at += fprintf(out, "%s%.*s", first ? "" : " ", length, text);
        first = false;
        text += length + (text[length] != '\0');
    }
    fputc('\n', out);
}

/* "[0,1)", "a|b|c", "true|false"; integers say so. */
static const char *range_text(const Field *field, char *out, size_t size) {
    const char *range = field->range ? field->range : "";
    switch (field->type) {
    case FIELD_BOOL: snprintf(out, size, "true|false"); break;
    case FIELD_INT: snprintf(out, size, "integer%s%s", *range ? " in " : "", range); break;
    case FIELD_REAL: snprintf(out, size, "number%s%s", *range ? " in " : "", range); break;
    case FIELD_CHOICE: snprintf(out, size, "%s", range); break;
    case FIELD_TEXT: snprintf(out, size, "text%s", *range ? ", not empty" : ""); break;
    }
    return out;
}

/* Rates have no default of their own: it is the optimizer's. */
static const char *default_text(const Field *field, const Optimizer *o, char *out, size_t size) {
    if (field->default_value || !o) return field->default_value;
    OptimizerChoice rates = {.lr = o->lr, .weight_decay = o->weight_decay};
    return field_text(field, &rates, out, size);
}

enum { KEY_WIDTH = 32 };

/* "  section.key=default    what it is; range" */
static void print_fields(FILE *out, const char *section, const Field *fields, const Optimizer *o) {
    char range[256], initial[64], text[1024];
    for (const Field *f = fields; f && f->name; f++) {
        int at = fprintf(out, "  %s.%s=%s", section, f->name, default_text(f, o, initial, sizeof initial));
        at += fprintf(out, "%*s", at + 2 < KEY_WIDTH ? KEY_WIDTH - at : 2, "");
        snprintf(text, sizeof text, "%s; %s", f->doc, range_text(f, range, sizeof range));
        print_wrapped(out, at, KEY_WIDTH, text);
    }
}

/* What it updates by itself, and what it can: "every role", "matrix; embedding, head if roles names it for them". */
static const char *roles_text(const Optimizer *o, char *out, size_t size) {
    if (o->roles == ROLES_ALL) {
        snprintf(out, size, "every role");
        return out;
    }
    size_t n = (size_t)snprintf(out, size, "matrix");
    for (int role = 0; role < ROLE_COUNT; role++)
        if (role != ROLE_MATRIX && (o->roles & ROLE_BIT(role)))
            n += (size_t)snprintf(out + n, size - n, "%s%s", n > 6 ? ", " : "; ", ROLE_NAMES[role]);
    if (n > 6) snprintf(out + n, size - n, " if roles names it for them");
    return out;
}

/* Bytes of state for a weight; slots of a shape of their own: of a large square matrix. */
static int state_bytes(const Optimizer *o) {
    enum { SIDE = 1024 };
    char *hyper = calloc(1, o->hyper_size + 1);
    size_t floats = 0;
    if (hyper) field_defaults(o->fields, hyper);
    for (int slot = 0; hyper && slot < optimizer_slot_count(o); slot++)
        floats += o->slot_size ? o->slot_size(hyper, slot, SIDE, SIDE) : SIDE * SIDE;
    free(hyper);
    return (int)((floats * sizeof(float) + SIDE * SIDE / 2) / (SIDE * SIDE));
}

static void print_names(FILE *out, const char *before, const char *const *names) {
    for (int i = 0; names && names[i]; i++) fprintf(out, "%s%s", i ? ", " : before, names[i]);
}

/* "4 bytes a weight: momentum; scalars median, mad" */
static void print_state(FILE *out, const Optimizer *o) {
    fprintf(out, "%d bytes a weight%s", state_bytes(o), o->slot_size ? " of a large square matrix" : "");
    print_names(out, ": ", o->slots);
    print_names(out, "; scalars ", o->scalars);
}

void config_print_help(FILE *out) {
    fprintf(out, "A config is a JSON file, {\"section\": {\"key\": value}}. Each key can also be set on "
                 "the command line:\n"
                 "  ./train_gpt configs/softmuon.json optimizer.lr=0.02 train.seed=2\n"
                 "Keys with their defaults:\n");
    for (const Section *s = CONFIG_SECTIONS; s->name; s++) {
        fprintf(out, "\n%s: %s\n", s->name, s->doc);
        print_fields(out, s->name, s->fields, NULL);
    }
    const Optimizer *adamw = optimizer_find("adamw");
    fprintf(out, "\noptimizer: who updates the weights\n");
    fprintf(out, "  %-*s%s\n", KEY_WIDTH - 2, "optimizer.name=adamw",
            "an optimizer; see --list-optimizers");
    print_fields(out, "optimizer", RATE_FIELDS, adamw);
    fprintf(out, "  %-*s%s\n", KEY_WIDTH - 2, "optimizer.<setting>",
            "its own settings; see --describe NAME");
    fprintf(out, "  %-*s%s\n", KEY_WIDTH - 2, "optimizer.aux.<key>",
            "name and settings of the optimizer for roles that it leaves");
    fprintf(out, "  %-*s%s\n", KEY_WIDTH - 2, "optimizer.roles.<role>.<key>",
            "lr, weight_decay, or name and settings, of one role:");
    fprintf(out, "%*smatrix, embedding, head or vector\n", KEY_WIDTH, "");
}

void config_list_optimizers(FILE *out) {
    char roles[128];
    fprintf(out, "%-16s %8s %6s %6s  %s\n", "OPTIMIZER", "lr", "decay", "state",
            "updates; source (state in bytes a weight)");
    for (const Optimizer *const *o = OPTIMIZERS; *o; o++)
        fprintf(out, "%-16s %8g %6g %6d  %s; %s\n", (*o)->name, (*o)->lr, (*o)->weight_decay,
                state_bytes(*o), roles_text(*o, roles, sizeof roles), (*o)->source);
}

static void print_lines(FILE *out, const char *indent, const char *lines) {
    for (const char *end; *lines; lines = *end ? end + 1 : end) {
        end = lines + strcspn(lines, "\n");
        fprintf(out, "%s%.*s\n", end > lines ? indent : "", (int)(end - lines), lines);
    }
}

bool config_describe(FILE *out, const char *name, Error *err) {
    const Optimizer *o = optimizer_find(name);
    if (!o) {
        const char *near = nearest_optimizer(name);
        return error_set(err, ERR_CONFIG, "\"%.60s\" is no optimizer; %s%s%s", name,
                         near ? "did you mean \"" : "see --list-optimizers", near ? near : "",
                         near ? "\"?" : "");
    }
    char roles[128];
    fprintf(out, "%s (\"%s\")\n\n", o->title, o->name);
    print_lines(out, "    ", o->equation);
    fprintf(out, "\nsource   ");
    print_wrapped(out, 9, 9, o->source);
    if (*o->differs) {
        fprintf(out, "differs  ");
        print_wrapped(out, 9, 9, o->differs);
    }
    fprintf(out, "updates  %s\n", roles_text(o, roles, sizeof roles));
    fprintf(out, "state    ");
    print_state(out, o);
    fprintf(out, "\ncost     ");
    print_wrapped(out, 9, 9, o->cost);
    if (o->presets) fprintf(out, "\nreadings of the method, \"as\"\n");
    for (const Preset *p = o->presets; p && p->name; p++) {
        print_wrapped(out, fprintf(out, "  %-10s", p->name), 12, p->doc);
        if (*p->settings) print_wrapped(out, fprintf(out, "%12s", ""), 12, p->settings);
    }
    fprintf(out, "\nsettings with their defaults\n");
    print_fields(out, "optimizer", RATE_FIELDS, o);
    print_fields(out, "optimizer", o->fields, o);
    return true;
}

/* ------------------------------------------------------------------------------------------ docs/config.md */

/* "|" would end the cell, "<" begin a tag. */
static void print_cell(FILE *out, const char *text) {
    for (; *text; text++) fprintf(out, "%s%c", *text == '|' || *text == '<' ? "\\" : "", *text);
}

static void print_rows(FILE *out, const Field *fields, const Optimizer *o) {
    char range[256], initial[64];
    for (const Field *f = fields; f && f->name; f++) {
        const char *value = default_text(f, o, initial, sizeof initial);
        fprintf(out, "| `%s` | %s%s%s | ", f->name, *value ? "`" : "", *value ? value : "empty",
                *value ? "`" : "");
        print_cell(out, range_text(f, range, sizeof range));
        fprintf(out, " | ");
        print_cell(out, f->doc);
        fprintf(out, " |\n");
    }
}

static void print_table_head(FILE *out) {
    fprintf(out, "| key | default | range | |\n|---|---|---|---|\n");
}

/* Text with its line ends as blanks. */
static void print_item(FILE *out, const char *head, const char *text) {
    fprintf(out, "- %s: ", head);
    for (; *text; text++) fputc(*text == '\n' ? ' ' : *text, out);
    fputc('\n', out);
}

static void print_optimizer_markdown(FILE *out, const Optimizer *o) {
    char roles[128];
    fprintf(out, "\n## %s: `\"name\": \"%s\"`\n\n", o->title, o->name);
    print_lines(out, "    ", o->equation);
    fputc('\n', out);
    print_item(out, "Source", o->source);
    if (*o->differs) print_item(out, "Differs", o->differs);
    print_item(out, "Updates", roles_text(o, roles, sizeof roles));
    fprintf(out, "- State: ");
    print_state(out, o);
    fputc('\n', out);
    print_item(out, "Cost of a step", o->cost);
    for (const Preset *p = o->presets; p && p->name; p++)
        fprintf(out, "- `\"as\": \"%s\"`: %s%s%s%s\n", p->name, p->doc, *p->settings ? " (`" : "",
                p->settings, *p->settings ? "`)" : "");
    fputc('\n', out);
    print_table_head(out);
    print_rows(out, RATE_FIELDS, o);
    print_rows(out, o->fields, o);
}

static const char MARKDOWN_HEAD[] =
    "# Config reference\n"
    "\n"
    "Written by `./train_gpt --docs-config` from the tables in train/schema.c; do not edit.\n"
    "\n"
    "A config is one JSON file: an object of sections, each an object of keys. What is not written has its\n"
    "default; what is not known here is an error. Any key can be set on the command line, later ones win:\n"
    "\n"
    "    ./train_gpt configs/softmuon.json optimizer.lr=0.02 optimizer.aux.lr=0.001 train.seed=2\n";

static const char MARKDOWN_OPTIMIZER[] =
    "\n"
    "## optimizer\n"
    "\n"
    "    \"optimizer\": {\n"
    "        \"name\": \"softmuon\", \"lr\": 0.02, \"alpha_sign\": 0.9,\n"
    "        \"aux\": {\"name\": \"adamw\", \"lr\": 0.003},\n"
    "        \"roles\": {\"vector\": {\"weight_decay\": 0.1}, \"head\": {\"name\": \"adamw\", \"lr\": 0.001}}\n"
    "    }\n"
    "\n"
    "Every tensor has a role: `matrix` (linear layers), `embedding`, `head` (the output layer where it is not\n"
    "tied to the embedding) or `vector` (biases, LayerNorms).\n"
    "\n"
    "- `name` (default `adamw`) updates every role if it can; an optimizer for matrices alone updates `matrix`.\n"
    "- `as` chooses a published reading of the method, where it has several: `paper` or `official` (the authors'\n"
    "  code). The other keys change it further.\n"
    "- `aux` updates the roles that are left; `adamw` with its defaults where none is written. One that has\n"
    "  nothing to update is an error.\n"
    "- `roles.<role>` changes `lr` or `weight_decay` for the tensors of one role, or, with a `name`, gives the\n"
    "  role an optimizer of its own with settings of its own.\n"
    "- `weight_decay` holds for `matrix`, `embedding` and `head`. Vectors do not decay unless\n"
    "  `roles.vector.weight_decay` says so.\n"
    "- What each optimizer takes beside `lr` and `weight_decay` is in [optimizers.md](optimizers.md).\n";

static const char OPTIMIZERS_HEAD[] =
    "# Optimizers\n"
    "\n"
    "Written by `./train_gpt --docs-optimizers` from the declarations in optim/*.c; do not edit. Every one matches\n"
    "a float64 reference of its definition over at least 20 steps (test/golden/optim).\n"
    "\n"
    "Symbols: W weights, g their gradient, t the step, T all steps, lr and wd the settings `lr` and `weight_decay`.\n"
    "A matrix has a row for each output. `make bench-optim` measures milliseconds and memory on GPT-2 124M's\n"
    "tensors; `optim_replay` ([optim_replay.md](optim_replay.md)) applies any of these to your own gradients;\n"
    "[adding_an_optimizer.md](adding_an_optimizer.md) shows how to write another.\n"
    "\n"
    "| name | method | bytes a weight | updates |\n"
    "|---|---|---|---|\n";

void config_print_markdown(FILE *out) {
    fputs(MARKDOWN_HEAD, out);
    for (const Section *s = CONFIG_SECTIONS; s->name; s++) {
        fprintf(out, "\n## %s\n\n%c%s.\n\n", s->name, s->doc[0] - 'a' + 'A', s->doc + 1);
        print_table_head(out);
        print_rows(out, s->fields, NULL);
    }
    fputs(MARKDOWN_OPTIMIZER, out);
}

void config_print_optimizers_markdown(FILE *out) {
    char roles[128];
    fputs(OPTIMIZERS_HEAD, out);
    for (const Optimizer *const *o = OPTIMIZERS; *o; o++)
        fprintf(out, "| `%s` | %s | %d | %s |\n", (*o)->name, (*o)->title, state_bytes(*o),
                roles_text(*o, roles, sizeof roles));
    for (const Optimizer *const *o = OPTIMIZERS; *o; o++) print_optimizer_markdown(out, *o);
}
