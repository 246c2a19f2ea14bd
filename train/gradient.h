/* gradient.h: the gradient as one long vector, for clipping. */
#ifndef TRAIN_GRADIENT_H
#define TRAIN_GRADIENT_H

#include "core/param.h"

/* ||g||_2 over all tensors, accumulated in double in an order that does not depend on the number of threads. NaN or
 * infinite if any gradient is. */
double gradient_norm(const Param *params, int count, int threads);

/* The first tensor with a gradient that is not finite, or NULL. */
const Param *gradient_find_nonfinite(const Param *params, int count);

#endif
