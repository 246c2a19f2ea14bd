/* checkpoint.c: see checkpoint.h. */
#include "train/checkpoint.h"

#include "core/file.h"
#include "core/json.h"
#include "core/memory.h"
#include "train/run_reader.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <omp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define FORMAT             1
#define MANIFEST           "manifest.json"
#define MANIFEST_MAX_BYTES ((size_t)4 << 20)
#define HEADER_ROOM_BYTES  ((size_t)16 << 20) /* beyond its data, a tensor file is no larger */
#define PATH_SIZE          1400
#define TENSOR_NAME_SIZE   160
#define ATTEMPTS           3

enum { MODEL_FILE, CONFIG_FILE, OPTIM_FILE, FILE_COUNT };
static const char *const FILES[FILE_COUNT] = {"model.safetensors", "config.json", "optimizer.safetensors"};

/* ---- names ---------------------------------------------------------------------------------------- */

static const char *format_name(int64_t step, char name[32]) {
    snprintf(name, 32, "step_%08" PRId64, step);
    return name;
}

char *checkpoint_path(const char *dir, int64_t step, char *out, size_t size) {
    char name[32];
    snprintf(out, size, "%s/%s", dir, format_name(step, name));
    return out;
}

/* The step, if this is exactly the name of a checkpoint with `suffix` behind it; else -1. */
static int64_t parse_name(const char *name, const char *suffix) {
    long long step;
    char exact[32], whole[64];
    if (sscanf(name, "step_%15lld", &step) != 1 || step < 0) return -1;
    snprintf(whole, sizeof whole, "%s%s", format_name(step, exact), suffix);
    return strcmp(name, whole) == 0 ? step : -1;
}

static int by_step_down(const void *a, const void *b) {
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x < y) - (x > y);
}

static int64_t *list_steps(const char *dir, const char *suffix, int *count, Error *err) {
    int64_t *steps = NULL;
    size_t room = 0;
    bool ok = true;
    DIR *folder = opendir(dir);
    *count = 0;
    if (folder == NULL) {
        if (errno != ENOENT && !error_errno(err, dir, "be listed")) *count = -1;
        return NULL;
    }
    for (struct dirent *entry; ok && (errno = 0, entry = readdir(folder));) {
        int64_t step = parse_name(entry->d_name, suffix);
        if (step < 0) continue;
        ok = array_reserve(&steps, &room, (size_t)*count + 1, sizeof *steps, dir, err);
        if (ok) steps[(*count)++] = step;
    }
    if (ok && errno) ok = error_errno(err, dir, "be listed");
    closedir(folder);
    if (ok && steps) qsort(steps, (size_t)*count, sizeof *steps, by_step_down);
    if (ok) return steps;
    free(steps);
    *count = -1;
    return NULL;
}

int64_t *checkpoint_list(const char *dir, int *count, Error *err) {
    return list_steps(dir, "", count, err);
}

/* ---- removing ------------------------------------------------------------------------------------- */

static bool is_ours(const char *name) {
    if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || strcmp(name, MANIFEST) == 0) return true;
    for (int i = 0; i < FILE_COUNT; i++)
        if (strcmp(name, FILES[i]) == 0) return true;
    return false;
}

static bool holds_only_ours(const char *path) {
    DIR *folder = opendir(path);
    bool only = folder != NULL;
    for (struct dirent *entry; only && (entry = readdir(folder));) only = is_ours(entry->d_name);
    if (folder) closedir(folder);
    return only;
}

/* Removes a directory that holds nothing but a checkpoint's files; another one stays as it is. */
static void remove_dir(const char *path) {
    char file[PATH_SIZE + 64];
    if (!holds_only_ours(path)) return;
    for (int i = 0; i <= FILE_COUNT; i++) {
        snprintf(file, sizeof file, "%s/%s", path, i < FILE_COUNT ? FILES[i] : MANIFEST);
        unlink(file);
    }
    rmdir(path);
}

void checkpoint_remove(const char *dir, int64_t step) {
    char path[PATH_SIZE], doomed[PATH_SIZE + 8];
    checkpoint_path(dir, step, path, sizeof path);
    snprintf(doomed, sizeof doomed, "%s.tmp", path);
    if (!holds_only_ours(path)) return;
    remove_dir(doomed);
    if (rename(path, doomed) == 0) remove_dir(doomed);
}

/* What stays beside the newest: `keep` says. */
static void prune(const CheckpointWriter *w) {
    Error none;
    int count;
    int64_t *steps = checkpoint_list(w->dir, &count, &none); /* if that fails, nothing is removed */
    bool due_seen = false;
    for (int i = 0; i < count; i++) {
        bool best = w->keep.keep_best && steps[i] == w->best_step;
        bool due = w->keep_due && !due_seen && w->keep.every > 0 && steps[i] % w->keep.every == 0;
        due_seen |= due;
        bool milestone = (w->keep.keep_every > 0 && steps[i] % w->keep.keep_every == 0) ||
                         config_lists_step(w->keep.keep_steps, steps[i]);
        if (i >= w->keep.keep_last && !best && !milestone && !due && steps[i] != w->step)
            checkpoint_remove(w->dir, steps[i]);
    }
    free(steps);
}

