/* study.c: a comparison from one description: tunes every method's grid, trains the chosen points on all seeds,
 * and goes on where it was stopped or killed.
 *
 *     ./study configs/study_small.json
 *     ./study configs/study_small.json --plan
 */
#include "core/file.h"
#include "core/memory.h"
#include "core/threads.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "train/progress.h"
#include "train/study_plan.h"
#include "train/study_store.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <locale.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { CHILDREN_MAX = 1024 };

#define ORPHANS_S 10 /* so long children of a study that was killed may take to die, and hold their runs */

/* A run that is being trained. */
typedef struct Child {
    pid_t pid;
    char dir[STUDY_DIR_MAX];
    double start_s;
} Child;

/* What is known of a run that has ended: read from the disk once. */
typedef struct Ended {
    char dir[STUDY_DIR_MAX], identity[17];
    StudyOutcome outcome;
} Ended;

typedef struct Study {
    StudySpec spec;
    StudyPlan plan;
    StudyWorld world;
    char program[4096]; /* train_gpt */
    int cores, side_by_side;
    double start_s;
    Child children[CHILDREN_MAX];
    int child_count;
    Ended *ended;
    size_t ended_count, ended_room;
    char failed[STUDY_DIR_MAX]; /* the run that failed; "" */
    Error failure;
    int lock_fd;
} Study;

/* The first signal lets the children save and ends the study; the same one again ends all at once. */
static volatile sig_atomic_t stop_signal;

static void on_signal(int number) {
    stop_signal = number;
}

static void on_child(int number) {
    (void)number; /* it cuts a sleep short */
}

static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND};
    struct sigaction child = {.sa_handler = on_child, .sa_flags = SA_NOCLDSTOP};
    struct sigaction hangup;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGCHLD, &child, NULL);
    signal(SIGPIPE, SIG_IGN);
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
}

static double clock_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ----------------------------------------------------------------------------------------- the plan's world */

/* As train_gpt counts them. */
static bool count_steps(void *context, const Config *config, int64_t *steps, Error *err) {
    const TrainSection *t = &config->train;
    int64_t T = config->model.block_size, step_tokens = t->batch_size * t->grad_accum * T;
    double tokens = (double)t->tokens;
    (void)context;
    if (t->epochs > 0) {
        DatasetInfo info = {0};
        Loader loader;
        if (!dataset_info(config->data.dir, &info, err) ||
            !loader_open(&loader, config->data.dir, "train", (int)T, info.vocab_size, true, 0, err))
            return false;
        tokens = t->epochs * (double)(loader.window_count * T);
        loader_close(&loader);
    }
    *steps = t->steps > 0 ? t->steps : (int64_t)ceil(tokens / (double)step_tokens);
    return true;
}

static Child *find_child(Study *s, const char *dir) {
    for (int i = 0; i < s->child_count; i++)
        if (strcmp(s->children[i].dir, dir) == 0) return &s->children[i];
    return NULL;
}

static StudyOutcome outcome_of(void *context, const StudyRun *run, const StudyTask *task) {
    Study *s = context;
    Error none;
    if (find_child(s, run->dir)) return (StudyOutcome){.state = STUDY_RUNNING, .loss = NAN};
    if (strcmp(s->failed, run->dir) == 0) return (StudyOutcome){.state = STUDY_FAILED, .loss = NAN};
    for (size_t i = 0; i < s->ended_count; i++)
        if (strcmp(s->ended[i].dir, run->dir) == 0 && strcmp(s->ended[i].identity, task->identity) == 0)
            return s->ended[i].outcome;
    StudyOutcome outcome = study_store_outcome(run, task);
    bool ended = outcome.state == STUDY_DONE || outcome.state == STUDY_DIVERGED;
    if (ended &&
        array_reserve(&s->ended, &s->ended_room, s->ended_count + 1, sizeof *s->ended, "study", &none)) {
        Ended *e = &s->ended[s->ended_count++];
        memcpy(e->dir, run->dir, sizeof e->dir);
        memcpy(e->identity, task->identity, sizeof e->identity);
        e->outcome = outcome;
    }
    return outcome;
}

