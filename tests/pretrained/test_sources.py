"""Where weights come from: mirrors, addresses, hub repositories; and what is refused there."""

import shutil

import pytest

from tests import bad_server as bad
from tests.hub_server import TOKEN, HubHandler
from tests.pretrained.helpers import change_manifest, index_urls, is_published, refused
from tests.weights import ID
from zoo.checkpoint import load_weights
from zoo.pretrained import (
    list_cached,
    load_pretrained,
    locate,
    read_index,
    remove_cached,
    write_index,
)
from zoo.transfer import url_problem


def test_mirrors_are_tried_in_order(server, data, tmp_path):
    shutil.copytree(server.folder, tmp_path / "other")
    with bad.serving(tmp_path / "other") as other:
        index_urls(tmp_path, [server.url, other.url])
        server.faults[data] = bad.status(404)
        assert is_published(load_pretrained(ID))
        assert (server.count(data), other.count(data), other.count("card.md")) == (1, 1, 0)
        remove_cached(ID)
        other.faults[data] = bad.flipped
        message = refused("404 Not Found; .*sent other bytes")
        assert server.url in message and other.url in message


def test_zoo_url_replaces_the_addresses_of_the_index(server, tmp_path, monkeypatch):
    index_urls(tmp_path, ["https://nowhere.invalid"])
    monkeypatch.setenv("ZOO_URL", f"{server.url}/")
    assert is_published(load_pretrained(ID))
    monkeypatch.setenv("ZOO_URL", "http://example.org")
    remove_cached(ID)
    refused("ZOO_URL: 'http://example.org' is not https")


def test_zoo_url_knows_weights_the_index_here_does_not(server, tmp_path, monkeypatch):
    (tmp_path / "here" / "index.json").unlink()
    refused("no weight")
    monkeypatch.setenv("ZOO_URL", server.url)
    assert is_published(load_pretrained(ID))
    asked = len(server.requests)
    assert is_published(load_pretrained(ID)) and len(server.requests) == asked
    refused(f"there: {ID}", f"{ID}x")


def test_the_addresses_of_an_index_survive_the_next_publication(server, tmp_path):
    folder = tmp_path / "web"
    write_index(folder, ["https://example.org/weights/", server.url])
    write_index(folder)
    urls = read_index(folder)[ID].urls
    assert urls == (f"https://example.org/weights/{ID}", f"{server.url}/{ID}")
    write_index(folder, ["file:///etc"])
    with pytest.raises(ValueError, match="'urls' is not a list of https addresses"):
        read_index(folder)


def test_an_index_without_addresses_says_what_to_set(server, tmp_path):
    index_urls(tmp_path, [])
    refused("no address is known; set ZOO_URL")


@pytest.mark.parametrize("ending", ["", "/", "/manifest.json"])
def test_an_address_loads_like_the_weight_it_serves(server, ending, monkeypatch):
    model = load_pretrained(f"{server.url}/{ID}{ending}")
    assert is_published(model) and model.manifest.id == ID
    monkeypatch.setenv("ZOO_OFFLINE", "1")
    assert is_published(load_pretrained(f"{server.url}/{ID}{ending}"))


def test_an_address_may_pin_the_manifest(server):
    digest = locate(ID)[0].name.partition("@")[2]
    assert is_published(load_pretrained(f"{server.url}/{ID}#sha256={digest}"))
    refused("was asked for; check the address", f"{server.url}/{ID}#sha256={'0' * 64}")
    refused("has a query or fragment", f"{server.url}/{ID}#sha256=123")


def test_a_hub_repository_is_its_files_at_a_revision(server, monkeypatch):
    home = server.folder / "org" / "name" / "resolve"
    for revision in ("v1", "main"):
        shutil.copytree(server.folder / ID, home / revision)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    assert is_published(load_pretrained("hf:org/name@v1"))
    assert is_published(load_pretrained("hf:org/name"))
    assert server.count("resolve/v1/manifest.json") > 0
    for name in ("hf:name", "hf:org/na me", "hf:../..", "hf:org/name@../..", "hf:org/name@"):
        refused("names no repository", name)


@pytest.fixture
def private_hub(server, tmp_path, monkeypatch):
    """The weight in hf:private/name, whose server answers those with the token only."""
    shutil.copytree(server.folder / ID, server.folder / "private" / "name" / "resolve" / "main")
    with bad.serving(server.folder, HubHandler) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


@pytest.mark.parametrize("kept", [True, False])
def test_a_private_repository_opens_with_the_users_token(private_hub, tmp_path, monkeypatch, kept):
    advice = "401 Unauthorized \\(a private repository\\? set HF_TOKEN to a token that may read it"
    refused(advice, "hf:private/name")
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "hf_wrong" not in refused(advice, "hf:private/name")
    if kept:
        monkeypatch.delenv("HF_TOKEN")
        monkeypatch.setenv("HF_HOME", str(tmp_path))
        (tmp_path / "token").write_text(TOKEN + "\n")
    else:
        monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert is_published(load_pretrained("hf:private/name"))


