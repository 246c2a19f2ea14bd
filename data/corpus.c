/* corpus.c: see corpus.h. */
#include "data/corpus.h"
#include "core/file.h"
#include "core/rng.h"
#include "core/utf8.h"
#include "data/splitter.h"
#include "data/tokenizer.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTION_MIN_BYTES ((size_t)512)
#define NO_FILE           SIZE_MAX

/* --- files --- */

static bool add_file(Corpus *c, const char *path, Error *err) {
    if (!array_reserve(&c->files, &c->file_room, c->file_count + 1, sizeof *c->files, "file names", err))
        return false;
    if ((c->files[c->file_count] = strdup(path)) == NULL)
        return error_set(err, ERR_IO, "%s: out of memory", path);
    c->file_count++;
    return true;
}

static int visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name); /* not alphasort, which depends on the locale */
}

static bool add_folder(Corpus *c, const char *path, Error *err);

static bool add_path(Corpus *c, const char *path, bool follow, Error *err) {
    struct stat st;
    if (stat(path, &st) != 0)
        return errno == ENOENT || errno == ENOTDIR
                   ? error_set(err, ERR_DATA, "%s: no such file or folder; check the name", path)
                   : error_errno(err, path, "be read");
    if (S_ISREG(st.st_mode)) return add_file(c, path, err);
    if (!S_ISDIR(st.st_mode)) return error_set(err, ERR_DATA, "%s: neither a file nor a folder", path);
    /* a link to a folder may lead back up: only those that were asked for by name */
    if (!follow && (lstat(path, &st) != 0 || S_ISLNK(st.st_mode))) return true;
    return add_folder(c, path, err);
}

static bool add_folder(Corpus *c, const char *path, Error *err) {
    struct dirent **entries;
    char name[PATH_MAX];
    int count = scandir(path, &entries, visible, by_name);
    if (count < 0) return error_errno(err, path, "be listed");
    bool done = true;
    for (int i = 0; i < count; i++) {
        if (done && snprintf(name, sizeof name, "%s/%s", path, entries[i]->d_name) >= (int)sizeof name)
            done = error_set(err, ERR_IO, "%.80s...: name too long", path);
        done = done && add_path(c, name, false, err);
        free(entries[i]);
    }
    free(entries);
    return done;
}

static void unmap(Corpus *c) {
    if (c->map_bytes) munmap((void *)c->map, c->map_bytes);
    c->map = "";
    c->map_bytes = 0;
    c->map_file = NO_FILE;
}

static bool map_file(Corpus *c, size_t file, Error *err) {
    struct stat st;
    if (c->map_file == file) return true;
    unmap(c);
    int fd = open(c->files[file], O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) != 0) {
        error_errno(err, c->files[file], "be read");
        if (fd >= 0) close(fd);
        return false;
    }
    void *p = st.st_size ? mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0) : NULL;
    close(fd);
    if (p == MAP_FAILED) return error_errno(err, c->files[file], "be mapped");
    if (p) {
        c->map = p;
        c->map_bytes = (size_t)st.st_size;
        madvise(p, c->map_bytes, MADV_SEQUENTIAL); /* a wish */
    }
    c->map_file = file;
    return true;
}

static const char *document_text(Corpus *c, const Document *d, Error *err) {
    if (!map_file(c, d->file, err)) return NULL;
    if (d->end <= c->map_bytes) return c->map + d->begin;
    error_set(err, ERR_DATA, "%s: became shorter while it was read", c->files[d->file]);
    return NULL;
}

const char *corpus_text(Corpus *c, size_t document, Error *err) {
    return document_text(c, &c->documents[document], err);
}

/* --- documents --- */

/* Eight bytes at a time; only has to spread. */
static uint64_t hash_bytes(const char *text, size_t length) {
    uint64_t hash = length, word;
    for (; length >= 8; text += 8, length -= 8) {
        memcpy(&word, text, 8);
        hash = (hash ^ word) * 0x9e3779b97f4a7c15u;
        hash ^= hash >> 29;
    }
    for (; length > 0; text++, length--) hash = (hash ^ (unsigned char)*text) * 0x9e3779b97f4a7c15u;
    return rng_mix(hash);
}

static bool add_document(Corpus *c, size_t begin, size_t end, Error *err) {
    const char *text = c->map + begin;
    if (!array_reserve(&c->documents, &c->document_room, c->document_count + 1, sizeof *c->documents,
                       "documents", err))
        return false;
    c->documents[c->document_count++] = (Document){
        .begin = begin, .end = end, .hash = hash_bytes(text, end - begin), .file = (uint32_t)c->map_file};
    return true;
}

