"""Lookup tables from fragments to segments, for many thresholds in one pass."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from catena.compiled import kernel
from catena.errors import ConfigError, DataError
from catena.segmentation.graph_index import check_ascending, rows_of
from catena.segmentation.union_find import flatten, unite_pairs


def lookup_tables(
    ids: NDArray[np.uint64],
    u: NDArray[np.uint64],
    v: NDArray[np.uint64],
    merge_score: NDArray[np.floating],
    forced: NDArray[np.uint64] | None,
    thresholds: Sequence[float],
) -> NDArray[np.uint64]:
    """Return the segment of every fragment at every threshold.

    Parameters
    ----------
    ids
        (n,) uint64 fragments, ascending.
    u, v, merge_score
        Edges; one is merged at threshold t if ``merge_score < t``.
    forced
        (m, 2) uint64 pairs that are merged at every threshold, or None.
    thresholds
        In any order.

    Returns
    -------
    NDArray[np.uint64]
        (len(thresholds), n): the smallest fragment id of the segment.

    Raises
    ------
    ConfigError
        If a threshold is not a number.
    DataError
        If ids are not ascending, columns differ in length, a score is not a number, or an edge names an unknown
        fragment.
    """
    tables = np.empty((len(thresholds), ids.size), np.uint64)
    order = np.argsort(np.asarray(thresholds, np.float64), kind="stable")
    ascending = [thresholds[k] for k in order]
    for k, segments in zip(order, iterate_lookup_tables(ids, u, v, merge_score, forced, ascending), strict=True):
        tables[k] = segments
    return tables


def iterate_lookup_tables(
    ids: NDArray[np.uint64],
    u: NDArray[np.uint64],
    v: NDArray[np.uint64],
    merge_score: NDArray[np.floating],
    forced: NDArray[np.uint64] | None,
    thresholds: Sequence[float],
) -> Iterator[NDArray[np.uint64]]:
    """Yield the table of one ascending threshold after the other, so that only one is held in memory.

    Edges are sorted once into the thresholds at which they merge, and one union-find grows over them. Parameters and
    errors are those of :func:`lookup_tables`.

    Raises
    ------
    ConfigError
        Also if the thresholds are not ascending.
    """
    levels = np.asarray(thresholds, np.float64)
    if np.isnan(levels).any() or (levels[1:] < levels[:-1]).any():
        raise ConfigError(f"thresholds must be numbers in ascending order, found {list(thresholds)}")
    check_ascending(ids)
    if not u.shape == v.shape == merge_score.shape:
        raise DataError(f"edges need as many u as v and scores, found {u.shape}, {v.shape} and {merge_score.shape}")
    if np.isnan(merge_score).any():
        raise DataError(f"{np.isnan(merge_score).sum()} of {merge_score.size} merge scores are not numbers")
    index = np.int32 if ids.size < 2**31 else np.int64
    a, b, ends = _by_threshold(ids, u, v, merge_score, levels, index)
    parent = np.arange(ids.size, dtype=index)
    if forced is not None and forced.size:
        rows = rows_of(ids, forced.reshape(-1, 2), "forced edges").astype(index)
        unite_pairs(parent, np.ascontiguousarray(rows[:, 0]), np.ascontiguousarray(rows[:, 1]))
    for k in range(levels.size):
        unite_pairs(parent, a[ends[k] : ends[k + 1]], b[ends[k] : ends[k + 1]])
        flatten(parent)
        yield ids[parent]


def _by_threshold(
    ids: NDArray[np.uint64],
    u: NDArray[np.uint64],
    v: NDArray[np.uint64],
    merge_score: NDArray[np.floating],
    levels: NDArray[np.float64],
    index: type[np.signedinteger],
) -> tuple[NDArray[np.signedinteger], NDArray[np.signedinteger], NDArray[np.int64]]:
    """Return the rows of the edges' ends in the order of the first threshold above their score, and where each ends."""
    bucket = np.searchsorted(levels, merge_score, side="right").astype(np.uint32)
    counts = np.bincount(bucket, minlength=levels.size + 1)
    ends = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    a, b = np.empty(u.size, index), np.empty(u.size, index)
    rows_u, rows_v = rows_of(ids, u, "edges").astype(index), rows_of(ids, v, "edges").astype(index)
    _into_buckets(bucket, ends[:-1].copy(), rows_u, rows_v, a, b)
    return a, b, ends


@kernel
def _into_buckets(
    bucket: NDArray[np.uint32],
    place: NDArray[np.int64],
    rows_u: NDArray[np.int32],
    rows_v: NDArray[np.int32],
    a: NDArray[np.int32],
    b: NDArray[np.int32],
) -> None:
    for k in range(bucket.size):
        at = place[bucket[k]]
        a[at], b[at] = rows_u[k], rows_v[k]
        place[bucket[k]] = at + 1
