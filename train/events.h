/* events.h: TensorBoard's event files, written without TensorFlow. Each function gives one record, which is to be appended
 * with a single write: a reader waits for the rest of a record whose end it does not see.
 *
 *     size_t size;
 *     char *bytes = events_figures(&record, wall_s, &size);
 *     ... write(fd, bytes, size) ...
 *     free(bytes);
 *
 * A record is framed as in a TFRecord file: length (8 bytes), its masked CRC, an Event message of protocol buffers, its
 * masked CRC, all little-endian. Format: tensorflow/core/lib/io/record_writer.h, util/event.proto, framework/summary.proto
 * of TensorFlow; CRC-32C: RFC 3720, B.4. A file begins with events_version.
 *
 * The bytes are malloc'ed; NULL when memory runs out. wall_s: seconds since 1970.
 */
#ifndef TRAIN_EVENTS_H
#define TRAIN_EVENTS_H

#include "train/runlog.h"

char *events_version(double wall_s, size_t *size);

/* "tokens" and every finite figure under its key in metrics.jsonl, as float32: all that TensorBoard keeps. */
char *events_figures(const StepRecord *record, double wall_s, size_t *size);

/* Text, shown as it is (TensorBoard reads Markdown: as a code block). What is no UTF-8, or a control character, becomes
 * U+FFFD. */
char *events_text(int64_t step, const char *tag, const char *text, size_t length, double wall_s,
                  size_t *size);

uint32_t events_crc32c(const void *bytes, size_t size);

#endif
