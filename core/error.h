/* error.h: how a module says that something went wrong.
 *
 *     bool shard_open(Shard *s, const char *path, Error *err) {
 *         if (size < HEADER_BYTES)
 *             return error_set(err, ERR_DATA, "%s: %zu bytes, shorter than a shard header", path, size);
 *         ...
 *         return true;
 *     }
 *
 * A function that can fail returns bool (true = done) or a pointer (NULL = failed) and takes `Error *err`
 * as its last argument, never NULL. The text is one line: what, where, what to do. Only programs (main)
 * print it and exit, with `err.code` as the exit status.
 */
#ifndef CORE_ERROR_H
#define CORE_ERROR_H

#include <stdbool.h>

/* Exit codes of every program here; 0 is success. */
typedef enum {
    ERR_IO = 1,         /* a file or directory could not be read or written; memory ran out */
    ERR_CONFIG = 2,     /* the config or the command line is wrong */
    ERR_DATA = 3,       /* corpus, tokenizer or shards are missing or wrong */
    ERR_CHECKPOINT = 4, /* model weights or a checkpoint are wrong */
    ERR_DIVERGED = 6,   /* non-finite loss or gradient */
    ERR_BUSY = 7,       /* another process owns the run directory */
    ERR_STOPPED = 75,   /* stopped by a signal */
} ErrorCode;

typedef struct Error {
    ErrorCode code;
    char text[4096];
} Error;

/* Fills *err and returns false, so that `return error_set(...)` ends a function. */
bool error_set(Error *err, ErrorCode code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* "error: <text>" on stderr; returns err->code, so that `return error_print(&err)` ends main. */
int error_print(const Error *err);

/* Flushes stdout, as the last thing that can fail in a program: ERR_IO when not everything printed could be
 * written, such as to a full disk. */
bool error_check_stdout(Error *err);

/* ERR_IO, "PATH: cannot WHAT: why errno says". */
bool error_errno(Error *err, const char *path, const char *what);

#endif
