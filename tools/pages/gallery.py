"""docs/gallery.md and a page a published weight: its card, its numbers, its training curve."""

import json
import re
from pathlib import Path

from tools.pages.page import Page
from tools.pages.published import Weight, colours, published
from zoo.common.words import table
from zoo.recipes.networks import baseline_of, depth_of, is_batch_norm
from zoo.report import Figure, Panel, Series

_HEAD = """# Gallery

Every published weight: top-1 over all test images of its data with Wilson's 95 % interval, the loss
by which it was trained, and its card. Made by `python -m tools.pages` from the manifests and logs
in `checkpoints/`.

"""


def pages(checkpoints: Path, root: Path) -> tuple[Page, ...]:
    """The list and the pages it lists."""
    weights, docs = published(checkpoints), root / "docs"
    first = {weight.id: weight for weight in reversed(weights)}
    ids = dict.fromkeys(weight.id for weight in weights)
    each = [_page(first[id], first, checkpoints, docs) for id in ids]
    listed = "\n".join(f"weights/{id}" for id in ids)
    text = f"{_HEAD}{_table(weights)}\n\n```{{toctree}}\n:hidden:\n\n{listed}\n```\n"
    return (Page(docs / "gallery.md", text), *each)


def _table(weights: list[Weight]) -> str:
    header = ["weight", "training loss", "data", "top-1", "95 % interval", "nonlinear layers"]
    rows = []
    for weight in weights:
        low, high = weight.interval
        m = weight.manifest
        rows.append([
            f"[`{m.id}`](weights/{m.id}.md)",
            f"[![training loss of {m.id}](weights/figures/{_name(m.id)}.svg)](weights/{m.id}.md)",
            weight.data, f"{100 * weight.measured['top1']:.2f} %", f"{low:.2f} to {high:.2f}",
            m.shaping["nonlinear_depth"] if m.shaping else "-",
        ])  # fmt: skip
    return table(header, rows)


def _page(weight: Weight, all: dict[str, Weight], checkpoints: Path, docs: Path) -> Page:
    """The card of one weight below its curve."""
    card = (checkpoints / weight.id / "card.md").read_text(encoding="utf-8")
    body = card.partition("\n---\n")[2] if card.startswith("---\n") else card
    title, _, rest = body.strip().partition("\n")
    drawn = _figure(weight, all, checkpoints)
    shown = "".join(f"![{figure.caption}](figures/{figure.name}.svg)\n\n" for figure in drawn)
    rest = re.sub(r"\(\.\./([\w.]+)/card\.md\)", r"(\1.md)", rest.strip())  # cards are pages here
    text = f"{title}\n\n{shown}{rest}\n"
    path = docs / "weights" / f"{weight.id}.md"
    return Page(path, text, drawn, colours(list(all.values())))


def _figure(weight: Weight, all: dict[str, Weight], checkpoints: Path) -> tuple[Figure, ...]:
    """Training loss by step, with that of the BatchNorm ResNet of the same depth and data."""
    shown = [weight]
    if depth_of(weight.manifest.arch) and not is_batch_norm(weight.manifest.arch):
        peer = all.get(f"{baseline_of(weight.manifest.arch)}.{weight.tag}")
        shown += [peer] if peer else []
    series = tuple(s for one in shown if (s := _series(one, checkpoints)))
    if not series:
        return ()
    caption = f"Training loss of {' and '.join(one.id for one in shown)}"
    panel = Panel(weight.id, series)
    return (Figure(_name(weight.id), caption, "step", "training loss, nats", (panel,)),)


def _series(weight: Weight, checkpoints: Path) -> Series | None:
    path = checkpoints / weight.id / "log.jsonl"
    if not path.is_file():
        return None
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    points = [(line["step"], line["loss"]) for line in lines if "loss" in line and "step" in line]
    if len(points) < 2:
        return None
    return Series(weight.method, *map(tuple, zip(*points, strict=True)))


def _name(id: str) -> str:
    return id.replace(".", "_")
