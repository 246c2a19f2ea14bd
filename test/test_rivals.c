/* test_rivals.c: AdEMAMix, ADOPT, MARS, Prodigy, schedule-free AdamW and SoftAdam: recorded float64
 * trajectories, and what is special in each.
 */
#include "optim/optim.h"

#include "optim/temperature.h"
#include "test/world.h"
#include <float.h>

/* ||w - expected|| / ||expected|| where the file has `key` for this step, else 0. */
static double distance_at(const cJSON *json, const char *key, int step, const Param *params, int count) {
    char name[16];
    snprintf(name, sizeof name, "%d", step);
    const cJSON *expected = cJSON_GetObjectItem(cJSON_GetObjectItem(json, key), name);
    return expected ? golden_distance(expected, params, count) : 0;
}

/* The worst relative error along a trajectory: of weights, of weights to evaluate, of Prodigy's d. */
static double follow(const char *file, const char *name, const char *settings, double lr, int warmup) {
    char path[256];
    snprintf(path, sizeof path, "test/golden/optim/%s.json", file);
    cJSON *json = golden_parse(path);
    Param params[16];
    int count = golden_params(json, params), steps = cJSON_GetObjectItem(json, "steps")->valueint;
    void *hyper = golden_hyper(optimizer_find(name), settings);
    OptimPlan plan = golden_plan(optimizer_find(name), hyper, lr, 0.1);
    Optim optim;
    Error err;
    double worst = 0;
    if (!optim_create(&optim, &plan, params, count, 1, &err)) fail_msg("%s", err.text);
    for (int step = 1; step <= steps; step++) {
        golden_fill(cJSON_GetArrayItem(cJSON_GetObjectItem(json, "grads"), step - 1), params, count, true);
        double factor = step < warmup ? (double)step / warmup : 1;
        if (!optim_step(&optim, step, steps, factor, true, &err)) fail_msg("%s", err.text);
        worst = fmax(worst, distance_at(json, "params_after_step", step, params, count));
        optim_show(&optim, WEIGHTS_EVALUATED);
        worst = fmax(worst, distance_at(json, "eval_params_after_step", step, params, count));
        optim_show(&optim, WEIGHTS_TRAINED);
        char key[16];
        snprintf(key, sizeof key, "%d", step);
        const cJSON *d = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "d_after_step"), key);
        if (d) worst = fmax(worst, fabs(optim.groups[0].scalars[0] / d->valuedouble - 1));
    }
    optim_free(&optim);
    golden_params_free(params, count);
    free(hyper);
    cJSON_Delete(json);
    return worst;
}

