"""Strategies: valid content damaged byte by byte or by its structure, and content of no kind."""

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

STRANGE = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53 + 1, 2**63, 2**64, -(10**30), 10**400),
    *(0.5, -0.0, 1e308, float("nan"), float("inf")),
    *("", "x", "nan", "1e999", "../x", "/etc/passwd", "a\0b", "a\nb", "é\ud800", "\x1b[2J"),
    *("F8_E8M0", "float8_e8m0fnu", "0" * 64, "x" * 300),
    *([], [[]], [1, 2], ["x", None], {}, {"a": {}}, {"": 0}),
)


@st.composite
def damaged(draw: st.DrawFn, valid: Sequence[bytes]) -> bytes:
    """One of `valid` with one to four bytes or pieces changed, taken out, repeated or put in."""
    content = bytearray(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        kind = draw(st.sampled_from(("flip", "set", "cut", "drop", "repeat", "put")))
        if kind == "flip" and at < len(content):
            content[at] ^= 1 << draw(st.integers(0, 7))
        elif kind == "set" and at < len(content):
            content[at] = draw(st.integers(0, 255))
        elif kind == "cut":
            del content[at:]
        elif kind == "drop":
            del content[at : at + draw(st.integers(1, 64))]
        elif kind == "repeat":
            content[at:at] = content[at : at + draw(st.integers(1, 64))]
        elif kind == "put":
            content[at:at] = draw(st.binary(min_size=1, max_size=16))
    return bytes(content)


@st.composite
def restructured(draw: st.DrawFn, valid: Sequence[Any]) -> Any:
    """One of the JSON values `valid` with one to three places changed, renamed or taken out."""
    value = copy.deepcopy(draw(st.sampled_from(valid)))
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(value)) if isinstance(value, dict | list) else []
        if not places:
            return draw(st.sampled_from(STRANGE))
        holder, key = places[draw(st.integers(0, len(places) - 1))]
        kind = draw(st.sampled_from(("strange", "strange", "remove", "rename", "copy", "number")))
        if kind == "strange":
            holder[key] = copy.deepcopy(draw(st.sampled_from(STRANGE)))
        elif kind == "number":
            holder[key] = draw(st.integers(-(2**70), 2**70) | st.floats())
        elif kind == "remove":
            del holder[key]
        elif kind == "rename" and isinstance(holder, dict):
            name = draw(st.text(max_size=8) | st.sampled_from(list(holder)))
            holder[name] = holder.pop(key)
        elif kind == "copy":
            other, name = places[draw(st.integers(0, len(places) - 1))]
            if name in other if isinstance(other, dict) else name < len(other):
                holder[key] = copy.deepcopy(other[name])
    return value


def _places(value: Any) -> Any:
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, child in list(pairs):
        yield value, key
        if isinstance(child, dict | list):
            yield from _places(child)


def json_bytes(value: Any) -> bytes:
    """The text of `value`, with NaN and lone surrogates where it holds them."""
    return json.dumps(value).encode()


def texts_like(
    valid: Sequence[Any], write: Callable[[Any], bytes] = json_bytes
) -> st.SearchStrategy[bytes]:
    """JSON text that is nearly that of `valid`, damaged at random, or no JSON at all."""
    return (
        restructured(valid).map(write)
        | damaged([write(value) for value in valid])
        | st.recursive(
            st.sampled_from(STRANGE),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
            max_leaves=8,
        ).map(json_bytes)
        | st.binary(max_size=100)
        | st.integers(1, 5000).map(lambda depth: b'{"a":' * depth)
    )


def bytes_like(valid: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Content that is nearly one of `valid`, or none at all."""
    return damaged(valid) | damaged(valid) | st.binary(max_size=200)
