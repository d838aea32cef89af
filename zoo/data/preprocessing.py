"""Evaluation preprocessing as data: what belongs to a weight so that its accuracy can be repeated.

Owns resizing, cropping and normalising. Decoding is `zoo.data.decode`; random changes for training
are `zoo.data.augmentation`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from zoo.data.decode import MAX_PIXELS, BadImageError, decode_image, to_array, turned

CROP_MODES = ("center", "squash", "border")
INTERPOLATIONS = {
    "nearest": Image.Resampling.NEAREST,
    "box": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "hamming": Image.Resampling.HAMMING,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
DECODERS = ("pillow",)
ORIENTATIONS = (None, "exif", "stored")
FILE_CHANNELS = (1, 3)

_Array = TypeVar("_Array", bound=Any)
ImageInput = str | Path | bytes | Image.Image | np.ndarray


@dataclass(frozen=True)
class Preprocessing:
    """The evaluation transform of a weight: resize, crop, then (x / 255 - mean) / std.

    With the scaled size s = floor(image_size / crop_pct), per axis:

    - `center`: resize so that s is just covered (the other side rounded down), cut `image_size`
      out of the centre. Offsets are round((resized - size) / 2), halves to even.
    - `squash`: resize to exactly s, whatever the proportions, then cut out the centre.
    - `border`: resize so that the image just fits into s, then cut or fill to `image_size` with
      the colour nearest to `mean`.

    Attributes:
      image_size: (height, width) of the result, in pixels.
      crop_pct: share of the scaled size that the crop keeps, in (0, 1].
      crop_mode: "center", "squash" or "border".
      interpolation: Pillow's filter: nearest, box, bilinear, hamming, bicubic or lanczos.
      mean: per channel, on the scale 0..1.
      std: per channel, on the scale 0..1, positive.
      channels: 3 (RGB) or 1 (luma); any other number for arrays, which no image file holds.
      decoder: "pillow"; the one all numbers are published with.
      orientation: "exif" turns every file as its EXIF says, "stored" none; None turns a user's own
        pictures (`folder:`, `csv:`, files to predict) and no other data set's, so that ImageNet is
        evaluated as it always was.

    Raises:
      ValueError: with every mistake of the arguments in one message.
    """

    image_size: tuple[int, int]
    crop_pct: float = 1.0
    crop_mode: str = "center"
    interpolation: str = "bicubic"
    mean: tuple[float, ...] = (0.485, 0.456, 0.406)
    std: tuple[float, ...] = (0.229, 0.224, 0.225)
    channels: int = 3
    decoder: str = "pillow"
    orientation: str | None = None

    def __post_init__(self) -> None:
        for name in ("image_size", "mean", "std"):
            value = getattr(self, name)
            if not isinstance(value, Sequence) or isinstance(value, str):
                raise ValueError(f"preprocessing: {name} is {value!r}, allowed is a tuple")
            object.__setattr__(self, name, tuple(value))  # JSON gives lists
        mistakes = self._mistakes()
        if mistakes:
            raise ValueError("preprocessing: " + "; ".join(mistakes))

    def _mistakes(self) -> list[str]:
        found = []
        if len(self.image_size) != 2 or any(
            not isinstance(side, int) or side < 1 for side in self.image_size
        ):
            found.append(f"image_size is {self.image_size}, allowed is (height, width) >= 1")
        if not 0 < self.crop_pct <= 1:
            found.append(f"crop_pct is {self.crop_pct}, allowed is 0 < crop_pct <= 1")
        if type(self.channels) is not int or self.channels < 1:
            found.append(f"channels is {self.channels}, allowed is a whole number >= 1")
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != self.channels or not all(map(math.isfinite, values)):
                found.append(f"{name} is {values}, allowed are {self.channels} finite numbers")
        if any(value <= 0 for value in self.std):
            found.append(f"std is {self.std}, allowed are positive numbers")
        choices = (
            ("crop_mode", CROP_MODES),
            ("interpolation", tuple(INTERPOLATIONS)),
            ("decoder", DECODERS),
            ("orientation", ORIENTATIONS),
        )
        for name, allowed in choices:
            if getattr(self, name) not in allowed:
                found.append(
                    f"{name} is {getattr(self, name)!r}, allowed: {', '.join(map(str, allowed))}"
                )
        return found

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocessing":
        """Inverse of `dataclasses.asdict`, also after a round trip through JSON.

        Raises:
          ValueError: on an unknown or missing key, or a value the constructor refuses.
        """
        names = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - names)
        if unknown or "image_size" not in values:
            raise ValueError(
                f"preprocessing: unknown keys {unknown}, needed is image_size, "
                f"allowed: {', '.join(sorted(names))}"
            )
        return cls(**values)

    def keeps(self, shape: tuple[int, ...]) -> bool:
        """Whether `transform` returns images of shape [height, width, channels] unchanged."""
        target = (*self.image_size, self.channels)
        return tuple(shape) == target and self._scaled_size() == self.image_size

    def transform(self, image: np.ndarray) -> np.ndarray:
        """Resize and crop one image on the host.

        Args:
          image: [height, width, channels] uint8 with 1 or 3 channels, or exactly `self.channels`.

        Returns:
          [image_size[0], image_size[1], self.channels] uint8.

        Raises:
          BadImageError: if the proportions are so extreme that resizing would need more than
            `MAX_PIXELS` pixels.
        """
        if self.keeps(image.shape):
            return image
        if self.channels not in FILE_CHANNELS:
            return self._each_channel(image)
        picture = as_picture(image, self.channels)
        size = self._resized_size(picture.height, picture.width)
        if size[0] * size[1] > MAX_PIXELS:
            raise BadImageError(
                f"{picture.width} x {picture.height} pixels would become {size[1]} x {size[0]} "
                "when its short side is resized; crop the image to usual proportions"
            )
        resized = picture.resize(size[::-1], INTERPOLATIONS[self.interpolation])
        return self._cut(as_pixels(resized))

    def normalize(self, images: _Array) -> _Array:
        """(x / 255 - mean) / std as float32, for NumPy and JAX arrays alike.

        Args:
          images: [..., channels] uint8.
        """
        mean, std = np.asarray(self.mean, np.float32), np.asarray(self.std, np.float32)
        return (images.astype("float32") / np.float32(255) - mean) / std

    def __call__(self, images: ImageInput | Sequence[ImageInput]) -> np.ndarray:
        """Images as a user has them, ready for the model.

        Args:
          images: one of, or a list of: path, encoded bytes, Pillow image, uint8 array
            [height, width], [height, width, 1, 3 or 4]; or one uint8 array
            [n, height, width, channels]. A fourth channel is transparency and is dropped.

        Returns:
          [n, height, width, channels] float32, normalised; n = 1 for a single image.

        Raises:
          BadImageError: if a file cannot be decoded.
          ValueError: on arrays of another dtype or shape, an empty list, or files where `channels`
            is neither 1 nor 3.
        """
        items: list[Any] = [images]
        if isinstance(images, list | tuple):
            items = list(images)
        elif isinstance(images, np.ndarray) and images.ndim == 4:
            items = list(images)
        if not items:
            raise ValueError("no images were given; pass at least one")
        return self.normalize(np.stack([self.transform(self._load(item)) for item in items]))

    def _each_channel(self, image: np.ndarray) -> np.ndarray:
        """Every channel as a grey image of its own."""
        if image.shape[-1] != self.channels:
            raise ValueError(
                f"the image has {image.shape[-1]} channels, {self.channels} expected; give arrays "
                "or load the model with in_channels=3"
            )
        bands = [
            replace(self, channels=1, mean=self.mean[i : i + 1], std=self.std[i : i + 1])
            for i in range(self.channels)
        ]
        return np.concatenate(
            [band.transform(image[..., i : i + 1]) for i, band in enumerate(bands)], axis=-1
        )

    def _load(self, image: ImageInput) -> np.ndarray:
        is_array = not isinstance(image, str | Path | bytes | Image.Image)
        if self.channels not in FILE_CHANNELS and not is_array:
            raise ValueError(
                f"image files have no {self.channels} channels; pass uint8 arrays "
                f"[height, width, {self.channels}], or load the model with in_channels=3"
            )
        if isinstance(image, str | Path | bytes):
            return decode_image(image, self.channels, upright=self.orientation != "stored")
        if isinstance(image, Image.Image):
            try:
                upright = self.orientation != "stored"
                return to_array(turned(image) if upright else image, self.channels)
            except OSError as error:  # opened, but not yet decoded: the file is damaged
                name = getattr(image, "filename", "") or "the Pillow image"
                raise BadImageError(f"{name}: damaged image ({error})") from error
        array = np.asarray(image)
        shaped = array[..., None] if array.ndim == 2 else array
        allowed = (1, 3, 4) if self.channels in FILE_CHANNELS else (self.channels,)
        if array.dtype != np.uint8 or shaped.ndim != 3 or shaped.shape[-1] not in allowed:
            channels = " or ".join(map(str, allowed)).replace(" or ", ", ", len(allowed) - 2)
            raise ValueError(
                f"the image is {array.dtype} {list(array.shape)}, allowed is uint8 "
                f"[height, width] or [height, width, {channels}] with values 0..255"
            )
        return shaped[..., :3] if self.channels in FILE_CHANNELS else shaped

    def _scaled_size(self) -> tuple[int, int]:
        height, width = (math.floor(side / self.crop_pct) for side in self.image_size)
        return height, width

    def _resized_size(self, height: int, width: int) -> tuple[int, int]:
        scaled_height, scaled_width = self._scaled_size()
        if self.crop_mode == "squash":
            return scaled_height, scaled_width
        height_decides = height * scaled_width <= width * scaled_height
        if self.crop_mode == "border":
            height_decides = not height_decides
        if height_decides:
            return scaled_height, max(1, scaled_height * width // height)
        return max(1, scaled_width * height // width), scaled_width

    def _cut(self, image: np.ndarray) -> np.ndarray:
        fill = np.asarray([min(255, max(0, round(255 * value))) for value in self.mean], np.uint8)
        for axis, size in enumerate(self.image_size):
            extra = image.shape[axis] - size
            if extra >= 0:
                image = np.take(image, np.arange(size) + round(extra / 2), axis)
            else:
                before = round(-extra / 2)
                canvas = np.empty((*image.shape[:axis], size, *image.shape[axis + 1 :]), np.uint8)
                canvas[:] = fill
                inside = (slice(None),) * axis + (slice(before, before + image.shape[axis]),)
                canvas[inside] = image
                image = canvas
        return image


def as_picture(image: np.ndarray, channels: int) -> Image.Image:
    """uint8 [height, width, 1 or 3] as a Pillow image of mode L or RGB with `channels` bands."""
    picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
    return picture.convert("L" if channels == 1 else "RGB")


def as_pixels(picture: Image.Image) -> np.ndarray:
    """A Pillow image of mode L or RGB as uint8 [height, width, 1 or 3]."""
    array = np.asarray(picture)
    return array[..., None] if array.ndim == 2 else array
