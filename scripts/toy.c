/* toy: the two toy problems of "When and Why SignSGD Outperforms SGD" (arXiv 2605.06615). Without words:
 * the published losses beside ours. With words: one problem, any optimizer. See docs/toys.md.
 *
 *     toy [deterministic|stochastic OPTIMIZER [setting=value ...]]
 */
#include "core/memory.h"
#include "core/threads.h"
#include "train/toys.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#define TOLERANCE_FRAC 0.1

static const char HELP[] =
    "usage: toy                                 published numbers beside ours\n"
    "       toy PROBLEM OPTIMIZER [setting=value ...]\n"
    "\n"
    "The toy problems of arXiv 2605.06615; PROBLEM is deterministic or stochastic.\n"
    "Settings are the optimizer's (train_gpt --describe OPTIMIZER), lr and\n"
    "weight_decay, or any key of a config with its section: train.steps=1000.\n"
    "Without lr the best of 1e-2, 1e-3, ... 1e-8 and the optimizer's default is taken;\n"
    "weight_decay is 0 by default. Writes a run for ./compare: run.dir is\n"
    "build/toys/PROBLEM_OPTIMIZER by default.\n"
    "Exit status: 0 done, 1 file error, 2 wrong command line, 3 a number is more than\n"
    "10 % from the published one, 6 diverged, 7 run directory busy.\n";

typedef struct Session {
    const Toy *toy;
    Config config;
    StepRecord *curve;
    RunLog log;
} Session;

static bool gives_lr(char *const *words, int count) {
    for (int i = 0; i < count; i++)
        if (strncmp(words[i], "lr=", 3) == 0 || strncmp(words[i], "optimizer.lr=", 13) == 0) return true;
    return false;
}

/* Loads, runs and logs. */
static bool solve(Session *s, const char *optimizer, char *const *words, int count,
                  const char *command_line, Error *err) {
    if (!toy_load(&s->config, s->toy, optimizer, words, count, err)) return false;
    s->curve = memory_alloc((size_t)s->config.train.steps + 1, sizeof *s->curve, "curve", err);
    if (s->curve == NULL) return false;
    bool done = gives_lr(words, count) ? toy_run(s->toy, &s->config, s->curve, err)
                                       : toy_tune(s->toy, &s->config, s->curve, err);
    return done && toy_log(&s->log, &s->config, s->curve, command_line, err);
}

static void close_session(Session *s) {
    config_free(&s->config);
    memory_free(s->curve);
}

/* ---- the table ------------------------------------------------------------------------------------- */

static int print_rows(const Session *s, const char *optimizer) {
    int far = 0;
    for (const ToyPoint *p = TOY_PUBLISHED; p->toy; p++) {
        if (strcmp(p->toy, s->toy->name) != 0 || strcmp(p->optimizer, optimizer) != 0) continue;
        double ours = s->curve[p->step].val_loss, difference = ours / p->loss - 1;
        bool near = fabs(difference) <= TOLERANCE_FRAC;
        printf("  %-10s %6g %6" PRId64 " %11.6g %11.6g %10.1f %%%s\n",
               s->config.chosen[CHOICE_MAIN].optimizer->title, s->config.chosen[CHOICE_MAIN].lr, p->step,
               p->loss, ours, 100 * difference, near ? "" : "  FAR");
        far += !near;
    }
    return far;
}

static bool compare_published(const char *optimizer, const Toy *toy, char *const *words, int count,
                              int *far, Error *err) {
    Session s = {.toy = toy};
    bool ok = solve(&s, optimizer, words, count, "./toy", err);
    if (ok) *far += print_rows(&s, optimizer);
    close_session(&s);
    return ok;
}

static bool print_published(Error *err) {
    char *const plain[] = {"momentum=0"};
    int far = 0;
    for (const Toy *toy = TOYS; toy->name; toy++) {
        printf("%s%s: f(x) = %s; runs: %d\n  %-10s %6s %6s %11s %11s %12s\n", toy == TOYS ? "" : "\n",
               toy->name, toy->function, toy->runs, "optimizer", "lr", "step", "published", "ours",
               "difference");
        if (!compare_published("sgd", toy, plain, 1, &far, err) ||
            !compare_published("signsgd", toy, NULL, 0, &far, err))
            return false;
    }
    printf("\nPublished: arXiv 2605.06615, read off its figures. Runs are in build/toys.\n");
    return far == 0 ||
           error_set(err, ERR_DATA, "%d numbers are more than 10 %% from the published ones", far);
}

/* ---- one optimizer --------------------------------------------------------------------------------- */

/* Some losses, as far as they are finite; false when the last is not. */
static bool print_curve(const Session *s, bool tuned, Error *err) {
    const OptimizerChoice *chosen = &s->config.chosen[CHOICE_MAIN];
    int64_t steps = s->config.train.steps, part = steps / 6 > 0 ? steps / 6 : 1;
    printf("%s: f(x) = %s\n", s->toy->name, s->toy->function);
    printf("%s, lr %g%s, weight_decay %g%s\n\n  %6s %11s\n", chosen->optimizer->title, chosen->lr,
           tuned ? " (the best of those tried)" : "", chosen->weight_decay,
           toy_role(&s->config) == ROLE_VECTOR ? "" : "; it takes no vectors: x is a matrix of one row",
           "step", "loss");
    for (int64_t t = 0; t <= steps; t++) {
        double loss = s->curve[t].val_loss;
        if (!isfinite(loss))
            return error_set(err, ERR_DIVERGED,
                             "the loss is not finite after step %" PRId64 "; try a lower lr", t);
        if (t % part == 0 || t == steps) printf("  %6" PRId64 " %11.6g\n", t, loss);
    }
    return true;
}

static bool run_one(const char *problem, const char *optimizer, char *const *words, int count,
                    const char *command_line, Error *err) {
    Session s = {0};
    bool ok = toy_find(&s.toy, problem, err) && solve(&s, optimizer, words, count, command_line, err);
    if (ok) {
        ok = print_curve(&s, !gives_lr(words, count), err);
        printf("\nThe run is in %s.\n", s.log.dir);
        if (*s.log.moved_to) printf("An earlier one there is now %s.\n", s.log.moved_to);
    }
    close_session(&s);
    return ok;
}

static bool run_words(int argc, char **argv, Error *err) {
    char command_line[1024] = "";
    for (int i = 0; i < argc; i++) {
        size_t length = strlen(command_line);
        snprintf(command_line + length, sizeof command_line - length, "%s%s", i ? " " : "", argv[i]);
    }
    if (argc == 1) return print_published(err);
    if (argv[1][0] == '-')
        return error_set(err, ERR_CONFIG, "unknown option %.60s; see toy --help", argv[1]);
    if (argc == 2)
        return error_set(err, ERR_CONFIG, "which optimizer? Type: toy %.60s OPTIMIZER [setting=value ...]",
                         argv[1]);
    return run_one(argv[1], argv[2], argv + 3, argc - 3, command_line, err);
}

int main(int argc, char **argv) {
    Error err;
    threads_prepare(argv);
    if (argc == 2 && strcmp(argv[1], "--help") == 0) fputs(HELP, stdout);
    else if (!run_words(argc, argv, &err)) return error_print(&err);
    return error_check_stdout(&err) ? 0 : error_print(&err);
}
