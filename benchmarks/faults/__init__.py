"""Kill runs at random moments and at every fault point, run them again, and compare with one that was never killed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.faults.experiment import digests, finish, write_experiment
from benchmarks.faults.kills import measure_kills
from benchmarks.faults.points import measure_points
from benchmarks.result import Figure

PARTS = ("kills", "points")


def measure(smoke: bool = False, parts: Sequence[str] = PARTS) -> dict[str, Figure]:
    """Return how often and where processes were killed, and in how many results the runs then differed."""
    figures: dict[str, Figure] = {}
    with tempfile.TemporaryDirectory() as temporary:
        config = write_experiment(Path(temporary))
        began = time.monotonic()
        finish(config, "unbroken")
        duration = time.monotonic() - began
        print(f"unbroken run: {duration:.0f} s", flush=True)
        expected = digests(config, "unbroken")
        if "kills" in parts:
            figures |= measure_kills(config, expected, duration, smoke)
        if "points" in parts:
            figures |= measure_points(config, expected, smoke)
    return figures
