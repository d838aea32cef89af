"""What every reader promises: a result or an error of the project's own, soon, in few bytes."""

import dataclasses
import dis
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

import zoo

_PACKAGE = str(Path(zoo.__file__).parent)
SLOWEST_S, MOST_BYTES = 2.0, 10**9


@dataclasses.dataclass(frozen=True)
class Format:
    """One kind of content and its reader.

    Attributes:
      name: of the kind.
      contents: strategy of what to read.
      read: reads one content, given a folder of its own; returns what it likes, raises what the
        reader raises.
      found: contents that once broke the reader.
      examples: how many contents a run of the test suite makes.
    """

    name: str
    contents: st.SearchStrategy[bytes]
    read: Callable[[bytes, Path], object]
    found: tuple[bytes, ...] = ()
    examples: int = 50


def require_total(format: Format, content: bytes, folder: Path) -> None:
    """Reads `content`; fails for an error that is not the project's own, and for being slow."""
    started = time.process_time()
    try:
        format.read(content, folder)
    except Exception as error:
        if not is_own(error):
            raise
        assert 10 < len(str(error)) < 3000, f"no sentence: {error!r}"
    seconds = time.process_time() - started
    assert seconds < SLOWEST_S, f"{format.name}: {seconds:.1f} s of CPU"


def is_own(error: BaseException) -> bool:
    """Whether `error` is a class of the package, or a `ValueError` that the package raises.

    A `ValueError` of `int(...)` or of a library, which names no file and says no cure, is not.
    """
    if type(error).__module__.partition(".")[0] == "zoo":
        return True
    return type(error) is ValueError and _raised_by_package(error.__traceback__)


def _raised_by_package(trace: TracebackType | None) -> bool:
    if trace is None:
        return False
    while trace.tb_next is not None:
        trace = trace.tb_next
    code = trace.tb_frame.f_code
    return (
        code.co_filename.startswith(_PACKAGE)
        and code.co_code[trace.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    )


def property_of(
    format: Format,
    folder: Path,
    examples: int,
    seed: int | None = None,
    check: Callable[[Format, bytes, Path], None] = require_total,
) -> Any:
    """The promise as a Hypothesis test: the found cases first, then `examples` others.

    Args:
      format: what is read.
      folder: where its reader may write.
      examples: how many contents to make.
      seed: None makes the same contents in every run.
      check: what is done with each content.
    """

    @settings(
        max_examples=examples,
        derandomize=seed is None,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
    )
    @given(format.contents)
    def test(content: bytes) -> None:
        check(format, content, folder)

    for content in format.found:
        test = example(content)(test)
    if seed is not None:
        test = seeded(seed)(test)
    return test
