/* run_csv.h: runs as comma-separated values, for pandas, R and spreadsheets.
 *
 *     if (!run_csv_print(stdout, (char *[]){"runs/adamw", "studies/small"}, 2, &err)) return error_print(&err);
 */
#ifndef TRAIN_RUN_CSV_H
#define TRAIN_RUN_CSV_H

#include "core/error.h"
#include <stdio.h>

/* A head, then a line for each line of metrics.jsonl: run,method,seed,phase,settings,step,tokens and every figure of
 * STEP_FIGURES by its key. Of a study all runs that have begun, with the method's name, "tune" or "final", and the settings
 * of their point as "lr=0.003 ..."; of other runs the optimizer's name, and neither. Absent figures are empty, the
 * temperature of a hard phase is inf. Quoted after RFC 4180; lines end in a newline alone. Numbers read back to the same
 * bits. ERR_DATA when a run cannot be read, unless it belongs to a study and has not ended. */
bool run_csv_print(FILE *out, char *const *dirs, int count, Error *err);

#endif
