/* chart.h: curves in a terminal: braille dots (2 x 4 a character) in a UTF-8 locale, letters elsewhere.
 *
 *     ChartSeries series[] = {{"adamw", x, y, count}, ...};  // best first: it is drawn on top
 *     Chart chart = {"validation loss by step", series, 1, 18, chart_style(stdout)};
 *     chart_print(stdout, &chart);
 *
 * Each series has a letter, which stands beside its end, and on the curve itself where there is no color.
 * The y axis shows what matters: from the lowest value up to where the curves are after the first steep
 * part.
 */
#ifndef TRAIN_CHART_H
#define TRAIN_CHART_H

#include "core/error.h"
#include <stddef.h>
#include <stdio.h>

/* What an output can show. */
typedef struct ChartStyle {
    int columns;  /* of the terminal, else $COLUMNS, else 80 */
    bool unicode; /* the locale says UTF-8: needs setlocale(LC_CTYPE, "") before */
    bool color;   /* a terminal, and neither NO_COLOR nor TERM=dumb is set */
} ChartStyle;

ChartStyle chart_style(FILE *out);

/* Escape sequence of the color of the series that comes `index`-th, and the one that ends it; "" without
 * color. */
const char *chart_color(const ChartStyle *style, int index);
const char *chart_color_end(const ChartStyle *style);

/* The letter of the `index`-th series: a to z, A to Z, then '#'. */
char chart_letter(int index);

/* Finite values, x not decreasing. */
typedef struct ChartSeries {
    const char *label;
    const double *x, *y;
    size_t count;
} ChartSeries;

typedef struct Chart {
    const char *title;
    const ChartSeries *series; /* best first */
    int series_count;
    int rows; /* of the plot, at least 3 */
    ChartStyle style;
} Chart;

typedef struct ChartRange {
    double x0, x1, y0, y1;
    bool clipped; /* some values lie above y1 */
} ChartRange;

/* The part of the plane that is shown: y1 is the highest value beyond the first fifth of the x axis, but
 * no further above the lowest value than twice what the median series is, so that one bad run does not
 * flatten the rest. x1 <= x0 when there is nothing to show. */
ChartRange chart_range(const ChartSeries *series, int count);

/* The smallest of 1, 2, 5 times a power of ten that cuts `range` into at most `ticks` steps. */
double chart_tick_step(double range, int ticks);

/* Prints title, plot and axes; a line that says so when there is nothing to show. ERR_IO when memory
 * runs out or `out` cannot be written. */
bool chart_print(FILE *out, const Chart *chart, Error *err);

#endif
