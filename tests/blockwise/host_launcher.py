"""Launchers of the tests: workers on another host, or behind a connection that breaks."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import ClassVar

from relay import Relay

from catena.blockwise import ExecutionConfig
from catena.blockwise.launchers import LocalLauncher, WorkerExit
from catena.blockwise.launchers.command import worker_command, worker_variables
from catena.blockwise.launchers.host import master_address

NAMESPACE_VARIABLE = "CATENA_TEST_NAMESPACE"


class OtherHostLauncher(LocalLauncher):
    """Workers in another network namespace: nothing ties them to their master but the network."""

    spans_hosts: ClassVar[bool] = True

    def __init__(self, execution: ExecutionConfig, job_path: Path) -> None:
        super().__init__(execution, job_path)
        self._host = master_address(execution.host)

    @property
    def host(self) -> str:
        return self._host

    def work(self, worker_id: int, context: str) -> WorkerExit:
        there = ["ip", "netns", "exec", os.environ[NAMESPACE_VARIABLE]]
        command = [*there, *worker_command(self._job_path)]
        return self._processes.run(worker_id, command, os.environ | worker_variables(context, 1))


class RelayedLauncher(LocalLauncher):
    """Workers that reach their master through a relay."""

    relay: ClassVar[Relay | None] = None
    _made: ClassVar[threading.Lock] = threading.Lock()

    def work(self, worker_id: int, context: str) -> WorkerExit:
        fields = dict(field.split("=", 1) for field in context.split(":"))
        cls = type(self)
        with cls._made:
            if cls.relay is None:
                cls.relay = Relay(int(fields["port"]))
            fields["port"] = str(cls.relay.port)
        return super().work(worker_id, ":".join(f"{name}={value}" for name, value in fields.items()))
