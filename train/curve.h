/* curve.h: a figure of a run by step, means and differences of such curves over seeds, and fewer points of long ones.
 *
 *     const Curve *soft[] = {...}, *hard[] = {...};       // of seeds 1 ... n
 *     Curve difference;
 *     if (!curve_combine(&difference, soft, hard, n, &err)) ...
 *     curve_thin(&difference, 300);
 *     curve_free(&difference);
 */
#ifndef TRAIN_CURVE_H
#define TRAIN_CURVE_H

#include "core/error.h"
#include <stddef.h>

typedef struct Curve {
    char key[64];     /* "val/loss" */
    size_t count;     /* of points */
    double *step, *y; /* (count); steps ascend */
    double *se;       /* (count) standard error of y, a mean; NULL: y is no mean */
    double *low,
        *high; /* (count) least and greatest y of the points that this one stands for; NULL: they are itself */
} Curve;

/* Room for `count` points, none of which is there yet. ERR_IO. */
bool curve_create(Curve *curve, const char *key, size_t count, bool with_se, Error *err);
void curve_free(Curve *curve);

/* Means and standard errors (of n >= 2) of plus[i] - minus[i], i < n, at the steps that all of them have; `minus` NULL:
 * of plus[i]. The curves must be whole: not thinned. ERR_IO. */
bool curve_combine(Curve *out, const Curve *const *plus, const Curve *const *minus, int n, Error *err);

/* At most `limit` >= 3 points: first and last stay, those between are averaged in runs of equal length (step, y, se),
 * with the least and greatest y. ERR_IO. */
bool curve_thin(Curve *curve, size_t limit, Error *err);

#endif
