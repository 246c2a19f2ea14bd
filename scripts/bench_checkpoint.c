/* bench_checkpoint.c: does saving GPT-2 124M with AdamW's state run at the disk's own speed, and how long does training
 * stand still for it?
 *
 *     ./bench_checkpoint              # in runs/bench_checkpoint, five rounds, about two minutes
 *     ./bench_checkpoint FOLDER 9
 *
 * A round: dd writes the same bytes from memory, past the page cache, and syncs them; a save of a program that does
 * nothing else; dd once more; a save beside which training goes on, with all threads. A disk's speed changes from minute
 * to minute, so that a save is compared with the dd just before it. What it writes is removed. */
#include "core/memory.h"
#include "core/rng.h"
#include "core/threads.h"
#include "model/gpt2_file.h"
#include "train/checkpoint.h"
#include "train/stats.h"

#include <fcntl.h>
#include <omp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS_MAX = 100, BATCH_TOKENS = 256 };

static const GPT2Config GPT2_124M = {.L = 12, .C = 768, .NH = 12, .T = 1024, .V = 50257, .bias = true};
static const CheckpointSection KEEP = {.save = true, .keep_last = 1};

/* Of a save, one after the other: training stands still; files are written, synced and named; they are read again. */
typedef struct Times {
    double stall_s, write_s, verify_s;
    int passes; /* forward and backward, while it was written and read */
} Times;

typedef struct Bench {
    const char *folder;
    int threads, memory_fd, log_fd;
    GPT2 model;
    void *hyper;
    Optim optim;
    CheckpointWriter writer;
    size_t bytes;
    int32_t tokens[BATCH_TOKENS + 1];
    int64_t step;
    double stall_s[2][ROUNDS_MAX], ratio[2][ROUNDS_MAX]; /* alone; beside training */
    double pass_s;                                       /* when nothing is saved */
} Bench;

/* The training that goes on: a forward and a backward pass. */
static double train_pass(Bench *b) {
    double start = omp_get_wtime();
    gpt2_forward_backward(&b->model, b->tokens, b->tokens + 1, 1, BATCH_TOKENS, 0, 1);
    return omp_get_wtime() - start;
}

static bool fill_memory(Bench *b, Error *err) {
    const SafeTensors *files[] = {&b->writer.model, &b->writer.optim};
    b->memory_fd = memfd_create("checkpoint", 0);
    for (int i = 0; b->memory_fd >= 0 && i < 2; i++)
        for (size_t done = 0; done < files[i]->size;) {
            ssize_t n = write(b->memory_fd, files[i]->bytes + done, files[i]->size - done);
            if (n <= 0) return error_set(err, ERR_IO, "no memory for a copy of the files");
            done += (size_t)n;
        }
    return b->memory_fd >= 0 || error_set(err, ERR_IO, "no memory for a copy of the files");
}

static bool bench_open(Bench *b, Error *err) {
    const Optimizer *adamw = optimizer_find("adamw");
    char path[1024];
    SafeTensors image;
    OptimPlan plan;
    b->hyper = memory_alloc(adamw->hyper_size, 1, "settings", err);
    if (!b->hyper || !gpt2_create(&b->model, GPT2_124M, 1, b->threads, err)) return false;
    field_defaults(adamw->fields, b->hyper);
    for (int role = 0; role < ROLE_COUNT; role++) {
        plan.role[role].optimizer = adamw;
        plan.role[role].hyper = b->hyper;
        plan.role[role].lr = 1e-6;
        plan.role[role].weight_decay = 0;
    }
    if (!optim_create(&b->optim, &plan, b->model.params, b->model.param_count, b->threads, err))
        return false;
    for (int i = 0; i <= BATCH_TOKENS; i++)
        b->tokens[i] = (int32_t)(rng_bits(1, 0, (uint64_t)i) % (uint64_t)GPT2_124M.V);
    gpt2_init_weights(&b->model, 1);
    train_pass(b); /* touches memory */
    b->pass_s = train_pass(b);
    if (!optim_step(&b->optim, 1, 10, 1, false, err)) return false;
    mkdir("runs", 0777);
    mkdir(b->folder, 0777);
    snprintf(path, sizeof path, "%s/metrics.jsonl", b->folder);
    b->log_fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (b->log_fd < 0) return error_set(err, ERR_IO, "%s: cannot be written", path);
    if (!gpt2_file_layout(&image, &b->model, err) ||
        !checkpoint_open(&b->writer, b->folder, &KEEP, &image, gpt2_file_config_text(&GPT2_124M), &b->optim,
                         err))
        return false;
    gpt2_file_fill(&b->writer.model, &b->model);
    b->bytes = b->writer.model.size + b->writer.optim.size;
    return fill_memory(b, err);
}

