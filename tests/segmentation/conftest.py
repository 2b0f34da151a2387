"""Volumes to segment, and the blockwise way driven by hand with nothing but arrays."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import numpy as np
import pytest
from funlib.geometry import Coordinate
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from catena.segmentation import (
    AgglomerateConfig,
    EdgeStatistics,
    FragmentsConfig,
    agglomerate_block,
    agglomerate_graph,
    edge_statistics,
    extract_fragments,
    forced_edges,
    fragment_context,
    lookup_tables,
    owned_edges,
    relabel,
)

OFFSETS = (Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1))


def _smooth_affinities(seed: int, shape: tuple[int, int, int], sigma: float) -> NDArray[np.uint8]:
    """Membranes are the zero crossings of smoothed noise, with a blurred, noisy affinity map around them."""
    random = np.random.default_rng(seed)
    height = gaussian_filter(random.standard_normal(shape), sigma)
    wall = np.clip(np.abs(height) / height.std(), 0, 1)
    noise = gaussian_filter(random.standard_normal((3, *shape)), (0, 1, 1, 1))
    return np.rint(np.clip(1.2 * wall + 0.3 * noise, 0, 1) * 255).astype(np.uint8)


@pytest.fixture
def offsets() -> tuple[Coordinate, ...]:
    return OFFSETS


@pytest.fixture
def smooth_affinities() -> Callable[..., NDArray[np.uint8]]:
    return _smooth_affinities


@dataclass
class Blocks:
    """A volume cut into blocks: row-major, the last ones of each axis smaller."""

    shape: Coordinate
    block: Coordinate

    def __iter__(self):
        counts = [-(-n // b) for n, b in zip(self.shape, self.block, strict=True)]
        for index, at in enumerate(product(*(range(n) for n in counts))):
            begin = Coordinate(at) * self.block
            end = Coordinate(min(b + s, n) for b, s, n in zip(begin, self.block, self.shape, strict=True))
            yield index, begin, end

    def with_context(self, begin: Coordinate, end: Coordinate, context: Coordinate):
        low = Coordinate(max(b - c, 0) for b, c in zip(begin, context, strict=True))
        high = Coordinate(min(e + c, n) for e, c, n in zip(end, context, self.shape, strict=True))
        read = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        core = tuple(slice(b - a, e - a) for a, b, e in zip(low, begin, end, strict=True))
        return read, core


@dataclass
class BlockwiseResult:
    """What the blockwise way wrote: the fragments of the volume and one lookup table per threshold."""

    labels: NDArray[np.uint64]
    ids: NDArray[np.uint64]
    sizes: NDArray[np.int64]
    forced: NDArray[np.uint64]
    edges: EdgeStatistics
    scores: NDArray[np.float64]
    tables: NDArray[np.uint64]

    def at(self, row: int) -> NDArray[np.uint64]:
        return relabel(self.labels, self.ids, self.tables[row])


def _segment_in_blocks(
    affinities,
    voxel_size,
    config: FragmentsConfig,
    agglomerate: AgglomerateConfig,
    block,
    thresholds,
    mask=None,
    context=None,
) -> BlockwiseResult:
    blocks = Blocks(Coordinate(affinities.shape[1:]), Coordinate(block))
    context = fragment_context(config, voxel_size) if context is None else context
    labels = np.zeros(blocks.shape, np.uint64)
    parts = {}
    for index, begin, end in blocks:
        read, core = blocks.with_context(begin, end, context)
        part = extract_fragments(
            affinities[(slice(None), *read)],
            OFFSETS,
            config,
            voxel_size=voxel_size,
            core=core,
            block_index=index,
            block_shape_vox=blocks.block,
            core_begin_vox=begin,
            mask=None if mask is None else mask[read],
        )
        labels[tuple(slice(b, e) for b, e in zip(begin, end, strict=True))] = part.labels
        parts[index] = (part, np.asarray(begin))
    edges, forced, block_scores = [], [], []
    for index, begin, end in blocks:
        part, _ = parts[index]
        read, core = blocks.with_context(begin, end, Coordinate(1, 1, 1))
        edges.append(
            edge_statistics(affinities[(slice(None), *read)], OFFSETS, labels[read], core=core, bins=agglomerate.bins)
        )
        forced.append(forced_edges(part.ids, part.roots, part.pointers, labels[read], core))
        if agglomerate.scope == "blocks":
            read, _ = blocks.with_context(begin, end, Coordinate(6, 6, 6))
            u, v, score = agglomerate_block(
                affinities[(slice(None), *read)], OFFSETS, labels[read], agglomerate.merge_function
            )
            own = owned_edges(u, index, blocks.block)
            block_scores.append((u[own], v[own], score[own]))
    ids = np.concatenate([part.ids for part, _ in parts.values()])
    sizes = np.concatenate([part.sizes for part, _ in parts.values()])
    positions = np.concatenate([part.roots + begin for part, begin in parts.values()])
    pointers = np.concatenate([part.pointers for part, _ in parts.values()])
    statistics, pairs = EdgeStatistics.concatenate(edges), np.concatenate(forced)
    if agglomerate.scope == "graph":
        u, v = statistics.u, statistics.v
        scores = agglomerate_graph(ids, positions, pointers, statistics, pairs, agglomerate.merge_function)
    else:
        u, v, scores = (np.concatenate(each) for each in zip(*block_scores, strict=True))
    tables = lookup_tables(ids, u, v, scores, pairs, thresholds)
    return BlockwiseResult(labels, ids, sizes, pairs, statistics, scores, tables)


@pytest.fixture
def segment_in_blocks() -> Callable[..., BlockwiseResult]:
    return _segment_in_blocks


def _same_partition(a: NDArray[np.generic], b: NDArray[np.generic]) -> bool:
    """Whether two labellings agree but for the names; 0 must be 0 in both."""
    pairs = np.unique(np.stack([a.ravel(), b.ravel()]), axis=1)
    names_agree = all(np.unique(side).size == side.size for side in pairs)
    return bool(names_agree and ((pairs[0] == 0) == (pairs[1] == 0)).all())


@pytest.fixture
def same_partition() -> Callable[..., bool]:
    return _same_partition
