"""Accuracy is exact: right arithmetic, every example once, the same on any devices and batches."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from tests.conftest import json_from_8_devices
from tests.weights import CLASSES, random_source, tiny_model
from zoo.data import BadImageError, subset
from zoo.data.records import ArraySource
from zoo.evaluation import (
    ClassMismatchError,
    NonFiniteLogitsError,
    evaluate,
    label_ranks,
    predict,
)


@pytest.mark.parametrize(
    ("network", "correct1", "correct5"), [("resnet50", 38065, 46431), ("alexnet", 28259, 39535)]
)
def test_counts_of_stored_imagenet_predictions_are_the_published_ones(
    data_root, network, correct1, correct5
):
    folder = data_root / "imagenet-labels"
    best = np.load(folder / "val_top5_predictions.npz")[network].astype(np.int64)
    labels = np.loadtxt(folder / "val_labels.txt", dtype=np.int64)
    ranks = []
    for start in range(0, len(labels), 5000):
        rows = slice(start, start + 5000)
        logits = np.zeros((5000, 1000), np.float32)
        np.put_along_axis(logits, best[rows], np.float32([5, 4, 3, 2, 1]), axis=1)
        ranks.append(np.asarray(label_ranks(jnp.asarray(logits), jnp.asarray(labels[rows]))))
    # Labels outside the stored five have logit 0 and at least five classes before them.
    ranks = np.concatenate(ranks)
    assert (np.sum(ranks < 1), np.sum(ranks < 5)) == (correct1, correct5)
    published = {"resnet50": (0.76130, 0.92862), "alexnet": (0.56518, 0.79070)}[network]
    assert (correct1 / 50000, correct5 / 50000) == pytest.approx(published, abs=1e-12)


def test_of_equal_logits_the_lower_class_comes_first():
    logits = jnp.asarray([[1.0, 1.0, 0.0, 1.0]] * 4)
    assert label_ranks(logits, jnp.arange(4)).tolist() == [0, 1, 3, 2]


@pytest.mark.fault("E10")
def test_result_equals_a_plain_loop_in_float64():
    model, source = tiny_model(), random_source(37)
    images, labels = source.arrays
    with jax.default_matmul_precision("highest"):
        logits = np.asarray(model(model.preprocess.normalize(images)), np.float64)
    order = np.argsort(-logits, axis=1, kind="stable")
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(37), labels]
    result = evaluate(model, source, batch_size=10)
    assert result.n == 37
    assert result.correct1 == np.sum(order[:, 0] == labels)
    assert result.correct5 == np.sum(order[:, :5] == labels[:, None])
    assert result.top1 == result.correct1 / 37
    # float32 logits of about 10, one rounding each
    assert result.loss == pytest.approx(losses.mean(), rel=1e-5)


@pytest.mark.fault("E8", "E10", "E12")
@pytest.mark.parametrize("batch_size", [1, 7, 103, 256])
def test_counts_do_not_depend_on_the_batch_size(batch_size):
    model, source = tiny_model(), random_source(103)
    first = evaluate(model, source, batch_size=50)
    second = evaluate(model, source, batch_size=batch_size)
    assert (second.correct1, second.correct5, second.n) == (first.correct1, first.correct5, 103)
    assert second.loss == pytest.approx(first.loss, rel=1e-6)


@pytest.mark.fault("E8")
def test_counts_are_the_same_on_1_2_and_8_devices():
    code = (
        "import jax, json\n"
        "from tests.weights import tiny_model, random_source\n"
        "from zoo.evaluation import evaluate\n"
        "model, source = tiny_model(), random_source(103)\n"
        "results = [evaluate(model, source, batch_size=b, devices=jax.devices()[:d])\n"
        "           for d, b in ((1, 40), (2, 40), (8, 40), (8, 3))]\n"
        "print(json.dumps([(r.correct1, r.correct5, r.n, r.loss, r.device) for r in results]))\n"
    )
    results = json_from_8_devices(code)
    assert len({tuple(result[:3]) for result in results}) == 1
    assert [result[4] for result in results] == ["1 x cpu", "2 x cpu", "8 x cpu", "8 x cpu"]
    assert [r[3] for r in results] == pytest.approx([results[0][3]] * 4, rel=1e-6)


def _compiles(message):
    return message.startswith("Compiling") and "_answers" in message


def test_one_structure_compiles_once(caplog):
    source = random_source(20)
    evaluate(tiny_model(seed=3), source, batch_size=19)
    with jax.log_compiles(True), caplog.at_level("WARNING"):
        other = dataclasses.replace(tiny_model(seed=4), classes=())
        evaluate(other, source, batch_size=19)
    assert not [r for r in caplog.records if _compiles(r.getMessage())]
    with jax.log_compiles(True), caplog.at_level("WARNING"):
        evaluate(other, source, batch_size=18)
    assert [r for r in caplog.records if _compiles(r.getMessage())]


@pytest.mark.parametrize("count", [2, 4])
def test_with_fewer_than_five_classes_every_example_is_top5(count):
    classes = CLASSES[:count]
    result = evaluate(tiny_model(classes=classes), random_source(9, classes=classes))
    assert result.top5 == 1 and result.correct5 == 9


@pytest.mark.fault("E7")
def test_classes_in_another_order_are_matched_by_name():
    model, source = tiny_model(), random_source(50)
    expected = evaluate(model, source)
    images, labels = source.arrays
    turned = tuple(reversed(CLASSES))
    other = ArraySource("noise", "test", turned, images, len(CLASSES) - 1 - labels)
    result = evaluate(model, other)
    assert (result.correct1, result.loss) == (expected.correct1, expected.loss)


@pytest.mark.fault("E7")
@pytest.mark.parametrize(
    ("classes", "match"),
    [
        (("a", "b", "c", "d", "e", "f", "x"), "does not tell apart: x"),
        (CLASSES[:5], "has 5 classes, the model 7"),
    ],
)
def test_other_classes_are_refused(classes, match):
    with pytest.raises(ClassMismatchError, match=match):
        evaluate(tiny_model(), random_source(9, classes=classes))


def test_model_and_data_are_matched_after_taking_a_subset():
    model = tiny_model(classes=("b", "a"))
    result = evaluate(model, subset(random_source(60), ["b", "a"]))
    assert 0 < result.n < 60


@pytest.mark.fault("E11")
def test_non_finite_logits_are_counted_and_refused():
    params = tiny_model().split()[1]
    params["head.bias"] = jnp.asarray(params["head.bias"]).at[2].set(jnp.nan)
    model = tiny_model().with_params(params)
    with pytest.raises(NonFiniteLogitsError, match="11 of 11 examples gave NaN"):
        evaluate(model, random_source(11), batch_size=4)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"precision": "float8"}, "precision='float8'; allowed: highest, high, default"),
        ({"batch_size": 0}, "batch_size=0; give a whole number"),
    ],
)
def test_bad_arguments_are_refused(change, match):
    with pytest.raises(ValueError, match=match):
        evaluate(tiny_model(), random_source(3), **change)


def test_a_network_without_preprocessing_is_refused():
    with pytest.raises(TypeError, match="ResNet does not say how images are brought to it; give"):
        evaluate(tiny_model().network, random_source(3))


def test_result_as_json_says_how_it_was_measured():
    model = tiny_model()
    values = json.loads(json.dumps(evaluate(model, random_source(8)).to_json()))
    expected = {**dataclasses.asdict(model.preprocess), "image_size": [8, 8]}
    assert values["preprocess"] == {**expected, "mean": [0.5], "std": [0.25]}
    assert {"top1", "top5", "loss", "n", "precision", "device", "versions"} <= set(values)
    p = values["top1"]
    assert values["standard_error"] == pytest.approx((p * (1 - p) / 8) ** 0.5)


@pytest.fixture
def pictures(tmp_path):
    """Five grey pictures of other sizes than the network's."""
    generator = np.random.default_rng(5)
    files = []
    for i in range(5):
        files.append(tmp_path / f"{i}.png")
        Image.fromarray(generator.integers(0, 256, (12, 9 + i), np.uint8)).save(files[-1])
    return files


