"""What the name of a weight means, and its folder on this machine, verified.

arch.tag              listed in the index; beside it, in the cache, or downloaded
dir:PATH              the folder of a published weight; FILE.safetensors is `single_file`
https://HOST/PATH     the same on a server; #sha256=HEX at the end pins its manifest, or the file
hf:ORG/NAME@REVISION  the same in a repository of Hugging Face's hub; HF_TOKEN opens private ones
"""

import os
import re
from pathlib import Path
from urllib.parse import quote

from zoo.checkpoint import verify_files
from zoo.common.files import expanded
from zoo.pretrained.cache import Pin, inspect
from zoo.pretrained.download import obtain, obtain_file, read_remote, require_fetchable
from zoo.pretrained.index import (
    INDEX,
    IndexEntry,
    UnknownWeightError,
    checkpoints_folder,
    digest_of,
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
from zoo.pretrained.schema import is_id
from zoo.pretrained.strict_json import ManifestError
from zoo.transfer import DownloadError, hub_url, storage_error, url_problem

FOLDER_PREFIX, HUB_PREFIX = "dir:", "hf:"
URL_VARIABLE = "ZOO_URL"
_HUB_NAME = re.compile(
    r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w-][\w.-]*(?:/[\w-][\w.-]*)*))?", re.ASCII
)
_PIN = re.compile(r"(.*)#sha256=([0-9a-f]{64})")


def is_address(text: str) -> bool:
    """Whether `text` is a source on a server."""
    return "://" in text or text.startswith(HUB_PREFIX)


def locate(text: str) -> tuple[Path, Manifest]:
    """The folder of a published weight and its manifest, every file verified.

    Args:
      text: as in the table above.

    Raises:
      UnknownWeightError: nothing is published under this name.
      ManifestError: the manifest is damaged, newer, or another weight's.
      CheckpointError: files on this machine, outside the cache, are not the published ones.
      DownloadError: it has to be downloaded and cannot be.
    """
    if text.startswith(FOLDER_PREFIX):
        folder = expanded(text.removeprefix(FOLDER_PREFIX))
        manifest = read_manifest(folder)
        own = digest_of((folder / MANIFEST).read_bytes())
        verify_files(folder, {**manifest.files, MANIFEST: own}, besides=_of_tools(folder, manifest))
        return folder, manifest
    if is_address(text):
        return _locate_address(text)
    try:
        id, entry = find(text)
    except UnknownWeightError:
        if not base_urls() or not is_id(text) or "." not in text:
            raise
        return _locate_elsewhere(text)
    return _locate_entry(id, entry)


def single_file(text: str) -> Path | None:
    """The safetensors file that `text` means, or that is all there is of a weight's folder."""
    if is_address(text):
        return None
    path = expanded(text.removeprefix(FOLDER_PREFIX))
    if path.suffix == Path(SINGLE_FILE).suffix:
        return path
    alone = path / SINGLE_FILE
    is_alone = text.startswith(FOLDER_PREFIX) and not (path / MANIFEST).exists()
    return alone if is_alone and alone.is_file() else None


def present(name: str) -> Path | None:
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


def hub_repository(address: str) -> tuple[str, str]:
    """ORG/NAME and the revision that `hf:ORG/NAME@REVISION` means; "main" where it names none.

    Raises:
      UnknownWeightError: if it has another form.
    """
    name = _HUB_NAME.fullmatch(address.removeprefix(HUB_PREFIX))
    if name is None or not address.startswith(HUB_PREFIX):
        raise UnknownWeightError(f"{address!r} names no repository; write hf:ORG/NAME@REVISION")
    return name[1], name[2] or "main"


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


def _locate_address(text: str) -> tuple[Path, Manifest]:
    pinned = _PIN.fullmatch(text)
    address, sha256 = (pinned[1], pinned[2]) if pinned else (text, None)
    url = _url_of(address)
    pin = read_origin(text)
    if url.endswith(Path(SINGLE_FILE).suffix):
        if pin is None or inspect(pin.folder, pin.digest)[1]:
            pin = obtain_file(url, sha256)
        return _obtain_and_note(text, pin, [])
    if pin is None:
        raw = read_remote(f"{url}/{MANIFEST}", text)
        digest = digest_of(raw)
        if sha256 not in (None, digest["sha256"]):
            raise DownloadError(
                f"{address} has a manifest of sha256 {digest['sha256']}, {sha256} was asked for; "
                "check the address"
            )
        manifest = parse_manifest(raw, f"{url}/{MANIFEST}")
        pin = Pin(require_fetchable(manifest, manifest.id).id, **digest)
    return _obtain_and_note(text, pin, [url])


def _url_of(address: str) -> str:
    if address.startswith(HUB_PREFIX):
        repository, revision = hub_repository(address)
        address = f"{hub_url()}/{repository}/resolve/{quote(revision, safe='')}"
    problem = url_problem(address)
    if not problem and ("?" in address or "#" in address):
        problem = "has a query or fragment; only #sha256= and 64 hexadecimal digits may follow"
    if problem:
        raise UnknownWeightError(
            f"{address!r} {problem}; give the https address of a published weight's folder or file"
        )
    return address.rstrip("/").removesuffix(f"/{MANIFEST}")


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
