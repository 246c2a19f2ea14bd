/* file.c: see file.h. */
#include "core/file.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *read_open_file(FILE *f, const char *path, size_t max_bytes, size_t *length, Error *err) {
    struct stat st;
    if (fstat(fileno(f), &st) != 0 || !S_ISREG(st.st_mode)) {
        error_set(err, ERR_DATA, "%s: not a regular file", path);
        return NULL;
    }
    if ((uintmax_t)st.st_size > max_bytes) {
        error_set(err, ERR_DATA, "%s: %jd bytes, more than the %zu that such a file may have", path,
                  (intmax_t)st.st_size, max_bytes);
        return NULL;
    }
    size_t size = (size_t)st.st_size;
    char *bytes = malloc(size + 1);
    if (bytes == NULL || fread(bytes, 1, size, f) != size) {
        error_set(err, ERR_IO, "%s: cannot read %zu bytes: %s", path, size,
                  bytes ? strerror(errno) : "out of memory");
        free(bytes);
        return NULL;
    }
    bytes[size] = 0;
    *length = size;
    return bytes;
}

char *file_read(const char *path, size_t max_bytes, size_t *length, Error *err) {
    FILE *f = fopen(path, "rbe");
    if (f == NULL) {
        error_set(err, errno == ENOENT || errno == ENOTDIR ? ERR_DATA : ERR_IO, "%s: %s", path,
                  strerror(errno));
        return NULL;
    }
    char *bytes = read_open_file(f, path, max_bytes, length, err);
    fclose(f);
    return bytes;
}

static bool make_folder(const char *path) {
    return mkdir(path, 0777) == 0 || errno == EEXIST;
}

bool file_make_folders(const char *path, const char *hint, Error *err) {
    char name[PATH_MAX];
    struct stat info;
    bool ok = snprintf(name, sizeof name, "%s", path) < (int)sizeof name;
    if (!ok) return error_set(err, ERR_IO, "%.80s...: too long a name%s", path, hint);
    for (char *slash = strchr(name + (*name == '/'), '/'); ok && slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        ok = make_folder(name);
        if (ok) *slash = '/'; /* or else the message names the folder that failed */
    }
    ok = ok && make_folder(name) && stat(name, &info) == 0;
    if (ok && S_ISDIR(info.st_mode)) return true;
    if (ok) errno = ENOTDIR;
    return error_set(err, ERR_IO, "%s: cannot be created: %s%s", name, strerror(errno), hint);
}

static const char *temporary_name(const char *path, char name[PATH_MAX]) {
    int n = snprintf(name, PATH_MAX, "%s.tmp", path);
    return n < PATH_MAX ? name : NULL;
}

FILE *file_create(const char *path, Error *err) {
    char name[PATH_MAX];
    errno = ENAMETOOLONG;
    FILE *f = temporary_name(path, name) ? fopen(name, "wbe") : NULL;
    if (f == NULL) error_set(err, ERR_IO, "%s.tmp: cannot be written: %s", path, strerror(errno));
    return f;
}

bool file_close(FILE *f, const char *path, Error *err) {
    bool written = !ferror(f) && fflush(f) == 0 && fsync(fileno(f)) == 0;
    int reason = errno;
    if (fclose(f) == 0 && written) return true;
    file_discard(NULL, path);
    return error_set(err, ERR_IO, "%s.tmp: cannot be written: %s", path,
                     strerror(written ? errno : reason));
}

bool file_rename(const char *path, Error *err) {
    char name[PATH_MAX];
    if (temporary_name(path, name) && rename(name, path) == 0) return true;
    return error_errno(err, path, "be put in place");
}

bool file_publish(FILE *f, const char *path, Error *err) {
    if (!file_close(f, path, err)) return false;
    if (file_rename(path, err)) return true;
    file_discard(NULL, path);
    return false;
}

bool file_write_text(const char *path, const char *text, Error *err) {
    if (!text) return error_set(err, ERR_IO, "%s: out of memory", path);
    FILE *f = file_create(path, err);
    if (!f) return false;
    fprintf(f, "%s\n", text); /* file_publish sees whether it failed */
    return file_publish(f, path, err);
}

void file_discard(FILE *f, const char *path) {
    char name[PATH_MAX];
    if (f) fclose(f);
    if (temporary_name(path, name)) unlink(name);
}

bool array_reserve(void *array, size_t *capacity, size_t count, size_t size, const char *what, Error *err) {
    if (count <= *capacity) return true;
    size_t grown = count > *capacity * 2 ? count : *capacity * 2, bytes;
    if (grown < 16) grown = 16;
    void *old, *p = NULL;
    memcpy(&old, array, sizeof old);
    if (!__builtin_mul_overflow(grown, size, &bytes)) p = realloc(old, bytes);
    if (p == NULL)
        return error_set(err, ERR_IO, "%s: out of memory (%zu times %zu bytes asked for)", what, grown,
                         size);
    memcpy(array, &p, sizeof p);
    *capacity = grown;
    return true;
}
