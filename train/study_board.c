/* study_board.c: see study_board.h. */
#include "train/study_board.h"

#include "core/json.h"
#include "train/progress.h"
#include <fcntl.h>
#include <math.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define PLAIN_S 60 /* between two lines of the study where there is no terminal */

static double clock_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

void study_board_open(StudyBoard *board, FILE *out) {
    const char *term = getenv("TERM");
    *board = (StudyBoard){.out = out, .shown_s = clock_s()};
    board->live = isatty(fileno(out)) && term && strcmp(term, "dumb") != 0;
}

/* The lines that change go; the cursor stands where the first was. */
static void erase(StudyBoard *board) {
    if (board->drawn > 1) fprintf(board->out, "\033[%dA", board->drawn - 1);
    if (board->drawn > 0) fprintf(board->out, "\r\033[J");
    board->drawn = 0;
}

void study_board_note(StudyBoard *board, const char *format, ...) {
    va_list args;
    erase(board);
    va_start(args, format);
    vfprintf(board->out, format, args);
    va_end(args);
    fputc('\n', board->out);
    fflush(board->out);
}

void study_board_show(StudyBoard *board, char (*lines)[BOARD_LINE_SIZE], int count) {
    struct winsize size;
    double now = clock_s();
    if (!board->live) {
        if (now - board->shown_s < PLAIN_S) return;
        fprintf(board->out, "%s\n", lines[count - 1]);
        board->shown_s = now;
        fflush(board->out);
        return;
    }
    bool known = ioctl(fileno(board->out), TIOCGWINSZ, &size) == 0 && size.ws_col > 1 && size.ws_row > 1;
    int columns = known ? size.ws_col : 80, rows = known ? size.ws_row - 1 : 20,
        first = count > rows ? count - rows : 0;
    erase(board);
    for (int i = first; i < count; i++)
        fprintf(board->out, "%s%.*s", i > first ? "\n" : "", columns - 1, lines[i]);
    board->drawn = count - first;
    fflush(board->out);
}

void study_board_close(StudyBoard *board) {
    erase(board);
    fflush(board->out);
}

/* ------------------------------------------------------------------------------------------------- figures */

StudyFigures study_figures(const StudyPart *parts, int count, int at_once) {
    StudyFigures f = {.runs = count};
    double known_s = 0, known_steps = 0, unknown_steps = 0, longest_s = 0;
    for (int i = 0; i < count; i++) {
        const StudyPart *p = &parts[i];
        double all = (double)(p->total_steps - p->begin_step), done = (double)(p->step - p->begin_step);
        if (p->ended || done > all) done = all;
        if (done < 0) done = 0;
        f.ended += p->ended;
        f.tokens += all * (double)p->tokens_a_step;
        f.tokens_done += done * (double)p->tokens_a_step;
        if (isnan(p->step_s)) unknown_steps += all - done;
        else {
            known_s += (all - done) * p->step_s;
            known_steps += all - done;
            if ((all - done) * p->step_s > longest_s) longest_s = (all - done) * p->step_s;
        }
    }
    if (unknown_steps > 0) known_s += known_steps > 0 ? unknown_steps * known_s / known_steps : NAN;
    f.left_s = fmax(known_s / at_once, longest_s); /* one run is not shared out */
    if (isnan(known_s)) f.left_s = NAN;
    return f;
}

char *study_figures_text(const StudyFigures *f, bool open_ended, double tokens_per_s, char *out,
                         size_t size) {
    char done[16], all[16], rate[16] = "?", left[32];
    const char *more = open_ended ? "+" : "";
    if (tokens_per_s > 0) format_count(tokens_per_s, rate, sizeof rate);
    snprintf(out, size, "%d of %d%s runs, %s of %s%s tokens, %s tokens/s, %s%s left", f->ended, f->runs,
             more, format_count(f->tokens_done, done, sizeof done),
             format_count(f->tokens, all, sizeof all), more, rate, open_ended ? "at least " : "",
             format_duration(f->left_s, left, sizeof left));
    return out;
}

bool study_last_record(const char *run_dir, StepRecord *record) {
    char path[1200], text[8193];
    Error none;
    snprintf(path, sizeof path, "%s/metrics.jsonl", run_dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    off_t size = lseek(fd, 0, SEEK_END), from = size > 8192 ? size - 8192 : 0;
    ssize_t n = pread(fd, text, 8192, from);
    close(fd);
    while (n > 0 && text[n - 1] != '\n') n--; /* half a line */
    if (n <= 0) return false;
    text[n - 1] = '\0';
    char *start = strrchr(text, '\n');
    start = start ? start + 1 : text;
    cJSON *line = json_parse(start, strlen(start), path, ERR_DATA, &none);
    bool ok = line && step_record_parse(line, record);
    cJSON_Delete(line);
    return ok;
}
