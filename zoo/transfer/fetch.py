"""One file from one of several addresses: resumed, retried, hashed whole, then named."""

import dataclasses
import errno
import http.client
import os
import random
import re
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

from zoo.common import files
from zoo.transfer.http import ATTEMPTS, TransferProblem, blocks, open_url
from zoo.transfer.patience import Patience
from zoo.transfer.places import CACHE_VARIABLE

MAX_FILE_BYTES = 2**40
_FIRST_WAIT_S = 0.5
# A connection that brought this much is a good one; its failure does not count as one of many.
_PROGRESS_BYTES = 1 << 20
_Result = TypeVar("_Result")
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DownloadError(ValueError):
    """Something could not be downloaded; what was there before is as it was."""


class OutOfSpaceError(DownloadError):
    """There is no space for what is to be downloaded."""

    exit_code = 5


@dataclasses.dataclass(frozen=True)
class Digest:
    """What a file must be, as far as it is known: its sha256 and its size in bytes."""

    sha256: str | None = None
    bytes: int | None = None


def fetch(
    urls: Sequence[str],
    target: Path,
    digest: Digest,
    *,
    part: Path,
    on_bytes: Callable[[int], None] = lambda count: None,
) -> None:
    """Downloads one file to `target`, which comes into being whole and right, or not at all.

    Args:
      urls: addresses of the same bytes, tried in this order.
      target: path of the file, in an existing folder.
      digest: what the file must be.
      part: where received bytes wait for the rest, on the file system of `target`. What an earlier
        call left there is resumed; nobody else may write there.
      on_bytes: told the number of every few bytes that come, negative where they are thrown away.

    Each address is given up after `PATIENCE_S` seconds and one for every `SLOWEST_BYTES_PER_S`
    bytes that it sent (`zoo.transfer.patience`); what came is kept.

    Raises:
      DownloadError: one reason for each address.
      OSError: what is received cannot be written.
    """
    reasons = []
    for url in urls:
        try:
            _fetch_from(url, target, _Part(part, digest, on_bytes))
            return
        except TransferProblem as problem:
            reasons.append(f"{url} {problem}")
    raise DownloadError("; ".join(reasons))


def read_small(url: str, limit: int) -> bytes:
    """A whole body of at most `limit` bytes, within `PATIENCE_S` seconds.

    Raises:
      TransferProblem: it is larger, or cannot be had.
    """
    patience = Patience(earns=False)

    def read() -> bytes:
        with open_url(url, patience=patience) as response:
            declared = _content_length(response)
            content = bytearray()
            for block in blocks(response, patience):
                content += block
                if len(content) > limit:
                    break
        if len(content) > limit or (declared or 0) > limit:
            raise TransferProblem(f"is larger than {limit:,} bytes")
        if declared is not None and len(content) != declared:
            raise _cut_off(len(content), declared)
        return bytes(content)

    return _with_retries(read, patience)


def storage_error(error: OSError, folder: Path, needed: int | None = None) -> DownloadError:
    """The sentence for a write into `folder` that failed, `needed` bytes being still to come."""
    if error.errno in FULL_DISK:
        need = "" if needed is None else f" for {needed:,} bytes"
        return OutOfSpaceError(
            f"no space left in {folder}{need}; free some or set {CACHE_VARIABLE} to another folder"
        )
    return DownloadError(
        f"{folder} cannot be written ({error.strerror or error}); make it writable or set "
        f"{CACHE_VARIABLE} to another folder"
    )


