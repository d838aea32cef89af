"""A pretrained network for other channels, sizes and classes: exact where it can be."""

import json

import jax.numpy as jnp
import numpy as np
import pytest

from tests.weights import CLASSES, ID, random_source, tiny_model
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.classifier import Classifier, Provenance
from zoo.cli import main
from zoo.data import Preprocessing
from zoo.evaluation import evaluate
from zoo.models import create_model, merge, split
from zoo.pretrained import adapt, load_pretrained
from zoo.pretrained.channels import change_channels

MEAN, STD = (0.485, 0.456, 0.406, 0.5), (0.229, 0.224, 0.225, 0.3)
STEMS = {
    "cifar": ("vanilla_resnet18_he_relu", {"stem": "cifar"}),
    "imagenet": ("vanilla_resnet18_he_relu", {"stem": "imagenet"}),
    "none": ("vanilla_resnet18_he_relu", {"stem": "cifar", "input_norm": "none"}),
    "batch norm": ("resnet18", {"stem": "imagenet"}),
}


def _model(case, channels, *, mean=MEAN, size=32):
    """Random weights in every tap, so that borders matter."""
    arch, options = STEMS[case]
    graphdef, abstract = split(
        create_model(
            arch, **options, in_channels=channels, num_classes=5, width=0.0625, abstract=True
        )
    )
    generator = np.random.default_rng(3)
    params = {
        name: jnp.asarray(
            np.abs(generator.normal(size=leaf.shape))
            if name.endswith(".var")
            else generator.normal(size=leaf.shape)
            * (1.5 / max(4, np.prod(leaf.shape[:-1]))) ** 0.5,
            leaf.dtype,
        )
        for name, leaf in abstract.items()
    }
    preprocess = Preprocessing(
        (size, size), mean=mean[:channels], std=STD[:channels], channels=channels
    )
    return Classifier(merge(graphdef, params), preprocess, tuple("abcde"), Provenance(arch))


def _images(channels, n=2, size=32):
    return np.random.default_rng(4).integers(0, 256, (n, size, size, channels), np.uint8)


def _logits(model, images):
    return np.asarray(model(model.preprocess(images)))


def _same(first, second):
    # float32 through 18 layers, relative to the largest logit.
    np.testing.assert_allclose(first, second, atol=2e-5 * np.abs(second).max())


@pytest.mark.parametrize(
    ("case", "old", "new"),
    [
        ("cifar", 3, 1), ("cifar", 1, 3), ("cifar", 3, 2), ("cifar", 2, 5), ("cifar", 4, 3),
        ("imagenet", 3, 1), ("imagenet", 1, 3),
    ],
)  # fmt: skip
def test_images_whose_channels_agree_get_the_same_logits(case, old, new):
    """A grey image repeated to RGB, and every other pair of channel numbers alike."""
    model = _model(case, old)
    adapted = adapt(model, in_channels=new)
    fewest = _images(min(old, new))
    repeated = fewest[..., np.arange(max(old, new)) % min(old, new)]
    images = (repeated, fewest) if old > new else (fewest, repeated)
    _same(_logits(adapted, images[1]), _logits(model, images[0]))


@pytest.mark.parametrize(
    ("case", "old", "new", "mean"),
    [("none", 3, 1, (0.45,) * 3), ("none", 3, 4, MEAN), ("batch norm", 1, 3, MEAN)],
)
def test_without_per_location_normalisation_the_means_must_agree(case, old, new, mean):
    model = _model(case, old, mean=mean)
    adapted = adapt(model, in_channels=new)
    fewest = _images(min(old, new))
    repeated = fewest[..., np.arange(max(old, new)) % min(old, new)]
    images = (repeated, fewest) if old > new else (fewest, repeated)
    _same(_logits(adapted, images[1]), _logits(model, images[0]))


@pytest.mark.parametrize(("old", "new"), [(3, 1), (1, 3), (3, 5)])
def test_what_the_stem_sees_keeps_its_mean_square(old, new):
    """q after the first convolution, for channels that agree: the sum over taps is exact."""
    kernel = np.random.default_rng(0).normal(size=(3, 3, old + 1, 8))
    changed, mean, std = change_channels(kernel, MEAN[:old], STD[:old], new, per_location=True)
    fewest = np.random.default_rng(1).uniform(size=(500, min(old, new)))
    values = {n: fewest[:, np.arange(n) % min(old, new)] for n in (old, new)}

    def stem(kernel, x, mean, std):
        x = np.concatenate([(x - mean) / std, np.ones((len(x), 1))], axis=1)
        return x / np.sqrt(np.mean(x**2, axis=1, keepdims=True)) @ kernel.reshape(9, -1, 8)

    before = stem(kernel, values[old], np.array(MEAN[:old]), np.array(STD[:old]))
    np.testing.assert_allclose(stem(changed, values[new], mean, std), before, rtol=1e-10)


