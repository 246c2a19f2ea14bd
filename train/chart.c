/* chart.c: see chart.h. A canvas of cells is drawn dot by dot, then printed between the axes. */
#include "train/chart.h"

#include "core/memory.h"
#include <errno.h>
#include <langinfo.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { COLUMNS_MAX = 160, LABEL_MAX = 24, AXIS_WIDTH = 9, SERIES_MAX = 53, TICKS_MAX = 16 };

/* ------------------------------------------------------------------------------------------------ style */

static int columns_of(FILE *out) {
    struct winsize size = {0};
    const char *said = getenv("COLUMNS");
    int columns = 0;
    if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0) columns = size.ws_col;
    if (columns <= 0 && said) columns = atoi(said);
    return columns > 0 ? columns : 80;
}

ChartStyle chart_style(FILE *out) {
    const char *no_color = getenv("NO_COLOR"), *term = getenv("TERM");
    return (ChartStyle){
        .columns = columns_of(out),
        .unicode = !strcmp(nl_langinfo(CODESET), "UTF-8"),
        .color = isatty(fileno(out)) && !(no_color && *no_color) && term && strcmp(term, "dumb") != 0,
    };
}

/* Colors of the 256-color palette that people with any color vision tell apart, on dark and light
 * ground. */
const char *chart_color(const ChartStyle *style, int index) {
    static const char *const colors[] = {"\033[38;5;32m",  "\033[38;5;208m", "\033[38;5;35m",
                                         "\033[38;5;169m", "\033[38;5;178m", "\033[38;5;80m",
                                         "\033[38;5;160m", "\033[38;5;104m"};
    return style->color ? colors[(size_t)index % (sizeof colors / sizeof *colors)] : "";
}

const char *chart_color_end(const ChartStyle *style) {
    return style->color ? "\033[0m" : "";
}

char chart_letter(int index) {
    return index < 26 ? (char)('a' + index) : index < 52 ? (char)('A' + index - 26) : '#';
}

/* ------------------------------------------------------------------------------------------------ range */

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The highest value of a series beyond x = from; its last value if all lie before. */
static double highest_beyond(const ChartSeries *s, double from) {
    double highest = s->y[s->count - 1];
    for (size_t i = 0; i < s->count; i++)
        if (s->x[i] >= from && s->y[i] > highest) highest = s->y[i];
    return highest;
}

ChartRange chart_range(const ChartSeries *series, int count) {
    ChartRange r = {INFINITY, -INFINITY, INFINITY, -INFINITY, false};
    double tops[SERIES_MAX], all = -INFINITY;
    int shown = 0;
    for (int s = 0; s < count; s++)
        for (size_t i = 0; i < series[s].count; i++) {
            r.x0 = fmin(r.x0, series[s].x[i]), r.x1 = fmax(r.x1, series[s].x[i]);
            r.y0 = fmin(r.y0, series[s].y[i]), all = fmax(all, series[s].y[i]);
        }
    if (!(r.x1 > r.x0)) return r;
    for (int s = 0; s < count && shown < SERIES_MAX; s++)
        if (series[s].count) tops[shown++] = highest_beyond(&series[s], r.x0 + 0.2 * (r.x1 - r.x0));
    qsort(tops, (size_t)shown, sizeof *tops, by_value);
    r.y1 = fmin(tops[shown - 1], r.y0 + 2 * (tops[shown / 2] - r.y0));
    if (!(r.y1 > r.y0)) r.y1 = fmax(all, r.y0 + 1e-3 * fmax(1, fabs(r.y0)));
    r.clipped = all > r.y1;
    r.y0 -= 0.02 * (r.y1 - r.y0); /* so that the lowest curve is not on the axis */
    return r;
}

double chart_tick_step(double range, int ticks) {
    double power = pow(10, floor(log10(range / ticks)));
    double least = range / ticks / power * (1 - 1e-9); /* 1e-9: rounding must not skip an exact fit */
    return power * (least <= 1 ? 1 : least <= 2 ? 2 : least <= 5 ? 5 : 10);
}

