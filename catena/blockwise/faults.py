"""Points at which a test can have a process killed, to see that nothing is lost."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path

FAULT_VARIABLE = "CATENA_FAULT"
ONCE_VARIABLE = "CATENA_FAULT_ONCE"
VICTIM_VARIABLE = "CATENA_FAULT_VICTIM"
_DEATH_S = 10.0

_passed: Counter[str] = Counter()
_place = ""


def fault_point(name: str) -> None:
    """Kill this process (SIGKILL) if the environment variable ``CATENA_FAULT`` names this point; else do nothing.

    The variable holds one or more of ``[PLACE@]NAME[:NTH]``, separated by commas, with wildcards as in a shell:
    ``fragments.worker@graph.*`` is every step of a graph's transaction in a worker of the stage fragments, ``*``
    everything. The process dies when it passes the point for the NTH time (the first by default). Points lie between
    the steps of a commit.

    If ``CATENA_FAULT_ONCE`` names a folder, only the first process that gets to a point in a place dies there, and
    leaves an empty file ``PLACE@NAME`` in it: the sign that it was hit. With it, ``CATENA_FAULT_VICTIM`` may name a
    file that begins with the number of another process, which is ended instead (SIGQUIT: what a PostgreSQL server
    takes for an immediate shutdown) if it is alive.

    Parameters
    ----------
    name
        The point: what is committed, and the step. A literal, so that the tests know all there are.
    """
    wanted = os.environ.get(FAULT_VARIABLE)
    if not wanted:
        return
    passing = f"{_place}@{name}"
    _passed[passing] += 1
    if any(_matches(each, name, passing) for each in wanted.split(",")):
        _strike(passing)


@contextmanager
def fault_place(name: str) -> Iterator[None]:
    """Say where the fault points passed within lie: ``STAGE.worker`` or ``STAGE.master``."""
    global _place
    before, _place = _place, name
    try:
        yield
    finally:
        _place = before


def _matches(wanted: str, name: str, passing: str) -> bool:
    pattern, _, count = wanted.partition(":")
    return fnmatchcase(passing if "@" in pattern else name, pattern) and _passed[passing] >= int(count or 1)


def _strike(passing: str) -> None:
    victim = os.environ.get(VICTIM_VARIABLE)
    if victim is None:
        if _first(passing):
            os.kill(os.getpid(), signal.SIGKILL)
        return
    process = _read_process(Path(victim))
    if process is not None and _first(passing):
        os.kill(process, signal.SIGQUIT)
        deadline = time.monotonic() + _DEATH_S
        while _read_process(Path(victim)) == process and time.monotonic() < deadline:
            time.sleep(0.005)


def _read_process(path: Path) -> int | None:
    """Return the process that `path` names if it is alive."""
    try:
        process = int(path.read_text().partition("\n")[0])
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except (OSError, ValueError):
        return None
    return None if state in "ZX" else process


def _first(passing: str) -> bool:
    folder = os.environ.get(ONCE_VARIABLE)
    if not folder:
        return True
    try:
        (Path(folder) / passing).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
