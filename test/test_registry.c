/* test_registry.c: what must hold for every optimizer, by tables over the registry: a new one is covered without
 * editing a test. A method that cannot have a property by its definition is excused below, with the reason.
 */
#include "test/world.h"

static const struct {
    const char *optimizer, *property, *reason;
} EXCUSED[] = {
    {"adopt", "decay", "its first step only takes the second moment; the authors skip decay there, too"},
    {"soap", "decay", "its first step only takes the bases; the authors skip decay there, too"},
    {"sf_adamw", "decay",
     "shrinks z by lr times the weights that it trains; they are an average that lags behind z"},
    {"prodigy", "decay", "shrinks by lr d wd, and without gradients d stays at d0"},
};
enum { EXCUSED_COUNT = sizeof EXCUSED / sizeof *EXCUSED };

static bool excused(const Optimizer *o, const char *property) {
    for (int i = 0; i < EXCUSED_COUNT; i++)
        if (strcmp(EXCUSED[i].optimizer, o->name) == 0 && strcmp(EXCUSED[i].property, property) == 0)
            return true;
    return false;
}

static void excuses_should_be_for_optimizers_there_are(void **state) {
    (void)state;
    for (int i = 0; i < EXCUSED_COUNT; i++)
        if (!optimizer_find(EXCUSED[i].optimizer) || !*EXCUSED[i].reason)
            fail_msg("%s", EXCUSED[i].optimizer);
}

/* ---------------------------------------------------------------------------------------------- declarations */

static void declarations_should_be_complete_and_defaults_in_range(void **state) {
    (void)state;
    EACH(o) {
        const Optimizer *it = *o;
        Error err;
        assert_ptr_equal(optimizer_find(it->name), it);
        assert_true(it->title && it->equation && it->source && it->differs && it->cost && it->update);
        assert_true(*it->equation && *it->source && *it->cost && it->roles);
        assert_true(it->lr > 0 && it->weight_decay >= 0);
        assert_true(it->cut == CUT_MATRICES || (!it->slot_size && !it->fuse_split));
        char *hyper = golden_hyper(it, "");
        for (const Field *field = it->fields; field && field->name; field++) {
            assert_true(field->offset < it->hyper_size && *field->doc);
            if (!field_set(field, hyper, field->default_value, &err))
                fail_msg("%s.%s: %s", it->name, field->name, err.text);
        }
        if (it->check && it->check(hyper)) fail_msg("%s: %s", it->name, it->check(hyper));
        int slots = optimizer_slot_count(it), scalars = 0;
        while (it->scalars && it->scalars[scalars]) scalars++;
        assert_true(slots <= OPTIM_MAX_SLOTS && scalars <= OPTIM_MAX_SCALARS);
        free(hyper);
    }
}

static void readings_should_pass_their_own_check(void **state) {
    (void)state;
    EACH(o) for (const Preset *preset = (*o)->presets; preset && preset->name; preset++) {
        char *hyper = golden_hyper(*o, preset->settings);
        if ((*o)->check && (*o)->check(hyper))
            fail_msg("%s as %s: %s", (*o)->name, preset->name, (*o)->check(hyper));
        assert_true(*preset->doc);
        free(hyper);
    }
}

