"""Made-up evidence: runs whose numbers are chosen, in the form that real runs leave."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from zoo.common.files import digest_of
from zoo.evaluation.measures import wilson_interval
from zoo.publishing.logits import compressed_logits, count_correct

N = 200


def write_row(
    checkpoints: Path,
    arch: str,
    seed: int = 0,
    *,
    matrix: str = "digits",
    correct: int = 100,
    losses: tuple[float, ...] = (2.3, 1.5, 1.0, 0.6),
    failed_at: int | None = None,
    optimizer: str = "sgd",
    rate: float = 0.1,
) -> Path:
    """Writes one row with `correct` of 200 right and a logged loss every 100 steps."""
    row = f"{arch}-{rate:g}" if matrix.endswith("_rates") else f"{arch}-{seed}"
    folder = checkpoints / "evidence" / matrix / row
    folder.mkdir(parents=True, exist_ok=True)
    log = [
        {"step": 100 * (i + 1), "loss": loss, "images_per_second": 1000.0}
        for i, loss in enumerate(losses)
    ]
    files = {"log.jsonl": "".join(json.dumps(line) + "\n" for line in log).encode()}
    result: dict[str, Any] = {
        "format_version": 1, "matrix": matrix, "row": row, "arch": arch, "optimizer": optimizer,
        "seed": seed, "steps": failed_at or 100 * len(losses), "training_seconds": 60.0,
        "state": "trained" if failed_at is None else "failed", "commit": "1" * 40,
        "config": _config(arch, seed, optimizer, rate), "environment": _ENVIRONMENT,
    }  # fmt: skip
    if failed_at is None:
        labels = np.arange(N) % 10
        answers = np.where(np.arange(N) < correct, labels, (labels + 1) % 10)
        files["logits.npz"] = compressed_logits(np.eye(10, dtype=np.float32)[answers], labels)
        right5 = count_correct(np.eye(10)[answers], labels)[1]
        result |= {"params": 1000, "macs": 10**6, "classes": 10, "metrics": {
            "top1": correct / N, "top5": right5 / N, "n": N, "loss": 1.0, "correct1": correct,
            "correct5": right5, "split": "test", "most_frequent": N // 10,
            "top1_interval": list(wilson_interval(correct, N)),
        }}  # fmt: skip
    else:
        result["failure"] = f"step {failed_at} is not finite"
    result["files"] = {name: digest_of(content) for name, content in files.items()}
    for name, content in files.items():
        (folder / name).write_bytes(content)
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def lowest_loss(smoothing: float, classes: int) -> float:
    """Entropy of a smoothed target, summed class by class."""
    target = np.full(classes, smoothing / classes)
    target[0] += 1 - smoothing
    return -math.fsum(p * math.log(p) for p in target)


def _config(arch: str, seed: int, optimizer: str, rate: float) -> dict[str, Any]:
    return {
        "seed": seed, "steps": 400, "epochs": None,
        "model": {"arch": arch, "width": 0.125, "dtype": "float32"},
        "data": {"name": "digits", "batch_size": 64},
        "preprocessing": {"image_size": [8, 8]},
        "optimizer": {"name": optimizer, "learning_rate": rate},
        "regularization": {"label_smoothing": 0.1},
    }  # fmt: skip


_ENVIRONMENT = {
    "devices": {"count": 1, "kind": "cpu"},
    "cpus": 2,
    "versions": {"jax": "1", "flax": "2", "optax": "3", "numpy": "4"},
}
