/* schema.c: see schema.h. */
#include "train/schema.h"

#define KEY(type, section, member, initial, range, doc)                                                    \
    { #member, FIELD_##type, offsetof(section, member), initial, range, doc }

/* Unbounded integers end at 1e15, well before a JSON number stops being exact (2^53). */
static const Field model_fields[] = {
    KEY(INT, ModelSection, n_layer, "4", "[1,1024]", "transformer blocks"),
    KEY(INT, ModelSection, n_head, "4", "[1,1024]", "attention heads; divides n_embd"),
    KEY(INT, ModelSection, n_embd, "128", "[1,65536]", "width: channels of the residual stream"),
    KEY(INT, ModelSection, block_size, "128", "[1,65536]", "context: tokens of a sequence"),
    KEY(INT, ModelSection, vocab_size, "0", "[0,65536]", "token ids; 0 = what the data's tokenizer has"),
    KEY(BOOL, ModelSection, bias, "true", "", "biases in linear layers and LayerNorms"),
    {0}};

static const Field data_fields[] = {KEY(TEXT, DataSection, dir, "data/austen", "nonempty",
                                        "folder that prepare wrote: token shards and tokenizer"),
                                    {0}};

static const Field schedule_fields[] = {
    KEY(CHOICE, ScheduleSection, name, "cosine", "constant|cosine|linear|wsd",
        "shape of the decay after the warm-up"),
    KEY(CHOICE, ScheduleSection, warmup, "linear", "linear|cosine", "shape of the warm-up"),
    KEY(INT, ScheduleSection, warmup_steps, "0", "[0,1e15]", "steps until the peak"),
    KEY(REAL, ScheduleSection, initial_frac, "0", "[0,1]",
        "learning rate that the warm-up rises from, as a fraction of the peak"),
    KEY(REAL, ScheduleSection, final_frac, "0.1", "[0,1]",
        "learning rate at the last step, as a fraction of the peak"),
    KEY(REAL, ScheduleSection, decay_frac, "0.2", "[0,1]", "wsd: share of the run that decays, at its end"),
    {0}};

static const Field train_fields[] = {
    KEY(INT, TrainSection, steps, "0", "[0,1e15]", "budget in updates; set one of steps, tokens, epochs"),
    KEY(INT, TrainSection, tokens, "0", "[0,1e15]", "budget in tokens"),
    KEY(REAL, TrainSection, epochs, "0", "[0,1e9]", "budget in passes over the training split"),
    KEY(INT, TrainSection, batch_size, "8", "[1,65536]", "sequences in a micro-batch"),
    KEY(INT, TrainSection, grad_accum, "1", "[1,65536]", "micro-batches in a step"),
    KEY(REAL, TrainSection, grad_clip, "1", "[0,inf)",
        "largest global norm of the gradient; 0 = no clipping"),
    KEY(REAL, TrainSection, spike_sigma, "0", "[0,inf)",
        "leave out the update of a step whose loss or gradient norm lies so many standard deviations above "
        "the mean of late; 0 = of none"),
    KEY(INT, TrainSection, spike_window, "128", "[2,1024]", "how many steps that mean is of"),
    KEY(INT, TrainSection, max_rollbacks, "0", "[0,1e6]",
        "how often a run whose loss, gradient or weights are not finite goes back to its last checkpoint and leaves "
        "out the data read since; 0 = it ends"),
    KEY(INT, TrainSection, seed, "1", "[0,1e15]", "of the initial weights and the order of the data"),
    KEY(INT, TrainSection, threads, "0", "[0,1024]",
        "0 = one per available core; results do not depend on it"),
    KEY(CHOICE, TrainSection, resume, "auto", "auto|never|must",
        "an unfinished run in run.dir is continued from its last checkpoint (auto), moved aside (never), or "
        "has to be there (must)"),
    KEY(TEXT, TrainSection, init_from, "", "",
        "folder to begin from: a checkpoint of another run, or a GPT-2 of Hugging Face; empty = random weights"),
    KEY(CHOICE, TrainSection, init_take, "all", "all|weights",
        "from a checkpoint: weights, step, data position and the state that both optimizers keep, or only "
        "weights"),
    {0}};

static const Field eval_fields[] = {
    KEY(INT, EvalSection, every, "100", "[0,1e15]", "steps between evaluations; 0 = only at the end"),
    KEY(INT, EvalSection, tokens, "32768", "[1,1e15]",
        "tokens of the validation split, always the same ones"),
    {0}};

static const Field sample_fields[] = {
    KEY(INT, SampleSection, every, "0", "[0,1e15]", "steps between samples of generated text; 0 = never"),
    KEY(INT, SampleSection, tokens, "64", "[1,65536]", "length of a sample"),
    KEY(TEXT, SampleSection, prompt, "", "", "what a sample begins with; empty = a new document"),
    KEY(REAL, SampleSection, temperature, "0.8", "(0,100]", "of the softmax over the next token"),
    KEY(INT, SampleSection, top_k, "40", "[0,65536]", "draw from the k most likely tokens; 0 = from all"),
    {0}};

static const Field log_fields[] = {
    KEY(INT, LogSection, every, "10", "[1,1e15]", "steps between lines of metrics.jsonl"),
    KEY(BOOL, LogSection, tensorboard, "false", "",
        "the lines and samples also as an event file for TensorBoard, in the run's folder"),
    {0}};

static const Field diagnostics_fields[] = {
    KEY(INT, DiagnosticsSection, every, "0", "[0,1e15]",
        "steps between lines of diagnostics.jsonl; the first update and the last step have one too; 0 = none"),
    KEY(INT, DiagnosticsSection, noise_every, "0", "[0,1e15]",
        "steps between lines that also measure the gradient's noise, the first and last among them; 0 = never"),
    KEY(INT, DiagnosticsSection, noise_batches, "128", "[2,1e6]",
        "batches whose gradients that takes: each costs the gradient of a step"),
    KEY(BOOL, DiagnosticsSection, spectra, "true", "",
        "singular values too: nuclear norms, spectral norms of updates, spectra before and after Muon's kind of map"),
    {0}};

static const Field checkpoint_fields[] = {
    KEY(BOOL, CheckpointSection, save, "true", "",
        "save what is needed to go on: when a signal stops the run, at its end, and as often as below"),
    KEY(INT, CheckpointSection, every, "0", "[0,1e15]", "steps between checkpoints; 0 = only by time"),
    KEY(REAL, CheckpointSection, minutes, "10", "[0,1e9]",
        "save when so long nothing was saved: what a power cut may cost; 0 = only by steps"),
    KEY(INT, CheckpointSection, keep_last, "2", "[1,1e15]", "how many of the last ones stay"),
    KEY(BOOL, CheckpointSection, keep_best, "false", "",
        "save whenever the validation loss is the lowest so far; the last of these stays"),
    KEY(INT, CheckpointSection, keep_every, "0", "[0,1e15]",
        "save at each multiple of so many steps; these stay; 0 = none"),
    KEY(TEXT, CheckpointSection, keep_steps, "", "",
        "save at these steps, such as 300,700; these stay; empty = none"),
    {0}};

static const Field run_fields[] = {
    KEY(TEXT, RunSection, dir, "", "", "folder of the run; empty = runs/<name of the config file>"), {0}};

const Section CONFIG_SECTIONS[] = {
    {"model", offsetof(Config, model), model_fields, "the network"},
    {"data", offsetof(Config, data), data_fields, "what it learns from"},
    {"schedule", offsetof(Config, schedule), schedule_fields, "the learning rate over the run"},
    {"train", offsetof(Config, train), train_fields, "budget, batch and threads"},
    {"eval", offsetof(Config, eval), eval_fields, "validation"},
    {"sample", offsetof(Config, sample), sample_fields, "generated text"},
    {"log", offsetof(Config, log), log_fields, "metrics"},
    {"diagnostics", offsetof(Config, diagnostics), diagnostics_fields,
     "figures that say why (docs/diagnostics.md)"},
    {"checkpoint", offsetof(Config, checkpoint), checkpoint_fields,
     "what is saved to go on with, and what stays"},
    {"run", offsetof(Config, run), run_fields, "where the run is written"},
    {0}};

const Field RATE_FIELDS[] = {
    {"lr", FIELD_REAL, offsetof(OptimizerChoice, lr), NULL, "[0,inf)",
     "learning rate at the peak of the schedule"},
    {"weight_decay", FIELD_REAL, offsetof(OptimizerChoice, weight_decay), NULL, "[0,inf)",
     "decoupled: weights shrink by lr * weight_decay a step; not vectors, unless roles.vector says so"},
    {0}};

const char *nearest_optimizer(const char *word) {
    enum { NAMES_MAX = 64 };
    const char *names[NAMES_MAX + 1] = {NULL};
    for (int i = 0; i < NAMES_MAX && OPTIMIZERS[i]; i++) names[i] = OPTIMIZERS[i]->name;
    return nearest_name(word, names);
}
