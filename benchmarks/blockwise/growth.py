"""What a voxel costs in volumes of growing size, how much memory a worker takes, and masked blocks."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
from funlib.geometry import Coordinate, Roi

from benchmarks.blockwise.experiment import Finished, segment_blockwise, write_affinities
from benchmarks.blockwise.source import isotropic
from benchmarks.blockwise.timing import step
from benchmarks.result import Figure, show
from catena.arrays import create_array
from catena.evaluation.baseline import AFFINITY_OFFSETS
from catena.segmentation import FragmentsConfig, fragment_context

FULL_SHAPES = tuple(
    Coordinate(each)
    for each in ((256, 256, 256), (256, 512, 512), (512, 512, 512), (512, 512, 1024), (512, 1024, 1024))
)
SMOKE_SHAPES = Coordinate(48, 96, 96), Coordinate(96, 96, 96)
FULL_BLOCK, SMOKE_BLOCK = Coordinate(128, 128, 128), Coordinate(48, 48, 48)
REPEATS, SMOKE_REPEATS, SMALL_MVOX = 3, 1, 100
"""Small volumes take little more than the start-up, which varies: of some repeats the shortest counts."""

MASKED_BLOCKS, SMOKE_MASKED_BLOCKS = 47, 10
MASKED_BLOCK = Coordinate(16, 16, 16)


def measure(smoke: bool) -> dict[str, Figure]:
    """Return how cost per voxel and memory grow, and the seconds that masked blocks take."""
    source = isotropic(smoke)
    shapes, block = (SMOKE_SHAPES, SMOKE_BLOCK) if smoke else (FULL_SHAPES, FULL_BLOCK)
    repeats = SMOKE_REPEATS if smoke else REPEATS
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with step(f"affinities of {mvox(shapes[-1]):.0f} Mvoxel written"):
            path = write_affinities(folder / "all.zarr", source.affinities, source.voxel_size, shapes[-1], block // 2)
        ran: dict[Coordinate, Finished] = {}
        nothing = _segment(folder, path, Coordinate(16, 16, 16), block, repeats)
        for shape in shapes:
            ran[shape] = _segment(folder, path, shape, block, repeats)
    whole = {shape: each.seconds / mvox(shape) for shape, each in ran.items()}
    costs = {shape: (each.seconds - nothing.seconds) / mvox(shape) for shape, each in ran.items()}
    read = {shape: costs[shape] * mvox(shape) * 1e6 / voxels_read(shape, block, source.voxel_size) for shape in shapes}
    _show(ran, nothing, costs, read)
    smallest = shapes[0]
    return {
        "cost_growth_max": Figure(growth(list(whole.values())), "times", "lower"),
        "cost_growth_without_startup_max": Figure(growth(list(costs.values())), "times", "lower"),
        "cost_growth_per_voxel_read_max": Figure(growth(list(read.values())), "times", "lower"),
        "worker_memory_growth": Figure(
            max(each.peak_mb for each in ran.values()) / ran[smallest].peak_mb, "times", "lower"
        ),
        "worker_memory_mb": Figure(max(each.peak_mb for each in ran.values()), "MB", "lower"),
        "masked_blocks_seconds": Figure(masked_blocks(smoke), "s", "lower"),
    }


def growth(costs: list[float]) -> float:
    """Return the largest cost of a voxel over that in any smaller volume; `costs` are in the order of size."""
    return max(later / earlier for k, earlier in enumerate(costs) for later in costs[k:])


def mvox(shape: Coordinate) -> float:
    """Return millions of voxels."""
    return float(np.prod(shape)) / 1e6


def voxels_read(shape: Coordinate, block: Coordinate, voxel_size: Coordinate) -> int:
    """Return how many voxels the stage of fragments reads, context included, which is cut off at the volume's faces."""
    context = fragment_context(FragmentsConfig(), voxel_size)
    along = []
    for n, size, reach in zip(shape, block, context, strict=True):
        begins = range(0, int(n), int(size))
        along.append(sum(min(begin + size + reach, n) - max(begin - reach, 0) for begin in begins))
    return int(np.prod(along))


def masked_blocks(smoke: bool) -> float:
    """Return the wall time of the stage of fragments, start-up included, where all blocks but one are masked out."""
    edge = SMOKE_MASKED_BLOCKS if smoke else MASKED_BLOCKS
    voxel, shape = Coordinate(8, 8, 8), MASKED_BLOCK * edge
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        affinities, mask = folder / "a.zarr/volumes/pred_affs", folder / "a.zarr/volumes/mask"
        roi = Roi((0, 0, 0), shape * voxel)
        offsets = {"offsets": [list(each) for each in AFFINITY_OFFSETS]}
        chunk = Coordinate(64, 64, 64)
        create_array(
            affinities, roi=roi, voxel_size=voxel, dtype="uint8", channels=3, chunk_shape_vox=chunk, attributes=offsets
        )
        array = create_array(mask, roi=roi, voxel_size=voxel, dtype="uint8", chunk_shape_vox=chunk)
        array.write(Roi(roi.begin, MASKED_BLOCK * voxel), np.ones(tuple(MASKED_BLOCK), np.uint8))
        with step(f"{edge**3:,} blocks, all but one masked out"):
            ran = segment_blockwise(
                folder, "masked", affinities, MASKED_BLOCK, volume={"mask": str(mask)}, only="fragments"
            )
    return ran.seconds


def _segment(folder: Path, affinities: Path, shape: Coordinate, block: Coordinate, repeats: int) -> Finished:
    size = "x".join(str(int(each)) for each in shape)
    roi = {axis: [0, int(n)] for axis, n in zip("zyx", shape, strict=True)}
    repeats = repeats if mvox(shape) < SMALL_MVOX else 1
    with step(f"{mvox(shape):.1f} Mvoxel, {repeats} times"):
        ran = [segment_blockwise(folder, f"{size}_{k}", affinities, block, volume={"roi": roi}) for k in range(repeats)]
    return min(ran, key=lambda each: each.seconds)


def _show(
    ran: dict[Coordinate, Finished],
    nothing: Finished,
    costs: dict[Coordinate, float],
    read: dict[Coordinate, float],
) -> None:
    stages = tuple(nothing.stages)
    show(
        f"cost of a voxel; {nothing.seconds:.1f} s of start-up (a volume of one tiny block) are taken off",
        ("Mvoxel", "seconds", "s per Mvoxel", "s per Mvoxel read", *stages, "MB of a worker"),
        [
            (mvox(shape), each.seconds, costs[shape], read[shape], *each.stages.values(), each.peak_mb)
            for shape, each in ran.items()
        ],
    )
