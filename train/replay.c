/* replay.c: see replay.h. */
#include "train/replay.h"

#include "core/denormals.h"
#include "core/json.h"
#include "core/memory.h"
#include "core/safetensors.h"
#include "core/threads.h"
#include "train/gradient.h"
#include "train/schedule.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A tensor of the input: param.<name> (step 0) or grad.<step>.<name>. */
typedef struct Record {
    int64_t step;
    const char *name;
    const SafeTensor *tensor;
} Record;

typedef struct Replay {
    const Config *config;
    const char *path;
    int64_t steps;
    int threads;
    SafeTensors in;
    Record *records; /* by step, then by name: the first param_count are the parameters */
    int record_count, param_count;
    Param *params;
    Optim optim;
    bool *keep; /* [step] */
    SafeTensor *out;
    int out_count;
} Replay;

/* ---- reading the input ----------------------------------------------------------------------- */

/* "param.<name>" or "grad.<t>.<name>", t without sign or leading zeros. */
static bool parse_name(Record *record, const SafeTensor *t) {
    *record = (Record){.tensor = t, .name = t->name};
    if (strncmp(t->name, "param.", 6) == 0) {
        record->name += 6;
    } else {
        if (strncmp(t->name, "grad.", 5) != 0 || t->name[5] < '1' || t->name[5] > '9') return false;
        char *end;
        record->step = strtoll(t->name + 5, &end, 10);
        if (*end != '.' || end - t->name > 20) return false;
        record->name = end + 1;
    }
    return *record->name != '\0';
}

static int by_step_and_name(const void *a, const void *b) {
    const Record *x = a, *y = b;
    return x->step != y->step ? (x->step > y->step) - (x->step < y->step) : strcmp(x->name, y->name);
}

static bool read_records(Replay *r, Error *err) {
    r->records = memory_alloc((size_t)r->in.tensor_count + 1, sizeof *r->records, r->path, err);
    if (r->records == NULL) return false;
    for (int i = 0; i < r->in.tensor_count; i++) {
        Record *record = &r->records[r->record_count++];
        const SafeTensor *t = &r->in.tensors[i];
        if (!parse_name(record, t))
            return error_set(err, ERR_CHECKPOINT,
                             "%s: tensor %s: names are param.<name> and grad.<t>.<name>", r->path, t->name);
        if (t->dtype != DTYPE_F32 && t->dtype != DTYPE_F64)
            return error_set(err, ERR_CHECKPOINT, "%s: tensor %s: neither float32 nor float64", r->path,
                             t->name);
        r->param_count += record->step == 0;
    }
    if (r->param_count == 0)
        return error_set(err, ERR_CHECKPOINT, "%s: no tensor is called param.<name>", r->path);
    qsort(r->records, (size_t)r->record_count, sizeof *r->records, by_step_and_name);
    return true;
}

/* Index of the parameter, or -1. */
static int find_param(const Replay *r, const char *name) {
    const Record key = {.name = name};
    const Record *found =
        bsearch(&key, r->records, (size_t)r->param_count, sizeof *r->records, by_step_and_name);
    return found ? (int)(found - r->records) : -1;
}

static bool same_shape(const SafeTensor *a, const SafeTensor *b) {
    return a->dims == b->dims && memcmp(a->shape, b->shape, (size_t)a->dims * sizeof *a->shape) == 0;
}

/* Each gradient has a parameter of its shape, each parameter a gradient at each step. */
static bool check_gradients(Replay *r, Error *err) {
    r->steps = r->records[r->record_count - 1].step;
    if (r->steps == 0)
        return error_set(err, ERR_CHECKPOINT, "%s: no tensor is called grad.1.<name>", r->path);
    for (int i = r->param_count; i < r->record_count; i++) {
        const SafeTensor *t = r->records[i].tensor;
        int param = find_param(r, r->records[i].name);
        if (param < 0)
            return error_set(err, ERR_CHECKPOINT, "%s: tensor %s: there is no param.%s", r->path, t->name,
                             r->records[i].name);
        if (!same_shape(t, r->records[param].tensor))
            return error_set(err, ERR_CHECKPOINT, "%s: tensor %s: its shape is not that of param.%s",
                             r->path, t->name, r->records[i].name);
    }
    for (int64_t i = r->param_count; i < r->record_count || i / r->param_count <= r->steps; i++) {
        const Record wanted = {.step = i / r->param_count, .name = r->records[i % r->param_count].name};
        if (i == r->record_count || by_step_and_name(&r->records[i], &wanted) != 0)
            return error_set(err, ERR_CHECKPOINT, "%s: tensor grad.%lld.%s is missing", r->path,
                             (long long)wanted.step, wanted.name);
    }
    if (r->steps != r->config->train.steps)
        return error_set(err, ERR_CONFIG,
                         "%s has the gradients of %lld steps, train.steps is %lld; type train.steps=%lld "
                         "(with train.tokens and train.epochs at 0)",
                         r->path, (long long)r->steps, (long long)r->config->train.steps,
                         (long long)r->steps);
    return true;
}

