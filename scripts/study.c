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
#include "train/study_board.h"
#include "train/study_plan.h"
#include "train/study_speed.h"
#include "train/study_store.h"
#include "train/study_summary.h"

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

#define TICK_S    0.2
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
    StudyPlan outlook; /* were the first point of every grid that is not tuned yet the best */
    StudyWorld world;
    char program[4096]; /* train_gpt */
    int cores, side_by_side;
    double start_s;
    Child children[CHILDREN_MAX];
    int child_count;
    Ended *ended;
    size_t ended_count, ended_room;
    StudyBoard board;
    double first_step_s;        /* of a run, as measured before any has ended; NAN */
    double first_tokens;        /* that were trained when this process began */
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
    StudyOutcome outcome = study_store_outcome(task);
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
    if (log < 0) return error_errno(err, log_path, "be written");
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
    StudyOutcome outcome = study_store_outcome(task);
    format_duration(taken_s, time, sizeof time);
    if (code == 0 && outcome.state == STUDY_DONE && all_kept(s, run, task))
        study_board_note(&s->board, "%s: %.4f (%s)", run->dir + strlen("runs/"), outcome.loss, time);
    else if (code == ERR_DIVERGED && outcome.state == STUDY_DIVERGED)
        study_board_note(&s->board, "%s: diverged after step %lld (%s)", run->dir + strlen("runs/"),
                         (long long)outcome.last_step, time);
    else if (!stop_signal && !(code == ERR_BUSY && clock_s() - s->start_s < ORPHANS_S))
        note_failure(s, run, status);
}

