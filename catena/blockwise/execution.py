"""Where and how a blockwise stage runs; never part of a result's fingerprint."""

from __future__ import annotations

import os

from pydantic import Field

from catena.config import Config


def available_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ExecutionConfig(Config):
    """How the blocks of a stage are worked through."""

    launcher: str = Field("local", description="How workers are started: `local` (processes on this machine).")
    workers: int = Field(
        default_factory=available_cores, ge=1, description="Processes at work at once; by default one per core."
    )
    cores_per_worker: int = Field(1, ge=1, description="Threads a worker may use in its kernels.")
    timeout_s: float = Field(
        3600.0, gt=0, description="A block that takes longer is given up and its worker killed, in seconds."
    )
    max_retries: int = Field(2, ge=0, description="How often a failed block is tried again before it is given up.")
    max_worker_restarts: int = Field(
        50, ge=0, description="How many workers may die before the stage is given up as a whole."
    )
    host: str | None = Field(
        None, description="Address of this machine that workers connect to; only launchers that span hosts need it."
    )
