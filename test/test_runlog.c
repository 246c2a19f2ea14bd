/* A run's directory: what is in it, who may write it, and what happens to an earlier run. */
#include "train/runlog.h"

#include "core/json.h"
#include <dirent.h>
#include <math.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/test_runlog.XXXXXX", dir[128];
static Config config;
static RunLog run;
static Error err;

static bool opens(const char *run_dir) {
    return runlog_open(&run, &config, run_dir, "./train_gpt a \"b\"", 3, &err);
}

static void must_open(const char *run_dir) {
    if (!opens(run_dir)) fail_msg("%s", err.text);
}

static const char *in_run(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static char *read_text(const char *name) {
    static char text[1 << 16];
    FILE *file = fopen(in_run(name), "rb");
    if (!file) return NULL;
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    return text;
}

static cJSON *read_json(const char *name) {
    cJSON *root = json_read(in_run(name), 1 << 16, ERR_IO, &err);
    if (!root) fail_msg("%s", err.text);
    return root;
}

static const char *text_of(const cJSON *object, const char *key) {
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(object, key));
    if (!text) fail_msg("no %s", key);
    return text;
}

static double number_of(const cJSON *object, const char *key) {
    return cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(object, key));
}

static int remove_dir(const char *path) {
    char command[256];
    snprintf(command, sizeof command, "rm -rf '%s'", path);
    return system(command);
}

/* A fresh place for each test. */
static int set_up(void **state) {
    (void)state;
    snprintf(dir, sizeof dir, "%s/runs/small", folder);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    char runs[128];
    runlog_close(&run);
    snprintf(runs, sizeof runs, "%s/runs", folder);
    return remove_dir(runs);
}

static StepRecord record_at(int64_t step) {
    StepRecord r = step_record_empty();
    r.step = step;
    r.tokens = step * 1024;
    r.time_s = 0.5 * (double)step;
    r.train_loss = 3.25;
    return r;
}

/* ------------------------------------------------------------------------------------------------- the files */

static void a_run_should_hold_its_config_and_its_machine(void **state) {
    (void)state;
    must_open(dir);
    assert_string_equal(run.moved_to, "");
    Config again;
    assert_true(config_load(&again, in_run("config.json"), NULL, 0, &err));
    assert_memory_equal(&again, &config, offsetof(Config, chosen));
    config_free(&again);

    cJSON *machine = read_json("machine.json");
    assert_string_equal(text_of(machine, "command"), "./train_gpt a \"b\"");
    assert_true(number_of(machine, "threads") == 3);
    assert_true(number_of(machine, "cores") >= 1 && number_of(machine, "memory_bytes") > 1e6);
    const char *keys[] = {"commit", "compiler", "flags", "host", "system", "cpu"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) assert_true(*text_of(machine, keys[i]) != '\0');
    int year, month, day, hour, minute, second, end = 0;
    assert_int_equal(sscanf(text_of(machine, "start_time"), "%4d-%2d-%2dT%2d:%2d:%2dZ%n", &year, &month,
                            &day, &hour, &minute, &second, &end),
                     6);
    assert_int_equal(end, 20);
    assert_string_equal(text_of(cJSON_GetObjectItem(machine, "libraries"), "cjson"), cJSON_Version());
    cJSON_Delete(machine);
}

static void metrics_should_be_one_object_a_line_with_exact_numbers(void **state) {
    (void)state;
    must_open(dir);
    StepRecord r = record_at(1);
    r.train_loss = 0.1f;
    r.val_loss = 1.0 / 3;
    r.lr = 1e-4;
    r.temperature = 12.5;
    r.saturated_frac = 1;
    r.dual_progress = 0.25;
    assert_true(runlog_step(&run, &r, &err));
    r = record_at(2);
    assert_true(runlog_step(&run, &r, &err));
    assert_string_equal(
        read_text("metrics.jsonl"),
        "{\"step\":1,\"tokens\":1024,\"time_s\":0.5,\"train/loss\":0.10000000149011612,"
        "\"val/loss\":0.3333333333333333,\"lr\":0.0001,\"temperature\":12.5,\"saturated_frac\":1,"
        "\"dual_progress\":0.25}\n"
        "{\"step\":2,\"tokens\":2048,\"time_s\":1,\"train/loss\":3.25}\n");
}

