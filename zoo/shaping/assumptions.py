"""What a kernel graph takes for granted because the forward pass does not say it."""

import dataclasses
from collections.abc import Iterable

from zoo.shaping.refusals import NotShapableError


@dataclasses.dataclass(frozen=True)
class Assumption:
    """Something that moves q values or cosines by an amount that the kernel maps do not know.

    Attributes:
      kind: one of `KINDS`.
      sentence: what the network does and what the maps take it for, after "the network".
      cure: what to write instead.
      where: file:line; empty if unknown.
      at_output: whether only the network's output rests on it, no nonlinear layer and no sum.
    """

    kind: str
    sentence: str
    cure: str
    where: str = ""
    at_output: bool = False

    def __str__(self) -> str:
        place = f" ({self.where})" if self.where else ""
        return f"{self.kind}: {self.sentence}; {self.cure}{place}"


class AssumptionWarning(UserWarning):
    """A network was shaped although its kernel maps rest on something that they do not know."""


KINDS = {
    "input": "several forms of the input are taken to have the same q values and cosines",
    "pooling": "locations are averaged or compared as if they were equal",
    "mixing": "locations or channels are mixed as if they were independent",
    "padding": "zeros beside the signal are not counted",
    "transposed convolution": "zeros between locations are not counted",
    "fan-in": "sums over few channels are taken to be over many",
    "pieces": "channels that differ are taken to be alike",
    "normality": "what a nonlinear layer reads is taken to be normal",
    "weights": "changed weights are taken to be random, of mean 0 and variance 1 / inputs",
    "bias": "an array that is added is taken to begin at zero",
    "scale": "a factor at the output is left out",
    "dropout": "dropout is left out",
}
"""Every kind of assumption, and what is assumed."""


def refuse(assumptions: Iterable[Assumption]) -> None:
    """Refuses a network that rests on assumptions.

    Raises:
      NotShapableError: with the first of them and its cure.
    """
    found = list(assumptions)
    if not found:
        return
    first, more = found[0], len(found) - 1
    others = f", with {more} more such places" if more else ""
    place = f" ({first.where}{others})" if first.where else ""
    raise NotShapableError(
        f"the network {first.sentence}; {first.cure}, or pass strict=False to take it so{place}"
    )
