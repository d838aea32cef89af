"""What the tests of downloads share: expectations, interruptions, processes."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from tests import bad_server as bad
from tests.conftest import REPOSITORY
from tests.weights import ID, tiny_model
from zoo.pretrained import locate
from zoo.transfer import fetch as _fetch_function
from zoo.transfer import http as http_module

FETCH = sys.modules[_fetch_function.__module__]


def index_urls(tmp_path, urls):
    index = json.loads((tmp_path / "web" / "index.json").read_text())
    (tmp_path / "here" / "index.json").write_text(json.dumps({**index, "urls": urls}))


def is_published(model):
    params, expected = model.split()[1], tiny_model().split()[1]
    return params.keys() == expected.keys() and all(
        np.array_equal(params[name], expected[name]) for name in expected
    )


def refused(match, name=ID, error=ValueError):
    with pytest.raises(error, match=match) as caught:
        locate(name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def size(server, data):
    return (server.folder / ID / data).stat().st_size


def interrupt(server, data, monkeypatch, fault=bad.cut):
    """Leaves the first half of `data` behind."""
    server.faults[data] = bad.first(1, fault)
    monkeypatch.setattr(http_module, "ATTEMPTS", 1)
    monkeypatch.setattr(FETCH, "ATTEMPTS", 1)
    refused("was cut off")
    server.faults.clear()
    server.requests.clear()


def change_manifest(server, change):
    """Serves another manifest, and lists it at an address only."""
    path = server.folder / ID / "manifest.json"
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


CHILD = """
import resource, sys
from zoo.transfer import patience
patience.TIMEOUT_S = 20
{first}
from zoo.pretrained import locate
try:
    print(locate({name!r})[0])
except ValueError as error:
    print("refused:", error)
"""


def start_child(first="", name=ID, **options):
    code = CHILD.format(first=first, name=name)
    return subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY), "JAX_PLATFORMS": "cpu"},
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def last_words(child):
    out, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    return out.strip()
