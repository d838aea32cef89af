"""`zoo download`, `zoo cache` and `zoo export` do what their functions do, and fail in one line."""

import json
import shutil

import pytest
from safetensors.numpy import load_file

from tests import bad_server as bad
from tests.weights import ID
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.cli import main
from zoo.pretrained import list_cached, locate


@pytest.fixture
def server(checkpoints, tmp_path, monkeypatch):
    """The weight on a server, the index here."""
    shutil.move(checkpoints / ID, tmp_path / "web" / ID)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.delenv("ZOO_OFFLINE", raising=False)
    with bad.serving(tmp_path / "web") as state:
        monkeypatch.setenv("ZOO_URL", state.url)
        yield state


def _json_of(capsys, *arguments):
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_download_then_cache(capsys, server, tmp_path):
    assert _json_of(capsys, "cache", "path") == str(tmp_path / "cache" / "weights")
    assert _json_of(capsys, "cache", "list") == []
    value = _json_of(capsys, "download", ID)
    folder, manifest = locate(ID)
    assert value == {"id": ID, "folder": str(folder), "bytes": list_cached()[0].bytes}
    assert value["bytes"] == sum(
        path.stat().st_size for path in folder.rglob("*") if path.is_file()
    )
    for action in (["list"], ["verify"], ["verify", ID], ["list", ID]):
        assert [weight["id"] for weight in _json_of(capsys, "cache", *action)] == [ID]
    assert _json_of(capsys, "info", ID)["id"] == ID
    assert [weight["id"] for weight in _json_of(capsys, "cache", "rm", ID)] == [ID]
    assert list_cached() == []
    assert _json_of(capsys, "cache", "rm", "--all") == []


def test_for_people_each_command_is_a_line(capsys, server):
    assert main(["download", ID]) == main(["cache", "verify"]) == main(["cache", "rm", ID]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert "every file verified" in lines[0] and lines[1].endswith("intact")
    assert lines[2].startswith(f"removed {ID}")


def test_export_writes_what_it_says(capsys, checkpoints, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = _json_of(capsys, "export", ID)["path"]
    assert path == str(tmp_path / f"{ID}.safetensors") and "head.kernel" in load_file(path)
    path = _json_of(capsys, "export", ID, "--format", "torch", "--out", "t")["path"]
    assert "0.weight" not in load_file(f"{path}/model.safetensors")
    assert "1.weight" in load_file(f"{path}/model.safetensors")


MISTAKES = {
    "unknown weight": (["download", "vanilla_resnet18_he_relu.tny"], "neither in"),
    "plain http": (["download", "http://example.org/x"], "is not https"),
    "not on this machine": (["info", ID], f"fetch it: zoo download {ID}"),
    "unknown action": (["cache", "clear"], "clear"),
    "nothing named": (["cache", "rm"], "needs the id of one weight, or --all"),
    "both named": (["cache", "rm", ID, "--all"], "needs the id of one weight, or --all"),
    "all of a list": (["cache", "list", "--all"], "--all belongs to zoo cache rm"),
    "not cached": (["cache", "rm", ID], "see: zoo cache list"),
    "nothing to verify": (["cache", "verify", ID], "see: zoo cache list"),
    "unknown form": (["export", ID, "--format", "pickle"], "safetensors|torch"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_one_line_and_exit_code_2(capsys, server, case):
    arguments, match = MISTAKES[case]
    if case == "unknown weight":
        shutil.copy(server.folder.parent / "checkpoints" / "index.json", server.folder)
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and len(captured.err.splitlines()) == 1
    assert any(part in captured.err for part in match.split("|"))


def test_a_damaged_weight_is_named_by_verify(capsys, server):
    folder, _ = locate(ID)
    (folder / "card.md").write_text("other")
    assert main(["cache", "verify"]) == 2
    err = capsys.readouterr().err
    assert f"{ID}: card.md has 5 bytes" in err and "repair: zoo download ID" in err


@pytest.mark.parametrize(
    ("command", "example"),
    [
        ("download", "$ zoo download hf:someone/vanilla_resnet50@v1"),
        ("cache", "$ zoo cache verify"),
        ("export", "$ zoo export vanilla_resnet50_tat_lrelu.digits --format torch"),
    ],
)
def test_help_shows_examples(capsys, command, example):
    assert main([command, "--help"]) == 0
    assert example in capsys.readouterr().out
