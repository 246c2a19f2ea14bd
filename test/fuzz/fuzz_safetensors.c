/* fuzz_safetensors.c: a tensor file as it is, or, where the input begins with '{', a header and its data, of which the
 * length comes from here. Every element can be read, and what is accepted is the same when it is written again. */
#include "core/json.h"
#include "core/safetensors.h"
#include "test/fuzz/fuzz.h"

static void write_input(Bytes input) {
    uint64_t length;
    FILE *f = fopen("a.safetensors", "wb");
    FUZZ_CHECK(f);
    if (input.size && *input.at == '{') {
        Bytes header = fuzz_part(&input);
        length = header.size;
        fwrite(&length, sizeof length, 1, f);
        fwrite(header.at, 1, header.size, f);
    }
    fwrite(input.at, 1, input.size, f);
    FUZZ_CHECK(fclose(f) == 0);
}

static double sum_of(const SafeTensor *t) {
    size_t count = 1;
    double sum = 0;
    for (int i = 0; i < t->dims; i++) FUZZ_CHECK(!__builtin_mul_overflow(count, t->shape[i], &count));
    FUZZ_CHECK(count == t->count);
    for (size_t i = 0; i < t->count; i++) sum += safetensor_value(t, i);
    return sum == sum ? sum : 0;
}

static void check_same(const SafeTensors *a, const SafeTensors *b) {
    FUZZ_CHECK(a->tensor_count == b->tensor_count);
    for (const SafeTensor *t = a->tensors; t < a->tensors + a->tensor_count; t++) {
        const SafeTensor *u = safetensors_find(b, t->name);
        FUZZ_CHECK(u && u->dtype == t->dtype && u->dims == t->dims && u->count == t->count);
        FUZZ_CHECK(memcmp(u->shape, t->shape, sizeof t->shape) == 0 && sum_of(t) == sum_of(u));
    }
}

static void check_reads_back(const SafeTensors *file) {
    SafeTensors again;
    Error err;
    FUZZ_CHECK(safetensors_write("b.safetensors", file->tensors, file->tensor_count, NULL, &err));
    FUZZ_CHECK(safetensors_open(&again, "b.safetensors", &err));
    check_same(file, &again);
    safetensors_close(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    SafeTensors file;
    Error err;
    write_input((Bytes){(const char *)data, size});
    if (!safetensors_open(&file, "a.safetensors", &err)) {
        fuzz_refused(&err);
        return 0;
    }
    fuzz_accepted++;
    safetensors_metadata(&file, "format");
    check_reads_back(&file);
    safetensors_close(&file);
    return 0;
}
