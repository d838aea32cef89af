"""Fine-tuning keeps what was learned, replaces the head, and leaves a run that stands alone."""

import base64
import contextlib
import dataclasses
import html
import io
import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from tests.weights import ID, tiny_model
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.classifier import Provenance
from zoo.cli import main
from zoo.data import Augmentation, Preprocessing, open_source, subset
from zoo.data.records import ArraySource, source_labels
from zoo.evaluation import evaluate, predict
from zoo.evaluation.measures import wilson_interval
from zoo.export import export
from zoo.finetuning import finetune, finetuning_config, linear_probe
from zoo.finetuning.baseline import pixel_baseline
from zoo.finetuning.origin import OtherRunError
from zoo.finetuning.outcome import PROBE as SOLVED
from zoo.finetuning.outcome import TRAINED, Candidate, better
from zoo.finetuning.pictures import look_at, size_warning
from zoo.finetuning.plan import Splits, splits_of, trainable_pattern
from zoo.finetuning.probe import PENALTIES
from zoo.pretrained import load_pretrained, read_manifest, record_of
from zoo.report.answer_charts import confusion_chart
from zoo.training import OptimizerConfig, TrainConfig, read_metrics

CLASSES = ("7", "3", "8")
PLAN = {"train": "last:2", "steps": 20, "batch_size": 16, "learning_rate": 0.01}
PROBE = {"train": "head", "steps": None, "learning_rate": None}


class _Tables(HTMLParser):
    """The cells of every table that has an id, row by row."""

    def __init__(self, page):
        super().__init__()
        self.tables, self._id = {}, None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "table":
            self._id = dict(attributes)["id"]
            self.tables[self._id] = []
        elif tag == "tr":
            self.tables[self._id].append([])
        elif tag in ("td", "th"):
            self.tables[self._id][-1].append("")

    def handle_data(self, data):
        if self._id and self.tables[self._id]:
            self.tables[self._id][-1][-1] += data

    def handle_endtag(self, tag):
        self._id = None if tag == "table" else self._id


def _folder(root):
    """Forty training and twenty test images of each class, as an image folder."""
    for split_name, most in (("train", 40), ("test", 20)):
        source, seen = open_source("digits", split_name), {}
        for image, label in (source[i] for i in range(len(source))):
            name, count = str(label), seen.get(label, 0)
            if name in CLASSES and count < most:
                seen[label] = count + 1
                path = root / split_name / name / f"{count:02}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image[..., 0]).save(path)
    return root


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return _folder(tmp_path_factory.mktemp("photos"))


def _tune(photos, workdir, **changes):
    plan = {"progress": False, **PLAN, **changes}
    return finetune(tiny_model(), f"folder:{photos}", workdir=workdir, **plan)


@pytest.fixture(scope="module")
def printed():
    """What runs of this module said on standard error."""
    return {}


@pytest.fixture(scope="module")
def tuned(photos, tmp_path_factory, printed):
    with contextlib.redirect_stderr(io.StringIO()) as said:
        result = _tune(photos, tmp_path_factory.mktemp("runs") / "last", progress=True)
    printed["tuned"] = said.getvalue()
    return result


@pytest.fixture(scope="module")
def probed(photos, tmp_path_factory):
    return _tune(photos, tmp_path_factory.mktemp("runs") / "head", **PROBE)


def test_only_the_named_layers_are_trained(tuned, probed):
    before, solved = tiny_model().split()[1], probed.model.split()[1]
    changed = {name for name in before if not np.array_equal(before[name], solved[name])}
    assert changed == {"head.bias", "head.kernel"} == set(probed.new)
    assert (probed.step, probed.steps_made) == (0, 0)
    after = load_pretrained(tuned.workdir, step=tuned.steps_made).split()[1]
    moved = {
        name.rpartition(".")[0] for name in before if not np.array_equal(before[name], after[name])
    }
    assert {name.rpartition(".")[0] for name in moved} == {
        "stages.3.blocks.0",
        "stages.3.blocks.1",
        "",
    }


