"""Packed ImageNet: image files as records of ArrayRecord shards, and a manifest with their hashes.

Record k of a split is an image file as it was; line k of the split's `.tsv` is its label and name.
Owns the form and reading it; `zoo.data.imagenet.packing` writes it.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from msgspec import Meta, Struct

from zoo.common import files
from zoo.common.files import read_bounded
from zoo.common.json_text import Count, JsonError, Sha256, as_entries, as_form, parse_json
from zoo.data.imagenet.labels import wnids
from zoo.data.imagenet.layout import Listing
from zoo.data.records import MissingSplitError

MANIFEST = "manifest.json"
FORMAT = "zoo-packed-images-1"

_READ_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"  # random access, nothing ahead
_READ_BUFFER_BYTES = 1 << 16
_MANIFEST_MAX_BYTES = 16 << 20
_LINE_MAX_BYTES = 300  # a label, and a name as long as file systems have
_ROW = re.compile("([0-9]{1,4})\t(.*)", re.DOTALL)


@dataclasses.dataclass(frozen=True)
class Shard:
    """One file of records: its name, how many it holds, size and content."""

    file: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_][A-Za-z0-9._-]*\Z", max_length=200)]
    examples: Annotated[int, Meta(ge=1, le=2**31)]
    bytes: Count
    sha256: Sha256


@dataclasses.dataclass(frozen=True)
class PackedSplit:
    """A split: number of examples, hash of its list of labels and names, and its shards.

    `comparable` is that of `Listing`.
    """

    examples: Count
    listing_sha256: Sha256
    comparable: bool
    shards: tuple[Shard, ...]

    def __post_init__(self) -> None:
        held = sum(shard.examples for shard in self.shards)
        if held != self.examples:
            raise ValueError(f"has {self.examples} examples, but its shards hold {held}")


class _Manifest(Struct):
    format: str
    splits: dict[str, Any] = {}


def array_record() -> Any:
    """The module that reads and writes ArrayRecord.

    Raises:
      ValueError: if it is not installed.
    """
    try:
        from array_record.python import array_record_module
    except ImportError as error:
        raise ValueError(
            "packed data needs array_record, which exists for Linux and macOS; "
            "run: pip install array_record"
        ) from error
    return array_record_module


def listing_file(split: str) -> str:
    """Name of the file with a split's labels and names."""
    return f"imagenet2012-{split}.tsv"


def has_manifest(root: Path) -> bool:
    """Whether a folder holds packed data."""
    return (root / MANIFEST).is_file()


def read_manifest(root: Path) -> dict[str, PackedSplit]:
    """Split -> what the manifest says about it.

    Raises:
      ValueError: if the manifest is damaged or of another form.
    """
    path = root / MANIFEST
    try:
        values = parse_json(
            read_bounded(path, _MANIFEST_MAX_BYTES, follow=True), _MANIFEST_MAX_BYTES
        )
        packed = as_form(values, _Manifest)
        if packed.format != FORMAT:
            raise JsonError(f"its format is {packed.format!r}, known is {FORMAT!r}")
        return as_entries(packed.splits, PackedSplit)
    except (OSError, JsonError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ValueError(
            f"{path} is not a readable manifest ({reason}); prepare the data again"
        ) from error


def write_manifest(root: Path, splits: dict[str, PackedSplit]) -> None:
    """Writes the manifest under its name when it is whole."""
    values = {name: dataclasses.asdict(split) for name, split in splits.items()}
    text = json.dumps({"format": FORMAT, "splits": values}, indent=1)
    files.write(root / MANIFEST, text + "\n")


def open_packed(root: Path, split: str) -> Listing:
    """The listing of a packed split, its files compared with the manifest by name and size.

    Raises:
      MissingSplitError: if the split was not packed.
      ValueError: if shards are missing or have another size, naming them.
    """
    splits = read_manifest(root)
    if split not in splits:
        raise MissingSplitError(
            f"{root} has no {split} split, only {', '.join(splits)}; prepare it with zoo data "
            "prepare from a folder that has it"
        )
    packed = splits[split]
    problems = shard_problems(root, packed)
    if problems:
        raise ValueError(f"{'; '.join(problems[:5])}; copy the folder again or prepare it again")
    names, labels = read_listing(root, split, packed)
    records = PackedRecords(root, packed.shards, names)
    return Listing("packed", records, labels, str(root / listing_file(split)), packed.comparable)


def shard_problems(root: Path, packed: PackedSplit) -> list[str]:
    """What is wrong with the names and sizes of a split's files, one sentence each."""
    found = []
    for shard in packed.shards:
        path = root / shard.file
        if not path.is_file():
            found.append(f"{path} is missing")
        elif path.stat().st_size != shard.bytes:
            found.append(
                f"{path} has {path.stat().st_size:,} bytes, the manifest says {shard.bytes:,}"
            )
    return found


def read_listing(root: Path, split: str, packed: PackedSplit) -> tuple[list[str], np.ndarray]:
    """Names and labels of a packed split, checked against the manifest.

    Raises:
      ValueError: if the list is missing or not the one that was packed.
    """
    path = root / listing_file(split)
    try:
        data = read_bounded(path, packed.examples * _LINE_MAX_BYTES, follow=True)
    except OSError as error:
        raise ValueError(
            f"{path} cannot be read ({error.strerror}); copy the folder again"
        ) from error
    if hashlib.sha256(data).hexdigest() != packed.listing_sha256:
        raise ValueError(f"{path} is not the list that was packed; copy the folder again")
    rows = [_ROW.fullmatch(row) for row in data.decode(errors="surrogateescape").split("\n")[:-1]]
    labels = [int(row[1]) for row in rows if row is not None]
    if len(labels) != packed.examples or any(label >= len(wnids()) for label in labels):
        raise ValueError(
            f"{path} is no list of {packed.examples} labels and names; prepare the data again"
        )
    return [row[2] for row in rows if row is not None], np.asarray(labels, np.int32)


class PackedRecords:
    """Image files in shards, by number."""

    def __init__(self, root: Path, shards: Sequence[Shard], names: Sequence[str]) -> None:
        self.root, self.shards, self.names = root, tuple(shards), names
        self._ends = np.cumsum([shard.examples for shard in shards])
        self._readers: dict[int, Any] = {}

    def place(self, index: int) -> str:
        """Shard, record and the name the image file had."""
        shard, record = self._locate(index)
        return f"{self.root / self.shards[shard].file} record {record} ({self.names[index]})"

    def read(self, index: int) -> bytes:
        """The image file.

        Raises:
          OSError: if the record is damaged.
        """
        shard, record = self._locate(index)
        try:
            if shard not in self._readers:
                path = str(self.root / self.shards[shard].file)
                self._readers[shard] = array_record().ArrayRecordReader(
                    path, _READ_OPTIONS, file_reader_buffer_size=_READ_BUFFER_BYTES
                )
            return self._readers[shard].read([record])[0]
        except (RuntimeError, ValueError, IndexError) as error:
            raise OSError(f"the shard is damaged: {error}") from error

    def take(self, order: np.ndarray) -> "PackedRecords":
        """Only the order of the shards can be had."""
        if not np.array_equal(order, np.arange(len(self.names))):
            raise ValueError("packed records keep the order they were packed in")
        return self

    def _locate(self, index: int) -> tuple[int, int]:
        shard = int(np.searchsorted(self._ends, index, side="right"))
        return shard, int(index - (self._ends[shard] - self.shards[shard].examples))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_readers": {}}
