/* test_optim.c: the framework, with an optimizer made for it, and the element-wise optimizers against recorded
 * float64 trajectories. What holds for every optimizer is in test_registry.c.
 */
#include "test/world.h"

#include <float.h>

/* The framework, with an optimizer that only keeps accounts */

enum { SEEN, OBSERVED };

static void account_observe(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    (void)group;
    for (size_t i = piece->begin; i < piece->end; i++) tensor->slot[OBSERVED][i] += 1;
}

static bool account_agree(OptimGroup *group, Error *err) {
    for (int t = 0; t < group->tensor_count; t++)
        for (size_t i = 0; i < param_size(group->tensors[t].param); i++)
            if (group->tensors[t].slot[OBSERVED][i] != (float)group->step)
                return error_set(err, ERR_CONFIG, "agree ran before all was observed");
    group->scalars[0] += 1;
    group->temperature = 3;
    return true;
}

/* Leaves (rows, cols, index in the piece) where it was, so that a test can see the cut. */
static void account_update(const OptimGroup *group, const OptimTensor *tensor, const OptimPiece *piece) {
    for (size_t i = piece->begin; i < piece->end; i++) {
        tensor->slot[SEEN][i] += 1;
        tensor->param->w[i] = (float)(1000 * piece->rows + piece->cols);
    }
    tensor->param->g[piece->begin] = (float)tensor->lr;
    if (piece->work) piece->work[1000 * (size_t)piece->rows + 99] = 1;
    if (group->measure) {
        piece->counted[COUNT_SATURATED] += 1e-3 * (double)(piece->end - piece->begin);
        piece->counted[COUNT_ALL] += (double)(piece->end - piece->begin);
    }
}

static size_t account_work(const void *hyper, int rows, int cols) {
    (void)hyper, (void)cols;
    return 1000 * (size_t)rows + 100;
}

static bool account_fuse(const void *hyper) {
    return *(const bool *)hyper;
}

static const Optimizer account = {
    .name = "account",
    .roles = ROLES_ALL & ~ROLE_BIT(ROLE_VECTOR),
    .cut = CUT_MATRICES,
    .slots = (const char *const[]){"seen", "observed", NULL},
    .scalars = (const char *const[]){"agreed", NULL},
    .work_size = account_work,
    .fuse_split = account_fuse,
    .observe = account_observe,
    .agree = account_agree,
    .update = account_update,
};

static void matrices_should_be_cut_by_their_split(void **state) {
    (void)state;
    for (int fused = 0; fused < 2; fused++) {
        float w[2][600], g[2][600] = {0};
        bool hyper = fused;
        Param params[2] = {
            {.name = "qkv", .role = ROLE_MATRIX, .rows = 60, .cols = 10, .split = 3, .w = w[0], .g = g[0]},
            {.name = "out", .role = ROLE_MATRIX, .rows = 10, .cols = 60, .split = 1, .w = w[1], .g = g[1]}};
        OptimPlan plan = golden_plan(&account, &hyper, 0.5, 0);
        Optim optim;
        Error err;
        assert_true(optim_create(&optim, &plan, params, 2, 3, &err));
        for (int step = 1; step <= 5; step++)
            if (!optim_step(&optim, step, 5, 0.5, true, &err)) fail_msg("%s", err.text);
        assert_int_equal(optim.task_count, fused ? 2 : 4);
        assert_true(w[0][0] == (fused ? 60010 : 20010) && w[1][0] == 10060);
        for (int t = 0; t < 2; t++)
            for (int i = 0; i < 600; i++)
                assert_true(optim.groups[0].tensors[t].slot[SEEN][i] == 5); /* once a step, every element */
        assert_true(g[0][200] == (fused ? 0 : 0.25f) &&
                    g[0][0] == 0.25f); /* a piece began here; lr * factor */
        assert_true(optim.groups[0].scalars[0] == 5);
        assert_true(optim.groups[0].temperature == 3);
        assert_true(fabs(optim.groups[0].saturated_frac - 1e-3) < 1e-15);
        optim_free(&optim);
    }
}

