"""Ctrl-C ends a command within five seconds, in a sentence, and what is on disk goes on."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from tests.conftest import REPOSITORY
from tests.weights import CLASSES, ID
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints

LIMIT_S = 5.0
# A C function that computes for minutes.
HELD = {
    "compiler": "import hashlib; hashlib.pbkdf2_hmac('sha256', b'a', b'b', 10**9)",
    # Joined when the interpreter ends, which is not waited for.
    "thread": "import threading, time\n"
    "threading.Thread(target=time.sleep, args=(60,)).start(); time.sleep(60)",
    "saving": "import signal, time\n"
    "signal.signal(signal.SIGINT, lambda *_: None)\n"
    "signal.signal(signal.SIGTERM, lambda *_: None)\n"
    "for _ in range(600): time.sleep(0.1)",
}
COMMAND = """
import sys
from zoo import cli
def held(command):
    print("held", file=sys.stderr, flush=True)
    {code}
cli._ACTIONS["env"] = (cli._ACTIONS["env"][0], held)
sys.argv = ["zoo", "env"]
sys.exit(cli.main())
"""


def _started(*command, **options):
    return subprocess.Popen(
        command, cwd=REPOSITORY, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True, **options,
    )  # fmt: skip


def _ended(process, number):
    """Seconds until the end after a signal, and the last words."""
    began = time.monotonic()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    return time.monotonic() - began, err


@pytest.mark.parametrize(
    ("held", "number", "code"), [("compiler", signal.SIGINT, 130), ("thread", signal.SIGTERM, 75)]
)
def test_whoever_holds_the_main_thread_does_not_hold_the_process(held, number, code):
    code_text = HELD[held].replace("\n", "\n    ")
    process = _started(sys.executable, "-c", COMMAND.format(code=code_text))
    assert process.stderr.readline() == "held\n"
    time.sleep(0.2)
    seconds, err = _ended(process, number)
    assert (process.returncode, seconds < LIMIT_S) == (code, True)
    assert err.count("zoo: ") == 1 and "the same command goes on" in err
    assert "Traceback" not in err


def test_who_saves_first_says_so_and_a_second_signal_ends_it():
    code = HELD["saving"].replace("\n", "\n    ")
    process = _started(sys.executable, "-c", COMMAND.format(code=code))
    assert process.stderr.readline() == "held\n"
    time.sleep(0.3)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert "the state will be saved, then the run ends" in process.stderr.readline()
    assert time.monotonic() - began < LIMIT_S and process.poll() is None
    seconds, err = _ended(process, signal.SIGINT)
    assert (process.returncode, seconds < LIMIT_S) == (130, True)
    assert "interrupted" in err


@pytest.fixture
def photos(tmp_path):
    """An image folder with seven classes of eight grey pictures each."""
    generator = np.random.default_rng(3)
    for name in CLASSES:
        for split in ("train", "val"):
            (tmp_path / "photos" / split / name).mkdir(parents=True)
            for i in range(8):
                pixels = generator.integers(0, 256, (8, 8), np.uint8)
                Image.fromarray(pixels).save(tmp_path / "photos" / split / name / f"{i}.png")
    return tmp_path / "photos"


def _finetune(photos, workdir):
    return (
        sys.executable, "-m", "zoo", "finetune", ID, "--data", f"folder:{photos}",
        "--workdir", str(workdir), "--steps", "4", "--json",
    )  # fmt: skip


@pytest.mark.slow
def test_fine_tuning_is_interrupted_at_any_moment_and_goes_on(checkpoints, photos, tmp_path):
    """At eight moments from the start of the process to the training, then left alone."""
    environment = os.environ | {"ZOO_CHECKPOINTS": str(checkpoints), "JAX_PLATFORMS": "cpu"}
    began = time.monotonic()
    calm = _started(*_finetune(photos, tmp_path / "calm"), env=environment)
    out, err = calm.communicate(timeout=600)
    assert calm.returncode == 0, err
    whole = time.monotonic() - began
    expected = json.loads(out.splitlines()[-1])
    for k in range(1, 9):
        process = _started(*_finetune(photos, tmp_path / "often"), env=environment)
        time.sleep(whole * k / 10)
        if process.poll() is not None:
            break
        seconds, err = _ended(process, signal.SIGINT)
        print(f"at {whole * k / 10:.1f} s: {seconds:.2f} s, {err.splitlines()[-1:]}")
        assert process.returncode in (130, 0) and "Traceback" not in err
        assert process.returncode == 0 or "zoo: " in err
        assert seconds < LIMIT_S
    last = _started(*_finetune(photos, tmp_path / "often"), env=environment)
    out, err = last.communicate(timeout=600)
    assert last.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["metrics"] == expected["metrics"]
