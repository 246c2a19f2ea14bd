#!/bin/sh
# quickstart.sh: from nothing to a comparison of three optimizers on Jane Austen's novels. What is already there
# (packages, programs, corpus, tokens, finished runs) is used again.
set -eu
cd "$(dirname "$0")/.."

text=data/austen-text
data=data/austen
optimizers="adamw muon softmuon"

say() {
    printf '\n== %s\n' "$*"
}

say "1/5 Dependencies"
if command -v make >/dev/null && pkg-config --exists libcjson libpcre2-8 lapacke zlib cmocka 2>/dev/null; then
    echo "all there"
else
    scripts/deps.sh
fi

say "2/5 Build"
make -j"$(nproc)" all
echo "built with $(gcc -dumpfullversion -dumpversion 2>/dev/null || cc --version | head -n 1)"

say "3/5 Corpus: Jane Austen's six novels, into $text"
scripts/corpus_austen.sh "$text"

say "4/5 Tokens: a byte-level BPE of 4,096 ids, into $data"
if [ -e "$data/dataset.json" ]; then
    echo "already there"
else
    ./prepare "$text" --out "$data" --tokenizer bpe --vocab-size 4096
fi

say "5/5 Training: the same GPT with $(echo "$optimizers" | sed 's/ /, /g')"
for name in $optimizers; do
    summary=runs/$name/summary.json
    if grep -q '"finished":[[:space:]]*true' "$summary" 2>/dev/null &&
        [ -n "$(find "$summary" -newer "configs/$name.json" -newer "$data/dataset.json")" ]; then
        echo "runs/$name: already finished, with this config and these tokens"
    else
        ./train_gpt "configs/$name.json"
        echo
    fi
done

say "Result"
runs=
for name in $optimizers; do runs="$runs runs/$name"; done
# shellcheck disable=SC2086
./compare $runs
printf '\nRuns lie in%s. Next: ./train_gpt configs/softmuon.json optimizer.lr=0.01 run.dir=runs/my_softmuon\n' "$runs"
