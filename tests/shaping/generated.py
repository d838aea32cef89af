"""Random networks: what Hypothesis draws of the programs of `programs.py`."""

from hypothesis import strategies as st

from tests.shaping.programs import ACTIVATIONS

# Operations that keep the maps stand several times, so that many networks are accepted.
_INDEX = st.one_of(*[st.none()] * 15, st.integers(0, 3))  # mostly a new matrix
_WEIGHTS = st.sampled_from(
    [(0.6, 0.8), (0.8, 0.6), (0.5**0.5, 0.5**0.5), (0.96, -0.28), (0.28, 0.96)] * 3 + [(1.0, 1.0)]
)
_DENSE = st.tuples(st.just("dense"), _INDEX)
_SMOOTH = [name for name in sorted(ACTIVATIONS) if name not in ("far", "fast")]
_ACTIVATION = st.tuples(st.just("activation"), st.sampled_from(_SMOOTH * 3 + ["far", "fast"]))


def _one(name, *arguments):
    return st.tuples(st.just(name), *arguments)


def _of(*names):
    return st.sampled_from(names)


_CONV = _one(
    "conv", _INDEX, _of(*["VALID"] * 4, "SAME", "CAUSAL"), _of(1, 1, 2), _of(1, 1, 1, 2, 4)
)
_HEADS = _one("heads", _INDEX, _of(2, 2, 2, 4), st.booleans())
_HALVES = _one("halves", _INDEX, _of(*["layers"] * 3, "sum", "same", "gate", "swapped"))
_KEPT = (
    "reverse", "roll", "stride", "crop", "repeat", "nearest", "edge", "channels reversed",
    "channels turned", "channels to tokens", "copies",
)  # fmt: skip
_REARRANGED = _one("rearranged", _of(*_KEPT * 3, "linear", "pad", "flat and back", "half padded"))
_RARE = [
    _one("tokens mixed", _INDEX, _of("random", "mean", "order")),
    _one("pooled", _of("mean", "maximum", "global mean", "global maximum")),
    _one(
        "changed",
        _INDEX,
        _of(
            "dropout", "mask", "bias", "zero bias", "computed bias", "vector", "centred", "norm",
            "integers", "own matrix", "positive matrix", "transposed matrix", "doubled",
        ),
    ),
]  # fmt: skip
_LAYERS = [*[_DENSE] * 5, *[_ACTIVATION] * 4, _CONV, _HEADS, _HALVES, _REARRANGED]


def _bodies(operations):
    """Mostly with a layer of their own at the end, as a branch needs it."""
    ops = st.lists(operations, min_size=1, max_size=3).map(tuple)
    ends_in_a_layer = st.builds(lambda some, last: (*some, last), ops, _DENSE)
    return st.one_of(*[ends_in_a_layer] * 5, ops)


def _nested(body):
    hows = _of(
        *["dense", "activation"] * 3, "piece", "half", "shortcut", "tokens", "product", "maximum"
    )
    return [
        *[_one("residual", body, _WEIGHTS, _of(*[False] * 7, True))] * 4,
        _one("joined", body, _INDEX, hows),
        _one("scanned", body, _of(False, False, True)),
        st.tuples(_of("jit", "checkpoint"), body),
    ]


_SIMPLE = _bodies(st.one_of(*_LAYERS * 3, *_RARE))
_INNER = _bodies(st.one_of(*_LAYERS * 3, *_RARE, *_nested(_SIMPLE) * 2))
_OPS = st.one_of(*_LAYERS * 3, *_RARE, *_nested(_INNER) * 3)

networks = st.builds(
    lambda first, middle, last: (first, *middle, last),
    _DENSE,
    st.lists(_OPS, min_size=1, max_size=3),
    st.one_of(_DENSE, _ACTIVATION),
)
