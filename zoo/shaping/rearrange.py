"""Primitives that move, drop, repeat, pool, pad or join the elements of signals."""

import dataclasses
import itertools
from collections.abc import Sequence

from zoo.shaping.affine import unlike
from zoo.shaping.assumptions import Assumption
from zoo.shaping.axes import CHANNELS, axes_after, channel_axes, groups, taken_axes
from zoo.shaping.constants import REARRANGE, averaged_over
from zoo.shaping.signals import Channels, Signal, Term, Value
from zoo.shaping.site import PrimitiveError, Site
from zoo.shaping.sums import mixed, single, unit
from zoo.shaping.weights import cut, overlap

_MEAN = frozenset({"reduce_sum", "reduce_window_sum"})
REDUCING = _MEAN | {"reduce_max", "reduce_window_max"}
REARRANGING = REARRANGE | {"pad"}


def moved(term: Term, index: int, site: Site) -> Term:
    """Output `index` of a primitive that drops, repeats or moves elements of `term`."""
    name, eqn = site.name, site.eqn
    axes = axes_after(eqn, term.axes)
    if name == "pad":
        return _padded(term, site)
    if name == "reshape":
        return _reshaped(term, axes, site)
    if name == "broadcast_in_dim":
        return term.moved(axes=axes).assuming(_repeated(term, site))
    if name == "tile":
        return _tiled(term, site)
    if name not in ("slice", "dynamic_slice", "gather", "rev", "split"):
        return term.moved(axes=axes)
    taken = [axis for axis in taken_axes(eqn) if term.axes[axis] in CHANNELS]
    if not taken:
        return term.moved(axes=axes)
    return _of_channels(term, axes, taken, index, site)


def reduced(term: Term, site: Site) -> Term:
    """Sum or maximum of `term` over locations; a sum counts its elements as the term's weight."""
    name, eqn, shape = site.name, site.eqn, site.shape()
    window = eqn.params.get("window_dimensions")
    over = [i for i, n in enumerate(window) if n > 1] if window else list(eqn.params["axes"])
    if any(term.axes[i] in CHANNELS for i in over):
        raise PrimitiveError(
            f"reduces over the channels ({name}), as softmax and LayerNorm do, for which there is "
            "no kernel map; remove it, or keep it outside the traced function"
        )
    after = term.moved(axes=axes_after(eqn, term.axes))
    if name in _MEAN:
        weight = term.weight * averaged_over(eqn)
        after = dataclasses.replace(after, weight=weight, is_mean=True)
    padded = any(low or high for low, high in eqn.params.get("padding", ()))
    if all(shape[i] == 1 for i in over) and not (padded and name in _MEAN):
        return after  # one location is its own mean and maximum
    how = "averages" if name in _MEAN else "takes the largest of"
    pooling = site.assume(
        "pooling",
        f"{how} locations or examples ({name}) as if they were equal; the less they are, the more "
        "q and the cosine move",
        "keep one location of each window, as strides do",
    )
    return after.assuming(pooling)


def concatenated(inputs: Sequence[Value], site: Site) -> Signal:
    """Signals one after the other along an axis, which `stack` makes."""
    terms = tuple(single(one) for one in inputs if isinstance(one, Signal))
    if site.name == "stack":
        axis = site.eqn.params["axis"]
        terms = tuple(t.moved(axes=t.axes[:axis] + "l" + t.axes[axis:]) for t in terms)
    else:
        axis = site.eqn.params["dimension"]
    if len({term.axes for term in terms}) > 1:
        raise PrimitiveError(
            "concatenates signals whose channels lie on different axes; transpose one of them"
        )
    if terms[0].axes[axis] == "l":
        if len(terms) < len(inputs):
            raise PrimitiveError(
                "concatenates a signal with other locations that are computed from no input, as "
                "class tokens are; do it before the first layer"
            )
        return Signal((_joined_locations(terms),))
    if len(terms) < len(inputs):
        raise PrimitiveError(
            "concatenates a signal with constant channels, which have no kernel map; do it before "
            "the first layer"
        )
    widths = [site.shape(i)[axis] for i in range(len(terms))]
    parts = [width / sum(widths) for width in widths]
    joined = mixed(tuple(unit(term) for term in terms), parts, site.builder)
    channels, pieces = joined.channels, ()
    if len({term.node for term in terms}) > 1:
        channels, pieces = Channels.UNLIKE, tuple(zip(terms, parts, strict=True))
    elif any(overlap(*pair) for pair in itertools.combinations((t.drawn for t in terms), 2)):
        channels = min(channels, Channels.ALIKE)
    return Signal((dataclasses.replace(joined, channels=channels, pieces=pieces),))


