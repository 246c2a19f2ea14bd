/* test_loader.c: the order of windows, batches, and every way in which a shard can be bad. */
#include "core/error.h"
#include "data/loader.h"
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "test/tempdir.h"

static const char *in_dir(const char *name) {
    static char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

/* A shard of `count` tokens first, first + 1, ... whose header says what the caller wants it to say. */
static void write_shard_as(const char *name, int magic, int version, int claimed, int first, int count) {
    FILE *f = fopen(in_dir(name), "wb");
    assert_non_null(f);
    int32_t header[256] = {magic, version, claimed};
    assert_int_equal(fwrite(header, sizeof header, 1, f), 1);
    for (int i = 0; i < count; i++) {
        uint16_t id = (uint16_t)(first + i);
        assert_int_equal(fwrite(&id, sizeof id, 1, f), 1);
    }
    assert_int_equal(fclose(f), 0);
}

static void write_shard(const char *name, int first, int count) {
    write_shard_as(name, 20240520, 1, count, first, count);
}

/* Opens and reads a whole epoch of the "train" split, which must fail with this code and these words. */
static void assert_refused(ErrorCode code, const char *file, const char *words) {
    Loader l;
    Error err = {0};
    int32_t in[8], out[8];
    bool ok = loader_open(&l, dir, "train", 8, 1000, true, 1, &err);
    if (ok) {
        for (int64_t i = 0; ok && i < l.window_count; i++) ok = loader_next(&l, 1, in, out, &err);
        loader_close(&l);
    }
    assert_false(ok);
    assert_int_equal(err.code, code);
    if (!strstr(err.text, words) || !strstr(err.text, file) || strchr(err.text, '\n'))
        fail_msg("expected '%s' and '%s' in one line, got '%s'", file, words, err.text);
}

/* ------------------------------------------------------------------------------------------------ order */

static void order_should_be_a_permutation_for_any_size(void **state) {
    (void)state;
    const int sizes[] = {1,  2,  3,  4,   5,   7,   8,    15,   16,   17,    31,
                         64, 65, 97, 255, 256, 257, 1000, 1009, 4096, 65537, 99991};
    for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
        for (uint64_t epoch = 0; epoch < 3; epoch++) {
            char *seen = calloc((size_t)sizes[s], 1);
            for (int i = 0; i < sizes[s]; i++) {
                int64_t at = loader_order(sizes[s], 42, epoch, i);
                assert_in_range(at, 0, sizes[s] - 1);
                assert_int_equal(seen[at]++, 0);
            }
            free(seen);
        }
}

static void order_should_stay_in_range_for_huge_sizes(void **state) {
    (void)state;
    const int64_t size = (INT64_C(1) << 40) + 15;
    for (int i = 0; i < 1000; i++) assert_in_range(loader_order(size, 1, 2, size - 1 - i), 0, size - 1);
}

static void order_should_differ_between_epochs_and_seeds(void **state) {
    (void)state;
    int same_epoch = 0, same_seed = 0, kept = 0;
    for (int i = 0; i < 1000; i++) {
        int64_t at = loader_order(1000, 1, 0, i);
        same_epoch += at == loader_order(1000, 1, 1, i);
        same_seed += at == loader_order(1000, 2, 0, i);
        kept += at == i;
    }
    assert_true(same_epoch < 10 && same_seed < 10 && kept < 10); /* one each is expected */
}

/* A resumed run must see the windows that the stopped one would have seen, with any later version of
 * this code. */
static void order_should_stay_what_it_was(void **state) {
    (void)state;
    const int64_t expected[2][6] = {{56, 346, 593, 119, 806, 191}, {782, 426, 92, 507, 116, 352}};
    for (uint64_t epoch = 0; epoch < 2; epoch++)
        for (int i = 0; i < 6; i++) assert_int_equal(loader_order(1000, 42, epoch, i), expected[epoch][i]);
}

/* Rank correlation between index and place, averaged over epochs, and of neighbours: both near 0. */
static void order_should_not_resemble_the_files_order(void **state) {
    (void)state;
    enum { N = 503, EPOCHS = 200 };
    double with_index = 0, with_next = 0, middle = (N - 1) / 2.0, variance = (N * N - 1) / 12.0;
    for (uint64_t e = 0; e < EPOCHS; e++)
        for (int i = 0; i + 1 < N; i++) {
            double x = (double)loader_order(N, 9, e, i) - middle;
            with_index += x * (i - middle);
            with_next += x * ((double)loader_order(N, 9, e, i + 1) - middle);
        }
    double sigma = 1 / sqrt((double)N * EPOCHS);
    assert_true(fabs(with_index / (N * EPOCHS * variance)) < 4 * sigma);
    assert_true(fabs(with_next / (N * EPOCHS * variance)) < 4 * sigma);
}

/* Every order of three windows should come up about as often as every other. */
static void order_of_few_windows_should_be_fair(void **state) {
    (void)state;
    int seen[27] = {0};
    for (uint64_t e = 0; e < 6000; e++)
        seen[9 * loader_order(3, 5, e, 0) + 3 * loader_order(3, 5, e, 1) + loader_order(3, 5, e, 2)]++;
    int found = 0;
    for (int i = 0; i < 27; i++) {
        found += seen[i] > 0;
        if (seen[i]) assert_in_range(seen[i], 800, 1200);
    }
    assert_int_equal(found, 6);
}

/* ---------------------------------------------------------------------------------------------- batches */

static void targets_should_be_inputs_moved_on_by_one(void **state) {
    (void)state;
    write_shard("val_000.bin", 0, 17); /* two windows of 8 and the last target */
    Loader l;
    Error err = {0};
    int32_t in[16], out[16];
    assert_true(loader_open(&l, dir, "val", 8, 17, false, 0, &err));
    assert_int_equal(l.window_count, 2);
    assert_int_equal(l.token_count, 17);
    assert_true(loader_next(&l, 2, in, out, &err));
    for (int i = 0; i < 16; i++) {
        assert_int_equal(in[i], i);
        assert_int_equal(out[i], i + 1);
    }
    loader_close(&l);
}

static void windows_should_never_cross_shards(void **state) {
    (void)state;
    write_shard("val_002.bin", 200, 9);
    write_shard("val_000.bin", 0, 24);  /* one token short of three windows */
    write_shard("val_001.bin", 100, 8); /* too short for any */
    write_shard("value_000.bin", 900, 90);
    Loader l;
    Error err = {0};
    int32_t in[8], out[8];
    char where[256];
    assert_true(loader_open(&l, dir, "val", 8, 1000, false, 0, &err));
    assert_int_equal(l.window_count, 3);
    assert_int_equal(l.token_count, 41);
    const int first[] = {0, 8, 200, 0};
    for (int w = 0; w < 4; w++) {
        loader_where(&l, w, where, sizeof where);
        assert_non_null(strstr(where, w == 2 ? "val_002.bin, token 0" : "val_000.bin, token "));
        assert_true(loader_next(&l, 1, in, out, &err));
        assert_int_equal(in[0], first[w]);
        assert_int_equal(out[7], first[w] + 8);
    }
    loader_close(&l);
}

static void an_epoch_should_hold_every_window_once(void **state) {
    (void)state;
    write_shard("train_0.bin", 0, 401);
    write_shard("train_1.bin", 500, 241);
    Loader l;
    Error err = {0};
    int32_t in[8 * 5], out[8 * 5];
    int seen[1000] = {0};
    assert_true(loader_open(&l, dir, "train", 8, 1000, true, 7, &err));
    assert_int_equal(l.window_count, 80);
    for (int step = 0; step < 48; step++) { /* three epochs, in batches of five */
        assert_true(loader_next(&l, 5, in, out, &err));
        for (int b = 0; b < 5; b++) seen[in[b * 8]]++;
    }
    for (int w = 0; w < 50; w++) assert_int_equal(seen[w * 8], 3);
    for (int w = 0; w < 30; w++) assert_int_equal(seen[500 + w * 8], 3);
    loader_close(&l);
}

static void a_restored_cursor_should_give_the_same_batches(void **state) {
    (void)state;
    write_shard("train_0.bin", 0, 333);
    Loader a, b;
    Error err = {0};
    int32_t in[2][8 * 3], out[2][8 * 3];
    assert_true(loader_open(&a, dir, "train", 8, 1000, true, 7, &err));
    for (int step = 0; step < 40; step++) {
        assert_true(loader_open(&b, dir, "train", 8, 1000, true, 7, &err));
        b.cursor = a.cursor;
        assert_true(loader_next(&a, 3, in[0], out[0], &err));
        assert_true(loader_next(&b, 3, in[1], out[1], &err));
        assert_memory_equal(in[0], in[1], sizeof in[0]);
        assert_memory_equal(out[0], out[1], sizeof out[0]);
        loader_close(&b);
    }
    loader_close(&a);
}

static void where_should_name_the_window_that_comes_next(void **state) {
    (void)state;
    write_shard("train_0.bin", 0, 333);
    Loader l;
    Error err = {0};
    int32_t in[8], out[8];
    char where[512], expected[512];
    assert_true(loader_open(&l, dir, "train", 8, 1000, true, 3, &err));
    for (int step = 0; step < 100; step++) {
        loader_where(&l, l.cursor, where, sizeof where);
        assert_true(loader_next(&l, 1, in, out, &err));
        snprintf(expected, sizeof expected, "%s, token %d", in_dir("train_0.bin"), in[0]);
        assert_string_equal(where, expected);
    }
    loader_close(&l);
}

static void a_shard_of_4_gigabytes_should_be_read_to_its_end(void **state) {
    (void)state;
    const int64_t tokens = INT32_MAX, bytes = 1024 + 2 * tokens;
    int fd = open(in_dir("train_0.bin"), O_CREAT | O_WRONLY, 0600);
    int32_t header[3] = {20240520, 1, INT32_MAX};
    uint16_t last[9] = {11, 12, 13, 14, 15, 16, 17, 18, 19};
    int64_t window = (tokens - 1) / 8 - 1;
    assert_int_equal(pwrite(fd, header, sizeof header, 0), sizeof header);
    if (ftruncate(fd, bytes) != 0) skip(); /* a file system without sparse files of this size */
    assert_int_equal(pwrite(fd, last, sizeof last, 1024 + 2 * 8 * window), sizeof last);
    assert_int_equal(close(fd), 0);
    Loader l;
    Error err = {0};
    int32_t in[8], out[8];
    assert_true(loader_open(&l, dir, "train", 8, 20, false, 0, &err));
    assert_int_equal(l.token_count, tokens);
    l.cursor = window;
    assert_true(loader_next(&l, 1, in, out, &err));
    assert_int_equal(in[0], 11);
    assert_int_equal(out[7], 19);
    loader_close(&l);
}

/* -------------------------------------------------------------------------------------------- bad input */

static void a_missing_folder_should_say_what_to_type(void **state) {
    (void)state;
    Loader l;
    Error err = {0};
    assert_false(loader_open(&l, in_dir("nowhere"), "train", 8, 1000, true, 1, &err));
    assert_int_equal(err.code, ERR_DATA);
    assert_non_null(
        strstr(err.text, "Type `make quickstart`, or `./prepare FILE... --out /tmp/train_gpt_test_"));
}

static void a_missing_split_should_say_what_to_type(void **state) {
    (void)state;
    write_shard("val_000.bin", 0, 100);
    assert_refused(ERR_DATA, dir, "no train_*.bin in it. Type `make quickstart`");
}

static void an_empty_shard_file_should_be_refused(void **state) {
    (void)state;
    fclose(fopen(in_dir("train_0.bin"), "wb"));
    assert_refused(ERR_DATA, "train_0.bin", "0 bytes, shorter than");
}

static void a_truncated_header_should_be_refused(void **state) {
    (void)state;
    write_shard("train_0.bin", 0, 100);
    assert_int_equal(truncate(in_dir("train_0.bin"), 1023), 0);
    assert_refused(ERR_DATA, "train_0.bin", "1023 bytes, shorter than");
}

static void truncated_tokens_should_be_refused(void **state) {
    (void)state;
    for (int lost = 1; lost <= 200; lost++) {
        write_shard("train_0.bin", 0, 100);
        assert_int_equal(truncate(in_dir("train_0.bin"), 1224 - lost), 0);
        assert_refused(ERR_DATA, "train_0.bin", "the file is truncated");
    }
}

static void trailing_bytes_should_be_refused(void **state) {
    (void)state;
    write_shard_as("train_0.bin", 20240520, 1, 99, 0, 100);
    assert_refused(ERR_DATA, "train_0.bin", "bytes follow the last token");
}

static void a_wrong_magic_or_version_should_be_refused(void **state) {
    (void)state;
    write_shard_as("train_0.bin", 20240801, 1, 100, 0, 100);
    assert_refused(ERR_DATA, "train_0.bin", "magic 20240801");
    write_shard_as("train_0.bin", 20240520, 2, 100, 0, 100);
    assert_refused(ERR_DATA, "train_0.bin", "version 2");
}

static void zero_or_negative_counts_should_be_refused(void **state) {
    (void)state;
    write_shard_as("train_0.bin", 20240520, 1, 0, 0, 0);
    assert_refused(ERR_DATA, "train_0.bin", "the header says 0 tokens");
    write_shard_as("train_0.bin", 20240520, 1, -5, 0, 100);
    assert_refused(ERR_DATA, "train_0.bin", "the header says -5 tokens");
}

static void an_id_beyond_the_vocabulary_should_name_its_token(void **state) {
    (void)state;
    write_shard("train_0.bin", 960, 49);
    assert_refused(ERR_DATA, "train_0.bin", "token 40 is id 1000, but the vocabulary ends at 999");
}

static void a_corpus_too_small_for_a_window_should_be_refused(void **state) {
    (void)state;
    write_shard("train_0.bin", 0, 8);
    write_shard("train_1.bin", 0, 8);
    assert_refused(ERR_DATA, dir, "16 tokens in 2 shards, too few for one window of 8 + 1");
}

static void things_that_are_no_files_should_be_refused(void **state) {
    (void)state;
    assert_int_equal(mkdir(in_dir("train_0.bin"), 0700), 0);
    assert_refused(ERR_DATA, "train_0.bin", "not a regular file");
    assert_int_equal(rmdir(in_dir("train_0.bin")), 0);
    assert_int_equal(mkfifo(in_dir("train_0.bin"), 0700), 0); /* must not wait for a writer */
    assert_refused(ERR_DATA, "train_0.bin", "not a regular file");
    assert_int_equal(unlink(in_dir("train_0.bin")), 0);
    assert_int_equal(symlink("/nowhere", in_dir("train_0.bin")), 0);
    assert_refused(ERR_IO, "train_0.bin", "cannot open: No such file");
}

static void a_shard_that_shrinks_during_the_run_should_end_it_with_an_error(void **state) {
    (void)state;
    write_shard("train_0.bin", 0, 81);
    Loader l;
    Error err = {0};
    int32_t in[8], out[8];
    assert_true(loader_open(&l, dir, "train", 8, 1000, false, 1, &err));
    assert_true(loader_next(&l, 1, in, out, &err));
    assert_int_equal(truncate(in_dir("train_0.bin"), 1030), 0);
    assert_false(loader_next(&l, 1, in, out, &err));
    assert_non_null(strstr(err.text, "was longer when the run began"));
    assert_int_equal(l.cursor, 1); /* a failed batch is not handed out */
    loader_close(&l);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_dir, remove_dir)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(order_should_be_a_permutation_for_any_size),
        TEST(order_should_stay_in_range_for_huge_sizes),
        TEST(order_should_differ_between_epochs_and_seeds),
        TEST(order_should_stay_what_it_was),
        TEST(order_should_not_resemble_the_files_order),
        TEST(order_of_few_windows_should_be_fair),
        TEST(targets_should_be_inputs_moved_on_by_one),
        TEST(windows_should_never_cross_shards),
        TEST(an_epoch_should_hold_every_window_once),
        TEST(a_restored_cursor_should_give_the_same_batches),
        TEST(where_should_name_the_window_that_comes_next),
        TEST(a_shard_of_4_gigabytes_should_be_read_to_its_end),
        TEST(a_missing_folder_should_say_what_to_type),
        TEST(a_missing_split_should_say_what_to_type),
        TEST(an_empty_shard_file_should_be_refused),
        TEST(a_truncated_header_should_be_refused),
        TEST(truncated_tokens_should_be_refused),
        TEST(trailing_bytes_should_be_refused),
        TEST(a_wrong_magic_or_version_should_be_refused),
        TEST(zero_or_negative_counts_should_be_refused),
        TEST(an_id_beyond_the_vocabulary_should_name_its_token),
        TEST(a_corpus_too_small_for_a_window_should_be_refused),
        TEST(things_that_are_no_files_should_be_refused),
        TEST(a_shard_that_shrinks_during_the_run_should_end_it_with_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
