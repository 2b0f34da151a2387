"""Points at which a test can have a process killed, to see that nothing is lost."""

from __future__ import annotations

import os
import signal
from collections import Counter
from pathlib import Path

FAULT_VARIABLE = "CATENA_FAULT"
ONCE_VARIABLE = "CATENA_FAULT_ONCE"

_passed: Counter[str] = Counter()


def fault_point(name: str) -> None:
    """Kill this process (SIGKILL) if the environment variable ``CATENA_FAULT`` names this point; else do nothing.

    The variable holds ``NAME`` or ``NAME:NTH``: the process dies when it passes the point for the NTH time
    (the first by default). Points lie between the steps in which a block is committed: arrays, graph rows, done mark.
    If ``CATENA_FAULT_ONCE`` names a folder, only the first process that gets there dies, and leaves an empty file
    ``NAME`` in it: the sign that the point was hit.

    Parameters
    ----------
    name
        The point, ``stage.step``: ``fragments.after_arrays``.
    """
    wanted = os.environ.get(FAULT_VARIABLE)
    if not wanted:
        return
    wanted_name, _, count = wanted.partition(":")
    if wanted_name != name:
        return
    _passed[name] += 1
    if _passed[name] == int(count or 1) and _first(name):
        os.kill(os.getpid(), signal.SIGKILL)


def _first(name: str) -> bool:
    folder = os.environ.get(ONCE_VARIABLE)
    if not folder:
        return True
    try:
        (Path(folder) / name).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
