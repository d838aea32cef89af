"""A folder of images: PATH/train/<class>/... and PATH/val/<class>/... ."""

import os
from collections.abc import Sequence
from pathlib import Path

from zoo.data.image_files import (
    ALL_SPLIT_NAMES,
    SPLIT_NAMES,
    ByClass,
    ImageFiles,
    class_name,
    class_order,
    require_classes,
)

# The second row cannot be decoded; it counts as images so that such files are named, not ignored.
IMAGE_SUFFIXES = frozenset(
    (
        ".jpg .jpeg .jpe .png .webp .gif .bmp .tif .tiff .ppm .pgm .pbm .pnm "
        ".jp2 .j2k .jxl .heic .heif .avif"
    ).split()
)


class ImageFolder(ImageFiles):
    """Images in one folder per class.

    Classes are the folder names. Files lie in a class folder or below it. Hidden files and folders
    are passed over; `ignored` lists the files that are no images by their ending.

    Attributes:
      folder: that holds the class folders.
      ignored: files passed over because of their ending.

    Raises:
      ValueError: on no or one class, a class without images, or images beside the class folders.
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        split: str,
        *,
        root: Path | None = None,
        exclude: Sequence[str] = (),
    ) -> None:
        files = {label: image_files(path) for label, path in _class_folders(folder).items()}
        require_classes(folder, {name: len(f[0]) for name, f in files.items()}, "class folders")
        self.folder = folder
        self.ignored = [path for _, others in files.values() for path in others]
        images = {label: found for label, (found, _) in files.items()}
        super().__init__(root or folder, name, split, images, exclude)


def open_image_folder(path: str, split: str, exclude: Sequence[str] = ()) -> ImageFolder:
    """One split of a folder of images.

    The split is PATH/train for "train", and for "val" and "test" the folder of that name or of the
    other. Where PATH holds class folders directly, every split is all of them.

    Args:
      path: of the folder.
      split: "train", "val" or "test".
      exclude: files left out, relative to the folder.

    Raises:
      ValueError: if the folder or the split is missing, its class folders are not as
        `ImageFolder` needs them, or another split has other classes.
    """
    root = _root(path)
    present = split_folders(root)
    if not present:
        return ImageFolder(root, f"folder:{root.name}", split, exclude=exclude)
    folder = next((root / name for name in SPLIT_NAMES[split] if name in present), None)
    if folder is None:
        raise ValueError(
            f"{root} has no folder for the split {split!r} (found: {', '.join(present)}); "
            f"put class folders of images into {root / split}"
        )
    source = ImageFolder(folder, f"folder:{root.name}", split, root=root, exclude=exclude)
    for other in present:
        _check_same_classes(source, root / other)
    return source


def split_folders(path: str | Path) -> list[str]:
    """Names of the split folders in a folder of images."""
    root = Path(path).expanduser()
    return [name for name in ALL_SPLIT_NAMES if (root / name).is_dir()]


def list_folder(path: str | Path) -> dict[str, ByClass]:
    """Split folder -> class -> image files of a folder of images, whatever is wrong with them.

    Where PATH holds class folders directly, the only split is called "all".

    Raises:
      ValueError: if the folder is missing, or images lie beside class folders.
    """
    root = _root(path)
    present = {name: root / name for name in split_folders(root)}
    return {
        name: {label: image_files(files)[0] for label, files in _class_folders(folder).items()}
        for name, folder in (present or {"all": root}).items()
    }


def _root(path: str | Path) -> Path:
    root = Path(path).expanduser().resolve()
    if not root.is_dir():
        raise ValueError(f"{root} is not a folder; give folder:PATH with class folders of images")
    return root


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
    named = [(class_name(entry.name), entry) for entry in folders]
    # "1" and "01" are one class where all names are numbers.
    numeric = all(name.isdecimal() for name, _ in named)
    keys = [int(name) if numeric else name for name, _ in named]
    repeated = [name for (name, _), key in zip(named, keys, strict=True) if keys.count(key) > 1]
    if repeated:
        raise ValueError(f"{folder} has two folders for the class {repeated[0]!r}; merge them")
    by_name = dict(named)
    return {name: by_name[name] for name in class_order(by_name)}


def _hint(name: str) -> str:
    is_imagenet = name.startswith("ILSVRC2012_val_")
    return ", or read them as imagenet2012, which knows their labels" if is_imagenet else ""


def image_files(folder: Path) -> tuple[list[Path], list[Path]]:
    """Images below a folder by their names, and other files; hidden ones are neither."""
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


def _check_same_classes(source: ImageFolder, other: Path) -> None:
    theirs = set(_class_folders(other))
    missing, extra = sorted(theirs - set(source.classes)), sorted(set(source.classes) - theirs)
    if missing or extra:
        raise ValueError(
            f"{source.folder} and {other} have different classes, so labels would differ: "
            f"only in {other.name}: {missing[:5]}, only in {source.folder.name}: {extra[:5]}"
        )
