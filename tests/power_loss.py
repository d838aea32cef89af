"""What a disk may hold after the power is cut, from what was done to it until then.

A `Recorder` notes every change below a folder as it happens; `states` are what the disk may hold
after a power cut, under the weakest rules that file systems keep: bytes are safe once their file
was synced, names once their folder was; of all else any part may be there, in any order. A rename
is whole or not at all.
"""

import contextlib
import dataclasses
import itertools
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

_WATCHED = ("rename", "replace", "unlink", "remove", "rmdir", "mkdir", "fsync")

Name = tuple[int, str]
"""A folder's number and a name in it."""

Tree = dict[str, bytes | None]
"""Path -> content of a file, None of a folder; a folder comes before what is in it."""


@dataclasses.dataclass(frozen=True)
class Event:
    """One change: `kind` is "write", "sync", "name", "unname" or "rename".

    Attributes:
      node: number of the file or folder it is about.
      content: what a write left in the file; None of a folder.
      old, new: the names that a node lost and got.
    """

    kind: str
    node: int
    content: bytes | None = None
    old: Name | None = None
    new: Name | None = None


class Recorder:
    """Everything that happens below `root` while its `recording` is entered.

    Attributes:
      folders: numbers of what is no file; 0 is `root`.
      events: the changes in order.
      marks: how many there were when `mark` was called, and what it was told.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.events = root, list[Event]()
        self.marks: list[tuple[int, Any]] = []
        self._numbers: dict[int, int] = {}
        self._names: dict[Name, int] = {}
        self._contents: dict[int, bytes] = {}
        self._guard = threading.RLock()
        self._next = 1
        self.folders = {0}

    def mark(self, what: Any) -> None:
        """Notes that `what` is true from here on."""
        with self._guard:
            self._look()
            self.marks.append((len(self.events), what))

    def told(self, events: int) -> Any:
        """What the last mark at or before so many events was told."""
        return [what for at, what in self.marks if at <= events][-1]

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Watches the calls that order changes; what others write is seen when the next comes."""
        with contextlib.ExitStack() as stack:
            for name in _WATCHED:
                stack.enter_context(mock.patch.object(os, name, self._watched(getattr(os, name))))
            yield
            self._look()

    def _watched(self, call: Any) -> Any:
        def watched(*args: Any, **options: Any) -> Any:
            with self._guard:
                self._look()
                result = call(*args, **options)
                if call.__name__ == "fsync":
                    self._sync(args[0])
                self._look()
            return result

        return watched

    def _sync(self, descriptor: int) -> None:
        number = os.fstat(descriptor).st_ino
        if number == os.stat(self.root).st_ino:
            self.events.append(Event("sync", 0))
        elif number in self._numbers:
            self.events.append(Event("sync", self._numbers[number]))

    def _look(self) -> None:
        """Compares the folder with what it held before, and notes the differences."""
        with self._guard:
            names: dict[Name, int] = {}
            self._walk(self.root, 0, names)
            gone = {node: name for name, node in self._names.items() if names.get(name) != node}
            come = {node: name for name, node in names.items() if self._names.get(name) != node}
            for node in [*gone, *(node for node in come if node not in gone)]:
                old, new = gone.get(node), come.get(node)
                kind = "rename" if old and new else "name" if new else "unname"
                self.events.append(Event(kind, node, old=old, new=new))
            alive = set(names.values())
            self._numbers = {ino: node for ino, node in self._numbers.items() if node in alive}
            self._names = names

    def _walk(self, folder: Path, number: int, names: dict[Name, int]) -> None:
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except FileNotFoundError:
            return
        for entry in entries:
            with contextlib.suppress(FileNotFoundError):
                node = self._node(entry)
                names[number, entry.name] = node
                if entry.is_dir(follow_symlinks=False):
                    self.folders.add(node)
                    self._walk(Path(entry.path), node, names)
                elif self._contents.get(node) != (content := Path(entry.path).read_bytes()):
                    self._contents[node] = content
                    self.events.append(Event("write", node, content))

    def _node(self, entry: os.DirEntry[str]) -> int:
        # The system gives the number of what is gone to something else; ours are given once.
        inode = entry.inode()
        if inode not in self._numbers:
            self._numbers[inode], self._next = self._next, self._next + 1
        return self._numbers[inode]


_KINDS = ("old", "new", "torn", "zero", "any")
"""What unsynced files hold: as last synced, as last written, half of that, zeros; any of these."""

