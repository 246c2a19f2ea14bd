#!/bin/sh
# deps.sh [--lint]: installs from Debian or Ubuntu what building needs and is missing; --lint also what `make lint`
# and `make deep` need. Calls apt-get only when something is missing, through sudo when it is not root.
set -eu

# command, pkg-config name, compiler with OpenMP or with a fuzzer | Debian package | what for
needed='
gcc                 gcc              compiles everything
make                make             runs the Makefile
git                 git              names the commit in the record of every run
pkg-config          pkg-config       finds the libraries below
pc:libcjson         libcjson-dev     reads configs, tokenizers and logs (JSON)
pc:libpcre2-8       libpcre2-dev     splits text by Unicode classes, as GPT-2 does
pc:lapacke          liblapacke-dev   exact SVDs, to check and measure spectral optimizers
pc:libxxhash        libxxhash-dev    sees damage in checkpoints
pc:zlib             zlib1g-dev       unpacks the default corpus
pc:cmocka           libcmocka-dev    runs the tests
'
[ "${1:-}" != --lint ] || needed="$needed
clang               clang            a second compiler, and its static analysis
omp:clang           libomp-dev       OpenMP for clang, and Archer, which explains it to ThreadSanitizer
fuzz:clang          libclang-rt-dev  clang's sanitizers and fuzzer
valgrind            valgrind         memory errors
clang-tidy          clang-tidy       static analysis
cppcheck            cppcheck         static analysis
shellcheck          shellcheck       static analysis of shell scripts
python3             python3          computes the float64 references anew
chromium            chromium         opens reports, to test them
"

is_there() {
    case $1 in
    pc:*) pkg-config --exists "${1#pc:}" 2>/dev/null ;;
    omp:*) echo '#include <omp.h>' | "${1#omp:}" -fopenmp -fsyntax-only -xc - 2>/dev/null ;;
    fuzz:*) echo 'int LLVMFuzzerTestOneInput() { return 0; }' |
        "${1#fuzz:}" -fsanitize=fuzzer,address -xc - -o /dev/null 2>/dev/null ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
    esac
}

# "package why" for each thing that is not there
list_missing() {
    printf '%s' "$needed" | while read -r what package why; do
        [ -z "$what" ] || is_there "$what" || printf '  %-16s %s\n' "$package" "$why"
    done
    # gcc alone cannot link without the C library's headers, which Debian packages apart
    [ -e /usr/include/stdio.h ] || printf '  %-16s %s\n' libc6-dev "headers of the C library"
}

missing=$(list_missing)
if [ -z "$missing" ]; then
    echo "nothing to install: every dependency is there"
    exit 0
fi
packages=$(printf '%s\n' "$missing" | awk '{print $1}' | tr '\n' ' ')
packages=${packages% }
printf 'missing:\n%s\n' "$missing"

if ! command -v apt-get >/dev/null; then
    cat >&2 <<END
error: no apt-get here. Install these with this system's own tools; the Makefile finds them with pkg-config under
the names $(printf '%s' "$needed" | awk '/^pc:/ { printf "%s ", substr($1, 4) }')and on the PATH: gcc make git pkg-config
END
    exit 1
fi

as_root=
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        printf 'error: installing needs root, and there is no sudo. Ask an administrator to type:\n  apt-get install %s\n' \
            "$packages" >&2
        exit 1
    fi
    as_root=sudo
fi

install_packages() {
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $packages
}

printf '%s\n' "${as_root:+$as_root }apt-get install $packages"
if ! { $as_root apt-get update -q && install_packages; }; then
    echo "error: apt-get could not install $packages (its messages are above)" >&2
    exit 1
fi

missing=$(list_missing)
[ -z "$missing" ] || {
    printf 'error: still missing after the installation:\n%s\n' "$missing" >&2
    exit 1
}
