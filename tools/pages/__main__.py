"""Writes the pages that are made of stored results and of other pages: results, theory, plans,
benchmarks, the faults with the tests about them, the chooser, the gallery, README's weights,
notebooks of the tutorials, llms.txt.

  python -m tools.pages
  python -m tools.pages results --check

Every number and every verdict on them is computed; nothing is typed by hand. --check writes nothing
and fails when a page or a figure is not what the results say.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from tools.pages import (
    benchmarks,
    choosing,
    faults,
    gallery,
    llms,
    notebooks,
    plans,
    results,
    theory,
    weights,
)
from tools.pages.page import Page
from zoo.common.console import quiet_pipe
from zoo.pretrained.index import checkpoints_folder

REPOSITORY = Path(__file__).resolve().parents[2]
# Name -> page or pages made from the folder of published weights and the repository with its docs/.
PAGES: dict[str, Callable[[Path, Path], Page | tuple[Page, ...]]] = {
    "choosing": choosing.page,
    "gallery": gallery.pages,
    "results": results.page,
    "theory": theory.page,
    "plans": plans.page,
    "benchmarks": benchmarks.page,
    "faults": faults.page,
    "readme": weights.page,
    "notebooks": notebooks.pages,
    "llms": llms.page,
}


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, or 1 when --check finds a difference."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.pages",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("pages", nargs="*", metavar="PAGE", help=f"{', '.join(PAGES)}; none: all")
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 on a difference")
    parser.add_argument("--checkpoints", type=Path, help="default: where weights are looked for")
    parser.add_argument("--root", type=Path, default=REPOSITORY, help="of README.md and docs/")
    parser.add_argument("--json", action="store_true", help="what differed, last line of stdout")
    arguments = parser.parse_args(argv)
    unknown = set(arguments.pages) - set(PAGES)
    if unknown:
        parser.error(f"no page {min(unknown)!r}; all: {', '.join(PAGES)}")
    checkpoints, changed = arguments.checkpoints or checkpoints_folder(), []
    for name in arguments.pages or PAGES:
        made = PAGES[name](checkpoints, arguments.root)
        pages = (made,) if isinstance(made, Page) else made
        if found := [what for page in pages for what in page.changed]:
            changed += found
            if arguments.check:
                print(
                    f"{name}: not what the results say: {', '.join(found)}; run python -m "
                    f"tools.pages {name}"
                )
            for page in () if arguments.check else pages:
                page.write()
    if arguments.json:
        print(json.dumps({"changed": changed}))
    return 1 if arguments.check and changed else 0


if __name__ == "__main__":
    sys.exit(quiet_pipe(main))
