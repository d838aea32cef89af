"""What a step minimises: soft targets, images mixed with each other, and the loss."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from zoo.data import cutmix, mixup, random_erasing
from zoo.training.config import RegularizationConfig

Loss = Callable[[jax.Array, jax.Array], jax.Array]
"""Of logits [batch, classes], float32, and targets [batch, classes]; one value per example."""


def cross_entropy(logits: jax.Array, targets: jax.Array) -> jax.Array:
    """-sum_k target_k log softmax(logits)_k of each example, [batch]."""
    return -jnp.sum(targets * jax.nn.log_softmax(logits), axis=-1)


def regularized(
    settings: RegularizationConfig,
    key: jax.Array,
    images: jax.Array,
    labels: jax.Array,
    num_classes: int,
) -> tuple[jax.Array, jax.Array]:
    """Images mixed and erased, and their soft targets [batch, classes].

    Args:
      settings: which of it, and how much.
      key: random key.
      images: [batch, height, width, channel], normalised.
      labels: [batch] integers.
      num_classes: length of a target.
    """
    targets = jax.nn.one_hot(labels, num_classes, dtype=jnp.float32)
    smoothing = settings.label_smoothing
    targets = (1 - smoothing) * targets + smoothing / num_classes
    if settings.class_weights:
        targets *= jnp.asarray(settings.class_weights, jnp.float32)[labels, None]
    mix_key, erase_key = jax.random.split(key)
    if settings.mixup or settings.cutmix:
        images, targets = _mix(settings, mix_key, images, targets)
    if settings.erasing:
        images = random_erasing(erase_key, images, settings.erasing)
    return images, targets


def _mix(
    settings: RegularizationConfig, key: jax.Array, images: jax.Array, targets: jax.Array
) -> tuple[jax.Array, jax.Array]:
    choice_key, key = jax.random.split(key)
    thresholds = jnp.asarray([settings.mixup, settings.mixup + settings.cutmix])
    branches = (
        lambda: mixup(key, images, targets, settings.mixup_alpha),
        lambda: cutmix(key, images, targets, settings.cutmix_alpha),
        lambda: (images, targets),
    )
    return jax.lax.switch(jnp.sum(jax.random.uniform(choice_key) >= thresholds), branches)
