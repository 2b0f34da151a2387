"""Workers as jobs of LSF."""

from __future__ import annotations

import math
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

from catena.blockwise.launchers.submitting import SubmittingLauncher


class LSFLauncher(SubmittingLauncher):
    """Start each worker with ``bsub -K``, which waits for its job and ends with its exit code.

    LSF writes what the worker prints into its log, on a folder that the nodes share.
    """

    programs: ClassVar[tuple[str, ...]] = ("bsub", "bkill", "bjobs")

    def submit_command(self, name: str, log: Path, command: Sequence[str]) -> list[str]:
        """Return ``bsub`` with what the configuration asks for; it hands the command to a shell as one line."""
        asked = self.execution
        options = {
            "-J": name,
            "-env": "all",
            "-o": str(log),
            "-n": str(asked.cores_per_worker),
            "-R": "span[hosts=1]",
            "-gpu": f"num={asked.gpus}" if asked.gpus else None,
            "-q": asked.queue,
            "-W": None if asked.time_h is None else _hours_and_minutes(asked.time_h),
            "-P": asked.account,
        }
        words = [word for option, value in options.items() if value is not None for word in (option, value)]
        if asked.memory_gb is not None:
            # with its unit: what a bare number means is each cluster's own choice
            words += ["-R", f"rusage[mem={math.ceil(asked.memory_gb * 1024)}MB]"]
        return ["bsub", "-K", *words, *asked.extra, shlex.join(command)]

    def cancel_command(self, name: str, waiting: bool = False) -> list[str]:
        """Return ``bkill`` by name; 0 stands for all jobs of that name."""
        state = ["-stat", "pend"] if waiting else []
        return ["bkill", *state, "-J", name, "0"]

    def left(self, name: str) -> bool:
        """Ask ``bjobs``, which fails where there is no such job."""
        listed = self.ask(["bjobs", "-noheader", "-o", "jobid", "-J", name])
        return bool(listed.stdout.strip()) or (listed.returncode != 0 and "not found" not in listed.stderr)


def _hours_and_minutes(hours: float) -> str:
    minutes = max(1, round(hours * 60))
    return f"{minutes // 60}:{minutes % 60:02d}"