def test_the_run_is_its_best_step_with_its_own_classes(photos, tuned):
    model = load_pretrained(tuned.workdir)
    assert set(model.classes) == set(CLASSES) and model.preprocess == tiny_model().preprocess
    ours, theirs = model.split()[1], tuned.model.split()[1]
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    lines = [line for line in read_metrics(tuned.workdir) if "eval" in line]
    losses = {line["step"]: line["eval"]["loss"] for line in lines if line["step"]}
    assert tuned.trained.step == min(losses, key=losses.__getitem__)
    assert losses[tuned.trained.step] == pytest.approx(tuned.trained.validation.loss, rel=1e-5)
    kept = max((tuned.probe, tuned.trained), key=lambda c: c.validation.correct1)
    assert tuned.best.validation.correct1 == kept.validation.correct1
    assert tuned.splits == Splits("remainder", "holdout", "test")
    assert evaluate(model, f"folder:{photos}", split="holdout").top1 == tuned.validation["top1"]


def test_an_interrupted_run_ends_as_one_that_was_not(photos, tuned, tmp_path, monkeypatch):
    from zoo.finetuning import run

    with monkeypatch.context() as patch:
        original = run.fit
        patch.setattr(run, "fit", lambda *a, **k: original(*a, **k, stop_after=7))
        _tune(photos, tmp_path / "again")
    again = _tune(photos, tmp_path / "again")
    assert (again.step, again.steps_made) == (tuned.step, tuned.steps_made)
    last = [load_pretrained(r.workdir, step=r.steps_made) for r in (again, tuned)]
    ours, theirs = (model.split()[1] for model in last)
    assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    finished = _tune(photos, tmp_path / "again")
    assert (finished.step, finished.metrics) == (again.step, again.metrics)


STALE = {
    "other data": ({"data": "other"}, r"data: \d+ examples of folder:"),
    "another weight": ({"seed": 1}, r"weight: vanilla_resnet18_he_relu \(sha256 \w+\) -> "),
    "another plan": ({"train": "last:1"}, "trainable: "),
}


@pytest.mark.parametrize("run", ["probed", "tuned"])
@pytest.mark.parametrize(("change", "match"), STALE.values(), ids=STALE)
def test_a_run_answers_for_nothing_but_what_it_began_from(
    photos, tmp_path, request, run, change, match
):
    workdir = request.getfixturevalue(run).workdir
    written = (workdir / "report.html").read_bytes()
    data, plan = photos, {**PLAN, **(PROBE if run == "probed" else {})}
    if "data" in change:
        data = shutil.copytree(photos, tmp_path / photos.name)
        one = data / "train" / CLASSES[0] / "00.png"
        one.write_bytes((data / "test" / CLASSES[0] / "00.png").read_bytes())
    if "train" in change:
        plan = {**PLAN, "train": "last:1"}
    model = tiny_model(seed=change.get("seed", 0))
    with pytest.raises(OtherRunError, match=match):
        finetune(model, f"folder:{data}", workdir=workdir, progress=False, **plan)
    assert (workdir / "report.html").read_bytes() == written


def test_the_same_asked_again_gives_the_same(photos, probed):
    again = _tune(photos, probed.workdir, **PROBE)
    assert (again.metrics, again.warnings) == (probed.metrics, probed.warnings)


def test_equal_names_and_sizes_do_not_make_equal_data(photos, tmp_path):
    root = tmp_path / "photos"
    for path in photos.rglob("*.png"):
        copy = root / path.relative_to(photos).with_suffix(".bmp")
        copy.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(copy)
    _tune(root, tmp_path / "run", **PROBE)
    one = next((root / "train").rglob("*.bmp"))
    size = one.stat().st_size
    Image.fromarray(255 - np.asarray(Image.open(one))).save(one)
    assert one.stat().st_size == size
    with pytest.raises(OtherRunError, match="another fine-tuning, whose result this is not"):
        _tune(root, tmp_path / "run", **PROBE)


def test_a_run_of_something_else_is_not_taken_over(photos, tmp_path):
    result = _tune(photos, tmp_path / "run", **PROBE)
    (result.workdir / "finetuning.json").unlink()
    with pytest.raises(OtherRunError, match="does not say which weight and data it began from"):
        _tune(photos, tmp_path / "run", **PROBE)


