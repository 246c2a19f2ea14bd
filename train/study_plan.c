/* study_plan.c: see study_plan.h. Settings are flat objects, {"optimizer.lr": 0.003, ...}; `all` of a point are
 * put into the base config, `shown` are those that name it: the grid's, those of the chosen point that it
 * started from, and scaled ones. */
#include "train/study_plan.h"

#include "core/file.h"
#include "core/hash.h"
#include "core/json.h"
#include "train/checkpoint.h"
#include "train/schema.h"
#include "train/strict.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct Settings {
    cJSON *all, *shown;
} Settings;

typedef struct Axis {
    const char *key;
    cJSON *values[STUDY_VALUES_MAX + 2 * STUDY_EXTEND_MAX]; /* numbers ascend */
    int count;
    bool numeric;
    int added[2]; /* values beyond the low and the high edge */
} Axis;

typedef struct Method {
    Settings start, chosen; /* NULL until known */
    Axis axes[STUDY_AXES_MAX];
    int axis_count, point_count;
    int best; /* the chosen point; -1: not known */
} Method;

typedef struct Planner {
    const StudySpec *spec;
    const StudyWorld *world;
    StudyPlan *plan;
    size_t run_room, task_room;
    Method *methods;
    Problems problems;
    Error *err;
    bool failed; /* out of memory, or the world failed; err says how */
} Planner;

static void fail_memory(Planner *p) {
    if (!p->failed) error_set(p->err, ERR_IO, "study: out of memory");
    p->failed = true;
}

/* ----------------------------------------------------------------------------------------------- settings */

static void settings_free(Settings *s) {
    cJSON_Delete(s->all);
    cJSON_Delete(s->shown);
    *s = (Settings){0};
}

static bool put(cJSON *object, const char *key, const cJSON *value) {
    cJSON *copy = cJSON_Duplicate(value, true);
    bool there = cJSON_GetObjectItemCaseSensitive(object, key) != NULL;
    if (copy && (there ? cJSON_ReplaceItemInObjectCaseSensitive(object, key, copy)
                       : cJSON_AddItemToObject(object, key, copy)))
        return true;
    cJSON_Delete(copy);
    return false;
}

static bool put_all(cJSON *object, const cJSON *from) {
    bool ok = true;
    for (const cJSON *item = from ? from->child : NULL; item && ok; item = item->next)
        ok = put(object, item->string, item);
    return ok;
}

static Settings settings_copy(Planner *p, const Settings *from) {
    Settings s = {cJSON_CreateObject(), cJSON_CreateObject()};
    if (!s.all || !s.shown || !put_all(s.all, from->all) || !put_all(s.shown, from->shown)) fail_memory(p);
    return s;
}

const cJSON *study_find_path(const cJSON *tree, const char *path) {
    char key[256];
    while (tree && *path) {
        size_t length = strcspn(path, ".");
        snprintf(key, sizeof key, "%.*s", (int)length, path);
        tree = cJSON_GetObjectItemCaseSensitive(tree, key);
        path += length + (path[length] == '.');
    }
    return tree;
}

/* Puts a value at a key path of a config's tree; null takes away what is there. false: no memory, or the path
 * leads through something that is no object (*through). */
static bool put_path(cJSON *tree, const char *path, const cJSON *value, bool *through) {
    char key[256];
    size_t length;
    while (path[length = strcspn(path, ".")] == '.') {
        snprintf(key, sizeof key, "%.*s", (int)length, path);
        cJSON *child = cJSON_GetObjectItemCaseSensitive(tree, key);
        if (!child && cJSON_IsNull(value)) return true;
        if (!child && !(child = cJSON_AddObjectToObject(tree, key))) return false;
        if (!cJSON_IsObject(child)) {
            *through = true;
            return false;
        }
        tree = child;
        path += length + 1;
    }
    if (!cJSON_IsNull(value)) return put(tree, path, value);
    cJSON_DeleteItemFromObjectCaseSensitive(tree, path);
    return true;
}

/* ------------------------------------------------------------------------------------------------- configs */

/* The base with these settings, read as train_gpt reads it. A config that is wrong becomes problems of the
 * method, unless `quiet`. */