static void slices_should_cover_every_element_once(void **state) {
    (void)state;
    Optimizer slices = account;
    slices.cut = CUT_SLICES;
    slices.work_size = NULL;
    bool hyper = false;
    const int sizes[] = {1, 32767, 32768, 32769, 100000};
    for (int s = 0; s < 5; s++) {
        Param p = {.name = "wte", .role = ROLE_EMBEDDING, .rows = 1, .cols = sizes[s], .split = 1};
        p.w = calloc(param_size(&p), sizeof(float));
        p.g = calloc(param_size(&p), sizeof(float));
        OptimPlan plan = golden_plan(&slices, &hyper, 0.5, 0);
        Optim optim;
        Error err;
        assert_true(optim_create(&optim, &plan, &p, 1, 2, &err));
        assert_true(optim_step(&optim, 1, 5, 1, false, &err));
        for (int i = 0; i < sizes[s]; i++) assert_true(optim.groups[0].tensors[0].slot[SEEN][i] == 1);
        assert_true(isnan(optim.groups[0].saturated_frac)); /* nothing was counted */
        optim_free(&optim);
        golden_params_free(&p, 1);
    }
}

static void roles_should_have_groups_rates_and_decays_of_their_own(void **state) {
    (void)state;
    World world;
    world_open(&world, optimizer_find("signsgd"), "", 0, 0, 1);
    optim_free(&world.optim);
    OptimPlan plan = golden_plan(optimizer_find("signsgd"), world.hyper, 0.1, 0);
    plan.role[ROLE_VECTOR].lr = 0.01;
    plan.role[ROLE_HEAD].weight_decay = 0.5;
    void *other = golden_hyper(optimizer_find("adamw"), "");
    plan.role[ROLE_EMBEDDING].optimizer = optimizer_find("adamw");
    plan.role[ROLE_EMBEDDING].hyper = other;
    Error err;
    assert_true(optim_create(&world.optim, &plan, world.params, TENSORS, 2, &err));
    assert_int_equal(world.optim.group_count, 2);
    assert_string_equal(world.optim.groups[0].optimizer->name, "signsgd");
    assert_int_equal(world.optim.groups[0].tensor_count, TENSORS - 1);
    assert_string_equal(world.optim.groups[1].tensors[0].param->name, "embedding");
    Optim planned;
    size_t state_bytes, work_bytes;
    assert_true(optim_plan(&planned, &plan, world.params, TENSORS, 2, &state_bytes, &work_bytes, &err));
    assert_int_equal(state_bytes, 2 * 4 * (350 * 101 / 16 + 1) * 16);
    assert_int_equal(work_bytes, 0);
    optim_free(&planned);
    for (int i = 0; i < TENSORS; i++) {
        world.params[i].w[0] = 2;
        world.params[i].g[0] = 1e-5f;
    }
    assert_true(optim_step(&world.optim, 1, 10, 0.5, false, &err));
    assert_true(world.params[0].w[0] == 2 - 0.05f);
    assert_true(fabsf(world.params[2].w[0] - (2 * (1 - 0.05f * 0.5f) - 0.05f)) < 1e-6f);
    assert_true(world.params[3].w[0] == 2 - 0.005f);
    free(other);
    world_close(&world);
}

