"""Encoded image -> uint8 array: one defined result for every kind of file, or a named refusal.

Pillow is the decoder of all published numbers. The rules, in the order they apply:

- EXIF orientation is ignored, as in the reference evaluations of ImageNet, unless `upright` is
  asked for, as it is for a user's own pictures. (Pillow always turns TIFF.)
- A JPEG of more than 50 megapixels is decoded at a half, a quarter or an eighth of its size (the
  DCT is inverted at the lower resolution), the largest of them that has no more.
- Of an animation or a multi-page file the first frame counts.
- 16-bit grey keeps its high byte, which is what Pillow does to 16-bit colour.
- Transparency is dropped: the colours stored under it show.
- CMYK, YCbCr, palette, bilevel and grey become RGB by Pillow's own conversion, without profiles.
- One channel is the luma of that RGB image (ITU-R 601-2).
- A truncated file is refused; no missing part is ever invented.
"""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError
from PIL.JpegImagePlugin import JpegImageFile

from zoo.data.decode_limits import TimedBytes, has_too_many_scans, pixels_allowed

MAX_PIXELS = 50_000_000
UNNAMED = "the image given as bytes"
_JPEG_SCALES = (1, 2, 4, 8)
_JPEG_START = b"\xff\xd8\xff"
_AS_STORED = 1
# EXIF orientation -> what shows the picture as it was taken.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

# Not EPS, which starts an external program, nor JPEG 2000, whose decoder fills truncated files up.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")
_DECODER_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    IndexError,
    KeyError,
    TypeError,
    struct.error,
    zlib.error,
)
_BOMB_ERRORS = (Image.DecompressionBombError, Image.DecompressionBombWarning)


_Result = TypeVar("_Result")


class ImageForm(NamedTuple):
    """What a file holds: Pillow's names of its format ("JPEG") and of its colours ("CMYK")."""

    format: str
    mode: str


class BadImageError(ValueError):
    """An image that cannot be read to the end; the message names the file and what to do."""


def decode_image(
    image: str | Path | bytes,
    channels: int = 3,
    *,
    name: str | None = None,
    max_pixels: int = MAX_PIXELS,
    upright: bool = False,
) -> np.ndarray:
    """Decode a file, or the bytes of one, by the rules of this module.

    Args:
      image: path of the file, or its bytes.
      channels: 3 for RGB, 1 for luma.
      name: how errors call the image; the path when there is one.
      max_pixels: larger images are refused from their header, before any pixel is decoded, unless
        they are JPEG and have no more at an eighth of their size.
      upright: whether the picture is turned and mirrored as its EXIF orientation says.

    Returns:
      [height, width, channels] uint8.

    Raises:
      BadImageError: if the file is missing, empty, not an image, damaged or too large.
    """
    if isinstance(image, bytes):
        name, data = name or UNNAMED, image
    else:
        name = name or str(image)
        data = read_image(image)

    def pixels(opened: Image.Image) -> np.ndarray:
        return to_array(turned(opened) if upright else opened, channels)

    return _with_opened(data, name, max_pixels, pixels)


def turned(image: Image.Image) -> Image.Image:
    """The picture turned and mirrored as its EXIF orientation says."""
    image.load()  # before it, Pillow does not know of a TIFF that it turns itself
    turn = _TURNS.get(_orientation(image))
    return image if turn is None else image.transpose(turn)


