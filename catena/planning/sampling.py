"""Compute a few blocks for real, in a temporary folder, and measure what they cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.blockwise.blocks import BlockGrid
from catena.blockwise.execution import ExecutionConfig
from catena.blockwise.marks import BlockMarks
from catena.blockwise.stage import BlockFunction, BlockwiseStage, tracking_folder
from catena.blockwise.status import TRACKING
from catena.graphs import GraphStore
from catena.planning.estimate import read_voxels, write_voxels
from catena.planning.rates import Rates
from catena.task import Input, Job, Output, Progress, StageReport, Task

LARGE_VOXELS = 500_000
"""Voxels from which on a block's memory is told from that of the worker around it."""
OpenGraph = Callable[..., AbstractContextManager[GraphStore]]


def sampled_places(grid: BlockGrid, kept: NDArray[np.bool_], samples: int) -> list[Coordinate]:
    """Return the positions of a few blocks spread over those that are kept, full blocks first.

    Parameters
    ----------
    kept
        Which blocks are worked on, in the shape of the grid.
    samples
        How many; fewer where there are not as many.
    """
    full = kept & (write_voxels(grid) == grid.voxels_per_block)
    places = np.argwhere(full if full.any() else kept)
    # such as have neighbours above, whose rows are then complete
    inner = places[(places + 1 < np.array(grid.shape)).all(axis=1)]
    places = inner if len(inner) else places
    found: list[Coordinate] = []
    for number in range(samples):
        target = np.array(grid.shape) * (number + 1) / (samples + 1) - 0.5
        nearest = places[np.argmin(np.abs(places - target).sum(axis=1))] if len(places) else []
        if len(nearest) and (place := Coordinate(int(each) for each in nearest)) not in found:
            found.append(place)
    return found


def with_neighbours(grid: BlockGrid, places: list[Coordinate]) -> list[int]:
    """Return the numbers of the blocks at `places` and of those next above them along each axis, sorted."""
    steps = (Coordinate(0, 0, 0), Coordinate(1, 0, 0), Coordinate(0, 1, 0), Coordinate(0, 0, 1))
    around = {tuple(place + step) for place in places for step in steps}
    inside = [each for each in around if all(at < n for at, n in zip(each, grid.shape, strict=True))]
    return sorted(int(np.ravel_multi_index(tuple(int(n) for n in each), grid.shape)) for each in inside)


