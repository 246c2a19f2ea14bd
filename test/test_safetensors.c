/* test_safetensors.c: values of every type, every way in which a file can be bad, and writing it back. */
#include "core/safetensors.h"

#include "core/json.h"
#include <dirent.h>
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char dir[64], path[128];

static int make_dir(void **state) {
    (void)state;
    strcpy(dir, "/tmp/test_safetensors_XXXXXX");
    if (mkdtemp(dir) == NULL) return -1;
    snprintf(path, sizeof path, "%s/file", dir);
    return 0;
}

static int remove_dir(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

static void write_bytes(const void *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

/* A file whose header length may be a lie. Returns its size. */
static size_t build_as(unsigned char *out, uint64_t length, const char *header, const void *data,
                       size_t data_size) {
    for (int i = 0; i < 8; i++) out[i] = (unsigned char)(length >> 8 * i);
    memcpy(out + 8, header, strlen(header));
    if (data_size) memcpy(out + 8 + strlen(header), data, data_size);
    return 8 + strlen(header) + data_size;
}

static void write_tensors(const char *header, const void *data, size_t data_size) {
    unsigned char bytes[4096];
    write_bytes(bytes, build_as(bytes, strlen(header), header, data, data_size));
}

/* Opens what write_* wrote, which must fail with these words in an error that names the file. */
static void assert_refused(const char *what, const char *words) {
    SafeTensors file;
    Error err = {0};
    if (safetensors_open(&file, path, &err)) fail_msg("accepted: %s", what);
    assert_int_equal(err.code, ERR_CHECKPOINT);
    if (!strstr(err.text, words) || !strstr(err.text, path)) fail_msg("%s: unclear: %s", what, err.text);
    assert_null(file.bytes);
}

/* A header, with 16 bytes of data behind it. */
static void assert_header_refused(const char *header, const char *words) {
    write_tensors(header, "0123456789abcdef", 16);
    assert_refused(header, words);
}

static const SafeTensor *need(const SafeTensors *file, const char *name) {
    const SafeTensor *t = safetensors_find(file, name);
    if (t == NULL) fail_msg("tensor %s is missing", name);
    return t;
}

static void assert_values(const SafeTensor *t, const double *expected, size_t count) {
    assert_int_equal(t->count, count);
    for (size_t i = 0; i < count; i++) {
        double x = safetensor_value(t, i);
        bool same = isnan(expected[i]) ? isnan(x) : x == expected[i] && signbit(x) == signbit(expected[i]);
        if (!same) fail_msg("%s[%zu] is %g, not %g", t->name, i, x, expected[i]);
    }
}

static void every_type_should_give_its_values(void **state) {
    (void)state;
    static const char HEADER[] = "{\"half\":{\"dtype\":\"F16\",\"shape\":[9],\"data_offsets\":[0,18]},"
                                 "\"brain\":{\"dtype\":\"BF16\",\"shape\":[3],\"data_offsets\":[18,24]},"
                                 "\"byte\":{\"dtype\":\"U8\",\"shape\":[3],\"data_offsets\":[24,27]},"
                                 "\"truth\":{\"dtype\":\"BOOL\",\"shape\":[2],\"data_offsets\":[27,29]},"
                                 "\"single\":{\"dtype\":\"F32\",\"shape\":[1,2],\"data_offsets\":[29,37]},"
                                 "\"double\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[37,45]},"
                                 "\"int\":{\"dtype\":\"I32\",\"shape\":[2],\"data_offsets\":[45,53]},"
                                 "\"long\":{\"dtype\":\"I64\",\"shape\":[2,1],\"data_offsets\":[53,69]},"
                                 "\"scalar\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[69,73]},"
                                 "\"empty\":{\"dtype\":\"F32\",\"shape\":[3,0],\"data_offsets\":[18,18]},"
                                 "\"__metadata__\":{\"format\":\"pt\"}}   ";
    static const unsigned char DATA[73] = {0x00, 0x3c, 0x00, 0xc0, 0x01, 0x00, 0xff, 0x7b,
                                           0x00, 0x7c, 0x00, 0xfc, 0x01, 0x7e, 0x00, 0x80,
                                           0x55, 0x35, 0x80, 0x3f, 0x49, 0xc0, 0x80, 0xff, /* BF16 */
                                           0,    7,    255,  0,    1,                      /* U8, BOOL */
                                           0x00, 0x00, 0x80, 0x3f, 0xdb, 0x0f, 0x49, 0xc0, /* F32 */
                                           0x18, 0x2d, 0x44, 0x54, 0xfb, 0x21, 0x09, 0x40, /* F64 */
                                           0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x80, /* I32 */
                                           0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                                           0x00, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, /* I64 */
                                           0x00, 0x00, 0x20, 0x41};
    SafeTensors file;
    Error err;
    write_tensors(HEADER, DATA, sizeof DATA);
    if (!safetensors_open(&file, path, &err)) fail_msg("%s", err.text);
    assert_int_equal(file.tensor_count, 10);
    assert_values(need(&file, "half"),
                  (double[]){1, -2, 0x1p-24, 65504, INFINITY, -INFINITY, NAN, -0.0, 0x1.554p-2}, 9);
    assert_values(need(&file, "brain"), (double[]){1, -3.140625, -INFINITY}, 3);
    assert_values(need(&file, "byte"), (double[]){0, 7, 255}, 3);
    assert_values(need(&file, "truth"), (double[]){0, 1}, 2);
    assert_values(need(&file, "single"), (double[]){1, (double)-3.14159274f}, 2);
    assert_values(need(&file, "double"), (double[]){3.141592653589793}, 1);
    assert_values(need(&file, "int"), (double[]){-1, -2147483648.0}, 2);
    assert_values(need(&file, "long"), (double[]){-2, 4294967296.0}, 2);
    assert_values(need(&file, "scalar"), (double[]){10}, 1);
    assert_values(need(&file, "empty"), NULL, 0);
    assert_int_equal(need(&file, "single")->dims, 2);
    assert_int_equal(need(&file, "single")->shape[1], 2);
    assert_int_equal(need(&file, "scalar")->dims, 0);
    assert_string_equal(safetensors_metadata(&file, "format"), "pt");
    assert_null(safetensors_metadata(&file, "missing"));
    assert_null(safetensors_find(&file, "Single"));
    assert_null(safetensors_find(&file, "__metadata__"));
    safetensors_close(&file);
}

static void a_file_without_tensors_should_open(void **state) {
    (void)state;
    SafeTensors file;
    Error err;
    write_tensors("{}", NULL, 0);
    assert_true(safetensors_open(&file, path, &err));
    assert_int_equal(file.tensor_count, 0);
    assert_null(safetensors_metadata(&file, "format"));
    safetensors_close(&file);
}

#define TENSOR(name, shape, begin, end)                                                                    \
    "\"" name "\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[" begin "," end "]}"

static void a_file_cut_or_grown_anywhere_should_be_refused(void **state) {
    (void)state;
    unsigned char bytes[512];
    const char *header = "{" TENSOR("a", "[2]", "0", "8") "," TENSOR("b", "[1,2]", "8", "16") "}";
    size_t size = build_as(bytes, strlen(header), header, "0123456789abcdefX", 17);
    SafeTensors file;
    Error err;
    write_bytes(bytes, size - 1);
    assert_true(safetensors_open(&file, path, &err));
    safetensors_close(&file);
    for (size_t cut = 0; cut <= size; cut++) {
        if (cut == size - 1) continue;
        write_bytes(bytes, cut);
        assert_refused("cut file", cut < size ? "" : "17 bytes of data, its tensors cover 16");
    }
}

static void damage_in_any_byte_of_the_header_should_harm_nobody(void **state) {
    (void)state;
    unsigned char bytes[512];
    const char *header = "{" TENSOR("a", "[2]", "0", "8") "," TENSOR("b", "[1,2]", "8", "16") "}";
    size_t size = build_as(bytes, strlen(header), header, "0123456789abcdef", 16);
    static const unsigned char BAD[] = {0, '"', '{', ']', '0', '9', '-', 'e', ',', 0x80, 0xff};
    for (size_t i = 0; i < 8 + strlen(header); i++)
        for (size_t k = 0; k < sizeof BAD; k++) {
            unsigned char kept = bytes[i];
            SafeTensors file;
            Error err;
            bytes[i] = BAD[k];
            write_bytes(bytes, size);
            if (safetensors_open(&file, path,
                                 &err)) { /* such as a changed letter of a name: all can be read */
                for (int t = 0; t < file.tensor_count; t++)
                    for (size_t j = 0; j < file.tensors[t].count; j++)
                        safetensor_value(&file.tensors[t], j);
                safetensors_close(&file);
            }
            bytes[i] = kept;
        }
}

static void a_header_length_beyond_the_file_should_be_refused(void **state) {
    (void)state;
    static const uint64_t LENGTHS[] = {
        3,         1000, (uint64_t)100 << 20, ((uint64_t)100 << 20) + 1, UINT64_MAX - 8, UINT64_MAX - 7,
        UINT64_MAX};
    unsigned char bytes[512];
    for (size_t i = 0; i < sizeof LENGTHS / sizeof *LENGTHS; i++) {
        write_bytes(bytes, build_as(bytes, LENGTHS[i], "{}", NULL, 0));
        assert_refused("header length", "not a safetensors file, or cut short");
    }
}

static void tensors_that_do_not_tile_the_data_should_be_refused(void **state) {
    (void)state;
    assert_header_refused("{" TENSOR("a", "[2]", "0", "8") "," TENSOR("b", "[2]", "4", "12") "}",
                          "overlaps");
    assert_header_refused("{" TENSOR("a", "[4]", "0", "16") "," TENSOR("b", "[4]", "0", "16") "}",
                          "overlaps");
    assert_header_refused("{" TENSOR("a", "[1]", "0", "4") "," TENSOR("b", "[2]", "8", "16") "}", "gap");
    assert_header_refused("{" TENSOR("a", "[2]", "8", "16") "}", "gap");
    assert_header_refused("{" TENSOR("a", "[2]", "0", "8") "}", "its tensors cover 8");
    assert_header_refused("{" TENSOR("a", "[4]", "0", "16") "," TENSOR("b", "[0]", "4", "4") "}",
                          "overlaps");
    assert_header_refused("{}", "its tensors cover 0");
}

static void shapes_that_do_not_fit_their_bytes_should_be_refused(void **state) {
    (void)state;
    static const char *const ENTRIES[] = {
        TENSOR("a", "[5]", "0", "16"),
        TENSOR("a", "[3]", "0", "16"),
        TENSOR("a", "[-4]", "0", "16"),
        TENSOR("a", "[-2,-2]", "0", "16"),
        TENSOR("a", "[4.5]", "0", "16"),
        TENSOR("a", "[1e300]", "0", "16"),
        TENSOR("a", "[1e999]", "0", "16"),
        TENSOR("a", "[8589672452,2147549185]", "0", "16"), /* 2^64 + 4: wraps to 4 */
        TENSOR("a", "[4294967296,4294967296,4]", "0", "0"),
        TENSOR("a", "[4294967296,4294967297,4294967296]", "0", "16"),
        TENSOR("a", "[4611686018427387904]", "0", "0"),
        TENSOR("a", "[2147483648,2147483648]", "0", "0"),
        TENSOR("a", "[1,1,1,1,1,1,1,1,4]", "0", "16"), /* nine dimensions */
        TENSOR("a", "[\"4\"]", "0", "16"),
        TENSOR("a", "4", "0", "16"),
        TENSOR("a", "{\"x\":4}", "0", "16"),
        TENSOR("a", "[5]", "0", "20"), /* beyond the data */
        TENSOR("a", "[4]", "16", "0"),
        TENSOR("a", "[4]", "-16", "0"),
        TENSOR("a", "[4]", "9007199254740992", "9007199254741008"),
        TENSOR("a", "[4]", "0.5", "16.5"),
        TENSOR("a", "[4]", "0", "16,16"),
        TENSOR("a", "[4]", "\"0\"", "16"),
        "\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":[16]}",
        "\"a\":{\"dtype\":\"F32\",\"shape\":[4],\"data_offsets\":{\"x\":0,\"y\":16}}",
        "\"a\":{\"dtype\":\"F32\",\"shape\":[4]}",
        "\"a\":{\"dtype\":\"F32\",\"data_offsets\":[0,16]}",
        "\"a\":{\"shape\":[4],\"data_offsets\":[0,16]}",
        "\"a\":{\"dtype\":\"F8_E4M3\",\"shape\":[16],\"data_offsets\":[0,16]}",
        "\"a\":{\"dtype\":\"f32\",\"shape\":[4],\"data_offsets\":[0,16]}",
        "\"a\":{\"dtype\":7,\"shape\":[4],\"data_offsets\":[0,16]}",
        "\"a\":{\"dtype\":\"F32\",\"dtype\":\"I32\",\"shape\":[4],\"data_offsets\":[0,16]}",
        "\"a\":[0,16]",
        "\"a\":null",
        "\"a\":16",
    };
    for (size_t i = 0; i < sizeof ENTRIES / sizeof *ENTRIES; i++) {
        char header[256];
        snprintf(header, sizeof header, "{%s}", ENTRIES[i]);
        assert_header_refused(header, "tensor a: dtype, shape and data_offsets do not fit each other");
    }
}

static void headers_that_are_no_object_of_tensors_should_be_refused(void **state) {
    (void)state;
    assert_header_refused("{" TENSOR("a", "[2]", "0", "8") "," TENSOR("a", "[2]", "8", "16") "}",
                          "one entry a tensor");
    assert_header_refused("[]", "one entry a tensor");
    assert_header_refused("3", "one entry a tensor");
    assert_header_refused("", "JSON");
    assert_header_refused("{", "JSON");
    assert_header_refused("{" TENSOR("a", "[4]", "0", "16") "} x", "behind the end");
    assert_header_refused("{" TENSOR("a\xff", "[4]", "0", "16") "}", "UTF-8");
    assert_header_refused("{" TENSOR("a", "[04]", "0", "16") "}", "not a number");
}

static void what_is_no_file_should_be_refused(void **state) {
    (void)state;
    SafeTensors file;
    Error err;
    snprintf(path, sizeof path, "%s/absent", dir);
    assert_refused("absent file", "No such file");
    assert_false(safetensors_open(&file, dir, &err));
    assert_non_null(strstr(err.text, "not a regular file"));
}

/* ---- writing -------------------------------------------------------------------------------------- */

/* One of each size of element, the smallest first; a scalar, an empty one. */
static const SafeTensor WRITTEN[] = {
    {"byte", DTYPE_U8, 1, {3}, 3, (const unsigned char *)"\0\7\377"},
    {"half \"1\"", DTYPE_F16, 2, {1, 2}, 2, (const unsigned char *)"\0\74\0\300"},
    {"single", DTYPE_F32, 0, {0}, 1, (const unsigned char *)"\0\0\40\101"},
    {"empty", DTYPE_F32, 2, {3, 0}, 0, NULL},
    {"long", DTYPE_I64, 1, {1}, 1, (const unsigned char *)"\376\377\377\377\377\377\377\377"},
    {"brain", DTYPE_BF16, 3, {1, 1, 1}, 1, (const unsigned char *)"\200\77"},
};
enum { WRITTEN_COUNT = sizeof WRITTEN / sizeof *WRITTEN };

static void write_all(const cJSON *metadata) {
    Error err;
    if (!safetensors_write(path, WRITTEN, WRITTEN_COUNT, metadata, &err)) fail_msg("%s", err.text);
}

static void what_was_written_should_be_read(void **state) {
    (void)state;
    SafeTensors file;
    Error err;
    cJSON *metadata = cJSON_CreateObject();
    cJSON_AddStringToObject(metadata, "keep", "1,\"5\"");
    write_all(metadata);
    cJSON_Delete(metadata);
    if (!safetensors_open(&file, path, &err)) fail_msg("%s", err.text);
    assert_int_equal(file.tensor_count, WRITTEN_COUNT);
    assert_string_equal(safetensors_metadata(&file, "keep"), "1,\"5\"");
    for (int i = 0; i < WRITTEN_COUNT; i++) {
        const SafeTensor *wanted = &WRITTEN[i], *t = need(&file, wanted->name);
        double values[3];
        assert_int_equal(t->dtype, wanted->dtype);
        assert_int_equal(t->dims, wanted->dims);
        assert_memory_equal(t->shape, wanted->shape, sizeof t->shape);
        for (size_t k = 0; k < wanted->count; k++) values[k] = safetensor_value(wanted, k);
        assert_values(t, values, wanted->count);
    }
    safetensors_close(&file);
}

static void written_data_should_be_aligned(void **state) {
    (void)state;
    static const size_t sizes[] = {
        [DTYPE_F32] = 4, [DTYPE_F16] = 2, [DTYPE_BF16] = 2, [DTYPE_I64] = 8, [DTYPE_U8] = 1};
    char name[16] = "";
    for (size_t length = 0; length < 8; length++) { /* headers of every length modulo 8 */
        SafeTensors file;
        Error err;
        cJSON *metadata = cJSON_CreateObject();
        cJSON_AddStringToObject(metadata, "x", name);
        write_all(metadata);
        cJSON_Delete(metadata);
        assert_true(safetensors_open(&file, path, &err));
        for (int i = 0; i < file.tensor_count; i++)
            assert_int_equal((size_t)(file.tensors[i].data - file.bytes) % sizes[file.tensors[i].dtype], 0);
        assert_int_equal(file.bytes[0] % 8, 0);
        assert_int_equal(file.bytes[8], '{');
        safetensors_close(&file);
        strcat(name, "x");
    }
}

static void no_tensors_and_no_metadata_should_be_written(void **state) {
    (void)state;
    SafeTensors file;
    Error err;
    assert_true(safetensors_write(path, NULL, 0, NULL, &err));
    assert_true(safetensors_open(&file, path, &err));
    assert_int_equal(file.tensor_count, 0);
    safetensors_close(&file);
}

static void writing_should_replace_what_was_there_and_leave_nothing_beside(void **state) {
    (void)state;
    SafeTensors file;
    Error err;
    int entries = 0;
    write_bytes("old", 3);
    write_all(NULL);
    assert_true(safetensors_open(&file, path, &err));
    safetensors_close(&file);
    DIR *open_dir = opendir(dir);
    assert_non_null(open_dir);
    while (readdir(open_dir)) entries++;
    closedir(open_dir);
    assert_int_equal(entries, 3); /* ".", "..", the file */
}

/* The error names the file; nothing is beside it. */
static void assert_not_written(const char *where, const char *words) {
    Error err = {0};
    char beside[160];
    if (safetensors_write(where, WRITTEN, WRITTEN_COUNT, NULL, &err)) fail_msg("%s was written", where);
    assert_int_equal(err.code, ERR_IO);
    if (!strstr(err.text, words) || !strstr(err.text, where)) fail_msg("unclear: %s", err.text);
    snprintf(beside, sizeof beside, "%s.tmp", where);
    assert_int_not_equal(access(beside, F_OK), 0);
}

static void what_cannot_be_written_should_be_refused(void **state) {
    (void)state;
    char where[128], long_name[300];
    struct stat info;
    snprintf(where, sizeof where, "%s/absent/file", dir);
    assert_not_written(where, "No such file");
    assert_not_written(dir, "not a regular file");
    snprintf(where, sizeof where, "%s/pipe", dir);
    assert_int_equal(mkfifo(where, 0600), 0);
    assert_not_written(where, "not a regular file");
    assert_int_equal(stat(where, &info), 0);
    assert_true(S_ISFIFO(info.st_mode)); /* still */
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    Error err;
    assert_false(safetensors_write(long_name, WRITTEN, WRITTEN_COUNT, NULL, &err));
    assert_non_null(strstr(err.text, strerror(ENAMETOOLONG)));
}

static void a_full_disk_should_leave_the_old_file(void **state) {
    (void)state;
    struct rlimit limit, small = {.rlim_cur = 100};
    char text[4] = "";
    write_bytes("old", 3);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    small.rlim_max = limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    assert_not_written(path, strerror(EFBIG));
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    assert_int_equal(fread(text, 1, sizeof text, f), 3);
    fclose(f);
    assert_memory_equal(text, "old", 3);
}

#define IN_DIR(test) cmocka_unit_test_setup_teardown(test, make_dir, remove_dir)

int main(void) {
    const struct CMUnitTest tests[] = {
        IN_DIR(every_type_should_give_its_values),
        IN_DIR(a_file_without_tensors_should_open),
        IN_DIR(a_file_cut_or_grown_anywhere_should_be_refused),
        IN_DIR(damage_in_any_byte_of_the_header_should_harm_nobody),
        IN_DIR(a_header_length_beyond_the_file_should_be_refused),
        IN_DIR(tensors_that_do_not_tile_the_data_should_be_refused),
        IN_DIR(shapes_that_do_not_fit_their_bytes_should_be_refused),
        IN_DIR(headers_that_are_no_object_of_tensors_should_be_refused),
        IN_DIR(what_is_no_file_should_be_refused),
        IN_DIR(what_was_written_should_be_read),
        IN_DIR(written_data_should_be_aligned),
        IN_DIR(no_tensors_and_no_metadata_should_be_written),
        IN_DIR(writing_should_replace_what_was_there_and_leave_nothing_beside),
        IN_DIR(what_cannot_be_written_should_be_refused),
        IN_DIR(a_full_disk_should_leave_the_old_file),
    };
    return cmocka_run_group_tests_name("safetensors", tests, NULL, NULL);
}
