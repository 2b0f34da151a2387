"""Which voxels are worked on, and which blocks have nothing to do.

A voxel of a volume is kept if any mask voxel that it so much as touches is not 0, and a block if it holds a voxel
that is kept: whatever the voxel size of a mask, no block that is skipped leaves a hole at its border.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import lcm
from typing import TYPE_CHECKING, Protocol

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.blockwise.blocks import BlockGrid

if TYPE_CHECKING:
    from catena.arrays import Array

Ranges = tuple[NDArray[np.int64], NDArray[np.int64]]
"""First mask voxel, and the one after the last, that each of a row of intervals touches."""


class Mask(Protocol):
    """What is to be worked on, at the level of voxels and of blocks."""

    def voxels(self, roi: Roi, voxel_size: Coordinate) -> NDArray[np.bool_]:
        """Return which voxels of `roi` (world units) are kept, in its shape."""
        ...

    def blocks(self, grid: BlockGrid, margin_vox: Coordinate) -> NDArray[np.bool_]:
        """Return which blocks hold a voxel that is kept, or one `margin_vox` or less away; in the grid's shape."""
        ...


@dataclass(frozen=True)
class ArrayMask:
    """Keeps what is not 0 in an array; what lies outside the array is not kept.

    Attributes
    ----------
    array
        ``(z, y, x)`` of any voxel size, offset and dtype.
    units_per_nm
        World units in which regions are asked for; the array may have others.
    """

    array: Array
    units_per_nm: int

    def voxels(self, roi: Roi, voxel_size: Coordinate) -> NDArray[np.bool_]:
        """Return which voxels of `roi` touch a mask voxel that is not 0."""
        mask, factor = self._in_common_units()
        counts = roi.shape // voxel_size
        ranges = [
            _touched_by_voxels(mask, axis, roi.begin[axis] * factor, voxel_size[axis] * factor, int(counts[axis]))
            for axis in range(3)
        ]
        begin = Coordinate(int(low.min()) for low, _ in ranges)
        shape = Coordinate(max(0, int(high.max()) - int(low.min())) for low, high in ranges)
        if 0 in shape:
            return np.zeros(tuple(int(each) for each in counts), dtype=bool)
        values: NDArray[np.bool_] = mask.read(Roi(mask.offset + begin * mask.voxel_size, shape * mask.voxel_size)) != 0
        for axis, (low, high) in enumerate(ranges):
            values = _any_along(values, axis, (low - begin[axis], high - begin[axis]))
        return values

    def blocks(self, grid: BlockGrid, margin_vox: Coordinate) -> NDArray[np.bool_]:
        """Return which blocks, grown by the margin, touch a mask voxel that is not 0."""
        mask, factor = self._in_common_units()
        return ~skip_mask_from_array(_scaled(grid, factor), mask, margin_vox)

    def _in_common_units(self) -> tuple[Array, int]:
        """Return the array in units in which both it and what is asked for are whole, and the factor to them."""
        common = lcm(self.array.units_per_nm, self.units_per_nm)
        return self.array.in_units(common), common // self.units_per_nm


