/* test_matrix_rivals.c: SOAP, Scion and NorMuon: recorded float64 trajectories, and what each promises. */
#include "core/rng.h"
#include "test/golden.h"

static void recorded_trajectories_should_be_followed(void **state) {
    (void)state;
    static const struct {
        const char *file, *optimizer, *settings;
        double lr, decay;
    } rows[] = {
        {"soap", "soap", "decay_last=true frequency=4", 0.01, 0.1},
        {"soap_decay_first", "soap", "frequency=4", 0.01, 0.1},
        {"soap_eps", "soap", "decay_last=true frequency=4 eps=0.1", 0.01, 0.1},
        {"soap_normalized", "soap", "beta1=0.9 shampoo_beta=0.9 frequency=5 normalize=true", 0.01, 0},
        {"soap_one_sided", "soap", "decay_last=true frequency=3 max_dim=4", 0.01, 0.1},
        {"scion_constrained", "scion", "coefficients=converged", 0x1p-12, 1},
        {"scion_unconstrained", "scion",
         "coefficients=converged momentum=0.5 hidden_radius=2 outer_radius=3", 0.01, 0},
        {"normuon_official", "normuon", "coefficients=converged", 0.01, 0.1},
        {"normuon_paper", "normuon", "coefficients=converged nesterov=false scale=rms norm=polar", 0.01,
         0.1},
        {"normuon_eps", "normuon", "coefficients=converged nesterov=false scale=rms norm=polar eps=0.1",
         0.01, 0.1},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char path[128];
        snprintf(path, sizeof path, "test/golden/optim/%s.json", rows[i].file);
        double error = golden_error(path, rows[i].optimizer, rows[i].settings, rows[i].lr, rows[i].decay);
        print_message("%s: %.1e\n", rows[i].file, error);
        if (!(error < 2e-6)) fail_msg("%s: off by %g", rows[i].file, error);
    }
}

/* ---- one tensor under one optimizer ---- */

typedef struct One {
    Param param;
    void *hyper;
    Optim optim;
    int step;
} One;

static void one_open(One *one, const char *optimizer, const char *settings, int split, Role role, int rows,
                     int cols, double lr, double decay) {
    const Optimizer *o = optimizer_find(optimizer);
    Error err;
    *one = (One){.param = {.name = "w", .role = role, .rows = rows, .cols = cols, .split = split},
                 .hyper = golden_hyper(o, settings)};
    one->param.w = calloc(param_size(&one->param), sizeof(float));
    one->param.g = calloc(param_size(&one->param), sizeof(float));
    OptimPlan plan = golden_plan(o, one->hyper, lr, decay);
    if (!optim_create(&one->optim, &plan, &one->param, 1, 1, &err)) fail_msg("%s", err.text);
}

static void one_step(One *one) {
    Error err;
    if (!optim_step(&one->optim, ++one->step, 100, 1, false, &err)) fail_msg("%s", err.text);
}

static void one_close(One *one) {
    optim_free(&one->optim);
    golden_params_free(&one->param, 1);
    free(one->hyper);
}

static void draw(float *x, size_t count, int stream) {
    for (size_t i = 0; i < count; i++) x[i] = (float)rng_normal(5, (uint64_t)stream, i);
}

/* ||a - b|| / ||b|| */
static double distance(const float *a, const double *b, size_t count) {
    double difference = 0, norm = 0;
    for (size_t i = 0; i < count; i++) {
        difference += (a[i] - b[i]) * (a[i] - b[i]);
        norm += b[i] * b[i];
    }
    return sqrt(difference / norm);
}

static double root_mean_square(const float *x, size_t count) {
    double sum = 0;
    for (size_t i = 0; i < count; i++) sum += (double)x[i] * x[i];
    return sqrt(sum / (double)count);
}

/* A random rotation: two reflections. */
enum { N = 70 }; /* more than a panel of the bases */
typedef double Square[N][N];

static void reflect(Square q, int stream) {
    float u[N];
    double norm = 0;
    draw(u, N, stream);
    for (int i = 0; i < N; i++) norm += (double)u[i] * u[i];
    for (int j = 0; j < N; j++) {
        double sum = 0;
        for (int i = 0; i < N; i++) sum += u[i] * q[i][j];
        for (int i = 0; i < N; i++) q[i][j] -= 2 * sum * u[i] / norm;
    }
}

