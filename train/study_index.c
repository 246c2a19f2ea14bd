/* study_index.c: see study_index.h. One method and one run a line, so that people and grep can read it. */
#include "train/study_index.h"

#include "core/field.h"
#include "core/file.h"
#include "core/json.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INDEX_MAX_BYTES ((size_t)64 << 20)

static const char *const STATE_NAMES[] = {
    [STUDY_WAITING] = "waiting",   [STUDY_RUNNING] = "running", [STUDY_DONE] = "done",
    [STUDY_DIVERGED] = "diverged", [STUDY_FAILED] = "failed",   NULL};
static const char *const PHASE_NAMES[] = {[STUDY_TUNE] = "tune", [STUDY_FINAL] = "final", NULL};
static const char *const DONE_NAMES[] = {"running", "done", NULL};

const char *study_state_text(StudyState state) {
    return STATE_NAMES[state];
}

const StudyMethod *study_index_method(const StudyIndex *index, const char *name) {
    for (int i = 0; i < index->method_count; i++)
        if (strcmp(index->methods[i].name, name) == 0) return &index->methods[i];
    return NULL;
}

void study_index_free(StudyIndex *index) {
    for (int i = 0; i < index->method_count; i++) cJSON_Delete(index->methods[i].settings);
    for (int i = 0; i < index->run_count; i++) cJSON_Delete(index->runs[i].settings);
    free(index->tune_seeds);
    free(index->methods);
    free(index->runs);
    *index = (StudyIndex){0};
}

/* ------------------------------------------------------------------------------------------------- writing */

static bool add_number(cJSON *object, const char *key, double value) {
    const Field real = {.type = FIELD_REAL};
    char text[64];
    return isfinite(value)
               ? cJSON_AddRawToObject(object, key, field_text(&real, &value, text, sizeof text)) != NULL
               : cJSON_AddNullToObject(object, key) != NULL;
}

/* "" is null. */
static bool add_text(cJSON *object, const char *key, const char *text) {
    return (*text ? cJSON_AddStringToObject(object, key, text) : cJSON_AddNullToObject(object, key)) !=
           NULL;
}

cJSON *study_settings_exact(const cJSON *settings) {
    cJSON *copy = cJSON_CreateObject();
    bool ok = copy != NULL;
    for (const cJSON *item = settings ? settings->child : NULL; item && ok; item = item->next) {
        if (cJSON_IsNumber(item)) ok = add_number(copy, item->string, item->valuedouble);
        else {
            cJSON *value = cJSON_Duplicate(item, true);
            ok = value && cJSON_AddItemToObject(copy, item->string, value);
            if (!ok) cJSON_Delete(value);
        }
    }
    if (!ok) cJSON_Delete(copy);
    return ok ? copy : NULL;
}

/* NULL is null. */
static bool add_settings(cJSON *object, const cJSON *settings) {
    cJSON *item = settings ? study_settings_exact(settings) : cJSON_CreateNull();
    if (item && cJSON_AddItemToObject(object, "settings", item)) return true;
    cJSON_Delete(item);
    return false;
}

/* Appends an object as one line; takes it over. */
static bool print_line(FILE *out, cJSON *object, bool complete, bool last) {
    char *text = complete ? cJSON_PrintUnformatted(object) : NULL;
    cJSON_Delete(object);
    if (text) fprintf(out, "  %s%s\n", text, last ? "" : ",");
    free(text);
    return text != NULL;
}

static bool print_method(FILE *out, const StudyMethod *m, bool last) {
    cJSON *o = cJSON_CreateObject();
    bool ok = o && add_text(o, "name", m->name) && add_text(o, "optimizer", m->optimizer) &&
              add_text(o, "trunk", m->trunk) && add_settings(o, m->settings) &&
              add_text(o, "edge", m->edge);
    return print_line(out, o, ok, last);
}

static bool print_run(FILE *out, const StudyRun *r, bool last) {
    cJSON *o = cJSON_CreateObject();
    bool ok = o && add_text(o, "dir", r->dir) && add_text(o, "method", r->method) &&
              add_text(o, "phase", PHASE_NAMES[r->phase]) && add_settings(o, r->settings) &&
              add_number(o, "seed", (double)r->seed) && add_text(o, "trunk", r->trunk) &&
              add_number(o, "branch_step", *r->trunk ? (double)r->branch_step : NAN) &&
              add_text(o, "state", STATE_NAMES[r->state]) && add_number(o, "loss", r->loss);
    return print_line(out, o, ok, last);
}

