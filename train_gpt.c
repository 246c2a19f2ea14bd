/* train_gpt: config -> data -> model -> optimizer -> loop.
 *
 *     ./train_gpt configs/softmuon.json optimizer.lr=0.01 train.seed=2
 */
#include "core/memory.h"
#include "core/rng.h"
#include "core/threads.h"
#include "data/dataset.h"
#include "data/loader.h"
#include "data/tokenizer.h"
#include "model/gpt2.h"
#include "model/gpt2_file.h"
#include "optim/optim.h"
#include "train/checkpoint.h"
#include "train/config.h"
#include "train/diagnostics.h"
#include "train/gradient.h"
#include "train/plan.h"
#include "train/progress.h"
#include "train/runlog.h"
#include "train/sampler.h"
#include "train/schedule.h"

#include <locale.h>
#include <math.h>
#include <omp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DRY_RUN_S 1.0 /* so long --dry-run measures steps, and at least one */

/* Keep random numbers of different use apart. */
#define SAMPLE_STREAM 0x73616d706c65u
#define NOISE_STREAM  0x6e6f697365u

typedef struct Session {
    Config config;
    int64_t vocab_size, total_steps, tokens_a_step;
    int threads;
    Loader train, val;
    GPT2 model;
    Optim optim;
    Diagnostics diagnostics; /* only if some step is diagnosed */
    Tokenizer *tokenizer;    /* only for samples */
    const char *command_line;
    RunLog log;
    Progress progress;
    int32_t *inputs, *targets; /* (batch_size, T) */
    CheckpointState at;        /* where the run stands between two steps */
    CheckpointWriter checkpoints;
    double start_s, saved_s; /* by the clock: when the run began, had it never paused; the last save */
} Session;

/* The first signal ends the run after the micro-batch at work; the same one again ends it at once. */
static volatile sig_atomic_t stop_signal;

static void on_signal(int number) {
    stop_signal = number;
}

static void catch_signals(void) {
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = (int)(SA_RESETHAND | SA_RESTART)};
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    signal(SIGPIPE, SIG_IGN); /* `| head` has seen enough; the run goes on, main says what was lost */
    struct sigaction hangup;  /* the terminal went away; ignored under nohup, and then it stays so */
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
        sigaction(SIGHUP, &action, NULL);
}

/* ------------------------------------------------------------------------------------------------------------ */

/* Data, and what follows from it: the vocabulary, the number of steps. */
static bool open_data(Session *s, Error *err) {
    const Config *c = &s->config;
    const char *dir = c->data.dir;
    int64_t T = c->model.block_size, B = c->train.batch_size;
    DatasetInfo info = {0};
    s->vocab_size = c->model.vocab_size;
    if (s->vocab_size == 0 && !dataset_info(dir, &info, err)) return false;
    if (s->vocab_size == 0) s->vocab_size = info.vocab_size;
    if (!loader_open(&s->train, dir, "train", (int)T, s->vocab_size, true, (uint64_t)c->train.seed, err) ||
        !loader_open(&s->val, dir, "val", (int)T, s->vocab_size, false, 0, err))
        return false;
    if (s->train.window_count < B)
        return error_set(
            err, ERR_DATA,
            "%s: %lld training tokens make %lld sequences of %lld, a batch takes %lld; prepare a larger "
            "corpus, or lower train.batch_size or model.block_size",
            dir, (long long)s->train.token_count, (long long)s->train.window_count, (long long)T,
            (long long)B);
    s->tokens_a_step = B * T * c->train.grad_accum;
    double tokens = c->train.epochs > 0 ? c->train.epochs * (double)(s->train.window_count * T)
                                        : (double)c->train.tokens;
    s->total_steps = c->train.steps > 0 ? c->train.steps : (int64_t)ceil(tokens / (double)s->tokens_a_step);
    return schedule_check(&c->schedule, s->total_steps, err);
}

static bool has_diagnostics(const Session *s) {
    return s->config.diagnostics.every > 0 || s->config.diagnostics.noise_every > 0;
}

static GPT2Config model_config(const Session *s) {
    const ModelSection *m = &s->config.model;
    return (GPT2Config){.T = (int)m->block_size,
                        .V = (int)s->vocab_size,
                        .L = (int)m->n_layer,
                        .NH = (int)m->n_head,
                        .C = (int)m->n_embd,
                        .bias = m->bias,
                        .parts = s->config.train.grad_accum > 1};
}

/* Measured: what stacks, libraries and code take once they are used, and a checkpoint beside its copy (a buffer to read it
 * back, arrays rounded up to pages). */
#define GROWTH_BYTES ((size_t)4 << 20)
#define SAVING_BYTES ((size_t)6 << 20)

/* What the run will take; refused when that is more memory than there is. */
static bool make_plan(Session *s, Plan *plan, Error *err) {
    const Config *c = &s->config;
    GPT2Config m = model_config(s);
    GPT2 shape;
    size_t param_bytes = 0, act_bytes = 0;
    Optim optim = {0};
    Diagnostics diagnostics = {0};
    size_t state_bytes = 0, work_bytes = 0, diagnostics_bytes = 0;
    size_t batch = (size_t)(c->train.batch_size * c->model.block_size);
    bool ok = gpt2_plan(&shape, m, (int)c->train.batch_size, s->threads, &param_bytes, &act_bytes, err) &&
              optim_plan(&optim, &c->optimizer, shape.params, shape.param_count, s->threads, &state_bytes,
                         &work_bytes, err) &&
              (!has_diagnostics(s) ||
               diagnostics_plan(&diagnostics, &c->diagnostics, &optim, shape.params, shape.param_count,
                                s->vocab_size, &diagnostics_bytes, err));
    *plan =
        (Plan){.total_steps = s->total_steps,
               .tokens_a_step = s->tokens_a_step,
               .epoch_tokens = s->train.window_count * c->model.block_size,
               .flops_a_token = gpt2_flops_per_token(m, m.T),
               .param_bytes = param_bytes,
               .activation_bytes = act_bytes,
               .optimizer_bytes = state_bytes + work_bytes,
               .diagnostics_bytes = diagnostics_bytes,
               .checkpoint_bytes = c->checkpoint.save ? param_bytes / 2 + state_bytes + SAVING_BYTES : 0,
               .program_bytes = memory_resident() + 2 * batch * sizeof *s->inputs + GROWTH_BYTES,
               .threads = s->threads,
               .vocab_size = s->vocab_size};
    if (ok) plan_count_params(plan, shape.params, shape.param_count);
    diagnostics_free(&diagnostics);
    optim_free(&optim);
    gpt2_free(&shape);
    return ok && plan_check_memory(plan, memory_available(), err);
}

