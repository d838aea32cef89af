"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner, as an optax transform."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax

from zoo.models import Params
from zoo.training.alike import map_alike

_EPSILON = 1e-8
_KEEP, _BEGIN, _REFRESH = range(3)
"""What a step does to the bases."""


class Sides(NamedTuple):
    """A square matrix for the rows of a parameter, and one for its columns; None: the identity."""

    rows: jax.Array | None
    columns: jax.Array | None


_Bases = dict[str, Sides]


class SoapState(NamedTuple):
    """What SOAP keeps, float32.

    Attributes:
      count: updates made, int32.
      mean: M, averages of the gradients.
      square: V, averages of the squares of the gradients in the basis of their time.
      factors: averages L of G G^T and R of G^T G, of the parameters that are matrices.
      bases: orthogonal matrices whose columns are close to eigenvectors of `factors`.
    """

    count: jax.Array
    mean: Params
    square: Params
    factors: _Bases
    bases: _Bases


def scale_by_soap(
    *, b1: float, b2: float, preconditioner_decay: float, basis_period: int, largest_side: int
) -> optax.GradientTransformation:
    """Adam on each kernel G, rotated into the eigenbases of its two preconditioners.

      L <- d L + (1 - d) G G^T,   R <- d R + (1 - d) G^T G,   Q_L, Q_R: their eigenvectors
      M <- b1 M + (1 - b1) G,     V <- b2 V + (1 - b2) (Q_L^T G Q_R)^2
      direction = Q_L ((Q_L^T M Q_R) / (sqrt(V) + 1e-8)) Q_R^T sqrt(1 - b2^t) / (1 - b1^t)

    A kernel is the matrix of its patches (height * width * inputs) by its outputs, as for Muon and
    K-FAC. Parameters with one axis are left to Adam.

    The first update measures L and R and changes no parameter, so that no gradient is rotated by
    itself. The eigenvectors are computed once, then every `basis_period` updates refreshed by one
    power iteration, L Q_L = Q_L' (triangular), after an update; before it the columns of Q_L, and V
    with them, are sorted by falling eigenvalue Q_L^T L Q_L, as QR gives earlier columns the say.

    Args:
      b1: decay of M.
      b2: decay of V.
      preconditioner_decay: d.
      basis_period: updates between two refreshments of the eigenvectors.
      largest_side: rows or columns that are more than this are not rotated.

    Source: Vyas et al. 2024, arXiv 2409.11321, algorithms 3 and 4; the start, the sorting and the
    correction of the averages are those of the authors' implementation.
    """

    def init(params: optax.Params) -> SoapState:
        given = cast(Params, params)
        zeros = {name: jnp.zeros(value.shape, jnp.float32) for name, value in given.items()}
        eyes = {name: _eyes(v.shape, largest_side) for name, v in given.items() if v.ndim >= 2}
        factors = jax.tree.map(jnp.zeros_like, eyes)
        return SoapState(
            jnp.zeros((), jnp.int32), zeros, jax.tree.map(jnp.copy, zeros), factors, eyes
        )

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.OptState]:
        given, state = cast(Params, updates), cast(SoapState, state)
        gradients = {name: value.astype(jnp.float32) for name, value in given.items()}
        begun, t = state.count > 0, jnp.maximum(state.count, 1).astype(jnp.float32)
        correction = jnp.sqrt(1 - b2**t) / (1 - b1**t)
        with jax.default_matmul_precision("highest"):
            rotated = {n: _rotated(g, state.bases.get(n)) for n, g in gradients.items()}
            squares = jax.tree.map(jnp.square, rotated)
            mean = _averaged(state.mean, gradients, jnp.where(begun, 1 - b1, 0))
            square = _averaged(state.square, squares, jnp.where(begun, 1 - b2, 0))
            direction: Params = {}
            for name, m in mean.items():
                bases = state.bases.get(name)
                scaled = _rotated(m, bases) / (jnp.sqrt(square[name]) + _EPSILON)
                direction[name] = correction * _rotated(scaled, bases, back=True)
            products = {n: _products(gradients[n], bases) for n, bases in state.bases.items()}
            factors = _averaged(state.factors, products, 1 - preconditioner_decay)
            due = state.count % basis_period == 0
            bases, square = jax.lax.switch(
                jnp.where(begun, jnp.where(due, _REFRESH, _KEEP), _BEGIN),
                (_keep, _begin, _refresh), factors, state.bases, square,
            )  # fmt: skip
        direction = {name: value.astype(given[name].dtype) for name, value in direction.items()}
        return direction, SoapState(state.count + 1, mean, square, factors, bases)

    # pyrefly: ignore[bad-argument-type] optax's protocol is wider than a dict of arrays
    return optax.GradientTransformation(init, update)


