/* tokenizer.h: bytes <-> token ids. Byte-level BPE with GPT-2's splitting rule, or one token a character or byte.
 *
 *     Tokenizer *t = tokenizer_load("data/austen/tokenizer.json", &err);
 *     size_t n = tokenizer_encode(t, text, length, ids);      // ids: room for `length` ids
 *     tokenizer_decode(t, ids, n, out, sizeof out);
 */
#ifndef DATA_TOKENIZER_H
#define DATA_TOKENIZER_H

#include "core/error.h"
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

typedef struct Tokenizer Tokenizer;

/* Reads a Hugging Face tokenizer.json (as written by `prepare`), a folder with GPT-2's encoder.json + vocab.bpe or
 * Hugging Face's vocab.json + merges.txt, or a .tiktoken file. */
Tokenizer *tokenizer_load(const char *path, Error *err);
void tokenizer_free(Tokenizer *t);

int tokenizer_vocab_size(const Tokenizer *t); /* ids run from 0 to here - 1 */
int tokenizer_end_of_text(const Tokenizer *t); /* id that separates documents; -1 if there is none */

/* Encodes `length` bytes, any bytes; special tokens in the text are text. `ids` has room for `length` ids.
 * Returns their number, or SIZE_MAX with err (a character that a char tokenizer has never seen). */
size_t tokenizer_encode(Tokenizer *t, const char *text, size_t length, uint16_t *ids, Error *err);

/* The bytes of one id (not NUL-terminated; may be part of a UTF-8 character). */
const char *tokenizer_token(const Tokenizer *t, int id, size_t *length);

/* Writes tokenizer.json that Hugging Face's tokenizers library loads to the same encoding. */
bool tokenizer_save(const Tokenizer *t, const char *path, Error *err);

#endif
