#!/usr/bin/env python3
"""bench_tiktoken.py VOCABULARY TEXT: seconds to encode TEXT with GPT-2's vocabulary, one thread, alternately: tiktoken's
encode alone, and all of ./prepare (loading, reading, encoding, writing shards). TEXT should be large, 20 MB or so, for
./prepare to be more than its start. Token counts may differ by one, where ./prepare cuts off the validation text.

VOCABULARY is a folder with encoder.json and vocab.bpe. `make bench-peers` makes the environment this needs:
    build/peers/bin/python scripts/bench_tiktoken.py VOCABULARY TEXT
"""
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time

import tiktoken

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
ROUNDS = 7


def bytes_of_characters():
    """The bytes that GPT-2's files write as printable characters."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(others)}


def load(folder):
    table = bytes_of_characters()
    with open(f"{folder}/encoder.json", encoding="utf-8") as file:
        ids = json.load(file)
    special = {"<|endoftext|>": ids.pop("<|endoftext|>")}
    ranks = {bytes(table[c] for c in token): rank for token, rank in ids.items()}
    return tiktoken.Encoding("gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens=special)


def prepare(folder, path, out):
    command = ["./prepare", path, "--out", out, "--tokenizer", folder, "--val-tail", "0.01"]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    with open(f"{out}/dataset.json", encoding="utf-8") as file:
        info = json.load(file)
    return seconds, info["train_tokens"] + info["val_tokens"]


def main():
    folder, path = sys.argv[1:3]
    encoding = load(folder)
    with open(path, encoding="utf-8") as file:
        text = re.sub(r"<\|endoftext\|>", "", file.read())
    theirs, ours = [], []
    with tempfile.TemporaryDirectory() as out:
        for _ in range(ROUNDS):
            start = time.perf_counter()
            count = len(encoding.encode_ordinary(text))
            theirs.append(time.perf_counter() - start)
            seconds, our_count = prepare(folder, path, out)
            ours.append(seconds)
    print(f"tiktoken {tiktoken.__version__}: {min(theirs):.3f} s for {count} tokens; ours {min(ours):.3f} s for {our_count};")
    print(f"median ratio {statistics.median(t / o for t, o in zip(theirs, ours)):.2f}, {len(text) / 1e6:.1f} M characters")


main()
