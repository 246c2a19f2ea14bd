#!/bin/sh
# deep.sh [races] [memory] [coverage]: the proofs that take minutes; all three without an argument, and `make deep`
# adds the fuzzer (fuzz.sh). A tiny model trains with every optimizer, samples, saves and goes on from a checkpoint:
# under ThreadSanitizer, with three threads; under valgrind. coverage prints which share of the code that reads what
# others wrote is reached by its own tests.
set -u
cd "$(dirname "$0")/.." || exit 1
root=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

fail() {
    echo "FAILED: $*"
    exit 1
}

# try COMMAND...: its output is shown only when it fails
try() {
    "$@" >"$work/log" 2>&1 || { tail -n 60 "$work/log" && fail "$*"; }
}

# world BUILD: data and tiny.json in $work
world() {
    bin=$root/build/$1/bin
    rm -rf "${work:?}"/*
    cat >"$work/tiny.json" <<END
{
    "model": {"n_layer": 1, "n_head": 2, "n_embd": 32, "block_size": 8},
    "data": {"dir": "$work/data"},
    "train": {"steps": 4, "batch_size": 1, "grad_accum": 2, "threads": 3},
    "eval": {"every": 2, "tokens": 32},
    "log": {"every": 1},
    "sample": {"every": 4, "tokens": 4},
    "checkpoint": {"every": 2}
}
END
    try "$bin/prepare" README.md --out "$work/data" --vocab-size 300
}

# trains "SETTINGS" COMMAND...: the command runs train_gpt, for every optimizer, with a soft phase of two steps where
# there is one; what looks like a run that was killed behind step 2 goes on
trains() {
    settings=$1
    shift
    for name in $("$bin/train_gpt" --list-optimizers | sed -nE 's/^([a-z_0-9]+) .*/\1/p'); do
        run=$work/$name
        words="$settings optimizer.name=$name"
        if "$bin/train_gpt" --describe "$name" | grep -q alpha_sign; then words="$words optimizer.alpha_sign=0.5"; fi
        # shellcheck disable=SC2086
        try "$@" "$bin/train_gpt" "$work/tiny.json" run.dir="$run" $words
        rm -r "$run/summary.json" "$run/checkpoints/step_00000004"
        # shellcheck disable=SC2086
        try "$@" "$bin/train_gpt" "$work/tiny.json" run.dir="$run" $words
        grep -q "continuing from" "$work/log" || fail "$name did not go on from its checkpoint"
    done
}

# Archer tells ThreadSanitizer what OpenMP's barriers order (it comes with LLVM's OpenMP); what it would not report
# proves nothing, so a race is planted first.
races() {
    try make CC=clang BUILD=tsan build/tsan/bin/train_gpt build/tsan/bin/prepare
    export TSAN_OPTIONS=ignore_noninstrumented_modules=1:halt_on_error=1:exitcode=66
    world tsan
    printf '%s\n' 'int main(void) { int sum = 0;' '#pragma omp parallel for num_threads(3)' \
        'for (int i = 0; i < 1000; i++) sum += i;' 'return sum == 0; }' >"$work/race.c"
    sed 's/parallel for/& reduction(+ : sum)/' "$work/race.c" >"$work/clean.c"
    for kind in race clean; do try clang -g -O1 -fopenmp -fsanitize=thread "$work/$kind.c" -o "$work/$kind"; done
    "$work/race" >"$work/log" 2>&1
    [ $? -eq 66 ] || fail "a planted race was not reported"
    try "$work/clean"
    trains "model.vocab_size=33000 model.block_size=32 train.batch_size=4" env # some loops are shared only from a megabyte on
    echo "races: none with 3 threads; a planted one was reported"
}

memory() {
    try make BUILD=valgrind build/valgrind/bin/train_gpt build/valgrind/bin/prepare
    export GOMP_SPINCOUNT=0 # one thread runs at a time
    world valgrind
    trains "" valgrind -q --trace-children=yes --error-exitcode=66 --leak-check=full \
        --show-leak-kinds=definite,indirect --errors-for-leak-kinds=definite,indirect
    echo "memory: no errors and no leaks under valgrind"
}

coverage() {
    tests="config field json safetensors loader runlog checkpoint fuzz_config fuzz_shard fuzz_safetensors fuzz_checkpoint"
    programs=$(for t in $tests; do echo "build/coverage/bin/test_$t"; done)
    # shellcheck disable=SC2086
    try make BUILD=coverage $programs
    find build/coverage -name '*.gcda' -delete
    for program in $programs; do try "$program"; done
    printf '%-22s %-18s %-18s %s\n' file "lines run" "branches reached" "branches taken"
    for file in train/config train/checkpoint core/json core/field core/safetensors data/loader; do
        gcov -b -n -o "build/coverage/$file.o" "$file.c" | awk -F: -v file="$file.c" '
            /^File/ { wanted = $0 == "File \047" file "\047" }
            wanted && /^Lines/ { lines = $2 }
            wanted && /^Branches/ { reached = $2 }
            wanted && /^Taken/ { taken = $2 }
            END { printf "%-22s %-18s %-18s %s\n", file, lines, reached, taken }'
    done
}

[ $# -gt 0 ] || set -- races memory coverage
for proof in "$@"; do "$proof"; done
