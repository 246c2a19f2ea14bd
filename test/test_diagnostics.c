/* test_diagnostics.c: every figure against one worked out by hand, by plain loops, or by another routine of LAPACK. */
#include "train/diagnostics.h"

#include "core/rng.h"
#include "test/world.h"

#include <cjson/cJSON.h>
#include <lapacke.h>
#include <math.h>

static Error err;

/* Parameters without an optimizer's interest in them: SGD. */
typedef struct Fixture {
    World world;
    Diagnostics d;
} Fixture;

static const DiagnosticsSection EVERYTHING = {
    .every = 1, .noise_every = 1, .noise_batches = 4, .spectra = true};

static void open_fixture(Fixture *f, const char *optimizer, const char *settings, int threads) {
    world_open(&f->world, optimizer_find(optimizer), settings, 0.1, 0.01, threads);
    if (!diagnostics_create(&f->d, &EVERYTHING, &f->world.optim, f->world.params, f->world.count, 1000,
                            &err))
        fail_msg("%s", err.text);
    diagnostics_begin(&f->d);
}

static void close_fixture(Fixture *f) {
    diagnostics_free(&f->d);
    world_close(&f->world);
}

/* One vector of d weights. */
typedef struct Single {
    Param param;
    OptimPlan plan;
    Optim optim;
    void *hyper;
    Diagnostics d;
} Single;

static void open_single(Single *s, const char *name, Role role, int rows, int cols, int64_t vocab_size) {
    const Optimizer *sgd = optimizer_find("sgd");
    *s = (Single){.param = {.role = role, .rows = rows, .cols = cols, .split = 1}};
    strcpy(s->param.name, name);
    s->param.w = calloc(param_size(&s->param), sizeof(float));
    s->param.g = calloc(param_size(&s->param), sizeof(float));
    s->hyper = golden_hyper(sgd, "momentum=0");
    s->plan = golden_plan(sgd, s->hyper, 1, 0);
    if (!optim_create(&s->optim, &s->plan, &s->param, 1, 2, &err) ||
        !diagnostics_create(&s->d, &EVERYTHING, &s->optim, &s->param, 1, vocab_size, &err))
        fail_msg("%s", err.text);
    diagnostics_begin(&s->d);
}

static void close_single(Single *s) {
    diagnostics_free(&s->d);
    optim_free(&s->optim);
    golden_params_free(&s->param, 1);
    free(s->hyper);
}

static void assert_near(double found, double expected, double tolerance) {
    if (!(fabs(found - expected) <= tolerance * fabs(expected)))
        fail_msg("%.17g is not %.17g", found, expected);
}

/* ---- noise ------------------------------------------------------------------------------------------------- */

/* The density of the noise after `batches` gradients g[batch][0 .. d). */
static double phi_of(int d, int batches, float (*g)(int batch, int i)) {
    Single s;
    open_single(&s, "x", ROLE_VECTOR, 1, d, 1000);
    for (int b = 0; b < batches; b++) {
        for (int i = 0; i < d; i++) s.param.g[i] = g(b, i);
        diagnostics_add_noise(&s.d);
    }
    diagnostics_gradient(&s.d);
    double phi = s.d.all.noise_phi;
    assert_true(phi == s.d.tensors[0].found.noise_phi || isnan(phi));
    close_single(&s);
    return phi;
}

/* Variances over three batches: of 1, 2, 3: 2/3; of 5, 5, 5: 0; of 0, 0, 6: 8. */
static float by_hand(int batch, int i) {
    const float g[3][3] = {{1, 5, 0}, {2, 5, 0}, {3, 5, 6}};
    return g[batch][i];
}

static float alike(int batch, int i) {
    (void)i;
    return batch % 2 ? 1.5F : -0.5F;
}

/* Deviations are themselves the sizes of Gaussian numbers. */
static float gaussian(int batch, int i) {
    return (float)((batch % 2 ? 1 : -1) * rng_normal(5, 6, (uint64_t)i));
}

static float one_noisy(int batch, int i) {
    return i == 70000 ? (float)rng_normal(7, 8, (uint64_t)batch) : (float)i;
}

static float on_a_mountain(int batch, int i) {
    const float mountain = 4e6F;
    return mountain + (i == 0 ? 3.0F : 1.0F) * (batch % 2 ? 0.5F : -0.5F);
}

static float still(int batch, int i) {
    (void)batch;
    return (float)i;
}

