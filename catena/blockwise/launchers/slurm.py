"""Workers as jobs of Slurm."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from catena.blockwise.launchers.submitting import SubmittingLauncher

_KEPT_IN_A_JOB = frozenset({"SLURM_CONF"})


class SlurmLauncher(SubmittingLauncher):
    """Start each worker with ``srun`` as a job of its own.

    Not with ``sbatch --wait``: ``srun`` ends at once and with the worker's exit code when the worker ends,
    where ``sbatch`` asks the controller every now and then; and it prints what the worker prints, so that the log
    is written here and needs no folder that nodes share.
    """

    programs: ClassVar[tuple[str, ...]] = ("srun", "scancel", "squeue")

    def submit_command(self, name: str, log: Path, command: Sequence[str]) -> list[str]:
        """Return ``srun`` with what the configuration asks for."""
        asked = self.execution
        options = {
            "--job-name": name,
            "--export": "ALL",
            "--nodes": 1,
            "--ntasks": 1,
            "--cpus-per-task": asked.cores_per_worker,
            "--mem": None if asked.memory_gb is None else f"{math.ceil(asked.memory_gb * 1024)}M",
            "--gres": f"gpu:{asked.gpus}" if asked.gpus else None,
            "--partition": asked.queue,
            "--time": None if asked.time_h is None else max(1, round(asked.time_h * 60)),
            "--account": asked.account,
        }
        words = [f"{option}={value}" for option, value in options.items() if value is not None]
        return ["srun", *words, *asked.extra, *command]

    def cancel_command(self, name: str, waiting: bool = False) -> list[str]:
        """Return ``scancel`` by name, of this user's jobs only."""
        state = ["--state=PENDING"] if waiting else []
        return ["scancel", "--quiet", f"--user={os.getuid()}", f"--name={name}", *state]

    def left(self, name: str) -> bool:
        """Ask ``squeue``, which also lists jobs that are just ending."""
        command = ["squeue", "--noheader", f"--user={os.getuid()}", f"--name={name}", "--format=%i"]
        listed = self.ask(command)
        return listed.returncode != 0 or bool(listed.stdout.strip())

    def environment(self) -> Mapping[str, str]:
        """Return this environment; of a job of Slurm's, without what would make workers steps of that job.

        A worker is then a job of its own, in its own partition and with its own memory, wherever the master runs.
        """
        variables = super().environment()
        if "SLURM_JOB_ID" not in variables:
            return variables
        return {
            name: value
            for name, value in variables.items()
            if name in _KEPT_IN_A_JOB or not name.startswith(("SLURM_", "SLURMD_", "SRUN_", "SBATCH_"))
        }