static bool build(Session *s, Error *err) {
    const Config *c = &s->config;
    size_t n = (size_t)(c->train.batch_size * c->model.block_size);
    s->inputs = memory_alloc(n, sizeof *s->inputs, "batch", err);
    s->targets = s->inputs ? memory_alloc(n, sizeof *s->targets, "batch", err) : NULL;
    if (!s->targets || !gpt2_create(&s->model, model_config(s), (int)c->train.batch_size, s->threads, err))
        return false;
    gpt2_init_weights(&s->model, (uint64_t)c->train.seed);
    return optim_create(&s->optim, &c->optimizer, s->model.params, s->model.param_count, s->threads, err) &&
           (!has_diagnostics(s) ||
            diagnostics_create(&s->diagnostics, &c->diagnostics, &s->optim, s->model.params,
                               s->model.param_count, s->vocab_size, err));
}

/* ------------------------------------------------------------------------------------------------------------ */

/* Mean loss over the first eval.tokens tokens of the validation split; NAN when a signal came in between. */
static bool evaluate(Session *s, double *loss, Error *err) {
    int64_t T = s->config.model.block_size, B = s->config.train.batch_size;
    int64_t windows = (s->config.eval.tokens + T - 1) / T, done = 0;
    double mean = NAN;
    *loss = NAN;
    if (windows > s->val.window_count) windows = s->val.window_count;
    for (s->val.cursor = 0; done < windows; done = s->val.cursor) {
        if (stop_signal) return true;
        int64_t n = windows - done < B ? windows - done : B;
        if (!loader_next(&s->val, (int)n, s->inputs, s->targets, err)) return false;
        mean = gpt2_forward(&s->model, s->inputs, s->targets, (int)n, (int)T, (int)(done / B));
    }
    *loss = mean;
    return true;
}

/* Lets the model continue tokens[0 .. n) by sample.tokens ids, fewer when a signal comes; returns the new
 * n. logits has room for 2 * V floats. */
static size_t generate(Session *s, int64_t step, int32_t *tokens, size_t n, float *logits) {
    const SampleSection *how = &s->config.sample;
    int V = (int)s->vocab_size;
    size_t T = (size_t)s->config.model.block_size, end = n + (size_t)how->tokens;
    size_t start = n > T ? n - T : 0; /* of the window that the model sees */
    for (bool extend = false; n < end && !stop_signal; n++, extend = true) {
        if (n - start > T) start = n - (T + 1) / 2, extend = false; /* half of it is read anew */
        gpt2_next_logits(&s->model, tokens + start, (int)(n - start), extend, logits);
        double uniform = rng_uniform((uint64_t)s->config.train.seed, SAMPLE_STREAM + (uint64_t)step, n);
        tokens[n] = sampler_choose(logits, V, how->temperature, how->top_k, uniform, logits + V);
    }
    return n;
}

/* The ids of sample.prompt, or one that begins a document; SIZE_MAX with err. */
static size_t encode_prompt(Session *s, uint16_t *ids, Error *err) {
    const char *prompt = s->config.sample.prompt;
    int end_of_text = tokenizer_end_of_text(s->tokenizer);
    if (*prompt) return tokenizer_encode(s->tokenizer, prompt, strlen(prompt), ids, err);
    ids[0] = (uint16_t)(end_of_text >= 0 ? end_of_text : 0);
    return 1;
}

/* Text that the model writes behind sample.prompt; malloc'ed. NULL with err. */
static char *make_sample(Session *s, int64_t step, size_t *size, Error *err) {
    const SampleSection *how = &s->config.sample;
    size_t room = strlen(how->prompt) + (size_t)how->tokens + 1, n = SIZE_MAX;
    int32_t *tokens = memory_alloc(room, sizeof *tokens, "sample", err);
    uint16_t *ids = tokens ? memory_alloc(room, sizeof *ids, "sample", err) : NULL;
    float *logits = ids ? memory_alloc(2 * (size_t)s->vocab_size, sizeof *logits, "sample", err) : NULL;
    char *text = NULL;
    FILE *out = logits ? open_memstream(&text, size) : NULL;
    if (logits && !out) error_set(err, ERR_IO, "sample: out of memory");
    if (out) n = encode_prompt(s, ids, err);
    bool ok = n != SIZE_MAX;
    for (size_t i = 0; ok && i < n; i++) tokens[i] = ids[i];
    if (ok) n = generate(s, step, tokens, n, logits);
    for (size_t i = 0; ok && i < n; i++) {
        size_t length;
        const char *bytes = tokenizer_token(s->tokenizer, tokens[i], &length);
        ok = fwrite(bytes, 1, length, out) == length || error_set(err, ERR_IO, "sample: out of memory");
    }
    if (out && (fclose(out) != 0 || !text) && ok) ok = error_set(err, ERR_IO, "sample: out of memory");
    if (!ok) free(text), text = NULL;
    memory_free(logits), memory_free(ids), memory_free(tokens);
    return text;
}

