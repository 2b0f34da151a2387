"""The field on which voxels climb from the boundary into the middle of a neurite, and the way they take.

All of it is local and in whole numbers: a voxel's value and its way depend only on voxels within a fixed reach, so that
every block that has this much context computes the very same ones.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.compiled import kernel
from catena.segmentation.distance import Box, capped_squared_distance, voxel_edges

STAY = 13
"""The pointer of a voxel that has no higher neighbour; others are 9·(dz+1) + 3·(dy+1) + (dx+1)."""

OUTSIDE = 27
"""The pointer of a voxel that is not inside a neuron."""

SUBVOXEL = 16
"""Distances are rounded to this fraction of the smallest voxel edge."""

SMOOTHING_REACH = 2
"""Reach in voxels of the smoothing filter 1 4 6 4 1, which is a Gaussian of sigma 1."""

LATTICE = 16
"""Where the distance is flat, voxels climb towards the nearest node of a lattice of this period (voxels)."""

_LATTICE_LEVELS = 3 * (LATTICE // 2) + 1


def smoothed_axes(edges: tuple[int, int, int], in_plane: bool) -> tuple[bool, bool, bool]:
    """Return along which axes the distance is smoothed: those on which voxels are not much thicker than on others."""
    thin = 2 * min(edges[1:] if in_plane else edges)
    return edges[0] <= thin and not in_plane, edges[1] <= thin, edges[2] <= thin


def field_reach(voxel_size: Coordinate, distance_cap: int, in_plane: bool) -> Coordinate:
    """Return how far away, in voxels, a voxel may be and still change another one's value.

    Parameters
    ----------
    voxel_size
        In world units.
    distance_cap
        In voxels of the smallest edge.
    in_plane
        Whether every section is on its own.
    """
    edges = voxel_edges(voxel_size)
    cap = _cap_units(edges, distance_cap, in_plane)
    smoothing = [SMOOTHING_REACH * each for each in smoothed_axes(edges, in_plane)]
    # a voxel at the cap or beyond changes nothing: the last that counts is nearer
    reach = [-(-cap // edge) - 1 + smooth for edge, smooth in zip(edges, smoothing, strict=True)]
    return Coordinate(0 if in_plane else reach[0], *reach[1:])


def ascent_field(
    inside: NDArray[np.uint8],
    voxel_size: Coordinate,
    distance_cap: int,
    origin_vox: Coordinate,
    *,
    in_plane: bool = False,
    part: Box | None = None,
) -> NDArray[np.int32]:
    """Return the height of every voxel: its capped distance to the boundary, lightly smoothed; 0 at the boundary.

    Equal heights are told apart, as far as possible, by the distance to the nearest node of a lattice fixed in the
    volume, so that the flat middle of a large body drains towards a few points instead of in parallel lines.

    Parameters
    ----------
    inside
        (z, y, x) uint8, 0 at the boundary. The array's faces count as faces of the volume: values within
        :func:`field_reach` of a face inside the volume are not those of the volume.
    voxel_size
        In world units.
    distance_cap
        In voxels of the smallest edge.
    origin_vox
        Position in the volume of the array's first voxel.
    in_plane
        Treat every section on its own.
    part
        Where heights are wanted, and returned; default everywhere. Its faces count as the array's do for the
        smoothing, so that it needs :data:`SMOOTHING_REACH` more on every side that is not the array's own face.
    """
    edges = voxel_edges(voxel_size)
    cap = _cap_units(edges, distance_cap, in_plane)
    squared = capped_squared_distance(inside, edges, cap, in_plane=in_plane, part=part)
    if part is not None:
        inside = inside[part]
        origin_vox = origin_vox + Coordinate(each.start for each in part)
    smallest = min(edges[1:] if in_plane else edges)
    squares = np.arange(cap**2 + 1, dtype=np.float64)
    heights = np.rint(np.sqrt(squares) * SUBVOXEL / smallest).astype(np.int32)
    field = np.empty(inside.shape, np.int32)
    lattice = [_lattice_heights(n, begin) for n, begin in zip(inside.shape, origin_vox, strict=True)]
    if in_plane:
        lattice[0][:] = 0
    _smooth_and_lift(squared, heights, inside, np.array(smoothed_axes(edges, in_plane)), *lattice, field)
    return field


def steepest_neighbours(field: NDArray[np.int32], *, in_plane: bool = False) -> NDArray[np.uint8]:
    """Return for every voxel which of its 26 neighbours (8 in plane) is the highest, itself included.

    Of equally high ones the first in z, y, x order counts. Heights and this order together are a strict order of all
    voxels, so that following the pointers never leads in a circle.

    Parameters
    ----------
    field
        (z, y, x) int32, 0 outside neurites, below 2³¹ / 27.

    Returns
    -------
    NDArray[np.uint8]
        (z, y, x): 0 to 26 (:data:`STAY` at a local maximum), or :data:`OUTSIDE`.
    """
    pointers = np.empty(field.shape, np.uint8)
    _point_to_steepest(np.ascontiguousarray(field), in_plane, pointers)
    return pointers


def _cap_units(edges: tuple[int, int, int], distance_cap: int, in_plane: bool) -> int:
    return distance_cap * min(edges[1:] if in_plane else edges)


def _lattice_heights(length: int, begin: int) -> NDArray[np.int32]:
    phase = (np.arange(length) + begin) % LATTICE
    return cast(NDArray[np.int32], (LATTICE // 2 - np.minimum(phase, LATTICE - phase)).astype(np.int32))


@kernel
def _smooth_and_lift(
    squared: NDArray[np.uint16],
    heights: NDArray[np.int32],
    inside: NDArray[np.uint8],
    smoothed: NDArray[np.bool_],
    lattice_z: NDArray[np.int32],
    lattice_y: NDArray[np.int32],
    lattice_x: NDArray[np.int32],
    field: NDArray[np.int32],
) -> None:
    depth, height, width = inside.shape
    planes = np.empty((5, height, width), np.int32)  # the last five sections, smoothed in plane
    plane = np.empty((height, width), np.int32)
    row = np.empty(width, np.int32)
    reach = 2 if smoothed[0] else 0
    for z in range(depth + reach):
        if z < depth:
            for y in range(height):
                for x in range(width):
                    row[x] = heights[squared[z, y, x]]
                if smoothed[2]:
                    _smooth_row(row, plane[y])
                else:
                    plane[y] = row
            _smooth_rows(plane, smoothed[1], planes[z % 5])
        done = z - reach
        if done < 0:
            continue
        for y in range(height):
            if smoothed[0]:
                _binomial(
                    planes[max(done - 2, 0) % 5, y],
                    planes[max(done - 1, 0) % 5, y],
                    planes[done % 5, y],
                    planes[min(done + 1, depth - 1) % 5, y],
                    planes[min(done + 2, depth - 1) % 5, y],
                    row,
                )
            else:
                row[:] = planes[done % 5, y]
            _lift(row, inside[done, y], np.int32(lattice_z[done] + lattice_y[y]), lattice_x, field[done, y])


@kernel
def _smooth_rows(plane: NDArray[np.int32], smoothed: bool, out: NDArray[np.int32]) -> None:
    if not smoothed:
        out[:] = plane
        return
    last = plane.shape[0] - 1
    for y in range(plane.shape[0]):
        _binomial(
            plane[max(y - 2, 0)],
            plane[max(y - 1, 0)],
            plane[y],
            plane[min(y + 1, last)],
            plane[min(y + 2, last)],
            out[y],
        )


# The casts keep the arithmetic in 32 bits: numba would widen it to 64 and halve the speed.
@kernel
def _binomial(
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    c: NDArray[np.int32],
    d: NDArray[np.int32],
    e: NDArray[np.int32],
    out: NDArray[np.int32],
) -> None:
    for x in range(out.size):
        out[x] = np.int32(a[x] + e[x] + 4 * (b[x] + d[x]) + 6 * c[x])


@kernel
def _smooth_row(row: NDArray[np.int32], out: NDArray[np.int32]) -> None:
    last = row.size - 1
    for x in range(2, last - 1):
        out[x] = np.int32(row[x - 2] + row[x + 2] + 4 * (row[x - 1] + row[x + 1]) + 6 * row[x])
    for x in range(row.size):
        if x < 2 or x > last - 2:  # beyond the face of the volume the value at the face goes on
            outer = row[max(x - 2, 0)] + row[min(x + 2, last)]
            out[x] = outer + 4 * (row[max(x - 1, 0)] + row[min(x + 1, last)]) + 6 * row[x]


@kernel
def _lift(
    row: NDArray[np.int32],
    inside: NDArray[np.uint8],
    bump: np.int32,
    lattice_x: NDArray[np.int32],
    out: NDArray[np.int32],
) -> None:
    for x in range(out.size):
        value = np.int32(row[x] * np.int32(_LATTICE_LEVELS) + bump + lattice_x[x] + 1)
        out[x] = np.int32(value * np.int32(inside[x] != 0))


@kernel
def _point_to_steepest(field: NDArray[np.int32], in_plane: bool, pointers: NDArray[np.uint8]) -> None:
    # The order of a voxel's neighbours is folded into the height, one axis at a time: with digits 2, 1, 0 for the
    # lower, the same and the upper neighbour, the largest key is that of the highest, of equals of the first.
    depth, height, width = field.shape
    along_z = np.empty((height, width), np.int32)
    along_y = np.empty(width, np.int32)
    for z in range(depth):
        for y in range(height):
            _key(field[z, y], np.int32(1), along_z[y])
            if not in_plane and z > 0:
                _raise_key(field[z - 1, y], np.int32(2), along_z[y])
            if not in_plane and z < depth - 1:
                _raise_key(field[z + 1, y], np.int32(0), along_z[y])
        for y in range(height):
            _key(along_z[y], np.int32(1), along_y)
            if y > 0:
                _raise_key(along_z[y - 1], np.int32(2), along_y)
            if y < height - 1:
                _raise_key(along_z[y + 1], np.int32(0), along_y)
            _point_along_x(along_y, field[z, y], pointers[z, y])


@kernel
def _key(values: NDArray[np.int32], digit: np.int32, out: NDArray[np.int32]) -> None:
    for x in range(out.size):
        out[x] = np.int32(values[x] * np.int32(3) + digit)


@kernel
def _raise_key(values: NDArray[np.int32], digit: np.int32, out: NDArray[np.int32]) -> None:
    for x in range(out.size):
        out[x] = max(out[x], np.int32(values[x] * np.int32(3) + digit))


@kernel
def _point_along_x(keys: NDArray[np.int32], field: NDArray[np.int32], pointers: NDArray[np.uint8]) -> None:
    last = keys.size - 1
    for x in range(keys.size):
        best = np.int32(keys[x] * np.int32(3) + np.int32(1))
        if x > 0:
            best = max(best, np.int32(keys[x - 1] * np.int32(3) + np.int32(2)))
        if x < last:
            best = max(best, np.int32(keys[x + 1] * np.int32(3)))
        # the digits count down from 2 while the pointer's count up from 0
        pointers[x] = np.uint8(26 - np.uint32(best) % np.uint32(27)) if field[x] > 0 else np.uint8(27)