def test_predictions_are_the_softmax_of_the_logits(pictures):
    model = tiny_model()
    answers = predict(model, pictures, top=3)
    assert [answer["file"] for answer in answers] == [str(file) for file in pictures]
    for file, answer in zip(pictures, answers, strict=True):
        with jax.default_matmul_precision("highest"):
            logits = model(model.preprocess(file))[0]
        expected = np.asarray(jax.nn.softmax(logits))
        index = int(expected.argmax())
        assert (answer["index"], answer["class"]) == (index, CLASSES[index])
        # float32, batches of another size
        assert answer["probability"] == pytest.approx(expected[index], rel=1e-4)
        assert answer["top"][0]["probability"] == answer["probability"]
        assert len(answer["top"]) == 3


def test_a_file_that_is_no_image_is_named(tmp_path, pictures):
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    with pytest.raises(BadImageError, match="bad.png"):
        predict(tiny_model(), [*pictures, bad])


def test_files_that_are_no_images_are_skipped_when_asked(tmp_path, pictures, capsys):
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    files = [pictures[0], bad, *pictures[1:]]
    answers = predict(tiny_model(), files, bad_examples="skip")
    assert [a for a in answers if "error" not in a] == predict(tiny_model(), pictures)
    assert answers[1]["file"] == str(bad) and "bad.png: not an image" in answers[1]["error"]
    assert all("error" in a for a in predict(tiny_model(), [bad, bad], bad_examples="skip"))


def test_pictures_that_are_no_files_are_called_by_their_place(pictures):
    opened = [Image.open(pictures[0]), np.asarray(Image.open(pictures[1])), pictures[2]]
    opened.append(pictures[3].read_bytes())
    answers = predict(tiny_model(), opened)
    names = [str(pictures[0]), "image 1", str(pictures[2]), "image 3"]
    assert [answer["file"] for answer in answers] == names
    assert [a["top"] for a in answers] == [a["top"] for a in predict(tiny_model(), pictures[:4])]
