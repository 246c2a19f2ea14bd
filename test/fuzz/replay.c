/* replay.c: runs a fuzz target over its corpus, as `make test` does, with any compiler and no libFuzzer. The last file
 * named is the one at fault.
 *
 *     build/release/bin/test_fuzz_config          every file of test/fuzz/corpus/config
 *     build/release/bin/test_fuzz_config FILE...  these
 */
#include "test/fuzz/fuzz.h"

#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <sys/resource.h>
#include <unistd.h>

enum { INPUT_MAX_BYTES = 1 << 20, TIME_MAX_S = 20, MEMORY_MAX_KB = 512 << 10 };

/* In a block of just its size, so that sanitizers see who reads beyond. */
static void run_file(const char *path) {
    static uint8_t input[INPUT_MAX_BYTES];
    FILE *f = fopen(path, "rb");
    FUZZ_CHECK(f);
    size_t size = fread(input, 1, sizeof input, f);
    uint8_t *copy = malloc(size + !size);
    FUZZ_CHECK(copy && fclose(f) == 0);
    memcpy(copy, input, size);
    fprintf(stderr, "%s\n", path);
    alarm(TIME_MAX_S);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

/* What sanitizers keep for themselves does not count. */
static void check_memory(void) {
    struct rusage used;
    FUZZ_CHECK(getrusage(RUSAGE_SELF, &used) == 0);
#ifndef __SANITIZE_ADDRESS__
    FUZZ_CHECK(used.ru_maxrss < MEMORY_MAX_KB);
#endif
}

int main(int argc, char **argv) {
    char pattern[PATH_MAX], scratch[] = "/tmp/train_gpt_fuzz_XXXXXX", command[64];
    const char *target = basename(argv[0]) + strlen("test_fuzz_");
    snprintf(pattern, sizeof pattern, "%s/test/fuzz/corpus/%s/*", getcwd((char[PATH_MAX]){0}, PATH_MAX),
             target);
    glob_t files = {0};
    if (argc == 1) FUZZ_CHECK(glob(pattern, 0, NULL, &files) == 0);
    for (int i = 1; i < argc; i++)
        FUZZ_CHECK(glob(realpath(argv[i], pattern), i > 1 ? GLOB_APPEND : 0, NULL, &files) == 0);
    FUZZ_CHECK(mkdtemp(scratch) && chdir(scratch) == 0);
    for (size_t i = 0; i < files.gl_pathc; i++) run_file(files.gl_pathv[i]);
    FUZZ_CHECK(argc > 1 || fuzz_accepted > 0);
    check_memory();
    snprintf(command, sizeof command, "rm -r %s", scratch);
    FUZZ_CHECK(chdir("/") == 0 && system(command) == 0);
    printf("ok %s: %zu inputs\n", target, files.gl_pathc);
    globfree(&files);
    return 0;
}
