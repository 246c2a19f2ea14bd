#!/bin/sh
# run.sh BIN_DIR: every test program there, then test/cli.sh and, where there is a browser, test/report.sh. The last line is "N passed, N failed".
set -u
bin=$1
passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# count COMMAND...: runs it; its output is shown in full only when something failed
count() {
    start=$(date +%s)
    "$@" >"$log" 2>&1
    status=$?
    ok=$(grep -cE '^\[       OK \]|^ok ' "$log")
    bad=$(grep -cE '^\[  FAILED  \] [a-z_0-9]+$|^not ok ' "$log")
    [ "$status" -eq 0 ] || [ "$bad" -gt 0 ] || bad=1 # it crashed, or ran nothing
    if [ "$bad" -gt 0 ] || [ "$ok" -eq 0 ]; then
        cat "$log"
        [ "$bad" -gt 0 ] || bad=1
    fi
    printf '%-40s %3d passed, %d failed  (%d s)\n' "$(basename "$1")" "$ok" "$bad" "$(($(date +%s) - start))"
    passed=$((passed + ok))
    failed=$((failed + bad))
}

for program in "$bin"/test_*; do
    count "$program"
done
count test/cli.sh "$bin"
if command -v chromium >/dev/null; then
    count test/report.sh "$bin"
else
    printf '%-40s skipped: there is no chromium (scripts/deps.sh --lint)\n' report.sh
fi

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