static bool make_config(Planner *p, int method, const cJSON *settings, Config *config, bool quiet) {
    const char *name = p->spec->methods[method].name;
    cJSON *tree = cJSON_Duplicate(p->spec->base, true);
    bool ok = tree != NULL, through = false;
    char label[STUDY_NAME_MAX + 16];
    Error err;
    for (const cJSON *item = settings->child; item && ok; item = item->next)
        if (!(ok = put_path(tree, item->string, item, &through)) && through && !quiet)
            strict_problem(&p->problems, "methods.%s: %.60s: there is no such key", name, item->string);
    if (!ok && !through) fail_memory(p);
    snprintf(label, sizeof label, "methods.%s", name);
    ok = ok && config_parse(config, tree, label, NULL, 0, &err);
    cJSON_Delete(tree);
    if (ok || through || p->failed || quiet) return ok;
    char *line = strtok(err.text, "\n"), *rest;
    for (bool first = true; line; line = rest, first = false) { /* "N problems", then one a line */
        rest = strtok(NULL, "\n");
        if (first && rest) continue;
        strict_problem(&p->problems, first ? "%s%s" : "methods.%s:%s", first ? "" : name,
                       line + (first ? 0 : 1));
    }
    return false;
}

char *study_config_essence(const Config *config) {
    Config c = *config;
    c.run = (RunSection){0};
    c.checkpoint = (CheckpointSection){0};
    c.train.threads = 0;
    c.train.resume = RESUME_AUTO;
    return config_to_json(&c);
}

/* The settings that are not at their default, and the optimizer, hashed: the same when a later program has
 * keys that this one lacks. */
static bool make_identity(const Config *config, char out[17]) {
    char *text = NULL, *essence = study_config_essence(config), hash[HASH_TEXT_SIZE], value[FIELD_TEXT_MAX];
    size_t size;
    cJSON *root = essence ? cJSON_Parse(essence) : NULL;
    char *optimizer =
        root ? cJSON_PrintUnformatted(cJSON_GetObjectItemCaseSensitive(root, "optimizer")) : NULL;
    FILE *f = optimizer ? open_memstream(&text, &size) : NULL;
    for (const Section *s = CONFIG_SECTIONS; f && s->name; s++) {
        if (strcmp(s->name, "checkpoint") == 0 || strcmp(s->name, "run") == 0) continue;
        for (const Field *field = s->fields; field->name; field++) {
            field_text(field, (const char *)config + s->offset, value, sizeof value);
            bool decides = strcmp(field->name, "threads") != 0 && strcmp(field->name, "resume") != 0;
            if (decides && strcmp(value, field->default_value) != 0)
                fprintf(f, "%s.%s=%s\n", s->name, field->name, value);
        }
    }
    if (f) fprintf(f, "%s", optimizer);
    bool ok = f && fclose(f) == 0 && text;
    if (ok) snprintf(out, 17, "%.16s", hash_bytes(text, size, hash));
    free(text), free(optimizer), free(essence);
    cJSON_Delete(root);
    return ok;
}

char *study_trunk_path(const StudySpec *spec, const StudyTask *trunk, char *out, size_t size) {
    snprintf(out, size, "%s/trunks/%s", spec->dir, trunk->identity);
    return out;
}

/* optimizer.alpha_sign; NAN where the method has none. */
static double alpha_of(const Config *config) {
    const OptimizerChoice *c = &config->chosen[CHOICE_MAIN];
    const Field *field = field_find(c->optimizer->fields, "alpha_sign");
    double alpha = NAN;
    if (field && field->type == FIELD_REAL)
        memcpy(&alpha, (const char *)c->hyper + field->offset, sizeof alpha);
    return alpha;
}

/* -------------------------------------------------------------------------------------------------- tasks */

/* "runs/METHOD/KEY=VALUE,KEY=VALUE/seed=N"; letters that do not belong into names become "_". */
static bool name_dir(Planner *p, int method, const cJSON *shown, int64_t seed, char dir[STUDY_DIR_MAX]) {
    const Field real = {.type = FIELD_REAL};
    char point[256] = "", value[FIELD_TEXT_MAX];
    size_t n = 0;
    for (const cJSON *item = shown->child; item && n < sizeof point; item = item->next) {
        if (cJSON_IsNumber(item)) field_text(&real, &item->valuedouble, value, sizeof value);
        else
            snprintf(value, sizeof value, "%s",
                     cJSON_IsString(item) ? item->valuestring
                     : cJSON_IsTrue(item) ? "true"
                                          : "false");
        for (char *c = value; *c; c++)
            if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-", *c)) *c = '_';
        n += (size_t)snprintf(point + n, sizeof point - n, "%s%s=%s", n ? "," : "", item->string, value);
    }
    int length = snprintf(dir, STUDY_DIR_MAX, "runs/%s%s%s/seed=%lld", p->spec->methods[method].name,
                          n ? "/" : "", point, (long long)seed);
    /* beside it stand its trunk's path and its checkpoints' names, in as much room */
    if (n < sizeof point - 8 && length + strlen(p->spec->dir) + 64 < STUDY_DIR_MAX) return true;
    strict_problem(&p->problems, "methods.%s: the settings of a point make too long a name for a folder",
                   p->spec->methods[method].name);
    return false;
}

