"""Packing ImageNet once: image files of any form into hashed ArrayRecord shards.

Every image is decoded on the way, every shard read back and hashed. What is finished has its final
name and a receipt, so that a run that was killed goes on where it stopped.
"""

import dataclasses
import json
import os
import shutil
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from zoo.common import files
from zoo.data.decode import BadImageError
from zoo.data.imagenet.layout import Listing, find_listing
from zoo.data.imagenet.packed import (
    MANIFEST,
    PackedSplit,
    has_manifest,
    listing_file,
    read_manifest,
    shard_problems,
    write_manifest,
)
from zoo.data.imagenet.shards import RECEIPTS, BadImagesError, finish_shard
from zoo.data.imagenet.source import ImageNetSource, listing_digest, listing_lines
from zoo.data.records import MissingSplitError

SPLITS = ("train", "val")
SHARD_EXAMPLES = 5_000

_SHOWN = 10

Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What `prepare_imagenet` did.

    Attributes:
      folder: where the packed data is.
      examples: split -> number of images.
      bytes: size of all shards.
      shards_written, shards_kept: how many were made now, and found finished.
    """

    folder: str
    examples: dict[str, int]
    bytes: int
    shards_written: int
    shards_kept: int


def prepare_imagenet(
    source: str | Path,
    target: str | Path,
    *,
    splits: tuple[str, ...] = (),
    workers: int | None = None,
    shard_examples: int = SHARD_EXAMPLES,
    progress: Progress | None = None,
) -> Prepared:
    """Packs ImageNet from any form that `open_source("imagenet2012", ...)` reads from files.

    Run again after an interruption, it keeps the finished shards whose hash is right.

    Args:
      source: folder with the data.
      target: folder to write; made if absent.
      splits: "train", "val" or both; empty takes what is there.
      workers: images decoded and shards written at the same time; None: one per core.
      shard_examples: images per shard, the last one may have fewer.
      progress: called as (split, images done, images in the split).

    Raises:
      BadImageError: if images cannot be decoded, naming them; the other shards are kept.
      ValueError: if nothing is found, or `target` holds a preparation of other data.
    """
    source, target = (Path(path).expanduser().resolve() for path in (source, target))
    if workers is None:
        workers = os.cpu_count() or 1
    if workers < 1 or shard_examples < 1:
        raise ValueError(f"workers={workers}, shard_examples={shard_examples}; give 1 or more each")
    listings = _listings(source, splits)
    plan = {
        "shard_examples": shard_examples,
        **{name: listing_digest(found.store.names, found.labels) for name, found in listings},
    }
    if has_manifest(target):
        return _already_prepared(target, plan)
    _open_target(source, target, plan)
    packed, kept = {}, 0
    for name, listing in listings:
        packed[name], found = _pack_split(target, name, listing, workers, shard_examples, progress)
        kept += found
    write_manifest(target, packed)
    shutil.rmtree(target / RECEIPTS)
    return _prepared(target, packed, kept)


def _prepared(target: Path, packed: dict[str, PackedSplit], kept: int) -> Prepared:
    shards = [shard for split in packed.values() for shard in split.shards]
    return Prepared(
        folder=str(target),
        examples={name: split.examples for name, split in packed.items()},
        bytes=sum(shard.bytes for shard in shards),
        shards_written=len(shards) - kept,
        shards_kept=kept,
    )


def _listings(source: Path, splits: tuple[str, ...]) -> list[tuple[str, Listing]]:
    unknown = set(splits) - set(SPLITS)
    if unknown:
        raise ValueError(f"unknown split {min(unknown)!r}, allowed: {', '.join(SPLITS)}")
    if not source.is_dir():
        raise ValueError(f"{source} is not a folder; give the one that holds the archives")
    if has_manifest(source):
        raise ValueError(f"{source} is packed already; give its path as data_dir")
    found, absent = [], []
    for split in splits or SPLITS:
        try:
            listing = find_listing(source, split)
            listing.check_labels()
            found.append((split, listing))
        except MissingSplitError as error:
            absent.append(error)
    if splits and absent or not found:
        raise absent[0]
    return found


def _already_prepared(target: Path, plan: dict[str, Any]) -> Prepared:
    packed = read_manifest(target)
    there = {name: split.listing_sha256 for name, split in packed.items()}
    if there != {name: plan[name] for name in SPLITS if name in plan}:
        raise ValueError(
            f"{target} holds other images or splits already ({', '.join(packed)}); "
            "give another folder, or remove it"
        )
    problems = [problem for split in packed.values() for problem in shard_problems(target, split)]
    if problems:
        raise ValueError(f"{problems[0]}; remove {target / MANIFEST} and run the command again")
    return _prepared(target, packed, sum(len(split.shards) for split in packed.values()))


def _open_target(source: Path, target: Path, plan: dict[str, Any]) -> None:
    """Makes the folder, or makes sure that it holds the beginning of the same plan."""
    if source == target:
        raise ValueError(f"{target} holds the images; give another folder to write to")
    path = target / RECEIPTS / "plan.json"
    text = json.dumps(plan, indent=1)
    if path.is_file() and path.read_bytes() != text.encode():
        raise ValueError(
            f"{target} holds the beginning of another preparation (other images, splits or shard "
            "size); give another folder, or remove it"
        )
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write(path, text)


def _pack_split(
    target: Path,
    name: str,
    listing: Listing,
    workers: int,
    shard_examples: int,
    progress: Progress | None,
) -> tuple[PackedSplit, int]:
    n = len(listing.labels)
    source = ImageNetSource("imagenet2012", name, listing)
    ranges = [range(k, min(k + shard_examples, n)) for k in range(0, n, shard_examples)]
    done, shards, kept, bad, stop = 0, {}, 0, [], threading.Event()
    with ThreadPoolExecutor(workers) as pool:
        jobs: dict[Future, int] = {}
        for number, chosen in enumerate(ranges):
            file = f"imagenet2012-{name}-{number:05d}-of-{len(ranges):05d}.array_record"
            jobs[pool.submit(finish_shard, target / file, source, chosen, stop)] = number
        try:
            for job in as_completed(jobs):
                number = jobs[job]
                try:
                    shards[number], was_there = job.result()
                    kept += was_there
                except BadImagesError as error:
                    bad += error.images
                done += len(ranges[number])
                if progress is not None:
                    progress(name, done, n)
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
    if bad:
        raise BadImageError(_bad_images(name, sorted(bad)))
    digest = listing_digest(source.store.names, source.labels)
    files.write(
        target / listing_file(name), "".join(listing_lines(source.store.names, source.labels))
    )
    return PackedSplit(
        n, digest, listing.comparable, tuple(shards[k] for k in range(len(ranges)))
    ), kept


def _bad_images(split: str, bad: list[str]) -> str:
    more = f"; and {len(bad) - _SHOWN} more" if len(bad) > _SHOWN else ""
    return (
        f"{len(bad)} images of {split} cannot be decoded, get them again and run the same command, "
        f"finished shards are kept: {'; '.join(bad[:_SHOWN])}{more}"
    )