_ALL_SUBSETS = 6  # of up to so many changes of names


class Moment:
    """What is safe, and what is not, after the first `events` changes."""

    def __init__(self, recorder: Recorder, events: int) -> None:
        self._folders, self._past = recorder.folders, recorder.events[:events]
        syncs = ((event.node, at) for at, event in enumerate(self._past) if event.kind == "sync")
        self._synced = dict(syncs)
        self._chance = random.Random(events)
        self.pending = [at for at, event in enumerate(self._past) if self._may_be_lost(at, event)]
        self._contents = {
            event.node: self._possible(event.node) for event in self._past if event.kind == "write"
        }

    def _may_be_lost(self, at: int, event: Event) -> bool:
        folders = [name[0] for name in (event.old, event.new) if name is not None]
        return bool(folders) and all(at > self._synced.get(folder, -1) for folder in folders)

    def _possible(self, node: int) -> dict[str, bytes]:
        """Kind -> content that a file may have."""
        writes = [
            (at, event.content or b"")
            for at, event in enumerate(self._past)
            if (event.kind, event.node) == ("write", node)
        ]
        synced = self._synced.get(node, -1)
        old, new = b"".join([content for at, content in writes if at < synced][-1:]), writes[-1][1]
        torn, zero = new[: len(new) // 2], bytes(len(new))
        different = {"old": old, "new": new, "torn": torn, "zero": zero}
        return different if old != new else dict.fromkeys(different, old)

    def losses(self) -> Iterator[tuple[set[int], str]]:
        """Changes of names that are lost, and what unsynced files hold.

        All sets of the changes when these are few; else none, all, all after or before one of them,
        all but one, one alone, and some at random.
        """
        of, count = self.pending, len(self.pending)
        if count <= _ALL_SUBSETS:
            sets = [s for n in range(count + 1) for s in itertools.combinations(of, n)]
        else:
            sets = [s for at in range(count + 1) for s in (of[:at], of[at:])]
            sets += [s for at in range(count) for s in ([of[at]], [*of[:at], *of[at + 1 :]])]
            sets += [[at for at in of if self._chance.random() < 0.5] for _ in range(8)]
        return ((set(lost), kind) for lost in sets for kind in _KINDS)

    def tree(self, lost: set[int], kind: str) -> Tree:
        """What the disk holds then."""
        names: dict[Name, int] = {}
        for at, event in enumerate(self._past):
            if at not in lost:
                if event.old is not None and names.get(event.old) == event.node:
                    del names[event.old]
                if event.new is not None:
                    names[event.new] = event.node
        below: dict[int, list[tuple[str, int]]] = {}
        for (folder, name), node in names.items():
            below.setdefault(folder, []).append((name, node))
        return dict(self._walk(0, "", below, kind))

    def _walk(
        self, folder: int, path: str, below: dict[int, list[tuple[str, int]]], kind: str
    ) -> Iterator[tuple[str, bytes | None]]:
        for name, node in sorted(below.get(folder, ())):
            if node in self._folders:
                yield path + name, None
                yield from self._walk(node, f"{path}{name}/", below, kind)
            else:
                contents = self._contents.get(node, dict.fromkeys(_KINDS, b""))
                chosen = self._chance.choice(_KINDS[:-1]) if kind == "any" else kind
                yield path + name, contents[chosen]


def states(recorder: Recorder) -> Iterator[tuple[Any, Tree]]:
    """What the recorder was told last, and what the disk may hold; each such pair once."""
    seen = set()
    for events in range(len(recorder.events) + 1):
        moment, told = Moment(recorder, events), recorder.told(events)
        for loss in moment.losses():
            tree = moment.tree(*loss)
            key = told, tuple(tree.items())
            if key not in seen:
                seen.add(key)
                yield told, tree


def some_states(recorder: Recorder, count: int, seed: int = 0) -> Iterator[tuple[Any, Tree]]:
    """`count` of `states` at random moments."""
    chance = random.Random(seed)
    for _ in range(count):
        events = chance.randint(0, len(recorder.events))
        moment = Moment(recorder, events)
        yield recorder.told(events), moment.tree(*chance.choice(list(moment.losses())))


def put(tree: Tree, target: Path) -> None:
    """Writes the files and folders of `tree` below the new folder `target`."""
    target.mkdir()
    for path, content in tree.items():
        if content is None:
            (target / path).mkdir()
        else:
            (target / path).write_bytes(content)
