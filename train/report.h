/* report.h: a comparison as one HTML file that needs nothing else: curves, differences, verdicts, diagnostics, samples,
 * provenance. All numbers are worked out here; the page (report/) draws them.
 *
 *     ReportSource source = {.index = &index, .summary = &summary, .runs = runs};
 *     if (!report_write("report.html", &source, &err)) return error_print(&err);
 */
#ifndef TRAIN_REPORT_H
#define TRAIN_REPORT_H

#include "train/run_reader.h"
#include "train/study_summary.h"
#include <stdio.h>

typedef struct ReportSource {
    const StudyIndex *index; /* of a study, or of runs: run_group.h */
    const StudySummary *summary;
    const Run *runs; /* (index->run_count) those without dir are not shown: not begun, or only tuning */
} ReportSource;

/* Writes the page, whole or not at all. ERR_DATA when diagnostics.jsonl of a run is damaged, ERR_IO. The same runs give
 * the same bytes. */
bool report_write(const char *path, const ReportSource *source, Error *err);

/* The same of the study in a directory; baseline: NULL for its own. Runs that only served tuning are in its learning
 * rate curves, not in its loss curves; those that cannot be read are named. ERR_DATA also when index.json is damaged,
 * ERR_CONFIG when the baseline is no method. */
bool report_write_study(const char *path, const char *study_dir, const char *baseline, double level,
                        Error *err);

/* Only the data, a JSON object that may stand inside <script>. */
bool report_write_data(FILE *file, const ReportSource *source, Error *err);

#endif