static void uncovered_tensor_should_be_refused(void **state) {
    (void)state;
    float w[4] = {0}, g[4] = {0};
    bool hyper = false;
    Param p = {
        .name = "h.0.ln_1.bias", .role = ROLE_VECTOR, .rows = 1, .cols = 4, .split = 1, .w = w, .g = g};
    OptimPlan plan = golden_plan(&account, &hyper, 0.5, 0);
    Optim optim;
    Error err;
    assert_false(optim_create(&optim, &plan, &p, 1, 1, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_string_equal(err.text, "account cannot update h.0.ln_1.bias (role vector)");
    plan.role[ROLE_VECTOR].optimizer = NULL;
    assert_false(optim_create(&optim, &plan, &p, 1, 1, &err));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_string_equal(err.text, "no optimizer covers h.0.ln_1.bias (role vector)");
}

static void state_that_fits_no_memory_should_be_refused(void **state) {
    (void)state;
    float w[4] = {0}, g[4] = {0};
    const Optimizer *adamw = optimizer_find("adamw");
    void *hyper = golden_hyper(adamw, "");
    Param params[2] = {{.name = "small", .rows = 1, .cols = 4, .split = 1, .w = w, .g = g},
                       {.name = "huge", .rows = INT32_MAX, .cols = INT32_MAX, .split = 1}};
    OptimPlan plan = golden_plan(adamw, hyper, 0.5, 0);
    Optim optim;
    Error err;
    assert_false(optim_create(&optim, &plan, params, 2, 2, &err));
    assert_int_equal(err.code, ERR_IO);
    assert_null(optim.groups); /* what was allocated is free again */
    free(hyper);
}

/* The element-wise ones */

static void recorded_trajectories_should_be_followed(void **state) {
    (void)state;
#define OFFICIAL "momentum_form=sum alpha_sign=0.6 "
    static const struct {
        const char *file, *optimizer, *settings;
        double lr, weight_decay;
    } rows[] = {
        {"s3_formula", "s3", "", 1e-2, 0.1},
        {"s3_p2_formula", "s3", "beta=0.9 p=2", 1e-2, 0.1},
        {"lion_formula", "lion", "", 1e-2, 0.1},
        {"nsgd_formula", "nsgd", "momentum=0.9", 1e-2, 0.1},
        {"hard_switch", "hard_switch", "momentum=0.9 alpha_sign=0.6 sgd_lr_ratio=10", 1e-2, 0.1},
        {"adamw_torch_wd0.0", "adamw", "beta1=0.9 beta2=0.95", 3e-3, 0},
        {"adamw_torch_wd0.1", "adamw", "beta1=0.9 beta2=0.95", 3e-3, 0.1},
        {"prodigy_decay", "prodigy", "beta2=0.99 d0=1e-3 eps_d=new", 1, 1},
        {"adamw_formula", "adamw", "", 1e-2, 0.1},
        {"adamw_eps", "adamw", "beta2=0.999 eps=0.01", 1e-2, 0.1},
        {"sgd_torch_nesterov", "sgd", "momentum=0.9 nesterov=true", 1e-2, 0},
        {"signsgd_formula", "signsgd", "", 1e-2, 0.1},
        {"signum_formula", "signum", "momentum=0.9", 1e-2, 0.1},
        {"softsignum_paper", "softsignum", "momentum=0.9 alpha_sign=0.6", 1e-2, 0.1},
        {"softsignum_algebraic", "softsignum", "momentum=0.9 alpha_sign=0.6 map=algebraic", 1e-2, 0.1},
        {"softsignum_clip", "softsignum", "momentum=0.9 alpha_sign=0.6 map=clip", 1e-2, 0.1},
        {"softsignum_official_b0.95_d0.0_n1_t20", "softsignum",
         OFFICIAL "momentum=0.95 nesterov=true tau_max=20", 1e-2, 0},
        {"softsignum_official_b0.9_d0.9_n0_t20", "softsignum",
         OFFICIAL "momentum=0.9 dampening=0.9 tau_max=20", 1e-2, 0},
        {"softsignum_official_b0.9_d0.9_n0_t1000000000", "softsignum",
         OFFICIAL "momentum=0.9 dampening=0.9", 1e-2, 0.1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[256];
        snprintf(path, sizeof path, "test/golden/optim/%s.json", rows[i].file);
        double error =
            golden_error(path, rows[i].optimizer, rows[i].settings, rows[i].lr, rows[i].weight_decay);
        if (!(error < 2e-6)) fail_msg("%s: relative error %g", rows[i].file, error);
    }
}

static void signs_should_not_see_the_scale_of_gradients(void **state) {
    (void)state;
    static const struct {
        const char *optimizer, *settings;
        bool blind;
    } rows[] = {{"signsgd", "", true},
                {"signum", "", true},
                {"softsignum", "alpha_sign=1", true},
                {"softsignum", "alpha_sign=0.5", false},
                {"hard_switch", "alpha_sign=1", true},
                {"hard_switch", "alpha_sign=0.5", false},
                {"lion", "", true},
                {"nsgd", "", true},
                {"s3", "", true},
                {"s3", "p=2", true},
                {"s3", "p=2.5", true},
                {"sgd", "", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        World plain, scaled;
        world_open(&plain, optimizer_find(rows[i].optimizer), rows[i].settings, 0.01, 0.1, 1);
        world_open(&scaled, optimizer_find(rows[i].optimizer), rows[i].settings, 0.01, 0.1, 1);
        world_run(&plain, STEPS, 1);
        world_run(&scaled, STEPS, 0x1p-10f);
        if (weights_differ(&plain, &scaled) == rows[i].blind)
            fail_msg("%s %s", rows[i].optimizer, rows[i].settings);
        world_close(&plain);
        world_close(&scaled);
    }
}

/* Where powers of the gradient would leave the range of fp32, in both directions. */
static void scale_of_gradients_should_not_limit_s3(void **state) {
    (void)state;
    static const char *const settings[] = {"", "p=2", "p=1", "p=2.5", "p=20"};
    static const float scales[] = {0x1p-90f, 0x1p100f};
    for (int i = 0; i < 10; i++) {
        World plain, scaled;
        world_open(&plain, optimizer_find("s3"), settings[i / 2], 0.01, 0.1, 1);
        world_open(&scaled, optimizer_find("s3"), settings[i / 2], 0.01, 0.1, 1);
        world_run(&plain, STEPS, 1);
        world_run(&scaled, STEPS, scales[i % 2]);
        assert_same_weights(&plain, &scaled);
        world_close(&plain);
        world_close(&scaled);
    }
}

/* Every power against the formula in double. Gradients jump over many decades, also to zero, where sums of
 * powers are lost most easily; with lr 1 and W = 0 at each step, -W is the update. */
static void s3_should_follow_its_formula_for_any_power(void **state) {
    (void)state;
    static const double powers[] = {1, 1.5, 2, 2.5, 3, 4, 20}, betas[] = {0.95, 0.5, 0.1};
    for (int k = 0; k < 21; k++) {
        double p = powers[k / 3], beta = betas[k % 3], worst = 0, largest = 0, m[37] = {0}, s[37] = {0};
        char settings[64];
        World world;
        snprintf(settings, sizeof settings, "p=%g beta=%g", p, beta);
        world_open(&world, optimizer_find("s3"), settings, 1, 0, 1);
        float *w = world.params[3].w, *g = world.params[3].g;
        for (int step = 1; step <= 30; step++) {
            for (uint64_t i = 0; i < 37; i++) {
                float exponent = (float)rng_normal(8, (uint64_t)step, i);
                g[i] = step == 1 || i == 0 ? 0 : expf(4 * exponent) * (i % 2 ? 1 : exponent);
                if (step % 7 == 0) g[i] = 0;
                w[i] = 0;
            }
            world_step(&world, step, 30);
            for (int i = 0; i < 37; i++) {
                double fresh = (1 - beta) * pow(fabsf(g[i]), p);
                m[i] = beta * m[i] + (1 - beta) * g[i];
                s[i] = beta * s[i] + fresh;
                double n = beta * m[i] + (1 - beta) * g[i], b = pow(beta * s[i] + fresh, 1 / p);
                worst = fmax(worst, fabs(-w[i] - (b > 0 ? n / b : 0)));
                largest = fmax(largest, fabsf(w[i]));
            }
        }
        if (!(worst < 2e-6 && largest <= 1)) fail_msg("%s: off by %g, up to %g", settings, worst, largest);
        world_close(&world);
    }
}

static void first_step_of_s3_should_be_its_warm_up(void **state) {
    (void)state;
    World world;
    world_open(&world, optimizer_find("s3"), "", 1, 0, 1);
    float *w = world.params[3].w, *g = world.params[3].g;
    for (int i = 0; i < 4; i++) w[i] = 0;
    g[0] = 1e30f, g[1] = -1e-30f, g[2] = 0, g[3] = -3e38f;
    world_step(&world, 1, 10);
    double u = pow(1 - 0.95 * 0.95, 2.0 / 3);
    assert_true(fabs(w[0] + u) < 1e-6 && fabs(w[1] - u) < 1e-6 && w[2] == 0 && fabs(w[3] - u) < 1e-6);
    world_close(&world);
}

/* The norm is one tensor's, and no float's limit limits it. */
static void nsgd_should_step_by_lr_in_each_tensor(void **state) {
    (void)state;
    static const float scales[] = {3, 0x1p-100f, 0x1p127f};
    for (int k = 0; k < 3; k++) {
        World world, before;
        world_open(&world, optimizer_find("nsgd"), "momentum=0", 0.5, 0, 2);
        world_open(&before, optimizer_find("nsgd"), "", 0, 0, 1);
        world_draw(&world, 1, scales[k]);
        world_step(&world, 1, 1);
        for (int i = 0; i < world.count; i++) {
            double sum = 0;
            for (size_t j = 0; j < param_size(&world.params[i]); j++)
                sum += pow(world.params[i].w[j] - before.params[i].w[j], 2);
            assert_true(fabs(sqrt(sum) - 0.5) < 1e-5);
        }
        world_close(&world);
        world_close(&before);
    }
}

/* A tensor large enough that several threads sum its norm. */
static void nsgd_should_measure_large_tensors_on_all_threads(void **state) {
    (void)state;
    enum { SIZE = 200001 };
    Param p = {.name = "wte", .role = ROLE_EMBEDDING, .rows = 1, .cols = SIZE, .split = 1};
    void *hyper = golden_hyper(optimizer_find("nsgd"), "");
    OptimPlan plan = golden_plan(optimizer_find("nsgd"), hyper, 0.5, 0);
    double sum = 0, norms[2];
    p.w = calloc(SIZE, sizeof(float));
    p.g = calloc(SIZE, sizeof(float));
    for (int i = 0; i < SIZE; i++) {
        p.g[i] = (float)rng_normal(9, 1, (uint64_t)i);
        sum += (double)p.g[i] * (double)p.g[i];
    }
    for (int k = 0; k < 2; k++) {
        Optim optim;
        Error err;
        assert_true(optim_create(&optim, &plan, &p, 1, k ? 3 : 1, &err));
        assert_true(optim_step(&optim, 1, 1, 1, false, &err));
        norms[k] = optim.groups[0].tensors[0].agreed;
        optim_free(&optim);
    }
    assert_true(fabs(norms[0] / sqrt(sum) - 1) < 1e-12);
    assert_memory_equal(&norms[0], &norms[1], sizeof norms[0]);
    golden_params_free(&p, 1);
    free(hyper);
}

/* lr 0.5, decay 0.2, and the momentum of its first half kept: beta 0.5. */
static void hard_switch_should_keep_its_momentum_and_decay(void **state) {
    (void)state;
    World world;
    world_open(&world, optimizer_find("hard_switch"), "momentum=0.5 alpha_sign=0.5 sgd_lr_ratio=4", 0.5,
               0.2, 1);
    float *w = world.params[3].w, *g = world.params[3].g;
    const OptimGroup *group = &world.optim.groups[0];
    w[0] = 1;
    g[0] = 0.25f;
    world_step(&world, 1, 2);
    assert_true(fabsf(w[0] - (0.9f - 0.5f)) < 1e-6f && isinf(group->temperature));
    g[0] = -0.125f;
    world_step(&world, 2, 2); /* m = 0.125, then 0 */
    assert_true(fabsf(w[0] - 0.36f) < 1e-6f && group->temperature == 4);
    world_step(&world, 3, 2); /* m = -0.0625; beyond the end it goes on */
    assert_true(fabsf(w[0] - (0.324f + 0.125f)) < 1e-6f && group->temperature == 4);
    world_close(&world);
}

static void run_without_a_switch_should_stay_hard_beyond_its_end(void **state) {
    (void)state;
    World world;
    world_open(&world, optimizer_find("hard_switch"), "alpha_sign=1", 0.5, 0, 1);
    world_run(&world, 2, 1e-3f);
    world_step(&world, 3, 2);
    assert_true(isinf(world.optim.groups[0].temperature));
    world_close(&world);
}

/* Muon's bits before the switch; then lr ratio scale (beta m + (1 - beta) g), worked out here in double. */
static void hard_switch_muon_should_be_muon_and_then_sgd(void **state) {
    (void)state;
    World world, muon;
    world_open(&world, optimizer_find("hard_switch_muon"), "momentum=0.5 alpha_sign=0.5 sgd_lr_ratio=4",
               0.5, 0.2, 2);
    world_open(&muon, optimizer_find("muon"), "momentum=0.5", 0.5, 0.2, 2);
    world_run(&world, STEPS / 2, 1);
    world_run(&muon, STEPS / 2, 1);
    assert_same_weights(&world, &muon);
    world_draw(&world, STEPS / 2 + 1, 1);
    world_step(&world, STEPS / 2 + 1, STEPS);
    assert_true(world.optim.groups[0].temperature == 4);
    for (int i = 0; i < world.count; i++) {
        const Param *p = world.optim.groups[0].tensors[i].param;
        const OptimTensor *before = &muon.optim.groups[0].tensors[i];
        double scale = sqrt(fmax(1, (double)p->rows / p->split / p->cols));
        for (size_t k = 0; k < param_size(p); k++) {
            double m = 0.5 * before->slot[0][k] + 0.5 * p->g[k];
            double w = 0.9 * before->param->w[k] - 0.5 * 4 * scale * (0.5 * m + 0.5 * p->g[k]);
            assert_true(fabs(p->w[k] - w) < 1e-5);
        }
    }
    world_close(&world);
    world_close(&muon);
}

static void sign_of_zero_should_be_zero(void **state) {
    (void)state;
    World world;
    world_open(&world, optimizer_find("signsgd"), "", 0.25, 0, 1);
    float *w = world.params[0].w, *g = world.params[0].g;
    w[0] = w[1] = w[2] = w[3] = 1;
    g[0] = 0, g[1] = -0.0f, g[2] = 1e-37f, g[3] = -1e38f;
    world_step(&world, 1, 1);
    assert_true(w[0] == 1 && w[1] == 1 && w[2] == 0.75f && w[3] == 1.25f);
    world_close(&world);
}

static void soft_phase_should_let_go_of_the_sign_evenly(void **state) {
    (void)state;
    enum { LONG = 40 };
    World world;
    Error err;
    world_open(&world, optimizer_find("softsignum"), "alpha_sign=0.5", 1e-3, 0, 2);
    const OptimGroup *group = &world.optim.groups[0];
    double before = 1;
    for (int step = 1; step <= LONG; step++) {
        if (step <= LONG / 2 + 1) world_draw(&world, step, 1e-3f);
        assert_true(optim_step(&world.optim, step, LONG, 1, true, &err));
        if (step <= LONG / 2) {
            assert_true(isinf(group->temperature));
            assert_true(group->saturated_frac > 0.999);
            assert_true(group->scalars[2] == 0);
        } else {
            assert_true(group->temperature >= 1 && group->temperature <= 1e9);
            assert_true(group->scalars[2] == LONG / 2 + 1); /* measured once */
            assert_true(group->saturated_frac <= before || step < LONG / 2 + 8);
            before = group->saturated_frac;
        }
    }
    assert_true(before < 0.1);
    world_close(&world);
}

static void zero_momentum_should_not_count_as_saturated(void **state) {
    (void)state;
    World world;
    world_open(&world, optimizer_find("softsignum"), "", 1e-3, 0, 2);
    for (size_t k = 0; k < param_size(&world.params[1]); k++) world.params[1].g[k] = 1;
    world_step(&world, 1, 10);
    double whole = 0;
    for (int i = 0; i < world.count; i++) whole += (double)param_size(&world.params[i]);
    assert_true(world.optim.groups[0].saturated_frac == (double)param_size(&world.params[1]) / whole);
    world_close(&world);
}

static void methods_without_temperature_should_report_none(void **state) {
    (void)state;
    World world;
    world_open(&world, optimizer_find("signum"), "", 1e-3, 0, 2);
    world_run(&world, 2, 1);
    assert_true(isnan(world.optim.groups[0].temperature) && isnan(world.optim.groups[0].saturated_frac));
    world_close(&world);
}

/* torch adds wd W to the gradient: two steps worked out by hand, W0 = 2, g = 1, 3. */
static void sgd_should_have_both_forms_of_momentum_and_of_decay(void **state) {
    (void)state;
    static const struct {
        const char *settings;
        double w; /* after two steps; lr 0.1, weight decay 0.5, momentum 0.5 */
    } rows[] = {
        {"momentum=0.5", (2 * 0.95 - 0.1) * 0.95 - 0.1 * 3.5},
        {"momentum=0.5 dampening=0.5", (2 * 0.95 - 0.1) * 0.95 - 0.1 * 2},
        {"momentum=0.5 momentum_form=ema", (2 * 0.95 - 0.05) * 0.95 - 0.1 * 1.75},
        {"momentum=0.5 nesterov=true", (2 * 0.95 - 0.15) * 0.95 - 0.1 * (3 + 0.5 * 3.5)},
        {"momentum=0.5 momentum_form=ema nesterov=true",
         (2 * 0.95 - 0.075) * 0.95 - 0.1 * (1.5 + 0.5 * 1.75)},
        {"momentum=0.5 coupled_decay=true", 2 - 0.2 - 0.1 * (0.5 * 2 + 3 + 0.5 * 1.8)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        World world;
        world_open(&world, optimizer_find("sgd"), rows[i].settings, 0.1, 0.5, 1);
        world.params[0].w[5] = 2;
        for (int step = 1; step <= 2; step++) {
            world.params[0].g[5] = step == 1 ? 1 : 3;
            world_step(&world, step, 2);
        }
        if (!(fabs(world.params[0].w[5] - rows[i].w) < 1e-6))
            fail_msg("%s: %g, not %g", rows[i].settings, world.params[0].w[5], rows[i].w);
        world_close(&world);
    }
}

static void dampening_should_need_a_sum(void **state) {
    (void)state;
    const char *const names[] = {"sgd", "softsignum"};
    for (int i = 0; i < 2; i++) {
        const Optimizer *o = optimizer_find(names[i]);
        void *wrong = golden_hyper(o, "momentum_form=ema dampening=0.5");
        void *right = golden_hyper(o, "momentum_form=sum dampening=0.5");
        assert_non_null(o->check(wrong));
        assert_null(o->check(right));
        free(wrong);
        free(right);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matrices_should_be_cut_by_their_split),
        cmocka_unit_test(slices_should_cover_every_element_once),
        cmocka_unit_test(roles_should_have_groups_rates_and_decays_of_their_own),
        cmocka_unit_test(uncovered_tensor_should_be_refused),
        cmocka_unit_test(state_that_fits_no_memory_should_be_refused),
        cmocka_unit_test(recorded_trajectories_should_be_followed),
        cmocka_unit_test(signs_should_not_see_the_scale_of_gradients),
        cmocka_unit_test(scale_of_gradients_should_not_limit_s3),
        cmocka_unit_test(s3_should_follow_its_formula_for_any_power),
        cmocka_unit_test(first_step_of_s3_should_be_its_warm_up),
        cmocka_unit_test(nsgd_should_step_by_lr_in_each_tensor),
        cmocka_unit_test(nsgd_should_measure_large_tensors_on_all_threads),
        cmocka_unit_test(run_without_a_switch_should_stay_hard_beyond_its_end),
        cmocka_unit_test(hard_switch_should_keep_its_momentum_and_decay),
        cmocka_unit_test(hard_switch_muon_should_be_muon_and_then_sgd),
        cmocka_unit_test(sign_of_zero_should_be_zero),
        cmocka_unit_test(soft_phase_should_let_go_of_the_sign_evenly),
        cmocka_unit_test(zero_momentum_should_not_count_as_saturated),
        cmocka_unit_test(methods_without_temperature_should_report_none),
        cmocka_unit_test(sgd_should_have_both_forms_of_momentum_and_of_decay),
        cmocka_unit_test(dampening_should_need_a_sum),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
