#!/bin/sh
# faults.sh [SCALE]: the programs test/faults/fault_*.c, two at a time; SCALE 10: ten times the kills. That of the asan
# build lets allocations fail, for nothing may leak. They run as they are now: copies, so that who builds meanwhile does no
# harm. The last line is "N passed, N failed".
set -u
cd "$(dirname "$0")/.." || exit 1

# faults.sh --one LOG PROGRAM SCALE
if [ "${1:-}" = --one ]; then
    log=$2/$(basename "$(dirname "$3")")_$(basename "$3").log
    "$3" "$4" >"$log" 2>&1 || grep -aq '^not ok' "$log" || echo "not ok $3: it ended before its tests did" >>"$log"
    echo
    echo "$3:"
    cat "$log"
    exit 0
fi

work=$(mktemp -d build/faults.XXXXXX) || exit 1
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
for build in release asan; do
    from=build/$build/bin
    mkdir "$work/$build"
    cp "$from/train_gpt" "$from/prepare" "$from/faults.so" "$from"/fault_* "$work/$build" || {
        echo "error: $from lacks a program; type make faults"
        exit 1
    }
done
start=$(date +%s)
for program in "$work"/asan/fault_memory "$work"/release/fault_*; do
    echo "$program"
done | xargs -P 2 -I '{}' test/faults.sh --one "$work" '{}' "${1:-1}"
passed=$(cat "$work"/*.log | grep -ac '^ok ')
failed=$(cat "$work"/*.log | grep -ac '^not ok ')
echo
echo "$passed passed, $failed failed  ($(($(date +%s) - start)) s)"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