bool checkpoint_set_aside(const char *dir, int64_t step, Error *err) {
    char path[PATH_SIZE], aside[PATH_SIZE + 32];
    checkpoint_path(dir, step, path, sizeof path);
    for (int n = 0; n < 1000; n++) {
        snprintf(aside, sizeof aside, n ? "%s.damaged.%d" : "%s.damaged", path, n);
        if (access(aside, F_OK) == 0) continue;
        if (rename(path, aside) == 0) return true;
        break;
    }
    return error_errno(err, path, "be renamed");
}

/* ---- the manifest --------------------------------------------------------------------------------- */

/* clang-format off */
static const Field STATE_FIELDS[] = {
    {"step",          FIELD_INT,  offsetof(CheckpointState, step),              "0", "[0,1e15]", ""},
    {"begin_step",    FIELD_INT,  offsetof(CheckpointState, begin_step),        "0", "[0,1e15]", ""},
    {"total_steps",   FIELD_INT,  offsetof(CheckpointState, total_steps),       "0", "[0,1e15]", ""},
    {"tokens",        FIELD_INT,  offsetof(CheckpointState, tokens),            "0", "[0,9e15]", ""},
    {"seed",          FIELD_INT,  offsetof(CheckpointState, seed),              "0", "[0,1e15]", ""},
    {"data_cursor",   FIELD_INT,  offsetof(CheckpointState, cursor),            "0", "[0,9e15]", ""},
    {"reported",      FIELD_BOOL, offsetof(CheckpointState, reported),          "true", "", ""},
    {"rollbacks",     FIELD_INT,  offsetof(CheckpointState, rollbacks),         "0", "[0,1e15]", ""},
    {"time_s",        FIELD_REAL, offsetof(CheckpointState, time_s),            "0", "[0,inf)", ""},
    {"line_start_s",  FIELD_REAL, offsetof(CheckpointState, line_start_s),      "0", "[0,inf)", ""},
    {"metrics_bytes", FIELD_INT,  offsetof(CheckpointState, log.metrics_bytes), "0", "[0,9e15]", ""},
    {"samples_bytes", FIELD_INT,  offsetof(CheckpointState, log.samples_bytes), "0", "[0,9e15]", ""},
    {"best_val_step", FIELD_INT,  offsetof(CheckpointState, log.best_val_step), "0", "[0,1e15]", ""},
    {0}};

/* Those that a checkpoint of an earlier version may lack: then they are at their default. */
static const Field LATER_FIELDS[] = {
    {"diagnostics_bytes", FIELD_INT, offsetof(CheckpointState, log.diagnostics_bytes), "0", "[0,9e15]", ""},
    {"events_bytes",      FIELD_INT, offsetof(CheckpointState, log.events_bytes),      "0", "[0,9e15]", ""},
    {0}};
/* clang-format on */

/* A number that reads back to the same bits; what JSON has no number for becomes text. */
static bool add_exact(cJSON *object, const char *key, double value) {
    char text[64];
    snprintf(text, sizeof text, "%.17g", value);
    return (isfinite(value) ? cJSON_AddRawToObject(object, key, text)
                            : cJSON_AddStringToObject(object, key, text)) != NULL;
}

static bool get_exact(const cJSON *object, const char *key, double *value) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    const char *text = cJSON_GetStringValue(item);
    if (cJSON_IsNumber(item)) *value = item->valuedouble;
    else if (text && strcmp(text, "inf") == 0) *value = INFINITY;
    else if (text && strcmp(text, "-inf") == 0) *value = -INFINITY;
    else if (text && (strcmp(text, "nan") == 0 || strcmp(text, "-nan") == 0)) *value = NAN;
    else return false;
    return true;
}

static bool add_state(cJSON *root, const CheckpointState *state) {
    char text[STEP_RECORD_TEXT_SIZE];
    bool ok = true;
    for (const Field *f = STATE_FIELDS; f->name; f++)
        ok = ok && cJSON_AddRawToObject(root, f->name, field_text(f, state, text, sizeof text));
    for (const Field *f = LATER_FIELDS; f->name; f++)
        ok = ok && cJSON_AddRawToObject(root, f->name, field_text(f, state, text, sizeof text));
    if (state->spikes.count > 0) ok = ok && spike_add_json(root, "spikes", &state->spikes);
    if (state->loss_spikes.count > 0)
        ok = ok && spike_counter_add_json(root, "loss_spikes", &state->loss_spikes);
    return ok && cJSON_AddStringToObject(root, "data", state->data) &&
           add_exact(root, "best_val_loss", state->log.best_val_loss) &&
           cJSON_AddRawToObject(root, "last_line", step_record_text(&state->log.last, text)) &&
           cJSON_AddRawToObject(root, "next_line", step_record_text(&state->line, text));
}

static bool get_field(const cJSON *root, const Field *field, CheckpointState *state) {
    const Field real = {.type = FIELD_REAL};
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(root, field->name);
    char text[64] = "";
    Error none;
    if (cJSON_IsBool(item)) snprintf(text, sizeof text, cJSON_IsTrue(item) ? "true" : "false");
    if (cJSON_IsNumber(item)) field_text(&real, &item->valuedouble, text, sizeof text);
    return field_set(field, state, text, &none);
}

