"""From the address of a weight to its folder on this machine, verified.

What an address means is `zoo.pretrained.address`'s; here it is found: beside the index, in the
cache, or downloaded.
"""

import os
from pathlib import Path
from typing import Any

from zoo.checkpoint import verify_files
from zoo.common.files import digest_of
from zoo.pretrained.address import (
    Address,
    File,
    Folder,
    Listed,
    Remote,
    Run,
    UnknownWeightError,
    parse_address,
)
from zoo.pretrained.cache import Pin, inspect
from zoo.pretrained.download import obtain, obtain_file, read_remote, require_fetchable
from zoo.pretrained.index import (
    INDEX,
    IndexEntry,
    checkpoints_folder,
    find,
    parse_index,
)
from zoo.pretrained.manifest import (
    MANIFEST,
    SINGLE_FILE,
    Manifest,
    parse_manifest,
    read_manifest,
)
from zoo.pretrained.origins import read_origin, write_origin
from zoo.pretrained.single_file import manifest_of_file
from zoo.pretrained.strict_json import ManifestError
from zoo.transfer import DownloadError, storage_error, url_problem

URL_VARIABLE = "ZOO_URL"


def locate(source: str | Path | Address) -> tuple[Path, Manifest]:
    """The folder of a published weight and its manifest, every file verified.

    Raises:
      UnknownWeightError: nothing is published under this name, or it is a run or a single file.
      ManifestError: the manifest is damaged, newer, or another weight's.
      CheckpointError: files on this machine, outside the cache, are not the published ones.
      DownloadError: it has to be downloaded and cannot be.
    """
    address = parse_address(source) if isinstance(source, str | Path) else source
    match address:
        case Folder(folder):
            manifest = read_manifest(folder)
            own = digest_of((folder / MANIFEST).read_bytes())
            files = {**manifest.files, MANIFEST: own}
            verify_files(folder, files, besides=_of_tools(folder, manifest))
            return folder, manifest
        case Remote():
            return _locate_remote(address)
        case Listed():
            try:
                id, entry = find(address)
            except UnknownWeightError:
                if not base_urls() or address.tag is None:
                    raise
                return _locate_elsewhere(str(address))
            return _locate_entry(id, entry)
        case File(path) | Run(path):
            kind = "a file" if isinstance(address, File) else "a run, or nothing,"
            raise UnknownWeightError(f"{path} is {kind} on this machine, no published weight")


def manifest_at(address: Listed | Folder | File | Remote) -> Manifest:
    """What a weight says about itself; of one on a server's folder only this is fetched.

    Raises:
      UnknownWeightError: it is listed, but not on this machine.
      ManifestError, CheckpointError, DownloadError: as `locate`.
    """
    match address:
        case File(path):
            return manifest_of_file(path)
        case Folder(path):
            return read_manifest(path)
        case Listed():
            folder = present(address)
            if folder is None:
                raise UnknownWeightError(
                    f"{address} is not on this machine; fetch it: zoo download {address}"
                )
            return read_manifest(folder)
        case Remote() if address.is_file:
            return locate(address)[1]
    pin = read_origin(address.text)
    if pin is not None and pin.folder.is_dir():
        return read_manifest(pin.folder)
    return _fetched_manifest(address)[0]


def present(name: str | Listed) -> Path | None:
    """The folder of a listed weight if it is on this machine; nothing is hashed or downloaded.

    Raises:
      UnknownWeightError: no such weight is listed.
    """
    id, entry = find(name)
    cached = _pin(id, entry).folder
    return next((folder for folder in (entry.folder, cached) if folder.is_dir()), None)


def base_urls() -> tuple[str, ...]:
    """Addresses of published weights in ZOO_URL, separated by blanks; none if it is not set.

    Raises:
      ValueError: if one of them is not https.
    """
    bases = tuple(base.rstrip("/") for base in os.environ.get(URL_VARIABLE, "").split())
    for base in bases:
        if problem := url_problem(base):
            raise ValueError(f"{URL_VARIABLE}: {base!r} {problem}; give https addresses")
    return bases


def _of_tools(folder: Path, manifest: Manifest) -> tuple[str, ...]:
    """Hidden files, such as git and the hub's own client leave beside a single weights file.

    Orbax looks at every file of its folder, so beside its files there may be none.
    """
    if SINGLE_FILE not in manifest.files:
        return ()
    paths = (path.relative_to(folder) for path in folder.rglob("*"))
    return tuple(path.as_posix() for path in paths if path.parts[0].startswith("."))


def _locate_entry(id: str, entry: IndexEntry) -> tuple[Path, Manifest]:
    if not entry.folder.is_dir():
        urls = tuple(f"{base}/{id}" for base in base_urls()) or entry.urls
        return obtain(_pin(id, entry), urls)
    manifest = read_manifest(entry.folder)
    if manifest.id != id:
        raise ManifestError(f"{entry.folder} holds {manifest.id}, the index says {id}")
    verify_files(entry.folder, {**manifest.files, MANIFEST: entry.manifest})
    return entry.folder, manifest


def _locate_elsewhere(id: str) -> tuple[Path, Manifest]:
    """A weight that only the index at ZOO_URL lists."""
    bases = base_urls()
    source = f"{bases[0]}/{id}"
    pin = read_origin(source)
    if pin is None:
        index = _remote_index(id, bases)
        if id not in index:
            raise UnknownWeightError(
                f"no weight {id!r}, neither in {checkpoints_folder()} nor at {bases[0]}; there: "
                f"{', '.join(index) or 'none'}"
            )
        pin = _pin(id, index[id])
    return _obtain_and_note(source, pin, [f"{base}/{id}" for base in bases])


def _remote_index(id: str, bases: tuple[str, ...]) -> dict[str, IndexEntry]:
    reasons = []
    for base in bases:
        url = f"{base}/{INDEX}"
        try:
            return parse_index(read_remote(url, id), url, checkpoints_folder())
        except DownloadError as error:
            reasons.append(str(error))
    raise DownloadError("; ".join(reasons))


def _locate_remote(address: Remote) -> tuple[Path, Manifest]:
    pin = read_origin(address.text)
    if address.is_file:
        if pin is None or inspect(pin.folder, pin.digest)[1]:
            pin = obtain_file(address.url, address.sha256)
        return _obtain_and_note(address.text, pin, [])
    if pin is None:
        manifest, digest = _fetched_manifest(address)
        pin = Pin(require_fetchable(manifest, manifest.id).id, **digest)
    return _obtain_and_note(address.text, pin, [address.url])


def _fetched_manifest(address: Remote) -> tuple[Manifest, dict[str, Any]]:
    """The manifest of a folder on a server, and its digest."""
    url = f"{address.url}/{MANIFEST}"
    raw = read_remote(url, address.text)
    digest = digest_of(raw)
    if address.sha256 not in (None, digest["sha256"]):
        raise DownloadError(
            f"{address.text} has a manifest of sha256 {digest['sha256']}, another was asked for; "
            "check the address"
        )
    return parse_manifest(raw, url), digest


def _obtain_and_note(source: str, pin: Pin, urls: list[str]) -> tuple[Path, Manifest]:
    found = obtain(pin, urls)
    if read_origin(source) != pin:
        try:
            write_origin(source, pin)
        except OSError as error:
            raise storage_error(error, pin.folder.parent) from error
    return found


def _pin(id: str, entry: IndexEntry) -> Pin:
    return Pin(id, entry.manifest["bytes"], entry.manifest["sha256"])
