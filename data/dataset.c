/* dataset.c: see dataset.h. */
#include "data/dataset.h"
#include "core/file.h"

#include <cjson/cJSON.h>
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define INFO_MAX_BYTES ((size_t)64 << 20)

/* The numbers of dataset.json: name, member, smallest value. */
static const struct {
    const char *name;
    size_t offset;
    double minimum;
} NUMBERS[] = {
    {"vocab_size", offsetof(DatasetInfo, vocab_size), 1},
    {"end_of_text", offsetof(DatasetInfo, end_of_text), -1},
    {"train_tokens", offsetof(DatasetInfo, train_tokens), 0},
    {"val_tokens", offsetof(DatasetInfo, val_tokens), 0},
    {"train_documents", offsetof(DatasetInfo, train_documents), 0},
    {"val_documents", offsetof(DatasetInfo, val_documents), 0},
    {"bytes", offsetof(DatasetInfo, bytes), 0},
};
#define NUMBER_COUNT (sizeof NUMBERS / sizeof NUMBERS[0])

static int64_t *member(const DatasetInfo *info, size_t i) {
    return (int64_t *)((char *)info + NUMBERS[i].offset);
}

static bool info_parse(const cJSON *json, const char *path, DatasetInfo *info, Error *err) {
    for (size_t i = 0; i < NUMBER_COUNT; i++) {
        const cJSON *item = cJSON_GetObjectItemCaseSensitive(json, NUMBERS[i].name);
        double value = cJSON_IsNumber(item) ? item->valuedouble : NAN;
        if (!(value >= NUMBERS[i].minimum && value <= 0x1p53 && value == floor(value)))
            return error_set(err, ERR_DATA, "%s: \"%s\" must be a whole number of at least %g", path,
                             NUMBERS[i].name, NUMBERS[i].minimum);
        *member(info, i) = (int64_t)value;
    }
    if (info->vocab_size > DATASET_VOCAB_LIMIT)
        return error_set(err, ERR_DATA, "%s: vocab_size %jd is more than %d, the most that shards hold",
                         path, (intmax_t)info->vocab_size, DATASET_VOCAB_LIMIT);
    if (info->end_of_text >= info->vocab_size)
        return error_set(err, ERR_DATA, "%s: end_of_text %jd must be below vocab_size %jd", path,
                         (intmax_t)info->end_of_text, (intmax_t)info->vocab_size);
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(json, "tokenizer"));
    snprintf(info->tokenizer, sizeof info->tokenizer, "%s", name ? name : "");
    return true;
}

bool dataset_info(const char *dir, DatasetInfo *info, Error *err) {
    char path[PATH_MAX];
    size_t length;
    *info = (DatasetInfo){0};
    if (snprintf(path, sizeof path, "%s/dataset.json", dir) >= (int)sizeof path)
        return error_set(err, ERR_DATA, "%.80s...: name too long", dir);
    if (access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR))
        return error_set(err, ERR_DATA,
                         "%s: not prepared; type: make quickstart, or ./prepare FILE... --out %s", dir,
                         dir);
    char *text = file_read(path, INFO_MAX_BYTES, &length, err);
    if (text == NULL) return false;
    errno = 0;
    cJSON *json = cJSON_ParseWithLengthOpts(text, length + 1, NULL, true);
    bool out_of_memory = json == NULL && errno == ENOMEM;
    free(text);
    if (out_of_memory) return error_set(err, ERR_IO, "%s: out of memory", path);
    bool done = cJSON_IsObject(json)
                    ? info_parse(json, path, info, err)
                    : error_set(err, ERR_DATA, "%s: not a JSON object; run prepare again", path);
    cJSON_Delete(json);
    return done;
}

/* NULL when memory runs out. */
static char *info_print(const DatasetInfo *info, char *const *sources, size_t source_count) {
    cJSON *json = cJSON_CreateObject(), *list = NULL;
    bool whole = cJSON_AddStringToObject(json, "tokenizer", info->tokenizer) != NULL;
    for (size_t i = 0; i < NUMBER_COUNT; i++)
        whole = cJSON_AddNumberToObject(json, NUMBERS[i].name, (double)*member(info, i)) && whole;
    whole = whole && (list = cJSON_AddArrayToObject(json, "sources"));
    for (size_t i = 0; whole && i < source_count; i++)
        whole = cJSON_AddItemToArray(list, cJSON_CreateString(sources[i]));
    char *text = whole ? cJSON_Print(json) : NULL;
    cJSON_Delete(json);
    return text;
}

bool dataset_info_write(const char *dir, const DatasetInfo *info, char *const *sources, size_t source_count,
                        Error *err) {
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/dataset.json", dir) >= (int)sizeof path)
        return error_set(err, ERR_IO, "%.80s...: name too long", dir);
    char *text = info_print(info, sources, source_count);
    if (text == NULL) return error_set(err, ERR_IO, "%s: out of memory", path);
    FILE *f = file_create(path, err);
    if (f) fprintf(f, "%s\n", text);
    free(text);
    return f && file_close(f, path, err);
}

