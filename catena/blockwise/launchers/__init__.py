"""Ways to start worker processes: on this machine, later on clusters."""

from __future__ import annotations

from pathlib import Path

from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.launchers.launcher import Launcher, WorkerExit
from catena.blockwise.launchers.local import LocalLauncher
from catena.errors import ConfigError, nearest_names

LAUNCHERS: dict[str, type[Launcher]] = {"local": LocalLauncher}

__all__ = ["LAUNCHERS", "Launcher", "LocalLauncher", "WorkerExit", "launcher_type", "open_launcher"]


def launcher_type(name: str) -> type[Launcher]:
    """Return the launcher called `name`, for what can be asked before a run (``spans_hosts``).

    Raises
    ------
    ConfigError
        If there is none.
    """
    if name not in LAUNCHERS:
        raise ConfigError(f"unknown launcher {name!r} ({nearest_names(name, LAUNCHERS)})")
    return LAUNCHERS[name]


def open_launcher(execution: ExecutionConfig, job_path: Path) -> Launcher:
    """Return the launcher that `execution` names, ready to start workers on the job in `job_path`.

    Raises
    ------
    ConfigError
        If there is no such launcher, or its settings do not suffice.
    """
    return launcher_type(execution.launcher)(execution, job_path)
