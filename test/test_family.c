/* test_family.c: the family of relaxed geometries on entries and on singular values, its conjugates, and the
 * published readings of momentum and of the methods made from it. */
#include "optim/temperature.h"

#include "test/world.h"
#include <lapacke.h>

#define FOLDER "test/golden/optim/"

static void assert_near(double value, double expected, double relative) {
    if (!(fabs(value - expected) <= relative * fabs(expected)))
        fail_msg("%.17g differs from %.17g by more than %g of it", value, expected, relative);
}

static double random_normal(uint64_t stream, uint64_t index) {
    return rng_normal(7, stream, index);
}

/* ---- recorded trajectories ---- */

/* golden_error, and dual_progress held to what was recorded. */
static double follow(const char *path, const char *optimizer, const char *settings) {
    cJSON *json = golden_parse(path);
    Param params[16];
    int count = golden_params(json, params), steps = cJSON_GetObjectItem(json, "steps")->valueint;
    const cJSON *duals = cJSON_GetObjectItem(json, "dual_progress_after_step");
    void *hyper = golden_hyper(optimizer_find(optimizer), settings);
    OptimPlan plan = golden_plan(optimizer_find(optimizer), hyper, 0.01, 0.1);
    Optim optim;
    Error err;
    double worst = 0;
    if (!optim_create(&optim, &plan, params, count, 2, &err)) fail_msg("%s", err.text);
    for (int step = 1; step <= steps; step++) {
        char key[16];
        snprintf(key, sizeof key, "%d", step);
        golden_fill(cJSON_GetArrayItem(cJSON_GetObjectItem(json, "grads"), step - 1), params, count, true);
        if (!optim_step(&optim, step, steps, 1, true, &err)) fail_msg("%s", err.text);
        const cJSON *expected = cJSON_GetObjectItem(cJSON_GetObjectItem(json, "params_after_step"), key);
        if (expected) worst = fmax(worst, golden_distance(expected, params, count));
        if (cJSON_GetObjectItem(duals, key))
            assert_near(optim.groups[0].dual_progress, cJSON_GetObjectItem(duals, key)->valuedouble, 2e-6);
    }
    optim_free(&optim);
    golden_params_free(params, count);
    free(hyper);
    cJSON_Delete(json);
    return worst;
}

static const char *const MAPS[] = {"tanh", "algebraic", "clip", "linear", "sign"};

static void whole_family_should_follow_its_formula(void **state) {
    (void)state;
    for (int k = 0; k < 10; k++) {
        bool spectral = k >= 5;
        char path[128], settings[160];
        snprintf(path, sizeof path, FOLDER "family_%s_%s.json", spectral ? "spectral" : "vector",
                 MAPS[k % 5]);
        snprintf(settings, sizeof settings, "momentum=0.9 alpha_sign=0 map=%s %s", MAPS[k % 5],
                 spectral ? "tau=5 nesterov=false scale=none coefficients=converged" : "tau=30");
        double error = follow(path, spectral ? "softmuon" : "softsignum", settings);
        if (!(error < 2e-6)) fail_msg("%s: relative error %g", path, error);
    }
}

