"""CIFAR-10 and CIFAR-100 in the official binary layout; nothing is ever unpickled."""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.common import files
from zoo.data.download import default_data_dir, fetch
from zoo.data.records import ArraySource
from zoo.data.tar import DamagedTarError, read_members

_SIDE = 32
_PIXELS = 3 * _SIDE * _SIDE
_OTHER_BYTES = 16 << 20  # what an archive may hold besides: headers, a page, names of classes


@dataclass(frozen=True)
class CifarLayout:
    """Where the binary form of a CIFAR data set comes from and how its files are laid out.

    A record is `label_bytes` bytes, of which the last is the label used, and 3,072 pixel bytes:
    the red, green and blue planes, each by rows.

    Source: https://www.cs.toronto.edu/~kriz/cifar.html
    """

    name: str
    url: str
    sha256: str
    folder: str
    train_files: tuple[str, ...]
    test_files: tuple[str, ...]
    records_per_file: dict[str, int]
    label_bytes: int
    classes: tuple[str, ...]

    @property
    def archive(self) -> str:
        """File name of the archive."""
        return self.url.rpartition("/")[2]

    @property
    def files(self) -> tuple[str, ...]:
        """All data files."""
        return (*self.train_files, *self.test_files)

    def file_bytes(self, name: str) -> int:
        """Exact size of a data file."""
        return self.records_per_file[name] * (self.label_bytes + _PIXELS)


_CIFAR10_BATCHES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
CIFAR10 = CifarLayout(
    name="cifar10",
    url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
    sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    folder="cifar-10-batches-bin",
    train_files=_CIFAR10_BATCHES,
    test_files=("test_batch.bin",),
    records_per_file=dict.fromkeys((*_CIFAR10_BATCHES, "test_batch.bin"), 10_000),
    label_bytes=1,
    classes=tuple("airplane automobile bird cat deer dog frog horse ship truck".split()),
)

CIFAR100 = CifarLayout(
    name="cifar100",
    url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
    sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    folder="cifar-100-binary",
    train_files=("train.bin",),
    test_files=("test.bin",),
    records_per_file={"train.bin": 50_000, "test.bin": 10_000},
    label_bytes=2,  # the coarse label, then the fine one
    classes=tuple(
        """
        apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus
        butterfly camel can castle caterpillar cattle chair chimpanzee clock cloud cockroach couch
        crab crocodile cup dinosaur dolphin elephant flatfish forest fox girl hamster house
        kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree motorcycle
        mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree
        plain plate poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew
        skunk skyscraper snail snake spider squirrel streetcar sunflower sweet_pepper table tank
        telephone television tiger tractor train trout tulip turtle wardrobe whale willow_tree wolf
        woman worm
        """.split()
    ),
)


def open_cifar(layout: CifarLayout, split: str, data_dir: str | Path | None = None) -> ArraySource:
    """A CIFAR split from `data_dir`, downloaded and checked when it is not there.

    Looked for, in this order: the layout's folder in `data_dir`, its files in `data_dir` itself,
    its archive in `data_dir`. A downloaded archive is unpacked beside itself.

    Args:
      layout: `CIFAR10` or `CIFAR100`.
      split: "train" or "test" ("val" is the same as "test").
      data_dir: by default `default_data_dir()`.

    Raises:
      ValueError: if the data is absent and cannot be downloaded, or a file is damaged, naming it.
    """
    root = default_data_dir() if data_dir is None else Path(data_dir).expanduser().resolve()
    name = "train" if split == "train" else "test"
    wanted = layout.train_files if name == "train" else layout.test_files
    parts = [_parse(layout, file, data) for file, data in _read(layout, root, wanted).items()]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return ArraySource(layout.name, name, layout.classes, images, labels)


def _read(layout: CifarLayout, root: Path, wanted: tuple[str, ...]) -> dict[str, bytes]:
    for folder in (root / layout.folder, root):
        present = [file for file in layout.files if (folder / file).is_file()]
        if present:
            return {file: _read_file(layout, folder / file) for file in wanted}
    archive = root / layout.archive
    if archive.is_file():
        return _read_archive(layout, archive, wanted)
    fetch(
        layout.url,
        layout.sha256,
        archive,
        instead=f"put the folder {layout.folder} or the file {layout.archive} into {root}",
    )
    contents = _read_archive(layout, archive, layout.files)
    _unpack(root / layout.folder, contents)
    return {file: contents[file] for file in wanted}


def _read_file(layout: CifarLayout, path: Path) -> bytes:
    try:
        found = path.stat().st_size
        if found != layout.file_bytes(path.name):
            raise ValueError(
                f"{path} is damaged: {found:,} bytes, the official file has "
                f"{layout.file_bytes(path.name):,}; get {layout.archive} from {layout.url} again"
            )
        return path.read_bytes()
    except OSError as error:
        raise ValueError(
            f"{layout.name} is incomplete: {path} cannot be read ({error.strerror}); "
            f"it is part of {layout.url}"
        ) from error


def _read_archive(layout: CifarLayout, archive: Path, wanted: tuple[str, ...]) -> dict[str, bytes]:
    """Contents of the wanted files; only regular members of the exact size are read."""
    sizes = {file: layout.file_bytes(file) for file in wanted}
    most = sum(map(layout.file_bytes, layout.files)) + _OTHER_BYTES
    try:
        with gzip.open(archive) as stream:
            contents = read_members(stream, sizes, most)
    except (OSError, DamagedTarError) as error:
        raise ValueError(
            f"{archive} is damaged ({error}); remove it to download it again"
        ) from error
    missing = [file for file in wanted if file not in contents]
    if missing:
        raise ValueError(
            f"{archive} has no complete {', '.join(missing)}; it should be the file {layout.url}"
        )
    return {file: contents[file] for file in wanted}


def _unpack(folder: Path, contents: dict[str, bytes]) -> None:
    try:
        folder.mkdir(exist_ok=True)
        for file, data in contents.items():
            files.write(folder / file, data)
    except OSError as error:
        raise ValueError(
            f"cannot unpack into {folder} ({error}); make room or use another data_dir"
        ) from error


def _parse(layout: CifarLayout, file: str, data: bytes) -> tuple[np.ndarray, np.ndarray]:
    records = np.frombuffer(data, np.uint8).reshape(-1, layout.label_bytes + _PIXELS)
    labels = records[:, layout.label_bytes - 1].astype(np.int32)
    wrong = np.flatnonzero(labels >= len(layout.classes))
    if wrong.size:
        raise ValueError(
            f"{layout.name}: {file} is damaged: record {wrong[0]} has label {labels[wrong[0]]}, "
            f"allowed is 0..{len(layout.classes) - 1}; get {layout.url} again"
        )
    planes = records[:, layout.label_bytes :].reshape(-1, 3, _SIDE, _SIDE)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1)), labels
