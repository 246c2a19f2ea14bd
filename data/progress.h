/* progress.h: how long work in data/ tells its caller how far it is. */
#ifndef DATA_PROGRESS_H
#define DATA_PROGRESS_H

#include <stddef.h>

typedef struct Progress {
    void (*show)(void *context, const char *what, double done_frac); /* often; NULL: nobody listens */
    void *context;
} Progress;

static inline void progress_show(const Progress *p, const char *what, double done_frac) {
    if (p && p->show) p->show(p->context, what, done_frac);
}

#endif
