"""`zoo demo`: load, evaluate, fine-tune and predict with a published network, and a report."""

import dataclasses
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from zoo.cli.commands import Command
from zoo.cli.text import Output
from zoo.demo import WEIGHT


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demo(Command):
    """Load, evaluate, fine-tune and predict with a published network; about a minute on two cores.

    Writes OUT/report.html, one page with its pictures inside.

    $ zoo demo
    $ zoo demo --out demo --steps 100
    """

    out: Annotated[str, arg(help="folder of the report")] = "demo"
    steps: Annotated[int, arg(help="of fine-tuning, at most")] = 400
    data_dir: Annotated[str | None, arg(help="where the data set's files are")] = None


def demo(command: Demo) -> Output:
    """The whole job, and where its report is."""
    from zoo.demo.page import render
    from zoo.demo.running import run

    folder = Path(command.out)
    shown = run(folder, command.steps, command.data_dir)
    page = folder / "report.html"
    page.write_text(render(shown), encoding="utf-8")
    tuned, published = shown.tuned.metrics, shown.published
    value = {
        "weight": WEIGHT,
        "published": published.to_json(),
        "classes": list(shown.classes),
        "finetuned": tuned,
        "predictions": shown.predictions,
        "right": shown.right,
        "report": str(page),
    }
    lines = [
        f"evaluate   {published.data} {published.split}: top-1 {published.top1:.2%}, "
        f"n {published.n}",
        f"fine-tune  classes {' '.join(shown.classes)}: top-1 {tuned['top1']:.2%}, "
        f"n {tuned['n']:g}",
        f"predict    test images: {shown.right} of {len(shown.pictures)} right",
        f"report: {page}",
    ]
    return Output(value, lines)