static void readings_should_follow_their_formulas(void **state) {
    (void)state;
    static const struct {
        const char *file, *optimizer, *settings;
    } rows[] = {
        {"softsignum_sum", "softsignum", "momentum=0.9 momentum_form=sum alpha_sign=0.6 tau_max=20"},
        {"softsignum_normalized", "softsignum",
         "momentum=0.9 momentum_form=sum alpha_sign=0.6 tau_max=20 lr_norm=inverse"},
        {"softsignum_sign_norm", "softsignum",
         "momentum=0.9 momentum_form=sum nesterov=true alpha_sign=0.6 tau_max=20 lr_norm=norm"},
        {"signum_nesterov", "signum", "momentum=0.9 nesterov=true"},
        {"sgd_coupled_l2", "sgd", "momentum=0.9 coupled_decay=true"},
        {"sgd_coupled_l2_nesterov", "sgd", "momentum=0.9 coupled_decay=true nesterov=true"},
        {"muon_polar", "muon", "coefficients=converged"},
        {"muon_polar_aspect", "muon", "nesterov=false scale=aspect coefficients=converged"},
        {"muon_polar_rms", "muon", "scale=rms coefficients=converged"},
        {"hard_switch_muon", "hard_switch_muon",
         "nesterov=false alpha_sign=0.6 sgd_lr_ratio=10 coefficients=converged"},
        {"hard_switch_muon_nesterov", "hard_switch_muon",
         "alpha_sign=0.6 sgd_lr_ratio=10 coefficients=converged"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[128];
        snprintf(path, sizeof path, FOLDER "%s.json", rows[i].file);
        double error = follow(path, rows[i].optimizer, rows[i].settings);
        if (!(error < 2e-6)) fail_msg("%s: relative error %g", path, error);
    }
}

static void presets_should_be_the_published_readings(void **state) {
    (void)state;
    static const struct {
        const char *file, *optimizer, *preset, *more;
        double lr, weight_decay, tolerance;
    } rows[] = {
        {"softsignum_paper", "softsignum", "paper", "momentum=0.9 alpha_sign=0.6", 0.01, 0.1, 2e-6},
        {"softsignum_sum", "softsignum", "official", "momentum=0.9 alpha_sign=0.6", 0.01, 0.1, 2e-6},
        {"softsignum_official_b0.9_d0.9_n0_t20", "softsignum", "official",
         "momentum=0.9 dampening=0.9 alpha_sign=0.6", 0.01, 0, 2e-6},
        {"softmuon_paper", "softmuon", "paper", "momentum=0.9 alpha_sign=0.6", 0.01, 0.1, 1e-5},
        {"softmuon_official_soft", "softmuon", "official", "alpha_sign=0.6", 0.02, 0.01, 1e-5},
        {"softmuon_official_hard", "muon", "official", "", 0.02, 0.01, 1e-5},
        {"hard_switch", "hard_switch", "paper", "momentum=0.9 alpha_sign=0.6 sgd_lr_ratio=10", 0.01, 0.1,
         2e-6},
        {"sgd_coupled_l2", "sgd", "paper", "", 0.01, 0.1, 2e-6},
        {"sgd_coupled_l2", "sgd", "official", "momentum=0.9", 0.01, 0.1, 2e-6},
        {"signsgd_formula", "signsgd", "paper", "", 0.01, 0.1, 2e-6},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[128], settings[512];
        snprintf(path, sizeof path, FOLDER "%s.json", rows[i].file);
        snprintf(settings, sizeof settings, "%s %s",
                 optimizer_preset(optimizer_find(rows[i].optimizer), rows[i].preset)->settings,
                 rows[i].more);
        double error = golden_error(path, rows[i].optimizer, settings, rows[i].lr, rows[i].weight_decay);
        if (!(error < rows[i].tolerance))
            fail_msg("%s as %s: relative error %g", rows[i].optimizer, rows[i].preset, error);
    }
}

/* ---- one method as a case of another ---- */

typedef struct Method {
    const char *name, *settings;
    double lr, weight_decay;
} Method;

/* The largest difference after STEPS steps, over the tensors that both have, beside the longest way that a
 * weight has gone; 0 means the same bits. */
static double difference(Method a, Method b) {
    World x, y, start;
    double worst = 0, way = 0;
    world_open(&x, optimizer_find(a.name), a.settings, a.lr, a.weight_decay, 2);
    world_open(&y, optimizer_find(b.name), b.settings, b.lr, b.weight_decay, 1);
    world_open(&start, optimizer_find(a.name), a.settings, 0, 0, 1);
    world_run(&x, STEPS, 1);
    world_run(&y, STEPS, 1);
    for (int i = 0; i < x.count; i++)
        for (int j = 0; j < y.count; j++)
            for (size_t k = 0; k < param_size(&x.params[i]); k++) {
                if (strcmp(x.params[i].name, y.params[j].name) != 0) break;
                double w = x.params[i].w[k];
                worst = fmax(worst, fabs(w - y.params[j].w[k]));
                way = fmax(way, fabs(w - start.params[i].w[k]));
            }
    world_close(&x);
    world_close(&y);
    world_close(&start);
    return worst / way;
}

static void hard_ball_should_be_signum_and_muon(void **state) {
    (void)state;
    static const char *const forms[] = {"", "nesterov=true", "momentum_form=sum dampening=0.5",
                                        "momentum_form=sum nesterov=true"};
    for (int k = 0; k < 8; k++) {
        char soft[128];
        snprintf(soft, sizeof soft, "%s map=sign alpha_sign=0 %s", forms[k / 2], k % 2 ? "tau=3" : "");
        assert_true(difference((Method){"softsignum", soft, 0.01, 0.1},
                               (Method){"signum", forms[k / 2], 0.01, 0.1}) == 0);
        assert_true(difference((Method){"softmuon", soft, 0.01, 0.1},
                               (Method){"muon", forms[k / 2], 0.01, 0.1}) == 0);
    }
}

/* tau = 8 only shifts exponents: the same bits, but where compilers contract the two loops differently. */
static void euclidean_map_should_be_sgd(void **state) {
    (void)state;
    static const char *const forms[] = {"momentum=0.95 momentum_form=ema nesterov=false",
                                        "momentum=0.95 momentum_form=ema nesterov=true",
                                        "momentum=0.95 momentum_form=sum nesterov=true",
                                        "momentum=0.95 momentum_form=sum dampening=0.5 nesterov=false"};
    for (int k = 0; k < 4; k++) {
        char soft[160], spectral[200];
        Method sgd = {"sgd", forms[k], 0.08, 0.05};
        snprintf(soft, sizeof soft, "%s map=linear alpha_sign=0 tau=8", forms[k]);
        snprintf(spectral, sizeof spectral, "%s scale=none", soft);
        assert_true(difference((Method){"softsignum", soft, 0.01, 0.4}, sgd) < 1e-6);
        assert_true(difference((Method){"softmuon", spectral, 0.01, 0.4}, sgd) < 1e-6);
    }
}

static void hard_switches_should_be_linear_maps_after_a_hard_phase(void **state) {
    (void)state;
    static const char *const forms[] = {"nesterov=false", "nesterov=true momentum_form=sum"};
    for (int k = 0; k < 2; k++) {
        char soft[128], hard[128];
        snprintf(hard, sizeof hard, "%s alpha_sign=0.5 sgd_lr_ratio=3", forms[k]);
        snprintf(soft, sizeof soft, "%s alpha_sign=0.5 map=linear tau=3", forms[k]);
        assert_true(difference((Method){"softsignum", soft, 0.01, 0.1},
                               (Method){"hard_switch", hard, 0.01, 0.1}) == 0);
        assert_true(difference((Method){"softmuon", soft, 0.01, 0.1},
                               (Method){"hard_switch_muon", hard, 0.01, 0.1}) == 0);
    }
}

/* The same direction: polar factors and signs do not see that a sum is 1 / (1 - beta) times the average. */
static void muon_and_signum_should_not_care_for_sum_or_average(void **state) {
    (void)state;
    Method muon = {"muon", "coefficients=converged", 0.01, 0.1}, signum = {"signum", "", 0.01, 0.1};
    Method muon_sum = {"muon", "coefficients=converged momentum_form=sum", 0.01, 0.1};
    Method signum_sum = {"signum", "momentum_form=sum", 0.01, 0.1};
    assert_true(difference(muon, muon_sum) < 1e-4);
    assert_true(difference(signum, signum_sum) < 1e-4);
    muon_sum.settings = "coefficients=converged momentum_form=sum dampening=0.5"; /* but for the first g */
    assert_true(difference(muon, muon_sum) > 0.01);
}

/* A huge temperature is the hard map, a small one SGD. */
static void temperature_should_lead_from_sign_to_sgd(void **state) {
    (void)state;
    for (int map = 0; map < 3; map++) {
        char hot[128], cold[128];
        Method sgd = {"sgd", "momentum=0.95 momentum_form=ema", 1e-6, 0};
        snprintf(hot, sizeof hot, "map=%s alpha_sign=0 tau=1e12", MAPS[map]);
        snprintf(cold, sizeof cold, "map=%s alpha_sign=0 tau=1e-4", MAPS[map]);
        assert_true(difference((Method){"softsignum", hot, 0.01, 0.1}, (Method){"signum", "", 0.01, 0.1}) <
                    1e-6);
        assert_true(difference((Method){"softsignum", cold, 1, 0}, (Method){"sgd", sgd.settings, 1e-4, 0}) <
                    1e-2); /* of steps so small that weights round them */
    }
}

/* One tensor in vectors, or every entry in a tensor of its own: whatever compilers contract. */
static void vectors_and_single_entries_should_have_the_same_bits(void **state) {
    (void)state;
    static const char *const rows[][2] = {{"softsignum", "nesterov=true"},
                                          {"softsignum", "map=algebraic momentum_form=sum"},
                                          {"softsignum", "map=clip nesterov=true"},
                                          {"softsignum", "map=linear tau=3 nesterov=true"},
                                          {"signum", "nesterov=true"},
                                          {"signum", "momentum_form=sum nesterov=true"},
                                          {"sgd", "nesterov=true"},
                                          {"sgd", "coupled_decay=true momentum_form=ema nesterov=true"},
                                          {"hard_switch", "nesterov=true alpha_sign=0.5"}};
    enum { SIZE = 45 };
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        float w[2][SIZE], g[SIZE];
        Param params[2][SIZE];
        Optim optim[2];
        Error err;
        void *hyper = golden_hyper(optimizer_find(rows[r][0]), rows[r][1]);
        OptimPlan plan = golden_plan(optimizer_find(rows[r][0]), hyper, 0.01, 0.1);
        for (int i = 0; i < SIZE; i++) {
            w[0][i] = w[1][i] = (float)random_normal(0, (uint64_t)i);
            params[1][i] = (Param){.rows = 1, .cols = 1, .split = 1, .w = &w[1][i], .g = &g[i]};
        }
        params[0][0] = (Param){.rows = 1, .cols = SIZE, .split = 1, .w = w[0], .g = g};
        for (int k = 0; k < 2; k++)
            if (!optim_create(&optim[k], &plan, params[k], k ? SIZE : 1, 1, &err)) fail_msg("%s", err.text);
        for (int step = 1; step <= 20; step++) {
            for (int i = 0; i < SIZE; i++) g[i] = (float)random_normal((uint64_t)step, (uint64_t)i);
            for (int k = 0; k < 2; k++) assert_true(optim_step(&optim[k], step, 20, 1, false, &err));
            if (memcmp(w[0], w[1], sizeof g) != 0) fail_msg("%s %s: step %d", rows[r][0], rows[r][1], step);
        }
        optim_free(&optim[0]);
        optim_free(&optim[1]);
        free(hyper);
    }
}

