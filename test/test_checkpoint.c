/* Checkpoints: every bit comes back, damage is seen, nothing half written is ever found. What a whole run
 * makes of them is tested in cli.sh. */
#include "train/checkpoint.h"

#include "core/file.h"
#include "core/rng.h"
#include "model/gpt2_file.h"

#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/tempdir.h"

/* 200 ids leave 56 rows of padding. */
static const GPT2Config SHAPE = {.T = 8, .V = 200, .L = 1, .NH = 2, .C = 16, .bias = true};
static const CheckpointSection KEEP = {.save = true, .keep_last = 2};

/* A model, its optimizer, and a place to save them. */
typedef struct World {
    Config config;
    GPT2 model;
    Optim optim;
    CheckpointWriter writer;
    char run[128];
    int log_fds[CHECKPOINT_LOGS];
} World;

static Error err;

#define MUST(done)                                                                                         \
    do {                                                                                                   \
        if (!(done)) fail_msg("%s", err.text);                                                             \
    } while (0)

static char *in_dir(const char *name) {
    static char paths[4][512];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

static void build(World *w, GPT2Config shape, const char *optimizer) {
    char override[64], *overrides[] = {override};
    FILE *f = fopen(in_dir("config.json"), "w");
    fputs("{\"train\": {\"steps\": 10}}", f);
    fclose(f);
    snprintf(override, sizeof override, "optimizer.name=%s", optimizer);
    *w = (World){0};
    MUST(config_load(&w->config, in_dir("config.json"), overrides, 1, &err));
    MUST(gpt2_create(&w->model, shape, 1, 2, &err));
    MUST(optim_create(&w->optim, &w->config.optimizer, w->model.params, w->model.param_count, 2, &err));
}

static void open_writer(World *w, const char *run) {
    SafeTensors image;
    snprintf(w->run, sizeof w->run, "%s/%s", dir, run);
    mkdir(w->run, 0777);
    for (int i = 0; i < CHECKPOINT_LOGS; i++) w->log_fds[i] = open(in_dir("log"), O_WRONLY | O_CREAT | O_APPEND, 0666);
    MUST(gpt2_file_layout(&image, &w->model, &err));
    MUST(checkpoint_open(&w->writer, w->run, &KEEP, &image, gpt2_file_config_text(&w->model.config),
                         &w->optim, &err));
}

static void tear_down(World *w) {
    checkpoint_close(&w->writer);
    for (int i = 0; i < CHECKPOINT_LOGS; i++)
        if (w->log_fds[i] > 0) close(w->log_fds[i]);
    optim_free(&w->optim);
    gpt2_free(&w->model);
    config_free(&w->config);
}

/* Any finite bits, different ones for each array. */
static void scramble(float *x, size_t count, uint64_t seed) {
    for (size_t i = 0; i < count; i++) {
        uint32_t bits = (uint32_t)rng_bits(seed, 7, i) & ~0x40000000u;
        memcpy(&x[i], &bits, sizeof bits);
    }
}

static void scramble_all(World *w, uint64_t seed) {
    for (int i = 0; i < w->model.param_count; i++)
        scramble(w->model.params[i].w, param_size(&w->model.params[i]), seed++);
    for (int g = 0; g < w->optim.group_count; g++) {
        OptimGroup *group = &w->optim.groups[g];
        group->age = 3 + g + (int)(seed % 7);
        for (int t = 0; t < group->tensor_count; t++)
            for (int s = 0; s < optimizer_slot_count(group->optimizer); s++)
                scramble(group->tensors[t].slot[s], optim_slot_size(group, group->tensors[t].param, s),
                         seed++);
        for (int i = 0; group->optimizer->scalars && group->optimizer->scalars[i]; i++)
            group->scalars[i] = 0.1 + (double)(seed++);
    }
}

static CheckpointState state_at(int64_t step) {
    CheckpointState s = {
        .step = step, .total_steps = 10, .tokens = 1280, .seed = 999999999999999, .cursor = 77};
    s.line = s.log.last = step_record_empty();
    strcpy(s.data, "some data");
    s.reported = step % 2 == 0;
    s.time_s = 0.1 + 0.2;
    s.line_start_s = 1e-7;
    s.line.step = -1;
    s.line.forward_s = 1.0 / 3;
    s.log.last.temperature = INFINITY;
    s.log.metrics_bytes = 123456789012;
    s.log.samples_bytes = 5;
    s.log.best_val_loss = NAN;
    s.log.best_val_step = 4;
    return s;
}

static bool save(World *w, const CheckpointState *state) {
    char *json = config_to_json(&w->config);
    gpt2_file_fill(&w->writer.model, &w->model);
    bool begun = checkpoint_save(&w->writer, state, json, &w->optim, w->log_fds, &err);
    free(json);
    return begun && checkpoint_wait(&w->writer, &err);
}

static char *saved(const World *w, int64_t step, const char *file) {
    static char paths[4][600];
    static int next;
    char *path = paths[next++ % 4];
    snprintf(path, sizeof paths[0], "%s/checkpoints/step_%08d%s%s", w->run, (int)step, *file ? "/" : "",
             file);
    return path;
}

/* All of it, as a program loads it. */
static bool load(World *w, Checkpoint *c, const char *path) {
    SafeTensors file;
    if (!checkpoint_read(c, path, &err)) return false;
    bool ok = checkpoint_open_model(c, w->model.params, w->model.param_count, &file, &err);
    if (ok) {
        ok = gpt2_file_read(&w->model, &file, path, &err) && checkpoint_load_optimizer(c, &w->optim, &err);
        safetensors_close(&file);
    }
    checkpoint_free(c);
    return ok;
}

static void same_state(const World *a, const World *b) {
    for (int i = 0; i < a->model.param_count; i++)
        assert_memory_equal(a->model.params[i].w, b->model.params[i].w,
                            param_size(&a->model.params[i]) * sizeof(float));
    for (int g = 0; g < a->optim.group_count; g++) {
        const OptimGroup *x = &a->optim.groups[g], *y = &b->optim.groups[g];
        assert_int_equal(x->age, y->age);
        assert_memory_equal(x->scalars, y->scalars, sizeof x->scalars);
        for (int t = 0; t < x->tensor_count; t++)
            for (int s = 0; s < optimizer_slot_count(x->optimizer); s++)
                assert_memory_equal(x->tensors[t].slot[s], y->tensors[t].slot[s],
                                    optim_slot_size(x, x->tensors[t].param, s) * sizeof(float));
    }
}

/* ---- what comes back ------------------------------------------------------------------------------ */

static void every_optimizer_should_get_back_every_bit(void **state) {
    (void)state;
    for (const Optimizer *const *o = OPTIMIZERS; *o; o++) {
        World w, fresh;
        Checkpoint c;
        CheckpointState at = state_at(6);
        build(&w, SHAPE, (*o)->name);
        build(&fresh, SHAPE, (*o)->name);
        open_writer(&w, (*o)->name);
        scramble_all(&w, 1);
        scramble_all(&fresh, 1000);
        MUST(save(&w, &at));
        MUST(load(&fresh, &c, saved(&w, 6, "")));
        same_state(&w, &fresh);
        tear_down(&w);
        tear_down(&fresh);
    }
}

static void where_the_run_stood_should_come_back_to_the_bit(void **state) {
    (void)state;
    World w;
    Checkpoint c;
    CheckpointState at = state_at(6);
    build(&w, SHAPE, "sgd");
    open_writer(&w, "stood");
    MUST(save(&w, &at));
    MUST(checkpoint_read(&c, saved(&w, 6, ""), &err));
    for (int i = 0; i < 2; i++) { /* structs with padding: member by member */
        assert_int_equal(c.state.step, at.step);
        assert_int_equal(c.state.total_steps, at.total_steps);
        assert_int_equal(c.state.tokens, at.tokens);
        assert_int_equal(c.state.seed, at.seed);
        assert_int_equal(c.state.cursor, at.cursor);
        assert_string_equal(c.state.data, at.data);
        assert_int_equal(c.state.reported, at.reported);
        assert_true(c.state.time_s == at.time_s && c.state.line_start_s == at.line_start_s);
        assert_int_equal(c.state.line.step, -1);
        assert_true(c.state.line.forward_s == at.line.forward_s && isnan(c.state.line.val_loss));
        assert_true(isinf(c.state.log.last.temperature) && isnan(c.state.log.last.train_loss));
        assert_int_equal(c.state.log.metrics_bytes, at.log.metrics_bytes);
        assert_int_equal(c.state.log.samples_bytes, at.log.samples_bytes);
        assert_int_equal(c.state.log.best_val_step, at.log.best_val_step);
        assert_true(i == 1 ? c.state.log.best_val_loss == 1.0 / 3 : isnan(c.state.log.best_val_loss));
        checkpoint_free(&c);
        at = state_at(7); /* once more: not reported, and with a best loss */
        at.log.best_val_loss = 1.0 / 3;
        if (i > 0) break;
        MUST(save(&w, &at));
        MUST(checkpoint_read(&c, saved(&w, 7, ""), &err));
    }
    tear_down(&w);
}

static void scalars_that_json_has_no_number_for_should_come_back(void **state) {
    (void)state;
    World w, fresh;
    Checkpoint c;
    CheckpointState at = state_at(6);
    build(&w, SHAPE, "softsignum");
    build(&fresh, SHAPE, "softsignum");
    open_writer(&w, "odd_scalars");
    double odd[] = {INFINITY, -INFINITY, 0x1.fffffffffffffp-1022};
    memcpy(w.optim.groups[0].scalars, odd, sizeof odd);
    MUST(save(&w, &at));
    MUST(load(&fresh, &c, saved(&w, 6, "")));
    assert_memory_equal(fresh.optim.groups[0].scalars, odd, sizeof odd);
    tear_down(&w);
    tear_down(&fresh);
}

static void a_checkpoint_should_be_a_model_in_hugging_faces_layout(void **state) {
    (void)state;
    for (int bias = 0; bias < 2; bias++) {
        World w;
        GPT2 again;
        GPT2Config shape = SHAPE, read;
        SafeTensors file;
        CheckpointState at = state_at(6);
        shape.bias = bias;
        build(&w, shape, "sgd");
        open_writer(&w, bias ? "hf" : "hf_without_bias");
        scramble_all(&w, 5);
        MUST(save(&w, &at));
        MUST(gpt2_file_config(&read, saved(&w, 6, ""), &err));
        assert_memory_equal(&read, &shape, sizeof read);
        MUST(gpt2_create(&again, read, 1, 1, &err) && gpt2_file_load(&again, saved(&w, 6, ""), &err));
        size_t ids = (size_t)(SHAPE.V * SHAPE.C) * sizeof(float);
        assert_memory_equal(again.w.wte, w.model.w.wte, ids);
        assert_memory_equal(again.w.layers[0].qkvw, w.model.w.layers[0].qkvw, 3 * 16 * 16 * sizeof(float));
        gpt2_free(&again);

        MUST(safetensors_open(&file, saved(&w, 6, "model.safetensors"), &err));
        assert_int_equal(file.tensor_count, 16);
        assert_string_equal(safetensors_metadata(&file, "format"), "pt");
        const SafeTensor *fc = safetensors_find(&file, "transformer.h.0.mlp.c_fc.weight");
        const SafeTensor *b = safetensors_find(&file, "transformer.h.0.attn.c_attn.bias");
        assert_non_null(fc);
        assert_non_null(b);
        assert_true(fc->dims == 2 && fc->shape[0] == 16 && fc->shape[1] == 64);
        assert_true(b->dims == 1 && b->shape[0] == 48);
        if (!bias) assert_true(safetensor_value(b, 47) == 0);
        assert_null(safetensors_find(&file, "lm_head.weight")); /* it is wte */
        safetensors_close(&file);
        tear_down(&w);
    }
}

/* From 2 MB on memory lies on pages, and files are written past the page cache. */
static void large_files_should_be_whole_too(void **state) {
    (void)state;
    World w, fresh;
    Checkpoint c;
    CheckpointState at = state_at(6);
    GPT2Config shape = SHAPE;
    shape.V = 40001;
    build(&w, shape, "adamw");
    build(&fresh, shape, "adamw");
    open_writer(&w, "large_files");
    assert_true(w.writer.model.size > 2 << 20 && w.writer.model.size % 4096 != 0);
    scramble_all(&w, 1);
    MUST(save(&w, &at));
    MUST(load(&fresh, &c, saved(&w, 6, "")));
    same_state(&w, &fresh);
    tear_down(&w);
    tear_down(&fresh);
}

static void a_branch_should_take_state_and_age_of_methods_that_keep_the_same(void **state) {
    (void)state;
    World adamw, soft, lion;
    Checkpoint c;
    CheckpointState at = state_at(6);
    char taken[256];
    build(&adamw, SHAPE, "adamw");
    build(&soft, SHAPE, "soft_adam");
    build(&lion, SHAPE, "lion");
    open_writer(&adamw, "trunk");
    scramble_all(&adamw, 1);
    MUST(save(&adamw, &at));
    MUST(checkpoint_read(&c, saved(&adamw, 6, ""), &err));
    MUST(checkpoint_branch_optimizer(&c, &soft.optim, taken, sizeof taken, &err));
    assert_string_equal(taken, "soft_adam goes on with its state");
    const OptimGroup *from = adamw.optim.groups, *to = soft.optim.groups;
    assert_int_equal(to->age, from->age);
    assert_true(to->scalars[0] == 0);
    for (int t = 0; t < from->tensor_count; t++)
        for (int s = 0; s < 2; s++)
            assert_memory_equal(from->tensors[t].slot[s], to->tensors[t].slot[s],
                                param_size(from->tensors[t].param) * sizeof(float));
    MUST(checkpoint_branch_optimizer(&c, &lion.optim, taken, sizeof taken, &err));
    assert_string_equal(taken, "lion begins with none");
    assert_int_equal(lion.optim.groups[0].age, 0);
    checkpoint_free(&c);
    tear_down(&adamw);
    tear_down(&soft);
    tear_down(&lion);
}

/* ---- what is not saved ---------------------------------------------------------------------------- */

static void weights_that_are_not_finite_should_not_be_saved(void **state) {
    (void)state;
    const float bad[] = {NAN, INFINITY, -INFINITY};
    World w;
    CheckpointState at = state_at(6);
    build(&w, SHAPE, "adamw");
    open_writer(&w, "infinite");
    for (int i = 0; i < 3; i++) {
        float *x = &w.model.w.lnfb[15];
        *x = bad[i];
        assert_false(save(&w, &at));
        assert_int_equal(err.code, ERR_DIVERGED);
        assert_non_null(strstr(err.text, "step 6: transformer.ln_f.bias"));
        assert_int_not_equal(access(saved(&w, 6, ""), F_OK), 0);
        *x = 0;
    }
    MUST(save(&w, &at));
    tear_down(&w);
}

static void a_failing_save_should_leave_the_one_before(void **state) {
    (void)state;
    World w;
    Checkpoint c;
    CheckpointState at = state_at(6), next = state_at(7);
    char there[600], away[600];
    build(&w, SHAPE, "adamw");
    open_writer(&w, "failing");
    MUST(save(&w, &at));
    assert_int_equal(w.writer.saved_step, 6);
    snprintf(there, sizeof there, "%s/checkpoints", w.run);
    snprintf(away, sizeof away, "%s/away", w.run);
    assert_int_equal(rename(there, away), 0);
    assert_false(save(&w, &next));
    assert_int_equal(err.code, ERR_IO);
    assert_int_equal(w.writer.saved_step, 6);
    assert_int_equal(rename(away, there), 0);
    MUST(load(&w, &c, saved(&w, 6, "")));
    MUST(save(&w, &next));
    assert_int_equal(w.writer.saved_step, 7);
    tear_down(&w);
}

static void what_a_killed_process_left_should_be_gone(void **state) {
    (void)state;
    World w;
    CheckpointState at = state_at(6);
    build(&w, SHAPE, "sgd");
    open_writer(&w, "killed");
    MUST(save(&w, &at));
    checkpoint_close(&w.writer);
    char half[600];
    snprintf(half, sizeof half, "%s.tmp", saved(&w, 8, ""));
    assert_int_equal(rename(saved(&w, 6, ""), half), 0);
    open_writer(&w, "killed");
    assert_int_not_equal(access(half, F_OK), 0);
    tear_down(&w);
}

static void only_exact_names_should_be_found(void **state) {
    (void)state;
    const char *names[] = {"step_00000003",     "step_12345678901", "step_00000020",  "step_3",
                           "step_000000004",    "step_00000005 ",   "step_-0000001",  "Step_00000001",
                           "step_00000009.tmp", "step_0x000001",    "step_00000007x", "step_+0000007"};
    char path[600];
    int count;
    mkdir(in_dir("names"), 0777);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", in_dir("names"), names[i]);
        assert_int_equal(mkdir(path, 0777), 0);
    }
    int64_t *steps = checkpoint_list(in_dir("names"), &count, &err);
    assert_int_equal(count, 3);
    assert_true(steps[0] == 12345678901 && steps[1] == 20 && steps[2] == 3);
    free(steps);
    assert_null(checkpoint_list(in_dir("no_such_folder"), &count, &err));
    assert_int_equal(count, 0);
}

