"""Real data in the layouts the sources read, unpacked once per session, and made images."""

import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(scope="session")
def imagenet_jpegs(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Real ImageNet JPEGs at their original sizes, sorted."""
    archive = data_root / "imagenet-sample" / "sample-000.tar"
    if not archive.is_file():
        pytest.skip(f"no {archive}")
    folder = tmp_path_factory.mktemp("imagenet")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="session")
def imagenet_tars(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with archives in the official form: 40 classes, two train and one val image each."""
    script = data_root.parent / "tools" / "make_imagenet_tars.py"
    if not script.is_file():
        pytest.skip(f"no {script} to write the official archives with")
    folder = tmp_path_factory.mktemp("imagenet-tars")
    command = [sys.executable, script, folder, "--classes", "40"]
    subprocess.run(command, check=True, capture_output=True)
    return folder


def save_images(folder: Path, counts: dict[str, int], side: int = 6) -> None:
    """Random PNGs: `counts` gives their number for each relative folder."""
    generator = np.random.default_rng(0)
    for name, count in counts.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            pixels = generator.integers(0, 256, (side, side + 1, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number:03d}.png")
