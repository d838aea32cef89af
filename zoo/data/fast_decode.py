"""Random-resized crops straight out of JPEG files, for training where decoding is the bottleneck.

Three things are left out that a crop does not need: the rows below it, which the file's header is
made not to announce; half of the resolution, or three quarters, where the crop is that much larger
than the network's images (the DCT is inverted at a lower resolution); and Pillow's copies.
Published numbers are never measured with it: evaluation decodes by `zoo.data.decode`.
"""

import functools
import importlib.util
import math
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from zoo.data.decode import MAX_PIXELS
from zoo.data.decode_limits import has_too_many_scans
from zoo.data.preprocessing import Preprocessing

Box = tuple[int, int, int, int]
"""Top, left, height and width of a crop, in pixels of the whole image."""

_LIBRARIES = ("simplejpeg", "cykooz_resizer")
# By Pillow's names, whose coefficients these filters share.
_FILTERS = {"box": "box", "bilinear": "bilinear", "bicubic": "catmull_rom", "lanczos": "lanczos3"}
_SCALES = (8, 4, 2, 1)  # those for which libjpeg-turbo has fast code
# A block of 8 rows, twice as many where colour is coarser: beyond it nothing reaches upwards.
_MARGIN = 16


class _Header(NamedTuple):
    """Of a sequential JPEG file: where its height stands, and its size."""

    offset: int
    height: int
    width: int


def missing_libraries() -> list[str]:
    """What `crop_of_jpeg` needs and is not installed."""
    return [name for name in _LIBRARIES if importlib.util.find_spec(name) is None]


def crop_of_jpeg(
    data: bytes, choose: Callable[[int, int], Box], preprocessing: Preprocessing
) -> np.ndarray | None:
    """Cuts a box out of a JPEG file and resizes it to the network's size.

    Where the crop is not scaled down by 2 or more, the pixels that are resized are those of the
    whole image, bit for bit.

    Args:
      data: the file.
      choose: (height, width) of the image -> the box.
      preprocessing: gives size and filter.

    Returns:
      [height, width, 3] uint8; or None for a file that must be decoded whole: another format or
      kind of JPEG, one that is cut short, or a network of other channels.
    """
    header = _sequential_header(data)
    if header is None or preprocessing.channels != 3 or not _ends_well(data):
        return None
    pixels = header.height * header.width
    if preprocessing.interpolation not in _FILTERS or pixels > MAX_PIXELS:
        return None
    if has_too_many_scans(data, pixels):
        return None
    top, left, height, width = choose(header.height, header.width)
    ratio = min(height / preprocessing.image_size[0], width / preprocessing.image_size[1])
    scale = next((scale for scale in _SCALES if scale <= ratio), 1)
    rows = min(header.height, top + height + _MARGIN * scale)
    decoded = _decoded(data, header, rows, scale)
    if decoded is None:
        return None
    box = (top / scale, left / scale, height / scale, width / scale)
    return _resized(decoded, box, preprocessing)


def _sequential_header(data: bytes) -> _Header | None:
    """The frame header of a baseline or extended sequential JPEG file of 1 or 3 components."""
    try:
        at = 2 if data[:2] == b"\xff\xd8" else len(data)
        while data[at] == 0xFF and not 0xC2 <= data[at + 1] <= 0xC3:
            marker, length = struct.unpack_from(">xBH", data, at)
            if marker in (0xC0, 0xC1):
                bits, height, width, components = struct.unpack_from(">BHHB", data, at + 4)
                usual = bits == 8 and height and width and components in (1, 3)
                return _Header(at + 5, height, width) if usual else None
            at += 2 + length
    except (IndexError, struct.error):
        pass
    return None


def _ends_well(data: bytes) -> bool:
    """Whether the end of the image is there: a file that is cut short must be refused."""
    return data[-64:].rstrip(b"\0").endswith(b"\xff\xd9")


def _decoded(data: bytes, header: _Header, rows: int, scale: int) -> np.ndarray | None:
    import simplejpeg  # pyrefly: ignore[missing-import] an extra, so it may be absent

    upper = bytearray(data)
    struct.pack_into(">H", upper, header.offset, rows)
    size = math.ceil(rows / scale), math.ceil(header.width / scale)
    try:
        # The rows that are no longer announced would be a mistake to it, were it strict.
        pixels = simplejpeg.decode_jpeg(
            upper, "RGB", min_height=size[0], min_width=size[1], strict=False
        )
    except ValueError:
        return None
    return pixels if pixels.shape == (*size, 3) else None


def _resized(
    pixels: np.ndarray, box: tuple[float, float, float, float], preprocessing: Preprocessing
) -> np.ndarray:
    library, resizer = _resizer()
    top, left, height, width = box
    first, last = math.floor(top), min(len(pixels), math.ceil(top + height))
    start, end = math.floor(left), min(pixels.shape[1], math.ceil(left + width))
    size, kind = preprocessing.image_size, library.PixelType.U8x3
    region = pixels[first:last, start:end].tobytes()
    source = library.ImageData(end - start, last - first, kind, region)
    target = library.ImageData(size[1], size[0], kind)
    name = _FILTERS[preprocessing.interpolation]
    options = library.ResizeOptions(
        resize_alg=library.ResizeAlg.convolution(library.FilterType[name]),
        use_alpha=False,
        crop_box=library.CropBox(left - start, top - first, width, height),
    )
    resizer.resize(source, target, options)
    return np.frombuffer(target.get_buffer(), np.uint8).reshape(*size, 3)


@functools.cache
def _resizer() -> tuple[Any, Any]:
    import cykooz_resizer  # pyrefly: ignore[missing-import] an extra, so it may be absent

    return cykooz_resizer, cykooz_resizer.Resizer()
