/* schedule.c: see schedule.h. Every shape is written as f + (1 - f) g with g exactly 1 at the start and
 * exactly 0 at the end, so that both ends come out exact in floating point. */
#include "train/schedule.h"

#include <math.h>

static double cosine(double share) {
    return (1.0 + cos(M_PI * share)) / 2.0;
}

static double warmup(int kind, double share) {
    return kind == WARMUP_COSINE ? 1.0 - cosine(share) : share;
}

/* How much of the way from `first` to `last` step is behind us: in [0, 1]; 0 when there is no way. */
static double progress(int64_t step, int64_t first, int64_t last) {
    if (step <= first || first >= last) return 0.0;
    return (double)(step - first) / (double)(last - first);
}

double schedule_factor(const ScheduleSection *s, int64_t step, int64_t total_steps) {
    if (step < s->warmup_steps)
        return s->initial_frac +
               (1.0 - s->initial_frac) * warmup(s->warmup, (double)step / (double)s->warmup_steps);
    int64_t peak = s->warmup_steps > 1 ? s->warmup_steps : 1;
    double left = 1.0;
    switch ((ScheduleKind)s->name) {
    case SCHEDULE_CONSTANT: return 1.0;
    case SCHEDULE_COSINE: left = cosine(progress(step, peak, total_steps)); break;
    case SCHEDULE_LINEAR: left = 1.0 - progress(step, peak, total_steps); break;
    case SCHEDULE_WSD: {
        int64_t start = total_steps - llround(s->decay_frac * (double)total_steps);
        left = 1.0 - progress(step, start > peak ? start : peak, total_steps);
        break;
    }
    }
    return s->final_frac + (1.0 - s->final_frac) * left;
}

bool schedule_check(const ScheduleSection *s, int64_t total_steps, Error *err) {
    if (s->warmup_steps < total_steps || s->warmup_steps == 0) return true;
    return error_set(
        err, ERR_CONFIG,
        "schedule.warmup_steps: %lld must be less than the %lld steps of the run; shorten the warm-up",
        (long long)s->warmup_steps, (long long)total_steps);
}
