/* world.c: see world.h. */
#include "test/faults/world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

enum { WORDS_MAX = 32, HANGS_AFTER_S = 600, ROOM_MB = 256 };

int world_scale = 1;
static char bin[PATH_MAX], folder[PATH_MAX], context[512];
static char settings[512];
static const char *only;
static long file_limit;
static jmp_buf failed;
static int failures;
static uint32_t random_state;

/* ---- tests ------------------------------------------------------------------------------------------- */

static const char CONFIG[] =
    "{\"model\": {\"n_layer\": 1, \"n_head\": 2, \"n_embd\": 16, \"block_size\": 16},\n"
    " \"data\": {\"dir\": \"data\"}, \"schedule\": {\"warmup_steps\": 2},\n"
    " \"train\": {\"steps\": 60, \"batch_size\": 2, \"grad_accum\": 2, \"threads\": 1},\n"
    " \"eval\": {\"every\": 10, \"tokens\": 64}, \"sample\": {\"every\": 20, \"tokens\": 10},\n"
    " \"log\": {\"every\": 1}, \"checkpoint\": {\"every\": 5, \"keep_last\": 3},\n"
    " \"optimizer\": {\"name\": \"softmuon\", \"alpha_sign\": 0.5}}\n";

static void leave(void) {
    if (*folder && chdir("/") == 0 && !getenv("KEEP")) shell("rm -rf '%s'", folder);
}

static void leave_at_signal(int number) {
    leave();
    _exit(128 + number);
}

static void make_corpus(void) {
    static const char *const words[] = {"the",  "cat",  "sat", "on", "a",  "mat",    "and",    "saw",
                                        "very", "mice", "who", "it", "of", "winter", "before", "."};
    mkdir("text", 0777);
    for (int document = 0; document < 40; document++) {
        char path[64];
        snprintf(path, sizeof path, "text/%d.txt", document);
        FILE *f = fopen(path, "w");
        for (int i = 0; f && i < 100; i++) fprintf(f, "%s ", words[random_below(16)]);
        if (!f || fclose(f) != 0) world_fail("%s cannot be written", path);
    }
    shell(
        "printf 'leak:dl_open\nleak:setlocale\n' >leaks"); /* glibc's own: for the shim's backtrace; without memory */
    FILE *f = fopen("tiny.json", "w");
    if (!f || fputs(CONFIG, f) < 0 || fclose(f) != 0) world_fail("tiny.json cannot be written");
}

/* In memory where there is room and programs may be started, which containers forbid. */
static const char *find_home(void) {
    struct statvfs fs;
    if (getenv("TMPDIR")) return getenv("TMPDIR");
    bool fits = access("/dev/shm", W_OK) == 0 && statvfs("/dev/shm", &fs) == 0 &&
                !(fs.f_flag & ST_NOEXEC) && (fs.f_bavail * fs.f_frsize) >> 20 >= ROOM_MB;
    return fits ? "/dev/shm" : "/tmp";
}

void world_begin(int argc, char **argv) {
    char *slash;
    if (argc > 1) world_scale = atoi(argv[1]);
    if (argc > 2) only = argv[2];
    if (world_scale < 1 || !realpath(argv[0], bin) || !(slash = strrchr(bin, '/'))) {
        fprintf(stderr, "usage: %s [SCALE [TEST]]\n", argv[0]);
        exit(2);
    }
    *slash = '\0';
    setvbuf(stdout, NULL, _IOLBF, 0);
    snprintf(folder, sizeof folder, "%s/faults.XXXXXX", find_home());
    if (setjmp(failed)) {
        leave();
        exit(1);
    }
    CHECK(mkdtemp(folder) && chdir(folder) == 0, "%s: %s", folder, strerror(errno));
    signal(SIGTERM, leave_at_signal);
    signal(SIGINT, leave_at_signal);
    shell("mkdir bin; cp '%s/train_gpt' '%s/prepare' '%s/faults.so' bin", bin, bin,
          bin); /* make may replace them */
    snprintf(bin, sizeof bin, "%.*s/bin", (int)sizeof bin - 5, folder);
    make_corpus();
    shell("%s/prepare text --out data --tokenizer byte >/dev/null", bin);
    CHECK(train("run.dir=whole", NULL) == 0, "a run without faults does not end well");
}