/* ---- damage --------------------------------------------------------------------------------------- */

static char *bytes_of(const char *path, size_t *size) {
    char *bytes = file_read(path, 1 << 24, size, &err);
    if (!bytes) fail_msg("%s", err.text);
    return bytes;
}

static void write_bytes(const char *path, const char *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(bytes, 1, size, f) != size || fclose(f) != 0) fail_msg("%s", path);
}

static void any_flipped_bit_or_lost_byte_should_be_seen(void **state) {
    (void)state;
    const char *names[] = {"manifest.json", "model.safetensors", "optimizer.safetensors"};
    World w, fresh;
    Checkpoint c;
    CheckpointState at = state_at(6);
    build(&w, SHAPE, "signum");
    build(&fresh, SHAPE, "signum");
    open_writer(&w, "damage");
    scramble_all(&w, 3);
    MUST(save(&w, &at));
    for (int n = 0; n < 3; n++) {
        size_t size;
        char file[600];
        snprintf(file, sizeof file, "%s", saved(&w, 6, names[n]));
        char *bytes = bytes_of(file, &size);
        size_t pace = n == 0 ? 7 : size / 61;
        for (size_t i = 0; i < size; i += pace) {
            bytes[i] = (char)(bytes[i] ^ 1 << i % 8);
            write_bytes(file, bytes, size);
            if (load(&fresh, &c, saved(&w, 6, "")))
                fail_msg("%s: byte %zu changed, and it was read", names[n], i);
            assert_int_equal(err.code, ERR_CHECKPOINT);
            bytes[i] = (char)(bytes[i] ^ 1 << i % 8);
            write_bytes(file, bytes, i);
            if (load(&fresh, &c, saved(&w, 6, "")))
                fail_msg("%s: cut at %zu, and it was read", names[n], i);
            assert_int_equal(err.code, ERR_CHECKPOINT);
        }
        write_bytes(file, bytes, size);
        free(bytes);
    }
    MUST(load(&fresh, &c, saved(&w, 6, "")));
    same_state(&w, &fresh);
    tear_down(&w);
    tear_down(&fresh);
}

