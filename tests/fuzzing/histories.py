"""What may happen to a run directory: more of the histories that the test suite takes a few of."""

import tempfile
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.checkpoint import test_power_loss, test_state_machine
from tests.power_loss import some_states


def _through_anything(seed: int, _: Path) -> str:
    test_state_machine.run_machine(examples=20, steps=50, seed=seed)
    return "20 histories of up to 50 steps"


def _power_cuts(seed: int, folder: Path) -> str:
    found = some_states(test_power_loss.record(folder / "recorded"), 200, seed)
    return f"{test_power_loss.require_all(found, folder)} power cuts"


HISTORIES: Mapping[str, Callable[[int, Path], str]] = {
    "run directory": _through_anything,
    "power cuts": _power_cuts,
}


def live(name: str, seed: int) -> bool:
    """Goes through the histories of this name; whether all ended as they must."""
    with tempfile.TemporaryDirectory(prefix="history-") as folder:
        try:
            done = HISTORIES[name](seed, Path(folder))
        # Any failed claim and any error is what is looked for.
        except Exception:
            print(f"{name}, seed {seed}: failed\n{traceback.format_exc()}", flush=True)
            return False
    print(f"{name}, seed {seed}: {done}, all right", flush=True)
    return True
