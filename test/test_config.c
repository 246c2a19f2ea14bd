/* Configs: strict reading, all problems at once, overrides, round trips, and the texts for people. */
#include "train/config.h"

#include "core/json.h"
#include "train/schema.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/test_config.XXXXXX", path[64];
static Config config;
static Error err;

static void write_bytes(const char *text, size_t length) {
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(text, 1, length, file), length);
    assert_int_equal(fclose(file), 0);
}

/* Loads `text` with up to three overrides. */
static bool loads(const char *text, char *a, char *b, char *c) {
    char *overrides[] = {a, b, c};
    int count = !a ? 0 : !b ? 1 : !c ? 2 : 3;
    config_free(&config);
    write_bytes(text, strlen(text));
    return config_load(&config, path, overrides, count, &err);
}

/* The text must be refused with code 2, one line, and `expected` after the path. */
static void refused_with(const char *text, const char *expected) {
    if (loads(text, NULL, NULL, NULL)) fail_msg("accepted: %s", text);
    assert_int_equal(err.code, ERR_CONFIG);
    assert_null(strchr(err.text, '\n'));
    assert_memory_equal(err.text, path, strlen(path));
    assert_string_equal(err.text + strlen(path) + 2, expected);
}

#define TRAIN         "\"train\":{\"steps\":100}"
#define WITH(section) "{" TRAIN "," section "}"

/* ---------------------------------------------------------------------------------------------- what is right */

static void what_is_not_written_should_have_its_default(void **state) {
    (void)state;
    assert_true(loads("{" TRAIN "}", NULL, NULL, NULL));
    assert_true(config.train.steps == 100 && config.train.batch_size == 8 && config.train.grad_clip == 1);
    assert_true(config.model.n_layer == 4 && config.model.bias);
    assert_true(config.schedule.name == SCHEDULE_COSINE && config.schedule.final_frac == 0.1);
    assert_string_equal(config.data.dir, "data/austen");
    assert_string_equal(config.run.dir, "runs/small");
    assert_ptr_equal(config.optimizer.role[ROLE_MATRIX].optimizer, optimizer_find("adamw"));
}

static void what_is_written_should_be_read(void **state) {
    (void)state;
    assert_true(loads(
        "{\"model\": {\"n_layer\": 2, \"bias\": false}, \"schedule\": {\"name\": \"wsd\", \"final_frac\": "
        "0},\n"
        "\"train\": {\"epochs\": 1.5, \"seed\": 1e3}, \"sample\": {\"prompt\": \"M\\u00fcller\\n\"},\n"
        "\"run\": {\"dir\": \"/tmp/r\"}, \"optimizer\": {\"name\": \"adamw\", \"beta2\": 0.99}}",
        NULL, NULL, NULL));
    assert_true(config.model.n_layer == 2 && !config.model.bias && config.schedule.name == SCHEDULE_WSD);
    assert_true(config.schedule.final_frac == 0 && config.train.epochs == 1.5 && config.train.seed == 1000);
    assert_string_equal(config.sample.prompt, "M\xc3\xbcller\n");
    assert_string_equal(config.run.dir, "/tmp/r");
    const Field *beta2 = field_find(optimizer_find("adamw")->fields, "beta2");
    char text[64];
    assert_string_equal(field_text(beta2, config.optimizer.role[ROLE_HEAD].hyper, text, sizeof text),
                        "0.99");
}

static void every_default_should_pass_its_own_range(void **state) {
    (void)state;
    static char room[1 << 16];
    for (const Section *s = CONFIG_SECTIONS; s->name; s++)
        for (const Field *f = s->fields; f->name; f++)
            if (!field_set(f, room, f->default_value, &err))
                fail_msg("%s.%s: %s", s->name, f->name, err.text);
    for (const Optimizer *const *o = OPTIMIZERS; *o; o++) {
        assert_true((*o)->hyper_size <= sizeof room);
        for (const Field *f = (*o)->fields; f && f->name; f++)
            if (!field_set(f, room, f->default_value, &err))
                fail_msg("%s.%s: %s", (*o)->name, f->name, err.text);
    }
}

/* ---------------------------------------------------------------------------------------- one fault at a time */