static bool get_state(const cJSON *root, CheckpointState *state) {
    const char *data = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(root, "data"));
    for (const Field *f = STATE_FIELDS; f->name; f++)
        if (!get_field(root, f, state)) return false;
    for (const Field *f = LATER_FIELDS; f->name; f++)
        if (cJSON_HasObjectItem(root, f->name) && !get_field(root, f, state)) return false;
    if (!data || strlen(data) >= sizeof state->data || state->step > state->total_steps) return false;
    strcpy(state->data, data);
    return spike_get_json(root, "spikes", &state->spikes) &&
           spike_counter_get_json(root, "loss_spikes", &state->loss_spikes) &&
           get_exact(root, "best_val_loss", &state->log.best_val_loss) &&
           step_record_parse(cJSON_GetObjectItemCaseSensitive(root, "last_line"), &state->log.last) &&
           step_record_parse(cJSON_GetObjectItemCaseSensitive(root, "next_line"), &state->line);
}

static bool covers(const OptimGroup *group, Role role) {
    for (int t = 0; t < group->tensor_count; t++)
        if (group->tensors[t].param->role == role) return true;
    return false;
}

/* Of each group: its method, whom it updates, its age, its scalars. */
static bool add_groups(cJSON *root, const Optim *optim) {
    cJSON *groups = cJSON_AddArrayToObject(root, "optimizer");
    bool ok = groups != NULL;
    for (int g = 0; g < optim->group_count && ok; g++) {
        const OptimGroup *group = &optim->groups[g];
        const char *const *names = group->optimizer->scalars;
        cJSON *entry = cJSON_CreateObject();
        ok = cJSON_AddItemToArray(groups, entry) &&
             cJSON_AddStringToObject(entry, "name", group->optimizer->name);
        cJSON *roles = cJSON_AddArrayToObject(entry, "roles");
        for (Role role = 0; role < ROLE_COUNT; role++)
            if (covers(group, role))
                ok = ok && roles && cJSON_AddItemToArray(roles, cJSON_CreateString(ROLE_NAMES[role]));
        ok = ok && add_exact(entry, "age", (double)group->age);
        cJSON *scalars = cJSON_AddObjectToObject(entry, "scalars");
        for (int i = 0; names && names[i]; i++) ok = ok && add_exact(scalars, names[i], group->scalars[i]);
        ok = ok && roles && scalars;
    }
    return ok;
}

static bool get_group(const cJSON *entry, OptimGroup *group) {
    const char *name = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "name"));
    const cJSON *scalars = cJSON_GetObjectItemCaseSensitive(entry, "scalars");
    const char *const *names = group->optimizer->scalars;
    double age;
    if (!name || strcmp(name, group->optimizer->name) != 0 || !get_exact(entry, "age", &age) ||
        !(age >= 0 && age < 0x1p53))
        return false;
    group->age = (int64_t)age;
    for (int i = 0; names && names[i]; i++)
        if (!get_exact(scalars, names[i], &group->scalars[i])) return false;
    return true;
}

static cJSON *describe(const CheckpointState *state, const char *config_json, const Optim *optim) {
    cJSON *root = cJSON_CreateObject();
    bool ok = root && cJSON_AddNumberToObject(root, "format", FORMAT) &&
              cJSON_AddStringToObject(root, "build", runlog_build()) && add_state(root, state) &&
              add_groups(root, optim) && cJSON_AddRawToObject(root, "config", config_json);
    if (ok) return root;
    cJSON_Delete(root);
    return NULL;
}

/* The first line of the file holds the hash of all that follows it. */
#define HASH_LINE      "{\t\"xxh3_128\": \"%s\",\n"
#define HASH_LINE_SIZE (sizeof HASH_LINE - sizeof "%s" + HASH_TEXT_SIZE - 1)

/* The manifest as the text of its file, malloc'ed; NULL when memory runs out. */
static char *seal(const cJSON *manifest) {
    char hash[HASH_TEXT_SIZE], *text = NULL, *body = json_print(manifest);
    const char *rest = body ? body + strlen("{\n") : "";
    if (!body || asprintf(&text, HASH_LINE "%s", hash_bytes(rest, strlen(rest), hash), rest) < 0)
        text = NULL;
    free(body);
    return text;
}

static cJSON *unseal(const char *path, Error *err) {
    size_t length;
    char hash[HASH_TEXT_SIZE], line[HASH_LINE_SIZE + 1];
    char *text = file_read(path, MANIFEST_MAX_BYTES, &length, err);
    if (text == NULL) {
        if (err->code == ERR_DATA) err->code = ERR_CHECKPOINT;
        return NULL;
    }
    cJSON *root = NULL;
    bool whole = length > HASH_LINE_SIZE;
    if (whole) {
        hash_bytes(text + HASH_LINE_SIZE, length - HASH_LINE_SIZE, hash);
        snprintf(line, sizeof line, HASH_LINE, hash);
        whole = memcmp(text, line, HASH_LINE_SIZE) == 0;
    }
    if (whole) root = json_parse(text, length, path, ERR_CHECKPOINT, err);
    else error_set(err, ERR_CHECKPOINT, "%s: damaged: its hash is not that of its content", path);
    free(text);
    return root;
}

/* ---- what is written ------------------------------------------------------------------------------ */

#define EACH_TENSOR(group, tensor, optim)                                                                  \
    for (OptimGroup *group = (optim)->groups; group < (optim)->groups + (optim)->group_count; group++)     \
        for (OptimTensor *tensor = group->tensors; tensor < group->tensors + group->tensor_count; tensor++)

static const char *slot_name(const OptimGroup *group, const Param *p, int slot,
                             char name[TENSOR_NAME_SIZE]) {
    snprintf(name, TENSOR_NAME_SIZE, "slot.%s.%s", p->name, group->optimizer->slots[slot]);
    return name;
}