static void bench_close(Bench *b) {
    char command[2048];
    checkpoint_close(&b->writer);
    optim_free(&b->optim);
    gpt2_free(&b->model);
    memory_free(b->hyper);
    snprintf(command, sizeof command, "rm -rf '%s/checkpoints' '%s/metrics.jsonl'; rmdir '%s'", b->folder,
             b->folder, b->folder);
    if (system(command) != 0) fprintf(stderr, "warning: %s could not be removed\n", b->folder);
}

static bool run_dd(Bench *b, double *seconds, Error *err) {
    char path[1100], command[2048];
    snprintf(path, sizeof path, "%s/dd", b->folder);
    snprintf(command, sizeof command,
             "dd if=/proc/%d/fd/%d of='%s' bs=8M oflag=direct conv=fsync status=none", (int)getpid(),
             b->memory_fd, path);
    double start = omp_get_wtime();
    bool ok = system(command) == 0 || error_set(err, ERR_IO, "dd failed");
    *seconds = omp_get_wtime() - start;
    unlink(path);
    return ok;
}

static double clock_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* When it got its name, by the time that the file system keeps of that. */
static bool named_at(const Bench *b, double *seconds, Error *err) {
    char path[1200];
    struct stat info;
    if (stat(checkpoint_path(b->writer.dir, b->step, path, sizeof path), &info) != 0)
        return error_set(err, ERR_IO, "%s: is not there", path);
    *seconds = (double)info.st_ctim.tv_sec + 1e-9 * (double)info.st_ctim.tv_nsec;
    return true;
}

static bool save(Bench *b, bool training, Times *t, Error *err) {
    CheckpointState state = {.step = ++b->step, .total_steps = 1000, .line = step_record_empty()};
    state.log.last = step_record_empty();
    const int log_fds[CHECKPOINT_LOGS] = {b->log_fd, b->log_fd, b->log_fd, -1};
    double start = clock_s(), named = 0;
    *t = (Times){0};
    gpt2_file_fill(&b->writer.model, &b->model);
    if (!checkpoint_save(&b->writer, &state, "{}", &b->optim, log_fds, err)) return false;
    double begun = clock_s();
    while (!checkpoint_has_ended(&b->writer))
        if (training) train_pass(b), t->passes++;
        else usleep(2000);
    if (!checkpoint_wait(&b->writer, err) || !named_at(b, &named, err)) return false;
    t->stall_s = begun - start;
    t->write_s = named - begun;
    t->verify_s = clock_s() - named;
    return true;
}

static bool measure(Bench *b, int rounds, Error *err) {
    Times t;
    double mb = (double)b->bytes / 1e6, dd_s;
    printf("%.0f MB; training takes %.2f s a pass of %d tokens, on %d threads\n\n", mb, b->pass_s,
           BATCH_TOKENS, b->threads);
    printf("%-18s%10s%10s%10s%10s%10s%10s%14s\n", "save", "stall s", "write s", "MB/s", "dd s", "MB/s",
           "of dd", "read again s");
    for (int round = 0; round < rounds; round++)
        for (int training = 0; training < 2; training++) {
            if (!run_dd(b, &dd_s, err) || !save(b, training, &t, err)) return false;
            b->stall_s[training][round] = t.stall_s;
            b->ratio[training][round] = dd_s / t.write_s;
            printf("%-18s%10.2f%10.2f%10.0f%10.2f%10.0f%10.2f%14.2f",
                   training ? "beside training" : "alone", t.stall_s, t.write_s, mb / t.write_s, dd_s,
                   mb / dd_s, dd_s / t.write_s, t.verify_s);
            if (t.passes) printf("   %d passes of %.2f s", t.passes, (t.write_s + t.verify_s) / t.passes);
            printf("\n");
            fflush(stdout);
        }
    for (int training = 0; training < 2; training++)
        printf("%smedian %s: %.2f of dd's speed, stall %.2f s\n", training ? "" : "\n",
               training ? "beside training" : "alone", stats_median(b->ratio[training], rounds),
               stats_median(b->stall_s[training], rounds));
    return true;
}

int main(int argc, char **argv) {
    threads_prepare(argv);
    static Bench b;
    Error err;
    int rounds = argc > 2 ? atoi(argv[2]) : 5;
    if (argc > 3 || rounds < 1 || rounds > ROUNDS_MAX ||
        (argc > 1 && (argv[1][0] == '-' || strchr(argv[1], '\'')))) {
        fprintf(stderr, "usage: bench_checkpoint [FOLDER [ROUNDS]]\n");
        return ERR_CONFIG;
    }
    b.threads = threads_available();
    b.folder = argc > 1 ? argv[1] : "runs/bench_checkpoint";
    bool ok = bench_open(&b, &err) && measure(&b, rounds, &err);
    bench_close(&b);
    return ok && error_check_stdout(&err) ? 0 : error_print(&err);
}
