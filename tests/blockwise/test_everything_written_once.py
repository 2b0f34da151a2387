"""Whatever the volume, the blocks, the context and the masks: every voxel to be worked on is written exactly once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import zarr
from funlib.geometry import Coordinate, Roi
from hypothesis import given, settings
from hypothesis import strategies as st

from catena.arrays import Array, create_array, open_array
from catena.blockwise import BlockGrid, ExecutionConfig, WorkerSpec, run_blockwise
from catena.blockwise.masks import ArrayMask, Mask, RoiMask, kept_voxels, skip_mask

AROUND = Coordinate(2, 2, 2)  # voxels around the region, where nothing may be written


def in_memory(values: np.ndarray, voxel_size: Coordinate, offset: Coordinate, chunks: Any = True) -> Array:
    return Array("memory", zarr.array(values, chunks=chunks), voxel_size, offset)


def triples(draw: st.DrawFn, least: int, most: int) -> Coordinate:
    return Coordinate(draw(st.tuples(*[st.integers(least, most)] * 3)))


@st.composite
def volumes(draw: st.DrawFn) -> tuple[BlockGrid, list[Mask]]:
    """A region anywhere, blocks and context of any shape, and no mask, an array of any voxel size, boxes, or both."""
    voxel = triples(draw, 1, 3)
    roi = Roi(triples(draw, -4, 4) * voxel, triples(draw, 1, 9) * voxel)
    grid = BlockGrid(roi, voxel, triples(draw, 1, 5), triples(draw, 0, 3))
    masks: list[Mask] = []
    if draw(st.booleans()):
        share = draw(st.sampled_from([0.05, 0.3, 1.0]))
        values = np.random.default_rng(draw(st.integers(0, 99))).random(tuple(triples(draw, 1, 4))) < share
        offset = roi.begin + triples(draw, -6, 12)
        masks.append(ArrayMask(in_memory(values.astype(np.uint8), triples(draw, 1, 7), offset), 1))
    if draw(st.booleans()):
        boxes = [Roi(roi.begin + triples(draw, -2, 8) * voxel, triples(draw, 1, 6) * voxel) for _ in range(2)]
        masks.append(RoiMask(tuple(boxes)))
    return grid, masks


def wanted(grid: BlockGrid, masks: list[Mask]) -> np.ndarray:
    """Return 1 for every voxel to be written and 0 elsewhere: those that touch what each mask has, one by one."""
    inside = np.ones(tuple(grid.roi.shape // grid.voxel_size), np.uint8)
    for mask in masks:
        touched = np.zeros_like(inside)
        for part in parts(mask):
            common = part.intersect(grid.roi)
            if not common.empty:
                begin = (common.begin - grid.roi.begin) // grid.voxel_size
                end = -((grid.roi.begin - common.end) // grid.voxel_size)
                touched[tuple(slice(int(a), int(b)) for a, b in zip(begin, end, strict=True))] = 1
        inside *= touched
    return np.pad(inside, AROUND[0])


def parts(mask: Mask) -> list[Roi]:
    """Return the boxes of a mask, or the voxels that are not 0."""
    if isinstance(mask, RoiMask):
        return list(mask.rois)
    assert isinstance(mask, ArrayMask)
    array = mask.array
    places = np.argwhere(array.read())
    return [Roi(array.offset + Coordinate(each.tolist()) * array.voxel_size, array.voxel_size) for each in places]


@settings(deadline=None, max_examples=60)
@given(volumes())
def test_every_voxel_once(volume: tuple[BlockGrid, list[Mask]]) -> None:
    grid, masks = volume
    begin = grid.roi.begin - AROUND * grid.voxel_size
    shape = tuple(int(each) for each in grid.roi.shape // grid.voxel_size + AROUND * 2)
    counts = in_memory(np.zeros(shape, np.uint8), grid.voxel_size, begin, chunks=(1, 1, 1))
    skip = skip_mask(masks, grid)
    for block in grid:
        if skip is not None and skip[tuple(block.position)]:
            continue
        kept = kept_voxels(masks, block.read_roi, grid.voxel_size)
        once = np.ones(tuple(block.write_shape_vox), np.uint8) if kept is None else kept[block.core]
        counts.write(block.write_roi, counts.read(block.write_roi) + once)
    np.testing.assert_array_equal(counts.read(), wanted(grid, masks))


def test_every_voxel_once_by_workers(entries: Path, tmp_path: Path) -> None:
    voxel = Coordinate(4, 2, 2)
    grid = BlockGrid(Roi((8, -6, 0), (44, 42, 38)), voxel, Coordinate(3, 5, 4), Coordinate(1, 2, 0))
    options = {"voxel_size": voxel, "dtype": np.uint8, "chunk_shape_vox": grid.block_shape_vox}
    target = create_array(tmp_path / "v.zarr/counts", roi=grid.roi, **options)
    coarse = Coordinate(10, 14, 6)
    mask = create_array(tmp_path / "v.zarr/mask", roi=Roi((0, 0, 0), coarse * 4), **{**options, "voxel_size": coarse})
    mask.write(mask.roi, np.random.default_rng(0).integers(0, 5, (4, 4, 4), np.uint8) // 4)
    masks: list[Mask] = [ArrayMask(open_array(mask.path), 1)]
    skip = skip_mask(masks, grid)
    assert skip is not None
    assert 0 < skip.sum() < skip.size
    worker = WorkerSpec("blockwise_entries:count", {"target": target.path, "mask": mask.path})
    report = run_blockwise("count", grid, worker, tmp_path / "stage", ExecutionConfig(workers=2), skip=skip)
    assert (report.skipped, report.done) == (skip.sum(), (~skip).sum())
    np.testing.assert_array_equal(target.read(), wanted(grid, masks)[2:-2, 2:-2, 2:-2])
