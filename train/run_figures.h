/* run_figures.h: every figure that a run logged, as a curve by step: those of metrics.jsonl, and those of
 * diagnostics.jsonl that are of the whole model.
 *
 *     RunFigures f;
 *     if (!run_figures_read(&f, &run, &err)) return error_print(&err);
 *     const Curve *loss = run_figures_find(&f, "val/loss");        // NULL: never logged
 *     run_figures_free(&f);
 */
#ifndef TRAIN_RUN_FIGURES_H
#define TRAIN_RUN_FIGURES_H

#include "train/curve.h"
#include "train/run_reader.h"

typedef struct RunFigures {
    Curve *curves; /* finite values only; figures without any are left out */
    int count;
} RunFigures;

/* ERR_DATA when a line of diagnostics.jsonl other than the last is damaged; ERR_IO. */
bool run_figures_read(RunFigures *figures, const Run *run, Error *err);
void run_figures_free(RunFigures *figures);

const Curve *run_figures_find(const RunFigures *figures, const char *key);

/* What diagnostics.jsonl says of single tensors: matrices, embeddings and heads. */
enum { SPECTRA_MAX = 8, QUANTILES_MAX = 32, SPECTRUM_SIDES = 2 };

typedef struct TensorSpectrum {
    double step;
    double sigma[SPECTRUM_SIDES]
                [QUANTILES_MAX]; /* quantiles of the singular values before and after the map */
    int count[SPECTRUM_SIDES];
} TensorSpectrum;

typedef struct TensorFigures {
    char name[128];
    RunFigures figures;
    TensorSpectrum spectra[SPECTRA_MAX]; /* of lines evenly chosen, the first and the last among them */
    int spectrum_count;
} TensorFigures;

typedef struct RunTensors {
    TensorFigures *tensors;
    int count;
} RunTensors;

/* Empty without diagnostics. Errors as above. */
bool run_tensors_read(RunTensors *tensors, const Run *run, Error *err);
void run_tensors_free(RunTensors *tensors);

/* Where a run's seconds went. */
enum { RUN_TIMES_MAX = 8 };

typedef struct RunTimes {
    const char *key[RUN_TIMES_MAX]; /* "forward_s", ... */
    double seconds[RUN_TIMES_MAX];
    int count;
    double all_s; /* since it began, or branched off */
} RunTimes;

RunTimes run_times(const Run *run);

#endif
