"""A page with its figures: what it should be, and how it differs from what is there."""

import dataclasses
from pathlib import Path

from zoo.common import files
from zoo.report import Figure, digest, digest_in, draw


@dataclasses.dataclass(frozen=True)
class Page:
    """A page of Markdown and the figures it shows, `figures/NAME.svg` beside it.

    Attributes:
      path: of the page.
      text: the whole of it.
      figures: in any order.
      colours: names of all series of the figures, in order.
    """

    path: Path
    text: str
    figures: tuple[Figure, ...] = ()
    colours: tuple[str, ...] = ()

    @property
    def changed(self) -> list[str]:
        """Names of what is not there as it should be; a figure by the numbers it was drawn from."""
        names = [figure.name for figure in self._old_figures]
        return names + ([] if _read(self.path) == self.text else [self.path.name])

    def write(self) -> None:
        """Writes what has changed."""
        for figure in self._old_figures:
            path = self._path_of(figure)
            path.parent.mkdir(parents=True, exist_ok=True)
            files.write(path, draw(figure, self.colours))
        if _read(self.path) != self.text:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            files.write(self.path, self.text)

    @property
    def _old_figures(self) -> list[Figure]:
        return [f for f in self.figures if digest_in(_read(self._path_of(f))) != digest(f)]

    def _path_of(self, figure: Figure) -> Path:
        return self.path.parent / "figures" / f"{figure.name}.svg"


def with_part(path: Path, begin: str, end: str, part: str) -> Page:
    """A page that people write, with `part` between two marks.

    Args:
      path: of the page.
      begin: the mark before, with its line end; the page holds it once.
      end: the mark after, the first one that follows.
      part: what belongs between them.
    """
    before, rest = path.read_text(encoding="utf-8").split(begin)
    after = rest.partition(end)[2]
    return Page(path, before + begin + part + end + after)


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""
