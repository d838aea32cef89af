"""ImageNet of 40 real pictures in every form users have, official names under official labels."""

import csv
import io
import json
import tarfile
from pathlib import Path

import numpy as np

from zoo.data import open_source
from zoo.data.imagenet.labels import val_labels, wnids


def write_trees(tars: Path, root: Path) -> dict[str, Path]:
    """Form -> folder, all with the same images; validation images have names of their class."""
    train, val = (open_source("imagenet2012", split, data_dir=str(tars)) for split in SPLITS)
    numbers = [int(np.flatnonzero(val_labels() == label)[0]) + 1 for label in val.labels]
    flat = {f"ILSVRC2012_val_{n:08d}.JPEG": val.encoded(i) for i, n in enumerate(numbers)}
    by_class = {
        f"{wnids()[val_labels()[n - 1]]}/{name}": data
        for n, (name, data) in zip(numbers, flat.items(), strict=True)
    }
    train_files = {
        f"{wnids()[train.labels[i]]}/{train.store.names[i]}": train.encoded(i)
        for i in range(len(train))
    }
    forms = {name: root / name for name in ("folders", "flat", "kaggle", "tars", "class_tars")}
    _write(forms["folders"] / "train", train_files)
    _write(forms["folders"] / "val", by_class)
    _write(forms["flat"] / "train", train_files)
    _write(forms["flat"] / "val", flat)
    _write(forms["kaggle"] / "ILSVRC/Data/CLS-LOC/train", train_files)
    _write(forms["kaggle"] / "ILSVRC/Data/CLS-LOC/val", flat)
    write_kaggle_list(forms["kaggle"], {n: wnids()[val_labels()[n - 1]] for n in numbers})
    forms["tars"].mkdir()
    (forms["tars"] / "ILSVRC2012_img_train.tar").symlink_to(tars / "ILSVRC2012_img_train.tar")
    write_tar(forms["tars"] / "ILSVRC2012_img_val.tar", flat)
    _write(forms["class_tars"] / "val", flat)
    (forms["class_tars"] / "train").mkdir()
    with tarfile.open(tars / "ILSVRC2012_img_train.tar") as outer:
        outer.extractall(forms["class_tars"] / "train", filter="data")
    return forms


SPLITS = ("train", "val")


def write_kaggle_list(folder: Path, wnid_of: dict[int, str]) -> None:
    with (folder / "LOC_val_solution.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["ImageId", "PredictionString"])
        for number, wnid in wnid_of.items():
            rows.writerow([f"ILSVRC2012_val_{number:08d}", f"{wnid} 1 2 30 40 {wnid} 5 6 70 80 "])


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def _write(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def write_tfds(root: Path, classes: tuple[str, ...], images: list[tuple[bytes, int]]) -> None:
    """imagenet2012 as TFDS prepares it, validation split only, without TensorFlow."""
    import tensorflow_datasets as tfds
    from array_record.python.array_record_module import ArrayRecordWriter
    from tensorflow_datasets.core.example_serializer import ExampleSerializer

    folder = root / "imagenet2012" / "5.1.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(encoding_format="jpeg"),
            "label": tfds.features.ClassLabel(names=list(classes)),
        }
    )
    serializer = ExampleSerializer(features.get_serialized_info())
    records = [serializer.serialize_example({"image": i, "label": k}) for i, k in images]
    name = "imagenet2012-validation.array_record-00000-of-00001"
    writer = ArrayRecordWriter(str(folder / name), "group_size:1")
    for record in records:
        writer.write(record)
    writer.close()
    split = {
        "name": "validation",
        "shardLengths": [str(len(records))],
        "numBytes": str(sum(map(len, records))),
        "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
    }
    features.save_config(str(folder))
    info = {"name": "imagenet2012", "version": "5.1.0", "fileFormat": "array_record"}
    (folder / "dataset_info.json").write_text(
        json.dumps({**info, "moduleName": "imagenet", "splits": [split]})
    )