/* ---- parameters and their roles -------------------------------------------------------------- */

static Role default_role(const char *name, const SafeTensor *t) {
    if (strncmp(name, "transformer.", 12) == 0) name += 12;
    if (strcmp(name, "wte.weight") == 0 || strcmp(name, "wpe.weight") == 0) return ROLE_EMBEDDING;
    if (strcmp(name, "lm_head.weight") == 0) return ROLE_HEAD;
    return t->dims == 2 ? ROLE_MATRIX : ROLE_VECTOR;
}

/* Roles and `keep` are strings, as all metadata. */
static bool read_roles(Replay *r, Error *err) {
    const cJSON *item, *metadata = cJSON_GetObjectItemCaseSensitive(r->in.header, "__metadata__");
    for (int i = 0; i < r->param_count; i++)
        r->params[i].role = default_role(r->records[i].name, r->records[i].tensor);
    cJSON_ArrayForEach(item, metadata) {
        if (!cJSON_IsString(item))
            return error_set(err, ERR_CHECKPOINT, "%s: metadata %s: not a string", r->path, item->string);
        if (strncmp(item->string, "role.", 5) != 0) continue;
        int param = find_param(r, item->string + 5), role = 0;
        if (param < 0)
            return error_set(err, ERR_CHECKPOINT, "%s: metadata %s: there is no param.%s", r->path,
                             item->string, item->string + 5);
        while (role < ROLE_COUNT && strcmp(ROLE_NAMES[role], item->valuestring) != 0) role++;
        if (role == ROLE_COUNT)
            return error_set(
                err, ERR_CHECKPOINT,
                "%s: metadata %s: \"%s\" is no role; those are matrix, embedding, head, vector", r->path,
                item->string, item->valuestring);
        r->params[param].role = (Role)role;
    }
    return true;
}

static bool is_fused_qkv(const char *name) {
    static const char END[] = "attn.c_attn.weight";
    size_t length = strlen(name), end = sizeof END - 1;
    return length >= end && strcmp(name + length - end, END) == 0;
}

static bool shape_param(const Replay *r, Param *p, const Record *record, Error *err) {
    const SafeTensor *t = record->tensor;
    bool flat = p->role == ROLE_VECTOR;
    if (!flat && t->dims != 2)
        return error_set(err, ERR_CHECKPOINT, "%s: tensor %s: a %s has two dimensions, this has %d",
                         r->path, t->name, ROLE_NAMES[p->role], t->dims);
    int64_t rows = flat ? 1 : t->shape[0], cols = flat ? (int64_t)t->count : t->shape[1];
    if (t->count == 0 || rows > INT_MAX || cols > INT_MAX)
        return error_set(err, ERR_CHECKPOINT, "%s: tensor %s: empty or too large", r->path, t->name);
    p->rows = (int)rows;
    p->cols = (int)cols;
    p->split = p->role == ROLE_MATRIX && is_fused_qkv(record->name) ? 3 : 1;
    if (p->split == 3 && rows != 3 * cols)
        return error_set(
            err, ERR_CHECKPOINT,
            "%s: tensor %s: (%lld, %lld) is not q, k, v stacked, (3 n, n); Hugging Face's GPT-2 "
            "stores linear layers as (inputs, outputs): transpose them",
            r->path, t->name, (long long)rows, (long long)cols);
    return true;
}

/* The tensor's values as float32; `code` is that of the error when one of them is not finite. */
static bool read_values(const Replay *r, float *out, const SafeTensor *t, ErrorCode code, Error *err) {
    for (size_t i = 0; i < t->count; i++) {
        out[i] = (float)safetensor_value(t, i);
        if (!isfinite(out[i]))
            return error_set(err, code, "%s: tensor %s: element %zu is not finite in float32", r->path,
                             t->name, i);
    }
    return true;
}

static bool read_params(Replay *r, Error *err) {
    r->params = memory_alloc((size_t)r->param_count, sizeof *r->params, "parameters", err);
    if (r->params == NULL || !read_roles(r, err)) return false;
    for (int i = 0; i < r->param_count; i++) {
        Param *p = &r->params[i];
        const Record *record = &r->records[i];
        snprintf(p->name, sizeof p->name, "%s", record->name);
        if (!shape_param(r, p, record, err) ||
            !(p->w = memory_alloc(param_size(p), sizeof *p->w, "weights", err)) ||
            !(p->g = memory_alloc(param_size(p), sizeof *p->g, "gradients", err)) ||
            !read_values(r, p->w, record->tensor, ERR_CHECKPOINT, err))
            return false;
    }
    return true;
}

/* ---- the steps ------------------------------------------------------------------------------- */

