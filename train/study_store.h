/* study_store.h: a study's folder on disk.
 *
 *     studies/small/study.json      the description, as it was when the study was last started
 *                   index.json      where it stands, see study_index.h
 *                   runs/adamw/optimizer.lr=0.003/seed=1/         run directories
 *                   configs/adamw/optimizer.lr=0.003/seed=1.json  what train_gpt was given
 *                   logs/adamw/optimizer.lr=0.003/seed=1.log      what it said
 *                   trunks/2f0c.../ -> ../runs/...                runs that others branch from, by what decides them
 *                   lock            held (flock) by the process that works here
 *
 * A run is known by its config, not by its name: one whose config is another (run.dir, train.threads,
 * train.resume and checkpoint.* aside) is not taken for the one that is wanted. The config of a branch names
 * its trunk by a hash of the trunk's settings, so that a branch of another trunk is another run.
 */
#ifndef TRAIN_STUDY_STORE_H
#define TRAIN_STUDY_STORE_H

#include "train/study_plan.h"

/* Creates the folder and locks it; the descriptor, to be closed at the end. -1: ERR_BUSY when another
 * process holds it, ERR_IO. */
int study_store_lock(const char *dir, Error *err);

/* Writes <dir>/study.json; ERR_IO. */
bool study_store_describe(const StudySpec *spec, Error *err);

/* What has become of a run, by what is on the disk. */
StudyOutcome study_store_outcome(const StudyTask *task);

/* Is what lies in its place, if anything, not the run that is wanted? Then it has to be moved aside. */
bool study_store_is_taken(const StudyTask *task);

enum { STUDY_PATH_MAX = 1200 };

/* Puts down what a run needs to be started: its config, and the link to its trunk (NULL: none). */
bool study_store_prepare(const StudySpec *spec, const StudyRun *run, const StudyTask *task,
                         const StudyRun *trunk_run, const StudyTask *trunk, Error *err);

/* <dir>/configs/adamw/.../seed=1.json, <dir>/logs/adamw/.../seed=1.log. Return out. */
char *study_store_config(const StudySpec *spec, const StudyRun *run, char out[STUDY_PATH_MAX]);
char *study_store_log(const StudySpec *spec, const StudyRun *run, char out[STUDY_PATH_MAX]);

bool study_store_has_checkpoint(const StudySpec *spec, const StudyRun *run, int64_t step);

/* Removes all checkpoints of a run but `keep`, the highest; other files stay. */
void study_store_remove_checkpoints(const StudySpec *spec, const StudyRun *run, int keep);

#endif
