/* test_muon.c: Muon and SoftMuon as optimizers, against float64 trajectories and their own promises. */
#include "core/rng.h"
#include "optim/optim.h"
#include "optim/temperature.h"
#include "test/golden.h"
#include <lapacke.h>

#define GOLDEN "test/golden/optim/"

static void official_hard_phase_should_match(void **state) {
    (void)state;
    double error = golden_error(GOLDEN "softmuon_official_hard.json", "muon", "", 0.02, 0.01);
    print_message("muon: %.1e\n", error);
    assert_true(error < 1e-5);
    assert_true(golden_error(GOLDEN "softmuon_official_hard.json", "softmuon", "alpha_sign=1", 0.02, 0.01) <
                1e-5);
}

static void official_soft_phase_should_match(void **state) {
    (void)state;
    double error = golden_error(GOLDEN "softmuon_official_soft.json", "softmuon",
                                "alpha_sign=0.6 statistics=gradient soft_iteration=coupled", 0.02, 0.01);
    print_message("coupled: %.1e\n", error);
    assert_true(error < 1e-5);
}

static void paper_form_should_match(void **state) {
    (void)state;
    const char *common = "momentum=0.9 alpha_sign=0.6 coefficients=converged";
    const struct {
        const char *file, *settings;
    } cases[] = {{GOLDEN "softmuon_paper.json", "map=algebraic nesterov=true"},
                 {GOLDEN "softmuon_tanh.json", "map=tanh nesterov=true"},
                 {GOLDEN "softmuon_clip.json", "map=clip nesterov=false"}};
    for (int i = 0; i < 3; i++) {
        char settings[256];
        snprintf(settings, sizeof settings, "%s %s", common, cases[i].settings);
        double error = golden_error(cases[i].file, "softmuon", settings, 0.01, 0.1);
        print_message("%s: %.1e\n", cases[i].settings, error);
        assert_true(error < 1e-5);
    }
}

/* ---- a world of a few matrices ---- */

typedef struct World {
    Param params[4];
    int count;
    void *hyper;
    Optim optim;
} World;

static void draw(float *x, size_t count, uint64_t stream, float size) {
    for (size_t i = 0; i < count; i++) x[i] = size * (float)rng_normal(3, stream, i);
}

static void world_open(World *world, const char *optimizer, const char *settings, double lr, int threads) {
    const struct { int rows, cols, split; } shapes[] = {{48, 16, 3}, {20, 12, 1}, {12, 20, 1}, {1, 9, 1}};
    Error err;
    world->count = 4;
    for (int i = 0; i < world->count; i++) {
        Param *p = &world->params[i];
        *p = (Param){
            .role = ROLE_MATRIX, .rows = shapes[i].rows, .cols = shapes[i].cols, .split = shapes[i].split};
        snprintf(p->name, sizeof p->name, "w%d", i);
        p->w = calloc(param_size(p), sizeof(float));
        p->g = calloc(param_size(p), sizeof(float));
        draw(p->w, param_size(p), (uint64_t)i, 1);
    }
    const Optimizer *o = optimizer_find(optimizer);
    world->hyper = golden_hyper(o, settings);
    OptimPlan plan = golden_plan(o, world->hyper, lr, 0.1);
    if (!optim_create(&world->optim, &plan, world->params, world->count, threads, &err))
        fail_msg("%s", err.text);
}

static void world_step(World *world, int step, int steps, float size) {
    Error err;
    for (int i = 0; i < world->count; i++)
        draw(world->params[i].g, param_size(&world->params[i]), (uint64_t)(100 * step + i), size);
    if (!optim_step(&world->optim, step, steps, 1, true, &err)) fail_msg("%s", err.text);
}

static void world_close(World *world) {
    optim_free(&world->optim);
    golden_params_free(world->params, world->count);
    free(world->hyper);
}

/* The same weights, to within a relative error; 0 for bits. */
static void assert_same(const World *a, const World *b, double tolerance) {
    for (int i = 0; i < a->count; i++)
        for (size_t k = 0; k < param_size(&a->params[i]); k++) {
            double x = a->params[i].w[k], y = b->params[i].w[k];
            if (!(fabs(x - y) <= tolerance * (fabs(x) + 0.01)))
                fail_msg("w%d[%zu]: %.9g and %.9g", i, k, x, y);
        }
}

/* ---- Muon ---- */