static void unknown_keys_should_be_refused_with_the_nearest(void **state) {
    (void)state;
    refused_with(WITH("\"modle\":{}"), "modle: unknown key; did you mean \"model\"?");
    refused_with(WITH("\"model\":{\"n_layers\":2}"),
                 "model.n_layers: unknown key; did you mean \"n_layer\"?");
    refused_with(WITH("\"optimizer\":{\"wieght_decay\":0}"),
                 "optimizer.wieght_decay: unknown key; did you mean \"weight_decay\"?");
    refused_with(WITH("\"log\":{\"banana\":2}"), "log.banana: unknown key; known here: every, tensorboard");
    refused_with(WITH("\"log\":{\"\":2}"), "log.: unknown key; known here: every, tensorboard");
    refused_with(WITH("\"optimizer\":{\"roles\":{\"vectors\":{}}}"),
                 "optimizer.roles.vectors: unknown key; did you mean \"vector\"?");
    refused_with(WITH("\"optimizer\":{\"roles\":{\"vector\":{\"beta1\":0.5}}}"),
                 "optimizer.roles.vector.beta1: unknown key; known here: name, lr, weight_decay");
}

static void keys_that_differ_in_case_should_be_unknown(void **state) {
    (void)state;
    refused_with(WITH("\"Model\":{}"), "Model: unknown key; did you mean \"model\"?");
    refused_with(WITH("\"model\":{\"N_LAYER\":2}"),
                 "model.N_LAYER: unknown key; did you mean \"n_layer\"?");
    refused_with(WITH("\"optimizer\":{\"LR\":0.1}"), "optimizer.LR: unknown key; did you mean \"lr\"?");
}

static void keys_written_twice_should_be_refused(void **state) {
    (void)state;
    refused_with(WITH(TRAIN), "train: written twice");
    refused_with(WITH("\"model\":{\"n_layer\":2,\"n_layer\":2}"), "model.n_layer: written twice");
    refused_with(WITH("\"optimizer\":{\"lr\":1,\"lr\":2}"), "optimizer.lr: written twice");
    refused_with(WITH("\"optimizer\":{\"name\":\"sgd\",\"name\":\"adamw\"}"),
                 "optimizer.name: written twice");
    refused_with(WITH("\"optimizer\":{\"roles\":{\"head\":{},\"head\":{}}}"),
                 "optimizer.roles.head: written twice");
}

static void wrong_types_should_be_refused(void **state) {
    (void)state;
    refused_with(WITH("\"model\":{\"n_layer\":\"2\"}"),
                 "model.n_layer: the text \"2\" must be an integer in [1,1024]");
    refused_with(WITH("\"model\":{\"n_layer\":null}"),
                 "model.n_layer: null must be an integer in [1,1024]");
    refused_with(WITH("\"model\":{\"n_layer\":[2]}"),
                 "model.n_layer: a list must be an integer in [1,1024]");
    refused_with(WITH("\"model\":{\"n_layer\":true}"),
                 "model.n_layer: true must be an integer in [1,1024]");
    refused_with(WITH("\"model\":{\"bias\":1}"), "model.bias: 1 must be true or false");
    refused_with(WITH("\"model\":{\"bias\":\"true\"}"),
                 "model.bias: the text \"true\" must be true or false");
    refused_with(WITH("\"schedule\":{\"name\":1}"),
                 "schedule.name: 1 must be one of constant|cosine|linear|wsd");
    refused_with(WITH("\"data\":{\"dir\":{}}"), "data.dir: an object must be text of 1 to 511 bytes");
    refused_with(WITH("\"model\":3"), "model: 3 must be an object, {...}");
    refused_with(WITH("\"optimizer\":\"adamw\""), "optimizer: the text \"adamw\" must be an object, {...}");
    refused_with(WITH("\"optimizer\":{\"roles\":[]}"), "optimizer.roles: a list must be an object, {...}");
    refused_with(WITH("\"optimizer\":{\"name\":3}"),
                 "optimizer.name: 3 is no optimizer; see --list-optimizers");
    refused_with("[]", "the document: a list must be an object, {...}");
}

static void values_out_of_range_should_be_refused(void **state) {
    (void)state;
    refused_with(WITH("\"model\":{\"n_layer\":0}"), "model.n_layer: 0 must be an integer in [1,1024]");
    refused_with(WITH("\"model\":{\"n_layer\":-2}"), "model.n_layer: -2 must be an integer in [1,1024]");
    refused_with(WITH("\"model\":{\"n_layer\":2.5}"), "model.n_layer: 2.5 must be an integer in [1,1024]");
    refused_with(WITH("\"schedule\":{\"final_frac\":1.5}"),
                 "schedule.final_frac: 1.5 must be a number in [0,1]");
    refused_with(WITH("\"optimizer\":{\"beta1\":1}"), "optimizer.beta1: 1 must be a number in [0,1)");
    refused_with(
        WITH("\"schedule\":{\"name\":\"cosin\"}"),
        "schedule.name: \"cosin\" must be one of constant|cosine|linear|wsd; did you mean \"cosine\"?");
    refused_with(WITH("\"data\":{\"dir\":\"\"}"), "data.dir: \"\" must be text of 1 to 511 bytes");
}

