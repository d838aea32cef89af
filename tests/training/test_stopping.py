"""A run ends when its evaluations get no better, by the criterion it names."""

import pytest

from tests.training.tiny import SOLVED, tiny
from zoo.checkpoint import read_record
from zoo.training import EarlyStopping, EvalConfig, fit, read_metrics
from zoo.training.stopping import score


@pytest.mark.parametrize(
    ("patience", "scores", "over"),
    [
        (2, [], False),
        (2, [0.5, 0.6, 0.6], False),
        (2, [0.5, 0.6, 0.6, 0.5], True),
        (2, [0.5, 0.4, 0.6, 0.5], False),
        (0, [0.5, 0.4, 0.3, 0.2], False),
    ],
)
def test_a_run_is_over_after_patience_evaluations_without_a_better_one(patience, scores, over):
    stopping = EarlyStopping(patience, scores[:1])
    for value in scores[1:]:
        stopping.add(value)
    assert stopping.over is over
    assert stopping.history == scores


def test_a_higher_top1_or_a_lower_loss_is_better():
    worse, better = {"top1": 0.5, "loss": 1.0}, {"top1": 0.6, "loss": 0.9}
    assert score(better, "top1") > score(worse, "top1")
    assert score(better, "loss") > score(worse, "loss")


def test_the_best_step_has_the_lowest_loss_where_the_loss_decides(tmp_path):
    evaluation = EvalConfig(every_steps=2, limit=64, batch_size=64, criterion="loss", patience=1)
    fit(tiny(eval=evaluation), tmp_path, solved=SOLVED, progress=False)
    found = {
        line["step"]: line["eval"]["loss"] for line in read_metrics(tmp_path) if "eval" in line
    }
    losses = list(found.values())
    assert read_record(tmp_path, "best").step == min(found, key=found.__getitem__)
    # Ended at the first evaluation that was no better than the one before, or at the last step.
    rises = [later >= earlier for earlier, later in zip(losses, losses[1:], strict=False)]
    assert not any(rises[:-1]) and (rises[-1] or max(found) == 12)
