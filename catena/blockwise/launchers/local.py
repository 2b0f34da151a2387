"""Workers as processes of this machine, which die with the process that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.launchers.launcher import WorkerExit
from catena.blockwise.lifeline import MASTER_VARIABLE

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "BLOSC_NTHREADS",
)
GRACE_S = 2.0


class LocalLauncher:
    """Start each worker as a fresh Python, so that its threads can be capped and nothing is inherited by fork."""

    spans_hosts: ClassVar[bool] = False

    def __init__(self, execution: ExecutionConfig, job_path: Path) -> None:
        self._cores = execution.cores_per_worker
        self._job_path = job_path
        self._logs = job_path.parent / "logs"
        self._logs.mkdir(parents=True, exist_ok=True)
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._stopped = False
        self._lock = threading.Lock()

    @property
    def host(self) -> str:
        """The loopback address: nothing outside this machine can connect."""
        return "127.0.0.1"

    def work(self, worker_id: int, context: str) -> WorkerExit:
        """Start a worker, wait until it has ended, and tell how."""
        log = self._logs / f"worker_{worker_id}.log"
        with log.open("ab") as output:
            with self._lock:
                if self._stopped:
                    return WorkerExit(-signal.SIGTERM, log)
                process = self._start(output.fileno(), context)
                self._processes.add(process)
            try:
                return WorkerExit(process.wait(), log)
            finally:
                with self._lock:
                    self._processes.discard(process)

    def _start(self, output: int, context: str) -> subprocess.Popen[bytes]:
        caps = dict.fromkeys(THREAD_VARIABLES, str(self._cores))
        return subprocess.Popen(
            worker_command(self._job_path),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=os.environ | caps | {"DAISY_CONTEXT": context, MASTER_VARIABLE: str(os.getpid())},
            # Ctrl-C in a terminal reaches the whole group: the master alone decides what it means
            start_new_session=True,
        )

    def stop(self, patience_s: float = 0.0) -> None:
        """Start no more workers, give those that run `patience_s` to end by themselves, and end the rest."""
        with self._lock:
            self._stopped = True
            running = list(self._processes)
        running = [process for process in running if not _ends_within(process, patience_s)]
        for number, patience in ((signal.SIGTERM, GRACE_S), (signal.SIGKILL, GRACE_S)):
            for process in running:
                _signal_session(process, number)
            running = [process for process in running if not _ends_within(process, patience)]


def worker_command(job_path: Path) -> list[str]:
    """Return the command of a worker; ``-P`` keeps the current folder from shadowing packages."""
    return [sys.executable, "-P", "-m", "catena.blockwise.worker", str(job_path)]


def _signal_session(process: subprocess.Popen[bytes], number: int) -> None:
    """Signal a worker and whatever it has started."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return  # it ended between the two calls


def _ends_within(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True
