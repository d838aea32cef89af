"""Random changes of whole training batches on the device, inside the jitted step.

Pure functions of a key with static shapes, on normalised float images
[batch, height, width, channels]. Examples are mixed with the batch in reverse order: batches are
shuffled already, and the pairs do not depend on how the batch is spread over devices.
"""

import math

import jax
import jax.numpy as jnp

_ERASED_AREA = (0.02, 1 / 3)
_ERASED_ASPECT = (0.3, 1 / 0.3)


def mixup(
    key: jax.Array, images: jax.Array, onehot: jax.Array, alpha: float
) -> tuple[jax.Array, jax.Array]:
    """Convex combinations of examples and of their labels.

      x' = l x + (1 - l) x_reversed,  y' = l y + (1 - l) y_reversed,  l ~ Beta(alpha, alpha)

    One l per batch.

    Args:
      key: random key.
      images: [batch, height, width, channels] float.
      onehot: [batch, classes] float, rows sum to 1.
      alpha: static, positive.

    Raises:
      ValueError: if alpha is not positive.

    Source: Zhang et al. 2017, arXiv 1710.09412.
    """
    share = _share(key, alpha).astype(images.dtype)
    mixed = share * images + (1 - share) * images[::-1]
    return mixed, _mix_labels(onehot, share)


def cutmix(
    key: jax.Array, images: jax.Array, onehot: jax.Array, alpha: float
) -> tuple[jax.Array, jax.Array]:
    """A rectangle of each image comes from its partner; labels are mixed by the areas.

    The rectangle has sides sqrt(1 - l) of the image's, l ~ Beta(alpha, alpha), and a uniform
    centre; it is clipped at the border, and the labels' share is that of the clipped area. One
    rectangle per batch.

    Args:
      key: random key.
      images: [batch, height, width, channels] float.
      onehot: [batch, classes] float, rows sum to 1.
      alpha: static, positive.

    Raises:
      ValueError: if alpha is not positive.

    Source: Yun et al. 2019, arXiv 1905.04899.
    """
    share_key, row_key, column_key = jax.random.split(key, 3)
    side = jnp.sqrt(1 - _share(share_key, alpha))
    height, width = images.shape[1:3]
    rows = _span(jax.random.uniform(row_key), side, height)
    columns = _span(jax.random.uniform(column_key), side, width)
    box = rows[:, None] & columns[None, :]
    mixed = jnp.where(box[None, :, :, None], images[::-1], images)
    return mixed, _mix_labels(onehot, 1 - box.mean())


def random_erasing(key: jax.Array, images: jax.Array, prob: float) -> jax.Array:
    """Set a random rectangle to zero, the mean colour of normalised images, with chance `prob`.

    Per image: area uniform in 0.02 .. 1/3 of the image, logarithm of height / width uniform in
    log 0.3 .. -log 0.3, sides clipped to the image's, position uniform among those that fit.

    Args:
      key: random key.
      images: [batch, height, width, channels] float.
      prob: static, in [0, 1].

    Raises:
      ValueError: if prob is outside [0, 1].

    Source: Zhong et al. 2017, arXiv 1708.04896.
    """
    if not 0 <= prob <= 1:
        raise ValueError(f"random_erasing: prob is {prob}, allowed is 0 to 1")
    batch, height, width = images.shape[:3]
    erase, area, aspect, down, right = jax.random.uniform(key, (5, batch))
    pixels = height * width * (_ERASED_AREA[0] + (_ERASED_AREA[1] - _ERASED_AREA[0]) * area)
    low, high = (math.log(value) for value in _ERASED_ASPECT)
    ratio = jnp.exp(low + (high - low) * aspect)
    rows = _placed(down, jnp.sqrt(pixels * ratio), height)
    columns = _placed(right, jnp.sqrt(pixels / ratio), width)
    box = rows[:, :, None] & columns[:, None, :] & (erase < prob)[:, None, None]
    return jnp.where(box[..., None], 0, images)


def _share(key: jax.Array, alpha: float) -> jax.Array:
    if not alpha > 0:
        raise ValueError(
            f"alpha is {alpha}, allowed is a positive number; leave the mixing out for 0"
        )
    return jax.random.beta(key, alpha, alpha)


def _mix_labels(onehot: jax.Array, share: jax.Array) -> jax.Array:
    share = share.astype(onehot.dtype)
    return share * onehot + (1 - share) * onehot[::-1]


def _span(centre: jax.Array, side: jax.Array, size: int) -> jax.Array:
    """[size] bool: the pixels within side / 2 of the centre, both as shares of the size."""
    middle, half = jnp.floor(centre * size), jnp.floor(side * size / 2)
    pixels = jnp.arange(size)
    return (pixels >= middle - half) & (pixels < middle + half)


def _placed(position: jax.Array, length: jax.Array, size: int) -> jax.Array:
    """[batch, size] bool: a run of round(length) pixels, its place among those that fit."""
    run = jnp.clip(jnp.round(length), 1, size)
    start = jnp.floor(position * (size - run + 1))
    pixels = jnp.arange(size)[None, :]
    return (pixels >= start[:, None]) & (pixels < (start + run)[:, None])
