"""A run that moved in parts goes on as if it had stayed."""

import importlib.util
import io
import json
import tarfile

import pytest

from tests.conftest import REPOSITORY
from tests.training.tiny import BASE, SOLVED, digest
from zoo.checkpoint import list_steps
from zoo.training import fit, read_metrics


def _tool():
    spec = importlib.util.spec_from_file_location(
        "pack_runs", REPOSITORY / "tools" / "pack_runs.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


TOOL = _tool()
PART = 50_000


def train(workdir, **options):
    return fit(BASE, workdir, solved=SOLVED, progress=False, **options)


def test_a_run_that_moved_ends_as_one_that_stayed_bit_for_bit(tmp_path, capsys):
    here, parts, there = (tmp_path / name for name in ("here", "parts", "there"))
    train(here / "m" / "row", stop_after=9)
    (here / "m" / "done").mkdir()
    (here / "m" / "done" / "result.json").write_text("{}")
    paths = TOOL.pack(here, parts, part_bytes=PART)
    assert len(paths) > 1 and all(path.stat().st_size <= PART for path in paths)
    assert TOOL.main(["unpack", str(parts), str(there), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"runs": ["m/done", "m/row"]}
    assert list_steps(here / "m" / "row") == [8, 9] and list_steps(there / "m" / "row") == [9]
    ends = [train(folder / "m" / "row") for folder in (here, there)]
    assert digest(ends[0].state) == digest(ends[1].state)
    logs = [[line.get("loss") for line in read_metrics(end.run_dir)] for end in ends]
    assert logs[0] == logs[1]
    assert TOOL.unpack(parts, there) == []  # what is further here is left alone
    assert train(there / "m" / "row").step == BASE.steps


def _finished(folder):
    folder.mkdir(parents=True)
    for name in ("result.json", "metrics.jsonl", "logits.npz", ".lock"):
        (folder / name).write_text(name)
    return folder


def test_a_light_pack_holds_of_finished_runs_only_their_result(tmp_path):
    _finished(tmp_path / "runs" / "row")
    for light, names in (
        (True, ["result.json"]),
        (False, ["logits.npz", "metrics.jsonl", "result.json"]),
    ):
        TOOL.pack(tmp_path / "runs", tmp_path / "parts", part_bytes=PART, light=light)
        there = tmp_path / f"light-{light}"
        assert TOOL.unpack(tmp_path / "parts", there) == ["row"]
        assert sorted(path.name for path in (there / "row").iterdir()) == names


def test_missing_parts_and_foreign_archives_are_refused_in_a_sentence(tmp_path, capsys):
    _finished(tmp_path / "runs" / "row")
    parts = tmp_path / "parts"
    paths = TOOL.pack(tmp_path / "runs", parts, part_bytes=100)
    paths[1].unlink()
    assert TOOL.main(["unpack", str(parts), str(tmp_path / "there")]) == 2
    assert "lacks runs-02-of-" in capsys.readouterr().err
    for path in parts.iterdir():
        path.unlink()
    with tarfile.open(parts / "runs-01-of-01.tar.gz.part", "w:gz") as tar:
        member = tarfile.TarInfo("../escaped")
        member.size = 1
        tar.addfile(member, io.BytesIO(b"x"))
    assert TOOL.main(["unpack", str(parts), str(tmp_path / "there")]) == 2
    assert "outside" in capsys.readouterr().err and not (tmp_path / "escaped").exists()
    with pytest.raises(ValueError, match="holds no run"):
        TOOL.pack(parts, tmp_path / "other", part_bytes=100)
