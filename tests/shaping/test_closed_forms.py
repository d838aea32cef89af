"""The graph of every ResNet of the zoo against the recursion of its definition, to 1e-12.

The oracle knows no graph: it is the arithmetic of the block written down once more, with the two
ways to choose subnetworks, and for bottlenecks closed forms of the whole.
"""

import math

import pytest

from tests.cases import ALL_MODELS
from zoo.models import create_model, graph_of
from zoo.shaping import TAT, KernelGraph
from zoo.shaping.targets import local_curvature, local_negative_slope, local_slope

BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
WEIGHTS = (0.0, 0.3, 0.5, 0.8, 0.95)
S, K = 1.01, 0.0125


def leaky_relu(c, kbar=0.05):
    return c + kbar / math.pi * (math.sqrt(1 - c * c) - c * math.acos(c))


# effect of one nonlinear layer, and the value that subnetworks start with
EFFECTS = {
    "slope": (lambda y: S * y, 1.0),
    "curvature": (lambda y: y + K, 0.0),
    "C value": (leaky_relu, 0.0),
}


def graph(depth, w, **options):
    """Traced from the network that the registry builds."""
    id = f"vanilla_resnet{depth}_tat_lrelu"
    activation = TAT().unsolved
    options = {"shortcut_weight": w, "width": 0.0625, **options}
    return graph_of(create_model(id, activation=activation, abstract=True, **options))


def applied(r, x, times):
    for _ in range(times):
        x = r(x)
    return x


def blocks(depth):
    """(nonlinear layers of the branch, whether the shortcut is projected) of every block."""
    layers = 2 if depth < 50 else 3
    for stage, count in enumerate(BLOCKS[depth]):
        for block in range(count):
            yield layers, block == 0 and (depth >= 50 or stage > 0)


def whole(depth, w, r, x):
    """(output, inputs of all blocks, ends of all branches) when x is fed at the first block."""
    inputs, ends = [], []
    for layers, projects in blocks(depth):
        branch, shortcut = applied(r, x, layers), r(x) if projects else x
        inputs.append(x)
        ends.append(branch)
        x = w**2 * shortcut + (1 - w**2) * branch
    return r(x), inputs, ends


def largest(depth, w, r, x, subnetworks):
    output, inputs, ends = whole(depth, w, r, x)
    if subnetworks == "reference":
        return max(x, output, applied(r, x, next(blocks(depth))[0]))
    return max(x, output, *inputs, *ends)


@pytest.mark.parametrize("w", WEIGHTS)
@pytest.mark.parametrize("depth", BLOCKS)
def test_every_network_has_the_maps_of_its_definition(depth, w):
    traced = graph(depth, w)
    for r, x in EFFECTS.values():
        output = whole(depth, w, r, x)[0]
        assert traced.evaluate(x, r) == pytest.approx(output, rel=1e-12)
        for mode in ("all", "reference"):
            expected = largest(depth, w, r, x, mode)
            assert traced.maximum(x, r, mode) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("w", WEIGHTS)
@pytest.mark.parametrize("depth", [50, 101, 152, 200])
def test_bottleneck_networks_have_the_closed_forms(depth, w):
    traced, r = graph(depth, w), w**2
    slope, layers = S, 1.0
    for n in BLOCKS[depth]:
        slope *= (r * S + (1 - r) * S**3) * (r + (1 - r) * S**3) ** (n - 1)
        layers += r + 3 * (1 - r) * n
    assert traced.evaluate(1.0, lambda y: S * y) == pytest.approx(slope, rel=1e-12)
    assert traced.evaluate(0.0, lambda y: y + K) == pytest.approx(layers * K, rel=1e-12)
    assert traced.maximum(1.0, EFFECTS["slope"][0], "reference") == pytest.approx(
        max(slope, S**3), rel=1e-12
    )


@pytest.mark.parametrize("w", [0.3, 0.8, 0.95])
def test_no_subnetwork_was_forgotten(w):
    """Fed at every block in turn, not only at the input: the largest of all ends is the same."""
    depth, traced = 50, graph(50, w)
    parts = list(blocks(depth))
    for r, x in EFFECTS.values():
        best = x
        for start in range(len(parts)):
            value = x
            for layers, projects in parts[start:]:
                best = max(best, *(applied(r, value, n) for n in range(layers + 1)))
                shortcut = r(value) if projects else value
                value = w**2 * shortcut + (1 - w**2) * applied(r, value, layers)
            best = max(best, r(value))
        assert traced.maximum(x, r) == pytest.approx(best, rel=1e-12)


@pytest.mark.parametrize("w", WEIGHTS)
@pytest.mark.parametrize("mode", ["all", "reference"])
def test_targets_are_met_by_the_oracle(w, mode):
    """What the methods solve for on the traced graph, put into the recursion, gives the target."""
    traced = graph(101, w)
    psi, kappa = local_slope(traced, 1.5, mode), local_curvature(traced, 0.3, mode)
    assert largest(101, w, lambda y: psi * y, 1.0, mode) == pytest.approx(1.5, rel=1e-12)
    assert largest(101, w, lambda y: y + kappa, 0.0, mode) == pytest.approx(0.3, rel=1e-12)
    a = local_negative_slope(traced, 0.7, mode)
    kbar = (1 - a) ** 2 / (1 + a**2)
    reached = largest(101, w, lambda c: leaky_relu(min(c, 1.0), kbar), 0.0, mode)
    assert reached == pytest.approx(0.7, rel=1e-12)


@pytest.mark.parametrize("options", [{"dtype": "bfloat16"}, {"remat": "blocks"}, {"scan": True}])
def test_types_and_compilation_do_not_change_the_graph(options):
    assert graph(50, 0.3, **options) == graph(50, 0.3)


WIRINGS = [id for id in ALL_MODELS if id.endswith("eoc_relu")]  # the same for all methods


@pytest.mark.parametrize("id", WIRINGS)
def test_every_registered_network_is_one_of_these(id):
    model = create_model(id, abstract=True, width=0.0625)
    expected = graph(model.config.depth, model.config.shortcut_weight)
    assert graph_of(model) == expected
    assert expected.is_chain == (not model.config.shortcut_weight)
    if expected.is_chain:
        assert expected == KernelGraph.chain(sum(n for n, _ in blocks(model.config.depth)) + 1)
