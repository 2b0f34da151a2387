"""Hierarchical agglomeration of the whole region adjacency graph, independent of the block layout."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel
from catena.errors import DataError
from catena.segmentation.config import parse_merge_function
from catena.segmentation.contraction import ContractedGraph, contract
from catena.segmentation.edge_queue import pop, push
from catena.segmentation.edges import EdgeStatistics
from catena.segmentation.merge_tree import joining_scores
from catena.segmentation.pair_table import pair_key, pair_slot
from catena.segmentation.union_find import find

_DEAD, _CURRENT, _STALE = 0, 1, 2
_MEAN = -1


def agglomerate_graph(
    ids: NDArray[np.uint64],
    positions: NDArray[np.int64],
    pointers: NDArray[np.int8],
    statistics: EdgeStatistics,
    forced: NDArray[np.uint64],
    merge_function: str,
) -> NDArray[np.float64]:
    """Return for every edge the score at which its two ends become one segment.

    The pieces that block faces cut are joined first. Then always the contact with the lowest score is merged, and the
    statistics of contacts that become one are added up. Everything that decides is a whole number or the quotient of
    two, and ties are settled by the positions of the fragments' roots: the result is the same for every block layout,
    to the last merge.

    Exactly: contacts are numbered in the order of the positions of the two fragments' roots (the one that lies first in
    z, y, x before the other), and stand in a queue by score, equal scores by number. Contacts that become one take the
    foremost of their places; when its turn comes, the contact is scored anew and queued with that score and the same
    number. So among equal scores a contact of merged regions goes by the number of a contact that it came from.

    Parameters
    ----------
    ids, positions, pointers
        The pieces: (n,) uint64 ascending; (n, 3) root positions in the volume, in voxels; (n,) 13 where a tree ends.
    statistics
        Edges between pieces, with a histogram for the quantile functions.
    forced
        (m, 2) uint64 pieces that are one fragment (:func:`catena.segmentation.forced.forced_edges`).
    merge_function
        ``mean``: 1 − mean affinity. ``hist_quant_Q``: 1 − Q-th percentile of the affinities, by histogram.
        ``hist_quant_Q_initmax``: the same, but every contact of two whole fragments counts once, with its maximum.

    Returns
    -------
    NDArray[np.float64]
        (len(statistics),) in [0, 1]. Two fragments are in one segment at threshold t if and only if a path of edges
        with scores below t (or forced ones) joins them. 0 between pieces of one fragment.

    Raises
    ------
    ConfigError
        If there is no such merge function.
    DataError
        If ids are not ascending, an edge names an unknown fragment, or a histogram is needed and absent.
    """
    quantile, initialise_with_maximum = parse_merge_function(merge_function)
    if quantile is not None and statistics.histogram.shape[1] == 0:
        raise DataError(f"{merge_function} needs edges with a histogram; these have none (bins=0)")
    graph = contract(ids, positions, pointers, statistics, forced)
    if initialise_with_maximum:
        _keep_maximum(graph.contact, graph.histogram)
    merged_a, merged_b, merge_score = _merge_all(graph, _MEAN if quantile is None else quantile)
    joined = joining_scores(graph.nodes, merged_a, merged_b, merge_score, graph.a, graph.b)
    scores = np.zeros(len(statistics), np.float64)
    between = graph.edge_of >= 0
    scores[between] = joined[graph.edge_of[between]]
    return scores


def _merge_all(
    graph: ContractedGraph, quantile: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Merge until nothing is left to merge; return the merges in their order. Consumes the graph's statistics."""
    edges = graph.a.size
    index = np.int32 if 2 * edges < 2**31 and graph.nodes < 2**31 else np.int64
    scores = np.empty(edges, np.float64)
    _score_all(graph.contact, graph.affinity_sum, graph.histogram, quantile, scores)
    queue = np.argsort(scores, kind="stable").astype(index)  # what is sorted is a heap
    merges = max(graph.nodes - 1, 0)
    merged = np.empty(merges, np.int64), np.empty(merges, np.int64), np.empty(merges, np.float64)
    count = _agglomerate(
        graph.nodes,
        graph.a.astype(index),
        graph.b.astype(index),
        (graph.contact, graph.affinity_sum, graph.histogram),
        quantile,
        scores,
        queue,
        scores[queue],
        merged,
    )
    return merged[0][:count], merged[1][:count], merged[2][:count]


@kernel
def _keep_maximum(contact: NDArray[np.int64], histogram: NDArray[np.uint32]) -> None:
    for edge in range(contact.size):
        contact[edge] = 1
        top = histogram.shape[1] - 1
        while histogram[edge, top] == 0:
            top -= 1
        histogram[edge] = 0
        histogram[edge, top] = 1


@kernel
def _score(
    edge: int,
    contact: NDArray[np.int64],
    affinity_sum: NDArray[np.int64],
    histogram: NDArray[np.uint32],
    quantile: int,
) -> float:
    if quantile == _MEAN:
        return float(1.0 - affinity_sum[edge] / (255.0 * contact[edge]))
    # the pivot and the middle of its bin, as in waterz
    pivot = quantile * contact[edge] // 100 + 1
    counts = histogram[edge]
    seen = np.int64(0)
    part = -1
    while seen < pivot:
        part += 1
        seen += np.int64(counts[part])
    return float(1.0 - (part + 0.5) / counts.size)


