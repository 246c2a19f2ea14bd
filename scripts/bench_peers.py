#!/usr/bin/env python3
"""bench_peers.py [CONFIGURATION...]: a training step of this program and of PyTorch, alternately, on the same model.

Needs PyTorch: `make bench-peers` makes a virtual environment for it (build/peers) and runs this. Configurations are
a, c, c', d below; the default is all. Each round times PyTorch (eager, its own attention and fused AdamW, gradients
clipped as here) and then ./train_gpt --dry-run (forward, backward, gradient norm, AdamW on made-up tokens); the ratio
printed is the median over the rounds. PyTorch gets the best of three steps a round, we get one.
"""
import json
import os
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time

import torch
from torch import nn
from torch.nn import functional as F

#           L   C   NH   T     V    B  rounds
SHAPES = {
    "a": (12, 768, 12, 64, 50257, 4, 5),
    "c": (6, 384, 6, 256, 50257, 16, 3),
    "c'": (6, 384, 6, 256, 256, 16, 5),
    "d": (4, 128, 4, 128, 256, 32, 9),
}


class Block(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.attention_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x):
        batch, length, width = x.shape
        qkv = self.qkv(self.norm1(x)).split(width, dim=2)
        q, k, v = (z.view(batch, length, self.heads, -1).transpose(1, 2) for z in qkv)
        heads = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.attention_out(heads.transpose(1, 2).reshape(batch, length, width))
        return x + self.down(F.gelu(self.up(self.norm2(x)), approximate="tanh"))


class GPT(nn.Module):
    def __init__(self, layers, width, heads, length, vocabulary):
        super().__init__()
        self.tokens, self.positions = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(layers)))
        self.norm = nn.LayerNorm(width)

    def forward(self, inputs, targets):
        x = self.tokens(inputs) + self.positions(torch.arange(inputs.shape[1]))
        logits = F.linear(self.norm(self.blocks(x)), self.tokens.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def torch_step(shape):
    """A function that makes one step and returns its seconds."""
    layers, width, heads, length, vocabulary, batch, _ = shape
    padded = (vocabulary + 127) // 128 * 128
    model = GPT(layers, width, heads, length, padded)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    inputs, targets = torch.randint(0, vocabulary, (2, batch, length))

    def step():
        start = time.perf_counter()
        model(inputs, targets).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - start

    return step


def our_step(shape, folder):
    layers, width, heads, length, vocabulary, batch, _ = shape
    for split in "train", "val":  # --dry-run makes its tokens up, but wants to know how many there are
        with open(f"{folder}/{split}_000000.bin", "wb") as shard:
            count = 2 * batch * length + 1
            shard.write(struct.pack("<256i", 20240520, 1, count, *[0] * 253) + bytes(2 * count))
    config = {
        "model": {"n_layer": layers, "n_head": heads, "n_embd": width, "block_size": length, "vocab_size": vocabulary},
        "data": {"dir": folder},
        "optimizer": {"name": "adamw"},
        "train": {"steps": 1000, "batch_size": batch, "threads": torch.get_num_threads()},
    }
    with open(f"{folder}/config.json", "w", encoding="utf-8") as file:
        json.dump(config, file)

    def step():
        command = ["./train_gpt", f"{folder}/config.json", "--dry-run"]
        plan = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        return float(re.search(r"([0-9.e+-]+) s a step", plan).group(1))

    return step


def main():
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    print(f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads; seconds of a step, best of all rounds")
    print(f"{'':4}{'PyTorch':>9}{'ours':>9}{'median ratio':>15}")
    for name in sys.argv[1:] or SHAPES:
        shape = SHAPES[name]
        with tempfile.TemporaryDirectory() as folder:
            theirs, ours = torch_step(shape), our_step(shape, folder)
            theirs(), theirs()  # warm up
            rounds = [(min(theirs() for _ in range(3)), ours()) for _ in range(shape[-1])]
        ratio = statistics.median(t / o for t, o in rounds)
        best = [min(times) for times in zip(*rounds)]
        print(f"{name:4}{best[0]:9.3f}{best[1]:9.3f}{ratio:15.2f}", flush=True)


main()
