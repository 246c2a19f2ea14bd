#!/bin/sh
# faults.sh [SCALE]: the programs test/faults/fault_*.c, two at a time; SCALE 10: ten times the kills. Those of the asan
# build let allocations fail, for nothing may leak. The last line is "N passed, N failed".
set -u
cd "$(dirname "$0")/.." || exit 1
scale=${1:-1}
log=$(mktemp -d)
trap 'rm -rf "$log"' EXIT
start=$(date +%s)

for program in build/release/bin/fault_* build/asan/bin/fault_memory; do echo "$program"; done |
    xargs -P 2 -I '{}' sh -c 'log=$0/$(echo {} | tr / _); {} '"$scale"' >"$log" 2>&1 || echo "not ok {}" >>"$log.failed"
        { echo; echo "{}:"; cat "$log"; }' "$log"

passed=$(cat "$log"/* | grep -ac '^ok ')
failed=$(cat "$log"/* | grep -ac '^not ok [a-z]*_')
[ "$failed" -gt 0 ] || failed=$(cat "$log"/* | grep -ac '^not ok') # a program that ended before its tests did
echo
echo "$passed passed, $failed failed  ($(($(date +%s) - start)) s)"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
