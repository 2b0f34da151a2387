"""What a run would take, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.blockwise.blocks import BlockGrid
from catena.planning.rates import Rates

STARTUP_S = 5.0
"""Of a stage: workers start, import and connect."""


@dataclass(frozen=True)
class StageEstimate:
    """What a stage of one volume would take.

    Attributes
    ----------
    blocks, skipped
        Blocks to work on, and blocks masked out.
    voxels
        Voxels of the blocks to work on.
    array_bytes, stored_bytes
        Of each array (or folder): uncompressed, and as stored.
    rows
        Of each table.
    table_bytes
        Of all tables together, in the graph store.
    memory_bytes
        Of one worker at its peak.
    workers
        At work at once.
    hours
        Wall time; None where it is not estimated.
    block_shape_vox, context_vox
        Shape of a block, and what it reads around it; empty for a stage without blocks.
    sampled_blocks
        How many blocks were computed for these figures; 0: stated rates.
    """

    stage: str
    volume: str
    blocks: int = 0
    skipped: int = 0
    voxels: int = 0
    array_bytes: Mapping[str, int] = field(default_factory=dict)
    stored_bytes: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    table_bytes: int = 0
    memory_bytes: int = 0
    workers: int = 0
    hours: float | None = None
    block_shape_vox: tuple[int, ...] = ()
    context_vox: tuple[int, ...] = ()
    sampled_blocks: int = 0

    @property
    def label(self) -> str:
        """Name for people."""
        return f"{self.volume}: {self.stage}"

    @property
    def bytes(self) -> int:
        """Everything the stage leaves on disk, tables included."""
        return sum(self.stored_bytes.values()) + self.table_bytes


@dataclass(frozen=True)
class RunEstimate:
    """What is left of an experiment would take.

    Attributes
    ----------
    stages
        Stages that a run would do.
    done
        Labels of those whose results are in place.
    unknown
        Labels of those that are not estimated.
    problems
        Why the plan cannot be carried out; empty if it can.
    warnings
        What is wasteful.
    proposals
        Settings (``key.path=value``) that would do away with the problems and warnings.
    notes
        Where figures come from.
    free_bytes
        Disk space where the results go.
    """

    stages: tuple[StageEstimate, ...]
    done: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    proposals: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    free_bytes: int = 0

    @property
    def fits(self) -> bool:
        """Whether nothing speaks against the run."""
        return not self.problems

    @property
    def hours(self) -> float:
        """Wall time of all stages whose time is estimated."""
        return sum(each.hours or 0.0 for each in self.stages)

    @property
    def bytes(self) -> int:
        """Everything that would be written."""
        return sum(each.bytes for each in self.stages)

    def stage(self, name: str, volume: str) -> StageEstimate:
        """Return the estimate of one stage.

        Raises
        ------
        KeyError
            If it is not among those to do.
        """
        for each in self.stages:
            if (each.stage, each.volume) == (name, volume):
                return each
        raise KeyError(f"{volume}: {name}")


def estimate_stage(
    stage: str, volume: str, grid: BlockGrid, skip: NDArray[np.bool_] | None, rates: Rates, workers: int, at_once: int
) -> StageEstimate:
    """Return what a stage would take.

    Parameters
    ----------
    workers
        Workers that are started, each with its memory.
    at_once
        As many of them as have a core to themselves.
    """
    kept = np.ones(grid.shape, bool) if skip is None else ~skip
    voxels = int(write_voxels(grid)[kept].sum())
    mvoxels, blocks = voxels / 1e6, int(kept.sum())
    arrays = {name: round(each * voxels) for name, each in rates.array_bytes.items()}
    rows = {name: round(each * mvoxels) for name, each in rates.rows_per_mvoxel.items()}
    seconds = rates.seconds_per_mvoxel * mvoxels / max(1, min(at_once, blocks))
    return StageEstimate(
        stage,
        volume,
        blocks=blocks,
        skipped=len(grid) - blocks,
        voxels=voxels,
        array_bytes=arrays,
        stored_bytes={name: round(size * rates.stored_share.get(name, 1.0)) for name, size in arrays.items()},
        rows=rows,
        table_bytes=round(sum(rows.values()) * rates.row_bytes),
        memory_bytes=worker_memory(grid, rates, grid.block_shape_vox),
        workers=min(workers, max(1, blocks)),
        hours=(seconds + STARTUP_S if blocks else 0.0) / 3600,
        block_shape_vox=tuple(int(each) for each in grid.block_shape_vox),
        context_vox=tuple(int(each) for each in grid.context_vox),
        sampled_blocks=rates.sampled_blocks,
    )


def write_voxels(grid: BlockGrid) -> NDArray[np.int64]:
    """Return how many voxels each block writes, in the shape of the grid."""
    sizes = []
    for axis, count in enumerate(grid.shape):
        along = np.full(count, int(grid.block_shape_vox[axis]), np.int64)
        along[-1] = int(grid.roi.shape[axis] // grid.voxel_size[axis]) - (count - 1) * along[0]
        sizes.append(along)
    found: NDArray[np.int64] = np.einsum("i,j,k->ijk", *sizes)
    return found


def read_voxels(grid: BlockGrid, block_shape_vox: Coordinate) -> int:
    """Return how many voxels a block of that shape in the midst of the region reads, context included."""
    whole = grid.roi.shape // grid.voxel_size
    axes = zip(block_shape_vox, grid.context_vox, whole, strict=True)
    return prod(min(int(size + 2 * context), int(n)) for size, context, n in axes)


def worker_memory(grid: BlockGrid, rates: Rates, block_shape_vox: Coordinate) -> int:
    """Return the peak memory (bytes) of a worker with blocks of that shape."""
    return round(rates.base_bytes + rates.bytes_per_voxel * read_voxels(grid, block_shape_vox))