def test_report_eval_and_predict_count_the_same(capsys, photos, tuned):
    files = sorted((photos / "test").glob("*/*.png"))
    answers = predict(tuned.model, files)
    counts = {(t, p): 0 for t in CLASSES for p in CLASSES}
    for file, answer in zip(files, answers, strict=True):
        counts[file.parent.name, answer["class"]] += 1
    page = (tuned.workdir / "report.html").read_text()
    head, *rows = _Tables(page).tables["confusion"]
    shown = {(row[0], p): int(n) for row in rows for p, n in zip(head[1:], row[1:], strict=True)}
    assert shown == counts
    right = sum(counts[name, name] for name in CLASSES)
    assert f"{right} right of all {len(files)} images" in page
    assert tuned.metrics["top1"] == right / len(files)
    by_class = {row[0]: row[1:3] for row in _Tables(page).tables["classes"][1:]}
    assert by_class == {name: ["20", str(counts[name, name])] for name in CLASSES}
    assert f"{len(files) - right} mistakes, as the network saw them" in page
    wrong = {(t, p): n for (t, p), n in counts.items() if t != p and n}
    pairs = [(row[0], row[1], int(row[2])) for row in _Tables(page).tables["pairs"][1:]]
    assert {(t, p): n for t, p, n in pairs} == wrong
    assert [n for *_, n in pairs] == sorted(wrong.values(), reverse=True)
    command = tuned.commands[0].split()[1:]
    assert main([*command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["correct1"] == right
    stored = json.loads((tuned.workdir / "result.json").read_text())
    assert stored["evaluation"]["correct1"] == right


def test_every_number_names_the_split_it_was_measured_on(capsys, photos, tuned):
    assert main(["info", str(tuned.workdir)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if "top-1" in line]
    name, n = f"folder:{photos.name}", {"test": 60, "holdout": 24}
    assert [line.split(" top-1")[0] for line in lines] == [
        f"{name} test", f"{name} holdout, which chose the step"
    ]  # fmt: skip
    for line, (split_name, count), top1 in zip(
        lines, n.items(), (tuned.metrics["top1"], tuned.validation["top1"]), strict=True
    ):
        assert line.endswith(f"top-1 {100 * top1:.2f} % (n = {count})"), split_name
    assert {line["split"] for line in read_metrics(tuned.workdir) if "eval" in line} == {"holdout"}


def test_what_training_prints_names_the_split(capsys, tuned, printed):
    lines = [line for line in printed["tuned"].splitlines() if "examples" in line]
    assert lines and all("holdout top1" in line and "24 examples" in line for line in lines)
    assert "step 0, the linear probe: holdout top1" in printed["tuned"]
    assert main(tuned.commands[0].split()[1:]) == 0
    right = round(tuned.metrics["top1"] * 60)
    assert f"{right} right of all 60 examples of folder:" in capsys.readouterr().out


def test_the_report_sets_the_kept_network_beside_what_is_simpler(photos, tuned):
    page = (tuned.workdir / "report.html").read_text()
    head, *rows = _Tables(page).tables["comparison"]
    assert head[1] == "top-1 on test" and len(rows) == 4
    right = [int(row[3].split(" / ")[0]) for row in rows]
    networks = [tuned.probe.test.correct1, tuned.trained.test.correct1]
    assert right == [20, tuned.baseline.correct1, *networks]  # 20 images of each class
    assert [row[1] for row in rows] == [f"{100 * count / 60:.2f} %" for count in right]
    for row, one in zip(rows[2:], (tuned.probe, tuned.trained), strict=True):
        low, high = wilson_interval(one.test.correct1, 60)
        assert row[2] == f"{100 * low:.1f} to {100 * high:.1f} %"
        # Every class has 20 images, so that balanced is plain.
        assert (row[4], row[6]) == (row[1], f"{100 * one.validation.top1:.2f} %")
    kept = re.findall(r'<tr class="kept"><td>([^<]*)', page)
    assert kept == [tuned.best.name]


def test_the_report_shows_what_the_network_saw_and_where_it_lies(photos, tuned):
    page = (tuned.workdir / "report.html").read_text()
    assert "8 x 8 pixels in grey: not changed at random" in page
    figures = re.findall(r'<figure><img alt="" src="data:image/png;base64,([^"]*)">(.*?)</f', page)
    pictures = [Image.open(io.BytesIO(base64.b64decode(data))) for data, _ in figures]
    assert {picture.size for picture in pictures} == {(8, 8)}
    captions = re.findall(r"<figcaption>(test/[^<]*)<br>is (\w+), taken for (\w+)", page)
    assert len(captions) == min(12, 60 - tuned.best.test.correct1)
    seen = tiny_model().preprocess
    for (path, label, said), (data, text) in zip(captions, figures[-len(captions) :], strict=True):
        assert path in text and path.split("/")[1] == label != said
        expected = seen.transform(np.asarray(Image.open(photos / path).convert("RGB")))
        shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
        assert np.array_equal(shown, expected[..., 0])


def test_many_classes_are_a_chart_of_shares():
    names = [f"kind {i}" for i in range(30)]
    matrix = np.random.default_rng(0).integers(0, 9, (30, 30))
    element = confusion_chart(matrix, names)
    assert element == confusion_chart(matrix, names)  # the same numbers, the same bytes
    svg = base64.b64decode(re.search(r"base64,([^\"]*)", element)[1]).decode()
    assert all(svg.count(f">{name}<") == 2 for name in names) and "<script" not in svg


def test_the_report_needs_no_network(tuned):
    page = (tuned.workdir / "report.html").read_text()
    sources = re.findall(r'(?:src|href)="([^"]{5})|url\(|@import|<script', page)
    assert sources and set(sources) == {"data:"}


def test_what_is_odd_about_the_data_is_on_the_report(photos, tmp_path):
    root = shutil.copytree(photos, tmp_path / "photos")
    name = CLASSES[0]
    shutil.copy(root / "train" / name / "00.png", root / "test" / name / "99.png")
    result = _tune(root, tmp_path / "run", **PROBE)
    (warning,) = (text for text in result.warnings if "1 images are in two splits" in text)
    assert html.escape(warning) in (result.workdir / "report.html").read_text()
    assert warning in json.loads((result.workdir / "result.json").read_text())["warnings"]


def _plain(photos, root):
    """All training pictures in class folders, without splits, with a class of one picture."""
    shutil.copytree(photos / "train", root)
    (root / "lonely").mkdir()
    shutil.copy(photos / "test" / CLASSES[0] / "00.png", root / "lonely")
    return root


def test_plain_class_folders_are_tuned_on_and_measured_by_a_part_held_out(
    photos, tmp_path, caplog, capsys
):
    root = _plain(photos, tmp_path / "plain")
    result = _tune(root, tmp_path / "run", **PROBE)
    assert (result.splits, result.metrics["n"]) == (Splits("remainder", "holdout", "holdout"), 24)
    assert "lonely" in result.model.classes
    assert "there are no test images: 24 of 121 are not trained on (holdout), choose" in caplog.text
    assert "all: a single image of lonely; it is trained on, and none is left" in caplog.text
    arguments = ["eval", str(result.workdir), "--data", f"folder:{root}"]
    assert main([*arguments, "--json"]) == 0
    assert "--split holdout leaves them out" in capsys.readouterr().err
    assert main([*arguments, "--split", "holdout", "--json"]) == 0
    output = capsys.readouterr()
    assert "leaves them out" not in output.err
    assert json.loads(output.out.splitlines()[-1])["top1"] == result.metrics["top1"]


def test_pictures_that_cannot_be_read_are_left_out_when_asked(photos, tmp_path, capsys):
    root = shutil.copytree(photos, tmp_path / "photos")
    bad = [
        root / "train" / "7" / "03.png",
        root / "train" / "8" / "cut.jpg",
        root / "test/3/00.png",
    ]
    for path in bad:
        path.write_bytes(b"")
    with pytest.raises(ValueError, match="3 images cannot be read, replace or remove them"):
        _tune(root, tmp_path / "run", **PROBE)
    result = _tune(root, tmp_path / "run", bad_examples="skip", **PROBE)
    assert result.metrics["n"] == 59
    (said,) = (text for text in result.warnings if "cannot be read" in text)
    assert said.startswith("3 images cannot be read, are left out") and str(bad[0]) in said
    assert _tune(root, tmp_path / "run", bad_examples="skip", **PROBE).metrics == result.metrics
    command = result.commands[0].split()[1:]
    assert "skip" in command and main([*command, "--json"]) == 0
    value = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (value["top1"], value["left_out"]) == (result.metrics["top1"], ["test/3/00.png"])


def test_a_table_of_pictures_is_tuned_on(photos, tmp_path):
    rows = [f"{path},{path.parent.name},{path.parts[-3]}" for path in photos.rglob("*.png")]
    table = tmp_path / "photos.csv"
    table.write_text("\n".join(["path,label,split", *sorted(rows)]))
    result = finetune(tiny_model(), f"csv:{table}", workdir=tmp_path / "run", train="head")
    folder = _tune(photos, tmp_path / "folder", **PROBE)
    assert (result.splits, result.metrics) == (folder.splits, folder.metrics)


@pytest.mark.parametrize(
    ("side", "size", "channels", "expected"),
    [
        (28, 8, 1, "28 x 30 pictures are reduced to 8 x 8 grey; --image-size keeps more"),
        (500, 32, 3, "500 x 502 pictures are reduced to 32 x 32; --image-size keeps more"),
        (500, 224, 3, ""),
        (8, 8, 3, ""),
        (8, 32, 3, ""),
    ],
)
def test_reduced_pictures_are_said_to_be(side, size, channels, expected):
    images = np.random.default_rng(0).integers(0, 256, (6, side, side + 2, 3), np.uint8)
    source = ArraySource("noise", "train", ("a", "b"), images, np.arange(6) % 2)
    values = (0.5,) * channels
    seen = Preprocessing((size, size), mean=values, std=values, channels=channels)
    assert "".join(size_warning(look_at(source), seen)).startswith(expected or "")
    assert bool(size_warning(look_at(source), seen)) == bool(expected)


def test_training_stops_when_nothing_gets_better_and_the_probe_is_kept(photos, tmp_path, capsys):
    result = _tune(photos, tmp_path / "run", learning_rate=1e-30, steps=200, progress=True)
    assert result.steps_made == 11 * 10  # the first evaluation and 10 more, one every 10 steps
    assert result.step == 0  # of equals the one that needed no training
    assert "kept is the linear probe" in capsys.readouterr().err


def test_a_run_is_never_worse_than_its_probe(tuned, probed, printed):
    ours, theirs = (one.validation["top1"] for one in (tuned, probed))
    assert ours == theirs > tuned.trained.validation.top1  # the steps did harm
    assert (tuned.step, tuned.metrics) == (0, probed.metrics) and tuned.steps_made > 0
    kept, solved, trained = (
        load_pretrained(run.workdir, step=step).split()[1]
        for run, step in ((tuned, None), (probed, None), (tuned, tuned.trained.step))
    )
    assert all(np.array_equal(kept[name], solved[name]) for name in solved)
    assert not all(np.array_equal(kept[name], trained[name]) for name in trained)
    assert f"the linear probe {100 * theirs:.2f} %, difference -" in printed["tuned"]


@pytest.mark.parametrize(
    ("right", "loss", "kept"),
    [
        (11, 2.0, TRAINED),
        (10, 0.9, TRAINED),
        (10, 1.0, SOLVED),
        (10, 1.1, SOLVED),
        (9, 0.1, SOLVED),
    ],
)
def test_the_better_is_more_often_right_and_of_equals_surer(tuned, right, loss, kept):
    def one(name, correct1, loss):
        found = dataclasses.replace(tuned.best.validation, correct1=correct1, loss=loss)
        return Candidate(name, 1, found, found)

    probe = one(SOLVED, 10, 1.0)
    assert better(probe, one(TRAINED, right, loss)).name == kept
    assert better(probe, None) is probe


def test_a_run_directory_stands_for_the_step_that_was_chosen(tuned, tmp_path):
    copy = shutil.copytree(tuned.workdir, tmp_path / "run")
    (copy / "chosen.json").write_text(json.dumps({"step": tuned.trained.step}))
    ours, theirs = (load_pretrained(copy, step=s).split()[1] for s in (None, tuned.trained.step))
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_every_option_reaches_the_run(photos, tmp_path):
    result = _tune(
        photos, tmp_path / "run", steps=None, epochs=0.34, optimizer="adamw", learning_rate=None,
        weight_decay=0.1, ema_decay=0.9, dtype="bfloat16", accumulate_steps=2, flip="yes",
        crop="pad", class_weights="balanced", layer_decay=0.9,
    )  # fmt: skip
    config = TrainConfig.from_json(json.loads((result.workdir / "config.json").read_text()))
    assert (config.steps, config.model.dtype, config.ema_decay) == (3, "bfloat16", 0.9)
    asked = OptimizerConfig(
        "adamw", 0.001, weight_decay=0.1, layer_decay=0.9, clip_norm=1.0, accumulate_steps=2
    )
    assert config.optimizer == asked
    assert config.augmentation == Augmentation(crop_padding=1, flip=True)
    assert config.regularization.class_weights == (1.0, 1.0, 1.0)
    assert config.data.resident and result.model.config.dtype == "bfloat16"


@pytest.mark.parametrize(
    ("size", "channels", "coloured", "expected"),
    [
        (32, 3, True, Augmentation(crop_padding=4, flip=True)),
        (224, 3, True, Augmentation(random_resized_crop=(0.25, 1.0), flip=True)),
        (32, 3, False, Augmentation()),
        (32, 1, True, Augmentation()),
    ],
)
def test_photographs_in_colour_are_mirrored_and_moved(tmp_path, size, channels, coloured, expected):
    generator = np.random.default_rng(0)
    for i in range(12):
        pixels = generator.integers(0, 256, (40, 40, 3), np.uint8)
        path = tmp_path / "ab"[i % 2] / f"{i}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels if coloured else pixels[..., 0]).save(path)
    values = (0.5,) * channels
    preprocess = Preprocessing((size, size), mean=values, std=values, channels=channels)
    model = dataclasses.replace(tiny_model(), preprocess=preprocess)
    config = finetuning_config(model, f"folder:{tmp_path}")
    assert config.augmentation == expected
    assert config.data.resident == (expected.random_resized_crop is None)
    plain = finetuning_config(model, f"folder:{tmp_path}", flip="no", crop="no")
    assert plain.augmentation == Augmentation()


def test_balanced_weights_count_every_class_alike(tmp_path):
    counts = {"a": 10, "b": 5, "c": 1}
    for name, count in counts.items():
        (tmp_path / name).mkdir()
        for i in range(count):
            Image.new("L", (8, 8), i).save(tmp_path / name / f"{i}.png")
    config = finetuning_config(tiny_model(), f"folder:{tmp_path}", class_weights="balanced")
    weights = np.asarray(config.regularization.class_weights)
    trained = np.array([8, 4, 1])  # a fifth of each is held out, of a single image nothing
    assert np.allclose(weights * trained, weights[0] * 8)
    assert np.sum(weights * trained) == pytest.approx(trained.sum())


def test_the_pixel_baseline_is_logistic_regression(photos):
    linear_model = pytest.importorskip("sklearn.linear_model")
    spec, seen = f"folder:{photos}", tiny_model().preprocess
    splits = [open_source(spec, name) for name in ("remainder", "holdout", "test")]
    found = pixel_baseline(*splits, seen)
    pixels = [
        np.stack([seen.transform(s[i].image).ravel() / 255 for i in range(len(s))]) for s in splits
    ]
    scaled = [(rows - pixels[0].mean(0)) / (pixels[0].std(0) + 1e-9) for rows in pixels]
    counts = []
    for penalty in PENALTIES:
        fitted = linear_model.LogisticRegression(C=1 / (penalty * len(pixels[0])), max_iter=1000)
        fitted.fit(scaled[0], source_labels(splits[0]))
        counts.append(int(np.sum(fitted.predict(scaled[2]) == source_labels(splits[2]))))
    assert (found.n, found.side, found.examples) == (60, 8, 96)
    assert min(counts) - 1 <= found.correct1 <= max(counts) + 1  # float32, 50 iterations


def test_the_probe_is_the_minimum_of_its_loss():
    generator = np.random.default_rng(0)
    labels = np.repeat(np.arange(3), 30)
    features = generator.normal(2, 3, (90, 5)).astype("f4") + 2 * np.eye(5, dtype="f4")[labels]
    probe = linear_probe((features, labels), (features, labels), 3)
    scaled = (features - features.mean(0)) / features.std(0)
    logits = features @ probe.head["head.kernel"] + probe.head["head.bias"]
    errors = np.exp(logits) / np.exp(logits).sum(1, keepdims=True) - np.eye(3)[labels]
    kernel = probe.head["head.kernel"] * features.std(0)[:, None]
    gradient = scaled.T @ errors / 90 + probe.penalty * kernel
    assert np.abs(gradient).max() < 1e-4  # float32 L-BFGS; at zero weights it is 0.2
    assert np.abs(errors.mean(0)).max() < 1e-4


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("train", "val", "test"), Splits("train", "val", "test")),
        (("train", "val"), Splits("train", "val", "val")),
        (("train", "test"), Splits("remainder", "holdout", "test")),
        (("train",), Splits("remainder", "holdout", "holdout")),
    ],
)
def test_the_test_split_chooses_nothing(tmp_path, folders, expected):
    for name in folders:
        (tmp_path / name).mkdir()
    assert splits_of(f"folder:{tmp_path}") == expected
    assert splits_of("cifar10") == Splits("remainder", "holdout", "test")


