/* hash.h: XXH3 with 128 bits (libxxhash; Y. Collet), to see that bytes have changed: torn writes, bad
 * disks, cut files. It runs at the speed of memory, so that checking costs no more than reading. It is no
 * defence against somebody who means to deceive: they could change the hash as well, and readers bear
 * hostile files anyway.
 *
 *     char hash[HASH_TEXT_SIZE];
 *     hash_bytes(image, size, hash);                              // "c77a9b2d..."
 *     hash_file("model.safetensors", hash, &bytes, &err);
 */
#ifndef CORE_HASH_H
#define CORE_HASH_H

#include "core/error.h"
#include <stddef.h>

#define HASH_TEXT_SIZE 33 /* 32 hexadecimal digits, as xxhsum -H2 prints them */

/* Returns out. */
char *hash_bytes(const void *bytes, size_t size, char out[HASH_TEXT_SIZE]);

/* The hash and the size of what a file holds now; ERR_IO. The file is read from the disk, not from what
 * memory holds of it, where the file system lets us. */
bool hash_file(const char *path, char out[HASH_TEXT_SIZE], size_t *size, Error *err);

#endif
