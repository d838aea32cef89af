"""What the address of a weight means: one grammar, for every function and every command.

arch                  the weight that the index calls the default of this architecture
arch.tag              a weight that the index lists, here or at ZOO_URL
PATH, dir:PATH        what is on this machine: the folder of a published weight or of `zoo export`,
                      a safetensors file, or the directory of a training run
https://HOST/PATH     a weight's folder or file on a server; #sha256=HEX at the end pins its
                      manifest, or the file
hf:ORG/NAME@REVISION  the same in a repository of Hugging Face's hub; HF_TOKEN opens private ones

A bare name is a path where the working directory holds a weight or a run of that name, else an
id. Nothing here opens a connection or reads more than names of files.
"""

import dataclasses
import re
from pathlib import Path
from urllib.parse import quote

from zoo.common.files import expanded
from zoo.pretrained.manifest import MANIFEST, SINGLE_FILE
from zoo.pretrained.schema import is_id
from zoo.transfer import hub_url, url_problem

PREFIXES = FOLDER_PREFIX, HUB_PREFIX = "dir:", "hf:"
GRAMMAR = "arch.tag, PATH of a weight or run, https://HOST/PATH, hf:ORG/NAME@REVISION"
_RUN = "checkpoints"
_PATH_MARKS = ("/", "\\", "~")
_HUB_NAME = re.compile(
    r"([\w-][\w.-]*/[\w-][\w.-]*)(?:@([\w-][\w.-]*(?:/[\w-][\w.-]*)*))?", re.ASCII
)
_PIN = re.compile(r"(.*)#sha256=([0-9a-f]{64})")


class UnknownWeightError(ValueError):
    """No published weight has this name, or no weight can have this address."""


@dataclasses.dataclass(frozen=True)
class Listed:
    """`arch.tag`, or the default weight of `arch` where `tag` is None."""

    arch: str
    tag: str | None = None

    def __str__(self) -> str:
        return self.arch if self.tag is None else f"{self.arch}.{self.tag}"


@dataclasses.dataclass(frozen=True)
class Folder:
    """A published weight on this machine."""

    path: Path


@dataclasses.dataclass(frozen=True)
class File:
    """A safetensors file of `zoo export` on this machine."""

    path: Path


@dataclasses.dataclass(frozen=True)
class Run:
    """The directory of a training run."""

    path: Path


@dataclasses.dataclass(frozen=True)
class Remote:
    """A weight's folder or file on a server.

    Attributes:
      text: the address as it was given, which is how the cache remembers it.
      url: where it is, without a pin.
      sha256: of its manifest or file, where it is pinned.
      repository: ORG/NAME on Hugging Face's hub, None elsewhere.
      revision: of the repository.
    """

    text: str
    url: str
    sha256: str | None = None
    repository: str | None = None
    revision: str = "main"

    @property
    def is_file(self) -> bool:
        """Whether a single file is meant rather than a folder."""
        return self.url.endswith(Path(SINGLE_FILE).suffix)


Address = Listed | Folder | File | Run | Remote


def parse_address(source: str | Path) -> Address:
    """What `source` means, by the grammar above; a `Path` is always a path.

    Raises:
      UnknownWeightError: it has none of the forms.
    """
    text = str(source)
    if "\0" in text:
        raise UnknownWeightError(f"{text!r} holds a NUL, which no name has; allowed: {GRAMMAR}")
    if isinstance(source, Path) or text.startswith(FOLDER_PREFIX):
        path = expanded(text.removeprefix(FOLDER_PREFIX))
        return _on_disk(path) or (Run(path) if isinstance(source, Path) else Folder(path))
    if text.startswith(HUB_PREFIX):
        return parse_hub(text)
    if "://" in text:
        return _remote(text)
    path = expanded(text)
    if found := _on_disk(path):
        return found
    if any(mark in text for mark in _PATH_MARKS) or text in (".", ".."):
        return Run(path)
    return parse_id(text)


def parse_id(text: str) -> Listed:
    """The id `arch` or `arch.tag`.

    Raises:
      UnknownWeightError: it has another form.
    """
    if not is_id(text):
        raise UnknownWeightError(
            f"{text!r} names no weight; allowed: {GRAMMAR}; all: zoo list --pretrained"
        )
    arch, _, tag = text.partition(".")
    return Listed(arch, tag or None)


def parse_hub(text: str) -> Remote:
    """A repository of Hugging Face's hub, at its revision or "main".

    Raises:
      UnknownWeightError: if it has another form.
    """
    address, sha256 = _unpinned(text)
    name = _HUB_NAME.fullmatch(address.removeprefix(HUB_PREFIX))
    if name is None or not address.startswith(HUB_PREFIX):
        raise UnknownWeightError(f"{address!r} names no repository; write hf:ORG/NAME@REVISION")
    repository, revision = name[1], name[2] or "main"
    url = f"{hub_url()}/{repository}/resolve/{quote(revision, safe='')}"
    return Remote(text, _fetchable(url), sha256, repository, revision)


def _remote(text: str) -> Remote:
    address, sha256 = _unpinned(text)
    return Remote(text, _fetchable(address), sha256)


def _unpinned(text: str) -> tuple[str, str | None]:
    pinned = _PIN.fullmatch(text)
    return (pinned[1], pinned[2]) if pinned else (text, None)


def _fetchable(url: str) -> str:
    problem = url_problem(url)
    if not problem and ("?" in url or "#" in url):
        problem = "has a query or fragment; only #sha256= and 64 hexadecimal digits may follow"
    if problem:
        raise UnknownWeightError(
            f"{url!r} {problem}; give the https address of a published weight's folder or file"
        )
    return url.rstrip("/").removesuffix(f"/{MANIFEST}")


def _on_disk(path: Path) -> Folder | File | Run | None:
    """What is at `path`, judged by the names there; None where that is no weight and no run."""
    if path.suffix == Path(SINGLE_FILE).suffix:
        return File(path)
    if (path / MANIFEST).exists():
        return Folder(path)
    if (path / _RUN).is_dir():
        return Run(path)
    return File(path / SINGLE_FILE) if (path / SINGLE_FILE).is_file() else None
