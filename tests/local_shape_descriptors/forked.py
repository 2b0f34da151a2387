"""Runs and workers forked off a process that has imported everything: a killed run costs little, a killed worker less.

What is replaced is only how processes come to be: they are killed like any other, and run nothing but the real code.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from catena.blockwise import ExecutionConfig
from catena.blockwise.launchers import LAUNCHERS, LocalLauncher, WorkerExit

SERVER = Path(__file__).parent / "fork_server.py"
SOCKET_VARIABLE = "CATENA_TEST_FORK_SERVER"
_LONGEST_S, _TICK_S = 300.0, 0.01


@contextmanager
def fork_server() -> Iterator[None]:
    """Have a server for :func:`run_in_child` and :func:`run_script_in_child`."""
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/socket"
        command = [sys.executable, str(SERVER), path]
        threads = {"OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | threads
        ) as server:
            assert server.stdout is not None
            assert server.stdin is not None
            assert server.stdout.readline() == b"ready\n"
            os.environ[SOCKET_VARIABLE] = path
            try:
                yield
            finally:
                del os.environ[SOCKET_VARIABLE]
                server.stdin.close()


def connect(target: str, arguments: Sequence[Any], log: Path, variables: Mapping[str, str]) -> socket.socket:
    """Start a process that calls a function of this module."""
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(os.environ[SOCKET_VARIABLE])
    request = {"target": target, "arguments": arguments, "log": str(log), "variables": {**os.environ, **variables}}
    connection.sendall(json.dumps(request).encode() + b"\n")
    return connection


def run_in_child(settings: Mapping[str, Any], log: Path, **variables: str) -> int:
    """Run an experiment in a process of its own, and return how it ended: 0, 1, or minus a signal's number."""
    return _code_of("run_experiment", [settings], log, variables)


def run_in_child_until(moment: Callable[[], bool], settings: Mapping[str, Any], log: Path) -> int:
    """Run an experiment in a process of its own, kill it at some moment, and return how it ended."""
    with connect("run_experiment", [settings], log, {}) as running:
        running.settimeout(_TICK_S)
        while not moment():
            with suppress(TimeoutError):
                return int(running.recv(16))
        running.settimeout(_LONGEST_S)
        running.shutdown(socket.SHUT_WR)
        return int(running.recv(16))


def run_script_in_child(path: Path, arguments: Sequence[str], log: Path) -> int:
    """Run a script in a process of its own, and return its exit code."""
    return _code_of("run_script", [str(path), arguments], log, {})


def _code_of(target: str, arguments: Sequence[Any], log: Path, variables: Mapping[str, str]) -> int:
    with connect(target, arguments, log, variables) as connection:
        connection.settimeout(_LONGEST_S)
        try:
            return int(connection.recv(16))
        except TimeoutError:
            raise TimeoutError(log.read_text()) from None


# -- in the processes -------------------------------------------------------------------------


class ForkedLauncher(LocalLauncher):
    """Workers that die with the process that asked for them, as those of the local launcher do."""

    def __init__(self, execution: ExecutionConfig, job_path: Path) -> None:
        super().__init__(execution, job_path)
        self._job_path = job_path
        self._workers: list[socket.socket] = []
        self._stopped = False

    def work(self, worker_id: int, context: str) -> WorkerExit:
        """Start a worker, wait until it has ended, and tell how."""
        log = self._job_path.parent / "logs" / f"worker_{worker_id}.log"
        if self._stopped:
            return WorkerExit(-signal.SIGTERM, log)
        with connect("work", [str(self._job_path)], log, {"DAISY_CONTEXT": context}) as worker:
            self._workers.append(worker)
            return WorkerExit(int(worker.recv(16) or -signal.SIGKILL), log)

    def stop(self, patience_s: float = 0.0) -> None:
        """Have all workers killed, whatever the patience."""
        self._stopped = True
        for worker in self._workers:
            if worker.fileno() >= 0:
                worker.shutdown(socket.SHUT_RDWR)


def run_experiment(settings: Mapping[str, Any]) -> None:
    """Be ``catena run``, for all but pictures, which take long and are mere files."""
    from catena.plan import Selection
    from catena.run import run
    from local_shape_descriptors.config import LocalShapeDescriptorsConfig
    from local_shape_descriptors.task import TASK

    LAUNCHERS["local"] = ForkedLauncher
    config = LocalShapeDescriptorsConfig.parse(settings)
    for last in ("segmentation", "evaluate"):
        run(TASK, config, Selection(last=last, yes=True))


def run_script(path: str, arguments: Sequence[str]) -> None:
    """Be ``python path``."""
    LAUNCHERS["local"] = ForkedLauncher
    sys.argv = [path, *arguments]
    runpy.run_path(path, run_name="__main__")


def work(job_path: str) -> None:
    """Be a worker."""
    from catena.blockwise.worker import main

    main([job_path])
