"""Raw input: what a network makes of it before its first weights, where the theory starts."""

import dataclasses

from zoo.shaping.affine import AFFINE, affine, first_axes
from zoo.shaping.assumptions import Assumption
from zoo.shaping.axes import last_axis
from zoo.shaping.constants import IN_PLACE, REARRANGE, drawn_here, weights_of
from zoo.shaping.refusals import drawn_inside
from zoo.shaping.signals import Constant, Raw, Signal, Term, Value
from zoo.shaping.site import PrimitiveError, Site


class Inputs:
    """The forms in which a network reads its inputs: all are the graph's one input node.

    Attributes:
      have_layers: whether a layer read any.
    """

    def __init__(self) -> None:
        self.have_layers = False
        self._read: dict[object, tuple[float, str]] = {}
        self._forms: list[tuple[frozenset[object], object]] = []

    def result(self, inputs: list[Value], site: Site) -> Value:
        """What a primitive makes of raw input and constants: a signal, if it is a layer."""
        if drawn_here(inputs):
            raise PrimitiveError(drawn_inside(site.name in AFFINE))
        position, raw = next((i, one) for i, one in enumerate(inputs) if isinstance(one, Raw))
        if site.name in AFFINE and weights_of(inputs):
            self.have_layers = True
            read: Value = self.signal(raw, site, first_axes(site.eqn, position))
            return affine([read if i == position else one for i, one in enumerate(inputs)], site)
        factor = next((one.value for one in inputs if isinstance(one, Constant)), None)
        raws = [one for one in inputs if isinstance(one, Raw)]
        if site.name == "mul" and factor is not None and len(raws) == 1:
            return dataclasses.replace(raw, scale=raw.scale * factor)
        if site.name in REARRANGE and len(raws) == 1 and position == 0:
            return raw if site.name in IN_PLACE else raw.rearranged(len(site.result))
        return Raw(len(site.result), frozenset().union(*(one.sources for one in raws)), object())

    def signal(self, raw: Raw, site: Site | None = None, axes: str = "") -> Signal:
        """Raw input that meets a layer, a signal or an activation: the input node.

        Its weight counts from the multiple of it that was read first, so that 0.8 x + 0.6 dense(x)
        is a normalised sum.
        """
        assumed = None
        if raw.root not in self._read:
            self._read[raw.root] = (raw.scale, axes or last_axis(raw.rank))
            assumed = self._other_form(raw, site)
        base, axes = self._read[raw.root]
        term = Term(0, raw.scale / base if base else 0.0, axes=axes)
        return Signal((term.assuming(assumed),))

    def _other_form(self, raw: Raw, site: Site | None) -> Assumption | None:
        """The input read in two forms, such as x and x^2, has more than one q value and cosine."""
        forms = [form for sources, form in self._forms if sources & raw.sources]
        self._forms.append((raw.sources, raw.scaled_form))
        if site is None or all(form == raw.scaled_form for form in forms):
            return None
        return site.assume(
            "input",
            "reads its input in several forms, such as x and x^2, as if their q values and "
            "cosines were the same",
            "make one array of them before the first layer",
        )


def input_of(rank: int) -> Raw:
    """An input of the network."""
    return Raw(rank, frozenset([object()]), object())
