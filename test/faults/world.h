/* world.h: what the fault tests are written with: a folder of their own, a corpus, a model of 8 thousand weights that
 * learns for 60 steps and saves every fifth, and train_gpt run with or without faults (shim.c).
 *
 *     int main(int argc, char **argv) {
 *         world_begin(argc, argv);                                   // the run that nothing ever happened to: whole
 *         int status = train("run.dir=a", "FAULT_AT=3", "FAULT_HOW=EIO", NULL);
 *         if (status == 1 && train("run.dir=a", NULL) == 0) check_same_end("whole", "a", 60);
 *         return world_end();
 *     }
 */
#ifndef FAULTS_WORLD_H
#define FAULTS_WORLD_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* How many times as long the tier is: 1, or what the program's first argument says. */
extern int world_scale;

/* Begins the program's test group: makes the folder and goes into it. Ends the process when that fails. */
void world_begin(int argc, char **argv);
int world_end(void);

/* Runs `test`, unless the program was asked for another one by name, and prints "ok NAME" or "not ok NAME". */
#define TEST(test) world_test(#test, test)
void world_test(const char *name, void (*test)(void));

/* Ends the test that runs, as failed, telling why; CHECK unless that holds. */
void world_fail(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
#define CHECK(truth, ...) ((truth) ? (void)0 : world_fail(__VA_ARGS__))

/* What a failure shall be told with: "EIO at call 7". */
void world_context(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A number in [0, below), the same each time the program runs. */
uint32_t random_below(uint32_t below);

/* Runs train_gpt with tiny.json and the words up to NULL: "section.key=value", "FAULT_...=..." for the environment.
 * Returns its exit status, or 128 + the signal that ended it. What it prints is in the files out and err. `launch`
 * does not wait, `ended` does. */
int train(const char *word, ...) __attribute__((sentinel));
pid_t launch(const char *word, ...) __attribute__((sentinel));
int ended(pid_t process);

/* Words for each run from here to the end of the test: "train.steps=15 checkpoint.keep_last=1". */
void world_set(const char *words);

/* Of each run from here on no file can be larger; 0: any size. */
void world_limit_files(long bytes);

/* Where the programs are. */
const char *world_bin(void);

/* "sh -c", which must succeed. */
void shell(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Has the file these words in it? absent: no file, no words. */
bool file_has(const char *path, const char *words);
int count_lines(const char *path, const char *beginning);
char *file_text(const char *path, size_t *size);

/* The newest whole checkpoint's step by its name, 0 if there is none. Is one being written? */
int newest_step(const char *run);
bool is_saving(const char *run);

/* Same weights, slots, curves (but for what a clock measured) and samples. */
void check_same_end(const char *run, const char *other, int step);

/* Goes on with the run, no faults, to its end, and compares it with the other one. */
void check_goes_on(const char *run, const char *other, int step);

/* The calls that a run makes whose path has `path` in it; each a line of the file "calls". */
int count_calls(const char *path);

#endif