/* Why there is no update: a loss or gradient that is not finite. */
static bool report_divergence(const Session *s, int64_t step, const char *what, int64_t cursor,
                              Error *err) {
    char where[512];
    return error_set(
        err, ERR_DIVERGED,
        "step %lld: %s is not finite; weights are those after step %lld. Data: %s. A lower learning rate, "
        "a longer warm-up or train.grad_clip may help",
        (long long)step, what, (long long)step - 1, loader_where(&s->train, cursor, where, sizeof where));
}

/* Gradients of one step's micro-batches into the model, and their mean loss. Stops early at a signal. */
static bool accumulate_gradients(Session *s, int64_t step, StepRecord *record, Error *err) {
    int64_t micro_batches = s->config.train.grad_accum;
    int B = (int)s->config.train.batch_size, T = (int)s->config.model.block_size;
    for (int64_t k = 0; k < micro_batches && !stop_signal; k++) {
        int64_t cursor = s->train.cursor;
        if (!loader_next(&s->train, B, s->inputs, s->targets, err)) return false;
        double loss =
            gpt2_forward_backward(&s->model, s->inputs, s->targets, B, T, (int)k, (int)micro_batches);
        record->forward_s += s->model.forward_s;
        record->backward_s += s->model.backward_s;
        record->train_loss = loss; /* the mean so far */
        if (!isfinite(loss)) return report_divergence(s, step, "the loss", cursor, err);
    }
    return true;
}

static bool is_due(int64_t every, int64_t step) {
    return every > 0 && step % every == 0;
}

/* Also where the run begins, before its first update. */
static bool is_evaluated(const Session *s, int64_t step) {
    return is_due(s->config.eval.every, step) || step == s->total_steps || step == s->at.begin_step;
}

static bool is_logged(const Session *s, int64_t step) {
    return is_due(s->config.log.every, step) || is_evaluated(s, step) || step == s->at.begin_step + 1;
}

/* Also at the first update and the last. */
static bool is_chosen(const Session *s, int64_t every, int64_t step) {
    return is_due(every, step) || (every > 0 && (step == s->at.begin_step + 1 || step == s->total_steps));
}

static bool is_diagnosed(const Session *s, int64_t step) {
    return is_chosen(s, s->config.diagnostics.every, step) ||
           is_chosen(s, s->config.diagnostics.noise_every, step);
}

/* Gradients of other batches at the weights that `step` begins with, drawn from the training data by seed and step; the
 * run's own place in the data stays. Stops early at a signal. */
static bool measure_noise(Session *s, int64_t step, Error *err) {
    Loader other = s->train; /* shares open files and buffer */
    int B = (int)s->config.train.batch_size, T = (int)s->config.model.block_size;
    int parts = (int)s->config.train.grad_accum;
    other.seed = rng_bits((uint64_t)s->config.train.seed, NOISE_STREAM, (uint64_t)step);
    other.cursor = 0;
    for (int64_t batch = 0; batch < s->config.diagnostics.noise_batches; batch++) {
        for (int part = 0; part < parts; part++) {
            if (stop_signal) return true;
            if (!loader_next(&other, B, s->inputs, s->targets, err)) return false;
            gpt2_forward_backward(&s->model, s->inputs, s->targets, B, T, part, parts);
        }
        diagnostics_add_noise(&s->diagnostics);
    }
    return true;
}

/* Of a step that is diagnosed, before its gradient is there. */
static bool begin_diagnosis(Session *s, int64_t step, Error *err) {
    double start = omp_get_wtime();
    diagnostics_begin(&s->diagnostics);
    if (is_chosen(s, s->config.diagnostics.noise_every, step) && !measure_noise(s, step, err)) return false;
    s->diagnostics.cost_s += omp_get_wtime() - start;
    return true;
}

/* Clips the gradient and makes the step. */
static bool update_weights(Session *s, int64_t step, bool diagnosed, StepRecord *record, Error *err) {
    double clip = s->config.train.grad_clip,
           factor = schedule_factor(&s->config.schedule, step, s->total_steps);
    bool logged = is_logged(s, step);
    if (diagnosed) diagnostics_before_update(&s->diagnostics);
    if (clip > 0 && record->grad_norm > clip)
        optim_scale_gradient(&s->optim, clip / record->grad_norm);
    if (!optim_step(&s->optim, step, s->total_steps, factor, logged || diagnosed, err)) return false;
    if (diagnosed) diagnostics_after_update(&s->diagnostics);
    record->lr = s->optim.groups[0].lr;
    record->temperature = record->saturated_frac = record->dual_progress = NAN; /* not an earlier step's */
    for (int i = 0; i < s->optim.group_count && isnan(record->temperature); i++) {
        record->temperature = s->optim.groups[i].temperature;
        if (!logged) continue; /* then they were not counted, or only because the step is diagnosed */
        record->saturated_frac = s->optim.groups[i].saturated_frac;
        record->dual_progress = s->optim.groups[i].dual_progress;
    }
    return true;
}

