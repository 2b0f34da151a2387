"""A worker's tie to the process that started it: when that dies, in whatever way, so does the worker."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

MASTER_VARIABLE = "CATENA_MASTER_PID"
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """Have the kernel kill this process (SIGKILL) when its parent ends; exit if the parent has ended already.

    Only where the environment names the parent, as for workers on the master's own machine, and only on
    Linux; elsewhere the broken connection ends the worker at its next block.
    """
    master = os.environ.get(MASTER_VARIABLE)
    if master is None or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(master):  # the parent ended before the call above
        os._exit(1)
