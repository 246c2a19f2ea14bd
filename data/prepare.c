/* prepare.c: the program that turns text into a data folder; see preparation.h, which does the work. */
#include "data/preparation.h"

#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char HELP[] =
    "usage: prepare FILE|FOLDER... --out FOLDER [options]\n"
    "\n"
    "Turns UTF-8 text into token shards for train_gpt, with their tokenizer.\n"
    "\n"
    "  --out FOLDER         where to; replaces what an earlier prepare wrote there\n"
    "  --tokenizer NAME     bpe    byte pairs, learnt from the training text (default)\n"
    "                       gpt2   GPT-2's own 50,257 tokens, if they are on this machine\n"
    "                       char   an id for each character of the text\n"
    "                       byte   an id for each byte\n"
    "                       PATH   a tokenizer.json, a folder with encoder.json and vocab.bpe or with\n"
    "                              vocab.json and merges.txt, or a .tiktoken file\n"
    "  --vocab-size N       of bpe: 257 to 50257 (default 4096)\n"
    "  --val-frac FRACTION  share of the text for validation, 0 to 0.5 (default 0.1)\n"
    "  --val-tail FRACTION  take it from the end of the text, by characters, instead of drawing documents\n"
    "  --seed N             which documents are drawn (default 1337)\n"
    "  --shard-tokens N     tokens in a shard (default 100000000)\n"
    "  --help               this text\n"
    "\n"
    "A file is a document. A marker <|endoftext|> in it, best on a line of its own, ends a document and\n"
    "begins the next. Of a folder, all files in it and below are taken, without hidden ones.\n"
    "\n"
    "Validation consists of whole documents, drawn by a hash of their content. When they are too few for\n"
    "that, they are first cut at paragraphs into sections of a tenth of the validation text.\n"
    "\n"
    "Exit status: 0 done, 1 input or output failed, 2 wrong command line, 3 text or tokenizer wrong,\n"
    "7 another process is preparing the folder.\n";

static double now_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* --- one live line on a terminal --- */

typedef struct Line {
    double shown_s;
    const char *what;
} Line;

static void line_show(void *context, const char *what, double done_frac) {
    Line *line = context;
    double t = now_s();
    if (line->what == what && t - line->shown_s < 0.1) return;
    *line = (Line){t, what};
    fprintf(stderr, "\r\033[K%s %3.0f %%", what, 100 * fmin(done_frac, 1));
}

static void line_clear(const Line *line) {
    if (line->what) fprintf(stderr, "\r\033[K");
}

/* --- the command line --- */

static bool parse_int(const char *name, const char *text, int64_t *value, Error *err) {
    char *end;
    errno = 0;
    *value = strtoll(text, &end, 10);
    if (end != text && *end == 0 && errno == 0) return true;
    return error_set(err, ERR_CONFIG, "--%s %s: not a whole number", name, text);
}

static bool parse_real(const char *name, const char *text, double *value, Error *err) {
    char *end;
    *value = strtod(text, &end);
    if (end != text && *end == 0 && isfinite(*value)) return true;
    return error_set(err, ERR_CONFIG, "--%s %s: not a number", name, text);
}