@dataclass(frozen=True)
class RoiMask:
    """Keeps the voxels inside any of several boxes (world units, on the voxel grid)."""

    rois: tuple[Roi, ...]

    def voxels(self, roi: Roi, voxel_size: Coordinate) -> NDArray[np.bool_]:
        """Return which voxels of `roi` lie in one of the boxes."""
        kept = np.zeros(tuple(int(each) for each in roi.shape // voxel_size), dtype=bool)
        for box in self.rois:
            common = box.intersect(roi)
            if not common.empty:
                begin, end = ((each - roi.begin) // voxel_size for each in (common.begin, common.end))
                kept[tuple(slice(int(a), int(b)) for a, b in zip(begin, end, strict=True))] = True
        return kept

    def blocks(self, grid: BlockGrid, margin_vox: Coordinate) -> NDArray[np.bool_]:
        """Return which blocks hold part of a box that is grown by the margin."""
        margin = margin_vox * grid.voxel_size
        kept = np.zeros(len(grid), dtype=bool)
        for box in self.rois:
            kept[grid.blocks_intersecting(box.grow(margin, margin))] = True
        return kept.reshape(grid.shape)


def kept_voxels(masks: Iterable[Mask], roi: Roi, voxel_size: Coordinate) -> NDArray[np.bool_] | None:
    """Return which voxels of `roi` all masks keep; None if there is no mask."""
    kept = [mask.voxels(roi, voxel_size) for mask in masks]
    return np.logical_and.reduce(kept) if kept else None


def skip_mask(masks: Sequence[Mask], grid: BlockGrid, margin_vox: Coordinate | None = None) -> NDArray[np.bool_] | None:
    """Return which blocks some mask keeps no voxel of; None if there is no mask.

    Parameters
    ----------
    margin_vox
        For a stage whose output others read with context: blocks this close to a voxel that is kept are not skipped.
        Default: none.
    """
    if not masks:
        return None
    margin = Coordinate((0,) * grid.roi.dims) if margin_vox is None else margin_vox
    kept: NDArray[np.bool_] = np.logical_and.reduce([mask.blocks(grid, margin) for mask in masks])
    return ~kept


def skip_mask_from_array(grid: BlockGrid, mask: Array, margin_vox: Coordinate | None = None) -> NDArray[np.bool_]:
    """Return which blocks of `grid` write nothing but background of `mask`.

    A block is kept if any mask voxel that it so much as touches is not 0: a coarse mask leaves no
    hole at its border. What lies outside the mask array is background.

    Parameters
    ----------
    grid
        The blocks.
    mask
        Array ``(z, y, x)`` of any voxel size and dtype, in the same world units.
    margin_vox
        Blocks are grown by this many voxels on either side first. Default: none.

    Returns
    -------
    NDArray[np.bool_]
        In the shape of the grid, True for blocks to skip.
    """
    ranges = [_touched_by_blocks(grid, mask, axis, 0 if margin_vox is None else margin_vox[axis]) for axis in range(3)]
    keep = np.zeros(grid.shape, dtype=bool)
    for layer, (low, high) in enumerate(zip(*ranges[0], strict=True)):
        if high > low:
            begin = Coordinate(int(low), 0, 0) * mask.voxel_size + mask.offset
            shape = Coordinate(int(high - low), *mask.shape_vox[1:]) * mask.voxel_size
            plane = (mask.read(Roi(begin, shape)) != 0).any(axis=0)
            keep[layer] = _any_inside(plane, ranges[1:])
    return ~keep


def _touched_by_voxels(mask: Array, axis: int, begin: int, size: int, count: int) -> Ranges:
    starts = begin + np.arange(count, dtype=np.int64) * size
    return _touched(mask, axis, starts, starts + size)


def _touched_by_blocks(grid: BlockGrid, mask: Array, axis: int, margin_vox: int) -> Ranges:
    margin = margin_vox * grid.voxel_size[axis]
    starts = grid.roi.begin[axis] + np.arange(grid.shape[axis], dtype=np.int64) * grid.block_shape[axis]
    ends = np.minimum(starts + grid.block_shape[axis], grid.roi.end[axis])
    return _touched(mask, axis, starts - margin, ends + margin)


def _touched(mask: Array, axis: int, starts: NDArray[np.int64], ends: NDArray[np.int64]) -> Ranges:
    """Return which mask voxels along `axis` each interval (world units) touches."""
    size, offset, limit = mask.voxel_size[axis], mask.offset[axis], mask.shape_vox[axis]
    low = np.clip((starts - offset) // size, 0, limit)
    high = np.clip(-((offset - ends) // size), 0, limit)
    return low.astype(np.int64), high.astype(np.int64)


def _any_along(values: NDArray[np.bool_], axis: int, ranges: Ranges) -> NDArray[np.bool_]:
    """Return whether any value along `axis` is set in each range; an empty range has none."""
    low, high = ranges
    before = np.zeros([n + (at == axis) for at, n in enumerate(values.shape)], dtype=np.int32)
    np.cumsum(values, axis=axis, out=before[tuple(slice(at == axis, None) for at in range(values.ndim))])
    found: NDArray[np.bool_] = before.take(np.maximum(low, high), axis=axis) > before.take(low, axis=axis)
    return found


def _any_inside(plane: NDArray[np.bool_], ranges: Sequence[Ranges]) -> NDArray[np.bool_]:
    """Return, for each pair of ranges, whether any pixel of `plane` in it is set."""
    for axis, each in enumerate(ranges):
        plane = _any_along(plane, axis, each)
    return plane


def _scaled(grid: BlockGrid, factor: int) -> BlockGrid:
    """Return the same blocks in finer world units."""
    roi = Roi(grid.roi.begin * factor, grid.roi.shape * factor)
    return BlockGrid(roi, grid.voxel_size * factor, grid.block_shape_vox, grid.context_vox)
