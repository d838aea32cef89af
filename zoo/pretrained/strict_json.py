"""JSON from somewhere else, read without trust: bounded, unambiguous, finite."""

import json
import math
from pathlib import Path
from typing import Any

MAX_BYTES = 4 * 2**20  # 21,843 class names are about one MiB
MAX_INTEGER = 2**53  # larger ones are not exact in every JSON reader


class ManifestError(ValueError):
    """A manifest or index that cannot be trusted; names the file and the field at fault."""


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object in file `path`.

    Raises:
      ManifestError: no regular file, or what `parse_object` refuses.
    """
    return parse_object(read_bounded(path), path)


def read_bounded(path: Path) -> bytes:
    """The bytes of file `path`; one more than `MAX_BYTES` where there are more.

    Raises:
      ManifestError: `path` is no regular file.
    """
    if path.is_symlink() or not path.is_file():
        raise ManifestError(f"{path} is not a regular file; give the folder of a published weight")
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


def parse_object(raw: bytes, where: str | Path) -> dict[str, Any]:
    """The JSON object in `raw`, which came from `where`.

    Raises:
      ManifestError: over `MAX_BYTES`, not UTF-8 JSON, nested too deep, a key given twice, NaN or
        an infinity, or not an object.
    """
    if len(raw) > MAX_BYTES:
        raise ManifestError(f"{where} is larger than {MAX_BYTES} bytes; it is no manifest")
    try:
        values = json.loads(
            raw.decode("utf-8"), object_pairs_hook=_unique_keys, parse_constant=_no_constant
        )
        problem = _number_problem(values)
    except RecursionError:
        raise ManifestError(f"{where}: nested too deep; fetch it again") from None
    except ValueError as error:
        raise ManifestError(f"{where}: not valid JSON ({error}); fetch it again") from None
    if problem:
        raise ManifestError(f"{where}: {problem}; fetch it again")
    if not isinstance(values, dict):
        raise ManifestError(f"{where} holds a JSON {type(values).__name__}, not an object")
    return values


def check_version(values: dict[str, Any], known: int, path: str | Path) -> None:
    """Refuses a form of another version, before any other field is looked at."""
    version = values.get("format_version")
    if type(version) is not int or version < 1:
        raise ManifestError(f"{path}: format_version is {version!r}; expected {known}")
    if version > known:
        raise ManifestError(
            f"{path}: format_version {version} is newer than the {known} this program reads; "
            "upgrade flax-vanilla-zoo"
        )


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) != len(pairs):
        raise ValueError("a key is given twice")
    return values


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not a JSON number")


def _number_problem(value: Any) -> str:
    if isinstance(value, float) and not math.isfinite(value):
        return "a number is too large"
    if isinstance(value, int) and abs(value) > MAX_INTEGER:
        return "an integer is too large"
    if not isinstance(value, dict | list):
        return ""
    children = value.values() if isinstance(value, dict) else value
    return next(filter(None, map(_number_problem, children)), "")