bool study_index_exists(const char *dir) {
    char path[4096];
    snprintf(path, sizeof path, "%s/index.json", dir);
    return access(path, F_OK) == 0;
}

bool study_index_write(const StudyIndex *index, const char *study_dir, Error *err) {
    char path[STUDY_DIR_MAX + 32];
    snprintf(path, sizeof path, "%s/index.json", study_dir);
    FILE *f = file_create(path, err);
    if (!f) return false;
    bool ok = true;
    fprintf(f, "{\"name\": \"%s\", \"baseline\": \"%s\", \"state\": \"%s\", \"tune_seeds\": [", index->name,
            index->baseline, DONE_NAMES[index->done]);
    for (int i = 0; i < index->tune_seed_count; i++)
        fprintf(f, "%s%" PRId64, i ? ", " : "", index->tune_seeds[i]);
    fprintf(f, "],\n \"methods\": [\n");
    for (int i = 0; i < index->method_count && ok; i++)
        ok = print_method(f, &index->methods[i], i + 1 == index->method_count);
    fprintf(f, " ],\n \"runs\": [\n");
    for (int i = 0; i < index->run_count && ok; i++)
        ok = print_run(f, &index->runs[i], i + 1 == index->run_count);
    fprintf(f, " ]}\n");
    if (ok) return file_publish(f, path, err);
    file_discard(f, path);
    return error_set(err, ERR_IO, "%s: out of memory", path);
}

/* ------------------------------------------------------------------------------------------------- reading */

/* What is read, and the first thing that is wrong with it. */
typedef struct Reader {
    const char *path;
    char where[64]; /* "runs[3]" */
    Error *err;
    bool failed;
} Reader;

static void fail(Reader *r, const char *key, const char *what) {
    if (!r->failed)
        error_set(r->err, ERR_DATA, "%s: %s%s%s: %s", r->path, r->where, *r->where ? "." : "", key, what);
    r->failed = true;
}

/* The value of a key that must be there. */
static const cJSON *take(Reader *r, const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!item) fail(r, key, "missing");
    return item;
}

/* Texts go on without control characters: they reach terminals. */
static void take_text(Reader *r, const cJSON *object, const char *key, bool may_be_null, char *out,
                      size_t size) {
    const cJSON *item = take(r, object, key);
    *out = '\0';
    if (!item || (may_be_null && cJSON_IsNull(item))) return;
    if (!cJSON_IsString(item) || !*item->valuestring || strlen(item->valuestring) >= size) {
        fail(r, key, "no text that fits");
        return;
    }
    for (const char *c = item->valuestring; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f) fail(r, key, "holds a control character");
    snprintf(out, size, "%s", item->valuestring);
}

static void take_name(Reader *r, const cJSON *object, const char *key, bool may_be_null, char *out) {
    take_text(r, object, key, may_be_null, out, STUDY_NAME_MAX);
    const char *allowed = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    if (out[strspn(out, allowed)] || *out == '.') fail(r, key, "no name");
}

/* A path that stays below runs/. */
static void take_dir(Reader *r, const cJSON *object, const char *key, bool may_be_null, char *out) {
    take_text(r, object, key, may_be_null, out, STUDY_DIR_MAX);
    size_t length = strlen(out);
    bool leaves = strstr(out, "/../") || (length >= 3 && strcmp(out + length - 3, "/..") == 0);
    if (length && (strncmp(out, "runs/", 5) != 0 || leaves)) fail(r, key, "no folder below runs/");
}

static int take_choice(Reader *r, const cJSON *object, const char *key, const char *const *words) {
    const char *word = cJSON_GetStringValue(take(r, object, key));
    for (int i = 0; word && words[i]; i++)
        if (strcmp(word, words[i]) == 0) return i;
    fail(r, key, "none of the words that may stand here");
    return 0;
}

