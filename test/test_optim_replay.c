/* test_optim_replay.c: replay is what training does with the same gradients, follows a recorded float64
 * trajectory, and refuses what is not whole. */
#include "train/replay.h"

#include "core/json.h"
#include "core/rng.h"
#include "core/safetensors.h"
#include "test/golden.h"
#include "test/tempdir.h"
#include "train/gradient.h"
#include "train/schedule.h"
#include <unistd.h>

static char config_path[96], in_path[96], out_path[96];

static int make_paths(void **state) {
    if (make_dir(state) != 0) return -1;
    snprintf(config_path, sizeof config_path, "%s/config.json", dir);
    snprintf(in_path, sizeof in_path, "%s/in", dir);
    snprintf(out_path, sizeof out_path, "%s/out", dir);
    return 0;
}

static void load_config(Config *config, const char *json) {
    Error err;
    FILE *f = fopen(config_path, "w");
    assert_non_null(f);
    assert_true(fputs(json, f) >= 0 && fclose(f) == 0);
    if (!config_load(config, config_path, NULL, 0, &err)) fail_msg("%s", err.text);
}

/* ---- an input in the making ------------------------------------------------------------------ */

enum { TENSORS_MOST = 64 };

typedef struct Input {
    SafeTensor tensors[TENSORS_MOST];
    int count;
    cJSON *metadata;
} Input;

