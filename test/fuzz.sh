#!/bin/sh
# fuzz.sh BIN_DIR SECONDS [TARGET...]: lets libFuzzer look for files that break their readers, two targets at a time.
# Fails when something was found, and says in which file it lies. Inputs that reach new code gather in
# build/fuzz/corpus; test/fuzz/corpus holds the few that `make test` runs again.
set -u
bin=$(cd "$1" && pwd) || exit 1
seconds=$2
shift 2
cd "$(dirname "$0")/.." || exit 1
root=$PWD
work=$root/build/fuzz
export ASAN_OPTIONS=quarantine_size_mb=16 # else memory that was freed counts as used for long

fuzz() { # TARGET
    log=$work/$1.log
    cd "$scratch/$1" || return 1
    "$bin/fuzz_$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=512 -max_len=8192 -print_final_stats=1 \
        -artifact_prefix="$work/findings/$1-" -dict="$root/test/fuzz/words.dict" "$work/corpus/$1" "$root/test/fuzz/corpus/$1" \
        >"$log" 2>&1 &
    wait $! && status=ok || status=FAILED
    printf '%-12s %s: %s inputs tried, %s\n' "$1" "$status" "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" \
        "$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)"
    [ "$status" = ok ] && return
    grep -v '^#' "$log" | tail -n 40
    sed -n 's/.*Test unit written to \(.*\)/found: \1; fix it, and keep the file in test\/fuzz\/corpus/p' "$log"
    touch "$scratch/failed"
}

# shellcheck disable=SC2046
[ $# -gt 0 ] || set -- $(ls test/fuzz/corpus)
[ -w /dev/shm ] && scratch=$(mktemp -d -p /dev/shm) || scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
mkdir -p "$work/findings"
while [ $# -gt 0 ]; do
    for target in "$1" ${2+"$2"}; do
        mkdir -p "$scratch/$target" "$work/corpus/$target"
        (fuzz "$target") &
    done
    wait
    shift
    [ $# -eq 0 ] || shift
done
[ ! -e "$scratch/failed" ]
