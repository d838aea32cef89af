"""What pyproject.toml cannot say: the wheel carries the index of weights and the demo's weight.

They are files of `checkpoints/`, where every published weight is; a wheel has no such folder, so
they become `zoo/published/`. A checkout, installed with `pip install -e .`, uses its own.
"""

import re
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

_DEMO = re.search(r'^WEIGHT = "(.+)"$', Path("zoo/demo/__init__.py").read_text(), re.MULTILINE)
assert _DEMO is not None, "zoo/demo/__init__.py names no WEIGHT"


def _published() -> list[Path]:
    """Files of `checkpoints/` that the wheel carries."""
    weight = sorted(Path("checkpoints", _DEMO[1]).rglob("*"))
    return [Path("checkpoints/index.json"), *(path for path in weight if path.is_file())]


class BuildWithWeights(build_py):
    """`build_py` with the weights."""

    def run(self) -> None:
        """Builds the modules, then puts the copies beside them."""
        super().run()
        if self.editable_mode:
            return
        for source, target in self._copies():
            target.parent.mkdir(parents=True, exist_ok=True)
            self.copy_file(str(source), str(target))

    def get_source_files(self) -> list[str]:
        """What a source distribution takes along."""
        return [*super().get_source_files(), *(str(path) for path in _published())]

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        """What the build wrote."""
        copies = [] if self.editable_mode else [str(target) for _, target in self._copies()]
        return [*super().get_outputs(include_bytecode), *copies]

    def _copies(self) -> list[tuple[Path, Path]]:
        root = Path(self.build_lib) / "zoo" / "published"
        return [(path, root / path.relative_to("checkpoints")) for path in _published()]


setup(cmdclass={"build_py": BuildWithWeights})
