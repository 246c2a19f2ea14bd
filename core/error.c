/* error.c: see error.h. */
#include "core/error.h"

#include <stdarg.h>
#include <stdio.h>

bool error_set(Error *err, ErrorCode code, const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(err->text, sizeof err->text, format, args);
    va_end(args);
    err->code = code;
    return false;
}

int error_print(const Error *err) {
    fflush(stdout);
    fprintf(stderr, "error: %s\n", err->text);
    return err->code;
}
