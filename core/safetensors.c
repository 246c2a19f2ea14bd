/* safetensors.c: see safetensors.h. */
#include "core/safetensors.h"

#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HEADER_LIMIT ((uint64_t)100 << 20) /* as the reference implementation */

static const struct {
    const char *name;
    size_t size;
} DTYPES[] = {[DTYPE_F32] = {"F32", 4},   [DTYPE_F64] = {"F64", 8},  [DTYPE_F16] = {"F16", 2},
              [DTYPE_BF16] = {"BF16", 2}, [DTYPE_I32] = {"I32", 4},  [DTYPE_I64] = {"I64", 8},
              [DTYPE_U8] = {"U8", 1},     [DTYPE_BOOL] = {"BOOL", 1}};

static unsigned char *read_file(const char *path, size_t *size, Error *err) {
    struct stat info;
    unsigned char *bytes = NULL;
    FILE *f = fopen(path, "rb");
    if (f == NULL || fstat(fileno(f), &info) != 0) {
        error_set(err, errno == ENOMEM ? ERR_IO : ERR_CHECKPOINT, "%s: %s", path, strerror(errno));
    } else if (!S_ISREG(info.st_mode)) {
        error_set(err, ERR_CHECKPOINT, "%s: not a regular file", path);
    } else if ((bytes = memory_alloc((size_t)info.st_size + 1, 1, path, err)) != NULL) {
        *size = fread(bytes, 1, (size_t)info.st_size, f);
        if (*size != (size_t)info.st_size) {
            error_set(err, ERR_IO, "%s: read %zu of %lld bytes", path, *size, (long long)info.st_size);
            memory_free(bytes);
            bytes = NULL;
        }
    }
    if (f) fclose(f);
    return bytes;
}

/* A whole number in [0, 2^53) from JSON. */
static bool whole(const cJSON *item, size_t *out) {
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= 0 && item->valuedouble < 0x1p53)) return false;
    *out = (size_t)item->valuedouble;
    return (double)*out == item->valuedouble;
}