class _Part:
    """Bytes received so far, and the version of the file (ETag) they are from."""

    def __init__(self, path: Path, digest: Digest, on_bytes: Callable[[int], None]):
        self.path, self.digest, self.on_bytes = path, digest, on_bytes
        self._tag = path.with_name(path.name + ".etag")
        self._hint = ""

    @property
    def size(self) -> int:
        try:
            return os.lstat(self.path).st_size
        except FileNotFoundError:
            return 0

    def _discarded(self) -> int:
        """Throws away what is there; returns the 0 bytes that are left."""
        self.on_bytes(-self.size)
        for path in (self.path, self._tag):
            path.unlink(missing_ok=True)
        return 0

    def receive(self, url: str, patience: Patience) -> None:
        """Gets what is missing.

        Raises:
          TransferProblem: not all came; what did is kept for the next attempt.
        """
        want, have = self.digest.bytes, self.size
        if want is not None and have == want:
            return
        if want is not None and have > want:
            have = self._discarded()
        with open_url(url, self._resuming_headers(have), patience) as response:
            if not self._continues(response, have):
                have = self._discarded()
            self._hint = _hint(response)
            declared = _content_length(response)
            total = want if declared is None else have + declared
            if want is not None and total != want:
                raise TransferProblem(
                    f"has {total:,} bytes, not {want:,}{self._hint}; the published file may "
                    "have changed"
                )
            self._tag.write_text(response.headers.get("ETag", ""), encoding="utf-8")
            limit = MAX_FILE_BYTES if want is None else want
            self._write(blocks(response, patience), have, limit)
        if total is not None and self.size != total:
            raise _cut_off(self.size, total, self._hint)

    def finish(self, target: Path) -> None:
        """Gives the part its name if it is what it should be, else throws it away."""
        got, wanted = files.file_digest(self.path)["sha256"], self.digest.sha256
        files.sync(self.path)
        if wanted is not None and got != wanted:
            self._discarded()
            raise TransferProblem(
                f"sent other bytes than were published (sha256 {got[:12]}, not "
                f"{wanted[:12]}){self._hint}",
                attempts=2,
            )
        os.replace(self.path, target)
        self._tag.unlink(missing_ok=True)

    def _resuming_headers(self, have: int) -> dict[str, str]:
        if not have:
            return {}
        try:
            tag = self._tag.read_text(encoding="utf-8")
        except OSError:
            tag = ""
        strong = tag.startswith('"') and tag.isprintable()
        return {"Range": f"bytes={have}-", **({"If-Range": tag} if strong else {})}

    def _continues(self, response: http.client.HTTPResponse, have: int) -> bool:
        """Whether the answer goes on at byte `have`; False when it begins anew."""
        if response.status == http.client.OK:
            return False
        told = re.fullmatch(
            r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", "").strip()
        )
        want = self.digest.bytes
        if (
            not have
            or told is None
            or int(told[1]) != have
            or (want is not None and told[2] not in ("*", str(want)))
        ):
            self._discarded()
            raise TransferProblem("sent another part of the file than asked for", attempts=2)
        return True

    def _write(self, received: Iterable[bytes], have: int, limit: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | (os.O_APPEND if have else os.O_TRUNC)
        with open(os.open(self.path, flags, 0o644), "wb", buffering=0) as file:
            for block in received:
                have += len(block)
                if have > limit:
                    raise TransferProblem(f"sent more than {limit:,} bytes")
                view = memoryview(block)
                while view:
                    view = view[file.write(view) :]
                self.on_bytes(len(block))


def _fetch_from(url: str, target: Path, part: _Part) -> None:
    patience = Patience()

    def attempt() -> None:
        part.receive(url, patience)
        part.finish(target)

    _with_retries(attempt, patience, lambda: part.size)


def _with_retries(
    attempt: Callable[[], _Result], patience: Patience, size: Callable[[], int] = lambda: 0
) -> _Result:
    failures, most = 0, size()
    while True:
        try:
            return attempt()
        except TransferProblem as problem:
            # More than ever: who sends the beginning again and again makes no progress.
            failures = 1 if size() >= most + _PROGRESS_BYTES else failures + 1
            most = max(most, size())
            wait_s = _FIRST_WAIT_S * 2 ** (failures - 1) * random.uniform(0.5, 1.0)
            wait_s = wait_s if problem.wait_s is None else problem.wait_s
            if failures >= problem.attempts or wait_s >= patience.left_s:
                times = f" ({failures} attempts)" if failures > 1 else ""
                raise TransferProblem(f"{problem}{times}") from None
            time.sleep(wait_s)


def _content_length(response: http.client.HTTPResponse) -> int | None:
    text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() and len(text) < 16 else None


def _cut_off(got: int, want: int, hint: str = "") -> TransferProblem:
    return TransferProblem(f"was cut off at {got:,} of {want:,} bytes{hint}", attempts=ATTEMPTS)


def _hint(response: http.client.HTTPResponse) -> str:
    kind = response.headers.get_content_type()
    return " (the server sent text/html: a login or proxy page?)" if kind == "text/html" else ""