static void noise_density_should_be_that_of_known_cases(void **state) {
    (void)state;
    double sigma[2] = {sqrt(2.0 / 3), sqrt(8)}, l1 = sigma[0] + sigma[1];
    assert_near(phi_of(3, 3, by_hand), l1 * l1 / (3 * (2.0 / 3 + 8)), 1e-14);
    assert_near(phi_of(1000, 6, alike), 1, 1e-12);
    assert_near(phi_of(200000, 8, gaussian), 2 / M_PI, 0.01);
    assert_near(phi_of(100000, 128, one_noisy), 1e-5, 1e-12);
    assert_true(isnan(phi_of(100, 4, still)));
}

/* E[g^2] - E[g]^2 in double is off by a tenth of the variance here. */
static void a_mean_far_above_its_noise_should_cost_no_digits(void **state) {
    (void)state;
    assert_near(phi_of(2, 64, on_a_mountain), 16.0 / (2 * 10), 1e-12);
}

static void noise_of_an_earlier_step_should_be_forgotten(void **state) {
    Single s;
    (void)state;
    open_single(&s, "x", ROLE_VECTOR, 1, 4, 1000);
    for (int step = 0; step < 2; step++) {
        diagnostics_begin(&s.d);
        for (int b = 0; b < 2; b++) {
            for (int i = 0; i < 4; i++) s.param.g[i] = (i <= step) * (float)b; /* 1 is noisy, then 2 */
            diagnostics_add_noise(&s.d);
        }
        diagnostics_gradient(&s.d);
        assert_near(s.d.all.noise_phi, (step + 1) / 4.0, 1e-14);
        diagnostics_before_update(&s.d); /* writes where the noise was */
        diagnostics_after_update(&s.d);
    }
    diagnostics_begin(&s.d);
    diagnostics_gradient(&s.d);
    assert_true(isnan(s.d.all.noise_phi));
    close_single(&s);
}

/* ---- gradients, weights, updates ----------------------------------------------------------------------------- */

static void a_gaussian_gradient_should_have_density_2_over_pi(void **state) {
    Single s;
    (void)state;
    open_single(&s, "x", ROLE_VECTOR, 1000, 300, 1000);
    for (size_t i = 0; i < 300000; i++) s.param.g[i] = (float)rng_normal(1, 2, i);
    diagnostics_gradient(&s.d);
    assert_near(s.d.all.grad_density, 2 / M_PI, 0.005);
    Diagnosis first = s.d.all;
    const int threads = s.optim.threads;
    for (s.optim.threads = 1; s.optim.threads < 8; s.optim.threads += 2) {
        diagnostics_gradient(&s.d);
        assert_true(s.d.all.grad_l1 == first.grad_l1 && s.d.all.grad_l2 == first.grad_l2); /* to the bit */
    }
    s.optim.threads = threads; /* so many have work to be freed */
    close_single(&s);
}

static void rows_that_pad_the_vocabulary_should_not_count(void **state) {
    Single s;
    (void)state;
    open_single(&s, "wte.weight", ROLE_EMBEDDING, 8, 2, 3);
    for (int i = 0; i < 16; i++) s.param.g[i] = s.param.w[i] = i < 6 ? 2 : 1000;
    diagnostics_gradient(&s.d);
    assert_true(s.d.all.grad_l1 == 12 && s.d.all.grad_linf == 2 && s.d.all.grad_density == 1);
    assert_near(s.d.all.grad_l2, sqrt(24), 1e-15);
    diagnostics_before_update(&s.d);
    for (int i = 0; i < 16; i++) s.param.w[i] += i < 6 ? 0.5F : 1000;
    diagnostics_after_update(&s.d);
    assert_near(s.d.all.update_rms, 0.5, 1e-15);
    assert_near(s.d.all.weight_norm, sqrt(6 * 2.5 * 2.5), 1e-15);
    close_single(&s);
}

/* Singular values of a matrix (rows, cols), largest first, by LAPACK's own routine. */
static void svd(const float *X, int rows, int cols, double *values) {
    size_t size = (size_t)rows * (size_t)cols;
    double *copy = calloc(size, sizeof *copy), spare[64];
    for (size_t i = 0; i < size; i++) copy[i] = X[i];
    assert_int_equal(0, LAPACKE_dgesvd(LAPACK_ROW_MAJOR, 'N', 'N', rows, cols, copy, cols, values, NULL, 1,
                                       NULL, 1, spare));
    free(copy);
}

