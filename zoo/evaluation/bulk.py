"""Many models on one data set: one row each, whatever becomes of the others."""

import functools
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import jax

from zoo.classifier import Classifier
from zoo.data import Source
from zoo.evaluation.accuracy import evaluate
from zoo.evaluation.examples import append_row, read_rows, write_rows
from zoo.evaluation.result import EvalResult, failed_row
from zoo.processes import lost_process
from zoo.processes.agreement import by_first

_log = logging.getLogger("zoo.evaluation")


class OutOfMemoryError(ValueError):
    """A model that no batch size lets the devices evaluate."""


def evaluate_within_memory(
    model: Classifier | str | Path, source: Source, *, batch_size: int, **options: Any
) -> EvalResult:
    """`evaluate` with half the batch, and half again, while the devices run out of memory.

    Args:
      model: as for `evaluate`, like `options`.
      source: examples.
      batch_size: to begin with; the result says which one it was.

    Raises:
      OutOfMemoryError: if one example a device is still too much.
      ValueError: as `evaluate`.
    """
    devices = len(options.get("devices") or jax.devices())
    while True:
        try:
            return evaluate(model, source, batch_size=batch_size, **options)
        except jax.errors.JaxRuntimeError as error:
            if "RESOURCE_EXHAUSTED" not in str(error):
                raise
            reason = str(error).splitlines()[0]
        # Out of the handler: the arrays of the failed attempt are let go.
        batch_size = min(batch_size, len(source))
        if batch_size <= devices:
            raise OutOfMemoryError(
                f"one example a device is more than its memory holds ({reason}); take a device "
                "with more, or a smaller image_size"
            )
        batch_size //= 2
        _log.warning("out of memory; going on with batches of %d", batch_size)


def evaluate_all(
    models: Sequence[str],
    source: Source,
    *,
    batch_size: int = 256,
    precision: str = "highest",
    csv: str | Path | None = None,
    progress: bool = False,
) -> Iterator[dict[str, Any]]:
    """Evaluates every model on a source; yields one row each, as soon as it is known.

    Args:
      models: whatever `load_pretrained` accepts.
      source: examples.
      batch_size: of `evaluate_within_memory`.
      precision: of matrix products.
      csv: file to which rows are appended. Models that have a row of this data and precision are
        not evaluated again; rows that say why a model failed are replaced.
      progress: show a progress bar on standard error.

    Yields:
      "model" with the values of `EvalResult.to_json`, or with "error": why it could not be
      evaluated, or with "skipped": the file that has its row.

    Raises:
      ValueError: if `csv` is not a file of results.
    """
    done = [] if csv is None else by_first(lambda: _evaluated(csv, source, precision))
    for model in models:
        if model in done:
            yield {"model": model, "skipped": f"its row is in {csv}"}
            continue
        try:
            result = evaluate_within_memory(
                model, source, batch_size=batch_size, precision=precision, progress=progress
            )
            answer, row = {"model": model, **result.to_json()}, result.to_row(model)
        except (ValueError, OSError, jax.errors.JaxRuntimeError) as error:
            if lost_process(error) is not None:
                raise
            reason = " ".join(str(error).split())
            answer = {"model": model, "error": reason}
            row = failed_row(model, source.name, source.split, precision, reason)
        if csv is not None:
            by_first(functools.partial(append_row, csv, row))
        yield answer


def _evaluated(csv: str | Path, source: Source, precision: str) -> list[str]:
    """Models that have a row; rows of failures are taken out of the file, to be tried again."""
    rows = read_rows(csv)
    ours = {"data": source.name, "split": source.split, "precision": precision}
    mine = [row for row in rows if ours.items() <= row.items()]
    failed = [row for row in mine if row.get("error")]
    if failed:
        write_rows(csv, [row for row in rows if row not in failed])
    return [row["model"] for row in mine if not row.get("error")]
