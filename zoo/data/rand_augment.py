"""RandAugment on Pillow images: a few random operations of one strength.

Owns the list of operations and the policy string. Drawing order and probabilities are stated at
`RandAugment`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

_MAX_LEVEL = 10.0
_MAX_TRANSLATION = 0.45
_POLICY = re.compile(r"rand(-(m|n|p|mstd|inc)\d+(\.\d+)?)*")
_PART = re.compile(r"-(mstd|inc|m|n|p)(\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class RandAugment:
    """`operations` times: draw one of `OPERATIONS`, apply it with `probability`.

    Policy strings look like "rand-m9-n2-mstd0.5-inc1-p0.5"; every part but `rand` is optional.

    Attributes:
      magnitude: m, strength on the scale 0..10.
      operations: n, how many are drawn, with replacement.
      magnitude_std: mstd, standard deviation of the strength per operation (clipped to 0..10).
      increasing: inc1, every operation grows stronger with the magnitude.
      probability: p, of applying a drawn operation; 1/2 unless stated.

    Source: Cubuk et al. 2019, arXiv 1909.13719; ranges and probability as in timm.
    """

    magnitude: float = 9.0
    operations: int = 2
    magnitude_std: float = 0.0
    increasing: bool = False
    probability: float = 0.5

    @classmethod
    def parse(cls, policy: str) -> "RandAugment":
        """Read a policy string.

        Raises:
          ValueError: if it is not of the form above, or a value is out of range.
        """
        if not _POLICY.fullmatch(policy):
            raise ValueError(
                f"augmentation: rand_augment is {policy!r}, allowed is for example "
                "'rand-m9-n2' or 'rand-m9-n2-mstd0.5-inc1-p0.5'"
            )
        values = {name: float(value) for name, value in _PART.findall(policy)}
        found = cls(
            magnitude=values.get("m", 9.0),
            operations=int(values.get("n", 2)),
            magnitude_std=values.get("mstd", 0.0),
            increasing=bool(values.get("inc", 0)),
            probability=values.get("p", 0.5),
        )
        if not (0 <= found.magnitude <= _MAX_LEVEL and 0 <= found.probability <= 1):
            raise ValueError(
                f"augmentation: rand_augment is {policy!r}, allowed are m from 0 to 10, p to 1"
            )
        return found

    def __call__(self, picture: Image.Image, generator: np.random.Generator) -> Image.Image:
        """Apply the policy to an image of mode L or RGB."""
        names = tuple(OPERATIONS)
        for _ in range(self.operations):
            which, apply, sign, angle, radius = generator.random(5)
            if apply >= self.probability:
                continue
            # Box-Muller: the level is a function of uniform draws alone.
            noise = np.sqrt(-2 * np.log1p(-radius)) * np.cos(2 * np.pi * angle)
            level = float(np.clip(self.magnitude + self.magnitude_std * noise, 0, _MAX_LEVEL))
            operation = OPERATIONS[names[int(which * len(names))]]
            picture = operation(picture, level / _MAX_LEVEL, sign < 0.5, self.increasing)
        return picture


Operation = Callable[[Image.Image, float, bool, bool], Image.Image]


def _fixed(change: Callable[[Image.Image], Image.Image]) -> Operation:
    return lambda picture, strength, negative, increasing: change(picture)


def _posterize(picture: Image.Image, strength: float, _: bool, increasing: bool) -> Image.Image:
    bits = int(strength * 4)
    bits = 4 - bits if increasing else bits
    return ImageOps.posterize(picture, bits) if bits else picture.point(lambda value: 0)


def _solarize(picture: Image.Image, strength: float, _: bool, increasing: bool) -> Image.Image:
    threshold = min(256, int(strength * 256))
    return ImageOps.solarize(picture, 256 - threshold if increasing else threshold)


def _solarize_add(picture: Image.Image, strength: float, _: bool, __: bool) -> Image.Image:
    added = min(128, int(strength * 110))
    return picture.point(lambda value: min(255, value + added) if value < 128 else value)


def _enhance(kind: Callable[[Image.Image], ImageEnhance._Enhance]) -> Operation:
    def operation(
        picture: Image.Image, strength: float, negative: bool, increasing: bool
    ) -> Image.Image:
        if increasing:
            factor = max(0.1, 1 + (-0.9 if negative else 0.9) * strength)
        else:
            factor = 0.1 + 1.8 * strength
        return kind(picture).enhance(factor)

    return operation


def _affine(matrix: Callable[[float, Image.Image], tuple[float, ...]]) -> Operation:
    def operation(picture: Image.Image, strength: float, negative: bool, _: bool) -> Image.Image:
        coefficients = matrix(-strength if negative else strength, picture)
        return picture.transform(
            picture.size,
            Image.Transform.AFFINE,
            coefficients,
            resample=Image.Resampling.BILINEAR,
            fillcolor=_grey(picture),
        )

    return operation


def _rotate(picture: Image.Image, strength: float, negative: bool, _: bool) -> Image.Image:
    degrees = 30.0 * (-strength if negative else strength)
    return picture.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=_grey(picture))


def _grey(picture: Image.Image) -> int | tuple[int, int, int]:
    return 128 if picture.mode == "L" else (128, 128, 128)


OPERATIONS: dict[str, Operation] = {
    "auto_contrast": _fixed(ImageOps.autocontrast),
    "equalize": _fixed(ImageOps.equalize),
    "invert": _fixed(ImageOps.invert),
    "rotate": _rotate,
    "posterize": _posterize,
    "solarize": _solarize,
    "solarize_add": _solarize_add,
    "color": _enhance(ImageEnhance.Color),
    "contrast": _enhance(ImageEnhance.Contrast),
    "brightness": _enhance(ImageEnhance.Brightness),
    "sharpness": _enhance(ImageEnhance.Sharpness),
    "shear_x": _affine(lambda s, picture: (1, 0.3 * s, 0, 0, 1, 0)),
    "shear_y": _affine(lambda s, picture: (1, 0, 0, 0.3 * s, 1, 0)),
    "translate_x": _affine(
        lambda s, picture: (1, 0, _MAX_TRANSLATION * s * picture.width, 0, 1, 0)
    ),
    "translate_y": _affine(
        lambda s, picture: (1, 0, 0, 0, 1, _MAX_TRANSLATION * s * picture.height)
    ),
}