static void numbers_too_large_should_not_saturate(void **state) {
    (void)state;
    refused_with(WITH("\"optimizer\":{\"lr\":1e999}"),
                 "optimizer.lr: a number beyond 1.8e308 must be a number in [0,inf)");
    refused_with(WITH("\"optimizer\":{\"lr\":-1e999}"),
                 "optimizer.lr: a number beyond 1.8e308 must be a number in [0,inf)");
    refused_with("{\"train\":{\"steps\":1e999}}",
                 "train.steps: a number beyond 1.8e308 must be an integer in [0,1e15]");
    refused_with("{\"train\":{\"steps\":4294967297e9}}",
                 "train.steps: 4.2949672970000000e+18 must be an integer in [0,1e15]");
    refused_with("{\"train\":{\"steps\":9223372036854775808}}",
                 "train.steps: 9.2233720368547758e+18 must be an integer in [0,1e15]");
    assert_true(loads("{\"train\":{\"tokens\":4294967297}}", NULL, NULL, NULL));
    assert_true(config.train.tokens == 4294967297);
}

static void broken_files_should_be_refused(void **state) {
    (void)state;
    refused_with("", "line 1, column 1: empty, not JSON");
    refused_with("{" TRAIN "} {}", "line 1, column 25: text behind the end of the document");
    refused_with("{\"train\":{\"steps\":0100}}", "line 1, column 19: not a number in JSON");
    refused_with("\xef\xbb\xbf{}", "line 1, column 1: byte order mark; save the file as UTF-8 without one");
    refused_with("{\"data\":{\"dir\":\"a\\u0000b\"}}", "line 1, column 18: \\u0000 in a string");
    refused_with("{\"data\":{\"dir\":\"\xff\"}}", "line 1, column 17: not UTF-8");
    refused_with("{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}",
                 "line 1, column 37: nested too deeply");
    for (const char *text = "{\"train\":{\"steps\":100}}"; *text; text++) /* every suffix is broken */
        assert_false(loads(text + 1, NULL, NULL, NULL));
}

static void files_that_are_no_config_should_be_refused(void **state) {
    (void)state;
    char *huge = malloc(3 << 20);
    assert_non_null(huge);
    memset(huge, ' ', 3 << 20);
    huge[0] = '{', huge[(3 << 20) - 1] = '}';
    write_bytes(huge, 3 << 20);
    free(huge);
    assert_false(config_load(&config, path, NULL, 0, &err));
    assert_non_null(strstr(err.text, "larger than 1048576 bytes"));
    write_bytes("{\"model\":{}}\0 ", 14);
    assert_false(config_load(&config, path, NULL, 0, &err));
    assert_non_null(strstr(err.text, "NUL byte"));
    const char *others[] = {"/tmp/no/such.json", folder, "/dev/zero", ""};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        assert_false(config_load(&config, others[i], NULL, 0, &err));
        assert_int_equal(err.code, ERR_CONFIG);
    }
}

static void settings_that_contradict_should_be_refused(void **state) {
    (void)state;
    refused_with("{}", "train: set one of steps, tokens, epochs: how long to train");
    refused_with("{\"train\":{\"steps\":5,\"epochs\":0.5}}",
                 "train: only one of steps, tokens, epochs may be above 0; found 5, 0, 0.5");
    refused_with(
        "{\"train\":{\"tokens\":1023}}",
        "train.tokens: 1023 is less than one step, 1024 (batch_size * grad_accum * model.block_size)");
    refused_with(WITH("\"model\":{\"n_head\":3}"), "model.n_head: 3 does not divide model.n_embd, 128");
    refused_with(
        WITH("\"schedule\":{\"warmup_steps\":100}"),
        "schedule.warmup_steps: 100 must be less than the 100 steps of the run; shorten the warm-up");
    assert_true(loads("{\"train\":{\"tokens\":1024},\"eval\":{\"tokens\":1024}}", NULL, NULL, NULL));
}

/* ------------------------------------------------------------------------------------------------ many faults */

static void lists_of_steps_should_be_steps_with_commas_between(void **state) {
    (void)state;
    static const char *const wrong[] = {
        "7,", ",7", "7,,8", "7 8", "-7", "0", "07", "7.5", "9999999999999999"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        char text[200], says[200];
        snprintf(text, sizeof text, WITH("\"checkpoint\":{\"keep_steps\":\"%s\"}"), wrong[i]);
        snprintf(says, sizeof says,
                 "checkpoint.keep_steps: \"%s\" must be steps with commas between, such as 300,700", wrong[i]);
        refused_with(text, says);
    }
    assert_true(config_lists_step("300,70", 70));
    assert_true(config_lists_step("300,70", 300));
    assert_false(config_lists_step("300,70", 30));
    assert_false(config_lists_step("300,70", 7));
    assert_false(config_lists_step("", 0));
}

