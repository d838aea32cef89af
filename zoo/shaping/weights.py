"""Identity of weights and of their pieces: whether two layers can share a number."""

import dataclasses
from typing import Any

Path = tuple[tuple[Any, ...], ...]


@dataclasses.dataclass(frozen=True)
class Piece:
    """A parameter or a part of one.

    Attributes:
      root: identity of the parameter.
      path: how the part was cut out: boxes ("box", shape, starts, stops), and what rearranged the
        array in between.
    """

    root: object
    path: Path = ()


Weights = frozenset[Piece]


def new_weights() -> Weights:
    """Weights that are no others."""
    return frozenset([Piece(object())])


def cut(
    weights: Weights, shape: tuple[int, ...], starts: tuple[int, ...], stops: tuple[int, ...]
) -> Weights:
    """The part of an array of `shape` between `starts` and `stops`."""
    if all(start <= 0 for start in starts) and stops == shape:
        return weights
    return _extended(weights, ("box", shape, starts, stops))


def rearranged(weights: Weights, *how: Any) -> Weights:
    """The same numbers in another order, told apart by `how`."""
    return _extended(weights, how)


def overlap(first: Weights, second: Weights) -> bool:
    """Whether the two may share a number; False only if that is certain."""
    if first.isdisjoint(second) and {p.root for p in first}.isdisjoint(p.root for p in second):
        return False
    return any(
        one.root == other.root and not _disjoint(one.path, other.path)
        for one in first
        for other in second
    )


class Uses:
    """How each weight was used: a matrix and its transpose are no two independent layers."""

    def __init__(self) -> None:
        self._by_root: dict[object, dict[Piece, tuple[Any, ...]]] = {}

    def differ(self, weights: Weights, *how: Any) -> bool:
        """Takes note of a use; whether the same numbers were used in another way before."""
        found = False
        for piece in weights:
            moves = tuple(step for step in piece.path if step[0] != "box")
            known = self._by_root.setdefault(piece.root, {})
            found |= any(
                other != (*how, moves) and not _disjoint(piece.path, one.path)
                for one, other in known.items()
            )
            known.setdefault(piece, (*how, moves))
        return found


def _extended(weights: Weights, step: tuple[Any, ...]) -> Weights:
    return frozenset(Piece(one.root, (*one.path, step)) for one in weights)


def _disjoint(first: Path, second: Path) -> bool:
    """Whether two parts of one array cannot meet: the first steps that differ are boxes apart."""
    for one, other in zip(first, second, strict=False):
        if one == other:
            continue
        if one[0] != "box" or other[0] != "box" or one[1] != other[1]:
            return False
        ranges = zip(one[2], one[3], other[2], other[3], strict=True)
        return any(stop <= begin or end <= start for start, stop, begin, end in ranges)
    return False
