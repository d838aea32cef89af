"""A run trains with oneDNN, says so, goes on with it bit for bit, and with nothing else."""

import pytest

from tests.training.tiny import SOLVED, digest, tiny
from zoo.checkpoint import read_record
from zoo.training import ResumeError, fit
from zoo.training.folder import METRICS, read_metrics

pytestmark = pytest.mark.usefixtures("onednn")


def train(config, workdir, **options):
    return fit(config, workdir, solved=SOLVED, **options)


def test_a_run_with_onednn_is_recorded_resumed_and_not_mixed(tmp_path, capsys):
    config = tiny(steps=4, kernels="onednn")
    whole = train(config, tmp_path / "whole")
    assert "kernels: oneDNN 3." in capsys.readouterr().err
    train(config, tmp_path / "parts", stop_after=2)
    assert read_record(tmp_path / "parts").record["kernels"].startswith("oneDNN 3.")
    with pytest.raises(ResumeError, match=r"computed by oneDNN 3\..*here it would be XLA"):
        train(tiny(steps=4, kernels="xla"), tmp_path / "parts")
    assert digest(train(config, tmp_path / "parts").state) == digest(whole.state)
    plain = train(tiny(steps=4, kernels="xla"), tmp_path / "plain")
    losses = [
        [line["loss"] for line in read_metrics(tmp_path / name / METRICS) if "loss" in line]
        for name in ("whole", "plain")
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)  # float32, four steps apart
    assert digest(plain.state) != digest(whole.state)
