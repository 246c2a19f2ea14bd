/* bpe_train.h: learns a byte-level BPE vocabulary from text.
 *
 *     BpeTrainer *trainer = bpe_trainer_create(&err);
 *     bpe_trainer_add(trainer, text, length, &err);            // as often as there are texts
 *     Tokenizer *t = bpe_trainer_finish(trainer, 4096, NULL, &err);
 */
#ifndef DATA_BPE_TRAIN_H
#define DATA_BPE_TRAIN_H

#include "data/progress.h"
#include "data/tokenizer.h"

#define BPE_VOCAB_MIN 257   /* the bytes and the end of text */
#define BPE_VOCAB_MAX 50257 /* GPT-2's */

typedef struct BpeTrainer BpeTrainer;

BpeTrainer *bpe_trainer_create(Error *err);
void bpe_trainer_free(BpeTrainer *trainer);

/* Counts the pieces of a text. Memory grows with the number of different pieces only. */
bool bpe_trainer_add(BpeTrainer *trainer, const char *text, size_t length, Error *err);

/* Ids: 0 to 255 the bytes, then merges in the order in which they were learnt, last the end of text. Each
 * merge is the most frequent pair; of equally frequent ones, that with the smaller left id, then the
 * smaller right id. A pair seen only once is not merged, so that little text makes a vocabulary smaller
 * than asked for. Once for a trainer. */
Tokenizer *bpe_trainer_finish(BpeTrainer *trainer, int vocab_size, const Progress *progress, Error *err);

#endif