static int by_name(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* An object whose keys are all different? */
static bool is_plain_object(const cJSON *json) {
    if (!cJSON_IsObject(json)) return false;
    int count = cJSON_GetArraySize(json);
    char **names = malloc((size_t)count * sizeof *names + 1);
    bool plain = names != NULL;
    int n = 0;
    const cJSON *item;
    if (names) cJSON_ArrayForEach(item, json) names[n++] = item->string;
    if (names) qsort(names, (size_t)n, sizeof *names, by_name);
    for (int i = 1; i < n && plain; i++) plain = strcmp(names[i - 1], names[i]) != 0;
    free(names);
    return plain;
}

/* One entry of the header; begin and end are byte offsets into the data. */
static bool parse_tensor(SafeTensor *t, const cJSON *entry, size_t *begin, size_t *end) {
    const cJSON *dtype = cJSON_GetObjectItemCaseSensitive(entry, "dtype");
    const cJSON *shape = cJSON_GetObjectItemCaseSensitive(entry, "shape");
    const cJSON *offsets = cJSON_GetObjectItemCaseSensitive(entry, "data_offsets"), *dim;
    *t = (SafeTensor){.name = entry->string, .count = 1};
    if (!is_plain_object(entry) || !cJSON_IsString(dtype) || !cJSON_IsArray(shape) ||
        !cJSON_IsArray(offsets) || cJSON_GetArraySize(offsets) != 2 ||
        cJSON_GetArraySize(shape) > SAFETENSORS_MAX_DIMS)
        return false;
    int known = sizeof DTYPES / sizeof *DTYPES, type = 0;
    while (type < known && strcmp(DTYPES[type].name, dtype->valuestring) != 0) type++;
    if (type == known) return false;
    t->dtype = (Dtype)type;
    cJSON_ArrayForEach(dim, shape) {
        size_t n;
        if (!whole(dim, &n) || __builtin_mul_overflow(t->count, n, &t->count)) return false;
        t->shape[t->dims++] = (int64_t)n;
    }
    size_t bytes;
    return whole(cJSON_GetArrayItem(offsets, 0), begin) && whole(cJSON_GetArrayItem(offsets, 1), end) &&
           !__builtin_mul_overflow(t->count, DTYPES[type].size, &bytes) && *end >= *begin &&
           *end - *begin == bytes;
}

static int by_data(const void *a, const void *b) {
    const SafeTensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return (x->count > 0) - (y->count > 0); /* empty tensors first */
}

static bool parse(SafeTensors *file, const char *path, Error *err) {
    const size_t size = file->size;
    uint64_t length = 0;
    for (int i = 7; i >= 0 && size >= 8; i--) length = length << 8 | file->bytes[i];
    if (size < 8 || length > HEADER_LIMIT || length > size - 8)
        return error_set(err, ERR_CHECKPOINT, "%s: not a safetensors file, or cut short (%zu bytes)", path,
                         size);
    const unsigned char *data = file->bytes + 8 + length;
    size_t data_size = size - 8 - (size_t)length, covered = 0;

    char *text = memory_alloc((size_t)length + 1, 1, path, err); /* terminated, unlike in the file */
    if (text == NULL) return false;
    memcpy(text, file->bytes + 8, (size_t)length);
    file->header = json_parse(text, (size_t)length, path, ERR_CHECKPOINT, err);
    memory_free(text);
    if (file->header == NULL) return false;
    errno = 0; /* ENOMEM is no fault of the file's */
    if (!is_plain_object(file->header))
        return error_set(err, errno == ENOMEM ? ERR_IO : ERR_CHECKPOINT,
                         "%s: the header is not an object with one entry a tensor%s", path,
                         errno == ENOMEM ? ", or memory ran out" : "");
    file->tensors =
        memory_alloc((size_t)cJSON_GetArraySize(file->header) + 1, sizeof *file->tensors, path, err);
    if (file->tensors == NULL) return false;

    const cJSON *entry;
    cJSON_ArrayForEach(entry, file->header) {
        if (strcmp(entry->string, "__metadata__") == 0) continue;
        SafeTensor *t = &file->tensors[file->tensor_count];
        size_t begin, end;
        if (!parse_tensor(t, entry, &begin, &end) || end > data_size)
            return error_set(err, errno == ENOMEM ? ERR_IO : ERR_CHECKPOINT,
                             "%s: tensor %s: dtype, shape and data_offsets do not fit each other%s", path,
                             entry->string, errno == ENOMEM ? ", or memory ran out" : "");
        t->data = data + begin;
        file->tensor_count++;
    }
    qsort(file->tensors, (size_t)file->tensor_count, sizeof *file->tensors, by_data);
    for (int i = 0; i < file->tensor_count; i++) {
        const SafeTensor *t = &file->tensors[i];
        if (t->data != data + covered)
            return error_set(err, ERR_CHECKPOINT, "%s: tensor %s overlaps another or leaves a gap", path,
                             t->name);
        covered += t->count * DTYPES[t->dtype].size;
    }
    if (covered != data_size)
        return error_set(err, ERR_CHECKPOINT, "%s: %zu bytes of data, its tensors cover %zu", path,
                         data_size, covered);
    return true;
}

bool safetensors_open(SafeTensors *file, const char *path, Error *err) {
    *file = (SafeTensors){0};
    file->bytes = read_file(path, &file->size, err);
    if (file->bytes && parse(file, path, err)) return true;
    safetensors_close(file);
    return false;
}

void safetensors_close(SafeTensors *file) {
    memory_free(file->tensors);
    cJSON_Delete(file->header);
    memory_free(file->bytes);
    *file = (SafeTensors){0};
}

const SafeTensor *safetensors_find(const SafeTensors *file, const char *name) {
    for (int i = 0; i < file->tensor_count; i++)
        if (strcmp(file->tensors[i].name, name) == 0) return &file->tensors[i];
    return NULL;
}

const char *safetensors_metadata(const SafeTensors *file, const char *key) {
    const cJSON *metadata = cJSON_GetObjectItemCaseSensitive(file->header, "__metadata__");
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(metadata, key));
}

/* IEEE half precision. */
static double half_value(uint16_t bits) {
    int exponent = bits >> 10 & 31, fraction = bits & 1023;
    double size = exponent == 0    ? ldexp(fraction, -24)
                  : exponent == 31 ? (fraction ? NAN : INFINITY)
                                   : ldexp(1024 + fraction, exponent - 25);
    return bits >> 15 ? -size : size;
}

double safetensor_value(const SafeTensor *tensor, size_t i) {
    size_t size = DTYPES[tensor->dtype].size;
    uint64_t bits = 0;
    for (size_t k = size; k-- > 0;) bits = bits << 8 | tensor->data[i * size + k];
    uint32_t bits32 = (uint32_t)(tensor->dtype == DTYPE_BF16 ? bits << 16 : bits);
    float single;
    double full;
    memcpy(&single, &bits32, sizeof single);
    memcpy(&full, &bits, sizeof full);
    switch (tensor->dtype) {
    case DTYPE_F32:
    case DTYPE_BF16: return single;
    case DTYPE_F64: return full;
    case DTYPE_F16: return half_value((uint16_t)bits);
    case DTYPE_I32: return (int32_t)bits32;
    case DTYPE_U8:
    case DTYPE_BOOL: return bits32;
    default: return (double)(int64_t)bits;
    }
}

/* ---- writing -------------------------------------------------------------------------------------- */

/* Visits the tensors as they lie in the file: elements of 8 bytes, then of 4, 2, 1. */
#define EACH_IN_FILE(t, tensors, count)                                                                    \
    for (size_t size = 8; size > 0; size /= 2)                                                             \
        for (const SafeTensor *t = (tensors); t < (tensors) + (count); t++)                                \
            if (DTYPES[t->dtype].size == size)

