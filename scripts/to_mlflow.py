#!/usr/bin/env python3
"""Sends a run of train_gpt, finished or running, to MLflow: config, metrics, samples, summary.

    scripts/to_mlflow.py runs/softmuon --experiment optimizers     # needs pip install mlflow
    MLFLOW_TRACKING_URI=sqlite:///mlflow.db scripts/to_mlflow.py runs/softmuon
A running run is sent as far as it is."""
import argparse
import json
import pathlib
import sys


def read_json(path):
    return json.loads(path.read_text()) if path.exists() else {}


def lines(path):
    """The objects of metrics.jsonl; a last line that is still being written is left out."""
    text = path.read_text()
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]


def flat(tree, prefix=""):
    """{"optimizer": {"lr": 1}} -> ("optimizer.lr", 1)"""
    for key, value in tree.items():
        yield from flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, help="a run directory, such as runs/softmuon")
    parser.add_argument("--experiment", default="train_gpt")
    args = parser.parse_args()
    if not (args.run / "metrics.jsonl").exists():
        sys.exit(f"error: {args.run}: not a run directory: it has no metrics.jsonl")
    try:
        import mlflow
        from mlflow.entities import Metric, Param
    except ImportError:
        sys.exit("error: the Python package mlflow is missing; type pip install mlflow")
    rows = lines(args.run / "metrics.jsonl")
    start_s = (args.run / "metrics.jsonl").stat().st_mtime - max([row.get("time_s", 0) for row in rows], default=0)
    metrics = [Metric(key, value, int(1000 * (start_s + row.get("time_s", 0))), row["step"])
               for row in rows for key, value in row.items() if key != "step" and value is not None]
    params = [Param(key, str(value)) for key, value in flat(read_json(args.run / "config.json"))]
    mlflow.set_experiment(args.experiment)
    with mlflow.start_run(run_name=args.run.name) as run:
        send = mlflow.MlflowClient().log_batch
        for at in range(0, len(params), 100):  # the most that a call takes
            send(run.info.run_id, params=params[at:at + 100])
        for at in range(0, len(metrics), 1000):
            send(run.info.run_id, metrics=metrics[at:at + 1000])
        mlflow.set_tags({f"summary.{key}": value for key, value in read_json(args.run / "summary.json").items()})
        for path in (args.run / name for name in ("config.json", "machine.json", "summary.json", "samples.txt")):
            if path.exists():
                mlflow.log_artifact(str(path))


if __name__ == "__main__":
    main()
