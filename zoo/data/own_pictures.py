"""A user's own pictures by name: `folder:PATH` and `csv:FILE`, alike in all but the layout."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from zoo.data.image_files import ByClass, ImageFiles
from zoo.data.image_folder import list_folder, open_image_folder, split_folders
from zoo.data.image_table import list_table, open_image_table, split_names


class _Kind(NamedTuple):
    open: Callable[[str, str, Sequence[str]], ImageFiles]
    list: Callable[[str], dict[str, ByClass]]
    splits: Callable[[str], list[str]]


_KINDS = {
    "folder": _Kind(open_image_folder, list_folder, split_folders),
    "csv": _Kind(open_image_table, list_table, split_names),
}


def is_own(spec: str) -> bool:
    """Whether a name of data means pictures of the user's own."""
    kind, colon, path = spec.partition(":")
    return bool(colon and path) and kind in _KINDS


def open_own(spec: str, split: str, exclude: Sequence[str] = ()) -> ImageFiles:
    """One split of `folder:PATH` or `csv:FILE`, without some of its files."""
    kind, path = _parsed(spec)
    return kind.open(path, split, exclude)


def list_own(spec: str) -> tuple[Path, dict[str, Any]]:
    """Folder that names of files are relative to, and split -> class -> files, right or wrong.

    Where the pictures are in no splits, their only split is called "all".
    """
    kind, path = _parsed(spec)
    place = Path(path).expanduser().resolve()
    return place if place.is_dir() else place.parent, kind.list(path)


def splits_of_own(spec: str) -> list[str]:
    """Names of the splits there are; empty where the pictures are in none."""
    kind, path = _parsed(spec)
    return kind.splits(path)


def same_own(one: str, other: str) -> bool:
    """Whether two names mean the same folder or table."""
    (kind, _, path), (other_kind, _, other_path) = one.partition(":"), other.partition(":")
    places = [Path(text).expanduser().resolve() for text in (path, other_path)]
    return kind == other_kind and places[0] == places[1]


def _parsed(spec: str) -> tuple[_Kind, str]:
    kind, _, path = spec.partition(":")
    return _KINDS[kind], path
