"""Publishes the last checkpoint of a finished run, with metrics measured here and now.

  python tools/publish.py runs/digits --id vanilla_resnet50_tat_lrelu.digits --comparison table.json

Refuses a working tree with changes, a run that is not finished, and an id that is taken by other
weights. Writes `checkpoints/ID/` and `checkpoints/index.json`. The rows of a matrix are published
by `tools/publish_zoo.py`.
"""

import argparse
import functools
import json
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zoo.checkpoint import read_record
from zoo.classifier import Classifier
from zoo.data import Source, limit, open_source, subset
from zoo.data.address import parse_data
from zoo.evaluation import EvalResult, evaluate
from zoo.export import release
from zoo.models import Params, statistics_of
from zoo.pretrained import Manifest, load_pretrained, write_index, write_pretrained
from zoo.pretrained.card import read_comparison, render_card
from zoo.pretrained.index import checkpoints_folder
from zoo.pretrained.manifest import MANIFEST
from zoo.training import EarlyStopping

DATA_TERMS = {
    "digits": "data: handwritten digits of scikit-learn (UCI, Alpaydin and Kaynak 1998), CC BY 4.0",
    "cifar10": "data: CIFAR-10 (Krizhevsky 2009), no explicit licence; research use",
    "cifar100": "data: CIFAR-100 (Krizhevsky 2009), no explicit licence; research use",
    "tiny-imagenet-64": "data: Tiny-ImageNet (Stanford CS231n 2015), images of ImageNet at 64 "
    "pixels; ImageNet's terms: non-commercial research and education only",
}
REPOSITORY = Path(__file__).resolve().parents[1]
_STORED_AS = "stored_as"


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
    parser.add_argument(
        "--default", action="store_true", help="the architecture without a tag means this weight"
    )
    parser.add_argument("--release", type=Path, help="write and list ID.safetensors in this folder")
    parser.add_argument("--data-terms", help=f"one sentence; known for {', '.join(DATA_TERMS)}")
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
    arch, _, tag = arguments.id.partition(".")
    if arch != model.provenance.arch:
        trained = model.provenance.arch
        raise ValueError(f"--id {arguments.id}: the run trained {trained}; use {trained}.TAG")
    if is_published(checkpoints / arguments.id, model):
        print(f"{arguments.id} is published with these weights already: nothing to do")
        return
    config = record["config"]
    comparison = read_comparison(arguments.comparison) if arguments.comparison else ""
    manifest = write_weight(
        checkpoints / arguments.id,
        model,
        config,
        source=open_split(config, arguments.data_dir),
        commit=commit,
        terms=arguments.data_terms or data_terms(config),
        recipe=recipe(run, record, commit),
        comparison=comparison,
        log=(run / "metrics.jsonl").read_text(encoding="utf-8"),
    )
    write_index(checkpoints, defaults={arch: tag} if arguments.default else None)
    if arguments.release:
        release(checkpoints / arguments.id, arguments.release / f"{arguments.id}.safetensors")
    for name, measured in manifest.metrics.items():
        print(f"{manifest.id}: {name} {measured['correct1']} of {measured['n']} right")
    print(f"wrote {checkpoints / manifest.id}, {manifest.num_bytes:,} bytes")


def clean_commit(repository: Path) -> str:
    """The commit of a working tree without changes, published weights aside."""
    changed = _git(repository, "status", "--porcelain", "--", ".", ":!checkpoints")
    if changed:
        raise ValueError(f"the working tree has changes, commit them first: {changed}")
    return _git(repository, "rev-parse", "HEAD")


def full_commit(name: str) -> str:
    """The whole hash of a commit of this repository."""
    return _git(REPOSITORY, "rev-parse", "--verify", f"{name}^{{commit}}")


def finished_record(run: Path) -> dict[str, Any]:
    """What the last checkpoint says about the run.

    Raises:
      ValueError: if the run is neither at its last step nor ended early.
    """
    newest = read_record(run)
    total, patience = newest.record["total_steps"], newest.record["config"]["eval"].get("patience")
    ended = EarlyStopping(patience or 0, newest.record.get("scores", ())).over
    if newest.step != total and not ended:
        raise ValueError(f"{run} is at step {newest.step} of {total}; finish it first")
    return newest.record


def is_published(folder: Path, model: Classifier) -> bool:
    """Whether `folder` holds these weights.

    Raises:
      ValueError: if it holds others.
    """
    if not (folder / MANIFEST).exists():
        return False
    if not same_weights(load_pretrained(f"dir:{folder}"), model):
        raise ValueError(f"{folder.name} is published with other weights; choose another tag")
    return True


def same_weights(first: Classifier, second: Classifier) -> bool:
    """Whether two networks have the same parameters, bit for bit."""
    ours, theirs = first.split()[1], second.split()[1]
    return ours.keys() == theirs.keys() and all(
        np.array_equal(np.asarray(ours[name]), np.asarray(theirs[name])) for name in ours
    )


