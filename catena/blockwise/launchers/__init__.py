"""Ways to start worker processes: on this machine and on clusters."""

from __future__ import annotations

import shutil
from pathlib import Path

from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.launchers.kubernetes import KubernetesLauncher
from catena.blockwise.launchers.launcher import Launcher, WorkerExit
from catena.blockwise.launchers.local import LocalLauncher
from catena.blockwise.launchers.lsf import LSFLauncher
from catena.blockwise.launchers.slurm import SlurmLauncher
from catena.errors import ConfigError, nearest_names

LAUNCHERS: dict[str, type[Launcher]] = {
    "local": LocalLauncher,
    "slurm": SlurmLauncher,
    "lsf": LSFLauncher,
    "kubernetes": KubernetesLauncher,
}

__all__ = [
    "LAUNCHERS",
    "KubernetesLauncher",
    "LSFLauncher",
    "Launcher",
    "LocalLauncher",
    "SlurmLauncher",
    "WorkerExit",
    "launcher_type",
    "open_launcher",
    "require_launcher",
]


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


def require_launcher(execution: ExecutionConfig) -> type[Launcher]:
    """Return the launcher that `execution` names, if workers can be started with it from here.

    Raises
    ------
    ConfigError
        If there is no such launcher, or a program is missing that it uses.
    """
    launcher = launcher_type(execution.launcher)
    missing = [program for program in launcher.programs if shutil.which(program) is None]
    if missing:
        raise ConfigError(
            f"launcher {execution.launcher!r} needs {', '.join(missing)}, not found on PATH: run where jobs are "
            "submitted from, load the module that has it, or choose launcher: local"
        )
    return launcher


def open_launcher(execution: ExecutionConfig, job_path: Path) -> Launcher:
    """Return the launcher that `execution` names, ready to start workers on the job in `job_path`.

    Raises
    ------
    ConfigError
        If there is no such launcher, or its settings do not suffice.
    """
    return require_launcher(execution)(execution, job_path)
