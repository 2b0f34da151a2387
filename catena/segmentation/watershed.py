"""Seeded watershed with one queue per level."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel

LEVELS_PER_EDGE = 16
"""Distances are rounded to this fraction of the smallest voxel edge before flooding."""

_PAGE = 64


def flood(heights: NDArray[np.int32], seeds: NDArray[np.uint32], *, in_plane: bool = False) -> NDArray[np.uint32]:
    """Grow seeds over their neighbourhood, from high ground to low; voxels of equal height in the order of arrival.

    The same basins as :func:`skimage.segmentation.watershed` on the negated heights, up to ties. A queue per level
    makes every step constant in time.

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
    seeded = np.flatnonzero(grown)
    seeded = seeded[np.argsort(-level.ravel()[seeded].astype(np.int32), kind="stable")]
    _, height, width = grown.shape
    section = 1 if in_plane else height * width  # in plane, the steps along z repeat those along x
    levels = int(heights.max(initial=0)) + 1
    index = np.int32 if grown.size < 2**31 else np.int64
    pages = np.empty((int(np.count_nonzero(free)) // _PAGE + levels + 1, _PAGE), index)
    _flood(level.ravel(), grown.ravel(), free.ravel(), seeded, levels, pages, section, width)
    return np.ascontiguousarray(grown[inner])


# Voxels come up in the order of their height, from all over the volume, so the time goes into cache misses: whether a
# neighbour is still free is asked six times per voxel, and kept apart in one byte each; the voxels in the queue of a
# level stand one behind the other, on pages that are given back once they are read. (No function is called in the
# innermost loop: handing it the arrays would cost more than the work.)
@kernel
def _flood(
    level: NDArray[Any],
    grown: NDArray[np.uint32],
    free: NDArray[np.uint8],
    seeded: NDArray[Any],
    levels: int,
    pages: NDArray[Any],
    section: int,
    row: int,
) -> None:
    first, last = np.full(levels, -1, np.int64), np.full(levels, -1, np.int64)
    filled = np.zeros(levels, np.int64)
    following = np.arange(1, pages.shape[0] + 1)  # of pages: the next in its queue, or the next blank one
    blank, taken = 0, 0
    for now in range(levels - 1, 0, -1):
        page, place = -1, _PAGE  # seeds come before what their level's queue holds
        while True:
            if taken < seeded.size and level[seeded[taken]] == now:
                at = seeded[taken]
                taken += 1
            else:
                if place == _PAGE:
                    ahead = first[now] if page < 0 else following[page]
                    if page == last[now]:
                        break
                    if page >= 0:
                        following[page], blank = blank, page
                    page, place = ahead, 0
                if page == last[now] and place == filled[now]:
                    break
                at = pages[page, place]
                place += 1
            seed = grown[at]
            for other in (at - section, at - row, at - 1, at + 1, at + row, at + section):
                if free[other]:
                    free[other] = 0
                    grown[other] = seed
                    height = level[other] if level[other] < now else now
                    tail = last[height]
                    if tail < 0 or filled[height] == _PAGE:
                        fresh, blank = blank, following[blank]
                        if tail < 0:
                            first[height] = fresh
                        else:
                            following[tail] = fresh
                        last[height] = tail = fresh
                        filled[height] = 0
                    pages[tail, filled[height]] = other
                    filled[height] += 1
