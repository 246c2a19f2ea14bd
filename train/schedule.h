/* schedule.h: the learning rate over a run, as a factor in [0, 1] of its peak.
 *
 * With k the step (1-based), T all steps, W warm-up steps, f = final_frac, i = initial_frac:
 *     warm-up    k < W          i + (1 - i) w, w linear k / W, or cosine (1 - cos(pi k / W)) / 2
 *     then       p = (k - s) / (T - s), s = max(W, 1): 0 at the first step at the peak, 1 at the last step
 *     constant   1
 *     cosine     f + (1 - f) (1 + cos(pi p)) / 2
 *     linear     f + (1 - f) (1 - p)
 *     wsd        1 until the last decay_frac of the run, there linear from 1 to f (arXiv 2404.06395)
 * So the peak is reached exactly at step max(W, 1) and f exactly at step T.
 */
#ifndef TRAIN_SCHEDULE_H
#define TRAIN_SCHEDULE_H

#include "train/config.h"

/* A pure function of its arguments. A warm-up longer than the run is a ramp that never reaches 1. */
double schedule_factor(const ScheduleSection *schedule, int64_t step, int64_t total_steps);

/* ERR_CONFIG when the warm-up would not end before the run does. config_load calls it when the budget is
 * given in steps; a program calls it once it knows how many steps its tokens or epochs are. */
bool schedule_check(const ScheduleSection *schedule, int64_t total_steps, Error *err);

#endif