static void all_problems_should_be_reported_at_once(void **state) {
    (void)state;
    assert_false(
        loads("{\"modle\":{},\"model\":{\"n_layer\":0,\"n_layer\":1,\"bias\":3},\"train\":{\"steps\":-1},"
              "\"optimizer\":{\"lr\":\"big\",\"beta3\":1}}",
              "sample.top_k=-1", "nonsense", NULL));
    char expected[1024];
    snprintf(expected, sizeof expected,
             "%s: 9 problems\n"
             "  \"nonsense\": not an override; write section.key=value\n"
             "  modle: unknown key; did you mean \"model\"?\n"
             "  model.n_layer: 0 must be an integer in [1,1024]\n"
             "  model.n_layer: written twice\n"
             "  model.bias: 3 must be true or false\n"
             "  train.steps: -1 must be an integer in [0,1e15]\n"
             "  sample.top_k: -1 must be an integer in [0,65536]\n"
             "  optimizer.lr: the text \"big\" must be a number in [0,inf)\n"
             "  optimizer.beta3: unknown key; did you mean \"beta1\"?",
             path);
    assert_string_equal(err.text, expected);
}

static void rates_of_an_unknown_optimizer_should_be_checked_all_the_same(void **state) {
    (void)state;
    assert_false(loads(WITH("\"optimizer\":{\"name\":\"adanw\",\"lr\":-1,\"beta1\":2}"), NULL, NULL, NULL));
    char expected[512];
    snprintf(expected, sizeof expected,
             "%s: 2 problems\n"
             "  optimizer.name: the text \"adanw\" is no optimizer; did you mean \"adamw\"?\n"
             "  optimizer.lr: -1 must be a number in [0,inf)",
             path);
    assert_string_equal(err.text, expected);
}

static void a_file_full_of_problems_should_be_cut_short(void **state) {
    (void)state;
    size_t size = 1 << 20, n = 1;
    char *text = malloc(size);
    assert_non_null(text);
    text[0] = '{';
    while (n < size - 100)
        n += (size_t)snprintf(text + n, size - n, "\"a_long_key_that_no_one_knows_%zu\":1,", n);
    snprintf(text + n, size - n, "\"z\":1}");
    assert_false(loads(text, NULL, NULL, NULL));
    assert_non_null(strstr(err.text, "problems or more"));
    assert_true(strlen(err.text) < sizeof err.text - 1);
    assert_string_equal(err.text + strlen(err.text) - 6, "\n  ...");
    free(text);
}

static void control_characters_should_not_reach_the_terminal(void **state) {
    (void)state;
    refused_with(
        WITH("\"\\u001b[2Jx\":{}"),
        "?[2Jx: unknown key; known here: optimizer, model, data, schedule, train, eval, sample, log, diagnostics, "
        "checkpoint, run");
}

/* -------------------------------------------------------------------------------------------------- overrides */

static void overrides_should_win_over_the_file(void **state) {
    (void)state;
    assert_true(loads("{" TRAIN ",\"optimizer\":{\"name\":\"muon\",\"lr\":0.5,\"aux\":{\"lr\":0.3}}}",
                      "optimizer.lr=0.02", "optimizer.aux.lr=0.001",
                      "optimizer.roles.vector.weight_decay=0.1"));
    assert_true(config.optimizer.role[ROLE_MATRIX].lr == 0.02);
    assert_true(config.optimizer.role[ROLE_VECTOR].lr == 0.001);
    assert_true(config.optimizer.role[ROLE_VECTOR].weight_decay == 0.1);
    assert_true(loads("{}", "train.steps=1e3", "train.steps=7", "model.bias=false"));
    assert_true(config.train.steps == 7 && !config.model.bias);
    assert_true(loads("{" TRAIN "}", "sample.prompt=a=b.c \"d\"", "run.dir=12", "schedule.name=linear"));
    assert_string_equal(config.sample.prompt, "a=b.c \"d\"");
    assert_string_equal(config.run.dir, "12");
    assert_int_equal(config.schedule.name, SCHEDULE_LINEAR);
}

static void override_refused(char *word, const char *expected) {
    assert_false(loads("{" TRAIN ",\"log\":{\"every\":5}}", word, NULL, NULL));
    assert_int_equal(err.code, ERR_CONFIG);
    assert_string_equal(err.text + strlen(path) + 2, expected);
}

