"""Published weights from the network into the cache, whole and right or not at all."""

import contextlib
import dataclasses
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from zoo.checkpoint import file_digests, verify_single_file
from zoo.common.console import Progress
from zoo.common.files import digest_of
from zoo.pretrained.cache import Pin, inspect, remove
from zoo.pretrained.manifest import (
    MANIFEST,
    SINGLE_FILE,
    Manifest,
    parse_manifest,
)
from zoo.pretrained.single_file import manifest_of_file
from zoo.pretrained.staging import claim_staging, release_staging, weight_lock
from zoo.pretrained.strict_json import MAX_BYTES, ManifestError
from zoo.transfer import (
    OFFLINE_VARIABLE,
    Digest,
    DownloadError,
    OutOfSpaceError,
    TransferProblem,
    fetch,
    is_offline,
    read_small,
    storage_error,
)

# Left free beside the weight: a full disk harms more than a refused download.
_MARGIN_BYTES = 16 * 2**20


def obtain(pin: Pin, urls: Sequence[str]) -> tuple[Path, Manifest]:
    """The folder of a weight in the cache, every file hashed; downloaded where it is not whole.

    No connection is opened when it is. Of many processes one downloads and the others wait. An
    interrupted download is resumed; of a damaged weight only the damaged files are fetched again.

    Args:
      pin: the weight.
      urls: addresses of its folder, tried in this order.

    Raises:
      DownloadError: it is not here and cannot be had; names every address and its reason.
      ManifestError: it is here, but is a weight of another form or version.
    """
    folder = pin.folder
    manifest, problems = inspect(folder, pin.digest)
    if manifest is not None and not problems:
        return folder, manifest
    state = f"{pin.id} is not in the cache whole ({folder}: {'; '.join(problems[:3])})"
    if is_offline():
        raise DownloadError(f"{state} and {OFFLINE_VARIABLE} is set; unset it to download")
    if not urls:
        raise DownloadError(f"{state} and no address is known; set ZOO_URL to where it is served")
    try:
        with weight_lock(pin):
            manifest, problems = inspect(folder, pin.digest)
            if manifest is None or problems:
                manifest = _download(pin, urls)
    except OSError as error:
        raise storage_error(error, folder.parent) from error
    return folder, manifest


def obtain_file(url: str, sha256: str | None) -> Pin:
    """Downloads one safetensors file of `zoo export`, into the cache as a weight's folder.

    Args:
      url: its address.
      sha256: of the file, where it is known.

    Returns:
      What is in the cache now: the file, and the manifest that it carried.

    Raises:
      DownloadError: it cannot be had.
      CheckpointError, ManifestError: it is damaged, or no file of `zoo export`.
    """
    if is_offline():
        raise DownloadError(
            f"{url} is not in the cache and {OFFLINE_VARIABLE} is set; unset it to download"
        )
    # Until the file is here, its address stands for what it is.
    waiting = Pin("file", 0, hashlib.sha256(url.encode()).hexdigest())
    try:
        with weight_lock(waiting), _staging(waiting) as staging, _progress(url) as bar:
            whole, part = staging / "files", staging / "parts" / SINGLE_FILE
            path = whole / SINGLE_FILE
            fetch([url], path, Digest(sha256), part=part, on_bytes=bar.advance)
            verify_single_file(path)
            manifest = dataclasses.replace(manifest_of_file(path), files=file_digests(whole))
            raw = manifest.to_json().encode()
            (whole / MANIFEST).write_bytes(raw)
            pin = Pin(manifest.id, **digest_of(raw))
            remove(pin.folder)
            _install(whole, pin)
    except DownloadError as error:
        raise DownloadError(
            f"{error}; check the address, or try again: what came is kept"
        ) from None
    except OSError as error:
        raise storage_error(error, waiting.folder.parent) from error
    return pin


def read_remote(url: str, what: str) -> bytes:
    """A manifest or an index from the network, at most `MAX_BYTES`.

    Raises:
      DownloadError: it cannot be had, or $ZOO_OFFLINE is set.
    """
    if is_offline():
        raise DownloadError(
            f"{what} is not in the cache and {OFFLINE_VARIABLE} is set; unset it to download"
        )
    try:
        return read_small(url, MAX_BYTES)
    except TransferProblem as problem:
        raise DownloadError(f"{what} cannot be downloaded: {url} {problem}") from None


def _download(pin: Pin, urls: Sequence[str]) -> Manifest:
    with _staging(pin) as staging:
        whole = staging / "files"
        if pin.folder.is_symlink():
            pin.folder.unlink()
        elif pin.folder.exists():
            shutil.rmtree(whole)
            os.rename(pin.folder, whole)
        _remove_irregular(whole)
        manifest = _fetch_manifest(pin, urls, staging)
        missing = _keep_intact(whole, manifest)
        _require_space(staging, pin.id, sum(manifest.files[name]["bytes"] for name in missing))
        _fetch_files(pin, urls, staging, manifest, missing)
        _, problems = inspect(whole, pin.digest)
        if problems:
            raise DownloadError(f"{pin.id} was not stored as sent: {'; '.join(problems)}; retry")
        os.chmod(whole, 0o755)
        _install(whole, pin)
    return manifest


