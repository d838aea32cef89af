"""What a model answered to each example, and files made of it."""

import csv
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from zoo.common.files import appearing
from zoo.evaluation.measures import per_class_counts


@dataclasses.dataclass(frozen=True)
class Answers:
    """One row per example, in the order of the source.

    Attributes:
      label: [n] int32, right class as index of the logits.
      predicted: [n] int32, class with the largest logit.
      rank: [n] int32, how many classes come before the label; 0 is correct.
      confidence: [n] float32, probability of `predicted`.
      loss: [n] float32, cross-entropy in nats.
      logits: [n, classes] float32, or None where they were not asked for.
    """

    label: np.ndarray
    predicted: np.ndarray
    rank: np.ndarray
    confidence: np.ndarray
    loss: np.ndarray
    logits: np.ndarray | None = None

    def save(self, path: str | Path, *, names: Sequence[str], classes: Sequence[str]) -> None:
        """Writes an .npz file with the attributes, `name` of each example and `classes`.

        Raises:
          ValueError: if the path does not end in .npz or cannot be written.
        """
        path = Path(path).expanduser()
        if path.suffix != ".npz":
            raise ValueError(f"{path} should end in .npz; give another name")
        values = {k: v for k, v in vars(self).items() if v is not None}
        texts = {"name": np.asarray(names, str), "classes": np.asarray(classes, str)}
        try:
            with appearing(path) as partial:
                np.savez(partial, **values, **texts)
        except OSError as error:
            raise ValueError(f"{path} cannot be written ({error}); give another path") from error

    def save_per_class(self, path: str | Path, classes: Sequence[str]) -> None:
        """Writes a CSV file with class, n, correct and top1 of every class.

        Raises:
          ValueError: if the path cannot be written.
        """
        right, n = per_class_counts(self.label, self.rank < 1, len(classes))
        rows = [
            {"class": name, "n": int(k), "correct": int(c), "top1": c / k if k else ""}
            for name, c, k in zip(classes, right, n, strict=True)
        ]
        _write_csv(Path(path).expanduser(), rows, "w")


def append_row(path: str | Path, row: dict[str, Any]) -> None:
    """Appends a row to a CSV file, which begins with its columns when it is new.

    Raises:
      ValueError: if the file has other columns or cannot be written.
    """
    path = Path(path).expanduser()
    try:
        new = not path.exists() or path.stat().st_size == 0
        with path.open(newline="") if not new else open(os.devnull) as file:
            columns = list(row) if new else next(csv.reader(file), [])
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error}); give another path") from error
    if columns != list(row):
        raise ValueError(
            f"{path} has other columns ({', '.join(columns[:4])}, ...) than a result; "
            "give another file"
        )
    _write_csv(path, [row], "a")


def read_rows(path: str | Path) -> list[dict[str, str]]:
    """The rows of a CSV file, none where there is no file.

    Raises:
      ValueError: if it cannot be read, or has no column "model".
    """
    path = Path(path).expanduser()
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} cannot be read ({error}); give another path") from error
    if any("model" not in row for row in rows):
        raise ValueError(f"{path} has no column 'model'; give a file of results, or a new one")
    return rows


def write_rows(path: str | Path, rows: list[dict[str, Any]]) -> None:
    """Puts these rows in the place of all that a CSV file holds; without rows it is removed.

    Raises:
      ValueError: if it cannot be written.
    """
    path = Path(path).expanduser()
    if not rows:
        return path.unlink(missing_ok=True)
    with appearing(path) as partial:
        _write_csv(partial, rows, "w")


def _write_csv(path: Path, rows: list[dict[str, Any]], mode: str) -> None:
    try:
        with path.open(mode, newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            if file.tell() == 0:
                writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise ValueError(f"{path} cannot be written ({error}); give another path") from error