def test_last_n_names_blocks_from_the_head_down():
    model = tiny_model()
    names = set(model.split()[1])

    def trained(n):
        pattern = trainable_pattern(model, f"last:{n}")
        return {".".join(n.split(".")[:4]) for n in names if re.search(pattern, n)}

    assert {n for n in trained(3) if "blocks" in n} == {
        "stages.2.blocks.1", "stages.3.blocks.0", "stages.3.blocks.1"
    }  # fmt: skip
    assert len(trained(8)) == 10 and not any(n.startswith("stem") for n in trained(8))


def test_the_command_trains_everything(capsys, checkpoints, tmp_path):
    workdir = str(tmp_path / "run")
    command = ["finetune", ID, "--data", "digits", "--workdir", workdir, "--steps", "4"]
    assert main([*command, "--classes", "0", "1", "--layer-decay", "0.8", "--json"]) == 0
    value = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert value["classes"] == ["0", "1"]
    before = tiny_model().split()[1]
    after = load_pretrained(workdir, step=value["steps_made"]).split()[1]
    assert not np.array_equal(before["stem.kernel"], after["stem.kernel"])
    assert main(["eval", workdir, "--data", "digits", "--classes", "0", "1", "--json"]) == 0
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert measured["top1"] == value["metrics"]["top1"]
    source = subset(open_source("digits", "test"), ("0", "1"))
    assert measured["n"] == len(source)
    assert main(["info", workdir, "--json"]) == 0
    about = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (about["classes"], about["step"]) == (["0", "1"], value["step"])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"train": "tail"}, "train='tail'; allowed: head, all, or last:N with N from 1 to 8"),
        ({"train": "last:9"}, "last:N with N from 1 to 8"),
        ({"train": "head"}, "steps=1: the head alone is solved"),
        ({"epochs": 2.0}, "steps=1, epochs=2.0: give only one of them"),
        ({"optimizer": "muon"}, "'muon' has no usual rate here; give one"),
        ({"data": "digit"}, "nearest: digits"),
        ({"classes": ("x", "1")}, "no class 'x'"),
        ({"steps": -1}, "steps=-1"),
        ({"learning_rate": -1.0}, "learning_rate"),
        ({"layer_decay": 0.0}, "layer_decay"),
    ],
)
def test_bad_arguments_are_refused(tmp_path, change, match):
    arguments = {"model": tiny_model(), "data": "digits", "steps": 1, **change}
    with pytest.raises(ValueError, match=match):
        finetune(**arguments, workdir=tmp_path / "run", progress=False)


