"""Where raw holds anything at all."""

from __future__ import annotations

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

CELL_EDGE = 32
"""Edge of a cell, in voxels of the smallest edge."""


def cell_shape(voxel_size: Coordinate) -> Coordinate:
    """Return the shape in voxels of the cells that are told empty or not: 32 of the smallest edge, nearly cubic.

    >>> cell_shape(Coordinate(40, 4, 4))
    (3, 32, 32)
    """
    smallest = min(int(each) for each in voxel_size)
    return Coordinate(max(1, round(CELL_EDGE * smallest / int(each))) for each in voxel_size)


def cells_with_content(
    raw: NDArray[np.generic], core: tuple[slice, ...], cell_vox: Coordinate, value: float | None = None
) -> NDArray[np.bool_]:
    """Return which cells hold something, or have a neighbour that does: content is never cut at a cell's face.

    Parameters
    ----------
    raw
        ``(z, y, x)``: a block and up to one cell around it.
    core
        The block in `raw`; its first voxel begins a cell. Cells at the far border may be cut short.
    cell_vox
        Shape of a cell in voxels.
    value
        What is empty is all this value. Default: all any one value.

    Returns
    -------
    NDArray[np.bool_]
        One per cell of the block.
    """
    from scipy.ndimage import binary_dilation  # slow to import, and needed by this stage alone

    starts = [_cell_starts(each, int(size), int(n)) for each, size, n in zip(core, cell_vox, raw.shape, strict=True)]
    if value is not None:
        full = _reduce(np.logical_or, raw != value, starts).astype(bool)
    else:
        lowest = _reduce(np.minimum, raw, starts)
        # cells may each be constant and differ: then there is something at the face between them
        full = (_reduce(np.maximum, raw, starts) != lowest) | _differs_from_a_neighbour(lowest)
    near: NDArray[np.bool_] = binary_dilation(full, np.ones((3, 3, 3), bool))
    first = (int(each.start > 0) for each in core)
    counts = (-(-(each.stop - each.start) // int(size)) for each, size in zip(core, cell_vox, strict=True))
    return near[tuple(slice(low, low + n) for low, n in zip(first, counts, strict=True))]


def _cell_starts(core: slice, cell: int, size: int) -> list[int]:
    """Return where cells begin along an axis: one, perhaps cut short, before the block, and then in step with it."""
    return [*([0] if core.start > 0 else []), *range(core.start, size, cell)]


def _reduce(operation: np.ufunc, values: NDArray[np.generic], starts: list[list[int]]) -> NDArray[np.generic]:
    for axis, each in enumerate(starts):
        values = operation.reduceat(values, each, axis=axis)
    return values


def _differs_from_a_neighbour(cells: NDArray[np.generic]) -> NDArray[np.bool_]:
    differs = np.zeros(cells.shape, bool)
    for axis in range(cells.ndim):
        step = np.diff(cells, axis=axis) != 0
        for ahead in (0, 1):
            part = [slice(None)] * cells.ndim
            part[axis] = slice(ahead, cells.shape[axis] - 1 + ahead)
            differs[tuple(part)] |= step
    return differs