static void wrong_overrides_should_be_refused_like_the_file(void **state) {
    (void)state;
    override_refused("optimizer.lrr=1", "optimizer.lrr: unknown key; did you mean \"lr\"?");
    override_refused("optimzer.lr=1", "optimzer: unknown key; did you mean \"optimizer\"?");
    override_refused("Train.steps=1", "Train: unknown key; did you mean \"train\"?");
    override_refused("log.every=0", "log.every: 0 must be an integer in [1,1e15]");
    override_refused("log.every=0x10", "log.every: 0x10 must be an integer in [1,1e15]");
    override_refused("log.every=", "log.every: \"\" must be an integer in [1,1e15]");
    override_refused("log.every= 5", "log.every:  5 must be an integer in [1,1e15]");
    override_refused("optimizer.lr=inf", "optimizer.lr: inf must be a number in [0,inf)");
    override_refused("optimizer.lr=nan", "optimizer.lr: nan must be a number in [0,inf)");
    override_refused("model.bias=True", "model.bias: True must be true or false");
    override_refused("log=3", "log: \"3\" must be an object, {...}");
    override_refused("log.every.often=3", "log.every.often: there is no such key");
    override_refused("train.steps", "\"train.steps\": not an override; write section.key=value");
    override_refused("--help", "\"--help\": not an override; write section.key=value");
    override_refused("=3", "\"=3\": not an override; write section.key=value");
    override_refused("data.dir=\xff", "data.dir: not UTF-8");
    override_refused("optimizer.name=sofmuon",
                     "optimizer.name: \"sofmuon\" is no optimizer; did you mean \"softmuon\"?");
    char deep[600] = "a";
    while (strlen(deep) < 240) strcat(deep, ".a");
    strcat(deep, "=1");
    assert_false(loads("{" TRAIN "}", deep, NULL, NULL));
}

/* --------------------------------------------------------------------------------------------- who updates what */

static const char *name_of(Role role) {
    return config.optimizer.role[role].optimizer->name;
}

static void one_optimizer_should_form_one_group_without_decay_of_vectors(void **state) {
    (void)state;
    assert_true(loads(WITH("\"optimizer\":{\"name\":\"signsgd\",\"lr\":0.5,\"weight_decay\":0.25}"), NULL,
                      NULL, NULL));
    for (int role = 0; role < ROLE_COUNT; role++) {
        assert_non_null(config.optimizer.role[role].hyper);
        assert_ptr_equal(config.optimizer.role[role].hyper, config.optimizer.role[0].hyper);
        assert_string_equal(name_of(role), "signsgd");
        assert_true(config.optimizer.role[role].lr == 0.5);
        assert_true(config.optimizer.role[role].weight_decay == (role == ROLE_VECTOR ? 0 : 0.25));
    }
}

static void a_matrix_optimizer_should_leave_the_rest_to_aux(void **state) {
    (void)state;
    const char *names[] = {"muon", "softmuon"};
    for (int i = 0; i < 2; i++) {
        char word[64];
        snprintf(word, sizeof word, "optimizer.name=%s", names[i]);
        assert_true(loads("{" TRAIN "}", word, NULL, NULL));
        assert_string_equal(name_of(ROLE_MATRIX), names[i]);
        for (int role = ROLE_EMBEDDING; role < ROLE_COUNT; role++)
            assert_string_equal(name_of(role), "adamw");
        assert_true(config.optimizer.role[ROLE_HEAD].lr == optimizer_find("adamw")->lr);
        assert_ptr_equal(config.optimizer.role[ROLE_HEAD].hyper, config.optimizer.role[ROLE_VECTOR].hyper);
        assert_ptr_not_equal(config.optimizer.role[ROLE_HEAD].hyper,
                             config.optimizer.role[ROLE_MATRIX].hyper);
    }
    assert_true(loads(WITH("\"optimizer\":{\"name\":\"muon\",\"aux\":{\"name\":\"signum\",\"lr\":0.1}}"),
                      NULL, NULL, NULL));
    assert_string_equal(name_of(ROLE_EMBEDDING), "signum");
    assert_true(config.optimizer.role[ROLE_EMBEDDING].lr == 0.1);
}

static void roles_should_change_rates_or_name_an_optimizer_of_their_own(void **state) {
    (void)state;
    assert_true(loads(WITH("\"optimizer\":{\"name\":\"muon\",\"lr\":0.02,\"weight_decay\":0.5,\"roles\":{"
                           "\"matrix\":{\"lr\":0.03},\"vector\":{\"weight_decay\":0.125},"
                           "\"head\":{\"name\":\"sgd\",\"momentum\":0.5,\"weight_decay\":0.75}}}"),
                      NULL, NULL, NULL));
    assert_true(config.optimizer.role[ROLE_MATRIX].lr == 0.03);
    assert_true(config.optimizer.role[ROLE_MATRIX].weight_decay == 0.5);
    assert_true(config.optimizer.role[ROLE_VECTOR].weight_decay == 0.125);
    assert_ptr_equal(config.optimizer.role[ROLE_VECTOR].hyper, config.optimizer.role[ROLE_EMBEDDING].hyper);
    assert_string_equal(name_of(ROLE_HEAD), "sgd");
    assert_true(config.optimizer.role[ROLE_HEAD].weight_decay == 0.75);
    assert_true(loads(WITH("\"optimizer\":{\"roles\":{\"vector\":{\"name\":\"adamw\"},\"embedding\":{"
                           "\"name\":\"muon\"}}}"),
                      NULL, NULL, NULL));
    assert_true(config.optimizer.role[ROLE_VECTOR].weight_decay == 0);
    assert_ptr_not_equal(config.optimizer.role[ROLE_VECTOR].hyper,
                         config.optimizer.role[ROLE_MATRIX].hyper);
    assert_string_equal(name_of(ROLE_EMBEDDING), "muon");
}

