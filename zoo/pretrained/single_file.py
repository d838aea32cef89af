"""What a single safetensors file of `zoo export` says about its weight."""

from pathlib import Path

from zoo.checkpoint import read_about
from zoo.common.files import file_digest
from zoo.pretrained.manifest import Manifest, manifest_of
from zoo.pretrained.strict_json import parse_object


def manifest_of_file(path: Path) -> Manifest:
    """The manifest in a safetensors file of `zoo export`; its `files` lists that file.

    Raises:
      CheckpointError: no such file, a damaged or a foreign one.
      ManifestError: it is of another version, or damaged.
    """
    values = parse_object(read_about(path).encode(), path)
    files = {f"{values.get('id')}.safetensors": file_digest(path.resolve())}
    return manifest_of({**values, "files": files}, path)
