"""The evidence that a trained row leaves in `checkpoints/evidence/MATRIX/ROW/`: reading and sums.

`result.json` (configuration, environment, commit, metrics with integer counts, digests of the other
files), `log.jsonl` (the training log) and `logits.npz` (logits [n, classes] and labels [n] of every
evaluated image). A row that became non-finite has no logits. `publish_zoo.py` writes these files;
`results.py` and the cards of weights are made from them alone.
"""

import dataclasses
import functools
import io
import json
import math
import statistics
from pathlib import Path
from typing import Any

import numpy as np

from zoo.common.words import natural_order

FOLDER, RESULT, LOG, LOGITS = "evidence", "result.json", "log.jsonl", "logits.npz"
FORMAT_VERSION = 1
_LAST_WINDOWS = 2


@dataclasses.dataclass(frozen=True)
class Evidence:
    """One row: the folder it is in and its `result.json`."""

    folder: Path
    result: dict[str, Any]

    @classmethod
    def read(cls, folder: Path) -> "Evidence":
        """The row in `folder`."""
        return cls(folder, json.loads((folder / RESULT).read_text("utf-8")))

    @property
    def key(self) -> tuple[str, str]:
        """Matrix and row."""
        return self.result["matrix"], self.result["row"]

    @property
    def config(self) -> dict[str, Any]:
        """The whole training configuration."""
        return self.result["config"]

    @property
    def metrics(self) -> dict[str, Any] | None:
        """What the evaluation measured; None for a failed row."""
        return self.result.get("metrics")

    @property
    def failed(self) -> bool:
        """Whether the row became non-finite."""
        return self.result["state"] == "failed"

    @property
    def at_chance(self) -> bool:
        """Whether it may be no better than always answering the most frequent class.

        That is so while Wilson's 95 % interval of top-1 reaches down to that class's share.
        """
        measured = self.metrics
        return measured is not None and (
            measured["top1_interval"][0] <= measured["most_frequent"] / measured["n"]
        )

    @functools.cached_property
    def log(self) -> list[dict[str, Any]]:
        """Lines of the training log."""
        return [json.loads(line) for line in (self.folder / LOG).read_text("utf-8").splitlines()]

    @property
    def losses(self) -> list[tuple[int, float]]:
        """(step, mean training loss since the line before)."""
        return [(line["step"], line["loss"]) for line in self.log if "loss" in line]

    @property
    def final_loss(self) -> float:
        """Mean training loss over the last logged windows; infinite for a failed row."""
        losses = [loss for _, loss in self.losses[-_LAST_WINDOWS:]]
        return math.inf if self.failed or not losses else statistics.fmean(losses)

    def steps_to(self, loss: float) -> int | None:
        """First logged step since which the mean training loss is at most `loss`, if any."""
        return next((step for step, mean in self.losses if mean <= loss), None)

    @property
    def images_per_second(self) -> float | None:
        """Median over the log's windows but the first, which holds the compilation."""
        speeds = [line["images_per_second"] for line in self.log if "images_per_second" in line]
        return statistics.median(speeds[1:] or speeds) if speeds else None

    @property
    def hardware(self) -> str:
        """Devices and processor cores."""
        environment = self.result["environment"]
        devices = environment["devices"]
        return f"{devices['count']} x {devices['kind']}, {environment['cpus']} CPU cores"


def read_evidence(checkpoints: Path) -> tuple[Evidence, ...]:
    """All rows below `checkpoints`, by matrix and row in natural order."""
    paths = (checkpoints / FOLDER).glob(f"*/*/{RESULT}")
    found = [Evidence.read(path.parent) for path in paths]
    return tuple(sorted(found, key=lambda e: [natural_order(part) for part in e.key]))


def count_correct(logits: np.ndarray, labels: np.ndarray) -> tuple[int, int]:
    """Top-1 and top-5 counts, ties decided as in every evaluation.

    Args:
      logits: [n, classes], any float.
      labels: [n] integers.
    """
    import jax.numpy as jnp

    from zoo.evaluation import label_ranks

    ranks = np.asarray(label_ranks(jnp.asarray(logits), jnp.asarray(labels)))
    return int(np.sum(ranks < 1)), int(np.sum(ranks < 5))


def compressed_logits(logits: np.ndarray, labels: np.ndarray) -> bytes:
    """An .npz file: logits as float16 where that changes neither count, else as float32."""
    with np.errstate(over="ignore"):
        half = logits.astype(np.float16)
    exact = np.isfinite(half).all() and count_correct(half, labels) == count_correct(logits, labels)
    file = io.BytesIO()
    np.savez_compressed(file, logits=half if exact else logits, labels=labels.astype(np.int16))
    return file.getvalue()


def unpacked_logits(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Logits [n, classes] and labels [n] of what `compressed_logits` made."""
    with np.load(io.BytesIO(content)) as arrays:
        return arrays["logits"], arrays["labels"]