static bool is_whole(const cJSON *item) {
    return cJSON_IsNumber(item) && item->valuedouble >= 0 && item->valuedouble <= 0x1p53 &&
           item->valuedouble == floor(item->valuedouble);
}

static int64_t take_integer(Reader *r, const cJSON *object, const char *key, int64_t absent) {
    const cJSON *item = take(r, object, key);
    if (item && cJSON_IsNull(item) && absent < 0) return absent;
    if (is_whole(item)) return (int64_t)item->valuedouble;
    fail(r, key, "no whole number from 0");
    return 0;
}

/* NAN for null. */
static double take_number(Reader *r, const cJSON *object, const char *key) {
    const cJSON *item = take(r, object, key);
    if (cJSON_IsNumber(item) && isfinite(item->valuedouble)) return item->valuedouble;
    if (!cJSON_IsNull(item)) fail(r, key, "neither a number nor null");
    return NAN;
}

static cJSON *take_settings(Reader *r, const cJSON *object, bool may_be_null) {
    const cJSON *item = take(r, object, "settings");
    if (!item || (may_be_null && cJSON_IsNull(item))) return NULL;
    if (!cJSON_IsObject(item)) fail(r, "settings", "no object");
    for (const cJSON *s = item->child; s; s = s->next) {
        bool number = cJSON_IsNumber(s) && isfinite(s->valuedouble);
        if (!number && !cJSON_IsString(s) && !cJSON_IsBool(s))
            fail(r, "settings", "holds neither number, text, true nor false");
        if (cJSON_GetObjectItemCaseSensitive(item, s->string) != s)
            fail(r, "settings", "a key is there twice");
    }
    cJSON *copy = cJSON_Duplicate(item, true);
    if (!copy && !r->failed) {
        error_set(r->err, ERR_IO, "%s: out of memory", r->path);
        r->failed = true;
    }
    return copy;
}

static void take_method(Reader *r, const cJSON *o, StudyMethod *m) {
    take_name(r, o, "name", false, m->name);
    take_name(r, o, "optimizer", false, m->optimizer);
    take_name(r, o, "trunk", true, m->trunk);
    m->settings = take_settings(r, o, true);
    take_text(r, o, "edge", true, m->edge, sizeof m->edge);
}

static void take_run(Reader *r, const cJSON *o, StudyRun *run) {
    take_dir(r, o, "dir", false, run->dir);
    take_name(r, o, "method", false, run->method);
    run->phase = (StudyPhase)take_choice(r, o, "phase", PHASE_NAMES);
    run->settings = take_settings(r, o, false);
    run->seed = take_integer(r, o, "seed", 0);
    take_dir(r, o, "trunk", true, run->trunk);
    run->branch_step = take_integer(r, o, "branch_step", -1);
    run->state = (StudyState)take_choice(r, o, "state", STATE_NAMES);
    run->loss = take_number(r, o, "loss");
    if ((run->branch_step < 0) != (*run->trunk == '\0')) fail(r, "branch_step", "goes with trunk");
    if (isnan(run->loss) != (run->state != STUDY_DONE)) fail(r, "loss", "goes with state done");
}

/* A list, and how long it is; NULL when something is wrong. */
static const cJSON *take_list(Reader *r, const cJSON *root, const char *key, int *count) {
    const cJSON *list = take(r, root, key);
    if (list && !cJSON_IsArray(list)) fail(r, key, "no list");
    *count = r->failed ? 0 : cJSON_GetArraySize(list);
    return r->failed ? NULL : list;
}

/* Room for what the elements of a list become. */
static void *make_room(Reader *r, int *count, size_t size) {
    void *room = calloc((size_t)*count + 1, size);
    if (room) return room;
    if (!r->failed) error_set(r->err, ERR_IO, "%s: out of memory", r->path);
    r->failed = true;
    *count = 0;
    return NULL;
}

static int by_dir(const void *a, const void *b) {
    return strcmp((*(const StudyRun *const *)a)->dir, (*(const StudyRun *const *)b)->dir);
}

