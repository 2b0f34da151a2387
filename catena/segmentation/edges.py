"""Additive statistics of the contacts between fragments: the edges of the region adjacency graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.compiled import kernel
from catena.errors import GeometryError
from catena.segmentation.boundary import quantise, short_range_channels
from catena.segmentation.edge_table import find_row, rebuilt

Box = tuple[slice, slice, slice]


@dataclass(frozen=True)
class EdgeStatistics:
    """Edges of the region adjacency graph, ordered by (u, v), each once.

    Attributes
    ----------
    u, v
        (n,) uint64 fragment ids, u < v.
    contact
        (n,) int64: how many voxel faces the two fragments share.
    affinity_sum
        (n,) int64: sum of the uint8 affinities on these faces.
    histogram
        (n, bins) uint32: how many of them fall into each of `bins` equal parts of [0, 255]; (n, 0) if not wanted.
    """

    u: NDArray[np.uint64]
    v: NDArray[np.uint64]
    contact: NDArray[np.int64]
    affinity_sum: NDArray[np.int64]
    histogram: NDArray[np.uint32]

    def __len__(self) -> int:
        return int(self.u.size)

    @classmethod
    def concatenate(cls, parts: Sequence[EdgeStatistics]) -> EdgeStatistics:
        """Return the edges of several blocks as one; no edge may be in two of them, and blocks own theirs alone.

        Raises
        ------
        GeometryError
            If there is no part, or if the parts have histograms of different bins.
        """
        if len({part.histogram.shape[1] for part in parts}) != 1:
            raise GeometryError(f"{len(parts)} parts with different histograms (or none) cannot be one graph")
        joined = [
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("u", "v", "contact", "affinity_sum", "histogram")
        ]
        order = np.lexsort((joined[1], joined[0]))
        return cls(*(each[order] for each in joined))


def edge_statistics(
    affinities: NDArray[np.generic],
    affinity_offsets: Sequence[Coordinate],
    fragments: NDArray[np.uint64],
    *,
    core: Box | None = None,
    bins: int = 64,
) -> EdgeStatistics:
    """Gather every contact of two fragments that this block owns.

    The face between voxel q and the next higher one along an axis belongs to the block that holds q. Where the face
    crosses into another block, that one comes later in the row-major order, so its fragment has the higher id: an edge
    (u, v), u < v, is written by the block that owns u, and by no other, and every face is counted once. The next
    higher voxel may lie one voxel beyond the core; below the core no context is read.

    Parameters
    ----------
    affinities
        (c, z, y, x) uint8, or floating point in [0, 1].
    affinity_offsets
        Offset of every channel in voxels; only the short-range ones are used. Where no offset leads out of its section
        (a 2D model), there are no edges between sections.
    fragments
        (z, y, x) uint64 of the same voxels: the core and one voxel of context above it, cut off where the volume ends.
        Context below the core is allowed.
    core
        Where the core lies in the arrays; default everything.
    bins
        Bins of the histogram; 0 for none.

    Raises
    ------
    GeometryError
        If shapes do not fit together or a short-range offset is missing.
    DataError
        If the affinities are of another dtype or range.
    """
    affinities = quantise(affinities)
    if fragments.shape != affinities.shape[1:]:
        raise GeometryError(f"fragments have shape {fragments.shape}, affinities {affinities.shape[1:]} (z, y, x)")
    if not 0 <= bins <= 256:
        raise GeometryError(f"a histogram of uint8 values has 1 to 256 bins (0 for none), not {bins}")
    short = short_range_channels(affinity_offsets, affinities.shape[0])
    channels = np.array([-1 if short.z is None else short.z, *short.in_plane], np.int64)
    bounds = [(0, n) if core is None else core[axis].indices(n)[:2] for axis, n in enumerate(fragments.shape)]
    columns = _gather(
        affinities, channels, np.ascontiguousarray(fragments, np.uint64), np.array(bounds, np.int64), bins
    )
    u, v, contact, affinity_sum, histogram = columns
    order = np.lexsort((v, u))
    return EdgeStatistics(u[order], v[order], contact[order], affinity_sum[order], histogram[order])


@kernel
def _gather(
    affinities: NDArray[np.uint8],
    channels: NDArray[np.int64],
    fragments: NDArray[np.uint64],
    bounds: NDArray[np.int64],
    bins: int,
) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64], NDArray[np.uint32]]:
    us, vs = np.empty(512, np.uint64), np.empty(512, np.uint64)
    contact, total = np.zeros(512, np.int64), np.zeros(512, np.int64)
    histogram = np.zeros((512, bins), np.uint32)
    slots = np.full(1024, -1, np.int64)
    rows = 0
    for axis in range(3):
        dz, dy, dx = np.int64(axis == 0), np.int64(axis == 1), np.int64(axis == 2)
        if channels[axis] < 0:
            continue
        channel = affinities[channels[axis]]
        row = -1
        for z in range(bounds[0, 0], min(bounds[0, 1], fragments.shape[0] - dz)):
            for y in range(bounds[1, 0], min(bounds[1, 1], fragments.shape[1] - dy)):
                lower, upper, values = fragments[z, y], fragments[z + dz, y + dy], channel[z + dz, y + dy]
                for x in range(bounds[2, 0], min(bounds[2, 1], fragments.shape[2] - dx)):
                    a, b = lower[x], upper[x + dx]
                    if a == b or a == 0 or b == 0:
                        continue
                    u, v = min(a, b), max(a, b)
                    if row < 0 or us[row] != u or vs[row] != v:  # the same contact often goes on along x
                        slot = find_row(slots, us, vs, u, v)
                        row = slots[slot]
                        if row < 0:
                            if rows == us.size:
                                us, vs = _grown(us), _grown(vs)
                                contact, total = _grown(contact), _grown(total)
                                wider = np.zeros((2 * rows, bins), np.uint32)
                                wider[:rows] = histogram
                                histogram = wider
                                slots = rebuilt(2 * slots.size, us, vs, rows)
                                slot = find_row(slots, us, vs, u, v)
                            row = rows
                            us[row], vs[row] = u, v
                            slots[slot] = row
                            rows += 1
                    value = np.int64(values[x + dx])
                    contact[row] += 1
                    total[row] += value
                    if bins:
                        histogram[row, value * bins >> 8] += np.uint32(1)
    return us[:rows], vs[:rows], contact[:rows], total[:rows], histogram[:rows]


@kernel
def _grown(column: NDArray[Any]) -> NDArray[Any]:
    larger = np.zeros(2 * column.size, column.dtype)
    larger[: column.size] = column
    return larger
