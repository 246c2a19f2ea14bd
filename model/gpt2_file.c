/* gpt2_file.c: see gpt2_file.h. */
#include "model/gpt2_file.h"

#include "core/json.h"
#include "core/memory.h"

#include <stdio.h>
#include <string.h>

#define CONFIG_LIMIT   ((size_t)1 << 20)
#define NAME_MAX_BYTES 96

static bool read_int(const cJSON *json, const char *key, const char *path, int *out, Error *err) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, key);
    double value = cJSON_IsNumber(item) ? item->valuedouble : 0;
    *out = value >= 1 && value <= 1e9 ? (int)value : 0;
    if (*out != value || *out == 0)
        return error_set(err, ERR_CHECKPOINT, "%s: \"%s\" must be a whole number above 0", path, key);
    return true;
}

/* Settings of Hugging Face that change the computation: the value that is GPT-2's, also when it is absent. */
static const char *other_setting(const cJSON *json, int C) {
    static const struct {
        const char *key, *value; /* as JSON */
    } GPT2_HAS[] = {{"model_type", "\"gpt2\""},
                    {"activation_function", "\"gelu_new\""},
                    {"tie_word_embeddings", "true"},
                    {"scale_attn_weights", "true"},
                    {"scale_attn_by_inverse_layer_idx", "false"},
                    {"add_cross_attention", "false"}};
    for (size_t i = 0; i < sizeof GPT2_HAS / sizeof *GPT2_HAS; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, GPT2_HAS[i].key);
        char *text = item ? cJSON_PrintUnformatted(item) : NULL;
        bool other = item && (!text || strcmp(text, GPT2_HAS[i].value) != 0);
        cJSON_free(text);
        if (other) return GPT2_HAS[i].key;
    }
    const cJSON *epsilon = cJSON_GetObjectItemCaseSensitive(json, "layer_norm_epsilon");
    const cJSON *inner = cJSON_GetObjectItemCaseSensitive(json, "n_inner");
    if (epsilon && epsilon->valuedouble != 1e-5) return "layer_norm_epsilon";
    return inner && !cJSON_IsNull(inner) && inner->valuedouble != 4.0 * C ? "n_inner" : NULL;
}

bool gpt2_file_config(GPT2Config *config, const char *dir, Error *err) {
    char path[4096];
    snprintf(path, sizeof path, "%s/config.json", dir);
    cJSON *json = json_read(path, CONFIG_LIMIT, ERR_CHECKPOINT, err);
    if (json == NULL) return false;
    *config = (GPT2Config){.bias = !cJSON_IsFalse(cJSON_GetObjectItemCaseSensitive(json, "bias"))};
    bool ok = read_int(json, "vocab_size", path, &config->V, err) &&
              read_int(json, "n_positions", path, &config->T, err) &&
              read_int(json, "n_embd", path, &config->C, err) &&
              read_int(json, "n_layer", path, &config->L, err) &&
              read_int(json, "n_head", path, &config->NH, err);
    if (ok && config->NH > 0 && config->C % config->NH != 0)
        ok = error_set(err, ERR_CHECKPOINT, "%s: n_embd %d does not divide into %d heads", path, config->C,
                       config->NH);
    const char *other = ok ? other_setting(json, config->C) : NULL;
    if (other) ok = error_set(err, ERR_CHECKPOINT, "%s: \"%s\" is not what GPT-2 has", path, other);
    cJSON_Delete(json);
    return ok;
}

/* Linear layers' weights lie transposed in the file. */
static bool is_transposed(const Param *param) {
    return param->role == ROLE_MATRIX;
}

const SafeTensor *gpt2_file_find(const SafeTensors *file, const GPT2 *model, const Param *param,
                                 const char *prefix, Error *err) {
    char name[128];
    snprintf(name, sizeof name, "%stransformer.%s", prefix, param->name);
    const SafeTensor *t = safetensors_find(file, name);
    if (t == NULL) {
        snprintf(name, sizeof name, "%s%s", prefix, param->name);
        t = safetensors_find(file, name);
    }
    if (t == NULL) {
        error_set(err, ERR_CHECKPOINT, "tensor %s is missing", name);
        return NULL;
    }
    bool is_wte = param->w == model->w.wte; /* without its padding */
    int64_t rows = is_wte ? model->config.V : param->rows, cols = param->cols;
    bool fits = is_transposed(param)         ? t->dims == 2 && t->shape[0] == cols && t->shape[1] == rows
                : param->role == ROLE_VECTOR ? t->dims == 1 && t->shape[0] == cols
                                             : t->dims == 2 && t->shape[0] == rows && t->shape[1] == cols;
    if (!fits) {
        error_set(err, ERR_CHECKPOINT, "tensor %s does not have the shape that config.json asks for",
                  t->name);
        return NULL;
    }
    return t;
}

double gpt2_file_value(const SafeTensor *tensor, const Param *param, size_t row, size_t col) {
    return safetensor_value(tensor, is_transposed(param) ? col * (size_t)param->rows + row
                                                         : row * (size_t)param->cols + col);
}

bool gpt2_file_read(GPT2 *model, const SafeTensors *file, const char *path, Error *err) {
    for (int i = 0; i < model->param_count; i++) {
        const Param *p = &model->params[i];
        Error why;
        const SafeTensor *t = gpt2_file_find(file, model, p, "", &why);
        if (t == NULL) return error_set(err, why.code, "%s: %s", path, why.text);
        size_t cols = (size_t)p->cols, rows = t->count / cols;
#pragma omp parallel for num_threads(model->threads) if (t->count > 1 << 16)
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < cols; c++) p->w[r * cols + c] = (float)gpt2_file_value(t, p, r, c);
    }
    return true;
}

