"""Publishes the last checkpoint of a finished run, with metrics measured here and now.

  python tools/publish.py runs/digits --id vanilla_resnet50_tat_lrelu.digits --comparison table.json

Refuses a working tree with changes, a run that is not finished, and an id that is taken by other
weights. Writes `checkpoints/ID/` and `checkpoints/index.json`.
"""

import argparse
import functools
import json
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zoo.checkpoint import read_record
from zoo.data import limit, open_source, subset
from zoo.evaluation import evaluate
from zoo.models import Network, split
from zoo.pretrained import load_pretrained, write_index, write_pretrained
from zoo.pretrained.card import read_comparison, render_card
from zoo.pretrained.index import checkpoints_folder
from zoo.pretrained.manifest import MANIFEST
from zoo.training import EarlyStopping

DATA_TERMS = {
    "digits": "data: handwritten digits of scikit-learn (UCI, Alpaydin and Kaynak 1998), CC BY 4.0",
    "cifar10": "data: CIFAR-10 (Krizhevsky 2009), no explicit licence; research use",
    "cifar100": "data: CIFAR-100 (Krizhevsky 2009), no explicit licence; research use",
}
REPOSITORY = Path(__file__).resolve().parents[1]


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when the weight is published, or was before; 2 when it is refused."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("workdir", type=Path, help="directory of a finished run")
    parser.add_argument("--id", required=True, help="arch.tag, a tag that is not taken")
    parser.add_argument("--checkpoints", type=Path, help="default: where weights are looked for")
    parser.add_argument("--data-dir", help="where the data set's files are")
    parser.add_argument("--comparison", type=Path, help=".md, or .json list of rows, for the card")
    parser.add_argument("--data-terms", help="one sentence; known for digits and CIFAR")
    arguments = parser.parse_args(argv)
    try:
        publish(arguments)
    except (ValueError, OSError) as error:
        print(f"publish: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


def publish(arguments: argparse.Namespace) -> None:
    """Checks, measures, writes.

    Raises:
      ValueError: saying why this run cannot be published under this id.
    """
    commit = clean_commit(REPOSITORY)
    run, checkpoints = arguments.workdir, arguments.checkpoints or checkpoints_folder()
    record = finished_record(run)
    model = load_pretrained(run.absolute())
    if arguments.id.partition(".")[0] != model.arch:
        raise ValueError(f"--id {arguments.id}: the run trained {model.arch}; use {model.arch}.TAG")
    folder = checkpoints / arguments.id
    if (folder / MANIFEST).exists():
        if not same_weights(load_pretrained(f"dir:{folder}"), model):
            raise ValueError(f"{arguments.id} is published with other weights; choose another tag")
        print(f"{arguments.id} is published with these weights already: nothing to do")
        return
    data = record["config"]["data"]["name"]
    terms = arguments.data_terms or DATA_TERMS.get(data)
    if terms is None:
        raise ValueError(f"the terms of {data} are not known here; give --data-terms")
    comparison = read_comparison(arguments.comparison) if arguments.comparison else ""
    metrics = measure(model, record, arguments, commit)
    manifest = write_pretrained(
        folder,
        model,
        metrics=metrics,
        recipe=recipe(run, record, commit),
        data_terms=terms,
        card=functools.partial(render_card, comparison=comparison),
        extra_files={"log.jsonl": (run / "metrics.jsonl").read_text(encoding="utf-8")},
    )
    write_index(checkpoints)
    for name, measured in metrics.items():
        print(f"{manifest.id}: {name} {measured['correct1']} of {measured['n']} right")
    print(f"wrote {folder}, {manifest.num_bytes:,} bytes")


def clean_commit(repository: Path) -> str:
    """The commit of a working tree without changes, published weights aside."""
    changed = _git(repository, "status", "--porcelain", "--", ".", ":!checkpoints")
    if changed:
        raise ValueError(f"the working tree has changes, commit them first: {changed}")
    return _git(repository, "rev-parse", "HEAD")


def finished_record(run: Path) -> dict[str, Any]:
    """What the last checkpoint says about the run.

    Raises:
      ValueError: if the run is neither at its last step nor ended early.
    """
    newest = read_record(run)
    total, patience = newest.record["total_steps"], newest.record["config"]["eval"].get("patience")
    ended = EarlyStopping(patience or 0, newest.record.get("top1_history", ())).over
    if newest.step != total and not ended:
        raise ValueError(f"{run} is at step {newest.step} of {total}; finish it first")
    return newest.record


def same_weights(first: Network, second: Network) -> bool:
    """Whether two networks have the same parameters, bit for bit."""
    ours, theirs = split(first)[1], split(second)[1]
    return ours.keys() == theirs.keys() and all(
        np.array_equal(np.asarray(ours[name]), np.asarray(theirs[name])) for name in ours
    )


def measure(
    model: Network, record: dict[str, Any], arguments: argparse.Namespace, commit: str
) -> dict[str, dict[str, Any]]:
    """Accuracy on the run's evaluation split, on one device at the highest precision.

    A run that chose its best step by `holdout` is measured on test, which chose nothing.
    """
    data, settings = record["config"]["data"], record["config"]["eval"]
    data_dir = arguments.data_dir or data["data_dir"]
    chosen_by = settings["split"]
    split_name = "test" if chosen_by == "holdout" else chosen_by
    source = open_source(data["name"], split_name, data_dir=data_dir)
    source = subset(source, data["classes"]) if data["classes"] else source
    source = limit(source, settings["limit"]) if settings["limit"] else source
    result = evaluate(model, source, devices=jax.local_devices()[:1], progress=True).to_json()
    measured = {key: result[key] for key in result if key not in ("preprocess", "versions")}
    command = f"zoo eval {arguments.id} --data {data['name']}"
    if data["classes"]:
        command += f" --classes {' '.join(data['classes'])}"
    return {source.name: {**measured, "command": f"{command} --json", "commit": commit}}


def recipe(run: Path, record: dict[str, Any], commit: str) -> dict[str, Any]:
    """How the weight came about: command, hardware, versions, configuration."""
    environment = json.loads((run / "env.json").read_text(encoding="utf-8"))
    devices = environment["devices"]
    command = [Path(environment["command"][0]).name, *environment["command"][1:]]
    return {
        "command": shlex.join(command),
        "hardware": f"{devices['count']} x {devices['kind']}, {environment['cpus']} CPU cores",
        "steps": record["total_steps"],
        "commit": commit,
        "versions": environment["versions"],
        "config": record["config"],
        "data": record["data"],
    }


def _git(repository: Path, *arguments: str) -> str:
    result = subprocess.run(
        ["git", *arguments], cwd=repository, capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise ValueError(f"git {arguments[0]} failed: {result.stderr.strip()}")
    return result.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
