"""What Daisy has noted about every block of a stage, readable at any time from any process."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from catena.blockwise.memory import noted_peak_memory


class BlockMarks:
    """Notes on the blocks of one stage: done or not, failures, seconds and memory.

    Daisy keeps each as one uncompressed Zarr 3 chunk that covers the whole grid, row-major, mapped into the
    scheduler's memory: what it notes is at once in the file, and outlives the process.

    Parameters
    ----------
    folder
        Daisy's ``tracking_path``, in the folder of the stage.
    shape
        Number of blocks along each axis.
    """

    def __init__(self, folder: Path, shape: Sequence[int]) -> None:
        self.folder = folder
        self.shape = tuple(shape)

    def done(self) -> NDArray[np.bool_]:
        """Return which blocks are done, in the shape of the grid."""
        done: NDArray[np.bool_] = self._read("done", np.uint8) == 1
        return done

    def failures(self) -> NDArray[np.int32]:
        """Return how often each block has failed, over all runs."""
        return self._read("failures", np.int32)

    def seconds(self) -> NDArray[np.float32]:
        """Return how long each block took the last time; 0 where it was not measured."""
        seconds: NDArray[np.float32] = np.nan_to_num(self._read("wall_seconds", np.float32))
        return seconds

    def peak_memory_bytes(self) -> int:
        """Return the largest memory any worker had; 0 if none was measured."""
        noted = noted_peak_memory(self.folder.parent)
        return int(self._read("peak_rss_bytes", np.uint64).max(initial=0)) if noted is None else noted

    def _read(self, name: str, dtype: Any) -> NDArray[Any]:
        path = self.folder.joinpath(name, "c", *("0" for _ in self.shape))
        values = np.fromfile(path, dtype=dtype) if path.exists() else np.empty(0, dtype=dtype)
        if values.size != int(np.prod(self.shape)):  # not there yet
            return np.zeros(self.shape, dtype=dtype)
        return values.reshape(self.shape)
