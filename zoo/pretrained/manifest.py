"""What a published weight says about itself.

Owns the form of `manifest.json`. Needs neither JAX nor Flax, and resolves no name: architectures
and activations are looked up in their registries by whoever loads the weight.
"""

import dataclasses
import json
from pathlib import Path
from typing import Any

from zoo.pretrained.schema import FIELDS, FORMAT_VERSION, OPTIONAL, field_problem
from zoo.pretrained.strict_json import (
    ManifestError,
    check_version,
    parse_object,
    read_bounded,
)

MANIFEST = "manifest.json"
CARD = "card.md"
WEIGHTS = "weights"
SINGLE_FILE = "model.safetensors"
_NOT_IN_A_FILE = ("files", "releases")


@dataclasses.dataclass(frozen=True)
class Manifest:
    """Everything that belongs to one published weight, as plain JSON values.

    Attributes:
      format_version: version of this form.
      id: `arch.tag`; a tag is never reused for other bytes.
      arch: id of the architecture.
      overrides: arguments of `create_model` that differ from their defaults.
      activation: the solved activation, fields of `ShapedActivation`; loading never solves.
      shaping: method, activation, targets, solved constants, nonlinear_depth, graph_hash; None
        for a network without shaping.
      preprocess: fields of `Preprocessing`.
      classes: class names in the order of the logits.
      input_size: (height, width, channels) of one example.
      params: number of trained parameters.
      macs: multiply-accumulates of one example.
      metrics: data set -> top1, top5 (fractions), loss, n, correct1, correct5, and how measured.
      recipe: the whole training configuration.
      files: relative name -> {"bytes", "sha256"}: every file but the manifest.
      licence: licence of the weights.
      data_terms: terms of the training data, one sentence.
      versions: library -> version it was made with.
      created: time of writing, ISO 8601.
      releases: form, such as safetensors -> {"file", "bytes", "sha256"} and, where it is served,
        "url": the same weight in another form, outside this folder.
      config: every option of the network, whatever its id stands for later; older manifests have
        `overrides` alone.
      solved: all activations and the methods that solved them, as they were used; `activation` and
        `shaping` tell the first. Older manifests have those alone.

    Raises:
      ManifestError: naming the first field that does not hold what it should.
    """

    format_version: int
    id: str
    arch: str
    overrides: dict[str, Any]
    activation: dict[str, Any]
    shaping: dict[str, Any] | None
    preprocess: dict[str, Any]
    classes: tuple[str, ...]
    input_size: tuple[int, int, int]
    params: int
    macs: int
    metrics: dict[str, dict[str, Any]]
    recipe: dict[str, Any]
    files: dict[str, dict[str, Any]]
    licence: str
    data_terms: str
    versions: dict[str, str]
    created: str
    releases: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    config: dict[str, Any] = dataclasses.field(default_factory=dict)
    solved: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in FIELDS:
            if problem := field_problem(name, getattr(self, name)):
                raise ManifestError(f"field {name!r}: {problem}")
        if self.id.partition(".")[0] != self.arch or "." not in self.id:
            raise ManifestError(f"field 'id' is {self.id!r}, expected {self.arch}.TAG")

    # The fields hold dicts; an id stands for one content.
    def __hash__(self) -> int:
        return hash((self.id, self.created))

    @property
    def num_bytes(self) -> int:
        """Size of all files in bytes."""
        return sum(entry["bytes"] for entry in self.files.values())

    def to_json(self) -> str:
        """The text of `manifest.json`: sorted keys, one final newline."""
        return json.dumps(self._written(), indent=1, sort_keys=True, allow_nan=False) + "\n"

    def without_files(self) -> dict[str, Any]:
        """What a single file with the weights says about them: it cannot hold its own digest."""
        values = self._written()
        return {name: values[name] for name in values if name not in _NOT_IN_A_FILE}

    def _written(self) -> dict[str, Any]:
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if value or name not in OPTIONAL}


def read_manifest(folder: Path) -> Manifest:
    """The manifest of the published weight in `folder`; unknown fields are left out.

    Raises:
      ManifestError: in one sentence, for whatever is not a manifest of a version known here.
    """
    path = folder / MANIFEST
    return parse_manifest(read_bounded(path), path)


def parse_manifest(raw: bytes, where: str | Path) -> Manifest:
    """The manifest in `raw`, which came from `where`.

    Raises:
      ManifestError: as `read_manifest`.
    """
    return manifest_of(parse_object(raw, where), where)


def manifest_of(values: dict[str, Any], where: str | Path) -> Manifest:
    """The manifest with these fields, which came from `where`.

    Raises:
      ManifestError: as `read_manifest`.
    """
    check_version(values, FORMAT_VERSION, where)
    values = {**{name: {} for name in OPTIONAL}, **values}
    missing = [name for name in FIELDS if name not in values]
    if missing:
        raise ManifestError(f"{where}: fields missing: {', '.join(missing)}; fetch it again")
    known = {name: values[name] for name in FIELDS}
    for name in ("classes", "input_size"):
        known[name] = tuple(known[name]) if isinstance(known[name], list) else known[name]
    try:
        return Manifest(**known)
    except ManifestError as error:
        raise ManifestError(f"{where}: {error}; fetch it again") from None
