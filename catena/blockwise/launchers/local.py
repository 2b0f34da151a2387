"""Workers as processes of this machine, which die with the process that started them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.launchers.command import worker_command, worker_variables
from catena.blockwise.launchers.launcher import WorkerExit
from catena.blockwise.launchers.processes import WorkerProcesses
from catena.blockwise.lifeline import MASTER_VARIABLE


class LocalLauncher:
    """Start each worker as a fresh Python, so that its threads can be capped and nothing is inherited by fork."""

    spans_hosts: ClassVar[bool] = False
    programs: ClassVar[tuple[str, ...]] = ()

    def __init__(self, execution: ExecutionConfig, job_path: Path) -> None:
        self._cores = execution.cores_per_worker
        self._job_path = job_path
        self._processes = WorkerProcesses(job_path.parent / "logs")

    @property
    def host(self) -> str:
        """The loopback address: nothing outside this machine can connect."""
        return "127.0.0.1"

    def work(self, worker_id: int, context: str) -> WorkerExit:
        """Start a worker, wait until it has ended, and tell how."""
        variables = worker_variables(context, self._cores) | {MASTER_VARIABLE: str(os.getpid())}
        return self._processes.run(worker_id, worker_command(self._job_path), os.environ | variables)

    def stop(self, patience_s: float = 0.0) -> None:
        """Start no more workers, give those that run `patience_s` to end by themselves, and end the rest."""
        self._processes.refuse_more()
        if not self._processes.end_within(patience_s):
            self._processes.end()