/* Sum and maximum over a tensor's matrices. */
static void norms_by_svd(const Param *p, const float *X, double *nuclear, double *spectral) {
    int rows = p->rows / p->split, n = rows < p->cols ? rows : p->cols;
    double values[64];
    *nuclear = *spectral = 0;
    for (int part = 0; part < p->split; part++) {
        svd(X + (size_t)part * (size_t)rows * (size_t)p->cols, rows, p->cols, values);
        for (int i = 0; i < n; i++) *nuclear += values[i];
        *spectral = fmax(*spectral, values[0]);
    }
}

static void check_tensor(const DiagnosedTensor *t, const float *before) {
    const Param *p = t->param;
    const Diagnosis *found = &t->found;
    size_t n = param_size(p);
    float *change = calloc(n, sizeof *change);
    double l1 = 0, square = 0, linf = 0, w = 0, moved = 0;
    for (size_t i = 0; i < n; i++) {
        l1 += fabs((double)p->g[i]);
        square += (double)p->g[i] * p->g[i];
        linf = fmax(linf, fabs((double)p->g[i]));
        w += (double)p->w[i] * p->w[i];
        change[i] = p->w[i] - before[i];
        moved += (double)change[i] * change[i];
    }
    assert_near(found->grad_l1, l1, 1e-12);
    assert_near(found->grad_l2, sqrt(square), 1e-12);
    assert_near(found->grad_linf, linf, 0);
    assert_near(found->grad_density, l1 * l1 / ((double)n * square), 1e-12);
    assert_near(found->weight_norm, sqrt(w), 1e-12);
    assert_near(found->update_rms, sqrt(moved / (double)n), 1e-12);
    if (p->role == ROLE_MATRIX) {
        double nuclear, spectral, unused;
        norms_by_svd(p, p->g, &nuclear, &unused);
        assert_near(found->grad_nuclear, nuclear, 1e-5);
        norms_by_svd(p, change, &unused, &spectral);
        assert_near(found->update_spectral, spectral, 1e-6);
    } else {
        assert_true(isnan(found->grad_nuclear) && isnan(found->update_spectral));
    }
    free(change);
}

static void norms_should_be_those_of_plain_loops_and_svds(void **state) {
    (void)state;
    Fixture f;
    float *before[TENSORS];
    open_fixture(&f, "adamw", "", 3);
    world_draw(&f.world, 1, 3);
    diagnostics_gradient(&f.d);
    diagnostics_before_update(&f.d);
    for (int i = 0; i < f.world.count; i++) {
        size_t bytes = param_size(&f.world.params[i]) * sizeof(float);
        before[i] = memcpy(malloc(bytes), f.world.params[i].w, bytes);
    }
    world_step(&f.world, 1, STEPS);
    diagnostics_after_update(&f.d);
    double nuclear = 0, squares = 0;
    for (int i = 0; i < f.world.count; i++) {
        check_tensor(&f.d.tensors[i], before[i]);
        if (f.world.params[i].role == ROLE_MATRIX) nuclear += f.d.tensors[i].found.grad_nuclear;
        squares += pow(f.d.tensors[i].found.grad_l2, 2);
        assert_true(isnan(f.d.tensors[i].sigma[0][0]));
        free(before[i]);
    }
    assert_near(f.d.all.grad_nuclear, nuclear, 1e-12);
    assert_near(f.d.all.grad_l2, sqrt(squares), 1e-12);
    close_fixture(&f);
}

static void a_tall_matrix_should_have_the_norms_of_its_svd(void **state) {
    (void)state;
    Single s;
    double nuclear, spectral, unused;
    open_single(&s, "x", ROLE_MATRIX, 70, 5, 1000);
    for (size_t i = 0; i < 350; i++) s.param.g[i] = (float)rng_normal(3, 4, i);
    norms_by_svd(&s.param, s.param.g, &nuclear, &spectral);
    diagnostics_gradient(&s.d);
    assert_near(s.d.all.grad_nuclear, nuclear, 1e-5);
    diagnostics_before_update(&s.d);
    for (size_t i = 0; i < 350; i++) s.param.w[i] += s.param.g[i];
    diagnostics_after_update(&s.d);
    norms_by_svd(&s.param, s.param.w, &unused, &spectral);
    assert_near(s.d.tensors[0].found.update_spectral, spectral, 1e-6);
    close_single(&s);
}

/* ---- what optimizers map ---------------------------------------------------------------------------------------- */

/* A step of the method on the world's tensors, diagnosed. */
static void diagnosed_step(Fixture *f, const char *optimizer, const char *settings, int step) {
    open_fixture(f, optimizer, settings, 2);
    world_run(&f->world, step - 1, 1);
    world_draw(&f->world, step, 1);
    diagnostics_gradient(&f->d);
    diagnostics_before_update(&f->d);
    world_step(&f->world, step, STEPS);
    diagnostics_after_update(&f->d);
}

