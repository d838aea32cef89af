"""q values and cosines of wide random networks, measured over many draws at once."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import stdtrit

WIDTH, TOKENS, DRAWS, MATRICES = 256, 4, 24, 24
# As rare for Student's t as four standard errors are for normal ones.
ALLOWED = float(stdtrit(DRAWS - 1, 1 - 3.2e-5))


def pair(seed, start, correlation, width=WIDTH, tokens=TOKENS):
    """Inputs [2, tokens, width] of q value 1, at cosine `start` at every token.

    Tokens of one input have cosine `correlation` with each other.
    """
    rng = np.random.default_rng([seed, 1])
    frame = np.linalg.qr(rng.normal(size=(width, 2 * tokens + 2)))[0].T * width**0.5
    own, shared = frame[:-2].reshape(2, tokens, width), frame[-2:, None]
    first, second = correlation**0.5 * shared + (1 - correlation) ** 0.5 * own
    return np.stack([first, start * first + (1 - start**2) ** 0.5 * second]).astype(np.float32)


@functools.lru_cache(maxsize=2)
def matrices(first_seed=0, width=WIDTH):
    """[draws, matrices, width, width], independent of variance 1 / width."""
    drawn = np.empty((DRAWS, MATRICES, width, width), np.float32)
    for i, one in enumerate(drawn):
        np.random.default_rng([first_seed + i, 0]).standard_normal(dtype=np.float32, out=one)
    drawn /= width**0.5
    return jnp.asarray(drawn)


def measured(forward, start=0.0, correlation=0.0, *, first_seed=0, width=WIDTH):
    """(mean, standard error) over draws of q, and of the cosine, averaged over locations.

    Args:
      forward: (input [2, tokens, width], matrices [n, width, width]) -> [2, ..., channels].
      start: cosine of the inputs.
      correlation: cosine of the tokens of one input.
      first_seed: of the draws.
      width: channels.
    """
    seeds = range(first_seed, first_seed + DRAWS)
    inputs = np.stack([pair(seed, start, correlation, width) for seed in seeds])
    with jax.default_matmul_precision("highest"):
        outputs = jax.vmap(forward)(jnp.asarray(inputs), matrices(first_seed, width))
    u, v = np.moveaxis(np.asarray(outputs, np.float64), 1, 0)
    squares = np.mean(u * u, -1), np.mean(v * v, -1)
    cosines = np.mean(u * v, -1) / np.sqrt(squares[0] * squares[1])
    return tuple(_over_draws(one) for one in ((squares[0] + squares[1]) / 2, cosines))


def _over_draws(by_location):
    by_draw = by_location.reshape(DRAWS, -1).mean(-1)
    return float(by_draw.mean()), float(by_draw.std(ddof=1) / DRAWS**0.5)