def test_a_network_no_configuration_can_name_is_refused(tmp_path):
    own = dataclasses.replace(tiny_model(), provenance=Provenance())
    with pytest.raises(ValueError, match="of no registered architecture; register its family"):
        finetune(own, "digits", workdir=tmp_path / "run")


@pytest.fixture(scope="module")
def exported(tuned, tmp_path_factory):
    return export(tuned.workdir, tmp_path_factory.mktemp("out") / "flowers", format="huggingface")


def test_the_manifest_of_a_run_holds_what_was_measured_and_how(photos, tuned, exported):
    manifest = read_manifest(exported)
    assert manifest.id == "vanilla_resnet18_he_relu.flowers"
    (name, measured), *others = manifest.metrics.items()
    assert (name, others) == (f"folder:{photos.name} test", [])
    result = json.loads((tuned.workdir / "result.json").read_text())
    assert measured["correct1"] == tuned.best.test.correct1 and measured["n"] == 60
    assert measured["balanced_accuracy"] == result["metrics"]["balanced_accuracy"]
    recipe = manifest.recipe
    assert (recipe["steps"], recipe["optimizer"]["learning_rate"]) == (tuned.step, 0.01)
    assert recipe["finetuning"]["weight"] == tuned.weight
    assert [recipe["finetuning"][k] for k in ("probe", "trained", "baseline")] == [
        result[k] for k in ("probe", "trained", "baseline")
    ]
    again = load_pretrained(str(exported))
    assert again.manifest == manifest and again.classes == tuned.model.classes
    # A classifier remembers its run, wherever it is exported from.
    record = record_of(load_pretrained(tuned.workdir))
    assert (record["metrics"], record["recipe"]) == (manifest.metrics, manifest.recipe)


