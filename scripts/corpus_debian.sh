#!/bin/sh
# corpus_debian.sh [FOLDER [SOURCE...]]: clean prose from Debian's documentation packages, one text file a source.
#
# Packages are downloaded and unpacked without root, and turned into text here: headings and paragraphs stay, code
# blocks, tables and navigation go, and so does every paragraph that its source has said before. A line
# <|endoftext|> stands between pages (chapters of the Bible). Sources whose file is there are kept, so an interrupted
# call goes on where it stopped. Then: ./prepare data/debian-text --out data/debian
set -eu

here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-data/debian-text}
[ $# -eq 0 ] || shift

# source (a Debian package) | how to read it | where its pages lie | licence
sources='
bible-kjv-text    bible -                                      public domain (Crown rights in the United Kingdom)
anarchism         html  usr/share/doc/anarchism/html           GPL-2
debian-handbook   html  usr/share/doc/debian-handbook/html/en-US  CC-BY-SA-3.0 or GPL-2+
python3.11-doc    html  usr/share/doc/python3.11/html          PSF-2
linux-doc-6.1     html  usr/share/doc/linux-doc-6.1/html       GPL-2
postgresql-doc-15 html  usr/share/doc/postgresql-doc-15/html   PostgreSQL
git-doc           html  usr/share/doc/git-doc                  GPL-2
sqlite3-doc       html  usr/share/doc/sqlite3                  public domain
python-django-doc html  usr/share/doc/python-django-doc/html   BSD-3-clause
perl-doc          pod   usr/share/perl                         Artistic or GPL-1+
'

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# Indexes are no prose, and translations would be a second language.
html_text() {
    find "$1" -name '*.html' ! -name 'genindex*' ! -name 'search*' ! -name 'py-modindex*' \
        ! -path '*/translations/*' ! -name 'index.html.*' -print0 |
        sort -z | xargs -0 awk -f "$here/html_to_text.awk"
}

# Perl's documentation format: verbatim blocks are indented, commands begin with =, markup is C<code>, L<text|target>.
pod_text() {
    # shellcheck disable=SC2016
    find "$1" -name '*.pod' -print0 | sort -z | xargs -0 awk '
        BEGIN { RS = "" }
        FNR == 1 { print "<|endoftext|>" }
        /^[ \t]/ || /^=(cut|over|back|pod|encoding|for|begin|end)/ { next }
        {
            sub(/^=[a-z0-9]+ */, "")
            gsub(/[ \t\n]+/, " ")
            gsub(/E<lt>/, "\001"); gsub(/E<gt>/, "\002"); gsub(/[XZ]<[^<>]*>/, ""); gsub(/<<+ /, "<"); gsub(/ >>+/, ">")
            while (match($0, /[A-Z]<[^<>]*>/)) {
                inner = substr($0, RSTART + 2, RLENGTH - 3)
                if (substr($0, RSTART, 1) == "L") sub(/\|.*/, "", inner)
                $0 = substr($0, 1, RSTART - 1) inner substr($0, RSTART + RLENGTH)
            }
            gsub(/\001/, "<"); gsub(/\002/, ">")
            if (NF >= 3) print $0 "\n"
        }'
}

# The text is compressed in a form of its own, which only the package bible-kjv reads; "Ge1:1 In the beginning ...".
bible_text() {
    "$here/unpack_deb.sh" bible-kjv "$work/reader"
    "$work/reader/usr/bin/bible" -p "$1/usr/lib" -f -l100000 gen1:1-rev22:21 | awk '
        { chapter = $1; sub(/:.*/, "", chapter); sub(/^[^ ]+ /, "") }
        chapter != last { print "<|endoftext|>"; last = chapter }
        { print }'
}

# Says every paragraph only once, and drops the marker where it would begin the file or follow another.
without_repeats() {
    awk '/^<\|endoftext\|>$/ { pending = printed; next }
         !NF { if (!pending) print; next }
         !seen[$0]++ { if (pending) print "<|endoftext|>"; pending = 0; printed = 1; print }' | cat -s
}

make_source() { # source, how, where
    "$here/unpack_deb.sh" "$1" "$work/$1"
    case $2 in
    bible) bible_text "$work/$1" ;;
    html) html_text "$work/$1/$3" ;;
    pod) pod_text "$work/$1/$3" ;;
    esac >"$work/text"
    without_repeats <"$work/text" >"$folder/$1.txt.part"
    if [ ! -s "$folder/$1.txt.part" ]; then
        echo "error: found no text in Debian package $1 (its layout may have changed)" >&2
        exit 3
    fi
    mv "$folder/$1.txt.part" "$folder/$1.txt"
    rm -rf "${work:?}/$1"
}

wanted=" $* "
printf '%s' "$sources" >"$work/sources"
for name in "$@"; do
    if ! grep -q "^$name " "$work/sources"; then
        echo "error: no source is called $name; there are $(awk '{ printf "%s ", $1 }' "$work/sources")" >&2
        exit 2
    fi
done
mkdir -p "$folder"
while read -r source how where licence; do
    [ -n "$source" ] || continue
    [ "$wanted" = "  " ] || [ "$wanted" != "${wanted#* "$source" }" ] || continue
    [ -s "$folder/$source.txt" ] || make_source "$source" "$how" "$where" </dev/null
    printf '%6.1f MB  %5d documents  %-18s %s\n' "$(wc -c <"$folder/$source.txt" | awk '{ print $1 / 1e6 }')" \
        "$(($(grep -c '^<|endoftext|>$' "$folder/$source.txt") + 1))" "$source" "$licence"
done <"$work/sources"
printf '%6.1f MB in %s\n' "$(cat "$folder"/*.txt | wc -c | awk '{ print $1 / 1e6 }')" "$folder"
