"""`zoo serve`: a classifier behind HTTP."""

import dataclasses
import sys
from typing import Annotated

from tyro.conf import Positional, arg

from zoo.cli.commands import Command
from zoo.cli.text import Output
from zoo.common.console import Working
from zoo.pretrained.address import GRAMMAR


@dataclasses.dataclass(frozen=True, kw_only=True)
class Serve(Command):
    """Answer pictures over HTTP: /predict, /healthz, and a page to drop a picture on.

    Pictures that arrive within 5 ms are computed together. Ends with Ctrl-C or SIGTERM. It speaks
    to this machine alone unless --host says otherwise, and knows neither users nor encryption.

    $ zoo serve vanilla_resnet50_tat_lrelu.digits
    $ zoo serve runs/mine --port 9000
    $ curl --data-binary @three.png "http://127.0.0.1:8000/predict?top=3"
    """

    model: Annotated[Positional[str], arg(help=GRAMMAR)]
    host: Annotated[str, arg(help="address to listen at; 0.0.0.0: all of this machine's")] = (
        "127.0.0.1"
    )
    port: Annotated[int, arg(help="port to listen at")] = 8000
    max_bytes: Annotated[int, arg(help="of one picture")] = 10_000_000
    max_connections: Annotated[int, arg(help="at the same time; more get 503")] = 512


def serve(command: Serve) -> Output:
    """Until it is told to stop."""
    from zoo.serving import Answering, Limits, serve

    with Working(f"loading {command.model}"):
        answering = Answering(command.model)
        limits = Limits(bytes=command.max_bytes, connections=command.max_connections)
        answering.compile()
    address = f"http://{command.host}:{command.port}"
    print(f"serving {command.model} at {address}; Ctrl-C ends it", file=sys.stderr, flush=True)
    serve(answering, command.host, command.port, limits)
    return Output({"model": command.model, "address": address}, [f"{address} is closed"])