bool gpt2_file_load(GPT2 *model, const char *dir, Error *err) {
    char path[4096];
    SafeTensors file;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    if (!safetensors_open(&file, path, err)) return false;
    bool ok = gpt2_file_read(model, &file, path, err);
    safetensors_close(&file);
    return ok;
}

/* ---- writing -------------------------------------------------------------------------------------- */

/* Keys of the ids that begin and end a text are null: the weights do not know. */
char *gpt2_file_config_text(const GPT2Config *m) {
    char *text = NULL;
    int length = asprintf(&text,
                          "{\n"
                          "\t\"model_type\": \"gpt2\",\n"
                          "\t\"architectures\": [\"GPT2LMHeadModel\"],\n"
                          "\t\"vocab_size\": %d,\n"
                          "\t\"n_positions\": %d,\n"
                          "\t\"n_ctx\": %d,\n"
                          "\t\"n_embd\": %d,\n"
                          "\t\"n_layer\": %d,\n"
                          "\t\"n_head\": %d,\n"
                          "\t\"bias\": %s,\n"
                          "\t\"activation_function\": \"gelu_new\",\n"
                          "\t\"layer_norm_epsilon\": 1e-05,\n"
                          "\t\"tie_word_embeddings\": true,\n"
                          "\t\"embd_pdrop\": 0.0,\n"
                          "\t\"attn_pdrop\": 0.0,\n"
                          "\t\"resid_pdrop\": 0.0,\n"
                          "\t\"bos_token_id\": null,\n"
                          "\t\"eos_token_id\": null,\n"
                          "\t\"torch_dtype\": \"float32\"\n"
                          "}\n",
                          m->V, m->T, m->T, m->C, m->L, m->NH, m->bias ? "true" : "false");
    return length < 0 ? NULL : text;
}

static int64_t file_rows(const GPT2 *model, const Param *p) {
    return p->w == model->w.wte ? model->config.V : p->rows;
}

static SafeTensor file_tensor(const GPT2 *model, const Param *p, char *name) {
    SafeTensor t = {.name = name, .dtype = DTYPE_F32, .dims = p->role == ROLE_VECTOR ? 1 : 2};
    int64_t rows = file_rows(model, p);
    snprintf(name, NAME_MAX_BYTES, "transformer.%s", p->name);
    t.shape[0] = p->role == ROLE_VECTOR || is_transposed(p) ? p->cols : rows;
    t.shape[1] = is_transposed(p) ? rows : p->cols;
    t.count = (size_t)rows * (size_t)p->cols;
    return t;
}

/* The bias that a weight has in the file but not in the model. */
static SafeTensor zero_bias(const Param *p, char *name) {
    size_t count = (size_t)(p->role == ROLE_VECTOR ? p->cols : p->rows), length = strlen(p->name);
    snprintf(name, NAME_MAX_BYTES, "transformer.%.*sbias", (int)(length - strlen("weight")), p->name);
    return (SafeTensor){
        .name = name, .dtype = DTYPE_F32, .dims = 1, .shape = {(int64_t)count}, .count = count};
}

bool gpt2_file_layout(SafeTensors *image, const GPT2 *model, Error *err) {
    size_t most = 2 * (size_t)model->param_count;
    SafeTensor *tensors = memory_alloc(most, sizeof *tensors, "names of tensors", err);
    char(*names)[NAME_MAX_BYTES] =
        tensors ? memory_alloc(most, NAME_MAX_BYTES, "names of tensors", err) : NULL;
    cJSON *metadata = cJSON_CreateObject();
    int count = 0;
    bool ok =
        names != NULL && (cJSON_AddStringToObject(metadata, "format", "pt") || /* from_pretrained asks */
                          error_set(err, ERR_IO, "names of tensors: out of memory"));
    for (const Param *p = model->params; ok && p < model->params + model->param_count; p++) {
        tensors[count] = file_tensor(model, p, names[count]);
        count++;
        if (model->config.bias || p->role == ROLE_EMBEDDING) continue;
        tensors[count] = zero_bias(p, names[count]);
        count++;
    }
    ok = ok && safetensors_layout(image, tensors, count, metadata, err);
    cJSON_Delete(metadata);
    memory_free(names);
    memory_free(tensors);
    return ok;
}

/* Rows [begin, end) of p->w to their places in the file, in tiles that stay in the cache. */
static void fill_rows(float *to, const Param *p, size_t begin, size_t end) {
    enum { TILE = 32 };
    size_t rows = (size_t)p->rows, cols = (size_t)p->cols;
    if (!is_transposed(p)) {
        memcpy(to + begin * cols, p->w + begin * cols, (end - begin) * cols * sizeof *to);
        return;
    }
    for (size_t c0 = 0; c0 < cols; c0 += TILE)
        for (size_t c = c0; c < cols && c < c0 + TILE; c++)
            for (size_t r = begin; r < end; r++) to[c * rows + r] = p->w[r * cols + c];
}

/* One parallel region: on a busy machine a barrier a tensor would cost more than the copying. */
void gpt2_file_fill(const SafeTensors *image, const GPT2 *model) {
    enum { ROWS = 32 };
#pragma omp parallel num_threads(model->threads)
    for (const Param *p = model->params; p < model->params + model->param_count; p++) {
        char name[NAME_MAX_BYTES];
        SafeTensor wanted = file_tensor(model, p, name);
        float *to = safetensors_room(image, safetensors_find(image, wanted.name));
        size_t rows = (size_t)file_rows(model, p);
#pragma omp for nowait
        for (size_t r = 0; r < rows; r += ROWS) fill_rows(to, p, r, r + ROWS < rows ? r + ROWS : rows);
    }
}