int world_end(void) {
    leave();
    return failures > 0;
}

void world_test(const char *name, void (*test)(void)) {
    if (only && strcmp(only, name) != 0) return;
    *context = *settings = '\0';
    file_limit = 0;
    shell(
        "find . -mindepth 1 -maxdepth 1 ! -name bin ! -name text ! -name data ! -name tiny.json ! -name leaks ! -name whole -exec rm -rf {} +");
    random_state = 1;
    if (setjmp(failed) == 0) {
        test();
        printf("ok %s\n", name);
    } else {
        printf("not ok %s\n", name);
        failures++;
    }
}

static void show(const char *path) {
    size_t size;
    char *text = file_text(path, &size);
    if (text && size)
        printf("    %s: %s%s\n", path, size > 1500 ? "..." : "", text + (size > 1500 ? size - 1500 : 0));
    free(text);
}

void world_fail(const char *format, ...) {
    va_list args;
    va_start(args, format);
    printf("    %s%s", context, *context ? ": " : "");
    vprintf(format, args);
    va_end(args);
    printf("\n");
    show("out");
    show("err");
    longjmp(failed, 1);
}

void world_context(const char *format, ...) {
    va_list args;
    va_start(args, format);
    vsnprintf(context, sizeof context, format, args);
    va_end(args);
}

uint32_t random_below(uint32_t below) {
    random_state = random_state * 1664525u + 1013904223u;
    return (uint32_t)((uint64_t)random_state * below >> 32);
}

void world_set(const char *words) {
    snprintf(settings, sizeof settings, "%s", words);
}

void world_limit_files(long bytes) {
    file_limit = bytes;
}

const char *world_bin(void) {
    return bin;
}

/* ---- processes --------------------------------------------------------------------------------------- */

static void child(va_list args, const char *word) {
    char program[PATH_MAX + 16], shim[PATH_MAX + 16];
    const char *argv[WORDS_MAX + 3] = {program, "tiny.json"};
    int count = 2;
    bool faults = false;
    snprintf(program, sizeof program, "%s/train_gpt", bin);
    snprintf(shim, sizeof shim, "%s/faults.so", bin);
    for (char *more = settings, *set; count < WORDS_MAX && (set = strsep(&more, " "));)
        if (*set) argv[count++] = set;
    for (; word && count < WORDS_MAX; word = va_arg(args, const char *)) {
        if (strncmp(word, "FAULT_", 6) == 0) faults = (putenv((char *)word), true);
        else argv[count++] = word;
    }
    if (faults) setenv("LD_PRELOAD", shim, 1);
    setenv("ASAN_OPTIONS", "verify_asan_link_order=0:allocator_may_return_null=1:fast_unwind_on_malloc=0",
           1);
    setenv("LSAN_OPTIONS", "suppressions=leaks:print_suppressions=0", 1);
    int out = open("out", O_WRONLY | O_CREAT | O_TRUNC, 0666),
        err = open("err", O_WRONLY | O_CREAT | O_TRUNC, 0666);
    dup2(out, 1);
    dup2(err, 2);
    close(out);
    close(err);
    if (file_limit) setrlimit(RLIMIT_FSIZE, &(struct rlimit){(rlim_t)file_limit, RLIM_INFINITY});
    alarm(HANGS_AFTER_S);
    execv(program, (char **)argv);
    _exit(127);
}

static pid_t launch_list(const char *word, va_list args) {
    fflush(stdout);
    pid_t process = fork();
    if (process == 0) child(args, word);
    CHECK(process > 0, "fork: %s", strerror(errno));
    return process;
}

pid_t launch(const char *word, ...) {
    va_list args;
    va_start(args, word);
    pid_t process = launch_list(word, args);
    va_end(args);
    return process;
}

int ended(pid_t process) {
    int status;
    while (waitpid(process, &status, 0) < 0) CHECK(errno == EINTR, "waitpid: %s", strerror(errno));
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    CHECK(code != 127, "train_gpt cannot be started");
    CHECK(code != 128 + SIGALRM, "it hangs");
    CHECK(code != 128 + SIGSEGV && code != 128 + SIGABRT && code != 128 + SIGBUS, "it crashes");
    bool tool = file_has("err", "CHECK failed: sanitizer_"); /* asan itself found no memory */
    CHECK(tool || (!file_has("err", "Sanitizer") && !file_has("err", "runtime error")),
          "a sanitizer complains");
    return code;
}