static void gradient_scale_should_not_matter_to_muon(void **state) {
    (void)state;
    const struct {
        const char *settings;
        float size;
        double tolerance;
    } rows[] = {{"coefficients=converged", 0x1p-70f, 0},
                {"coefficients=converged", 1e20f, 1e-4},
                {"coefficients=classic", 1e6f, 1e-4},
                {"coefficients=polar_express", 1e6f, 1e-2}}; /* steep: its 1e-6 beside the norm counts */
    for (int r = 0; r < 4; r++) {
        World a, b;
        world_open(&a, "muon", rows[r].settings, 0.1, 2);
        world_open(&b, "muon", rows[r].settings, 0.1, 2);
        for (int step = 1; step <= 5; step++) {
            world_step(&a, step, 5, 1);
            world_step(&b, step, 5, rows[r].size);
        }
        assert_same(&a, &b, rows[r].tolerance);
        world_close(&a);
        world_close(&b);
    }
}

/* With lr 1, no momentum and no decay, W - W' is the update: its singular values are the scale. */
static void scales_should_be_as_documented(void **state) {
    (void)state;
    const char *const names[] = {"tall", "aspect", "rms", "none"};
    for (int k = 0; k < 4; k++) {
        char settings[128];
        World world;
        float before[20 * 12];
        snprintf(settings, sizeof settings, "momentum=0 coefficients=converged scale=%s", names[k]);
        world_open(&world, "muon", settings, 1, 1);
        for (int i = 1; i <= 2; i++) {
            Param *p = &world.params[i]; /* 20 x 12, then 12 x 20 */
            double norm = 0, ratio = (double)p->rows / p->cols;
            const double scale[] = {sqrt(fmax(1, ratio)), sqrt(ratio), 0.2 * sqrt(20), 1};
            memcpy(before, p->w, sizeof before);
            world_step(&world, i, 5, 1);
            for (int j = 0; j < 20 * 12; j++) norm += pow(0.9 * before[j] - p->w[j], 2);
            assert_true(fabs(sqrt(norm / 12) - scale[k]) < 1e-5); /* 12 singular values */
        }
        world_close(&world);
    }
}

/* A tall matrix is transposed on its way in and out. */
static void tall_matrices_should_be_transposed_wide_ones(void **state) {
    (void)state;
    World world;
    Error err;
    world_open(&world, "muon", "scale=none", 0.1, 1);
    Param *tall = &world.params[1], *wide = &world.params[2];
    for (int step = 1; step <= 3; step++) {
        draw(tall->g, 240, (uint64_t)step, 1);
        for (int i = 0; i < 240; i++) {
            int j = i % 12 * 20 + i / 12;
            wide->g[j] = tall->g[i];
            if (step == 1) wide->w[j] = tall->w[i];
        }
        if (!optim_step(&world.optim, step, 3, 1, false, &err)) fail_msg("%s", err.text);
    }
    for (int i = 0; i < 240; i++) assert_true(tall->w[i] == wide->w[i % 12 * 20 + i / 12]);
    world_close(&world);
}

static void fused_qkv_should_be_three_matrices_unless_told_otherwise(void **state) {
    (void)state;
    World split, whole, thirds;
    world_open(&split, "muon", "", 0.1, 2);
    world_open(&whole, "muon", "split_qkv=false", 0.1, 2);
    world_open(&thirds, "muon", "", 0.1, 2);
    world_step(&split, 1, 1, 1);
    world_step(&whole, 1, 1, 1);
    assert_true(split.params[0].w[5] != whole.params[0].w[5]);
    assert_true(split.params[1].w[5] == whole.params[1].w[5]);

    /* the last third alone, as a tensor of its own */
    Param part = {.name = "k", .role = ROLE_MATRIX, .rows = 16, .cols = 16, .split = 1};
    float w[256], g[256];
    Optim optim;
    Error err;
    OptimPlan plan = golden_plan(optimizer_find("muon"), thirds.hyper, 0.1, 0.1);
    memcpy(w, thirds.params[0].w + 512, sizeof w);
    memcpy(g, split.params[0].g + 512, sizeof g);
    part.w = w;
    part.g = g;
    assert_true(optim_create(&optim, &plan, &part, 1, 1, &err) && optim_step(&optim, 1, 1, 1, false, &err));
    assert_memory_equal(w, split.params[0].w + 512, sizeof w);
    optim_free(&optim);
    world_close(&split);
    world_close(&whole);
    world_close(&thirds);
}

/* ---- SoftMuon ---- */

static void hard_phase_should_be_exactly_muon(void **state) {
    (void)state;
    World muon, soft;
    world_open(&muon, "muon", "", 0.1, 2);
    world_open(&soft, "softmuon", "alpha_sign=0.8", 0.1, 2);
    for (int step = 1; step <= 8; step++) {
        world_step(&muon, step, 10, 1e-2f);
        world_step(&soft, step, 10, 1e-2f);
        assert_true(isinf(soft.optim.groups[0].temperature));
        assert_true(soft.optim.groups[0].saturated_frac == 1);
    }
    assert_same(&muon, &soft, 0);
    world_step(&muon, 9, 10, 1e-2f);
    world_step(&soft, 9, 10, 1e-2f);
    world_step(&muon, 10, 10, 1e-2f);
    world_step(&soft, 10, 10, 1e-2f);
    assert_true(muon.params[1].w[0] != soft.params[1].w[0]);
    world_close(&muon);
    world_close(&soft);
}

