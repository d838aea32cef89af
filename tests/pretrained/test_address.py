"""One grammar of addresses and one of data names: every form, everywhere it may stand."""

import json
import os
import shutil
from pathlib import Path

import pytest

from tests import bad_server as bad
from tests.conftest import REPOSITORY
from tests.weights import ARCH, ID, metrics_of, tiny_model
from tests.weights import _template as _template
from tests.weights import checkpoints as checkpoints
from zoo.cli import main
from zoo.data.address import DATA_SETS, GRAMMAR, DataAddress, parse_data
from zoo.data.imagenet.variants import VARIANTS
from zoo.export import export
from zoo.pretrained import (
    UnknownWeightError,
    load_pretrained,
    read_index,
    write_index,
    write_pretrained,
)
from zoo.pretrained.address import File, Folder, Listed, Remote, Run, parse_address
from zoo.pretrained.index import find

PIN = "0" * 63 + "a"
FORMS = {
    "vanilla_resnet50_tat_lrelu": Listed("vanilla_resnet50_tat_lrelu"),
    "vanilla_resnet50_tat_lrelu.digits": Listed("vanilla_resnet50_tat_lrelu", "digits"),
    "dir:here": Folder(Path("here")),
    "weight": Folder(Path("weight")),
    "dir:weight": Folder(Path("weight")),
    "run": Run(Path("run")),
    "dir:run": Run(Path("run")),
    "runs/none": Run(Path("runs/none")),
    "~/none": Run(Path("~/none").expanduser()),
    "..": Run(Path("..")),
    "exported": File(Path("exported/model.safetensors")),
    "a.safetensors": File(Path("a.safetensors")),
    "dir:x/a.safetensors": File(Path("x/a.safetensors")),
    "https://h.org/x/": Remote("https://h.org/x/", "https://h.org/x"),
    f"https://h.org/x#sha256={PIN}": Remote(
        f"https://h.org/x#sha256={PIN}", "https://h.org/x", PIN
    ),
    "https://h.org/x/manifest.json": Remote("https://h.org/x/manifest.json", "https://h.org/x"),
    "hf:me/flowers": Remote(
        "hf:me/flowers", "https://huggingface.co/me/flowers/resolve/main", None, "me/flowers"
    ),
    "hf:me/flowers@a/b": Remote(
        "hf:me/flowers@a/b", "https://huggingface.co/me/flowers/resolve/a%2Fb", None, "me/flowers",
        "a/b",
    ),
}  # fmt: skip


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A weight, a run and an exported folder, by the names of the files in them."""
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.chdir(tmp_path)
    for name in ("weight", "run/checkpoints", "exported"):
        os.makedirs(name)
    Path("weight/manifest.json").touch()
    Path("exported/model.safetensors").touch()


@pytest.mark.parametrize("text", FORMS)
def test_every_form_means_one_thing(folders, text):
    assert parse_address(text) == FORMS[text]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("Not An Id", "names no weight; allowed: arch.tag, PATH"),
        ("a.b.c", "names no weight"),
        ("http://h.org/x", "is not https"),
        ("ftp://h.org/x", "is not https"),
        ("https://h.org/x?y=1", "has a query or fragment"),
        ("hf:flowers", "write hf:ORG/NAME@REVISION"),
    ],
)
def test_what_has_no_form_is_refused_in_a_sentence(folders, text, match):
    with pytest.raises(UnknownWeightError, match=match) as caught:
        parse_address(text)
    assert "\n" not in str(caught.value)


def test_a_path_object_is_a_path(folders):
    assert parse_address(Path("nothing")) == Run(Path("nothing"))
    assert parse_address(Path("weight")) == Folder(Path("weight"))


@pytest.fixture
def everywhere(checkpoints, tmp_path, monkeypatch):
    """The same weight under every kind of address."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path / "cache"))
    export(ID, "one.safetensors")
    export(ID, "flowers", format="huggingface")
    shutil.copytree(checkpoints / ID, "web/org/name/resolve/main")
    shutil.copy("one.safetensors", "web/one.safetensors")
    with bad.serving(tmp_path / "web") as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield [
            ID, ARCH, f"checkpoints/{ID}", f"dir:checkpoints/{ID}", "one.safetensors", "flowers",
            f"{server.url}/org/name/resolve/main", f"{server.url}/one.safetensors", "hf:org/name",
        ]  # fmt: skip