static void what_json_cannot_say_should_be_absent_or_null(void **state) {
    (void)state;
    must_open(dir);
    StepRecord r = record_at(1);
    r.train_loss = INFINITY;
    r.grad_norm = NAN;
    r.lr = -INFINITY;
    r.temperature = INFINITY;
    assert_true(runlog_step(&run, &r, &err));
    assert_string_equal(read_text("metrics.jsonl"),
                        "{\"step\":1,\"tokens\":1024,\"time_s\":0.5,\"temperature\":null}\n");
}

static void samples_should_be_appended_byte_by_byte(void **state) {
    (void)state;
    must_open(dir);
    assert_true(runlog_sample(&run, 5, "It is\0a", 7, &err) && runlog_sample(&run, 10, "\xff", 1, &err));
    char *text = read_text("samples.txt");
    assert_memory_equal(text, "--- step 5 ---\nIt is\0a\n\n--- step 10 ---\n\xff\n\n", 44);
}

static void a_summary_should_tell_final_and_best_loss_and_times(void **state) {
    (void)state;
    must_open(dir);
    const double val[] = {4, 2, 3, NAN};
    for (int i = 0; i < 4; i++) {
        StepRecord r = record_at(10 * (i + 1));
        r.val_loss = val[i];
        r.forward_s = 1;
        r.optimizer_s = 0.5;
        r.eval_s = isnan(val[i]) ? NAN : 2;
        assert_true(runlog_step(&run, &r, &err));
    }
    assert_null(read_text("summary.json"));
    assert_true(runlog_finish(&run, "finished", &err));
    cJSON *s = read_json("summary.json");
    assert_true(cJSON_IsTrue(cJSON_GetObjectItem(s, "finished")));
    assert_true(number_of(s, "steps") == 40 && number_of(s, "tokens") == 40960 &&
                number_of(s, "time_s") == 20);
    assert_true(number_of(s, "final_val_loss") == 3 && number_of(s, "final_train_loss") == 3.25);
    assert_true(number_of(s, "best_val_loss") == 2 && number_of(s, "best_val_step") == 20);
    assert_true(number_of(s, "forward_s") == 4 && number_of(s, "optimizer_s") == 2 &&
                number_of(s, "eval_s") == 6);
    assert_true(fabs(number_of(s, "tokens_per_s") - 40960.0 / 14) < 1e-9);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(s, "backward_s")));
    cJSON_Delete(s);
}

static void a_run_that_did_not_finish_should_say_so(void **state) {
    (void)state;
    must_open(dir);
    assert_true(runlog_finish(&run, "diverged", &err));
    cJSON *s = read_json("summary.json");
    assert_true(cJSON_IsFalse(cJSON_GetObjectItem(s, "finished")));
    assert_string_equal(text_of(s, "outcome"), "diverged");
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(s, "final_val_loss")));
    cJSON_Delete(s);
}

/* --------------------------------------------------------------------------------------------- one writer only */

static void an_earlier_run_should_be_moved_aside_never_overwritten(void **state) {
    (void)state;
    for (int i = 1; i <= 3; i++) {
        must_open(i == 2 ? strcat(strcpy((char[140]){0}, dir), "//") : dir);
        char expected[160] = "";
        if (i > 1) snprintf(expected, sizeof expected, "%s.%d", dir, i - 1);
        assert_string_equal(run.moved_to, expected);
        assert_string_equal(read_text("metrics.jsonl"), "");
        StepRecord r = record_at(i);
        assert_true(runlog_step(&run, &r, &err));
        runlog_close(&run);
    }
    for (int i = 1; i <= 3; i++) {
        char name[32], line[64];
        snprintf(name, sizeof name, i < 3 ? "../small.%d/metrics.jsonl" : "metrics.jsonl", i);
        snprintf(line, sizeof line, "{\"step\":%d,", i);
        assert_memory_equal(read_text(name), line, strlen(line));
    }
}

