"""The launchers can be read, and say what the command line means."""

import os
import shutil
import subprocess

import pytest
import yaml

from tests.conftest import REPOSITORY
from tests.processes.runs import LOCAL

FOLDER = REPOSITORY / "tools" / "launch"
SCRIPTS = sorted(path for path in FOLDER.iterdir() if path.suffix in (".sh", ".sbatch"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_have_no_mistake_of_syntax(path):
    assert subprocess.run(["bash", "-n", path]).returncode == 0
    assert path.suffix == ".sbatch" or os.access(path, os.X_OK)


def test_the_manifest_starts_as_many_pods_as_it_tells_them():
    (replicated,) = (spec := yaml.safe_load((FOLDER / "jobset.yaml").read_text()))["spec"][
        "replicatedJobs"
    ]
    job = replicated["template"]["spec"]
    (container,) = job["template"]["spec"]["containers"]
    values = {item["name"]: item.get("value") for item in container["env"]}
    assert job["parallelism"] == job["completions"] == int(values["ZOO_PROCESSES"])
    name = spec["metadata"]["name"]
    assert values["ZOO_COORDINATOR"] == f"{name}-{replicated['name']}-0-0.{name}:8476"
    assert container["ports"] == [{"containerPort": 8476}]
    codes = job["podFailurePolicy"]["rules"][0]["onExitCodes"]
    assert codes["operator"] == "In" and 75 not in codes["values"]


def test_the_command_for_tpu_hosts_starts_again_on_75_only(tmp_path):
    variables = {"TPU": "slice", "ZONE": "zone", "WORKDIR": "w", "FOLDER": str(tmp_path)}
    told = subprocess.run(
        [FOLDER / "tpu_vm.sh"], env={**os.environ, **variables, "DRY_RUN": "1"},
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").write_text(f"PATH={tmp_path}:$PATH\n")
    (tmp_path / "sleep").symlink_to(shutil.which("true"))
    for code, starts in ((2, 1), (75, 3)):
        count = tmp_path / f"count-{code}"
        (tmp_path / "zoo").write_text(
            f"#!/bin/sh\necho . >> {count}\n[ $(wc -l < {count}) -lt 3 ] && exit {code}\nexit 0\n"
        )
        (tmp_path / "zoo").chmod(0o755)
        assert subprocess.run(["bash", "-c", told]).returncode == (0 if code == 75 else code)
        assert len(count.read_text().splitlines()) == starts


LOCAL_CODES = [([0, 0], 0, 1), ([75, 2], 2, 1), ([75, 137], 75, 3), ([75, 75], 75, 3)]


@pytest.mark.parametrize(("codes", "code", "starts"), LOCAL_CODES)
def test_the_local_launcher_restarts_where_that_helps(tmp_path, codes, code, starts):
    script = (
        f"echo $ZOO_PROCESS_ID of $ZOO_PROCESSES at $ZOO_COORDINATOR >> {tmp_path}/$ZOO_PROCESS_ID;"
        f"codes=({' '.join(map(str, codes))}); exit ${{codes[$ZOO_PROCESS_ID]}}"
    )
    ended = subprocess.run(
        [LOCAL, "2", "bash", "-c", script],
        env={**os.environ, "RESTARTS": "2", "PORT": "9"}, capture_output=True,
    )  # fmt: skip
    assert ended.returncode == code
    expected = ["1 of 2 at localhost:9"] * starts
    assert (tmp_path / "1").read_text().splitlines() == expected


def test_the_local_launcher_explains_itself():
    ended = subprocess.run([LOCAL, "many", "true"], capture_output=True, text=True)
    assert ended.returncode == 2 and "usage: " in ended.stderr
