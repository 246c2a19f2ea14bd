/* fuzz_checkpoint.c: a checkpoint: manifest.json behind its first line, in which @0, @1 and @2 stand for the sizes of the
 * files; then headers and data of model.safetensors and optimizer.safetensors. Every hash is right (the program is linked
 * with --wrap=hash_bytes): what hostile bytes do is seen here, not what a disk does. */
#include "core/hash.h"
#include "test/fuzz/fuzz.h"
#include "train/checkpoint.h"

#include <math.h>
#include <sys/stat.h>

char *__wrap_hash_bytes(const void *bytes, size_t size, char out[HASH_TEXT_SIZE]);

char *__wrap_hash_bytes(const void *bytes, size_t size, char out[HASH_TEXT_SIZE]) {
    (void)bytes, (void)size;
    memset(out, '0', HASH_TEXT_SIZE - 1);
    out[HASH_TEXT_SIZE - 1] = 0;
    return out;
}

static size_t write_tensors(const char *path, Bytes header, Bytes data) {
    uint64_t length = header.size;
    FILE *f = fopen(path, "wb");
    FUZZ_CHECK(f && fwrite(&length, sizeof length, 1, f) == 1);
    FUZZ_CHECK(fwrite(header.at, 1, header.size, f) == header.size);
    FUZZ_CHECK(fwrite(data.at, 1, data.size, f) == data.size && fclose(f) == 0);
    return sizeof length + header.size + data.size;
}

static void write_manifest(Bytes text, const size_t sizes[3]) {
    char hash[HASH_TEXT_SIZE];
    FILE *f = fopen("step/manifest.json", "wb");
    FUZZ_CHECK(f);
    fprintf(f, "{\t\"xxh3_128\": \"%s\",\n", hash_bytes("", 0, hash));
    for (size_t i = 0; i < text.size; i++) {
        bool size =
            text.at[i] == '@' && i + 1 < text.size && text.at[i + 1] >= '0' && text.at[i + 1] <= '2';
        if (size) fprintf(f, "%zu", sizes[text.at[++i] - '0']);
        else putc(text.at[i], f);
    }
    FUZZ_CHECK(fclose(f) == 0);
}

/* An embedding whose last row is padding, and a vector; two methods, one of them with scalars. */
static float weights[10], gradients[10];
static Param params[] = {{.name = "wte.weight",
                          .role = ROLE_EMBEDDING,
                          .rows = 4,
                          .cols = 2,
                          .split = 1,
                          .w = weights,
                          .g = gradients},
                         {.name = "ln_f.weight",
                          .role = ROLE_VECTOR,
                          .rows = 1,
                          .cols = 2,
                          .split = 1,
                          .w = weights + 8,
                          .g = gradients + 8}};

static void create_optim(Optim *optim) {
    static const char *const names[ROLE_COUNT] = {[ROLE_EMBEDDING] = "prodigy"};
    OptimPlan plan;
    Error err;
    for (int role = 0; role < ROLE_COUNT; role++) {
        const Optimizer *o = optimizer_find(names[role] ? names[role] : "adamw");
        void *hyper = calloc(1, o->hyper_size); /* for as long as the program runs */
        field_defaults(o->fields, hyper);
        plan.role[role].optimizer = o;
        plan.role[role].hyper = hyper;
        plan.role[role].lr = 0.1;
        plan.role[role].weight_decay = 0;
    }
    FUZZ_CHECK(optim_create(optim, &plan, params, 2, 1, &err));
}

static void read_checkpoint(Optim *optim) {
    Checkpoint c;
    SafeTensors model;
    Error err;
    if (!checkpoint_read(&c, "step", &err)) {
        fuzz_refused(&err);
        return;
    }
    const CheckpointState *s = &c.state;
    FUZZ_CHECK(s->step >= 0 && s->step <= s->total_steps && s->cursor >= 0 && s->tokens >= 0);
    FUZZ_CHECK(s->log.metrics_bytes >= 0 && s->log.samples_bytes >= 0 && isfinite(s->time_s));
    checkpoint_is_ours(&c);
    if (!checkpoint_check_config(&c, "{\"train\":{\"seed\":1},\"run\":{\"dir\":\"x\"}}", &err))
        fuzz_refused(&err);
    if (checkpoint_open_model(&c, params, 2, &model, &err)) safetensors_close(&model);
    else fuzz_refused(&err);
    if (checkpoint_load_optimizer(&c, optim, &err)) fuzz_accepted++;
    else fuzz_refused(&err);
    checkpoint_free(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static Optim optim;
    Bytes rest = {(const char *)data, size}, manifest = fuzz_part(&rest), model = fuzz_part(&rest);
    Bytes model_data = fuzz_part(&rest), state = fuzz_part(&rest);
    if (optim.group_count == 0) create_optim(&optim);
    mkdir("step", 0777);
    fuzz_write("step/config.json", (Bytes){"{}", 2});
    write_manifest(manifest, (size_t[]){write_tensors("step/model.safetensors", model, model_data), 2,
                                        write_tensors("step/optimizer.safetensors", state, rest)});
    read_checkpoint(&optim);
    return 0;
}
