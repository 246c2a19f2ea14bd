#!/usr/bin/env python3
"""bench_peers.py BENCH [--json FILE] [CONFIGURATION...]: a training step of this program and of PyTorch, alternately.

`make bench-peers` makes a virtual environment with PyTorch (build/peers) and runs this. BENCH is the program
build/release/bin/bench, whose configurations these are. PyTorch runs with its own attention, fused AdamW and clipped
gradients, eagerly and through torch.compile, on one thread, on all, and on all that spin at barriers for as long as
libgomp lets them (best alone on a machine, a disaster on a busy one): each variant in a process of its own, one at a
time, taking turns with ours step by step. The ratio, ours over PyTorch's tokens/s, is the median over the rounds; the
fastest variant is the one with the smallest, whatever the machine did meanwhile. A variant that is half again as slow
gets 3 rounds.
"""
import json
import os
import shutil
import statistics
import subprocess
import sys
import time

WARM_UP, ROUNDS_LEAST, ROUNDS_MOST, BUDGET_S = 3, 3, 30, 15
SHORT_SPIN = {"GOMP_SPINCOUNT": "10000"}  # as train_gpt sets it for itself


class Worker:
    """A process that says the model it trains, then takes a step for each line of input and says its seconds."""

    def __init__(self, command, **environment):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
        )
        self.model = json.loads(self.read())

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"error: {' '.join(self.process.args)} ended before its time")
        return line

    def step(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return float(self.read())

    def close(self):
        """Ends it; returns its peak memory."""
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as status:
            peak = next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))
        self.process.stdin.close()
        self.process.wait()
        return peak


def median_ratio(pairs):
    return statistics.median(their_s / our_s for their_s, our_s in pairs)


def rounds(theirs, ours, best_ratio):
    """Seconds of both, a pair a round, after a warm-up."""
    for _ in range(WARM_UP):
        theirs.step(), ours.step()
    start, pairs = time.perf_counter(), []
    while len(pairs) < ROUNDS_LEAST or (len(pairs) < ROUNDS_MOST and time.perf_counter() - start < BUDGET_S):
        pairs.append((theirs.step(), ours.step()))
        if len(pairs) == ROUNDS_LEAST and median_ratio(pairs) > 1.5 * best_ratio:
            break
    return pairs


def figures(pairs, peaks, tokens):
    """What is known of a variant. The keys are those of bench --json; `ratio` there is to the probe."""
    their_s, our_s = zip(*pairs)
    return {
        "steps": len(pairs),
        "step_ms": 1e3 * statistics.median(their_s),
        "best_step_ms": 1e3 * min(their_s),
        "tokens_per_s": tokens / statistics.median(their_s),
        "peak_bytes": peaks[0],
        "our_step_ms": 1e3 * statistics.median(our_s),
        "our_best_step_ms": 1e3 * min(our_s),
        "our_peak_bytes": peaks[1],
        "our_ratio": median_ratio(pairs),
    }


def has_compiler():
    return bool(shutil.which("g++") or shutil.which("clang++"))


def variants():
    """Name, mode, threads, environment."""
    cores = len(os.sched_getaffinity(0))
    for mode in ["eager", "compiled"] if has_compiler() else ["eager"]:
        yield f"{mode}, 1 thread", mode, 1, SHORT_SPIN
        if cores > 1:
            yield f"{mode}, {cores} threads", mode, cores, SHORT_SPIN
            yield f"{mode}, {cores} threads that spin", mode, cores, {}


def measure(bench, name):
    """Prints the figures of all variants of PyTorch against ours, and returns them, the fastest first."""
    results, best_ratio = {}, float("inf")
    for variant, mode, threads, environment in variants():
        ours = Worker([bench, "--serve", name])
        command = [sys.executable, __file__, "--serve", mode, json.dumps(ours.model)]
        theirs = Worker(command, OMP_NUM_THREADS=str(threads), **environment)
        pairs = rounds(theirs, ours, best_ratio)
        tokens = ours.model["batch_size"] * ours.model["block_size"]
        results[variant] = f = figures(pairs, (theirs.close(), ours.close()), tokens)
        best_ratio = min(best_ratio, f["our_ratio"])
        print(
            f"{name:4}{variant:32}{f['step_ms']:9.1f}{f['best_step_ms']:9.1f}{f['our_step_ms']:10.1f}"
            f"{f['our_best_step_ms']:9.1f}{f['our_ratio']:8.2f}{f['peak_bytes'] / 1e6:8.0f}"
            f"{f['our_peak_bytes'] / 1e6:7.0f}",
            flush=True,
        )
    return dict(sorted(results.items(), key=lambda item: item[1]["our_ratio"]))


def main(arguments):
    import torch

    bench, *names = arguments
    path = None
    if names[:1] == ["--json"]:
        path, names = names[1], names[2:]
    print(f"PyTorch {torch.__version__} and ours, alternately; ratio: ours over PyTorch's tokens/s")
    if not has_compiler():
        print("torch.compile is left out: it needs a C++ compiler")
    print(f"\n{'':36}{'PyTorch, ms a step':>18}{'ours, ms a step':>19}{'':8}{'peak MB':>15}")
    print(f"{'':36}{'median':>9}{'best':>9}{'median':>10}{'best':>9}{'ratio':>8}{'theirs':>8}{'ours':>7}")
    results = {name: measure(bench, name) for name in names or ["a", "b", "c", "c'", "d"]}
    print("\nagainst the fastest variant of PyTorch:")
    for name, variants_of in results.items():
        variant, f = next(iter(variants_of.items()))
        print(f"{name:4}{variant:32}{f['our_ratio']:8.2f}")
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"torch": torch.__version__, "configurations": results}, file, indent="\t")
            file.write("\n")


def serve(mode, model):
    """The other side of Worker, in PyTorch."""
    import torch
    from torch import nn
    from torch.nn import functional as F

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
        def __init__(self, n_layer, n_head, n_embd, block_size, vocab_size, **_):
            super().__init__()
            padded = (vocab_size + 127) // 128 * 128
            self.tokens, self.positions = nn.Embedding(padded, n_embd), nn.Embedding(block_size, n_embd)
            self.blocks = nn.Sequential(*(Block(n_embd, n_head) for _ in range(n_layer)))
            self.norm = nn.LayerNorm(n_embd)

        def forward(self, inputs, targets):
            x = self.tokens(inputs) + self.positions(torch.arange(inputs.shape[1]))
            logits = F.linear(self.norm(self.blocks(x)), self.tokens.weight)
            return F.cross_entropy(logits.flatten(0, 1), targets.flatten())

    torch.set_flush_denormal(True)
    gpt = GPT(**model)
    optimizer = torch.optim.AdamW(gpt.parameters(), lr=6e-4, fused=True)
    loss = torch.compile(gpt) if mode == "compiled" else gpt
    print(json.dumps(model), flush=True)
    for _ in sys.stdin:
        inputs, targets = torch.randint(0, model["vocab_size"], (2, model["batch_size"], model["block_size"]))
        start = time.perf_counter()
        loss(inputs, targets).backward()
        nn.utils.clip_grad_norm_(gpt.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        print(time.perf_counter() - start, flush=True)


if sys.argv[1] == "--serve":
    serve(sys.argv[2], json.loads(sys.argv[3]))
else:
    main(sys.argv[1:])
