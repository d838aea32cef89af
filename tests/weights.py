"""A tiny network with random weights that stands in for a trained one."""

import shutil

import numpy as np
import pytest

from zoo.classifier import Classifier, Provenance
from zoo.data import Preprocessing
from zoo.data.records import ArraySource
from zoo.models import create_model, merge, split, variant_of
from zoo.pretrained import write_index, write_pretrained
from zoo.shaping import ShapedActivation

ARCH = "vanilla_resnet18_he_relu"
ID = f"{ARCH}.tiny"
CLASSES = tuple("abcdefg")


def tiny_model(
    *,
    seed: int = 0,
    classes: tuple[str, ...] = CLASSES,
    arch: str = ARCH,
    activation: ShapedActivation | None = None,
) -> Classifier:
    """18 layers, 4 to 32 channels, for 8 x 8 grey images; He-scaled normal weights."""
    graphdef, abstract = split(
        create_model(
            arch,
            activation=activation,
            num_classes=len(classes),
            stem="cifar",
            width=0.0625,
            in_channels=1,
            abstract=True,
        )
    )
    generator = np.random.default_rng(seed)
    params = {
        name: np.asarray(
            generator.normal(size=leaf.shape) * (2 / max(1, np.prod(leaf.shape[:-1]))) ** 0.5,
            np.float32,
        )
        for name, leaf in abstract.items()
    }
    preprocess = Preprocessing((8, 8), mean=(0.5,), std=(0.25,), channels=1)
    provenance = Provenance(arch, variant_of(arch).shaping)
    return Classifier(merge(graphdef, params), preprocess, classes, provenance)


def random_source(n: int, *, classes: tuple[str, ...] = CLASSES, seed: int = 1) -> ArraySource:
    """`n` images of noise with random labels."""
    generator = np.random.default_rng(seed)
    images = generator.integers(0, 256, (n, 8, 8, 1), np.uint8)
    labels = generator.integers(0, len(classes), n)
    return ArraySource("noise", "test", classes, images, labels)


def metrics_of(correct1: int = 3, correct5: int = 5, n: int = 10) -> dict:
    """A consistent entry of `metrics`."""
    counts = {"correct1": correct1, "correct5": correct5, "n": n}
    return {"noise": {**counts, "top1": correct1 / n, "top5": correct5 / n, "loss": 1.5}}


def publish_tiny(checkpoints, **changes) -> Classifier:
    """Writes the tiny model as the only weight of `checkpoints`; returns it."""
    model = tiny_model()
    arguments = {"metrics": metrics_of(), "recipe": {"steps": 1}, "data_terms": "data: noise"}
    write_pretrained(checkpoints / ID, model, **{**arguments, **changes})
    write_index(checkpoints)
    return model


@pytest.fixture(scope="session")
def _template(tmp_path_factory):
    folder = tmp_path_factory.mktemp("template") / "checkpoints"
    publish_tiny(folder, card=lambda manifest: f"# {manifest.id}\n")
    return folder


@pytest.fixture
def checkpoints(_template, tmp_path, monkeypatch):
    """A folder with one published weight, where `load_pretrained` looks."""
    folder = tmp_path / "checkpoints"
    shutil.copytree(_template, folder)
    monkeypatch.setenv("ZOO_CHECKPOINTS", str(folder))
    return folder
