"""What each field of a manifest may hold: one function per field, "" or what is wrong with it."""

import math
import re
from collections.abc import Callable
from typing import Any

from zoo.pretrained.strict_json import MAX_INTEGER
from zoo.transfer import url_problem

FORMAT_VERSION = 1
MAX_FILE_BYTES = 2**40

_ID = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?")
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)


def is_id(value: Any) -> bool:
    """Whether `value` has the form `arch` or `arch.tag`, which is also a safe file name."""
    return isinstance(value, str) and len(value) <= 128 and bool(_ID.fullmatch(value))


def digest_problem(entry: Any) -> str:
    """What is wrong with an entry {"bytes", "sha256"}."""
    if not isinstance(entry, dict) or set(entry) != {"bytes", "sha256"}:
        return "needs exactly 'bytes' and 'sha256'"
    if not _is_count(entry["bytes"]) or entry["bytes"] > MAX_FILE_BYTES:
        return f"has bytes = {entry['bytes']!r}, not a size"
    if not (isinstance(entry["sha256"], str) and _SHA256.fullmatch(entry["sha256"])):
        return "has a sha256 that is not 64 lower-case hexadecimal digits"
    return ""


def file_name_problem(name: Any) -> str:
    """Why `name` is not a safe relative file name on every system."""
    if not isinstance(name, str) or not 0 < len(name) <= 200:
        return "is not a file name of 1 to 200 characters"
    unsafe = (p for p in name.split("/") if not _FILE_PART.fullmatch(p) or _reserved(p))
    return next((f"has the unsafe part {part!r}" for part in unsafe), "")


def _reserved(part: str) -> bool:
    return bool(_WINDOWS_DEVICE.fullmatch(part))


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_INTEGER


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _count(value: Any) -> str:
    return "" if _is_count(value) else f"is {_short(value)}, not a whole number >= 0"


def _text(value: Any) -> str:
    return "" if isinstance(value, str) and value else f"is {_short(value)}, not a text"


def _object(value: Any) -> str:
    return "" if isinstance(value, dict) else f"is {_short(value)}, not an object"


def _identifier(value: Any) -> str:
    return "" if is_id(value) else f"is {_short(value)}; allowed: a-z, 0-9, _, one dot before a tag"


def _version(value: Any) -> str:
    right = type(value) is int and value == FORMAT_VERSION
    return "" if right else f"is {_short(value)}, expected {FORMAT_VERSION}"


def _activation(value: Any) -> str:
    if not isinstance(value, dict) or not isinstance(value.get("phi"), str):
        return "needs 'phi', the name of an activation"
    wrong = [k for k, v in value.items() if k != "phi" and v is not None and not _is_number(v)]
    return f"has entries that are not finite numbers: {', '.join(wrong)}" if wrong else ""


def _shaping(value: Any) -> str:
    return "" if value is None else _object(value)


def _classes(value: Any) -> str:
    if not isinstance(value, tuple) or not all(isinstance(name, str) for name in value):
        return "is not a list of class names"
    return "" if value else "is empty; a weight names its classes"


def _input_size(value: Any) -> str:
    three = isinstance(value, tuple) and len(value) == 3 and all(map(_is_count, value))
    return (
        "" if three and all(0 < v <= 2**16 for v in value) else "is not [height, width, channels]"
    )


def _metrics(value: Any) -> str:
    if not isinstance(value, dict):
        return "is not an object: data set -> measurements"
    problems = (f"of {name!r} {problem}" for name, m in value.items() if (problem := _metric(m)))
    return next(problems, "")


def _metric(value: Any) -> str:
    if not isinstance(value, dict):
        return "is not an object"
    counts: list[Any] = [value.get(key) for key in ("correct1", "correct5", "n")]
    correct1, correct5, n = counts
    if not all(map(_is_count, counts)) or not correct1 <= correct5 <= n or n == 0:
        return "needs whole numbers correct1 <= correct5 <= n, n > 0"
    for key, count in (("top1", correct1), ("top5", correct5)):
        if not _is_number(value.get(key)) or abs(value[key] - count / n) > 1e-12:
            return f"has {key} = {_short(value.get(key))}, but the counts give {count / n!r}"
    return "" if _is_number(value.get("loss")) else "needs a finite loss"


def _files(value: Any) -> str:
    if not isinstance(value, dict) or not value:
        return "is not an object: name -> bytes and sha256"
    for name, entry in value.items():
        problem = file_name_problem(name) or digest_problem(entry)
        if problem:
            return f"entry {_short(name)} {problem}"
    if len({name.casefold() for name in value}) != len(value):
        return "has names that differ in case only"
    return ""


def _releases(value: Any) -> str:
    if not isinstance(value, dict):
        return "is not an object: form -> file, bytes, sha256"
    for form, entry in value.items():
        if not isinstance(entry, dict) or "/" in str(entry.get("file")):
            return f"entry {_short(form)} names no file"
        digest = {key: entry[key] for key in entry if key not in ("file", "url")}
        problem = file_name_problem(entry.get("file")) or digest_problem(digest)
        if not problem and "url" in entry:
            problem = url_problem(entry["url"]) if isinstance(entry["url"], str) else "has no url"
        if problem:
            return f"entry {_short(form)} {problem}"
    return ""


def _versions(value: Any) -> str:
    texts = isinstance(value, dict) and all(isinstance(v, str) for v in value.values())
    return "" if texts else "is not an object: library -> version"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


FIELD_CHECKS: dict[str, Callable[[Any], str]] = {
    "format_version": _version,
    "id": _identifier,
    "arch": _identifier,
    "overrides": _object,
    "activation": _activation,
    "shaping": _shaping,
    "preprocess": _object,
    "classes": _classes,
    "input_size": _input_size,
    "params": _count,
    "macs": _count,
    "metrics": _metrics,
    "recipe": _object,
    "files": _files,
    "licence": _text,
    "data_terms": _text,
    "versions": _versions,
    "created": _text,
    "releases": _releases,
}