static const char *padding_name(const Param *p, char name[TENSOR_NAME_SIZE]) {
    snprintf(name, TENSOR_NAME_SIZE, "padding.%s", p->name);
    return name;
}

/* Weights of the parameter that the model's file leaves out: rows at its end, there to round its size up. */
static size_t padding_size(const SafeTensors *model, const Param *p) {
    char name[TENSOR_NAME_SIZE];
    snprintf(name, sizeof name, "transformer.%s", p->name);
    const SafeTensor *t = safetensors_find(model, name);
    return t ? param_size(p) - t->count : 0;
}

/* Shaped like the weights if it has as many elements. */
static SafeTensor state_tensor(const Param *p, size_t count, char *name) {
    SafeTensor t = {.name = name, .dtype = DTYPE_F32, .dims = 1, .shape = {(int64_t)count}, .count = count};
    if (p->rows > 1 && count % (size_t)p->cols == 0) {
        t.dims = 2;
        t.shape[0] = (int64_t)(count / (size_t)p->cols);
        t.shape[1] = p->cols;
    }
    return t;
}

static bool lay_out_optim(SafeTensors *image, const SafeTensors *model, const Optim *optim, Error *err) {
    size_t most = 0, count = 0;
    EACH_TENSOR(group, tensor, optim) most += 1 + (size_t)optimizer_slot_count(group->optimizer);
    SafeTensor *tensors = memory_alloc(most, sizeof *tensors, "names of tensors", err);
    char(*names)[TENSOR_NAME_SIZE] =
        tensors ? memory_alloc(most, TENSOR_NAME_SIZE, "names of tensors", err) : NULL;
    bool ok = names != NULL;
    if (ok) EACH_TENSOR(group, tensor, optim) {
            const Param *p = tensor->param;
            for (int s = 0; s < optimizer_slot_count(group->optimizer); s++, count++) {
                slot_name(group, p, s, names[count]);
                tensors[count] = state_tensor(p, optim_slot_size(group, p, s), names[count]);
            }
            if (padding_size(model, p) == 0) continue;
            padding_name(p, names[count]);
            tensors[count] = state_tensor(p, padding_size(model, p), names[count]);
            count++;
        }
    ok = ok && safetensors_layout(image, tensors, (int)count, NULL, err);
    memory_free(names);
    memory_free(tensors);
    return ok;
}

/* Threads share out each loop but wait for each other only at the end: on a busy machine a barrier a tensor
 * would cost more than the copying. */
static void copy(void *to, const void *from, size_t bytes) {
    enum { PIECE = 1 << 20 };
#pragma omp for nowait
    for (size_t at = 0; at < bytes; at += PIECE)
        memcpy((char *)to + at, (const char *)from + at, bytes - at < PIECE ? bytes - at : PIECE);
}

static void fill_optim(const SafeTensors *image, const Optim *optim) {
#pragma omp parallel num_threads(optim->threads)
    EACH_TENSOR(group, tensor, optim) {
        char name[TENSOR_NAME_SIZE];
        const Param *p = tensor->param;
        for (int s = 0; s < optimizer_slot_count(group->optimizer); s++) {
            const SafeTensor *t = safetensors_find(image, slot_name(group, p, s, name));
            copy(safetensors_room(image, t), tensor->slot[s], t->count * sizeof(float));
        }
        const SafeTensor *t = safetensors_find(image, padding_name(p, name));
        if (t) copy(safetensors_room(image, t), p->w + param_size(p) - t->count, t->count * sizeof(float));
    }
}

static bool all_finite(const uint32_t *bits, size_t count) {
    uint32_t bad = 0;
    for (size_t i = 0; i < count; i++) bad |= (bits[i] & 0x7f800000u) == 0x7f800000u;
    return !bad;
}

/* The first tensor of the file that has a weight which is not finite, or NULL. */
static const SafeTensor *find_nonfinite(const SafeTensors *file, int threads) {
    enum { PIECE = 1 << 16 };
    const SafeTensor *bad = NULL;
#pragma omp parallel num_threads(threads)
    for (const SafeTensor *t = file->tensors; t < file->tensors + file->tensor_count; t++) {
        const uint32_t *bits = safetensors_room(file, t);
#pragma omp for nowait
        for (size_t i = 0; i < t->count; i += PIECE)
            if (!all_finite(bits + i, t->count - i < PIECE ? t->count - i : PIECE)) {
#pragma omp critical
                bad = bad && bad < t ? bad : t;
            }
    }
    return bad;
}

/* ---- the files ------------------------------------------------------------------------------------ */

typedef struct Content {
    const char *name;
    const void *bytes;
    size_t size;
    char hash[HASH_TEXT_SIZE];
} Content;

/* Past the page cache where memory is aligned and the file system lets us: at the disk's speed even on a
 * busy machine, and training keeps its cores. The rest, and what is refused, goes the usual way. */
static bool write_all(int fd, const char *bytes, size_t size) {
    enum { BLOCK = 4096, PIECE = 8 << 20 };
    size_t direct = (uintptr_t)bytes % BLOCK == 0 ? size / BLOCK * BLOCK : 0;
    if (direct > 0 && fcntl(fd, F_SETFL, O_DIRECT) != 0) direct = 0;
    for (size_t done = 0; done < size;) {
        if (done == direct) fcntl(fd, F_SETFL, 0);
        size_t left = (done < direct ? direct : size) - done;
        ssize_t n = write(fd, bytes + done, left < PIECE ? left : PIECE);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == EINVAL && done < direct) {
            direct = done;
            continue;
        }
        if (n < 0) return false;
        done += (size_t)n;
    }
    return true;
}

