"""Dense layers and convolutions: which axes they mix, over how many channels, and at what borders.

A product with random weights keeps q values and cosines if it sums over all channels: whatever the
locations have to do with each other, the result at each is new. Everything else is assumed.
"""

import math

from jax.extend.core import JaxprEqn

from zoo.shaping.assumptions import Assumption
from zoo.shaping.axes import channel_axes
from zoo.shaping.refusals import drawn_inside
from zoo.shaping.signals import Channels, Constant, Signal, Term, Value
from zoo.shaping.site import PrimitiveError, Site
from zoo.shaping.sums import single
from zoo.shaping.visitor import shape_of

AFFINE = frozenset({"dot_general", "conv_general_dilated"})
MIN_FAN_IN = 128
"""Channels that a sum must run over to count as wide where others stay apart (groups, heads)."""


def affine(inputs: list[Value], site: Site) -> Signal:
    """The product of a signal with weights or with a fixed array.

    Raises:
      PrimitiveError: for two signals, or a signal in the place of a kernel.
    """
    if all(isinstance(one, Signal) for one in inputs):
        raise PrimitiveError(
            f"joins two signals by {site.name}, as attention does, for which there is no kernel "
            "map; remove it"
        )
    position = next(i for i, one in enumerate(inputs) if isinstance(one, Signal))
    signal, other = inputs[position], inputs[1 - position]
    assert isinstance(signal, Signal) and isinstance(other, Constant)
    if other.is_drawn:
        raise PrimitiveError(drawn_inside(is_product=True))
    term = single(signal)
    product = _dense if site.name == "dot_general" else _convolved
    return Signal((product(term, other, position, site),))


def first_axes(eqn: JaxprEqn, position: int) -> str:
    """Axes of raw input as its first layer reads it: what it sums over are the channels."""
    rank = len(shape_of(eqn.invars[position]))
    if eqn.primitive.name == "dot_general":
        summed = set(eqn.params["dimension_numbers"][0][position])
    else:
        summed = {eqn.params["dimension_numbers"].lhs_spec[1]}
    return "".join("c" if i in summed else "l" for i in range(rank))


def _dense(term: Term, weights: Constant, position: int, site: Site) -> Term:
    contracted, batch = (pair[position] for pair in site.eqn.params["dimension_numbers"])
    others = [i for i in range(len(term.axes)) if i not in (*contracted, *batch)]
    channels = channel_axes(term.axes)
    apart = [i for i in channels if i not in contracted]
    summed = site.eqn.params["dimension_numbers"][0][1 - position]
    new, assumed = "c", _of_weights(weights, summed, site)
    mixes_locations = not channels or len(apart) == len(channels)
    if mixes_locations or any(term.axes[i] == "m" for i in apart):
        new = "l" if mixes_locations else "c"
        assumed.append(_location_mixing(site))
    elif apart:
        fan_in = math.prod(site.shape(position)[i] for i in contracted)
        assumed += _grouped(term, fan_in, site)
    kept = "".join(term.axes[i] for i in batch)
    # Channels that a layer leaves alone, with the same weights for each, are as good as locations.
    free = "".join("l" if i in apart and new == "c" else term.axes[i] for i in others)
    count = len(site.result) - len(kept) - len(free)
    axes = kept + (free + new * count if position == 0 else new * count + free)
    return _product(term.moved(axes=axes), weights, new == "c", assumed)