static int decreasing(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* Of the tensor's momentum after the step; the world's first has three matrices (8, 10). */
static void momentum_values(const Fixture *f, double values[24]) {
    for (int part = 0; part < 3; part++)
        svd(f->world.optim.groups[0].tensors[0].slot[0] + part * 80, 8, 10, values + 8 * part);
    qsort(values, 24, sizeof *values, decreasing);
}

static void sigma_should_be_quantiles_of_momentum_and_of_its_map(void **state) {
    (void)state;
    static const struct {
        const char *optimizer, *settings;
        double out; /* every singular value of the update; 0: as they come in */
    } cases[] = {{"muon", "nesterov=false coefficients=converged", 1},
                 {"softmuon", "nesterov=false coefficients=converged", 1},
                 {"scion", "coefficients=converged hidden_radius=7", 7},
                 {"hard_switch_muon", "nesterov=false alpha_sign=0", 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        Fixture f;
        double values[24];
        diagnosed_step(&f, cases[i].optimizer, cases[i].settings, 3);
        const DiagnosedTensor *t = &f.d.tensors[0];
        momentum_values(&f, values);
        assert_near(t->sigma[0][0], values[23], 1e-5);
        assert_near(t->sigma[0][16], values[0], 1e-5);
        assert_near(t->sigma[0][8], (values[11] + values[12]) / 2, 1e-5);         /* at 11.5 of 0 ... 23 */
        assert_near(t->sigma[0][4], 0.25 * values[18] + 0.75 * values[17], 1e-5); /* at 5.75 */
        for (int k = 0; k < SIGMA_QUANTILES; k++)
            assert_near(t->sigma[1][k], cases[i].out > 0 ? cases[i].out : t->sigma[0][k], 1e-4);
        close_fixture(&f);
    }
}

static void a_soft_map_should_show_in_the_spectrum(void **state) {
    (void)state;
    Fixture f;
    diagnosed_step(&f, "softmuon", "alpha_sign=0 tau=2", 3);
    const DiagnosedTensor *t = &f.d.tensors[0];
    for (int k = 0; k < SIGMA_QUANTILES; k += 16) {
        double y = 2.0 * t->sigma[0][k];
        assert_near(t->sigma[1][k], y / sqrt(1 + y * y), 1e-4);
    }
    assert_true(f.d.all.temperature == 2);
    close_fixture(&f);
}

static void a_fused_matrix_should_be_taken_as_its_optimizer_takes_it(void **state) {
    (void)state;
    Fixture f;
    double values[10];
    diagnosed_step(&f, "muon", "nesterov=false split_qkv=false", 2);
    svd(f.world.optim.groups[0].tensors[0].slot[0], 24, 10, values);
    assert_near(f.d.tensors[0].sigma[0][0], values[9], 1e-5);
    assert_near(f.d.tensors[0].sigma[0][16], values[0], 1e-5);
    close_fixture(&f);
}

static void only_methods_of_singular_values_should_have_sigma(void **state) {
    (void)state;
    EACH(o) {
        Fixture f;
        char word[64];
        snprintf(word, sizeof word, " %s ", (*o)->name);
        bool spectral = strstr(" muon softmuon normuon scion hard_switch_muon ", word) != NULL;
        diagnosed_step(&f, (*o)->name, half_soft(*o), 2);
        for (int i = 0; i < f.world.count; i++) {
            const DiagnosedTensor *t = &f.d.tensors[i];
            bool has = !isnan(t->sigma[0][0]) && !isnan(t->sigma[1][0]);
            if (has != (spectral && t->param->role == ROLE_MATRIX))
                fail_msg("%s, %s", (*o)->name, t->param->name);
            assert_null(t->optim->mapped[MAPPED_IN]);
        }
        close_fixture(&f);
    }
}

static void counts_of_the_tensors_should_add_up_to_the_groups(void **state) {
    (void)state;
    Fixture f;
    diagnosed_step(&f, "softsignum", "alpha_sign=0 tau=3", 4);
    double saturated = 0, dual = 0, size = 0;
    for (int i = 0; i < f.world.count; i++) {
        const DiagnosedTensor *t = &f.d.tensors[i];
        saturated += t->found.saturated_frac * (double)t->size;
        dual += t->found.dual_progress;
        size += (double)t->size;
    }
    assert_near(f.d.all.saturated_frac, saturated / size, 1e-12);
    assert_near(f.d.all.dual_progress, dual, 1e-12);
    assert_true(f.d.tensors[3].found.dual_progress > 0);
    close_fixture(&f);
}

/* ---- the line, and that nothing is changed ------------------------------------------------------------------------ */

static char *line_of(const char *optimizer, const char *settings, int threads, World *after) {
    Fixture f;
    size_t length;
    open_fixture(&f, optimizer, settings, threads);
    for (int step = 1; step <= 3; step++) {
        diagnostics_begin(&f.d);
        for (int b = 0; b < 3; b++) {
            world_draw(&f.world, 10 * step + b, 1);
            diagnostics_add_noise(&f.d);
        }
        world_draw(&f.world, step, 1);
        diagnostics_gradient(&f.d);
        diagnostics_before_update(&f.d);
        world_step(&f.world, step, STEPS);
        diagnostics_after_update(&f.d);
    }
    f.d.cost_s = 0;
    char *text = diagnostics_text(&f.d, 3, 300, &length, &err);
    assert_non_null(text);
    assert_true(strlen(text) == length && text[length - 1] == '\n' &&
                strchr(text, '\n') == text + length - 1);
    if (after) assert_same_weights(&f.world, after);
    close_fixture(&f);
    return text;
}

static void a_line_should_not_depend_on_threads(void **state) {
    (void)state;
    char *first = line_of("softmuon", "alpha_sign=0.2", 1, NULL);
    int threads[] = {2, 3, 7};
    for (int i = 0; i < 3; i++) {
        char *other = line_of("softmuon", "alpha_sign=0.2", threads[i], NULL);
        assert_string_equal(first, other);
        free(other);
    }
    free(first);
}

static void a_diagnosed_step_should_be_the_same_step(void **state) {
    (void)state;
    EACH(o) {
        World plain;
        world_open(&plain, *o, half_soft(*o), 0.1, 0.01, 2);
        world_run(&plain, 3, 1);
        free(line_of((*o)->name, half_soft(*o), 2, &plain));
        world_close(&plain);
    }
}

static double number(const cJSON *object, const char *key) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    return cJSON_IsNumber(item) ? item->valuedouble : NAN;
}

static void a_line_should_be_json_as_documented(void **state) {
    (void)state;
    char *text = line_of("softmuon", "", 2, NULL);
    cJSON *line = cJSON_Parse(text);
    const cJSON *tensors = cJSON_GetObjectItem(line, "tensors"), *matrix = cJSON_GetArrayItem(tensors, 0);
    assert_true(number(line, "step") == 3 && number(line, "tokens") == 300 && number(line, "cost_s") == 0);
    assert_true(number(line, "noise_batches") == 3 && number(line, "noise_phi") > 0.5);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(line, "temperature"))); /* the hard phase */
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(matrix, "name")), "matrix");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(matrix, "role")), "matrix");
    const char *keys[] = {"grad_l1",         "grad_l2",       "grad_linf",     "grad_nuclear",
                          "grad_density",    "noise_phi",     "weight_norm",   "update_rms",
                          "update_spectral", "dual_progress", "saturated_frac"};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (isnan(number(matrix, keys[i]))) fail_msg("no %s", keys[i]);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(matrix, "sigma")), SIGMA_QUANTILES);
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(matrix, "sigma_update")), SIGMA_QUANTILES);
    cJSON_Delete(line);
    free(text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(noise_density_should_be_that_of_known_cases),
        cmocka_unit_test(a_mean_far_above_its_noise_should_cost_no_digits),
        cmocka_unit_test(noise_of_an_earlier_step_should_be_forgotten),
        cmocka_unit_test(a_gaussian_gradient_should_have_density_2_over_pi),
        cmocka_unit_test(rows_that_pad_the_vocabulary_should_not_count),
        cmocka_unit_test(norms_should_be_those_of_plain_loops_and_svds),
        cmocka_unit_test(a_tall_matrix_should_have_the_norms_of_its_svd),
        cmocka_unit_test(sigma_should_be_quantiles_of_momentum_and_of_its_map),
        cmocka_unit_test(a_soft_map_should_show_in_the_spectrum),
        cmocka_unit_test(a_fused_matrix_should_be_taken_as_its_optimizer_takes_it),
        cmocka_unit_test(only_methods_of_singular_values_should_have_sigma),
        cmocka_unit_test(counts_of_the_tensors_should_add_up_to_the_groups),
        cmocka_unit_test(a_line_should_not_depend_on_threads),
        cmocka_unit_test(a_diagnosed_step_should_be_the_same_step),
        cmocka_unit_test(a_line_should_be_json_as_documented),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
