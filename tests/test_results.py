"""The page of results says what the evidence says, in numbers and in words."""

import json
import statistics

import pytest

from tests.conftest import REPOSITORY
from tests.evidence_rows import lowest_loss, write_row
from tools.pages.__main__ import main
from tools.pages.results import build
from zoo.recipes.sweeps import sweeps
from zoo.study import better_groups, rates_by_trials, read_evidence

DIGITS = sweeps()["digits"]
TAT, BATCH_NORM, EOC = "vanilla_resnet50_tat_lrelu", "resnet50", "vanilla_resnet50_eoc_relu"


@pytest.fixture
def checkpoints(tmp_path):
    """Three seeds of three networks; one run of EOC failed, another is at chance."""
    for seed, (ours, theirs) in enumerate([(180, 190), (184, 190), (182, 193)]):
        write_row(tmp_path, TAT, seed, correct=ours)
        write_row(tmp_path, BATCH_NORM, seed, correct=theirs, losses=(2.3, 1.5, 0.6, 0.55))
    write_row(tmp_path, EOC, 0, correct=120, losses=(2.3, 2.2, 2.0, 1.8))
    write_row(tmp_path, EOC, 1, correct=20, losses=(2.3, 2.3, 2.3, 2.3))
    write_row(tmp_path, EOC, 2, failed_at=150, losses=(2.3,))
    return tmp_path


def _line(page, *starts):
    return next(line for line in page.splitlines() if line.startswith(starts))


def test_the_page_is_what_the_checked_in_evidence_says(capsys):
    assert main(["results", "--check", "--checkpoints", str(REPOSITORY / "checkpoints")]) == 0


def test_another_number_makes_the_check_fail(checkpoints, tmp_path, capsys):
    where = ["results", "--checkpoints", str(checkpoints), "--root", str(tmp_path)]
    assert main([*where, "--json"]) == 0
    written = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert written["changed"] and main([*where, "--check"]) == 0
    svg = (tmp_path / "docs" / "figures" / "digits_curves.svg").read_text()
    assert "BatchNorm, shortcuts" in svg and "training loss" in svg
    write_row(checkpoints, TAT, 0, correct=181)
    assert main([*where, "--check"]) == 1
    assert "results.md; run python" in capsys.readouterr().out
    write_row(checkpoints, TAT, 0, correct=180, losses=(2.3, 1.5, 1.0, 0.61))
    assert main([*where, "--check"]) == 1
    assert "digits_curves, results.md" in capsys.readouterr().out


def test_means_and_errors_are_those_of_the_finished_runs(checkpoints):
    page, _ = build(checkpoints)
    ours = [90.0, 92.0, 91.0]
    error = statistics.stdev(ours) / 3**0.5
    assert f"| {statistics.mean(ours):.2f} ± {error:.2f} (n = 3) |" in _line(page, "| TAT, leaky")
    # 60 % and 10 % of the finished runs of EOC; the failed one counts in no mean.
    assert "| 35.00 ± 25.00 | 2 | 1 | 1 |" in _line(page, f"| `{EOC}` |")
    assert f"`{EOC}-2` at step 150. Failed runs count in no mean." in page
    assert f"Not trained yet, {len(DIGITS) - 9} of {len(DIGITS)} rows: " in page
    assert "`vanilla_resnet101_tat_lrelu-0`" in page


def test_the_verdicts_follow_from_the_numbers(checkpoints):
    def verdict():
        section = build(checkpoints)[0].partition("competitive with ResNets")[2]
        return next(line for line in section.splitlines() if line.startswith("**"))

    # 91.0 - 95.5 points, standard error 0.76: more than one point below.
    assert verdict() == "**The claim does not hold at depth 50.**"
    for seed in range(3):
        write_row(checkpoints, TAT, seed, correct=192 + 2 * seed)
    assert verdict() == "**The claim holds at depth 50.**"
    for seed in range(3):
        write_row(checkpoints, TAT, seed, correct=180 + 10 * seed)
    assert verdict() == "**The claim is undecided at depth 50.**"


