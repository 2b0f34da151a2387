"""Growth of fragments into the boundary, so that every voxel near a neuron belongs to one.

Ground truth is dense, membranes included, and so is what people want to look at. A boundary voxel climbs towards the
nearest inside voxel, by the same kind of local rule on which voxels inside climb on: no block layout changes the way.
"""

from __future__ import annotations

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.compiled import kernel
from catena.segmentation.ascent import OUTSIDE, STAY
from catena.segmentation.distance import capped_squared_distance, voxel_edges


def growth_reach(voxel_size: Coordinate, grow: int, in_plane: bool) -> Coordinate:
    """Return how far away, in voxels, a voxel may be and still change where a boundary voxel goes.

    Parameters
    ----------
    voxel_size
        In world units.
    grow
        In voxels of the smallest edge.
    in_plane
        Whether every section is on its own.
    """
    edges = voxel_edges(voxel_size)
    limit = _limit(edges, grow, in_plane)
    reach = [-(-limit // edge) - 1 for edge in edges] if grow else [0, 0, 0]
    return Coordinate(0 if in_plane else reach[0], *reach[1:])


def ways_inside(
    inside: NDArray[np.uint8],
    voxel_size: Coordinate,
    grow: int,
    mask: NDArray[np.generic] | None = None,
    *,
    in_plane: bool = False,
) -> NDArray[np.uint8]:
    """Return the pointers along which boundary voxels come to the nearest inside voxel.

    Every neighbour to which one points is nearer to the inside, so that following the pointers leads there. (Next to
    masked voxels there may be no such neighbour; then a voxel stays on its own.) Of several that are equally near to
    the inside the one at the shortest step counts: beside a thin neurite a voxel must not jump over an edge into a
    thick one. Of those the upper one: the affinities of a voxel join it with its lower neighbours, so a wall one voxel
    thick stands at that voxel's lower faces, and the voxel itself belongs with those above.

    Parameters
    ----------
    inside
        (z, y, x) uint8, 0 at the boundary.
    voxel_size
        In world units.
    grow
        In voxels of the smallest edge: boundary voxels farther from the inside than this get no pointer.
    mask
        (z, y, x), optional: 0 where nothing may grow.
    in_plane
        Treat every section on its own.

    Returns
    -------
    NDArray[np.uint8]
        (z, y, x) as :func:`catena.segmentation.ascent.steepest_neighbours` returns them; those of inside voxels have no
        meaning.
    """
    edges = voxel_edges(voxel_size)
    limit = _limit(edges, grow, in_plane)
    squared = capped_squared_distance((inside == 0).astype(np.uint8), edges, limit, in_plane=in_plane)
    if mask is not None:
        squared[(mask == 0) & (inside == 0)] = limit * limit
    pointers = np.full(inside.shape, STAY, np.uint8)
    _point_to_nearest(squared, limit * limit, np.array(edges, np.int64), in_plane, pointers)
    return pointers


def spread(labels: NDArray[np.uint32], pointers: NDArray[np.uint8]) -> None:
    """Give every unlabelled voxel, in place, the label to which its pointers lead, if any.

    Parameters
    ----------
    labels
        (z, y, x), 0 where unlabelled.
    pointers
        (z, y, x) as :func:`catena.segmentation.ascent.steepest_neighbours` returns them.
    """
    _spread(labels, pointers)


def _limit(edges: tuple[int, int, int], grow: int, in_plane: bool) -> int:
    # exclusive: distances up to `grow` voxels count
    return grow * min(edges[1:] if in_plane else edges) + 1


@kernel
def _point_to_nearest(
    squared: NDArray[np.uint16], limit2: int, edges: NDArray[np.int64], in_plane: bool, pointers: NDArray[np.uint8]
) -> None:
    depth, height, width = squared.shape
    reach = 0 if in_plane else 1
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                own = np.int64(squared[z, y, x])
                if own == 0:
                    continue
                pointers[z, y, x] = OUTSIDE
                if own >= limit2:
                    continue
                nearest, shortest = own, np.int64(0)
                pointers[z, y, x] = STAY
                for dz in range(-reach, reach + 1):
                    for dy in range(-1, 2):
                        for dx in range(-1, 2):
                            a, b, c = z + dz, y + dy, x + dx
                            if a < 0 or b < 0 or c < 0 or a >= depth or b >= height or c >= width:
                                continue
                            there = np.int64(squared[a, b, c])
                            step = (dz * edges[0]) ** 2 + (dy * edges[1]) ** 2 + (dx * edges[2]) ** 2
                            # in z, y, x order, so that of equals the last one stays
                            if there < nearest or (there == nearest and there < own and step <= shortest):
                                nearest, shortest = there, step
                                pointers[z, y, x] = 9 * (dz + 1) + 3 * (dy + 1) + dx + 1


@kernel
def _spread(labels: NDArray[np.uint32], pointers: NDArray[np.uint8]) -> None:
    depth, height, width = labels.shape
    grown = labels.copy()
    for z in range(depth):
        for y in range(height):
            for x in range(width):
                a, b, c = z, y, x
                while labels[a, b, c] == 0 and pointers[a, b, c] != OUTSIDE and pointers[a, b, c] != STAY:
                    way = int(pointers[a, b, c])
                    a, b, c = a + way // 9 - 1, b + way // 3 % 3 - 1, c + way % 3 - 1
                grown[z, y, x] = labels[a, b, c]
    labels[:] = grown
