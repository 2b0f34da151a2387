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
    shape = [n + 2 for n in heights.shape]
    value = np.zeros(shape, np.uint32)
    free = np.zeros(-(-value.size // 64), np.uint64)
    todo = _lay_out(heights, seeds, value.ravel(), free)
    seeded = np.nonzero((seeds > 0) & (heights > 0))
    order = np.argsort(-heights[seeded], kind="stable")
    places = np.ravel_multi_index(tuple(axis[order] + 1 for axis in seeded), shape)
    levels = int(heights.max(initial=0)) + 1
    section = 1 if in_plane else shape[1] * shape[2]  # in plane, the steps along z repeat those along x
    steps = np.array([-section, -shape[2], -1, 1, shape[2], section])
    pages = np.empty((todo // _PAGE + levels + 1, _PAGE), np.int32 if value.size < 2**31 else np.int64)
    _flood(value.ravel(), free, places, heights[seeded][order], levels, pages, steps)
    return _flooded(value.ravel(), free, heights.shape)


# Voxels come up in the order of their height, from all over the volume, so the time goes into waiting for memory.
# A voxel has one word, its height until it is reached and its seed from then on. Whether it is free is asked six times,
# and kept apart in one bit each, few enough for the cache. A page of a queue is worked off at once: first who is free
# around all of it, without a branch, then the heights of all these, none of which has to wait for another; the order of
# arrival is that of one voxel after the other. The voxels in the queue of a level stand one behind the other, on pages
# that are given back once they are read.
@kernel
def _flood(
    value: NDArray[np.uint32],
    free: NDArray[np.uint64],
    seeded: NDArray[Any],
    seeded_heights: NDArray[np.int32],
    levels: int,
    pages: NDArray[Any],
    steps: NDArray[np.int64],
) -> None:
    carried = np.empty(pages.shape, np.uint32)  # whose the voxels on the pages are
    first, last = np.full(levels, -1, np.int64), np.full(levels, -1, np.int64)
    filled = np.zeros(levels, np.int64)
    following = np.arange(1, pages.shape[0] + 1)  # of pages: the next in its queue, or the next blank one
    at, seed = np.empty(_PAGE, np.int64), np.empty(_PAGE, np.uint32)
    # one more than there can be: what is not free is written too, and then written over
    reached, by = np.empty(6 * _PAGE + 1, np.int64), np.empty(6 * _PAGE + 1, np.uint32)
    ground = np.empty(6 * _PAGE, np.int64)
    blank, taken = 0, 0
    for now in range(levels - 1, 0, -1):
        page, place = -1, _PAGE  # seeds come before what their level's queue holds
        while True:
            count = 0
            while count < _PAGE and taken < seeded.size and seeded_heights[taken] == now:
                at[count], seed[count] = seeded[taken], value[seeded[taken]]
                count, taken = count + 1, taken + 1
            if count == 0:
                if place == _PAGE:
                    ahead = first[now] if page < 0 else following[page]
                    if page == last[now]:
                        break
                    if page >= 0:
                        following[page], blank = blank, page
                    page, place = ahead, 0
                end = filled[now] if page == last[now] else _PAGE
                if place == end:
                    break
                count = end - place
                at[:count], seed[:count] = pages[page, place:end], carried[page, place:end]
                place = end
            new = _reach(free, at, seed, count, steps, reached, by)
            for k in range(new):
                ground[k] = value[reached[k]]
                value[reached[k]] = by[k]
            for k in range(new):
                height = min(ground[k], now)
                tail = last[height]
                if tail < 0 or filled[height] == _PAGE:
                    fresh, blank = blank, following[blank]
                    if tail < 0:
                        first[height] = fresh
                    else:
                        following[tail] = fresh
                    last[height] = tail = fresh
                    filled[height] = 0
                pages[tail, filled[height]], carried[tail, filled[height]] = reached[k], by[k]
                filled[height] += 1


@kernel
def _reach(
    free: NDArray[np.uint64],
    at: NDArray[np.int64],
    seed: NDArray[np.uint32],
    count: int,
    steps: NDArray[np.int64],
    reached: NDArray[np.int64],
    by: NDArray[np.uint32],
) -> np.int64:
    """Take the free neighbours of `count` voxels, in order; return how many there are."""
    new, one = np.int64(0), np.uint64(1)
    for k in range(count):
        for step in steps:
            other = at[k] + step
            word, bit = free[other >> 6], np.uint64(other & 63)
            reached[new], by[new] = other, seed[k]
            new += np.int64((word >> bit) & one)
            free[other >> 6] = word & ~(one << bit)
    return new


@kernel
def _lay_out(
    heights: NDArray[np.int32], seeds: NDArray[np.uint32], value: NDArray[np.uint32], free: NDArray[np.uint64]
) -> int:
    """Fill `value` and `free`, which have a rim of one voxel; return how many voxels are free."""
    depth, height, width = heights.shape
    count = 0
    for z in range(depth):
        for y in range(height):
            row = ((z + 1) * (height + 2) + y + 1) * (width + 2) + 1
            for x in range(width):
                if heights[z, y, x] > 0 and seeds[z, y, x]:
                    value[row + x] = seeds[z, y, x]
                elif heights[z, y, x] > 0:
                    value[row + x] = heights[z, y, x]
                    free[(row + x) >> 6] |= np.uint64(1) << np.uint64((row + x) & 63)
                    count += 1
    return count


@kernel
def _flooded(value: NDArray[np.uint32], free: NDArray[np.uint64], shape: tuple[int, int, int]) -> NDArray[np.uint32]:
    """Return whose every voxel is, 0 where nobody came."""
    depth, height, width = shape
    out = np.empty(shape, np.uint32)
    for z in range(depth):
        for y in range(height):
            row = ((z + 1) * (height + 2) + y + 1) * (width + 2) + 1
            for x in range(width):
                unreached = (free[(row + x) >> 6] >> np.uint64((row + x) & 63)) & np.uint64(1)
                out[z, y, x] = 0 if unreached else value[row + x]
    return out
