"""Words, durations, JSON values: each against a list of its own."""

import json
import math
import os
import subprocess
import sys
import time

import pytest

from tests.conftest import REPOSITORY
from zoo.common import console, words
from zoo.common.json_values import canonical, finite, plain


def test_names_are_suggested_and_ordered():
    names = ["digits", "cifar10", "cifar100", "imagenet2012"]
    assert words.nearest("digit", names) == "nearest: digits"
    assert words.nearest("cifar", names, 1) == "nearest: cifar10"
    assert words.nearest("zzz", names) == ""
    ids = ["resnet101", "resnet50", "resnet50.b", "resnet9"]
    assert sorted(ids, key=words.natural_order) == [
        "resnet9",
        "resnet50",
        "resnet50.b",
        "resnet101",
    ]
    assert words.table(["a", "b"], [[1, "x"]]) == "| a | b |\n| --- | --- |\n| 1 | x |"


@pytest.mark.parametrize(
    ("count", "expected"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (94_321_000, "94.3 MB"), (1.234e9, "1.23 GB"),
     (3.1e12, "3.1 TB")],
)  # fmt: skip
def test_bytes_are_said_to_three_digits(count, expected):
    assert console.byte_count(count) == expected


def test_json_values_have_one_text_and_no_nan():
    value = {"b": (1, [2.5, math.nan]), "a": {"x": -math.inf}}
    assert plain(value)["b"][0] == 1 and isinstance(plain(value)["b"], list)
    assert finite(value) == {"b": [1, [2.5, None]], "a": {"x": None}}
    assert (
        canonical({"b": 1, "a": 2}) == canonical({"a": 2, "b": 1}) == b'{\n "a": 2,\n "b": 1\n}\n'
    )
    with pytest.raises(ValueError):
        canonical(value)
    assert json.loads(canonical(finite(value))) == finite(value)


def test_without_a_terminal_a_line_tells_what_takes_long(monkeypatch, capsys):
    monkeypatch.setattr(console, "FIRST_LINE_S", 0.05)
    monkeypatch.setattr(console, "SECONDS_BETWEEN_LINES", 0.05)
    for _ in console.watched(range(3), "counting", 3, True):
        time.sleep(0.06)
    with console.Working("thinking"):
        time.sleep(0.13)
    with console.Working("no time"):
        pass
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == [f"counting: {k}/3, 0 s" for k in (1, 2, 3)]
    assert lines[3:] == ["thinking ... 0 s"] * 2
    list(console.watched(range(3), "quick", 3, True))
    list(console.watched([time.sleep(0.06)], "quiet", 1, False))
    assert capsys.readouterr().err == ""


def test_on_a_terminal_there_is_a_bar():
    """A pseudo-terminal of the system, read by us."""
    code = (
        "from zoo.common.console import Progress\n"
        "with Progress('packing', 4, in_bytes=True) as progress:\n"
        "    progress.advance(3); progress.say('a sentence'); progress.reach(4, note='good')\n"
    )
    ours, theirs = os.openpty()
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, stderr=theirs, timeout=60,
        env={**os.environ, "TERM": "xterm", "COLUMNS": "80"},
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert done.returncode == 0
    assert "packing" in shown and "a sentence" in shown and "4/4 bytes" in shown


def test_the_lowest_layer_imports_no_jax():
    code = (
        "import sys, zoo.common.console, zoo.common.environment, zoo.common.files\n"
        "import zoo.common.json_values, zoo.common.locks, zoo.common.words\n"
        "heavy = {'jax', 'flax', 'numpy', 'rich', 'filelock'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY, timeout=60)