/* ----------------------------------------------------------------------------------------------- canvas */

typedef struct Cell {
    uint8_t dots;  /* braille: bit i is dot i + 1 */
    uint8_t owner; /* series on top, + 1; 0 = empty */
    char letter;   /* drawn instead of dots */
} Cell;

typedef struct Canvas {
    Cell *cells;
    int columns, rows;
    int dots_x, dots_y; /* a cell */
    ChartRange range;
} Canvas;

static double dot_column(const Canvas *c, double x) {
    return (x - c->range.x0) / (c->range.x1 - c->range.x0) * (c->columns * c->dots_x - 1);
}

static double dot_row(const Canvas *c, double y) {
    return (c->range.y1 - y) / (c->range.y1 - c->range.y0) * (c->rows * c->dots_y - 1);
}

static void draw_dot(Canvas *c, int series, double column, double row) {
    static const uint8_t bits[4][2] = {{0x01, 0x08}, {0x02, 0x10}, {0x04, 0x20}, {0x40, 0x80}};
    int x = (int)lround(column), y = (int)lround(row);
    if (x < 0 || x >= c->columns * c->dots_x || row < -0.5 || y >= c->rows * c->dots_y) return;
    Cell *cell = &c->cells[(y / c->dots_y) * c->columns + x / c->dots_x];
    cell->dots |= bits[y % c->dots_y][x % c->dots_x];
    cell->owner = (uint8_t)(series + 1);
}

static double clamp(double value, double low, double high) {
    return value < low ? low : value > high ? high : value;
}

/* Dot by dot along the longer side; ends far outside are brought near first, so that a spike costs no
 * time. */
static void draw_line(Canvas *c, int series, double x0, double y0, double x1, double y1) {
    double far = 50.0 * c->rows * c->dots_y;
    y0 = clamp(y0, -far, far), y1 = clamp(y1, -far, far);
    int steps = (int)ceil(fmax(fabs(x1 - x0), fabs(y1 - y0)));
    for (int i = 0; i <= steps; i++) {
        double t = steps ? (double)i / steps : 0;
        draw_dot(c, series, x0 + t * (x1 - x0), y0 + t * (y1 - y0));
    }
}

static void draw_series(Canvas *c, const ChartSeries *s, int index) {
    for (size_t i = 0; i < s->count; i++) {
        size_t from = i ? i - 1 : 0;
        draw_line(c, index, dot_column(c, s->x[from]), dot_row(c, s->y[from]), dot_column(c, s->x[i]),
                  dot_row(c, s->y[i]));
    }
}

static double value_at(const ChartSeries *s, double x) {
    for (size_t i = 1; i < s->count; i++)
        if (s->x[i] >= x && s->x[i] > s->x[i - 1])
            return s->y[i - 1] + (s->y[i] - s->y[i - 1]) * (x - s->x[i - 1]) / (s->x[i] - s->x[i - 1]);
    return s->y[s->count - 1];
}

/* The series' letter on its curve about every 16 columns, staggered so that close curves do not hide
 * each other's. */
static void draw_letters(Canvas *c, const ChartSeries *s, int index, int count) {
    int apart = 4 * count > 16 ? 4 * count : 16;
    for (int column = 2 + apart * index / count; column < c->columns; column += apart) {
        double x = c->range.x0 + (c->range.x1 - c->range.x0) * column / (c->columns - 1);
        if (!s->count || x < s->x[0] || x > s->x[s->count - 1]) continue;
        int row = (int)lround(dot_row(c, value_at(s, x))) / c->dots_y;
        if (row < 0 || row >= c->rows) continue;
        Cell *cell = &c->cells[row * c->columns + column];
        *cell = (Cell){.letter = chart_letter(index), .owner = (uint8_t)(index + 1)};
    }
}

/* ----------------------------------------------------------------------------------------------- labels */

typedef struct Label {
    int series, row;
    double y;
} Label;

static int by_height(const void *a, const void *b) {
    const Label *x = a, *y = b;
    return x->y != y->y ? (x->y < y->y) - (x->y > y->y) : x->series - y->series;
}

