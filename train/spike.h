/* spike.h: is a step's loss or gradient norm far beyond those of the steps before it?
 *
 * Steps whose loss or norm lies more than `sigma` standard deviations above the mean of the last `length` ones are left
 * out, as OLMo 2 does (arXiv 2501.00656; 6 sigma, 128 steps). All steps enter the window, those left out too, so that a
 * change that lasts is learned from after a while. What is not finite must not come here: it would spoil the window.
 *
 *     SpikeWindow window = {.length = 128};
 *     if (spike_judge(&window, 6, loss, grad_norm)) ...        // no update
 */
#ifndef TRAIN_SPIKE_H
#define TRAIN_SPIKE_H

#include <stdbool.h>
#include <stdint.h>

enum { SPIKE_WINDOW_MAX = 1024 };

struct cJSON;

/* The last values; that of the n-th step is at n modulo length. */
typedef struct SpikeWindow {
    int64_t length; /* in [2, SPIKE_WINDOW_MAX] */
    int64_t count;  /* of steps judged */
    double loss[SPIKE_WINDOW_MAX], grad_norm[SPIKE_WINDOW_MAX];
} SpikeWindow;

/* Is it a spike? Never while the window is less than half full. */
bool spike_judge(SpikeWindow *w, double sigma, double loss, double grad_norm);

/* For checkpoints: as {"length":128,"count":3,"loss":[...],"grad_norm":[...]}, and back to the same bits. false when memory
 * runs out; when it is not what was written. Without the key the window is as it was. */
bool spike_add_json(struct cJSON *object, const char *key, const SpikeWindow *w);
bool spike_get_json(const struct cJSON *object, const char *key, SpikeWindow *w);

#endif