/* One update of the weights; record->step says that it was made. */
static bool train_step(Session *s, int64_t step, bool diagnosed, StepRecord *record, Error *err) {
    const TrainSection *how = &s->config.train;
    const Param *params = s->model.params;
    int count = s->model.param_count;
    int64_t cursor = s->train.cursor;
    if (diagnosed && !begin_diagnosis(s, step, err)) return false;
    if (!accumulate_gradients(s, step, record, err)) return false;
    if (stop_signal) return true;
    double start = omp_get_wtime(), spent = s->diagnostics.cost_s;
    record->grad_norm = gradient_norm(params, count, s->threads);
    if (!isfinite(record->grad_norm)) {
        const Param *bad = gradient_find_nonfinite(params, count);
        char what[128];
        snprintf(what, sizeof what, "the gradient of %s", bad ? bad->name : "all parameters, its norm,");
        return report_divergence(s, step, what, cursor, err);
    }
    if (diagnosed) diagnostics_gradient(&s->diagnostics);
    spike_count(&s->at.loss_spikes, record->train_loss);
    record->spikes = (double)s->at.loss_spikes.spikes;
    if (how->spike_sigma > 0 &&
        spike_judge(&s->at.spikes, how->spike_sigma, record->train_loss, record->grad_norm)) {
        progress_note(&s->progress, "step %lld: left out; loss %.4f, gradient norm %.4g", (long long)step,
                      record->train_loss, record->grad_norm);
        record->skipped = fmax(0, record->skipped) + 1; /* fmax: 0 where it is NAN, none yet */
        record->step = step;
        return true;
    }
    if (!update_weights(s, step, diagnosed, record, err)) return false;
    record->optimizer_s += omp_get_wtime() - start - (s->diagnostics.cost_s - spent);
    record->step = step;
    return true;
}

static bool is_sampled(const Session *s, int64_t step) {
    return s->tokenizer && step > s->at.begin_step &&
           (is_due(s->config.sample.every, step) || step == s->total_steps);
}

/* A line of metrics of no step yet, with all its times at zero: they add up until it is written. */
static StepRecord new_line(void) {
    StepRecord line = step_record_empty();
    line.step = -1;
    line.forward_s = line.backward_s = line.optimizer_s = line.eval_s = 0;
    return line;
}

/* Seconds since the run began; a clock that is set back stops it. */
static double run_clock(const Session *s) {
    return fmax(0, omp_get_wtime() - s->start_s);
}

/* Tells the line what its tokens have cost: seconds, FLOPs. */
static void set_cost(const Session *s, StepRecord *line) {
    GPT2Config m = model_config(s);
    double new_tokens = (double)(line->tokens - s->log.last.tokens);
    double elsewhere_s =
        line->eval_s + fmax(0, line->diagnostics_s); /* fmax: 0 where it is NAN, none yet */
    line->flops = (double)line->tokens * gpt2_flops_per_token(m, m.T);
    line->time_s = run_clock(s);
    if (new_tokens > 0) line->tokens_per_s = new_tokens / (line->time_s - s->at.line_start_s - elsewhere_s);
}

static bool write_diagnosis(Session *s, Error *err) {
    size_t length;
    char *text = diagnostics_text(&s->diagnostics, s->at.step, s->at.tokens, &length, err);
    bool ok = text && runlog_diagnosis(&s->log, text, length, err);
    free(text);
    return ok;
}

/* Another step, unless a signal comes before its update: then the run stands where it stood. */
static bool advance(Session *s, Error *err) {
    StepRecord line = s->at.line;
    int64_t step = s->at.step + 1;
    bool diagnosed = is_diagnosed(s, step);
    line.step = -1;
    if (!train_step(s, step, diagnosed, &line, err)) return false;
    if (line.step < 0) return true;
    if (diagnosed) line.diagnostics_s = fmax(0, line.diagnostics_s) + s->diagnostics.cost_s;
    line.tokens = s->at.tokens + s->tokens_a_step;
    set_cost(s, &line);
    s->at.step = step;
    s->at.tokens = line.tokens;
    s->at.cursor = s->train.cursor;
    s->at.line = line;
    s->at.reported = false;
    return !diagnosed || write_diagnosis(s, err);
}

static bool write_report(Session *s, const StepRecord *line, const char *sample, size_t sample_size,
                         Error *err) {
    bool logged = is_logged(s, line->step);
    s->at.line = *line;
    if (is_evaluated(s, line->step) && !isfinite(line->val_loss))
        return error_set(err, ERR_DIVERGED,
                         "step %lld: the validation loss is not finite after this update. A lower learning "
                         "rate, a longer warm-up or train.grad_clip may help",
                         (long long)line->step);
    progress_update(&s->progress, line, logged);
    if (logged) {
        if (!runlog_step(&s->log, line, err)) return false;
        s->at.line = new_line();
        s->at.line_start_s = run_clock(s);
    }
    if (sample) {
        progress_note(&s->progress, "step %lld: %.*s", (long long)line->step, (int)sample_size, sample);
        if (!runlog_sample(&s->log, line->step, sample, sample_size, err)) return false;
    }
    s->at.reported = true;
    return true;
}

/* What is due behind a step: evaluation, line of metrics, sample. When a signal comes in between, nothing
 * of it is written, and the run does it all when it goes on. */
static bool report(Session *s, Error *err) {
    int64_t step = s->at.step;
    bool eval = is_evaluated(s, step), sample = is_sampled(s, step);
    StepRecord line = s->at.line;
    char *text = NULL;
    size_t size = 0;
    bool ok = true;
    line.step = step;
    line.tokens = s->at.tokens;
    if (eval || sample) optim_show(&s->optim, WEIGHTS_EVALUATED);
    if (eval) {
        double start = omp_get_wtime();
        ok = evaluate(s, &line.val_loss, err);
        line.eval_s += omp_get_wtime() - start;
        set_cost(s, &line);
    }
    if (ok && sample && !stop_signal) ok = (text = make_sample(s, step, &size, err)) != NULL;
    if (eval || sample) optim_show(&s->optim, WEIGHTS_TRAINED);
    if (ok && !stop_signal) ok = write_report(s, &line, text, size, err);
    free(text);
    return ok;
}

/* ------------------------------------------------------------------------------------------------------------ */