/* g = 1 then 3: m = 1 then 2, and Nesterov takes all of g: x = 1.5 then 4. */
static void nesterov_should_not_dampen_the_gradient(void **state) {
    (void)state;
    World world;
    world_open(&world, optimizer_find("sgd"), "momentum=0.5 dampening=0.5 nesterov=true", 0.1, 0, 1);
    world.params[0].w[5] = 2;
    for (int step = 1; step <= 2; step++) {
        world.params[0].g[5] = step == 1 ? 1 : 3;
        world_step(&world, step, 2);
    }
    assert_near(world.params[0].w[5], 2 - 0.1 * (1.5 + 4), 1e-6);
    world_close(&world);
}

/* ---- conjugates ---- */

static void logarithm_of_cosh_should_be_accurate_everywhere(void **state) {
    (void)state;
    assert_true(log_cosh(0) == 0);
    for (double y = 1e-30; y < 1e40; y *= 1.07) {
        double half = sinh(fmin(y, 2) / 2);
        assert_near(log_cosh(y), y < 2 ? log1p(2 * half * half) : y + log1p(exp(-2 * y)) - log(2), 1e-6);
    }
}

/* V* is convex with the map as its derivative, and V*(y) + V(map(y)) = y map(y). */
static void conjugates_should_belong_to_their_maps(void **state) {
    (void)state;
    for (SoftMap map = MAP_TANH; map <= MAP_SIGN; map++)
        for (double y = -6; y <= 6; y += 0.37) {
            double h = 1e-3, d = soft_map(map, (float)y), V = 0;
            double left = soft_map_conjugate(map, y - h), right = soft_map_conjugate(map, y + h);
            assert_near((right - left) / (2 * h), d, 1e-3);
            assert_true(left + right >= 2 * soft_map_conjugate(map, y) - 1e-6);
            if (map == MAP_TANH) V = ((1 + d) * log1p(d) + (1 - d) * log1p(-d)) / 2;
            if (map == MAP_ALGEBRAIC) V = 1 - sqrt(1 - d * d);
            if (map == MAP_CLIP || map == MAP_LINEAR) V = d * d / 2;
            assert_near(soft_map_conjugate(map, y) + V, y * d, 1e-4);
        }
    for (double y = 1e-12; y < 1e40; y *= 10) /* no cancellation, no overflow */
        for (SoftMap map = MAP_TANH; map <= MAP_CLIP; map++)
            assert_near(soft_map_conjugate(map, y),
                        y < 0.01  ? y * y / 2
                        : y > 1e9 ? y
                                  : soft_map_conjugate(map, y),
                        1e-4);
}