/* Also fills in the file's hash. */
static bool write_file(const char *dir, Content *f, Error *err) {
    char path[PATH_SIZE + 32];
    snprintf(path, sizeof path, "%s/%s", dir, f->name);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (fd < 0) return error_errno(err, path, "be written");
    bool ok = write_all(fd, f->bytes, f->size) || error_errno(err, path, "be written");
    if (ok) hash_bytes(f->bytes, f->size, f->hash);
    if (ok && fsync(fd) != 0) ok = error_errno(err, path, "be written");
    if (close(fd) != 0 && ok) ok = error_errno(err, path, "be written");
    return ok;
}

/* Makes names in a directory last. */
static bool sync_dir(const char *path, Error *err) {
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = (fd >= 0 && fsync(fd) == 0) || error_errno(err, path, "be synced");
    if (fd >= 0) close(fd);
    return ok;
}

static bool add_hashes(cJSON *manifest, Content files[FILE_COUNT]) {
    cJSON_DeleteItemFromObjectCaseSensitive(manifest, "files"); /* of an attempt before */
    cJSON *list = cJSON_AddObjectToObject(manifest, "files");
    bool ok = list != NULL;
    for (Content *f = files; f < files + FILE_COUNT && ok; f++) {
        cJSON *entry = cJSON_AddObjectToObject(list, f->name);
        ok = cJSON_AddNumberToObject(entry, "bytes", (double)f->size) &&
             cJSON_AddStringToObject(entry, "xxh3_128", f->hash);
    }
    return ok;
}

/* Reads it all again. */
static bool verify(const char *dir, const Content *files, int count, Error *err) {
    for (const Content *f = files; f < files + count; f++) {
        char path[PATH_SIZE + 32], hash[HASH_TEXT_SIZE];
        size_t size;
        snprintf(path, sizeof path, "%s/%s", dir, f->name);
        if (!hash_file(path, hash, &size, err)) return false;
        if (size != f->size || strcmp(hash, f->hash) != 0)
            return error_set(err, ERR_IO, "%s: does not read back as it was written; is the disk failing?",
                             path);
    }
    return true;
}

/* From nothing to a whole checkpoint under a temporary name. */
static bool write_files(const CheckpointWriter *w, const char *dir, Content files[FILE_COUNT + 1],
                        Error *err) {
    for (int i = 0; i < CHECKPOINT_LOGS; i++)
        if (w->log_fds[i] >= 0 && fsync(w->log_fds[i]) != 0)
            return error_errno(err, w->dir, "be written: the run's log");
    if (mkdir(dir, 0777) != 0) return error_errno(err, dir, "be created");
    for (Content *f = files; f < files + FILE_COUNT; f++)
        if (!write_file(dir, f, err)) return false;
    char *text = add_hashes(w->manifest, files) ? seal(w->manifest) : NULL;
    if (text == NULL) return error_set(err, ERR_IO, "%s: out of memory", dir);
    Content *last = &files[FILE_COUNT];
    *last = (Content){.name = MANIFEST, .bytes = text, .size = strlen(text)};
    bool ok = write_file(dir, last, err) && sync_dir(dir, err);
    free(text);
    return ok;
}

static bool write_checkpoint(CheckpointWriter *w, Error *err) {
    char path[PATH_SIZE], temporary[PATH_SIZE + 8];
    Content files[FILE_COUNT + 1] = {
        [MODEL_FILE] = {FILES[MODEL_FILE], w->model.bytes, w->model.size, ""},
        [CONFIG_FILE] = {FILES[CONFIG_FILE], w->config_text, strlen(w->config_text), ""},
        [OPTIM_FILE] = {FILES[OPTIM_FILE], w->optim.bytes, w->optim.size, ""}};
    checkpoint_path(w->dir, w->step, path, sizeof path);
    snprintf(temporary, sizeof temporary, "%s.tmp", path);
    remove_dir(temporary);
    bool ok = write_files(w, temporary, files, err) &&
              (rename(temporary, path) == 0 || error_errno(err, path, "be put in place")) &&
              sync_dir(w->dir, err);
    if (ok && !verify(path, files, FILE_COUNT + 1, err)) {
        rename(path, temporary); /* nobody shall take it for one that is whole */
        ok = false;
    }
    if (!ok) remove_dir(temporary);
    return ok;
}

/* Some failures pass: each attempt begins with new files, for what a failed fsync has left in old ones is
 * unknown. */
static void *write_thread(void *writer) {
    CheckpointWriter *w = writer;
    for (int attempt = 1; attempt <= ATTEMPTS && !w->done; attempt++) {
        if (attempt > 1) nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
        w->done = write_checkpoint(w, &w->err);
    }
    if (w->done) prune(w);
    w->ended = true;
    return NULL;
}

/* Signals are left to the other threads. */
static bool start_thread(CheckpointWriter *w) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    bool started = pthread_create(&w->thread, NULL, write_thread, w) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return started;
}

/* ---- the writer ----------------------------------------------------------------------------------- */

