/* progress.c: see progress.h. The live line is redrawn in place: up to its first row (it may have been
 * wrapped by a terminal made narrower meanwhile), clear to the end of the screen, print. It never ends in a
 * newline. */
#include "train/progress.h"

#include <langinfo.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define REDRAW_S 0.1
#define BAR_MIN  6
#define BAR_MAX  40

/* ---------------------------------------------------------------------------------------------- the terminal */

static double clock_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int terminal_columns(FILE *out) {
    struct winsize size;
    bool known = ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : 80;
}

/* Does the user's locale speak UTF-8? Asked without changing the locale of the process, which numbers depend on. */
static bool locale_is_utf8(void) {
    locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    if (!locale) return false;
    bool utf8 = strcmp(nl_langinfo_l(CODESET, locale), "UTF-8") == 0;
    freelocale(locale);
    return utf8;
}

static bool set_and_not_empty(const char *name) {
    const char *value = getenv(name);
    return value && *value;
}

void progress_open(Progress *p, FILE *out, int64_t total_steps) {
    const char *term = getenv("TERM");
    *p = (Progress){.out = out, .total_steps = total_steps, .first_step = -1, .shown = step_record_empty()};
    p->live = isatty(fileno(out)) && term && strcmp(term, "dumb") != 0;
    p->unicode = locale_is_utf8();
    p->color = p->live && !set_and_not_empty("NO_COLOR");
}

/* --------------------------------------------------------------------------------------------------- figures */

