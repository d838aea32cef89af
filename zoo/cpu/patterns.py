"""Programs that jaxlib was seen to compute wrongly on a processor, each beside the right answer.

`python -m zoo.cpu.patterns NAME ...` prints the error of each, one a line; some end the process.
"""

import sys
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

# Sums of up to 512 float32 products differ from float64 by 1e-6 of the largest.
_TOLERANCE = 1e-4


def fused_product_sum() -> float:
    """Sum of a product with a product: NaN or garbage on jaxlib 0.10.2 to 0.12.0.1."""
    matrix = np.random.default_rng(0).standard_normal((512, 512), dtype=np.float32)

    def function(e: jax.Array) -> jax.Array:
        return jnp.sum((e @ jnp.full_like(e, 1.3)) * e, axis=-1)

    exact = matrix.astype(np.float64)
    right = ((exact @ np.full_like(exact, 1.3)) * exact).sum(-1)
    return _error(_run(function, matrix), right)


def many_small_products() -> float:
    """A 3 x 3 product in each of more than 32,768 rows: jaxlib 0.10.2, jax issue 39103."""
    rows = np.zeros((32_769, 3), np.float32)
    rows[:, 0] = np.arange(len(rows))

    def function(row: jax.Array) -> jax.Array:
        return jnp.sum((jnp.eye(3, dtype=row.dtype) @ row) ** 2)

    return _error(_run(jax.vmap(function), rows), (rows.astype(np.float64) ** 2).sum(1))


def seven_axes() -> float:
    """A product of rank 7 and a sum over one axis: jaxlib 0.10.2 crashes, jax issue 40412."""
    a, b = np.random.default_rng(0).standard_normal((2, 3, 1, 2, 2, 8, 8, 8), dtype=np.float32)
    right = (a.astype(np.float64) * b).sum(3)
    return _error(_run(lambda a, b: jnp.sum(a * b, axis=3), a, b), right)


def eight_axes() -> float:
    """The same of rank 8: jaxlib 0.10.2 and 0.11.0 crash or hang, jax issue 39257."""
    left = np.random.default_rng(0).random((10, 4, 6, 1, 1, 1, 1, 1), dtype=np.float32)
    right = np.random.default_rng(1).random((10, 4, 6, 9, 9, 9, 9, 9), dtype=np.float32)

    def function(left: jax.Array, right: jax.Array) -> jax.Array:
        return jnp.log(jnp.maximum(jnp.sum(left * right, axis=2), 1e-16))

    exact = np.log((left.astype(np.float64) * right).sum(2))
    return _error(_run(function, left, right), exact)


PATTERNS: dict[str, Callable[[], float]] = {
    one.__name__: one for one in (fused_product_sum, many_small_products, seven_axes, eight_axes)
}


def is_right(error: float) -> bool:
    """Whether an error is one of rounding; NaN is not."""
    return error <= _TOLERANCE


def wrong_here() -> str | None:
    """What this process computes wrongly, in words; leaves out what might end it."""
    import jaxlib

    for pattern in (fused_product_sum, many_small_products):
        if not is_right(error := pattern()):
            name = pattern.__name__.replace("_", " ")
            version = jaxlib.__version__
            return f"{name!r} on jaxlib {version} is off by {error:.1g} of its largest value"
    return None


def _run(function: Callable[..., jax.Array], *arrays: np.ndarray) -> np.ndarray:
    """The compiled function's result, also where the caller is being traced."""
    return np.asarray(jax.jit(function).lower(*arrays).compile()(*arrays), np.float64)


def _error(found: np.ndarray, right: np.ndarray) -> float:
    """Largest difference, in units of the largest right value."""
    return float(np.max(np.abs(found - right)) / np.max(np.abs(right)))


if __name__ == "__main__":
    for name in sys.argv[1:]:
        print(PATTERNS[name](), flush=True)
