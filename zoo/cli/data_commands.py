"""`zoo data`: packing a data set once, and checking what a user has."""

import dataclasses
from typing import Annotated, Any, Literal, Self

import tyro
from tyro.conf import Positional, arg

from zoo.cli.commands import Command
from zoo.cli.text import Output
from zoo.common.console import Progress

_DATA = Literal["imagenet2012"]
_FOUND_PROBLEMS = 1


@dataclasses.dataclass(frozen=True, kw_only=True)
class Prepare(Command):
    """Pack ImageNet once into ArrayRecord shards; run it again to go on after an interruption.

    $ zoo data prepare imagenet2012 --from ~/downloads --to /data/imagenet2012
    $ zoo data prepare imagenet2012 --from /data/ILSVRC --to /data/packed --splits val --json
    """

    data: Annotated[Positional[_DATA], arg(help="the data set")]
    source: Annotated[str, arg(name="from", help="folder with the archives or images")]
    target: Annotated[str, arg(name="to", help="folder to write")]
    splits: Annotated[tuple[Literal["train", "val"], ...], arg(help="empty: what is there")] = ()
    workers: Annotated[int | None, arg(help="images at the same time; None: one per core")] = None
    shard_examples: Annotated[int, arg(help="images per shard")] = 5000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Check(Command):
    """Count, compare labels and decode images; says what is wrong and what to do. Exit code 1.

    $ zoo data check folder:photos
    $ zoo data check imagenet2012 /data/imagenet2012
    $ zoo data check imagenet2012 ~/downloads --everything --json
    """

    data: Annotated[Positional[str], arg(help="imagenet2012, folder:PATH or csv:FILE")]
    folder: Annotated[
        Positional[str | None], arg(help="of imagenet2012: with the archives, images or shards")
    ] = None
    smallest_side: Annotated[int, arg(help="of pictures: warn of images below so many pixels")] = 32
    sample: Annotated[int, arg(help="images per split to decode")] = 2000
    everything: Annotated[bool, arg(help="decode all images, hash all archives and shards")] = False
    partial: Annotated[bool, arg(help="the folder is meant to hold a part only")] = False
    workers: Annotated[int | None, arg(help="images at the same time; None: one per core")] = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Data:
    """Prepare and check data sets.

    $ zoo data prepare imagenet2012 --from ~/downloads --to /data/imagenet2012
    $ zoo data check imagenet2012 /data/imagenet2012
    """

    action: Annotated[
        Annotated[Prepare, tyro.conf.subcommand("prepare")]
        | Annotated[Check, tyro.conf.subcommand("check")],
        arg(name=""),
    ]


def data(command: Prepare | Check) -> Output:
    """Runs `zoo data prepare` or `zoo data check`."""
    return _prepare(command) if isinstance(command, Prepare) else _check(command)


def _prepare(command: Prepare) -> Output:
    from zoo.data.imagenet import prepare_imagenet

    with _Parts("packing") as bar:
        done = prepare_imagenet(
            command.source,
            command.target,
            splits=command.splits,
            workers=command.workers,
            shard_examples=command.shard_examples,
            progress=bar.show,
        )
    examples = ", ".join(f"{count:,} {split}" for split, count in done.examples.items())
    lines = [
        f"{examples} images, {done.bytes:,} bytes in {done.folder}",
        f"{done.shards_written} shards written, {done.shards_kept} were there",
        f"check: zoo data check {command.data} {done.folder}",
    ]
    return Output(dataclasses.asdict(done), lines)


def _check(command: Check) -> Output:
    from zoo.data.own_pictures import is_own

    if is_own(command.data) and command.folder is None:
        return _check_pictures(command.data, command.smallest_side)
    if command.data != "imagenet2012" or command.folder is None:
        raise ValueError(
            f"{command.data!r} cannot be checked; write folder:PATH, csv:FILE, or "
            "imagenet2012 FOLDER"
        )
    return _check_imagenet(command, command.folder)


def _check_pictures(data: str, smallest_side: int) -> Output:
    from zoo.data.checking import check_pictures

    with _Parts("checking") as bar:
        found = check_pictures(data, smallest_side=smallest_side, progress=bar.show)
    lines = [
        f"{split}: {sum(classes.values()):,} images of {len(classes)} classes"
        for split, classes in found.images.items()
    ]
    lines += [f"note: {note}" for note in found.notes]
    lines += [f"warning: {warning}" for warning in found.warnings]
    lines += [f"PROBLEM: {error}" for error in found.errors]
    return Output(found.to_json(), lines, _FOUND_PROBLEMS if found.errors else 0)


def _check_imagenet(command: Check, folder: str) -> Output:
    from zoo.data.imagenet import check_imagenet

    with _Parts("checking") as bar:
        found = check_imagenet(
            folder,
            sample=command.sample,
            everything=command.everything,
            partial=command.partial,
            workers=command.workers,
            progress=bar.show,
        )
    lines = [
        f"{name}: {split.images:,} images of {split.classes} classes, {split.layout}, labels from "
        f"{split.labels_from}; {split.decoded:,} decoded, sha256 {split.sample_sha256[:16]}"
        for name, split in found.splits.items()
    ]
    notes = [*found.notes, *(note for split in found.splits.values() for note in split.notes)]
    lines += [f"note: {note}" for note in notes]
    lines += [f"PROBLEM: {problem}" for problem in found.all_problems]
    lines.append(_verdict(command, found))
    return Output(found.to_json(), lines, _FOUND_PROBLEMS if found.all_problems else 0)


def _verdict(command: Check, found: Any) -> str:
    if found.all_problems:
        return f"{len(found.all_problems)} problems: do what each line says, then check again"
    split = "val" if "val" in found.splits else "train"
    return f"good: zoo eval MODEL --data {command.data} --data-dir {found.folder} --split {split}"


class _Parts:
    """Progress over the splits of a data set; each ends with a line where there is no terminal."""

    def __init__(self, label: str) -> None:
        self._label, self._split = label, ""
        self._progress = Progress(label)

    def show(self, split: str, done: int, total: int) -> None:
        """What `prepare_imagenet` and `check_imagenet` call."""
        if split != self._split:
            self._split = split
            self._progress.begin(f"{self._label} {split}", total)
        self._progress.reach(done)
        if done == total:
            self._progress.line()

    def __enter__(self) -> Self:
        self._progress.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.__exit__()
