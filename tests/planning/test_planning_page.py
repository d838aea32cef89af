"""The stored plans of docs/planning.md hold what the page says of them."""

import pytest

from tests.conftest import tool

TABLE = tool("planning_table")
PLANS = TABLE.read_plans()


def test_the_page_is_made_of_the_results():
    assert TABLE.markdown() in TABLE.PAGE.read_text()


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
    assert TABLE.gradient_volumes(plan) == pytest.approx(1, rel=0.05)


@pytest.mark.parametrize("topology", ["v5e:4x4", "v5e:16x16"])
def test_the_plain_network_fits_where_batch_norm_does_not(topology):
    fits = {
        p["arch"]: p["fits"] for p in PLANS if (p["topology"], p["remat"]) == (topology, "none")
    }
    assert fits["vanilla_resnet50_tat_lrelu"] and not fits["resnet50"]
