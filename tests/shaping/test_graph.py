"""`KernelGraph`: its maximum over subnetworks against brute force and closed forms."""

import json
import math
import random

import pytest

from tests.shaping.networks import BLOCKS, resnet_graph
from zoo.shaping import GraphBuilder, KernelGraph
from zoo.shaping.graph import Input, Mix, Nonlinear
from zoo.shaping.targets import local_curvature, local_negative_slope, local_slope

EFFECTS = {
    "slope": (1.0, lambda y: 1.01 * y),
    "curvature": (0.0, lambda y: y + 0.1),
    "cosine": (0.0, lambda c: c + 0.2 * (math.sqrt(1 - c * c) - c * math.acos(c))),
}


def brute_force(graph, x, r):
    """Feeds x at every node in turn and values all nodes whose inputs all start there."""
    largest = x
    for start in range(len(graph.nodes)):
        values = {start: x}
        for index in range(start + 1, len(graph.nodes)):
            node = graph.nodes[index]
            if not all(source in values for source in node.sources):
                continue
            inputs = [values[source] for source in node.sources]
            if isinstance(node, Mix):
                values[index] = sum(s * v for s, v in zip(node.shares, inputs, strict=True))
            else:
                value = inputs[0]
                for _ in range(node.times):
                    value = r(value)
                values[index] = value
        largest = max(largest, *values.values())
    return largest


def random_graph(seed):
    rng, builder = random.Random(seed), GraphBuilder()
    nodes = [builder.input]
    for _ in range(30):
        if rng.random() < 0.6:
            nodes.append(builder.nonlinear(rng.choice(nodes[-4:])))
        else:
            w = rng.random()
            chosen = rng.choices(nodes[-5:], k=2)
            terms = zip(chosen, (w**2, 1 - w**2), strict=True)
            nodes.append(builder.mix_shares(terms))
    return builder.graph(nodes[-1])


GRAPHS = [
    KernelGraph.chain(7),
    *(resnet_graph(50, w, v2) for w in (0.0, 0.5, 0.8, 0.99) for v2 in (True, False)),
    *(random_graph(seed) for seed in range(8)),
]


@pytest.mark.parametrize("effect", EFFECTS)
@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.hash[:6])
def test_maximum_is_the_largest_over_all_subnetworks(graph, effect):
    x, r = EFFECTS[effect]
    assert graph.maximum(x, r) == pytest.approx(brute_force(graph, x, r), rel=1e-13)
    assert graph.maximum(x, r, "reference") <= graph.maximum(x, r) * (1 + 1e-13)


@pytest.mark.parametrize("depth", [50, 101, 152, 200])
@pytest.mark.parametrize("w", [0.0, 0.5, 0.8])
def test_maximum_of_a_bottleneck_resnet_has_a_closed_form(depth, w):
    graph, s, k, r = resnet_graph(depth, w), 1.01, 0.01, w**2
    whole = s
    for n in BLOCKS[depth]:
        whole *= (r * s + (1 - r) * s**3) * (r + (1 - r) * s**3) ** (n - 1)
    if w == 0:
        assert graph.maximum(1.0, lambda y: s * y) == pytest.approx(whole, rel=1e-12)
    reference = graph.maximum(1.0, lambda y: s * y, "reference")
    assert reference == pytest.approx(max(whole, s**3), rel=1e-12)
    bends = 1 + sum(r + 3 * (1 - r) + 3 * (1 - r) * (n - 1) for n in BLOCKS[depth])
    assert graph.evaluate(0.0, lambda y: y + k) == pytest.approx(bends * k, rel=1e-12)


# net, w: psi by the reference's rule and over all subnetworks; the same for the negative slope.
RULES = {
    (50, 0.5): (1.010692, 1.010692, 0.357252, 0.357252),
    (50, 0.8): (1.019388, 1.018597, 0.154101, 0.173463),
    (101, 0.8): (1.010310, 1.010079, 0.353598, 0.360625),
    (101, 0.95): (1.028145, 1.025235, None, 0.043063),
}


