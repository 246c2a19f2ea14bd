/* tokenizer.h: bytes <-> token ids. Byte-level BPE with GPT-2's splitting rule, or one token a character or
 * byte.
 *
 *     Tokenizer *t = tokenizer_load("data/austen/tokenizer.json", &err);
 *     size_t n = tokenizer_encode(t, text, length, ids, &err);      // ids: room for `length` ids
 *     size_t m = tokenizer_decode(t, ids, n, out, sizeof out);
 */
#ifndef DATA_TOKENIZER_H
#define DATA_TOKENIZER_H

#include "core/error.h"
#include <stddef.h>
#include <stdint.h>

#define END_OF_TEXT "<|endoftext|>"

typedef struct Tokenizer Tokenizer;

/* Reads a Hugging Face tokenizer.json (as written by `prepare`), a folder with one or with GPT-2's
 * encoder.json + vocab.bpe or Hugging Face's vocab.json + merges.txt, or a .tiktoken file. */
Tokenizer *tokenizer_load(const char *path, Error *err);
void tokenizer_free(Tokenizer *t);

/* Loads GPT-2's vocabulary from where Python packages and caches on this machine keep it; `found` receives
 * the place. ERR_DATA says where it looked and what to type. */
Tokenizer *tokenizer_load_gpt2(char *found, size_t size, Error *err);

/* The tokenizers that need no file: a byte is its id, 256 is the end of text; or one id for each code point
 * c with seen[c], in order, and, if asked for, the end of text after them. */
Tokenizer *tokenizer_create_bytes(Error *err);
Tokenizer *tokenizer_create_chars(const bool *seen, bool end_of_text, Error *err);

int tokenizer_vocab_size(const Tokenizer *t);  /* ids run from 0 to here - 1 */
int tokenizer_end_of_text(const Tokenizer *t); /* id that separates documents; -1 if there is none */

/* Encodes `length` bytes, any bytes; special tokens in the text are text. `ids` has room for `length` ids.
 * Returns their number, or SIZE_MAX with err (a character that a char tokenizer has never seen; no memory).
 * Not for two threads at once: t keeps a cache. */
size_t tokenizer_encode(Tokenizer *t, const char *text, size_t length, uint16_t *ids, Error *err);

/* Writes the bytes of `count` ids to out, as many whole tokens as fit into `size`; returns the bytes
 * written. */
size_t tokenizer_decode(const Tokenizer *t, const uint16_t *ids, size_t count, char *out, size_t size);

/* The bytes of one id (not NUL-terminated; may be part of a UTF-8 character). */
const char *tokenizer_token(const Tokenizer *t, int id, size_t *length);

/* Writes tokenizer.json that Hugging Face's tokenizers library loads to the same encoding; tokenizer_write
 * leaves it at path.tmp, for file_rename. */
bool tokenizer_save(const Tokenizer *t, const char *path, Error *err);
bool tokenizer_write(const Tokenizer *t, const char *path, Error *err);

#endif
