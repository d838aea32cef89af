"""The products of one jaxpr as calls of oneDNN, with what their layers do to the results.

forward   a = phi(x w + b)                    one call, a alone leaves the cache
backward  g = (h w^T) phi'(z);  sum of g      one call; for a leaky ReLU phi'(z) is read off the
                                              sign of a = phi(z), so that z is never stored
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Var

from zoo.kernels.products import Product, recognized

_ACTIVATION, _DERIVATIVE = "shaped_activation", "shaped_activation_derivative"
Leaky = tuple[float, float]
"""Slope and scale of  scale * leaky(x)."""
_PRODUCTS = ("conv_general_dilated", "dot_general")


def with_products(jaxpr: Jaxpr) -> Jaxpr:
    """A jaxpr, its products replaced by calls wherever oneDNN computes them; calls not entered."""
    body = _Body(jaxpr)
    products = {i: found for i, eqn in enumerate(jaxpr.eqns) if (found := body.product(eqn))}
    for i in products:
        body.fuse_forward(i, *products[i])
    for i in products:
        if i not in body.done:
            body.fuse_backward(i, *products[i])
    for i in products:
        if i not in body.done:
            body.replace(i, *products[i])
    return jaxpr.replace(eqns=body.equations())


class _Body:
    """The equations of a jaxpr, and what becomes of each."""

    def __init__(self, jaxpr: Jaxpr) -> None:
        self.eqns = list(jaxpr.eqns)
        self.new: dict[int, list[Any]] = {}  # by number of an equation: what stands there instead
        self.done: set[int] = set()  # products
        self.outputs: dict[int, Any] = {}  # by id of a value before phi: the value behind it
        self._defined = {id(v): i for i, eqn in enumerate(self.eqns) for v in eqn.outvars}
        self._uses: dict[int, list[int]] = {}
        for i, eqn in enumerate(self.eqns):
            for atom in eqn.invars:
                self._uses.setdefault(id(atom), []).append(i)
        for atom in jaxpr.outvars:
            self._uses.setdefault(id(atom), []).append(len(self.eqns))

    def equations(self) -> list[Any]:
        return [one for i, eqn in enumerate(self.eqns) for one in self.new.get(i, [eqn])]

    def definition(self, atom: Any) -> Any:
        """The equation that computes an atom, or None."""
        return self.eqns[self._defined[id(atom)]] if id(atom) in self._defined else None

    def users(self, atom: Any) -> list[tuple[int, Any]]:
        """Number and equation of every use; (number, None) for an output of the jaxpr."""
        eqns = [*self.eqns, None]
        return [(i, eqns[i]) for i in self._uses.get(id(atom), ())]

    def only_user(self, atom: Any, name: str) -> tuple[int, Any]:
        """The one use of an atom if it is of that name, else (-1, None)."""
        users = self.users(atom)
        if len(users) == 1 and users[0][1] is not None and users[0][1].primitive.name == name:
            return users[0]
        return -1, None

    def product(self, eqn: Any) -> tuple[Product, list[Any]] | None:
        """What an equation computes, and the operands to take."""
        if eqn.primitive.name not in _PRODUCTS:
            return None
        operands, result = list(eqn.invars), eqn.outvars[0].aval
        if result.dtype == jnp.float32:
            # Products of bfloat16 numbers are exact in float32: the same sum, without the copies.
            sources = [self._narrow(atom) for atom in operands]
            operands = operands if None in sources else sources
        left, right = (_abstract(atom) for atom in operands)
        found = recognized(eqn.primitive.name, eqn.params, left, right, _abstract(eqn.outvars[0]))
        return (found, operands) if found else None

    def _narrow(self, atom: Any) -> Any:
        """The bfloat16 variable that an atom was widened from, or None."""
        eqn = self.definition(atom)
        if eqn is None or eqn.primitive.name != "convert_element_type":
            return None
        source = eqn.invars[0]
        return source if _is_variable(source) and _dtype(source) == jnp.bfloat16 else None

    def replace(self, i: int, product: Product, operands: list[Any]) -> None:
        """Equation `i` becomes a call."""
        self._put(i, product, operands, self.eqns[i].outvars)

    def fuse_forward(self, i: int, product: Product, operands: list[Any]) -> None:
        """Takes a bias into the call, and a leaky ReLU behind it where nothing else reads it."""
        result = self.eqns[i].outvars[0]
        narrow = _dtype(result) == jnp.bfloat16
        removed, value = [i], result
        if narrow:
            j, eqn = self.only_user(value, "convert_element_type")
            if eqn is None or eqn.outvars[0].aval.dtype != jnp.float32:
                return
            removed, value = [*removed, j], eqn.outvars[0]
        j, eqn = self.only_user(value, "add")
        bias = self._bias(eqn, value) if eqn else None
        if bias is None:
            return
        removed, value = [*removed, j], eqn.outvars[0]
        if narrow:
            j, eqn = self.only_user(value, "convert_element_type")
            if eqn is None or eqn.outvars[0].aval.dtype != jnp.bfloat16:
                return
            removed, value = [*removed, j], eqn.outvars[0]
        for k in removed:
            self.new[k] = []
        self.done.add(i)
        phi, derivatives = self._leaky(value)
        if phi is None:
            self._put(removed[-1], product, [*operands, bias], [value])
            return
        after: list[Any] = list(self.eqns[phi].outvars)
        self.new[phi] = []
        self.outputs[id(value)] = after[0]
        for k in derivatives:  # it depends on the sign alone, which is that of the output
            self.new[k] = [self.eqns[k].replace(invars=after)]
        leaky = _constants(self.eqns[phi].params["activation"])
        self._put(removed[-1], product, [*operands, bias], after, leaky)

    def fuse_backward(self, i: int, product: Product, operands: list[Any]) -> None:
        """Takes the derivative of a fused leaky ReLU into the call, and the sum for its bias."""
        result = self.eqns[i].outvars[0]
        j, eqn = self.only_user(result, "mul")
        if eqn is None or not product.splits or _dtype(operands[0]) != _dtype(result):
            return
        factor = next((atom for atom in eqn.invars if atom is not result), result)
        derivative = self.definition(factor)
        if derivative is None or derivative.primitive.name != _DERIVATIVE:
            return
        output = self.outputs.get(id(derivative.invars[0]))
        total = self._column_sum(eqn.outvars[0])
        if output is None or total is None:
            return
        leaky = _constants(derivative.params["activation"])
        self.new[i], self.new[total] = [], []
        self.done.add(i)
        results = [eqn.outvars[0], self.eqns[total].outvars[0]]
        self._put(j, product, [*operands, output], results, leaky)

    def _bias(self, eqn: Any, value: Any) -> Any:
        """The float32 vector that an addition adds along the last axis, or None."""
        other = next((atom for atom in eqn.invars if atom is not value), value)
        spread = self.definition(other)
        if spread is None or spread.primitive.name not in ("broadcast_in_dim", "reshape"):
            return None
        vector, shape = spread.invars[0], other.aval.shape
        along_last = spread.params.get("broadcast_dimensions", (len(shape) - 1,))
        is_vector = _is_variable(vector) and vector.aval.shape == value.aval.shape[-1:]
        if not is_vector or _dtype(vector) != jnp.float32 or shape[-1:] != vector.aval.shape:
            return None
        return vector if tuple(along_last) == (len(shape) - 1,) else None

    def _leaky(self, value: Any) -> tuple[int | None, list[int]]:
        """The leaky ReLU that reads `value`, and its derivatives, if nothing else does."""
        users = self.users(value)
        names = [eqn.primitive.name if eqn else "" for _, eqn in users]
        if names.count(_ACTIVATION) != 1 or not set(names) <= {_ACTIVATION, _DERIVATIVE}:
            return None, []
        activations = {eqn.params["activation"] for _, eqn in users}
        if len(activations) != 1 or _constants(activations.pop()) is None:
            return None, []
        first = users[names.index(_ACTIVATION)][0]
        return first, [i for i, _ in users if i != first]

    def _column_sum(self, value: Any) -> int | None:
        """The equation that sums `value`, or it as float32, over all axes but the last."""
        axes = tuple(range(value.aval.ndim - 1))
        values = [value]
        values += [
            eqn.outvars[0]
            for _, eqn in self.users(value)
            if eqn and eqn.primitive.name == "convert_element_type"
        ]
        for one in values:
            for i, eqn in self.users(one):
                if eqn and eqn.primitive.name == "reduce_sum" and eqn.params["axes"] == axes:
                    return i if eqn.outvars[0].aval.dtype == jnp.float32 else None
        return None

    def _put(
        self, i: int, product: Product, operands: list, results: list, leaky: Leaky | None = None
    ) -> None:
        shapes, of_results = (tuple(map(_abstract, atoms)) for atoms in (operands, results))
        call = _traced(product, shapes, of_results, leaky or (1.0, 1.0))
        self.new[i] = [call.replace(invars=operands, outvars=list(results))]
        self.done.add(i)


def _constants(activation: Any) -> Leaky | None:
    """Slope and scale of  scale * leaky(x), or None for another function."""
    if activation.phi != "leaky_relu" or activation.input_shift or activation.output_shift:
        return None
    if activation.linear_share:  # channels differ
        return None
    if min(activation.input_scale, activation.output_scale) <= 0 or activation.negative_slope < 0:
        return None
    return activation.negative_slope, activation.input_scale * activation.output_scale


def _is_variable(atom: Any) -> bool:
    return isinstance(atom, Var)


def _dtype(atom: Any) -> Any:
    return getattr(atom.aval, "dtype", None)


def _abstract(atom: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(atom.aval.shape, atom.aval.dtype)


@functools.lru_cache(maxsize=1024)
def _traced(product: Product, operands: tuple, results: tuple, leaky: Leaky) -> Any:
    def call(*arrays: jax.Array) -> Any:
        slope, scale = leaky
        return tuple(product(*arrays, results=results, slope=slope, scale=scale))

    return jax.make_jaxpr(jax.jit(call))(*operands).eqns[0]
