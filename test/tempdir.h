/* tempdir.h: a folder of the test program's own under /tmp, gone when it ends.
 *
 *     return cmocka_run_group_tests_name("loader", tests, make_dir, remove_dir);
 *
 * Include it behind cmocka.h. */
#ifndef TEST_TEMPDIR_H
#define TEST_TEMPDIR_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char dir[64]; /* its path */

static int make_dir(void **state) {
    (void)state;
    strcpy(dir, "/tmp/train_gpt_test_XXXXXX");
    return mkdtemp(dir) ? 0 : -1;
}

static int remove_dir(void **state) {
    (void)state;
    char command[128];
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    return system(command);
}

#endif