/* Room for the values of a tensor of (rows, cols), or (cols) when rows is 0. */
static void *input_add(Input *input, Dtype dtype, int rows, int cols, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

static void *input_add(Input *input, Dtype dtype, int rows, int cols, const char *format, ...) {
    assert_true(input->count < TENSORS_MOST);
    SafeTensor *t = &input->tensors[input->count++];
    va_list args;
    va_start(args, format);
    if (vasprintf(&t->name, format, args) < 0) fail();
    va_end(args);
    t->dtype = dtype;
    t->dims = rows > 0 ? 2 : 1;
    t->shape[0] = rows > 0 ? rows : cols;
    t->shape[1] = rows > 0 ? cols : 0;
    t->count = (size_t)(rows > 0 ? rows : 1) * (size_t)cols;
    void *values = calloc(t->count + 1, sizeof(double));
    t->data = values;
    return values;
}

static void input_say(Input *input, const char *key, const char *value) {
    if (input->metadata == NULL) input->metadata = cJSON_CreateObject();
    assert_non_null(cJSON_AddStringToObject(input->metadata, key, value));
}

static SafeTensor *input_find(Input *input, const char *name) {
    for (int i = 0; i < input->count; i++)
        if (strcmp(input->tensors[i].name, name) == 0) return &input->tensors[i];
    fail_msg("no tensor %s", name);
    return NULL;
}

static void input_write(const Input *input) {
    Error err;
    if (!safetensors_write(in_path, input->tensors, input->count, input->metadata, &err))
        fail_msg("%s", err.text);
}

static void input_free(Input *input) {
    for (int i = 0; i < input->count; i++) {
        free(input->tensors[i].name);
        free((void *)input->tensors[i].data);
    }
    cJSON_Delete(input->metadata);
    *input = (Input){0};
}

/* ---- a model of every role, in the order of the names ---------------------------------------- */

enum { PARAMS = 5, STEPS = 6 };

static const Param SHAPES[PARAMS] = {
    {.name = "h.0.attn.c_attn.weight", .role = ROLE_MATRIX, .rows = 24, .cols = 8, .split = 3},
    {.name = "h.0.ln_1.weight", .role = ROLE_VECTOR, .rows = 1, .cols = 8, .split = 1},
    {.name = "h.0.mlp.c_fc.weight", .role = ROLE_MATRIX, .rows = 20, .cols = 8, .split = 1},
    {.name = "lm_head.weight", .role = ROLE_HEAD, .rows = 11, .cols = 8, .split = 1},
    {.name = "wte.weight", .role = ROLE_EMBEDDING, .rows = 11, .cols = 8, .split = 1},
};

/* Weights are step 0. Gradients grow: clipping to 10 begins on the way. */
static float drawn(int step, int param, size_t i) {
    double scale = step == 0 ? 1 : 0.2 * step;
    return (float)(scale * rng_normal((uint64_t)step, (uint64_t)param, i));
}

/* All tensors in `dtype`; those of the model in reverse when `backwards`. */
static void draw_input(Input *input, Dtype dtype, bool backwards) {
    *input = (Input){0};
    for (int step = 0; step <= STEPS; step++)
        for (int n = 0; n < PARAMS; n++) {
            int k = backwards ? PARAMS - 1 - n : n;
            const Param *p = &SHAPES[k];
            int rows = p->role == ROLE_VECTOR ? 0 : p->rows;
            char prefix[16] = "param";
            if (step > 0) snprintf(prefix, sizeof prefix, "grad.%d", step);
            void *values = input_add(input, dtype, rows, p->cols, "%s.%s", prefix, p->name);
            for (size_t i = 0; i < param_size(p); i++) {
                if (dtype == DTYPE_F32) ((float *)values)[i] = drawn(step, k, i);
                else ((double *)values)[i] = drawn(step, k, i);
            }
        }
}

static const char CONFIG[] =
    "{\"optimizer\": {\"name\": \"softmuon\", \"lr\": 0.02, \"weight_decay\": 0.1, \"alpha_sign\": 0.5,"
    "  \"aux\": {\"name\": \"adamw\", \"lr\": 0.003}, \"roles\": {\"head\": {\"lr\": 0.001}}},"
    " \"schedule\": {\"name\": \"cosine\", \"warmup_steps\": 2, \"final_frac\": 0},"
    " \"train\": {\"steps\": 6, \"grad_clip\": 10, \"threads\": 2}}";

static void replay(const Config *config, ReplayReport *report) {
    Error err;
    if (!replay_file(config, in_path, out_path, report, &err)) fail_msg("%s", err.text);
}

static void open_output(SafeTensors *out) {
    Error err;
    if (!safetensors_open(out, out_path, &err)) fail_msg("%s", err.text);
}

/* param.<step>.<name> of the output is this, bit for bit. */
static void assert_weights(const SafeTensors *out, int step, const Param *p) {
    char name[2048];
    snprintf(name, sizeof name, "param.%d.%s", step, p->name);
    const SafeTensor *t = safetensors_find(out, name);
    if (t == NULL) fail_msg("%s is missing", name);
    assert_int_equal(t->dtype, DTYPE_F32);
    assert_int_equal(t->dims, p->role == ROLE_VECTOR ? 1 : 2);
    assert_int_equal(t->shape[0], p->role == ROLE_VECTOR ? p->cols : p->rows);
    assert_int_equal(t->count, param_size(p));
    if (memcmp(t->data, p->w, t->count * sizeof(float)) != 0) fail_msg("%s differs", name);
}

/* What train_gpt does with gradients, against the output of the steps 1, 3 and STEPS. */
static int follow_training(const Config *config, const SafeTensors *out) {
    Param params[PARAMS];
    Optim optim;
    Error err;
    int clipped = 0;
    for (int k = 0; k < PARAMS; k++) {
        params[k] = SHAPES[k];
        params[k].w = calloc(param_size(&params[k]), sizeof(float));
        params[k].g = calloc(param_size(&params[k]), sizeof(float));
        for (size_t i = 0; i < param_size(&params[k]); i++) params[k].w[i] = drawn(0, k, i);
    }
    assert_true(optim_create(&optim, &config->optimizer, params, PARAMS, 1, &err));
    for (int step = 1; step <= STEPS; step++) {
        for (int k = 0; k < PARAMS; k++)
            for (size_t i = 0; i < param_size(&params[k]); i++) params[k].g[i] = drawn(step, k, i);
        double norm = gradient_norm(params, PARAMS, 1), clip = config->train.grad_clip;
        if (clip > 0 && norm > clip) optim_scale_gradient(&optim, clip / norm), clipped++;
        double factor = schedule_factor(&config->schedule, step, STEPS);
        assert_true(optim_step(&optim, step, STEPS, factor, true, &err));
        for (int k = 0; k < PARAMS; k++)
            if (step == 1 || step == 3 || step == STEPS) assert_weights(out, step, &params[k]);
    }
    optim_free(&optim);
    golden_params_free(params, PARAMS);
    return clipped;
}

/* ---- tests ----------------------------------------------------------------------------------- */

static void replay_should_do_what_training_does_bit_for_bit(void **state) {
    (void)state;
    for (int variant = 0; variant < 4; variant++) { /* float32 or float64, tensors in order or not */
        Config config;
        Input input;
        ReplayReport report;
        SafeTensors out;
        load_config(&config, CONFIG);
        draw_input(&input, variant & 1 ? DTYPE_F64 : DTYPE_F32, variant & 2);
        input_say(&input, "keep", "3,1");
        input_write(&input);
        input_free(&input);
        replay(&config, &report);
        open_output(&out);
        assert_int_equal(out.tensor_count, 3 * PARAMS);
        assert_int_equal(report.steps, STEPS);
        assert_int_equal(report.kept_steps, 3);
        assert_int_equal(report.clipped_steps, follow_training(&config, &out));
        assert_in_range(report.clipped_steps, 1, STEPS - 1);
        safetensors_close(&out);
        config_free(&config);
    }
}

static void every_optimizer_should_be_replayed_as_it_trains(void **state) {
    (void)state;
    for (const Optimizer *const *o = OPTIMIZERS; *o; o++) {
        char json[512];
        Config config;
        Input input;
        ReplayReport report;
        SafeTensors out;
        snprintf(json, sizeof json,
                 "{\"optimizer\": {\"name\": \"%s\"%s, \"roles\": {\"vector\": {\"weight_decay\": 0.1}}},"
                 " \"train\": {\"steps\": 6, \"threads\": 2}}",
                 (*o)->name, field_find((*o)->fields, "alpha_sign") ? ", \"alpha_sign\": 0.5" : "");
        load_config(&config, json);
        draw_input(&input, DTYPE_F32, false);
        input_say(&input, "keep", "1,3");
        input_write(&input);
        input_free(&input);
        replay(&config, &report);
        open_output(&out);
        follow_training(&config, &out);
        safetensors_close(&out);
        config_free(&config);
    }
}

static void gradients_should_be_left_alone_without_grad_clip(void **state) {
    (void)state;
    Config config;
    Input input;
    ReplayReport report;
    SafeTensors out;
    load_config(&config, CONFIG);
    config.train.grad_clip = 0;
    draw_input(&input, DTYPE_F32, false);
    input_say(&input, "keep", "1,3");
    input_write(&input);
    input_free(&input);
    replay(&config, &report);
    open_output(&out);
    assert_int_equal(report.clipped_steps, 0);
    assert_int_equal(follow_training(&config, &out), 0);
    safetensors_close(&out);
    config_free(&config);
}

static void only_the_last_step_should_be_written_unless_asked(void **state) {
    (void)state;
    Config config;
    Input input;
    ReplayReport report;
    SafeTensors out;
    Error err;
    load_config(&config, CONFIG);
    draw_input(&input, DTYPE_F32, false);
    input_write(&input);
    input_free(&input);
    replay(&config, &report);
    open_output(&out);
    assert_int_equal(out.tensor_count, PARAMS);
    assert_non_null(safetensors_find(&out, "param.6.wte.weight"));
    cJSON *kept = json_parse(safetensors_metadata(&out, "config"),
                             strlen(safetensors_metadata(&out, "config")), "config", ERR_CONFIG, &err);
    assert_non_null(kept);
    assert_non_null(cJSON_GetObjectItem(kept, "optimizer"));
    cJSON_Delete(kept);
    safetensors_close(&out);
    config_free(&config);
}

/* One step of SGD with gradients 1: a weight moves by the lr of its role. */
static void roles_should_come_from_metadata_then_name_then_shape(void **state) {
    (void)state;
    static const struct {
        const char *name;
        int rows; /* 0: one dimension */
        const char *said;
        Role role;
    } rows[] = {
        {"a", 2, NULL, ROLE_MATRIX},
        {"b", 0, NULL, ROLE_VECTOR},
        {"wte.weight", 2, NULL, ROLE_EMBEDDING},
        {"transformer.wpe.weight", 2, NULL, ROLE_EMBEDDING},
        {"lm_head.weight", 2, NULL, ROLE_HEAD},
        {"not.wte.weight", 2, NULL, ROLE_MATRIX},
        {"c", 2, "vector", ROLE_VECTOR},
        {"d", 2, "head", ROLE_HEAD},
        {"transformer.wte.weight", 2, "matrix", ROLE_MATRIX},
    };
    enum { ROWS = sizeof rows / sizeof *rows };
    static const double LR[ROLE_COUNT] = {0.5, 0.25, 0.125, 0.0625};
    Config config;
    Input input = {0};
    ReplayReport report;
    SafeTensors out;
    int expected[ROLE_COUNT] = {0};
    load_config(&config, "{\"optimizer\": {\"name\": \"sgd\", \"lr\": 0.5, \"momentum\": 0, \"roles\": {"
                         "\"embedding\": {\"lr\": 0.25}, \"head\": {\"lr\": 0.125},"
                         "\"vector\": {\"lr\": 0.0625}}}, \"schedule\": {\"name\": \"constant\"},"
                         "\"train\": {\"steps\": 1, \"grad_clip\": 0}}");
    for (int i = 0; i < ROWS; i++) {
        char key[64];
        input_add(&input, DTYPE_F32, rows[i].rows, 3, "param.%s", rows[i].name);
        float *g = input_add(&input, DTYPE_F32, rows[i].rows, 3, "grad.1.%s", rows[i].name);
        for (int k = 0; k < 6; k++) g[k] = 1;
        snprintf(key, sizeof key, "role.%s", rows[i].name);
        if (rows[i].said) input_say(&input, key, rows[i].said);
        expected[rows[i].role]++;
    }
    input_write(&input);
    input_free(&input);
    replay(&config, &report);
    open_output(&out);
    for (int i = 0; i < ROWS; i++) {
        char name[64];
        snprintf(name, sizeof name, "param.1.%s", rows[i].name);
        const SafeTensor *t = safetensors_find(&out, name);
        assert_non_null(t);
        if (safetensor_value(t, 2) != -LR[rows[i].role]) fail_msg("%s: wrong role", rows[i].name);
    }
    assert_memory_equal(report.role_tensors, expected, sizeof expected);
    safetensors_close(&out);
    config_free(&config);
}

/* Numbers of test/golden as an input of float64, with the recorded steps to keep. Returns the steps. */
static int golden_input(Input *input, const cJSON *json) {
    const cJSON *shape, *list, *x;
    char prefix[32] = "param", keep[256] = "";
    int steps = cJSON_GetObjectItem(json, "steps")->valueint;
    for (int step = 0; step <= steps; step++) {
        const cJSON *lists = step == 0 ? cJSON_GetObjectItem(json, "params0")
                                       : cJSON_GetArrayItem(cJSON_GetObjectItem(json, "grads"), step - 1);
        if (step > 0) snprintf(prefix, sizeof prefix, "grad.%d", step);
        cJSON_ArrayForEach(shape, cJSON_GetObjectItem(json, "shapes")) {
            bool matrix = cJSON_GetArraySize(shape) == 2;
            int rows = matrix ? shape->child->valueint : 0;
            int cols = (matrix ? shape->child->next : shape->child)->valueint;
            double *out = input_add(input, DTYPE_F64, rows, cols, "%s.%s", prefix, shape->string);
            list = cJSON_GetObjectItem(lists, shape->string);
            cJSON_ArrayForEach(x, list) *out++ = x->valuedouble;
        }
    }
    cJSON_ArrayForEach(x, cJSON_GetObjectItem(json, "params_after_step")) {
        size_t length = strlen(keep);
        snprintf(keep + length, sizeof keep - length, "%s%s", length ? "," : "", x->string);
    }
    input_say(input, "keep", keep);
    return steps;
}

static void a_recorded_trajectory_should_be_followed(void **state) {
    (void)state;
    cJSON *json = golden_parse("test/golden/optim/softsignum_paper.json");
    const cJSON *after = cJSON_GetObjectItem(json, "params_after_step"), *lists;
    Config config;
    Input input = {0};
    ReplayReport report;
    SafeTensors out;
    Param params[16];
    int count = golden_params(json, params);
    load_config(&config,
                "{\"optimizer\": {\"name\": \"softsignum\", \"lr\": 0.01, \"weight_decay\": 0.1,"
                "\"momentum\": 0.9, \"alpha_sign\": 0.6, \"roles\": {\"vector\": {\"weight_decay\": 0.1}}},"
                "\"schedule\": {\"name\": \"constant\"}, \"train\": {\"steps\": 20, \"grad_clip\": 0}}");
    assert_int_equal(golden_input(&input, json), config.train.steps);
    input_write(&input);
    input_free(&input);
    replay(&config, &report);
    open_output(&out);
    assert_int_equal(out.tensor_count, count * cJSON_GetArraySize(after));
    cJSON_ArrayForEach(lists, after) {
        for (int i = 0; i < count; i++) {
            char name[2048];
            snprintf(name, sizeof name, "param.%s.%s", lists->string, params[i].name);
            const SafeTensor *t = safetensors_find(&out, name);
            if (t == NULL) fail_msg("%s is missing", name);
            for (size_t k = 0; k < t->count; k++) params[i].w[k] = (float)safetensor_value(t, k);
        }
        double error = golden_distance(lists, params, count);
        if (!(error < 2e-6)) fail_msg("step %s: relative error %g", lists->string, error);
    }
    golden_params_free(params, count);
    safetensors_close(&out);
    config_free(&config);
    cJSON_Delete(json);
}

/* ---- what is refused ------------------------------------------------------------------------- */

/* Writes the input and frees it; its replay fails with these words and leaves no output. */
static void assert_refused_by(const Config *config, Input *input, ErrorCode code, const char *words) {
    ReplayReport report;
    Error err = {0};
    input_write(input);
    input_free(input);
    if (replay_file(config, in_path, out_path, &report, &err)) fail_msg("accepted, no: %s", words);
    if (err.code != code || !strstr(err.text, words) || strchr(err.text, '\n'))
        fail_msg("code %d, not %d (%s): %s", (int)err.code, (int)code, words, err.text);
    assert_int_not_equal(access(out_path, F_OK), 0);
}

static void assert_refused(Input *input, ErrorCode code, const char *words) {
    Config config;
    load_config(&config, CONFIG);
    assert_refused_by(&config, input, code, words);
    config_free(&config);
}

static void rename_tensor(Input *input, const char *from, const char *to) {
    SafeTensor *t = input_find(input, from);
    free(t->name);
    t->name = strdup(to);
}

/* Leaves a tensor out. */
static void drop_tensor(Input *input, const char *name) {
    SafeTensor *t = input_find(input, name);
    free(t->name);
    free((void *)t->data);
    *t = input->tensors[--input->count];
}

static void tensors_that_do_not_belong_should_be_refused(void **state) {
    (void)state;
    static const struct {
        const char *from, *to, *words;
    } rows[] = {
        {"grad.2.wte.weight", "wte.weight",
         "tensor wte.weight: names are param.<name> and grad.<t>.<name>"},
        {"grad.2.wte.weight", "grad.wte.weight", "names are"},
        {"grad.2.wte.weight", "grad.02.wte.weight", "names are"},
        {"grad.2.wte.weight", "grad.-2.wte.weight", "names are"},
        {"grad.2.wte.weight", "grad.2wte.weight", "names are"},
        {"grad.2.wte.weight", "grad.2.", "names are"},
        {"grad.2.wte.weight", "grad.0.wte.weight", "names are"},
        {"grad.2.wte.weight", "grad.99999999999999999999.wte.weight", "names are"},
        {"param.wte.weight", "param.", "names are"},
        {"grad.2.wte.weight", "grad.2.wpe.weight",
         "tensor grad.2.wpe.weight: there is no param.wpe.weight"},
        {"param.wte.weight", "param.xte.weight", "tensor grad.1.wte.weight: there is no param.wte.weight"},
        {"grad.2.wte.weight", "grad.8.wte.weight", "tensor grad.2.wte.weight is missing"},
        {"grad.6.wte.weight", "grad.7.wte.weight", "tensor grad.6.wte.weight is missing"},
        {"grad.6.wte.weight", "grad.999999999999999.wte.weight", "tensor grad.6.wte.weight is missing"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        Input input;
        draw_input(&input, DTYPE_F32, false);
        rename_tensor(&input, rows[i].from, rows[i].to);
        assert_refused(&input, ERR_CHECKPOINT, rows[i].words);
    }
}

static void missing_tensors_should_be_named(void **state) {
    (void)state;
    Input input;
    for (int i = PARAMS; i < PARAMS * (STEPS + 1); i++) {
        char words[128];
        draw_input(&input, DTYPE_F32, false);
        snprintf(words, sizeof words, "tensor %s is missing", input.tensors[i].name);
        drop_tensor(&input, input.tensors[i].name);
        assert_refused(&input, ERR_CHECKPOINT, words);
    }
    draw_input(&input, DTYPE_F32, false);
    while (input.count > PARAMS) drop_tensor(&input, input.tensors[PARAMS].name);
    assert_refused(&input, ERR_CHECKPOINT, "no tensor is called grad.1.");
    input_add(&input, DTYPE_F32, 0, 1, "grad.1.a");
    assert_refused(&input, ERR_CHECKPOINT, "no tensor is called param.");
}

static void a_number_of_steps_that_is_not_the_configs_should_be_refused(void **state) {
    (void)state;
    Config config;
    Input input;
    load_config(&config, CONFIG);
    config.train.steps = 7;
    draw_input(&input, DTYPE_F32, false);
    assert_refused_by(&config, &input, ERR_CONFIG, "6 steps, train.steps is 7; type train.steps=6");
    config_free(&config);
}

static void types_and_shapes_that_do_not_fit_should_be_refused(void **state) {
    (void)state;
    Input input;
    draw_input(&input, DTYPE_F32, false);
    input_find(&input, "grad.3.wte.weight")->dtype = DTYPE_I32;
    assert_refused(&input, ERR_CHECKPOINT, "tensor grad.3.wte.weight: neither float32 nor float64");
    draw_input(&input, DTYPE_F32, false);
    SafeTensor *t = input_find(&input, "grad.3.wte.weight"); /* (8, 11): transposed */
    t->shape[0] = 8, t->shape[1] = 11;
    assert_refused(&input, ERR_CHECKPOINT, "tensor grad.3.wte.weight: its shape is not that of param.wte");
    draw_input(&input, DTYPE_F32, false);
    t = input_find(&input, "grad.3.wte.weight");
    t->dims = 1, t->shape[0] = 88;
    assert_refused(&input, ERR_CHECKPOINT, "its shape is not");
    draw_input(&input, DTYPE_F32, false);
    input_add(&input, DTYPE_F32, 0, 0, "param.empty");
    for (int step = 1; step <= STEPS; step++) input_add(&input, DTYPE_F32, 0, 0, "grad.%d.empty", step);
    assert_refused(&input, ERR_CHECKPOINT, "tensor param.empty: empty or too large");
    draw_input(&input, DTYPE_F32, false);
    for (int i = 0; i < input.count; i++) /* as Hugging Face's GPT-2 stores it */
        if (strstr(input.tensors[i].name, "c_attn"))
            input.tensors[i].shape[0] = 8, input.tensors[i].shape[1] = 24;
    assert_refused(&input, ERR_CHECKPOINT, "(8, 24) is not q, k, v stacked");
}

static void wrong_metadata_should_be_refused(void **state) {
    (void)state;
    static const struct {
        const char *key, *value, *words;
    } rows[] = {
        {"role.wte.weight", "Matrix", "\"Matrix\" is no role; those are matrix, embedding, head, vector"},
        {"role.wte.weight", "", "\"\" is no role"},
        {"role.wte", "matrix", "metadata role.wte: there is no param.wte"},
        {"role.h.0.ln_1.weight", "matrix", "a matrix has two dimensions, this has 1"},
        {"keep", "7", "metadata keep: \"7\" is not a list of steps from 1 to 6"},
        {"keep", "0", "metadata keep"},
        {"keep", "1,-1", "metadata keep"},
        {"keep", "1,", "metadata keep"},
        {"keep", "", "metadata keep"},
        {"keep", "1;2", "metadata keep"},
        {"keep", "99999999999999999999", "metadata keep"},
    };
    Input input;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        draw_input(&input, DTYPE_F32, false);
        input_say(&input, rows[i].key, rows[i].value);
        assert_refused(&input, ERR_CHECKPOINT, rows[i].words);
    }
    draw_input(&input, DTYPE_F32, false);
    input.metadata = cJSON_CreateObject();
    cJSON_AddNumberToObject(input.metadata, "keep", 3);
    assert_refused(&input, ERR_CHECKPOINT, "metadata keep: not a string");
}

static void numbers_that_are_not_finite_should_end_the_replay(void **state) {
    (void)state;
    Input input;
    draw_input(&input, DTYPE_F64, false);
    ((double *)input_find(&input, "grad.4.lm_head.weight")->data)[5] = NAN;
    assert_refused(&input, ERR_DIVERGED, "tensor grad.4.lm_head.weight: element 5 is not finite");
    draw_input(&input, DTYPE_F64, false);
    ((double *)input_find(&input, "grad.4.lm_head.weight")->data)[5] = 1e300; /* too large for float32 */
    assert_refused(&input, ERR_DIVERGED,
                   "tensor grad.4.lm_head.weight: element 5 is not finite in float32");
    draw_input(&input, DTYPE_F64, false);
    ((double *)input_find(&input, "param.lm_head.weight")->data)[5] = INFINITY;
    assert_refused(&input, ERR_CHECKPOINT, "tensor param.lm_head.weight: element 5 is not finite");
}

static void a_weight_that_overflows_should_end_the_replay(void **state) {
    (void)state;
    Config config;
    Input input = {0};
    load_config(&config,
                "{\"optimizer\": {\"name\": \"sgd\", \"lr\": 1, \"momentum\": 0},"
                "\"schedule\": {\"name\": \"constant\"}, \"train\": {\"steps\": 2, \"grad_clip\": 0}}");
    *(float *)input_add(&input, DTYPE_F32, 0, 1, "param.x") = -3e38f;
    *(float *)input_add(&input, DTYPE_F32, 0, 1, "grad.1.x") = 0;
    *(float *)input_add(&input, DTYPE_F32, 0, 1, "grad.2.x") = 3e38f;
    assert_refused_by(&config, &input, ERR_DIVERGED, "step 2: element 0 of x is not finite after it");
    config_free(&config);
}

static void files_that_cannot_be_read_or_written_should_be_refused(void **state) {
    (void)state;
    Config config;
    Input input;
    ReplayReport report;
    Error err;
    char nowhere[128];
    load_config(&config, CONFIG);
    assert_false(replay_file(&config, in_path, out_path, &report, &err));
    assert_int_equal(err.code, ERR_CHECKPOINT);
    draw_input(&input, DTYPE_F32, false);
    input_write(&input);
    input_free(&input);
    snprintf(nowhere, sizeof nowhere, "%s/absent/out", dir);
    assert_false(replay_file(&config, in_path, nowhere, &report, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.text, nowhere));
    config_free(&config);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_paths, remove_dir)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_DIR(replay_should_do_what_training_does_bit_for_bit),
        IN_DIR(every_optimizer_should_be_replayed_as_it_trains),
        IN_DIR(gradients_should_be_left_alone_without_grad_clip),
        IN_DIR(only_the_last_step_should_be_written_unless_asked),
        IN_DIR(roles_should_come_from_metadata_then_name_then_shape),
        IN_DIR(a_recorded_trajectory_should_be_followed),
        IN_DIR(tensors_that_do_not_belong_should_be_refused),
        IN_DIR(missing_tensors_should_be_named),
        IN_DIR(a_number_of_steps_that_is_not_the_configs_should_be_refused),
        IN_DIR(types_and_shapes_that_do_not_fit_should_be_refused),
        IN_DIR(wrong_metadata_should_be_refused),
        IN_DIR(numbers_that_are_not_finite_should_end_the_replay),
        IN_DIR(a_weight_that_overflows_should_end_the_replay),
        IN_DIR(files_that_cannot_be_read_or_written_should_be_refused),
    };
    return cmocka_run_group_tests_name("optim_replay", tests, NULL, NULL);
}