int train(const char *word, ...) {
    va_list args;
    va_start(args, word);
    pid_t process = launch_list(word, args);
    va_end(args);
    return ended(process);
}

void shell(const char *format, ...) {
    char command[4096];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    CHECK(system(command) == 0, "failed: %s", command);
}

/* ---- what a run has left ------------------------------------------------------------------------------ */

char *file_text(const char *path, size_t *size) {
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    *size = 0;
    if (fd < 0 || fstat(fd, &info) != 0) return NULL;
    char *text = calloc((size_t)info.st_size + 1, 1);
    ssize_t got = text ? read(fd, text, (size_t)info.st_size) : 0;
    *size = got > 0 ? (size_t)got : 0;
    close(fd);
    return text;
}

bool file_has(const char *path, const char *words) {
    size_t size;
    char *text = file_text(path, &size);
    bool has = text && strstr(text, words);
    free(text);
    return has;
}

int count_lines(const char *path, const char *beginning) {
    int count = 0;
    char line[4096];
    FILE *f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f)) count += strncmp(line, beginning, strlen(beginning)) == 0;
    if (f) fclose(f);
    return count;
}

static int highest(const char *run, const char *suffix) {
    char path[PATH_MAX], exact[64];
    int step, most = 0;
    snprintf(path, sizeof path, "%s/checkpoints", run);
    DIR *dir = opendir(path);
    for (struct dirent *entry; dir && (entry = readdir(dir));) {
        if (sscanf(entry->d_name, "step_%d", &step) != 1) continue;
        snprintf(exact, sizeof exact, "step_%08d%s", step, suffix);
        if (strcmp(exact, entry->d_name) == 0 && step > most) most = step;
    }
    if (dir) closedir(dir);
    return most;
}

int newest_step(const char *run) {
    return highest(run, "");
}

bool is_saving(const char *run) {
    return highest(run, ".tmp") > 0;
}

/* Takes out what a clock measured: ,"..._s":1.5 */
static void forget_times(char *text) {
    char *to = text;
    for (const char *from = text; *from;) {
        const char *end = from + 1;
        if (from[0] == ',' && from[1] == '"') end = strchr(from + 2, '"');
        if (end && end > from + 3 && end[-2] == '_' && end[-1] == 's') {
            from = end + strcspn(end, ",}");
            continue;
        }
        *to++ = *from++;
    }
    *to = '\0';
}

static void check_same_file(const char *run, const char *other, const char *name, bool timeless) {
    char a_path[PATH_MAX], b_path[PATH_MAX];
    size_t a_size, b_size;
    snprintf(a_path, sizeof a_path, "%s/%s", run, name);
    snprintf(b_path, sizeof b_path, "%s/%s", other, name);
    char *a = file_text(a_path, &a_size), *b = file_text(b_path, &b_size);
    if (a && b && timeless) {
        forget_times(a), forget_times(b);
        a_size = strlen(a), b_size = strlen(b);
    }
    bool same = a && b && a_size == b_size && memcmp(a, b, a_size) == 0;
    free(a), free(b);
    CHECK(same, "%s and %s are not the same", a_path, b_path);
}

void check_same_end(const char *run, const char *other, int step) {
    static const char *const files[] = {"model.safetensors", "optimizer.safetensors", "config.json"};
    char name[128];
    for (int i = 0; i < 3; i++) {
        snprintf(name, sizeof name, "checkpoints/step_%08d/%s", step, files[i]);
        check_same_file(run, other, name, false);
    }
    check_same_file(run, other, "metrics.jsonl", true);
    check_same_file(run, other, "samples.txt", false);
}

void check_goes_on(const char *run, const char *other, int step) {
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "run.dir=%s", run);
    int status = train(dir, NULL);
    CHECK(status == 0, "exit status %d when it should go on", status);
    check_same_end(other, run, step);
}

int count_calls(const char *path) {
    char fault[PATH_MAX];
    snprintf(fault, sizeof fault, "FAULT_PATH=%s", path);
    unlink("calls");
    int status = train("run.dir=counted", fault, "FAULT_LOG=calls", NULL);
    CHECK(status == 0, "exit status %d without faults", status);
    shell("rm -rf counted");
    return count_lines("calls", "");
}