static int find_task(const Planner *p, const char *dir) {
    for (int i = 0; i < p->plan->index.run_count; i++)
        if (strcmp(p->plan->index.runs[i].dir, dir) == 0) return i;
    return -1;
}

/* The trunk's run with this task's seed, and the step where they part. */
static bool find_trunk(Planner *p, StudyTask *task, StudyRun *run) {
    const MethodSpec *m = &p->spec->methods[task->method];
    char dir[STUDY_DIR_MAX], trunks[FIELD_TEXT_MAX * 2], checkpoint[FIELD_TEXT_MAX * 2 + 64];
    double alpha = alpha_of(&task->config);
    int64_t step = llround(alpha * (double)task->total_steps);
    if (isnan(alpha) || alpha >= 1) {
        strict_problem(&p->problems,
                       "methods.%s.trunk: %s has no optimizer.alpha_sign below 1 to branch at", m->name,
                       task->config.chosen[CHOICE_MAIN].optimizer->name);
        return false;
    }
    if (step == 0) return true; /* it is soft from the start */
    if (!name_dir(p, m->trunk, p->methods[m->trunk].chosen.shown, run->seed, dir)) return false;
    task->trunk = find_task(p, dir);
    const StudyTask *trunk = &p->plan->tasks[task->trunk];
    if (task->total_steps != trunk->total_steps) {
        strict_problem(&p->problems, "methods.%s.trunk: %s trains %lld steps, this method %lld", m->name,
                       p->spec->methods[m->trunk].name, (long long)trunk->total_steps,
                       (long long)task->total_steps);
        return false;
    }
    snprintf(run->trunk, sizeof run->trunk, "%s", dir);
    run->branch_step = step;
    study_trunk_path(p->spec, trunk, trunks, sizeof trunks - 16);
    strcat(trunks, "/checkpoints");
    snprintf(task->config.train.init_from, sizeof task->config.train.init_from, "%s",
             checkpoint_path(trunks, step, checkpoint, sizeof checkpoint));
    return true;
}

/* What has become of it so far. */
static void look_up(Planner *p, StudyTask *task, StudyRun *run) {
    StudyOutcome outcome = p->world->outcome(p->world->context, run, task);
    run->state = outcome.state;
    run->loss = outcome.loss;
    task->last_step = outcome.last_step;
    task->step_s = outcome.last_step > 0 ? outcome.time_s / (double)outcome.last_step : NAN;
    task->ready = outcome.state == STUDY_WAITING && (task->trunk < 0 || outcome.begun);
}

static bool fill_task(Planner *p, StudyTask *task, StudyRun *run, const Settings *point) {
    Config *c = &task->config;
    if (!name_dir(p, task->method, point->shown, run->seed, run->dir) ||
        !make_config(p, task->method, point->all, c, false))
        return false;
    c->train.seed = run->seed;
    c->train.resume = RESUME_AUTO;
    c->train.init_take = INIT_ALL;
    *c->train.init_from = '\0';
    c->checkpoint.save = true;
    if (snprintf(c->run.dir, sizeof c->run.dir, "%s/%s", p->spec->dir, run->dir) >= (int)sizeof c->run.dir)
        return false; /* name_dir has seen to it */
    if (!p->world->total_steps(p->world->context, c, &task->total_steps, p->err)) {
        p->failed = true;
        return false;
    }
    if (p->spec->methods[task->method].trunk >= 0 && !find_trunk(p, task, run)) return false;
    if (!make_identity(c, task->identity)) fail_memory(p);
    run->settings = cJSON_Duplicate(point->shown, true);
    if (!run->settings) fail_memory(p);
    if (!p->failed) look_up(p, task, run);
    return !p->failed;
}

