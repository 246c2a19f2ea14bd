/* safetensors.h: Hugging Face's tensor files (github.com/huggingface/safetensors): an 8-byte
 * little-endian header length, a JSON header
 * {"name": {"dtype", "shape", "data_offsets"}, "__metadata__": {...}}, then raw data.
 *
 *     SafeTensors file;
 *     if (!safetensors_open(&file, "model.safetensors", &err)) ...
 *     const SafeTensor *wte = safetensors_find(&file, "transformer.wte.weight");
 *     double x = safetensor_value(wte, 5);
 *     safetensors_write("copy.safetensors", file.tensors, file.tensor_count, NULL, &err);
 *     safetensors_close(&file);
 *
 * A file is refused (ERR_CHECKPOINT) unless every tensor's bytes fit its shape and all of them cover the
 * data exactly, without gap or overlap: nothing read from it later can be out of bounds.
 */
#ifndef CORE_SAFETENSORS_H
#define CORE_SAFETENSORS_H

#include "core/error.h"
#include <stddef.h>
#include <stdint.h>

#define SAFETENSORS_MAX_DIMS 8

typedef enum {
    DTYPE_F32, /* named as in the file: "F32" */
    DTYPE_F64,
    DTYPE_F16,
    DTYPE_BF16,
    DTYPE_I32,
    DTYPE_I64,
    DTYPE_U8,
    DTYPE_BOOL
} Dtype;

typedef struct SafeTensor {
    char *name;
    Dtype dtype;
    int dims;
    int64_t shape[SAFETENSORS_MAX_DIMS];
    size_t count;              /* product of shape */
    const unsigned char *data; /* little-endian, row-major, possibly unaligned */
} SafeTensor;

typedef struct SafeTensors {
    SafeTensor *tensors; /* in order of their data */
    int tensor_count;
    struct cJSON *header; /* "__metadata__" is in here */
    unsigned char *bytes; /* the whole file */
    size_t size;          /* of bytes */
} SafeTensors;

bool safetensors_open(SafeTensors *file, const char *path, Error *err);
void safetensors_close(SafeTensors *file);
const SafeTensor *safetensors_find(const SafeTensors *file, const char *name); /* NULL if absent */
const char *safetensors_metadata(const SafeTensors *file, const char *key);    /* NULL if absent */

/* Element i (row-major) of any dtype as a double. */
double safetensor_value(const SafeTensor *tensor, size_t i);

/* Writes a file, whole or not at all: beside `path`, to the disk, then renamed over what was there. All
 * members of the tensors count; names differ. The data lies in the order given, but larger elements first,
 * so that each tensor is aligned. `metadata`: an object of strings, or NULL. */
bool safetensors_write(const char *path, const SafeTensor *tensors, int count, const struct cJSON *metadata,
                       Error *err);

/* A file in memory, for programs that write it themselves: every tensor lies at its place, zero, to be
 * filled through safetensors_room. Free with safetensors_close. */
bool safetensors_layout(SafeTensors *file, const SafeTensor *tensors, int count,
                        const struct cJSON *metadata, Error *err);
void *safetensors_room(const SafeTensors *file, const SafeTensor *tensor);

#endif
