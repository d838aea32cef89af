"""Solved activations on disk: found again, never trusted when damaged, never in the way."""

import dataclasses
import json

import pytest

from zoo.shaping import DKS, TAT, KernelGraph, UnreachableTargetError
from zoo.shaping.solved import cached_file, solve_once

GRAPH = KernelGraph.chain(20)
METHOD = DKS("tanh")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ZOO_CACHE", str(tmp_path))
    monkeypatch.setenv("ZOO_SOLVED_CACHE", "1")
    return tmp_path


def count_solves(monkeypatch):
    solves, solve = [], DKS.solve
    monkeypatch.setattr(DKS, "solve", lambda *args: solves.append(1) or solve(*args))
    return solves


def test_a_network_is_solved_once(monkeypatch, cache):
    solves = count_solves(monkeypatch)
    assert solve_once(METHOD, GRAPH) == solve_once(METHOD, GRAPH) == METHOD.solve(GRAPH)
    assert len(solves) == 2  # once by each of the two ways
    assert [path.name for path in (cache / "solved").iterdir()] == [cached_file(METHOD, GRAPH).name]


def test_every_part_of_the_problem_is_in_the_name():
    problems = [(METHOD, GRAPH), (DKS("tanh", 1.4), GRAPH), (METHOD, KernelGraph.chain(21))]
    assert len({cached_file(*problem) for problem in problems}) == 3
    assert cached_file(TAT("tanh"), GRAPH) != cached_file(METHOD, GRAPH)


def altered(text):
    record = json.loads(text)
    record["activation"]["input_scale"] *= 2
    return json.dumps(record)


@pytest.mark.parametrize("damage", [lambda t: "", lambda t: t[:-9], lambda t: "[1]", altered])
def test_a_damaged_file_is_solved_anew(damage):
    expected = solve_once(METHOD, GRAPH)
    path = cached_file(METHOD, GRAPH)
    whole = path.read_text()
    path.write_text(damage(whole))
    assert solve_once(METHOD, GRAPH) == expected and path.read_text() == whole
    assert dataclasses.asdict(expected) == json.loads(whole)["activation"]


def test_where_nothing_can_be_written_it_is_solved_all_the_same(cache):
    (cache / "solved").write_text("a file where the folder would be")
    assert solve_once(METHOD, GRAPH) == METHOD.solve(GRAPH)


def test_opting_out_leaves_no_file(monkeypatch, cache):
    monkeypatch.setenv("ZOO_SOLVED_CACHE", "0")
    assert solve_once(METHOD, GRAPH) == METHOD.solve(GRAPH)
    assert not (cache / "solved").exists()


def test_refusals_are_not_kept(cache):
    with pytest.raises(UnreachableTargetError):
        solve_once(TAT(), KernelGraph.chain(3))
    assert not (cache / "solved").exists()
