"""The graph as no block layout shows: forced edges contracted, nodes and edges in the order of position."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel
from catena.errors import DataError
from catena.segmentation.ascent import STAY
from catena.segmentation.edges import EdgeStatistics
from catena.segmentation.graph_index import check_ascending, rows_of
from catena.segmentation.union_find import flatten, unite_pairs


@dataclass(frozen=True)
class ContractedGraph:
    """Whole fragments and the contacts between them.

    Attributes
    ----------
    nodes
        How many whole fragments there are. They are numbered by the position of their roots.
    a, b
        (m,) int64, a < b: the ends of each edge; edges are ordered by (a, b), each once.
    contact, affinity_sum, histogram
        Sums of the statistics of the edges between the pieces.
    edge_of
        (n,) int64: in which of these edges each edge between pieces went, -1 where both pieces are of one fragment.
    """

    nodes: int
    a: NDArray[np.int64]
    b: NDArray[np.int64]
    contact: NDArray[np.int64]
    affinity_sum: NDArray[np.int64]
    histogram: NDArray[np.uint32] | NDArray[np.uint64]
    edge_of: NDArray[np.int64]


def contract(
    ids: NDArray[np.uint64],
    positions: NDArray[np.int64],
    pointers: NDArray[np.int8],
    statistics: EdgeStatistics,
    forced: NDArray[np.uint64],
) -> ContractedGraph:
    """Join the pieces of each fragment and add up what they share with others.

    Parameters
    ----------
    ids
        (n,) uint64 pieces, ascending.
    positions
        (n, 3) position in the volume, in voxels, of each piece's root.
    pointers
        (n,) 13 for the piece in which the fragment's tree ends (:class:`catena.segmentation.fragments.Fragments`). The
        root of this piece stands for the fragment: it is the one that no block layout changes.
    statistics
        Edges between pieces.
    forced
        (m, 2) uint64 pairs of pieces that are one fragment.

    Raises
    ------
    DataError
        If ids are not ascending, columns differ in length, or an edge names an unknown fragment.
    """
    _check(ids, positions, pointers)
    whole = _whole_fragments(ids, forced)
    number, nodes = _number_by_position(whole, positions, pointers)
    u = number[rows_of(ids, statistics.u, "edges")]
    v = number[rows_of(ids, statistics.v, "edges")]
    low, high = np.minimum(u, v), np.maximum(u, v)
    key = low * nodes + high
    key[low == high] = -1
    order = np.argsort(key, kind="stable")
    order = order[np.searchsorted(key, 0, sorter=order) :]
    ordered = key[order]
    starts = np.ones(ordered.size, bool)
    starts[1:] = ordered[1:] != ordered[:-1]
    edge_of = np.full(key.size, -1, np.int64)
    edge_of[order] = np.cumsum(starts) - 1
    first = order[starts]
    contact, affinity_sum = np.zeros(first.size, np.int64), np.zeros(first.size, np.int64)
    wide = int(statistics.contact.sum()) >= 2**32  # else no sum of contacts can overflow 32 bits
    histogram = np.zeros((first.size, statistics.histogram.shape[1]), np.uint64 if wide else np.uint32)
    added = statistics.contact, statistics.affinity_sum, statistics.histogram
    _add_up(edge_of, *added, contact, affinity_sum, histogram)
    return ContractedGraph(nodes, low[first], high[first], contact, affinity_sum, histogram, edge_of)


def _check(ids: NDArray[np.uint64], positions: NDArray[np.int64], pointers: NDArray[np.int8]) -> None:
    check_ascending(ids)
    if positions.shape != (ids.size, 3) or pointers.shape != ids.shape:
        raise DataError(
            f"{ids.size} fragments need positions of shape ({ids.size}, 3) and as many pointers, found"
            f" {positions.shape} and {pointers.shape}"
        )


def _whole_fragments(ids: NDArray[np.uint64], forced: NDArray[np.uint64]) -> NDArray[np.int64]:
    """Return for each piece the row of the first piece of its fragment."""
    parent = np.arange(ids.size)
    if forced.size:
        rows = rows_of(ids, forced.reshape(-1, 2), "forced edges")
        unite_pairs(parent, np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1]))
    flatten(parent)
    return parent


def _number_by_position(
    whole: NDArray[np.int64], positions: NDArray[np.int64], pointers: NDArray[np.int8]
) -> tuple[NDArray[np.int64], int]:
    """Return for each piece the number of its fragment, in the order of the positions of the trees' ends."""
    # per fragment: the piece in which the tree ends; where there is none (the rest was masked out), the first root
    z, y, x = positions.T
    order = np.lexsort((x, y, z, pointers != STAY, whole))
    starts = np.ones(order.size, bool)
    starts[1:] = whole[order[1:]] != whole[order[:-1]]
    chosen = order[starts]
    ranked = chosen[np.lexsort((x[chosen], y[chosen], z[chosen]))]
    number = np.empty(whole.size, np.int64)
    number[whole[ranked]] = np.arange(ranked.size)
    return number[whole], int(ranked.size)


@kernel
def _add_up(
    edge_of: NDArray[np.int64],
    contact: NDArray[np.int64],
    affinity: NDArray[np.int64],
    histogram: NDArray[np.uint32],
    contact_sum: NDArray[np.int64],
    affinity_sum: NDArray[np.int64],
    histogram_sum: NDArray[np.uint32],
) -> None:
    for k in range(edge_of.size):
        edge = edge_of[k]
        if edge >= 0:
            contact_sum[edge] += contact[k]
            affinity_sum[edge] += affinity[k]
            for part in range(histogram.shape[1]):
                histogram_sum[edge, part] += histogram[k, part]