class SampledStage(BlockwiseStage):
    """A blockwise stage that works on chosen blocks only, and measures them.

    Parameters
    ----------
    stage
        The stage; workers run its own block function.
    chosen
        Per volume: the blocks of another grid where samples lie, and that grid.
    counted
        Per volume: the same for the blocks whose rows are complete.
    rates
        ``(volume) -> Rates``: what is stated, and replaced as far as it is measured.
    """

    def __init__(
        self,
        stage: BlockwiseStage,
        chosen: Mapping[str, tuple[BlockGrid, list[int]]],
        counted: Mapping[str, tuple[BlockGrid, list[int]]],
        rates: Callable[[str], Rates],
        open_graph: OpenGraph | None,
    ) -> None:
        self.stage = stage
        self.name, self.version, self.per_volume = stage.name, stage.version, stage.per_volume  # type: ignore[misc]
        self.chosen, self.counted, self.rates, self.open_graph = chosen, counted, rates, open_graph
        self.measured: dict[str, Rates] = {}

    def applies(self, config: Any, volume: str) -> bool:
        """As the stage says."""
        return self.stage.applies(config, volume)

    def inputs(self, config: Any, volume: str) -> Mapping[str, Input]:
        """As the stage says."""
        return self.stage.inputs(config, volume)

    def outputs(self, config: Any, volume: str) -> Mapping[str, Output]:
        """As the stage says."""
        return self.stage.outputs(config, volume)

    def settings(self, config: Any, volume: str) -> Mapping[str, Any]:
        """As the stage says."""
        return self.stage.settings(config, volume)

    def grid(self, config: Any, volume: str) -> BlockGrid:
        """As the stage says."""
        return self.stage.grid(config, volume)

    def prepare(self, job: Job, grid: BlockGrid) -> None:
        """As the stage does."""
        self.stage.prepare(job, grid)

    def block_function(self, job: Job) -> BlockFunction:
        """As the stage does."""
        return self.stage.block_function(job)

    def finish(self, job: Job, progress: Progress) -> Mapping[str, Any]:
        """As the stage does."""
        return self.stage.finish(job, progress)

    def execution(self, config: Any) -> ExecutionConfig:
        """One worker on this machine: its blocks are to be measured undisturbed."""
        cores = self.stage.execution(config).cores_per_worker
        return ExecutionConfig(launcher="local", workers=1, cores_per_worker=cores, max_retries=0)

    def skip(self, job: Job, grid: BlockGrid) -> NDArray[np.bool_]:
        """Skip all but the chosen blocks."""
        skip = np.ones(len(grid), bool)
        skip[_same_place(grid, *self.chosen[job.volume])] = False
        return skip.reshape(grid.shape)

    def run(self, job: Job, progress: Progress) -> StageReport:
        """Work on the chosen blocks, and measure."""
        grid, before = self.grid(job.config, job.volume), self._store_bytes(job)
        report = super().run(job, progress)
        self.measured[job.volume] = self._measure(job, grid, before)
        return report

    def _measure(self, job: Job, grid: BlockGrid, store_bytes: int) -> Rates:
        rates = self.rates(job.volume)
        blocks = _same_place(grid, *self.chosen[job.volume])
        voxels = write_voxels(grid).reshape(-1)
        marks = BlockMarks(tracking_folder(job) / TRACKING, grid.shape)
        seconds = marks.seconds().reshape(-1)
        # a worker's first block also loads and compiles what the others find there
        timed = blocks[1:] or blocks
        slope, base = _memory(rates, float(marks.peak_memory_bytes()), read_voxels(grid, grid.block_shape_vox))
        rows, rows_in_all = self._rows(job, grid)
        return rates.measured(
            seconds_per_mvoxel=float(seconds[timed].sum()) / (int(voxels[timed].sum()) / 1e6),
            base_bytes=base,
            bytes_per_voxel=slope,
            stored_share=self._stored_shares(job, rates, int(voxels[blocks].sum())),
            rows_per_mvoxel=rows,
            row_bytes=max(0, self._store_bytes(job) - store_bytes) / rows_in_all if rows_in_all else rates.row_bytes,
            sampled_blocks=len(blocks),
        )

    def _stored_shares(self, job: Job, rates: Rates, voxels: int) -> dict[str, float]:
        outputs = self.outputs(job.config, job.volume)
        stored = {name: folder_bytes(job.staged(outputs[name])) for name in rates.array_bytes}
        return {name: size / (rates.array_bytes[name] * voxels) for name, size in stored.items()}

    def _rows(self, job: Job, grid: BlockGrid) -> tuple[dict[str, float], int]:
        """Return the rows of every table for a million voxels, and how many there are in all sampled blocks."""
        tables = {name: each for name, each in self.outputs(job.config, job.volume).items() if each.kind == "table"}
        if not tables or self.open_graph is None:
            return {}, 0
        chosen = self.counted if self.rates(job.volume).rows_need_neighbours else self.chosen
        blocks = _same_place(grid, *chosen[job.volume])
        voxels, rows, in_all = int(write_voxels(grid).reshape(-1)[blocks].sum()), {}, 0
        with self.open_graph(job.config, job.volume, mode="r") as store:
            for name, output in tables.items():
                table = job.table(output)
                key = store.schema(table).key[:1]
                rows[name] = len(store.read(table, key, blocks=blocks)[key[0]]) / (voxels / 1e6)
                in_all += store.count(table)
        return rows, in_all

    def _store_bytes(self, job: Job) -> int:
        return sum(each.stat().st_size for each in job.folder.glob("*.sqlite"))


def sampled_task(task: Task, stages: Mapping[str, SampledStage]) -> Task:
    """Return the task with some of its stages replaced by sampled ones."""
    return replace(task, stages=tuple(stages.get(each.name, each) for each in task.stages))


def _memory(rates: Rates, peak: float, read: int) -> tuple[float, float]:
    """Return bytes per voxel and of an empty worker, from the peak with blocks of `read` voxels.

    A large block tells what a voxel takes, a small one only what a worker does.
    """
    slope = rates.bytes_per_voxel
    if read >= LARGE_VOXELS:
        slope = max((peak - rates.base_bytes) / read, slope / 4)
    slope = min(slope, peak / read)
    return slope, peak - slope * read


def folder_bytes(folder: Path) -> int:
    """Return the size of all files below a folder."""
    return sum(each.stat().st_size for each in folder.rglob("*") if each.is_file())


def _same_place(grid: BlockGrid, other: BlockGrid, blocks: list[int]) -> list[int]:
    """Return the blocks of `grid` that write where the `blocks` of another grid do."""
    found = {int(each) for block in blocks for each in grid.blocks_intersecting(other.block(block).write_roi)}
    return sorted(found)