def _convolved(term: Term, kernel: Constant, position: int, site: Site) -> Term:
    params = site.eqn.params
    if position != 0 or params["batch_group_count"] != 1:
        raise PrimitiveError(
            "uses a signal as the kernel of a convolution, for which there is no kernel map; give "
            "the convolution weights of its own"
        )
    numbers, groups = params["dimension_numbers"], params["feature_group_count"]
    assumed = _of_weights(kernel, numbers.rhs_spec, site)
    if channel_axes(term.axes) != [numbers.lhs_spec[1]]:
        assumed.append(_location_mixing(site))
    elif groups > 1:
        assumed += _grouped(term, site.shape()[numbers.lhs_spec[1]] // groups, site)
    assumed += _borders(site)
    axes = ["l"] * len(term.axes)
    axes[numbers.out_spec[1]] = "c"
    return _product(term.moved(axes="".join(axes)), kernel, True, assumed)


def _product(term: Term, weights: Constant, is_new: bool, assumed: list[Assumption]) -> Term:
    """`term` after a product; `is_new` if all of it is a sum over channels."""
    random = bool(weights.weights)
    is_new = is_new and random
    product = Term(
        term.node,
        term.weight,
        layers=weights.weights or term.layers,
        precision=term.precision,
        drawn=weights.weights or term.drawn,
        axes=term.axes,
        channels=Channels.FRESH if is_new else min(term.channels, Channels.ALIKE),
        is_normal=is_new or term.is_normal,
        assumed=term.assumed,
    )
    return product.assuming(*assumed)


def _of_weights(weights: Constant, summed: tuple[int, ...], site: Site) -> list[Assumption]:
    """What a product takes for granted of weights whose axes `summed` it sums over."""
    if not weights.weights:
        return [
            site.assume(
                "mixing",
                f"multiplies a signal by a fixed array ({site.name}), as resizing, blurring and "
                "averaging do, as if what it mixes were independent",
                "index instead of multiplying where it is a permutation or a repetition, or let "
                "it be a layer",
            )
        ]
    if site.uses.differ(weights.weights, summed):
        return [
            site.assume(
                "weights",
                "uses a weight in two ways, as a matrix and its transpose are, as if it were two",
                "give each use its own",
            )
        ]
    if weights.changed_by:
        return [
            site.assume(
                "weights",
                f"changes weights by {weights.changed_by} before their product, which is taken to "
                "be with random weights of mean 0 and variance 1 / inputs",
                "let the layer use the parameter itself",
            )
        ]
    return []


def _location_mixing(site: Site) -> Assumption:
    return site.assume(
        "mixing",
        "mixes locations by one matrix for all channels, as if locations were independent",
        "mix them together with the channels, as convolutions do",
    )


def _grouped(term: Term, fan_in: int, site: Site) -> list[Assumption]:
    assumed = []
    if term.channels == Channels.UNLIKE:
        assumed.append(unlike(site))
    if fan_in < MIN_FAN_IN:
        assumed.append(
            site.assume(
                "fan-in",
                f"sums over groups of {fan_in} channels, as depthwise and grouped convolutions and "
                "heads do, as if they were many",
                f"use groups of at least {MIN_FAN_IN} channels",
            )
        )
    return assumed


def unlike(site: Site) -> Assumption:
    """The assumption that pieces of different channels are like the whole."""
    return site.assume(
        "pieces",
        "takes some channels of a concatenation or of the input, which may be unlike the others",
        "put a dense layer between",
    )


def _borders(site: Site) -> list[Assumption]:
    params = site.eqn.params
    if any(step != 1 for step in params["lhs_dilation"]):
        return [
            site.assume(
                "transposed convolution",
                "runs a transposed convolution, whose taps meet zeros between the locations, which "
                "lowers q",
                "use a convolution after jnp.repeat",
            )
        ]
    if not _reads_padding(site):
        return []
    if site.delta:
        return [
            site.assume(
                "padding",
                "pads a convolution so far to one side that its centre tap reads zeros, which "
                "lowers q there",
                "pad each side by half the kernel",
            )
        ]
    return [
        site.assume(
            "padding",
            "pads a convolution with zeros, which its outer taps read at borders, so that q is "
            "lower there",
            'use padding="VALID", or begin it by its centre tap alone, as zoo.shape does '
            "(kernel_graph takes delta=True)",
        )
    ]


def _reads_padding(site: Site) -> bool:
    """Whether some output of a convolution reads a tap that counts from outside the image."""
    params = site.eqn.params
    numbers = params["dimension_numbers"]
    for i, (low, _) in enumerate(params["padding"]):
        size = site.shape()[numbers.lhs_spec[2 + i]]
        taps = site.shape(1)[numbers.rhs_spec[2 + i]]
        outputs = site.result[numbers.out_spec[2 + i]]
        first, last = 0, taps - 1
        if site.delta and taps % 2:
            first = last = (taps - 1) // 2
        dilation, stride = params["rhs_dilation"][i], params["window_strides"][i]
        begin = first * dilation - low
        end = last * dilation - low + (outputs - 1) * stride
        if begin < 0 or end >= size:
            return True
    return False
