/* run_group.h: runs given one by one, as a study: runs whose configs differ only in the seed are one method's.
 *
 *     StudyIndex index;
 *     if (!run_group(&index, runs, count, &err)) return error_print(&err);
 *     study_summary_make(&summary, &index, NULL, 0.05, &err);     // means, paired verdicts
 *     study_index_free(&index);
 */
#ifndef TRAIN_RUN_GROUP_H
#define TRAIN_RUN_GROUP_H

#include "train/run_reader.h"
#include "train/study_index.h"

/* index->runs[i] is runs[i], of phase "final", unless a run of the same method and seed counts already. A method is called like its run if it has one, else like its
 * optimizer; names that come twice are numbered. The first method is the baseline. Runs that branch off others
 * (train.init_from) at the same step are alike. Only a finished run has a loss. ERR_IO when memory runs out. */
bool run_group(StudyIndex *index, const Run *runs, int count, Error *err);

#endif
