/* study_summary.h: what a study says, as numbers: every method's loss over seeds, paired differences with verdicts, and how
 * the loss depends on what was tuned. All of it from index.json alone.
 *
 *     StudySummary s;
 *     if (!study_summary_make(&s, &index, NULL, 0.05, &err)) return error_print(&err);
 *     for (int i = 0; i < s.count; i++) {
 *         const StudyResult *m = &s.methods[s.order[i]];              // the best first
 *         printf("%s %.4f +- %.4f: %s\n", m->method->name, m->loss.mean, m->loss.se,
 *                stats_verdict_text(m->against_baseline.verdict));
 *     }
 *     study_summary_free(&s);                                         // before the index
 *
 * What counts for a method are its runs of phase "final" at the chosen point. Those that diverged have no loss: they are
 * left out of means and pairs, and counted.
 */
#ifndef TRAIN_STUDY_SUMMARY_H
#define TRAIN_STUDY_SUMMARY_H

#include "train/stats.h"
#include "train/study_index.h"
#include <stddef.h>

/* One method against another: paired t-test of the losses over the seeds that both have. */
typedef struct StudyComparison {
    StatsPaired test; /* of this method minus the other; its interval is not corrected */
    double p_holm;    /* corrected for the family; NAN where there is no test */
    StatsVerdict verdict;
    double
        detectable; /* the true difference that would be found with a probability of 0.8, were all comparisons of the
                          family of this kind: at level / comparisons; NAN where no noise is seen */
} StudyComparison;

/* A value of something that was tuned. */
typedef struct StudyPoint {
    char text[48]; /* "0.003" */
    double value;  /* NAN where it is no number */
    double
        loss; /* mean over the tuning seeds, at the best of what else was tuned; NAN where nothing is done */
    int n;    /* runs in that mean */
    int diverged; /* runs with this value that diverged: their points of the grid have no loss */
} StudyPoint;

/* "U-curve": loss by one key of the grid. */
typedef struct StudyCurve {
    const char *key;    /* "optimizer.lr" */
    StudyPoint *points; /* at least 2; numbers ascending, or else in order of appearance */
    int count, best;    /* best: index of the lowest loss, -1 without any */
    bool on_edge;       /* the best is the lowest or highest number that was tried */
} StudyCurve;

/* One point of a method that branches off another: its runs against the very runs that they left. */
typedef struct StudyBranch {
    const struct cJSON *settings;  /* the point */
    int64_t step;                  /* where its first run branches off */
    StudyComparison against_trunk; /* family: all branches of all methods */
} StudyBranch;

typedef struct StudyResult {
    const StudyMethod *method;        /* in the index */
    int runs, diverged, failed, open; /* final runs at the chosen point; open: waiting or running */
    int tuned, tuned_diverged;        /* runs of phase "tune" */
    const StudyRun **done;            /* loss.n of them, by ascending seed */
    StatsSample loss;
    StudyComparison against_baseline; /* family: every method against the baseline; itself: no test */
    StudyCurve *curves;
    int curve_count;
    StudyBranch *branches; /* points with final runs, in the index's order; none without a trunk */
    int branch_count;
} StudyResult;

/* Is the run of phase "final", of this method, at its chosen point? */
bool study_run_counts(const StudyRun *run, const StudyMethod *method);

typedef struct StudySummary {
    double level;         /* of the verdicts */
    int baseline;         /* a method */
    StudyResult *methods; /* in the index's order */
    int count;
    int *order;             /* methods by mean loss, those without one last */
    StudyComparison *pairs; /* pairs[a * count + b]: a against b; family: every pair of methods */
    int baseline_tests, pair_tests, branch_tests; /* comparisons in each family */
} StudySummary;

/* baseline: NULL for the index's own. ERR_CONFIG when it is no method, ERR_IO when memory runs out. Points into the index,
 * which must stay. */
bool study_summary_make(StudySummary *s, const StudyIndex *index, const char *baseline, double level,
                        Error *err);
void study_summary_free(StudySummary *s);

/* Settings as {"optimizer.lr": 0.003, ...} -> "lr=0.003 ...", keys without their section ("aux.lr"). Returns out. */
char *study_settings_text(const struct cJSON *settings, char *out, size_t size);

#endif
