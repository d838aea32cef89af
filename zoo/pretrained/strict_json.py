"""JSON of manifests and indexes: read without trust, with one error that names the file."""

from pathlib import Path
from typing import Any

from zoo.common import files, json_text
from zoo.common.json_text import JsonError

MAX_BYTES = 4 * 2**20  # 21,843 class names are about one MiB


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
    try:
        return files.read_bounded(path, MAX_BYTES)
    except OSError as error:
        raise ManifestError(
            f"{path} is not a regular file one may read ({error.strerror}); give the folder of a "
            "published weight"
        ) from None


def parse_object(raw: bytes, where: str | Path) -> dict[str, Any]:
    """The JSON object in `raw`, which came from `where`.

    Raises:
      ManifestError: over `MAX_BYTES`, not UTF-8 JSON, nested too deep, a key given twice, NaN or
        an infinity, or not an object.
    """
    try:
        values = json_text.parse_json(raw, MAX_BYTES)
    except JsonError as error:
        raise ManifestError(f"{where}: {error}; fetch it again") from None
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