def rounded_to_bfloat16(model: Classifier) -> Classifier:
    """The same network, its trained parameters rounded to bfloat16; batch statistics stay."""
    params = model.split()[1]
    stored = _in_bfloat16(params, statistics_of(model.network))
    return model.with_params({n: value.astype(params[n].dtype) for n, value in stored.items()})


def write_weight(
    folder: Path,
    model: Classifier,
    config: Mapping[str, Any],
    *,
    source: Source,
    commit: str,
    terms: str,
    recipe: Mapping[str, Any],
    comparison: str,
    log: str,
    bfloat16: bool = False,
) -> Manifest:
    """Measures and writes one weight; `write_index` then lists it.

    Args:
      folder: `checkpoints/ID`, which must not exist.
      model: the network.
      config: of its training.
      source: to measure it on.
      commit: of this repository, by which it is measured.
      terms: of the data.
      recipe: how the weight came about.
      comparison: Markdown for the card.
      log: the training log.
      bfloat16: store the trained parameters as bfloat16; `model` has them rounded already.
    """
    params = model.split()[1]
    result = measure(model, source)
    command = evaluation_command(folder.name, config)
    return write_pretrained(
        folder,
        model,
        _in_bfloat16(params, statistics_of(model.network)) if bfloat16 else params,
        metrics={result.data: metric_entry(result, command, commit)},
        recipe={**recipe, _STORED_AS: "bfloat16" if bfloat16 else "float32"},
        data_terms=terms,
        card=functools.partial(render_card, comparison=comparison),
        extra_files={"log.jsonl": log},
    )


def open_split(config: Mapping[str, Any], data_dir: str | None = None) -> Source:
    """The examples a published metric counts; `data_dir` None takes what `config` says.

    A run that chose its best step by `holdout` is measured on test, which chose nothing.
    """
    data, settings = config["data"], config["eval"]
    source = open_source(data["name"], _measured(config), data_dir=data_dir or data["data_dir"])
    source = subset(source, data["classes"]) if data["classes"] else source
    return limit(source, settings["limit"]) if settings["limit"] else source


def measure(model: Classifier, source: Source, *, keep_logits: bool = False) -> EvalResult:
    """Accuracy on one device at the highest precision."""
    devices = jax.local_devices()[:1]
    return evaluate(model, source, devices=devices, keep_logits=keep_logits, progress=True)


def metric_entry(result: EvalResult, command: str, commit: str) -> dict[str, Any]:
    """What was measured, and how, as JSON values."""
    measured = {k: v for k, v in result.to_json().items() if k not in ("preprocess", "versions")}
    return {**measured, "command": command, "commit": commit}


def _measured(config: Mapping[str, Any]) -> str:
    chosen_by = config["eval"]["split"]
    return "test" if chosen_by == "holdout" else chosen_by


def evaluation_command(id: str, config: Mapping[str, Any]) -> str:
    """The command that measures a published weight again."""
    data, split_name = config["data"], _measured(config)
    command = f"zoo eval {id} --data {data['name']}"
    if parse_data(data["name"]).takes_data_dir:
        command += " --data-dir DIR"
    command += f" --classes {' '.join(data['classes'])}" if data["classes"] else ""
    return f"{command}{'' if split_name == 'test' else f' --split {split_name}'} --json"


def data_terms(config: Mapping[str, Any]) -> str:
    """Terms of the data a run was trained on.

    Raises:
      ValueError: if they are not known here.
    """
    name = config["data"]["name"]
    terms = DATA_TERMS.get(parse_data(name).placeless.name)
    if terms is None:
        raise ValueError(f"the terms of {name} are not known here; give --data-terms")
    return terms


def recipe(run: Path, record: Mapping[str, Any], commit: str) -> dict[str, Any]:
    """How the weight came about: command, hardware, versions, configuration."""
    environment = read_environment(run)
    devices = environment["devices"]
    return {
        "command": public_command(environment["command"]),
        "hardware": f"{devices['count']} x {devices['kind']}, {environment['cpus']} CPU cores",
        "steps": record["total_steps"],
        "commit": commit,
        "versions": environment["versions"],
        "config": record["config"],
        "data": record["data"],
    }


def read_environment(run: Path) -> dict[str, Any]:
    """Where a run was made: commit, command, versions, devices."""
    return json.loads((run / "env.json").read_text(encoding="utf-8"))


def public_command(arguments: list[str]) -> str:
    """A command line without the places of one machine: of absolute paths the last part stays."""
    program = Path(arguments[0]).name
    shown = [f"tools/{program}" if program.endswith(".py") else program]
    shown += [Path(word).name if word.startswith("/") else word for word in arguments[1:]]
    return shlex.join(["python", *shown] if program.endswith(".py") else shown)


def _in_bfloat16(params: Params, statistics: frozenset[str]) -> Params:
    return {
        name: value if name in statistics else value.astype(jnp.bfloat16)
        for name, value in params.items()
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