static void draw_rotation(Square q, int stream) {
    for (int i = 0; i < N * N; i++) q[i / N][i % N] = i / N == i % N;
    reflect(q, stream);
    reflect(q, stream + 1);
}

/* out = u x v^T */
static void rotate(const Square u, const Square x, const Square v, Square out) {
    Square half;
    for (int i = 0; i < N * N; i++) {
        half[i / N][i % N] = 0;
        for (int k = 0; k < N; k++) half[i / N][i % N] += u[i / N][k] * x[k][i % N];
    }
    for (int i = 0; i < N * N; i++) {
        out[i / N][i % N] = 0;
        for (int k = 0; k < N; k++) out[i / N][i % N] += half[i / N][k] * v[i % N][k];
    }
}

static void fused_qkv_should_be_three_matrices_unless_told_otherwise(void **state) {
    (void)state;
    static const char *const rows[][2] = {{"soap", "frequency=2"}, {"soap", "frequency=2 split_qkv=false"},
                                          {"scion", ""},           {"scion", "split_qkv=false"},
                                          {"normuon", ""},         {"normuon", "split_qkv=false"}};
    for (int i = 0; i < 6; i++) {
        One fused, alone[3];
        one_open(&fused, rows[i][0], rows[i][1], 3, ROLE_MATRIX, 12, 6, 0.1, 0.1);
        for (int k = 0; k < 3; k++)
            one_open(&alone[k], rows[i][0], rows[i][1], 1, ROLE_MATRIX, 4, 6, 0.1, 0.1);
        for (int step = 1; step <= 6; step++) {
            draw(fused.param.g, 72, step);
            for (int k = 0; k < 3; k++) {
                memcpy(alone[k].param.g, fused.param.g + 24 * k, 24 * sizeof(float));
                one_step(&alone[k]);
            }
            one_step(&fused);
        }
        for (int k = 0; k < 3; k++) {
            size_t bytes = 24 * sizeof(float);
            assert_int_equal(memcmp(fused.param.w + 24 * k, alone[k].param.w, bytes) != 0, i % 2);
            one_close(&alone[k]);
        }
        one_close(&fused);
    }
}

/* ---- SOAP ---- */

enum { GRAM_L = 2, GRAM_R, BASIS_L, BASIS_R };

static void soap_should_only_look_at_its_first_gradient(void **state) {
    (void)state;
    One one;
    one_open(&one, "soap", "", 1, ROLE_MATRIX, 4, 3, 0.1, 0.5);
    one.step = 50; /* of the run, not of this state */
    draw(one.param.w, 12, 1);
    float before[12];
    memcpy(before, one.param.w, sizeof before);
    draw(one.param.g, 12, 2);
    one_step(&one);
    assert_memory_equal(before, one.param.w, sizeof before);
    one_step(&one);
    assert_true(before[0] != one.param.w[0]);
    one_close(&one);
}

