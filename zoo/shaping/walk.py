"""The walk through a jaxpr that grows the kernel graph, entering calls and loops."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, TypeGuard

import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from zoo.shaping.builder import GraphBuilder
from zoo.shaping.elementwise import Elementwise, elementwise
from zoo.shaping.graph import KernelGraph
from zoo.shaping.pending import SUMS, continued
from zoo.shaping.primitives import AFFINE, PrimitiveError, constant_result, signal_result
from zoo.shaping.refusals import NotShapableError, refusal, user_line
from zoo.shaping.signals import (
    Constant,
    Pending,
    Raw,
    Signal,
    Stacked,
    SumError,
    Term,
    Value,
    single,
)

_NESTED = ("jaxpr", "call_jaxpr", "fun_jaxpr")


class Walk:
    """One walk through one jaxpr.

    Attributes:
      builder: the graph so far.
      calls: equations of the calls that are being entered, outermost first.
    """

    def __init__(self) -> None:
        self.builder = GraphBuilder()
        self.calls: list[Any] = []
        self._identities: dict[int, tuple[Any, object]] = {}
        self._base_scale: dict[object, float] = {}
        self._functions: dict[tuple[Any, ...], Elementwise] = {}
        self._nodes: dict[tuple[Pending, bool], Signal] = {}

    def graph(self, closed: Any, num_inputs: int) -> KernelGraph:
        """Graph of `closed`, whose last `num_inputs` arguments are the network's inputs."""
        num_weights = len(closed.jaxpr.invars) - num_inputs
        weights: list[Value] = [Constant(None, frozenset([object()])) for _ in range(num_weights)]
        raw: list[Value] = [Raw(object()) for _ in range(num_inputs)]
        outputs = self.run(closed, weights + raw)
        live = [one for one in outputs if not isinstance(one, Constant)]
        if not live:
            raise NotShapableError(
                "the network returns no array that depends on its input; return what its layers "
                "compute"
            )
        if len(live) != 1:
            raise NotShapableError(
                f"the network returns {len(live)} arrays that depend on its input; trace a "
                "function that returns one"
            )
        if not isinstance(live[0], Signal | Raw | Pending):
            raise NotShapableError("the network returns the stacked outputs of a scan; return one")
        try:
            return self.builder.graph(single(self._as_signal(live[0])).node)
        except SumError as error:
            raise NotShapableError(f"the network's last operation {error}") from None

    def run(self, closed: Any, arguments: list[Value]) -> list[Value]:
        """Values of the outputs of a (closed) jaxpr."""
        jaxpr = getattr(closed, "jaxpr", closed)
        values: dict[Any, Value] = {}

        def read(atom: Any) -> Value:
            return values[atom] if not isinstance(atom, Literal) else self._literal(atom, atom.val)

        literals = zip(jaxpr.constvars, getattr(closed, "consts", ()), strict=True)
        consts = [self._literal(variable, value) for variable, value in literals]
        values.update(zip(jaxpr.constvars, consts, strict=True))
        values.update(zip(jaxpr.invars, arguments, strict=True))
        for eqn in jaxpr.eqns:
            values.update(
                zip(eqn.outvars, self._apply(eqn, [read(v) for v in eqn.invars]), strict=True)
            )
        return [read(atom) for atom in jaxpr.outvars]

    def _apply(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        name = eqn.primitive.name
        nested = nested_jaxpr(eqn)
        if name == "scan" and not all(isinstance(one, Constant) for one in inputs):
            return self._inside(eqn, lambda: self._scan(eqn, inputs))
        if name != "scan" and nested is not None:
            if len(getattr(nested, "jaxpr", nested).invars) == len(inputs):
                return self._inside(eqn, lambda: self.run(nested, inputs))
        try:
            result = self._result(name, inputs, eqn)
        except (PrimitiveError, SumError) as error:
            depth = max((self._depth(one) for one in inputs), default=0)
            raise refusal(error, eqn, self.calls, depth) from None
        if isinstance(result, Constant) and len(eqn.outvars) > 1:  # pieces, as of split
            pieces = [frozenset((w, i) for w in result.weights) for i in range(len(eqn.outvars))]
            return [Constant(result.value, weights) for weights in pieces]
        if isinstance(result, Signal) and name == "split":
            return [_part(result.terms[0], i, eqn) for i in range(len(eqn.outvars))]
        return [result] * len(eqn.outvars)

    def _result(self, name: str, inputs: list[Value], eqn: Any) -> Value:
        constants = [one for one in inputs if isinstance(one, Constant)]
        if len(constants) == len(inputs):
            return constant_result(name, constants, eqn)
        if any(isinstance(one, Stacked) for one in inputs):
            raise PrimitiveError("reads the stacked outputs of a scan; carry the signal instead")
        live = any(isinstance(one, Signal | Pending) for one in inputs)
        if name != "shaped_activation" and not live:
            return self._preprocess(name, inputs, constants)
        read = [self._as_signal(one) if isinstance(one, Raw) else one for one in inputs]
        depth = max(map(self._depth, read))
        pending = continued(name, read, eqn, self.calls, depth)
        if pending is not None:
            return pending
        keep_scale = name in SUMS
        signals = [
            self._finished(one, keep_scale) if isinstance(one, Pending) else one for one in read
        ]
        result = signal_result(name, signals, eqn, self.builder)
        if name in ("add", "sub", "add_any") and len(result.terms) > 1:
            return Signal(result.terms, user_line(eqn, self.calls))
        return result

    def _preprocess(self, name: str, inputs: list[Value], constants: list[Constant]) -> Value:
        """Raw input and constants: a first layer's product with weights makes it a signal."""
        raws = [one for one in inputs if isinstance(one, Raw)]
        weights = frozenset().union(*(one.weights for one in constants))
        if name in AFFINE and weights:
            self._base_scale[raws[0].root] = raws[0].scale
            return Signal((Term(self.builder.input, layers=weights, drawn=weights),))
        if name == "mul" and len(raws) == 1 and constants[0].value is not None:
            return Raw(raws[0].root, raws[0].scale * constants[0].value)
        return Raw(object())

    def _as_signal(self, value: Value) -> Signal:
        """Raw input that meets a signal or an activation is the input node.

        Its weight counts from the multiple of it that the first layer read, so that
        0.8 x + 0.6 dense(x) is a normalised sum.
        """
        if isinstance(value, Signal):
            return value
        if isinstance(value, Pending):
            return self._finished(value, keep_scale=False)
        assert isinstance(value, Raw)
        base = self._base_scale.get(value.root, value.scale)
        return Signal((Term(self.builder.input, value.scale / base if base else 0.0),))

    def _finished(self, value: Pending, keep_scale: bool) -> Signal:
        """The node of an unmarked nonlinearity; a sum keeps its factor as the summand's weight."""
        key = (value, keep_scale)
        if key in self._nodes:
            return self._nodes[key]
        if not value.called:
            raise NotShapableError(value.refusal)
        program = value.program if keep_scale else value.whole
        function = self._functions.get(program.signature)
        if function is None:
            function = elementwise(program, value.called, value.refusal)
            self._functions[program.signature] = function
        node = self.builder.nonlinear(value.term.node, function)
        weight = value.scale if keep_scale else 1.0
        self._nodes[key] = Signal((Term(node, weight, drawn=value.term.drawn),))
        return self._nodes[key]

    def _scan(self, eqn: Any, inputs: list[Value]) -> list[Value]:
        """The body once per iteration; weights that are scanned over are new in each."""
        num_carry, num_scanned = scan_layout(eqn)
        first = len(inputs) - num_scanned
        consts, carry = inputs[: first - num_carry], inputs[first - num_carry : first]
        scanned = inputs[first:]
        if any(isinstance(one, Signal | Pending | Stacked) for one in scanned):
            error = PrimitiveError("scans over the elements of a signal; carry the signal instead")
            raise refusal(error, eqn, self.calls, max(self._depth(one) for one in scanned))
        if _is_map(carry, scanned):
            varying = [dataclasses.replace(one, value=None) for one in carry]
            return self.run(eqn.params["jaxpr"], consts + varying + scanned)
        stacks: list[Value] = []
        for _ in range(eqn.params["length"]):
            outputs = self.run(eqn.params["jaxpr"], consts + carry + [_slice(v) for v in scanned])
            carry, stacks = outputs[:num_carry], [_stack(one) for one in outputs[num_carry:]]
        return carry + stacks if stacks else carry + [Constant()] * (len(eqn.outvars) - num_carry)

    def _inside(self, eqn: Any, walk: Callable[[], list[Value]]) -> list[Value]:
        self.calls.append(eqn)
        outputs = walk()
        self.calls.pop()
        return outputs

    def _literal(self, atom: Any, value: Any) -> Constant:
        """A number by its value, an array as weights."""
        if np.ndim(value) == 0:
            is_number = jnp.issubdtype(atom.aval.dtype, jnp.number)
            return Constant(_shortest(float(value), atom.aval.dtype) if is_number else None)
        # Holding the array keeps its id from being given to another one.
        _, identity = self._identities.setdefault(id(value), (value, object()))
        return Constant(None, frozenset([identity]))

    def _depth(self, value: Value) -> int:
        if isinstance(value, Pending):
            return self.builder.depths[value.term.node]
        if not isinstance(value, Signal):
            return 0
        return max(self.builder.depths[term.node] for term in value.terms)


def _shortest(value: float, dtype: np.dtype) -> float:
    """The shortest decimal that `dtype` rounds to `value`: the 0.8 behind bfloat16's 0.80078125."""
    if not math.isfinite(value) or not jnp.issubdtype(dtype, jnp.floating):
        return value
    for digits in range(1, 17):
        short = float(f"{value:.{digits}g}")
        if np.asarray(short, dtype) == np.asarray(value, dtype):
            return short
    return value


def nested_jaxpr(eqn: Any) -> Any:
    """The jaxpr that a call such as jit, remat, scan or custom_jvp runs; None for a primitive."""
    return next((eqn.params[key] for key in _NESTED if key in eqn.params), None)


def scan_layout(eqn: Any) -> tuple[int, int]:
    """Numbers of carried and of scanned arrays; arguments are constants, carried, scanned.

    Read off the shapes, since JAX versions name them differently: an array that is scanned over or
    stacked has one axis more outside the body than inside.
    """
    body = getattr(eqn.params["jaxpr"], "jaxpr", eqn.params["jaxpr"])

    def same_rank(outer: list[Any], inner: list[Any]) -> int:
        pairs = zip(outer, inner, strict=True)
        return sum(len(a.aval.shape) == len(b.aval.shape) for a, b in pairs)

    num_carry = same_rank(eqn.outvars, body.outvars)
    return num_carry, len(eqn.invars) - same_rank(eqn.invars, body.invars)


def _part(term: Term, index: int, eqn: Any) -> Signal:
    """One of the pieces of a signal; pieces of the channels come from rows of their own."""
    layers, drawn = term.layers, term.drawn
    if eqn.params["axis"] == eqn.invars[0].aval.ndim - 1:
        layers, drawn = (one and frozenset((w, index) for w in one) for one in (layers, drawn))
    return Signal(
        (dataclasses.replace(term, layers=layers, drawn=drawn or frozenset(), origin=object()),)
    )


def _is_map(carry: list[Value], scanned: list[Value]) -> TypeGuard[list[Constant]]:
    """Whether all iterations are one network, each of its own part of the input, as in lax.map."""
    weights = any(isinstance(one, Constant) and one.weights for one in scanned)
    carries_none = all(isinstance(one, Constant) for one in carry)
    return carries_none and not weights and any(isinstance(one, Raw) for one in scanned)


def _slice(value: Value) -> Value:
    if isinstance(value, Constant) and value.weights:
        return Constant(value.value, frozenset([object()]))
    return value


def _stack(value: Value) -> Value:
    return Stacked() if isinstance(value, Signal | Pending) else value
