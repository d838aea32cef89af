"""What fine-tuning ended with."""

import dataclasses
from pathlib import Path
from typing import Any

from zoo.classifier import Classifier
from zoo.evaluation.measures import confused_pairs, confusion_matrix
from zoo.finetuning.baseline import Baseline
from zoo.finetuning.outcome import Candidate, measurement
from zoo.finetuning.plan import Splits

REPORT = "report.html"


@dataclasses.dataclass(frozen=True)
class FinetuneResult:
    """What fine-tuning ended with.

    Attributes:
      model: the network that was kept, with `preprocess` and `classes`; `load_pretrained(workdir)`
        gives it.
      best: the same, measured: the linear probe or the fine-tuned network.
      probe: the linear probe.
      trained: the fine-tuned network; None where the head alone was solved.
      baseline: logistic regression on pixels, on the same test images.
      splits: which splits trained, chose `model`, and were measured.
      workdir: the run directory, with `report.html` and `result.json`.
      steps_made: updates made until the end.
      commands: that evaluate and predict with it.
      kept: parameters that started from the pretrained ones.
      new: parameters that started as the linear probe.
      warnings: what was found odd about the data, and training did not refuse.
      weight: the pretrained weight: its name, the sha256 of its content, and terms of its data.
      layers: which layers were trained, in words.
      data_terms: terms of the data as the user gave them.
    """

    model: Classifier
    best: Candidate
    probe: Candidate
    trained: Candidate | None
    baseline: Baseline
    splits: Splits
    workdir: Path
    steps_made: int
    commands: tuple[str, str]
    kept: tuple[str, ...]
    new: tuple[str, ...]
    warnings: tuple[str, ...]
    weight: dict[str, str]
    layers: str
    data_terms: str | None

    @property
    def step(self) -> int:
        """Updates behind `model`; 0 is the linear probe."""
        return self.best.step

    @property
    def metrics(self) -> dict[str, Any]:
        """Of `model` on the split that is measured: top1 with its interval, top5, loss, n."""
        return measurement(self.best.test)

    @property
    def validation(self) -> dict[str, Any]:
        """Of `model` on the split that chose it."""
        return measurement(self.best.validation)

    @property
    def confused(self) -> list[tuple[str, str, int, int]]:
        """(true class, taken for, how often, of how many) of the most frequent mistakes."""
        answers, names = self.best.test.answers, self.model.classes
        if answers is None:
            return []
        matrix = confusion_matrix(answers.label, answers.predicted, len(names))
        pairs = confused_pairs(matrix)
        return [(names[t], names[p], n, int(matrix[t].sum())) for t, p, n in pairs]

    def to_json(self) -> dict[str, Any]:
        """All but the model, as JSON values."""
        return {
            "model": self.model.provenance.arch,
            "weight": self.weight,
            "classes": list(self.model.classes),
            "splits": dataclasses.asdict(self.splits),
            "step": self.step,
            "steps_made": self.steps_made,
            "metrics": self.metrics,
            "validation": self.validation,
            "kept_network": self.best.name,
            "probe": self.probe.to_json(),
            "trained": None if self.trained is None else self.trained.to_json(),
            "baseline": self.baseline.to_json(),
            "confused": self.confused,
            "workdir": str(self.workdir),
            "report": str(self.workdir / REPORT),
            "commands": list(self.commands),
            "layers": self.layers,
            "kept": len(self.kept),
            "new": list(self.new),
            "warnings": list(self.warnings),
            "data_terms": self.data_terms,
        }
