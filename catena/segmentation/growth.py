"""Growth of fragments into the boundary, so that every voxel near a neuron belongs to one.

Ground truth is dense, membranes included, and so is what people want to look at. A boundary voxel climbs towards the
nearest inside voxel, by the same kind of local rule on which voxels inside climb on: no block layout changes the way.
"""

from __future__ import annotations

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.segmentation.ascent import OUTSIDE, STAY
from catena.segmentation.compiled import kernel
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


def raise_slopes(
    field: NDArray[np.int32],
    inside: NDArray[np.uint8],
    voxel_size: Coordinate,
    grow: int,
    mask: NDArray[np.generic] | None = None,
    *,
    in_plane: bool = False,
) -> NDArray[np.int32]:
    """Return `field` with slopes around it: boundary voxels rise towards the nearest inside voxel, and lie below all.

    Every voxel of a slope has a neighbour that is nearer to the inside, hence higher: following the steepest neighbour
    leads inside. (Next to masked voxels there may be none; such a voxel stays on its own.)

    Parameters
    ----------
    field
        (z, y, x) int32 heights, above 0 inside and 0 elsewhere.
    inside
        (z, y, x) uint8, 0 at the boundary.
    voxel_size
        In world units.
    grow
        In voxels of the smallest edge: boundary voxels farther from the inside than this stay at 0.
    mask
        (z, y, x), optional: 0 where nothing may grow.
    in_plane
        Treat every section on its own.
    """
    edges = voxel_edges(voxel_size)
    limit = _limit(edges, grow, in_plane)
    squared = capped_squared_distance((inside == 0).astype(np.uint8), edges, limit, in_plane=in_plane)
    raised = np.empty_like(field)
    allowed = np.ones(1, np.bool_) if mask is None else np.ascontiguousarray(mask != 0).ravel()
    _raise(field.ravel(), squared.ravel(), allowed, limit * limit, raised.ravel())
    return raised


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
def _raise(
    field: NDArray[np.int32],
    squared: NDArray[np.uint16],
    allowed: NDArray[np.bool_],
    limit: int,
    raised: NDArray[np.int32],
) -> None:
    everywhere = allowed.size == 1
    for at in range(field.size):
        if field[at] > 0:
            raised[at] = field[at] + limit
        elif everywhere or allowed[at]:
            raised[at] = limit - np.int64(squared[at])
        else:
            raised[at] = 0


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
