"""`Visitor`: one walk through a jaxpr, entering calls and loops; subclasses say what values are."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

Value = TypeVar("Value")

# Calls, whose jaxpr has the arguments of the equation. Other primitives, such as a reduction by a
# function, hold jaxprs that are run in other ways.
_CALLS = frozenset(
    "jit pjit closed_call core_call core_closed_call remat remat2 checkpoint custom_jvp_call "
    "custom_vjp_call custom_vjp_call_jaxpr".split()
)
_NESTED = ("jaxpr", "call_jaxpr", "fun_jaxpr")


class Visitor(Generic[Value]):
    """A walk through a jaxpr.

    Attributes:
      calls: equations of the calls that are being entered, outermost first.
    """

    def __init__(self) -> None:
        self.calls: list[JaxprEqn] = []

    def literal(self, atom: Any, value: Any) -> Value:
        """A number or array that the jaxpr holds."""
        raise NotImplementedError

    def primitive(self, eqn: JaxprEqn, inputs: list[Value]) -> list[Value]:
        """Values of the outputs of a primitive."""
        raise NotImplementedError

    def scan(self, eqn: JaxprEqn, inputs: list[Value]) -> list[Value]:
        """Values of the outputs of a scan."""
        raise NotImplementedError

    def run(self, closed: ClosedJaxpr | Jaxpr, arguments: Sequence[Value]) -> list[Value]:
        """Values of the outputs of a jaxpr."""
        jaxpr = body(closed)
        values: dict[Any, Value] = {}

        def read(atom: Any) -> Value:
            return self.literal(atom, atom.val) if isinstance(atom, Literal) else values[atom]

        literals = zip(jaxpr.constvars, getattr(closed, "consts", ()), strict=True)
        values.update({variable: self.literal(variable, value) for variable, value in literals})
        values.update(zip(jaxpr.invars, arguments, strict=True))
        for eqn in jaxpr.eqns:
            inputs = [read(atom) for atom in eqn.invars]
            values.update(zip(eqn.outvars, self.equation(eqn, inputs), strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def equation(self, eqn: JaxprEqn, inputs: list[Value]) -> list[Value]:
        """Values of the outputs of an equation."""
        if eqn.primitive.name == "scan":
            return self.inside(eqn, lambda: self.scan(eqn, inputs))
        called = called_jaxpr(eqn)
        if called is not None:
            return self.inside(eqn, lambda: self.run(called, inputs))
        return self.primitive(eqn, inputs)

    def inside(self, eqn: JaxprEqn, walk: Callable[[], list[Value]]) -> list[Value]:
        """What `walk` returns, with `eqn` among the calls."""
        self.calls.append(eqn)
        outputs = walk()
        self.calls.pop()
        return outputs


def carries(eqn: JaxprEqn, live: Sequence[bool]) -> bool:
    """Whether a scan carries anything on that depends on its `live` arguments."""
    inner, (num_carry, _) = body(eqn.params["jaxpr"]), scan_layout(eqn)
    reached = {variable for variable, is_live in zip(inner.invars, live, strict=True) if is_live}
    for one in inner.eqns:
        if any(not isinstance(atom, Literal) and atom in reached for atom in one.invars):
            reached.update(one.outvars)
    return any(not isinstance(one, Literal) and one in reached for one in inner.outvars[:num_carry])


def shape_of(atom: Any) -> tuple[int, ...]:
    """Shape of a variable or literal of a jaxpr."""
    return tuple(atom.aval.shape)


def body(jaxpr: ClosedJaxpr | Jaxpr) -> Jaxpr:
    """The jaxpr itself, without its constants."""
    return jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr


def held_jaxprs(eqn: JaxprEqn) -> list[Jaxpr]:
    """The jaxprs that an equation holds, however it runs them; none for a plain primitive."""
    values = [item for value in eqn.params.values() for item in _items(value)]
    return [body(value) for value in values if isinstance(value, ClosedJaxpr | Jaxpr)]


def all_equations(jaxpr: Jaxpr) -> Iterator[JaxprEqn]:
    """Every equation of a jaxpr and of those that it holds, each once, in order."""
    for eqn in jaxpr.eqns:
        yield eqn
        for inner in held_jaxprs(eqn):
            yield from all_equations(inner)


def called_jaxpr(eqn: JaxprEqn) -> ClosedJaxpr | Jaxpr | None:
    """The jaxpr that a call such as jit, remat or custom_jvp runs; None for anything else."""
    if eqn.primitive.name not in _CALLS:
        return None
    nested = next((eqn.params[key] for key in _NESTED if key in eqn.params), None)
    same = nested is not None and len(body(nested).invars) == len(eqn.invars)
    return nested if same else None


def scan_layout(eqn: JaxprEqn) -> tuple[int, int]:
    """Numbers of carried and of scanned arrays; arguments are constants, carried, scanned.

    Read off the shapes, since JAX versions name them differently: an array that is scanned over or
    stacked has one axis more outside the body than inside.
    """
    inner = body(eqn.params["jaxpr"])

    def same_rank(outer: Sequence[Any], inner: Sequence[Any]) -> int:
        pairs = zip(outer, inner, strict=True)
        return sum(len(shape_of(a)) == len(shape_of(b)) for a, b in pairs)

    num_carry = same_rank(eqn.outvars, inner.outvars)
    return num_carry, len(eqn.invars) - same_rank(eqn.invars, inner.invars)


def _items(value: Any) -> Sequence[Any]:
    return value if isinstance(value, tuple | list) else (value,)
