/* fuzz_model.c: a model folder of Hugging Face's: config.json, then model.safetensors as header and data. Whatever is
 * loaded computes a loss. */
#include "model/gpt2_file.h"
#include "test/fuzz/fuzz.h"

enum { MODEL_MAX_BYTES = 4 << 20 };

static void write_model(Bytes header, Bytes data) {
    uint64_t length = header.size;
    FILE *f = fopen("model.safetensors", "wb");
    FUZZ_CHECK(f && fwrite(&length, sizeof length, 1, f) == 1);
    FUZZ_CHECK(fwrite(header.at, 1, header.size, f) == header.size);
    FUZZ_CHECK(fwrite(data.at, 1, data.size, f) == data.size && fclose(f) == 0);
}

static bool is_small(GPT2Config shape) {
    GPT2 plan;
    size_t param_bytes, act_bytes;
    Error err;
    if (!gpt2_plan(&plan, shape, 1, 1, &param_bytes, &act_bytes, &err)) {
        fuzz_refused(&err);
        return false;
    }
    gpt2_free(&plan);
    return param_bytes + act_bytes < MODEL_MAX_BYTES;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Bytes rest = {(const char *)data, size}, config = fuzz_part(&rest), header = fuzz_part(&rest);
    const int32_t token = 0;
    GPT2Config shape;
    GPT2 model;
    Error err;
    fuzz_write("config.json", config);
    write_model(header, rest);
    if (!gpt2_file_config(&shape, ".", &err)) {
        fuzz_refused(&err);
    } else if (is_small(shape)) {
        FUZZ_CHECK(gpt2_create(&model, shape, 1, 1, &err));
        if (gpt2_file_load(&model, ".", &err)) {
            fuzz_accepted++;
            gpt2_forward(&model, &token, &token, 1, 1, 0);
        } else {
            fuzz_refused(&err);
        }
        gpt2_free(&model);
    }
    return 0;
}