char *format_duration(double seconds, char *out, size_t size) {
    long long s = seconds < 3.6e6 ? llround(fmax(seconds, 0)) : 0; /* NaN, over 1,000 hours: unknown */
    if (!(seconds < 3.6e6)) snprintf(out, size, "?");
    else if (s < 3600) snprintf(out, size, "%lld:%02lld", s / 60, s % 60);
    else snprintf(out, size, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    return out;
}

char *format_count(double count, char *out, size_t size) {
    static const char units[] = " kMGTP";
    int unit = 0;
    for (; count >= 999.5 && units[unit + 1]; unit++) count /= 1000;
    if (unit == 0) snprintf(out, size, "%.0f", count);
    else snprintf(out, size, "%.*f%c", count < 9.995 ? 2 : count < 99.95 ? 1 : 0, count, units[unit]);
    return out;
}

/* Share of a step's time that the optimizer takes; NAN when it was not measured. */
static double optimizer_frac(const StepRecord *r) {
    double total_s = r->forward_s + r->backward_s + r->optimizer_s;
    return total_s > 0 ? r->optimizer_s / total_s : NAN;
}

/* Seconds left at the pace since this process began; evaluations and samples are part of the pace. */
static double eta_s(const Progress *p, const StepRecord *r) {
    bool first = p->first_step < 0 || r->step <= p->first_step;
    double steps = (double)(first ? r->step : r->step - p->first_step);
    double seconds = first ? r->time_s : r->time_s - p->first_s;
    return seconds / steps * (double)(p->total_steps - r->step);
}

/* ------------------------------------------------------------------------------------------------- live line */

enum { PART_STEP, PART_LOSS, PART_VAL, PART_LR, PART_SPEED, PART_OPTIMIZER, PART_ETA, PART_COUNT };

/* The figures as words, in the order of the line; "" where there is nothing to show. */
static void format_parts(const Progress *p, const StepRecord *r, int decimals, char part[PART_COUNT][32]) {
    char text[24];
    memset(part, 0, PART_COUNT * sizeof *part);
    snprintf(part[PART_STEP], sizeof *part, "%lld/%lld", (long long)r->step, (long long)p->total_steps);
    if (!isnan(r->train_loss))
        snprintf(part[PART_LOSS], sizeof *part, "loss %.*f", decimals, r->train_loss);
    if (!isnan(r->val_loss)) snprintf(part[PART_VAL], sizeof *part, "val %.*f", decimals, r->val_loss);
    if (!isnan(r->lr)) snprintf(part[PART_LR], sizeof *part, "lr %.2g", r->lr);
    if (r->tokens_per_s > 0)
        snprintf(part[PART_SPEED], sizeof *part, "%s tok/s",
                 format_count(r->tokens_per_s, text, sizeof text));
    if (!isnan(optimizer_frac(r)))
        snprintf(part[PART_OPTIMIZER], sizeof *part, "opt %.0f%%", 100 * optimizer_frac(r));
    if (r->step > 0)
        snprintf(part[PART_ETA], sizeof *part, "eta %s", format_duration(eta_s(p, r), text, sizeof text));
}

/* Joins the parts with `gap` blanks before each but the first; returns the width. */
static int join_parts(char part[PART_COUNT][32], int gap, char *out, size_t size) {
    size_t n = 0;
    *out = '\0';
    for (int i = 0; i < PART_COUNT && n < size; i++)
        if (*part[i]) n += (size_t)snprintf(out + n, size - n, "%*s%s", n ? gap : 0, "", part[i]);
    return (int)n;
}

/* A bar `columns` wide, in halves of a column with Unicode. Returns the end of the text. */
static char *draw_bar(const Progress *p, double done_frac, int columns, char *out) {
    int halves = (int)(done_frac * 2 * columns);
    for (int i = 0; i < columns; i++) {
        int filled = halves - 2 * i;
        const char *cell = p->unicode ? (filled >= 2   ? "━"
                                         : filled == 1 ? "╸"
                                                       : "─")
                                      : (filled >= 2 ? "=" : "-");
        out = stpcpy(out, cell);
    }
    return out;
}

char *progress_format_live(const Progress *p, const StepRecord *r, int columns, char *out, size_t size) {
    static const int least_important_first[] = {PART_OPTIMIZER, PART_LR,  PART_SPEED,
                                                PART_VAL,       PART_ETA, PART_LOSS};
    char part[PART_COUNT][32], words[PART_COUNT * 34], bar[BAR_MAX * 3 + 1] = "";
    format_parts(p, r, 3, part);
    int gap = 2, width = join_parts(part, gap, words, sizeof words);
    if (columns - width - gap < BAR_MIN) width = join_parts(part, gap = 1, words, sizeof words);
    for (size_t i = 0; width > columns && i < sizeof least_important_first / sizeof(int); i++) {
        *part[least_important_first[i]] = '\0';
        width = join_parts(part, gap, words, sizeof words);
    }
    int room = columns - width - gap;
    double done_frac = p->total_steps > 0 ? fmin((double)r->step / (double)p->total_steps, 1) : 0;
    if (room < BAR_MIN) gap = 0;
    else draw_bar(p, done_frac, room < BAR_MAX ? room : BAR_MAX, bar);
    snprintf(out, size, "%s%*s%.*s", bar, gap, "", columns > 0 ? columns : 0, words);
    return out;
}

/* Columns of a text whose characters are all one column wide. */
static int text_columns(const char *text) {
    int n = 0;
    for (; *text; text++) n += ((unsigned char)*text & 0xc0) != 0x80;
    return n;
}

static void erase(Progress *p) {
    if (p->drawn_columns == 0) return;
    int rows_up = (p->drawn_columns - 1) / terminal_columns(p->out);
    if (rows_up > 0) fprintf(p->out, "\x1b[%dA", rows_up);
    fprintf(p->out, "\r\x1b[J");
    p->drawn_columns = 0;
}

/* The bar in green, the rest as it is. */
static void draw(Progress *p) {
    char line[512];
    /* Three columns stay free: for the "^C" that a terminal echoes, and because some wrap once the last is filled. */
    progress_format_live(p, &p->shown, terminal_columns(p->out) - 3, line, sizeof line);
    erase(p);
    size_t bar = strspn(line, p->unicode ? "━╸─" : "=-"); /* bytes of these; digits are not among them */
    if (p->color && bar) fprintf(p->out, "\x1b[32m%.*s\x1b[0m%s", (int)bar, line, line + bar);
    else fputs(line, p->out);
    fflush(p->out);
    p->drawn_columns = text_columns(line);
    p->drawn_s = clock_s();
}

/* ------------------------------------------------------------------------------------------------ plain lines */

char *progress_format_plain(const Progress *p, const StepRecord *r, char *out, size_t size) {
    char part[PART_COUNT][32], total[24];
    format_parts(p, r, 4, part);
    int digits = snprintf(total, sizeof total, "%lld", (long long)p->total_steps);
    int n = snprintf(out, size, "step %*s  %-12s  %-11s  %-10s  %13s  %-8s  %s", 2 * digits + 1,
                     part[PART_STEP], part[PART_LOSS], part[PART_VAL], part[PART_LR], part[PART_SPEED],
                     part[PART_OPTIMIZER], part[PART_ETA]);
    while (n > 0 && (size_t)n < size && out[n - 1] == ' ') out[--n] = '\0';
    return out;
}

/* --------------------------------------------------------------------------------------------------- updates */

/* What a record leaves out stays on the line: the last known validation loss, for one. */
static void merge(StepRecord *shown, const StepRecord *r) {
    StepRecord before = *shown;
    *shown = *r;
    if (isnan(r->train_loss)) shown->train_loss = before.train_loss;
    if (isnan(r->val_loss)) shown->val_loss = before.val_loss;
    if (isnan(r->lr)) shown->lr = before.lr;
    if (isnan(r->tokens_per_s)) shown->tokens_per_s = before.tokens_per_s;
    if (isnan(optimizer_frac(r))) {
        shown->forward_s = before.forward_s;
        shown->backward_s = before.backward_s;
        shown->optimizer_s = before.optimizer_s;
    }
}

void progress_update(Progress *p, const StepRecord *record, bool logged) {
    if (p->first_step < 0) {
        p->first_step = record->step;
        p->first_s = record->time_s;
    }
    merge(&p->shown, record);
    if (p->live) {
        if (record->step >= p->total_steps || clock_s() - p->drawn_s >= REDRAW_S) draw(p);
    } else if (logged) {
        char line[256];
        fprintf(p->out, "%s\n", progress_format_plain(p, record, line, sizeof line));
        fflush(p->out);
    }
}

void progress_note(Progress *p, const char *format, ...) {
    char *text = NULL;
    va_list args;
    va_start(args, format);
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0) return;
    for (char *c = text; *c; c++) /* a model may say anything, escape sequences too */
        if (((unsigned char)*c < ' ' && *c != '\n' && *c != '\t') || *c == 0x7f) *c = '?';
    bool drawn = p->drawn_columns > 0;
    erase(p);
    fprintf(p->out, "%s\n", text);
    if (drawn) draw(p);
    fflush(p->out);
    free(text);
}

void progress_close(Progress *p) {
    if (p->drawn_columns > 0) {
        draw(p);
        fputc('\n', p->out);
    }
    p->drawn_columns = 0;
    fflush(p->out);
}
