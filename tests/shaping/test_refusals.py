"""Targets and activations that make no sense, or are out of reach, get one sentence."""

import math

import pytest

from zoo.shaping import DKS, EOC, TAT, KernelGraph, UnreachableTargetError

REFUSALS = [
    (lambda: DKS(zeta=1.0), "zeta=1.0 must be greater than 1"),
    (lambda: DKS(zeta=math.nan), "zeta=nan must be"),
    (lambda: DKS(q_slope=-1.0), "q_slope=-1.0 must be"),
    (lambda: DKS("relu", q_slope=0.9), "leave it at 1"),
    (lambda: DKS("square"), "DKS cannot shape square"),
    (lambda: TAT("square"), "TAT cannot shape square"),
    (lambda: TAT("identity"), "it is linear"),
    (lambda: TAT("tahn"), "nearest: tanh"),
    (lambda: DKS(["tanh"]), "unknown activation"),
    (lambda: TAT(eta=0.0), "eta=0.0 must be between 0 and 1"),
    (lambda: TAT(eta=1.0), "eta=1.0 must be between 0 and 1"),
    (lambda: TAT("tanh", tau=0.0), "tau=0.0 must be greater than 0"),
    (lambda: TAT("tanh", eta=0.9), "takes tau, not eta"),
    (lambda: TAT(tau=0.3), "takes eta, not tau"),
    (lambda: TAT("relu"), "curvature .* is infinite; use leaky_relu"),
    (lambda: TAT("selu"), "curvature .* is infinite"),
    (lambda: EOC("tanh"), "needs random biases"),
    (lambda: TAT().solve(0), "whole number of nonlinear layers"),
    (lambda: DKS().solve(KernelGraph()), "no nonlinear layer to shape"),
]


@pytest.mark.parametrize("make, message", REFUSALS)
def test_input_that_makes_no_sense_gets_one_sentence(make, message):
    with pytest.raises(ValueError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)


# Smallest plain chain that reaches eta.
NEEDED = {0.5: 3, 0.7: 5, 0.75: 6, 0.8: 7, 0.9: 13, 0.95: 21}


@pytest.mark.parametrize("eta", NEEDED)
def test_a_network_too_shallow_for_eta_is_told_the_depth_it_needs(eta):
    TAT(eta=eta).solve(NEEDED[eta])
    with pytest.raises(UnreachableTargetError, match=f"at least {NEEDED[eta]} nonlinear layers"):
        TAT(eta=eta).solve(NEEDED[eta] - 1)


def test_the_eta_that_is_said_to_be_reachable_is():
    with pytest.raises(UnreachableTargetError, match=r"reaches at most 0\.8971: lower eta"):
        TAT(eta=0.9).solve(12)
    TAT(eta=0.8971).solve(12)


@pytest.mark.parametrize("method", [DKS("softplus", 10.0), DKS("leaky_relu", 10.0), TAT("sin", tau=5.0)])  # fmt: skip  # noqa: E501
def test_the_depth_that_is_said_to_suffice_does(method):
    with pytest.raises(UnreachableTargetError, match="at least") as caught:
        method.solve(2)
    needed = int(str(caught.value).split("at least ")[1].split()[0])
    method.solve(needed)
    with pytest.raises(UnreachableTargetError):
        method.solve(needed - 1)
