"""The linear probe: a new head on features that are computed once per image.

With the layers below fixed, the head is a convex problem. It is solved, not trained: full-batch
L-BFGS for a few penalties, the best of which the validation split chooses.
"""

import dataclasses
import functools
import os
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from zoo.cpu.sums import whole_sum
from zoo.data import Preprocessing, Source, eval_batches
from zoo.models import Params, merge

PENALTIES = (1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
_ITERATIONS = 50
_BATCH_SIZE = 256
_THREADS = min(16, os.cpu_count() or 1)


@dataclasses.dataclass(frozen=True)
class Probe:
    """A solved head.

    Attributes:
      head: "head.kernel" [channels, classes] and "head.bias" [classes], float32.
      penalty: the chosen strength.
      top1: on the validation features, by penalty in the order of `PENALTIES`.
    """

    head: Params
    penalty: float
    top1: tuple[float, ...]


def embed(
    graphdef: nnx.GraphDef, params: Params, source: Source, preprocessing: Preprocessing
) -> tuple[np.ndarray, np.ndarray]:
    """`Network.embed` of every image of a source, once, without augmentation.

    Args:
      graphdef: structure of the network, from `zoo.models.split`.
      params: its parameters by name.

    Returns:
      Features [n, channels] float32, and labels [n] int32.

    Raises:
      BadImageError: at the first image that cannot be read.
    """
    size = min(_BATCH_SIZE, len(source))
    features, labels = [], []
    for batch in eval_batches(source, preprocessing, batch_size=size, threads=_THREADS):
        rows = _embed(graphdef, params, batch["image"], preprocessing)
        features.append(np.asarray(rows)[batch["mask"]])
        labels.append(batch["label"][batch["mask"]])
    return np.concatenate(features), np.concatenate(labels)


@functools.partial(jax.jit, static_argnames=("graphdef", "preprocessing"))
def _embed(
    graphdef: nnx.GraphDef, params: Params, images: jax.Array, preprocessing: Preprocessing
) -> jax.Array:
    with jax.default_matmul_precision("highest"):
        return merge(graphdef, params).embed(preprocessing.normalize(images))


def linear_probe(
    train: tuple[np.ndarray, np.ndarray],
    val: tuple[np.ndarray, np.ndarray],
    num_classes: int,
    *,
    label_smoothing: float = 0.0,
    class_weights: Sequence[float] = (),
) -> Probe:
    """The head that minimises cross-entropy plus a penalty, for the penalty that is best on `val`.

      min_{W, b}  mean_i CE(target_i, softmax(z_i W + b)) + penalty / 2 |W|^2

    with z the features scaled to mean 0 and variance 1 over `train`; the scaling is folded into
    the result. Of equally good penalties the strongest is taken. Nothing is random.

    Args:
      train, val: features [n, channels] and labels [n].
      num_classes: of the head.
      label_smoothing: share of each target spread evenly over all classes.
      class_weights: factor on the loss of the examples of each class; empty: 1 for all.

    Source: Radford et al. 2021, arXiv 2103.00020, section 3.2 (logistic regression on features,
    L-BFGS, strength chosen on validation data).
    """
    features, labels = train
    mean, std = features.mean(0), features.std(0)
    std = np.where(std > 1e-6 * std.max(), std, 1).astype(np.float32)
    scaled = jnp.asarray((features - mean) / std)
    targets = jax.nn.one_hot(labels, num_classes) * (1 - label_smoothing)
    targets = targets + label_smoothing / num_classes
    if class_weights:
        targets *= jnp.asarray(class_weights, jnp.float32)[labels, None]
    weights = {
        "kernel": jnp.zeros((features.shape[1], num_classes)), "bias": jnp.zeros(num_classes)
    }  # fmt: skip
    heads, top1 = [], []
    for penalty in PENALTIES:  # each starts from the solution of the one before
        weights = _solve(weights, scaled, targets, penalty)
        kernel = np.asarray(weights["kernel"]) / std[:, None]
        bias = np.asarray(weights["bias"]) - mean @ kernel
        heads.append({"head.kernel": kernel, "head.bias": bias})
        top1.append(float(np.mean(np.argmax(val[0] @ kernel + bias, 1) == val[1])))
    best = int(np.argmax(top1))
    return Probe(heads[best], PENALTIES[best], tuple(top1))


@jax.jit
def _solve(weights: Params, features: jax.Array, targets: jax.Array, penalty: float) -> Params:
    def loss(weights: Params) -> jax.Array:
        logits = features @ weights["kernel"] + weights["bias"]
        losses = -jnp.sum(targets * jax.nn.log_softmax(logits), axis=1)
        return losses.mean() + penalty / 2 * whole_sum(weights["kernel"] ** 2)

    solver = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)

    def iterate(carry: tuple[Params, optax.OptState], _: None) -> tuple[tuple, None]:
        weights, state = carry
        value, gradient = value_and_grad(weights, state=state)
        updates, state = solver.update(
            gradient, state, weights, value=value, grad=gradient, value_fn=loss
        )
        return (optax.apply_updates(weights, updates), state), None

    with jax.default_matmul_precision("highest"):
        start = (weights, solver.init(weights))
        (weights, _), _ = jax.lax.scan(iterate, start, None, length=_ITERATIONS)
    return weights