static void every_elementwise_optimizer_should_cover_vectors(void **state) {
    (void)state;
    for (const Optimizer *const *o = OPTIMIZERS; *o; o++)
        if ((*o)->cut == CUT_SLICES) assert_true((*o)->roles & ROLE_BIT(ROLE_VECTOR));
}

static void roles_that_nobody_can_update_should_be_refused(void **state) {
    (void)state;
    refused_with(WITH("\"optimizer\":{\"roles\":{\"vector\":{\"name\":\"muon\"}}}"),
                 "optimizer.roles.vector.name: muon cannot update the role vector; name another");
    refused_with(WITH("\"optimizer\":{\"name\":\"muon\",\"aux\":{\"name\":\"softmuon\"}}"),
                 "optimizer.aux.name: softmuon cannot update the role vector; name another");
}

static void optimizers_with_nothing_to_do_should_be_refused(void **state) {
    (void)state;
    refused_with(WITH("\"optimizer\":{\"aux\":{\"name\":\"sgd\"}}"),
                 "optimizer.aux: sgd has nothing to update; remove it");
    refused_with(WITH("\"optimizer\":{\"name\":\"muon\",\"roles\":{\"matrix\":{\"name\":\"sgd\"}}}"),
                 "optimizer.name: muon has nothing to update; remove it");
}

/* ------------------------------------------------------------------------------------------------- round trips */

static void the_effective_config_should_read_back_to_itself(void **state) {
    (void)state;
    const char *texts[] = {
        "{" TRAIN "}",
        WITH("\"optimizer\":{\"name\":\"signsgd\",\"lr\":0.1}"),
        "{\"train\":{\"epochs\":0.30000000000000004,\"seed\":999999999999999,\"grad_clip\":1e-300},"
        "\"schedule\":{\"name\":\"wsd\",\"final_frac\":0.3333333333333333,\"warmup\":\"cosine\"},"
        "\"sample\":{\"prompt\":\"\\\"\\n\\t\\\\ \xe2\x82\xac / \\u007f\"},\"run\":{\"dir\":\"x y\"},"
        "\"optimizer\":{\"name\":\"softmuon\",\"lr\":0.1234567890123456,\"weight_decay\":5e-324,"
        "\"aux\":{\"name\":\"softsignum\",\"weight_decay\":0.2},\"roles\":{\"vector\":{\"weight_decay\":0."
        "3},"
        "\"embedding\":{\"lr\":1e-5},\"head\":{\"name\":\"sgd\",\"momentum\":0.123456789012345678}}}}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (!loads(texts[i], NULL, NULL, NULL)) fail_msg("%s", err.text);
        Config before = config;
        config = (Config){0};
        char *json = config_to_json(&before);
        assert_non_null(json);
        if (!loads(json, NULL, NULL, NULL)) fail_msg("%s\n%s", err.text, json);
        assert_memory_equal(&before, &config, offsetof(Config, chosen));
        for (int role = 0; role < ROLE_COUNT; role++) {
            const void *a = &before.optimizer.role[role].lr, *b = &config.optimizer.role[role].lr;
            assert_memory_equal(a, b, 2 * sizeof(double));
        }
        for (int c = 0; c < CHOICE_ROLE + ROLE_COUNT; c++) {
            const OptimizerChoice *a = &before.chosen[c], *b = &config.chosen[c];
            assert_ptr_equal(a->optimizer, b->optimizer);
            if (a->optimizer && a->optimizer->hyper_size)
                assert_memory_equal(a->hyper, b->hyper, a->optimizer->hyper_size);
        }
        char *again = config_to_json(&config);
        assert_string_equal(json, again);
        free(json);
        free(again);
        config_free(&before);
    }
}

