"""Random networks: whatever is accepted is predicted, in wide random draws."""

import collections

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from tests.shaping.generated import networks
from tests.shaping.measuring import ALLOWED, TOKENS, WIDTH, matrices, measured
from tests.shaping.programs import MARKED, forward
from zoo.shaping import NotShapableError, kernel_graph, propagate

COMMON = {
    "deadline": None,
    "database": None,
    "suppress_health_check": list(HealthCheck),
    "print_blob": True,
}
outcomes = collections.Counter()


def prediction(ops, start, width):
    """q and the cosine at the output, or None for a network that is refused."""
    weights = matrices(0, WIDTH)[0]
    try:
        graph = kernel_graph(lambda x: forward(ops, x, weights), (2, TOKENS, WIDTH), strict=True)
        last = propagate(graph, start, activation=MARKED)[-1]
    except NotShapableError:
        return None
    return last.q, float(last.c)


def deviation(ops, start, correlation, predicted, **draws):
    """The larger difference between measured and predicted in standard errors, and what differs."""
    found = measured(lambda x, w: forward(ops, x, w), start, correlation, **draws)
    return max(
        (abs(mean - expected) / max(error, 1e-6), name, mean, error, expected)
        for name, (mean, error), expected in zip(("q", "c"), found, predicted, strict=True)
    )


def check(ops, start, correlation):
    predicted = prediction(ops, start, WIDTH)
    outcomes["refused" if predicted is None else "accepted"] += 1
    if predicted is None:
        return
    if deviation(ops, start, correlation, predicted)[0] < ALLOWED:
        return
    # Finite width moves means by about layers / width: wrong maps stay wrong in wider networks.
    outcomes["measured again"] += 1
    worst = deviation(ops, start, correlation, predicted, first_seed=100, width=3 * WIDTH // 2)
    assert worst[0] < ALLOWED, worst


CASES = {
    "ops": networks,
    "start": st.sampled_from([0.0, 0.6]),
    "correlation": st.sampled_from([0.0, 0.5, 1.0]),
}


def measure(count, seed=None):
    """Draws and checks `count` networks, without a seed always the same; how many were accepted."""
    outcomes.clear()
    run = settings(max_examples=count, derandomize=seed is None, **COMMON)(given(**CASES)(check))
    (run if seed is None else seeded(seed)(run))()
    print(dict(outcomes))
    return outcomes["accepted"]


def test_no_generated_network_is_accepted_wrongly():
    assert measure(50) >= 15


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_none_of_a_thousand_networks_is_accepted_wrongly(seed):
    assert measure(100, seed) >= 20
