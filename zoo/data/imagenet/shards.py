"""One packed shard: written, read back, hashed, and only then given its name."""

import dataclasses
import hashlib
import json
import threading
from pathlib import Path

from zoo.common import files
from zoo.common.files import read_bounded
from zoo.common.json_text import JsonError, as_form, parse_json
from zoo.data.decode import BadImageError, check_image
from zoo.data.imagenet.packed import Shard, array_record
from zoo.data.imagenet.source import ImageNetSource

RECEIPTS = ".zoo-prepare"
_RECEIPT_BYTES = 4096

_WRITE_OPTIONS = "group_size:1,uncompressed"  # random access to single, already compressed images


class BadImagesError(Exception):
    """Images of a shard that cannot be decoded; `images` says which and why."""

    def __init__(self, images: list[str]) -> None:
        super().__init__(f"{len(images)} bad images")
        self.images = images


def finish_shard(
    path: Path, source: ImageNetSource, chosen: range, stop: threading.Event
) -> tuple[Shard, bool]:
    """The shard at `path` with the images `chosen`, and whether it was there already.

    Raises:
      BadImagesError: if images cannot be decoded; then there is no shard.
      OSError: if what was written cannot be read back.
    """
    receipt = path.parent / RECEIPTS / f"{path.name}.json"
    shard = _read_receipt(receipt)
    if shard is not None and _is_there(path, shard, len(chosen)):
        return shard, True
    partial = path.parent / RECEIPTS / f"{path.name}.partial"
    digests = _write_records(partial, source, chosen, stop)
    _check_records(partial, digests)
    shard = Shard(path.name, len(chosen), **files.file_digest(partial))
    files.sync(partial)
    partial.replace(path)
    files.write(receipt, json.dumps(dataclasses.asdict(shard)))
    return shard, False


def _read_receipt(path: Path) -> Shard | None:
    """What a receipt says; a damaged one is none, for the shard can be made again."""
    try:
        return as_form(parse_json(read_bounded(path, _RECEIPT_BYTES), _RECEIPT_BYTES), Shard)
    except (OSError, JsonError):
        return None


def _is_there(path: Path, shard: Shard, examples: int) -> bool:
    if (shard.file, shard.examples) != (path.name, examples) or not path.is_file():
        return False
    return files.file_digest(path) == {"bytes": shard.bytes, "sha256": shard.sha256}


def _write_records(
    path: Path, source: ImageNetSource, chosen: range, stop: threading.Event
) -> list[bytes]:
    writer = array_record().ArrayRecordWriter(str(path), _WRITE_OPTIONS)
    digests, bad = [], []
    try:
        for index in chosen:
            if stop.is_set():
                raise InterruptedError(f"{path} was not finished")
            try:
                data = source.encoded(index)
                check_image(data, source.store.place(index))
            except BadImageError as error:
                bad.append(str(error))
                continue
            writer.write(data)
            digests.append(hashlib.sha256(data).digest())
    finally:
        writer.close()
    if bad:
        path.unlink()
        raise BadImagesError(bad)
    return digests


def _check_records(path: Path, digests: list[bytes]) -> None:
    reader = array_record().ArrayRecordReader(str(path))
    read = [hashlib.sha256(reader.read([k])[0]).digest() for k in range(reader.num_records())]
    reader.close()
    if read != digests:
        raise OSError(f"{path} does not hold what was written to it; check the disk")
