"""The batch of a step that went wrong, kept so that one can look at it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from catena.errors import OutputError
from catena.training.dataset import Batch


def save_failed_batch(folder: Path, batches: Sequence[Batch], *, iteration: int, seed: int, process: int = 0) -> Path:
    """Write all crops of a step to ``not_finite_<iteration>.npz``.

    Its arrays are ``raw`` ``(b, c, z, y, x)`` and, per head, ``targets/HEAD`` and ``weights/HEAD``, all float32, as
    the network got them, ``seeds`` ``(b,)`` of the crops, and ``iteration`` (counted from 1), ``seed`` and ``process``.

    Raises
    ------
    OutputError
        If it cannot be written.
    """
    path = failed_batch_path(folder, iteration, process)
    arrays = {"raw": np.concatenate([each.raw.cpu().numpy() for each in batches])}
    arrays["seeds"] = np.array([seed for each in batches for seed in each.seeds], np.uint64)
    for head in batches[0].targets:
        arrays[f"targets/{head}"] = np.concatenate([each.targets[head].cpu().numpy() for each in batches])
        arrays[f"weights/{head}"] = np.concatenate([each.weights[head].cpu().numpy() for each in batches])
    try:
        with path.open("wb") as file:
            np.savez_compressed(file, iteration=iteration, seed=seed, process=process, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise OutputError(f"cannot write the batch that training stopped at to {path}: {error}") from error
    return path


def failed_batch_path(folder: Path, iteration: int, process: int = 0) -> Path:
    """Return where a process writes the batch of an iteration."""
    which = f"_process_{process}" if process else ""
    return folder / f"not_finite_{iteration:08d}{which}.npz"