static void a_free_number_should_be_found_and_strangers_left_alone(void **state) {
    (void)state;
    must_open(dir);
    runlog_close(&run);
    char taken[140];
    snprintf(taken, sizeof taken, "%s.1", dir);
    assert_int_equal(mkdir(taken, 0777), 0);
    must_open(dir);
    assert_string_equal(run.moved_to + strlen(dir), ".2");
    assert_int_equal(rmdir(taken), 0);
}

static int count_entries(const char *path) {
    DIR *d = opendir(path);
    assert_non_null(d);
    int n = 0;
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

static void the_second_writer_should_lose_having_written_nothing(void **state) {
    (void)state;
    must_open(dir);
    StepRecord r = record_at(1);
    assert_true(runlog_step(&run, &r, &err));
    struct stat before, after;
    char parent[128];
    snprintf(parent, sizeof parent, "%s/runs", folder);
    int entries = count_entries(dir), runs = count_entries(parent);
    assert_int_equal(stat(in_run("config.json"), &before), 0);

    RunLog second;
    assert_false(runlog_open(&second, &config, dir, "", 1, &err));
    assert_int_equal(err.code, ERR_BUSY);
    assert_null(strchr(err.text, '\n'));
    assert_int_equal(stat(in_run("config.json"), &after), 0);
    assert_true(before.st_ino == after.st_ino && before.st_mtim.tv_nsec == after.st_mtim.tv_nsec);
    assert_true(count_entries(dir) == entries && count_entries(parent) == runs);
    runlog_close(&second);
}

/* Stands in for libc's: a rival may move the directory between open and flock. */
static const char *moved_before_flock;

int flock(int fd, int operation) {
    if (moved_before_flock) assert_int_equal(rename(dir, moved_before_flock), 0);
    moved_before_flock = NULL;
    return (int)syscall(SYS_flock, fd, operation);
}

static void a_lock_in_a_directory_that_was_moved_away_should_not_count(void **state) {
    (void)state;
    char rival[140];
    snprintf(rival, sizeof rival, "%s.rival", dir);
    moved_before_flock = rival;
    must_open(dir);
    assert_null(moved_before_flock);
    RunLog second;
    assert_false(runlog_open(&second, &config, dir, "", 1, &err));
    assert_int_equal(err.code, ERR_BUSY);
}

/* Eight processes want the same directory, which holds a run, at once. */
static int start_rival(int gate, int hold) {
    pid_t pid = fork();
    if (pid != 0) return pid;
    char c;
    RunLog log;
    if (read(gate, &c, 1) < 0) _exit(99);
    bool won = runlog_open(&log, &config, dir, "", 1, &err);
    if (won && read(hold, &c, 1) < 0) _exit(99);
    _exit(won ? 0 : err.code);
}

static void one_of_many_rivals_should_win(void **state) {
    (void)state;
    enum { ROUNDS = 10, RIVALS = 8 };
    must_open(dir);
    runlog_close(&run);
    for (int round = 0; round < ROUNDS; round++) {
        int gate[2], hold[2], won = 0, busy = 0, status;
        assert_true(pipe(gate) == 0 && pipe(hold) == 0);
        for (int i = 0; i < RIVALS; i++) assert_true(start_rival(gate[0], hold[0]) > 0);
        assert_int_equal(write(gate[1], "xxxxxxxx", RIVALS), RIVALS);
        for (int i = 0; i < RIVALS; i++) {
            if (i == RIVALS - 1) assert_int_equal(write(hold[1], "x", 1), 1); /* only the winner is left */
            assert_true(wait(&status) > 0 && WIFEXITED(status));
            won += WEXITSTATUS(status) == 0;
            busy += WEXITSTATUS(status) == ERR_BUSY;
        }
        assert_int_equal(won, 1);
        assert_int_equal(busy, RIVALS - 1);
        for (int i = 0; i < 2; i++) close(gate[i]), close(hold[i]);
    }
    char parent[128];
    snprintf(parent, sizeof parent, "%s/runs", folder);
    assert_int_equal(count_entries(parent), 2 + 1 + ROUNDS);
}

/* ------------------------------------------------------------------------------------------------------ faults */

static void directories_that_cannot_be_written_should_be_one_clear_line(void **state) {
    (void)state;
    must_open(dir);
    runlog_close(&run);
    char long_name[2000];
    memset(long_name, 'x', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    const char *bad[] = {"/proc/no/run",        "/dev/null", "/dev/null/run",
                         in_run("config.json"), "",          long_name};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_false(opens(bad[i]));
        assert_int_equal(err.code, ERR_IO);
        assert_null(strchr(err.text, '\n'));
    }
}

static void half_a_line_should_be_taken_back_when_the_disk_is_full(void **state) {
    (void)state;
    must_open(dir);
    StepRecord r = record_at(1);
    assert_true(runlog_step(&run, &r, &err));
    struct stat whole;
    assert_int_equal(stat(in_run("metrics.jsonl"), &whole), 0);

    struct rlimit old, full;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    full = (struct rlimit){(rlim_t)whole.st_size + 10, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
    bool stepped = runlog_step(&run, &r, &err), finished = runlog_finish(&run, "finished", &(Error){0});
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);

    assert_false(stepped);
    assert_int_equal(err.code, ERR_IO);
    struct stat now;
    assert_int_equal(stat(in_run("metrics.jsonl"), &now), 0);
    assert_int_equal(now.st_size, whole.st_size);
    assert_false(finished);
    assert_null(read_text("summary.json"));
    assert_null(read_text("summary.json.tmp"));
    assert_true(runlog_step(&run, &r, &err));
}

/* ---------------------------------------------------------------------------------------------------- going on */

/* A run with a mark behind step 2, a line and a sample more, stopped. */
static RunLogMark stopped_run(void) {
    RunLogMark mark;
    must_open(dir);
    for (int step = 0; step <= 3; step++) {
        StepRecord r = record_at(step);
        r.val_loss = step == 1 ? 2.5 : 3;
        r.forward_s = 0.5;
        assert_true(runlog_step(&run, &r, &err) && runlog_sample(&run, step, "text", 4, &err));
        if (step == 2) assert_true(runlog_mark(&run, &mark, &err));
    }
    assert_true(runlog_finish(&run, "stopped", &err));
    runlog_close(&run);
    return mark;
}

static void a_log_should_go_on_behind_its_mark(void **state) {
    (void)state;
    RunLogMark mark = stopped_run();
    size_t metrics = (size_t)mark.metrics_bytes, samples = (size_t)mark.samples_bytes;
    char before[4096];
    strcpy(before, read_text("metrics.jsonl"));
    assert_true(runlog_lock(&run, dir, &err));
    if (!runlog_continue(&run, &config, "again", 5, 2, &mark, &err)) fail_msg("%s", err.text);
    assert_int_equal(strlen(read_text("metrics.jsonl")), metrics);
    assert_memory_equal(read_text("metrics.jsonl"), before, metrics);
    assert_int_equal(strlen(read_text("samples.txt")), samples);
    assert_null(read_text("summary.json"));
    assert_int_equal(run.last.step, 2);
    assert_true(run.best_val_loss == 2.5 && run.best_val_step == 1 && run.last.forward_s == 1.5);

    StepRecord r = record_at(3);
    assert_true(runlog_step(&run, &r, &err));
    assert_non_null(strstr(read_text("metrics.jsonl") + metrics, "{\"step\":3,"));
    cJSON *machine = read_json("machine.json");
    const cJSON *list = cJSON_GetObjectItem(machine, "continued"), *now = cJSON_GetArrayItem(list, 0);
    assert_int_equal(cJSON_GetArraySize(list), 1);
    assert_string_equal(text_of(machine, "command"), "./train_gpt a \"b\"");
    assert_string_equal(text_of(now, "command"), "again");
    assert_true(number_of(now, "at_step") == 2 && number_of(now, "threads") == 5);
    cJSON_Delete(machine);
}

static void a_log_shorter_than_its_mark_should_be_refused(void **state) {
    (void)state;
    RunLogMark mark = stopped_run();
    assert_true(runlog_lock(&run, dir, &err));
    mark.metrics_bytes = 100000;
    assert_false(runlog_continue(&run, &config, "again", 5, 2, &mark, &err));
    assert_int_equal(err.code, ERR_CHECKPOINT);
    mark.metrics_bytes = 10; /* of an older checkpoint; the lock is still ours */
    assert_true(runlog_continue(&run, &config, "again", 5, 2, &mark, &err));
}

/* ------------------------------------------------------------------------------------- events for TensorBoard */

/* The steps of the event file's records behind the first, as "0s0t1s1t": s has figures, t is a sample's text. All
 * records are whole. */
static const char *event_steps(void) {
    static char out[256], bytes[1 << 16];
    size_t n = 0, at = 0, size;
    FILE *file = fopen(in_run("events.out.tfevents.0.train_gpt"), "rb");
    assert_non_null(file);
    size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    for (*out = '\0'; at < size;) {
        uint64_t length;
        memcpy(&length, bytes + at, 8);
        assert_true(at + 16 + length <= size);
        const char *event = bytes + at + 12; /* 9 bytes of wall time, 0x10 and the step if it is not 0 */
        const char *kind = memmem(event, length, "\x0a\x07samples", 9) ? "t"
                           : memmem(event, length, "tokens", 6)        ? "s"
                                                                       : "v";
        n += (size_t)snprintf(out + n, sizeof out - n, "%d%s", event[9] == 0x10 ? event[10] : 0, kind);
        at += 16 + length;
    }
    return out;
}

static void events_should_follow_lines_and_samples(void **state) {
    (void)state;
    stopped_run();
    assert_int_not_equal(access(in_run("events.out.tfevents.0.train_gpt"), F_OK), 0); /* not asked for */
    config.log.tensorboard = true;
    stopped_run();
    config.log.tensorboard = false;
    assert_string_equal(event_steps(), "0v0s0t1s1t2s2t3s3t");
    assert_int_equal(run.events_fd, -1); /* closed */
}

static void a_run_that_goes_on_should_show_each_step_once(void **state) {
    (void)state;
    config.log.tensorboard = true;
    RunLogMark mark = stopped_run(), none = mark;
    int fd = open(in_run("events.out.tfevents.0.train_gpt"), O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "\x30\0\0", 3), 3); /* a torn tail */
    close(fd);
    assert_true(runlog_lock(&run, dir, &err));
    if (!runlog_continue(&run, &config, "again", 5, 2, &mark, &err)) fail_msg("%s", err.text);
    assert_string_equal(event_steps(), "0v0s0t1s1t2s2t");
    StepRecord r = record_at(3);
    assert_true(runlog_step(&run, &r, &err));
    assert_string_equal(event_steps(), "0v0s0t1s1t2s2t3s");
    assert_int_equal(unlink(in_run("events.out.tfevents.0.train_gpt")),
                     0); /* somebody does not want the old ones */
    assert_true(runlog_continue(&run, &config, "again", 5, 2, &mark, &err));
    assert_true(runlog_step(&run, &r, &err));
    assert_string_equal(event_steps(), "0v3s");
    none.events_bytes = 0; /* of a run that had none until here */
    assert_true(runlog_continue(&run, &config, "again", 5, 2, &none, &err));
    assert_true(runlog_step(&run, &r, &err));
    assert_string_equal(event_steps(), "0v3s");
    config.log.tensorboard = false;
}