/* Appends a run; false when it cannot be one. */
static bool add_task(Planner *p, int method, int number, const Settings *point, int64_t seed,
                     StudyPhase phase) {
    StudyIndex *index = &p->plan->index;
    size_t n = (size_t)index->run_count;
    if (!array_reserve(&index->runs, &p->run_room, n + 1, sizeof *index->runs, "study", p->err) ||
        !array_reserve(&p->plan->tasks, &p->task_room, n + 1, sizeof *p->plan->tasks, "study", p->err)) {
        p->failed = true;
        return false;
    }
    StudyTask *task = &p->plan->tasks[n];
    StudyRun *run = &index->runs[n];
    *task = (StudyTask){.method = method, .point = number, .trunk = -1, .step_s = NAN};
    *run = (StudyRun){.phase = phase, .seed = seed, .branch_step = -1, .loss = NAN};
    snprintf(run->method, sizeof run->method, "%s", p->spec->methods[method].name);
    bool ok = fill_task(p, task, run, point);
    if (ok && find_task(p, run->dir) >= 0) {
        strict_problem(&p->problems, "methods.%s: two points have one folder, %s", run->method, run->dir);
        ok = false;
    }
    index->run_count++;
    return ok;
}

/* Takes back the last runs. */
static void drop_tasks(StudyPlan *plan, int count) {
    while (plan->index.run_count > count) {
        int i = --plan->index.run_count;
        config_free(&plan->tasks[i].config);
        cJSON_Delete(plan->index.runs[i].settings);
    }
}

/* -------------------------------------------------------------------------------------------------- grids */

/* The point of the grid with this number; the last axis changes fastest. */
static Settings point_of(Planner *p, const Method *m, int number) {
    Settings s = settings_copy(p, &m->start);
    const cJSON *value[STUDY_AXES_MAX];
    for (int a = m->axis_count - 1; a >= 0; a--) {
        int count = m->axes[a].count > 0 ? m->axes[a].count : 1;
        value[a] = m->axes[a].values[number % count];
        number /= count;
    }
    for (int a = 0; a < m->axis_count && !p->failed; a++)
        if (!put(s.all, m->axes[a].key, value[a]) || !put(s.shown, m->axes[a].key, value[a]))
            fail_memory(p);
    return s;
}

static int place_on_axis(const Method *m, int axis, int number) {
    for (int a = m->axis_count - 1; a > axis; a--) number /= m->axes[a].count;
    return number % m->axes[axis].count;
}

static void count_points(Method *m) {
    m->point_count = 1;
    for (int a = 0; a < m->axis_count; a++) m->point_count *= m->axes[a].count;
}

/* Puts a copy of a value at its place: numbers ascend. */
static bool add_value(Axis *axis, const cJSON *value) {
    cJSON *copy = cJSON_Duplicate(value, true);
    int at = axis->count;
    if (!copy) return false;
    while (axis->numeric && at > 0 && axis->values[at - 1]->valuedouble > value->valuedouble) at--;
    for (int i = axis->count++; i > at; i--) axis->values[i] = axis->values[i - 1];
    axis->values[at] = copy;
    return true;
}

static bool open_axis(Axis *axis, const cJSON *item) {
    bool ok = true;
    *axis = (Axis){.key = item->string, .numeric = cJSON_IsNumber(item->child)};
    for (const cJSON *value = item->child; value && ok; value = value->next) ok = add_value(axis, value);
    return ok;
}

static void close_axis(Axis *axis) {
    while (axis->count > 0) cJSON_Delete(axis->values[--axis->count]);
}

/* The value beyond the low (side 0) or the high edge; NAN: there is none. */
static double beyond(const Axis *axis, int side) {
    int edge = side ? axis->count - 1 : 0;
    double last = axis->values[edge]->valuedouble, before = axis->values[side ? edge - 1 : 1]->valuedouble;
    char text[32];
    if (!(last / before > 0)) return NAN;
    snprintf(text, sizeof text, "%.3g", last * (last / before));
    double next = strtod(text, NULL);
    return next != last && next != 0 && isfinite(next) ? next : NAN;
}

/* Does `number` lie on this edge? The end of what can be, zero, is none. */
static bool on_edge(const Method *m, int axis, int number, int side) {
    const Axis *a = &m->axes[axis];
    if (!a->numeric || a->count < 2 || place_on_axis(m, axis, number) != (side ? a->count - 1 : 0))
        return false;
    return side || a->values[0]->valuedouble != 0;
}