static bool add_number(cJSON *array, double value) {
    cJSON *number = cJSON_CreateNumber(value);
    if (cJSON_AddItemToArray(array, number)) return true;
    cJSON_Delete(number);
    return false;
}

static bool add_entry(cJSON *header, const SafeTensor *t, size_t begin, size_t end) {
    cJSON *entry = cJSON_AddObjectToObject(header, t->name);
    bool ok = cJSON_AddStringToObject(entry, "dtype", DTYPES[t->dtype].name) != NULL;
    cJSON *shape = cJSON_AddArrayToObject(entry, "shape");
    for (int d = 0; d < t->dims; d++) ok = ok && add_number(shape, (double)t->shape[d]);
    cJSON *offsets = cJSON_AddArrayToObject(entry, "data_offsets");
    return ok && shape && add_number(offsets, (double)begin) && add_number(offsets, (double)end);
}

/* The header as text, malloc'ed; NULL when memory runs out. */
static char *header_text(const SafeTensor *tensors, int count, const cJSON *metadata) {
    cJSON *header = cJSON_CreateObject();
    bool ok = header != NULL;
    size_t end = 0;
    if (metadata) {
        cJSON *copy = cJSON_Duplicate(metadata, true);
        ok = ok && cJSON_AddItemToObject(header, "__metadata__", copy);
        if (!ok) cJSON_Delete(copy);
    }
    EACH_IN_FILE(t, tensors, count) {
        size_t begin = end;
        end += t->count * size;
        ok = ok && add_entry(header, t, begin, end);
    }
    char *text = ok ? cJSON_PrintUnformatted(header) : NULL;
    cJSON_Delete(header);
    return text;
}

/* What stands before the data: the length of the header, the header, blanks that align the data to 8 bytes.
 * malloc'ed; NULL when memory runs out. */
static char *file_head(const SafeTensor *tensors, int count, const cJSON *metadata, size_t *size) {
    char *header = header_text(tensors, count, metadata);
    size_t length = header ? strlen(header) : 0, padded = (length + 7) / 8 * 8;
    char *head = header ? malloc(8 + padded + 1) : NULL;
    for (int i = 0; i < 8 && head; i++) head[i] = (char)((uint64_t)padded >> 8 * i);
    if (head) snprintf(head + 8, padded + 1, "%-*s", (int)padded, header);
    *size = 8 + padded;
    free(header);
    return head;
}

static bool write_parts(FILE *f, const char *head, size_t head_size, const SafeTensor *tensors, int count) {
    bool ok = fwrite(head, 1, head_size, f) == head_size;
    EACH_IN_FILE(t, tensors, count) {
        if (t->count > 0) ok = ok && fwrite(t->data, size, t->count, f) == t->count;
    }
    return ok;
}

static bool write_file(const char *path, const char *head, size_t head_size, const SafeTensor *tensors,
                       int count, Error *err) {
    struct stat info;
    if (stat(path, &info) == 0 && !S_ISREG(info.st_mode)) /* a rename would replace even a device */
        return error_set(err, ERR_IO, "%s: cannot be written: not a regular file", path);
    FILE *f = file_create(path, err);
    if (f == NULL) return false;
    if (write_parts(f, head, head_size, tensors, count)) return file_publish(f, path, err);
    error_errno(err, path, "be written");
    file_discard(f, path);
    return false;
}

bool safetensors_write(const char *path, const SafeTensor *tensors, int count, const cJSON *metadata,
                       Error *err) {
    size_t size;
    char *head = file_head(tensors, count, metadata, &size);
    if (head == NULL) return error_set(err, ERR_IO, "%s: out of memory", path);
    bool ok = size <= HEADER_LIMIT ||
              error_set(err, ERR_IO, "%s: cannot be written: the names of its %d tensors take over 100 MB",
                        path, count);
    ok = ok && write_file(path, head, size, tensors, count, err);
    free(head);
    return ok;
}

bool safetensors_layout(SafeTensors *file, const SafeTensor *tensors, int count, const cJSON *metadata,
                        Error *err) {
    size_t head_size;
    char *head = file_head(tensors, count, metadata, &head_size);
    *file = (SafeTensors){.size = head_size};
    EACH_IN_FILE(t, tensors, count) file->size += t->count * size;
    if (head == NULL) return error_set(err, ERR_IO, "out of memory for %d tensors", count);
    file->bytes = memory_alloc(file->size, 1, "a copy of the tensors", err);
    if (file->bytes) memcpy(file->bytes, head, head_size);
    free(head);
    if (file->bytes && parse(file, "a copy of the tensors", err)) return true;
    safetensors_close(file);
    return false;
}

void *safetensors_room(const SafeTensors *file, const SafeTensor *tensor) {
    return file->bytes + (tensor->data - file->bytes);
}
