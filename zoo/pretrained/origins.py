"""What an address was when it was downloaded, so that it is found again without a connection."""

import hashlib
import json
from pathlib import Path
from typing import Any

from zoo.common import files
from zoo.pretrained.cache import Pin, cache_folder, entries
from zoo.pretrained.schema import digest_problem, is_id
from zoo.pretrained.strict_json import ManifestError, read_object


def read_origin(source: str) -> Pin | None:
    """What `source` was when it was downloaded; None if it never was, or the note is damaged."""
    try:
        values = read_object(_origin(source))
    except (ManifestError, OSError):
        return None
    digest: Any = values.get("manifest")
    if values.get("source") != source or not is_id(values.get("id")) or digest_problem(digest):
        return None
    return Pin(values["id"], digest["bytes"], digest["sha256"])


def write_origin(source: str, pin: Pin) -> None:
    """Notes that `source` is `pin`, so that no connection is needed to find it again."""
    path = _origin(source)
    path.parent.mkdir(parents=True, exist_ok=True)
    values = {"source": source, "id": pin.id, "manifest": pin.digest}
    files.write(path, json.dumps(values))


def forget_origins(id: str | None) -> None:
    """Drops every note about weight `id`; about all weights where that is None."""
    for path in entries(_origins()):
        if id is None or _origin_id(path) == id:
            path.unlink()


def _origins() -> Path:
    return cache_folder() / ".origins"


def _origin(source: str) -> Path:
    return _origins() / f"{hashlib.sha256(source.encode()).hexdigest()[:32]}.json"


def _origin_id(path: Path) -> Any:
    try:
        return read_object(path).get("id")
    except ManifestError:
        return None
