"""A binary heap of edges, cheapest first, for kernels; equal scores in the order of the edges' numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel


@kernel
def pop(scores: NDArray[np.float64], edges: NDArray[np.int64], size: int) -> None:
    """Take the first entry off the heap of `size` entries: it goes to the place ``size - 1``."""
    last = size - 1
    top_score, top_edge = scores[0], edges[0]
    score, edge = scores[last], edges[last]
    hole = 0
    while 2 * hole + 1 < last:
        child = 2 * hole + 1
        right = child + 1
        if right < last and (
            scores[right] < scores[child] or (scores[right] == scores[child] and edges[right] < edges[child])
        ):
            child = right
        if score < scores[child] or (score == scores[child] and edge < edges[child]):
            break
        scores[hole], edges[hole] = scores[child], edges[child]
        hole = child
    scores[hole], edges[hole] = score, edge
    scores[last], edges[last] = top_score, top_edge


@kernel
def push(scores: NDArray[np.float64], edges: NDArray[np.int64], size: int, score: float, edge: int) -> None:
    """Add an entry to the heap of `size` entries; there must be room for one more."""
    hole = size
    while hole > 0:
        above = (hole - 1) // 2
        if scores[above] < score or (scores[above] == score and edges[above] < edge):
            break
        scores[hole], edges[hole] = scores[above], edges[above]
        hole = above
    scores[hole], edges[hole] = score, edge
