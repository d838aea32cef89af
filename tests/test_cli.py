"""The command line calls the same functions, prints one JSON value, and fails in one line."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import zoo
from tests.conftest import REPOSITORY
from tests.weights import ARCH, CLASSES, ID, tiny_model
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.cli import main
from zoo.common.console import byte_count
from zoo.evaluation import evaluate, predict
from zoo.models import list_models
from zoo.pretrained import read_manifest
from zoo.training import Interrupted, NonFiniteError, Preempted


@pytest.fixture
def folder_of_images(tmp_path):
    """An image folder with seven classes of three grey pictures each."""
    generator = np.random.default_rng(3)
    for name in CLASSES:
        for split in ("train", "val"):
            (tmp_path / "images" / split / name).mkdir(parents=True)
            for i in range(3):
                pixels = generator.integers(0, 256, (8, 8), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "images" / split / name / f"{i}.png")
    return tmp_path / "images"


def _json_of(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 1
    return json.loads(lines[0])


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ([], list_models()),
        (["vanilla*_tat_*"], list_models("vanilla*_tat_*")),
        (["resnet101"], list_models("*resnet101*")),
        (["nothing*"], []),
        (["--pretrained"], [ID]),
        (["*50*", "--pretrained"], []),
    ],
)
def test_list_gives_ids(capsys, checkpoints, pattern, expected):
    assert _json_of(capsys, "list", *pattern) == expected


def test_list_shows_size_input_and_accuracy_in_columns(capsys, checkpoints):
    assert main(["list", "--pretrained"]) == 0
    header, row = capsys.readouterr().out.splitlines()
    manifest = read_manifest(checkpoints / ID)
    cells = [ID, f"{manifest.params:,}", byte_count(manifest.num_bytes), "8 x 8 x 1"]
    assert row.split("  ")[0] == ID and row.endswith("default")
    for name, cell in zip(("id", "parameters", "size", "input"), cells, strict=True):
        # Words below their header begin with it, numbers end with it.
        right = name in ("parameters", "size")
        at = header.index(name) + (len(name) if right else 0)
        assert row[:at].endswith(cell) if right else row[at:].startswith(cell), name
    assert "noise top-1 30.00 % (n = 10)" in row


def test_list_of_models_says_which_have_weights(capsys, checkpoints):
    assert main(["list", "resnet18_he"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines if ARCH in line] == [[ARCH, ".tiny"]]
    assert sum(".tiny" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no model matches 'nothing'; all: zoo list"),
        (["nothing", "--pretrained"], "no published weight matches 'nothing'; all: zoo list --pre"),
    ],
)
def test_list_of_nothing_says_so(capsys, checkpoints, arguments, said):
    assert main(["list", *arguments]) == 0
    assert capsys.readouterr().out.startswith(said)


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"zoo {zoo.__version__}\n"


def test_predict_takes_a_folder(capsys, checkpoints, folder_of_images):
    value = _json_of(capsys, "predict", ID, str(folder_of_images / "val"), "--top", "1")
    files = sorted(str(path) for path in (folder_of_images / "val").rglob("*.png"))
    assert [answer["file"] for answer in value] == files and len(files) == 21
    assert main(["predict", ID, str(folder_of_images / "val" / "empty")]) == 2
    (folder_of_images / "empty").mkdir()
    assert main(["predict", ID, str(folder_of_images / "empty")]) == 2
    assert "holds no images" in capsys.readouterr().err


FIELDS = {
    "id", "params", "macs", "input_size", "shaping", "preprocess", "classes", "metrics", "files",
}  # fmt: skip


def test_info_of_a_weight_is_its_manifest(capsys, checkpoints):
    value = _json_of(capsys, "info", ID)
    assert FIELDS <= set(value)
    assert (value["id"], value["classes"]) == (ID, list(CLASSES))
    assert value["metrics"]["noise"]["top1"] == 0.3
    assert value["bytes"] == sum(entry["bytes"] for entry in value["files"].values())
    assert _json_of(capsys, "info", f"dir:{checkpoints / ID}") == value


def test_info_of_an_architecture_is_solved_and_has_no_weights(capsys, checkpoints):
    value = _json_of(capsys, "info", "vanilla_resnet18_tat_lrelu")
    assert FIELDS <= set(value)
    assert value["shaping"]["targets"] == {"eta": 0.9}
    assert value["shaping"]["nonlinear_depth"] == 17
    assert (value["metrics"], value["files"], value["weights"]) == ({}, {}, [])
    assert _json_of(capsys, "info", ARCH)["weights"] == [ID]
    baseline = _json_of(capsys, "info", "resnet50")
    assert (baseline["params"], baseline["shaping"]) == (25_549_352, None)


def test_eval_is_evaluate(capsys, checkpoints, folder_of_images):
    value = _json_of(capsys, "eval", ID, "--data", f"folder:{folder_of_images}", "--split", "val")
    expected = evaluate(tiny_model(), f"folder:{folder_of_images}", split="val")
    assert value == {"model": ID, **json.loads(json.dumps(expected.to_json()))}
    assert value["n"] == 21


@pytest.mark.fault("E13")
def test_eval_at_another_size_says_so(capsys, checkpoints, folder_of_images):
    where = ["--data", f"folder:{folder_of_images}", "--split", "val", "--image-size", "16"]
    value = _json_of(capsys, "eval", ID, *where)
    assert value["preprocess"]["image_size"] == [16, 16]


def test_predict_is_predict(capsys, checkpoints, folder_of_images):
    files = sorted(str(path) for path in folder_of_images.rglob("*.png"))[:3]
    value = _json_of(capsys, "predict", ID, *files, "--top", "2")
    assert value == predict(tiny_model(), files, top=2)


def test_eval_for_people_names_counts_and_preprocessing(capsys, checkpoints, folder_of_images):
    assert main(["eval", ID, "--data", f"folder:{folder_of_images}"]) == 0
    out = capsys.readouterr().out
    assert (
        "right of all 21 examples" in out and "image_size 8 8" in out and "precision highest" in out
    )


def test_env_names_versions_and_devices(capsys):
    value = _json_of(capsys, "env")
    assert value["versions"]["jax"] and value["devices"]


MISTAKES = {
    "unknown command": (["lst"], "lst"),
    "no data": (["eval", ID], "--data"),
    "unknown flag": (["eval", ID, "--data", "digits", "--bogus", "1"], "--bogus"),
    "not a number": (["eval", ID, "--data", "digits", "--batch-size", "x"], "batch-size"),
    "unknown weight": (["eval", f"{ARCH}.tny", "--data", "digits"], f"there are: {ID}"),
    "unknown model": (["info", "vanilla_resnet51_he_relu"], "nearest: vanilla_resnet"),
    "unknown data": (["eval", ID, "--data", "digit"], "nearest: digits"),
    "unknown split": (["eval", ID, "--data", "digits", "--split", "x"], "train, val, test"),
    "other classes": (["eval", ID, "--data", "digits"], "has 10 classes, the model 7"),
    "tiny images": (["eval", ID, "--data", "digits", "--image-size", "4"], "at least 8 x 8"),
    "missing folder": (["eval", ID, "--data", "folder:/nowhere"], "/nowhere"),
    "missing file": (["predict", ID, "/nowhere.png"], "/nowhere.png"),
    "not a step": (["eval", ID, "--data", "digits", "--step", "x"], "'best'|\"best\""),
    "missing config": (["train", "configs/none.py", "--workdir", "w"], "configs/none.py"),
    "no workdir": (["train", "configs/smoke_digits.py"], "--workdir"),
    "unknown field": (
        ["train", "configs/smoke_digits.py", "--workdir", "w", "--optimizer.lr", "1"],
        "--optimizer.lr",
    ),
    "impossible value": (
        ["train", "configs/smoke_digits.py", "--workdir", "w", "--optimizer.learning-rate", "-1"],
        "learning_rate",
    ),
    "wrong part": (
        ["finetune", ID, "--data", "digits", "--workdir", "w", "--train", "tail"],
        "last:N with N from 1 to 8",
    ),
}


@pytest.mark.fault("D14")
@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, checkpoints, monkeypatch, tmp_path, case):
    arguments, match = MISTAKES[case]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("zoo: ")
    assert any(part in lines[0] for part in match.split("|"))


def test_names_give_no_commands_to_the_terminal(capsys, tmp_path):
    assert main(["predict", ID, str(tmp_path / "\x1b[2J\x9bé.png")]) != 0
    error = capsys.readouterr().err
    assert r"\x1b[2J\x9bé.png" in error and error.removesuffix("\n").isprintable()


def test_the_traceback_is_shown_on_demand(capsys, monkeypatch):
    assert main(["info", "nothing", "-v"]) == 2
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("ZOO_DEBUG", "1")
    assert main(["info", "nothing"]) == 2
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.fault("C14", "D7")
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Preempted("stopped by SIGTERM; step 3 is saved", step=3), 75),
        (Interrupted("stopped by SIGINT; step 3 is saved", step=3), 130),
        (NonFiniteError("step 3 is not finite", step=3, layer="stem"), 6),
        (KeyboardInterrupt(), 130),
    ],
)
def test_how_training_ends_is_the_exit_code(capsys, monkeypatch, error, code):
    def fit(*arguments, **options):
        raise error

    monkeypatch.setattr("zoo.training.fit", fit)
    arguments = ["train", str(REPOSITORY / "configs" / "smoke_digits.py"), "--workdir", "w"]
    assert main(arguments) == code
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_options_of_train_change_the_configuration(monkeypatch):
    seen = []

    def fit(config, workdir, **options):
        seen.append((config, workdir, options))
        raise ValueError("seen")

    monkeypatch.setattr("zoo.training.fit", fit)
    path = str(REPOSITORY / "configs" / "smoke_digits.py")
    options = ["--steps", "7", "--optimizer.learning_rate", "0.3", "--model.width", "0.5"]
    assert main(["train", path, "--workdir", "w", *options, "--resume", "never"]) == 2
    config, workdir, options = seen[0]
    assert (config.steps, config.optimizer.learning_rate, config.model.width) == (7, 0.3, 0.5)
    assert config.data.batch_size == 64  # of the file
    assert (workdir, options["resume"]) == ("w", "never")


@pytest.mark.parametrize(
    ("command", "example"),
    [
        ([], "$ zoo eval vanilla_resnet50_tat_lrelu.digits --data digits"),
        (["eval"], "$ zoo eval runs/mine --data folder:photos"),
        (["train"], "$ zoo train --recipe digits --workdir"),
        (["finetune"], "$ zoo finetune vanilla_resnet50_tat_lrelu.digits --data folder:photos"),
    ],
)
def test_help_shows_examples(capsys, command, example):
    assert main([*command, "--help"]) == 0
    assert example in capsys.readouterr().out


@pytest.mark.fault("E15")
@pytest.mark.parametrize(
    "command",
    [["-m", "zoo", "list"], ["-m", "zoo", "eval", "--help"], ["tools/pack_runs.py", "--help"]],
)
def test_a_reader_that_leaves_early_is_no_error(command):
    reading, writing = os.pipe()
    os.close(reading)
    process = subprocess.Popen(
        [sys.executable, *command], cwd=REPOSITORY, stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    _, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (0, b"")


def test_every_tool_is_quiet_when_its_reader_leaves():
    for tool in (REPOSITORY / "tools").rglob("*.py"):
        # That one runs where PyTorch is and the zoo is not.
        if "__main__" in (text := tool.read_text()) and tool.name != "torchvision_input.py":
            assert "sys.exit(quiet_pipe(main))" in text, tool


def test_listing_weights_imports_neither_jax_nor_flax():
    code = (
        "import sys\n"
        "from zoo.cli import main\n"
        "assert main(['list', '--pretrained']) == 0\n"
        "assert not {'jax', 'flax', 'orbax'} & set(sys.modules)\n"
        "assert main(['list']) == 0\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge._backends\n"
        "assert not {'orbax', 'grain', 'sklearn'} & set(sys.modules)\n"
    )
    subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=REPOSITORY, timeout=60, capture_output=True
    )
