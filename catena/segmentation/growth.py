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
from catena.segmentation.distance import Box, capped_squared_distance, voxel_edges


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
    part: Box | None = None,
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
    part
        Where pointers are wanted, and returned; default everywhere. What lies around it still counts, but nothing
        beyond it is pointed to.

    Returns
    -------
    NDArray[np.uint8]
        (z, y, x) as :func:`catena.segmentation.ascent.steepest_neighbours` returns them; those of inside voxels have no
        meaning.
    """
    edges = voxel_edges(voxel_size)
    limit = _limit(edges, grow, in_plane)
    squared = capped_squared_distance((inside == 0).astype(np.uint8), edges, limit, in_plane=in_plane, part=part)
    if mask is not None:
        barred = (mask == 0) & (inside == 0)
        squared[barred if part is None else barred[part]] = limit * limit
    pointers = np.empty(squared.shape, np.uint8)
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


# What decides between two neighbours is (distance to the inside, length of the step, order), and it is a sum over the
# axes but for the distance: so the least key is found along one axis after the other, in rows that compile to vector
# instructions. A voxel's own key stands for a step of no length: it wins where no neighbour is nearer.
@kernel
def _point_to_nearest(
    squared: NDArray[np.uint16], limit2: int, edges: NDArray[np.int64], in_plane: bool, pointers: NDArray[np.uint8]
) -> None:
    depth, height, width = squared.shape
    step = edges * edges * 27
    scale = np.int64(27) * (edges[0] ** 2 + edges[1] ** 2 + edges[2] ** 2 + 1)
    along_z = np.empty((height, width), np.int64)
    along_y = np.empty(width, np.int64)
    for z in range(depth):
        for y in range(height):
            _key(squared[z, y], scale, along_z[y])
            if not in_plane and z > 0:
                _lower_key(squared[z - 1, y], scale, step[0] + 9, along_z[y])
            if not in_plane and z < depth - 1:
                _lower_key(squared[z + 1, y], scale, step[0] - 9, along_z[y])
        for y in range(height):
            along_y[:] = along_z[y]
            if y > 0:
                _lower_to(along_z[y - 1], step[1] + 3, along_y)
            if y < height - 1:
                _lower_to(along_z[y + 1], step[1] - 3, along_y)
            _point_along_x(along_y, squared[z, y], step[2], limit2, pointers[z, y])


@kernel
def _key(distances: NDArray[np.uint16], scale: int, out: NDArray[np.int64]) -> None:
    for x in range(out.size):
        out[x] = np.int64(distances[x]) * scale + 13


@kernel
def _lower_key(distances: NDArray[np.uint16], scale: int, step: int, out: NDArray[np.int64]) -> None:
    for x in range(out.size):
        out[x] = min(out[x], np.int64(distances[x]) * scale + 13 + step)


@kernel
def _lower_to(keys: NDArray[np.int64], step: int, out: NDArray[np.int64]) -> None:
    for x in range(out.size):
        out[x] = min(out[x], keys[x] + step)


@kernel
def _point_along_x(
    keys: NDArray[np.int64], distances: NDArray[np.uint16], step: int, limit2: int, pointers: NDArray[np.uint8]
) -> None:
    last = keys.size - 1
    for x in range(keys.size):
        best = keys[x]
        if x > 0:
            best = min(best, keys[x - 1] + step + 1)
        if x < last:
            best = min(best, keys[x + 1] + step - 1)
        own = np.int64(distances[x])
        # the digits count down while the pointer's count up: of equals the last one wins
        way = 26 - best % 27
        pointers[x] = np.uint8(13) if own == 0 else (np.uint8(27) if own >= limit2 else np.uint8(way))


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
