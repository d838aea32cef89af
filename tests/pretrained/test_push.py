"""A weight goes to a hub in one commit and comes back bit for bit; a refusal is one sentence."""

import builtins
import importlib.util
import json

import numpy as np
import pytest

from tests import bad_server as bad
from tests.hub_server import TOKEN, HubHandler
from tests.weights import CLASSES, ID, tiny_model
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.cli import main
from zoo.export import PushError, push
from zoo.pretrained import load_pretrained

# huggingface_hub 2.4 hands httpx2 the bytes of a large file in a way that httpx2 warns of.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
needs_client = pytest.mark.skipif(
    importlib.util.find_spec("huggingface_hub") is None, reason="huggingface_hub is not installed"
)


@pytest.fixture
def hub(checkpoints, tmp_path, monkeypatch):
    """A hub, and an empty cache here."""
    from huggingface_hub import constants

    # Xet storage, the hub's other way for large files, has a protocol of its own.
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "hub").mkdir()
    with bad.serving(tmp_path / "hub", HubHandler) as state:
        monkeypatch.setenv("HF_ENDPOINT", state.url)
        yield state


def _same(model):
    params, expected = model.split()[1], tiny_model().split()[1]
    return all(np.array_equal(params[name], expected[name]) for name in expected)


@needs_client
def test_what_is_pushed_loads_from_the_hub_bit_for_bit(hub, capsys):
    assert main(["push", ID, "hf:org/name", "--json"]) == 0
    value = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert value["url"] == f"{hub.url}/org/name/commit/1"
    model = load_pretrained("hf:org/name")
    assert _same(model) and model.classes == CLASSES and model.manifest.id == ID
    card = (hub.folder / "org" / "name" / "resolve" / "main" / "README.md").read_text()
    assert 'zoo.load_pretrained("hf:org/name")' in card
    assert hub.count("/commit/main") == 1


@needs_client
def test_a_branch_and_a_network_of_ones_own(hub):
    push(tiny_model(), "hf:org/My-Flowers@v2")
    model = load_pretrained("hf:org/My-Flowers@v2")
    assert _same(model) and model.manifest.id.endswith(".v2")
    assert hub.count("/branch/v2") == 1


REFUSALS = {
    "another token": ("HF_TOKEN", "hf_wrong", {}, "set HF_TOKEN to a token that may write there"),
    "not allowed": (None, "", {"/api/repos/create": 403}, "set HF_TOKEN to a token"),
    "no commit": (None, "", {"/commit/main": 400}, "was not uploaded .*; try again"),
    "no storage": (None, "", {"/objects/batch": 400}, "was not uploaded .*; try again"),
    "offline": ("ZOO_OFFLINE", "1", {}, "ZOO_OFFLINE is set; unset it to upload"),
}


@needs_client
@pytest.mark.parametrize("case", REFUSALS)
def test_a_refusal_is_one_sentence_and_commits_nothing(hub, monkeypatch, case, capsys):
    name, value, faults, match = REFUSALS[case]
    if name is not None:
        monkeypatch.setenv(name, value)
    hub.faults.update(faults)
    with pytest.raises(PushError, match=match) as error:
        push(ID, "hf:org/name")
    assert "\n" not in str(error.value) and TOKEN not in str(error.value)
    assert not (hub.folder / "org").exists()


def test_without_the_client_it_says_what_to_install(checkpoints, monkeypatch):
    real = builtins.__import__

    def absent(name, *arguments, **options):
        if name.partition(".")[0] in ("huggingface_hub", "httpx2"):
            raise ImportError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(PushError, match=r"pip install 'flax-vanilla-zoo\[huggingface\]'"):
        push(ID, "hf:org/name")


@pytest.mark.parametrize("name", ["org/name", "hf:name", "hf:../..", "https://example.org/x"])
def test_a_repository_of_another_form_is_refused(checkpoints, name):
    with pytest.raises(ValueError, match="names no repository; write hf:ORG/NAME@REVISION"):
        push(ID, name)
