/* run_group.c: see run_group.h. */
#include "train/run_group.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What does not tell methods apart. */
static const char *const unlike[][2] = {
    {"train", "seed"}, {"train", "threads"}, {"train", "resume"}, {"run", "dir"}};

static cJSON *item_of(cJSON *config, const char *section, const char *key) {
    return cJSON_GetObjectItemCaseSensitive(cJSON_GetObjectItemCaseSensitive(config, section), key);
}

/* Of "runs/signum/seed=1/checkpoints/step_00000700" only the step stays. */
static bool keep_branch_step(cJSON *config) {
    const char *from = cJSON_GetStringValue(item_of(config, "train", "init_from"));
    const char *slash = from ? strrchr(from, '/') : NULL;
    if (!slash) return true;
    cJSON *step = cJSON_CreateString(slash + 1);
    return step && cJSON_ReplaceItemInObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(config, "train"),
                                                          "init_from", step);
}

/* The same text for runs of one method; NULL: no memory. */
static char *method_text(const Run *run) {
    cJSON *config = cJSON_Duplicate(run->config, true);
    for (size_t i = 0; i < sizeof unlike / sizeof *unlike; i++)
        cJSON_DeleteItemFromObjectCaseSensitive(cJSON_GetObjectItemCaseSensitive(config, unlike[i][0]),
                                                unlike[i][1]);
    char *text = config && keep_branch_step(config) ? cJSON_PrintUnformatted(config) : NULL;
    cJSON_Delete(config);
    return text;
}

static int64_t seed_of(const Run *run) {
    char text[32];
    return run_setting(run, "train.seed", text, sizeof text) ? strtoll(text, NULL, 10) : 0;
}

static StudyState state_of(const Run *run) {
    if (!strcmp(run->outcome, "finished")) return STUDY_DONE;
    if (!strcmp(run->outcome, "diverged")) return STUDY_DIVERGED;
    return !strcmp(run->outcome, "failed") ? STUDY_FAILED : STUDY_RUNNING;
}

static bool add_run(StudyIndex *index, const Run *run) {
    StudyRun *to = &index->runs[index->run_count++];
    *to = (StudyRun){.phase = STUDY_FINAL, .seed = seed_of(run), .branch_step = -1, .loss = NAN};
    snprintf(to->dir, sizeof to->dir, "%s", run->dir);
    to->state = state_of(run);
    if (to->state == STUDY_DONE) to->loss = run_result(run).final_val;
    if (to->state == STUDY_DONE && isnan(to->loss)) to->state = STUDY_RUNNING; /* it was never evaluated */
    return (to->settings = cJSON_CreateObject()) != NULL;
}

static bool add_method(StudyIndex *index, const Run *run) {
    StudyMethod *m = &index->methods[index->method_count++];
    *m = (StudyMethod){.settings = cJSON_CreateObject()};
    if (!run_setting(run, "optimizer.name", m->optimizer, sizeof m->optimizer)) strcpy(m->optimizer, "-");
    return m->settings != NULL;
}

/* `text`, or "text 2", "text 3", ... */
static void name_method(const StudyIndex *index, StudyMethod *m, const char *text) {
    char name[sizeof m->name];
    snprintf(name, sizeof name, "%s", text);
    for (int n = 2; study_index_method(index, name); n++) snprintf(name, sizeof name, "%.50s %d", text, n);
    memcpy(m->name, name, sizeof name);
}

static void name_methods(StudyIndex *index, const Run *runs, const int *method_of) {
    for (int m = 0; m < index->method_count; m++) {
        int members = 0, last = 0;
        for (int i = 0; i < index->run_count; i++)
            if (method_of[i] == m) members++, last = i;
        name_method(index, &index->methods[m],
                    members == 1 ? runs[last].name : index->methods[m].optimizer);
    }
    for (int i = 0; i < index->run_count; i++)
        strcpy(index->runs[i].method, index->methods[method_of[i]].name);
    strcpy(index->baseline, index->methods[0].name);
}

/* The first run with the same text, or i itself. */
static int first_alike(char *const *texts, int i) {
    int first = 0;
    while (strcmp(texts[first], texts[i]) != 0) first++;
    return first;
}

/* A seed counts once: the same config and seed once more is the same run, no other sample. */
static void count_seeds_once(StudyIndex *index, const int *method_of) {
    StudyRun *runs = index->runs;
    for (int i = 0; i < index->run_count; i++)
        for (int j = 0; j < i; j++)
            if (method_of[i] == method_of[j] && runs[i].seed == runs[j].seed &&
                runs[i].phase == STUDY_FINAL && runs[j].phase == STUDY_FINAL)
                runs[runs[j].state == STUDY_DONE ? i : j].phase = STUDY_TUNE;
}

static bool fill(StudyIndex *index, const Run *runs, int count, char **texts, int *method_of) {
    for (int i = 0; i < count; i++) {
        if (!(texts[i] = method_text(&runs[i])) || !add_run(index, &runs[i])) return false;
        int first = first_alike(texts, i);
        method_of[i] = first < i ? method_of[first] : index->method_count;
        if (first == i && !add_method(index, &runs[i])) return false;
    }
    name_methods(index, runs, method_of);
    count_seeds_once(index, method_of);
    return true;
}

bool run_group(StudyIndex *index, const Run *runs, int count, Error *err) {
    size_t room = (size_t)count + 1;
    *index = (StudyIndex){.done = true,
                          .methods = calloc(room, sizeof *index->methods),
                          .runs = calloc(room, sizeof *index->runs)};
    char **texts = calloc(room, sizeof *texts);
    int *method_of = calloc(room, sizeof *method_of);
    bool ok =
        index->methods && index->runs && texts && method_of && fill(index, runs, count, texts, method_of);
    for (int i = 0; texts && i < count; i++) free(texts[i]);
    free(texts);
    free(method_of);
    if (ok) return true;
    study_index_free(index);
    return error_set(err, ERR_IO, "out of memory grouping %d runs", count);
}
