"""`zoo inspect`: what the theory predicts for a network against what is measured."""

import dataclasses
from typing import Annotated

from tyro.conf import Positional, arg

from zoo.cli.commands import Command
from zoo.cli.text import Output
from zoo.common.console import Working
from zoo.pretrained.address import GRAMMAR

_MODEL_HELP = f"arch, {GRAMMAR} or package.module:function"
_DATA_HELP = "16 of its images, 5 of 224 x 224 pixels, make the batch of the norms; else noise"
_SHAPE_HELP = "of the input, batch axis first; zoo models and functions that return it need none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspect(Command):
    """Predicted and measured q values and cosines by depth, norms, Jacobians, and a verdict.

    Writes index.html, one page that needs no network, and its plots as PNG.

    $ zoo inspect vanilla_resnet50_tat_lrelu
    $ zoo inspect vanilla_resnet50_tat_lrelu.digits --data digits --out digits_inspected
    $ zoo inspect my_package.my_module:my_network --shape 1 64 --json
    """

    model: Annotated[Positional[str], arg(help=_MODEL_HELP)]
    shape: Annotated[tuple[int, ...], arg(help=_SHAPE_HELP)] = ()
    data: Annotated[str | None, arg(help=_DATA_HELP)] = None
    draws: Annotated[int, arg(help="of the weights, at least 2")] = 8
    seed: Annotated[int, arg(help="of the first draw and of the inputs")] = 0
    out: Annotated[str, arg(help="folder of the page and the pictures")] = "inspected"


def inspect(command: Inspect) -> Output:
    """A report, its page, and its verdict."""
    with Working(f"inspecting {command.model}"):
        from zoo.inspection import inspect, write_page
        from zoo.inspection.page import require_plots

        require_plots()
        report = inspect(
            command.model, command.shape or None,
            data=command.data, draws=command.draws, seed=command.seed,
        )  # fmt: skip
        page = write_page(report, command.out)
    return Output({**report.to_json(), "page": str(page)}, [*report.verdict, f"page: {page}"])
