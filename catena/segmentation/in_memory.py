"""From affinities to a segmentation, in memory: the whole volume as one block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.errors import ConfigError
from catena.segmentation.boundary import quantise
from catena.segmentation.config import AgglomerateConfig, FragmentsConfig
from catena.segmentation.edges import EdgeStatistics, edge_statistics
from catena.segmentation.fragments import Fragments, extract_fragments
from catena.segmentation.graph_agglomeration import agglomerate_graph
from catena.segmentation.lookup import lookup_tables
from catena.segmentation.relabelling import relabel

THRESHOLDS = tuple(k / 50 for k in range(51))
"""The thresholds for which lookup tables are made by default: 0 to 1 by 0.02."""


@dataclass(frozen=True)
class Segmentation:
    """A volume's fragments and how they merge.

    Attributes
    ----------
    fragments
        What was merged: labels, ids, sizes, roots.
    u, v, merge_score
        (m,) edges: fragment ids (uint64, u < v) and the score in [0, 1] at which they become one segment.
    thresholds
        The thresholds of the lookup tables.
    tables
        (len(thresholds), n) uint64: the segment of each fragment, at each threshold.
    """

    fragments: Fragments
    u: NDArray[np.uint64]
    v: NDArray[np.uint64]
    merge_score: NDArray[np.float64]
    thresholds: tuple[float, ...]
    tables: NDArray[np.uint64]

    def at(self, threshold: float) -> NDArray[np.uint64]:
        """Return the (z, y, x) uint64 segmentation at one of the thresholds.

        Raises
        ------
        ConfigError
            If there is no table for this threshold.
        """
        if threshold not in self.thresholds:
            nearest = min(self.thresholds, key=lambda each: abs(each - threshold), default=None)
            raise ConfigError(f"no lookup table for threshold {threshold}; the nearest is that for {nearest}")
        return relabel(self.fragments.labels, self.fragments.ids, self.tables[self.thresholds.index(threshold)])


def segment(
    affinities: NDArray[np.generic],
    affinity_offsets: Sequence[Coordinate],
    voxel_size: Coordinate,
    fragments: FragmentsConfig | None = None,
    agglomerate: AgglomerateConfig | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    mask: NDArray[np.generic] | None = None,
) -> Segmentation:
    """Segment a volume that fits into memory, by the same kernels and the same rule as blockwise.

    Parameters
    ----------
    affinities
        (c, z, y, x) uint8, or floating point in [0, 1].
    affinity_offsets
        Offset of every channel in voxels; the short-range ones must be among them (:func:`extract_fragments`).
    voxel_size
        In world units.
    fragments, agglomerate
        Methods; by default basins and ``hist_quant_75`` over the whole graph.
    thresholds
        Fragments merge at threshold t where scores are below t.
    mask
        (z, y, x), optional: nothing is segmented where it is 0.

    Raises
    ------
    GeometryError
        If shapes do not fit together or a short-range offset is missing.
    DataError
        If the affinities are of another dtype or range.
    ConfigError
        If the method cannot work with these offsets, or there is no such merge function.

    Examples
    --------
    Two boxes with a wall between them, and a segmentation that leaves the wall standing:

    >>> affinities = np.full((3, 4, 4, 9), 255, np.uint8)
    >>> affinities[:, :, :, 4] = 0
    >>> offsets = [Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1)]
    >>> segmentation = segment(affinities, offsets, Coordinate(8, 8, 8)).at(0.5)
    >>> len(np.unique(segmentation[segmentation > 0]))
    2
    """
    fragments = fragments or FragmentsConfig()
    agglomerate = agglomerate or AgglomerateConfig()
    affinities = quantise(affinities)
    found = extract_fragments(affinities, affinity_offsets, fragments, voxel_size=voxel_size, mask=mask)
    return merge_fragments(found, affinities, affinity_offsets, agglomerate, thresholds)


def merge_fragments(
    fragments: Fragments,
    affinities: NDArray[np.generic],
    affinity_offsets: Sequence[Coordinate],
    agglomerate: AgglomerateConfig,
    thresholds: Sequence[float] = THRESHOLDS,
    edges: EdgeStatistics | None = None,
) -> Segmentation:
    """Merge the fragments of a volume that fits into memory; see :func:`segment`.

    Parameters
    ----------
    edges
        Contacts of the fragments with the histogram that the merge function needs, where they are known already: for
        scope ``graph``, several merge functions share them.
    """
    none = np.empty((0, 2), np.uint64)
    if agglomerate.scope == "blocks":
        from catena.segmentation.block_agglomeration import agglomerate_block

        u, v, score = agglomerate_block(
            quantise(affinities), affinity_offsets, fragments.labels, agglomerate.merge_function
        )
    else:
        if edges is None:
            edges = edge_statistics(affinities, affinity_offsets, fragments.labels, bins=agglomerate.bins)
        score = agglomerate_graph(
            fragments.ids, fragments.roots, fragments.pointers, edges, none, agglomerate.merge_function
        )
        u, v = edges.u, edges.v
    tables = lookup_tables(fragments.ids, u, v, score, none, thresholds)
    return Segmentation(fragments, u, v, score, tuple(thresholds), tables)
