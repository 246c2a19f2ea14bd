/* fuzz_config.c: a config file, and behind it key=value words. What is accepted reads back the same. */
#include "test/fuzz/fuzz.h"
#include "train/config.h"

static char *json_of(const Config *config) {
    char *text = config_to_json(config);
    FUZZ_CHECK(text);
    return text;
}

static void check_reads_back(const Config *config) {
    Config again;
    Error err;
    char *text = json_of(config), *text_again;
    fuzz_write("again.json", (Bytes){text, strlen(text)});
    FUZZ_CHECK(config_load(&again, "again.json", NULL, 0, &err));
    text_again = json_of(&again);
    FUZZ_CHECK(strcmp(text, text_again) == 0);
    config_free(&again);
    free(text_again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    enum { WORDS_MAX = 8 };
    Bytes rest = {(const char *)data, size};
    char *words[WORDS_MAX];
    int count = 0;
    Config config;
    Error err;
    fuzz_write("config.json", fuzz_part(&rest));
    while (rest.size && count < WORDS_MAX) {
        Bytes word = fuzz_part(&rest);
        words[count++] = strndup(word.at, word.size);
    }
    if (config_load(&config, "config.json", words, count, &err)) {
        fuzz_accepted++;
        check_reads_back(&config);
        config_free(&config);
    } else {
        fuzz_refused(&err);
    }
    while (count > 0) free(words[--count]);
    return 0;
}