def test_the_card_of_a_run_is_read_by_hubs(photos, tuned, exported):
    hub = pytest.importorskip("huggingface_hub")
    text = (exported / "README.md").read_text()
    card = hub.ModelCard(text).data
    assert (card.base_model, card.datasets) == (tuned.weight["name"], ["imagefolder"])
    found = {entry.metric_type: entry for entry in card.eval_results}
    assert found["accuracy"].metric_value == tuned.metrics["top1"]
    assert found["balanced_accuracy"].metric_value == tuned.metrics["balanced_accuracy"]
    data = (found["accuracy"].dataset_name, found["accuracy"].dataset_split)
    assert data == (f"folder:{photos.name}", "test")
    for one in (tuned.probe, tuned.trained, tuned.baseline):
        test = getattr(one, "test", one)
        assert f"| {100 * test.correct1 / 60:.2f} % | {test.correct1} / 60 |" in text
    true, said, count, n = tuned.confused[0]
    assert f"- {true} taken for {said}: {count} of {n}" in text
    assert "holdout chose its step and test measured it" in text
    assert f"folder:{photos.name}: terms not stated" in text


def test_no_path_of_this_machine_is_exported(photos, tuned, exported):
    for path in exported.iterdir():
        assert str(photos.parent).encode() not in path.read_bytes(), path.name


def test_what_is_known_of_the_data_is_on_report_and_card(photos, tmp_path):
    terms = "own photographs, CC BY 4.0"
    result = _tune(photos, tmp_path / "run", data_terms=terms, **PROBE)
    assert f"folder:{photos}; {terms}" in (result.workdir / "report.html").read_text()
    record = record_of(load_pretrained(result.workdir))
    name = result.weight["name"]
    assert record["data_terms"] == (
        f"folder:{photos.name}: {terms}; {name}: terms of its data not stated"
    )
    assert record["recipe"]["finetuning"]["trained"] is None