/* All that is mapped: entries, or singular values with LAPACK, of Nesterov's x. Returns the l1 norm. */
static double norm_of_input(const World *world, bool spectral) {
    double sum = 0;
    for (int i = 0; i < world->count; i++) {
        const OptimTensor *tensor = &world->optim.groups[0].tensors[i];
        const Param *p = tensor->param;
        int rows = p->rows / p->split, size = rows * p->cols;
        for (int part = 0; part < p->split; part++) {
            double *x = calloc((size_t)size, sizeof *x), *s = calloc((size_t)size, sizeof *s);
            for (int k = 0; k < size; k++) {
                double m = tensor->slot[0][part * size + k];
                x[k] = 0.95 * m + 0.05 * p->g[part * size + k];
                sum += spectral ? 0 : fabs(x[k]);
            }
            double *unused = calloc((size_t)size, sizeof *unused);
            if (spectral)
                assert_int_equal(0, LAPACKE_dgesvd(LAPACK_ROW_MAJOR, 'N', 'N', rows, p->cols, x, p->cols, s,
                                                   NULL, 1, NULL, 1, unused));
            for (int k = 0; k < size; k++) sum += s[k];
            free(x), free(s), free(unused);
        }
    }
    return sum;
}

static void progress_of_the_hard_phase_should_be_the_l1_or_nuclear_norm(void **state) {
    (void)state;
    static const char *const settings[] = {"nesterov=true alpha_sign=1",
                                           "nesterov=true alpha_sign=0 tau=1e15",
                                           "nesterov=true alpha_sign=0 map=sign tau=2"};
    for (int k = 0; k < 6; k++) {
        World world;
        world_open(&world, optimizer_find(k < 3 ? "softsignum" : "softmuon"), settings[k % 3], 0.01, 0, 2);
        world_run(&world, 3, 1);
        assert_near(world.optim.groups[0].dual_progress, norm_of_input(&world, k >= 3), 1e-6);
        Error err;
        assert_true(optim_step(&world.optim, 4, STEPS, 1, false, &err));
        assert_true(isnan(world.optim.groups[0].dual_progress)); /* only when it is asked for */
        world_close(&world);
    }
}

