/* optim_replay: is this optimizer the one you know? Applies a config's optimizer to recorded gradients and
 * writes the weights, for comparison with another implementation (docs/optim_replay.md).
 *
 *     optim_replay CONFIG.json IN.safetensors OUT.safetensors [section.key=value ...]
 */
#include "core/threads.h"
#include "train/replay.h"

#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

static const char HELP[] =
    "usage: optim_replay CONFIG.json IN.safetensors OUT.safetensors\n"
    "                    [section.key=value ...]\n"
    "\n"
    "Applies the config's optimizer to recorded gradients, as a training run would.\n"
    "  IN   param.<name>: the weights; grad.<t>.<name>: the gradient of step t = 1..T,\n"
    "       T = train.steps; float32 or float64. Metadata: role.<name> = matrix,\n"
    "       embedding, head or vector (else by GPT-2 name; else two dimensions make a\n"
    "       matrix, others a vector); keep = \"1,5\": steps to write beside the last one\n"
    "  OUT  param.<t>.<name>: the weights after step t, float32\n"
    "Gradients are clipped to the global norm train.grad_clip, which is 1 by default;\n"
    "train.grad_clip=0 leaves them alone. docs/optim_replay.md: an example with PyTorch.\n"
    "Exit status: 0 done, 1 file error, 2 wrong config or command line, 4 wrong IN,\n"
    "6 a number is not finite.\n";

static void print_report(const Config *config, const ReplayReport *report, const char *out_path) {
    printf("%" PRId64 " steps of %s; ", report->steps, config->chosen[CHOICE_MAIN].optimizer->title);
    if (config->train.grad_clip > 0)
        printf("gradients of %" PRId64 " clipped to norm %g (train.grad_clip)\n\n", report->clipped_steps,
               config->train.grad_clip);
    else printf("gradients as they are (train.grad_clip is 0)\n\n");
    printf("%-12s %8s %12s  %-14s %10s %8s\n", "role", "tensors", "weights", "optimizer", "lr", "decay");
    for (int r = 0; r < ROLE_COUNT; r++) {
        if (report->role_tensors[r] == 0) continue;
        printf("%-12s %8d %12" PRId64 "  %-14s %10g %8g\n", ROLE_NAMES[r], report->role_tensors[r],
               report->role_params[r], config->optimizer.role[r].optimizer->name,
               config->optimizer.role[r].lr, config->optimizer.role[r].weight_decay);
    }
    printf("\nweights after %" PRId64 " of the steps: %s\n", report->kept_steps, out_path);
}

static bool is_same_file(const char *a, const char *b) {
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev && x.st_ino == y.st_ino;
}

static bool replay(int argc, char **argv, Error *err) {
    Config config = {0};
    ReplayReport report;
    for (int i = 1; i < argc; i++)
        if (argv[i][0] == '-')
            return error_set(err, ERR_CONFIG, "unknown option %s; see optim_replay --help", argv[i]);
    if (argc < 4)
        return error_set(err, ERR_CONFIG,
                         "what to replay? Type: optim_replay CONFIG.json IN.safetensors OUT.safetensors");
    const char *in = argv[2], *out = argv[3];
    if (is_same_file(in, out)) return error_set(err, ERR_CONFIG, "%s is both input and output", in);
    bool ok = config_load(&config, argv[1], argv + 4, argc - 4, err);
    if (!ok) return false;
    ok = replay_file(&config, in, out, &report, err);
    if (ok) print_report(&config, &report, out);
    config_free(&config);
    return ok && error_check_stdout(err);
}

int main(int argc, char **argv) {
    Error err;
    threads_prepare(argv);
    if (argc == 2 && strcmp(argv[1], "--help") == 0) {
        fputs(HELP, stdout);
        return error_check_stdout(&err) ? 0 : error_print(&err);
    }
    return replay(argc, argv, &err) ? 0 : error_print(&err);
}