/* What papers and official codes publish, once more: defaults ("") and readings, every setting that they name. */
static void defaults_and_readings_should_be_the_published_ones(void **state) {
    (void)state;
#define EMA  "momentum=0.95 momentum_form=ema dampening=0 nesterov=true "
#define NS5  "coefficients=classic steps=5 split_qkv=true "
#define SOFT "alpha_sign=0.9 tau=0 eps=1e-4 newton_iters=10 "
#define SUM  "lr=1e-3 weight_decay=0 momentum=0 momentum_form=sum dampening=0 nesterov=false "
#define SF   "lr=2.5e-3 beta1=0.9 beta2=0.999 eps=1e-8 weight_lr_power=2 r=0 "
#define MARS "beta1=0.95 beta2=0.99 eps=1e-8 gamma=0.025 "
#define MIX  "lr=1e-3 beta1=0.9 beta2=0.999 beta3=0.9999 eps=1e-8 "
#define SOAP                                                                                               \
    "lr=3e-3 weight_decay=0.01 beta1=0.95 beta2=0.95 shampoo_beta=-1 eps=1e-8 frequency=10 max_dim=10000 "
#define PRODIGY                                                                                            \
    "lr=1 beta1=0.9 beta2=0.999 beta3=0 eps=1e-8 d0=1e-6 d_coef=1 growth_rate=0 bias_correction=false "    \
    "safeguard_warmup=false "
    static const struct {
        const char *optimizer, *reading, *settings;
    } rows[] = {
        {"adamw", "", "beta1=0.9 beta2=0.95 eps=1e-8"},
        {"ademamix", "", MIX "alpha=8 warmup_frac=1"},
        {"ademamix", "paper", MIX "alpha=8 warmup_frac=1"},
        {"ademamix", "official", MIX "alpha=2 warmup_frac=0 weight_decay=0"},
        {"adopt", "", "lr=1e-3 beta1=0.9 beta2=0.9999 eps=1e-6 clip=true"},
        {"hard_switch", "official", SUM "alpha_sign=0.9 sgd_lr_ratio=1"},
        {"lion", "", "beta1=0.9 beta2=0.99"},
        {"mars", "paper", MARS "first_previous=same"},
        {"mars", "official", MARS "first_previous=zero lr=3e-3 weight_decay=0"},
        {"muon", "", EMA NS5 "scale=tall lr=0.02 weight_decay=0"},
        {"muon", "official", EMA NS5 "scale=tall lr=0.02 weight_decay=0"},
        {"muon", "paper", NS5 "momentum=0.95 momentum_form=sum dampening=0 nesterov=false scale=none"},
        {"muon", "moonlight",
         NS5
         "momentum=0.95 momentum_form=sum dampening=0 nesterov=true scale=rms lr=1e-3 weight_decay=0.1"},
        {"normuon", "official", EMA NS5 "scale=tall norm=kept beta2=0.95 eps=1e-10 lr=0.02 weight_decay=0"},
        {"normuon", "paper", EMA NS5 "nesterov=false scale=rms norm=polar beta2=0.95 eps=1e-10 lr=3.6e-3"},
        {"prodigy", "paper", PRODIGY "eps_d=old"},
        {"prodigy", "official", PRODIGY "eps_d=new weight_decay=0"},
        {"s3", "", "beta=0.95 p=3"},
        {"scion", "constrained",
         NS5 "momentum=0.9 hidden_radius=50 outer_radius=3000 scale=aspect weight_decay=1"},
        {"scion", "unconstrained",
         NS5 "momentum=0.9 hidden_radius=50 outer_radius=3000 scale=aspect weight_decay=0"},
        {"sf_adamw", "paper", SF "bias_correction=rate"},
        {"sf_adamw", "official", SF "bias_correction=v weight_decay=0"},
        {"sgd", "official", SUM "coupled_decay=true"},
        {"sgd", "paper", SUM "lr=1e-2 weight_decay=0.1 momentum=0.9 coupled_decay=true"},
        {"signsgd", "paper", "lr=1e-4 weight_decay=0.1"},
        {"soap", "paper", SOAP "normalize=false decay_last=false split_qkv=true"},
        {"soap", "official", SOAP "normalize=false decay_last=true split_qkv=true"},
        {"softmuon", "paper",
         EMA SOFT
         "coefficients=converged scale=tall split_qkv=true map=algebraic tau_max=1e9 statistics=momentum "
         "soft_iteration=stacked"},
        {"softmuon", "official",
         EMA NS5 SOFT
         "scale=tall map=algebraic tau_max=1e9 statistics=gradient soft_iteration=coupled soft_steps=5 "
         "lr=0.02 weight_decay=0"},
        {"softsignum", "paper", EMA SOFT "nesterov=false map=tanh tau_max=1e9 lr_norm=none"},
        {"softsignum", "official", SUM SOFT "map=tanh tau_max=20 lr_norm=none"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const Optimizer *o = optimizer_find(rows[i].optimizer);
        const Preset *preset = *rows[i].reading ? optimizer_preset(o, rows[i].reading) : NULL;
        double ours[2] = {o->lr, o->weight_decay}, published[2] = {o->lr, o->weight_decay};
        if (*rows[i].reading && !preset) fail_msg("%s as %s", o->name, rows[i].reading);
        char *is = golden_settings(o, preset ? preset->settings : "", ours);
        char *should_be = golden_settings(o, rows[i].settings, published);
        if (memcmp(is, should_be, o->hyper_size) != 0 || memcmp(ours, published, sizeof ours) != 0)
            fail_msg("%s as \"%s\" is not %s", o->name, rows[i].reading, rows[i].settings);
        free(is);
        free(should_be);
    }
}

/* half_soft and, for k > 0, one more choice than the defaults: each switch, each other word, each reading. NULL
 * beyond them. A combination that the method refuses is tried with a fixed temperature, else it is "". */
static const char *variant(const Optimizer *o, int k) {
    static char out[1024];
    if (k == 0) return half_soft(o);
    *out = '\0';
    for (const Field *f = o->fields; f && f->name; f++) {
        char words[256];
        snprintf(words, sizeof words, "%s", f->type == FIELD_CHOICE ? f->range : "true|false");
        if (f->type != FIELD_CHOICE && f->type != FIELD_BOOL) continue;
        for (char *word = strtok(words, "|"); word; word = strtok(NULL, "|"))
            if (strcmp(word, f->default_value) != 0 && --k == 0)
                snprintf(out, sizeof out, "%s %s=%s", half_soft(o), f->name, word);
    }
    for (const Preset *p = o->presets; p && p->name; p++)
        if (--k == 0) snprintf(out, sizeof out, "%s %s", half_soft(o), p->settings);
    if (k > 0) return NULL;
    for (int tries = 0; tries < 2; tries++) {
        char *hyper = golden_hyper(o, out);
        bool refused = o->check && o->check(hyper);
        free(hyper);
        if (!refused) return out;
        if (!field_find(o->fields, "tau")) break;
        strcat(out, " tau=2");
    }
    return half_soft(o);
}

#define EACH_VARIANT(o, k) EACH(o) for (int k = 0; variant(*o, k); k++)

/* ----------------------------------------------------------------------------------------------------- zeros */

static void state_should_begin_as_zeros(void **state) {
    (void)state;
    EACH(o) {
        World world;
        world_open(&world, *o, "", 0.01, 0, 1);
        const OptimGroup *group = &world.optim.groups[0];
        for (int t = 0; t < group->tensor_count; t++)
            for (int s = 0; s < optimizer_slot_count(*o); s++)
                for (size_t i = 0; i < optim_slot_size(group, group->tensors[t].param, s); i++)
                    assert_true(group->tensors[t].slot[s][i] == 0);
        world_close(&world);
    }
}

static void no_gradient_and_no_decay_should_change_nothing(void **state) {
    (void)state;
    EACH_VARIANT(o, k) {
        World world, untouched;
        world_open(&world, *o, variant(*o, k), 0.01, 0, 1);
        world_open(&untouched, *o, "", 0.01, 0, 1);
        world_run(&world, STEPS, 0);
        assert_same_weights(&world, &untouched);
        optim_show(&world.optim, WEIGHTS_EVALUATED);
        assert_same_weights(&world, &untouched);
        world_close(&world);
        world_close(&untouched);
    }
}

static void decay_alone_should_shrink_weights(void **state) {
    (void)state;
    EACH(o) {
        World world, untouched;
        if (excused(*o, "decay")) continue;
        world_open(&world, *o, half_soft(*o), 0.01, 0.3, 1);
        world_open(&untouched, *o, "", 0, 0, 1);
        world_run(&world, STEPS, 0);
        for (int i = 0; i < world.count; i++)
            for (size_t k = 0; k < param_size(&world.params[i]); k++) {
                double expected = untouched.params[i].w[k] * pow(1 - 0.01 * 0.3, STEPS);
                if (!(fabs(world.params[i].w[k] - expected) <= 1e-6 * fabs(expected)))
                    fail_msg("%s: %s", (*o)->name, world.params[i].name);
            }
        world_close(&world);
        world_close(&untouched);
    }
}

/* ------------------------------------------------------------------------------------------------ the same bits */

static void threads_should_not_change_a_bit(void **state) {
    (void)state;
    EACH(o) {
        World one, three;
        world_open(&one, *o, half_soft(*o), 0.01, 0.1, 1);
        world_open(&three, *o, half_soft(*o), 0.01, 0.1, 3);
        world_run(&one, STEPS, 1e-3f);
        world_run(&three, STEPS, 1e-3f);
        assert_same_weights(&one, &three);
        const OptimGroup *a = &one.optim.groups[0], *b = &three.optim.groups[0];
        assert_memory_equal(&a->saturated_frac, &b->saturated_frac, sizeof(double));
        assert_memory_equal(&a->dual_progress, &b->dual_progress, sizeof(double));
        world_close(&one);
        world_close(&three);
    }
}

static void measuring_should_not_change_a_bit(void **state) {
    (void)state;
    EACH_VARIANT(o, k) {
        World measured, plain;
        Error err;
        world_open(&measured, *o, variant(*o, k), 0.01, 0.1, 1);
        world_open(&plain, *o, variant(*o, k), 0.01, 0.1, 1);
        world_run(&measured, STEPS, 1e-3f);
        for (int step = 1; step <= STEPS; step++) {
            world_draw(&plain, step, 1e-3f);
            assert_true(optim_step(&plain.optim, step, STEPS, 1, false, &err));
        }
        assert_same_weights(&measured, &plain);
        world_close(&measured);
        world_close(&plain);
    }
}

static void a_gradient_scaled_by_the_step_should_do_what_one_scaled_before_does(void **state) {
    (void)state;
    EACH_VARIANT(o, k) {
        World before, within;
        world_open(&before, *o, variant(*o, k), 0.01, 0.1, 2);
        world_open(&within, *o, variant(*o, k), 0.01, 0.1, 2);
        for (int step = 1; step <= STEPS; step++) {
            bool clip = step % 3 != 0; /* a factor is for one step only */
            world_draw(&before, step, 1e-3f);
            world_draw(&within, step, 1e-3f);
            for (int i = 0; i < before.count && clip; i++)
                for (size_t j = 0; j < param_size(&before.params[i]); j++) before.params[i].g[j] *= 0.37f;
            if (clip) optim_scale_gradient(&within.optim, 0.37);
            world_step(&before, step, STEPS);
            world_step(&within, step, STEPS);
        }
        assert_same_weights(&before, &within);
        world_close(&before);
        world_close(&within);
    }
}

/* The framework's phases by hand, on slices of 1, 2, 3, ... elements. */
static void step_in_uneven_slices(World *world, int step) {
    OptimGroup *group = &world->optim.groups[0];
    Error err;
    group->age = group->step = step;
    group->total_steps = STEPS;
    for (int phase = 0; phase < 2; phase++) {
        for (int t = 0; t < group->tensor_count; t++) {
            OptimTensor *tensor = &group->tensors[t];
            double counted[COUNTS] = {0};
            size_t whole = param_size(tensor->param), length = 1;
            tensor->lr = group->lr = 0.01;
            tensor->weight_decay = 0.1;
            for (size_t begin = 0; begin < whole; begin += length++) {
                OptimPiece piece = {.begin = begin, .end = begin + length, .counted = counted};
                if (piece.end > whole) piece.end = whole;
                for (int s = 0; s < OPTIM_MAX_SLOTS; s++)
                    if (tensor->slot[s]) piece.slot[s] = tensor->slot[s] + begin;
                if (phase == 1) group->optimizer->update(group, tensor, &piece);
                else if (group->optimizer->observe) group->optimizer->observe(group, tensor, &piece);
            }
        }
        if (phase == 0 && group->optimizer->agree) assert_true(group->optimizer->agree(group, &err));
    }
}

static void slices_should_not_change_a_bit(void **state) {
    (void)state;
    EACH_VARIANT(o, k) {
        if ((*o)->cut != CUT_SLICES) continue;
        World whole, sliced;
        world_open(&whole, *o, variant(*o, k), 0.01, 0.1, 1);
        world_open(&sliced, *o, variant(*o, k), 0.01, 0.1, 1);
        world_run(&whole, STEPS, 1e-3f);
        for (int step = 1; step <= STEPS; step++) {
            world_draw(&sliced, step, 1e-3f);
            step_in_uneven_slices(&sliced, step);
        }
        assert_same_weights(&whole, &sliced);
        world_close(&whole);
        world_close(&sliced);
    }
}

/* All that a checkpoint holds, from one world into another: the weights to evaluate, declared state, declared
 * scalars, age. */
static void restore(World *to, World *from) {
    OptimGroup *a = &to->optim.groups[0], *b = &from->optim.groups[0];
    optim_show(&from->optim, WEIGHTS_EVALUATED);
    for (int i = 0; i < from->count; i++)
        memcpy(to->params[i].w, from->params[i].w, param_size(&from->params[i]) * sizeof(float));
    optim_show(&from->optim, WEIGHTS_TRAINED);
    for (int t = 0; t < b->tensor_count; t++)
        for (int s = 0; s < optimizer_slot_count(from->optimizer); s++)
            memcpy(a->tensors[t].slot[s], b->tensors[t].slot[s],
                   optim_slot_size(b, b->tensors[t].param, s) * sizeof(float));
    for (int i = 0; from->optimizer->scalars && from->optimizer->scalars[i]; i++)
        a->scalars[i] = b->scalars[i];
    a->age = b->age;
    optim_show(&to->optim, WEIGHTS_TRAINED);
}

static void saved_state_should_continue_with_the_same_bits(void **state) {
    (void)state;
    EACH_VARIANT(o, k) for (int stop = k ? 6 : 1; stop < STEPS; stop += k ? STEPS : 2) {
        World straight, resumed;
        world_open(&straight, *o, variant(*o, k), 0.01, 0.1, 1);
        world_open(&resumed, *o, variant(*o, k), 0.01, 0.1, 1);
        world_run(&straight, stop, 1e-3f);
        restore(&resumed, &straight);
        for (int step = stop + 1; step <= STEPS; step++) {
            world_draw(&straight, step, 1e-3f);
            world_draw(&resumed, step, 1e-3f);
            world_step(&straight, step, STEPS);
            world_step(&resumed, step, STEPS);
        }
        assert_same_weights(&straight, &resumed);
        optim_show(&straight.optim, WEIGHTS_EVALUATED);
        optim_show(&resumed.optim, WEIGHTS_EVALUATED);
        assert_same_weights(&straight, &resumed);
        world_close(&straight);
        world_close(&resumed);
    }
}

static void weights_to_evaluate_should_be_others_only_where_declared(void **state) {
    (void)state;
    EACH(o) {
        World world, plain;
        world_open(&world, *o, "", 0.01, 0.1, 1);
        world_open(&plain, *o, "", 0.01, 0.1, 1);
        for (int i = 0; i < 2; i++) optim_show(&world.optim, (OptimWeights)i); /* before the first update */
        assert_same_weights(&world, &plain);
        world_run(&world, STEPS, 1);
        world_run(&plain, STEPS, 1);
        optim_show(&world.optim, WEIGHTS_EVALUATED);
        assert_int_equal(weights_differ(&world, &plain), (*o)->show != NULL);
        optim_show(&world.optim, WEIGHTS_TRAINED);
        assert_same_weights(&world, &plain);
        world_close(&world);
        world_close(&plain);
    }
}

/* ------------------------------------------------------------------------------------------------------ scale */

/* || a's way - factor * b's way || / || a's way ||: how differently two worlds have moved from where they began. */
static double ways_differ(const World *a, const World *b, double factor) {
    World start;
    double difference = 0, way = 0;
    world_open(&start, a->optimizer, "", 0, 0, 1);
    for (int i = 0; i < a->count; i++)
        for (size_t k = 0; k < param_size(&a->params[i]); k++) {
            double w = start.params[i].w[k], x = a->params[i].w[k] - w,
                   y = factor * (b->params[i].w[k] - w);
            difference += (x - y) * (x - y);
            way += x * x;
        }
    world_close(&start);
    return sqrt(difference / way);
}

/* Gradients near 1, and 1024 times as large. */
static double scale_changes(const Optimizer *o, const char *settings, double factor) {
    World plain, scaled;
    world_open(&plain, o, settings, 0.01, 0, 1);
    world_open(&scaled, o, settings, 0.01, 0, 1);
    world_run(&plain, STEPS, 1);
    world_run(&scaled, STEPS, 1024);
    double difference = ways_differ(&scaled, &plain, factor);
    world_close(&plain);
    world_close(&scaled);
    return difference;
}

static void scale_of_gradients_should_matter_as_claimed(void **state) {
    (void)state;
    const double same = 1e-4; /* rounding of weights near 1 that moved by some hundredths */
    EACH(o) {
        double hard = 0, soft = 0;
        if ((*o)->scale == SCALE_IGNORED) hard = scale_changes(*o, half_soft(*o), 1);
        if ((*o)->scale == SCALE_PROPORTIONAL) hard = scale_changes(*o, half_soft(*o), 1024);
        if ((*o)->scale == SCALE_IGNORED_WHILE_HARD) {
            hard = scale_changes(*o, "alpha_sign=1", 1);
            soft = scale_changes(
                *o, field_find((*o)->fields, "tau") ? "alpha_sign=0 tau=1" : "alpha_sign=0", 1);
            if (!(soft > 0.01)) fail_msg("%s: the soft phase does not see the scale: %g", (*o)->name, soft);
        }
        if (!(hard < same)) fail_msg("%s: differs by %g from what it claims", (*o)->name, hard);
    }
}

static void extreme_gradients_should_leave_finite_weights(void **state) {
    (void)state;
    const float scales[] = {0, 1e-40f, 1e-30f, 1e30f, 0};
    EACH_VARIANT(o, k) for (int start = 0; start < 5; start += k ? 3 : 1) {
        World world;
        world_open(&world, *o, variant(*o, k), 0.01, 0.1, 1);
        for (int step = 1; step <= STEPS; step++) {
            world_draw(&world, step, scales[(start + step) % 5]);
            world_step(&world, step, STEPS);
        }
        for (int show = 0; show < 2; show++, optim_show(&world.optim, WEIGHTS_EVALUATED))
            for (int i = 0; i < world.count; i++)
                for (size_t j = 0; j < param_size(&world.params[i]); j++)
                    if (!isfinite(world.params[i].w[j]))
                        fail_msg("%s %s: %s", (*o)->name, variant(*o, k), world.params[i].name);
        world_close(&world);
    }
}

/* ------------------------------------------------------------------------------------------------ convergence */

/* f = sum (y - x^2)^2 s + (1 - x)^2 over pairs (x, y): Rosenbrock's valley with s = 100, minimum (1, 1). s = 0 is
 * a quadratic, (1 - x)^2 + (1 - y)^2. Returns f; fills the gradients. */
static double landscape(Param *p, double s) {
    double f = 0;
    for (size_t i = 0; i + 1 < param_size(p); i += 2) {
        double x = p->w[i], y = p->w[i + 1], r = s > 0 ? y - x * x : 0, q = s > 0 ? 0 : 1 - y;
        f += s * r * r + (1 - x) * (1 - x) + q * q;
        p->g[i] = (float)(-4 * s * r * x - 2 * (1 - x));
        p->g[i + 1] = (float)(2 * s * r - 2 * q);
    }
    return f;
}

/* The least f at the end, over learning rates a factor of about three apart that fall to zero over the run, of
 * four pairs in a matrix and, where it can, one in a vector. The first is the classic start, (-1.2, 1). */
static double best_descent(const Optimizer *o, double s, int steps) {
    static const float start[8] = {-1.2f, 1, 0, 0, 2, 1.5f, 0.5f, -0.5f};
    double best = INFINITY;
    for (double lr = 3; lr > 5e-6 && !(best < 1e-3); lr /= 3.1622776601683795) {
        float w[2][8], g[2][8];
        Param params[2] = {{.name = "pairs", .role = ROLE_MATRIX, .rows = 4, .cols = 2, .split = 1},
                           {.name = "pair", .role = ROLE_VECTOR, .rows = 1, .cols = 2, .split = 1}};
        int count = o->roles & ROLE_BIT(ROLE_VECTOR) ? 2 : 1;
        void *hyper = golden_hyper(o, "");
        OptimPlan plan = golden_plan(o, hyper, lr, 0);
        Optim optim;
        Error err;
        for (int i = 0; i < 2; i++) {
            memcpy(w[i], start, sizeof start);
            params[i].w = w[i], params[i].g = g[i];
        }
        assert_true(optim_create(&optim, &plan, params, count, 1, &err));
        double f = 0;
        for (int step = 1; step <= steps + 1; step++) {
            if (step > steps) optim_show(&optim, WEIGHTS_EVALUATED);
            f = landscape(&params[0], s) + (count > 1 ? landscape(&params[1], s) : 0);
            if (!(f < 1e12) || step > steps) break; /* this rate is too high, or the run is over */
            if (!optim_step(&optim, step, steps, 1 - (step - 1.0) / steps, false, &err))
                fail_msg("%s", err.text);
        }
        if (f < best) best = f;
        optim_free(&optim);
        free(hyper);
    }
    return best;
}

static void every_optimizer_should_descend_a_quadratic(void **state) {
    (void)state;
    EACH(o) {
        double f = best_descent(*o, 0, 2000);
        if (!(f < 1e-3)) fail_msg("%s: %g left", (*o)->name, f);
    }
}

static void every_optimizer_should_descend_rosenbrocks_valley(void **state) {
    (void)state;
    EACH(o) {
        double f = best_descent(*o, 100, 10000);
        if (!excused(*o, "rosenbrock") && !(f < 0.05)) fail_msg("%s: %g left", (*o)->name, f);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(excuses_should_be_for_optimizers_there_are),
        cmocka_unit_test(declarations_should_be_complete_and_defaults_in_range),
        cmocka_unit_test(readings_should_pass_their_own_check),
        cmocka_unit_test(defaults_and_readings_should_be_the_published_ones),
        cmocka_unit_test(state_should_begin_as_zeros),
        cmocka_unit_test(no_gradient_and_no_decay_should_change_nothing),
        cmocka_unit_test(decay_alone_should_shrink_weights),
        cmocka_unit_test(threads_should_not_change_a_bit),
        cmocka_unit_test(measuring_should_not_change_a_bit),
        cmocka_unit_test(a_gradient_scaled_by_the_step_should_do_what_one_scaled_before_does),
        cmocka_unit_test(slices_should_not_change_a_bit),
        cmocka_unit_test(saved_state_should_continue_with_the_same_bits),
        cmocka_unit_test(weights_to_evaluate_should_be_others_only_where_declared),
        cmocka_unit_test(scale_of_gradients_should_matter_as_claimed),
        cmocka_unit_test(extreme_gradients_should_leave_finite_weights),
        cmocka_unit_test(every_optimizer_should_descend_a_quadratic),
        cmocka_unit_test(every_optimizer_should_descend_rosenbrocks_valley),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
