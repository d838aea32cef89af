"""What is written as JSON: manifests, indexes, records, receipts, notes and configurations."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from tests.conftest import REPOSITORY
from tests.fuzzing.contract import Format
from tests.fuzzing.inputs import bytes_like, json_bytes, restructured, texts_like
from zoo.checkpoint import layout, lock, reading, tree
from zoo.common import locks
from zoo.common.files import digest_of
from zoo.common.json_values import canonical
from zoo.data.imagenet import packed, shards
from zoo.pretrained import cache, index, manifest, origins
from zoo.shaping import solved
from zoo.training.config import TrainConfig
from zoo.training.validation import validate

_CHECKPOINTS = REPOSITORY / "checkpoints"
_ID = "vanilla_resnet50_tat_lrelu.digits"
_MANIFEST = json.loads((_CHECKPOINTS / _ID / "manifest.json").read_bytes())
_DIGEST = {"bytes": 3, "sha256": "0" * 64}
_SPECS = {
    "params/stem.kernel": tree.ArraySpec((3, 3, 1, 4), "float32"),
    "opt_state/0/count": tree.ArraySpec((), "int32"),
    "key": tree.ArraySpec((), "key<fry>"),
}


def _manifest(content: bytes, _: Path) -> object:
    return manifest.parse_manifest(content, "manifest.json").to_json()


def _index_values() -> dict[str, Any]:
    values = json.loads((_CHECKPOINTS / "index.json").read_bytes())
    weights = dict(list(values["weights"].items())[:2])
    return {**values, "weights": weights, "urls": ["https://example.org/weights"]}


def _index(content: bytes, folder: Path) -> object:
    from zoo.cli.text import accuracies

    entries = index.parse_index(content, "index.json", folder)
    return [accuracies(entry.metrics) for entry in entries.values()]


def _body() -> dict[str, Any]:
    record = layout.StepRecord(
        step=7,
        parameters=_SPECS,
        metrics={"top1": 0.5, "loss": float("nan")},
        best=("top1", "max"),
        record={"config": {"steps": 9}, "seed": 2**60},
        files={"state/d/0": {**_DIGEST, "sha256": hashlib.sha256(b"abc").hexdigest()}},
    )
    return json.loads(layout._encode(record))["body"]


def _signed(body: Any) -> bytes:
    """A record whose digest is right, whatever it holds."""
    try:
        text = canonical(body)
        signed = {"body": body, "sha256": hashlib.sha256(text).hexdigest()}
        return canonical(signed)
    except ValueError:  # NaN, or a text that is none
        return json_bytes({"body": body, "sha256": "0" * 64})


def _record(content: bytes, folder: Path) -> object:
    step = folder / "checkpoints" / "7"
    if not step.exists():
        (step / "state" / "d").mkdir(parents=True)
        (step / "state" / "d" / "0").write_bytes(b"abc")
    (step / layout.RECORD_NAME).write_bytes(content)
    layout.best_steps(layout.complete_steps(step.parent), 1)
    record = reading.read_record(folder, 7)
    tree.require_match(record.parameters, _SPECS, where="step 7", cast=True)
    return layout.read_step_record(step, hash_files=True).score


def _lock(content: bytes, folder: Path) -> object:
    (folder / lock.LOCK_NAME).write_bytes(content)
    return locks._holder(folder / lock.LOCK_NAME)


def _origin(content: bytes, folder: Path) -> object:
    os.environ["ZOO_CACHE"] = str(folder)
    note = origins._origin("https://example.org/x")
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_bytes(content)
    found = origins.read_origin("https://example.org/x")
    origins.forget_origins("another")
    return found is not None and found.folder


def _solution(content: bytes, folder: Path) -> object:
    (folder / "solved.json").write_bytes(content)
    return solved._read(folder / "solved.json")


_ACTIVATION = {"phi": "tanh", "input_scale": 1.0, "output_scale": 1.5}


def _solved(fields: Any) -> bytes:
    text = json.dumps(fields, sort_keys=True).encode()
    return json_bytes({"activation": fields, "sha256": hashlib.sha256(text).hexdigest()})


_LISTING = b"7\tILSVRC2012_val_00000001.JPEG\n999\tx.JPEG\n0\tn01440764_1.JPEG\n"
_SHARD = {"file": "imagenet2012-val-00000-of-00001.array_record", "examples": 3, **_DIGEST}


def _packed_values(listing: bytes = _LISTING) -> dict[str, Any]:
    split = {
        "examples": 3,
        "listing_sha256": hashlib.sha256(listing).hexdigest(),
        "comparable": True,
        "shards": [_SHARD],
    }
    return {"format": packed.FORMAT, "splits": {"val": split}}


def _packed(content: bytes, folder: Path, listing: bytes = _LISTING) -> object:
    (folder / packed.MANIFEST).write_bytes(content)
    (folder / packed.listing_file("val")).write_bytes(listing)
    (folder / _SHARD["file"]).write_bytes(b"abc")
    found = packed.open_packed(folder, "val")
    return [found.store.place(number) for number in range(len(found.labels))]


def _packed_listing(content: bytes, folder: Path) -> object:
    """The list with its own digest in the manifest."""
    return _packed(json_bytes(_packed_values(content)), folder, content)


def _receipt(content: bytes, folder: Path) -> object:
    path = folder / _SHARD["file"]
    (folder / "receipt.json").write_bytes(content)
    path.write_bytes(b"abc")
    shard = shards._read_receipt(folder / "receipt.json")
    return shard is not None and shards._is_there(path, shard, 3)


def _config(content: bytes, _: Path) -> object:
    values = json.loads(content)
    if isinstance(values, dict):
        config = TrainConfig.from_json(values)
        validate(config)
        return config.total_steps(1000)
    return None


def _cached(content: bytes, folder: Path) -> object:
    """A weight in the cache whose manifest has the digest of its folder, whatever it says."""
    os.environ["ZOO_CACHE"] = str(folder)
    digest = digest_of(content)
    weight = cache.Pin(_ID, digest["bytes"], digest["sha256"]).folder
    weight.mkdir(parents=True)
    (weight / "manifest.json").write_bytes(content)
    try:
        cache.list_cached(verify=False)
        return cache.inspect(weight, digest)
    finally:
        cache.remove(weight)


_NOTE = {"pid": os.getpid(), "host": os.uname().nodename, "since": "s"}
_VALID_SPLIT = _packed_values()["splits"]["val"]
_VALID_CONFIG = TrainConfig(steps=10).to_json()
_RECEIPT = {**_SHARD, "sha256": hashlib.sha256(b"abc").hexdigest()}

_DEEP = b'{"a":' * 1988
_SHARDS: tuple[Any, ...] = (
    [3],
    [{**_SHARD, "examples": "3"}],
    [{**_SHARD, "file": 3}],
    3,
    [_SHARD, 1],
)
_FOUND_SHARDS = tuple(
    json_bytes({"format": packed.FORMAT, "splits": {"val": {**_VALID_SPLIT, "shards": shards}}})
    for shards in _SHARDS
)
_FOUND_RECORDS = tuple(
    _signed({**_body(), **change})
    for change in (
        {"files": {"state/d/0": [3]}},
        {"files": {"state/d/0": {"bytes": 3}}},
        {"files": {"state/d/0": {"bytes": 3, "sha256": 0}}},
        {"best": []},
        {"parameters": {"a": [[1], "float32"], "a/b": [[1], "float32"]}},
        {"parameters": {"key": [[], "f4,("]}},
        {"metrics": {"top1": None}},
        {"record": []},
    )
)
_FOUND_CONFIGS = tuple(
    json_bytes(config)
    for config in ({"ema_decay": 10**400}, {"model": {"arch": 1}}, {"model": {"arch": {"a": {}}}})
)
_FOUND_ROWS = (b"7\n", b"99999999999999999999\tx\n" * 3, b"1000\tx\n" * 3, b"\xc2\xb2\tx\n" * 3)
_FOUND_RECEIPTS = (b"[]", b"null", b"{}", b"7", json_bytes({**_RECEIPT, "x": 1}))

FORMATS = (
    Format("manifest", texts_like([_MANIFEST]), _manifest, (_DEEP, b'"\\ud800"')),
    Format("manifest in the cache", texts_like([_MANIFEST]), _cached),
    Format("index", texts_like([_index_values()]), _index),
    Format("record", texts_like([_body()], _signed), _record, _FOUND_RECORDS),
    Format("lock", texts_like([_NOTE]), _lock, (_DEEP, json_bytes({**_NOTE, "pid": 2**70}))),
    Format("origin", texts_like([{"source": "x", "id": _ID, "manifest": _DIGEST}]), _origin),
    Format(
        "solved activation",
        texts_like([_ACTIVATION], _solved),
        _solution,
        (_DEEP, _solved({**_ACTIVATION, "input_scale": 10**400})),
    ),
    Format("packed manifest", texts_like([_packed_values()]), _packed, _FOUND_SHARDS),
    Format("packed listing", bytes_like([_LISTING]), _packed_listing, _FOUND_ROWS),
    Format("receipt", texts_like([_RECEIPT]), _receipt, _FOUND_RECEIPTS),
    Format(
        "configuration",
        restructured([_VALID_CONFIG]).map(json_bytes),
        _config,
        _FOUND_CONFIGS,
    ),
)