/* Every run is there once, its method and its trunk are there. */
static void check_runs(Reader *r, const StudyIndex *index) {
    size_t count = (size_t)index->run_count;
    const StudyRun **sorted = calloc(count + 1, sizeof(StudyRun *));
    if (!sorted) {
        error_set(r->err, ERR_IO, "%s: out of memory", r->path);
        r->failed = true;
        return;
    }
    for (size_t i = 0; i < count; i++) sorted[i] = &index->runs[i];
    qsort(sorted, count, sizeof(StudyRun *), by_dir);
    for (size_t i = 1; i < count; i++)
        if (strcmp(sorted[i - 1]->dir, sorted[i]->dir) == 0) fail(r, sorted[i]->dir, "there twice");
    for (size_t i = 0; i < count; i++) {
        StudyRun trunk;
        const StudyRun *run = &index->runs[i], *key = &trunk;
        snprintf(r->where, sizeof r->where, "runs[%zu]", i);
        memcpy(trunk.dir, run->trunk, sizeof trunk.dir);
        if (!study_index_method(index, run->method)) fail(r, "method", "none of the methods");
        if (*run->trunk && !bsearch(&key, sorted, count, sizeof(StudyRun *), by_dir))
            fail(r, "trunk", "none of the runs");
    }
    free(sorted);
}

static void check_methods(Reader *r, const StudyIndex *index) {
    *r->where = '\0';
    if (!study_index_method(index, index->baseline)) fail(r, "baseline", "none of the methods");
    for (int i = 0; i < index->method_count; i++) {
        const StudyMethod *m = &index->methods[i];
        snprintf(r->where, sizeof r->where, "methods[%d]", i);
        if (study_index_method(index, m->name) != m) fail(r, "name", "there twice");
        if (*m->trunk && !study_index_method(index, m->trunk)) fail(r, "trunk", "none of the methods");
    }
}

/* An index that an earlier build wrote has none. */
static void take_tune_seeds(Reader *r, const cJSON *root, StudyIndex *index) {
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "tune_seeds"), *item;
    if (list && !cJSON_IsArray(list)) fail(r, "tune_seeds", "no list");
    int count = list ? cJSON_GetArraySize(list) : 0;
    index->tune_seeds = make_room(r, &count, sizeof *index->tune_seeds);
    cJSON_ArrayForEach(item, list) {
        if (!is_whole(item)) fail(r, "tune_seeds", "no whole number from 0");
        else if (index->tune_seed_count < count)
            index->tune_seeds[index->tune_seed_count++] = (int64_t)item->valuedouble;
    }
}

static void read_root(Reader *r, const cJSON *root, StudyIndex *index) {
    int i = 0;
    take_name(r, root, "name", false, index->name);
    take_name(r, root, "baseline", false, index->baseline);
    index->done = take_choice(r, root, "state", DONE_NAMES) == 1;
    take_tune_seeds(r, root, index);
    const cJSON *list = take_list(r, root, "methods", &index->method_count), *item;
    index->methods = make_room(r, &index->method_count, sizeof *index->methods);
    for (item = list ? list->child : NULL; item && i < index->method_count; item = item->next, i++) {
        snprintf(r->where, sizeof r->where, "methods[%d]", i);
        take_method(r, item, &index->methods[i]);
    }
    *r->where = '\0';
    list = take_list(r, root, "runs", &index->run_count);
    index->runs = make_room(r, &index->run_count, sizeof *index->runs);
    for (i = 0, item = list ? list->child : NULL; item && i < index->run_count; item = item->next, i++) {
        snprintf(r->where, sizeof r->where, "runs[%d]", i);
        take_run(r, item, &index->runs[i]);
    }
    if (!r->failed) check_methods(r, index);
    if (!r->failed) check_runs(r, index);
}

bool study_index_read(StudyIndex *index, const char *study_dir, Error *err) {
    char path[STUDY_DIR_MAX + 32];
    *index = (StudyIndex){0};
    if (snprintf(path, sizeof path, "%s/index.json", study_dir) >= (int)sizeof path)
        return error_set(err, ERR_DATA, "%.60s...: too long for a study's folder", study_dir);
    cJSON *root = json_read(path, INDEX_MAX_BYTES, ERR_DATA, err);
    if (!root) return false;
    Reader r = {.path = path, .err = err};
    read_root(&r, root, index);
    cJSON_Delete(root);
    if (r.failed) study_index_free(index);
    return !r.failed;
}