/* The run's own name and those above it must outlast a power cut too; who may not open them need not. */
static void sync_parents(const char *run_dir) {
    char path[PATH_SIZE];
    Error none;
    snprintf(path, sizeof path, "%s", run_dir);
    for (int up = 0; up < 3; up++) {
        sync_dir(path, &none);
        strncat(path, "/..", sizeof path - strlen(path) - 1);
    }
}

static bool prepare_dir(CheckpointWriter *w, const char *run_dir, Error *err) {
    int count;
    if (mkdir(w->dir, 0777) != 0 && errno != EEXIST) return error_errno(err, w->dir, "be created");
    sync_parents(run_dir);
    int64_t *steps = list_steps(w->dir, ".tmp", &count, err);
    for (int i = 0; i < count; i++) {
        char path[PATH_SIZE + 8];
        checkpoint_path(w->dir, steps[i], path, PATH_SIZE);
        strcat(path, ".tmp");
        remove_dir(path);
    }
    free(steps);
    return count >= 0;
}

bool checkpoint_open(CheckpointWriter *w, const char *run_dir, const CheckpointSection *keep,
                     SafeTensors *model, char *config_text, const Optim *optim, Error *err) {
    *w = (CheckpointWriter){
        .keep = *keep, .model = *model, .config_text = config_text, .saved_step = -1, .step = -1};
    *model = (SafeTensors){0};
    snprintf(w->dir, sizeof w->dir, "%s/checkpoints", run_dir);
    bool ok = config_text || error_set(err, ERR_IO, "%s: out of memory", w->dir);
    if (ok && lay_out_optim(&w->optim, &w->model, optim, err) && prepare_dir(w, run_dir, err)) return true;
    checkpoint_close(w);
    return false;
}

bool checkpoint_save(CheckpointWriter *w, const CheckpointState *state, const char *config_json,
                     const Optim *optim, const int log_fds[CHECKPOINT_LOGS], Error *err) {
    const SafeTensor *bad = find_nonfinite(&w->model, optim->threads);
    if (bad)
        return error_set(err, ERR_DIVERGED,
                         "step %" PRId64 ": %s is not finite after this update; it was not saved. A lower "
                         "learning rate, a longer warm-up or train.grad_clip may help",
                         state->step, bad->name);
    fill_optim(&w->optim, optim);
    w->step = state->step;
    w->best_step = state->log.best_val_step;
    w->done = false;
    w->ended = false;
    memcpy(w->log_fds, log_fds, sizeof w->log_fds);
    w->manifest = describe(state, config_json, optim);
    if (w->manifest == NULL) return error_set(err, ERR_IO, "%s: out of memory", w->dir);
    w->running = start_thread(w);
    if (!w->running) write_thread(w);
    return true;
}

bool checkpoint_has_ended(const CheckpointWriter *w) {
    return w->manifest && w->ended;
}

bool checkpoint_wait(CheckpointWriter *w, Error *err) {
    if (w->running) pthread_join(w->thread, NULL);
    w->running = false;
    if (w->manifest == NULL) return true; /* nothing was begun since the last time */
    cJSON_Delete(w->manifest);
    w->manifest = NULL;
    if (w->done) w->saved_step = w->step;
    else *err = w->err;
    return w->done;
}

void checkpoint_close(CheckpointWriter *w) {
    Error none;
    checkpoint_wait(w, &none);
    safetensors_close(&w->model);
    safetensors_close(&w->optim);
    free(w->config_text);
    *w = (CheckpointWriter){0};
}

/* ---- reading -------------------------------------------------------------------------------------- */

static const cJSON *file_entry(const Checkpoint *c, int file) {
    const cJSON *files = cJSON_GetObjectItemCaseSensitive(c->manifest, "files");
    return cJSON_GetObjectItemCaseSensitive(files, FILES[file]);
}

/* Are the files there, as large as the manifest says? */
static bool check_sizes(const Checkpoint *c, Error *err) {
    for (int i = 0; i < FILE_COUNT; i++) {
        char path[PATH_SIZE];
        struct stat info;
        const cJSON *bytes = cJSON_GetObjectItemCaseSensitive(file_entry(c, i), "bytes");
        snprintf(path, sizeof path, "%s/%s", c->path, FILES[i]);
        if (stat(path, &info) != 0) return error_set(err, ERR_CHECKPOINT, "%s: %s", path, strerror(errno));
        if (!cJSON_IsNumber(bytes) || (double)info.st_size != bytes->valuedouble)
            return error_set(err, ERR_CHECKPOINT, "%s: %lld bytes, not as many as " MANIFEST " says", path,
                             (long long)info.st_size);
    }
    return true;
}

bool checkpoint_read(Checkpoint *c, const char *path, Error *err) {
    char manifest[PATH_SIZE];
    *c = (Checkpoint){0};
    snprintf(c->path, sizeof c->path, "%s", path);
    snprintf(manifest, sizeof manifest, "%s/" MANIFEST, path);
    c->manifest = unseal(manifest, err);
    bool ok = c->manifest != NULL;
    const cJSON *format = cJSON_GetObjectItemCaseSensitive(c->manifest, "format");
    if (ok && !(cJSON_IsNumber(format) && format->valuedouble == FORMAT))
        ok = error_set(err, ERR_CHECKPOINT, "%s: not of format %d; another version of train_gpt wrote it",
                       manifest, FORMAT);
    if (ok && !get_state(c->manifest, &c->state))
        ok = error_set(err, ERR_CHECKPOINT, "%s: a value is missing or out of range", manifest);
    ok = ok && check_sizes(c, err);
    if (!ok) checkpoint_free(c);
    return ok;
}

