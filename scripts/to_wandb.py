#!/usr/bin/env python3
"""Sends a run of train_gpt, finished or running, to Weights & Biases: config, metrics, samples, summary.

    scripts/to_wandb.py runs/softmuon --project optimizers       # needs pip install wandb
    WANDB_MODE=offline scripts/to_wandb.py runs/softmuon         # without an account, into ./wandb

A running run is sent as far as it is."""
import argparse
import json
import pathlib
import re
import sys


def read_json(path):
    return json.loads(path.read_text()) if path.exists() else {}


def lines(path):
    """The objects of metrics.jsonl; a last line that is still being written is left out."""
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def samples(path):
    """(step, text) of each sample."""
    parts = re.split(r"^--- step (\d+) ---\n", path.read_text(errors="replace"), flags=re.M) if path.exists() else [""]
    return [(int(step), text.rstrip("\n")) for step, text in zip(parts[1::2], parts[2::2])]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, help="a run directory, such as runs/softmuon")
    parser.add_argument("--project", default="train_gpt")
    args = parser.parse_args()
    if not (args.run / "metrics.jsonl").exists():
        sys.exit(f"error: {args.run}: not a run directory: it has no metrics.jsonl")
    try:
        import wandb
    except ImportError:
        sys.exit("error: the Python package wandb is missing; type pip install wandb")
    config = read_json(args.run / "config.json")
    run = wandb.init(project=args.project, name=args.run.name, config=config,
                     group=config.get("optimizer", {}).get("name"))
    texts = dict(samples(args.run / "samples.txt"))
    for line in lines(args.run / "metrics.jsonl"):
        step = line.pop("step")
        if step in texts:
            line["samples"] = wandb.Html(f"<pre>{texts[step].replace('&', '&amp;').replace('<', '&lt;')}</pre>")
        run.log({key: value for key, value in line.items() if value is not None}, step=step)
    for key, value in read_json(args.run / "summary.json").items():
        run.summary[key] = value
    run.config.update({"machine": read_json(args.run / "machine.json")})
    run.finish()


if __name__ == "__main__":
    main()
