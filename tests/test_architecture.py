"""Rules of the code base: imports run downwards, libraries stay behind their fence, sizes hold."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

LAYERS = (
    ("common",),
    ("cpu",),
    ("shaping", "transfer", "processes", "kernels", "report"),
    ("models", "data", "complexity"),
    ("checkpoint",),
    ("evaluation", "pretrained", "inspection", "export", "classifier", "plain"),
    ("training",),
    ("finetuning", "planning", "recipes"),
    ("demo", "serving", "study", "bench"),
    ("publishing",),
    ("cli", "__main__"),
)
STRANGERS = [{"models", "data"}]
FENCES = {
    "orbax": "checkpoint",
    "grain": "data/pipeline",
    "scipy": "shaping inspection",
    "tyro": "cli",
    "tensorflow_datasets": "data",
    "sklearn": "data",
    "optax": "training finetuning",
    "huggingface_hub": "export/hub",
    "httpx2": "export/hub",
    "onnx": "export/onnx",
    "starlette": "serving",
    "uvicorn": "serving",
    "array_record": "data/imagenet",
    "simplejpeg": "data/fast_decode",
    "cykooz_resizer": "data/fast_decode",
    "plotly": "inspection",
    "matplotlib": "inspection report",
}
NEVER = ("tensorflow", "torch")
# Programs that other Pythons run.
OUTSIDE = "bench/peers/"
MODULES = sorted((REPOSITORY / "zoo").rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(REPOSITORY / "zoo").with_suffix("").as_posix()


def _imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _rank(part: str) -> int:
    return next(i for i, layer in enumerate(LAYERS) if part in layer)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_imports_run_downwards(path):
    here = _name(path).split("/")[0]
    if here == "__init__":
        return
    for imported in _imports(path):
        package, _, rest = imported.partition(".")
        there = rest.split(".")[0]
        if package != "zoo" or there in ("", "__version__", here):
            continue
        assert {here, there} not in STRANGERS, f"{here} and {there} must not know each other"
        assert _rank(there) <= _rank(here), f"{here} imports {there} from above"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_libraries_stay_behind_their_fence(path):
    for imported in _imports(path):
        library = imported.split(".")[0]
        assert library not in NEVER or _name(path).startswith(OUTSIDE)
        homes = FENCES.get(library)
        assert homes is None or _name(path).startswith(tuple(homes.split())), (
            f"{_name(path)} imports {library}, which belongs to {homes}"
        )


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_modules_and_functions_stay_small(path):
    source = path.read_text()
    assert len(source.splitlines()) <= 300
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            lines = node.end_lineno - node.lineno + 1
            docstring = ast.get_docstring(node, clean=False) or ""
            assert lines - len(docstring.splitlines()) <= 60, f"{node.name} has {lines} lines"


# What only a family's own file may say: classes, parameters and options of single families.
FAMILIES = ("models/", "recipes/")
OF_ONE_FAMILY = re.compile(
    r"isinstance\([^)]*Net\b|[\"'](?:stages|blocks|stem)\.|\bstages\.\d|\.stem\b"
)


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_only_a_family_s_file_knows_its_names(path):
    if _name(path).startswith(FAMILIES):
        return
    code = ast.unparse(_without_docstrings(ast.parse(path.read_text())))
    found = [text for text in OF_ONE_FAMILY.findall(code) if text != ".stem" or "Path" not in code]
    assert not found, f"{_name(path)} knows {found[0]!r} of a family; read its layout instead"


def _without_docstrings(tree):
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def test_import_starts_no_backend_and_pulls_no_heavy_library():
    code = (
        "import sys, zoo, jax\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge._backends, 'a backend was started'\n"
        "heavy = {'tensorflow', 'torch', 'sklearn', 'matplotlib', 'grain', 'orbax', 'flax'}\n"
        "heavy.add('plotly')\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_public_names_resolve():
    import zoo

    assert all(getattr(zoo, name) is not None for name in zoo.__all__)
    with pytest.raises(AttributeError, match="it has Classifier"):
        zoo.nonsense  # noqa: B018