def _matrix(value: jax.Array) -> jax.Array:
    return value.reshape(-1, value.shape[-1])


def _eyes(shape: tuple[int, ...], largest_side: int) -> Sides:
    rows, columns = jax.eval_shape(_matrix, jax.ShapeDtypeStruct(shape, jnp.float32)).shape
    return Sides(*(jnp.eye(n) if n <= largest_side else None for n in (rows, columns)))


def _averaged(averages: Any, values: Any, share: jax.Array | float) -> Any:
    return jax.tree.map(lambda old, new: old + share * (new - old), averages, values)


def _rotated(value: jax.Array, bases: Sides | None, *, back: bool = False) -> jax.Array:
    """Q_L^T G Q_R, or with `back` Q_L G Q_R^T, in the shape of `value`."""
    if bases is None:
        return value
    matrix, (rows, columns) = _matrix(value), bases
    if rows is not None:
        matrix = (rows if back else rows.T) @ matrix
    if columns is not None:
        matrix = matrix @ (columns.T if back else columns)
    return matrix.reshape(value.shape)


def _products(gradient: jax.Array, like: Sides) -> Sides:
    """G G^T and G^T G, where `like` has a matrix."""
    matrix = _matrix(gradient)
    return Sides(
        None if like.rows is None else matrix @ matrix.T,
        None if like.columns is None else matrix.T @ matrix,
    )


def _keep(factors: _Bases, bases: _Bases, square: Params) -> tuple[_Bases, Params]:
    return bases, square


def _begin(factors: _Bases, bases: _Bases, square: Params) -> tuple[_Bases, Params]:
    """Eigenvectors by falling eigenvalue."""
    leaves, structure = jax.tree.flatten(factors)
    found = map_alike(lambda one: jnp.linalg.eigh(one)[1][:, ::-1], dict(enumerate(leaves)))
    return structure.unflatten([found[i] for i in range(len(leaves))]), square


def _refresh(factors: _Bases, bases: _Bases, square: Params) -> tuple[_Bases, Params]:
    """One power iteration from the bases, whose columns are sorted first, and V with them."""
    leaves, structure = jax.tree.flatten(factors)
    pairs = zip(leaves, jax.tree.leaves(bases), strict=True)
    found = map_alike(_iterated, dict(enumerate(pairs)))
    columns = range(len(leaves))
    orders = structure.unflatten([found[i][1] for i in columns])
    sorted_square = {name: _sorted(square[name], order) for name, order in orders.items()}
    return structure.unflatten([found[i][0] for i in columns]), {**square, **sorted_square}


def _iterated(pair: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
    """The refreshed basis of (factor, basis), and the order of the old columns in it."""
    factor, basis = pair
    product = factor @ basis
    order = jnp.argsort(jnp.sum(basis * product, axis=0), descending=True)
    return jnp.linalg.qr(product[:, order])[0], order


def _sorted(square: jax.Array, orders: Sides) -> jax.Array:
    matrix = _matrix(square)
    if orders.rows is not None:
        matrix = matrix[orders.rows]
    if orders.columns is not None:
        matrix = matrix[:, orders.columns]
    return matrix.reshape(square.shape)
