"""Publishes a matrix that tools/train_zoo.py trains: evidence of every row, weights of the good.

  python tools/publish_zoo.py --matrix digits --workdir runs/zoo
  python tools/publish_zoo.py --matrix cifar10 --workdir runs/zoo --data-dir ~/data --json

Every finished row is measured here and now and leaves `checkpoints/evidence/MATRIX/ROW/`; one that
became non-finite leaves its log and configuration. Seed 0 of every network, with the optimizer that
ends at the lower training loss, becomes the weight `checkpoints/ARCH.MATRIX/`, unless it failed or
ended at chance. Run again, it adds what is new and brings the cards up to date. Refuses a working
tree with changes, a row trained with another configuration than the matrix has or by code that was
not committed, and a tag that is taken by other weights; `--replace ID` writes that weight anew.
"""

import argparse
import fnmatch
import functools
import json
import runpy
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import publish
from cards import comparison
from evidence import FOLDER, Evidence, read_evidence
from publish_evidence import Origin, publish_evidence
from seeds import better_groups
from train_zoo import MATRIX, located

from zoo.common.console import watched
from zoo.complexity import count_params
from zoo.pretrained import load_pretrained, read_manifest, write_index
from zoo.pretrained.card import render_card
from zoo.pretrained.index import checkpoints_folder
from zoo.pretrained.manifest import CARD, MANIFEST
from zoo.pretrained.writing import rewrite_card

TAGS = ("digits", "cifar10", "cifar10_cpu", "tiny_imagenet")
_FLOAT32_BYTES = 2e6  # larger weights are stored as bfloat16


