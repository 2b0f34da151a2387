"""Distance to the boundary, squared, in exact integers.

Distances are measured in units of the greatest common divisor of the voxel's edges, so that their squares are whole
numbers and every block computes the same ones.
"""

from __future__ import annotations

from math import gcd
from typing import cast

import edt
import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.compiled import kernel
from catena.errors import GeometryError

Box = tuple[slice, slice, slice]
LARGEST_SQUARE = 2**24
"""Squares stay below this value: what float32, in which `edt` computes, holds exactly."""


def voxel_edges(voxel_size: Coordinate) -> tuple[int, int, int]:
    """Return the edges of a voxel as the smallest whole numbers of the same ratio.

    >>> voxel_edges(Coordinate(40, 4, 4))
    (10, 1, 1)

    Raises
    ------
    GeometryError
        If an edge is not positive, or there are not three.
    """
    if len(voxel_size) != 3 or min(voxel_size) <= 0:
        raise GeometryError(f"a voxel size has three positive edges (z, y, x), found {tuple(voxel_size)}")
    divisor = gcd(*(int(edge) for edge in voxel_size))
    z, y, x = (int(edge) // divisor for edge in voxel_size)
    return z, y, x


def capped_squared_distance(
    inside: NDArray[np.uint8],
    edges: tuple[int, int, int],
    cap: int,
    *,
    in_plane: bool = False,
    part: Box | None = None,
) -> NDArray[np.uint16] | NDArray[np.uint32]:
    """Return min(d, cap)² where d is the distance to the nearest voxel that is not inside.

    What lies outside the array is not boundary. A value depends only on voxels nearer than `cap`, hence it is the same
    in every block that has so much context.

    Parameters
    ----------
    inside
        (z, y, x) uint8, 0 at the boundary.
    edges
        Edges of a voxel, whole numbers (:func:`voxel_edges`).
    cap
        In the units of `edges`.
    in_plane
        Measure in every section on its own.
    part
        Where values are wanted, and returned; default everywhere. What lies around it still counts.

    Raises
    ------
    GeometryError
        If the cap is too large for exact squares.
    """
    if cap * cap >= LARGEST_SQUARE:
        raise GeometryError(f"a distance cap of {cap} units of a voxel with edges {edges} is too large (4095 at most)")
    # twice the square must fit: pairs of squares are added before they are compared
    dtype = np.uint16 if 2 * cap * cap < 2**16 else np.uint32
    if part is not None:
        inside, part = _no_farther_than(cap, edges, inside, part)
    bounds = [each.indices(n)[:2] for each, n in zip(part or (slice(None),) * 3, inside.shape, strict=True)]
    (z, depth), (y, height), (x, width) = ((begin, end - begin) for begin, end in bounds)
    along_x = np.empty((*inside.shape[:2], width), dtype)
    if in_plane:
        inside, along_x = inside[z : z + depth], along_x[z : z + depth]
    _nearest_along_x(inside, along_x, x, edges[2], cap)
    along_y = np.empty((along_x.shape[0], height, width), dtype)
    _combine_along_y(along_x, along_y, y, edges[1] ** 2, cap * cap)
    if in_plane:
        return along_y
    along_z = np.empty((depth, height, width), dtype)
    _combine_along_z(along_y, along_z, z, edges[0] ** 2, cap * cap)
    return along_z


def _no_farther_than(
    cap: int, edges: tuple[int, int, int], inside: NDArray[np.uint8], part: Box
) -> tuple[NDArray[np.uint8], Box]:
    """Leave away what is farther than the cap from the part; return the rest, and where the part lies in it."""
    reach = [-(-cap // edge) for edge in edges]
    begins = [max(each.start - r, 0) for each, r in zip(part, reach, strict=True)]
    z, y, x = (slice(b, each.stop + r) for b, each, r in zip(begins, part, reach, strict=True))
    moved = [slice(each.start - b, each.stop - b) for b, each in zip(begins, part, strict=True)]
    return inside[z, y, x], (moved[0], moved[1], moved[2])


def squared_distance(
    inside: NDArray[np.uint8], edges: tuple[int, int, int], *, in_plane: bool = False
) -> NDArray[np.uint32]:
    """Return the squared distance to the nearest voxel that is not inside, however far, in the units of `edges`.

    Where there is no boundary at all, the distance is that to a boundary just outside the largest possible array.

    Raises
    ------
    GeometryError
        If squares across the array would not be exact.
    """
    extents = [n * edge for n, edge in zip(inside.shape, edges, strict=True)]
    largest = sum(extent**2 for extent in (extents[1:] if in_plane else extents))
    if largest >= LARGEST_SQUARE:
        raise GeometryError(
            f"a block of {inside.shape} voxels with edges {edges} is too large for exact distances; use smaller blocks"
            " or method 'basins'"
        )
    if in_plane:
        sections = [edt.edtsq(section, anisotropy=edges[1:], parallel=1) for section in inside]
        squared = np.stack(sections) if sections else np.zeros(inside.shape, np.float32)
    else:
        squared = edt.edtsq(inside, anisotropy=edges, parallel=1)
    return cast(NDArray[np.uint32], np.minimum(squared, largest).astype(np.uint32))


@kernel
def _nearest_along_x(inside: NDArray[np.uint8], squared: NDArray[np.uint16], begin: int, edge: int, cap: int) -> None:
    depth, height, width = inside.shape
    end = begin + squared.shape[2]
    upward = np.empty(width, squared.dtype)
    for z in range(depth):
        for y in range(height):
            row = inside[z, y]
            out = squared[z, y]
            near = cap
            for x in range(end):
                near = min(near + edge, cap) if row[x] else 0
                upward[x] = near
            near = cap
            for x in range(width - 1, end - 1, -1):
                near = min(near + edge, cap) if row[x] else 0
            for x in range(end - 1, begin - 1, -1):
                near = min(near + edge, cap) if row[x] else 0
                nearest: int = min(near, upward[x])
                out[x - begin] = nearest * nearest


# Brute force over the few rows within the cap: whole rows at once are as fast as the processor's vectors are wide,
# which beats the lower envelope of parabolas for caps of this size.
@kernel
def _combine_along_y(source: NDArray[np.uint16], target: NDArray[np.uint16], begin: int, edge2: int, cap2: int) -> None:
    depth, height, _ = source.shape
    for z in range(depth):
        for y in range(begin, begin + target.shape[1]):
            out = target[z, y - begin]
            out[:] = source[z, y]
            step = 1
            while step * step * edge2 < cap2:
                below, above = source[z, max(y - step, 0)], source[z, min(y + step, height - 1)]
                _lower(out, below, above, source.dtype.type(step * step * edge2))
                step += 1


@kernel
def _combine_along_z(source: NDArray[np.uint16], target: NDArray[np.uint16], begin: int, edge2: int, cap2: int) -> None:
    depth, height, _ = source.shape
    for y in range(height):
        for z in range(begin, begin + target.shape[0]):
            out = target[z - begin, y]
            out[:] = source[z, y]
            step = 1
            while step * step * edge2 < cap2:
                below, above = source[max(z - step, 0), y], source[min(z + step, depth - 1), y]
                _lower(out, below, above, source.dtype.type(step * step * edge2))
                step += 1


@kernel
def _lower(
    out: NDArray[np.uint16], below: NDArray[np.uint16], above: NDArray[np.uint16], added: np.unsignedinteger
) -> None:
    # the cast keeps the sum in the row's own type: numba would widen it and halve the speed
    for x in range(out.size):
        out[x] = min(out[x], out.dtype.type(min(below[x], above[x]) + added))
