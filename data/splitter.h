/* splitter.h: GPT-2's rule that cuts text into pieces before byte pairs are merged (Radford et al. 2019,
 * encoder.py).
 *
 *     's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
 *
 *     for (size_t at = 0, end; at < length; at = end) {
 *         end = splitter_next(s, text, length, at);
 *         ... text[at..end) is a piece
 *     }
 *
 * Bytes that are not UTF-8 belong to no match; each run of them between two matches is a piece of its own.
 */
#ifndef DATA_SPLITTER_H
#define DATA_SPLITTER_H

#include "core/error.h"
#include <stddef.h>

/* No piece is longer; one that would be is cut. Text has no such words, and it bounds memory. */
#define PIECE_MAX_BYTES ((size_t)1 << 20)

typedef struct Splitter Splitter;

Splitter *splitter_create(Error *err);
void splitter_free(Splitter *s);

/* The end of the piece that begins at `at` < length; greater than `at`. */
size_t splitter_next(Splitter *s, const char *text, size_t length, size_t at);

/* The first place at or after `want` (> 0) where text can be cut without changing its pieces, or `length`:
 * an ASCII space that follows ASCII that is not a space always begins a piece. */
size_t splitter_safe_cut(const char *text, size_t length, size_t want);

#endif