void checkpoint_free(Checkpoint *c) {
    cJSON_Delete(c->manifest);
    c->manifest = NULL;
}

bool checkpoint_is_ours(const Checkpoint *c) {
    const char *build = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(c->manifest, "build"));
    return build && strcmp(build, runlog_build()) == 0;
}

static bool open_file(const Checkpoint *c, int which, size_t data_bytes, SafeTensors *file, Error *err) {
    char path[PATH_SIZE], hash[HASH_TEXT_SIZE];
    const cJSON *entry = file_entry(c, which);
    const cJSON *bytes = cJSON_GetObjectItemCaseSensitive(entry, "bytes");
    const char *wanted = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "xxh3_128"));
    snprintf(path, sizeof path, "%s/%s", c->path, FILES[which]);
    if (!cJSON_IsNumber(bytes) || bytes->valuedouble > (double)(data_bytes + HEADER_ROOM_BYTES))
        return error_set(err, ERR_CHECKPOINT, "%s: too large for this model", path);
    if (!safetensors_open(file, path, err)) return false;
    if (wanted && strcmp(wanted, hash_bytes(file->bytes, file->size, hash)) == 0) return true;
    safetensors_close(file);
    return error_set(err, ERR_CHECKPOINT, "%s: damaged: its hash is not the one in " MANIFEST, path);
}

bool checkpoint_open_model(const Checkpoint *c, const Param *params, int param_count, SafeTensors *file,
                           Error *err) {
    size_t bytes = 0;
    for (int i = 0; i < param_count; i++)
        bytes += (param_size(&params[i]) + (size_t)params[i].rows) * sizeof(float);
    return open_file(c, MODEL_FILE, bytes, file, err);
}

/* Copies the tensor to `to` if it has the right number of elements. */
static bool take(const SafeTensors *file, const char *name, float *to, size_t count, Error *err) {
    const SafeTensor *t = safetensors_find(file, name);
    if (t == NULL || t->dtype != DTYPE_F32 || t->count != count)
        return error_set(err, ERR_CHECKPOINT, "%s: %s is %s", FILES[OPTIM_FILE], name,
                         t ? "of another size" : "missing");
    memcpy(to, t->data, count * sizeof *to);
    return true;
}

/* How many tensors it took, 0 or 1; -1 with err. */
static int take_padding(const SafeTensors *file, const Param *p, Error *err) {
    char name[TENSOR_NAME_SIZE];
    const SafeTensor *t = safetensors_find(file, padding_name(p, name));
    if (t == NULL || t->count > param_size(p)) return 0;
    return take(file, name, p->w + param_size(p) - t->count, t->count, err) ? 1 : -1;
}

static bool take_all(const SafeTensors *file, Optim *optim, Error *err) {
    int taken = 0;
    char name[TENSOR_NAME_SIZE];
    EACH_TENSOR(group, tensor, optim) {
        const Param *p = tensor->param;
        for (int s = 0; s < optimizer_slot_count(group->optimizer); s++, taken++)
            if (!take(file, slot_name(group, p, s, name), tensor->slot[s], optim_slot_size(group, p, s),
                      err))
                return false;
        int padding = take_padding(file, p, err);
        if (padding < 0) return false;
        taken += padding;
    }
    return taken == file->tensor_count || error_set(err, ERR_CHECKPOINT, "%s: %d tensors where %d belong",
                                                    FILES[OPTIM_FILE], file->tensor_count, taken);
}

bool checkpoint_load_optimizer(const Checkpoint *c, Optim *optim, Error *err) {
    const cJSON *groups = cJSON_GetObjectItemCaseSensitive(c->manifest, "optimizer");
    SafeTensors file = {0};
    size_t bytes = 0;
    bool ok = cJSON_GetArraySize(groups) == optim->group_count;
    for (int g = 0; g < optim->group_count && ok; g++)
        ok = get_group(cJSON_GetArrayItem(groups, g), &optim->groups[g]);
    if (!ok) return error_set(err, ERR_CHECKPOINT, "%s: of another optimizer", c->path);
    EACH_TENSOR(group, tensor, optim) {
        bytes += param_size(tensor->param) * sizeof(float); /* more than the padding */
        for (int s = 0; s < optimizer_slot_count(group->optimizer); s++)
            bytes += optim_slot_size(group, tensor->param, s) * sizeof(float);
    }
    if (!open_file(c, OPTIM_FILE, bytes, &file, err)) return false;
    ok = take_all(&file, optim, err);
    safetensors_close(&file);
    return ok;
}

/* The group of the file that updated `role`. */
static const cJSON *group_of_role(const Checkpoint *c, Role role) {
    const cJSON *entry, *name;
    cJSON_ArrayForEach(entry, cJSON_GetObjectItemCaseSensitive(c->manifest, "optimizer")) {
        cJSON_ArrayForEach(name, cJSON_GetObjectItemCaseSensitive(entry, "roles")) {
            if (cJSON_IsString(name) && strcmp(name->valuestring, ROLE_NAMES[role]) == 0) return entry;
        }
    }
    return NULL;
}

