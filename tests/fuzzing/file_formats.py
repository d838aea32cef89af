"""What is no JSON: weights in one file, archives, images, lists, names and answers of servers."""

import dataclasses
import hashlib
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from tests.data.test_cifar import SMALL10, made_archive, made_files
from tests.fuzzing.contract import Format
from tests.fuzzing.inputs import bytes_like, damaged, json_bytes, restructured
from zoo.checkpoint import load_single_file, save_single_file, verify_single_file
from zoo.checkpoint.single_file import _digest
from zoo.data import Preprocessing, decode
from zoo.data.cifar import open_cifar
from zoo.data.fast_decode import crop_of_jpeg
from zoo.data.image_folder import open_image_folder
from zoo.data.imagenet import label_lists, layout, stores
from zoo.pretrained import cache, staging
from zoo.pretrained.single_file import manifest_of_file

_PARAMS: dict[str, Any] = {
    "head.bias": np.zeros(7, np.float32),
    "stem.kernel": np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1),
}
_ABOUT = json.dumps({"id": "a.b", "format_version": 1})


def _safetensors() -> bytes:
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"fuzz-{os.getpid()}.safetensors"
    save_single_file(path, _PARAMS, _ABOUT)
    content = path.read_bytes()
    path.unlink()
    return content


_SINGLE = _safetensors()
_HEADER_END = 8 + int.from_bytes(_SINGLE[:8], "little")
_HEADER = json.loads(_SINGLE[8:_HEADER_END])


def _with_header(header: Any) -> bytes:
    text = json_bytes(header)
    return len(text).to_bytes(8, "little") + text + _SINGLE[_HEADER_END:]


def _altered_file(content: bytes, folder: Path) -> object:
    """No byte of a file can be another: whatever differs is refused."""
    path = folder / "x.safetensors"
    path.write_bytes(content)
    verify_single_file(path)
    assert content == _SINGLE, "an altered file was accepted"
    return manifest_of_file(path)


@st.composite
def _resigned(draw: st.DrawFn) -> bytes:
    """A file of other arrays or other text, with the digest of what it holds."""
    from safetensors.numpy import save

    kinds = (np.float32, np.float16, np.float64, np.int8, np.bool_, np.uint64)
    names = st.sampled_from(list(_PARAMS)) | st.text(
        st.characters(exclude_categories=["Cs"]), max_size=9
    )
    arrays = {
        name: np.zeros(draw(st.lists(st.integers(0, 4), max_size=4)), draw(st.sampled_from(kinds)))
        for name in draw(st.lists(names, max_size=4, unique=True))
    }
    about = json.dumps(draw(restructured([json.loads(_ABOUT)])))
    signed = f'{about[:-1]}, "sha256": "{_digest(about, arrays)}"}}'
    return save(arrays, {"weight": signed})


def _resigned_file(content: bytes, folder: Path) -> object:
    path = folder / "x.safetensors"
    path.write_bytes(content)
    load_single_file(path, _PARAMS)
    return manifest_of_file(path)


def _tar(files: dict[str, bytes], **options: Any) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", **options) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return buffer.getvalue()


@st.composite
def _tars(draw: st.DrawFn, valid: tuple[bytes, ...]) -> bytes:
    """An archive with one field of one header changed, and the checksum made right again."""
    content = bytearray(draw(st.sampled_from(valid)))
    starts = [at for at in range(0, len(content), 512) if content[at + 257 : at + 262] == b"ustar"]
    at = draw(st.sampled_from(starts))
    field, size = draw(st.sampled_from(((0, 100), (124, 12), (136, 12), (156, 1), (482, 30))))
    number = st.integers(-(2**80), 2**80).map(
        lambda n: b"\x80" + (n % 2**88).to_bytes(11, "big") if n >= 0 else b"\xff" * 4 + b"\0" * 8
    )
    value = draw(
        number | st.binary(min_size=1, max_size=size) | st.sampled_from((b"x", b"L", b"S"))
    )
    content[at + field : at + field + size] = value.ljust(size, b"\0")[:size]
    content[at + 148 : at + 156] = b" " * 8
    content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
    return bytes(content)