static void overrides_should_work_on_a_config_that_a_run_wrote(void **state) {
    (void)state;
    assert_true(loads(WITH("\"optimizer\":{\"name\":\"muon\",\"lr\":0.5,\"weight_decay\":0.5,\"roles\":{"
                           "\"head\":{\"lr\":0.25}}}"),
                      NULL, NULL, NULL));
    char *json = config_to_json(&config);
    assert_non_null(json);
    assert_true(loads(json, "optimizer.lr=0.125", "optimizer.aux.lr=0.0625", "optimizer.weight_decay=0"));
    free(json);
    assert_true(config.optimizer.role[ROLE_MATRIX].lr == 0.125);
    assert_true(config.optimizer.role[ROLE_MATRIX].weight_decay == 0);
    assert_true(config.optimizer.role[ROLE_EMBEDDING].lr == 0.0625);
    assert_true(config.optimizer.role[ROLE_HEAD].lr == 0.25);
}

/* The reading takes the place of defaults, whatever the order of keys, and the file wins over it. */
static void every_reading_should_set_what_it_says(void **state) {
    (void)state;
    int readings = 0;
    for (const Optimizer *const *o = OPTIMIZERS; *o; o++)
        for (const Preset *preset = (*o)->presets; preset && preset->name; preset++, readings++) {
            char name[128], as[128];
            snprintf(name, sizeof name, "optimizer.name=%s", (*o)->name);
            snprintf(as, sizeof as, "optimizer.as=%s", preset->name);
            if (!loads("{" TRAIN "}", as, name, NULL)) fail_msg("%s", err.text);
            const OptimizerChoice *choice = &config.chosen[CHOICE_MAIN];
            assert_ptr_equal(choice->preset, preset);
            OptimizerChoice said = {.lr = (*o)->lr, .weight_decay = (*o)->weight_decay};
            said.hyper = calloc(1, (*o)->hyper_size + 1);
            field_defaults((*o)->fields, said.hyper);
            assert_true(field_set_words((const Field *[]){RATE_FIELDS, (*o)->fields},
                                        (void *[]){&said, said.hyper}, preset->settings, &err));
            assert_true(choice->lr == said.lr && choice->weight_decay == said.weight_decay);
            if ((*o)->hyper_size) assert_memory_equal(choice->hyper, said.hyper, (*o)->hyper_size);
            free(said.hyper);
            if (!loads("{" TRAIN "}", as, name, "optimizer.lr=0.123")) fail_msg("%s", err.text);
            assert_true(config.chosen[CHOICE_MAIN].lr == 0.123);
            char *json = config_to_json(&config);
            assert_non_null(strstr(json, "\"as\""));
            free(json);
        }
    assert_true(readings > 0);
}

static void readings_that_a_method_does_not_have_should_be_refused(void **state) {
    (void)state;
    refused_with(WITH("\"optimizer\":{\"name\":\"adamw\",\"as\":\"official\"}"),
                 "optimizer.as: adamw has one reading only; remove it");
    refused_with(
        WITH("\"optimizer\":{\"name\":\"softsignum\",\"as\":\"offical\"}"),
        "optimizer.as: the text \"offical\" is no reading of softsignum; write one of paper|official");
    refused_with(WITH("\"optimizer\":{\"name\":\"softsignum\",\"as\":3}"),
                 "optimizer.as: 3 is no reading of softsignum; write one of paper|official");
    refused_with(WITH("\"optimizer\":{\"roles\":{\"head\":{\"as\":\"paper\"}}}"),
                 "optimizer.roles.head.as: unknown key; known here: name, lr, weight_decay");
}

static int allocations_left;

static void *allocate_or_fail(size_t size) {
    return allocations_left-- > 0 ? malloc(size) : NULL;
}

static void running_out_of_memory_should_fail_cleanly(void **state) {
    (void)state;
    bool loaded = false, written = false;
    cJSON_InitHooks(&(cJSON_Hooks){allocate_or_fail, free});
    for (int n = 0; n < 1000 && !(loaded && written); n++) {
        allocations_left = n;
        loaded = loads(WITH("\"optimizer\":{\"name\":\"muon\",\"lr\":0.5}"), "optimizer.aux.lr=1",
                       "log.every=1", NULL);
        if (!loaded) continue;
        allocations_left = 0;
        for (int m = 0; m < 1000 && !written; m++) {
            allocations_left = m;
            char *json = config_to_json(&config);
            written = json != NULL;
            free(json);
        }
    }
    cJSON_InitHooks(NULL);
    assert_true(loaded && written);
}

/* --------------------------------------------------------------------------------------------- texts for people */

static char *printed(void (*print)(FILE *)) {
    char *text = NULL;
    size_t size;
    FILE *file = open_memstream(&text, &size);
    assert_non_null(file);
    print(file);
    fclose(file);
    return text;
}