static void recorded_trajectories_should_be_followed(void **state) {
    (void)state;
#define OPTIONS                                                                                            \
    "beta3=0.95 d0=1e-3 d_coef=4 growth_rate=1.15 bias_correction=true safeguard_warmup=true eps_d=new"
    static const struct {
        const char *file, *optimizer, *settings;
        double lr;
        int warmup;
    } rows[] = {
        {"ademamix", "ademamix", "", 0.01, 0},
        {"ademamix_early", "ademamix", "beta3=0.99 alpha=2 warmup_frac=0.4", 0.01, 0},
        {"ademamix_eps", "ademamix", "eps=0.01", 0.01, 0},
        {"ademamix_flat", "ademamix", "warmup_frac=0", 0.01, 0},
        {"adopt", "adopt", "", 0.01, 0},
        {"adopt_eps", "adopt", "eps=0.01", 0.01, 0},
        {"adopt_unclipped", "adopt", "beta2=0.99 clip=false", 0.01, 0},
        {"mars_eps", "mars", "first_previous=zero eps=0.01", 0.01, 0},
        {"mars_official", "mars", "first_previous=zero", 0.01, 0},
        {"mars_paper", "mars", "", 0.01, 0},
        {"mars_without_correction", "mars", "gamma=0", 0.01, 0},
        {"prodigy_official", "prodigy", "eps_d=new", 1, 0},
        {"prodigy_paper", "prodigy", "", 1, 0},
        {"prodigy_eps", "prodigy", "beta2=0.99 d0=1e-3 eps=0.01 eps_d=new", 1, 0},
        {"prodigy_options", "prodigy", OPTIONS, 0.8, 0},
        {"sf_adamw_eps", "sf_adamw", "bias_correction=v eps=0.01", 0.01, 0},
        {"sf_adamw_official", "sf_adamw", "bias_correction=v", 0.01, 0},
        {"sf_adamw_paper", "sf_adamw", "", 0.01, 0},
        {"sf_adamw_warmup", "sf_adamw", "bias_correction=v beta1=0.95 r=1", 0.01, 8},
        {"soft_adam_tanh", "soft_adam", "alpha_sign=0.6", 0.01, 0},
        {"soft_adam_eps", "soft_adam", "alpha_sign=0.6 adam_eps=0.01", 0.01, 0},
        {"soft_adam_clip", "soft_adam", "alpha_sign=0.6 map=clip", 0.01, 0},
        {"soft_adam_algebraic", "soft_adam", "alpha_sign=0.3 map=algebraic tau_max=20", 0.01, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double error =
            follow(rows[i].file, rows[i].optimizer, rows[i].settings, rows[i].lr, rows[i].warmup);
        if (!(error < 2e-6)) fail_msg("%s: relative error %g", rows[i].file, error);
    }
}

/* The state of world->params[i]; a group has its tensors in the order of roles. */
static const OptimTensor *state_of(const World *world, int i) {
    const OptimTensor *tensor = world->optim.groups[0].tensors;
    while (tensor->param != &world->params[i]) tensor++;
    return tensor;
}

static void assert_close_weights(const World *a, const World *b, double tolerance) {
    for (int i = 0; i < a->count; i++)
        for (size_t k = 0; k < param_size(&a->params[i]); k++) {
            double difference = fabs((double)a->params[i].w[k] - (double)b->params[i].w[k]);
            if (!(difference <= tolerance)) fail_msg("%s: %g apart", a->params[i].name, difference);
        }
}

/* AdEMAMix */

static void ademamix_without_its_slow_mean_should_be_adamw(void **state) {
    (void)state;
    World mixed, plain;
    world_open(&mixed, optimizer_find("ademamix"), "alpha=0 beta2=0.95", 0.01, 0.1, 1);
    world_open(&plain, optimizer_find("adamw"), "", 0.01, 0.1, 1);
    world_run(&mixed, STEPS, 1);
    world_run(&plain, STEPS, 1);
    assert_close_weights(&mixed, &plain, 1e-6);
    world_close(&mixed);
    world_close(&plain);
}

/* One constant gradient: its fast mean, unbiased, and its root mean square are 1. */
static void slow_mean_should_warm_up_as_the_paper_says(void **state) {
    (void)state;
    static const double beta1s[] = {0.9, 0, 0.995}; /* the last is slower than beta3: no warm-up of that */
    for (int k = 0; k < 3; k++) {
        char settings[64];
        World world;
        double m2 = 0, w = 2;
        snprintf(settings, sizeof settings, "beta1=%g beta3=0.99 alpha=4 warmup_frac=0.5", beta1s[k]);
        world_open(&world, optimizer_find("ademamix"), settings, 0.1, 0, 1);
        world.params[0].w[0] = 2;
        world.params[0].g[0] = 0.25f;
        for (int step = 1; step <= STEPS; step++) {
            double a = fmin(1, step / (0.5 * STEPS)), half_life = beta1s[k] > 0 ? 1 / log(beta1s[k]) : 0;
            double beta3 = fmin(0.99, exp(1 / ((1 - a) * half_life + a / log(0.99))));
            m2 = beta3 * m2 + (1 - beta3);
            w -= 0.1 * (1 + 4 * a * m2);
            world_step(&world, step, STEPS);
            if (!(fabs(world.params[0].w[0] - w) < 3e-6))
                fail_msg("beta1 %g, step %d: %g, not %g", beta1s[k], step, world.params[0].w[0], w);
        }
        world_close(&world);
    }
}

/* ADOPT */

static void adopt_should_only_look_at_its_first_gradient(void **state) {
    (void)state;
    World world;
    world_open(&world, optimizer_find("adopt"), "beta1=0.5", 0.1, 0.5, 1);
    float *w = world.params[0].w, *g = world.params[0].g;
    for (int i = 0; i < 4; i++) w[i] = 1;
    g[0] = 2, g[1] = 2, g[2] = -1e-20f, g[3] = 0;
    world_step(&world, 1, STEPS);
    assert_true(w[0] == 1 && w[1] == 1 && w[2] == 1 && w[3] == 1); /* no decay either */
    g[0] = 1, g[1] = -8, g[2] = 5, g[3] = 0;
    world_step(&world, 2, STEPS); /* n = 1/2; 4, clipped at 1; far more than 1; 0 */
    const double expected[] = {0.95 - 0.1 * 0.25, 0.95 + 0.1 * 0.5, 0.95 - 0.1 * 0.5, 0.95};
    for (int i = 0; i < 4; i++) assert_true(fabs(w[i] - expected[i]) < 1e-6);
    g[1] = -1e6f;
    world_step(&world, 3, STEPS); /* clipped at 2^(1/4) */
    assert_true(fabs(w[1] - (0.95 * expected[1] + 0.1 * (0.25 + 0.5 * pow(2, 0.25)))) < 1e-6);
    world_close(&world);
}

/* MARS */

/* Gradients of every tensor, or what a clip at norm 1 leaves of them. */
static void clip_gradients(World *world) {
    for (int i = 0; i < world->count; i++) {
        double sum = 0;
        float *g = world->params[i].g;
        for (size_t k = 0; k < param_size(&world->params[i]); k++) sum += (double)g[k] * (double)g[k];
        for (size_t k = 0; k < param_size(&world->params[i]); k++) g[k] /= (float)fmax(1, sqrt(sum));
    }
}

static void mars_without_correction_should_be_adamw_on_clipped_gradients(void **state) {
    (void)state;
    static const float scales[] = {0.2f, 1e25f}; /* some tensors within norm 1; none */
    for (int k = 0; k < 2; k++) {
        World mars, plain;
        world_open(&mars, optimizer_find("mars"), "gamma=0 beta1=0.9 beta2=0.95", 0.01, 0.1, 2);
        world_open(&plain, optimizer_find("adamw"), "", 0.01, 0.1, 1);
        for (int step = 1; step <= STEPS; step++) {
            world_draw(&mars, step, scales[k]);
            world_draw(&plain, step, scales[k]);
            clip_gradients(&plain);
            world_step(&mars, step, STEPS);
            world_step(&plain, step, STEPS);
        }
        assert_close_weights(&mars, &plain, 1e-6);
        world_close(&mars);
        world_close(&plain);
    }
}

/* By 1 + gamma beta1 / (1 - beta1) times their change: here 1 + 2. */
static void mars_should_extrapolate_the_change_of_gradients(void **state) {
    (void)state;
    World world;
    world_open(&world, optimizer_find("mars"), "gamma=2 beta1=0.5 beta2=0", 0.1, 0, 1);
    const float *m = state_of(&world, 0)->slot[0];
    float *g = world.params[0].g;
    g[0] = 0.25f;
    world_step(&world, 1, STEPS);
    assert_true(m[0] == 0.125f);
    g[0] = 0.125f;
    world_step(&world, 2, STEPS); /* c = 0.125 - 2 * 0.125 */
    assert_true(m[0] == 0.0625f - 0.0625f);
    world_close(&world);
}

static void mars_should_survive_the_largest_change_of_gradients(void **state) {
    (void)state;
    World world;
    world_open(&world, optimizer_find("mars"), "", 0.1, 0, 1);
    for (int step = 1; step <= 4; step++) {
        world.params[0].g[0] = step % 2 ? FLT_MAX : -FLT_MAX;
        world_step(&world, step, STEPS);
        assert_true(fabsf(world.params[0].w[0]) < 10);
    }
    assert_true(state_of(&world, 0)->slot[0][0] != 0);
    world_close(&world);
}

/* Schedule-free AdamW */

/* With equal weights, x is the mean of all z so far. */
static void evaluated_weights_should_be_the_mean_of_all_steps(void **state) {
    (void)state;
    World world;
    double sum[37] = {0};
    world_open(&world, optimizer_find("sf_adamw"), "weight_lr_power=0", 0.01, 0.1, 1);
    float *w = world.params[3].w;
    const float *z = state_of(&world, 3)->slot[1];
    for (int step = 1; step <= STEPS; step++) {
        float trained[37];
        world_draw(&world, step, 1);
        world_step(&world, step, STEPS);
        memcpy(trained, w, sizeof trained);
        optim_show(&world.optim, WEIGHTS_EVALUATED);
        for (int i = 0; i < 37; i++) {
            sum[i] += z[i];
            assert_true(fabs(w[i] - sum[i] / step) < 2e-6);
            assert_true(fabs(trained[i] - (0.9 * w[i] + 0.1 * z[i])) < 2e-6);
        }
        optim_show(&world.optim, WEIGHTS_TRAINED);
        assert_memory_equal(trained, w, sizeof trained);
    }
    world_close(&world);
}

/* s_t = t^r lr_max^2: in step 3 of rates 1/2, 1, 1/4 and r = 1 that is 1/4, 2, 3. */
static void average_should_weigh_steps_by_the_largest_rate_so_far(void **state) {
    (void)state;
    static const double factors[] = {0.5, 1, 0.25}, shares[] = {1, 2 / 2.25, 3 / 5.25};
    World world;
    double x = 0, z = 2;
    world_open(&world, optimizer_find("sf_adamw"), "r=1 bias_correction=v", 0.1, 0, 1);
    world.params[0].w[0] = 2;
    world.params[0].g[0] = 3;
    for (int step = 1; step <= 3; step++) {
        Error err;
        assert_true(optim_step(&world.optim, step, 3, factors[step - 1], false, &err));
        z -= 0.1 * factors[step - 1];
        x += shares[step - 1] * (z - x);
        optim_show(&world.optim, WEIGHTS_EVALUATED);
        assert_true(fabs(world.params[0].w[0] - x) < 1e-6);
        optim_show(&world.optim, WEIGHTS_TRAINED);
    }
    world_close(&world);
}

static void first_step_without_a_rate_should_leave_the_weights(void **state) {
    (void)state;
    World world, untouched;
    Error err;
    world_open(&world, optimizer_find("sf_adamw"), "", 0.1, 0.1, 1);
    world_open(&untouched, optimizer_find("sf_adamw"), "", 0.1, 0, 1);
    world_draw(&world, 1, 1);
    assert_true(optim_step(&world.optim, 1, STEPS, 0, false, &err));
    assert_same_weights(&world, &untouched);
    optim_show(&world.optim, WEIGHTS_EVALUATED);
    assert_same_weights(&world, &untouched);
    world_close(&world);
    world_close(&untouched);
}

/* A group whose first role is frozen: its rate of zero is not the group's. */
static void frozen_role_should_not_stop_the_average_of_others(void **state) {
    (void)state;
    static const char *const names[] = {"sf_adamw", "prodigy"};
    for (int k = 0; k < 2; k++) {
        World world, untouched;
        world_open(&world, optimizer_find(names[k]), k ? "d0=1e-3 safeguard_warmup=true" : "", 0.1, 0, 1);
        world_open(&untouched, optimizer_find(names[k]), "", 0, 0, 1);
        world.optim.plan.role[ROLE_MATRIX].lr = 0;
        world_run(&world, STEPS, 1);
        optim_show(&world.optim, WEIGHTS_EVALUATED);
        for (int i = 0; i < world.count; i++) {
            bool same = memcmp(world.params[i].w, untouched.params[i].w,
                               param_size(&world.params[i]) * sizeof(float)) == 0;
            if (same != (world.params[i].role == ROLE_MATRIX))
                fail_msg("%s: %s", names[k], world.params[i].name);
        }
        if (k) /* nor does its gradient count */
            for (size_t i = 0; i < param_size(&world.params[0]); i++)
                assert_true(state_of(&world, 0)->slot[2][i] == 0);
        world_close(&world);
        world_close(&untouched);
    }
}

/* Prodigy */

/* f = |W - W*|^2 / 2 from W = 0, each |W*_i| = distance. d is a lower bound of about that, in any unit. */
static void prodigy_should_find_the_distance_to_the_solution(void **state) {
    (void)state;
    static const double distances[] = {1e-3, 1, 1000};
    for (int k = 0; k < 3; k++) {
        World world;
        double before = 0;
        world_open(&world, optimizer_find("prodigy"), "", 1, 0, 2);
        const double *d = &world.optim.groups[0].scalars[0];
        for (int i = 0; i < world.count; i++)
            memset(world.params[i].w, 0, param_size(&world.params[i]) * sizeof(float));
        for (int step = 1; step <= 200; step++) {
            for (int i = 0; i < world.count; i++)
                for (size_t n = 0; n < param_size(&world.params[i]); n++)
                    world.params[i].g[n] =
                        world.params[i].w[n] - (float)(n % 2 ? distances[k] : -distances[k]);
            world_step(&world, step, 200);
            assert_true(*d >= before);
            before = *d;
        }
        if (!(*d > 0.1 * distances[k] && *d <= distances[k])) fail_msg("%g: d = %g", distances[k], *d);
        world_close(&world);
    }
}

/* r has lr and the way gone, s has lr or, safeguarded, not: the estimate has lr once or twice. */
static void safeguard_should_keep_lr_out_of_the_divisor(void **state) {
    (void)state;
    static const char *const settings[] = {"d_coef=1e4", "d_coef=1e4 safeguard_warmup=true"};
    static const double lrs[] = {1, 0.25}, ratios[] = {4, 16};
    for (int k = 0; k < 2; k++) {
        double d[2];
        for (int i = 0; i < 2; i++) {
            World world;
            world_open(&world, optimizer_find("prodigy"), settings[k], lrs[i], 0, 1);
            world_draw(&world, 1, 1);
            world_step(&world, 1, STEPS);
            world_step(&world, 2, STEPS);
            d[i] = world.optim.groups[0].scalars[0];
            world_close(&world);
        }
        if (!(fabs(d[0] / d[1] / ratios[k] - 1) < 1e-3)) fail_msg("%g / %g", d[0], d[1]);
    }
}

/* But for the first estimate, which replaces d0 whatever it is. */
static void prodigy_should_limit_growth_and_wait_for_a_gradient(void **state) {
    (void)state;
    World world, untouched;
    world_open(&world, optimizer_find("prodigy"), "growth_rate=1.25", 1, 0.1, 1);
    world_open(&untouched, optimizer_find("prodigy"), "", 1, 0.1, 1);
    const double *d = &world.optim.groups[0].scalars[0], *d_max = d + 1;
    world_run(&world, 3, 0);
    assert_same_weights(&world, &untouched);
    assert_true(*d == 1e-6);
    world_draw(&world, 1, 1); /* the same gradient from now on: the solution is far away */
    world_step(&world, 4, STEPS);
    assert_true(*d == 1e-6 && weights_differ(&world, &untouched));
    for (int step = 5; step < 20; step++) {
        double before = *d;
        world_step(&world, step, 20);
        assert_true(before == 1e-6 ? *d == *d_max && *d > before : fabs(*d / before - 1.25) < 1e-12);
        assert_true(*d_max >= *d);
    }
    assert_true(*d_max > 1.1 * *d); /* what was estimated is not forgotten */
    void *wrong = golden_hyper(optimizer_find("prodigy"), "growth_rate=0.5");
    assert_non_null(optimizer_find("prodigy")->check(wrong));
    free(wrong);
    world_close(&world);
    world_close(&untouched);
}

/* What a tensor moved is what its weights moved, but for their rounding. */
static void prodigy_should_know_how_far_it_has_come(void **state) {
    (void)state;
    World world, first;
    world_open(&world, optimizer_find("prodigy"), "d0=1e-3", 1, 0.1, 1);
    world_open(&first, optimizer_find("prodigy"), "", 1, 0, 1);
    world_run(&world, STEPS, 1);
    for (int i = 0; i < world.count; i++)
        for (size_t k = 0; k < param_size(&world.params[i]); k++) {
            double moved = (double)world.params[i].w[k] - (double)first.params[i].w[k];
            assert_true(fabs(moved - state_of(&world, i)->slot[3][k]) < 2e-6);
        }
    world_close(&world);
    world_close(&first);
}

/* SoftAdam */

static void hard_phase_of_soft_adam_should_be_signum(void **state) {
    (void)state;
    World soft, hard;
    world_open(&soft, optimizer_find("soft_adam"), "alpha_sign=1", 0.01, 0.1, 2);
    world_open(&hard, optimizer_find("signum"), "momentum=0.9", 0.01, 0.1, 1);
    world_run(&soft, STEPS, 1);
    world_run(&hard, STEPS, 1);
    assert_same_weights(&soft, &hard);
    assert_true(isinf(soft.optim.groups[0].temperature));
    world_close(&soft);
    world_open(&soft, optimizer_find("soft_adam"), "", 0.01, 0, 1);
    world_run(&soft, 1, 0);
    assert_true(soft.optim.groups[0].saturated_frac == 0); /* a weight that never moved is no sign */
    world_close(&soft);
    world_close(&hard);
}

/* At tau = 1: Adam's bits with the Euclidean map, and nearly its direction with any other. */
static void end_of_soft_adam_should_be_adam(void **state) {
    (void)state;
    static const char *const maps[] = {"linear", "tanh", "algebraic", "clip"};
    static const double at_least[] = {1, 0.98, 0.98, 0.98};
    for (int k = 0; k < 4; k++) {
        char settings[64];
        World soft, adam, first;
        snprintf(settings, sizeof settings, "alpha_sign=0 tau=1 map=%s", maps[k]);
        world_open(&soft, optimizer_find("soft_adam"), settings, 0.01, 0, 1);
        world_open(&adam, optimizer_find("adamw"), "", 0.01, 0, 1);
        world_open(&first, optimizer_find("adamw"), "", 0.01, 0, 1);
        world_run(&soft, STEPS, 1);
        world_run(&adam, STEPS, 1);
        if (k == 0) assert_same_weights(&soft, &adam);
        double both = 0, softs = 0, adams = 0;
        for (int i = 0; i < soft.count; i++)
            for (size_t n = 0; n < param_size(&soft.params[i]); n++) {
                double a = soft.params[i].w[n] - first.params[i].w[n];
                double b = adam.params[i].w[n] - first.params[i].w[n];
                both += a * b, softs += a * a, adams += b * b;
            }
        if (!(both / sqrt(softs * adams) > at_least[k] - 1e-9))
            fail_msg("%s: cosine %g", maps[k], both / sqrt(softs * adams));
        world_close(&soft);
        world_close(&adam);
        world_close(&first);
    }
}

/* The statistics are those of the ratio, over all tensors; from then on signs are let go of evenly. */
static void soft_adam_should_let_go_by_the_quantiles_of_its_ratio(void **state) {
    (void)state;
    enum { LONG = 40, SOFT = 21 };
    World world;
    double before = 1;
    world_open(&world, optimizer_find("soft_adam"), "alpha_sign=0.5 beta1=0.5 beta2=0.75", 1e-3, 0, 3);
    const OptimGroup *group = &world.optim.groups[0];
    for (int step = 1; step <= LONG; step++) {
        if (step <= SOFT) world_draw(&world, step, 1e-3f);
        world_step(&world, step, LONG);
        assert_true(group->scalars[SCALAR_MEASURED_STEP] == (step < SOFT ? 0 : SOFT));
        if (step < SOFT) assert_true(isinf(group->temperature) && group->saturated_frac > 0.999);
        else assert_true(group->temperature >= 1 && group->saturated_frac <= before);
        before = group->saturated_frac;
        if (step < SOFT) continue;
        double dual = 0, median, mad, saturated = 0;
        static float n[40000];
        size_t count = 0;
        for (int i = 0; i < world.count; i++)
            for (size_t k = 0; k < param_size(&world.params[i]); k++) {
                double m = state_of(&world, i)->slot[0][k] / (1 - pow(0.5, step));
                double v = state_of(&world, i)->slot[1][k] / (1 - pow(0.75, step));
                dual += fabs(m / (sqrt(v) + 1e-8));
                n[count++] = (float)(m / (sqrt(v) + 1e-8));
            }
        for (size_t k = 0; k < count; k++)
            saturated += fabs((double)n[k]) * group->temperature >= atanh(1 - 1e-4);
        assert_true(fabs(group->saturated_frac - saturated / (double)count) < 1e-3);
        if (step > SOFT) continue;
        median_and_mad(&(SamplePart){.x = n, .count = count}, 1, 1, &median, &mad);
        assert_true(fabs(group->scalars[SCALAR_MEDIAN] - median) < 1e-6);
        assert_true(fabs(group->scalars[SCALAR_MAD] / mad - 1) < 1e-6);
        assert_true(fabs(group->dual_progress / dual - 1) < 1e-5); /* tau is still enormous */
    }
    assert_true(before < 0.1);
    world_close(&world);
}

/* All of them */

/* State that begins in the middle of a run: steps 101, 102, ... of a run are then as 1, 2, ... */
static void late_states_should_be_corrected_by_their_own_age(void **state) {
    (void)state;
    static const char *const rows[][2] = {{"ademamix", "warmup_frac=0"},
                                          {"adopt", ""},
                                          {"mars", "first_previous=zero"},
                                          {"mars", ""},
                                          {"prodigy", "bias_correction=true d0=1e-2"},
                                          {"sf_adamw", "r=1"},
                                          {"sf_adamw", "bias_correction=v"},
                                          {"soft_adam", "alpha_sign=0 tau=2"}};
    for (size_t k = 0; k < sizeof rows / sizeof *rows; k++) {
        World early, late;
        world_open(&early, optimizer_find(rows[k][0]), rows[k][1], 0.01, 0.1, 1);
        world_open(&late, optimizer_find(rows[k][0]), rows[k][1], 0.01, 0.1, 1);
        for (int step = 1; step <= STEPS; step++) {
            world_draw(&early, step, 0.01f); /* within MARS's norm */
            world_draw(&late, step, 0.01f);
            world_step(&early, step, 1000);
            world_step(&late, 100 + step, 1000);
        }
        assert_same_weights(&early, &late);
        world_close(&early);
        world_close(&late);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_trajectories_should_be_followed),
        cmocka_unit_test(ademamix_without_its_slow_mean_should_be_adamw),
        cmocka_unit_test(slow_mean_should_warm_up_as_the_paper_says),
        cmocka_unit_test(adopt_should_only_look_at_its_first_gradient),
        cmocka_unit_test(mars_without_correction_should_be_adamw_on_clipped_gradients),
        cmocka_unit_test(mars_should_extrapolate_the_change_of_gradients),
        cmocka_unit_test(mars_should_survive_the_largest_change_of_gradients),
        cmocka_unit_test(evaluated_weights_should_be_the_mean_of_all_steps),
        cmocka_unit_test(average_should_weigh_steps_by_the_largest_rate_so_far),
        cmocka_unit_test(first_step_without_a_rate_should_leave_the_weights),
        cmocka_unit_test(frozen_role_should_not_stop_the_average_of_others),
        cmocka_unit_test(prodigy_should_find_the_distance_to_the_solution),
        cmocka_unit_test(safeguard_should_keep_lr_out_of_the_divisor),
        cmocka_unit_test(prodigy_should_limit_growth_and_wait_for_a_gradient),
        cmocka_unit_test(prodigy_should_know_how_far_it_has_come),
        cmocka_unit_test(hard_phase_of_soft_adam_should_be_signum),
        cmocka_unit_test(end_of_soft_adam_should_be_adam),
        cmocka_unit_test(soft_adam_should_let_go_by_the_quantiles_of_its_ratio),
        cmocka_unit_test(late_states_should_be_corrected_by_their_own_age),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