/* The checkpoint that was being written is whole, or not: then the run goes on, and what was saved earlier
 * stays. */
static void settle_checkpoint(Session *s) {
    Error failed;
    if (!checkpoint_wait(&s->checkpoints, &failed))
        progress_note(&s->progress, "warning: step %lld could not be saved: %s",
                      (long long)s->checkpoints.step, failed.text);
}

/* Begins to save where the run stands, between two steps. */
static bool begin_checkpoint(Session *s, Error *err) {
    int log_fds[CHECKPOINT_LOGS] = {s->log.metrics_fd, s->log.samples_fd, s->log.diagnostics_fd,
                                    s->log.events_fd};
    char *config = config_to_json(&s->config);
    if (config == NULL) return error_set(err, ERR_IO, "checkpoint: out of memory");
    s->at.time_s = run_clock(s);
    optim_show(&s->optim, WEIGHTS_EVALUATED);
    gpt2_file_fill(&s->checkpoints.model, &s->model);
    optim_show(&s->optim, WEIGHTS_TRAINED);
    bool ok = runlog_mark(&s->log, &s->at.log, err) &&
              checkpoint_save(&s->checkpoints, &s->at, config, &s->optim, log_fds, err);
    free(config);
    s->saved_s = omp_get_wtime();
    return ok;
}

static bool is_save_due(const Session *s) {
    const CheckpointSection *c = &s->config.checkpoint;
    int64_t step = s->at.step;
    if (!c->save || step == s->at.begin_step || step == s->checkpoints.step) return false;
    return is_due(c->every, step) || is_due(c->keep_every, step) ||
           config_lists_step(c->keep_steps, step) || (c->keep_best && s->log.best_val_step == step) ||
           (c->minutes > 0 && omp_get_wtime() - s->saved_s >= 60 * c->minutes);
}

/* At the end of a process, whatever the reason: saved, or an error. */
static bool save_at_end(Session *s, Error *err) {
    settle_checkpoint(s);
    if (!s->config.checkpoint.save || s->checkpoints.saved_step == s->at.step) return true;
    return begin_checkpoint(s, err) && checkpoint_wait(&s->checkpoints, err);
}

static bool is_finished(const Session *s) {
    return s->at.step == s->total_steps && s->at.reported;
}

/* ------------------------------------------------------------------------------------------------------------ */

/* The weights that a checkpoint holds, with their hash checked. */
static bool load_weights(Session *s, const Checkpoint *c, Error *err) {
    SafeTensors file;
    if (!checkpoint_open_model(c, s->model.params, s->model.param_count, &file, err)) return false;
    bool ok = gpt2_file_read(&s->model, &file, c->path, err);
    safetensors_close(&file);
    return ok;
}

/* Weights, optimizer and position from a checkpoint; ERR_CHECKPOINT when it is damaged, others when it does
 * not belong to this run. */
static bool load_checkpoint(Session *s, const char *path, Error *err) {
    Checkpoint c;
    char *config = config_to_json(&s->config);
    if (config == NULL) return error_set(err, ERR_IO, "%s: out of memory", path);
    bool ok = checkpoint_read(&c, path, err) && checkpoint_check_config(&c, config, err);
    if (ok && (strcmp(c.state.data, s->at.data) != 0 || c.state.total_steps != s->total_steps))
        ok = error_set(
            err, ERR_DATA,
            "%s: the run that was begun has other data than there is now in %s. Put it back, or set "
            "run.dir; train.resume=never moves that run aside and begins anew",
            path, s->config.data.dir);
    ok = ok && load_weights(s, &c, err) && checkpoint_load_optimizer(&c, &s->optim, err) &&
         runlog_continue(&s->log, &s->config, s->command_line, s->threads, c.state.step, &c.state.log, err);
    if (ok) {
        optim_show(&s->optim, WEIGHTS_TRAINED);
        s->at = c.state;
        s->train.cursor = c.state.cursor;
        if (!checkpoint_is_ours(&c))
            printf("note: the checkpoint was written by another build of this program; bits may differ\n");
    }
    checkpoint_free(&c);
    free(config);
    return ok;
}

/* What is due where the run stands, and one step more; *ended when there is none, or after a signal. */
static bool go_on(Session *s, bool *ended, Error *err) {
    if (!s->at.reported && !report(s, err)) return false;
    if (checkpoint_has_ended(&s->checkpoints)) settle_checkpoint(s);
    *ended = stop_signal || s->at.step == s->total_steps;
    if (*ended) return true;
    if (is_save_due(s)) {
        settle_checkpoint(s);
        if (!begin_checkpoint(s, err)) return false;
    }
    return advance(s, err);
}

/* The last checkpoint that each run with this config has made, however often it was stopped: a multiple of
 * checkpoint.every; -1 if there is none. */
static int64_t find_way_back(const Session *s) {
    Error none;
    int count;
    int64_t *steps = checkpoint_list(s->checkpoints.dir, &count, &none), found = -1;
    for (int i = 0; i < count && found < 0; i++)
        if (is_due(s->config.checkpoint.every, steps[i])) found = steps[i];
    free(steps);
    return found;
}

/* Checkpoints behind `step`, of the way that is left: their names will be needed. */
static void remove_later(const Session *s, int64_t step) {
    Error none;
    int count;
    int64_t *steps = checkpoint_list(s->checkpoints.dir, &count, &none);
    for (int i = 0; i < count && steps[i] > step; i++) checkpoint_remove(s->checkpoints.dir, steps[i]);
    free(steps);
}

/* After numbers that are not finite, if train.max_rollbacks allows it: back to a checkpoint, and on from
 * there with the data that follows what was read. A run that is killed then goes through the same again,
 * and comes to the same end. */
