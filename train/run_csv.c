/* run_csv.c: see run_csv.h. */
#include "train/run_csv.h"

#include "core/field.h"
#include "train/run_reader.h"
#include "train/study_summary.h"
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What stands in front of a run's figures. */
typedef struct RunLabels {
    const char *run, *method, *phase, *settings;
    char seed[32];
} RunLabels;

static void print_text(FILE *out, const char *text) {
    bool plain = text[strcspn(text, ",\"\r\n")] == '\0';
    if (!plain) putc('"', out);
    for (const char *c = text; *c; c++) {
        if (*c == '"') putc('"', out);
        putc(*c, out);
    }
    if (!plain) putc('"', out);
    putc(',', out);
}

static void print_number(FILE *out, double value) {
    const Field real = {.type = FIELD_REAL};
    char text[64];
    if (isfinite(value)) fputs(field_text(&real, &value, text, sizeof text), out);
    else if (isinf(value)) fputs("inf", out);
}

static void print_head(FILE *out) {
    fputs("run,method,seed,phase,settings,step,tokens", out);
    for (const StepFigure *f = STEP_FIGURES; f->key; f++) fprintf(out, ",%s", f->key);
    putc('\n', out);
}

static void print_run(FILE *out, const Run *run, const RunLabels *labels) {
    const char *const texts[] = {labels->run, labels->method, labels->seed, labels->phase,
                                 labels->settings};
    for (size_t i = 0; i < run->record_count; i++) {
        StepRecord r = run->records[i];
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++) print_text(out, texts[k]);
        fprintf(out, "%" PRId64 ",%" PRId64, r.step, r.tokens);
        for (const StepFigure *f = STEP_FIGURES; f->key; f++) {
            putc(',', out);
            print_number(out, *step_figure(&r, f));
        }
        putc('\n', out);
    }
}

static bool print_lone_run(FILE *out, const char *dir, Error *err) {
    Run run;
    char method[FIELD_TEXT_MAX] = "";
    RunLabels labels = {.method = method, .phase = "", .settings = ""};
    if (!run_read(&run, dir, err)) return false;
    labels.run = run.dir;
    run_setting(&run, "optimizer.name", method, sizeof method);
    run_setting(&run, "train.seed", labels.seed, sizeof labels.seed);
    print_run(out, &run, &labels);
    run_free(&run);
    return true;
}

static bool print_study_run(FILE *out, const char *study, const StudyRun *r, Error *err) {
    Run run;
    char settings[1024], dir[2 * STUDY_DIR_MAX];
    if (r->state == STUDY_WAITING) return true;
    snprintf(dir, sizeof dir, "%s/%s", study, r->dir);
    if (!run_read(&run, dir, err)) return r->state != STUDY_DONE && r->state != STUDY_DIVERGED;
    RunLabels labels = {run.dir, r->method, r->phase == STUDY_FINAL ? "final" : "tune",
                        study_settings_text(r->settings, settings, sizeof settings), ""};
    snprintf(labels.seed, sizeof labels.seed, "%" PRId64, r->seed);
    print_run(out, &run, &labels);
    run_free(&run);
    return true;
}

static bool print_study(FILE *out, const char *dir, Error *err) {
    StudyIndex index;
    bool ok = study_index_read(&index, dir, err);
    for (int i = 0; ok && i < index.run_count; i++) ok = print_study_run(out, dir, &index.runs[i], err);
    study_index_free(&index);
    return ok;
}

bool run_csv_print(FILE *out, char *const *dirs, int count, Error *err) {
    print_head(out);
    for (int i = 0; i < count; i++) {
        if (!(study_index_exists(dirs[i]) ? print_study(out, dirs[i], err)
                                          : print_lone_run(out, dirs[i], err)))
            return false;
    }
    return true;
}
