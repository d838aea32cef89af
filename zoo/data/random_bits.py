"""Random numbers of the input pipeline: pure integer functions of (seed, epoch, example, stream).

Written once over an array module `xp` (`numpy` or `jax.numpy`), in uint32 arithmetic only, so host
and device draw the same bits. Owns no policy: what is drawn for what is decided by the callers.
"""

from functools import lru_cache
from types import ModuleType
from typing import Any

import numpy as np

# One stream per use, so that switching one augmentation on never moves the draws of another.
STREAM_ORDER = 0
STREAM_CROP = 1
STREAM_FLIP = 2
STREAM_RESIZED_CROP = 3
STREAM_COLOR = 4

SEED_LIMIT = 2**32

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA


def threefry2x32(xp: ModuleType, key: tuple[Any, Any], counter: tuple[Any, Any]) -> tuple[Any, Any]:
    """Two uint32 words per element from the 20-round Threefry-2x32 block function.

    Args:
      xp: `numpy` or `jax.numpy`; both give the same bits.
      key: two non-negative integers or integer arrays below 2**32.
      counter: two of the same; all four broadcast against each other.

    Returns:
      Two uint32 arrays of the broadcast shape, at least one-dimensional.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3".
    """
    # np.uint32: JAX refuses Python integers above 2**31, NumPy scalars warn when they wrap.
    words = (np.uint32(word) if isinstance(word, int) else word for word in (*key, *counter))
    k0, k1, x0, x1 = (xp.atleast_1d(xp.asarray(word).astype("uint32")) for word in words)
    schedule = (k0, k1, k0 ^ k1 ^ _PARITY)
    x0, x1 = x0 + k0, x1 + k1
    for group in range(5):
        for rotation in _ROTATIONS[group % 2]:
            x0 = x0 + x1
            x1 = ((x1 << rotation) | (x1 >> (32 - rotation))) ^ x0
        x0 = x0 + schedule[(group + 1) % 3]
        x1 = x1 + schedule[(group + 2) % 3] + (group + 1)
    return x0, x1


def example_words(
    xp: ModuleType, seed: int, epochs: Any, indices: Any, stream: int
) -> tuple[Any, Any]:
    """Two uint32 words for every (epoch, example index) of a batch in one `stream`.

    words = threefry2x32(key=(seed, epoch), counter=(index, stream))
    """
    return threefry2x32(xp, (seed, epochs), (indices, stream))


@lru_cache(maxsize=4)  # a batch meets at most two epochs when batch_size <= size
def epoch_order(seed: int, epoch: int, size: int) -> np.ndarray:
    """Order in which epoch `epoch` visits the `size` examples: a permutation, read-only int64.

    order = stable argsort of the first Threefry word of (seed, epoch, i, STREAM_ORDER), i < size.
    """
    words, _ = example_words(np, seed, epoch, np.arange(size), STREAM_ORDER)
    order = np.argsort(words, kind="stable").astype(np.int64)
    order.flags.writeable = False
    return order


def example_generator(seed: int, epoch: int, index: int, stream: int) -> np.random.Generator:
    """NumPy generator of one example, for draws whose number is not fixed in advance."""
    high, low = example_words(np, seed, epoch, index, stream)
    return np.random.Generator(np.random.Philox(key=int(high[0]) << 32 | int(low[0])))