static bool roll_back(Session *s, Error *err) {
    int64_t rollbacks = s->at.rollbacks + 1, cursor = s->train.cursor, most = s->config.train.max_rollbacks;
    char path[1200];
    if (err->code != ERR_DIVERGED || rollbacks > most) return false;
    settle_checkpoint(s);
    int64_t step = find_way_back(s);
    if (step < 0) return false;
    progress_note(&s->progress,
                  "warning: %s. Back to step %lld, for the %lldth time of %lld, and on with other data",
                  err->text, (long long)step, (long long)rollbacks, (long long)most);
    checkpoint_path(s->checkpoints.dir, step, path, sizeof path);
    if (!load_checkpoint(s, path, err)) return false;
    remove_later(s, step);
    s->checkpoints.step = s->checkpoints.saved_step = step;
    s->at.rollbacks = rollbacks;
    s->at.line.rollbacks = (double)rollbacks;
    s->at.cursor = s->train.cursor = cursor;
    return true;
}

/* From where the run stands to its last step, or until a signal. */
static bool train_steps(Session *s, Error *err) {
    bool ended = false;
    s->at.spikes.length = s->config.train.spike_window;
    while (!ended)
        if (!go_on(s, &ended, err) && !roll_back(s, err)) return false;
    return true;
}

/* However it ends, the steps that were made are in the log; a run that goes on from a checkpoint cuts that
 * line off. */
static bool train(Session *s, Error *err) {
    Error log_err;
    bool ok = train_steps(s, err) && save_at_end(s, err);
    if (s->at.line.step < 0 || runlog_step(&s->log, &s->at.line, &log_err)) return ok;
    if (ok) *err = log_err;
    return false;
}

/* Goes on with the run that is in run.dir, if there is one to go on with: from its newest checkpoint that
 * is whole. */
static bool continue_run(Session *s, bool *continued, Error *err) {
    char dir[1100], path[1200];
    int count = 0, i = 0;
    Error aside;
    *continued = false;
    snprintf(dir, sizeof dir, "%s/checkpoints", s->log.dir);
    bool wanted = s->config.train.resume != RESUME_NEVER && runlog_is_unfinished(&s->log);
    int64_t *steps = wanted ? checkpoint_list(dir, &count, err) : NULL;
    if (count < 0) return false;
    bool ok = true;
    for (; i < count && !*continued && ok; i++) {
        *continued = load_checkpoint(s, checkpoint_path(dir, steps[i], path, sizeof path), err);
        ok = *continued || err->code == ERR_CHECKPOINT;
        if (ok && !*continued) fprintf(stderr, "warning: %s\n", err->text);
    }
    if (*continued) printf("continuing from %s\n", path);
    for (int k = 0; *continued && k < i - 1; k++) /* their names will be needed */
        if (!checkpoint_set_aside(dir, steps[k], &aside)) fprintf(stderr, "warning: %s\n", aside.text);
    free(steps);
    if (ok && count > 0 && !*continued)
        return error_set(
            err, ERR_CHECKPOINT,
            "%s: none of the %d checkpoints can be used; train.resume=never moves the run aside and begins anew",
            dir, count);
    if (ok && !*continued && s->config.train.resume == RESUME_MUST)
        return error_set(err, ERR_CHECKPOINT,
                         "%s: no unfinished run that has a checkpoint; train.resume=must asks for one",
                         s->log.dir);
    return ok;
}

static bool has_manifest(const char *dir) {
    char path[FIELD_TEXT_MAX + 32];
    snprintf(path, sizeof path, "%s/manifest.json", dir);
    return access(path, F_OK) == 0;
}

/* Is there, in Hugging Face's layout, a model of this run's shape? */
static bool check_shape(const Session *s, const char *dir, Error *err) {
    GPT2Config have, want = model_config(s);
    char checkpoints[FIELD_TEXT_MAX + 32];
    snprintf(checkpoints, sizeof checkpoints, "%s/checkpoints", dir);
    if (access(checkpoints, F_OK) == 0)
        return error_set(err, ERR_CONFIG,
                         "train.init_from: %s is a run; name one of its checkpoints, %s/step_...", dir,
                         checkpoints);
    if (!gpt2_file_config(&have, dir, err)) return false;
    return (have.T == want.T && have.V == want.V && have.L == want.L && have.NH == want.NH &&
            have.C == want.C && have.bias == want.bias) ||
           error_set(
               err, ERR_CONFIG,
               "train.init_from: %s has n_layer %d, n_head %d, n_embd %d, block_size %d, vocab_size %d, bias "
               "%s; this run has %d, %d, %d, %d, %d, %s",
               dir, have.L, have.NH, have.C, have.T, have.V, have.bias ? "true" : "false", want.L, want.NH,
               want.C, want.T, want.V, want.bias ? "true" : "false");
}

/* Goes on from another run's checkpoint with other settings: weights, step, data position, and the state
 * that the optimizers share. */
