"""Programs take turns, are timed from outside of what they compute, and fail with their words."""

import dataclasses
import json
import sys
import textwrap

import msgspec
import pytest

from zoo.bench.cases import CASES, Case
from zoo.bench.running import measure
from zoo.bench.sides import PEERS, Side, SideError

CASE = Case("matrix", "sleeping")


def program(tmp_path, name, body):
    """A side that answers rounds; every call is written to `calls`."""
    path = tmp_path / f"{name}.py"
    path.write_text(
        f"import sys, time\nsys.path.insert(0, {str(PEERS)!r})\nfrom rounds import serve\n"
        f"def note():\n    open({str(tmp_path / 'calls')!r}, 'a').write({name!r} + '\\n')\n"
        + textwrap.dedent(body)
    )
    return Side(name, [sys.executable, path])


SLEEPS = """
    def call():
        note()
        print("what a library prints")
        time.sleep(SECONDS)
    serve(lambda: (call, {"version": "1"}))
"""


def test_sides_take_turns_and_a_call_takes_as_long_as_it_sleeps(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.bench.running.ROUND_S", 0.02)
    sides = [
        program(tmp_path, "a", SLEEPS.replace("SECONDS", "0.05")),
        program(tmp_path, "b", SLEEPS.replace("SECONDS", "0.1")),
    ]
    found = measure(CASE, sides, rounds=3)["sides"]
    # One call to be ready, one to learn how long it takes, then in turns.
    calls = (tmp_path / "calls").read_text().split()
    assert sorted(calls[:2]) == ["a", "b"] and calls[2:] == ["a", "b", *["a", "b"] * 3]
    for name, seconds in (("a", 0.05), ("b", 0.1)):
        side = found[name]
        assert seconds <= side["fastest"] <= side["seconds"] <= side["slowest"]
        assert side["version"] == "1" and side["memory"] > 1e6


def test_quick_calls_are_made_many_times_a_round(tmp_path, monkeypatch):
    monkeypatch.setattr("zoo.bench.running.ROUND_S", 0.2)
    side = program(tmp_path, "a", SLEEPS.replace("SECONDS", "0.002"))
    measure(CASE, [side], rounds=1)
    assert 20 < len((tmp_path / "calls").read_text().split()) <= 102


def test_a_side_that_fails_is_missing_with_its_last_words_and_the_other_is_measured(tmp_path):
    broken = program(tmp_path, "broken", "raise ImportError('no module named torch')")
    whole = Side("whole", [sys.executable, "-c", "pass"], answers=False)
    found = measure(CASE, [broken, whole, ("absent", "no --pytorch")], rounds=1)["sides"]
    assert "no module named torch" in found["broken"]["missing"]
    assert found["absent"] == {"missing": "no --pytorch"}
    assert found["whole"]["seconds"] > 0
    with pytest.raises(SideError, match=r"whole ended with 3: .*said"):
        code = "import sys; print('said', file=sys.stderr); sys.exit(3)"
        Side("whole", [sys.executable, "-c", code], answers=False).open()


def test_a_program_that_dies_while_it_is_timed_is_missing_with_what_it_said(tmp_path):
    body = """
        answers = iter([None, None])
        serve(lambda: (lambda: next(answers), {}))
    """
    found = measure(CASE, [program(tmp_path, "dies", body)], rounds=2)["sides"]
    assert "StopIteration" in found["dies"]["missing"]


def test_a_case_travels_as_json():
    for case in CASES:
        assert msgspec.json.decode(json.dumps(dataclasses.asdict(case)), type=Case) == case
    assert len({case.name for case in CASES}) == len(CASES)
