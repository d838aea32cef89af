"""Publishing a sweep: evidence of every run, weights of the good ones, cards, the index.

Every finished run is measured here and now and leaves `checkpoints/evidence/SWEEP/RUN/`; one that
became non-finite leaves its log and configuration. Seed 0 of every network, with the optimizer that
ends at the lower training loss, becomes the weight `checkpoints/ARCH.SWEEP/`, unless it failed or
ended at chance. Run again, it adds what is new and brings the cards up to date.
"""

import dataclasses
import fnmatch
import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from zoo.common.console import watched
from zoo.complexity import count_params
from zoo.pretrained import load_pretrained, read_manifest, write_index
from zoo.pretrained.card import render_card
from zoo.pretrained.manifest import CARD, MANIFEST
from zoo.pretrained.writing import rewrite_card
from zoo.publishing.cards import comparison
from zoo.publishing.evidence import Origin, publish_evidence
from zoo.publishing.measuring import data_terms, open_split
from zoo.publishing.origins import finished_record, recipe_of
from zoo.publishing.weights import is_published, replaced, rounded_to_bfloat16, write_weight
from zoo.recipes.sweeps import SweepRun
from zoo.study import Result, better_groups, located, read_evidence
from zoo.study.results import FOLDER
from zoo.training.folder import METRICS

WITH_WEIGHTS = ("digits", "cifar10", "cifar10_cpu", "tiny_imagenet")
"""Sweeps whose runs become weights; of the others evidence is kept."""
_FLOAT32_BYTES = 2e6  # larger weights are stored as bfloat16


@dataclasses.dataclass
class Published:
    """What became of one run: its evidence, its weight, and why it was refused, if it was."""

    run: str
    evidence: str
    weight: str = "no weight"
    refused: str | None = None


def publish_sweep(
    runs: Sequence[SweepRun],
    origin: Origin,
    checkpoints: Path,
    *,
    pattern: str = "*",
    replace: Sequence[str] = (),
) -> list[Published]:
    """Evidence first, then weights, then cards, then the index.

    Args:
      runs: all of the sweep.
      origin: where they were trained.
      checkpoints: folder of published weights.
      pattern: of a shell; only runs with such names are published.
      replace: ids of weights to write anew.
    """
    done = []
    for run in _bar([r for r in runs if fnmatch.fnmatch(r.name, pattern)], "evidence"):
        folder = checkpoints / FOLDER / origin.sweep / run.name
        evidence, refused = _guarded(
            functools.partial(publish_evidence, run, origin, folder), "no evidence"
        )
        done.append(Published(run.name, evidence, refused=refused))
    if origin.sweep in WITH_WEIGHTS:
        found = {each.run: each for each in done if not each.refused}
        due = weights_due(runs, read_evidence(checkpoints), origin.sweep)
        for run, own in _bar([pair for pair in due if pair[0].name in found], "weights"):
            write = functools.partial(_publish_weight, run, own, origin, checkpoints, replace)
            found[run.name].weight, found[run.name].refused = _guarded(write, "no weight")
        refresh_cards(checkpoints, origin.sweep)
        checkpoints.mkdir(parents=True, exist_ok=True)
        write_index(checkpoints)
    return done


def weights_due(
    runs: Sequence[SweepRun], evidence: Sequence[Result], sweep: str
) -> list[tuple[SweepRun, Result]]:
    """Runs that become weights, with their evidence.

    Seed 0, the better optimizer by training loss once all optimizers have run, above chance.
    """
    first = {e.key[1]: e for e in evidence if e.key[0] == sweep and e.seed == 0}
    waiting = {r.config.model.arch for r in runs if r.config.seed == 0 and r.name not in first}
    better = {arch: group.runs[0] for arch, group in better_groups(first.values()).items()}
    return [
        (run, own)
        for run in runs
        if (own := first.get(run.name)) is not None
        and own is better[run.config.model.arch]
        and run.config.model.arch not in waiting
        and not own.failed
        and not own.at_chance
    ]


def refresh_cards(checkpoints: Path, sweep: str) -> None:
    """Writes the cards of a sweep anew where the evidence has grown since."""
    results = read_evidence(checkpoints)
    for own in results:
        folder = checkpoints / _weight_id(own)
        if own.key[0] != sweep or not (folder / MANIFEST).exists():
            continue
        manifest = read_manifest(folder)
        if manifest.recipe.get("evidence") == _place(own):
            text = render_card(manifest, comparison(results, own))
            if (folder / CARD).read_text(encoding="utf-8") != text:
                rewrite_card(folder, text)


def _publish_weight(
    run: SweepRun, own: Result, origin: Origin, checkpoints: Path, replace: Sequence[str]
) -> str:
    """Publishes the weights of a run; what became of them, in words.

    Raises:
      ValueError: if the tag is taken by other weights, or those to replace are released.
    """
    run_dir, folder = origin.runs / run.name, checkpoints / _weight_id(own)
    model = load_pretrained(run_dir)
    bfloat16 = 4 * count_params(model.network) > _FLOAT32_BYTES
    kept = rounded_to_bfloat16(model) if bfloat16 else model
    anew = folder.name in replace
    if not anew and is_published(folder, kept):
        return f"{folder.name} present"
    record = finished_record(run_dir) | {"config": own.config}
    recipe = recipe_of(run_dir, record, own.values["commit"])
    with replaced(folder, allowed=anew):
        write_weight(
            folder,
            kept,
            own.config,
            source=open_split(located(run.config, origin.data_dir).to_json()),
            commit=origin.commit,
            terms=data_terms(own.config),
            recipe={**recipe, "evidence": _place(own)},
            comparison=comparison(read_evidence(checkpoints), own),
            log=(run_dir / METRICS).read_text(encoding="utf-8"),
            bfloat16=bfloat16,
        )
    return f"{folder.name} written"


def _weight_id(own: Result) -> str:
    return f"{own.arch}.{own.key[0]}"


def _place(own: Result) -> str:
    return f"{FOLDER}/{'/'.join(own.key)}"


def _guarded(action: Callable[[], str], otherwise: str) -> tuple[str, str | None]:
    try:
        return action(), None
    except (ValueError, OSError) as error:
        return otherwise, " ".join(str(error).split())


def _bar(items: Sequence[Any], label: str) -> Any:
    return watched(items, label, len(items), True)
