"""What a run of `zoo train` says beside its network has the form of a manifest."""

import json

import pytest

from tests.training.tiny import tiny
from tests.weights import tiny_model
from zoo.checkpoint import Restored
from zoo.pretrained import Manifest, ManifestError, record_of
from zoo.pretrained.runs import chosen_step, run_record
from zoo.training import DataConfig


def _restored(**data):
    config = tiny(data=DataConfig(**data)).to_json()
    record = {"config": config, "data": {"source": "digits"}}
    return Restored(None, 12, record, {"top1": 0.7, "top5": 0.9, "loss": 1.5, "n": 30.0}, {})


def test_the_last_evaluation_of_a_training_run_is_in_its_manifest(tmp_path):
    environment = {"commit": "abc", "devices": {"count": 2, "kind": "cpu"}}
    (tmp_path / "env.json").write_text(json.dumps(environment))
    about = run_record(tmp_path, _restored(name="digits"))
    measured = about["metrics"]["digits test"]
    assert (measured["correct1"], measured["correct5"], measured["n"]) == (21, 27, 30)
    assert (about["recipe"]["commit"], about["recipe"]["hardware"]) == ("abc", "2 x cpu")
    files = {"weights": {"bytes": 1, "sha256": "0" * 64}}
    assert Manifest(**{**record_of(tiny_model()), **about}, files=files).metrics == about["metrics"]


def test_the_result_of_a_sweep_is_none_of_fine_tuning(tmp_path):
    result = {"step": 12, "metrics": {"top1": 0.9}, "classes": 10}
    (tmp_path / "result.json").write_text(json.dumps(result))
    about = run_record(tmp_path, _restored(name="digits"))
    assert about == run_record(tmp_path / "absent", _restored(name="digits"))
    assert "finetuning" not in about["recipe"]


def test_folders_are_named_without_their_place(tmp_path):
    restored = _restored(name="folder:/home/me/photos", data_dir="/home/me/data")
    about = run_record(tmp_path, restored)
    assert about["recipe"]["data"]["name"] == "folder:photos"
    assert "/home/me" not in json.dumps(about)


@pytest.mark.parametrize("text", ["{", "[]", '{"step": -1}', '{"step": "best"}', "{}"])
def test_a_damaged_note_of_the_step_is_refused(tmp_path, text):
    (tmp_path / "chosen.json").write_text(text)
    with pytest.raises(ManifestError, match="chosen.json"):
        chosen_step(tmp_path)
