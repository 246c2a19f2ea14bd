#!/bin/sh
# faults.sh [SCALE]: the programs test/faults/fault_*.c, two at a time; SCALE 10: ten times the kills. That of the asan
# build lets allocations fail, for nothing may leak. The last line is "N passed, N failed".
set -u
cd "$(dirname "$0")/.." || exit 1

# faults.sh --one LOG PROGRAM SCALE
if [ "${1:-}" = --one ]; then
    log=$2/$(echo "$3" | tr / _)
    "$3" "$4" >"$log" 2>&1 || grep -aq '^not ok' "$log" || echo "not ok $3: it ended before its tests did" >>"$log"
    echo
    echo "$3:"
    cat "$log"
    exit 0
fi

logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
start=$(date +%s)
for program in build/asan/bin/fault_memory build/release/bin/fault_*; do
    echo "$program"
done | xargs -P 2 -I '{}' test/faults.sh --one "$logs" '{}' "${1:-1}"
passed=$(cat "$logs"/* | grep -ac '^ok ')
failed=$(cat "$logs"/* | grep -ac '^not ok ')
echo
echo "$passed passed, $failed failed  ($(($(date +%s) - start)) s)"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