static void help_and_reference_should_name_every_key_in_100_columns(void **state) {
    (void)state;
    char *help = printed(config_print_help), *markdown = printed(config_print_markdown), word[128];
    char *optimizers = printed(config_print_optimizers_markdown);
    for (const Section *s = CONFIG_SECTIONS; s->name; s++)
        for (const Field *f = s->fields; f->name; f++) {
            snprintf(word, sizeof word, "\n  %s.%s=%s", s->name, f->name, f->default_value);
            assert_non_null(strstr(help, word));
            snprintf(word, sizeof word, "\n| `%s` | ", f->name);
            assert_non_null(strstr(markdown, word));
        }
    for (const Optimizer *const *o = OPTIMIZERS; *o; o++) {
        snprintf(word, sizeof word, "\n## %s: `\"name\": \"%s\"`\n", (*o)->title, (*o)->name);
        assert_non_null(strstr(optimizers, word));
        assert_non_null(strstr(optimizers, (*o)->cost));
    }
    free(optimizers);
    for (const char *line = help; *line; line += strcspn(line, "\n") + 1)
        assert_true(strcspn(line, "\n") <= 100);
    free(help);
    free(markdown);
}

static void every_optimizer_should_be_listed_and_described(void **state) {
    (void)state;
    char *list = printed(config_list_optimizers);
    for (const Optimizer *const *o = OPTIMIZERS; *o; o++) {
        assert_non_null(strstr(list, (*o)->name));
        char *text = NULL;
        size_t size;
        FILE *file = open_memstream(&text, &size);
        assert_true(config_describe(file, (*o)->name, &err));
        fclose(file);
        for (const Field *f = (*o)->fields; f && f->name; f++) assert_non_null(strstr(text, f->name));
        for (const Preset *p = (*o)->presets; p && p->name; p++) assert_non_null(strstr(text, p->name));
        free(text);
    }
    free(list);
    assert_false(config_describe(stdout, "sofmuon", &err));
    assert_string_equal(err.text, "\"sofmuon\" is no optimizer; did you mean \"softmuon\"?");
}

static int create(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/small.json", folder);
    return 0;
}

static int clean_up(void **state) {
    (void)state;
    config_free(&config);
    return unlink(path) || rmdir(folder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_written_should_have_its_default),
        cmocka_unit_test(what_is_written_should_be_read),
        cmocka_unit_test(every_default_should_pass_its_own_range),
        cmocka_unit_test(unknown_keys_should_be_refused_with_the_nearest),
        cmocka_unit_test(keys_that_differ_in_case_should_be_unknown),
        cmocka_unit_test(keys_written_twice_should_be_refused),
        cmocka_unit_test(wrong_types_should_be_refused),
        cmocka_unit_test(values_out_of_range_should_be_refused),
        cmocka_unit_test(numbers_too_large_should_not_saturate),
        cmocka_unit_test(broken_files_should_be_refused),
        cmocka_unit_test(files_that_are_no_config_should_be_refused),
        cmocka_unit_test(settings_that_contradict_should_be_refused),
        cmocka_unit_test(lists_of_steps_should_be_steps_with_commas_between),
        cmocka_unit_test(all_problems_should_be_reported_at_once),
        cmocka_unit_test(rates_of_an_unknown_optimizer_should_be_checked_all_the_same),
        cmocka_unit_test(a_file_full_of_problems_should_be_cut_short),
        cmocka_unit_test(control_characters_should_not_reach_the_terminal),
        cmocka_unit_test(overrides_should_win_over_the_file),
        cmocka_unit_test(wrong_overrides_should_be_refused_like_the_file),
        cmocka_unit_test(one_optimizer_should_form_one_group_without_decay_of_vectors),
        cmocka_unit_test(a_matrix_optimizer_should_leave_the_rest_to_aux),
        cmocka_unit_test(roles_should_change_rates_or_name_an_optimizer_of_their_own),
        cmocka_unit_test(every_elementwise_optimizer_should_cover_vectors),
        cmocka_unit_test(roles_that_nobody_can_update_should_be_refused),
        cmocka_unit_test(optimizers_with_nothing_to_do_should_be_refused),
        cmocka_unit_test(the_effective_config_should_read_back_to_itself),
        cmocka_unit_test(overrides_should_work_on_a_config_that_a_run_wrote),
        cmocka_unit_test(every_reading_should_set_what_it_says),
        cmocka_unit_test(readings_that_a_method_does_not_have_should_be_refused),
        cmocka_unit_test(running_out_of_memory_should_fail_cleanly),
        cmocka_unit_test(help_and_reference_should_name_every_key_in_100_columns),
        cmocka_unit_test(every_optimizer_should_be_listed_and_described),
    };
    return cmocka_run_group_tests(tests, create, clean_up);
}