/* --- shards --- */

static bool shard_path(const ShardWriter *w, int shard, char path[PATH_MAX]) {
    return snprintf(path, PATH_MAX, "%s/%s_%06d.bin", w->dir, w->split, shard) < PATH_MAX;
}

static bool write_header(FILE *f, int64_t tokens) {
    int32_t header[SHARD_HEADER_INTS] = {SHARD_MAGIC, SHARD_VERSION, (int32_t)tokens};
    return fwrite(header, sizeof header, 1, f) == 1;
}

bool shards_open(ShardWriter *w, const char *dir, const char *split, int64_t shard_tokens, Error *err) {
    char path[PATH_MAX];
    *w = (ShardWriter){.dir = dir, .split = split, .shard_tokens = shard_tokens};
    if (shard_tokens < 1 || shard_tokens > INT32_MAX) /* the header's count is an int32 */
        return error_set(err, ERR_CONFIG, "tokens a shard: %jd is not in [1,%d]", (intmax_t)shard_tokens,
                         INT32_MAX);
    if (!shard_path(w, 0, path)) return error_set(err, ERR_IO, "%.80s...: name too long", dir);
    return true;
}

static bool close_shard(ShardWriter *w, Error *err) {
    char path[PATH_MAX];
    FILE *f = w->file;
    shard_path(w, w->shard_count - 1, path);
    w->file = NULL;
    if (fseek(f, 0, SEEK_SET) == 0 && write_header(f, w->file_tokens)) return file_close(f, path, err);
    error_set(err, ERR_IO, "%s.tmp: cannot be written: %s", path, strerror(errno));
    file_discard(f, path);
    return false;
}

static bool next_shard(ShardWriter *w, Error *err) {
    char path[PATH_MAX];
    if (w->file && !close_shard(w, err)) return false;
    shard_path(w, w->shard_count, path);
    w->file = file_create(path, err);
    if (w->file == NULL) return false;
    w->shard_count++;
    w->file_tokens = 0;
    return write_header(w->file, 0) ||
           error_set(err, ERR_IO, "%s.tmp: cannot be written: %s", path, strerror(errno));
}

bool shards_write(ShardWriter *w, const uint16_t *ids, size_t count, Error *err) {
    while (count > 0) {
        if ((w->file == NULL || w->file_tokens == w->shard_tokens) && !next_shard(w, err)) return false;
        size_t room = (size_t)(w->shard_tokens - w->file_tokens), n = count < room ? count : room;
        if (fwrite(ids, sizeof *ids, n, w->file) != n)
            return error_set(err, ERR_IO, "%s/%s_%06d.bin.tmp: cannot be written: %s", w->dir, w->split,
                             w->shard_count - 1, strerror(errno));
        w->file_tokens += (int64_t)n;
        w->token_count += (int64_t)n;
        ids += n;
        count -= n;
    }
    return true;
}

bool shards_close(ShardWriter *w, Error *err) {
    return w->file == NULL || close_shard(w, err);
}

/* The number of one of this split's shards, final or temporary, by its file name; -1 for any other name. */
static int shard_number(const ShardWriter *w, const char *name) {
    char expected[NAME_MAX + 1];
    size_t prefix = strlen(w->split);
    int number;
    if (strncmp(name, w->split, prefix) != 0 || sscanf(name + prefix, "_%d.bin", &number) != 1) return -1;
    for (int temporary = 0; temporary <= 1; temporary++) {
        snprintf(expected, sizeof expected, "%s_%06d.bin%s", w->split, number, temporary ? ".tmp" : "");
        if (strcmp(name, expected) == 0) return number;
    }
    return -1;
}

/* Shards of an earlier, larger preparation: the loader reads whatever it finds. */
static bool remove_older(const ShardWriter *w, Error *err) {
    DIR *dir = opendir(w->dir);
    bool done = true;
    if (dir == NULL) return error_errno(err, w->dir, "be listed");
    for (const struct dirent *entry; done && (entry = readdir(dir));)
        if (shard_number(w, entry->d_name) >= w->shard_count && unlinkat(dirfd(dir), entry->d_name, 0) != 0)
            done = error_set(err, ERR_IO, "%s/%s: an older shard that cannot be removed: %s", w->dir,
                             entry->d_name, strerror(errno));
    closedir(dir);
    return done;
}

bool shards_publish(ShardWriter *w, Error *err) {
    char path[PATH_MAX];
    for (int i = 0; i < w->shard_count; i++) {
        shard_path(w, i, path);
        if (!file_rename(path, err)) return false;
    }
    return remove_older(w, err);
}

void shards_discard(ShardWriter *w) {
    char path[PATH_MAX];
    if (w->file) fclose(w->file);
    w->file = NULL;
    for (int i = 0; i < w->shard_count; i++) {
        shard_path(w, i, path);
        file_discard(NULL, path);
    }
}
