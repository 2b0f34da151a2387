"""Kill `catena run` with SIGKILL at random moments, run it again, and compare with a run that was never killed."""

from __future__ import annotations

import random
import signal
import subprocess
from pathlib import Path

from benchmarks.faults.experiment import digests, finish, require_success, start
from benchmarks.result import Figure

KILLS, SMOKE_KILLS = 10, 2
SEED = 0


def measure_kills(config: Path, expected: dict[str, str], duration: float, smoke: bool) -> dict[str, Figure]:
    """Return how often a run was killed, and in how many results it then differed from an unbroken one.

    Parameters
    ----------
    config
        The experiment's file.
    expected
        Results of an unbroken run.
    duration
        How long that took, in seconds.
    """
    kills = SMOKE_KILLS if smoke else KILLS
    done, round_, differences = 0, 0, 0
    while done < kills:
        round_ += 1
        name = f"killed_{round_}"
        done += kill_until_finished(config, name, kills - done, duration, random.Random(SEED + round_))
        found = digests(config, name)
        differences += sum(found.get(key) != expected[key] for key in expected)
    return {"kills": Figure(done, "kills", "higher"), "differences": Figure(differences, "results", "lower")}


def kill_until_finished(config: Path, experiment: str, kills: int, duration: float, generator: random.Random) -> int:
    """Kill the master of a run up to `kills` times, then let it finish; return how often it was killed.

    Raises
    ------
    RuntimeError
        If a run fails by itself, whether or not it was about to be killed.
    """
    done = 0
    while done < kills and killed(
        start(config, experiment), generator.uniform(0.5, max(2.0, duration / 3)), experiment
    ):
        done += 1
    finish(config, experiment)
    return done


def killed(process: subprocess.Popen[bytes], after_s: float, experiment: str) -> bool:
    """Kill the master unless it ends within `after_s`; its workers follow. Tell whether it had to be killed."""
    try:
        _, errors = process.communicate(timeout=after_s)
    except subprocess.TimeoutExpired:
        process.kill()
        _, errors = process.communicate()
        if process.returncode == -signal.SIGKILL:
            return True
    require_success(process, errors, experiment)
    return False
