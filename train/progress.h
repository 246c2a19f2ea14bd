/* progress.h: what a person sees of a run. In a terminal one live line, redrawn in place at most ten times
 * a second; elsewhere (file, pipe, TERM=dumb) one aligned line per logged step. Never fails, never slows
 * training.
 *
 *     Progress progress;
 *     progress_open(&progress, stdout, total_steps);
 *     for (...) progress_update(&progress, &record, logged);
 *     progress_note(&progress, "sample at step %d: %s", ...);
 *     progress_close(&progress);
 */
#ifndef TRAIN_PROGRESS_H
#define TRAIN_PROGRESS_H

#include "train/runlog.h"
#include <stdio.h>

typedef struct Progress {
    FILE *out;
    int64_t total_steps;
    bool live;           /* a terminal that can redraw a line */
    bool unicode, color; /* from the locale; from NO_COLOR */
    double drawn_s;      /* clock when the line was last drawn */
    int drawn_columns;   /* its width on the screen; 0 = no line is on the screen */
    int64_t first_step;  /* of this process, for the ETA; -1 before the first update */
    double first_s;
    StepRecord shown; /* last known value of every figure */
} Progress;

void progress_open(Progress *progress, FILE *out, int64_t total_steps);

/* Call it every step. `logged`: this step goes to metrics.jsonl, so it gets a line where there is no
 * terminal. */
void progress_update(Progress *progress, const StepRecord *record, bool logged);

/* Prints whole lines above the live line. A newline is added; control characters come out as "?". */
void progress_note(Progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Leaves the last state of the live line on the screen. */
void progress_close(Progress *progress);

/* The line for `record`, at most `columns` wide on the screen, as text without colors; less important
 * figures are left out when it is narrow. Returns `out`. */
char *progress_format_live(const Progress *progress, const StepRecord *record, int columns, char *out,
                           size_t size);
char *progress_format_plain(const Progress *progress, const StepRecord *record, char *out, size_t size);

/* "42 s", "3:20", "1:02:45" as 42 -> "0:42"; "12.3k", "1.20M": figures of at most 7 characters. */
char *format_duration(double seconds, char *out, size_t size);
char *format_count(double count, char *out, size_t size);

#endif
