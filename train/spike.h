/* spike.h: steps far beyond those before them: left out of training, or only counted.
 *
 * Steps whose loss or norm lies more than `sigma` standard deviations above the mean of the last `length` ones are left
 * out, as OLMo 2 does (arXiv 2501.00656; 6 sigma, 128 steps). All steps enter the window, those left out too, so that a
 * change that lasts is learned from after a while. What is not finite must not come here: it would spoil the window.
 *
 *     SpikeWindow window = {.length = 128};
 *     if (spike_judge(&window, 6, loss, grad_norm)) ...        // no update
 *
 * Counted is something simpler, in every run: a loss spike is a step whose training loss lies above the median of the
 * last 64 by more than 8 times their noise and by more than 0.1 nats; steps like that in a row are one spike. Their noise
 * is 1.05 times the median change from one step to the next, the standard deviation if they are Gaussian: neither a
 * falling loss nor the spike itself widens it much. Here too every loss enters the window.
 *
 *     SpikeCounter counter = {0};
 *     spike_count(&counter, loss);                             // counter.spikes so far
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

enum { SPIKE_RECENT = 64, SPIKE_RECENT_LEAST = 6 }; /* losses that it takes to judge another */

typedef struct SpikeCounter {
    int64_t count;             /* of losses seen */
    int64_t spikes;            /* of them, one after another counted once */
    bool within;               /* was the last one part of a spike? */
    double loss[SPIKE_RECENT]; /* that of the n-th step is at n modulo SPIKE_RECENT */
} SpikeCounter;

void spike_count(SpikeCounter *c, double loss);

/* For checkpoints: as {"length":128,"count":3,"loss":[...],"grad_norm":[...]}, and back to the same bits. false when memory
 * runs out; when it is not what was written. Without the key the window is as it was. */
bool spike_add_json(struct cJSON *object, const char *key, const SpikeWindow *w);
bool spike_get_json(const struct cJSON *object, const char *key, SpikeWindow *w);

/* The same, {"count":3,"spikes":0,"within":false,"loss":[...]}. */
bool spike_counter_add_json(struct cJSON *object, const char *key, const SpikeCounter *c);
bool spike_counter_get_json(const struct cJSON *object, const char *key, SpikeCounter *c);

#endif
