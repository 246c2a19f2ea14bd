/* study_print.h: a study in a terminal: means and verdicts, what was tuned, mean curves.
 *
 *     StudyPrint what = {.dir = "studies/small", .target = NAN};
 *     if (!study_print(stdout, &what, &err)) return error_print(&err);
 */
#ifndef TRAIN_STUDY_PRINT_H
#define TRAIN_STUDY_PRINT_H

#include "train/run_reader.h"
#include <stdio.h>

typedef struct StudyPrint {
    const char *dir;      /* of the study */
    const char *baseline; /* another one than the study's own, or NULL */
    double target;        /* also when runs reach this validation loss; NAN: no target */
    RunAxis by;           /* of the chart */
    bool train;           /* training loss in the chart, not validation loss */
} StudyPrint;

#define STUDY_LEVEL 0.05 /* of verdicts, after Holm */

/* Reads the index and the runs that count. A run whose files cannot be read is named, and left out of what needs them:
 * the losses are in the index. ERR_DATA for a damaged index, ERR_CONFIG for an unknown baseline, ERR_IO. */
bool study_print(FILE *out, const StudyPrint *what, Error *err);

#endif