/* One label a row, near where its series ends; fewer than the series where they do not all fit. */
static int place_labels(const Canvas *c, const Chart *chart, Label *labels) {
    int count = 0;
    for (int s = 0; s < chart->series_count && count < c->rows && count < SERIES_MAX; s++) {
        const ChartSeries *one = &chart->series[s];
        if (!one->count) continue;
        double y = one->y[one->count - 1], row = clamp(dot_row(c, y) / c->dots_y, 0, c->rows - 1);
        labels[count++] = (Label){s, (int)row, y};
    }
    qsort(labels, (size_t)count, sizeof *labels, by_height);
    for (int i = 1; i < count; i++)
        if (labels[i].row <= labels[i - 1].row) labels[i].row = labels[i - 1].row + 1;
    for (int i = count - 1, limit = c->rows - 1; i >= 0; i--, limit--)
        if (labels[i].row > limit) labels[i].row = limit;
        else limit = labels[i].row;
    return count;
}

static int label_width(const Chart *chart) {
    int widest = 0;
    for (int s = 0; s < chart->series_count; s++) {
        int width = (int)strlen(chart->series[s].label) + 10; /* "a label 3.4567" */
        if (width > widest) widest = width;
    }
    if (chart->style.columns < 60) return 0;
    return widest < LABEL_MAX + 10 ? widest : LABEL_MAX + 10;
}

static void print_label(FILE *out, const Chart *chart, const Label *label) {
    const ChartSeries *s = &chart->series[label->series];
    fprintf(out, " %s%c %.*s %.4f%s", chart_color(&chart->style, label->series),
            chart_letter(label->series), LABEL_MAX, s->label, label->y, chart_color_end(&chart->style));
}

/* ----------------------------------------------------------------------------------------------- output */

static void put_braille(FILE *out, uint8_t dots) { /* U+2800 + dots, in UTF-8 */
    fprintf(out, "%c%c%c", 0xe2, 0xa0 | dots >> 6, 0x80 | (dots & 0x3f));
}

static void print_row(FILE *out, const Canvas *c, const Chart *chart, int row, bool whole) {
    int last = 0, end = c->columns;
    while (!whole && end > 0 && !c->cells[row * c->columns + end - 1].owner) end--;
    for (int x = 0; x < end; x++) {
        const Cell *cell = &c->cells[row * c->columns + x];
        if (cell->owner && cell->owner != last) fputs(chart_color(&chart->style, cell->owner - 1), out);
        if (cell->owner) last = cell->owner;
        if (!cell->owner) putc(' ', out);
        else if (cell->letter) putc(cell->letter, out);
        else if (chart->style.unicode) put_braille(out, cell->dots);
        else putc(chart_letter(cell->owner - 1), out);
    }
    if (last) fputs(chart_color_end(&chart->style), out);
}

/* The multiples of `step` from low to high. */
static int list_ticks(double low, double high, double step, double ticks[TICKS_MAX]) {
    int count = 0;
    for (double first = ceil(low / step); count < TICKS_MAX && (first + count) * step <= high; count++)
        ticks[count] = (first + count) * step;
    return count;
}

static int decimals_of(double step) {
    return (int)clamp(ceil(-log10(step) - 1e-9), 0, 9);
}

static void print_plot(FILE *out, const Canvas *c, const Chart *chart) {
    const bool unicode = chart->style.unicode;
    double step = chart_tick_step(c->range.y1 - c->range.y0, c->rows >= 12 ? 8 : 4), ticks[TICKS_MAX];
    int tick = list_ticks(c->range.y0, c->range.y1, step, ticks) - 1; /* rows go down, ticks up */
    Label labels[SERIES_MAX];
    int label_count = label_width(chart) ? place_labels(c, chart, labels) : 0;
    for (int row = 0, label = 0; row < c->rows; row++) {
        if (tick >= 0 && (int)lround(dot_row(c, ticks[tick])) / c->dots_y == row)
            fprintf(out, "%*.*f %s", AXIS_WIDTH - 2, decimals_of(step), ticks[tick--], unicode ? "┤" : "+");
        else fprintf(out, "%*s %s", AXIS_WIDTH - 2, "", unicode ? "│" : "|");
        bool labelled = label < label_count && labels[label].row == row;
        print_row(out, c, chart, row, labelled);
        if (labelled) print_label(out, chart, &labels[label++]);
        putc('\n', out);
    }
}

