#!/bin/sh
# corpus_online.sh NAME [SHARDS]: downloads what people train on, into data/. Interrupted downloads go on where they
# stopped; checksums are checked where they are known, and shards against their own header.
#
#     tinyshakespeare        1.1 MB of text, public domain            -> data/tinyshakespeare-text
#     gpt2-vocab             GPT-2's vocabulary (MIT)                 -> data/gpt2-vocab
#     fineweb10B [SHARDS]    100 M GPT-2 tokens (0.2 GB) a shard, 1 to 103 (default 1) and validation, ODC-By 1.0
#                                                                     -> data/fineweb10B
#     fineweb-edu [SHARDS]   the same of FineWeb-Edu, 1 to 1001       -> data/fineweb-edu
#
# MIRROR=http://host:port replaces the scheme and host of every address; DATA=folder replaces data.
set -eu

data=${DATA:-data}
name=${1:-}

fail() { # exit code, text
    printf 'error: %s\n' "$2" >&2
    exit "$1"
}

fetch() { # URL, part file: continues the part file
    if command -v curl >/dev/null; then curl -fL --retry 5 --retry-delay 2 --progress-bar -C - -o "$2" "$1"
    elif command -v wget >/dev/null; then wget -q --show-progress -t 5 -c -O "$2" "$1"
    else fail 1 "neither curl nor wget here. Type: apt-get install curl"
    fi
}

has_sum() { # file, SHA-256
    echo "$2  $1" | sha256sum -c --status
}

# The number of tokens that a shard's header claims; nothing when the file is not such a shard, whole.
shard_tokens() { # file
    # shellcheck disable=SC2046
    set -- "$1" $(od -An -t d4 -N 12 "$1")
    if [ "${2:-}" = 20240520 ] && [ "$3" = 1 ] && [ "$(wc -c <"$1")" -eq $((1024 + 2 * $4)) ]; then echo "$4"; fi
}

is_whole() { # file, SHA-256, "shard" or ""
    case $2 in
    shard) [ -n "$(shard_tokens "$1")" ] ;;
    *) has_sum "$1" "$2" ;;
    esac
}

download() { # address without scheme and host, scheme and host, file, SHA-256 or "shard"
    [ ! -s "$3" ] || return 0
    mkdir -p "$(dirname "$3")"
    echo "fetching $3"
    if [ ! -s "$3.part" ] || ! is_whole "$3.part" "$4"; then
        fetch "${MIRROR:-$2}/$1" "$3.part" || fail 1 "cannot download ${MIRROR:-$2}/$1. Type the same again to go on"
    fi
    if ! is_whole "$3.part" "$4"; then
        rm -f "$3.part"
        fail 3 "$3: damaged on the way (wrong checksum, or no shard); removed. Type the same again to start over"
    fi
    mv "$3.part" "$3"
}

fetch_vocab() {
    vocab=openaipublic.blob.core.windows.net
    download gpt-2/encodings/main/encoder.json "https://$vocab" "$data/gpt2-vocab/encoder.json" \
        196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783
    download gpt-2/encodings/main/vocab.bpe "https://$vocab" "$data/gpt2-vocab/vocab.bpe" \
        1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5
}

# data/NAME as `prepare` would have written it: shards, tokenizer.json, and dataset.json last.
fetch_shards() { # repository, file prefix, folder, shards, most
    case $4 in '' | *[!0-9]*) fail 2 "SHARDS is '$4', not a number from 1 to $5" ;; esac
    if [ "$4" -lt 1 ] || [ "$4" -gt "$5" ]; then fail 2 "SHARDS is $4, not from 1 to $5"; fi
    fetch_vocab
    download "datasets/$1/resolve/main/$2_val_000000.bin" https://huggingface.co "$3/val_000000.bin" shard
    shard=1
    while [ "$shard" -le "$4" ]; do
        number=$(printf '%06d' "$shard")
        download "datasets/$1/resolve/main/$2_train_$number.bin" https://huggingface.co "$3/train_$number.bin" shard
        shard=$((shard + 1))
    done
    [ -s "$3/tokenizer.json" ] || save_tokenizer "$3"
    describe "$3" "$1"
}

# `prepare` turns GPT-2's vocabulary into tokenizer.json; it has to be given some text.
save_tokenizer() { # folder
    [ -x ./prepare ] || fail 1 "./prepare is not built. Type \`make prepare\`, then the same again"
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    awk 'BEGIN { for (i = 0; i < 999; i++) print "one line of text\n<|endoftext|>" }' >"$work/text.txt"
    ./prepare "$work/text.txt" --tokenizer "$data/gpt2-vocab" --out "$work/out" >"$work/log" 2>&1 ||
        { cat "$work/log" >&2 && exit 3; }
    mv "$work/out/tokenizer.json" "$1/tokenizer.json"
}

sum_tokens() { # files
    total=0
    for file in "$@"; do total=$((total + $(shard_tokens "$file"))); done
    echo "$total"
}

describe() { # folder, repository
    train=$(sum_tokens "$1"/train_*.bin)
    val=$(sum_tokens "$1"/val_*.bin)
    cat >"$1/dataset.json.tmp" <<END
{
	"vocab_size":	50257,
	"end_of_text":	50256,
	"train_tokens":	$train,
	"val_tokens":	$val,
	"train_documents":	0,
	"val_documents":	0,
	"bytes":	0,
	"tokenizer":	"gpt2",
	"sources":	["https://huggingface.co/datasets/$2"]
}
END
    mv "$1/dataset.json.tmp" "$1/dataset.json"
    echo "$1: $train training and $val validation tokens. Set data.dir=$1"
}

case $name in
tinyshakespeare)
    download karpathy/char-rnn/master/data/tinyshakespeare/input.txt https://raw.githubusercontent.com \
        "$data/tinyshakespeare-text/input.txt" 86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed
    echo "now type: ./prepare $data/tinyshakespeare-text --out $data/tinyshakespeare"
    ;;
gpt2-vocab) fetch_vocab ;;
fineweb10B) fetch_shards kjj0/fineweb10B-gpt2 fineweb "$data/fineweb10B" "${2:-1}" 103 ;;
fineweb-edu)
    fetch_shards karpathy/fineweb-edu-100B-gpt2-token-shards edu_fineweb "$data/fineweb-edu" "${2:-1}" 1001
    ;;
*)
    sed -n '2,/^$/s/^# \{0,1\}//p' "$0" >&2
    exit 2
    ;;
esac
