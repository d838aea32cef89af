"""A file is the old one or the new one, whole, whatever happens to its writer."""

import hashlib
import os
import signal
import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY
from zoo.common import files

ENDLESS = """
import sys
from zoo.common import files
print("begun", flush=True)
for k in range(10**9):
    files.write(sys.argv[1], str(k % 10) * 200_000)
"""


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path, durable):
    path = tmp_path / "a.json"
    for content in ("one", b"two", "drei \N{SNOWMAN}", "\udcff"):
        files.write(path, content, durable=durable)
        raw = content if isinstance(content, bytes) else content.encode(errors="surrogateescape")
        assert path.read_bytes() == raw
    assert list(tmp_path.iterdir()) == [path]


def test_after_an_error_the_old_file_stands_alone(tmp_path):
    path = tmp_path / "a.npz"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), files.appearing(path) as partial:
        assert partial.suffix == ".npz" and partial.parent == tmp_path
        partial.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_a_writer_killed_at_any_moment_leaves_a_whole_file(tmp_path):
    path = tmp_path / "digit.txt"
    for _ in range(3):
        writer = subprocess.Popen(
            [sys.executable, "-c", ENDLESS, path], cwd=REPOSITORY, stdout=subprocess.PIPE
        )
        assert writer.stdout.readline() == b"begun\n"
        while not path.exists():
            assert writer.poll() is None
        writer.send_signal(signal.SIGKILL)
        writer.communicate()
        text = path.read_text()
        assert len(text) == 200_000 and len(set(text)) == 1


def test_digests_are_of_what_is_read_and_follow_no_link(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    digest = {"bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()}
    assert files.file_digest(tmp_path / "a") == files.digest_of(b"abc") == digest
    (tmp_path / "link").symlink_to("a")
    assert files.file_digest(tmp_path / "link")["bytes"] == -1
    os.mkfifo(tmp_path / "pipe")
    assert files.file_digest(tmp_path / "pipe")["bytes"] <= 0
