"""`zoo data check` passes what is whole and names every damage with what to do."""

import io
import json
import shutil

import pytest
from PIL import Image

from tests.data.imagenet.trees import write_tfds
from zoo.cli import main
from zoo.data import open_source
from zoo.data.imagenet import check_imagenet, prepare_imagenet
from zoo.data.imagenet.labels import wnids


def test_every_whole_form_passes_with_the_same_sample_hash(forms, tmp_path):
    prepare_imagenet(forms["tars"], tmp_path / "packed")
    found = [check_imagenet(f, partial=True) for f in (*forms.values(), tmp_path / "packed")]
    for check in found:
        assert check.all_problems == [] and set(check.splits) == {"train", "val"}
    assert len({check.splits["val"].sample_sha256 for check in found}) == 1
    assert len({check.splits["train"].sample_sha256 for check in found}) == 1
    assert {check.splits["val"].layout for check in found} == {
        "class folders", "flat folder", "Kaggle tree", "official archive", "packed",
    }  # fmt: skip


def test_missing_images_are_counted(forms):
    problems = check_imagenet(forms["flat"]).all_problems
    assert len(problems) == 2
    assert "train: 80 of 1,281,167 images, 960 classes have none" in problems[0]
    assert "val: 40 of 50,000 images" in problems[1] and "--partial" in problems[1]


def test_an_archive_of_the_wrong_size_is_named(forms):
    problems = check_imagenet(forms["tars"]).all_problems
    assert any("img_val.tar has" in p and "official one 6,744,924,160" in p for p in problems)


def _jpeg(mode, form="JPEG"):
    buffer = io.BytesIO()
    Image.new(mode, (40, 30)).save(buffer, form)
    return buffer.getvalue()


@pytest.mark.fault("E2", "E5")
def test_every_damage_of_a_copy_is_named(forms, tmp_path, capsys):
    root = shutil.copytree(forms["folders"], tmp_path / "damaged")
    val = sorted((root / "val").rglob("*.JPEG"))
    train = sorted((root / "train").rglob("*.JPEG"))
    val[1].write_bytes(val[1].read_bytes()[:-4000])
    val[2].write_bytes(b"")
    val[3].write_bytes(b"<!DOCTYPE html><html></html>")
    val[4].write_bytes(_jpeg("CMYK"))
    val[5].write_bytes(_jpeg("RGB", "PNG"))
    val[6].rename(val[7].parent / val[6].name)
    train[0].write_bytes(train[0].read_bytes()[:2000])
    train[2].rename(train[9].parent / train[2].name)
    assert main(["data", "check", "imagenet2012", str(root), "--partial", "--json"]) == 1
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    val_text = " ".join(found["splits"]["val"]["problems"])
    for path in val[1:4]:
        assert path.name in val_text
    assert "3 of 40 images looked at cannot be decoded" in val_text
    assert "1 of 40 validation images another label" in val_text and val[6].name in val_text
    notes = " ".join(found["splits"]["val"]["notes"])
    assert f"1 of 40 images are CMYK, first {val[4].name}" in notes
    assert f"1 of 40 images are PNG files named JPEG, first {val[5].name}" in notes
    train_text = " ".join(found["splits"]["train"]["problems"])
    assert train[0].name in train_text and train[2].name in train_text
    assert "1 images are in the folder of another class than their name says" in train_text


def test_the_command_says_in_one_sentence_what_to_do(forms, tmp_path, capsys):
    assert main(["data", "check", "imagenet2012", str(forms["flat"]), "--partial"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "flat folder, labels from the bundled list" in lines[1]
    assert lines[-1].startswith("good: zoo eval MODEL --data imagenet2012 --data-dir")
    (tmp_path / "val").mkdir()
    (tmp_path / "val" / "cat.JPEG").write_bytes(_jpeg("RGB"))
    assert main(["data", "check", "imagenet2012", str(tmp_path)]) == 1
    text = capsys.readouterr().out
    assert "1 images without class folder and without official name, such as cat.JPEG" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["/nowhere/at/all"], "/nowhere/at/all is not a folder"),
        ([".", "--sample", "0"], "sample=0; give 1 or more"),
    ],
)
def test_bad_arguments_are_refused(capsys, arguments, message):
    assert main(["data", "check", "imagenet2012", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_imagenet_is_a_problem(tmp_path):
    assert ["known forms" in p for p in check_imagenet(tmp_path).all_problems] == [True]


def test_the_prepare_command_reports_progress_and_result(forms, tmp_path, capsys):
    target = tmp_path / "out"
    command = ["data", "prepare", "imagenet2012", "--from", str(forms["tars"]), "--to", str(target)]
    assert main([*command, "--splits", "val", "--json"]) == 0
    captured = capsys.readouterr()
    done = json.loads(captured.out)
    assert done["examples"] == {"val": 40} and done["shards_written"] == 1
    assert "packing val: 40/40" in captured.err
    assert main([*command, "--splits", "val"]) == 0
    assert "0 shards written, 1 were there" in capsys.readouterr().out


def test_tfds_is_checked_too(forms, tmp_path):
    source = open_source("imagenet2012", "val", data_dir=str(forms["flat"]))
    images = [(source.encoded(i), int(source.labels[i])) for i in range(3)]
    write_tfds(tmp_path, wnids(), [*images, (images[0][0][:3000], 5)])
    problems = check_imagenet(tmp_path, partial=True).all_problems
    assert ["1 of 4 images" in p and "example 3" in p for p in problems if "val" in p] == [True]
