/* corpus.h: text files, cut into documents, cut into training and validation.
 *
 *     Corpus c;
 *     corpus_open(&c, paths, path_count, NULL, &err) && corpus_split(&c, 0.1, seed, &err);
 *     for (size_t i = 0; i < c.document_count; i++) {
 *         const char *text = corpus_text(&c, i, &err);     // document i's bytes, until the next call
 *     }
 *     corpus_close(&c);
 *
 * A file is a document; a marker <|endoftext|> in it ends one document and begins the next, and a line
 * break right behind the marker belongs to the marker. Documents of white space only are left out, and so
 * is a byte order mark. Files are mapped one at a time, so a corpus may be larger than memory; they must
 * not shrink meanwhile.
 */
#ifndef DATA_CORPUS_H
#define DATA_CORPUS_H

#include "core/error.h"
#include "data/progress.h"
#include <stddef.h>
#include <stdint.h>

typedef struct Document {
    size_t begin, end; /* bytes of its file */
    uint64_t hash;     /* of its content */
    uint32_t file;     /* index in files */
    bool val;          /* belongs to the validation split */
} Document;

typedef struct Corpus {
    char **files;
    size_t file_count, file_room;
    Document *documents; /* in the order of the files and of the text */
    size_t document_count, document_room;
    int64_t bytes, characters; /* of all documents */
    bool sections;             /* documents were cut to make the validation split */

    const char *map; /* the file that is mapped now */
    size_t map_bytes;
    size_t map_file;
} Corpus;

/* Finds the files (folders: all in them and below, in the order of their names, without hidden ones) and
 * the documents in them. ERR_DATA when a file is missing or not UTF-8 text, or when there is no text at
 * all. */
bool corpus_open(Corpus *c, char *const *paths, size_t path_count, const Progress *progress, Error *err);
void corpus_close(Corpus *c);

/* The bytes of a document, valid until the next call; NULL with err. */
const char *corpus_text(Corpus *c, size_t document, Error *err);

/* Gives about val_frac of the bytes to validation: whole documents, drawn by a hash of their content and
 * the seed. Where whole documents miss that by more than a fifth, as when there are few, long documents are
 * cut at paragraphs into sections of a tenth of the validation split, and sections are drawn; neighbours on
 * the same side stay one document. ERR_DATA when the text is too short to be cut. */
bool corpus_split(Corpus *c, double val_frac, uint64_t seed, Error *err);

/* Gives the last val_frac of the characters to validation, wherever that cuts. */
bool corpus_split_tail(Corpus *c, double val_frac, Error *err);

#endif