/* Adds a value beyond the edge, if the config takes it. */
static bool grow(Planner *p, int method, int axis, int number, int side) {
    Method *m = &p->methods[method];
    Axis *a = &m->axes[axis];
    Config config;
    double next = beyond(a, side);
    if (a->added[side] >= p->spec->methods[method].extend || isnan(next)) return false;
    Settings trial = point_of(p, m, number);
    cJSON *value = cJSON_CreateNumber(next);
    bool ok = !p->failed && value && put(trial.all, a->key, value);
    if (!ok) fail_memory(p);
    ok = ok && make_config(p, method, trial.all, &config, true);
    if (ok) config_free(&config);
    settings_free(&trial);
    if (ok && !add_value(a, value)) {
        fail_memory(p);
        ok = false;
    }
    cJSON_Delete(value);
    a->added[side] += ok;
    return ok;
}

/* Every axis on whose edge the best point lies grows there. */
static bool grow_axes(Planner *p, int method, int best) {
    Method *m = &p->methods[method];
    bool edges[STUDY_AXES_MAX][2], grown = false;
    for (int a = 0; a < m->axis_count; a++)
        for (int side = 0; side < 2; side++) edges[a][side] = on_edge(m, a, best, side);
    for (int a = 0; a < m->axis_count; a++)
        for (int side = 0; side < 2; side++)
            if (edges[a][side] && !grown) grown = grow(p, method, a, best, side);
    return grown;
}

static void describe_edge(const Method *m, StudyMethod *out) {
    size_t n = 0, size = sizeof out->edge;
    for (int a = 0; a < m->axis_count; a++)
        for (int side = 0; side < 2 && n < size; side++)
            if (on_edge(m, a, m->best, side))
                n += (size_t)snprintf(out->edge + n, size - n, "%s%s at its %s value", n ? ", " : "",
                                      m->axes[a].key, side ? "highest" : "lowest");
}

/* ------------------------------------------------------------------------------------------------ methods */

static bool among(const int64_t *seeds, int count, int64_t seed) {
    for (int i = 0; i < count; i++)
        if (seeds[i] == seed) return true;
    return false;
}

static bool is_trunk(const StudySpec *spec, int method) {
    for (int i = method + 1; i < spec->method_count; i++)
        if (spec->methods[i].trunk == method) return true;
    return false;
}

/* Is this point trained on this seed, and what for? */
static bool is_wanted(const Planner *p, int method, int point, int64_t seed, StudyPhase *phase) {
    const StudySpec *spec = p->spec;
    const Method *m = &p->methods[method];
    bool counts = m->best == point || spec->methods[method].final == FINAL_ALL;
    bool final = counts && among(spec->seeds, spec->seed_count, seed);
    bool tunes = among(spec->tune_seeds, spec->tune_seed_count, seed) &&
                 (m->point_count > 1 || (m->best == point && is_trunk(spec, method)));
    *phase = final ? STUDY_FINAL : STUDY_TUNE;
    return final || tunes;
}

/* Adds the runs of a method, as far as it is known which; false when one cannot be. */
static bool add_runs(Planner *p, int method) {
    const StudySpec *spec = p->spec;
    const Method *m = &p->methods[method];
    bool ok = true;
    for (int point = 0; point < m->point_count && ok; point++) {
        Settings s = point_of(p, m, point);
        for (int i = 0; i < spec->seed_count + spec->tune_seed_count && ok && !p->failed; i++) {
            bool late = i >= spec->seed_count;
            int64_t seed = late ? spec->tune_seeds[i - spec->seed_count] : spec->seeds[i];
            StudyPhase phase;
            if (late && among(spec->seeds, spec->seed_count, seed)) continue;
            if (is_wanted(p, method, point, seed, &phase)) ok = add_task(p, method, point, &s, seed, phase);
        }
        settings_free(&s);
    }
    return ok && !p->failed;
}

/* Mean loss of a point on the tuning seeds, infinite when one diverged; NAN: not known yet. */
static double tuning_loss(Planner *p, int method, int first, int point) {
    const StudySpec *spec = p->spec;
    Settings s = point_of(p, &p->methods[method], point);
    double sum = 0;
    for (int i = 0; i < spec->tune_seed_count && !p->failed && !isnan(sum); i++) {
        char dir[STUDY_DIR_MAX] = "";
        name_dir(p, method, s.shown, spec->tune_seeds[i], dir);
        for (int t = first; t < p->plan->index.run_count; t++) {
            const StudyRun *run = &p->plan->index.runs[t];
            if (strcmp(run->dir, dir) == 0) sum += run->state == STUDY_DIVERGED ? INFINITY : run->loss;
        }
    }
    settings_free(&s);
    return sum / spec->tune_seed_count;
}

