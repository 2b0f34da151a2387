"""Seeded watershed with one queue per level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.segmentation.compiled import kernel

LEVELS_PER_EDGE = 16
"""Distances are rounded to this fraction of the smallest voxel edge before flooding."""


def flood(heights: NDArray[np.int32], seeds: NDArray[np.uint32], *, in_plane: bool = False) -> NDArray[np.uint32]:
    """Grow seeds over their neighbourhood, from high ground to low; voxels of equal height in the order of arrival.

    The same basins as :func:`skimage.segmentation.watershed` on the negated heights, up to ties. A queue per level, as
    linked lists, makes every step constant in time.

    Parameters
    ----------
    heights
        (z, y, x), not negative; 0 is never flooded.
    seeds
        (z, y, x), 0 or the number of a seed.
    in_plane
        Flood every section on its own.
    """
    grown = np.zeros([n + 2 for n in heights.shape], np.uint32)
    level = np.zeros(grown.shape, np.uint16 if heights.max(initial=0) < 2**16 else np.int32)
    free = np.zeros(grown.shape, np.uint8)
    inner = (slice(1, -1),) * 3
    grown[inner], level[inner] = np.where(heights > 0, seeds, 0), heights
    free[inner] = (heights > 0) & (seeds == 0)
    following = np.empty(grown.size, np.int32 if grown.size < 2**31 else np.int64)
    _, height, width = grown.shape
    section = 1 if in_plane else height * width  # in plane, the steps along z repeat those along x
    _flood(level.ravel(), grown.ravel(), free.ravel(), following, section, width)
    return np.ascontiguousarray(grown[inner])


# Voxels come up in the order of their height, from all over the volume, so the time goes into cache misses: whether a
# neighbour is still free is asked six times per voxel, and kept apart in one byte each.
@kernel
def _flood(
    level: NDArray[np.uint16],
    grown: NDArray[np.uint32],
    free: NDArray[np.uint8],
    following: NDArray[np.int32],
    section: int,
    row: int,
) -> None:
    steps = (-section, -row, -1, 1, row, section)
    top = np.int64(level.max()) if level.size else 0
    first = np.full(top + 1, -1, following.dtype)
    last = np.full(top + 1, -1, following.dtype)
    for at in range(grown.size):
        if grown[at]:
            for step in steps:
                if free[at + step]:
                    _append(first, last, following, level[at], at)
                    break
    for now in range(top, 0, -1):
        at = int(first[now])
        while at >= 0:
            seed = grown[at]
            for step in steps:
                other = at + step
                if free[other]:
                    free[other] = 0
                    grown[other] = seed
                    _append(first, last, following, min(int(level[other]), now), other)
            at = int(following[at])


@kernel
def _append(
    first: NDArray[np.int32], last: NDArray[np.int32], following: NDArray[np.int32], level: int, at: int
) -> None:
    following[at] = -1
    if first[level] < 0:
        first[level] = at
    else:
        following[last[level]] = at
    last[level] = at