/* The same method with other settings for one role: a group of its own, with figures of its own. */
static void settings_of_a_role_should_make_a_group(void **state) {
    (void)state;
    const Optimizer *o = optimizer_find("softsignum");
    World both, alone[2];
    Error err;
    static const char *const settings[] = {"alpha_sign=0 tau=2", "alpha_sign=0 tau=40 momentum=0.5"};
    for (int k = 0; k < 2; k++) world_open(&alone[k], o, settings[k], 0.01, 0.1, 1);
    world_open(&both, o, settings[0], 0.01, 0.1, 1);
    OptimPlan plan = golden_plan(o, both.hyper, 0.01, 0.1);
    plan.role[ROLE_EMBEDDING].hyper = alone[1].hyper;
    optim_free(&both.optim);
    assert_true(optim_create(&both.optim, &plan, both.params, both.count, 1, &err));
    assert_int_equal(both.optim.group_count, 2);
    world_run(&both, STEPS, 1);
    for (int k = 0; k < 2; k++) world_run(&alone[k], STEPS, 1);
    for (int i = 0; i < both.count; i++) {
        const Param *p = &both.params[i], *q = &alone[p->role == ROLE_EMBEDDING].params[i];
        assert_memory_equal(p->w, q->w, param_size(p) * sizeof(float));
    }
    double sum = both.optim.groups[0].dual_progress + both.optim.groups[1].dual_progress;
    assert_true(both.optim.groups[0].dual_progress < 0.5 * sum && sum > 0);
    for (int k = 0; k < 2; k++) world_close(&alone[k]);
    world_close(&both);
}

