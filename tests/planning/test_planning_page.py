"""The stored plans of docs/planning.md hold what the page says of them."""

import pytest

from tests.conftest import REPOSITORY
from tools.pages.__main__ import main
from tools.pages.plans import gradient_volumes, read_plans

PLANS = read_plans(REPOSITORY / "docs" / "planning.jsonl")


def test_the_page_is_made_of_the_results():
    assert main(["plans", "--check"]) == 0


@pytest.mark.parametrize("topology", ["v5e:4x4", "v5e:16x16"])
def test_both_networks_are_there_at_the_same_batch(topology):
    plans = [p for p in PLANS if p["topology"] == topology and p["remat"] == "none"]
    assert {"vanilla_resnet50_tat_lrelu", "resnet50"} <= {plan["arch"] for plan in plans}
    assert {plan["chip_batch"] for plan in plans} == {128}


@pytest.mark.parametrize(
    "plan", PLANS, ids=lambda p: "-".join([p["arch"], p["topology"], p["remat"]])
)
def test_every_gradient_is_summed_once_and_nothing_gathered(plan):
    told = plan["collectives"]
    assert set(told) == {"all-reduce"}
    n, parameters = plan["chips"], plan["memory"]["parameters"]
    assert plan["link_bytes"] == pytest.approx(2 * parameters * (n - 1) / n, rel=0.05)
    assert gradient_volumes(plan) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("topology", ["v5e:4x4", "v5e:16x16"])
def test_the_plain_network_fits_where_batch_norm_does_not(topology):
    fits = {
        p["arch"]: p["fits"] for p in PLANS if (p["topology"], p["remat"]) == (topology, "none")
    }
    assert fits["vanilla_resnet50_tat_lrelu"] and not fits["resnet50"]
