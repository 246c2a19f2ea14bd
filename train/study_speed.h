/* study_speed.h: how fast runs train side by side, measured by train_gpt --dry-run.
 *
 *     StudySpeed speed;
 *     if (!study_speed_share(&speed, "./train_gpt", &config, cores, runs, stdout, &err)) return error_print(&err);
 *     printf("%d runs at a time, %.0f tokens/s\n", speed.at_once, speed.tokens_per_s);
 */
#ifndef TRAIN_STUDY_SPEED_H
#define TRAIN_STUDY_SPEED_H

#include "train/config.h"
#include <stdio.h>

typedef struct StudySpeed {
    int at_once, threads; /* runs, and threads of each */
    double tokens_per_s;  /* of all together */
    double run_s;         /* a whole run of this config, evaluations included */
    int64_t total_steps, tokens_a_step, params;
    size_t memory_bytes; /* of one run */
    double flops_a_token;
} StudySpeed;

/* Trains `at_once` copies for a second at the same time, made-up tokens, nothing written. The error of a copy
 * that fails is passed on. */
bool study_speed_measure(StudySpeed *speed, const char *program, const Config *config, int at_once,
                         int threads, Error *err);

/* The fastest way of sharing the cores: measures 1, 2, 4, ... and one run a core, as far as there are `runs`
 * and memory for them. What was measured is told on `out` (NULL: it is not). */
bool study_speed_share(StudySpeed *best, const char *program, const Config *config, int cores, int runs,
                       FILE *out, Error *err);

#endif
