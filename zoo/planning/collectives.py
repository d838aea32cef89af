"""What the devices tell each other in one compiled step, read off XLA's optimised program."""

import dataclasses
import math
import re

import jax.numpy as jnp

KINDS = ("all-reduce", "all-gather", "reduce-scatter", "all-to-all", "collective-permute")
_CALL = re.compile(rf"= (?P<type>.*?) (?P<kind>{'|'.join(KINDS)})(?P<start>-start)?\(")
_COMPUTATION = re.compile(r"^(?P<entry>ENTRY )?%(?P<name>[\w.-]+) .*\{$", re.MULTILINE)
_CALLED = re.compile(r"(?:body|calls|to_apply)=%(?P<name>[\w.-]+)")
_LOOP = re.compile(r" while\(.*condition=%(?P<condition>[\w.-]+), body=%(?P<body>[\w.-]+)")
_BOUND = re.compile(r"= s32\[\]\S* constant\((\d+)\)")
_ARRAY = re.compile(r"\b(?P<dtype>pred|bf16|[fsu]\d+)\[(?P<shape>[\d,]*)\]")
_SHORT = {"pred": "bool", "bf16": "bfloat16"}
_LONG = {"f": "float", "s": "int", "u": "uint"}


@dataclasses.dataclass(frozen=True)
class Collective:
    """All collectives of one kind in one run of the program, those of loops as often as they run.

    Attributes:
      count: operations; one operation may carry many arrays.
      bytes: of their results on one device.
    """

    count: int
    bytes: int


def collectives(program: str) -> dict[str, Collective]:
    """Collectives by kind, of `compiled.as_text()`; kinds that do not occur are left out."""
    count: dict[str, int] = {}
    size: dict[str, int] = {}
    for text, runs in _computations(program):
        for call in _CALL.finditer(text):
            arrays = [_bytes(array) for array in _ARRAY.finditer(call["type"])]
            if call["start"] and call["kind"] != "all-reduce":
                # What is started and awaited names its operands before its results.
                arrays = arrays[len(arrays) // 2 :]
            kind = call["kind"]
            count[kind] = count.get(kind, 0) + runs
            size[kind] = size.get(kind, 0) + runs * sum(arrays)
    return {kind: Collective(count[kind], size[kind]) for kind in count}


def _computations(program: str) -> list[tuple[str, int]]:
    """The text of every computation, and how often it runs."""
    heads = list(_COMPUTATION.finditer(program))
    ends = [head.start() for head in heads[1:]] + [len(program)]
    texts = {h["name"]: program[h.end() : end] for h, end in zip(heads, ends, strict=True)}
    runs = dict.fromkeys(texts, 0)

    def run(name: str, times: int) -> None:
        runs[name] += times
        loops = {
            loop["body"]: _trips(texts[loop["condition"]]) for loop in _LOOP.finditer(texts[name])
        }
        for called in _CALLED.finditer(texts[name]):
            if called["name"] in texts:
                run(called["name"], times * loops.get(called["name"], 1))

    for head in heads:
        if head["entry"]:
            run(head["name"], 1)
    return [(texts[name], runs[name]) for name in texts]


def _trips(condition: str) -> int:
    """Of a loop over an array: its counter runs from 0 to the one constant of its condition."""
    bounds = _BOUND.findall(condition)
    return int(bounds[0]) if len(bounds) == 1 else 1


def _bytes(array: re.Match[str]) -> int:
    dtype = array["dtype"]
    name = _SHORT.get(dtype) or re.sub(r"^[fsu]", lambda kind: _LONG[kind[0]], dtype)
    return math.prod(int(n) for n in array["shape"].split(",") if n) * jnp.dtype(name).itemsize
