"""What speaks against a plan, and which block shapes would fit."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from pathlib import Path

from funlib.geometry import Coordinate

from catena.blockwise.blocks import BlockGrid
from catena.blockwise.execution import ExecutionConfig
from catena.planning.estimate import StageEstimate, read_voxels, worker_memory
from catena.planning.rates import Rates

WASTEFUL = 4.0
"""Voxels read for each one written, from which on a block shape is called wasteful."""
_EDGES = tuple(sorted({2**k for k in range(3, 11)} | {3 * 2**k for k in range(2, 9)}))
"""Edges of proposed blocks, voxels: all have chunks of 32 to 64 voxels, or are one themselves."""


@dataclass(frozen=True)
class Planned:
    """A stage's estimate with what it was made from."""

    estimate: StageEstimate
    grid: BlockGrid
    rates: Rates
    execution: ExecutionConfig
    memory_limit: float
    """Bytes that one worker may take."""

    @property
    def fits(self) -> bool:
        """Whether a worker has the memory it needs."""
        return self.estimate.memory_bytes <= self.memory_limit or not self.estimate.blocks

    @property
    def overhead(self) -> float:
        """Voxels read for each one written, by a block in the midst of the region."""
        return _overhead(self.grid, self.grid.block_shape_vox)


def machine_memory_bytes() -> int:
    """Return the memory that processes here may take: the machine's, or less where the control group says so."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = Path("/sys/fs/cgroup/memory.max")
    text = limit.read_text().strip() if limit.exists() else "max"
    return memory if text == "max" else min(memory, int(text))


def free_disk_bytes(folder: Path) -> int:
    """Return the free space where `folder` is or will be."""
    existing = next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())
    return shutil.disk_usage(existing).free


def worker_memory_limit(execution: ExecutionConfig, workers: int, machine_bytes: int) -> float:
    """Return the bytes that one of several workers may take: as asked of the cluster, or a share of this machine."""
    if execution.memory_gb is not None:
        return execution.memory_gb * 2**30
    return machine_bytes / workers if execution.launcher == "local" else float("inf")


def memory_problem(planned: Planned) -> str | None:
    """Return why a stage's workers do not fit into memory; None if they do."""
    if planned.fits:
        return None
    estimate = planned.estimate
    shape = " x ".join(str(each) for each in estimate.block_shape_vox)
    have = f"{planned.memory_limit / 1e9:.2f} GB each"
    return (
        f"{estimate.label}: {estimate.workers} worker(s) with blocks of {shape} voxels need about "
        f"{estimate.memory_bytes / 1e9:.2f} GB each, and may take {have}"
    )


def waste_warning(planned: Planned) -> str | None:
    """Return why a stage's blocks are wastefully small; None if they are not, or are all there is."""
    if planned.overhead <= WASTEFUL or planned.estimate.blocks <= 1:
        return None
    estimate = planned.estimate
    shape, context = (" x ".join(str(n) for n in each) for each in (estimate.block_shape_vox, estimate.context_vox))
    return (
        f"{estimate.label}: blocks of {shape} voxels with {context} of context read {planned.overhead:.1f} voxels for "
        "each one they write"
    )


def disk_problem(estimates: Iterable[StageEstimate], free_bytes: int) -> str | None:
    """Return why the outputs do not fit on the disk; None if they do."""
    needed = sum(each.bytes for each in estimates)
    if needed <= free_bytes:
        return None
    return f"the outputs take about {needed / 1e9:.2f} GB, and {free_bytes / 1e9:.2f} GB are free where they go"


def proposals(stages: Sequence[Planned]) -> list[str]:
    """Return settings of block shapes (``key=value``) for stages that do not fit or are wasteful."""
    found = []
    for setting in dict.fromkeys(each.rates.block_shape_setting for each in stages):
        sharing = [each for each in stages if each.rates.block_shape_setting == setting and each.estimate.blocks]
        troubled = [each for each in sharing if not each.fits or waste_warning(each)]
        shape = propose_block_shape(sharing) if setting and troubled else None
        if shape is not None:
            found.append(f"{setting}=[{', '.join(str(int(n)) for n in shape)}]")
    return found


def propose_block_shape(stages: Sequence[Planned]) -> Coordinate | None:
    """Return the block shape with the least to read in vain that fits all stages that share it; None if none does.

    Edges are powers of two and half as much again. A shape that would leave workers without a block is not taken
    while another fits.
    """
    whole = [max(int(each.grid.roi.shape[axis] // each.grid.voxel_size[axis]) for each in stages) for axis in range(3)]
    choices = [[each for each in _EDGES if each <= n] or [n] for n in whole]
    fitting = [shape for shape in map(Coordinate, product(*choices)) if all(_fits(each, shape) for each in stages)]
    busy = [shape for shape in fitting if all(_blocks(each.grid, shape) >= each.estimate.workers for each in stages)]
    now = stages[0].grid.block_shape_vox
    candidates = [shape for shape in busy or fitting if shape != now]
    return min(candidates, key=lambda shape: _rank(stages, shape), default=None)


def _rank(stages: Sequence[Planned], shape: Coordinate) -> tuple[float, int, int]:
    reading = max(_overhead(each.grid, shape) for each in stages)
    longest = max(int(n * size) for n, size in zip(shape, stages[0].grid.voxel_size, strict=True))
    return round(reading, 2), -prod(int(n) for n in shape), longest


def _fits(stage: Planned, shape: Coordinate) -> bool:
    return worker_memory(stage.grid, stage.rates, shape) <= stage.memory_limit


def _overhead(grid: BlockGrid, shape: Coordinate) -> float:
    whole = grid.roi.shape // grid.voxel_size
    return read_voxels(grid, shape) / prod(min(int(n), int(most)) for n, most in zip(shape, whole, strict=True))


def _blocks(grid: BlockGrid, shape: Coordinate) -> int:
    return prod(-(-int(n) // int(size)) for n, size in zip(grid.roi.shape // grid.voxel_size, shape, strict=True))
