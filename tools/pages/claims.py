"""Claims of the papers beside what the evidence says; verdicts follow from its numbers."""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

from zoo.common.words import table
from zoo.recipes.networks import method_and_depth
from zoo.study import Estimate, Group, short

TAT, DKS, EOC = "TAT, leaky ReLU", "DKS, softplus", "EOC, ReLU"
BATCH_NORM = "BatchNorm, shortcuts"
ERRORS = 2.0
POINTS = 1.0
SLOWER = 1.1
Value = Callable[[Group], Estimate | None]
Networks = Mapping[tuple[str, int], Group]


@dataclasses.dataclass(frozen=True)
class Claim:
    """A sentence of a paper, and the comparison that tests it at our scale.

    Attributes:
      text: the claim.
      source: where it stands.
      first, second: the methods compared, at each depth.
      of: what is compared: "top-1" or "steps".
      allowed: `first` may be worse than `second` by this much and the claim still holds: points
        of top-1, or a factor of steps.
    """

    text: str
    source: str
    first: str
    second: str
    of: str = "top-1"
    allowed: float = 0.0


CLAIMS = (
    Claim(
        "Deep vanilla networks with TAT reach validation accuracies competitive with ResNets of "
        "the same width and depth.",
        "TAT, arXiv 2203.08120, abstract", TAT, BATCH_NORM, allowed=POINTS,
    ),
    Claim(
        "TAT's accuracies are significantly higher than those obtained with the edge of chaos.",
        "TAT, arXiv 2203.08120, abstract", TAT, EOC,
    ),
    Claim(
        "DKS produces networks that generalise less well than those of TAT with leaky ReLU.",
        "TAT, arXiv 2203.08120, abstract, on ImageNet", TAT, DKS,
    ),
    Claim(
        "With DKS, networks without shortcuts and normalisation train as fast as ResNets.",
        "DKS, arXiv 2110.01765, abstract, with K-FAC", DKS, BATCH_NORM, "steps", SLOWER,
    ),
    Claim(
        "With TAT, networks without shortcuts and normalisation train as fast as ResNets.",
        "TAT, arXiv 2203.08120, with K-FAC", TAT, BATCH_NORM, "steps", SLOWER,
    ),
    Claim(
        "Networks at the edge of chaos train more slowly than those with TAT.",
        "TAT, arXiv 2203.08120", TAT, EOC, "steps", 1.0,
    ),
)  # fmt: skip
DEPTH_CLAIMS = (
    (TAT, False, "Accuracies of TAT do not get worse with depth."),
    (EOC, True, "Accuracies of the edge of chaos get worse with depth."),
)


def verdict(margin: Estimate) -> str:
    """Whether a margin is above zero: by more than two standard errors, or below by as much."""
    if margin.error is None:
        return "undecided (one seed)"
    if abs(margin.mean) <= ERRORS * margin.error:
        return "undecided"
    return "holds" if margin.mean > 0 else "does not hold"


def claim_section(claim: Claim, networks: Networks, target: float) -> str:
    """A claim, the measured values depth by depth, and the summary in words; Markdown."""
    rows, verdicts = [], {}
    for depth in sorted({depth for _, depth in networks}):
        pair = [networks.get((method, depth)) for method in (claim.first, claim.second)]
        if pair[0] is None or pair[1] is None:
            continue
        values = [_value(claim, group, target) for group in pair if group is not None]
        verdicts[depth] = _pair_verdict(claim, pair[0], pair[1], target)
        rows.append([depth, *values, verdicts[depth]])
    if not rows:
        return ""
    unit = "top-1, %" if claim.of == "top-1" else "steps"
    header = ["depth", f"{claim.first}, {unit}", f"{claim.second}, {unit}", "claim"]
    return f"{table(header, rows)}\n\n{summary(verdicts)}"


def depth_section(networks: Networks) -> str:
    """The two claims on what depth does to accuracy; Markdown."""
    rows = []
    for method, should_fall, text in DEPTH_CLAIMS:
        known = {d: g.top1 for (m, d), g in networks.items() if m == method and g.top1 is not None}
        if len(known) < 2:
            continue
        low, high = min(known), max(known)
        first, last = known[low], known[high]
        assert first is not None and last is not None
        change = last.minus(first)
        rows.append(
            [text, f"{low}: {short(first)}", f"{high}: {short(last)}", short(change),
             _depth_verdict(change, should_fall)]
        )  # fmt: skip
    header = ["claim", "shallowest, top-1 %", "deepest, top-1 %", "change, points", "verdict"]
    return table(header, rows) if rows else ""


def summary(verdicts: Mapping[int, str]) -> str:
    """At which depths the claim holds, in words."""
    by_word: dict[str, list[str]] = {}
    for depth, word in verdicts.items():
        by_word.setdefault(word.partition(" (")[0], []).append(str(depth))
    parts = [f"{word} at depth {', '.join(depths)}" for word, depths in by_word.items()]
    return f"**The claim {'; '.join(parts)}.**".replace("claim undecided", "claim is undecided")


def networks_of(groups: Mapping[str, Group]) -> Networks:
    """Groups by method and depth."""
    return {method_and_depth(arch): group for arch, group in groups.items()}


def _value(claim: Claim, group: Group, target: float) -> str:
    if claim.of == "top-1":
        return f"{short(group.top1)} ({_counts(len(group.finished), group)})"
    return f"{short(group.steps_to(target), 0)} ({_counts(group.reached(target), group)})"


def _counts(n: int, group: Group) -> str:
    return f"n = {n}" if n == len(group.runs) else f"n = {n} of {len(group.runs)}"


def _pair_verdict(claim: Claim, first: Group, second: Group, target: float) -> str:
    if claim.of == "top-1":
        ours, theirs = first.top1, second.top1
        if ours is None or theirs is None:
            return "undecided (no run finished)"
        difference = ours.minus(theirs)
        return verdict(dataclasses.replace(difference, mean=difference.mean + claim.allowed))
    ours, theirs = first.steps_to(target), second.steps_to(target)
    shares = [group.reached(target) / len(group.runs) for group in (first, second)]
    if shares[0] != shares[1] or ours is None or theirs is None:
        return _by_reaching(shares)
    return verdict(theirs.times(claim.allowed).minus(ours))


def _by_reaching(shares: Sequence[float]) -> str:
    if math.isclose(shares[0], shares[1]):
        return "undecided (no run gets there)"
    return "holds (reached more often)" if shares[0] > shares[1] else (
        "does not hold (reached less often)"
    )  # fmt: skip


def _depth_verdict(change: Estimate, should_fall: bool) -> str:
    if change.error is None:
        return "undecided (one seed)"
    falls = change.mean < -ERRORS * change.error
    rises = change.mean > ERRORS * change.error
    if should_fall:
        return "holds" if falls else "does not hold" if rises else "undecided"
    return "does not hold" if falls else "holds"
