"""`zoo publish`: a run, or the runs of a sweep, as weights that others can load."""

import dataclasses
import sys
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from zoo.cli.commands import Command
from zoo.cli.text import Output

_SWEEP_HELP = "publish the runs of a sweep in RUN: evidence of all, weights of the good ones"
_CHECKPOINTS_HELP = "folder of published weights; None: where weights are looked for"
_COMPARISON_HELP = ".md, or .json list of rows, for the card of one run"
_TERMS_HELP = "of the data, one sentence, where they are not known"
_COMMIT_HELP = "by which runs of a sweep were trained whose env.json names none"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Publish(Command):
    """Measure a finished run and write it as a weight, with manifest and card, and list it.

    Refuses a checkout with changes, a run that is not finished, and an id that is taken by other
    weights; --replace writes these anew, unless a release lists them.

    $ zoo publish runs/mine --id vanilla_resnet50_tat_lrelu.mine --checkpoints weights
    $ zoo publish runs/digits --sweep digits
    """

    run: Annotated[Positional[str], arg(help="directory of a finished run, or of a sweep's runs")]
    id: Annotated[str | None, arg(help="arch.tag, a tag that is not taken")] = None
    sweep: Annotated[str | None, arg(help=_SWEEP_HELP)] = None
    only: Annotated[str, arg(help="of a sweep: a shell pattern of runs")] = "*"
    checkpoints: Annotated[str | None, arg(help=_CHECKPOINTS_HELP)] = None
    data_dir: Annotated[str | None, arg(help="where the data set's files are")] = None
    comparison: Annotated[str | None, arg(help=_COMPARISON_HELP)] = None
    data_terms: Annotated[str | None, arg(help=_TERMS_HELP)] = None
    release: Annotated[str | None, arg(help="write and list ID.safetensors in this folder")] = None
    training_commit: Annotated[str | None, arg(help=_COMMIT_HELP)] = None
    default: Annotated[bool, arg(help="the architecture without a tag means this weight")] = False
    replace: Annotated[tuple[str, ...], arg(help="ids of weights that may be written anew")] = ()


def publish(command: Publish) -> Output:
    """One weight, or what became of every run of a sweep."""
    if (command.id is None) == (command.sweep is None):
        raise ValueError("give --id ARCH.TAG for one run, or --sweep NAME for those of a sweep")
    from zoo.pretrained.index import checkpoints_folder

    given = command.checkpoints
    checkpoints = checkpoints_folder() if given is None else Path(given).expanduser().absolute()
    if command.sweep is not None:
        return _publish_sweep(command, command.sweep, checkpoints)
    return _publish_run(command, str(command.id), checkpoints)


def _publish_run(command: Publish, id: str, checkpoints: Path) -> Output:
    from zoo.publishing import publish_run

    manifest, written = publish_run(
        Path(command.run).expanduser(),
        id,
        checkpoints,
        data_dir=command.data_dir,
        comparison=None if command.comparison is None else Path(command.comparison),
        terms=command.data_terms,
        release_to=None if command.release is None else Path(command.release),
        replace=id in command.replace,
        default=command.default,
    )
    value = {"id": id, "path": str(checkpoints / id), "written": written,
             "metrics": manifest.metrics}  # fmt: skip
    if not written:
        return Output(value, [f"{id} is published with these weights already: nothing to do"])
    measured = [
        f"{id}: {data} {m['correct1']} of {m['n']} right" for data, m in manifest.metrics.items()
    ]
    return Output(value, [*measured, f"wrote {checkpoints / id}, {manifest.num_bytes:,} bytes"])


def _publish_sweep(command: Publish, sweep: str, checkpoints: Path) -> Output:
    from zoo.publishing import publish_sweep
    from zoo.publishing.evidence import Origin
    from zoo.publishing.origins import code_version, full_commit
    from zoo.publishing.run import require_own
    from zoo.study import find_sweep

    runs = find_sweep(sweep).planned
    require_own(checkpoints)
    trained = command.training_commit
    origin = Origin(
        sweep=sweep,
        runs=Path(command.run).expanduser().absolute(),
        data_dir=command.data_dir,
        commit=code_version(),
        training_commit=None if trained is None else full_commit(trained),
    )
    done = publish_sweep(runs, origin, checkpoints, pattern=command.only, replace=command.replace)
    refused = [each for each in done if each.refused]
    for each in refused:
        print(f"zoo: {each.run}: {each.refused}", file=sys.stderr)
    value: list[dict[str, Any]] = [dataclasses.asdict(each) for each in done]
    lines = [f"{each.run:<40} {each.evidence}; {each.weight}" for each in done]
    return Output(value, lines, exit_code=2 if refused else 0)