enum {
    OPT_OUT,
    OPT_TOKENIZER,
    OPT_VOCAB_SIZE,
    OPT_VAL_FRAC,
    OPT_VAL_TAIL,
    OPT_SEED,
    OPT_SHARD_TOKENS,
    OPT_HELP
};
static const struct option OPTIONS[] = {
    {"out", required_argument, NULL, OPT_OUT},
    {"tokenizer", required_argument, NULL, OPT_TOKENIZER},
    {"vocab-size", required_argument, NULL, OPT_VOCAB_SIZE},
    {"val-frac", required_argument, NULL, OPT_VAL_FRAC},
    {"val-tail", required_argument, NULL, OPT_VAL_TAIL},
    {"seed", required_argument, NULL, OPT_SEED},
    {"shard-tokens", required_argument, NULL, OPT_SHARD_TOKENS},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static bool set_option(PrepareOptions *o, int option, const char *text, Error *err) {
    const char *name = OPTIONS[option].name;
    int64_t number = 0;
    bool done = true;
    switch (option) {
    case OPT_OUT: o->out = text; break;
    case OPT_TOKENIZER: o->tokenizer = text; break;
    case OPT_VOCAB_SIZE:
        done = parse_int(name, text, &number, err);
        o->vocab_size = number < 0 || number > INT_MAX ? INT_MAX : (int)number;
        break;
    case OPT_VAL_TAIL: o->val_tail = true; /* fall through */
    case OPT_VAL_FRAC: done = parse_real(name, text, &o->val_frac, err); break;
    case OPT_SEED:
        done = parse_int(name, text, &number, err);
        o->seed = (uint64_t)number;
        break;
    case OPT_SHARD_TOKENS: done = parse_int(name, text, &o->shard_tokens, err); break;
    default: break;
    }
    return done;
}

/* True when there is work to do; else err->code is the exit status, 0 when help was asked for. */
static bool parse_options(PrepareOptions *o, int argc, char **argv, Error *err) {
    int option;
    err->code = 0;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", OPTIONS, NULL)) != -1) {
        const char *word = argv[optind - 1]; /* of short options the first may not be passed yet */
        if (option == OPT_HELP) return false;
        if (option == ':') return error_set(err, ERR_CONFIG, "%s needs a value; see prepare --help", word);
        if (option == '?' && optopt > ' ')
            return error_set(err, ERR_CONFIG, "unknown option -%c; see prepare --help", optopt);
        if (option == '?') return error_set(err, ERR_CONFIG, "unknown option %s; see prepare --help", word);
        if (!set_option(o, option, optarg, err)) return false;
    }
    o->inputs = argv + optind;
    o->input_count = (size_t)(argc - optind);
    if (o->input_count == 0)
        return error_set(err, ERR_CONFIG, "no text given; type: prepare FILE... --out FOLDER");
    if (o->out == NULL || !*o->out)
        return error_set(err, ERR_CONFIG, "nowhere to write to; add: --out FOLDER");
    return true;
}

static void summary_print(const PrepareOptions *o, const PrepareResult *r, double time_s) {
    const DatasetInfo *i = &r->info;
    int64_t tokens = i->train_tokens + i->val_tokens;
    if (*r->gpt2_found) printf("GPT-2's vocabulary from %s\n", r->gpt2_found);
    if (strcmp(o->tokenizer, "bpe") == 0 && i->vocab_size < o->vocab_size)
        printf("the text has no more pairs: a vocabulary of %jd, not %d\n", (intmax_t)i->vocab_size,
               o->vocab_size);
    if (r->sections) printf("too few documents to draw from: validation is made of sections of the text\n");
    printf("%s: %jd train + %jd val tokens, %.2f bytes each, vocabulary %jd (%s)\n", o->out,
           (intmax_t)i->train_tokens, (intmax_t)i->val_tokens, (double)i->bytes / (double)tokens,
           (intmax_t)i->vocab_size, i->tokenizer);
    printf("made from %zu file%s, %jd + %jd documents, in %.1f s\n", r->file_count,
           r->file_count == 1 ? "" : "s", (intmax_t)i->train_documents, (intmax_t)i->val_documents, time_s);
}

int main(int argc, char **argv) {
    PrepareOptions options = PREPARE_DEFAULTS;
    PrepareResult result;
    Error err;
    Line line = {0};
    double start_s = now_s();
    if (!parse_options(&options, argc, argv, &err)) {
        if (err.code) return error_print(&err);
        fputs(HELP, stdout);
        return error_check_stdout(&err) ? 0 : error_print(&err);
    }
    Progress progress = {isatty(STDERR_FILENO) ? line_show : NULL, &line};
    bool done = prepare_run(&options, &progress, &result, &err);
    line_clear(&line);
    if (!done) return error_print(&err);
    summary_print(&options, &result, now_s() - start_s);
    return error_check_stdout(&err) ? 0 : error_print(&err);
}
