/* file.h: whole small files in, and files that are whole or absent out.
 *
 *     FILE *f = file_create(path, &err);     // writes path.tmp
 *     fprintf(f, ...);
 *     file_publish(f, path, &err);           // synced, then path.tmp becomes path
 */
#ifndef CORE_FILE_H
#define CORE_FILE_H

#include "core/error.h"
#include <stddef.h>
#include <stdio.h>

/* All bytes of a regular file of at most max_bytes, NUL-terminated; free() them. NULL: ERR_DATA when the
 * file is missing, not a regular file or too large, ERR_IO when it cannot be read. */
char *file_read(const char *path, size_t max_bytes, size_t *length, Error *err);

/* Makes the folder `path` and those on the way to it, where they are missing. ERR_IO: "PATH: cannot be created: WHY" and
 * `hint`, which says what to do about it. */
bool file_make_folders(const char *path, const char *hint, Error *err);

/* Opens path.tmp for writing; NULL with ERR_IO. */
FILE *file_create(const char *path, Error *err);

/* Flushes, syncs and closes f, leaving path.tmp; on failure (ERR_IO) path.tmp is gone. */
bool file_close(FILE *f, const char *path, Error *err);

/* Puts path.tmp in the place of path; ERR_IO. */
bool file_rename(const char *path, Error *err);

/* Both; on failure (ERR_IO) path.tmp is gone and path is as it was. */
bool file_publish(FILE *f, const char *path, Error *err);

/* The file `path`, whole or as it was, also after a power cut: `text` and a newline. ERR_IO, also where text is NULL because
 * there was no memory for it. */
bool file_write_text(const char *path, const char *text, Error *err);

/* Closes f (NULL: already closed) and removes path.tmp. */
void file_discard(FILE *f, const char *path);

/* Room for `count` elements of `size` bytes, growing by doubling: *array is realloc'ed, new bytes are
 * undefined. false with ERR_IO naming `what`. */
bool array_reserve(void *array, size_t *capacity, size_t count, size_t size, const char *what, Error *err);

#endif
