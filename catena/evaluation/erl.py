"""Expected run length: how far one can walk along a neuron, on average, before the first error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from catena.errors import ConfigError, DataError, GeometryError
from catena.evaluation.skeletons import Skeleton


@dataclass(frozen=True)
class RunLength:
    """Expected run length and what it was measured with.

    Attributes
    ----------
    erl_nm
        Expected run length, nanometres.
    nerl
        `erl_nm` over the expected run length of a perfect segmentation, in [0, 1].
    ignored_nodes
        Up to so many nodes of a skeleton inside a segment do not make the segment a merger. It
        changes results, so it is reported with them.
    merged_segments
        Number of segments that touch two or more skeletons.
    """

    erl_nm: float
    nerl: float
    ignored_nodes: int = 0
    merged_segments: int = 0


def expected_run_length(
    skeletons: Sequence[Skeleton], node_segments: Sequence[NDArray[np.uint64]], ignored_nodes: int = 0
) -> RunLength:
    """Return the expected run length (Januszewski et al. 2018).

    ERL = Σ_k (L_k / L) Σ_s ℓ_ks² / L_k over skeletons k of length L_k and segments s, where ℓ_ks is
    the length of those edges of k that have both ends in s. Segment 0 holds nothing, and a segment
    that touches two or more skeletons holds nothing for any of them.

    Parameters
    ----------
    skeletons
        What was traced.
    node_segments
        Segment at every node ``(n,)`` of each skeleton (see
        :func:`catena.evaluation.skeletons.segments_at`).
    ignored_nodes
        A skeleton touches a segment when it has *more* than so many nodes in it.

    Raises
    ------
    GeometryError
        If the number of segments differs from the number of nodes.
    DataError
        If the skeletons have no length.
    ConfigError
        If `ignored_nodes` is negative.
    """
    _check(skeletons, node_segments, ignored_nodes)
    lengths = np.array([each.edge_lengths_nm.sum() for each in skeletons])
    total = lengths.sum()
    if not total > 0:
        raise DataError("the skeletons have no edges of any length, so there is no run to measure")
    merged = _merged_segments(node_segments, ignored_nodes)
    squares = sum(_sum_of_squared_runs(*each, merged) for each in zip(skeletons, node_segments, strict=True))
    best = float(np.sum(lengths**2))
    return RunLength(float(squares / total), float(squares / best), ignored_nodes, len(merged))


def _check(skeletons: Sequence[Skeleton], node_segments: Sequence[NDArray[np.uint64]], ignored_nodes: int) -> None:
    if ignored_nodes < 0:
        raise ConfigError(f"ignored_nodes must be 0 or more, found {ignored_nodes}")
    if len(skeletons) != len(node_segments):
        raise GeometryError(f"{len(skeletons)} skeletons but node segments for {len(node_segments)}")
    for skeleton, segments in zip(skeletons, node_segments, strict=True):
        if len(skeleton.nodes_nm) != len(segments):
            raise GeometryError(
                f"skeleton {skeleton.name!r} has {len(skeleton.nodes_nm)} nodes but {len(segments)} segments"
            )


def _merged_segments(node_segments: Sequence[NDArray[np.uint64]], ignored_nodes: int) -> NDArray[np.uint64]:
    """Return the segments with more than `ignored_nodes` nodes in each of two or more skeletons."""
    touched = [np.zeros(0, np.uint64)]
    for segments in node_segments:
        ids, nodes = np.unique(segments, return_counts=True)
        touched.append(ids[(nodes > ignored_nodes) & (ids != 0)])
    ids, skeletons = np.unique(np.concatenate(touched), return_counts=True)
    merged: NDArray[np.uint64] = ids[skeletons > 1]
    return merged


def _sum_of_squared_runs(skeleton: Skeleton, segments: NDArray[np.uint64], merged: NDArray[np.uint64]) -> float:
    ends = segments[skeleton.edges]
    held = (ends[:, 0] == ends[:, 1]) & (ends[:, 0] != 0) & ~np.isin(ends[:, 0], merged)
    _, segment = np.unique(ends[held, 0], return_inverse=True)
    runs = np.bincount(segment, weights=skeleton.edge_lengths_nm[held])
    return float(np.sum(runs**2))