/* Replaces text in a manifest and makes its hash fit again, as only somebody who means it would. */
static void forge(const char *manifest, const char *from, const char *to) {
    size_t size;
    char *text = bytes_of(manifest, &size), *at = strstr(text, from), hash[HASH_TEXT_SIZE];
    if (!at) fail_msg("no %s in it", from);
    char *forged = malloc(size + strlen(to) + 1);
    sprintf(forged, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    char *rest = strchr(forged, '\n') + 1;
    hash_bytes(rest, strlen(rest), hash);
    memcpy(strstr(forged, ": \"") + 3, hash, 32);
    write_bytes(manifest, forged, strlen(forged));
    free(forged);
    free(text);
}

static void a_forged_manifest_should_be_refused(void **state) {
    (void)state;
    const char *forgeries[][2] = {
        {"\"format\": 1", "\"format\": 2"},
        {"\"step\": 6", "\"step\": 11"},
        {"\"step\": 6", "\"step\": -6"},
        {"\"step\": 6", "\"step\": \"6\""},
        {"\"data_cursor\": 77", "\"data_cursor\": -1"},
        {"\"data_cursor\": 77", "\"data_cursor\": 1e300"},
        {"\"metrics_bytes\"", "\"metrics\""},
        {"\"data\": \"some data\"", "\"data\": \"some data that is longer than any hash\""},
        {"\"age\": 3", "\"age\": -3"},
        {"\"name\": \"adamw\",\n\t\t\t\"roles\"", "\"name\": \"lion\",\n\t\t\t\"roles\""},
        {"\"optimizer\": [{", "\"optimizer\": [{}, {"},
        {"\"bytes\"", "\"bites\""},
        {"\"time_s\": ", "\"time_s\": -"},
        {"\"next_line\": {", "\"next_line\": [], \"x\": {"}};
    World w;
    Checkpoint c;
    CheckpointState at = state_at(6);
    size_t size;
    build(&w, SHAPE, "adamw");
    open_writer(&w, "forged");
    w.optim.groups[0].age = 3;
    MUST(save(&w, &at));
    char *genuine = bytes_of(saved(&w, 6, "manifest.json"), &size);
    for (size_t i = 0; i < sizeof forgeries / sizeof *forgeries; i++) {
        forge(saved(&w, 6, "manifest.json"), forgeries[i][0], forgeries[i][1]);
        if (load(&w, &c, saved(&w, 6, ""))) fail_msg("%s was accepted", forgeries[i][1]);
        assert_int_equal(err.code, ERR_CHECKPOINT);
        write_bytes(saved(&w, 6, "manifest.json"), genuine, size);
    }
    MUST(load(&w, &c, saved(&w, 6, "")));
    free(genuine);
    tear_down(&w);
}

static void a_file_too_large_for_the_model_should_not_be_read(void **state) {
    (void)state;
    World w;
    Checkpoint c;
    CheckpointState at = state_at(6);
    char bytes[64];
    build(&w, SHAPE, "adamw");
    open_writer(&w, "large");
    MUST(save(&w, &at));
    snprintf(bytes, sizeof bytes, "\"bytes\": %zu", w.writer.model.size);
    assert_int_equal(truncate(saved(&w, 6, "model.safetensors"), (off_t)1 << 40), 0);
    forge(saved(&w, 6, "manifest.json"), bytes, "\"bytes\": 1099511627776");
    assert_false(load(&w, &c, saved(&w, 6, "")));
    assert_int_equal(err.code, ERR_CHECKPOINT);
    assert_non_null(strstr(err.text, "too large"));
    tear_down(&w);
}

static void state_of_another_optimizer_or_shape_should_be_refused(void **state) {
    (void)state;
    World w, other;
    Checkpoint c;
    CheckpointState at = state_at(6);
    GPT2Config wide = SHAPE;
    wide.C = 32;
    build(&w, SHAPE, "signum");
    open_writer(&w, "mine");
    MUST(save(&w, &at));
    build(&other, SHAPE, "lion");
    assert_false(load(&other, &c, saved(&w, 6, "")));
    assert_non_null(strstr(err.text, "of another optimizer"));
    tear_down(&other);
    build(&other, wide, "signum");
    assert_false(load(&other, &c, saved(&w, 6, "")));
    assert_int_equal(err.code, ERR_CHECKPOINT);
    tear_down(&other);
    tear_down(&w);
}

/* ---- the config ----------------------------------------------------------------------------------- */

static void settings_that_change_nothing_may_change(void **state) {
    (void)state;
    World w;
    Checkpoint c;
    CheckpointState at = state_at(6);
    build(&w, SHAPE, "adamw");
    open_writer(&w, "settings");
    MUST(save(&w, &at));
    MUST(checkpoint_read(&c, saved(&w, 6, ""), &err));
    w.config.train.threads = 7;
    w.config.log.every = 3;
    w.config.checkpoint.keep_last = 9;
    strcpy(w.config.data.dir, "elsewhere");
    char *json = config_to_json(&w.config);
    MUST(checkpoint_check_config(&c, json, &err));
    free(json);
    w.config.train.grad_clip = 2;
    w.config.eval.tokens = 5;
    json = config_to_json(&w.config);
    assert_false(checkpoint_check_config(&c, json, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_non_null(strstr(err.text, "train.grad_clip 1, now 2"));
    assert_non_null(strstr(err.text, "eval.tokens 32768, now 5"));
    assert_null(strstr(err.text, "threads"));
    free(json);
    checkpoint_free(&c);
    tear_down(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_optimizer_should_get_back_every_bit),
        cmocka_unit_test(where_the_run_stood_should_come_back_to_the_bit),
        cmocka_unit_test(scalars_that_json_has_no_number_for_should_come_back),
        cmocka_unit_test(a_checkpoint_should_be_a_model_in_hugging_faces_layout),
        cmocka_unit_test(large_files_should_be_whole_too),
        cmocka_unit_test(a_branch_should_take_state_and_age_of_methods_that_keep_the_same),
        cmocka_unit_test(weights_that_are_not_finite_should_not_be_saved),
        cmocka_unit_test(a_failing_save_should_leave_the_one_before),
        cmocka_unit_test(what_a_killed_process_left_should_be_gone),
        cmocka_unit_test(only_exact_names_should_be_found),
        cmocka_unit_test(any_flipped_bit_or_lost_byte_should_be_seen),
        cmocka_unit_test(a_forged_manifest_should_be_refused),
        cmocka_unit_test(a_file_too_large_for_the_model_should_not_be_read),
        cmocka_unit_test(state_of_another_optimizer_or_shape_should_be_refused),
        cmocka_unit_test(settings_that_change_nothing_may_change),
    };
    return cmocka_run_group_tests_name("checkpoint", tests, make_dir, remove_dir);
}
