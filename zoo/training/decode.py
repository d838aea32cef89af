"""JSON values to frozen dataclasses, with every mistake in one error."""

import dataclasses
import sys
import types
import typing
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from zoo.common.words import nearest

T = TypeVar("T")


class ConfigError(ValueError):
    """A training configuration that cannot run; the message holds every mistake found."""

    @classmethod
    def of(cls, mistakes: Iterable[str]) -> "ConfigError":
        """One error from several sentences, one per line."""
        lines = list(mistakes)
        head = f"{len(lines)} mistake{'s' if len(lines) > 1 else ''} in the configuration:"
        return cls("\n  ".join([head, *lines]))


def decode_dataclass(kind: type[T], values: Mapping[str, Any]) -> T:
    """Builds `kind` from JSON values, nested dataclasses, tuples and optional fields included.

    Fields left out take their defaults.

    Raises:
      ConfigError: naming every unknown field and every value of a wrong type.
    """
    mistakes: list[str] = []
    result = _dataclass(kind, values, "", mistakes)
    if mistakes:
        raise ConfigError.of(mistakes)
    return result


def _dataclass(kind: Any, values: Any, path: str, mistakes: list[str]) -> Any:
    if not isinstance(values, Mapping):
        mistakes.append(f"{path or 'configuration'}: {values!r} given, an object expected")
        return None
    if hasattr(kind, "kind_for"):  # the fields depend on the values
        try:
            kind = kind.kind_for(values)
        except ValueError as error:
            mistakes.append(f"{path.removesuffix('.')}: {error}")
            return None
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    arguments = {}
    for name, value in values.items():
        if name in names:
            arguments[name] = _value(hints[name], value, f"{path}{name}", mistakes)
        else:
            hint = nearest(name, names, 1) or f"allowed: {', '.join(names)}"
            mistakes.append(f"{path}{name}: no such field; {hint}")
    if mistakes:
        return None
    try:
        return kind(**arguments)
    except (TypeError, ValueError) as error:  # a missing field, or a check of the dataclass itself
        mistakes.append(f"{path.removesuffix('.') or 'configuration'}: {error}")
        return None


def _value(hint: Any, value: Any, path: str, mistakes: list[str]) -> Any:
    if dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, f"{path}.", mistakes)
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        options = typing.get_args(hint)
        if value is None and type(None) in options:
            return None
        return _value(next(o for o in options if o is not type(None)), value, path, mistakes)
    if typing.get_origin(hint) is typing.Literal:
        if value not in typing.get_args(hint):
            allowed = ", ".join(map(repr, typing.get_args(hint)))
            mistakes.append(f"{path}: {value!r} given; allowed: {allowed}")
        return value
    if typing.get_origin(hint) is tuple and isinstance(value, (list, tuple)):
        return _tuple(typing.get_args(hint), value, path, mistakes)
    if hint is float and type(value) is int and abs(value) <= sys.float_info.max:
        return float(value)
    expected = typing.get_origin(hint) or hint
    if type(value) is not expected:
        mistakes.append(f"{path}: {value!r} given, {expected.__name__} expected")
    return value


def _tuple(
    kinds: tuple[Any, ...], values: Any, path: str, mistakes: list[str]
) -> tuple[Any, ...] | None:
    if len(kinds) == 2 and kinds[1] is Ellipsis:
        kinds = (kinds[0],) * len(values)
    if len(kinds) != len(values):
        mistakes.append(f"{path}: {len(values)} values given, {len(kinds)} expected")
        return None
    pairs = enumerate(zip(kinds, values, strict=True))
    return tuple(_value(kind, v, f"{path}[{i}]", mistakes) for i, (kind, v) in pairs)
