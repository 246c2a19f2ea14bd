/* sampler.h: one token out of a distribution. */
#ifndef TRAIN_SAMPLER_H
#define TRAIN_SAMPLER_H

#include <stdint.h>

/* An id drawn from softmax(logits / temperature) over the top_k largest logits and their equals (0: all);
 * temperature 0 takes the largest. `uniform` in [0, 1) decides, so the same number gives the same id.
 * `work` has room for V floats. */
int sampler_choose(const float *logits, int V, double temperature, int64_t top_k, double uniform,
                   float *work);

#endif