@pytest.mark.fault("A20")
def test_the_token_goes_to_no_other_server(private_hub, server, data, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    seen = []

    def listen(handler, content):
        seen.append(handler.headers.get("Authorization"))
        return False

    server.faults[data] = listen
    private_hub.faults[data] = bad.redirect(f"{server.url}/{ID}/{data}")
    assert is_published(load_pretrained("hf:private/name"))
    assert seen == [None]


@pytest.mark.fault("A20")
@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("https://example.org/x", ""),
        ("http://127.0.0.1:8/x", ""),
        ("http://example.org", "is not https"),
        ("file:///etc/passwd", "names no server"),
        ("ftp://example.org", "is not https"),
        ("https://user:word@example.org", "credentials"),
        ("https:///x", "names no server"),
        ("https://example.org/a b", "not an address"),
        ("https://example.org/\n", "not an address"),
        ("https://[::1", "not an address"),
        ("https://example.org:x/", "not an address"),
    ],
)
def test_only_https_is_an_address(url, problem):
    assert problem in url_problem(url) and bool(problem) == bool(url_problem(url))


def _rename_file(name):
    def change(values):
        values["files"][name] = values["files"].pop("card.md")

    return change


NAMES = [
    "../evil", "/evil", "weights/../../evil", "..", ".", "", "C:\\evil", "C:/evil", "\\\\host\\x",
    "a\0b", "a//b", "a/", "CON", "weights/nul.txt", "trailing.", "trailing ", "~/x", "a\nb",
    "-x/../y", ".hidden", "é", "x" * 300, "manifest.json", "Manifest.JSON", "weights",
    "weights/_METADATA/x",
]  # fmt: skip


@pytest.mark.fault("A17")
@pytest.mark.parametrize("name", NAMES)
def test_names_that_would_leave_the_cache_are_refused(server, tmp_path, name):
    change_manifest(server, _rename_file(name))
    before = sorted(tmp_path.rglob("*"))
    refused("unsafe part|not a file name|cannot be a file|differ in case", f"{server.url}/{ID}")
    assert sorted(tmp_path.rglob("*")) == before


MANIFESTS = {
    "newer": (lambda v: v.update(format_version=99), "upgrade flax-vanilla-zoo"),
    "no files": (lambda v: v.update(files={}), "'files': expected at least one"),
    "digest missing": (
        lambda v: v["files"]["card.md"].pop("sha256"),
        "missing required field sha256",
    ),
    "short digest": (
        lambda v: v["files"]["card.md"].update(sha256="ab"),
        "sha256: expected str matching",
    ),
    "negative size": (lambda v: v["files"]["card.md"].update(bytes=-1), "expected int >= 0"),
    "absurd size": (lambda v: v["files"]["card.md"].update(bytes=2**50), "expected int <= "),
    "larger than the disk": (lambda v: v["files"]["card.md"].update(bytes=2**39), "free some"),
    "oversized": (lambda v: v.update(recipe={"x": "y" * 2**23}), "is larger than"),
}


@pytest.mark.fault("A6", "A22")
@pytest.mark.parametrize("case", MANIFESTS)
def test_a_manifest_that_cannot_be_right_is_refused(server, case):
    change, match = MANIFESTS[case]
    change_manifest(server, change)
    refused(match, f"{server.url}/{ID}")
    assert list_cached() == []


def test_a_manifest_without_end_is_not_read_to_the_end(server):
    server.faults["manifest.json"] = bad.endless
    refused("is larger than 4,194,304 bytes", f"{server.url}/{ID}")


def test_a_manifest_that_is_no_json_is_refused(server):
    (server.folder / ID / "manifest.json").write_bytes(b"\x80\x04]\x94.")
    refused("not valid JSON", f"{server.url}/{ID}")


def test_swapped_files_are_refused(server):
    folder = server.folder / ID
    first, second = folder / "card.md", folder / "weights" / "_METADATA"
    contents = first.read_bytes(), second.read_bytes()
    second.write_bytes(contents[0])
    first.write_bytes(contents[1])
    refused(r"has [\d,]+ bytes, not")


def test_a_missing_file_is_named(server, data):
    (server.folder / ID / data).unlink()
    assert data in refused("404 Not Found")


@pytest.mark.parametrize("overrides", [{"width": 0.125}, {"stem": "imagenet"}])
def test_weights_of_another_shape_are_refused_by_name(server, overrides):
    change_manifest(server, lambda values: values["config"].update(overrides))
    with pytest.raises(ValueError, match=r"(?s)does not fit .*other shape:.*stem\.kernel"):
        load_pretrained(f"{server.url}/{ID}")


@pytest.mark.fault("B12")
def test_nothing_is_ever_unpickled(server, data, monkeypatch, tmp_path):
    """A pickle in the place of every file runs nothing."""
    marker = tmp_path / "ran"
    pickled = f"cos\nsystem\n(S'touch {marker}'\ntR.".encode()
    for name in (data, "card.md", "manifest.json"):
        (server.folder / ID / name).write_bytes(pickled)
    refused("has|sent")
    with pytest.raises(ValueError):
        load_weights(server.folder / ID, {})
    assert not marker.exists()
