/* error.c: see error.h. */
#include "core/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

bool error_set(Error *err, ErrorCode code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    for (char *c = err->text; *c; c++) /* names in it come from files: none may command a terminal */
        if (((unsigned char)*c < ' ' && *c != '\n') || *c == 0x7f) *c = '?';
    err->code = code;
    return false;
}

int error_print(const Error *err) {
    fflush(stdout);
    fprintf(stderr, "error: %s\n", err->text);
    return err->code;
}

bool error_check_stdout(Error *err) {
    errno = EIO; /* where an earlier write failed and this one does not */
    if (fflush(stdout) == 0 && !ferror(stdout)) return true;
    return error_set(err, ERR_IO, "stdout cannot be written: %s", strerror(errno));
}

bool error_errno(Error *err, const char *path, const char *what) {
    return error_set(err, ERR_IO, "%s: cannot %s: %s", path, what, strerror(errno));
}