static bool has_checkpoint(void *context, const StudyRun *run, int64_t step) {
    return study_store_has_checkpoint(&((Study *)context)->spec, run, step);
}

/* Forgets what is known of a run that is about to be trained. */
static void forget(Study *s, const char *dir) {
    for (size_t i = 0; i < s->ended_count; i++)
        if (strcmp(s->ended[i].dir, dir) == 0) s->ended[i--] = s->ended[--s->ended_count];
}

/* --------------------------------------------------------------------------------------------------- children */

/* In the child: becomes train_gpt. It dies with the study, so that none goes on writing unseen. */
static void become(const Study *s, pid_t parent, int log, char *const *words) {
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(ERR_STOPPED);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    dup2(null, STDIN_FILENO);
    dup2(log, STDOUT_FILENO);
    dup2(log, STDERR_FILENO);
    execv(s->program, words);
    fprintf(stderr, "error: %s: %s\n", s->program, strerror(errno));
    _exit(ERR_IO);
}

static bool start_run(Study *s, int place, int threads, Error *err) {
    const StudyTask *task = &s->plan.tasks[place];
    StudyRun *run = &s->plan.index.runs[place];
    char config[STUDY_PATH_MAX], log_path[STUDY_PATH_MAX], thread_word[32];
    char *words[] = {s->program, config, thread_word,
                     study_store_is_taken(task) ? "train.resume=never" : NULL, NULL};
    bool branch = task->trunk >= 0;
    study_store_config(&s->spec, run, config);
    snprintf(thread_word, sizeof thread_word, "train.threads=%d", threads);
    if (!study_store_prepare(&s->spec, run, task, branch ? &s->plan.index.runs[task->trunk] : NULL,
                             branch ? &s->plan.tasks[task->trunk] : NULL, err))
        return false;
    int log =
        open(study_store_log(&s->spec, run, log_path), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (log < 0) return error_set(err, ERR_IO, "%s: cannot be written: %s", log_path, strerror(errno));
    Child *child = &s->children[s->child_count];
    *child = (Child){.start_s = clock_s()};
    memcpy(child->dir, run->dir, sizeof child->dir);
    forget(s, run->dir);
    fflush(stdout);
    pid_t parent = getpid();
    child->pid = fork();
    if (child->pid == 0) become(s, parent, log, words);
    close(log);
    if (child->pid < 0) return error_set(err, ERR_IO, "cannot start %s: %s", s->program, strerror(errno));
    s->child_count++;
    run->state = STUDY_RUNNING;
    return true;
}

static bool all_kept(const Study *s, const StudyRun *run, const StudyTask *task) {
    const char *list = task->keep_steps;
    for (char *end; *list; list = end + (*end == ','))
        if (!study_store_has_checkpoint(&s->spec, run, strtoll(list, &end, 10))) return false;
    return true;
}

static int find_place(const Study *s, const char *dir) {
    for (int i = 0; i < s->plan.index.run_count; i++)
        if (strcmp(s->plan.index.runs[i].dir, dir) == 0) return i;
    return -1;
}

/* A run that neither finished nor diverged: the study ends with it. */
static void note_failure(Study *s, const StudyRun *run, int status) {
    char log[STUDY_PATH_MAX];
    if (*s->failed) return;
    study_store_log(&s->spec, run, log);
    memcpy(s->failed, run->dir, sizeof s->failed);
    if (WIFSIGNALED(status))
        error_set(&s->failure, ERR_IO, "%s was killed (%s)%s; its log: %s", run->dir,
                  strsignal(WTERMSIG(status)),
                  WTERMSIG(status) == SIGKILL ? ", perhaps for lack of memory" : "", log);
    else
        error_set(&s->failure, (ErrorCode)(WEXITSTATUS(status) ? WEXITSTATUS(status) : ERR_IO),
                  "%s failed with exit status %d; its log: %s", run->dir, WEXITSTATUS(status), log);
}

/* A child has ended. */
static void end_run(Study *s, Child *child, int status) {
    int place = find_place(s, child->dir);
    const StudyRun *run = &s->plan.index.runs[place];
    const StudyTask *task = &s->plan.tasks[place];
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    char time[32];
    double taken_s = clock_s() - child->start_s;
    *child = s->children[--s->child_count];
    StudyOutcome outcome = study_store_outcome(run, task);
    format_duration(taken_s, time, sizeof time);
    if (code == 0 && outcome.state == STUDY_DONE && all_kept(s, run, task))
        printf("%s: %.4f (%s)\n", run->dir, outcome.loss, time);
    else if (code == ERR_DIVERGED && outcome.state == STUDY_DIVERGED)
        printf("%s: diverged after step %lld (%s)\n", run->dir, (long long)outcome.last_step, time);
    else if (!stop_signal && !(code == ERR_BUSY && clock_s() - s->start_s < ORPHANS_S))
        note_failure(s, run, status);
    fflush(stdout);
}

static bool reap(Study *s) {
    bool any = false;
    for (int i = 0; i < s->child_count; i++) {
        int status;
        if (waitpid(s->children[i].pid, &status, WNOHANG) != s->children[i].pid) continue;
        end_run(s, &s->children[i--], status);
        any = true;
    }
    return any;
}

/* ------------------------------------------------------------------------------------------------ the study */

static bool remake_plan(Study *s, Error *err) {
    study_plan_free(&s->plan);
    return study_plan_make(&s->plan, &s->spec, &s->world, err) &&
           study_index_write(&s->plan.index, s->spec.dir, err);
}

static bool has_ended(const StudyRun *run) {
    return run->state == STUDY_DONE || run->state == STUDY_DIVERGED;
}

/* Will any run still branch off one of this method's? */
static bool is_needed(const Study *s, int method) {
    for (int i = method + 1; i < s->spec.method_count; i++) {
        if (s->spec.methods[i].trunk != method) continue;
        if (!s->plan.index.methods[i].settings) return true;
        for (int k = 0; k < s->plan.index.run_count; k++)
            if (s->plan.tasks[k].method == i && !has_ended(&s->plan.index.runs[k])) return true;
    }
    return false;
}

/* Removes the checkpoints that nobody needs any more. */
static void tidy(Study *s) {
    for (int i = 0; i < s->plan.index.run_count; i++) {
        const StudyRun *run = &s->plan.index.runs[i];
        const StudyTask *task = &s->plan.tasks[i];
        if (!has_ended(run) || (*task->keep_steps && is_needed(s, task->method))) continue;
        bool keep = s->spec.checkpoints == KEEP_FINAL && run->phase == STUDY_FINAL;
        study_store_remove_checkpoints(&s->spec, run, keep ? 1 : 0);
    }
}

/* Starts what there is room for. */
static bool start_runs(Study *s, Error *err) {
    int ready = 0;
    for (int i = 0; i < s->plan.index.run_count; i++) ready += s->plan.tasks[i].ready;
    int at_once = s->child_count + ready < s->side_by_side ? s->child_count + ready : s->side_by_side;
    int threads = at_once > 0 && s->cores > at_once ? s->cores / at_once : 1;
    for (int i = 0; i < s->plan.index.run_count && s->child_count < s->side_by_side; i++)
        if (s->plan.tasks[i].ready && !start_run(s, i, threads, err)) return false;
    return true;
}

static void stop_children(Study *s) {
    for (int i = 0; i < s->child_count; i++) kill(s->children[i].pid, SIGTERM);
}

/* Until all runs have ended, one has failed and the others have ended, or a signal came and they have saved. */
static bool run_study(Study *s, Error *err) {
    bool stopping = false, ok = remake_plan(s, err);
    while (ok) {
        tidy(s);
        if (!stop_signal && !*s->failed) ok = start_runs(s, err);
        if (!ok || s->child_count == 0) break;
        if (!study_index_write(&s->plan.index, s->spec.dir, err)) ok = false;
        while (ok && !reap(s)) {
            if (stop_signal && !stopping) {
                stop_children(s);
                stopping = true;
            }
            nanosleep(&(struct timespec){.tv_nsec = 200 * 1000000}, NULL);
        }
        ok = ok && remake_plan(s, err);
    }
    if (!ok) stop_children(s);
    while (s->child_count > 0 && !reap(s)) nanosleep(&(struct timespec){.tv_nsec = 100 * 1000000}, NULL);
    return ok;
}

/* The same folder's train_gpt. */
static bool find_program(Study *s, Error *err) {
    char self[4000];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n < 0) return error_set(err, ERR_IO, "/proc/self/exe: %s", strerror(errno));
    self[n] = '\0';
    snprintf(s->program, sizeof s->program, "%s/train_gpt", dirname(self));
    return access(s->program, X_OK) == 0 ||
           error_set(err, ERR_IO, "%s: %s; type make", s->program, strerror(errno));
}

