/* fuzz_tokenizer.c: one part: tokenizer.json or a .tiktoken file; two: vocab.json and merges.txt. Byte-level tokenizers
 * give every text back, and what is accepted encodes the same when it is saved and loaded again. */
#include "data/tokenizer.h"
#include "test/fuzz/fuzz.h"

enum { TEXT_BYTES = 300 };

/* Words, digits, blanks, a marker, and every byte. */
static const char *sample_text(void) {
    static char text[TEXT_BYTES] = "hello  it's 1234\n\n the<|endoftext|>e\xcc\x81 ";
    if (text[TEXT_BYTES - 1] == 0)
        for (int i = 44; i < TEXT_BYTES; i++) text[i] = (char)(i + 211);
    return text;
}

static size_t encode(Tokenizer *t, uint16_t ids[TEXT_BYTES]) {
    Error err;
    size_t count = tokenizer_encode(t, sample_text(), TEXT_BYTES, ids, &err);
    if (count == SIZE_MAX) fuzz_refused(&err);
    else FUZZ_CHECK(count <= TEXT_BYTES);
    return count;
}

static void check_text(const Tokenizer *t, const uint16_t *ids, size_t count) {
    char text[TEXT_BYTES];
    for (size_t i = 0; i < count; i++) FUZZ_CHECK(ids[i] < tokenizer_vocab_size(t));
    FUZZ_CHECK(tokenizer_decode(t, ids, count, text, sizeof text) == TEXT_BYTES);
    FUZZ_CHECK(memcmp(text, sample_text(), TEXT_BYTES) == 0);
}

static void check_saved(const Tokenizer *t, const uint16_t *ids, size_t count) {
    uint16_t ids_again[TEXT_BYTES];
    Error err;
    FUZZ_CHECK(tokenizer_save(t, "again.json", &err));
    Tokenizer *again = tokenizer_load("again.json", &err);
    FUZZ_CHECK(again && tokenizer_vocab_size(again) == tokenizer_vocab_size(t) &&
               tokenizer_end_of_text(again) == tokenizer_end_of_text(t));
    FUZZ_CHECK(encode(again, ids_again) == count);
    if (count != SIZE_MAX) FUZZ_CHECK(memcmp(ids_again, ids, count * sizeof *ids) == 0);
    tokenizer_free(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    Bytes rest = {(const char *)data, size}, first = fuzz_part(&rest);
    uint16_t ids[TEXT_BYTES];
    Error err;
    remove("vocab.json");
    fuzz_write(rest.size ? "vocab.json" : "single", first);
    fuzz_write("merges.txt", rest);
    Tokenizer *t = tokenizer_load(rest.size ? "." : "single", &err);
    if (t == NULL) {
        fuzz_refused(&err);
        return 0;
    }
    fuzz_accepted++;
    size_t count = encode(t, ids);
    if (count != SIZE_MAX) check_text(t, ids, count);
    check_saved(t, ids, count);
    tokenizer_free(t);
    return 0;
}
