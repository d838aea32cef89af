"""The walk through a jaxpr that grows the kernel graph, entering calls and loops."""

import dataclasses
from typing import Any, TypeGuard

import numpy as np
from jax.extend.core import ClosedJaxpr, JaxprEqn

from zoo.shaping.assumptions import Assumption
from zoo.shaping.builder import GraphBuilder
from zoo.shaping.constants import (
    constant_result,
    element,
    literal,
    pieces,
)
from zoo.shaping.elementwise import Elementwise, elementwise
from zoo.shaping.graph import KernelGraph
from zoo.shaping.pending import SUMS, continued
from zoo.shaping.preprocessing import Inputs, input_of
from zoo.shaping.primitives import nonlinear, signal_result
from zoo.shaping.rearrange import moved
from zoo.shaping.refusals import NotShapableError, refusal, refuse_outputs
from zoo.shaping.resolution import check_resolved
from zoo.shaping.signals import Constant, Pending, Raw, Signal, Stacked, Term, Value
from zoo.shaping.site import PrimitiveError, Site
from zoo.shaping.sums import SumError, single
from zoo.shaping.visitor import Visitor, carries, scan_layout, shape_of
from zoo.shaping.weights import Uses, Weights, new_weights


class Walk(Visitor[Value]):
    """One walk through one jaxpr.

    Args:
      delta: whether kernels of convolutions are zero but for their centre tap.
      closes_over_weights: whether arrays that the jaxpr holds are weights, as those of a function
        are; else they are fixed numbers.

    Attributes:
      builder: the graph so far.
    """

    def __init__(self, delta: bool = False, closes_over_weights: bool = True) -> None:
        super().__init__()
        self.builder = GraphBuilder()
        self._uses = Uses()
        self._delta = delta
        self._closes_over_weights = closes_over_weights
        self._identities: dict[int, tuple[Any, Weights]] = {}
        self._inputs = Inputs()
        self._functions: dict[tuple[Any, ...], Elementwise] = {}
        self._nodes: dict[tuple[Pending, bool], Signal] = {}

    def graph(self, closed: ClosedJaxpr, num_weights: int, num_inputs: int) -> KernelGraph:
        """Graph of `closed`, whose arguments are weights, other state, the network's inputs."""
        num_state = len(closed.jaxpr.invars) - num_weights - num_inputs
        variables = closed.jaxpr.invars[num_weights + num_state :]
        arguments: list[Value] = [Constant(weights=new_weights()) for _ in range(num_weights)]
        arguments += [Constant()] * num_state
        arguments += [input_of(len(shape_of(variable))) for variable in variables]
        outputs = self.run(closed, arguments)
        live = [one for one in outputs if not isinstance(one, Constant)]
        refuse_outputs(len(live), has_layers=self._inputs.have_layers)
        if not isinstance(live[0], Signal | Raw | Pending):
            raise NotShapableError("the network returns the stacked outputs of a scan; return one")
        try:
            return self._ending_in(single(self.as_signal(live[0])))
        except SumError as error:
            raise NotShapableError(f"the network's last operation {error}") from None

    def literal(self, atom: Any, value: Any) -> Value:
        """A number by its value, an array as weights or as fixed numbers."""
        if not self._closes_over_weights or np.ndim(value) == 0:
            return literal(atom, value, frozenset())
        if id(value) not in self._identities:
            # Holding the array keeps its id from being given to another one.
            self._identities[id(value)] = (value, new_weights())
        return literal(atom, value, self._identities[id(value)][1])

    def equation(self, eqn: JaxprEqn, inputs: list[Value]) -> list[Value]:
        """Values of the outputs of an equation; constants of a scan are not looked into."""
        if eqn.primitive.name == "scan" and all(isinstance(one, Constant) for one in inputs):
            return self.primitive(eqn, inputs)
        return super().equation(eqn, inputs)

    def primitive(self, eqn: JaxprEqn, inputs: list[Value]) -> list[Value]:
        """Values of the outputs of a primitive."""
        if eqn.primitive.name == "optimization_barrier":
            return inputs
        site = Site(eqn, self.calls, self.builder, self._uses, self._delta)
        try:
            result = self._result(inputs, site)
            if site.name == "split" and isinstance(result, Constant):
                return [*pieces(result, eqn)]
            if site.name == "split" and isinstance(result, Signal):
                term = single(self._finished(inputs[0], False))
                return [Signal((moved(term, i, site),)) for i in range(len(eqn.outvars))]
        except (PrimitiveError, SumError) as error:
            depth = max((self._depth(one) for one in inputs), default=0)
            raise refusal(error, eqn, self.calls, depth) from None
        return [result] * len(eqn.outvars)

    def scan(self, eqn: JaxprEqn, inputs: list[Value]) -> list[Value]:
        """The body once per iteration; each has its own part of weights that are scanned over."""
        num_carry, num_scanned = scan_layout(eqn)
        first = len(inputs) - num_scanned
        consts, carry = inputs[: first - num_carry], inputs[first - num_carry : first]
        scanned, body = inputs[first:], eqn.params["jaxpr"]
        if any(isinstance(one, Signal | Pending | Stacked) for one in scanned):
            error = PrimitiveError("scans over the elements of a signal; carry the signal instead")
            raise refusal(error, eqn, self.calls, max(self._depth(one) for one in scanned))
        shapes = [shape_of(variable) for variable in eqn.invars[first:]]

        def part(index: int) -> list[Value]:
            return [element(v, index, n) for v, n in zip(scanned, shapes, strict=True)]

        if _is_map(carry, scanned) and not carries(eqn, [_is_live(one) for one in inputs]):
            varying = [dataclasses.replace(one, value=None) for one in carry]
            outputs = self.run(body, [*consts, *varying, *part(0)])
            return [self._with_axis(one) for one in outputs]
        stacks: list[Value] = [Constant()] * (len(eqn.outvars) - num_carry)
        order = range(eqn.params["length"])
        for i in reversed(order) if eqn.params.get("reverse") else order:
            outputs = self.run(body, [*consts, *carry, *part(i)])
            carry, stacks = outputs[:num_carry], [_stacked(one) for one in outputs[num_carry:]]
        return carry + stacks

    def as_signal(self, value: Value) -> Signal:
        """What a network returns or a layer reads, as a signal."""
        if isinstance(value, Raw):
            return self._inputs.signal(value)
        return self._finished(value, keep_scale=False)

    def _ending_in(self, term: Term) -> KernelGraph:
        assumed = term.assumed
        if abs(term.weight**2 - 1) > term.tolerance:
            scale = Assumption(
                "scale",
                f"multiplies its output by {term.weight:.4g}, so that its q value is "
                f"{term.weight**2:.4g} times that of the graph",
                "multiply outside",
            )
            assumed |= {self.builder.assume(scale)}
        return self.builder.graph(term.node, assumed)

    def _result(self, inputs: list[Value], site: Site) -> Value:
        constants = [one for one in inputs if isinstance(one, Constant)]
        if len(constants) == len(inputs):
            return constant_result(site.name, constants, site.eqn)
        if any(isinstance(one, Stacked) for one in inputs):
            raise PrimitiveError("reads the stacked outputs of a scan; carry the signal instead")
        live = any(isinstance(one, Signal | Pending) for one in inputs)
        if site.name != "shaped_activation" and not live:
            return self._inputs.result(inputs, site)
        read = [self._inputs.signal(v, site) if isinstance(v, Raw) else v for v in inputs]
        depth = max(map(self._depth, read))
        pending = continued(site.name, read, site.eqn, self.calls, depth)
        if pending is not None:
            return pending
        keep_scale = site.name in SUMS
        return signal_result([self._finished(one, keep_scale) for one in read], site)

    def _finished(self, value: Value, keep_scale: bool) -> Any:
        """The node of an unmarked nonlinearity; a sum keeps its factor as the summand's weight."""
        if not isinstance(value, Pending):
            return value
        key = (value, keep_scale)
        if key in self._nodes:
            return self._nodes[key]
        if not value.called:
            raise NotShapableError(value.refusal)
        program = value.program if keep_scale else value.whole
        function = self._functions.get(program.signature)
        if function is None:
            function = elementwise(program, value.called, value.refusal)
            check_resolved(function, 1.0, value.where)
            self._functions[program.signature] = function
        term = nonlinear(value.term, function, self.builder, lambda: value.where)
        weight = value.scale if keep_scale else 1.0
        self._nodes[key] = Signal((dataclasses.replace(term, weight=weight),))
        return self._nodes[key]

    def _with_axis(self, value: Value) -> Value:
        """What a map over the first axis makes of its body's output."""
        if isinstance(value, Raw):
            return value.rearranged(value.rank + 1)
        if not isinstance(value, Signal | Pending):
            return value
        terms = self._finished(value, keep_scale=False).terms
        return Signal(tuple(term.moved(axes="l" + term.axes) for term in terms))

    def _depth(self, value: Value) -> int:
        if isinstance(value, Pending):
            return self.builder.depths[value.term.node]
        if not isinstance(value, Signal):
            return 0
        return max(self.builder.depths[term.node] for term in value.terms)


def _is_live(value: Value) -> bool:
    return not isinstance(value, Constant)


def _is_map(carry: list[Value], scanned: list[Value]) -> TypeGuard[list[Constant]]:
    """Whether all iterations are one network, each of its own part of the input: lax.map."""
    weights = any(isinstance(one, Constant) and one.weights for one in scanned)
    carries_none = all(isinstance(one, Constant) for one in carry)
    return carries_none and not weights and any(isinstance(one, Raw) for one in scanned)


def _stacked(value: Value) -> Value:
    return Stacked() if isinstance(value, Signal | Pending) else value