@kernel
def _score_all(
    contact: NDArray[np.int64],
    affinity_sum: NDArray[np.int64],
    histogram: NDArray[np.uint32],
    quantile: int,
    scores: NDArray[np.float64],
) -> None:
    for edge in range(scores.size):
        scores[edge] = _score(edge, contact, affinity_sum, histogram, quantile)


# A contact's score always lies between those of the contacts it came from. So of two contacts that become one, the
# entry of the cheaper one stays in the queue, is marked as stale, and gets its true score once it comes up: no more
# than one entry per edge, and no score is computed in vain.
@kernel
def _agglomerate(
    nodes: int,
    a: NDArray[np.int32],
    b: NDArray[np.int32],
    statistics: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint32]],
    quantile: int,
    scores: NDArray[np.float64],
    queue: NDArray[np.int32],
    queue_scores: NDArray[np.float64],
    merged: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]],
) -> int:
    edges = a.size
    contact, affinity_sum, histogram = statistics
    state = np.full(edges, _CURRENT, np.uint8)
    parent = np.arange(nodes).astype(a.dtype)
    first, last, following, degree = _incidence(nodes, a, b)
    keys, values, used = _hashed(nodes, a, b, state, parent)
    size, merges = edges, 0
    while size:
        pop(queue_scores, queue, size)
        size -= 1
        edge, score = queue[size], queue_scores[size]
        if state[edge] == _DEAD:
            continue
        if state[edge] == _STALE:
            state[edge] = _CURRENT
            scores[edge] = _score(edge, contact, affinity_sum, histogram, quantile)
            push(queue_scores, queue, size, scores[edge], edge)
            size += 1
            continue
        if score >= 1.0:  # never below a threshold
            break
        big, small = find(parent, a[edge]), find(parent, b[edge])
        merged[0][merges], merged[1][merges], merged[2][merges] = big, small, score
        merges += 1
        if degree[big] < degree[small]:
            big, small = small, big
        state[edge] = _DEAD
        degree[big] -= 1
        if used + degree[small] > keys.size // 4 * 3:
            keys, values, used = _hashed(nodes, a, b, state, parent)
        half = first[small]
        while half >= 0:
            after = following[half]
            moved = half >> 1
            if state[moved] != _DEAD:
                other = find(parent, a[moved] if half & 1 else b[moved])
                slot = pair_slot(keys, pair_key(nodes, big, other))
                rival = values[slot] if keys[slot] >= 0 else moved
                keeps = moved
                if rival == moved:
                    keys[slot] = pair_key(nodes, big, other)
                    used += 1
                    degree[big] += 1
                else:
                    degree[other] -= 1
                    if scores[rival] < scores[moved] or (scores[rival] == scores[moved] and rival < moved):
                        keeps = rival
                    _fold(moved + rival - keeps, keeps, contact, affinity_sum, histogram)
                    state[moved + rival - keeps] = _DEAD
                    state[keeps] = _STALE
                values[slot] = keeps
                if keeps == moved:
                    _append(first, last, following, big, half)
            half = after
        parent[small] = big
    return merges


@kernel
def _fold(
    source: int, target: int, contact: NDArray[np.int64], affinity_sum: NDArray[np.int64], histogram: NDArray[np.uint32]
) -> None:
    contact[target] += contact[source]
    affinity_sum[target] += affinity_sum[source]
    for part in range(histogram.shape[1]):
        histogram[target, part] += histogram[source, part]


@kernel
def _incidence(
    nodes: int, a: NDArray[np.int32], b: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int32], NDArray[np.int32]]:
    """Return linked lists of each node's half-edges (2·edge at its end a, 2·edge + 1 at b) and the nodes' degrees."""
    first = np.full(nodes, -1, a.dtype)
    last = np.full(nodes, -1, a.dtype)
    following = np.full(2 * a.size, -1, a.dtype)
    degree = np.zeros(nodes, a.dtype)
    for edge in range(a.size):
        _append(first, last, following, a[edge], 2 * edge)
        _append(first, last, following, b[edge], 2 * edge + 1)
        degree[a[edge]] += 1
        degree[b[edge]] += 1
    return first, last, following, degree


@kernel
def _append(
    first: NDArray[np.int32], last: NDArray[np.int32], following: NDArray[np.int32], node: int, half: int
) -> None:
    following[half] = -1
    if first[node] < 0:
        first[node] = half
    else:
        following[last[node]] = half
    last[node] = half


@kernel
def _hashed(
    nodes: int, a: NDArray[np.int32], b: NDArray[np.int32], state: NDArray[np.uint8], parent: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32], int]:
    """Return a table from pairs of regions to the edge between them, for the edges that live.

    Keys that name a region which no longer exists are never asked for again: they only fill the table, and go when it
    is made anew.
    """
    living = 0
    for edge in range(a.size):
        living += state[edge] != _DEAD
    size = 64
    while size < 2 * living:
        size *= 2
    keys = np.full(size, -1, np.int64)
    values = np.empty(size, a.dtype)
    for edge in range(a.size):
        if state[edge] != _DEAD:
            slot = pair_slot(keys, pair_key(nodes, find(parent, a[edge]), find(parent, b[edge])))
            keys[slot] = pair_key(nodes, find(parent, a[edge]), find(parent, b[edge]))
            values[slot] = edge
    return keys, values, living
