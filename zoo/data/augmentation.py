"""Random changes of training images on the host, before they are stacked and sent to the device.

Owns crop, flip, random-resized-crop and colour jitter, and their policy `Augmentation`. RandAugment
is `zoo.data.rand_augment`; what mixes whole batches on the device is
`zoo.data.device_augmentation`.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType
from typing import Any

import numpy as np
from PIL import Image, ImageEnhance

from zoo.data.preprocessing import INTERPOLATIONS, Preprocessing, as_picture, as_pixels
from zoo.data.rand_augment import RandAugment
from zoo.data.random_bits import (
    STREAM_COLOR,
    STREAM_CROP,
    STREAM_FLIP,
    STREAM_RESIZED_CROP,
    example_generator,
    example_words,
)

_ASPECT_RANGE = (3 / 4, 4 / 3)
_CROP_ATTEMPTS = 10
_JITTERS = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)


@dataclass(frozen=True)
class Augmentation:
    """What may happen to a training image; every field is off by default.

    Order: random-resized-crop (in place of the evaluation transform), padded crop, flip,
    RandAugment, colour jitter. Each draws from its own stream of (seed, epoch, example).

    Attributes:
      crop_padding: pixels of black added on every side before a crop of the original size.
      flip: mirror left and right with probability 1/2.
      random_resized_crop: (smallest, largest) share of the area that is cut out and resized,
        sides in proportion 3/4 to 4/3.
      color_jitter: strength s; brightness, contrast and saturation are each scaled by a factor
        uniform in [max(0, 1 - s), 1 + s], in random order.
      rand_augment: policy such as "rand-m9-n2" (see `zoo.data.rand_augment`).

    Raises:
      ValueError: on a value outside its range.
    """

    crop_padding: int = 0
    flip: bool = False
    random_resized_crop: tuple[float, float] | None = None
    color_jitter: float = 0.0
    rand_augment: str | None = None

    def __post_init__(self) -> None:
        if self.crop_padding < 0:
            raise ValueError(f"augmentation: crop_padding is {self.crop_padding}, allowed is >= 0")
        if not (0 <= self.color_jitter < math.inf):
            raise ValueError(f"augmentation: color_jitter is {self.color_jitter}, allowed is >= 0")
        if self.random_resized_crop is not None:
            area = tuple(self.random_resized_crop)
            if len(area) != 2 or not 0 < area[0] <= area[1] <= 1:
                raise ValueError(
                    f"augmentation: random_resized_crop is {area}, "
                    "allowed is (smallest, largest) with 0 < smallest <= largest <= 1"
                )
            object.__setattr__(self, "random_resized_crop", area)  # JSON gives lists
        if self.rand_augment is not None:
            RandAugment.parse(self.rand_augment)

    @cached_property
    def _rand_augment(self) -> RandAugment | None:
        return None if self.rand_augment is None else RandAugment.parse(self.rand_augment)

    def frame(
        self, image: np.ndarray, preprocessing: Preprocessing, seed: int, epoch: int, index: int
    ) -> np.ndarray:
        """One decoded image at the size of the network: random-resized-crop or `transform`.

        Args:
          image: [height, width, channels] uint8.

        Returns:
          [image_size[0], image_size[1], preprocessing.channels] uint8.
        """
        if self.random_resized_crop is None:
            return preprocessing.transform(image)
        generator = example_generator(seed, epoch, index, STREAM_RESIZED_CROP)
        return random_resized_crop(image, preprocessing, self.random_resized_crop, generator)

    def batch(
        self, images: np.ndarray, seed: int, epochs: np.ndarray, indices: np.ndarray
    ) -> np.ndarray:
        """Crop, flip and colour a batch [n, height, width, channels] of framed uint8 images."""
        if self.crop_padding or self.flip:
            images = random_crop_flip(
                np, images, seed, epochs, indices, padding=self.crop_padding, flip=self.flip
            )
        if self._rand_augment is None and not self.color_jitter:
            return images
        colored = [
            self._color(image, example_generator(seed, int(epoch), int(index), STREAM_COLOR))
            for image, epoch, index in zip(images, epochs, indices, strict=True)
        ]
        return np.stack(colored)

    def _color(self, image: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        picture = as_picture(image, image.shape[-1])
        if self._rand_augment is not None:
            picture = self._rand_augment(picture, generator)
        if self.color_jitter:
            picture = color_jitter(picture, self.color_jitter, generator)
        return as_pixels(picture)


def random_crop_flip(
    xp: ModuleType,
    images: Any,
    seed: int,
    epochs: Any,
    indices: Any,
    *,
    padding: int,
    flip: bool,
) -> Any:
    """Shift each image by up to `padding` pixels, black coming in, and mirror half of them.

    out[i, y, x] = images[i, y + a_i, x' + b_i], zero outside the image, where
    a_i, b_i = (crop words of (seed, epoch_i, index_i)) mod (2 padding + 1) - padding, and
    x' = width - 1 - x where the top bit of the first flip word is set, else x.

    Args:
      xp: `numpy` or `jax.numpy`; both give the same pixels.
      images: [n, height, width, channels].
      epochs: [n] integers.
      indices: [n] integers, the examples' numbers in their source.
    """
    n, height, width = images.shape[:3]
    mirrored = example_words(xp, seed, epochs, indices, STREAM_FLIP)[0] >> 31 == 1
    if flip and not padding and xp is np and images.flags.c_contiguous:
        return _mirrored(images, mirrored)
    span = 2 * padding + 1
    crop = example_words(xp, seed, epochs, indices, STREAM_CROP)
    down, right = ((word % span).astype("int32") for word in crop)
    columns = xp.broadcast_to(xp.arange(width)[None, :], (n, width))
    if flip:
        columns = xp.where(mirrored[:, None], columns[:, ::-1], columns)
    columns = columns + right[:, None]
    rows = xp.arange(height)[None, :] + down[:, None]
    # Numbers of the pixels in the padded batch: one flat gather, not one slice an image.
    padded = xp.pad(images, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    rows = rows + xp.arange(n)[:, None] * padded.shape[1]
    pixels = rows[:, :, None] * padded.shape[2] + columns[:, None, :]
    return xp.take(padded.reshape(-1, images.shape[-1]), pixels, axis=0)


def _mirrored(images: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    out = images.copy()
    pixels = out.view(f"V{out.itemsize * out.shape[-1]}")[..., 0]  # moved whole: twice as fast
    for number in np.flatnonzero(chosen):
        pixels[number] = pixels[number, :, ::-1]
    return out


def random_resized_crop(
    image: np.ndarray,
    preprocessing: Preprocessing,
    area: tuple[float, float],
    generator: np.random.Generator,
) -> np.ndarray:
    """Cut a random rectangle out of the image and resize it to the network's size.

    The area is uniform in `area` times the image's, the logarithm of width / height uniform in
    log 3/4 .. log 4/3. After ten rectangles that do not fit, the largest centred one with allowed
    proportions is taken.

    Source: Szegedy et al. 2015, arXiv 1409.4842, section 6; fallback as in torchvision.
    """
    top, left, height, width = crop_box(image.shape[0], image.shape[1], area, generator)
    picture = as_picture(image[top : top + height, left : left + width], preprocessing.channels)
    size = preprocessing.image_size[::-1]
    return as_pixels(picture.resize(size, INTERPOLATIONS[preprocessing.interpolation]))


def crop_box(
    height: int, width: int, area: tuple[float, float], generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """Top, left, height and width of the rectangle that `random_resized_crop` cuts out."""
    low, high = (math.log(aspect) for aspect in _ASPECT_RANGE)
    for _ in range(_CROP_ATTEMPTS):
        share, aspect, down, right = generator.random(4)
        pixels = height * width * (area[0] + (area[1] - area[0]) * share)
        ratio = math.exp(low + (high - low) * aspect)
        box_width, box_height = round(math.sqrt(pixels * ratio)), round(math.sqrt(pixels / ratio))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(down * (height - box_height + 1))
            left = int(right * (width - box_width + 1))
            return top, left, box_height, box_width
    box_width = min(width, max(1, round(height * _ASPECT_RANGE[1])))
    box_height = min(height, max(1, round(width / _ASPECT_RANGE[0])))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width


def color_jitter(
    picture: Image.Image, strength: float, generator: np.random.Generator
) -> Image.Image:
    """Scale brightness, contrast and saturation by random factors, in random order."""
    draws = generator.random(2 * len(_JITTERS))
    factors, order = draws[: len(_JITTERS)], np.argsort(draws[len(_JITTERS) :])
    low, high = max(0.0, 1 - strength), 1 + strength
    for number in order:
        picture = _JITTERS[number](picture).enhance(low + (high - low) * float(factors[number]))
    return picture