def test_a_weight_loads_for_other_channels_and_sizes_and_says_so_in_one_line(checkpoints, caplog):
    with caplog.at_level("WARNING"):
        model = load_pretrained(ID, in_channels=3, image_size=(16, 24))
    (line,) = (record.getMessage() for record in caplog.records)
    assert "\n" not in line and line == str(model.provenance.report)
    for part in ("parameters kept", "3 instead of 1 image channels (mean 0.500", "adapted: stem.k"):
        assert part in line
    assert "images of 16 x 24 instead of 8 x 8 pixels" in line and "newly" not in line
    assert model.provenance.report.adapted == ("stem.kernel",) and model.provenance.report.new == ()
    assert (model.preprocess.image_size, model.preprocess.channels) == ((16, 24), 3)
    assert model.classes == CLASSES
    old, new = tiny_model().split()[1], model.split()[1]
    assert all(np.array_equal(old[n], new[n]) for n in old if n != "stem.kernel")


def test_an_adapted_weight_is_evaluated_and_a_partly_new_one_is_not(checkpoints):
    source = random_source(12)
    model = load_pretrained(ID, in_channels=3)  # grey images become RGB with three equal channels
    assert evaluate(model, source).correct1 == evaluate(ID, source).correct1
    partly = load_pretrained(ID, in_channels=3, num_classes=3)
    assert partly.provenance.report.new == ("head.bias", "head.kernel")
    assert partly.provenance.report.adapted == ("stem.kernel",)
    with pytest.raises(ValueError, match="was replaced and is not trained"):
        evaluate(partly, random_source(5, classes=CLASSES[:3]))


def test_what_is_new_stays_new_when_adapted_again():
    model = adapt(adapt(tiny_model(), num_classes=3), image_size=16, in_channels=3)
    report = model.provenance.report
    assert (report.new, report.adapted) == (("head.bias", "head.kernel"), ("stem.kernel",))
    assert len(report.kept) + 3 == len(model.split()[1])
    with pytest.raises(ValueError, match="was replaced and is not trained"):
        evaluate(model, random_source(5, classes=CLASSES[:3]))


@pytest.mark.slow
def test_an_adapted_weight_is_fine_tuned_and_then_evaluated(checkpoints, tmp_path, capsys):
    """Grey digits of 8 x 8 pixels, as RGB of 16 x 16: the run knows its own preprocessing."""
    workdir = str(tmp_path / "run")
    flags = ["--data", "digits", "--classes", "7", "3"]
    arguments = ["finetune", ID, *flags, "--workdir", workdir, "--steps", "2", "--train", "head"]
    assert main([*arguments, "--image-size", "16", "--in-channels", "3"]) == 0
    capsys.readouterr()
    assert main(["eval", workdir, *flags, "--json"]) == 0
    value = json.loads(capsys.readouterr().out.splitlines()[-1])
    told = (value["preprocess"]["image_size"], value["preprocess"]["channels"])
    assert told == ([16, 16], 3) and value["n"] > 0
    model = load_pretrained(workdir)
    assert (model.config.in_channels, model.classes) == (3, ("7", "3"))


def test_what_fits_already_is_not_touched(checkpoints, caplog):
    with caplog.at_level("WARNING"):
        model = load_pretrained(ID, in_channels=1, image_size=8, num_classes=7)
    assert model.provenance.report is None and not caplog.records


def test_files_have_one_or_three_channels_arrays_any_number(checkpoints):
    model = load_pretrained(ID, in_channels=5, image_size=16)
    images = _images(5, size=20)
    assert model.preprocess(images).shape == (2, 16, 16, 5)
    grey = load_pretrained(ID, image_size=16).preprocess
    band = grey.transform(images[0][..., 2:3])
    assert np.array_equal(model.preprocess.transform(images[0])[..., 2:3], band)
    with pytest.raises(ValueError, match="image files have no 5 channels; pass uint8 arrays"):
        model.preprocess("x.png")
    with pytest.raises(ValueError, match=r"allowed is uint8 \[height, width\] or .*width, 5\]"):
        model.preprocess(_images(3))


MISTAKES = {
    "smaller than the reduction": ({"image_size": 7}, "by which .* reduces images; .* 8 x 8"),
    "one side": ({"image_size": (8, 4)}, "image size 8 x 4 is smaller than 8 pixels"),
    "no size": ({"image_size": 0}, "allowed is"),
    "no channels": ({"in_channels": 0}, "in_channels=0; give a whole number >= 1"),
    "fewer than no classes": ({"num_classes": -1}, "num_classes=-1; give a whole number >= 0"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_impossible_numbers_are_refused_in_one_sentence(checkpoints, case):
    options, match = MISTAKES[case]
    with pytest.raises(ValueError, match=match) as error:
        load_pretrained(ID, **options)
    assert "\n" not in str(error.value)
