"""Which blocks have nothing to do."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.blockwise.blocks import BlockGrid

if TYPE_CHECKING:
    from catena.arrays import Array


def skip_mask_from_array(grid: BlockGrid, mask: Array) -> NDArray[np.bool_]:
    """Return which blocks of `grid` write nothing but background of `mask`.

    A block is kept if any mask voxel that it so much as touches is not 0: a coarse mask leaves no
    hole at its border. What lies outside the mask array is background.

    Parameters
    ----------
    grid
        The blocks.
    mask
        Array ``(z, y, x)`` of any voxel size and dtype, in the same world units.

    Returns
    -------
    NDArray[np.bool_]
        In the shape of the grid, True for blocks to skip.
    """
    lows, highs = zip(*(_mask_ranges(grid, mask, axis) for axis in range(3)), strict=True)
    keep = np.zeros(grid.shape, dtype=bool)
    for layer, (low, high) in enumerate(zip(lows[0], highs[0], strict=True)):
        if high > low:
            begin = Coordinate(int(low), 0, 0) * mask.voxel_size + mask.offset
            shape = Coordinate(int(high - low), *mask.shape_vox[1:]) * mask.voxel_size
            plane = (mask.read(Roi(begin, shape)) != 0).any(axis=0)
            keep[layer] = _any_inside(plane, lows[1:], highs[1:])
    return ~keep


def _mask_ranges(grid: BlockGrid, mask: Array, axis: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return, for each layer of blocks along `axis`, the half-open range of mask voxels that it touches."""
    starts = grid.roi.begin[axis] + np.arange(grid.shape[axis]) * grid.block_shape[axis]
    ends = np.minimum(starts + grid.block_shape[axis], grid.roi.end[axis])
    size, offset, limit = mask.voxel_size[axis], mask.offset[axis], mask.shape_vox[axis]
    low = np.clip((starts - offset) // size, 0, limit)
    high = np.clip(-((offset - ends) // size), 0, limit)
    return low.astype(np.int64), high.astype(np.int64)


def _any_inside(
    plane: NDArray[np.bool_], lows: tuple[NDArray[np.int64], ...], highs: tuple[NDArray[np.int64], ...]
) -> NDArray[np.bool_]:
    """Return, for each pair of ranges, whether any pixel of `plane` in it is set, by a summed-area table."""
    sums = np.zeros((plane.shape[0] + 1, plane.shape[1] + 1), dtype=np.int64)
    sums[1:, 1:] = plane.cumsum(axis=0).cumsum(axis=1)
    (low_y, low_x), (high_y, high_x) = lows, highs
    counts = sums[np.ix_(high_y, high_x)] - sums[np.ix_(low_y, high_x)]
    counts += sums[np.ix_(low_y, low_x)] - sums[np.ix_(high_y, low_x)]
    inside: NDArray[np.bool_] = counts > 0
    return inside