static bool has_ended(const StudyRun *run) {
    return run->state == STUDY_DONE || run->state == STUDY_DIVERGED;
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

/* ------------------------------------------------------------------------------------------------- progress */

/* Seconds a step of this method's runs that have ended, of any other's, or as first measured. */
static double pace_of(const Study *s, int method) {
    double sum[2] = {0}, n[2] = {0};
    for (int i = 0; i < s->outlook.index.run_count; i++) {
        const StudyTask *task = &s->outlook.tasks[i];
        bool other = task->method != method;
        if (isnan(task->step_s)) continue;
        sum[other] += task->step_s;
        n[other]++;
    }
    for (int other = 0; other < 2; other++)
        if (n[other] > 0) return sum[other] / n[other];
    return s->first_step_s;
}

static int64_t tokens_a_step(const Config *c) {
    return c->train.batch_size * c->train.grad_accum * c->model.block_size;
}

/* What is done of every run, and what is left. */
static StudyFigures figures_of(Study *s) {
    int count = s->outlook.index.run_count;
    StudyPart *parts = calloc((size_t)count + 1, sizeof *parts);
    StudyFigures none = {.left_s = NAN};
    if (!parts) return none;
    for (int i = 0; i < count; i++) {
        const StudyTask *task = &s->outlook.tasks[i];
        const StudyRun *run = &s->outlook.index.runs[i];
        StepRecord record;
        int64_t begin = run->branch_step > 0 ? run->branch_step : 0;
        parts[i] = (StudyPart){.begin_step = begin,
                               .step = begin,
                               .total_steps = task->total_steps,
                               .tokens_a_step = tokens_a_step(&task->config),
                               .step_s = pace_of(s, task->method),
                               .ended = has_ended(run)};
        if (!find_child(s, run->dir) || !study_last_record(task->config.run.dir, &record)) continue;
        parts[i].step = record.step;
        if (record.step > 0 && isnan(parts[i].step_s))
            parts[i].step_s = record.time_s / (double)record.step;
    }
    StudyFigures f = study_figures(parts, count, s->side_by_side);
    free(parts);
    return f;
}

/* "adamw lr=0.003 seed 1   300/600  loss 4.2100  0:31" */
static void describe_run(const Study *s, const Child *child, char out[BOARD_LINE_SIZE]) {
    int place = find_place(s, child->dir);
    const StudyRun *run = &s->plan.index.runs[place];
    const StudyTask *task = &s->plan.tasks[place];
    char settings[128], time[32], loss[32] = "";
    StepRecord record = {0};
    if (study_last_record(task->config.run.dir, &record) && isfinite(record.train_loss))
        snprintf(loss, sizeof loss, "loss %.4f  ", record.train_loss);
    snprintf(out, BOARD_LINE_SIZE, "%s %s seed %lld  %lld/%lld  %s%s", run->method,
             study_settings_text(run->settings, settings, sizeof settings), (long long)run->seed,
             (long long)record.step, (long long)task->total_steps, loss,
             format_duration(clock_s() - child->start_s, time, sizeof time));
}

static void show(Study *s) {
    static char lines[CHILDREN_MAX + 1][BOARD_LINE_SIZE];
    StudyFigures f = figures_of(s);
    double rate = (f.tokens_done - s->first_tokens) / (clock_s() - s->start_s);
    for (int i = 0; i < s->child_count; i++) describe_run(s, &s->children[i], lines[i]);
    study_figures_text(&f, s->outlook.open_ended, rate, lines[s->child_count], BOARD_LINE_SIZE);
    study_board_show(&s->board, lines, s->child_count + 1);
}

/* ------------------------------------------------------------------------------------------------ the study */

static bool make_outlook(Study *s, Error *err) {
    study_plan_free(&s->outlook);
    s->world.guess = true;
    bool ok = study_plan_make(&s->outlook, &s->spec, &s->world, err);
    s->world.guess = false;
    return ok;
}

static bool remake_plan(Study *s, Error *err) {
    study_plan_free(&s->plan);
    return study_plan_make(&s->plan, &s->spec, &s->world, err) && make_outlook(s, err) &&
           study_index_write(&s->plan.index, s->spec.dir, err);
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

static void pause_s(double seconds) {
    nanosleep(&(struct timespec){.tv_nsec = (long)(seconds * 1e9)}, NULL);
}

/* Until a run ends. A signal is passed on, once. */
static void wait_for_run(Study *s, bool *stopping) {
    double shown_s = 0;
    while (!reap(s)) {
        if (stop_signal && !*stopping) stop_children(s);
        *stopping |= stop_signal != 0;
        if (clock_s() - shown_s >= 1) {
            show(s);
            shown_s = clock_s();
        }
        pause_s(TICK_S);
    }
}

/* Until all runs have ended, one has failed and the others have ended, or a signal came and they have saved. */
static bool run_study(Study *s, Error *err) {
    bool stopping = false, ok = remake_plan(s, err);
    s->first_tokens = ok ? figures_of(s).tokens_done : 0;
    s->start_s = clock_s();
    while (ok) {
        tidy(s);
        if (!stop_signal && !*s->failed) ok = start_runs(s, err);
        if (!ok || s->child_count == 0) break;
        ok = study_index_write(&s->plan.index, s->spec.dir, err);
        if (!ok) break;
        wait_for_run(s, &stopping);
        ok = remake_plan(s, err);
    }
    if (!ok) stop_children(s);
    while (s->child_count > 0)
        if (!reap(s)) pause_s(TICK_S);
    study_board_close(&s->board);
    return ok;
}

/* How the machine is shared, unless the description says so. */
static bool share_machine(Study *s, Error *err) {
    int waiting = 0, first = -1;
    StudySpeed speed;
    s->first_step_s = NAN;
    s->side_by_side = s->spec.side_by_side ? (int)s->spec.side_by_side : 1;
    for (int i = s->outlook.index.run_count - 1; i >= 0; i--)
        if (s->outlook.index.runs[i].state == STUDY_WAITING) first = i, waiting++;
    if (s->spec.side_by_side || first < 0) return true;
    if (!study_speed_share(&speed, s->program, &s->outlook.tasks[first].config, s->cores, waiting, stdout,
                           err))
        return false;
    s->side_by_side = speed.at_once;
    s->first_step_s = speed.run_s / (double)speed.total_steps;
    return true;
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

/* ------------------------------------------------------------------------------------------------------ --plan */

/* A method's line, timed by itself at the sharing that was chosen. */
static bool print_method(Study *s, int method, int threads, StudySpeed *most, double *flops, Error *err) {
    int runs = 0, ended = 0, first = -1;
    double steps = 0;
    for (int i = s->outlook.index.run_count - 1; i >= 0; i--) {
        const StudyRun *run = &s->outlook.index.runs[i];
        if (s->outlook.tasks[i].method != method) continue;
        first = i;
        runs++;
        ended += has_ended(run);
        if (!has_ended(run))
            steps +=
                (double)(s->outlook.tasks[i].total_steps - (run->branch_step > 0 ? run->branch_step : 0));
    }
    const StudyMethod *m = &s->outlook.index.methods[method];
    StudySpeed speed = {0};
    if (steps > 0 && !study_speed_measure(&speed, s->program, &s->outlook.tasks[first].config,
                                          s->side_by_side, threads, err))
        return false;
    double step_s = steps > 0 ? speed.run_s / (double)speed.total_steps : NAN;
    char tokens[16], time[32];
    for (int i = 0; i < s->outlook.index.run_count; i++)
        if (s->outlook.tasks[i].method == method) s->outlook.tasks[i].step_s = step_s;
    if (speed.memory_bytes > most->memory_bytes) *most = speed;
    *flops += steps * (double)speed.tokens_a_step * speed.flops_a_token;
    printf("%-20s %-16s %5d %6d %8s %10s  %s%s\n", m->name, m->optimizer, runs, ended,
           format_count(steps * (double)speed.tokens_a_step, tokens, sizeof tokens),
           format_duration(steps * step_s / s->side_by_side, time, sizeof time), *m->trunk ? "off " : "",
           m->trunk);
    return true;
}

static bool print_plan(Study *s, Error *err) {
    int threads = s->cores > s->side_by_side ? s->cores / s->side_by_side : 1;
    double flops = 0;
    StudySpeed most = {0};
    bool ok = true;
    printf("\n%-20s %-16s %5s %6s %8s %10s\n", "method", "optimizer", "runs", "ended", "tokens", "time");
    for (int i = 0; i < s->spec.method_count && ok; i++)
        ok = print_method(s, i, threads, &most, &flops, err);
    if (!ok) return false;
    StudyFigures f = figures_of(s);
    char tokens[16], time[32];
    const char *least = s->outlook.open_ended ? "at least " : "";
    printf("\nruns         %s%d, %d of them ended%s\n", least, f.runs, f.ended,
           s->outlook.open_ended ? "; a grid whose best point lies on its edge grows" : "");
    printf("compute      %s tokens left, %.3g FLOPs\n",
           format_count(f.tokens - f.tokens_done, tokens, sizeof tokens), flops);
    printf("memory       %d at a time, %.1f MB each, %.1f MB free\n", s->side_by_side,
           (double)most.memory_bytes / 1e6, (double)memory_available() / 1e6);
    printf("time         %s%s (measured just now, before any soft phase)\n", *least ? least : "about ",
           format_duration(f.left_s, time, sizeof time));
    return true;
}

/* ------------------------------------------------------------------------------------------------- the results */

static bool print_results(const Study *s, Error *err) {
    StudySummary summary;
    char settings[64], mean[32], se[32];
    if (!study_summary_make(&summary, &s->plan.index, NULL, 0.05, err)) return false;
    printf("\n%-20s %-28s %9s %9s %4s\n", "method", "chosen", "mean loss", "std error", "n");
    for (int i = 0; i < summary.count; i++) {
        const StudyResult *r = &summary.methods[summary.order[i]];
        snprintf(mean, sizeof mean, r->loss.n > 0 ? "%.4f" : "-", r->loss.mean);
        snprintf(se, sizeof se, r->loss.n > 1 ? "%.4f" : "-", r->loss.se);
        printf("%-20s %-28s %9s %9s %4d", r->method->name,
               study_settings_text(r->method->settings, settings, sizeof settings), mean, se, r->loss.n);
        if (r->diverged > 0) printf("  %d diverged", r->diverged);
        if (*r->method->edge) printf("  edge: %s", r->method->edge);
        printf("\n");
    }
    printf("\n./compare %s says which differences are real\n", s->spec.dir);
    study_summary_free(&summary);
    return true;
}

/* Runs it under the study's lock. */
static bool run_locked(Study *s, Error *err) {
    s->lock_fd = study_store_lock(s->spec.dir, err);
    if (s->lock_fd < 0 || !study_store_describe(&s->spec, err) || !share_machine(s, err)) return false;
    catch_signals();
    study_board_open(&s->board, stdout);
    if (!run_study(s, err)) return false;
    if (*s->failed) {
        *err = s->failure;
        return false;
    }
    if (!s->plan.index.done)
        return error_set(err, ERR_STOPPED, "%s: stopped; the same command goes on with it", s->spec.dir);
    return print_results(s, err);
}

static bool study_command(const char *path, bool plan_only, Error *err) {
    Study *s = calloc(1, sizeof *s);
    if (!s) return error_set(err, ERR_IO, "study: out of memory");
    s->lock_fd = -1;
    s->cores = threads_available();
    s->start_s = clock_s();
    s->world = (StudyWorld){
        .context = s, .total_steps = count_steps, .outcome = outcome_of, .has_checkpoint = has_checkpoint};
    bool ok = study_spec_read(&s->spec, path, err) && find_program(s, err) && make_outlook(s, err);
    if (plan_only) ok = ok && share_machine(s, err) && print_plan(s, err);
    else ok = ok && run_locked(s, err);
    if (s->lock_fd >= 0) close(s->lock_fd);
    study_plan_free(&s->plan);
    study_plan_free(&s->outlook);
    study_spec_free(&s->spec);
    free(s->ended);
    free(s);
    return ok;
}

static void print_usage(FILE *out) {
    fputs("usage: study STUDY.json [--plan]\n"
          "Trains what the description asks for (docs/studies.md), or goes on with it.\n"
          "  --plan    what it would train: runs, compute, memory, time; writes nothing\n"
          "  --keys    every key of a description, as Markdown\n",
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
        if (strcmp(argv[i], "--keys") == 0) {
            study_spec_print_markdown(stdout);
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
