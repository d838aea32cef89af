"""Files as they were written: the digests of a folder and their verification."""

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from zoo.checkpoint.errors import DamagedCheckpointError
from zoo.common.files import file_digest


def file_digests(directory: str | Path) -> dict[str, dict[str, Any]]:
    """Size and sha256 of every file below `directory`.

    Returns:
      `{"d/4f...": {"bytes": 115, "sha256": "..."}}`, names relative, with "/", sorted.

    Raises:
      DamagedCheckpointError: something below is neither a regular file nor a folder.
    """
    directory = Path(directory)
    files, problems = _regular_files(directory)
    if problems:
        raise DamagedCheckpointError(f"{directory}: {'; '.join(problems)}; remove it")
    return {name: file_digest(directory / name) for name in files}


def verify_files(
    directory: str | Path,
    digests: Mapping[str, Mapping[str, Any]],
    *,
    besides: tuple[str, ...] = (),
) -> None:
    """Checks that `directory` holds exactly the files of `digests`, byte for byte.

    Links, pipes and devices are refused without being opened, names that lead out of the
    directory are never followed.

    Args:
      directory: the folder to look at.
      digests: what should be there, as `file_digests` gives it.
      besides: further file names that may be there.

    Raises:
      DamagedCheckpointError: names every file that is missing, extra or different.
    """
    problems = file_problems(Path(directory), digests, besides=besides)
    if problems:
        raise DamagedCheckpointError(
            f"{directory} is not as published: {'; '.join(problems)}; fetch it again"
        )


def file_problems(
    directory: Path,
    digests: Mapping[str, Mapping[str, Any]],
    *,
    besides: tuple[str, ...] = (),
    read: bool = True,
) -> list[str]:
    """Every way in which `directory` differs from `digests`; empty when it does not.

    Args:
      directory: the folder to look at.
      digests: what should be there, as `file_digests` gives it.
      besides: further file names that may be there.
      read: whether to hash the files; without it only names, kinds and sizes are compared.
    """
    files, problems = _regular_files(directory)
    expected = set(digests)
    problems += [f"{name} is missing" for name in sorted(expected - files.keys())]
    problems += [f"{name} is extra" for name in sorted(files.keys() - expected - set(besides))]
    for name in sorted(expected & files.keys()):
        want = digests[name]
        if files[name] != want["bytes"]:
            problems.append(f"{name} has {files[name]} bytes, not {want['bytes']}")
        elif read and (found := file_digest(directory / name)) != dict(want):
            have = found["sha256"]
            problems.append(f"{name} is altered (sha256 {have[:12]}, not {want['sha256'][:12]})")
    return problems


@contextlib.contextmanager
def pinned(directory: Path, names: Iterable[str]) -> Iterator[Path]:
    """A view of the files `names` of `directory` that outlives their deletion.

    The files are held open, and a private temporary folder links to the open files; whoever
    deletes them meanwhile takes away their names only. Where the system has no such links, or no
    temporary folder, the view is `directory` itself.

    Raises:
      FileNotFoundError: a file is already gone.
    """
    with contextlib.ExitStack() as stack:
        try:
            temporary = tempfile.TemporaryDirectory(prefix="checkpoint-")
            view = Path(stack.enter_context(temporary))
        except OSError:
            view = directory
        if view == directory or not Path("/proc/self/fd").is_dir():
            yield directory
            return
        for name in names:
            descriptor = os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW)
            stack.callback(os.close, descriptor)
            (view / name).parent.mkdir(parents=True, exist_ok=True)
            (view / name).symlink_to(f"/proc/{os.getpid()}/fd/{descriptor}")
        yield view


def _regular_files(directory: Path) -> tuple[dict[str, int], list[str]]:
    """Sizes of the regular files below `directory`, and a complaint for everything else."""
    sizes: dict[str, int] = {}
    problems: list[str] = []
    try:
        entries = list(_walk(directory))
    except OSError as error:
        return {}, [f"cannot be listed ({error.strerror}: {error.filename})"]
    for name, status in entries:
        if stat.S_ISREG(status.st_mode):
            sizes[name] = status.st_size
        elif not stat.S_ISDIR(status.st_mode):
            kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no regular file"
            problems.append(f"{name} is {kind}")
    return dict(sorted(sizes.items())), sorted(problems)


def _walk(directory: Path, prefix: str = "") -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            yield prefix + entry.name, status
            if stat.S_ISDIR(status.st_mode):
                yield from _walk(Path(entry.path), f"{prefix}{entry.name}/")
