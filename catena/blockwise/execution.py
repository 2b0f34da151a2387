"""Where and how a blockwise stage runs; never part of a result's fingerprint."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, Self

from pydantic import Field, model_validator

from catena.config import Config

_SUBMITTED = frozenset({"host", "memory_gb", "gpus", "queue", "time_h", "account", "extra"})

CLUSTER_SETTINGS: Mapping[str, frozenset[str]] = {
    "local": frozenset(),
    "slurm": _SUBMITTED | {"image"},
    "lsf": _SUBMITTED | {"image"},
    "kubernetes": frozenset({"host", "memory_gb", "gpus", "time_h", "extra", "image", "claims", "secrets"}),
}
"""Which of the settings that say what to ask a cluster for each launcher knows."""

_PATIENCE = frozenset({"timeout_s", "max_retries", "max_worker_restarts"})


def available_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class ExecutionConfig(Config):
    """How the blocks of a stage are worked through."""

    launcher: str = Field(
        "local",
        description="How workers are started: `local` (processes on this machine), `slurm`, `lsf` or `kubernetes`.",
    )
    workers: int = Field(
        default_factory=available_cores, ge=1, description="Workers at work at once; by default one per core."
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
        None, description="Address of this machine that workers on a cluster connect to; found if not given."
    )
    memory_gb: float | None = Field(None, gt=0, description="Memory of a worker on a cluster, in GiB.")
    gpus: int = Field(0, ge=0, description="GPUs of a worker on a cluster.")
    queue: str | None = Field(None, min_length=1, description="Slurm's partition or LSF's queue.")
    time_h: float | None = Field(
        None, gt=0, description="How long a worker on a cluster may run, in hours; one that ends is replaced."
    )
    account: str | None = Field(None, min_length=1, description="Slurm's account or LSF's project.")
    extra: tuple[str, ...] = Field(
        (), description="Further arguments of `srun`, `bsub` or `kubectl`, such as `--qos=long` or `--namespace=em`."
    )
    image: str | None = Field(
        None, min_length=1, description="Container image of the workers: Apptainer's on Slurm and LSF, there optional."
    )
    claims: dict[str, str] = Field(
        {}, description="Kubernetes: persistent volume claims and the folders at which workers see them."
    )
    secrets: tuple[str, ...] = Field(
        (), description="Kubernetes: secrets whose keys become environment variables of the workers."
    )

    @model_validator(mode="after")
    def _launcher_knows_what_is_set(self) -> Self:
        known = CLUSTER_SETTINGS.get(self.launcher)
        if known is None:  # refused, or taken, by `launcher_type`
            return self
        unknown = [name for name in self.cluster_settings() if name not in known]
        if unknown:
            names = ", ".join(sorted(known)) or "of these settings none"
            raise ValueError(f"launcher {self.launcher!r} does not know {', '.join(unknown)}; it knows {names}")
        if self.launcher == "kubernetes" and self.image is None:
            raise ValueError("launcher 'kubernetes' needs image: the container image of its workers")
        return self

    def cluster_settings(self) -> dict[str, Any]:
        """Return what is asked of a cluster: those settings that some launchers know and that are set."""
        names = sorted(frozenset().union(*CLUSTER_SETTINGS.values()))
        fields = type(self).model_fields
        return {name: getattr(self, name) for name in names if getattr(self, name) != fields[name].default}


def inherit(section: Mapping[str, Any], default: Mapping[str, Any]) -> dict[str, Any]:
    """Return a stage's section with what it does not say filled from the default section.

    A section that names another launcher takes over only how patient to be: the number of workers and what
    was asked of one cluster mean nothing to another.

    >>> inherit({"workers": 4}, {"launcher": "slurm", "workers": 64, "queue": "long"})
    {'launcher': 'slurm', 'workers': 4, 'queue': 'long'}
    >>> inherit({"launcher": "local"}, {"launcher": "slurm", "workers": 64, "timeout_s": 60})
    {'timeout_s': 60, 'launcher': 'local'}
    """
    same = section.get("launcher", default.get("launcher", "local")) == default.get("launcher", "local")
    taken = {name: value for name, value in default.items() if same or name in _PATIENCE}
    return {**taken, **section}
