"""A published weight's single file, listed in its manifest beside the folder of many."""

import dataclasses
from pathlib import Path

from zoo.common import files
from zoo.export.forms import ExportError, export
from zoo.pretrained import Manifest, read_manifest, write_index
from zoo.pretrained.manifest import MANIFEST

_FORM = "safetensors"


def release(folder: Path, out: Path | None = None, *, url: str | None = None) -> Manifest:
    """Writes `ID.safetensors` of the published weight in `folder`, and lists it there.

    Its size, sha256 and address become `releases` of the manifest, whose digest becomes that of
    the index beside `folder`. The file itself is to be hosted elsewhere.

    Args:
      folder: of a published weight, named after it.
      out: of the file; None names it after the weight, in this directory.
      url: where it is going to be served.

    Raises:
      ExportError: if the manifest lists a release of other bytes, or `out` exists.
      ManifestError: if `url` is not https.
    """
    manifest = read_manifest(folder)
    path = export(f"dir:{folder}", out or f"{manifest.id}.{_FORM}")
    entry = {"file": f"{manifest.id}.{_FORM}", **files.file_digest(path)}
    listed = manifest.releases.get(_FORM)
    if listed is not None and listed["sha256"] != entry["sha256"]:
        path.unlink()
        raise ExportError(
            f"{manifest.id} lists a release of sha256 {listed['sha256'][:12]}, this one has "
            f"{entry['sha256'][:12]}; a release is never replaced, publish under another tag"
        )
    url = url or (listed or {}).get("url")
    releases = {**manifest.releases, _FORM: {**entry, **({"url": url} if url else {})}}
    try:
        changed = dataclasses.replace(manifest, releases=releases)
    except ValueError:
        path.unlink()
        raise
    files.write(folder / MANIFEST, changed.to_json(), durable=True)
    write_index(folder.parent)
    return changed