static int64_t count_characters(const char *text, size_t length) {
    int64_t count = 0;
    for (size_t i = 0; i < length; i++) count += (text[i] & 0xc0) != 0x80;
    return count;
}

static bool blank(const char *text, size_t length) {
    for (size_t i = 0; i < length; i++)
        if (strchr(" \t\r\n\v\f", text[i]) == NULL) return false;
    return true;
}

static bool check_text(const Corpus *c, Error *err) {
    const char *path = c->files[c->map_file];
    uint32_t code;
    const char *nul = memchr(c->map, 0, c->map_bytes);
    if (nul)
        return error_set(err, ERR_DATA, "%s: binary, not text (a zero byte at %td); leave it out", path,
                         nul - c->map);
    for (size_t at = 0; at < c->map_bytes;) {
        uint64_t eight;
        if (c->map_bytes - at >= 8 &&
            (memcpy(&eight, c->map + at, 8), (eight & 0x8080808080808080u) == 0)) {
            at += 8;
            continue;
        }
        int n = utf8_decode(c->map + at, c->map_bytes - at, &code);
        if (n == 0)
            return error_set(
                err, ERR_DATA,
                "%s: not UTF-8 text (byte 0x%02x at %zu); leave it out or convert it, as with: iconv -f "
                "LATIN1 -t UTF-8",
                path, (unsigned char)c->map[at], at);
        at += (size_t)n;
    }
    return true;
}

/* Cuts the mapped file at its markers. */
static bool add_documents(Corpus *c, Error *err) {
    size_t marker_bytes = strlen(END_OF_TEXT), begin = 0;
    if (c->map_bytes >= 3 && memcmp(c->map, "\xef\xbb\xbf", 3) == 0) begin = 3;
    while (begin < c->map_bytes) {
        const char *marker = memmem(c->map + begin, c->map_bytes - begin, END_OF_TEXT, marker_bytes);
        size_t end = marker ? (size_t)(marker - c->map) : c->map_bytes;
        if (!blank(c->map + begin, end - begin)) {
            if (!add_document(c, begin, end, err)) return false;
            c->bytes += (int64_t)(end - begin);
            c->characters += count_characters(c->map + begin, end - begin);
        }
        begin = marker ? end + marker_bytes : end;
        if (begin < c->map_bytes && c->map[begin] == '\r') begin++;
        if (begin < c->map_bytes && c->map[begin] == '\n') begin++;
    }
    return true;
}

bool corpus_open(Corpus *c, char *const *paths, size_t path_count, const Progress *progress, Error *err) {
    *c = (Corpus){.map = "", .map_file = NO_FILE};
    bool done = true;
    for (size_t i = 0; done && i < path_count; i++) done = add_path(c, paths[i], true, err);
    for (size_t i = 0; done && i < c->file_count; i++) {
        progress_show(progress, "reading", (double)i / (double)c->file_count);
        done = map_file(c, i, err) && check_text(c, err) && add_documents(c, err);
    }
    if (done && c->document_count == 0)
        done = error_set(err, ERR_DATA, "%s: no text in %s", paths[0],
                         c->file_count == 1 ? "this file"
                         : c->file_count    ? "these files"
                                            : "this folder");
    if (!done) corpus_close(c);
    return done;
}

void corpus_close(Corpus *c) {
    unmap(c);
    for (size_t i = 0; i < c->file_count; i++) free(c->files[i]);
    free(c->files);
    free(c->documents);
    *c = (Corpus){.map = "", .map_file = NO_FILE};
}

/* --- training and validation --- */

typedef struct Draw {
    uint64_t order;
    size_t document;
} Draw;

static int by_order(const void *a, const void *b) {
    const Draw *x = a, *y = b;
    if (x->order != y->order) return x->order < y->order ? -1 : 1;
    return x->document < y->document ? -1 : x->document > y->document;
}

