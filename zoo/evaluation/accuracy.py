"""Accuracy, exactly: every example once, the same integer counts on any devices and processes.

The last batch is padded and masked, counts are summed as integers and compared with the size of the
split. Images are preprocessed as the model's own `preprocess` says, never otherwise.
"""

import dataclasses
import functools
import math
import os
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zoo.classifier import Classifier, logits
from zoo.common.console import watched
from zoo.common.environment import library_versions
from zoo.data import Preprocessing, Source, eval_batches, open_source
from zoo.evaluation.compatibility import (
    allowed_logits,
    match_classes,
    require_trained,
    right_logits,
)
from zoo.evaluation.examples import Answers
from zoo.evaluation.measures import expected_calibration_error, real_counts
from zoo.evaluation.result import EvalResult
from zoo.kernels import Kernels
from zoo.models import Params, merge
from zoo.pretrained.loading import as_classifier
from zoo.processes.arrays import batch_part, everywhere

PRECISIONS = ("highest", "high", "default")
_THREADS = min(16, os.cpu_count() or 1)  # Pillow decodes and resizes outside Python's lock
_IN_FLIGHT = 2  # batches on their way to the device; more would only hold memory


class NonFiniteLogitsError(ValueError):
    """A model answered NaN or infinity, so that its accuracy means nothing."""


def evaluate(
    model: Classifier | str | Path,
    data: Source | str,
    *,
    split: str = "test",
    data_dir: str | None = None,
    batch_size: int = 256,
    precision: str = "highest",
    devices: Sequence[jax.Device] | None = None,
    keep_logits: bool = False,
    progress: bool = False,
) -> EvalResult:
    """Accuracy and loss of a model on every example of a split.

      evaluate("vanilla_resnet50_tat_lrelu.digits", "digits").top1

    Args:
      model: a classifier, or whatever `load_pretrained` accepts.
      data: a source, or what `open_source` accepts, for instance "digits" or "folder:PATH".
      split: "train", "val" or "test", when `data` is a name.
      data_dir: folder of the data, when `data` is a name.
      batch_size: examples per step over all devices; rounded up to a multiple of their number.
      precision: of matrix products: "highest", "high" or "default".
      devices: where to run; None takes all of all processes. Every process that has one of them
        has to call this, and each gets the whole result.
      keep_logits: keep them in `EvalResult.answers`, four bytes per example and class.
      progress: show a progress bar on standard error.

    Raises:
      ClassMismatchError: if the classes of the data are not those of the model.
      NonFiniteLogitsError: if any logit is NaN or infinite.
      ValueError: for a model with an untrained head, or an empty source.
    """
    model = as_classifier(model)
    source = open_source(data, split, data_dir=data_dir) if isinstance(data, str) else data
    require_trained(model)
    graphdef, params = model.split()
    return evaluate_params(
        graphdef,
        params,
        source,
        model.preprocess,
        labels=match_classes(model, source),
        batch_size=batch_size,
        precision=precision,
        devices=devices,
        keep_logits=keep_logits,
        progress=progress,
    )


