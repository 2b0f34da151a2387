"""GPUs shared out among the workers of a stage: each claims one with a lock that its process cannot outlive.

A worker's number says nothing about its GPU: it grows with every restart.
"""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from catena.blockwise.execution import ExecutionConfig
from catena.errors import OutputError

VISIBLE = "CUDA_VISIBLE_DEVICES"
_SIGNS = ("nvidia[0-9]*", "kfd", "dxg")  # of drivers: without one there is no need to wait for torch
_claimed: dict[Path, tuple[int, int]] = {}


@cache
def gpu_count() -> int:
    """Return the number of GPUs that this process may use; torch is imported only where there is any."""
    if not any(found for sign in _SIGNS for found in Path("/dev").glob(sign)):
        return 0
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def claim_gpu(folder: Path, gpus: int | None = None) -> int:
    """Claim a GPU for the rest of this process's life, and return its index among those that are visible.

    With more workers than GPUs, those that come late share one with as few others as possible. Claimed
    again in the same process, it is the same one.

    Parameters
    ----------
    folder
        Of the job, the same for all of its workers. Locks lie in ``devices/``, named after host and GPU.
    gpus
        How many there are. Default: as torch finds.

    Raises
    ------
    OutputError
        If the folder cannot be written.
    ValueError
        If there is no GPU.
    """
    names = gpu_names(gpu_count() if gpus is None else gpus)
    if not names:
        raise ValueError("there is no GPU to claim")
    folder = Path(folder).absolute()
    if folder not in _claimed:
        try:
            _claimed[folder] = _claim(folder / "devices", names)
        except OSError as error:
            raise OutputError(f"cannot claim a GPU in {folder}: {error}") from error
    return _claimed[folder][0]


def one_worker_per_gpu(execution: ExecutionConfig) -> ExecutionConfig:
    """Return `execution` with a worker per GPU of this machine, if there is any and nothing else is asked for."""
    asked = "workers" in execution.model_fields_set or execution.launcher != "local"
    if asked or gpu_count() == 0:
        return execution
    return execution.model_copy(update={"workers": gpu_count()})


def gpu_names(gpus: int) -> list[str]:
    """Return what tells the visible GPUs of this host apart, whichever of them other processes see."""
    visible = [each.strip() for each in os.environ.get(VISIBLE, "").split(",") if each.strip()]
    return visible[:gpus] if len(visible) >= gpus else [str(index) for index in range(gpus)]


def _claim(folder: Path, names: Sequence[str]) -> tuple[int, int]:
    """Return the index of the GPU claimed, and the open file whose lock says so."""
    folder.mkdir(parents=True, exist_ok=True)
    place = 0
    while True:  # the first worker on each GPU, then the second on each, …
        for index, name in enumerate(names):
            lock = os.open(folder / f"{socket.gethostname()}_{name.replace('/', '_')}_{place}", os.O_RDWR | os.O_CREAT)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
            else:
                return index, lock
        place += 1
