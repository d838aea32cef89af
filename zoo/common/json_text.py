"""JSON from somewhere else, read without trust: bounded, unambiguous, finite, of a stated form.

The form is a type: dataclasses and built-in types, with limits as `Annotated[..., Meta(...)]`.
"""

import json
import math
import re
from typing import Annotated, Any, TypeVar

import msgspec
from msgspec import Meta

MAX_INTEGER = 2**53  # larger ones are not exact in every JSON reader
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLACE = re.compile(r"(.*) - at (?:key in )?\$\.?(.*)", re.DOTALL)

Count = Annotated[int, Meta(ge=0, le=MAX_INTEGER)]
Sha256 = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
T = TypeVar("T")


class JsonError(ValueError):
    """A text that is not the JSON it should be; says what is wrong, but not of which file."""


def parse_json(raw: bytes, limit: int) -> Any:
    """The JSON value in `raw`.

    Raises:
      JsonError: over `limit` bytes, not UTF-8 JSON, nested too deep, a key given twice, NaN, an
        infinity, an integer that not every reader can hold, or half of a character.
    """
    if len(raw) > limit:
        raise JsonError(f"larger than {limit} bytes")
    try:
        value = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_no_constant
        )
        problem = _problem(value)
    except RecursionError:
        raise JsonError("nested too deep") from None
    except ValueError as error:
        raise JsonError(f"not valid JSON ({error})") from None
    if problem:
        raise JsonError(problem)
    return value


def as_form(value: Any, form: type[T]) -> T:
    """`value`, as `parse_json` gives it, as the type `form`; unknown keys are left out.

    Raises:
      JsonError: it has another form; names the place and what is expected there.
    """
    try:
        return msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        text = " ".join(str(error).replace("`", "").split())
        what, place = found.groups() if (found := _PLACE.fullmatch(text)) else (text, "")
        what = what[:1].lower() + what[1:]
        raise JsonError(f"{place}: {what}" if place else what) from None
    except RecursionError:
        raise JsonError("nested too deep") from None
    except UnicodeEncodeError:
        raise JsonError("a text holds half of a character") from None


def as_entries(value: Any, form: type[T]) -> dict[str, T]:
    """`value` as a dictionary of texts to `form`.

    Raises:
      JsonError: as `as_form`; names the key of the entry.
    """
    entries = {}
    for key, entry in as_form(value, dict[str, Any]).items():
        try:
            entries[key] = as_form(entry, form)
        except JsonError as error:
            raise JsonError(f"entry {key[:60]!r}: {error}") from None
    return entries


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key is given twice")
    return values


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _problem(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "a number is too large"
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return "an integer is too large"
    if isinstance(value, str) and not value.isascii() and _SURROGATE.search(value):
        return "a text holds half of a character"
    if not isinstance(value, dict | list):
        return ""
    children = (*value, *value.values()) if isinstance(value, dict) else value
    return next(filter(None, map(_problem, children)), "")
