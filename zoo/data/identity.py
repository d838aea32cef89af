"""Whether two data sets are the same to the last byte, for results that belong to their data."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor

from zoo.data.records import Source, encoded_record, origin_of

_THREADS = min(16, os.cpu_count() or 1)


def content_digest(source: Source) -> str:
    """Hex sha256 over classes, labels and every byte of the images, in order.

    Only a user's own files are read whole: they change under their names. Other data sets are told
    apart by their `fingerprint`, which knows where the data comes from.

    Raises:
      BadImageError: if a file cannot be read.
    """
    if not getattr(origin_of(source), "own", False):
        return source.fingerprint
    digest = hashlib.sha256("\0".join(source.classes).encode(errors="surrogateescape"))
    with ThreadPoolExecutor(_THREADS) as pool:
        for example in pool.map(lambda index: _example_digest(source, index), range(len(source))):
            digest.update(example)
    return digest.hexdigest()


def _example_digest(source: Source, index: int) -> bytes:
    found = encoded_record(source, index)
    data, label = found if found is not None else (b"", -1)
    return label.to_bytes(4, "little", signed=True) + hashlib.sha256(data).digest()