/* Draws documents for validation until `target` bytes; returns in *drawn how many bytes that gave. */
static bool draw_documents(Corpus *c, double target, uint64_t seed, double *drawn, Error *err) {
    Draw *draws = malloc(c->document_count * sizeof *draws);
    if (draws == NULL) return error_set(err, ERR_IO, "documents: out of memory");
    for (size_t i = 0; i < c->document_count; i++) {
        draws[i] = (Draw){rng_mix(c->documents[i].hash ^ rng_mix(seed)), i};
        c->documents[i].val = false;
    }
    qsort(draws, c->document_count, sizeof *draws, by_order);
    *drawn = 0;
    for (size_t i = 0; i < c->document_count && *drawn < target; i++) {
        Document *d = &c->documents[draws[i].document];
        double bytes = (double)(d->end - d->begin);
        d->val = *drawn + bytes <= 1.2 * target;
        *drawn += d->val ? bytes : 0;
    }
    free(draws);
    return true;
}

/* Where a section of about `bytes` from `begin` ends: after an empty line, a line, or before a word. */
static size_t section_end(const char *text, size_t begin, size_t end, size_t bytes) {
    if (end - begin < 2 * bytes) return end;
    const char *from = text + begin + bytes, *cut = memmem(from, bytes, "\n\n", 2);
    if (cut == NULL && (cut = memchr(from, '\n', bytes)) == NULL)
        return begin + splitter_safe_cut(text + begin, end - begin, bytes);
    size_t at = (size_t)(cut - text);
    while (at < end && text[at] == '\n') at++;
    return at;
}

static bool cut_sections(Corpus *c, size_t bytes, Error *err) {
    Document *whole = c->documents;
    size_t whole_count = c->document_count;
    bool done = true;
    c->documents = NULL;
    c->document_count = c->document_room = 0;
    c->sections = true;
    for (size_t i = 0; done && i < whole_count; i++) {
        size_t begin = whole[i].begin, end;
        done = document_text(c, &whole[i], err) != NULL;
        for (; done && begin < whole[i].end; begin = end) {
            end = section_end(c->map, begin, whole[i].end, bytes);
            done = add_document(c, begin, end, err);
        }
    }
    free(whole);
    return done;
}

/* Sections that follow each other in the text and are on the same side become one document again. */
static void join_sections(Corpus *c) {
    size_t kept = 0;
    for (size_t i = 1; i < c->document_count; i++) {
        Document *last = &c->documents[kept], d = c->documents[i];
        if (d.file == last->file && d.begin == last->end && d.val == last->val) last->end = d.end;
        else c->documents[++kept] = d;
    }
    c->document_count = kept + 1;
}

bool corpus_split(Corpus *c, double val_frac, uint64_t seed, Error *err) {
    double target = val_frac * (double)c->bytes, drawn = 0;
    if (val_frac <= 0) return true;
    if (!draw_documents(c, target, seed, &drawn, err)) return false;
    if (drawn >= 0.8 * target) return true;
    size_t bytes = (size_t)(target / 10);
    if (!cut_sections(c, bytes > SECTION_MIN_BYTES ? bytes : SECTION_MIN_BYTES, err) ||
        !draw_documents(c, target, seed, &drawn, err))
        return false;
    join_sections(c);
    if (drawn > 0) return true;
    return error_set(
        err, ERR_DATA,
        "%s: %jd bytes of text are too few to take %g of it for validation; give more text, or --val-tail "
        "%g, or --val-frac 0",
        c->files[0], (intmax_t)c->bytes, val_frac, val_frac);
}

/* The byte at which the `count`th character begins. */
static size_t character_start(const char *text, size_t length, int64_t count) {
    for (size_t i = 0; i < length; i++)
        if ((text[i] & 0xc0) != 0x80 && count-- == 0) return i;
    return length;
}

bool corpus_split_tail(Corpus *c, double val_frac, Error *err) {
    int64_t left = (int64_t)((double)c->characters * (1 - val_frac)); /* to training */
    for (size_t i = 0; i < c->document_count; i++) {
        const char *text = corpus_text(c, i, err);
        if (text == NULL) return false;
        Document *d = &c->documents[i];
        size_t cut = character_start(text, d->end - d->begin, left);
        left -= count_characters(text, cut);
        d->val = cut == 0;
        if (cut == 0 || d->begin + cut == d->end) continue;
        size_t end = d->end;
        d->end = d->begin + cut;
        if (!add_document(c, d->begin + cut, end, err)) return false;
        Document tail = c->documents[c->document_count - 1]; /* belongs behind d, in order */
        memmove(&c->documents[i + 2], &c->documents[i + 1], (c->document_count - i - 2) * sizeof tail);
        c->documents[i + 1] = tail;
    }
    return true;
}