/* At a low temperature the authors' iteration converges, if it is given the steps. */
static void coupled_iteration_should_take_the_steps_it_is_given(void **state) {
    (void)state;
    Method stacked = {"softmuon", "alpha_sign=0 tau=2", 0.01, 0.1};
    Method few = {"softmuon", "alpha_sign=0 tau=2 soft_iteration=coupled soft_steps=2", 0.01, 0.1};
    Method many = {"softmuon", "alpha_sign=0 tau=2 soft_iteration=coupled soft_steps=30", 0.01, 0.1};
    assert_true(difference(stacked, few) > 1e-3);
    assert_true(difference(stacked, many) < 1e-4);
}

/* ---- temperatures ---- */

static void fixed_temperature_should_need_no_statistics(void **state) {
    (void)state;
    static const char *const names[] = {"softsignum", "softmuon"};
    for (int k = 0; k < 2; k++) {
        World world;
        world_open(&world, optimizer_find(names[k]), "alpha_sign=0.5 tau=7", 0.01, 0.1, 2);
        const OptimGroup *group = &world.optim.groups[0];
        for (int step = 1; step <= STEPS; step++) {
            world_draw(&world, step, 1);
            world_step(&world, step, STEPS);
            assert_true(group->temperature == (step <= STEPS / 2 ? INFINITY : 7));
        }
        for (int s = 0; s < 3; s++) assert_true(group->scalars[s] == 0);
        world_close(&world);
    }
}

static void hard_ball_should_have_no_temperature(void **state) {
    (void)state;
    World world;
    world_open(&world, optimizer_find("softsignum"), "alpha_sign=0 map=sign tau=7", 0.01, 0.1, 2);
    world_run(&world, 2, 1);
    assert_true(isinf(world.optim.groups[0].temperature) && world.optim.groups[0].saturated_frac > 0.99);
    world_close(&world);
}

static void linear_map_should_need_a_fixed_temperature(void **state) {
    (void)state;
    static const char *const names[] = {"softsignum", "softmuon"};
    for (int k = 0; k < 2; k++) {
        const Optimizer *o = optimizer_find(names[k]);
        void *wrong = golden_hyper(o, "map=linear"), *right = golden_hyper(o, "map=linear tau=1");
        assert_non_null(o->check(wrong));
        assert_null(o->check(right));
        free(wrong);
        free(right);
    }
}

