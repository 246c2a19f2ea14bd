#!/bin/sh
# corpus_austen.sh [FOLDER]: the default corpus, Jane Austen's six novels, one text file each (public domain, 4.0 MB).
#
# They come out of Debian's package r-cran-janeaustenr, unpacked into a temporary folder: no root, no R. Lines stay
# as published; a line <|endoftext|> stands between chapters, so that validation can be split by document.
# Novels that are already in FOLDER (default data/austen-text) are kept.
set -eu

here=$(dirname "$0")
folder=${1:-data/austen-text}
extract=${EXTRACT_RDB:-./extract_rdb}
novels="sensesensibility prideprejudice mansfieldpark emma northangerabbey persuasion"
chapter='^(CHAPTER|Chapter) [0-9IVXL]+$'

# Before each chapter but the first, the marker, in place of the empty lines there. A volume's heading stays with the
# chapter that follows it. A modern editor's note ends one of the novels: left out.
mark_chapters() {
    awk -v chapter="$chapter" '
        /^A NOTE ON THE TEXT$/ { exit }
        /^[ \t]*$/ || /^VOLUME [IVX]+$/ { held = held $0 "\n"; next }
        $0 ~ chapter && chapters++ { print "<|endoftext|>"; sub(/^[ \t\n]+/, "", held) }
        { printf "%s%s\n", held, $0; held = "" }'
}

missing=
for novel in $novels; do
    [ -s "$folder/$novel.txt" ] || missing="$missing $novel"
done

if [ -n "$missing" ]; then
    if [ ! -x "$extract" ]; then
        echo "error: $extract is not built. Type \`make extract_rdb\`" >&2
        exit 1
    fi
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    trap 'exit 130' INT TERM
    echo "fetching Debian package r-cran-janeaustenr (1.6 MB: Jane Austen's six novels, public domain)"
    "$here/unpack_deb.sh" r-cran-janeaustenr "$work"
    mkdir -p "$folder"
    for novel in $missing; do
        "$extract" "$work/usr/lib/R/site-library/janeaustenr/data/Rdata" "$novel" >"$work/$novel"
        mark_chapters <"$work/$novel" >"$folder/$novel.txt.part"
        mv "$folder/$novel.txt.part" "$folder/$novel.txt"
    done
fi

total=0
for novel in $novels; do
    bytes=$(wc -c <"$folder/$novel.txt")
    printf '%9d bytes, %2d chapters  %s\n' "$bytes" "$(grep -cE "$chapter" "$folder/$novel.txt")" "$folder/$novel.txt"
    total=$((total + bytes))
done
printf '%9d bytes in all\n' "$total"