/* Are all configs right, also those of runs that are not known yet? */
static bool check_configs(Study *s, Error *err) {
    s->world.guess = true;
    bool ok = study_plan_make(&s->plan, &s->spec, &s->world, err);
    study_plan_free(&s->plan);
    s->world.guess = false;
    return ok;
}

static bool study_command(const char *path, bool plan_only, Error *err) {
    Study *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, ERR_IO, "study: out of memory");
    s->lock_fd = -1;
    s->world = (StudyWorld){
        .context = s, .total_steps = count_steps, .outcome = outcome_of, .has_checkpoint = has_checkpoint};
    bool ok = study_spec_read(&s->spec, path, err) && find_program(s, err) && check_configs(s, err);
    if (ok && !plan_only) {
        s->cores = threads_available();
        s->start_s = clock_s();
        s->side_by_side = s->spec.side_by_side ? (int)s->spec.side_by_side : s->cores;
        ok = (s->lock_fd = study_store_lock(s->spec.dir, err)) >= 0 && study_store_describe(&s->spec, err);
        catch_signals();
        ok = ok && run_study(s, err);
        if (ok && *s->failed) {
            *err = s->failure;
            ok = false;
        } else if (ok && !s->plan.index.done) {
            ok = error_set(err, ERR_STOPPED, "%s: stopped; the same command goes on with it", s->spec.dir);
        }
        if (ok) printf("done: %s\n", s->spec.dir);
    }
    if (s->lock_fd >= 0) close(s->lock_fd);
    study_plan_free(&s->plan);
    study_spec_free(&s->spec);
    free(s->ended);
    free(s);
    return ok;
}

static void print_usage(FILE *out) {
    fputs("usage: study STUDY.json [--plan]\n"
          "Trains what the description asks for (docs/studies.md), or goes on with it.\n"
          "  --plan    what it would train: runs, compute, memory, time; writes nothing\n",
          out);
}

int main(int argc, char **argv) {
    Error err;
    const char *path = NULL;
    bool plan_only = false, wrong = false;
    setlocale(LC_CTYPE, "");
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            print_usage(stdout);
            return error_check_stdout(&err) ? 0 : error_print(&err);
        }
        if (strcmp(argv[i], "--plan") == 0) plan_only = true;
        else if (argv[i][0] == '-' || path) wrong = true;
        else path = argv[i];
    }
    if (!path || wrong) {
        print_usage(stderr);
        return ERR_CONFIG;
    }
    if (!study_command(path, plan_only, &err)) return error_print(&err);
    return error_check_stdout(&err) ? 0 : error_print(&err);
}