static void dampening_should_need_a_sum_everywhere(void **state) {
    (void)state;
    int seen = 0;
    EACH(o) {
        if (field_find((*o)->fields, "dampening") == NULL) continue;
        void *wrong = golden_hyper(*o, "momentum_form=ema dampening=0.5");
        void *right = golden_hyper(*o, "momentum_form=sum dampening=0.5");
        if ((*o)->check == NULL || (*o)->check(wrong) == NULL || (*o)->check(right))
            fail_msg("%s", (*o)->name);
        free(wrong);
        free(right);
        seen++;
    }
    assert_true(seen >= 7);
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double lower_median(double *x, int count) {
    qsort(x, (size_t)count, sizeof *x, by_value);
    return x[(count - 1) / 2];
}

/* What the authors' code does: the statistics are of what is mapped, with Nesterov's look ahead. */
static void statistics_should_be_of_what_is_mapped(void **state) {
    (void)state;
    World world;
    world_open(&world, optimizer_find("softsignum"), "alpha_sign=0.5 nesterov=true momentum=0.6", 0, 0, 2);
    world_run(&world, STEPS / 2 + 1, 1);
    const OptimGroup *group = &world.optim.groups[0];
    int count = 0, size = 0;
    for (int i = 0; i < world.count; i++) size += (int)param_size(&world.params[i]);
    double *x = malloc((size_t)size * sizeof *x);
    for (int i = 0; i < world.count; i++)
        for (size_t k = 0; k < param_size(group->tensors[i].param); k++)
            x[count++] = 0.6 * group->tensors[i].slot[0][k] + 0.4 * group->tensors[i].param->g[k];
    double median = lower_median(x, count);
    for (int k = 0; k < count; k++) x[k] = fabs(x[k] - median);
    double mad = lower_median(x, count);
    assert_near(group->scalars[SCALAR_MEDIAN], median, 1e-5);
    assert_near(group->scalars[SCALAR_MAD], mad, 1e-5);
    free(x);
    world_close(&world);
}

static void norms_of_nothing_should_leave_weights_alone(void **state) {
    (void)state;
    static const char *const settings[] = {"lr_norm=inverse alpha_sign=0.5", "lr_norm=norm alpha_sign=0.5"};
    for (int k = 0; k < 2; k++) {
        World world, untouched;
        world_open(&world, optimizer_find("softsignum"), settings[k], 0.1, 0, 2);
        world_open(&untouched, optimizer_find("softsignum"), "", 0, 0, 2);
        world_run(&world, STEPS, 0);
        assert_same_weights(&world, &untouched);
        world_close(&world);
        world_close(&untouched);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_family_should_follow_its_formula),
        cmocka_unit_test(readings_should_follow_their_formulas),
        cmocka_unit_test(presets_should_be_the_published_readings),
        cmocka_unit_test(hard_ball_should_be_signum_and_muon),
        cmocka_unit_test(euclidean_map_should_be_sgd),
        cmocka_unit_test(hard_switches_should_be_linear_maps_after_a_hard_phase),
        cmocka_unit_test(muon_and_signum_should_not_care_for_sum_or_average),
        cmocka_unit_test(temperature_should_lead_from_sign_to_sgd),
        cmocka_unit_test(vectors_and_single_entries_should_have_the_same_bits),
        cmocka_unit_test(nesterov_should_not_dampen_the_gradient),
        cmocka_unit_test(logarithm_of_cosh_should_be_accurate_everywhere),
        cmocka_unit_test(conjugates_should_belong_to_their_maps),
        cmocka_unit_test(progress_of_the_hard_phase_should_be_the_l1_or_nuclear_norm),
        cmocka_unit_test(settings_of_a_role_should_make_a_group),
        cmocka_unit_test(coupled_iteration_should_take_the_steps_it_is_given),
        cmocka_unit_test(fixed_temperature_should_need_no_statistics),
        cmocka_unit_test(hard_ball_should_have_no_temperature),
        cmocka_unit_test(linear_map_should_need_a_fixed_temperature),
        cmocka_unit_test(dampening_should_need_a_sum_everywhere),
        cmocka_unit_test(statistics_should_be_of_what_is_mapped),
        cmocka_unit_test(norms_of_nothing_should_leave_weights_alone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