static bool has_all_slots(const SafeTensors *file, const OptimGroup *group) {
    char name[TENSOR_NAME_SIZE];
    for (const OptimTensor *t = group->tensors; t < group->tensors + group->tensor_count; t++)
        for (int s = 0; s < optimizer_slot_count(group->optimizer); s++) {
            const SafeTensor *x = safetensors_find(file, slot_name(group, t->param, s, name));
            if (!x || x->dtype != DTYPE_F32 || x->count != optim_slot_size(group, t->param, s))
                return false;
        }
    return true;
}

/* All or nothing: half of a method's state with the age of the other half would make its bias corrections
 * wrong. */
static bool branch_group(const Checkpoint *c, const SafeTensors *file, OptimGroup *group, Error *err) {
    const cJSON *entry = group_of_role(c, group->tensors[0].param->role);
    const char *method = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(entry, "name"));
    char name[TENSOR_NAME_SIZE];
    double age;
    if (!method || !get_exact(entry, "age", &age) || !(age >= 0 && age < 0x1p53))
        return error_set(err, ERR_CHECKPOINT, "%s: no group of parameters has the role %s", c->path,
                         ROLE_NAMES[group->tensors[0].param->role]);
    if (strcmp(method, group->optimizer->name) == 0 && !get_group(entry, group))
        return error_set(err, ERR_CHECKPOINT, "%s: a scalar of %s is missing", c->path, method);
    group->age = (int64_t)age;
    for (OptimTensor *t = group->tensors; t < group->tensors + group->tensor_count; t++)
        for (int s = 0; s < optimizer_slot_count(group->optimizer); s++)
            if (!take(file, slot_name(group, t->param, s, name), t->slot[s],
                      optim_slot_size(group, t->param, s), err))
                return false;
    return true;
}

bool checkpoint_branch_optimizer(const Checkpoint *c, Optim *optim, char *taken, size_t size, Error *err) {
    SafeTensors file = {0};
    size_t n = 0, bytes = 0;
    EACH_TENSOR(group, tensor, optim) bytes += param_size(tensor->param) * sizeof(float);
    if (!open_file(c, OPTIM_FILE, 64 * bytes, &file, err)) return false;
    bool ok = true;
    *taken = '\0';
    for (OptimGroup *group = optim->groups; group < optim->groups + optim->group_count && ok; group++) {
        bool shared = has_all_slots(&file, group);
        if (shared) ok = branch_group(c, &file, group, err);
        if (n < size)
            n += (size_t)snprintf(taken + n, size - n, "%s%s %s", n ? ", " : "", group->optimizer->name,
                                  shared ? "goes on with its state" : "begins with none");
    }
    EACH_TENSOR(group, tensor, optim) ok = ok && (take_padding(&file, tensor->param, err) >= 0);
    safetensors_close(&file);
    return ok;
}

/* ---- the config ----------------------------------------------------------------------------------- */

/* All but what changes neither weights nor figures, only how often they are looked at or saved, and where.
 * The data itself is compared by what is in it. */
static bool must_stay(const char *key) {
    static const char *const free_keys[] = {"train.threads", "train.resume", "data.dir",
                                            "run.dir", "eval.every"};
    for (size_t i = 0; i < sizeof free_keys / sizeof *free_keys; i++)
        if (strcmp(key, free_keys[i]) == 0) return false;
    return strncmp(key, "checkpoint.", 11) != 0 && strncmp(key, "log.", 4) != 0 && strncmp(key, "sample.", 7) != 0 &&
           strncmp(key, "diagnostics.", 12) != 0;
}

/* What a branch changes in the method; that it is a branch is known. */
static bool is_method(const char *key) {
    return must_stay(key) && strncmp(key, "train.init_", 11) != 0;
}

/* Those settings for which `counts` is true; with `in_both`, only of those that both configs have. */
static bool differences(const Checkpoint *c, const char *config_json, bool (*counts)(const char *key),
                        bool in_both, char *out, size_t size, Error *err) {
    Run runs[2] = {{.config = cJSON_GetObjectItemCaseSensitive(c->manifest, "config")},
                   {.config = cJSON_Parse(config_json)}};
    int count = 0;
    size_t n = 0;
    *out = '\0';
    if (runs[1].config == NULL) return error_set(err, ERR_IO, "out of memory comparing configs");
    RunDifference *found = run_differences(runs, 2, &count, err);
    for (int i = 0; found && i < count; i++) {
        const char *then = found[i].values[0], *now = found[i].values[1];
        if (!counts(found[i].path) || (in_both && !(then && now)) || n >= size) continue;
        n += (size_t)snprintf(out + n, size - n, "%s%s %.100s, now %.100s", n ? "; " : "", found[i].path,
                              then ? then : "absent", now ? now : "absent");
    }
    run_differences_free(found, count, 2);
    cJSON_Delete(runs[1].config);
    return found != NULL;
}

bool checkpoint_differences(const Checkpoint *c, const char *config_json, char *out, size_t size,
                            Error *err) {
    return differences(c, config_json, is_method, true, out, size, err);
}

bool checkpoint_check_config(const Checkpoint *c, const char *config_json, Error *err) {
    char keys[2000];
    if (!differences(c, config_json, must_stay, false, keys, sizeof keys, err)) return false;
    return !*keys ||
           error_set(err, ERR_CONFIG,
                     "%s: the run that was begun has other settings: %s. Set them back, or set run.dir; "
                     "train.resume=never moves that run aside and begins anew",
                     c->path, keys);
}
