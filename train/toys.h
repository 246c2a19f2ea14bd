/* toys.h: the two toy problems of "When and Why SignSGD Outperforms SGD" (arXiv 2605.06615), for any
 * optimizer.
 *
 *     deterministic   f(x) = 1/2 sum L_i x_i^2   d = 5000, L_0 = 1000, other L_i = 1
 *     stochastic      f(x) = 1/2 sum x_i^2       d = 100; the gradient of x_0 has noise 100 N(0, 1)
 *
 * x starts as N(0, 1), then x_0 /= L_0. 3000 steps; the stochastic loss is the mean over 42 runs. The
 * learning rate is the best of 1e-2, 1e-3, ... 1e-8.
 *
 * Definitions are those of the authors' code (github.com/Dingzhen230/SignSGD_Outperforms_SGD, toy_models),
 * and so are the random numbers, torch.manual_seed(42): 42 runs are few, another seed moves the stochastic
 * losses by a fifth and more. Their deterministic start has no seed; ours is 42 too.
 *
 *     if (!toy_find(&toy, "stochastic", &err) || !toy_load(&config, toy, "signsgd", NULL, 0, &err) ||
 *         !toy_tune(toy, &config, curve, &err))
 *         return error_print(&err);
 *     printf("%g\n", curve[config.train.steps].val_loss);
 *     config_free(&config);
 */
#ifndef TRAIN_TOYS_H
#define TRAIN_TOYS_H

#include "train/config.h"
#include "train/runlog.h"

typedef struct Toy {
    const char *name, *function;
    int dims, runs;
    double curvature; /* L_0 */
    double noise;     /* standard deviation on the gradient of x_0 */
} Toy;

extern const Toy TOYS[]; /* ends with {0} */

/* ERR_CONFIG, with the nearest name, when there is none of that name. */
bool toy_find(const Toy **toy, const char *name, Error *err);

/* A loss read off the paper's figure, after `step` updates. */
typedef struct ToyPoint {
    const char *toy, *optimizer;
    int64_t step;
    double loss;
} ToyPoint;

extern const ToyPoint TOY_PUBLISHED[]; /* ends with {0} */

/* A config for `optimizer`, from scripts/toys.json and `words`: "lr=0.1" means optimizer.lr; words with a
 * dot, such as "train.steps=100", are any key. weight_decay is 0 unless a word says otherwise. */
bool toy_load(Config *config, const Toy *toy, const char *optimizer, char *const *words, int word_count,
              Error *err);

/* What x is: a vector, or a matrix of one row for optimizers that take no vectors. */
Role toy_role(const Config *config);

/* Fills curve[0 .. train.steps]: val_loss is f(x) after so many updates, NAN once it is not finite. Figures
 * are means over the runs; time_s is a sum, of the steps that toy_log writes. */
bool toy_run(const Toy *toy, const Config *config, StepRecord *curve, Error *err);

/* Sets the learning rate that ends lowest, of the seven and the optimizer's own default, and runs with it.
 * ERR_DIVERGED when none ends lower than it starts. */
bool toy_tune(const Toy *toy, Config *config, StepRecord *curve, Error *err);

/* Writes the curve as a run into config->run.dir: every log.every steps and the last. Closes `log`, which
 * still tells where an earlier run went. */
bool toy_log(RunLog *log, const Config *config, const StepRecord *curve, const char *command_line,
             Error *err);

#endif
