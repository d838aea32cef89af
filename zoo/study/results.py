"""What one finished run of a sweep left: its configuration, log and counts.

Two places hold the same: a run directory, and `checkpoints/evidence/SWEEP/RUN/`, where
`result.json` (configuration, environment, commit, metrics with integer counts, digests of the other
files), `log.jsonl` (the training log) and `logits.npz` are kept for good. A run that became
non-finite has no metrics. In these files a sweep is called "matrix" and a run "row".
"""

import dataclasses
import functools
import json
import math
import statistics
from pathlib import Path
from typing import Any

from zoo.common.words import natural_order

FOLDER, RESULT, LOG, LOGITS = "evidence", "result.json", "log.jsonl", "logits.npz"
FORMAT_VERSION = 1
_LAST_WINDOWS = 2


@dataclasses.dataclass(frozen=True)
class Result:
    """One run.

    Attributes:
      folder: where its files are.
      values: its `result.json`.
      log_file: name of the log in `folder`.
    """

    folder: Path
    values: dict[str, Any]
    log_file: str = LOG

    @classmethod
    def read(cls, folder: Path) -> "Result":
        """The evidence in `folder`."""
        return cls(folder, json.loads((folder / RESULT).read_text("utf-8")))

    @property
    def key(self) -> tuple[str, str]:
        """Sweep and run."""
        return self.values["matrix"], self.values["row"]

    @property
    def arch(self) -> str:
        """Id of the network."""
        return self.values["arch"]

    @property
    def optimizer(self) -> str:
        """Name of the optimizer."""
        return self.values["optimizer"]

    @property
    def seed(self) -> int:
        """Of weights and batches."""
        return self.values["seed"]

    @property
    def rate(self) -> float:
        """Peak of the learning rate."""
        return self.config["optimizer"]["learning_rate"]

    @property
    def steps(self) -> int:
        """Updates made."""
        return self.values["steps"]

    @property
    def config(self) -> dict[str, Any]:
        """The whole training configuration."""
        return self.values["config"]

    @property
    def metrics(self) -> dict[str, Any] | None:
        """What the evaluation measured; None for a failed run."""
        return self.values.get("metrics")

    @property
    def failed(self) -> bool:
        """Whether the run became non-finite."""
        return self.values["state"] == "failed"

    @property
    def at_chance(self) -> bool:
        """Whether it may be no better than always answering the most frequent class.

        That is so while Wilson's 95 % interval of top-1 reaches down to that class's share.
        """
        measured = self.metrics
        if measured is None or "most_frequent" not in measured:
            return False
        return measured["top1_interval"][0] <= measured["most_frequent"] / measured["n"]

    @functools.cached_property
    def log(self) -> list[dict[str, Any]]:
        """Lines of the training log."""
        lines = (self.folder / self.log_file).read_text("utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @property
    def losses(self) -> list[tuple[int, float]]:
        """(step, mean training loss since the line before)."""
        return [(line["step"], line["loss"]) for line in self.log if "loss" in line]

    @property
    def final_loss(self) -> float:
        """Mean training loss over the last logged windows; infinite for a failed run."""
        losses = [loss for _, loss in self.losses[-_LAST_WINDOWS:]]
        return math.inf if self.failed or not losses else statistics.fmean(losses)

    def steps_to(self, loss: float) -> int | None:
        """First logged step since which the mean training loss is at most `loss`, if any."""
        return next((step for step, mean in self.losses if mean <= loss), None)

    def target_loss(self, share: float) -> float:
        """Training loss that lies `share` of the way from guessing to the lowest there is.

        Guessing among K classes costs ln K nats; with label smoothing s the lowest loss is the
        entropy of the target, 1 - s + s / K on one class and s / K on each other.
        """
        smoothing = self.config["regularization"]["label_smoothing"]
        classes = self.values.get("classes", 10)
        parts = [1 - smoothing + smoothing / classes] + [smoothing / classes] * (classes - 1)
        lowest = -sum(part * math.log(part) for part in parts if part)
        return (1 - share) * math.log(classes) + share * lowest

    @property
    def images_per_second(self) -> float | None:
        """Median over the log's windows but the first, which holds the compilation."""
        speeds = [line["images_per_second"] for line in self.log if "images_per_second" in line]
        return statistics.median(speeds[1:] or speeds) if speeds else None

    @property
    def hardware(self) -> str:
        """Devices and processor cores."""
        environment = self.values["environment"]
        devices = environment["devices"]
        return f"{devices['count']} x {devices['kind']}, {environment['cpus']} CPU cores"


def read_evidence(checkpoints: Path) -> tuple[Result, ...]:
    """All runs below `checkpoints`, by sweep and run in natural order."""
    paths = (checkpoints / FOLDER).glob(f"*/*/{RESULT}")
    found = [Result.read(path.parent) for path in paths]
    return tuple(sorted(found, key=lambda result: [natural_order(part) for part in result.key]))
