/* plan.c: see plan.h. */
#include "train/plan.h"

#include "train/progress.h"

#include <inttypes.h>
#include <string.h>

void plan_count_params(Plan *plan, const Param *params, int count) {
    for (int i = 0; i < count; i++) {
        plan->role_params[params[i].role] += (int64_t)param_size(&params[i]);
        plan->role_tensors[params[i].role]++;
        if (strcmp(params[i].name, "wte.weight") == 0)
            plan->padding_params = (params[i].rows - plan->vocab_size) * params[i].cols;
    }
}

static size_t total_bytes(const Plan *plan) {
    return plan->param_bytes + plan->optimizer_bytes + plan->activation_bytes + plan->checkpoint_bytes +
           plan->diagnostics_bytes + plan->program_bytes;
}

static int64_t total_params(const Plan *plan) {
    int64_t sum = -plan->padding_params;
    for (int r = 0; r < ROLE_COUNT; r++) sum += plan->role_params[r];
    return sum;
}

bool plan_check_memory(const Plan *plan, size_t available_bytes, Error *err) {
    if (total_bytes(plan) <= available_bytes) return true;
    return error_set(
        err, ERR_IO,
        "this run needs %.1f GB of memory, %.1f GB are free; lower train.batch_size (and raise "
        "train.grad_accum), model.block_size or the model's size",
        (double)total_bytes(plan) / 1e9, (double)available_bytes / 1e9);
}

void plan_print_header(FILE *out, const Plan *plan, const Config *config) {
    char params[16], tokens[16];
    const ModelSection *m = &config->model;
    fprintf(out,
            "GPT-2 %s: %" PRId64 " layers, %" PRId64 " heads, %" PRId64 " wide, context %" PRId64
            ", vocabulary %" PRId64 "\n",
            format_count((double)total_params(plan), params, sizeof params), m->n_layer, m->n_head,
            m->n_embd, m->block_size, plan->vocab_size);
    double all_tokens = (double)plan->total_steps * (double)plan->tokens_a_step;
    fprintf(out, "%s on %s, %d thread%s -> %s\n", config->chosen[CHOICE_MAIN].optimizer->title,
            config->data.dir, plan->threads, plan->threads == 1 ? "" : "s", config->run.dir);
    fprintf(out, "%" PRId64 " steps of %" PRId64 " tokens: %s tokens, %.2f epochs\n", plan->total_steps,
            plan->tokens_a_step, format_count(all_tokens, tokens, sizeof tokens),
            all_tokens / (double)plan->epoch_tokens);
}

typedef struct PlanTimes {
    double step_s, evals, eval_s, total_s;
    double diagnosed, noisy, passes,
        noise_s; /* steps; those that measure noise, its passes and its time there */
} PlanTimes;

/* Steps that are multiples of `every`, with the first and the last. */
static double chosen_steps(int64_t every, int64_t total) {
    if (every == 0) return 0;
    int64_t first = every > 1, last = total % every != 0 && total > 1, multiples = total / every;
    return (double)(first + multiples + last);
}

/* From what was measured. */
static PlanTimes plan_times(const Plan *plan, const Config *config) {
    const EvalSection *eval = &config->eval;
    int64_t between = eval->every > 0 ? (plan->total_steps - 1) / eval->every : 0;
    double batch_tokens = (double)plan->tokens_a_step / (double)config->train.grad_accum;
    PlanTimes t = {.evals = 2 + (double)between};
    t.step_s = (double)config->train.grad_accum * plan->micro_batch_s + plan->optimizer_s;
    t.eval_s = (double)eval->tokens / batch_tokens * plan->eval_batch_s;
    t.diagnosed = chosen_steps(config->diagnostics.every, plan->total_steps);
    t.noisy = chosen_steps(config->diagnostics.noise_every, plan->total_steps);
    t.passes = (double)(config->diagnostics.noise_batches * config->train.grad_accum);
    t.noise_s = t.passes * plan->micro_batch_s + plan->diagnosis_s;
    t.total_s = (double)plan->total_steps * t.step_s + t.evals * t.eval_s +
                t.diagnosed * plan->diagnosis_s + t.noisy * t.noise_s;
    return t;
}

void plan_print(FILE *out, const Plan *plan, const Config *config) {
    plan_print_header(out, plan, config);
    fprintf(out, "\n%-12s %8s %12s  %-16s %10s %8s\n", "parameters", "tensors", "weights", "optimizer",
            "lr", "decay");
    for (int r = 0; r < ROLE_COUNT; r++) {
        if (plan->role_tensors[r] == 0) continue;
        fprintf(out, "  %-10s %8d %12" PRId64 "  %-16s %10g %8g\n", ROLE_NAMES[r], plan->role_tensors[r],
                plan->role_params[r], config->optimizer.role[r].optimizer->name,
                config->optimizer.role[r].lr, config->optimizer.role[r].weight_decay);
    }
    fprintf(out,
            "\nmemory       %.1f MB: weights and gradients %.1f, optimizer %.1f, activations %.1f,\n"
            "             copy for checkpoints %.1f, diagnostics %.1f, program %.1f\n",
            (double)total_bytes(plan) / 1e6, (double)plan->param_bytes / 1e6,
            (double)plan->optimizer_bytes / 1e6, (double)plan->activation_bytes / 1e6,
            (double)plan->checkpoint_bytes / 1e6, (double)plan->diagnostics_bytes / 1e6,
            (double)plan->program_bytes / 1e6);
    double step_tokens = (double)plan->tokens_a_step, steps = (double)plan->total_steps;
    fprintf(out, "compute      %.3g FLOPs a token, %.3g a step, %.3g in all (without the optimizer)\n",
            plan->flops_a_token, plan->flops_a_token * step_tokens,
            plan->flops_a_token * step_tokens * steps);

    PlanTimes t = plan_times(plan, config);
    if (t.diagnosed > 0)
        fprintf(out, "diagnostics  %.0f steps of %.3g s\n", t.diagnosed, plan->diagnosis_s);
    if (t.noisy > 0)
        fprintf(out, "diagnostics  %.0f steps that measure noise, %.0f passes: %.3g s each\n", t.noisy,
                t.passes, t.noise_s);
    char time[32];
    fprintf(
        out,
        "time         about %s: %.4g s a step (optimizer %.0f %%), %.0f evaluations of %.4g s\n"
        "             %.0f tokens/s, %.0f GFLOP/s (measured just now on some steps, before any soft phase)\n",
        format_duration(t.total_s, time, sizeof time), t.step_s, 100 * plan->optimizer_s / t.step_s,
        t.evals, t.eval_s, step_tokens / t.step_s, plan->flops_a_token * step_tokens / t.step_s * 1e-9);
}

void plan_print_json(FILE *out, const Plan *plan, const Config *config) {
    PlanTimes t = plan_times(plan, config);
    fprintf(
        out,
        "{\"total_steps\":%" PRId64 ",\"tokens_a_step\":%" PRId64 ",\"params\":%" PRId64
        ",\"memory_bytes\":%zu,\"checkpoint_bytes\":%zu,\"flops_a_token\":%.9g,\"threads\":%d,\"step_s\":%.9g,"
        "\"optimizer_s\":%.9g,\"evaluations\":%.0f,\"eval_s\":%.9g,\"time_s\":%.9g}\n",
        plan->total_steps, plan->tokens_a_step, total_params(plan), total_bytes(plan),
        plan->checkpoint_bytes, plan->flops_a_token, plan->threads, t.step_s, plan->optimizer_s, t.evals,
        t.eval_s, t.total_s);
}
