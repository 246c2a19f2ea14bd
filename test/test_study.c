/* test_study.c: a description is read strictly; which runs follow from it and from their losses, in a world where
 * losses are given. Figures were worked out by hand. */
#include "core/json.h"
#include "train/study_board.h"
#include "train/study_plan.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/tempdir.h"

#define BASE                                                                                               \
    "\"base\": {\"train\": {\"steps\": 1000}, \"schedule\": {\"warmup_steps\": 10}}, \"seeds\": [1, 2, 3]"

/* ----------------------------------------------------------------------------------------------- the world */

typedef double (*LossOf)(const StudyRun *run,
                         const Config *config); /* NAN: not trained yet; INFINITY: diverged */

typedef struct World {
    LossOf loss;
    bool checkpoints;  /* are they there? */
    const char *lacks; /* the method whose runs have none */
    int64_t last_step; /* of runs that diverged */
} World;

static bool steps_of(void *context, const Config *config, int64_t *steps, Error *err) {
    (void)context, (void)err;
    *steps = config->train.steps;
    return true;
}

static StudyOutcome outcome_of(void *context, const StudyRun *run, const StudyTask *task) {
    const World *world = context;
    double loss = world->loss(run, &task->config);
    StudyOutcome outcome = {.state = STUDY_WAITING, .loss = NAN};
    if (isinf(loss))
        outcome = (StudyOutcome){.state = STUDY_DIVERGED, .loss = NAN, .last_step = world->last_step};
    else if (!isnan(loss))
        outcome = (StudyOutcome){.state = STUDY_DONE, .loss = loss, .last_step = task->total_steps};
    return outcome;
}

static bool has_checkpoint(void *context, const StudyRun *run, int64_t step) {
    const World *world = context;
    (void)step;
    return world->checkpoints && !(world->lacks && strcmp(world->lacks, run->method) == 0);
}

