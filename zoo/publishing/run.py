"""Publishing one run: checks, measures, writes, lists."""

from pathlib import Path

import zoo
from zoo.export import release
from zoo.pretrained import Manifest, load_pretrained, read_manifest, write_index
from zoo.pretrained.card import read_comparison
from zoo.publishing.measuring import data_terms, open_split
from zoo.publishing.origins import code_version, finished_record, recipe_of
from zoo.publishing.weights import is_published, replaced, write_weight
from zoo.training.folder import METRICS


def publish_run(
    run: Path,
    id: str,
    checkpoints: Path,
    *,
    data_dir: str | None = None,
    comparison: Path | None = None,
    terms: str | None = None,
    release_to: Path | None = None,
    replace: bool = False,
    default: bool = False,
) -> tuple[Manifest, bool]:
    """Publishes the last checkpoint of a finished run, with metrics measured here and now.

    Args:
      run: its directory.
      id: `arch.tag`, a tag that is not taken.
      checkpoints: folder of published weights; its index lists the new one then.
      data_dir: where the data set's files are.
      comparison: Markdown, or a JSON list of rows, for the card.
      terms: of the data, one sentence; None takes what is known.
      release_to: folder for ID.safetensors, which the manifest lists then.
      replace: write over a weight that is listed in no release.
      default: the architecture without a tag means this weight from now on.

    Returns:
      The manifest, and whether anything was written: not where the same weights were there.

    Raises:
      ValueError: saying why this run cannot be published under this id.
    """
    commit = code_version()
    require_own(checkpoints)
    record, folder = finished_record(run), checkpoints / id
    model = load_pretrained(run.absolute())
    arch, _, tag = id.partition(".")
    if arch != model.provenance.arch:
        trained = model.provenance.arch
        raise ValueError(f"--id {id}: the run trained {trained}; use {trained}.TAG")
    if not replace and is_published(folder, model):
        return read_manifest(folder), False
    config = record["config"]
    source = open_split(config, data_dir)
    with replaced(folder, allowed=replace):
        manifest = write_weight(
            folder,
            model,
            config,
            source=source,
            commit=commit,
            terms=terms or data_terms(config),
            recipe=recipe_of(run, record, commit),
            comparison=read_comparison(comparison) if comparison else "",
            log=(run / METRICS).read_text(encoding="utf-8"),
        )
    write_index(checkpoints, defaults={arch: tag} if default else None)
    if release_to is not None:
        manifest = release(folder, release_to / f"{id}.safetensors")
    return manifest, True


def require_own(checkpoints: Path) -> None:
    """Refuses the folder of an installed package, which the next installation would empty.

    Raises:
      ValueError: saying what to give instead.
    """
    if checkpoints.resolve().is_relative_to(Path(zoo.__file__).resolve().parent):
        raise ValueError(
            f"{checkpoints} belongs to the installed package; give --checkpoints, a folder of your "
            "own, or set ZOO_CHECKPOINTS"
        )
