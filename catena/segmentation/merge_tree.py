"""From a history of merges to the score at which two fragments become one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel


def joining_scores(
    nodes: int,
    merged_a: NDArray[np.int64],
    merged_b: NDArray[np.int64],
    merge_score: NDArray[np.float64],
    u: NDArray[np.int64],
    v: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Return for each pair (u, v) the score below which the merges leave them apart.

    Parameters
    ----------
    nodes
        How many fragments there are; they are called 0, 1, ….
    merged_a, merged_b, merge_score
        The merges in the order in which they happened: any fragment of either side, and the score.
    u, v
        The pairs asked for.

    Returns
    -------
    NDArray[np.float64]
        The highest score up to the merge that joined them, clipped to [0, 1]: then a lower threshold never
        merges more than a higher one. 1 for pairs that were never joined; 0 for u = v.
    """
    ceiling = np.maximum.accumulate(np.clip(merge_score, 0.0, 1.0)) if merge_score.size else merge_score
    scores = np.empty(u.size, np.float64)
    _joining_scores(nodes, merged_a, merged_b, ceiling, u, v, scores)
    return scores


@kernel
def _joining_scores(
    nodes: int,
    merged_a: NDArray[np.int64],
    merged_b: NDArray[np.int64],
    ceiling: NDArray[np.float64],
    u: NDArray[np.int64],
    v: NDArray[np.int64],
    scores: NDArray[np.float64],
) -> None:
    # Union by size without path compression: ways to the root have log(n) steps, and the merges along them are in
    # order, so that the merge that joined two nodes is the last one on the way between them.
    never = merged_a.size
    parent = np.arange(nodes)
    size = np.ones(nodes, np.int64)
    joined = np.full(nodes, never, np.int64)
    for k in range(merged_a.size):
        a, b = merged_a[k], merged_b[k]
        while parent[a] != a:
            a = parent[a]
        while parent[b] != b:
            b = parent[b]
        if a == b:
            continue
        if size[a] < size[b]:
            a, b = b, a
        parent[b] = a
        size[a] += size[b]
        joined[b] = k
    for k in range(u.size):
        a, b, last = u[k], v[k], -1
        while a != b and last < never:
            if joined[a] > joined[b]:
                a, b = b, a
            last = joined[a]
            a = parent[a]
        scores[k] = 0.0 if last < 0 else (1.0 if last == never else ceiling[last])
