"""What a fine-tuning began from, kept in its run directory and compared before it is used again.

A run directory answers for one pretrained weight, one data set and one plan. Asked with another,
the old result would come out under the new name.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zoo.checkpoint import list_steps
from zoo.data import Source
from zoo.data.identity import content_digest
from zoo.models import Network, overrides_of, split
from zoo.training import TrainConfig
from zoo.training.folder import config_differences, write_json

ORIGIN = "finetuning.json"
_SHOWN = 12  # hexadecimal digits tell contents apart for people


class OtherRunError(ValueError):
    """A run directory that holds a fine-tuning of something else."""


@dataclasses.dataclass(frozen=True)
class Origin:
    """Everything that decides a fine-tuning.

    Attributes:
      weight: name of the pretrained weight, and the sha256 of its content.
      data: split -> its number of examples and the sha256 of their content.
      config: the plan, as JSON values.
      found: what was found before the first step (warnings about the data, the probe); not
        compared.
    """

    weight: dict[str, str]
    data: dict[str, dict[str, Any]]
    config: dict[str, Any]
    found: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: Network,
        sources: Mapping[str, Source],
        config: TrainConfig,
        found: Mapping[str, Any],
    ) -> "Origin":
        """What fine-tuning `model` on these splits by this plan begins from."""
        data = {
            name: {"source": source.name, "n": len(source), "sha256": content_digest(source)}
            for name, source in sources.items()
        }
        name = model.manifest.id if model.manifest else model.arch
        return cls(
            {"name": name, "sha256": weight_digest(model)}, data, config.to_json(), dict(found)
        )

    def save(self, workdir: Path) -> None:
        """Writes it into the run directory, whole or not at all."""
        write_json(workdir / ORIGIN, dataclasses.asdict(self))


def weight_digest(model: Network) -> str:
    """Hex sha256 over a network's structure, activation, and every parameter by name."""
    structure = [model.arch, overrides_of(model), dataclasses.asdict(model.activation)]
    digest = hashlib.sha256(json.dumps(structure, sort_keys=True, default=str).encode())
    for name, value in sorted(split(model)[1].items()):
        array = np.ascontiguousarray(value)
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def has_begun(workdir: Path) -> bool:
    """Whether a run directory holds a step; what was left before the first counts as nothing."""
    return (workdir / "checkpoints").is_dir() and bool(list_steps(workdir))


def begun_alike(workdir: Path, origin: Origin) -> Origin:
    """What the run in `workdir` began from, which is the same as `origin`.

    Raises:
      OtherRunError: it began from something else, or does not say from what.
    """
    try:
        before = Origin(**json.loads((workdir / ORIGIN).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        raise OtherRunError(
            f"{workdir} holds a run that does not say which weight and data it began from; give "
            "another --workdir"
        ) from None
    lines = [
        *_weight_difference(before.weight, origin.weight),
        *_data_differences(before.data, origin.data),
        *config_differences(before.config, TrainConfig.from_json(origin.config), watched=True),
    ]
    if lines:
        raise OtherRunError(
            f"{workdir} holds another fine-tuning, whose result this is not; give another "
            "--workdir, or ask for the same again:\n  " + "\n  ".join(lines)
        )
    return before


def _weight_difference(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    if old["sha256"] == new["sha256"]:
        return []
    return [f"weight: {_named(old['name'], old)} -> {_named(new['name'], new)}"]


def _data_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    absent = {"source": "none", "n": 0, "sha256": ""}
    lines = []
    for split_name in sorted({*old, *new}):
        then, now = old.get(split_name, absent), new.get(split_name, absent)
        if then["sha256"] != now["sha256"]:
            texts = (_named(f"{d['n']} examples of {d['source']}", d) for d in (then, now))
            lines.append(f"{split_name} data: {' -> '.join(texts)}")
    return lines


def _named(name: str, content: Mapping[str, str]) -> str:
    return f"{name} (sha256 {content['sha256'][:_SHOWN]})"
