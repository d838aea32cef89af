"""A TFDS data set prepared as ArrayRecord, written here without TensorFlow."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from zoo.data import BadImageError, Preprocessing, eval_batches, open_source

COUNTS = {"train": 6, "test": 3}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data_dir with tiny_shapes/1.0.0: grey PNGs, classes square and circle; test 2 is damaged."""
    tfds = pytest.importorskip("tensorflow_datasets")
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    root = tmp_path_factory.mktemp("tfds")
    folder = root / "tiny_shapes" / "1.0.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(None, None, 1)),
            "label": tfds.features.ClassLabel(names=["square", "circle"]),
        }
    )
    serializer = ExampleSerializer(features.get_serialized_info())
    splits = []
    for split, count in COUNTS.items():
        writer = ArrayRecordWriter(
            str(folder / f"tiny_shapes-{split}.array_record-00000-of-00001"), "group_size:1"
        )
        size = 0
        for number in range(count):
            encoded = _png(number)[: 45 if (split, number) == ("test", 2) else None]
            record = serializer.serialize_example({"image": encoded, "label": number % 2})
            writer.write(record)
            size += len(record)
        writer.close()
        splits.append(
            {
                "name": split,
                "shardLengths": [str(count)],
                "numBytes": str(size),
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
            }
        )
    features.save_config(str(folder))
    info = {
        "name": "tiny_shapes",
        "version": "1.0.0",
        "fileFormat": "array_record",
        "moduleName": "tiny.shapes",
        "splits": splits,
    }
    (folder / "dataset_info.json").write_text(json.dumps(info))
    return root


def _png(number: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((5, 4), 10 * number, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def test_a_prepared_set_is_read_without_tensorflow(prepared):
    train = open_source("tfds:tiny_shapes", "train", data_dir=str(prepared))
    assert len(train) == 6 and train.classes == ("square", "circle")
    image, label = train[3]
    assert label == 1 and np.array_equal(image, np.full((5, 4, 1), 30, np.uint8))
    assert "tensorflow" not in sys.modules


def test_the_test_split_stands_in_for_validation_and_bad_records_are_named(prepared):
    val = open_source("tfds:tiny_shapes:1.0.0", "val", data_dir=str(prepared))
    assert len(val) == 3 and val.split == "test"
    with pytest.raises(BadImageError, match="tiny_shapes:1.0.0 test example 2: damaged image"):
        list(eval_batches(val, Preprocessing((4, 4)), batch_size=2))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mnist", "tfds:mnist is not prepared.*tfds build mnist --file_format=array_record"),
        ("tiny_shape", "TFDS knows no data set 'tiny_shape'"),
    ],
)
def test_what_is_not_prepared_gets_the_command_that_prepares_it(prepared, name, message):
    with pytest.raises(ValueError, match=message) as caught:
        open_source(f"tfds:{name}", "train", data_dir=str(prepared))
    assert "\n" not in str(caught.value)


def test_without_tfds_the_package_to_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(ValueError, match="pip install tensorflow-datasets"):
        open_source("tfds:mnist", "train")