/* The point with the lowest loss; -1 when not all are known. */
static int find_best(Planner *p, int method, int first) {
    int best = -1;
    double lowest = INFINITY;
    for (int point = 0; point < p->methods[method].point_count; point++) {
        double loss = tuning_loss(p, method, first, point);
        if (isnan(loss)) return -1;
        if (best < 0 || loss < lowest) best = point, lowest = loss;
    }
    return best;
}

/* The settings that a method starts from, before its grid. */
static bool start_method(Planner *p, int method) {
    const MethodSpec *spec = &p->spec->methods[method];
    Method *m = &p->methods[method];
    int parent = spec->like >= 0 ? spec->like : spec->trunk;
    Config config;
    m->start = settings_copy(p, parent >= 0 ? &p->methods[parent].chosen : &(Settings){0});
    if (p->failed) return false;
    bool ok = put_all(m->start.all, spec->set);
    for (const cJSON *item = spec->set ? spec->set->child : NULL; item && ok; item = item->next)
        if (cJSON_GetObjectItemCaseSensitive(m->start.shown, item->string)) {
            if (cJSON_IsNull(item)) cJSON_DeleteItemFromObjectCaseSensitive(m->start.shown, item->string);
            else ok = put(m->start.shown, item->string, item);
        }
    if (!ok) fail_memory(p);
    if (!ok || !spec->scale) return ok;
    if (!make_config(p, method, m->start.all, &config, false)) return false;
    char *text = config_to_json(&config), short_text[32];
    cJSON *tree = text ? cJSON_Parse(text) : NULL;
    for (const cJSON *item = spec->scale->child; item && tree && ok; item = item->next) {
        const cJSON *value = study_find_path(tree, item->string);
        if (!cJSON_IsNumber(value)) {
            strict_problem(&p->problems, "methods.%s.scale.%.60s: there is no such number to multiply",
                           spec->name, item->string);
            ok = false;
            break;
        }
        snprintf(short_text, sizeof short_text, "%.12g", value->valuedouble * item->valuedouble);
        cJSON *scaled = cJSON_CreateNumber(strtod(short_text, NULL));
        if (!scaled || !put(m->start.all, item->string, scaled) ||
            !put(m->start.shown, item->string, scaled))
            fail_memory(p);
        cJSON_Delete(scaled);
    }
    if (!tree) fail_memory(p);
    cJSON_Delete(tree);
    free(text);
    config_free(&config);
    return ok && !p->failed;
}

static bool open_axes(Planner *p, int method) {
    const cJSON *grid = p->spec->methods[method].grid;
    Method *m = &p->methods[method];
    for (const cJSON *item = grid ? grid->child : NULL; item; item = item->next)
        if (!open_axis(&m->axes[m->axis_count++], item)) {
            fail_memory(p);
            return false;
        }
    count_points(m);
    return true;
}

/* Adds the method's runs, chooses its point where its tuning has ended, and adds the final runs. */
static bool plan_method(Planner *p, int method) {
    Method *m = &p->methods[method];
    int first = p->plan->index.run_count;
    m->best = -1;
    if (!start_method(p, method) || !open_axes(p, method)) return false;
    if (m->point_count == 1) m->best = 0;
    for (bool more = m->best < 0; more;) {
        drop_tasks(p->plan, first);
        if (!add_runs(p, method)) return false;
        m->best = find_best(p, method, first);
        if (m->best < 0 && p->world->guess) {
            m->best = 0;
            p->plan->open_ended = true;
            break;
        }
        more = m->best >= 0 && grow_axes(p, method, m->best);
        if (more) m->best = -1;
        if (p->failed) return false;
        count_points(m);
    }
    drop_tasks(p->plan, first);
    if (m->best >= 0) m->chosen = point_of(p, m, m->best);
    if (m->best < 0) p->plan->open_ended = true;
    return !p->failed && add_runs(p, method);
}

/* ------------------------------------------------------------------------------------------------- trunks */