def test_a_network_that_never_gets_there_is_slower(checkpoints):
    page, _ = build(checkpoints)
    section = page.partition("train more slowly")[2].partition("###")[0]
    assert "400 ± 0 (n = 3) | - (n = 0 of 3) | holds (reached more often)" in section
    fast = page.partition("With TAT, networks")[2].partition("###")[0]
    assert "400 ± 0 (n = 3) | 300 ± 0 (n = 3) | does not hold" in fast


def test_one_seed_decides_nothing(tmp_path):
    write_row(tmp_path, TAT, 0, correct=199)
    write_row(tmp_path, BATCH_NORM, 0, correct=20)
    page, _ = build(tmp_path)
    assert "**The claim is undecided at depth 50.**" in page


def test_target_losses_lie_between_guessing_and_the_entropy_of_the_target(checkpoints):
    row = read_evidence(checkpoints)[0]
    assert row.target_loss(0.0) == pytest.approx(2.302585093)
    assert row.target_loss(1.0) == pytest.approx(lowest_loss(0.1, 10))


def test_learning_rates_are_chosen_by_training_loss(checkpoints):
    tail = {0.1: 0.9, 0.03: 0.7, 0.01: 0.8}
    for rate, loss in tail.items():
        correct = {0.1: 199, 0.03: 100, 0.01: 150}[rate]  # the best on the test split loses
        write_row(
            checkpoints, TAT, matrix="digits_rates", rate=rate, correct=correct,
            losses=(2.3, loss, loss),
        )  # fmt: skip
    page, _ = build(checkpoints)
    section = page.partition("## Learning rates")[2]
    assert "| 0.8000 | 0.7000 | 0.9000 | 0.03 | 0.1 |" in _line(section, f"| `{TAT}` |")
    assert f"Trained with another rate than the trials choose: `{BATCH_NORM}`" in section


def test_a_depth_that_was_not_tried_takes_a_neighbours_rate(tmp_path):
    for depth, rate in ((50, 0.1), (101, 0.03), (200, 0.01)):
        write_row(tmp_path, f"vanilla_resnet{depth}_tat_lrelu", matrix="digits_rates", rate=rate)
    write_row(tmp_path, "resnet152", matrix="digits_rates", rate=0.3)
    trials = read_evidence(tmp_path)
    rates = rates_by_trials("vanilla_resnet152_tat_lrelu", trials)
    assert rates == {101: 0.03, 200: 0.01}
    assert rates_by_trials("vanilla_resnet101_tat_lrelu", trials) == {101: 0.03}
    flat = (2.31, 2.3026)
    for rate in (0.1, 0.3):
        write_row(tmp_path, "resnet200", matrix="digits_rates", rate=rate, losses=flat)
    with_flat = read_evidence(tmp_path)
    assert rates_by_trials("resnet200", with_flat) == {152: 0.3}
    write_row(tmp_path, "vanilla_resnet152_tat_lrelu", rate=0.01)
    page, _ = build(tmp_path)
    assert "another depth: `vanilla_resnet152_tat_lrelu` (depth 200)." in page
    assert "Every network was trained with the rate that the trials choose." in page


def test_of_two_optimizers_the_lower_training_loss_counts(tmp_path):
    # In a matrix of two optimizers the row's name tells them apart.
    write_row(tmp_path, TAT, 0, correct=199, losses=(2.0, 1.9))
    write_row(tmp_path, TAT, 1, correct=50, losses=(2.0, 0.6), optimizer="muon")
    better = better_groups(read_evidence(tmp_path))
    assert better[TAT].optimizer == "muon"


def test_without_evidence_the_page_says_so(tmp_path):
    page, figures = build(tmp_path)
    assert figures == [] and f"Not trained yet, {len(DIGITS)} of {len(DIGITS)} rows" in page
    assert "Not measured yet: no pair of networks has been trained." in page
