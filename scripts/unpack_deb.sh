#!/bin/sh
# unpack_deb.sh PACKAGE FOLDER: downloads a Debian package and unpacks it into FOLDER. Needs no root and installs
# nothing. Where the machine has no package lists (fresh containers), it fetches some of its own for the occasion.
set -eu

package=$1
folder=$2

if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
    echo "error: no apt-get here to fetch $package with. Any text will do: ./prepare FILE... --out data/NAME" >&2
    exit 1
fi

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM
cd "$work"

if ! apt-get -q download "$package" >log 2>&1; then
    mkdir -p lists/partial cache/archives/partial
    own="-o Dir::State::Lists=$work/lists -o Dir::Cache=$work/cache"
    # shellcheck disable=SC2086
    if ! apt-get -q $own update >>log 2>&1 || ! apt-get -q $own download "$package" >>log 2>&1; then
        grep -v unsandboxed log | grep '^[EW]:' | sort -u | sed 's/^/  /' >&2
        echo "error: apt-get cannot download $package. Check the network and /etc/apt/sources.list, and try again" >&2
        exit 1
    fi
fi
dpkg-deb -x ./*.deb "$folder"
