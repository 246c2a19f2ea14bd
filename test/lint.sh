#!/bin/sh
# shellcheck disable=SC2317  # functions are called by name, through check
# lint.sh: what reviewers should not have to look for. Every check runs; the exit status says whether all passed.
set -u
cd "$(dirname "$0")/.." || exit 1
status=0

check() { # check NAME COMMAND...
    name=$1
    shift
    printf '%-44s' "$name"
    if output=$("$@" 2>&1); then
        echo ok
    else
        echo FAILED
        printf '%s\n' "$output"
        status=1
    fi
}

need() {
    command -v "$1" >/dev/null || {
        echo "error: $1 is missing; type scripts/deps.sh --lint" >&2
        exit 1
    }
}
for tool in gcc clang clang-tidy cppcheck shellcheck; do need "$tool"; done

# model/, optim/ and data/ know core/ and themselves; core/ knows only core/; train/ knows core/ and optim/optim.h.
includes() {
    bad=$(for rule in 'core:core/' 'model:core/|model/' 'optim:core/|optim/' 'data:core/|data/' \
        'train:core/|train/|optim/optim\.h'; do
        folder=${rule%%:*}
        grep -nE '^#include "' "$folder"/*.[ch] | grep -vE "^[^:]*:[0-9]+:#include \"(${rule#*:})"
    done | grep -v '^data/prepare.c:')
    [ -z "$bad" ] || { echo "$bad"; return 1; }
}

docs() {
    ./study --keys >build/keys.md
    for name in config optimizers; do
        ./train_gpt --docs-"$name" | diff docs/"$name".md - || { echo "docs/$name.md is stale; type make docs"; return 1; }
    done
    sed -e '1,/^<!-- .*study --keys/d' -e '/^<!-- end/,$d' docs/studies.md | diff - build/keys.md ||
        { echo "docs/studies.md lacks keys; type make docs"; return 1; }
    awk '/^\140\140\140/ { inside = !inside; next } inside' docs/adding_an_optimizer.md | diff - optim/lion.c ||
        { echo "docs/adding_an_optimizer.md does not quote optim/lion.c as it is"; return 1; }
}

# Every optimizer matches a recorded trajectory, and every recorded one is followed by some test.
goldens() {
    missing=$(list_goldens)
    [ -z "$missing" ] || { echo "$missing"; return 1; }
}
list_goldens() {
    sed -n 's/^ *X(\([a-z_0-9]*\)).*/\1/p' optim/optim.c | while read -r name; do
        grep -qE "\"$name\", \"" test/test_*.c || echo "$name: no test names it beside a trajectory"
    done
    for file in test/golden/optim/*.json; do
        name=$(basename "$file" .json)
        grep -q "$name" test/test_*.c || case $name in
        family_*) ;; # their names are put together from the maps'
        *) echo "$file: no test reads it" ;;
        esac
    done
}

# Left out: checks that are wrong about va_list, OpenMP and macros that declare, or that are a matter of taste.
tidy() {
    # shellcheck disable=SC2046
    clang-tidy --quiet --warnings-as-errors='*' \
        --checks='-*,bugprone-*,-bugprone-easily-swappable-parameters,-bugprone-narrowing-conversions,-bugprone-implicit-widening-of-multiplication-result,-bugprone-assignment-in-if-condition,-bugprone-reserved-identifier,-bugprone-suspicious-include,-bugprone-macro-parentheses,clang-analyzer-*,-clang-analyzer-security.insecureAPI.*,-clang-analyzer-valist.*,-clang-analyzer-deadcode.*' \
        train_gpt.c core/*.c model/*.c optim/*.c data/*.c train/*.c scripts/*.c -- \
        -std=gnu11 -fopenmp -I. -D_GNU_SOURCE $(pkg-config --cflags libcjson libpcre2-8 lapacke libxxhash zlib) || return 1
}

check "include rule" includes
check "gcc without warnings" make -s BUILD=lint-gcc CC=gcc WERROR=-Werror build-all
check "clang without warnings" make -s BUILD=lint-clang CC=clang WERROR=-Werror build-all
check "generated docs are current" docs
check "recorded trajectories are used" goldens
check "references give the recorded trajectories" python3 scripts/optim_reference.py --check
check "cppcheck" cppcheck --quiet --std=c11 --error-exitcode=1 --inline-suppr --enable=warning,performance,portability \
    --suppress=missingIncludeSystem --suppress=ctuuninitvar --suppress=invalidFunctionArg --suppress=invalidPointerCast -I. train_gpt.c core model optim data train scripts
check "clang-tidy" tidy
check "shellcheck" shellcheck scripts/*.sh test/*.sh .ci/run
exit $status
