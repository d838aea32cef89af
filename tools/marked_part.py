"""The part of a page between two marks: a script writes it, people write the rest."""

import argparse
from pathlib import Path


def write_part(page: Path, begin: str, end: str, text: str, description: str) -> int:
    """Puts `text` between the marks of `page`; with --check on the command line, only compares.

    Args:
      page: holds each mark once.
      begin: the mark before, with its line end.
      end: the mark after.
      text: what belongs between them.
      description: of the script, for --help.

    Returns:
      The exit code: 1 if compared and different.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--check", action="store_true", help="compare only; exit 1 on a difference")
    check = parser.parse_args().check
    before, rest = page.read_text().split(begin)
    old, after = rest.split(end)
    if check and old != text:
        print(f"{page.name} is not what its sources give; run this script without --check")
        return 1
    if not check:
        page.write_text(before + begin + text + end + after)
    return 0
