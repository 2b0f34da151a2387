"""Seeded watershed with one queue per level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.segmentation.compiled import kernel

LEVELS_PER_EDGE = 16
"""Distances are rounded to this fraction of the smallest voxel edge before flooding."""


def flood(
    heights: NDArray[np.int32], seeds: NDArray[np.uint32], *, in_plane: bool = False
) -> NDArray[np.uint32]:
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
    level = np.zeros(grown.shape, np.int32)
    inner = (slice(1, -1),) * 3
    grown[inner], level[inner] = seeds, heights
    dtype = np.int32 if grown.size < 2**31 else np.int64
    following = np.empty(grown.size, dtype)
    _, height, width = grown.shape
    neighbours = [-width, -1, 1, width] if in_plane else [-height * width, -width, -1, 1, width, height * width]
    _flood(level.ravel(), grown.ravel(), following, np.array(neighbours, np.int64))
    return np.ascontiguousarray(grown[inner])


@kernel
def _flood(
    level: NDArray[np.int32], grown: NDArray[np.uint32], following: NDArray[np.int32], neighbours: NDArray[np.int64]
) -> None:
    top = level.max() if level.size else 0
    first = np.full(top + 1, -1, following.dtype)
    last = np.full(top + 1, -1, following.dtype)
    for at in range(grown.size):
        if level[at] == 0:
            grown[at] = 0
        elif grown[at] and _on_rim(level, grown, at, neighbours):
            _append(first, last, following, level[at], at)
    for now in range(top, 0, -1):
        at = first[now]
        while at >= 0:
            for step in neighbours:
                other = at + step
                if level[other] > 0 and grown[other] == 0:
                    grown[other] = grown[at]
                    _append(first, last, following, min(level[other], now), other)
            at = following[at]


@kernel
def _on_rim(level: NDArray[np.int32], grown: NDArray[np.uint32], at: int, neighbours: NDArray[np.int64]) -> bool:
    for step in neighbours:
        if level[at + step] > 0 and grown[at + step] == 0:
            return True
    return False


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