def test_every_command_takes_every_address(everywhere, capsys):
    def said(*arguments):
        assert main([*arguments, "--json"]) == 0, arguments
        return json.loads(capsys.readouterr().out.splitlines()[-1])

    for k, address in enumerate(everywhere):
        if address != ARCH:  # `zoo info ARCH` is about the architecture
            assert said("info", address)["id"] == ID, address
        assert said("export", address, "--out", f"{k}.safetensors")["model"] == address
        assert Path(f"{k}.safetensors").read_bytes() == Path("one.safetensors").read_bytes()


def test_of_a_weight_on_a_server_only_the_manifest_is_fetched_for_info(everywhere, tmp_path):
    assert main(["info", everywhere[-1]]) == 0
    assert not list((tmp_path / "cache").rglob("weights/*@*"))


def _publish(checkpoints, tag, created):
    write_pretrained(
        checkpoints / f"{ARCH}.{tag}", tiny_model(), metrics=metrics_of(), recipe={},
        data_terms="data: noise", created=created,
    )  # fmt: skip


def test_a_bare_architecture_means_its_default_weight(checkpoints):
    assert find(ARCH)[0] == ID
    _publish(checkpoints, "better", "2099-01-01T00:00:00+00:00")
    write_index(checkpoints)
    # A new weight changes nobody's program ...
    assert find(ARCH)[0] == ID == load_pretrained(ARCH).manifest.id
    write_index(checkpoints, defaults={ARCH: "better"})
    assert find(ARCH)[0] == f"{ARCH}.better"
    # ... and a choice stays as long as there is what was chosen.
    write_index(checkpoints)
    assert [id for id, entry in read_index().items() if entry.is_default] == [f"{ARCH}.better"]
    shutil.rmtree(checkpoints / f"{ARCH}.better")
    write_index(checkpoints)
    assert find(ARCH)[0] == ID


@pytest.mark.parametrize("defaults", [[], {ARCH: "none"}, {ARCH: 3}, {"other": "tiny"}])
def test_an_index_whose_default_is_not_listed_is_refused(checkpoints, defaults):
    path = checkpoints / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "defaults": defaults}))
    with pytest.raises(ValueError, match="'defaults' names a weight it does not list|index.json"):
        read_index()


def test_every_published_architecture_loads_without_a_tag(monkeypatch):
    monkeypatch.setenv("ZOO_CHECKPOINTS", str(REPOSITORY / "checkpoints"))
    archs = {id.partition(".")[0] for id in read_index()}
    assert {find(arch)[0].partition(".")[0] for arch in archs} == archs
    assert find("vanilla_resnet50_tat_lrelu")[0] == "vanilla_resnet50_tat_lrelu.cifar10_e48"


def test_names_of_data_sets_have_one_grammar():
    assert parse_data("digits") == DataAddress("named", "digits")
    folder = parse_data("folder:~/a:b/photos")
    assert folder.folder == Path("~/a:b/photos").expanduser()
    assert str(folder) == "folder:~/a:b/photos" and str(folder.placeless) == "folder:photos"
    assert parse_data("tfds:mnist") == DataAddress("tfds", "mnist")
    assert [parse_data(d).takes_data_dir for d in ("digits", "cifar10", "folder:x", "tfds:x")] == [
        False, True, False, True,
    ]  # fmt: skip
    assert set(VARIANTS) < set(DATA_SETS) and all(name in GRAMMAR for name in DATA_SETS)
    for text in ("digit", "folder:", "csv", "csv:", "Folder:x", ""):
        with pytest.raises(ValueError, match="allowed: digits, .*folder:PATH, csv:FILE, tfds:NAME"):
            parse_data(text)
