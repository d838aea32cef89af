"""TensorFlow data sets that are already prepared as ArrayRecord, read without TensorFlow."""

from pathlib import Path
from typing import Any

from zoo.data.decode import BadImageError, decode_image
from zoo.data.records import MissingSplitError, Record, content_fingerprint

_SPLIT_NAMES = {
    "train": ("train",),
    "val": ("validation", "val", "test"),
    "test": ("test", "validation", "val"),
}


class TfdsSource:
    """One split of a prepared image-classification data set.

    Images are taken as stored and decoded by `zoo.data.decode`, not by TFDS.

    Raises:
      ValueError: if the data set has no image, or no label with class names.
    """

    def __init__(self, builder: Any, name: str, split: str, decoders: dict[str, Any]) -> None:
        features = builder.info.features
        if not {"image", "label"} <= set(features) or not hasattr(features["label"], "names"):
            raise ValueError(
                f"{name} has the features {', '.join(features)}; image classification needs "
                "an 'image' and a 'label' that is a ClassLabel"
            )
        self.name = name
        self.split = _split_name(builder.info.splits, name, split)
        self.classes = tuple(features["label"].names)
        self._channels = 1 if features["image"].shape[-1] == 1 else 3
        self._identity = [str(builder.info.full_name), builder.info.splits[self.split].num_examples]
        try:
            self._records = builder.as_data_source(split=self.split, decoders=decoders)
        # As above: shards that are not there, or fewer than described, are any exception.
        except Exception as error:
            raise ValueError(f"{name} {self.split} {_reason(error)}; prepare it again") from error
        if len(self._records) != self._identity[1]:
            raise ValueError(
                f"{name} {self.split}: {len(self._records)} records on disk, "
                f"{self._identity[1]} in its description; prepare it again"
            )

    @property
    def fingerprint(self) -> str:
        """Hex sha256 over the data set's full name, version and size, not over pixels."""
        return content_fingerprint(self, self._identity)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Record:
        name = f"{self.name} {self.split} example {index}"
        try:
            example = self._records[index]
        # ArrayRecord and the parser of examples raise any exception on a damaged shard.
        except Exception as error:
            raise BadImageError(f"{name} {_reason(error)}; prepare the data again") from error
        label = int(example["label"])
        if not 0 <= label < len(self.classes):
            raise ValueError(
                f"{name} has label {label}, allowed is 0..{len(self.classes) - 1}; "
                "the split may have no labels: choose another"
            )
        return Record(decode_image(example["image"], self._channels, name=name), label)


def open_tfds(name: str, split: str, data_dir: str | Path | None = None) -> TfdsSource:
    """Open a TFDS data set that was prepared with `file_format="array_record"`.

    Args:
      name: as TFDS calls it, for example "mnist" or "imagenet2012:5.1.0".
      split: "train", "val" or "test"; "validation" stands in for the last two and they for it.
      data_dir: the folder TFDS prepared into; TFDS's own default when None.

    Raises:
      ValueError: if TFDS is missing, the data set is unknown or not prepared, or it is not an
        image-classification set.
    """
    try:
        import tensorflow_datasets as tfds
    except ImportError as error:
        raise ValueError(
            f"tfds:{name} needs tensorflow-datasets; run: pip install tensorflow-datasets"
        ) from error
    place = data_dir if data_dir is not None else tfds.core.constants.DATA_DIR
    absent = (
        f"tfds:{name} is not prepared as ArrayRecord in {place}; where TensorFlow is installed, "
        f"run: tfds build {name} --file_format=array_record --data_dir={place}"
    )
    try:
        builder = tfds.builder(
            name, data_dir=None if data_dir is None else str(data_dir), try_gcs=False
        )
    except tfds.core.DatasetNotFoundError as error:
        raise ValueError(f"TFDS knows no data set {name!r} and {place} holds none") from error
    except ImportError as error:
        raise ValueError(f"{absent} ({error})") from error
    # TFDS raises whatever its parsers do on a description that is damaged or not known to it.
    except Exception as error:
        raise ValueError(f"tfds:{name} in {place} {_reason(error)}; prepare it again") from error
    if not builder.info.splits:
        raise ValueError(absent)
    if builder.info.file_format.value != "array_record":
        raise ValueError(f"{absent} (found: {builder.info.file_format.value})")
    return TfdsSource(builder, f"tfds:{name}", split, {"image": tfds.decode.SkipDecoding()})


def _split_name(available: Any, name: str, split: str) -> str:
    for candidate in _SPLIT_NAMES[split]:
        if candidate in available:
            return candidate
    raise MissingSplitError(f"{name} has no {split} split, only: {', '.join(available)}")


def _reason(error: Exception) -> str:
    return f"cannot be read ({type(error).__name__}: {' '.join(str(error).split())[:200]})"