def is_turned(data: bytes) -> bool:
    """Whether an image's EXIF says that it is shown otherwise than it is stored."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
            return _orientation(opened) in _TURNS
    except (*_DECODER_ERRORS, *_BOMB_ERRORS):
        return False  # whoever decodes it says what is wrong


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, _AS_STORED)
    except _DECODER_ERRORS:
        return _AS_STORED  # damaged metadata is no reason to refuse whole pixels


def check_image(data: bytes, name: str) -> ImageForm:
    """Decodes an image to its end, colours as they are and JPEG at an eighth of the size.

    Less work than `decode_image`, and refuses what that refuses for being cut short.

    Raises:
      BadImageError: if the bytes are not a whole image.
    """

    def form(opened: Image.Image) -> ImageForm:
        found = ImageForm(str(opened.format), opened.mode)
        opened.draft(None, (1, 1))
        opened.load()
        return found

    return _with_opened(data, name, MAX_PIXELS, form)


def _with_opened(
    data: bytes, name: str, max_pixels: int, use: Callable[[Image.Image], _Result]
) -> _Result:
    if not data:
        raise BadImageError(f"{name}: the file is empty; replace or remove it")
    try:
        with _open(data) as opened:
            _fit_size(opened, name, pixels_allowed(opened.format, max_pixels))
            _check_scans(opened, data, name)
            return use(opened)
    except _BOMB_ERRORS as error:
        raise BadImageError(f"{name}: {error}; scale the image down or remove it") from error
    except BadImageError as error:
        raise BadImageError(str(error) if name in str(error) else f"{name}: {error}") from error
    except UnidentifiedImageError as error:
        raise BadImageError(
            f"{name}: not an image ({_looks_like(data)}); "
            f"remove it or convert it to one of {', '.join(FORMATS)}"
        ) from error
    except _DECODER_ERRORS as error:
        raise BadImageError(f"{name}: damaged image ({error}); replace or remove it") from error


def _open(data: bytes) -> Image.Image:
    # Of a large JPEG, which can be decoded at a fraction, Pillow's own check would only warn or
    # refuse: it knows nothing of fractions.
    if data.startswith(_JPEG_START):
        return JpegImageFile(TimedBytes(data))
    return Image.open(TimedBytes(data), formats=FORMATS)


def to_array(image: Image.Image, channels: int) -> np.ndarray:
    """A Pillow image of any mode as [height, width, channels] uint8, by this module's rules."""
    if min(image.size) < 1:
        raise BadImageError(f"the image has no pixels ({image.width} x {image.height})")
    if image.mode.startswith("I"):
        image = Image.fromarray(_high_byte(np.asarray(image)))
    if image.mode == "F":
        raise BadImageError("floating-point pixels have no defined range; save it with 8 bits")
    if image.mode in ("P", "PA"):
        # Straight to RGB, Pillow warns about palettes with several transparent entries.
        image = image.convert("RGBA")
    if channels == 1 and image.mode in ("L", "LA"):
        return np.asarray(image.convert("L"))[..., None]
    rgb = image.convert("RGB")
    return np.asarray(rgb) if channels == 3 else np.asarray(rgb.convert("L"))[..., None]


def read_image(path: str | Path) -> bytes:
    """The bytes of a file.

    Raises:
      BadImageError: if it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadImageError(f"{path}: cannot be read ({error.strerror or error})") from error


def _fit_size(image: Image.Image, name: str, max_pixels: int) -> None:
    """Makes a large JPEG decode at a fraction of its size; refuses what is larger still."""
    width, height = image.size
    for scale in _JPEG_SCALES if isinstance(image, JpegImageFile) else _JPEG_SCALES[:1]:
        if -(-width // scale) * -(-height // scale) <= max_pixels:
            if scale > 1:
                image.draft(image.mode, (width // scale, height // scale))
            return
    raise BadImageError(
        f"{name}: {width} x {height} pixels are more than the {max_pixels:,} allowed; "
        "scale it down or remove it"
    )


def _check_scans(image: Image.Image, data: bytes, name: str) -> None:
    if image.format == "JPEG" and has_too_many_scans(data, image.width * image.height):
        raise BadImageError(
            f"{name}: it goes over its {image.width} x {image.height} pixels too often, as no "
            "usual file does; save it anew or remove it"
        )


def _high_byte(pixels: np.ndarray) -> np.ndarray:
    if pixels.size and (pixels.min() < 0 or pixels.max() > 65535):
        raise BadImageError("32-bit pixels have no defined range; save it with 8 or 16 bits")
    return (pixels.astype(np.int32) >> 8).astype(np.uint8)


def _looks_like(data: bytes) -> str:
    start = data[:64].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page or XML"
    return f"it begins with {data[:8]!r}"