@contextlib.contextmanager
def _staging(pin: Pin) -> Iterator[Path]:
    """A folder for the download: kept for the next attempt when it fails, gone when it is done."""
    staging = claim_staging(pin)
    try:
        yield staging
    except DownloadError:
        release_staging(pin, staging)
        raise
    except OSError:
        # The disk is full or failing: what is here would only be in the way.
        shutil.rmtree(staging, ignore_errors=True)
        raise
    except BaseException:
        release_staging(pin, staging)
        raise
    shutil.rmtree(staging, ignore_errors=True)


def _fetch_manifest(pin: Pin, urls: Sequence[str], staging: Path) -> Manifest:
    path = staging / "files" / MANIFEST
    manifest, _ = inspect(path.parent, pin.digest)
    if manifest is None:
        if pin.bytes > MAX_BYTES:
            raise ManifestError(f"the manifest of {pin.id} has {pin.bytes:,} bytes; it is none")
        _fetch_one(pin, MANIFEST, urls, staging, pin.digest)
        manifest = parse_manifest(path.read_bytes(), f"{urls[0]}/{MANIFEST}")
    return require_fetchable(manifest, pin.id)


def require_fetchable(manifest: Manifest, id: str) -> Manifest:
    """Refuses a manifest of another weight, and one whose names cannot all be files.

    Raises:
      ManifestError: naming the entry.
    """
    if manifest.id != id:
        raise ManifestError(f"a manifest for {id} was expected, this one is of {manifest.id}")
    names = {name.casefold() for name in manifest.files} | {MANIFEST}
    parents = {parent for name in names for parent in _parents(name)}
    if clash := sorted(names & parents) or [n for n in manifest.files if n.casefold() == MANIFEST]:
        raise ManifestError(f"the manifest of {id} lists {clash[0]!r}, which cannot be a file")
    return manifest


def _parents(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:i]) for i in range(1, len(parts))]


def _keep_intact(whole: Path, manifest: Manifest) -> list[str]:
    """Removes what is not a right file of `manifest`; returns the names that are missing."""
    found = file_digests(whole)
    for name, digest in found.items():
        if name != MANIFEST and manifest.files.get(name) != digest:
            (whole / name).unlink()
    return [name for name, digest in manifest.files.items() if found.get(name) != digest]


def _remove_irregular(whole: Path) -> None:
    """Removes links, pipes and devices, so that nothing below leads out of `whole`."""
    for folder, folders, files in os.walk(whole):
        for name in (*folders, *files):
            mode = os.lstat(os.path.join(folder, name)).st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                os.unlink(os.path.join(folder, name))


def _require_space(staging: Path, id: str, needed: int) -> None:
    free = shutil.disk_usage(staging).free
    if needed and free < needed + _MARGIN_BYTES:
        raise OutOfSpaceError(
            f"{id} needs {needed:,} bytes and a margin of {_MARGIN_BYTES:,}, {staging.parents[1]} "
            f"has {free:,} free; free some or set ZOO_CACHE to another folder"
        )


def _fetch_files(
    pin: Pin, urls: Sequence[str], staging: Path, manifest: Manifest, names: Sequence[str]
) -> None:
    total = sum(manifest.files[name]["bytes"] for name in names)
    with _progress(pin.id, total) as bar:
        for name in names:
            _fetch_one(pin, name, urls, staging, manifest.files[name], bar)


def _progress(what: str, total: int | None = None) -> Progress:
    return Progress(f"downloading {what}", total, in_bytes=True)


def _fetch_one(
    pin: Pin,
    name: str,
    urls: Sequence[str],
    staging: Path,
    digest: Mapping[str, Any],
    bar: Progress | None = None,
) -> None:
    target = staging / "files" / name
    if target.is_dir():
        shutil.rmtree(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    addresses = [f"{base.rstrip('/')}/{quote(name)}" for base in urls]
    part = staging / "parts" / digest["sha256"]
    on_bytes = bar.advance if bar else lambda n: None
    try:
        fetch(addresses, target, Digest(**digest), part=part, on_bytes=on_bytes)
    except DownloadError as error:
        raise DownloadError(
            f"{pin.id} cannot be downloaded: {error}; try again, what came is kept, or set ZOO_URL "
            "to another server"
        ) from None


def _install(whole: Path, pin: Pin) -> None:
    """Gives the folder its name; where another process was faster, its folder is as good."""
    try:
        os.rename(whole, pin.folder)
    except OSError:
        manifest, problems = inspect(pin.folder, pin.digest)
        if manifest is None or problems:
            raise
