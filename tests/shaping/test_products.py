"""Element-wise products of independent branches: their graph, and their maps against a draw."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.shaping.test_trace import ACT, W, trace
from zoo.shaping import DKS, EOC, KernelGraph, NotShapableError, propagate
from zoo.shaping.graph import Product

FORMS = {
    "gate": lambda x: ACT(x @ W[1]) * (x @ W[2]),
    "own gate": lambda x: x * ACT(x @ W[1]),
    "GLU": lambda x: jax.nn.glu(x @ jnp.concatenate([W[1], W[2]], axis=1)),
}


@pytest.mark.parametrize("form", FORMS)
def test_products_of_independent_branches_have_a_graph(form):
    graph = trace(lambda x: FORMS[form](x @ W[0]) @ W[3])
    assert isinstance(graph.nodes[-1], Product) and graph.nonlinear_depth == 1
    written = json.loads(json.dumps(graph.to_json()))
    assert graph.unmarked or KernelGraph.from_json(written) == graph


def test_cosines_multiply_in_a_wide_layer():
    rng, width, c = np.random.default_rng(0), 1 << 16, 0.6
    (marked,) = trace(lambda x: jnp.tanh(x @ W[0])).unmarked
    graph = trace(lambda x: jnp.tanh(x @ W[1]) * (x @ W[2]))
    expected = propagate(graph, c)[-1]
    first, second = rng.normal(size=(2, 2, width))  # of the gate, of the value
    u = np.tanh(first[0]) * second[0]
    rest = math.sqrt(1 - c * c)
    v = np.tanh(c * first[0] + rest * first[1]) * (c * second[0] + rest * second[1])
    assert marked.phi == "tanh"
    # 65,536 independent coordinates: a standard error of about 0.004 each
    assert np.mean(u * u) == pytest.approx(expected.q, abs=0.02)
    assert u @ v / np.linalg.norm(u) / np.linalg.norm(v) == pytest.approx(expected.c, abs=0.02)


@pytest.mark.parametrize("method", [DKS(), EOC()])
def test_products_are_analysed_but_not_shaped(method):
    graph = trace(FORMS["gate"])
    with pytest.raises(NotShapableError, match="multiplies signals, as gates do"):
        method.solve(graph)
    with pytest.raises(ValueError, match="the graph holds products"):
        graph.maximum(0.0, lambda y: y)
    assert graph.evaluate(0.5, lambda c: c) == 0.25


def test_propagation_of_a_shaped_chain_is_its_c_map():
    solved, chain = DKS("tanh").solve(10), KernelGraph.chain(10)
    values = propagate(chain, np.array([0.0, 0.5, 1.0]), activation=solved)[-1]
    assert values.q == pytest.approx(1.0, abs=1e-9)
    assert values.c[[0, 2]] == pytest.approx([0.0, 1.0], abs=1e-9)
    with pytest.raises(ValueError, match="pass their activation"):
        propagate(chain, 0.5)
    with pytest.raises(ValueError, match="greater than 0"):
        propagate(chain, 0.5, q=0.0)