static void format_tick(double x, double step, char *out, size_t size) {
    double unit = x >= 1e9 || step >= 1e9 ? 1e9 : x >= 1e6 ? 1e6 : x >= 1e4 ? 1e3 : 1;
    const char *suffix = unit == 1e9 ? "G" : unit == 1e6 ? "M" : unit == 1e3 ? "k" : "";
    snprintf(out, size, "%.6g%s", x == 0 ? 0 : x / unit, x == 0 ? "" : suffix);
}

static void print_x_axis(FILE *out, const Canvas *c, const Chart *chart) {
    const bool unicode = chart->style.unicode;
    char labels[COLUMNS_MAX + 1] = "", text[32];
    bool ticks[COLUMNS_MAX] = {false};
    double step = chart_tick_step(c->range.x1 - c->range.x0, c->columns >= 60 ? 8 : 5), at_x[TICKS_MAX];
    int count = list_ticks(c->range.x0, c->range.x1, step, at_x), end = -1;
    memset(labels, ' ', COLUMNS_MAX);
    for (int i = 0; i < count; i++) {
        int column = (int)lround(dot_column(c, at_x[i])) / c->dots_x;
        format_tick(at_x[i], step, text, sizeof text);
        int length = (int)strlen(text), at = column - length / 2;
        if (at + length > c->columns) at = c->columns - length;
        if (at < 0) at = 0;
        if (at <= end) continue;
        ticks[column] = true;
        memcpy(labels + at, text, (size_t)length);
        end = at + length;
    }
    labels[end > 0 ? end : 0] = '\0';
    fprintf(out, "%*s%s", AXIS_WIDTH - 1, "", unicode ? "└" : "+");
    for (int x = 0; x < c->columns; x++)
        fputs(unicode ? (ticks[x] ? "┬" : "─") : (ticks[x] ? "+" : "-"), out);
    fprintf(out, "\n%*s%s\n", AXIS_WIDTH, "", labels);
}

static void draw_all(Canvas *c, const Chart *chart) {
    int count = chart->series_count < SERIES_MAX ? chart->series_count : SERIES_MAX;
    for (int s = count - 1; s >= 0; s--) draw_series(c, &chart->series[s], s);
    for (int s = count - 1; s >= 0 && chart->style.unicode && !chart->style.color; s--)
        draw_letters(c, &chart->series[s], s, count);
}

bool chart_print(FILE *out, const Chart *chart, Error *err) {
    Canvas c = {.rows = chart->rows, .range = chart_range(chart->series, chart->series_count)};
    if (!(c.range.x1 > c.range.x0)) {
        fprintf(out, "%s: nothing to draw yet\n", chart->title);
    } else {
        c.columns = (int)clamp(chart->style.columns, 30, COLUMNS_MAX) - AXIS_WIDTH - label_width(chart) - 1;
        c.dots_x = chart->style.unicode ? 2 : 1, c.dots_y = chart->style.unicode ? 4 : 1;
        c.cells = memory_alloc((size_t)c.columns * (size_t)c.rows, sizeof *c.cells, "the chart", err);
        if (!c.cells) return false;
        draw_all(&c, chart);
        fprintf(out, "%s%s", chart->title, c.range.clipped ? "" : "\n");
        if (c.range.clipped) fprintf(out, " (values above %.4g are off the chart)\n", c.range.y1);
        print_plot(out, &c, chart);
        print_x_axis(out, &c, chart);
        memory_free(c.cells);
    }
    return !ferror(out) || error_set(err, ERR_IO, "cannot write the chart: %s", strerror(errno));
}
