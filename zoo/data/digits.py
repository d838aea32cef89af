"""The handwritten digits bundled with scikit-learn: 1,797 grey images of 8 x 8 pixels."""

import numpy as np

from zoo.data.records import ArraySource

CLASSES = tuple(str(digit) for digit in range(10))
_SIDE = 8
_TEST_EVERY = 5


def open_digits(split: str) -> ArraySource:
    """The digits as a source: 1,437 training or 360 test images, one channel.

    Pixels: the file's 0..16 become uint8 by round(v * 255 / 16), halves to even.
    Split: sort all examples by label, keeping the file's order inside a label; every fifth one
    (positions 0, 5, 10, ...) is a test example. So each class gives a fifth of its images, up to
    one. Inside a split the examples stand in the file's order.

    Args:
      split: "train" or "test" ("val" is the same as "test").

    Raises:
      ValueError: if scikit-learn is not installed.

    Source: Alpaydin and Kaynak 1998, "Optical recognition of handwritten digits", UCI.
    """
    images, labels = _load()
    by_label = np.argsort(labels, kind="stable")
    is_test = np.zeros(len(labels), bool)
    is_test[by_label[::_TEST_EVERY]] = True
    chosen = ~is_test if split == "train" else is_test
    name = "train" if split == "train" else "test"
    return ArraySource("digits", name, CLASSES, images[chosen], labels[chosen])


def _load() -> tuple[np.ndarray, np.ndarray]:
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise ValueError(
            "the digits come with scikit-learn, which is not installed; "
            "run: pip install 'flax-vanilla-zoo[demo]'"
        ) from error
    pixels, labels = load_digits(return_X_y=True)
    images = np.round(np.asarray(pixels) * (255 / 16)).astype(np.uint8)
    return images.reshape(-1, _SIDE, _SIDE, 1), np.asarray(labels, np.int32)