def _joined_locations(terms: tuple[Term, ...]) -> Term:
    if len({(term.node, term.weight) for term in terms}) > 1:
        raise PrimitiveError(
            "concatenates different signals along another axis than the channels, so locations "
            "differ in their kernel maps; concatenate the last axis, or keep them apart"
        )
    one_layer = len({term.layers for term in terms}) == 1
    one_split = len({tuple((p.node, share) for p, share in term.pieces) for term in terms}) == 1
    return terms[0].moved(
        layers=terms[0].layers if one_layer else None,
        drawn=frozenset().union(*(term.drawn for term in terms)),
        channels=min(term.channels for term in terms),
        is_normal=all(term.is_normal for term in terms),
        pieces=terms[0].pieces if one_split else (),
        assumed=frozenset().union(*(term.assumed for term in terms)),
    )


def _of_channels(term: Term, axes: str, taken: list[int], index: int, site: Site) -> Term:
    """Some of the channels; of fresh ones, rows of weights that are told apart."""
    name, eqn = site.name, site.eqn
    if name == "rev":
        return term.moved(axes=axes, channels=min(term.channels, Channels.ALIKE), pieces=())
    assumed = unlike(site) if term.channels == Channels.UNLIKE else None
    if name == "gather":
        assumed = site.assume(
            "pieces",
            "picks channels by index, as if it picked no channel twice and enough of them",
            "slice them, or put a dense layer there",
        )
    after = term.moved(axes=axes, channels=min(term.channels, Channels.ALIKE), pieces=())
    is_range = name == "split" or (name == "slice" and eqn.params["strides"] is None)
    if term.channels < Channels.FRESH or not is_range or len(channel_axes(term.axes)) > 1:
        return after.assuming(assumed)
    (axis,) = taken
    if name == "split":
        start = sum(eqn.params["sizes"][:index])
        stop = start + eqn.params["sizes"][index]
    else:
        start, stop = eqn.params["start_indices"][axis], eqn.params["limit_indices"][axis]
    box = (site.shape()[axis],), (start,), (stop,)
    layers = None if term.layers is None else cut(term.layers, *box)
    return term.moved(axes=axes, layers=layers, drawn=cut(term.drawn, *box), pieces=())


def _reshaped(term: Term, axes: str, site: Site) -> Term:
    before, after = site.shape(), site.result
    touched = [
        new
        for old, new in groups(before, after)
        if not len(old) == len(new) == 1 and any(term.axes[i] in CHANNELS for i in old)
    ]
    if not touched:
        return term.moved(axes=axes)
    changed = term.moved(axes=axes, channels=min(term.channels, Channels.ALIKE))
    if all(len(new) == 1 for new in touched):
        return changed
    assumed = unlike(site) if term.channels == Channels.UNLIKE else None
    return dataclasses.replace(changed, pieces=()).assuming(assumed)


def _repeated(term: Term, site: Site) -> Assumption | None:
    """A single channel made many is still one."""
    target, after = site.eqn.params["broadcast_dimensions"], site.result
    for i, size in enumerate(site.shape()):
        if term.axes[i] in CHANNELS and size != after[target[i]]:
            return site.assume(
                "fan-in",
                "repeats a single channel as if the copies were channels of their own",
                "use a dense layer",
            )
    return None


def _tiled(term: Term, site: Site) -> Term:
    sizes = zip(site.shape(), site.result, strict=True)
    grown = [i for i, (before, after) in enumerate(sizes) if before != after]
    if not any(term.axes[i] in CHANNELS for i in grown):
        return term.moved()
    return term.moved(channels=min(term.channels, Channels.ALIKE))


def _padded(term: Term, site: Site) -> Term:
    config = site.eqn.params["padding_config"]
    grown = [i for i, sizes in enumerate(config) if max(sizes) > 0]
    cropped = [i for i, sizes in enumerate(config) if min(sizes) < 0]
    if any(term.axes[i] in CHANNELS for i in [*grown, *cropped]):
        padding = site.assume(
            "padding",
            "pads the channels with numbers, as shortcuts without weights do, which lowers q",
            "use a dense layer or a 1x1 convolution",
        )
        return term.moved(channels=Channels.UNLIKE, pieces=()).assuming(padding)
    if not grown:
        return term.moved()
    padding = site.assume(
        "padding",
        "pads locations with numbers, which lowers q there",
        'let the convolution pad, or repeat what is there (jnp.pad(..., mode="edge"))',
    )
    return term.moved().assuming(padding)
