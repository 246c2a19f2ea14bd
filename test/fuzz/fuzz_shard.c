/* fuzz_shard.c: token shards. Flags, T, two bytes of vocab_size, then the header's first 12 bytes and the tokens; zeros
 * fill the header up. Whatever batches come out hold ids of the vocabulary, and targets that are the inputs moved on. */
#include "data/dataset.h"
#include "data/loader.h"
#include "test/fuzz/fuzz.h"

enum { RIGHT_COUNT = 1, TWO_SHARDS = 2, SHUFFLED = 4, GROWN = 8, SHRUNK = 16 };
enum { OPTION_BYTES = 4, HEADER_START_BYTES = 12, HEADER_BYTES = SHARD_HEADER_INTS * 4, BATCH = 3 };

/* `flags` may correct the number of tokens, or cut the file off behind its header. */
static void write_shard(const char *path, Bytes content, int flags) {
    static char file[HEADER_BYTES + (1 << 16)];
    size_t head = content.size < HEADER_START_BYTES ? content.size : HEADER_START_BYTES;
    size_t tokens = content.size - head;
    if (tokens > sizeof file - HEADER_BYTES) tokens = sizeof file - HEADER_BYTES;
    int32_t count = (int32_t)(tokens / 2);
    memset(file, 0, HEADER_BYTES);
    memcpy(file, content.at, head);
    memcpy(file + HEADER_BYTES, content.at + head, tokens);
    if (flags & RIGHT_COUNT) memcpy(file + 8, &count, sizeof count), tokens &= ~(size_t)1;
    size_t size = head < HEADER_START_BYTES ? head : HEADER_BYTES + tokens;
    fuzz_write(path, (Bytes){file, flags & SHRUNK && size > HEADER_BYTES ? HEADER_BYTES : size});
}

static void check_batch(const Loader *l, const int32_t *inputs, const int32_t *targets) {
    for (int i = 0; i < BATCH * l->T; i++) {
        FUZZ_CHECK(inputs[i] >= 0 && inputs[i] < l->vocab_size && targets[i] >= 0 &&
                   targets[i] < l->vocab_size);
        FUZZ_CHECK((i + 1) % l->T == 0 || targets[i] == inputs[i + 1]);
    }
}

/* `whole`: nobody has touched the files since, so that only ids can be wrong. */
static void read_epochs(Loader *l, bool whole) {
    static int32_t inputs[BATCH * 256], targets[BATCH * 256];
    char where[256], hash[HASH_TEXT_SIZE];
    Error err;
    if (!loader_identity(l, hash, &err)) fuzz_refused(&err);
    for (int step = 0; step < 40; step++) {
        FUZZ_CHECK(*loader_where(l, l->cursor, where, sizeof where));
        if (!loader_next(l, BATCH, inputs, targets, &err)) {
            fuzz_refused(&err);
            FUZZ_CHECK(!whole || strstr(err.text, "vocabulary"));
            return;
        }
        check_batch(l, inputs, targets);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < OPTION_BYTES) return 0;
    int flags = data[0], T = data[1] + 1, vocab_size = data[2] | data[3] << 8;
    Bytes content = {(const char *)data + OPTION_BYTES, size - OPTION_BYTES};
    Loader loader;
    Error err;
    remove("train_1.bin");
    write_shard("train_0.bin", content, flags & RIGHT_COUNT);
    if (flags & TWO_SHARDS) write_shard("train_1.bin", content, flags & RIGHT_COUNT);
    if (loader_open(&loader, ".", "train", T, vocab_size, flags & SHUFFLED, 7, &err)) {
        if (flags & (GROWN | SHRUNK)) write_shard("train_0.bin", content, flags); /* behind its back */
        fuzz_accepted++;
        read_epochs(&loader, !(flags & (GROWN | SHRUNK)));
        loader_close(&loader);
    } else {
        fuzz_refused(&err);
    }
    return 0;
}
