"""A stage that works block by block: declaration here, work in a pure block function."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import DTypeLike, NDArray

from catena.arrays import Array, create_array, open_array
from catena.blockwise.blocks import Block, BlockGrid
from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.faults import fault_point
from catena.blockwise.job import WorkerSpec
from catena.blockwise.launchers import require_launcher
from catena.blockwise.partial import remove_partial_files
from catena.blockwise.run import run_blockwise
from catena.blockwise.status import read_status
from catena.errors import CatenaError
from catena.task import STAGING, Job, LiveStatus, Progress, Stage, StageReport, folder_of, job_from_spec

BlockFunction = Callable[[Block], None]
ENTRY = "catena.blockwise.stage:open_block_function"


class BlockwiseStage(Stage):
    """A stage whose outputs are made in blocks by worker processes.

    A subclass declares the blocks and makes the outputs (:meth:`grid`, :meth:`prepare`), hands out the
    work (:meth:`block_function`, called in the worker) and may close with :meth:`finish`.
    """

    @abstractmethod
    def grid(self, config: Any, volume: str) -> BlockGrid:
        """Return the blocks and their context."""

    @abstractmethod
    def prepare(self, job: Job, grid: BlockGrid) -> None:
        """Create the outputs in staging; called again on every resumption."""

    @abstractmethod
    def block_function(self, job: Job) -> BlockFunction:
        """Open inputs and outputs in a worker and return the function that does one block.

        The function commits in this order: arrays, then graph rows; the done mark follows when it
        returns.
        """

    @abstractmethod
    def execution(self, config: Any) -> ExecutionConfig:
        """Return where the blocks run."""

    def skip(self, job: Job, grid: BlockGrid) -> NDArray[np.bool_] | None:
        """Return which blocks of the grid have nothing to do, None for none."""
        return None

    def finish(self, job: Job, progress: Progress) -> Mapping[str, Any]:
        """Do what follows once all blocks are done; return figures for the report."""
        return {}

    def check(self, config: Any, volume: str) -> None:
        """Refuse a launcher that is unknown, or whose programs are not here."""
        require_launcher(self.execution(config))

    def run(self, job: Job, progress: Progress) -> StageReport:
        """Run all blocks that are not done, then :meth:`finish`."""
        grid = self.grid(job.config, job.volume)
        self.prepare(job, grid)
        fault_point("stage.prepared")
        report = run_blockwise(
            f"{job.volume}.{self.name}",
            grid,
            WorkerSpec(ENTRY, job.spec()),
            tracking_folder(job),
            self.execution(job.config),
            skip=self.skip(job, grid),
            progress=progress,
            retry_failed=job.retry_failed,
        )
        if report.worker_deaths:
            self._remove_partial_chunks(job)
        fault_point("stage.blocks_done")
        figures = {"peak_memory_mb": report.peak_memory_mb, **self.finish(job, progress)}
        if (status := read_status(tracking_folder(job))) is not None:  # none if every block was skipped
            figures["slowest_blocks"] = [list(each) for each in status.slowest]
        blocks = {"done": report.done, "failed": report.failed, "skipped": report.skipped}
        return StageReport(blocks, voxels=int(np.prod(grid.roi.shape // grid.voxel_size)), figures=figures)

    def _remove_partial_chunks(self, job: Job) -> None:
        """Remove what workers left that died while writing; their blocks have been written since."""
        for output in self.outputs(job.config, job.volume).values():
            if output.kind == "array":
                remove_partial_files(job.staged(output))

    def live_status(self, config: Any, volume: str, fingerprint: str) -> LiveStatus | None:
        """Read the done marks of a running attempt."""
        folder = folder_of(config, volume) / STAGING / f"{self.name}-{fingerprint[:16]}"
        status = read_status(folder / "blockwise")
        if status is None:
            return None
        blocks = {"done": status.done, "failed": status.failed, "skipped": status.skipped, "left": status.left}
        return LiveStatus(
            blocks,
            status.mvoxel_per_s,
            status.seconds_left,
            state=status.state,
            seconds=status.seconds,
            peak_memory_bytes=status.peak_memory_bytes,
            slowest=status.slowest,
            failures=tuple(str(each) for each in status.failures),
        )


def tracking_folder(job: Job) -> Path:
    """Return where the done marks and worker logs of a job lie."""
    return job.staging / "blockwise"


def open_block_function(spec: Mapping[str, Any]) -> BlockFunction:
    """Entry point of a worker: rebuild the job from plain values and open its block function."""
    stage, rebuilt = job_from_spec(spec)
    if not isinstance(stage, BlockwiseStage):
        raise TypeError(f"stage {stage.name} of task {rebuilt.task} has no blocks")
    return stage.block_function(rebuilt)


def keep_or_create(
    path: Path,
    grid: BlockGrid,
    *,
    dtype: DTypeLike,
    chunk_shape_vox: Coordinate,
    roi: Roi | None = None,
    voxel_size: Coordinate | None = None,
    **options: Any,
) -> Array:
    """Open the array that an interrupted attempt left at `path`, or create it.

    An array whose creation itself was cut short is made anew; no block has been written into it then. Chunks that
    were cut short are removed: their blocks are not done and will write them again. Nobody else may be writing.

    Parameters
    ----------
    grid
        The blocks that will write the array.
    roi, voxel_size
        Of the array, in the grid's units. Default: the grid's.
    dtype, chunk_shape_vox, **options
        As :func:`catena.arrays.create_array` has them.

    Raises
    ------
    GeometryError
        If two blocks would write the same chunk.
    """
    roi, voxel_size = roi or grid.roi, voxel_size or grid.voxel_size
    grid.require_aligned_chunks(chunk_shape_vox * voxel_size // grid.voxel_size, roi, str(path))
    options["chunk_shape_vox"] = chunk_shape_vox
    try:
        array = open_array(path, mode="r+")
    except CatenaError:
        return create_array(path, roi=roi, voxel_size=voxel_size, dtype=dtype, overwrite=True, **options)
    remove_partial_files(path)
    units = options.get("units_per_nm", 1)
    if array.units_per_nm < units:
        array = array.in_units(units)
    return array