static bool branch(Session *s, const Checkpoint *c, Error *err) {
    char taken[512], changed[2000], *config = config_to_json(&s->config);
    const CheckpointState *trunk = &c->state;
    bool ok = config != NULL || error_set(err, ERR_IO, "%s: out of memory", c->path);
    if (ok && strcmp(trunk->data, s->at.data) != 0)
        ok = error_set(
            err, ERR_DATA,
            "train.init_from: %s was trained on other data than there is in %s; train.init_take=weights "
            "takes only its weights",
            c->path, s->config.data.dir);
    if (ok && trunk->step >= s->total_steps)
        ok = error_set(
            err, ERR_CONFIG,
            "train.init_from: %s is at step %lld, this run ends at step %lld; train.init_take=weights "
            "begins at step 0",
            c->path, (long long)trunk->step, (long long)s->total_steps);
    ok = ok && checkpoint_branch_optimizer(c, &s->optim, taken, sizeof taken, err) &&
         checkpoint_differences(c, config, changed, sizeof changed, err);
    if (ok) {
        optim_show(&s->optim, WEIGHTS_TRAINED);
        s->at.step = s->at.begin_step = trunk->step;
        s->at.tokens = trunk->tokens;
        s->at.cursor = s->train.cursor = trunk->cursor;
        s->at.time_s = s->at.line_start_s = trunk->time_s;
        s->at.loss_spikes = trunk->loss_spikes;
        s->at.log.last = trunk->log.last;
        s->at.log.last.tokens = trunk->tokens;
        printf("begins at step %lld of %s: %s\n", (long long)trunk->step, c->path, taken);
        if (*changed) printf("changed: %s\n", changed);
    }
    free(config);
    return ok;
}

/* What train.init_from and train.init_take ask for. */
static bool init_run(Session *s, Error *err) {
    const TrainSection *train = &s->config.train;
    Checkpoint c;
    if (!*train->init_from) return true;
    if (!check_shape(s, train->init_from, err)) return false;
    if (!has_manifest(train->init_from)) return gpt2_file_load(&s->model, train->init_from, err);
    if (!checkpoint_read(&c, train->init_from, err)) return false;
    bool ok = load_weights(s, &c, err) && (train->init_take == INIT_WEIGHTS || branch(s, &c, err));
    checkpoint_free(&c);
    return ok;
}

/* The run's directory, and in it the run: continued, or new. */
static bool open_run(Session *s, Error *err) {
    const Config *c = &s->config;
    bool continued;
    SafeTensors image;
    GPT2Config shape = model_config(s);
    s->at = (CheckpointState){.total_steps = s->total_steps, .seed = c->train.seed, .line = new_line()};
    if (!loader_identity(&s->train, s->at.data, err) || !runlog_lock(&s->log, c->run.dir, err) ||
        !continue_run(s, &continued, err))
        return false;
    if (!continued && (!init_run(s, err) || !runlog_begin(&s->log, c, s->command_line, s->threads, err)))
        return false;
    if (!continued && s->at.begin_step > 0) s->log.last = s->at.log.last;
    if (*s->log.moved_to) printf("the run that was in %s is now %s\n", c->run.dir, s->log.moved_to);
    if (c->checkpoint.save) {
        if (!gpt2_file_layout(&image, &s->model, err) ||
            !checkpoint_open(&s->checkpoints, s->log.dir, &c->checkpoint, &image,
                             gpt2_file_config_text(&shape), &s->optim, err))
            return false;
        if (continued) s->checkpoints.saved_step = s->checkpoints.step = s->at.step;
    }
    if (c->train.max_rollbacks > 0) s->checkpoints.keep_due = true;
    s->saved_s = omp_get_wtime();
    s->start_s = s->saved_s - s->at.time_s;
    return true;
}

/* Mean times of a step's parts over at least DRY_RUN_S. Weights hardly move: made-up tokens teach nothing. */
static bool time_steps(Session *s, Plan *plan, Error *err) {
    int B = (int)s->config.train.batch_size, T = (int)s->config.model.block_size, steps = 0;
    double batch_s = 0, optimizer_s = 0;
    for (bool warm = false; !warm || batch_s + optimizer_s < DRY_RUN_S; warm = true) {
        double start = omp_get_wtime();
        gpt2_forward_backward(&s->model, s->inputs, s->targets, B, T, 0, 1);
        double middle = omp_get_wtime();
        gradient_norm(s->model.params, s->model.param_count, s->threads);
        if (!optim_step(&s->optim, 1 + (s->total_steps > 1 && warm), s->total_steps, 1e-6, false, err))
            return false;
        if (!warm) continue;
        batch_s += middle - start;
        optimizer_s += omp_get_wtime() - middle;
        steps++;
    }
    plan->micro_batch_s = batch_s / steps;
    plan->optimizer_s = optimizer_s / steps;
    return true;
}

/* What a diagnosed step takes beyond the step, but for the noise. */
static bool time_diagnosis(Session *s, Plan *plan, Error *err) {
    diagnostics_begin(&s->diagnostics);
    diagnostics_gradient(&s->diagnostics);
    diagnostics_before_update(&s->diagnostics);
    if (!optim_step(&s->optim, 1, s->total_steps, 1e-6, true, err)) return false;
    diagnostics_after_update(&s->diagnostics);
    plan->diagnosis_s = s->diagnostics.cost_s;
    return true;
}

/* --dry-run: the plan, with times measured on made-up tokens. Writes nothing. */
static bool dry_run(Session *s, Plan *plan, bool json, Error *err) {
    const Config *c = &s->config;
    int B = (int)c->train.batch_size, T = (int)c->model.block_size;
    if (!build(s, err)) return false;
    for (int i = 0; i < B * T; i++) {
        s->inputs[i] = (int32_t)(rng_bits(0, 0, (uint64_t)i) % (uint64_t)s->vocab_size);
        s->targets[i] = (int32_t)(rng_bits(0, 1, (uint64_t)i) % (uint64_t)s->vocab_size);
    }
    if (!time_steps(s, plan, err) || (has_diagnostics(s) && !time_diagnosis(s, plan, err))) return false;
    double start = omp_get_wtime();
    gpt2_forward(&s->model, s->inputs, s->targets, B, T, 0);
    plan->eval_batch_s = omp_get_wtime() - start;
    if (json) plan_print_json(stdout, plan, c);
    else plan_print(stdout, plan, c);
    return true;
}

