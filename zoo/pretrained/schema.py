"""What each field of a manifest may hold: one type per field, which `as_form` compares it with."""

import math
import re
import typing
from typing import Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType

from zoo.common.json_text import MAX_INTEGER, Count, JsonError, Sha256, as_entries, as_form
from zoo.transfer import url_problem

FORMAT_VERSION = 1
MAX_FILE_BYTES = 2**40

_ID = re.compile(r"[a-z0-9_]+(\.[a-z0-9_]+)?")
_FILE_PART = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_-])?")
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(\..*)?", re.IGNORECASE)
_ROUNDING = 1e-12

Text = Annotated[str, Meta(min_length=1)]
Id = Annotated[str, Meta(pattern=rf"\A{_ID.pattern}\Z", max_length=128)]
Side = Annotated[int, Meta(ge=1, le=2**16)]
FileName = Annotated[str, Meta(min_length=1, max_length=200)]
Number = int | float | None


class FileEntry(Struct, forbid_unknown_fields=True):
    """What a file must be: size and content."""

    bytes: Annotated[int, Meta(ge=0, le=MAX_FILE_BYTES)]
    sha256: Sha256


class Release(FileEntry, forbid_unknown_fields=True, kw_only=True):
    """The same weight in another form."""

    file: FileName
    url: str | UnsetType = UNSET

    def __post_init__(self) -> None:
        problem = "names a folder" if "/" in self.file else file_name_problem(self.file)
        if not problem and isinstance(self.url, str):
            problem = url_problem(self.url)
        if problem:
            raise ValueError(f"entry {self.file!r} {problem}")


class Measured(Struct):
    """Accuracy on a data set; fractions must be those of the counts."""

    correct1: Count
    correct5: Count
    n: Annotated[int, Meta(ge=1, le=MAX_INTEGER)]
    top1: float
    top5: float
    loss: float

    def __post_init__(self) -> None:
        if not self.correct1 <= self.correct5 <= self.n:
            raise ValueError("needs whole numbers correct1 <= correct5 <= n, n > 0")
        for key, count in (("top1", self.correct1), ("top5", self.correct5)):
            found = getattr(self, key)
            # Written so that NaN is refused too.
            if not abs(found - count / self.n) <= _ROUNDING:
                raise ValueError(f"has {key} = {found!r}, but the counts give {count / self.n!r}")
        if not math.isfinite(self.loss):
            raise ValueError("needs a finite loss")


FIELDS: dict[str, Any] = {
    "format_version": Annotated[int, Meta(ge=FORMAT_VERSION, le=FORMAT_VERSION)],
    "id": Id,
    "arch": Id,
    "overrides": dict[str, Any],
    "activation": dict[str, str | Number],
    "shaping": dict[str, Any] | None,
    "preprocess": dict[str, Any],
    "classes": Annotated[tuple[str, ...], Meta(min_length=1)],
    "input_size": tuple[Side, Side, Side],
    "params": Count,
    "macs": Count,
    "metrics": dict[str, Measured],
    "recipe": dict[str, Any],
    "files": dict[str, FileEntry],
    "licence": Text,
    "data_terms": Text,
    "versions": dict[str, str],
    "created": Text,
    "releases": dict[str, Release],
    "config": dict[str, Any],
    "solved": dict[str, Any],
}
OPTIONAL = ("releases", "config", "solved")
"""Fields that came later; empty where a manifest was written before them, and not written then."""


def field_problem(name: str, value: Any) -> str:
    """What is wrong with `value` as field `name` of a manifest, or ""."""
    form = FIELDS[name]
    try:
        if typing.get_origin(form) is dict:
            as_entries(value, typing.get_args(form)[1])
        else:
            as_form(value, form)
    except JsonError as error:
        return f"{error}{_shown(value)}"
    if name == "activation":
        return _activation_problem(value)
    return _names_problem(value) if name == "files" else ""


def is_id(value: Any) -> bool:
    """Whether `value` has the form `arch` or `arch.tag`, which is also a safe file name."""
    return isinstance(value, str) and len(value) <= 128 and bool(_ID.fullmatch(value))


def digest_problem(entry: Any) -> str:
    """What is wrong with an entry {"bytes", "sha256"}."""
    try:
        as_form(entry, FileEntry)
    except JsonError as error:
        return str(error)
    return ""


def file_name_problem(name: Any) -> str:
    """Why `name` is not a safe relative file name on every system."""
    if not isinstance(name, str) or not 0 < len(name) <= 200:
        return "is not a file name of 1 to 200 characters"
    unsafe = (p for p in name.split("/") if not _FILE_PART.fullmatch(p) or _reserved(p))
    return next((f"has the unsafe part {part!r}" for part in unsafe), "")


def _reserved(part: str) -> bool:
    return bool(_WINDOWS_DEVICE.fullmatch(part))


def _activation_problem(value: dict[str, Any]) -> str:
    if not isinstance(value.get("phi"), str):
        return "needs 'phi', the name of an activation"
    wrong = [k for k, v in value.items() if k != "phi" and not _is_constant(v)]
    return f"has entries that are not finite numbers: {', '.join(wrong)}" if wrong else ""


def _is_constant(value: Any) -> bool:
    return value is None or (not isinstance(value, str) and math.isfinite(value))


def _names_problem(files: dict[str, Any]) -> str:
    if not files:
        return "expected at least one file"
    for name in files:
        if problem := file_name_problem(name):
            return f"entry {name[:60]!r} {problem}"
    if len({name.casefold() for name in files}) != len(files):
        return "has names that differ in case only"
    return ""


def _shown(value: Any) -> str:
    """The value for a message, where it is short enough to be one."""
    if isinstance(value, dict | list | tuple):
        return ""
    text = repr(value)
    return f" ({text if len(text) <= 60 else f'{text[:57]}...'} given)"
