"""Logits of every evaluated image, kept small without changing what they count to."""

import io

import jax.numpy as jnp
import numpy as np

from zoo.evaluation import label_ranks


def count_correct(logits: np.ndarray, labels: np.ndarray) -> tuple[int, int]:
    """Top-1 and top-5 counts, ties decided as in every evaluation.

    Args:
      logits: [n, classes], any float.
      labels: [n] integers.
    """
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