static void sides_beyond_max_dim_should_have_no_state(void **state) {
    (void)state;
    static const struct {
        const char *settings;
        int rows, cols;
        size_t left, right;
    } rows[] = {{"max_dim=20", 20, 7, 400, 49},
                {"max_dim=19", 20, 7, 0, 49},
                {"max_dim=6", 20, 7, 0, 0},
                {"max_dim=7", 7, 20, 49, 0},
                {"", 1, 7, 0, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        One one;
        one_open(&one, "soap", rows[i].settings, 1, ROLE_MATRIX, rows[i].rows, rows[i].cols, 0.1, 0);
        for (int slot = GRAM_L; slot <= BASIS_R; slot++)
            assert_int_equal(optim_slot_size(&one.optim.groups[0], &one.param, slot),
                             slot == GRAM_L || slot == BASIS_L ? rows[i].left : rows[i].right);
        one_close(&one);
    }
}

/* Adam that begins a step later; eps so small that it does not matter that SOAP's is not corrected. */
static void soap_without_bases_should_be_adam(void **state) {
    (void)state;
    static const struct {
        const char *settings;
        int rows, cols;
    } rows[] = {{"max_dim=0 beta1=0.9 eps=1e-30", 700, 3}, {"beta1=0.9 eps=1e-30", 1, 50}};
    for (int i = 0; i < 2; i++) {
        One soap, adam;
        one_open(&soap, "soap", rows[i].settings, 1, ROLE_MATRIX, rows[i].rows, rows[i].cols, 0.1, 0.1);
        one_open(&adam, "adamw", "beta1=0.9 beta2=0.95 eps=1e-30", 1, ROLE_MATRIX, rows[i].rows,
                 rows[i].cols, 0.1, 0.1);
        size_t size = param_size(&soap.param);
        one_step(&soap);
        for (int step = 1; step <= 25; step++) {
            draw(soap.param.g, size, step);
            draw(adam.param.g, size, step);
            one_step(&soap);
            one_step(&adam);
            for (size_t k = 0; k < size; k++)
                assert_true(fabsf(soap.param.w[k] - adam.param.w[k]) <
                            1e-6f * (1 + fabsf(adam.param.w[k])));
        }
        one_close(&soap);
        one_close(&adam);
    }
}

/* G = U D V^T with the same U and V at all times: in the eigenbases only the diagonal of m and v lives, and
 * what happens to it is Adam's rule. Entries of D grow and fall past each other, so that v has to be sorted
 * with the bases. A large eps keeps rounding errors off the diagonal small. */
static void soap_should_be_adam_on_the_diagonal_of_its_bases(void **state) {
    (void)state;
    One one;
    Square u, v, d = {{0}}, sum = {{0}}, expected;
    const double b1 = 0.9, b2 = 0.95, eps = 0.1, lr = 0.01;
    double m[N] = {0}, s[N] = {0};
    draw_rotation(u, 10);
    draw_rotation(v, 20);
    one_open(&one, "soap", "beta1=0.9 shampoo_beta=0.5 eps=0.1 frequency=2", 1, ROLE_MATRIX, N, N, lr, 0);
    for (int t = 1; t <= 30; t++) {
        for (int i = 0; i < N; i++) {
            d[i][i] = (3 + i) * exp(0.003 * t * (i % 2 ? i % 12 : -i % 12)) * (t * i % 3 ? 1 : -0.5);
            if (t == 1) continue;
            m[i] = b1 * m[i] + (1 - b1) * d[i][i];
            s[i] = b2 * s[i] + (1 - b2) * d[i][i] * d[i][i];
            double k = t - 1;
            sum[i][i] -= lr * sqrt(1 - pow(b2, k)) / (1 - pow(b1, k)) * m[i] / (sqrt(s[i]) + eps);
        }
        rotate(u, d, v, expected);
        for (int i = 0; i < N * N; i++) one.param.g[i] = (float)expected[i / N][i % N];
        one_step(&one);
    }
    rotate(u, sum, v, expected);
    double error = distance(one.param.w, &expected[0][0], N * N);
    print_message("diagonal: %.1e\n", error);
    assert_true(error < 1e-4);
    one_close(&one);
}

static void soaps_bases_should_follow_beta2_unless_told_otherwise(void **state) {
    (void)state;
    const char *const settings[] = {"beta1=0.8 beta2=0.9 frequency=2",
                                    "beta1=0.8 beta2=0.9 frequency=2 shampoo_beta=0.9",
                                    "beta1=0.8 beta2=0.9 frequency=2 shampoo_beta=0.8"};
    One one[3];
    for (int i = 0; i < 3; i++) {
        one_open(&one[i], "soap", settings[i], 1, ROLE_MATRIX, 5, 5, 0.1, 0);
        for (int step = 1; step <= 6; step++) {
            draw(one[i].param.g, 25, step);
            one_step(&one[i]);
        }
    }
    assert_memory_equal(one[0].param.w, one[1].param.w, 25 * sizeof(float));
    assert_memory_not_equal(one[0].param.w, one[2].param.w, 25 * sizeof(float));
    for (int i = 0; i < 3; i++) one_close(&one[i]);
}

/* Beyond 1e14 a gradient is scaled down to that: a square of 1e30 is no float. */
static void huge_gradients_should_be_scaled_down(void **state) {
    (void)state;
    for (int sides = 0; sides < 3; sides++) {
        One huge, limited;
        const char *const settings[] = {"frequency=2 max_dim=3", "frequency=2 max_dim=5", "frequency=2"};
        one_open(&huge, "soap", settings[sides], 1, ROLE_MATRIX, 6, 5, 0.1, 0);
        one_open(&limited, "soap", settings[sides], 1, ROLE_MATRIX, 6, 5, 0.1, 0);
        for (int step = 1; step <= 6; step++) {
            float largest = 0;
            draw(huge.param.g, 30, step);
            for (int i = 0; i < 30; i++) largest = fmaxf(largest, fabsf(huge.param.g[i]));
            for (int i = 0; i < 30; i++) {
                limited.param.g[i] = huge.param.g[i] * (1e14f / largest);
                huge.param.g[i] *= 1e30f;
            }
            one_step(&huge);
            one_step(&limited);
        }
        for (int i = 0; i < 30; i++) assert_true(fabsf(huge.param.w[i] - limited.param.w[i]) < 1e-5f);
        for (int i = 0; i < 30; i++) assert_true(isfinite(huge.optim.groups[0].tensors[0].slot[1][i]));
        one_close(&huge);
        one_close(&limited);
    }
}

/* The largest entry of |Q Q^T - I|. */
static double basis_error(const One *one, int slot, int n) {
    const float *q = one->optim.groups[0].tensors[0].slot[slot];
    double worst = 0;
    for (int i = 0; i < n; i++)
        for (int j = 0; j <= i; j++) {
            double sum = -(i == j);
            for (int k = 0; k < n; k++) sum += (double)q[i * n + k] * q[j * n + k];
            worst = fmax(worst, fabs(sum));
        }
    return worst;
}

/* Turned gradients make turned updates; Adam's are far from that. */
static void turned_gradients_should_turn_soaps_update(void **state) {
    (void)state;
    for (int adam = 0; adam < 2; adam++) {
        One plain, turned;
        Square u, v, x, y;
        draw_rotation(u, 30);
        draw_rotation(v, 40);
        one_open(&plain, adam ? "adamw" : "soap", adam ? "" : "frequency=3", 1, ROLE_MATRIX, N, N, 0.1,
                 0.1);
        one_open(&turned, adam ? "adamw" : "soap", adam ? "" : "frequency=3", 1, ROLE_MATRIX, N, N, 0.1,
                 0.1);
        for (int step = 1; step <= 20; step++) {
            draw(plain.param.g, N * N, 100 + step);
            for (int i = 0; i < N * N; i++) x[i / N][i % N] = plain.param.g[i];
            rotate(u, x, v, y);
            for (int i = 0; i < N * N; i++) turned.param.g[i] = (float)y[i / N][i % N];
            one_step(&plain);
            one_step(&turned);
        }
        for (int i = 0; i < N * N; i++) x[i / N][i % N] = plain.param.w[i];
        rotate(u, x, v, y);
        double error = distance(turned.param.w, &y[0][0], N * N);
        print_message("%s, turned: %.1e\n", adam ? "Adam" : "SOAP", error);
        assert_true(adam ? error > 0.1 : error < 1e-4);
        one_close(&plain);
        one_close(&turned);
    }
}

/* Rows that are never seen, and fewer directions than dimensions: the rest of a basis is arbitrary, but must
 * be a basis; several panels of it, tall and wide. */
static void bases_should_stay_orthonormal_whatever_the_gradients(void **state) {
    (void)state;
    for (int wide = 0; wide < 2; wide++)
        for (int kind = 0; kind < 4; kind++) {
            One one;
            int rows = wide ? 24 : 150, cols = wide ? 150 : 24;
            one_open(&one, "soap", "frequency=2", 1, ROLE_MATRIX, rows, cols, 0.1, 0);
            for (int step = 1; step <= 9; step++) {
                draw(one.param.g, param_size(&one.param), kind == 1 ? 1 : step);
                for (int i = 0; i < rows * cols; i++) {
                    int at = wide ? i % cols : i / cols;
                    if (kind == 0 || (kind == 2 && at >= 70) || (kind == 3 && at % 3)) one.param.g[i] = 0;
                }
                one_step(&one);
                double left = basis_error(&one, BASIS_L, rows), right = basis_error(&one, BASIS_R, cols);
                if (!(left < 3e-6 && right < 3e-6))
                    fail_msg("kind %d, step %d: off by %g and %g", kind, step, left, right);
            }
            for (int i = 0; i < rows * cols; i++) assert_true(isfinite(one.param.w[i]));
            one_close(&one);
        }
}

/* Without a basis on the left rows are taken in blocks, and their order cannot matter. */
static void long_tables_should_not_depend_on_the_order_of_their_rows(void **state) {
    (void)state;
    enum { ROWS = 1100, COLS = 5 };
    One down, up;
    const char *settings = "max_dim=100 frequency=3 normalize=true";
    one_open(&down, "soap", settings, 1, ROLE_EMBEDDING, ROWS, COLS, 0.1, 0.1);
    one_open(&up, "soap", settings, 1, ROLE_EMBEDDING, ROWS, COLS, 0.1, 0.1);
    for (int step = 1; step <= 12; step++) {
        draw(down.param.g, ROWS * COLS, step);
        for (int i = 0; i < ROWS * COLS; i++)
            up.param.g[(ROWS - 1 - i / COLS) * COLS + i % COLS] = down.param.g[i];
        one_step(&down);
        one_step(&up);
    }
    double difference = 0, size = root_mean_square(down.param.w, ROWS * COLS);
    for (int i = 0; i < ROWS * COLS; i++)
        difference += pow(up.param.w[(ROWS - 1 - i / COLS) * COLS + i % COLS] - down.param.w[i], 2);
    print_message("rows upside down: %.1e\n", sqrt(difference / (ROWS * COLS)) / size);
    assert_true(size > 0.1 && sqrt(difference / (ROWS * COLS)) < 1e-3 * size);
    one_close(&down);
    one_close(&up);
}

/* ---- Scion ---- */

/* From W = 0 with lr 1/8 each step has the size of lr radius. */
static void scions_steps_should_have_the_norms_of_its_balls(void **state) {
    (void)state;
    static const struct {
        Role role;
        int rows, cols;
    } rows[] = {{ROLE_MATRIX, 20, 5},    {ROLE_MATRIX, 5, 20}, {ROLE_MATRIX, 1, 9}, {ROLE_MATRIX, 9, 1},
                {ROLE_EMBEDDING, 20, 5}, {ROLE_HEAD, 5, 20},   {ROLE_VECTOR, 1, 30}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        One one;
        int m = rows[i].rows, n = rows[i].cols, size = m * n;
        one_open(&one, "scion", "coefficients=converged hidden_radius=2 outer_radius=3", 1, rows[i].role, m,
                 n, 0.125, 1);
        draw(one.param.g, (size_t)size, 7);
        one_step(&one);
        const float *w = one.param.w;
        double rms = root_mean_square(w, (size_t)size);
        if (rows[i].role == ROLE_VECTOR) assert_true(fabs(rms - 0.25) < 1e-6);
        else if (rows[i].role == ROLE_MATRIX) /* min(m, n) singular values, each 0.25 sqrt(m / n) */
            assert_true(fabs(rms * sqrt(size) - 0.25 * sqrt((double)m / n * fmin(m, n))) < 1e-5);
        else
            for (int k = 0; k < size; k++)
                assert_true(fabs(w[k] + copysign(0.375 / n, one.param.g[k])) < 1e-6);
        one_close(&one);
    }
}

/* The same gradient for ever leads to the surface of the ball, and no further. */
static void constrained_weights_should_stay_in_the_ball(void **state) {
    (void)state;
    One ball, free_one;
    one_open(&ball, "scion", "outer_radius=3", 1, ROLE_HEAD, 2, 3, 0.1, 1);
    one_open(&free_one, "scion", "outer_radius=3", 1, ROLE_HEAD, 2, 3, 0.1, 0);
    for (int step = 0; step < 200; step++) {
        for (int k = 0; k < 6; k++) ball.param.g[k] = free_one.param.g[k] = k % 2 ? 1e-3f : -5;
        one_step(&ball);
        one_step(&free_one);
    }
    for (int k = 0; k < 6; k++) {
        assert_true(fabs(ball.param.w[k] - (k % 2 ? -1 : 1)) < 1e-5);
        assert_true(fabs(free_one.param.w[k] - (k % 2 ? -20 : 20)) < 1e-3);
    }
    one_close(&ball);
    one_close(&free_one);
}

/* ---- NorMuon ---- */

/* A row's mean square of the polar factor, whose squares add up to the smaller side; after one step. */
static void normuons_state_should_be_one_number_for_each_row(void **state) {
    (void)state;
    static const int shapes[][2] = {{20, 6}, {6, 20}, {1, 7}, {7, 1}};
    for (int i = 0; i < 4; i++) {
        One one;
        int m = shapes[i][0], n = shapes[i][1];
        one_open(&one, "normuon", "coefficients=converged beta2=0.75", 1, ROLE_MATRIX, m, n, 0.5, 0);
        draw(one.param.g, (size_t)(m * n), i);
        one_step(&one);
        double sum = 0;
        assert_int_equal(optim_slot_size(&one.optim.groups[0], &one.param, 1), m);
        for (int r = 0; r < m; r++) sum += one.optim.groups[0].tensors[0].slot[1][r];
        assert_true(fabs(sum * n - 0.25 * fmin(m, n)) < 1e-4);
        memset(one.param.g, 0, (size_t)(m * n) * sizeof(float)); /* the momentum keeps its direction */
        one_step(&one);
        for (int r = 0; r < m; r++) sum -= one.optim.groups[0].tensors[0].slot[1][r];
        assert_true(fabs(-sum * n - 0.75 * 0.25 * fmin(m, n)) < 1e-4);
        one_close(&one);
    }
}

/* At the first step v is the row's own mean square: every output neuron moves equally far. The paper gives the
 * whole a root mean square of 0.2 lr; the authors' code Muon's norm, sqrt(min(m, n)), times its scale. */
static void normuons_rows_should_move_equally(void **state) {
    (void)state;
    static const struct {
        const char *settings;
        bool paper;
    } readings[] = {{"coefficients=converged nesterov=false scale=rms norm=polar", true},
                    {"nesterov=false scale=rms norm=polar", true},
                    {"coefficients=converged", false}};
    static const int shapes[][2] = {{20, 6}, {6, 20}, {9, 9}, {1, 7}, {7, 1}};
    for (int i = 0; i < 15; i++) {
        One one;
        int m = shapes[i % 5][0], n = shapes[i % 5][1];
        one_open(&one, "normuon", readings[i / 5].settings, 1, ROLE_MATRIX, m, n, 0.5, 0);
        draw(one.param.g, (size_t)(m * n), i);
        one_step(&one);
        double expected = 0.1;
        if (!readings[i / 5].paper)
            expected = 0.5 * sqrt(fmax(1, (double)m / n)) * sqrt(fmin(m, n) / (m * n));
        for (int r = 0; r < m; r++) {
            double rms = root_mean_square(one.param.w + r * n, (size_t)n);
            if (!(fabs(rms / expected - 1) < 2e-5))
                fail_msg("%d x %d, row %d: %g, not %g", m, n, r, rms, expected);
        }
        one_close(&one);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(recorded_trajectories_should_be_followed),
        cmocka_unit_test(fused_qkv_should_be_three_matrices_unless_told_otherwise),
        cmocka_unit_test(soap_should_only_look_at_its_first_gradient),
        cmocka_unit_test(sides_beyond_max_dim_should_have_no_state),
        cmocka_unit_test(soap_without_bases_should_be_adam),
        cmocka_unit_test(soap_should_be_adam_on_the_diagonal_of_its_bases),
        cmocka_unit_test(soaps_bases_should_follow_beta2_unless_told_otherwise),
        cmocka_unit_test(huge_gradients_should_be_scaled_down),
        cmocka_unit_test(turned_gradients_should_turn_soaps_update),
        cmocka_unit_test(bases_should_stay_orthonormal_whatever_the_gradients),
        cmocka_unit_test(long_tables_should_not_depend_on_the_order_of_their_rows),
        cmocka_unit_test(scions_steps_should_have_the_norms_of_its_balls),
        cmocka_unit_test(constrained_weights_should_stay_in_the_ball),
        cmocka_unit_test(normuons_state_should_be_one_number_for_each_row),
        cmocka_unit_test(normuons_rows_should_move_equally),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
