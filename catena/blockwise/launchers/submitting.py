"""What Slurm and LSF have in common: a command that submits a worker, waits for it and ends as it did."""

from __future__ import annotations

import os
import shlex
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.launchers.command import contained_command, worker_command, worker_variables
from catena.blockwise.launchers.host import master_address
from catena.blockwise.launchers.jobnames import JobName
from catena.blockwise.launchers.launcher import WorkerExit
from catena.blockwise.launchers.processes import WorkerProcesses
from catena.blockwise.launchers.reaper import Reaper
from catena.blockwise.lifeline import MASTER_VARIABLE
from catena.errors import StageError

_CANCELLED_S = 10.0
_GONE_S = 90.0
_POLL_S = 0.2


class SubmittingLauncher(ABC):
    """Start each worker as a job of a cluster, with one process here that waits for it.

    All jobs of a run carry its name. They are cancelled by that name when the run stops; by a process that
    outlives this one if it is killed; and, should that be killed as well, when the stage is started again.
    """

    spans_hosts: ClassVar[bool] = True
    programs: ClassVar[tuple[str, ...]]

    def __init__(self, execution: ExecutionConfig, job_path: Path) -> None:
        self.execution = execution
        self._job_path = job_path
        self._host = master_address(execution.host)
        self._processes = WorkerProcesses(job_path.parent / "logs")
        self._name = JobName(job_path.parent)
        self._end_earlier()
        self._reaper = Reaper(self.cancel_command(self._name.name))

    @abstractmethod
    def submit_command(self, name: str, log: Path, command: Sequence[str]) -> list[str]:
        """Return the command that runs a worker's `command` as a job called `name` and ends with its exit code."""

    @abstractmethod
    def cancel_command(self, name: str, waiting: bool = False) -> list[str]:
        """Return the command that cancels all jobs called `name`, or only those that wait in the queue."""

    @abstractmethod
    def left(self, name: str) -> bool:
        """Tell whether jobs called `name` are left; True where that cannot be told."""

    def environment(self) -> Mapping[str, str]:
        """Return the environment in which jobs are submitted, and which they see."""
        return {name: value for name, value in os.environ.items() if name != MASTER_VARIABLE}

    @property
    def host(self) -> str:
        """Address of this machine that the cluster's nodes reach."""
        return self._host

    def work(self, worker_id: int, context: str) -> WorkerExit:
        """Submit a worker, wait until it has ended, and tell how."""
        image, cores = self.execution.image, self.execution.cores_per_worker
        command = (
            worker_command(self._job_path)
            if image is None
            else contained_command(self._job_path, image, self.execution.gpus)
        )
        submit = self.submit_command(self._name.name, self._processes.log(worker_id), command)
        variables = worker_variables(context, cores)
        ended = self._processes.run(worker_id, submit, {**self.environment(), **variables})
        return WorkerExit.of_shell(ended.code, ended.log)

    def stop(self, patience_s: float = 0.0) -> None:
        """Start no more workers, give those that run `patience_s` to end by themselves, and cancel the rest."""
        self._processes.refuse_more()
        self.ask(self.cancel_command(self._name.name, waiting=True))
        if not self._processes.end_within(patience_s):
            self.ask(self.cancel_command(self._name.name))
            if not self._processes.end_within(_CANCELLED_S):
                self._processes.end()
        if self._gone(self._name.name, _CANCELLED_S):
            self._reaper.dismiss()
            self._name.ended()

    def ask(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run one of the cluster's commands; that it fails, as when there are no such jobs, is left to the caller."""
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, env=self.environment(), check=False
        )

    def _end_earlier(self) -> None:
        """Cancel what a run left that was killed together with its reaper, and wait until it is gone."""
        for name in self._name.earlier:
            cancel = self.cancel_command(name)
            self.ask(cancel)
            if not self._gone(name, _GONE_S):
                raise StageError(f"jobs of an earlier run do not end; try: {shlex.join(cancel)}")
        self._name.earlier_ended()

    def _gone(self, name: str, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.left(name):
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_S)
        return True
