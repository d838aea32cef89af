"""Where a run comes from, told without the places of one machine."""

import json
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zoo
from zoo.checkpoint import read_record
from zoo.training import EarlyStopping
from zoo.training.folder import ENVIRONMENT

CHECKOUT = Path(zoo.__file__).resolve().parents[1]


def code_version(checkout: Path = CHECKOUT) -> str:
    """The commit of the code that runs, published weights aside; of a wheel its version.

    Raises:
      ValueError: if the working tree has changes.
    """
    if not (checkout / ".git").exists():
        return f"flax-vanilla-zoo {zoo.__version__}"
    changed = git(checkout, "status", "--porcelain", "--", ".", ":!checkpoints")
    if changed:
        raise ValueError(f"the working tree has changes, commit them first: {changed}")
    return git(checkout, "rev-parse", "HEAD")


def full_commit(name: str) -> str:
    """The whole hash of a commit of the checkout."""
    return git(CHECKOUT, "rev-parse", "--verify", f"{name}^{{commit}}")


def git(folder: Path, *arguments: str) -> str:
    """What git prints.

    Raises:
      ValueError: if it fails.
    """
    done = subprocess.run(
        ["git", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ValueError(f"git {arguments[0]} failed: {done.stderr.strip()}")
    return done.stdout.strip()


def finished_record(run: Path) -> dict[str, Any]:
    """What the last checkpoint says about the run.

    Raises:
      ValueError: if the run is neither at its last step nor ended early.
    """
    newest = read_record(run)
    total, patience = newest.record["total_steps"], newest.record["config"]["eval"].get("patience")
    ended = EarlyStopping(patience or 0, newest.record.get("scores", ())).over
    if newest.step != total and not ended:
        raise ValueError(f"{run} is at step {newest.step} of {total}; finish it first")
    return newest.record


def recipe_of(run: Path, record: Mapping[str, Any], commit: str) -> dict[str, Any]:
    """How a weight came about: command, hardware, versions, configuration.

    Args:
      run: its directory.
      record: what its last checkpoint says.
      commit: of the code that publishes, where the run does not name its own.
    """
    environment = read_environment(run)
    devices, config = environment["devices"], record["config"]
    return {
        "command": public_command(environment["command"]),
        "hardware": f"{devices['count']} x {devices['kind']}, {environment['cpus']} CPU cores",
        "steps": record["total_steps"],
        "commit": environment.get("commit") or commit,
        "kernels": record.get("kernels", "xla"),
        "versions": environment["versions"],
        "config": {**config, "data": {**config["data"], "data_dir": None}},
        "data": record["data"],
    }


def read_environment(run: Path) -> dict[str, Any]:
    """Where a run was made: commit, command, versions, devices."""
    return json.loads((run / ENVIRONMENT).read_text(encoding="utf-8"))


def public_command(arguments: list[str]) -> str:
    """A command line without the places of one machine: of absolute paths the last part stays."""
    program = Path(arguments[0]).name
    shown = [
        program,
        *(Path(word).name if word.startswith("/") else word for word in arguments[1:]),
    ]
    return shlex.join(["python", *shown] if program.endswith(".py") else shown)