@pytest.mark.parametrize("net", RULES)
def test_local_targets_under_both_rules(net):
    graph, expected = resnet_graph(*net), RULES[net]
    half_digit = 6e-7
    assert local_slope(graph, 1.5, "reference") == pytest.approx(expected[0], abs=half_digit)
    assert local_slope(graph, 1.5) == pytest.approx(expected[1], abs=half_digit)
    assert local_negative_slope(graph, 0.9) == pytest.approx(expected[3], abs=half_digit)
    if expected[2] is None:
        with pytest.raises(ValueError, match="reaches at most 0.8"):
            local_negative_slope(graph, 0.9, "reference")
    else:
        slope = local_negative_slope(graph, 0.9, "reference")
        assert slope == pytest.approx(expected[2], abs=half_digit)


@pytest.mark.parametrize("depth", [1, 2, 13, 199, 1000])
def test_chains_share_the_target_equally(depth):
    chain = KernelGraph.chain(depth)
    assert local_slope(chain, 1.5) == pytest.approx(1.5 ** (1 / depth), rel=1e-15)
    assert local_curvature(chain, 0.3) == pytest.approx(0.3 / depth, rel=1e-13)
    assert (chain.num_nonlinear, chain.nonlinear_depth, chain.is_chain) == (depth, depth, True)


@pytest.mark.parametrize("graph", GRAPHS, ids=lambda graph: graph.hash[:6])
def test_local_targets_meet_the_target(graph):
    psi, kappa = local_slope(graph, 1.5), local_curvature(graph, 0.3)
    assert graph.maximum(1.0, lambda y: psi * y) == pytest.approx(1.5, rel=1e-12)
    assert graph.maximum(0.0, lambda y: y + kappa) == pytest.approx(0.3, rel=1e-12)


def test_depth_and_number_of_nonlinear_layers():
    graph = resnet_graph(50, 0.8)
    assert (graph.nonlinear_depth, graph.num_nonlinear) == (49, 49)
    builder = GraphBuilder()
    short, long = builder.nonlinear(0), builder.nonlinear(builder.nonlinear(0))
    graph = builder.graph(builder.mix({short: 0.6, long: 0.8}))
    assert (graph.nonlinear_depth, graph.num_nonlinear) == (2, 3)


def test_sequences_merge_and_dead_ends_are_dropped():
    builder = GraphBuilder()
    builder.nonlinear(builder.input)
    x = builder.input
    for _ in range(5):
        x = builder.nonlinear(x)
    assert builder.graph(x) == KernelGraph.chain(5)
    assert builder.graph(builder.mix({x: 1.0})) == KernelGraph.chain(5)


def test_json_and_hash():
    graph = resnet_graph(50, 0.8)
    restored = KernelGraph.from_json(json.loads(json.dumps(graph.to_json())))
    assert restored == graph
    assert (restored.hash, hash(restored)) == (graph.hash, hash(graph))
    assert graph.hash != resnet_graph(50, 0.7).hash
    # Recorded in published weights, so it must not change: print(KernelGraph.chain(49).hash).
    recorded = "35528873c7ec98c77a2739b4c0416dbf6c3f22a051c8d78e11d887e3fa59613b"
    assert KernelGraph.chain(49).hash == recorded


@pytest.mark.parametrize("depth", [0, -1, 2.0, True, "50"])
def test_a_chain_needs_a_whole_number_of_layers(depth):
    with pytest.raises(ValueError, match="whole number of nonlinear layers"):
        KernelGraph.chain(depth)


def test_graphs_that_make_no_sense_are_refused():
    with pytest.raises(ValueError, match="starts with its Input"):
        KernelGraph((Nonlinear(0),))
    with pytest.raises(ValueError, match="may read nodes before it"):
        KernelGraph((Input(), Nonlinear(1)))
    with pytest.raises(ValueError, match="must add to 1"):
        KernelGraph((Input(), Nonlinear(0), Mix((0, 1), (0.5, 0.6))))
    with pytest.raises(ValueError, match="add to 2, not 1"):
        builder = GraphBuilder()
        builder.mix({builder.input: 1.0, builder.nonlinear(builder.input): 1.0})
    with pytest.raises(ValueError, match="use 'all' or 'reference'"):
        KernelGraph.chain(2).maximum(0.0, lambda y: y, "none")