static void half_an_event_should_be_taken_back_when_the_disk_is_full(void **state) {
    (void)state;
    config.log.tensorboard = true;
    must_open(dir);
    config.log.tensorboard = false;
    StepRecord r = record_at(1);
    assert_true(runlog_step(&run, &r, &err));
    int events = run.events_fd;
    run.events_fd = open("/dev/full", O_WRONLY);
    assert_false(runlog_step(&run, &r, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.text, "TensorBoard"));
    assert_false(runlog_sample(&run, 1, "text", 4, &err));
    close(run.events_fd);
    run.events_fd = events;

    struct stat whole;
    assert_int_equal(fstat(events, &whole), 0);
    struct rlimit old, full;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
    full = (struct rlimit){(rlim_t)whole.st_size + 10, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(ftruncate(run.metrics_fd, 0), 0); /* room for the line, not for the event */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
    bool stepped = runlog_step(&run, &r, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
    signal(SIGXFSZ, SIG_DFL);
    assert_false(stepped);
    assert_string_equal(event_steps(), "0v1s");
}

static void only_what_ended_by_itself_should_count_as_ended(void **state) {
    (void)state;
    const char *outcomes[] = {"finished", "diverged", "stopped", "failed"};
    for (int i = 0; i < 4; i++) {
        must_open(dir);
        assert_true(runlog_is_unfinished(&run)); /* as after a kill */
        assert_true(runlog_finish(&run, outcomes[i], &err));
        assert_int_equal(runlog_is_unfinished(&run), i >= 2);
        runlog_close(&run);
    }
    snprintf(dir, sizeof dir, "%s/runs/none", folder);
    assert_true(runlog_lock(&run, dir, &err));
    assert_false(runlog_is_unfinished(&run));
}

static void closing_twice_or_after_a_failure_should_be_harmless(void **state) {
    (void)state;
    assert_false(opens("/dev/null"));
    runlog_close(&run);
    must_open(dir);
    runlog_close(&run);
    runlog_close(&run);
    must_open(dir);
}

static int create(void **state) {
    (void)state;
    run.lock_fd = run.metrics_fd = run.samples_fd = run.diagnostics_fd = run.events_fd = -1;
    if (!mkdtemp(folder)) return -1;
    snprintf(dir, sizeof dir, "%s/small.json", folder);
    FILE *file = fopen(dir, "w");
    if (!file || fputs("{\"train\":{\"steps\":40}}", file) < 0 || fclose(file) != 0) return -1;
    return config_load(&config, dir, NULL, 0, &err) ? 0 : -1;
}

static int clean_up(void **state) {
    (void)state;
    config_free(&config);
    return remove_dir(folder);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(a_run_should_hold_its_config_and_its_machine),
        TEST(metrics_should_be_one_object_a_line_with_exact_numbers),
        TEST(what_json_cannot_say_should_be_absent_or_null),
        TEST(samples_should_be_appended_byte_by_byte),
        TEST(a_summary_should_tell_final_and_best_loss_and_times),
        TEST(a_run_that_did_not_finish_should_say_so),
        TEST(a_log_should_go_on_behind_its_mark),
        TEST(a_log_shorter_than_its_mark_should_be_refused),
        TEST(events_should_follow_lines_and_samples),
        TEST(a_run_that_goes_on_should_show_each_step_once),
        TEST(half_an_event_should_be_taken_back_when_the_disk_is_full),
        TEST(only_what_ended_by_itself_should_count_as_ended),
        TEST(an_earlier_run_should_be_moved_aside_never_overwritten),
        TEST(a_free_number_should_be_found_and_strangers_left_alone),
        TEST(the_second_writer_should_lose_having_written_nothing),
        TEST(a_lock_in_a_directory_that_was_moved_away_should_not_count),
        TEST(one_of_many_rivals_should_win),
        TEST(directories_that_cannot_be_written_should_be_one_clear_line),
        TEST(half_a_line_should_be_taken_back_when_the_disk_is_full),
        TEST(closing_twice_or_after_a_failure_should_be_harmless),
    };
    return cmocka_run_group_tests(tests, create, clean_up);
}
