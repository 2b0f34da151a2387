"""Processes that are, or stand for, workers: started, waited for and ended together."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from catena.blockwise.launchers.launcher import WorkerExit

GRACE_S = 2.0


class WorkerProcesses:
    """The processes of one run, one per worker, each of which writes to the log of its worker.

    Parameters
    ----------
    logs
        Folder of the logs; made if need be.
    """

    def __init__(self, logs: Path) -> None:
        logs.mkdir(parents=True, exist_ok=True)
        self._logs = logs
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self._lock = threading.Lock()

    @property
    def stopped(self) -> bool:
        """Whether no more may be started."""
        return self._stopped

    def log(self, worker_id: int) -> Path:
        """Return the file to which a worker prints."""
        return self._logs / f"worker_{worker_id}.log"

    def run(self, worker_id: int, command: Sequence[str], environment: Mapping[str, str]) -> WorkerExit:
        """Start a process, wait until it has ended, and tell how; ended at once where no more may be started.

        Raises
        ------
        OSError
            If it cannot be started.
        """
        log = self.log(worker_id)
        with log.open("ab") as output:
            with self._lock:
                if self._stopped:
                    return WorkerExit(-signal.SIGTERM, log)
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    # Ctrl-C in a terminal reaches the whole group: the master alone decides what it means
                    start_new_session=True,
                )
                self._running.add(process)
            try:
                return WorkerExit(process.wait(), log)
            finally:
                with self._lock:
                    self._running.discard(process)

    def refuse_more(self) -> None:
        """Start no more processes."""
        with self._lock:
            self._stopped = True

    def end_within(self, seconds: float) -> bool:
        """Wait until all that run have ended, at most `seconds` in all, and tell whether they have."""
        deadline = time.monotonic() + seconds
        return all([_ends_by(process, deadline) for process in self._now_running()])

    def end(self) -> None:
        """End all that run, and whatever they have started: asked first, then killed."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            for process in self._now_running():
                _signal_session(process, number)
            if self.end_within(GRACE_S):
                return

    def _now_running(self) -> list[subprocess.Popen[bytes]]:
        with self._lock:
            return list(self._running)


def _signal_session(process: subprocess.Popen[bytes], number: int) -> None:
    if process.poll() is None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return  # it ended between the two calls


def _ends_by(process: subprocess.Popen[bytes], deadline: float) -> bool:
    try:
        process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return False
    return True