/* Trains, and leaves a whole run directory behind however that ends. */
static bool run(Session *s, Error *err) {
    const Config *c = &s->config;
    bool sampling = c->sample.every > 0;
    if (sampling) {
        char path[FIELD_TEXT_MAX + 32];
        snprintf(path, sizeof path, "%s/tokenizer.json", c->data.dir);
        if ((s->tokenizer = tokenizer_load(path, err)) == NULL) return false;
        int ids = tokenizer_vocab_size(s->tokenizer);
        if (ids > s->vocab_size) /* a prompt would look up rows that wte does not have */
            return error_set(err, ERR_CONFIG,
                             "model.vocab_size: %lld ids are fewer than the %d of %s; set it to 0, or "
                             "sample.every to 0",
                             (long long)s->vocab_size, ids, path);
    }
    if (!build(s, err)) return false;
    if (!open_run(s, err)) return false;
    progress_open(&s->progress, stdout, s->total_steps);
    catch_signals();
    bool ok = train(s, err);
    progress_close(&s->progress);
    Error finish_err;
    const char *outcome = !ok              ? (err->code == ERR_DIVERGED ? "diverged" : "failed")
                          : is_finished(s) ? "finished"
                                           : "stopped";
    if (!runlog_finish(&s->log, outcome, &finish_err) && ok) {
        *err = finish_err;
        return false;
    }
    if (ok && !is_finished(s)) {
        const char *next =
            c->checkpoint.save ? "the same command goes on with it" : "the curves so far are there";
        return error_set(err, ERR_STOPPED, "%s: stopped by %s after step %lld; %s", c->run.dir,
                         strsignal(stop_signal), (long long)s->at.step, next);
    }
    if (ok) printf("done: %s\n", c->run.dir);
    return ok;
}

static void session_free(Session *s) {
    checkpoint_close(&s->checkpoints); /* it uses the log */
    runlog_close(&s->log);
    tokenizer_free(s->tokenizer);
    diagnostics_free(&s->diagnostics);
    optim_free(&s->optim);
    gpt2_free(&s->model);
    loader_close(&s->train);
    loader_close(&s->val);
    memory_free(s->inputs);
    memory_free(s->targets);
    config_free(&s->config);
}

static void print_usage(FILE *out) {
    fputs(
        "usage: train_gpt CONFIG.json [section.key=value ...] [--dry-run]\n"
        "       train_gpt --help | --list-optimizers | --describe NAME | --docs-config | --docs-optimizers\n\n"
        "  --dry-run          print the plan (parameters, memory, FLOPs, time) and stop; =json: for programs\n"
        "  --list-optimizers  every optimizer, a line each\n"
        "  --describe NAME    an optimizer's equation, source and hyper-parameters\n"
        "  --docs-config      this reference as Markdown (docs/config.md)\n"
        "  --docs-optimizers  every optimizer as Markdown (docs/optimizers.md)\n\n",
        out);
}

/* The words of the command line with blanks between. malloc'ed. */
static char *join(int argc, char **argv) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    for (int i = 0; out && i < argc; i++) fprintf(out, "%s%s", i ? " " : "", argv[i]);
    if (out) fclose(out);
    return text;
}

static bool train_command(int argc, char **argv, Error *err) {
    const char *config_path = NULL;
    char *command_line = join(argc, argv);
    Session s = {.command_line = command_line};
    char **overrides = argv; /* gathered at its beginning */
    int override_count = 0;
    bool dry = false, json = false, ok = command_line != NULL || error_set(err, ERR_IO, "out of memory");
    for (int i = 1; ok && i < argc; i++) {
        if (strcmp(argv[i], "--dry-run") == 0) dry = true;
        else if (strcmp(argv[i], "--dry-run=json") == 0) dry = json = true;
        else if (argv[i][0] == '-')
            ok = error_set(err, ERR_CONFIG, "unknown option %s; train_gpt --help lists them", argv[i]);
        else if (config_path == NULL) config_path = argv[i];
        else overrides[override_count++] = argv[i];
    }
    if (ok && config_path == NULL)
        ok = error_set(err, ERR_CONFIG, "which config? for example: train_gpt configs/softmuon.json");
    if (ok && config_load(&s.config, config_path, overrides, override_count, err)) {
        Plan plan;
        s.threads = s.config.train.threads > 0 ? (int)s.config.train.threads : threads_available();
        ok = open_data(&s, err) && make_plan(&s, &plan, err);
        if (ok && !dry) plan_print_header(stdout, &plan, &s.config);
        ok = ok && (dry ? dry_run(&s, &plan, json, err) : run(&s, err));
    } else {
        ok = false;
    }
    session_free(&s);
    free(command_line);
    return ok;
}

static bool asks_for_help(int argc, char **argv) {
    for (int i = 1; i < argc; i++)
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
    return false;
}

int main(int argc, char **argv) {
    Error err;
    threads_prepare(argv);
    setlocale(LC_CTYPE, "");
    const char *word = argc > 1 ? argv[1] : "";
    if (argc < 2) {
        print_usage(stderr);
        return ERR_CONFIG;
    }
    if (asks_for_help(argc, argv)) {
        print_usage(stdout);
        config_print_help(stdout);
    } else if (strcmp(word, "--list-optimizers") == 0) {
        config_list_optimizers(stdout);
    } else if (strcmp(word, "--docs-config") == 0) {
        config_print_markdown(stdout);
    } else if (strcmp(word, "--docs-optimizers") == 0) {
        config_print_optimizers_markdown(stdout);
    } else if (strcmp(word, "--describe") == 0) {
        if (!config_describe(stdout, argc > 2 ? argv[2] : "", &err)) return error_print(&err);
    } else if (!train_command(argc, argv, &err)) {
        return error_print(&err);
    }
    return error_check_stdout(&err) ? 0 : error_print(&err);
}