def evaluate_params(
    graphdef: nnx.GraphDef,
    params: Params,
    source: Source,
    preprocessing: Preprocessing,
    *,
    labels: np.ndarray | None = None,
    batch_size: int = 256,
    precision: str = "highest",
    devices: Sequence[jax.Device] | None = None,
    keep_logits: bool = False,
    progress: bool = False,
    kernels: Kernels | None = None,
    on_batch: Callable[[], None] = lambda: None,
) -> EvalResult:
    """`evaluate` for parameters that live outside a model; compiled once per structure.

    Args:
      graphdef: structure of the network, from `zoo.models.split`.
      params: its parameters by name.
      source: examples.
      preprocessing: applied to every image.
      labels: label of the source -> index of the logit; None where they are the same.
      kernels: what computes; None is XLA.
      on_batch: called after every batch.
      batch_size: see `evaluate`, as all others.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision!r}; allowed: {', '.join(PRECISIONS)}")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size}; give a whole number >= 1")
    devices = list(devices) if devices is not None else jax.devices()
    mesh = Mesh(np.asarray(devices), ("data",))
    batch_size = -(-min(batch_size, len(source)) // len(devices)) * len(devices)
    params, split = everywhere(params, mesh), NamedSharding(mesh, PartitionSpec("data"))
    tally, allowed = _Tally(len(source)), allowed_logits(source, labels)
    waiting: deque[dict[str, jax.Array]] = deque()
    part, parts = batch_part(split, batch_size)
    batches = eval_batches(
        source,
        preprocessing,
        batch_size=batch_size,
        process_index=part,
        process_count=parts,
        threads=_THREADS,
    )
    for batch in watched(batches, "evaluating", -(-len(source) // batch_size), progress):
        if labels is not None:
            batch["label"] = labels[batch["label"]]
        batch["index"] = batch["index"].astype(np.int32)
        placed = {n: jax.make_array_from_process_local_data(split, x) for n, x in batch.items()}
        waiting.append(
            _answers(
                graphdef,
                params,
                placed,
                allowed,
                preprocessing,
                precision,
                kernels or Kernels(),
                keep_logits,
                mesh,
            )
        )
        on_batch()
        if len(waiting) > _IN_FLIGHT:
            tally.add(waiting.popleft())
    for answers in waiting:
        tally.add(answers)
    return _result(tally, source, labels, preprocessing, precision, devices, batch_size)


def label_ranks(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """How many classes come before the label; an example is top-k correct iff its rank < k.

    Of equal logits the lower class comes first, so that ties have one outcome.

    Args:
      logits: [batch, classes].
      labels: [batch] integers.

    Returns:
      [batch] int32.
    """
    own = jnp.take_along_axis(logits, labels[:, None], axis=1)
    lower = jnp.arange(logits.shape[1])[None, :] < labels[:, None]
    return jnp.sum((logits > own) | ((logits == own) & lower), axis=1, dtype=jnp.int32)


@functools.partial(
    jax.jit, static_argnames=("graphdef", "preprocessing", "precision", "kernels", "keep", "mesh")
)
def _answers(
    graphdef: nnx.GraphDef,
    params: Params,
    batch: dict[str, jax.Array],
    allowed: np.ndarray | None,
    preprocessing: Preprocessing,
    precision: str,
    kernels: Kernels,
    keep: bool,
    mesh: Mesh,
) -> dict[str, jax.Array]:
    """Answers to a batch with what they answer, all of it on every device: so in every process."""
    with jax.default_matmul_precision(precision):
        compute = kernels.applied(
            lambda params, images: logits(merge(graphdef, params), preprocessing, images)
        )
        scores = compute(params, batch["image"])
    finite = jnp.isfinite(scores).all(axis=1)
    if allowed is not None:
        is_allowed = jnp.zeros(scores.shape[1], bool).at[allowed].set(True)
        scores = jnp.where(is_allowed, scores, -jnp.inf)
    own = jnp.take_along_axis(scores, batch["label"][:, None], axis=1)[:, 0]
    log_sum = jax.nn.logsumexp(scores, axis=1)
    answers = {
        "rank": label_ranks(scores, batch["label"]),
        "predicted": jnp.argmax(scores, axis=1).astype(jnp.int32),
        "confidence": jnp.exp(jnp.max(scores, axis=1) - log_sum).astype(jnp.float32),
        "loss": (log_sum - own).astype(jnp.float32),
        "finite": finite,
        **{name: batch[name] for name in ("index", "mask", "label")},
    }
    if keep:
        answers["logits"] = scores.astype(jnp.float32)
    return jax.lax.with_sharding_constraint(answers, NamedSharding(mesh, PartitionSpec()))


class _Tally:
    """Answers by example, and how often each example was seen."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.times_seen = np.zeros(size, np.int64)
        self.rows: dict[str, np.ndarray] = {}

    def add(self, answers: dict[str, jax.Array]) -> None:
        rows = jax.device_get(answers)
        mask = rows.pop("mask")
        index = rows.pop("index")[mask]
        np.add.at(self.times_seen, index, 1)
        for name, values in rows.items():
            if name not in self.rows:
                self.rows[name] = np.zeros((self.size, *values.shape[1:]), values.dtype)
            self.rows[name][index] = values[mask]


def _result(
    tally: _Tally,
    source: Source,
    labels: np.ndarray | None,
    preprocessing: Preprocessing,
    precision: str,
    devices: Sequence[jax.Device],
    batch_size: int,
) -> EvalResult:
    n, valid = int(tally.times_seen.sum()), right_logits(source, labels)
    if n != len(source) or not (tally.times_seen == 1).all():
        raise RuntimeError(f"saw {n} examples of {len(source)}, or one twice: a fault of this code")
    rows = dict(tally.rows)
    not_finite = np.flatnonzero(~rows.pop("finite"))
    if not_finite.size:
        raise NonFiniteLogitsError(
            f"{not_finite.size} of {n} examples gave NaN or infinite logits, the first is "
            f"number {not_finite[0]}; the weights or the precision are unusable"
        )
    answers = Answers(**rows)
    correct1, correct5 = int(np.sum(answers.rank < 1)), int(np.sum(answers.rank < 5))
    real = real_counts(answers.predicted, valid) if valid is not None else (None, None)
    return EvalResult(
        top1=correct1 / n,
        top5=correct5 / n,
        loss=math.fsum(answers.loss.astype(np.float64)) / n,
        n=n,
        correct1=correct1,
        correct5=correct5,
        data=source.name,
        split=source.split,
        preprocess=dataclasses.asdict(preprocessing),
        precision=precision,
        device=f"{len(devices)} x {devices[0].device_kind}",
        batch_size=batch_size,
        versions=library_versions(),
        calibration_error=expected_calibration_error(answers.confidence, answers.rank < 1),
        real_correct=real[0],
        real_n=real[1],
        answers=answers,
    )