/* A setting that a method has before anything is tuned: of a grid all values; `out` has room for them. */
static int list_values(const StudySpec *spec, int method, const char *key, const cJSON **out, int room) {
    if (method < 0) {
        out[0] = study_find_path(spec->base, key);
        return out[0] != NULL;
    }
    const MethodSpec *m = &spec->methods[method];
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(m->grid, key);
    const cJSON *one = cJSON_GetObjectItemCaseSensitive(m->set, key);
    int n = 0;
    for (const cJSON *value = list ? list->child : NULL; value && n < room; value = value->next)
        out[n++] = value;
    if (list) return n;
    out[0] = one;
    return one ? !cJSON_IsNull(one) : list_values(spec, m->like >= 0 ? m->like : m->trunk, key, out, room);
}

static const char *optimizer_of(const StudySpec *spec, int method) {
    const cJSON *values[STUDY_VALUES_MAX];
    int count = list_values(spec, method, "optimizer.name", values, STUDY_VALUES_MAX);
    return count && cJSON_IsString(values[0]) ? values[0]->valuestring : "adamw";
}

/* The values that alpha_sign of a method may come to have. */
static int list_alphas(const StudySpec *spec, int method, double *out, int room) {
    const char *key = "optimizer.alpha_sign";
    const MethodSpec *m = &spec->methods[method];
    const cJSON *values[STUDY_VALUES_MAX], *grid = cJSON_GetObjectItemCaseSensitive(m->grid, key);
    const cJSON *scale = cJSON_GetObjectItemCaseSensitive(m->scale, key);
    const Optimizer *optimizer = optimizer_find(optimizer_of(spec, method));
    const Field *field = optimizer ? field_find(optimizer->fields, "alpha_sign") : NULL;
    int n = list_values(spec, method, key, values, STUDY_VALUES_MAX), count = 0;
    Axis axis = {0};
    for (int i = 0; i < n && count < room; i++) out[count++] = values[i]->valuedouble;
    if (n == 0 && field) out[count++] = strtod(field->default_value, NULL);
    for (int i = 0; i < count && scale; i++) out[i] *= scale->valuedouble;
    for (int side = 0; side < 2 && grid && open_axis(&axis, grid); side++) {
        for (int k = 0; k < m->extend && count < room && axis.count > 1; k++) {
            const cJSON next = {.type = cJSON_Number, .valuedouble = beyond(&axis, side)};
            if (isnan(next.valuedouble) || !add_value(&axis, &next)) break;
            out[count++] = next.valuedouble;
        }
        close_axis(&axis);
    }
    return count;
}

