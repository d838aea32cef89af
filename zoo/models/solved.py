"""`Solved`: activations and the methods that solved them, as they are recorded."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from zoo.models.family import Activations, Shaping
from zoo.models.registry import variant_of
from zoo.shaping import ShapedActivation, method_from_json, method_to_json


@dataclasses.dataclass(frozen=True)
class Solved:
    """The activations of a network, and how they came about.

    Attributes:
      activations: with their constants.
      shaping: the methods that solved them, in the same order; none if they were not solved.
    """

    activations: Activations
    shaping: tuple[Shaping, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As JSON values; `from_json` is the inverse."""
        return {
            "activations": [dataclasses.asdict(one) for one in self.activations],
            "shaping": [method_to_json(method) for method in self.shaping],
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Solved":
        """What a record says; older ones hold one "activation", and one method or none at all.

        Raises:
          ValueError: for an unknown activation or method, or constants that they do not have.
          TypeError: for fields that an activation does not have.
        """
        found = record["activations"] if "activations" in record else [record["activation"]]
        activations = tuple(ShapedActivation(**one) for one in found)
        if "shaping" not in record:  # then it was the id's
            return cls(activations, variant_of(record["arch"]).shaping)
        methods = record["shaping"] or []
        methods = [methods] if isinstance(methods, Mapping) else methods
        return cls(activations, tuple(method_from_json(method) for method in methods))
