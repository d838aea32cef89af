"""A progress bar on standard error, for whoever asked for one."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def watched(items: Iterable[T], label: str, count: int, progress: bool) -> Iterator[T]:
    """The `count` items as they are, on a terminal with a bar called `label` if `progress`."""
    if not progress:
        return iter(items)
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    hidden = not console.is_terminal  # elsewhere rich would still print an empty line
    return iter(track(items, label, count, console=console, transient=True, disable=hidden))