_LONG = "n01440764/" + "long" * 40 + ".JPEG"
_INNER = _tar({"n01440764_1.JPEG": b"jpeg", _LONG: b"x" * 700}, format=tarfile.GNU_FORMAT)
_OUTER = _tar({"n01440764.tar": _INNER, "n01443537.tar": _INNER}, format=tarfile.PAX_FORMAT)
_PAX = _tar({"é" * 70 + ".JPEG": b"x" * 30, "ILSVRC2012_val_00000001.JPEG": b"y"})
_TINY = dataclasses.replace(
    SMALL10, records_per_file=dict.fromkeys(SMALL10.files, 1), url="http://127.0.0.1:9/c.tar.gz"
)
_CIFAR = made_archive(_TINY, made_files(_TINY))


def _train_tar(content: bytes, folder: Path) -> object:
    path = folder / layout.TRAIN_TAR
    path.write_bytes(content)
    listing = layout.find_listing(folder, "train")
    return [listing.store.read(number) for number in range(len(listing.labels))]


def _list_tar(content: bytes, folder: Path) -> object:
    (folder / "x.tar").write_bytes(content)
    return stores.list_tar(folder / "x.tar")


def _cifar_tar(content: bytes, folder: Path) -> object:
    (folder / _TINY.archive).write_bytes(content)
    return open_cifar(_TINY, "test", folder).fingerprint


def _gzipped(content: bytes) -> bytes:
    import gzip

    return gzip.compress(content, 1)


def _cifar_file(content: bytes, folder: Path) -> object:
    (folder / "test_batch.bin").write_bytes(content)
    return open_cifar(_TINY, "test", folder).fingerprint


def _images() -> list[bytes]:
    pixels = np.random.default_rng(0).integers(0, 256, (12, 9, 3), np.uint8)
    image = Image.fromarray(pixels)
    forms: tuple[tuple[str, Image.Image, dict[str, Any]], ...] = (
        ("JPEG", image, {}),
        ("JPEG", image, {"progressive": True}),
        ("JPEG", image.convert("CMYK"), {}),
        ("PNG", image, {}),
        ("PNG", image.convert("P"), {}),
        ("PNG", Image.fromarray(np.arange(99, dtype=np.uint16).reshape(9, 11)), {}),
        ("GIF", image.convert("P"), {}),
        ("BMP", image, {}),
        ("TIFF", image, {"compression": "tiff_lzw"}),
        ("TIFF", image.convert("1"), {}),
        ("PPM", image, {}),
        ("WEBP", image, {}),
        ("WEBP", image, {"lossless": True}),
    )
    found = []
    for form, picture, options in forms:
        buffer = io.BytesIO()
        picture.save(buffer, form, **options)
        found.append(buffer.getvalue())
    return found


_IMAGES = _images()


def _image(content: bytes, _: Path) -> object:
    decode.check_image(content, "x.jpg")
    return decode.decode_image(content, 3, name="x.jpg").shape


def _crop(content: bytes, _: Path) -> object:
    crop = crop_of_jpeg(content, lambda height, width: (0, 0, height, width), Preprocessing((4, 4)))
    return None if crop is None else crop.shape


def _labels(content: bytes, folder: Path) -> object:
    (folder / label_lists.LABEL_LISTS[0]).write_bytes(content)
    return label_lists.labels_of_val_names(["ILSVRC2012_val_00000001.JPEG"], [folder], "val")


def _kaggle(content: bytes, folder: Path) -> object:
    (folder / label_lists.KAGGLE_LIST).write_bytes(content)
    return label_lists.labels_of_val_names(["ILSVRC2012_val_00000001.JPEG"], [folder], "val")


_KAGGLE = b"ImageId,PredictionString\nILSVRC2012_val_00000001,n01440764 1 2 3 4\n"


