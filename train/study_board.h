/* study_board.h: what a person sees of a study while it goes on. In a terminal a line for each run at work and
 * one for the whole study, redrawn in place; elsewhere whole lines, and the study's now and then.
 *
 *     StudyBoard board;
 *     study_board_open(&board, stdout);
 *     study_board_note(&board, "%s: %.4f", run->dir, run->loss);         // stays
 *     study_board_show(&board, lines, line_count);                       // changes; the last is the study's
 *     study_board_close(&board);
 */
#ifndef TRAIN_STUDY_BOARD_H
#define TRAIN_STUDY_BOARD_H

#include "train/runlog.h"
#include <stdio.h>

enum { BOARD_LINE_SIZE = 256 };

typedef struct StudyBoard {
    FILE *out;
    bool live;
    int drawn;      /* lines on the screen that change */
    double shown_s; /* clock when the study's line was last shown */
} StudyBoard;

void study_board_open(StudyBoard *board, FILE *out);
void study_board_note(StudyBoard *board, const char *format, ...) __attribute__((format(printf, 2, 3)));
void study_board_show(StudyBoard *board, char (*lines)[BOARD_LINE_SIZE], int count);
void study_board_close(StudyBoard *board);

/* Where a study stands, in figures. Runs that grids will add are in none of them. */
typedef struct StudyFigures {
    int runs, ended;
    double tokens, tokens_done;
    double left_s; /* at the pace of runs of each method so far; NAN: unknown */
} StudyFigures;

/* One run's part: how far it has come, and at what pace its method trains. */
typedef struct StudyPart {
    int64_t begin_step, step, total_steps, tokens_a_step;
    double step_s; /* NAN: unknown; then it counts at the mean of the others */
    bool ended;
} StudyPart;

StudyFigures study_figures(const StudyPart *parts, int count, int at_once);

/* "12 of 80+ runs, 3.4M of 20M+ tokens, 35k tokens/s, at least 12:30 left"; without "+" and "at least" when all
 * runs are known */
char *study_figures_text(const StudyFigures *figures, bool open_ended, double tokens_per_s, char *out,
                         size_t size);

/* The last whole line of a run's metrics; false when there is none. */
bool study_last_record(const char *run_dir, StepRecord *record);

#endif