static bool reads(StudySpec *spec, const char *text, Error *err) {
    char path[128];
    snprintf(path, sizeof path, "%s/quick.json", dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    assert_int_equal(fclose(f), 0);
    return study_spec_read(spec, path, err);
}

/* The plan of a description, which must be right. */
static void make_plan(StudyPlan *plan, StudySpec *spec, const char *text, World *world) {
    StudyWorld given = {
        .context = world, .total_steps = steps_of, .outcome = outcome_of, .has_checkpoint = has_checkpoint};
    Error err;
    if (!reads(spec, text, &err)) fail_msg("%s", err.text);
    if (!study_plan_make(plan, spec, &given, &err)) fail_msg("%s", err.text);
}

static void free_plan(StudyPlan *plan, StudySpec *spec) {
    study_plan_free(plan);
    study_spec_free(spec);
}

static int find_run(const StudyPlan *plan, const char *run_dir) {
    for (int i = 0; i < plan->index.run_count; i++)
        if (strcmp(plan->index.runs[i].dir, run_dir) == 0) return i;
    for (int i = 0; i < plan->index.run_count; i++) print_message("%s\n", plan->index.runs[i].dir);
    fail_msg("there is no %s", run_dir);
    return -1;
}

/* The runs of one seed, without "runs/" and the seed: "a/optimizer.lr=1 a/optimizer.lr=2". */
static const char *runs_of_seed(const StudyPlan *plan, int64_t seed) {
    static char text[4096];
    size_t n = 0;
    *text = '\0';
    for (int i = 0; i < plan->index.run_count; i++) {
        const StudyRun *run = &plan->index.runs[i];
        if (run->seed != seed) continue;
        int length = (int)(strrchr(run->dir, '/') - run->dir) - 5;
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s", n ? " " : "", length, run->dir + 5);
    }
    return text;
}

static double lr_of(const Config *config) {
    return config->chosen[CHOICE_MAIN].lr;
}

static double not_trained(const StudyRun *run, const Config *config) {
    (void)run, (void)config;
    return NAN;
}

/* Lowest at 0.003, in powers of the rate. */
static double bowl(const StudyRun *run, const Config *config) {
    (void)run;
    return 3 + fabs(log(lr_of(config) / 0.003));
}

static double falls(const StudyRun *run, const Config *config) {
    (void)run;
    return 3 - log(lr_of(config));
}

static double rises(const StudyRun *run, const Config *config) {
    (void)run;
    return 3 + log(lr_of(config));
}

static double diverges(const StudyRun *run, const Config *config) {
    (void)run, (void)config;
    return INFINITY;
}

/* -------------------------------------------------------------------------------------------- descriptions */

static void a_description_should_have_its_defaults(void **state) {
    (void)state;
    StudySpec spec;
    Error err;
    if (!reads(&spec, "{" BASE ", \"methods\": {\"b\": {}, \"a\": {\"like\": \"b\"}}}", &err))
        fail_msg("%s", err.text);
    assert_string_equal(spec.name, "quick");
    assert_string_equal(spec.dir, "studies/quick");
    assert_string_equal(spec.baseline, "b");
    assert_int_equal(spec.tune_seed_count, 1);
    assert_int_equal(spec.tune_seeds[0], 1);
    assert_int_equal(spec.methods[0].extend, 3);
    assert_int_equal(spec.methods[0].like, -1);
    assert_int_equal(spec.methods[1].like, 0);
    assert_int_equal(spec.methods[1].final, FINAL_CHOSEN);
    study_spec_free(&spec);
}

static void every_problem_of_a_description_should_be_told(void **state) {
    (void)state;
    StudySpec spec;
    Error err;
    assert_false(reads(
        &spec,
        "{\"base\": 3, \"seeds\": [1, 1], \"tune_seeds\": [1.5], \"baseline\": \"admw\", \"sides\": 1,"
        "\"side_by_side\": -1, \"methods\": {"
        "\"adamw\": {\"set\": {\"lr\": 1, \"train.seed\": 2, \"optimizer.lr\": [1]}, \"extend\": 1e9},"
        "\"a/b\": {}, \"adamw\": {},"
        "\"c\": {\"like\": \"adamv\", \"grid\": {\"optimizer.lr\": [], \"optimizer.beta1\": [1, \"x\"],"
        "\"optimizer.beta2\": [1, 1], \"optimizer.eps\": 3, \"train.steps\": [1]},"
        "\"set\": {\"train.steps\": 3}, \"scale\": {\"optimizer.lr\": \"10\"}},"
        "\"d\": {\"trunk\": \"e\"}, \"e\": {\"final\": \"best\"}}}",
        &err));
    static const char *const told[] = {
        "sides: unknown key",
        "side_by_side: ",
        "base: 3 must be a config, {...}, or its path",
        "seeds: 1 is there twice",
        "tune_seeds: each must be an integer in [0,1e15]",
        "methods.adamw.extend: ",
        "methods.adamw.set.lr: must be a section and a key, such as optimizer.lr",
        "methods.adamw.set.train.seed: the study sets it; remove it",
        "methods.adamw.set.optimizer.lr: a list must be a number, a text, true, false or null",
        "methods.a/b: a name is of 1 to 63 letters",
        "methods.adamw: written twice",
        "methods.c.like: \"adamv\" is no method that is written above this one; did you mean \"adamw\"?",
        "methods.c.grid.optimizer.lr: this must be a list of 1 to 64 values",
        "methods.c.grid.optimizer.beta1: the text \"x\": values must be all numbers",
        "methods.c.grid.optimizer.beta2: 1 is there twice",
        "methods.c.grid.optimizer.eps: 3 must be a list of 1 to 64 values",
        "methods.c.grid.train.steps: is in set or scale, too; remove one",
        "methods.c.scale.optimizer.lr: the text \"10\" must be a number",
        "methods.d.trunk: \"e\" is no method that is written above this one",
        "methods.e.final: \"best\" must be one of chosen|all",
        "baseline: \"admw\" is none of the methods; did you mean \"adamw\"?",
    };
    assert_int_equal(err.code, ERR_CONFIG);
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        if (!strstr(err.text, told[i])) fail_msg("lacks: %s\n%s", told[i], err.text);
    assert_false(reads(&spec, "{\"base\": \"/no/such.json\", \"seeds\": []}", &err));
    assert_non_null(strstr(err.text, "base: /no/such.json: No such file"));
    assert_non_null(strstr(err.text, "methods: name at least one"));
    assert_non_null(strstr(err.text, "seeds: must be a list of 1 to 1000 integers"));
}

static void configs_should_be_checked_for_all_methods_at_once(void **state) {
    (void)state;
    World world = {.loss = not_trained};
    StudyWorld given = {.context = &world,
                        .guess = true,
                        .total_steps = steps_of,
                        .outcome = outcome_of,
                        .has_checkpoint = has_checkpoint};
    StudySpec spec;
    StudyPlan plan;
    Error err;
    assert_true(reads(
        &spec,
        "{" BASE ", \"methods\": {\"a\": {\"set\": {\"optimizer.beta3\": 1, \"model.n_head\": 3}},"
        "\"b\": {\"set\": {\"optimizer.name\": \"signum\"}, \"grid\": {\"optimizer.lr\": [0.1, 0.2]}},"
        "\"c\": {\"trunk\": \"b\", \"set\": {\"optimizer.name\": \"softsignum\", \"optimizer.alpha_sgn\": 0.5}},"
        "\"d\": {\"like\": \"b\", \"scale\": {\"optimizer.lrr\": 2}},"
        "\"e\": {\"trunk\": \"b\"}, \"f\": {\"set\": {\"train.steps.x\": 1}},"
        "\"g\": {\"trunk\": \"b\", \"set\": {\"optimizer.name\": \"softsignum\", \"train.steps\": 900}}}}",
        &err));
    assert_false(study_plan_make(&plan, &spec, &given, &err));
    static const char *const told[] = {
        "methods.a: optimizer.beta3: unknown key; did you mean \"beta1\"?",
        "methods.a: model.n_head: 3 does not divide model.n_embd, 128",
        "methods.c: optimizer.alpha_sgn: unknown key; did you mean \"alpha_sign\"?",
        "methods.d.scale.optimizer.lrr: there is no such number to multiply",
        "methods.e.trunk: signum has no optimizer.alpha_sign below 1 to branch at",
        "methods.f: train.steps.x: there is no such key",
        "methods.g.trunk: b trains 1000 steps, this method 900",
    };
    for (size_t i = 0; i < sizeof told / sizeof *told; i++)
        if (!strstr(err.text, told[i])) fail_msg("lacks: %s\n%s", told[i], err.text);
    assert_non_null(strstr(err.text, "7 problems"));
    study_spec_free(&spec);
}

/* --------------------------------------------------------------------------------------------------- grids */

#define ADAMW_GRID(values, more)                                                                           \
    "{" BASE ", \"methods\": {\"a\": {\"grid\": {\"optimizer.lr\": " values "}" more "}}}"

static void a_grid_should_be_tuned_on_its_seeds_before_all_are_trained(void **state) {
    (void)state;
    World world = {.loss = not_trained};
    StudySpec spec;
    StudyPlan plan;
    make_plan(&plan, &spec, ADAMW_GRID("[0.01, 0.001, 0.003]", ""), &world);
    assert_string_equal(runs_of_seed(&plan, 1),
                        "a/optimizer.lr=0.001 a/optimizer.lr=0.003 a/optimizer.lr=0.01");
    assert_int_equal(plan.index.run_count, 3);
    assert_true(plan.open_ended && !plan.index.done && plan.tasks[0].ready);
    assert_null(plan.index.methods[0].settings);
    assert_int_equal(plan.index.runs[1].phase, STUDY_TUNE);
    free_plan(&plan, &spec);
    world.loss = bowl;
    make_plan(&plan, &spec, ADAMW_GRID("[0.01, 0.001, 0.003]", ""), &world);
    assert_string_equal(runs_of_seed(&plan, 2), "a/optimizer.lr=0.003");
    assert_string_equal(runs_of_seed(&plan, 3), "a/optimizer.lr=0.003");
    assert_int_equal(plan.index.run_count, 5);
    assert_true(plan.index.done && !plan.open_ended);
    assert_string_equal(plan.index.methods[0].edge, "");
    int run = find_run(&plan, "runs/a/optimizer.lr=0.003/seed=1");
    assert_int_equal(plan.index.runs[run].phase, STUDY_FINAL);
    assert_int_equal(plan.index.runs[find_run(&plan, "runs/a/optimizer.lr=0.01/seed=1")].phase, STUDY_TUNE);
    assert_true(lr_of(&plan.tasks[run].config) == 0.003);
    assert_int_equal(plan.tasks[run].config.train.seed, 1);
    assert_string_equal(plan.tasks[run].config.run.dir, "studies/quick/runs/a/optimizer.lr=0.003/seed=1");
    free_plan(&plan, &spec);
}

static void a_grid_should_grow_beyond_its_edges(void **state) {
    (void)state;
    World world = {.loss = falls};
    StudySpec spec;
    StudyPlan plan;
    make_plan(&plan, &spec, ADAMW_GRID("[0.001, 0.003, 0.01]", ""), &world);
    /* 0.01 * 0.01 / 0.003 = 0.03333, 0.0333 * 0.0333 / 0.01 = 0.110889, 0.111 * 0.111 / 0.0333 = 0.37 */
    assert_string_equal(runs_of_seed(&plan, 1),
                        "a/optimizer.lr=0.001 a/optimizer.lr=0.003 a/optimizer.lr=0.01 "
                        "a/optimizer.lr=0.0333 a/optimizer.lr=0.111 a/optimizer.lr=0.37");
    assert_string_equal(runs_of_seed(&plan, 2), "a/optimizer.lr=0.37");
    assert_string_equal(plan.index.methods[0].edge, "optimizer.lr at its highest value");
    free_plan(&plan, &spec);
    world.loss = rises;
    make_plan(&plan, &spec, ADAMW_GRID("[0.001, 0.004]", ", \"extend\": 1"), &world);
    assert_string_equal(runs_of_seed(&plan, 1),
                        "a/optimizer.lr=0.00025 a/optimizer.lr=0.001 a/optimizer.lr=0.004");
    assert_string_equal(plan.index.methods[0].edge, "optimizer.lr at its lowest value");
    free_plan(&plan, &spec);
    world.loss = bowl; /* one value beyond is enough to see it */
    make_plan(&plan, &spec, ADAMW_GRID("[0.003, 0.006]", ""), &world);
    assert_string_equal(runs_of_seed(&plan, 1),
                        "a/optimizer.lr=0.0015 a/optimizer.lr=0.003 a/optimizer.lr=0.006");
    assert_string_equal(plan.index.methods[0].edge, "");
    free_plan(&plan, &spec);
    make_plan(&plan, &spec, ADAMW_GRID("[0.003, 0.006]", ", \"extend\": 0"), &world);
    assert_int_equal(plan.index.run_count, 4);
    assert_string_equal(plan.index.methods[0].edge, "optimizer.lr at its lowest value");
    free_plan(&plan, &spec);
}

/* Lowest at the highest beta1 and the lowest decay. */
static double corner(const StudyRun *run, const Config *config) {
    double beta1, decay = config->chosen[CHOICE_MAIN].weight_decay;
    const OptimizerChoice *c = &config->chosen[CHOICE_MAIN];
    (void)run;
    memcpy(&beta1, (const char *)c->hyper + field_find(c->optimizer->fields, "beta1")->offset,
           sizeof beta1);
    return 3 - beta1 + decay;
}

static void zero_and_what_the_config_refuses_should_end_a_grid(void **state) {
    (void)state;
    World world = {.loss = corner};
    StudySpec spec;
    StudyPlan plan;
    /* beta1 in [0,1): 0.9 * 0.9 / 0.5 = 1.62 is refused. Below a decay of 0 there is nothing: no edge */
    make_plan(
        &plan, &spec,
        "{" BASE
        ", \"methods\": {\"a\": {\"grid\": {\"optimizer.beta1\": [0.5, 0.9], \"optimizer.weight_decay\": "
        "[0, 0.1]}}}}",
        &world);
    assert_string_equal(
        runs_of_seed(&plan, 1),
        "a/optimizer.beta1=0.5,optimizer.weight_decay=0 a/optimizer.beta1=0.5,optimizer.weight_decay=0.1 "
        "a/optimizer.beta1=0.9,optimizer.weight_decay=0 a/optimizer.beta1=0.9,optimizer.weight_decay=0.1");
    assert_string_equal(runs_of_seed(&plan, 2), "a/optimizer.beta1=0.9,optimizer.weight_decay=0");
    assert_string_equal(plan.index.methods[0].edge, "optimizer.beta1 at its highest value");
    free_plan(&plan, &spec);
}

static double wide_corner(const StudyRun *run, const Config *config) {
    (void)run;
    return 3 - log(lr_of(config)) - log(config->chosen[CHOICE_MAIN].weight_decay);
}

static void every_axis_should_grow_in_turn(void **state) {
    (void)state;
    World world = {.loss = wide_corner};
    StudySpec spec;
    StudyPlan plan;
    make_plan(
        &plan, &spec,
        "{" BASE
        ", \"methods\": {\"a\": {\"grid\": {\"optimizer.lr\": [1, 2], \"optimizer.weight_decay\": [0.1, 0.2]},"
        "\"extend\": 1}}}",
        &world);
    assert_string_equal(runs_of_seed(&plan, 2), "a/optimizer.lr=4,optimizer.weight_decay=0.4");
    assert_int_equal(plan.index.run_count, 9 + 2); /* a whole grid of 3 times 3, and two more seeds */
    assert_string_equal(plan.index.methods[0].edge,
                        "optimizer.lr at its highest value, optimizer.weight_decay at its highest value");
    free_plan(&plan, &spec);
}

/* Seed 2 diverges at 0.003, which has the lowest mean without it. */
static double one_diverges(const StudyRun *run, const Config *config) {
    return run->seed == 2 && lr_of(config) == 0.003 ? INFINITY : bowl(run, config);
}

static void a_run_that_diverged_should_count_as_infinite(void **state) {
    (void)state;
    World world = {.loss = one_diverges};
    StudySpec spec;
    StudyPlan plan;
    make_plan(&plan, &spec,
              "{" BASE ", \"tune_seeds\": [1, 2], \"methods\": {\"a\": {\"grid\": {\"optimizer.lr\": "
              "[0.0003, 0.002, 0.003, 0.005, 0.1]}}}}",
              &world);
    assert_string_equal(runs_of_seed(&plan, 3), "a/optimizer.lr=0.002");
    free_plan(&plan, &spec);
    world.loss = diverges; /* all of them: lower rates are tried, then the lowest is taken */
    make_plan(&plan, &spec, ADAMW_GRID("[1, 2]", ", \"extend\": 2"), &world);
    assert_string_equal(runs_of_seed(&plan, 1),
                        "a/optimizer.lr=0.25 a/optimizer.lr=0.5 a/optimizer.lr=1 a/optimizer.lr=2");
    assert_string_equal(runs_of_seed(&plan, 2), "a/optimizer.lr=0.25");
    assert_true(plan.index.done);
    free_plan(&plan, &spec);
}

static double by_seed(const StudyRun *run, const Config *config) {
    return run->seed == 7 ? rises(run, config) : falls(run, config);
}

static void tuning_seeds_that_are_not_among_the_seeds_should_count_for_nothing_else(void **state) {
    (void)state;
    World world = {.loss = by_seed};
    StudySpec spec;
    StudyPlan plan;
    make_plan(
        &plan, &spec,
        "{" BASE
        ", \"tune_seeds\": [7], \"methods\": {\"a\": {\"grid\": {\"optimizer.lr\": [1, 2]}, \"extend\": 0},"
        "\"b\": {}}}",
        &world);
    assert_string_equal(runs_of_seed(&plan, 7), "a/optimizer.lr=1 a/optimizer.lr=2");
    assert_string_equal(runs_of_seed(&plan, 1), "a/optimizer.lr=1 b");
    assert_int_equal(plan.index.runs[find_run(&plan, "runs/a/optimizer.lr=1/seed=7")].phase, STUDY_TUNE);
    free_plan(&plan, &spec);
}

static void texts_should_be_an_axis_without_edges(void **state) {
    (void)state;
    World world = {.loss = falls};
    StudySpec spec;
    StudyPlan plan;
    make_plan(
        &plan, &spec,
        "{" BASE
        ", \"methods\": {\"a\": {\"grid\": {\"data.dir\": [\"data/b\", \"data/a\"], \"model.bias\": [true]},"
        "\"final\": \"all\"}}}",
        &world);
    assert_string_equal(runs_of_seed(&plan, 2),
                        "a/data.dir=data_b,model.bias=true a/data.dir=data_a,model.bias=true");
    assert_string_equal(plan.index.methods[0].edge, "");
    free_plan(&plan, &spec);
}

/* ------------------------------------------------------------------------------------------ likes and trunks */

static void like_should_start_from_the_chosen_point(void **state) {
    (void)state;
    World world = {.loss = bowl};
    StudySpec spec;
    StudyPlan plan;
    make_plan(
        &plan, &spec,
        "{" BASE
        ", \"methods\": {\"a\": {\"set\": {\"optimizer.weight_decay\": 0.1, \"optimizer.beta1\": 0.8}, \"grid\": "
        "{\"optimizer.lr\": [0.001, 0.003, 0.01]}},"
        "\"tenfold\": {\"like\": \"a\", \"scale\": {\"optimizer.lr\": 10, \"train.steps\": 0.5}},"
        "\"half\": {\"like\": \"a\", \"set\": {\"train.steps\": 500, \"optimizer.beta1\": null}},"
        "\"other\": {\"like\": \"a\", \"set\": {\"optimizer.lr\": 0.5}}}}",
        &world);
    const StudyTask *task =
        &plan.tasks[find_run(&plan, "runs/tenfold/optimizer.lr=0.03,train.steps=500/seed=2")];
    assert_true(lr_of(&task->config) == 0.03);
    assert_true(task->config.chosen[CHOICE_MAIN].weight_decay == 0.1);
    assert_int_equal(task->total_steps, 500);
    task = &plan.tasks[find_run(&plan, "runs/half/optimizer.lr=0.003/seed=2")];
    assert_true(lr_of(&task->config) == 0.003);
    assert_int_equal(task->config.train.steps, 500);
    double beta1;
    const Optimizer *adamw = optimizer_find("adamw");
    size_t offset = field_find(adamw->fields, "beta1")->offset;
    memcpy(&beta1, (const char *)task->config.chosen[CHOICE_MAIN].hyper + offset, sizeof beta1);
    assert_true(beta1 == 0.9); /* its default: null took away what `a` sets */
    assert_true(lr_of(&plan.tasks[find_run(&plan, "runs/other/optimizer.lr=0.5/seed=1")].config) == 0.5);
    free_plan(&plan, &spec);
    world.loss = not_trained;
    make_plan(
        &plan, &spec,
        "{" BASE
        ", \"methods\": {\"a\": {\"grid\": {\"optimizer.lr\": [1, 2]}}, \"b\": {\"like\": \"a\", \"set\": "
        "{\"optimizer.name\": \"lion\"}}}}",
        &world);
    assert_int_equal(plan.index.run_count, 2); /* b has to wait */
    assert_string_equal(plan.index.methods[1].optimizer, "lion");
    free_plan(&plan, &spec);
}

#define TRUNK(more)                                                                                              \
    "{" BASE                                                                                                     \
    ", \"methods\": {\"hard\": {\"set\": {\"optimizer.name\": \"signum\"}, \"grid\": {\"optimizer.lr\": "        \
    "[0.001, 0.003, 0.01]}}, \"soft\": {\"trunk\": \"hard\", \"set\": {\"optimizer.name\": \"softsignum\"}" more \
    "}}}"

static double hard_only(const StudyRun *run, const Config *config) {
    return *run->trunk ? NAN : bowl(run, config);
}

static void branches_should_begin_where_the_sign_lets_go(void **state) {
    (void)state;
    World world = {.loss = hard_only, .checkpoints = true};
    StudySpec spec;
    StudyPlan plan;
    make_plan(
        &plan, &spec,
        TRUNK(
            ", \"grid\": {\"optimizer.alpha_sign\": [0.3, 0.5, 0.8335]}, \"final\": \"all\", \"extend\": 1"),
        &world);
    int place = find_run(&plan, "runs/soft/optimizer.lr=0.003,optimizer.alpha_sign=0.8335/seed=2");
    const StudyRun *run = &plan.index.runs[place];
    const StudyTask *task = &plan.tasks[place], *trunk = &plan.tasks[task->trunk];
    assert_string_equal(run->trunk, "runs/hard/optimizer.lr=0.003/seed=2");
    assert_string_equal(plan.index.runs[task->trunk].dir, run->trunk);
    assert_int_equal(run->branch_step, 834); /* 833.5, rounded as the optimizer does */
    assert_int_equal(run->phase, STUDY_FINAL);
    assert_true(task->ready && run->state == STUDY_WAITING);
    char path[512];
    snprintf(path, sizeof path, "studies/quick/trunks/%s/checkpoints/step_00000834", trunk->identity);
    assert_string_equal(task->config.train.init_from, path);
    assert_string_equal(task->config.chosen[CHOICE_MAIN].optimizer->name, "softsignum");
    assert_true(lr_of(&task->config) == 0.003);
    /* where the grid may come to branch: 0.3 * 0.3 / 0.5 = 0.18; 0.8335 * 0.8335 / 0.5 is beyond the end */
    assert_string_equal(trunk->keep_steps, "180,300,500,834");
    assert_string_equal(trunk->config.checkpoint.keep_steps, "180,300,500,834");
    /* points that were not chosen need none */
    assert_string_equal(plan.tasks[find_run(&plan, "runs/hard/optimizer.lr=0.01/seed=1")].keep_steps, "");
    assert_string_equal(task->keep_steps, "");
    assert_string_equal(plan.index.methods[1].trunk, "hard");
    free_plan(&plan, &spec);
}

static void while_a_trunk_is_tuned_all_its_points_should_keep_checkpoints(void **state) {
    (void)state;
    World world = {.loss = not_trained};
    StudySpec spec;
    StudyPlan plan;
    make_plan(&plan, &spec, TRUNK(", \"extend\": 2"), &world);
    assert_int_equal(plan.index.run_count, 3);
    for (int i = 0; i < 3; i++)
        assert_string_equal(plan.tasks[i].keep_steps, "900"); /* alpha_sign's default */
    free_plan(&plan, &spec);
}

static void a_branch_should_wait_for_its_trunk(void **state) {
    (void)state;
    World world = {.loss = hard_only, .checkpoints = false};
    StudySpec spec;
    StudyPlan plan;
    make_plan(&plan, &spec, TRUNK(""), &world); /* its checkpoint is gone: trained again */
    const StudyRun *trunk = &plan.index.runs[find_run(&plan, "runs/hard/optimizer.lr=0.003/seed=2")];
    int branch = find_run(&plan, "runs/soft/optimizer.lr=0.003/seed=2");
    assert_int_equal(trunk->state, STUDY_WAITING);
    assert_true(plan.tasks[plan.tasks[branch].trunk].ready);
    assert_false(plan.tasks[branch].ready);
    assert_false(plan.index.done);
    /* one that nobody branches off is left */
    assert_int_equal(plan.index.runs[find_run(&plan, "runs/hard/optimizer.lr=0.01/seed=1")].state,
                     STUDY_DONE);
    free_plan(&plan, &spec);
}

static double trunk_diverges(const StudyRun *run, const Config *config) {
    return *run->trunk ? NAN : run->seed == 2 ? INFINITY : bowl(run, config);
}

static void a_trunk_that_diverged_before_should_take_its_branch_along(void **state) {
    (void)state;
    World world = {.loss = trunk_diverges, .checkpoints = true, .lacks = "hard", .last_step = 899};
    StudySpec spec;
    StudyPlan plan;
    make_plan(&plan, &spec, TRUNK(""), &world);
    int branch = find_run(&plan, "runs/soft/optimizer.lr=0.003/seed=2");
    assert_int_equal(plan.index.runs[branch].state, STUDY_DIVERGED);
    free_plan(&plan, &spec);
    world.last_step = 900; /* it had come so far */
    make_plan(&plan, &spec, TRUNK(""), &world);
    branch = find_run(&plan, "runs/soft/optimizer.lr=0.003/seed=2");
    assert_int_equal(plan.index.runs[branch].state, STUDY_WAITING);
    assert_int_equal(plan.index.runs[plan.tasks[branch].trunk].state, STUDY_WAITING);
    free_plan(&plan, &spec);
}

static void identities(const char *set, char hard[17], char soft[17]) {
    World world = {.loss = bowl, .checkpoints = true};
    StudySpec spec;
    StudyPlan plan;
    char text[1024];
    snprintf(
        text, sizeof text,
        "{" BASE
        ", \"methods\": {\"hard\": {\"set\": {\"optimizer.name\": \"signum\"%s}}, \"soft\": {\"trunk\": "
        "\"hard\", \"set\": {\"optimizer.name\": \"softsignum\", \"optimizer.weight_decay\": 0.1}}}}",
        set);
    make_plan(&plan, &spec, text, &world);
    strcpy(hard, plan.tasks[find_run(&plan, "runs/hard/seed=1")].identity);
    strcpy(soft, plan.tasks[find_run(&plan, "runs/soft/seed=1")].identity);
    free_plan(&plan, &spec);
}

static void a_branch_of_another_trunk_should_be_another_run(void **state) {
    (void)state;
    char hard[3][17], soft[3][17];
    identities(", \"optimizer.weight_decay\": 0.1", hard[0], soft[0]);
    identities(", \"optimizer.weight_decay\": 0.2", hard[1],
               soft[1]); /* which the branch itself does not have */
    identities(", \"optimizer.weight_decay\": 0.1, \"checkpoint.every\": 3, \"train.threads\": 2", hard[2],
               soft[2]);
    assert_string_not_equal(hard[0], hard[1]);
    assert_string_not_equal(soft[0], soft[1]);
    assert_string_equal(hard[0], hard[2]);
    assert_string_equal(soft[0], soft[2]);
}

static void a_study_soft_from_the_start_should_have_no_trunk(void **state) {
    (void)state;
    World world = {.loss = bowl, .checkpoints = true};
    StudySpec spec;
    StudyPlan plan;
    make_plan(&plan, &spec, TRUNK(", \"grid\": {\"optimizer.alpha_sign\": [0, 0.5]}, \"final\": \"all\""),
              &world);
    int place = find_run(&plan, "runs/soft/optimizer.lr=0.003,optimizer.alpha_sign=0/seed=1");
    assert_string_equal(plan.index.runs[place].trunk, "");
    assert_int_equal(plan.index.runs[place].branch_step, -1);
    assert_string_equal(plan.tasks[place].config.train.init_from, "");
    free_plan(&plan, &spec);
}

/* ----------------------------------------------------------------------------------------------- what is left */

static void what_is_left_should_follow_from_the_paces(void **state) {
    (void)state;
    const StudyPart parts[] = {
        {.total_steps = 100, .step = 100, .tokens_a_step = 8, .step_s = 1, .ended = true},
        {.total_steps = 100, .step = 40, .tokens_a_step = 8, .step_s = 1}, /* 60 s left */
        {.begin_step = 50,
         .step = 50,
         .total_steps = 100,
         .tokens_a_step = 8,
         .step_s = 2}, /* 100 s left */
        {.total_steps = 20,
         .tokens_a_step = 8,
         .step_s = NAN}, /* at the mean of the others: 160 s / 110 steps */
    };
    StudyFigures f = study_figures(parts, 4, 2);
    assert_int_equal(f.runs, 4);
    assert_int_equal(f.ended, 1);
    assert_true(f.tokens == 8 * (100 + 100 + 50 + 20));
    assert_true(f.tokens_done == 8 * (100 + 40));
    assert_true(f.left_s == 100); /* no faster than the longest */
    f = study_figures(parts, 4, 1);
    assert_true(fabs(f.left_s - (160 + 20 * 160.0 / 110)) < 1e-9);
    f = study_figures(parts + 3, 1, 2);
    assert_true(isnan(f.left_s));
    char text[128];
    f = (StudyFigures){.runs = 80, .ended = 12, .tokens = 2e7, .tokens_done = 3.4e6, .left_s = 750};
    assert_string_equal(study_figures_text(&f, true, 35000, text, sizeof text),
                        "12 of 80+ runs, 3.40M of 20.0M+ tokens, 35.0k tokens/s, at least 12:30 left");
    assert_string_equal(study_figures_text(&f, false, 0, text, sizeof text),
                        "12 of 80 runs, 3.40M of 20.0M tokens, ? tokens/s, 12:30 left");
}

static void the_last_whole_line_of_metrics_should_be_read(void **state) {
    (void)state;
    char path[128];
    StepRecord record;
    assert_false(study_last_record(dir, &record));
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    FILE *f = fopen(path, "w");
    fputs("{\"step\":1,\"tokens\":8}\n{\"step\":2,\"tokens\":16}\n{\"step\":3,\"tok", f);
    fclose(f);
    assert_true(study_last_record(dir, &record));
    assert_int_equal(record.step, 2);
    f = fopen(path, "w");
    fputs("{\"step\":1,", f);
    fclose(f);
    assert_false(study_last_record(dir, &record));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_description_should_have_its_defaults),
        cmocka_unit_test(every_problem_of_a_description_should_be_told),
        cmocka_unit_test(configs_should_be_checked_for_all_methods_at_once),
        cmocka_unit_test(a_grid_should_be_tuned_on_its_seeds_before_all_are_trained),
        cmocka_unit_test(a_grid_should_grow_beyond_its_edges),
        cmocka_unit_test(zero_and_what_the_config_refuses_should_end_a_grid),
        cmocka_unit_test(every_axis_should_grow_in_turn),
        cmocka_unit_test(a_run_that_diverged_should_count_as_infinite),
        cmocka_unit_test(tuning_seeds_that_are_not_among_the_seeds_should_count_for_nothing_else),
        cmocka_unit_test(texts_should_be_an_axis_without_edges),
        cmocka_unit_test(like_should_start_from_the_chosen_point),
        cmocka_unit_test(branches_should_begin_where_the_sign_lets_go),
        cmocka_unit_test(while_a_trunk_is_tuned_all_its_points_should_keep_checkpoints),
        cmocka_unit_test(a_branch_should_wait_for_its_trunk),
        cmocka_unit_test(a_trunk_that_diverged_before_should_take_its_branch_along),
        cmocka_unit_test(a_branch_of_another_trunk_should_be_another_run),
        cmocka_unit_test(a_study_soft_from_the_start_should_have_no_trunk),
        cmocka_unit_test(what_is_left_should_follow_from_the_paces),
        cmocka_unit_test(the_last_whole_line_of_metrics_should_be_read),
    };
    return cmocka_run_group_tests_name("study", tests, make_dir, remove_dir);
}
