"""Tapering tubes in space: distance to a tube, and an index of the tubes near a place."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel

# Columns of a tube's row: what the inner loop needs lies together in memory. Start and axis take three each (z, y, x).
START, AXIS, INVERSE_SQUARED_LENGTH, RADIUS, TAPER, OWNER = 0, 3, 6, 7, 8, 9
EXTRAS = 10
"""First of the columns in which the caller's own numbers stand."""


class Tubes(NamedTuple):
    """Tubes and the bins that find them; a named tuple because compiled kernels take it as it is.

    Attributes
    ----------
    rows
        ``(m, 10 + extras)`` float64, one tube each, columns as above; lengths in nm.
    first, items
        Bin ``b`` holds tubes ``items[first[b]:first[b + 1]]``: all that come within the reach of any place in it.
    low, shape, bin_nm
        Lower corner of the first bin, number of bins per axis, and their edge length.
    """

    rows: NDArray[np.float64]
    first: NDArray[np.int64]
    items: NDArray[np.int64]
    low: NDArray[np.float64]
    shape: NDArray[np.int64]
    bin_nm: float


def index_tubes(
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    radius: NDArray[np.float64],
    owner: NDArray[np.int32],
    extras: NDArray[np.float64],
    low: NDArray[np.float64],
    high: NDArray[np.float64],
    reach_nm: float,
    bin_nm: float = 128.0,
) -> Tubes:
    """Sort tubes into bins that cover the box from `low` to `high`.

    Parameters
    ----------
    start, end
        ``(m, 3)`` ends of the axes, nm.
    radius
        ``(m, 2)`` at both ends, nm.
    owner, extras
        ``(m,)`` label and ``(m, k)`` further numbers of each tube, kept in its row.
    reach_nm
        A bin lists every tube whose surface is nearer than this to a place in the bin.
    """
    axis = end - start
    rows = np.column_stack(
        [start, axis, 1.0 / (np.sum(axis**2, axis=1) + 1e-9), radius[:, 0], radius[:, 1] - radius[:, 0], owner, extras]
    ).astype(np.float64)
    shape = np.maximum(np.ceil((high - low) / bin_nm).astype(np.int64), 1)
    grow = (radius.max(axis=1) + reach_nm)[:, None]
    lower = ((np.minimum(start, end) - grow - low) // bin_nm).astype(np.int64)
    upper = ((np.maximum(start, end) + grow - low) // bin_nm).astype(np.int64)
    lower, upper = np.clip(lower, 0, shape), np.clip(upper, -1, shape - 1)
    first = np.concatenate([[0], np.cumsum(_count(lower, upper, shape))])
    items = _fill(lower, upper, shape, first[:-1].copy(), int(first[-1]))
    return Tubes(np.ascontiguousarray(rows), first, items, low.copy(), shape, float(bin_nm))


@kernel
def _count(lower: NDArray[np.int64], upper: NDArray[np.int64], shape: NDArray[np.int64]) -> NDArray[np.int64]:
    counts = np.zeros(shape[0] * shape[1] * shape[2], np.int64)
    for tube in range(len(lower)):
        for z in range(lower[tube, 0], upper[tube, 0] + 1):
            for y in range(lower[tube, 1], upper[tube, 1] + 1):
                for x in range(lower[tube, 2], upper[tube, 2] + 1):
                    counts[(z * shape[1] + y) * shape[2] + x] += 1
    return counts


@kernel
def _fill(
    lower: NDArray[np.int64], upper: NDArray[np.int64], shape: NDArray[np.int64], cursor: NDArray[np.int64], total: int
) -> NDArray[np.int64]:
    items = np.empty(total, np.int64)
    for tube in range(len(lower)):
        for z in range(lower[tube, 0], upper[tube, 0] + 1):
            for y in range(lower[tube, 1], upper[tube, 1] + 1):
                for x in range(lower[tube, 2], upper[tube, 2] + 1):
                    place = (z * shape[1] + y) * shape[2] + x
                    items[cursor[place]] = tube
                    cursor[place] += 1
    return items


@kernel
def bin_at(tubes: Tubes, z: float, y: float, x: float) -> int:
    """Return the number of the bin that holds a place (the nearest one for a place outside the box)."""
    bz = min(max(int((z - tubes.low[0]) // tubes.bin_nm), 0), tubes.shape[0] - 1)
    by = min(max(int((y - tubes.low[1]) // tubes.bin_nm), 0), tubes.shape[1] - 1)
    bx = min(max(int((x - tubes.low[2]) // tubes.bin_nm), 0), tubes.shape[2] - 1)
    return int((bz * tubes.shape[1] + by) * tubes.shape[2] + bx)


@kernel
def tube_distance(rows: NDArray[np.float64], tube: int, z: float, y: float, x: float) -> tuple[float, float]:
    """Return the signed distance of a place to a tube's surface (negative inside) and its share of the axis, 0 to 1."""
    pz, py, px = z - rows[tube, START], y - rows[tube, START + 1], x - rows[tube, START + 2]
    az, ay, ax = rows[tube, AXIS], rows[tube, AXIS + 1], rows[tube, AXIS + 2]
    share = min(max((pz * az + py * ay + px * ax) * rows[tube, INVERSE_SQUARED_LENGTH], 0.0), 1.0)
    dz, dy, dx = pz - share * az, py - share * ay, px - share * ax
    return np.sqrt(dz * dz + dy * dy + dx * dx) - rows[tube, RADIUS] - share * rows[tube, TAPER], share


@kernel
def from_axis(rows: NDArray[np.float64], tube: int, z: float, y: float, x: float) -> tuple[float, float, float]:
    """Return the vector from the nearest place on a tube's axis."""
    _, share = tube_distance(rows, tube, z, y, x)
    dz = z - rows[tube, START] - share * rows[tube, AXIS]
    dy = y - rows[tube, START + 1] - share * rows[tube, AXIS + 1]
    dx = x - rows[tube, START + 2] - share * rows[tube, AXIS + 2]
    return dz, dy, dx
