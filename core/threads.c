/* threads.c: see threads.h. */
#include "core/threads.h"

#include <omp.h>
#include <stddef.h>
#include <stdlib.h>
#include <unistd.h>

#define PREPARED "TRAIN_GPT_THREADS_PREPARED" /* stops a second restart */

void threads_prepare(char **argv) {
    static const char *const settings[][2] = {{"GOMP_SPINCOUNT", "10000"},
                                              {"KMP_BLOCKTIME", "1"},
                                              {"OMP_SCHEDULE", "dynamic"},
                                              {"OPENBLAS_NUM_THREADS", "1"},
                                              {PREPARED, "1"}};
    if (getenv(PREPARED)) return;
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++)
        setenv(settings[i][0], settings[i][1], 0);
    char path[4096]; /* resolved, so that `ps` and `top` show the program's name */
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length < 0) return; /* no /proc: the program goes on as it is, only slower */
    path[length] = '\0';
    execv(path, argv);
}

int threads_available(void) {
    return omp_get_num_procs();
}
