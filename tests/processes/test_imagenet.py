"""The official archives, from packing to evaluation, on any number of devices and processes."""

import json

import pytest

from tests.data.conftest import imagenet_tars as imagenet_tars
from tests.data.imagenet.conftest import forms as forms
from tests.processes.runs import Processes

RECIPE = "configs/in1k.py"
SMALL = (
    *("--model.arch", "vanilla_resnet18_tat_lrelu", "--model.width", 0.0625),
    *("--model.dtype", "float32", "--preprocessing.image-size", 32, 32),
    *("--epochs", "None", "--steps", 3, "--schedule.warmup-fraction", 0, "--data.workers", 0),
    *("--data.batch-size", 16, "--eval.batch-size", 16),
)
# Processes, and devices of each.
FORMS = ((1, 1), (1, 2), (1, 8), (2, 1), (4, 1), (2, 4))


@pytest.mark.slow
def test_from_archives_to_the_same_counts_on_all_devices_and_processes(forms, tmp_path):
    packed, workdir = tmp_path / "packed", tmp_path / "run"

    def answer(name, processes, devices, *args):
        started = Processes(tmp_path / name, processes, *args, "--json", devices=devices)
        assert started.codes() == [0] * processes, started.said(0)
        return json.loads(started.answer())

    answer(
        "prepare", 1, 1, "data", "prepare", "imagenet2012", "--from", forms["tars"], "--to", packed
    )
    answer("check", 1, 1, "data", "check", "imagenet2012", packed, "--partial", "--everything")
    where = ("--data.data-dir", packed, "--workdir", workdir)
    trained = answer("train", 2, 2, "train", RECIPE, *SMALL, *where)
    assert trained["step"] == 3 and trained["metrics"]["n"] == 40
    measure = ("eval", workdir, "--data", "imagenet2012", "--data-dir", packed, "--split", "val")
    told = [answer(f"eval-{n}-{d}", n, d, *measure, "--batch-size", 7 * n * d) for n, d in FORMS]
    counts = [[t[k] for k in ("n", "correct1", "correct5", "real_correct", "real_n")] for t in told]
    assert counts[0][0] == 40 and counts == [counts[0]] * len(FORMS)
    assert [t["device"] for t in told] == [f"{n * d} x cpu" for n, d in FORMS]
