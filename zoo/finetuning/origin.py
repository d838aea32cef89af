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
from zoo.classifier import Classifier
from zoo.data import Source
from zoo.data.identity import content_digest
from zoo.finetuning.pictures import Findings
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
      findings: what was odd about the data; not compared.
      baseline: fields of the `Baseline` that was measured first; not compared.
    """

    weight: dict[str, str]
    data: dict[str, dict[str, Any]]
    config: dict[str, Any]
    findings: Findings = Findings()
    baseline: dict[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def of(
        cls,
        model: Classifier,
        sources: Mapping[str, Source],
        config: TrainConfig,
        *,
        named: str = "",
    ) -> "Origin":
        """What fine-tuning `model`, asked for as `named`, on these splits begins from."""
        data = {
            name: {"source": source.name, "n": len(source), "sha256": content_digest(source)}
            for name, source in sources.items()
        }
        about = model.manifest
        name = about.id if about else named or model.provenance.name
        weight = {"name": name, "sha256": weight_digest(model)}
        terms = about.data_terms if about else model.provenance.run.get("data_terms")
        weight |= {"data_terms": terms} if terms else {}
        return cls(weight, data, config.to_json())

    def save(self, workdir: Path) -> None:
        """Writes it into the run directory, whole or not at all."""
        write_json(workdir / ORIGIN, dataclasses.asdict(self))

    def require(self, asked: "Origin", workdir: Path) -> None:
        """Refuses to go on with a run that began from something else.

        Raises:
          OtherRunError: naming everything that differs.
        """
        lines = [
            *_weight_difference(self.weight, asked.weight),
            *_data_differences(self.data, asked.data),
            *config_differences(self.config, TrainConfig.from_json(asked.config), watched=True),
        ]
        if lines:
            raise OtherRunError(
                f"{workdir} holds another fine-tuning, whose result this is not; give another "
                "--workdir, or ask for the same again:\n  " + "\n  ".join(lines)
            )


def read_origin(workdir: Path) -> Origin | None:
    """What the run in `workdir` began from; None where none has made its first step.

    Raises:
      OtherRunError: it does not say from what.
    """
    if not (workdir / "checkpoints").is_dir() or not list_steps(workdir):
        return None
    try:
        values = json.loads((workdir / ORIGIN).read_text(encoding="utf-8"))
        found = {name: tuple(texts) for name, texts in values.pop("findings").items()}
        return Origin(**values, findings=Findings(**found))
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise OtherRunError(
            f"{workdir} holds a run that does not say which weight and data it began from; give "
            "another --workdir"
        ) from None


def weight_digest(model: Classifier) -> str:
    """Hex sha256 over a network's structure, activation, and every parameter by name."""
    config = dataclasses.asdict(model.config)
    structure = [model.provenance.arch, config, model.solved.to_json()]
    digest = hashlib.sha256(json.dumps(structure, sort_keys=True, default=str).encode())
    for name, value in sorted(model.split()[1].items()):
        array = np.ascontiguousarray(value)
        digest.update(f"{name} {array.dtype} {array.shape}\n".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


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
