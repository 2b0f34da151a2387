"""Seeds of a watershed: the maxima of the distance to the boundary."""

from __future__ import annotations

from typing import cast

import cc3d
import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel


def maxima(
    squared: NDArray[np.uint32], window_vox: tuple[int, int, int], *, in_plane: bool = False
) -> NDArray[np.uint32]:
    """Return seeds: touching voxels that are the maximum of the window around them.

    Parameters
    ----------
    squared
        (z, y, x): squared distance to the boundary, 0 at the boundary.
    window_vox
        Width of the window along each axis; an even one reaches further down than up, as in SciPy.
    in_plane
        Find the seeds of every section on its own.

    Returns
    -------
    NDArray[np.uint32]
        (z, y, x): 0, or the number of the seed, from 1 on. Voxels touch when they share a face.
    """
    # the squares fit into 32 signed bits, in which the comparison of whole rows is fastest
    highest = squared.astype(np.int32)
    axes = (1, 2) if in_plane else (0, 1, 2)
    for axis in axes:
        if window_vox[axis] > 1:
            highest = window_maximum(highest, window_vox[axis], axis)
    peaks = (highest == squared.view(np.int32)) & (squared > 0)
    if not in_plane:
        return cast(NDArray[np.uint32], cc3d.connected_components(peaks, connectivity=6, out_dtype=np.uint32))
    seeds = np.zeros(squared.shape, np.uint32)
    count = 0
    for section, found in zip(seeds, peaks, strict=True):
        numbers, new = cc3d.connected_components(found, connectivity=4, out_dtype=np.uint32, return_N=True)
        section[:] = numbers + count * (numbers > 0)
        count += new
    return seeds


def window_maximum(values: NDArray[np.int32], width: int, axis: int) -> NDArray[np.int32]:
    """Return the maximum over ``[p - width // 2, p - width // 2 + width)`` along one axis, cut at the array's ends."""
    moved = np.ascontiguousarray(np.moveaxis(values, axis, 1))
    result = np.empty_like(moved)
    _maximum_along_rows(moved, width // 2, width - width // 2 - 1, result)
    return np.ascontiguousarray(np.moveaxis(result, 1, axis))


@kernel
def _maximum_along_rows(values: NDArray[np.int32], before: int, after: int, out: NDArray[np.int32]) -> None:
    outer, length, _ = values.shape
    for i in range(outer):
        for j in range(length):
            row = out[i, j]
            row[:] = values[i, j]
            for k in range(max(j - before, 0), min(j + after + 1, length)):
                other = values[i, k]
                for x in range(row.size):
                    row[x] = max(row[x], other[x])
