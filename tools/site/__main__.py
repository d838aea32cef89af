"""Builds the site and checks it.

Every warning is an error, every link leads somewhere, every public name is on a page, and no page
loads anything from elsewhere.

  make docs
  python -m tools.site --out build/site
"""

import argparse
import sys
from pathlib import Path

from tools.site.checks import broken_links, missing_names, public_names
from zoo.common.console import quiet_pipe

REPOSITORY = Path(__file__).resolve().parents[2]


def main(argv: list[str] | None = None) -> int:
    """Exit code 0, 1 where a check failed, or that of Sphinx."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.site",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=REPOSITORY / "build" / "site")
    parser.add_argument("--no-tutorials", action="store_true", help="do not execute them")
    arguments = parser.parse_args(argv)
    out = arguments.out.resolve()
    if code := build(out, execute=not arguments.no_tutorials):
        return code
    problems = broken_links(out)
    problems += [f"{name} is public and on no page" for name in missing_names(inventory(out))]
    print("\n".join(problems) or f"{out}: {len(public_names())} public names, all links whole")
    return 1 if problems else 0


def build(out: Path, *, execute: bool = True) -> int:
    """Sphinx's exit code; its intermediate files lie beside `out`."""
    # pyrefly: ignore[missing-import] only the environment of the site has it
    from sphinx.cmd.build import build_main

    options = ["-W", "--keep-going", "-E", "-q", "-d", str(out.with_name(out.name + ".doctrees"))]
    options += [] if execute else ["-D", "nb_execution_mode=off"]
    return build_main(["-b", "html", *options, str(REPOSITORY / "docs"), str(out)])


def inventory(out: Path) -> set[str]:
    """Names of Python that the site documents."""
    # pyrefly: ignore[missing-import] as above
    from sphinx.util.inventory import InventoryFile

    content = InventoryFile.loads((out / "objects.inv").read_bytes(), uri="").data
    return {name for kind, names in content.items() if kind.startswith("py:") for name in names}


if __name__ == "__main__":
    sys.exit(quiet_pipe(main))