static int by_step(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

/* Where others may branch off a run of this method: "300,700". */
static void list_steps(Planner *p, int method, int64_t total_steps, char *out, size_t size) {
    enum { ROOM = 256 };
    double alphas[ROOM];
    int64_t steps[ROOM] = {0};
    int count = 0;
    for (int i = method + 1; i < p->spec->method_count; i++)
        if (p->spec->methods[i].trunk == method)
            count += list_alphas(p->spec, i, alphas + count, ROOM - count);
    for (int i = 0; i < count; i++) steps[i] = llround(alphas[i] * (double)total_steps);
    qsort(steps, (size_t)count, sizeof *steps, by_step);
    size_t n = 0;
    for (int i = 0; i < count && n < size; i++) {
        if (steps[i] <= 0 || steps[i] >= total_steps || (i > 0 && steps[i] == steps[i - 1])) continue;
        n += (size_t)snprintf(out + n, size - n, "%s%lld", n ? "," : "", (long long)steps[i]);
    }
    if (n >= size)
        strict_problem(&p->problems, "methods.%s: runs branch off at too many steps",
                       p->spec->methods[method].name);
}

static bool has_ended(const StudyRun *run) {
    return run->state == STUDY_DONE || run->state == STUDY_DIVERGED;
}

/* A branch can begin when its trunk has ended and left a checkpoint there. A trunk whose checkpoint is gone,
 * or was never asked for, is trained again; one that diverged before takes the branch with it. */
static void settle_branch(Planner *p, int place) {
    StudyIndex *index = &p->plan->index;
    StudyTask *task = &p->plan->tasks[place];
    StudyRun *run = &index->runs[place];
    if (task->trunk < 0 || has_ended(run) || task->ready) return;
    StudyRun *trunk = &index->runs[task->trunk];
    StudyTask *trunk_task = &p->plan->tasks[task->trunk];
    if (!has_ended(trunk)) return;
    if (p->world->has_checkpoint(p->world->context, trunk, run->branch_step)) {
        task->ready = run->state == STUDY_WAITING;
    } else if (trunk->state == STUDY_DIVERGED && trunk_task->last_step < run->branch_step) {
        run->state = STUDY_DIVERGED;
    } else {
        trunk->state = STUDY_WAITING;
        trunk->loss = NAN;
        trunk_task->ready = trunk_task->trunk < 0;
        if (trunk_task->trunk >= 0) settle_branch(p, task->trunk);
    }
}

/* ------------------------------------------------------------------------------------------------ the plan */

static bool fill_method(Planner *p, int method) {
    StudyMethod *out = &p->plan->index.methods[method];
    const MethodSpec *spec = &p->spec->methods[method];
    const Method *m = &p->methods[method];
    snprintf(out->name, sizeof out->name, "%s", spec->name);
    snprintf(out->optimizer, sizeof out->optimizer, "%s", optimizer_of(p->spec, method));
    if (spec->trunk >= 0) snprintf(out->trunk, sizeof out->trunk, "%s", p->spec->methods[spec->trunk].name);
    if (!m->chosen.shown) return true;
    describe_edge(m, out);
    return (out->settings = cJSON_Duplicate(m->chosen.shown, true)) != NULL;
}

static void plan_methods(Planner *p) {
    for (int i = 0; i < p->spec->method_count && !p->failed; i++) {
        const MethodSpec *m = &p->spec->methods[i];
        bool blocked = (m->like >= 0 && !p->methods[m->like].chosen.all) ||
                       (m->trunk >= 0 && !p->methods[m->trunk].chosen.all);
        if (blocked) p->plan->open_ended = true;
        else plan_method(p, i);
        if (!fill_method(p, i)) fail_memory(p);
        p->plan->index.method_count++;
    }
    for (int i = 0; i < p->plan->index.run_count && !p->failed && !p->problems.count; i++) {
        StudyTask *task = &p->plan->tasks[i];
        const Method *m = &p->methods[task->method];
        if (is_trunk(p->spec, task->method) && (m->best < 0 || m->best == task->point))
            list_steps(p, task->method, task->total_steps, task->keep_steps, sizeof task->keep_steps);
        snprintf(task->config.checkpoint.keep_steps, sizeof task->keep_steps, "%s", task->keep_steps);
        settle_branch(p, i);
    }
}

static void free_methods(Method *methods, int count) {
    for (int i = 0; i < count && methods; i++) {
        settings_free(&methods[i].start);
        settings_free(&methods[i].chosen);
        for (int a = 0; a < methods[i].axis_count; a++) close_axis(&methods[i].axes[a]);
    }
    free(methods);
}

bool study_plan_make(StudyPlan *plan, const StudySpec *spec, const StudyWorld *world, Error *err) {
    size_t count = (size_t)spec->method_count;
    Planner p = {.spec = spec, .world = world, .plan = plan, .err = err};
    *plan = (StudyPlan){0};
    snprintf(plan->index.name, sizeof plan->index.name, "%.*s", STUDY_NAME_MAX - 1, spec->name);
    snprintf(plan->index.baseline, sizeof plan->index.baseline, "%.*s", STUDY_NAME_MAX - 1, spec->baseline);
    Method *methods = calloc(count, sizeof *methods);
    p.methods = methods;
    plan->index.methods = calloc(count, sizeof *plan->index.methods);
    plan->index.tune_seeds = calloc((size_t)spec->tune_seed_count + 1, sizeof *plan->index.tune_seeds);
    for (int i = 0; plan->index.tune_seeds && i < spec->tune_seed_count; i++)
        plan->index.tune_seeds[plan->index.tune_seed_count++] = spec->tune_seeds[i];
    if (methods && plan->index.methods && plan->index.tune_seeds) plan_methods(&p);
    else fail_memory(&p);
    plan->index.done = !plan->open_ended;
    for (int i = 0; i < plan->index.run_count; i++) plan->index.done &= has_ended(&plan->index.runs[i]);
    bool ok = !p.failed && strict_report(&p.problems, spec->name, err);
    free_methods(methods, spec->method_count);
    if (!ok) study_plan_free(plan);
    return ok;
}

void study_plan_free(StudyPlan *plan) {
    for (int i = 0; i < plan->index.run_count; i++) config_free(&plan->tasks[i].config);
    free(plan->tasks);
    study_index_free(&plan->index);
    *plan = (StudyPlan){0};
}
