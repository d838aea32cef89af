"""CIFAR in the official binary layout: real pixels, made archives, and a local web server."""

import dataclasses
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from zoo.data import open_source
from zoo.data.cifar import CIFAR10, CIFAR100, CifarLayout, open_cifar

# Few records per file, otherwise as published.
SMALL10 = dataclasses.replace(
    CIFAR10, records_per_file=dict.fromkeys(CIFAR10.files, 4), url="", sha256=""
)
SMALL100 = dataclasses.replace(
    CIFAR100, records_per_file={"train.bin": 6, "test.bin": 3}, url="", sha256=""
)


@pytest.fixture(autouse=True)
def local_network(monkeypatch):
    """The settings of the machine for being offline or behind a proxy do not reach these tests."""
    monkeypatch.delenv("ZOO_OFFLINE", raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


def made_files(layout: CifarLayout) -> dict[str, bytes]:
    generator = np.random.default_rng(1)
    files = {}
    for name in layout.files:
        n = layout.records_per_file[name]
        labels = generator.integers(0, len(layout.classes), (n, 1), dtype=np.uint8)
        coarse = np.full((n, layout.label_bytes - 1), 19, np.uint8)
        pixels = generator.integers(0, 256, (n, 3072), dtype=np.uint8)
        files[name] = np.concatenate([coarse, labels, pixels], axis=1).tobytes()
    return files


def made_archive(layout: CifarLayout, files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(f"{layout.folder}/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_cifar10_has_the_published_statistics(cifar10_dir):
    train = open_source("cifar10", "train", data_dir=str(cifar10_dir))
    test = open_source("cifar10", "test", data_dir=str(cifar10_dir / "cifar-10-batches-bin"))
    assert (len(train), len(test)) == (50_000, 10_000)
    assert np.all(np.bincount(train.labels) == 5000) and np.all(np.bincount(test.labels) == 1000)
    counts = np.stack(
        [np.bincount(train.arrays[0][..., c].ravel(), minlength=256) for c in range(3)]
    )
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum(1)
    std = np.sqrt(counts @ values**2 / counts.sum(1) - mean**2)
    # Published to eight digits.
    assert mean == pytest.approx([0.49139968, 0.48215841, 0.44653091], abs=5e-9)
    assert std == pytest.approx([0.24703223, 0.24348513, 0.26158784], abs=5e-9)


def test_cifar10_frogs_are_frogs(cifar10_dir):
    train = open_source("cifar10", "train", data_dir=str(cifar10_dir))
    start = np.array([[59, 62, 63], [43, 46, 45], [50, 48, 43]], np.uint8)
    # The first image of the official training set, whatever the order of the files.
    (found,) = np.flatnonzero((train.arrays[0][:, 0, :3] == start).all(axis=(1, 2)))
    assert train.classes[train[int(found)].label] == "frog"


@pytest.mark.parametrize("layout", [SMALL10, SMALL100], ids=["cifar10", "cifar100"])
@pytest.mark.parametrize("place", ["folder", "flat", "archive"])
def test_the_three_places_of_the_files_give_the_same_pixels(layout, place, tmp_path):
    layout = dataclasses.replace(layout, url=f"https://nowhere.invalid/{layout.folder}.tar.gz")
    files = made_files(layout)
    if place == "archive":
        (tmp_path / layout.archive).write_bytes(made_archive(layout, files))
    else:
        folder = tmp_path / layout.folder if place == "folder" else tmp_path
        folder.mkdir(exist_ok=True)
        for name, data in files.items():
            (folder / name).write_bytes(data)
    source = open_cifar(layout, "train", tmp_path)
    data = b"".join(files[name] for name in layout.train_files)
    record = np.frombuffer(data, np.uint8).reshape(-1, layout.label_bytes + 3072)[2]
    assert source[2].label == record[layout.label_bytes - 1]  # the fine label of CIFAR-100
    planes = record[layout.label_bytes :]
    assert source[2].image[5, 7].tolist() == [planes[p * 1024 + 5 * 32 + 7] for p in range(3)]
    assert len(open_cifar(layout, "test", tmp_path)) == sum(
        layout.records_per_file[name] for name in layout.test_files
    )


def test_an_absent_set_is_downloaded_checked_and_unpacked(tmp_path):
    files = made_files(SMALL10)
    web, data = tmp_path / "web", tmp_path / "data"
    web.mkdir()
    (web / "c.tar.gz").write_bytes(made_archive(SMALL10, files))
    digest = hashlib.sha256((web / "c.tar.gz").read_bytes()).hexdigest()
    with served(web) as address:
        layout = dataclasses.replace(SMALL10, url=f"{address}/c.tar.gz", sha256=digest)
        first = open_cifar(layout, "test", data)
    offline = open_cifar(layout, "test", data)
    assert first.fingerprint == offline.fingerprint
    unpacked = {path.name: path.read_bytes() for path in (data / layout.folder).iterdir()}
    assert unpacked == files


def test_a_download_with_the_wrong_content_leaves_nothing_behind(tmp_path):
    web, data = tmp_path / "web", tmp_path / "data"
    web.mkdir()
    (web / "c.tar.gz").write_text("<html>log in first</html>")
    with served(web) as address:
        layout = dataclasses.replace(SMALL10, url=f"{address}/c.tar.gz", sha256="0" * 64)
        with pytest.raises(ValueError, match="other bytes than were published"):
            open_cifar(layout, "test", data)
    assert not [path for path in data.rglob("*") if path.is_file()]


@pytest.mark.parametrize("offline", [True, False])
def test_without_network_one_sentence_says_where_to_put_the_files(tmp_path, monkeypatch, offline):
    if offline:
        monkeypatch.setenv("ZOO_OFFLINE", "1")
    layout = dataclasses.replace(SMALL10, url="http://127.0.0.1:9/cifar-10-binary.tar.gz")
    with pytest.raises(ValueError, match="cifar-10-batches-bin or the file") as caught:
        open_cifar(layout, "train", tmp_path)
    assert str(tmp_path) in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_files_are_named(tmp_path):
    files = made_files(SMALL10)
    folder = tmp_path / SMALL10.folder
    folder.mkdir()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    (folder / "data_batch_3.bin").write_bytes(files["data_batch_3.bin"][:-1])
    with pytest.raises(ValueError, match=r"data_batch_3.bin is damaged: 12,291 bytes"):
        open_cifar(SMALL10, "train", tmp_path)
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(ValueError, match=r"incomplete: .*data_batch_3.bin cannot be read"):
        open_cifar(SMALL10, "train", tmp_path)
    (folder / "test_batch.bin").write_bytes(b"\x2a" + files["test_batch.bin"][1:])
    with pytest.raises(ValueError, match=r"record 0 has label 42, allowed is 0\.\.9"):
        open_cifar(SMALL10, "test", tmp_path)


@pytest.mark.fault("A19")
def test_damaged_archives_are_named(tmp_path):
    layout = dataclasses.replace(SMALL10, url="https://nowhere.invalid/c.tar.gz")
    whole = made_archive(layout, made_files(layout))
    (tmp_path / "c.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=r"c.tar.gz is damaged"):
        open_cifar(layout, "train", tmp_path)
    (tmp_path / "c.tar.gz").write_bytes(made_archive(layout, {"data_batch_1.bin": b"short"}))
    with pytest.raises(ValueError, match=r"no complete data_batch_1.bin, data_batch_2.bin"):
        open_cifar(layout, "train", tmp_path)


@pytest.mark.fault("B12")
def test_a_pickle_beside_the_data_is_never_opened(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(b"cos\nsystem\n(S'touch pwned'\ntR.")
    layout = dataclasses.replace(SMALL10, url="http://127.0.0.1:9/c.tar.gz")
    with pytest.raises(ValueError, match="could not be downloaded"):
        open_cifar(layout, "train", tmp_path)