def main(argv: list[str] | None = None) -> int:
    """Exit code 0 when all that is finished is published, 2 when something is refused."""
    matrices = runpy.run_path(str(MATRIX))["matrices"]()
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--matrix", choices=matrices, required=True)
    parser.add_argument("--rows", default="*", help="a shell pattern; other rows are left alone")
    parser.add_argument("--workdir", type=Path, default=Path("runs/zoo"), help="folder of the runs")
    parser.add_argument("--data-dir", help="where the data set's files are")
    parser.add_argument("--checkpoints", type=Path, help="default: where weights are looked for")
    parser.add_argument("--training-commit", help="of runs whose env.json names none")
    parser.add_argument("--replace", nargs="*", default=(), metavar="ID", help="weights to replace")
    parser.add_argument("--json", action="store_true", help="the rows as JSON, last line of stdout")
    arguments = parser.parse_args(argv)
    try:
        done = publish_matrix(matrices[arguments.matrix], arguments)
    except (ValueError, OSError) as error:
        print(f"publish_zoo: {_sentence(error)}", file=sys.stderr)
        return 2
    print("\n".join(f"{row['row']:<40} {row['evidence']}; {row['weight']}" for row in done))
    refused = [row for row in done if row["refused"]]
    for row in refused:
        print(f"publish_zoo: {row['row']}: {row['refused']}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(done))
    return 2 if refused else 0


def publish_matrix(rows: Sequence[Any], arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Evidence first, then weights, then cards, then the index.

    Args:
      rows: all of the matrix, of which `arguments.rows` are published.
      arguments: as on the command line.

    Returns:
      For each row: "row", "evidence" and "weight" (what became of them), "refused" (why, or None).

    Raises:
      ValueError: if the working tree has changes.
    """
    commit = publish.clean_commit(publish.REPOSITORY)
    checkpoints = arguments.checkpoints or checkpoints_folder()
    runs = arguments.workdir.expanduser().absolute() / arguments.matrix
    training_commit = arguments.training_commit and publish.full_commit(arguments.training_commit)
    origin = Origin(arguments.matrix, runs, arguments.data_dir, commit, training_commit)
    evidence_folder = checkpoints / FOLDER / arguments.matrix
    done = []
    asked = [row for row in rows if fnmatch.fnmatch(row.name, arguments.rows)]
    for row in watched(asked, "evidence", len(asked), True):
        action = functools.partial(publish_evidence, row, origin, evidence_folder / row.name)
        done.append({"row": row.name, **_guarded("evidence", action), "weight": "no weight"})
    if arguments.matrix in TAGS:
        entries = {entry["row"]: entry for entry in done if not entry["refused"]}
        due = weights_due(rows, read_evidence(checkpoints), arguments.matrix)
        chosen = [(row, own) for row, own in due if row.name in entries]
        for row, own in watched(chosen, "weights", len(chosen), True):
            action = functools.partial(
                publish_weight, row, own, origin, checkpoints, arguments.replace
            )
            entries[row.name] |= _guarded("weight", action)
        refresh_cards(checkpoints, arguments.matrix)
        checkpoints.mkdir(parents=True, exist_ok=True)
        write_index(checkpoints)
    return done


def weights_due(
    rows: Sequence[Any], evidence: Sequence[Evidence], matrix: str
) -> list[tuple[Any, Evidence]]:
    """Rows that become weights, with their evidence.

    Seed 0, the better optimizer by training loss once all optimizers have run, above chance.
    """
    first = {e.key[1]: e for e in evidence if e.key[0] == matrix and e.result["seed"] == 0}
    waiting = {r.config.model.arch for r in rows if r.config.seed == 0 and r.name not in first}
    better = {arch: group.runs[0] for arch, group in better_groups(first.values()).items()}
    return [
        (row, own)
        for row in rows
        if (own := first.get(row.name)) is not None
        and own is better[row.config.model.arch]
        and row.config.model.arch not in waiting
        and not own.failed
        and not own.at_chance
    ]


def publish_weight(
    row: Any, own: Evidence, origin: Origin, checkpoints: Path, replace: Sequence[str]
) -> str:
    """Publishes the weights of a row; what became of them, in words.

    Raises:
      ValueError: if the tag is taken by other weights.
    """
    run, folder = origin.runs / row.name, checkpoints / weight_id(own)
    model = load_pretrained(run)
    bfloat16 = 4 * count_params(model) > _FLOAT32_BYTES
    kept = publish.rounded_to_bfloat16(model) if bfloat16 else model
    if folder.name in replace and folder.exists():
        shutil.rmtree(folder)
    if publish.is_published(folder, kept):
        return f"{folder.name} present"
    record = publish.finished_record(run) | {"config": own.config}
    recipe = publish.recipe(run, record, own.result["commit"])
    publish.write_weight(
        folder,
        kept,
        own.config,
        source=publish.open_split(located(row.config, origin.data_dir).to_json()),
        commit=origin.commit,
        terms=publish.data_terms(own.config),
        recipe={**recipe, "evidence": f"{FOLDER}/{'/'.join(own.key)}"},
        comparison=comparison(read_evidence(checkpoints), own),
        log=(run / "metrics.jsonl").read_text(encoding="utf-8"),
        bfloat16=bfloat16,
    )
    return f"{folder.name} written"


def weight_id(row: Evidence) -> str:
    """Under which a row is published, if it is."""
    return f"{row.result['arch']}.{row.key[0]}"


def refresh_cards(checkpoints: Path, matrix: str) -> None:
    """Writes the cards of a matrix anew where the evidence has grown since."""
    rows = read_evidence(checkpoints)
    for row in rows:
        folder = checkpoints / weight_id(row)
        if row.key[0] != matrix or not (folder / MANIFEST).exists():
            continue
        manifest = read_manifest(folder)
        if manifest.recipe.get("evidence") == f"{FOLDER}/{'/'.join(row.key)}":
            text = render_card(manifest, comparison(rows, row))
            if (folder / CARD).read_text(encoding="utf-8") != text:
                rewrite_card(folder, text)


def _guarded(key: str, action: Callable[[], str]) -> dict[str, Any]:
    try:
        return {key: action(), "refused": None}
    except (ValueError, OSError) as error:
        return {key: f"no {key}", "refused": _sentence(error)}


def _sentence(error: Exception) -> str:
    return " ".join(str(error).split())


if __name__ == "__main__":
    sys.exit(main())