static int by_size(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* All singular values of the group's momentum, increasing; returns how many. */
static int momentum_values(const World *world, double *all) {
    int count = 0;
    for (int i = 0; i < world->count; i++) {
        const Param *p = &world->params[i];
        const float *m = world->optim.groups[0].tensors[i].slot[0];
        int rows = p->rows / p->split, n = rows < p->cols ? rows : p->cols;
        for (int part = 0; part < p->split; part++, m += rows * p->cols, count += n) {
            double A[20 * 20], unused[20];
            for (int j = 0; j < rows * p->cols; j++) A[j] = m[j];
            assert_int_equal(0, LAPACKE_dgesvd(LAPACK_ROW_MAJOR, 'N', 'N', rows, p->cols, A, p->cols,
                                               all + count, NULL, 1, NULL, 1, unused));
        }
    }
    qsort(all, (size_t)count, sizeof *all, by_size);
    return count;
}

static void temperature_should_be_fitted_to_singular_values_of_new_momentum(void **state) {
    (void)state;
    double all[128], distance[128];
    World world;
    world_open(&world, "softmuon", "alpha_sign=0.5 nesterov=true", 0.1, 2);
    for (int step = 1; step <= 3; step++) world_step(&world, step, 4, 1e-2f);
    int count = momentum_values(&world, all);
    assert_int_equal(count, 3 * 16 + 12 + 12 + 1);
    double median = all[(count - 1) / 2];
    for (int i = 0; i < count; i++) distance[i] = fabs(all[i] - median);
    qsort(distance, (size_t)count, sizeof *distance, by_size);
    const double *scalars = world.optim.groups[0].scalars;
    assert_true(fabs(scalars[SCALAR_MEDIAN] - median) < 1e-5 * median);
    assert_true(fabs(scalars[SCALAR_MAD] - distance[(count - 1) / 2]) < 1e-5 * median);
    world_close(&world);
}

static void saturated_share_should_be_counted_exactly(void **state) {
    (void)state;
    double all[128];
    World world;
    world_open(&world, "softmuon", "alpha_sign=0.3 nesterov=false eps=0.1", 0.1, 2);
    double last = 1;
    for (int step = 1; step <= 30; step++) {
        world_step(&world, step, 30, 1e-2f);
        const OptimGroup *group = &world.optim.groups[0];
        int count = momentum_values(&world, all), saturated = 0;
        for (int i = 0; i < count; i++) {
            double y = group->temperature * all[i];
            saturated += isinf(y) || y / hypot(1, y) >= 0.9;
        }
        assert_true(group->saturated_frac == (double)saturated / count);
        last = group->saturated_frac;
    }
    assert_true(last < 0.5);
    world_close(&world);
}

static void threads_should_not_change_a_bit(void **state) {
    (void)state;
    World one, many;
    for (int threads = 2; threads <= 3; threads++) {
        world_open(&one, "softmuon", "alpha_sign=0.5", 0.1, 1);
        world_open(&many, "softmuon", "alpha_sign=0.5", 0.1, threads);
        for (int step = 1; step <= 6; step++) {
            world_step(&one, step, 6, 1e-2f);
            world_step(&many, step, 6, 1e-2f);
        }
        assert_same(&one, &many, 0);
        assert_true(one.optim.groups[0].temperature == many.optim.groups[0].temperature);
        world_close(&one);
        world_close(&many);
    }
}

static void coupled_iteration_should_need_the_algebraic_map(void **state) {
    (void)state;
    const Optimizer *o = optimizer_find("softmuon");
    void *right = golden_hyper(o, "soft_iteration=coupled"),
         *wrong = golden_hyper(o, "soft_iteration=coupled map=tanh");
    assert_null(o->check(right));
    assert_non_null(o->check(wrong));
    free(right);
    free(wrong);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(official_hard_phase_should_match),
        cmocka_unit_test(official_soft_phase_should_match),
        cmocka_unit_test(paper_form_should_match),
        cmocka_unit_test(gradient_scale_should_not_matter_to_muon),
        cmocka_unit_test(scales_should_be_as_documented),
        cmocka_unit_test(tall_matrices_should_be_transposed_wide_ones),
        cmocka_unit_test(fused_qkv_should_be_three_matrices_unless_told_otherwise),
        cmocka_unit_test(hard_phase_should_be_exactly_muon),
        cmocka_unit_test(temperature_should_be_fitted_to_singular_values_of_new_momentum),
        cmocka_unit_test(saturated_share_should_be_counted_exactly),
        cmocka_unit_test(threads_should_not_change_a_bit),
        cmocka_unit_test(coupled_iteration_should_need_the_algebraic_map),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
