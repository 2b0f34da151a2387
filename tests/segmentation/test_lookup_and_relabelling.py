"""Lookup tables and relabelling, and all of the way in memory, on drawn graphs and against references."""

from __future__ import annotations

import numpy as np
import pytest
from funlib.geometry import Coordinate
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from catena.errors import ConfigError, DataError
from catena.segmentation import (
    FragmentsConfig,
    iterate_lookup_tables,
    lookup_tables,
    relabel,
    segment,
)

NONE = np.empty((0, 2), np.uint64)


def u64(*values) -> np.ndarray:
    return np.array(values, np.uint64)


def test_scores_merge_strictly_below_the_threshold():
    ids, score = u64(3, 5, 9, 12), np.array([0.2, 0.5])
    tables = lookup_tables(ids, u64(5, 3), u64(9, 12), score, None, [0.0, 0.2, 0.21, 0.5, 0.6])
    assert tables.tolist() == [[3, 5, 9, 12], [3, 5, 9, 12], [3, 5, 5, 12], [3, 5, 5, 12], [3, 5, 5, 3]]


def test_forced_edges_are_merged_at_every_threshold():
    tables = lookup_tables(u64(1, 2, 3), u64(1), u64(3), np.array([0.9]), u64(2, 3).reshape(1, 2), [1.0, 0.0])
    assert tables.tolist() == [[1, 1, 1], [1, 2, 2]]


@settings(max_examples=40, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000), nodes=st.integers(1, 60), edges=st.integers(0, 120))
def test_tables_are_connected_components(seed, nodes, edges):
    random = np.random.default_rng(seed)
    ids = np.sort(random.choice(10**6, nodes, replace=False)).astype(np.uint64) + np.uint64(1)
    a, b = random.integers(0, nodes, (2, edges))
    score = random.integers(0, 11, edges) / 10
    forced = random.integers(0, nodes, (edges // 10, 2))
    thresholds = [0.3, 0.0, 1.0, 0.55]
    tables = lookup_tables(ids, ids[a], ids[b], score, ids[forced], thresholds)
    for table, threshold in zip(tables, thresholds, strict=True):
        rows = np.concatenate([a[score < threshold], forced[:, 0]])
        columns = np.concatenate([b[score < threshold], forced[:, 1]])
        matrix = coo_matrix((np.ones(rows.size), (rows, columns)), shape=(nodes, nodes))
        _, component = connected_components(matrix, directed=False)
        expected = [ids[component == each].min() for each in component]
        assert table.tolist() == expected


def test_tables_refuse_what_they_cannot_use():
    with pytest.raises(DataError, match=r"edges name 1 fragments .* first \[7\]"):
        lookup_tables(u64(1, 2), u64(1), u64(7), np.array([0.1]), None, [0.5])
    with pytest.raises(DataError, match="1 of 1 merge scores are not numbers"):
        lookup_tables(u64(1, 2), u64(1), u64(2), np.array([np.nan]), None, [0.5])
    with pytest.raises(DataError, match="as many u as v"):
        lookup_tables(u64(1, 2), u64(1), u64(2), np.array([0.1, 0.2]), None, [0.5])
    with pytest.raises(ConfigError, match="ascending"):
        next(iterate_lookup_tables(u64(1, 2), u64(1), u64(2), np.array([0.1]), None, [0.5, 0.2]))


@pytest.mark.parametrize("step", [1, 10**9])  # ids close together, and far apart
def test_relabel_replaces_every_id(step):
    random = np.random.default_rng(0)
    ids = np.arange(1, 200, dtype=np.uint64) * np.uint64(step)
    segments = random.integers(1, 2**62, ids.size).astype(np.uint64)
    fragments = ids[random.integers(20, 150, (6, 7, 8))]
    fragments[random.random(fragments.shape) < 0.2] = 0
    mapping = {0: 0, **dict(zip(ids.tolist(), segments.tolist(), strict=True))}
    expected = [mapping[each] for each in fragments.ravel().tolist()]
    assert relabel(fragments, ids, segments).ravel().tolist() == expected


@pytest.mark.parametrize("step", [1, 10**9])
def test_relabel_refuses_unknown_ids(step):
    ids = u64(1, 2, 4, 5) * np.uint64(step)
    with pytest.raises(DataError, match=f"fragment {3 * step} is not in the lookup table of 4"):
        relabel(u64(1, 3, 5) * np.uint64(step), ids, ids)
    with pytest.raises(DataError, match="is not in the lookup table"):
        relabel(u64(9) * np.uint64(step), ids, ids)


def test_relabel_of_nothing_is_nothing():
    assert not relabel(np.zeros((2, 2), np.uint64), u64(), u64()).any()


def test_the_whole_path_in_memory(offsets):
    # two bodies; the left one has a narrow waist that makes two fragments of it
    inside = np.array(
        [[[1 if each == "." else 0 for each in row] for row in (
            "...#...#....",
            "...#...#....",
            ".......#....",
            "...#...#....",
            "...#...#....",
        )]],
        np.uint8,
    )  # fmt: skip
    affinities = np.repeat(inside[None] * np.uint8(240), 3, axis=0)
    result = segment(affinities, offsets, Coordinate(8, 8, 8), FragmentsConfig(grow=0), thresholds=(0.0, 0.5))
    assert np.unique(result.at(0.0)[inside > 0]).size == 3
    merged = result.at(0.5)
    assert np.unique(merged[inside > 0]).size == 2
    assert merged[0, 0, 0] == merged[0, 0, 6] != merged[0, 0, 11]
    with pytest.raises(ConfigError, match=r"no lookup table for threshold 0.4; the nearest is that for 0.5"):
        result.at(0.4)
