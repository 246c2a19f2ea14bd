/* gpt2_file.c: see gpt2_file.h. */
#include "model/gpt2_file.h"

#include "core/json.h"

#include <stdio.h>
#include <string.h>

#define CONFIG_LIMIT ((size_t)1 << 20)

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
    *config = (GPT2Config){.bias = true};
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

bool gpt2_file_load(GPT2 *model, const char *dir, Error *err) {
    char path[4096];
    SafeTensors file;
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    if (!safetensors_open(&file, path, err)) return false;
    bool ok = true;
    for (int i = 0; i < model->param_count && ok; i++) {
        const Param *p = &model->params[i];
        const SafeTensor *t = gpt2_file_find(&file, model, p, "", err);
        ok = t != NULL;
        size_t cols = (size_t)p->cols, rows = ok ? t->count / cols : 0;
        for (size_t r = 0; r < rows; r++)
            for (size_t c = 0; c < cols; c++) p->w[r * cols + c] = (float)gpt2_file_value(t, p, r, c);
    }
    safetensors_close(&file);
    return ok;
}