static bool read_keep(Replay *r, int64_t *kept_steps, Error *err) {
    const char *text = safetensors_metadata(&r->in, "keep");
    r->keep = memory_alloc((size_t)r->steps + 1, sizeof *r->keep, "steps to keep", err);
    if (r->keep == NULL) return false;
    r->keep[r->steps] = true;
    for (const char *at = text; at; at = *at ? at + 1 : NULL) {
        char *end;
        long long step = strtoll(at, &end, 10);
        if (end == at || step < 1 || step > r->steps || (*end != ',' && *end != '\0'))
            return error_set(
                err, ERR_CHECKPOINT,
                "%s: metadata keep: \"%s\" is not a list of steps from 1 to %lld such as \"1,5\"", r->path,
                text, (long long)r->steps);
        r->keep[step] = true;
        at = end;
    }
    for (int64_t step = 1; step <= r->steps; step++) *kept_steps += r->keep[step];
    size_t most = (size_t)*kept_steps * (size_t)r->param_count;
    return (r->out = memory_alloc(most, sizeof *r->out, "weights to keep", err)) != NULL;
}

/* Adds param.<step>.<name> of now to the output. */
static bool keep_weights(Replay *r, int64_t step, Error *err) {
    for (int i = 0; i < r->param_count; i++) {
        const Param *p = &r->params[i];
        SafeTensor *t = &r->out[r->out_count++];
        *t = *r->records[i].tensor;
        t->dtype = DTYPE_F32;
        t->data = NULL;
        if (asprintf(&t->name, "param.%lld.%s", (long long)step, r->records[i].name) < 0) {
            t->name = NULL;
            return error_set(err, ERR_IO, "out of memory");
        }
        float *copy = memory_alloc(t->count, sizeof *copy, t->name, err);
        if (copy == NULL) return false;
        t->data = memcpy(copy, p->w, t->count * sizeof *copy);
    }
    return true;
}

static bool check_weights(const Replay *r, int64_t step, Error *err) {
    for (int i = 0; i < r->param_count; i++)
        for (size_t k = 0; k < param_size(&r->params[i]); k++)
            if (!isfinite(r->params[i].w[k]))
                return error_set(err, ERR_DIVERGED, "step %lld: element %zu of %s is not finite after it",
                                 (long long)step, k, r->records[i].name);
    return true;
}

static bool replay_step(Replay *r, int64_t step, ReplayReport *report, Error *err) {
    const Record *gradients = r->records + step * r->param_count;
    for (int i = 0; i < r->param_count; i++)
        if (!read_values(r, r->params[i].g, gradients[i].tensor, ERR_DIVERGED, err)) return false;
    double clip = r->config->train.grad_clip;
    double norm = clip > 0 ? gradient_norm(r->params, r->param_count, r->threads) : 0;
    if (clip > 0 && norm > clip) {
        optim_scale_gradient(&r->optim, clip / norm);
        report->clipped_steps++;
    }
    double factor = schedule_factor(&r->config->schedule, step, r->steps);
    return optim_step(&r->optim, step, r->steps, factor, false, err) && check_weights(r, step, err) &&
           (!r->keep[step] || keep_weights(r, step, err));
}

static bool replay_steps(Replay *r, ReplayReport *report, Error *err) {
    if (!read_keep(r, &report->kept_steps, err) ||
        !optim_create(&r->optim, &r->config->optimizer, r->params, r->param_count, r->threads, err))
        return false;
    report->steps = r->steps;
    for (int i = 0; i < r->param_count; i++) {
        report->role_tensors[r->params[i].role]++;
        report->role_params[r->params[i].role] += (int64_t)param_size(&r->params[i]);
    }
    denormals_flush(); /* as the optimizer's threads do: numbers below 1e-38 are 0 from the first step on */
    for (int64_t step = 1; step <= r->steps; step++)
        if (!replay_step(r, step, report, err)) return false;
    return true;
}

static bool write_output(const Replay *r, const char *path, Error *err) {
    char *config = config_to_json(r->config);
    cJSON *metadata = cJSON_CreateObject();
    bool ok = config && cJSON_AddStringToObject(metadata, "config", config);
    if (ok) ok = safetensors_write(path, r->out, r->out_count, metadata, err);
    else error_set(err, ERR_IO, "%s: out of memory", path);
    cJSON_Delete(metadata);
    free(config);
    return ok;
}

static void replay_free(Replay *r) {
    optim_free(&r->optim);
    for (int i = 0; r->params && i < r->param_count; i++) {
        memory_free(r->params[i].w);
        memory_free(r->params[i].g);
    }
    for (int i = 0; i < r->out_count; i++) {
        free(r->out[i].name);
        memory_free((void *)r->out[i].data);
    }
    memory_free(r->params), memory_free(r->records), memory_free(r->keep), memory_free(r->out);
    safetensors_close(&r->in);
}

bool replay_file(const Config *config, const char *in_path, const char *out_path, ReplayReport *report,
                 Error *err) {
    int64_t threads = config->train.threads;
    Replay r = {.config = config, .path = in_path};
    r.threads = threads > 0 ? (int)threads : threads_available();
    *report = (ReplayReport){0};
    bool ok = safetensors_open(&r.in, in_path, err) && read_records(&r, err) && check_gradients(&r, err) &&
              read_params(&r, err) && replay_steps(&r, report, err) && write_output(&r, out_path, err);
    replay_free(&r);
    return ok;
}