def _names(content: bytes, folder: Path) -> object:
    """Folders called as the lines of `content`, wherever names of folders mean something."""
    from zoo.checkpoint import RunCheckpoints, list_steps

    os.environ["ZOO_CACHE"] = str(folder / "cache")
    run, photos = folder / "run", folder / "photos"
    places = (run / "checkpoints", cache.cache_folder(), cache.incoming(), photos)
    made = []
    for line in content.split(b"\n"):
        name = os.fsdecode(line.replace(b"/", b"").replace(b"\0", b"")[:200])
        for place in places:
            if name not in ("", ".", "..") and not (place / name).exists():
                (place / name).mkdir(parents=True)
                made.append(place / name)
                (place / name / "a.png").write_bytes(_IMAGES[3])
    try:
        staging._abandoned()
        cache.list_cached(verify=True)
        if run.exists():
            list_steps(run)
            with RunCheckpoints(run) as checkpoints:
                assert not checkpoints.steps
        return open_image_folder(str(photos), "test").fingerprint
    finally:
        for path in made:
            cache.remove(path)


_DIGEST = hashlib.sha256(b"").hexdigest()
_NAMES = (
    b"0\n12\n012\n" + b"9" * 30,
    b"archived-3\n.trash-3\n3.orbax-checkpoint-tmp\ndebug-4",
    f"a.b@{_DIGEST}\na.b@{_DIGEST}.free-x\na.b@{_DIGEST}.123-x-host".encode(),
    f"a.b@{_DIGEST}.99999999999999999999-x-{os.uname().nodename}".encode(),
    "\u0663\n3\nn01440764\né\ne\u0301".encode(),
)


def _with_size(archive: bytes, size: int) -> bytes:
    """The archive whose first member is said to have `size` bytes."""
    header = bytearray(archive[:512])
    header[124:136] = (size % 2**96).to_bytes(12, "big")
    header[124] |= 0x80
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + archive[512:]


_SIZES = (2**62, 2**90, -512, -(2**62))
_KERNEL = _HEADER["stem.kernel"]
# Each differs in a byte that nobody vouched for, or in a dtype that NumPy does not have.
_FOUND_HEADERS = (
    {**_HEADER, "__metadata__": {**_HEADER["__metadata__"], "extra": "x"}},
    {**_HEADER, "stem.kernel": {**_KERNEL, "note": 1}},
    dict(reversed(_HEADER.items())),
    {**_HEADER, "stem.kernel": {**_KERNEL, "dtype": "F8_E8M0", "data_offsets": [28, 37]}},
)

FORMATS = (
    Format(
        "safetensors",
        damaged([_SINGLE]) | restructured([_HEADER]).map(_with_header) | st.binary(max_size=99),
        _altered_file,
        tuple(map(_with_header, _FOUND_HEADERS)),
    ),
    Format("safetensors signed again", _resigned(), _resigned_file),
    Format(
        "tar",
        _tars((_INNER, _PAX)) | bytes_like([_INNER, _PAX]),
        _list_tar,
        tuple(_with_size(_INNER, size) for size in _SIZES),
    ),
    Format(
        "ImageNet archive",
        _tars((_OUTER,)) | damaged([_OUTER]),
        _train_tar,
        tuple(_with_size(_OUTER, size) for size in _SIZES),
    ),
    Format(
        "CIFAR archive",
        (_tars((_tar(made_files(_TINY)), _PAX)).map(_gzipped) | damaged([_CIFAR])),
        _cifar_tar,
        tuple(_gzipped(_with_size(_PAX, size)) for size in _SIZES),
    ),
    Format("CIFAR file", bytes_like([made_files(_TINY)["test_batch.bin"]]), _cifar_file),
    Format("image", bytes_like(_IMAGES), _image),
    Format("JPEG crop", bytes_like(_IMAGES[:3]), _crop),
    Format("label list", bytes_like([b"490\nn01440764\n0\n"]), _labels, (b"1" * 5000,)),
    Format("Kaggle list", bytes_like([_KAGGLE]), _kaggle, (b"ImageId,PredictionString\nI",)),
    Format("folder names", bytes_like(_NAMES), _names),
)
