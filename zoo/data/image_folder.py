"""A folder of images: PATH/train/<class>/... and PATH/val/<class>/... ."""

import hashlib
import os
import unicodedata
from pathlib import Path

import numpy as np

from zoo.data.decode import decode_image, read_image
from zoo.data.records import Record, content_fingerprint

# The second row cannot be decoded; it counts as images so that such files are named, not ignored.
IMAGE_SUFFIXES = frozenset(
    (
        ".jpg .jpeg .jpe .png .webp .gif .bmp .tif .tiff .ppm .pgm .pbm .pnm "
        ".jp2 .j2k .jxl .heic .heif .avif"
    ).split()
)
_SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "test"),
    "test": ("test", "val", "valid", "validation"),
}
_ALL_SPLIT_FOLDERS = tuple(dict.fromkeys(sum(_SPLIT_FOLDERS.values(), ())))


class ImageFolder:
    """Images in one folder per class, decoded when asked for, always as RGB.

    Classes are the folder names (Unicode NFC) in sorted order; when all names are numbers, in the
    order of the numbers. Files lie in a class folder or below it. Hidden files and folders are
    passed over; `ignored` lists the files that are no images by their ending.

    Attributes:
      paths: the image files, sorted within each class.
      labels: [n] int32.
      ignored: files passed over because of their ending.
      own: true; these are the user's own pictures, which are shown upright.

    Raises:
      ValueError: on no or one class, a class without images, or images beside the class folders.
    """

    own = True

    def __init__(self, folder: Path, name: str, split: str) -> None:
        self.name, self.split, self.folder = name, split, folder
        class_folders = _class_folders(folder)
        self.classes = tuple(class_folders)
        files = [_image_files(path) for path in class_folders.values()]
        counts = {
            label: len(images) for label, (images, _) in zip(self.classes, files, strict=True)
        }
        _check_classes(folder, counts)
        self.paths = [path for images, _ in files for path in images]
        self.ignored = [path for _, others in files for path in others]
        self.labels = np.repeat(np.arange(len(files)), list(counts.values())).astype(np.int32)

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over the relative path and size of every image file."""
        digest = hashlib.sha256()
        for path in self.paths:
            line = f"{path.relative_to(self.folder)}\0{path.stat().st_size}\n"
            digest.update(line.encode(errors="surrogateescape"))
        return content_fingerprint(self, digest.hexdigest())

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Record:
        return Record(decode_image(self.paths[index], upright=True), int(self.labels[index]))

    def encoded(self, index: int) -> bytes:
        """Bytes of an image file.

        Raises:
          BadImageError: if they cannot be read.
        """
        return read_image(self.paths[index])


def open_image_folder(path: str, split: str) -> ImageFolder:
    """One split of a folder of images.

    The split is PATH/train for "train", and for "val" and "test" the folder of that name or of the
    other. Where PATH holds class folders directly, it is taken as the split that is evaluated.

    Raises:
      ValueError: if the folder or the split is missing, its class folders are not as
        `ImageFolder` needs them, or another split has other classes.
    """
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; give folder:PATH with class folders of images")
    present = [name for name in _ALL_SPLIT_FOLDERS if (root / name).is_dir()]
    if not present and split != "train":
        return ImageFolder(root, f"folder:{root.name}", split)
    folder = next((root / name for name in _SPLIT_FOLDERS[split] if name in present), None)
    if folder is None:
        found = ", ".join(present) or "no split folder"
        raise ValueError(
            f"{root} has no folder for the split {split!r} (found: {found}); "
            f"put class folders of images into {root / split}"
        )
    source = ImageFolder(folder, f"folder:{root.name}", split)
    for other in present:
        _check_same_classes(source, root / other)
    return source


def list_splits(path: str | Path) -> dict[str, dict[str, list[Path]]]:
    """Split folder -> class -> image files of a folder of images, whatever is wrong with them.

    Where PATH holds class folders directly, the only split is called "all".

    Raises:
      ValueError: if the folder is missing, or images lie beside class folders.
    """
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; give folder:PATH with class folders of images")
    present = {name: root / name for name in _ALL_SPLIT_FOLDERS if (root / name).is_dir()}
    return {
        name: {label: _image_files(files)[0] for label, files in _class_folders(folder).items()}
        for name, folder in (present or {"all": root}).items()
    }


def _class_folders(folder: Path) -> dict[str, Path]:
    """Class name -> folder, in class order."""
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    loose = [entry for entry in entries if _is_image_name(entry.name) and not entry.is_dir()]
    folders = [entry for entry in entries if entry.is_dir()]
    if loose:
        raise ValueError(
            f"{folder} has {len(loose)} images beside its {len(folders)} class folders, such as "
            f"{loose[0].name}; move every image into the folder of its class{_hint(loose[0].name)}"
        )
    named = [(unicodedata.normalize("NFC", entry.name), entry) for entry in folders]
    numeric = all(name.isdecimal() for name, _ in named)
    named.sort(key=lambda pair: (int(pair[0]) if numeric else 0, pair[0]))
    keys = [int(name) if numeric else name for name, _ in named]
    repeated = [name for (name, _), a, b in zip(named, keys, keys[1:], strict=False) if a == b]
    if repeated:
        raise ValueError(f"{folder} has two folders for the class {repeated[0]!r}; merge them")
    return dict(named)


def _hint(name: str) -> str:
    is_imagenet = name.startswith("ILSVRC2012_val_")
    return ", or read them as imagenet2012, which knows their labels" if is_imagenet else ""


def _image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    images: list[Path] = []
    others: list[Path] = []
    for parent, subfolders, files in os.walk(folder):
        # A folder called x.jpg counts as an image: decoding then names it instead of hiding it.
        odd = [name for name in subfolders if _is_image_name(name)]
        subfolders[:] = [s for s in subfolders if not s.startswith(".") and s not in odd]
        for name in (*files, *odd):
            if not name.startswith("."):
                (images if _is_image_name(name) else others).append(Path(parent, name))
    return sorted(images), sorted(others)


def _is_image_name(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def _check_classes(folder: Path, counts: dict[str, int]) -> None:
    empty = [name for name, count in counts.items() if count == 0]
    if len(counts) < 2 or empty:
        shown = ", ".join(f"{name}: {count}" for name, count in list(counts.items())[:20])
        problem = (
            f"{len(empty)} of {len(counts)} classes without images ({', '.join(empty[:5])})"
            if empty
            else f"{len(counts)} class folders, needed are 2 or more"
        )
        raise ValueError(f"{folder} has {problem}; images per class: {shown or 'none'}")


def _check_same_classes(source: ImageFolder, other: Path) -> None:
    theirs = set(_class_folders(other))
    missing, extra = sorted(theirs - set(source.classes)), sorted(set(source.classes) - theirs)
    if missing or extra:
        raise ValueError(
            f"{source.folder} and {other} have different classes, so labels would differ: "
            f"only in {other.name}: {missing[:5]}, only in {source.folder.name}: {extra[:5]}"
        )
