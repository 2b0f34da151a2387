"""Edges and their agglomeration on drawn graphs and against references."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest
import waterz
from funlib.geometry import Coordinate

from catena.errors import ConfigError, DataError, GeometryError
from catena.segmentation import (
    PREBUILT,
    AgglomerateConfig,
    EdgeStatistics,
    FragmentsConfig,
    agglomerate_block,
    agglomerate_graph,
    edge_statistics,
    extract_fragments,
    forced_edges,
    forced_edges_within,
    lookup_tables,
    owned_edges,
    parse_merge_function,
    relabel,
    segment,
)
from catena.segmentation import block_agglomeration as waterz_way
from catena.segmentation.ascent import STAY

NONE = np.empty((0, 2), np.uint64)


def u64(*values) -> np.ndarray:
    return np.array(values, np.uint64)


def graph(edges: dict[tuple[int, int], list[int]], bins: int = 256) -> EdgeStatistics:
    """Return edges from the uint8 affinities on each contact."""
    ordered = sorted(edges)
    histogram = np.zeros((len(edges), bins), np.uint32)
    for row, pair in enumerate(ordered):
        np.add.at(histogram[row], np.array(edges[pair]) * bins // 256, 1)
    return EdgeStatistics(
        u64(*(u for u, _ in ordered)),
        u64(*(v for _, v in ordered)),
        np.array([len(edges[pair]) for pair in ordered], np.int64),
        np.array([sum(edges[pair]) for pair in ordered], np.int64),
        histogram,
    )


def on_a_line(ids: np.ndarray) -> np.ndarray:
    return np.stack([np.zeros(ids.size), np.zeros(ids.size), ids.astype(int)], axis=1).astype(np.int64)


def agglomerate(ids, edges, merge_function, forced=NONE, positions=None, pointers=None, bins=256):
    statistics = graph(edges, bins)
    scores = agglomerate_graph(
        ids,
        on_a_line(ids) if positions is None else positions,
        np.full(ids.size, 13, np.int8) if pointers is None else pointers,
        statistics,
        forced,
        merge_function,
    )
    return dict(zip(sorted(edges), scores.tolist(), strict=True))


@dataclass
class Contact:
    """A contact in the oracle's queue: its place, the affinities on it, and whether they are newer than the place."""

    place: tuple[Fraction, int]
    values: list[int]
    outdated: bool = False


def brute_force(nodes: int, edges: dict[tuple[int, int], list[int]], merge_function: str) -> dict:
    """Merge whichever contact comes first again and again, from scratch, with exact fractions.

    Nodes are called 0, 1, … in the order of their positions. Places in the queue are as `agglomerate_graph` says.
    """
    quantile, initialise_with_maximum = parse_merge_function(merge_function)

    def score(values):
        if quantile is None:
            return 1 - Fraction(sum(values), 255 * len(values))
        return 1 - Fraction(2 * sorted(values)[quantile * len(values) // 100] + 1, 512)

    region = list(range(nodes))
    contacts: dict[tuple[int, int], Contact] = {}
    for number, pair in enumerate(sorted(edges)):
        values = [max(edges[pair])] if initialise_with_maximum else edges[pair]
        contacts[pair] = Contact((score(values), number), values)
    joined: dict[tuple[int, int], float] = {}
    while contacts:
        pair = min(contacts, key=lambda each: contacts[each].place)
        first = contacts[pair]
        if first.outdated:
            contacts[pair] = Contact((score(first.values), first.place[1]), first.values)
            continue
        height = float(first.place[0])
        if height >= 1:
            break
        keep, gone = pair
        del contacts[pair]
        region = [keep if each == gone else each for each in region]
        for u, v in edges:
            if region[u] == region[v]:
                joined.setdefault((u, v), height)
        moved: dict[tuple[int, int], Contact] = {}
        for (a, b), contact in contacts.items():
            low, high = sorted({keep if each == gone else each for each in (a, b)})
            other = moved.get((low, high))
            if other is not None:
                contact = Contact(min(contact.place, other.place), contact.values + other.values, outdated=True)
            moved[low, high] = contact
        contacts = moved
    return {pair: joined.get(pair, 1.0) for pair in edges}


# --- edges ----------------------------------------------------------------------------------------------------------


def test_edges_of_a_drawn_section(offsets):
    #   1 1 2
    #   3 3 2   every face between two labels counts, with the affinity of its upper voxel
    fragments = np.array([[[1, 1, 2], [3, 3, 2]]], np.uint64)
    affinities = np.zeros((3, 1, 2, 3), np.uint8)
    affinities[1, 0, 1] = [10, 20, 99]  # along y: 1-3, 1-3, within 2
    affinities[2, 0, :, 1:] = [[99, 40], [99, 80]]  # along x: within 1, 1-2; within 3, 2-3
    edges = edge_statistics(affinities, offsets, fragments, bins=4)
    assert edges.u.tolist() == [1, 1, 2]
    assert edges.v.tolist() == [2, 3, 3]
    assert edges.contact.tolist() == [1, 2, 1]
    assert edges.affinity_sum.tolist() == [40, 30, 80]
    assert edges.histogram.tolist() == [[1, 0, 0, 0], [2, 0, 0, 0], [0, 1, 0, 0]]


def test_background_has_no_edges(offsets):
    fragments = np.array([[[1, 0, 2]]], np.uint64)
    assert len(edge_statistics(np.ones((3, 1, 1, 3), np.uint8), offsets, fragments)) == 0


def test_a_block_owns_the_faces_above_its_voxels(offsets):
    fragments = np.array([[[1, 2, 3, 4]]], np.uint64)
    affinities = np.full((3, 1, 1, 4), 7, np.uint8)
    core = (slice(0, 1), slice(0, 1), slice(1, 3))
    edges = edge_statistics(affinities, offsets, fragments, core=core, bins=0)
    assert list(zip(edges.u.tolist(), edges.v.tolist(), strict=True)) == [(2, 3), (3, 4)]
    assert edges.histogram.shape == (2, 0)


def test_many_edges_are_found_as_by_sorting(offsets):
    random = np.random.default_rng(0)
    fragments = random.integers(0, 400, (12, 20, 22)).astype(np.uint64) * np.uint64(2**40)
    affinities = random.integers(0, 256, (3, 12, 20, 22)).astype(np.uint8)
    edges = edge_statistics(affinities, offsets, fragments, bins=8)
    expected: dict[tuple[int, int], list[int]] = {}
    for axis in range(3):
        low, high = (np.moveaxis(fragments, axis, 0)[part] for part in (slice(None, -1), slice(1, None)))
        values = np.moveaxis(affinities[axis], axis, 0)[1:]
        for a, b, value in zip(low.ravel().tolist(), high.ravel().tolist(), values.ravel().tolist(), strict=True):
            if a != b and a and b:
                expected.setdefault((min(a, b), max(a, b)), []).append(value)
    reference = graph(expected, 8)
    for name in ("u", "v", "contact", "affinity_sum", "histogram"):
        assert np.array_equal(getattr(edges, name), getattr(reference, name)), name


def test_edges_need_fitting_shapes(offsets):
    with pytest.raises(GeometryError, match="fragments have shape"):
        edge_statistics(np.zeros((3, 2, 2, 2), np.uint8), offsets, np.zeros((2, 2, 3), np.uint64))


def test_parts_with_different_bins_are_no_graph():
    with pytest.raises(GeometryError, match="different histograms"):
        EdgeStatistics.concatenate([graph({(1, 2): [3]}, 8), graph({(3, 4): [3]}, 16)])


def test_forced_edges_lead_to_the_neighbouring_label():
    #  the block's core is the left 2x2; the piece 1 goes on to the right, 2 diagonally, 3 stays
    labels = np.array([[[1, 3, 9], [2, 3, 0], [5, 8, 7]]], np.uint64)
    core = (slice(0, 1), slice(0, 2), slice(0, 2))
    roots = np.array([[0, 0, 1], [0, 1, 0], [0, 1, 1]])
    pairs = forced_edges(u64(1, 2, 3), roots, np.array([14, 17, 13], np.int8), labels, core)
    assert pairs.tolist() == [[1, 9], [2, 8]]
    into_nothing = forced_edges(u64(3), roots[2:], np.array([14], np.int8), labels, core)
    assert into_nothing.shape == (0, 2)
    with pytest.raises(GeometryError, match="lack the voxel of context"):
        forced_edges(u64(1), roots[:1], np.array([5], np.int8), labels, core)


def test_forced_edges_within_an_array_are_those_of_all_blocks_that_stay_in_it():
    labels = np.array([[[1, 1, 4, 4, 7, 7]]], np.uint64)
    ids = np.array([1, 4, 7, 9], np.uint64)
    roots = np.array([[0, 0, 1], [0, 0, 3], [0, 0, 5], [0, 0, 6]])  # 9 lies beyond the array
    onwards = np.array([14, 14, 14, 12], np.int8)  # +x, 7 out of the array, 9 into it
    assert forced_edges_within(ids, roots, onwards, labels).tolist() == [[1, 4], [4, 7]]
    ends = np.full(4, STAY, np.int8)
    assert forced_edges_within(ids, roots, ends, labels).shape == (0, 2)
    masked = np.where(labels == 7, 0, labels)
    assert forced_edges_within(ids, roots, onwards, masked).tolist() == [[1, 4]]


# --- agglomeration over the graph -----------------------------------------------------------------------------------


def test_mean_of_a_triangle():
    #  1 -0.2- 2, 2 -0.4- 3, 1 -0.9- 3: once 1 and 2 are one, their contact with 3 has the mean of both
    scores = agglomerate(u64(1, 2, 3), {(1, 2): [204], (2, 3): [153], (1, 3): [51]}, "mean")
    assert scores[1, 2] == pytest.approx(0.2)
    assert scores[2, 3] == scores[1, 3] == pytest.approx(0.6)


def test_a_contact_counts_by_its_size():
    scores = agglomerate(u64(1, 2, 3), {(1, 2): [204], (2, 3): [153] * 3, (1, 3): [51]}, "mean")
    assert scores[2, 3] == pytest.approx(1 - (3 * 153 + 51) / (4 * 255))


def test_quantile_takes_the_pivot_of_waterz():
    values = [10, 20, 30, 40]
    for quantile, pivot in ((10, 10), (25, 20), (50, 30), (75, 40), (90, 40)):
        score = agglomerate(u64(1, 2), {(1, 2): values}, f"hist_quant_{quantile}")[1, 2]
        assert score == pytest.approx(1 - (pivot + 0.5) / 256)


def test_initmax_counts_each_contact_once():
    edges = {(1, 2): [250], (1, 3): [10, 10, 10, 200], (2, 3): [100, 90, 90]}
    # after 1 and 2 are one: {200, 100} instead of {10, 10, 10, 200, 100, 90, 90}
    assert agglomerate(u64(1, 2, 3), edges, "hist_quant_10_initmax")[1, 3] == pytest.approx(1 - 100.5 / 256)
    assert agglomerate(u64(1, 2, 3), edges, "hist_quant_10")[1, 3] == pytest.approx(1 - 10.5 / 256)


def test_no_affinity_is_never_merged():
    assert agglomerate(u64(1, 2), {(1, 2): [0]}, "mean") == {(1, 2): 1.0}


def test_forced_edges_are_contracted_before_anything_else():
    # 2 and 3 are one fragment: its contact with 1 has the mean of both contacts
    scores = agglomerate(
        u64(1, 2, 3),
        {(1, 2): [255], (1, 3): [51], (2, 3): [0]},
        "mean",
        forced=np.array([[2, 3]], np.uint64),
        pointers=np.array([13, 14, 13], np.int8),
    )
    assert scores == {(1, 2): pytest.approx(0.4), (1, 3): pytest.approx(0.4), (2, 3): 0.0}


def test_equal_scores_are_merged_by_position_not_by_id():
    # A chain a - b - c with equal contacts, and d that both ends touch differently: which contact goes first decides.
    ids = u64(1, 2, 3, 4)
    edges = {(1, 2): [200], (2, 3): [200], (1, 4): [10], (3, 4): [190], (2, 4): [60]}
    positions = on_a_line(ids)
    names = u64(4, 3, 2, 1)  # the same graph with other ids
    renamed = {tuple(sorted((int(names[a - 1]), int(names[b - 1])))): value for (a, b), value in edges.items()}
    scores = agglomerate(ids, edges, "mean", positions=positions)
    other = agglomerate(ids, renamed, "mean", positions=positions[::-1].copy())
    for (a, b), score in scores.items():
        assert other[tuple(sorted((int(names[a - 1]), int(names[b - 1]))))] == score


MERGE_FUNCTIONS = ["mean", "hist_quant_25", "hist_quant_50", "hist_quant_75", "hist_quant_50_initmax"]


@pytest.mark.parametrize("levels", [2, 3, 6, 255])
@pytest.mark.parametrize("seed", range(30))
def test_any_small_graph_merges_as_by_brute_force(seed, levels):
    # the same graphs in every run; few different affinities, so that many contacts have equal scores
    rng = np.random.default_rng([seed, levels])
    nodes = int(rng.integers(2, 13))
    pairs = list(combinations(range(1, nodes + 1), 2))
    chosen = [pairs[k] for k in rng.permutation(len(pairs))[: rng.integers(1, len(pairs) + 1)]]
    values = np.linspace(1, 255, levels).astype(int)
    edges = {pair: rng.choice(values, 1 + k % 3).tolist() for k, pair in enumerate(chosen)}
    merge_function = MERGE_FUNCTIONS[seed % 5]
    place = rng.permutation(nodes)  # of each id: ties are settled by position
    placed = {pair: tuple(sorted(int(place[each - 1]) for each in pair)) for pair in edges}
    ids = np.arange(1, nodes + 1, dtype=np.uint64)
    ours = agglomerate(ids, edges, merge_function, positions=on_a_line(place))
    expected = brute_force(nodes, {placed[pair]: edges[pair] for pair in edges}, merge_function)
    for pair in edges:
        assert ours[pair] == pytest.approx(expected[placed[pair]], abs=1e-12), pair


def by_waterz(affinities, fragments, merge_function, threshold):
    with waterz_way.silenced():
        (labels,) = waterz.agglomerate(
            affinities.astype(np.float32) / np.float32(255),
            [threshold],
            fragments=fragments.copy(),
            scoring_function=waterz_way.waterz_expression(merge_function),
        )
    return labels


@pytest.mark.parametrize("merge_function", ["mean", "hist_quant_50", "hist_quant_75", "hist_quant_75_initmax"])
@pytest.mark.parametrize("seed", range(8))
def test_the_graph_merges_as_waterz_does(offsets, same_partition, merge_function, seed):
    random = np.random.default_rng(seed)
    fragments = random.integers(1, 12, (1, 3, 9)).repeat(2, axis=1).repeat(2, axis=2).astype(np.uint64)
    affinities = np.zeros((3, *fragments.shape), np.uint8)
    affinities[1:] = random.permutation(256)[: 2 * fragments.size].reshape(2, *fragments.shape)  # no two are equal
    ids = np.unique(fragments)
    edges = edge_statistics(affinities, offsets, fragments, bins=256)
    scores = agglomerate_graph(ids, on_a_line(ids), np.full(ids.size, 13, np.int8), edges, NONE, merge_function)
    for threshold in np.arange(0.05, 1, 0.1):
        table = lookup_tables(ids, edges.u, edges.v, scores, None, [threshold])[0]
        theirs = by_waterz(affinities, fragments, merge_function, threshold)
        assert same_partition(relabel(fragments, ids, table), theirs), threshold


def test_a_volume_merges_as_with_waterz(smooth_affinities, offsets, same_partition):
    affinities = smooth_affinities(8, (24, 26, 28), 1.5)
    ours = segment(affinities, offsets, Coordinate(8, 8, 8), None, AgglomerateConfig(merge_function="mean"))
    dense = np.unique(ours.fragments.labels, return_inverse=True)[1].reshape(affinities.shape[1:]).astype(np.uint64)
    dense += np.uint64(ours.fragments.labels.min() > 0)
    for threshold in (0.1, 0.2, 0.3, 0.5, 0.7):
        assert same_partition(ours.at(threshold), by_waterz(affinities, dense, "mean", threshold)), threshold


def test_unknown_fragments_and_missing_histograms_are_refused():
    with pytest.raises(DataError, match="edges name 1 fragments that are not among the 2 given ones, first \\[3\\]"):
        agglomerate(u64(1, 2), {(1, 3): [5]}, "mean")
    with pytest.raises(DataError, match="needs edges with a histogram"):
        agglomerate_graph(
            u64(1, 2),
            on_a_line(u64(1, 2)),
            np.full(2, 13, np.int8),
            EdgeStatistics(u64(1), u64(2), np.ones(1, int), np.ones(1, int), np.zeros((1, 0), np.uint32)),
            NONE,
            "hist_quant_50",
        )
    with pytest.raises(DataError, match="must be ascending"):
        agglomerate(u64(2, 1), {(1, 2): [5]}, "mean")
    with pytest.raises(ConfigError, match="no merge function 'median'"):
        agglomerate(u64(1, 2), {(1, 2): [5]}, "median")


# --- agglomeration of a block ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("merge_function", ["mean", "hist_quant_10", "hist_quant_85_initmax"])
def test_block_scores_give_the_partition_of_waterz(smooth_affinities, offsets, same_partition, merge_function, capfd):
    affinities = smooth_affinities(9, (16, 20, 24), 1.5)
    found = extract_fragments(affinities, offsets, FragmentsConfig(), voxel_size=Coordinate(8, 8, 8))
    u, v, score = agglomerate_block(affinities, offsets, found.labels, merge_function)
    assert capfd.readouterr().out == ""
    assert ((score >= 0) & (score <= 1)).all()
    for threshold in (0.2, 0.4, 0.6):
        table = lookup_tables(found.ids, u, v, score, None, [threshold])[0]
        labels = np.searchsorted(found.ids, found.labels).astype(np.uint64) + np.uint64(1)
        labels[found.labels == 0] = 0
        theirs = by_waterz(affinities, labels, merge_function, threshold)
        assert same_partition(relabel(found.labels, found.ids, table), theirs), threshold


def test_block_scope_blockwise_with_context(smooth_affinities, segment_in_blocks):
    affinities = smooth_affinities(10, (20, 24, 28), 2.0)
    result = segment_in_blocks(
        affinities,
        Coordinate(8, 8, 8),
        FragmentsConfig(method="seeded", seed_window=5),
        AgglomerateConfig(scope="blocks", merge_function="mean"),
        (12, 13, 14),
        (0.0, 0.5, 1.0),
    )
    counts = [np.unique(table).size for table in result.tables]
    assert counts[0] == result.ids.size > counts[1] > counts[2]


def test_forced_pieces_are_one_fragment_for_waterz(offsets):
    # 1 | 2 | 3 along x: 1 and 2 are one fragment though no affinity joins them
    fragments = np.array([[[1, 1, 2, 2, 3, 3]]], np.uint64)
    affinities = np.zeros((3, 1, 1, 6), np.uint8)
    affinities[2, 0, 0, 4] = 204
    forced = np.array([[1, 2], [2, 99]], np.uint64)
    u, v, score = agglomerate_block(affinities, offsets, fragments, "mean", forced=forced)
    assert list(zip(u.tolist(), v.tolist(), strict=True)) == [(1, 2), (2, 3)]
    assert score == pytest.approx([0.0, 0.2])


def test_owned_edges_are_those_of_the_lower_fragment():
    assert owned_edges(u64(1, 8, 9, 17), 1, Coordinate(2, 2, 2)).tolist() == [False, False, True, False]
    with pytest.raises(DataError, match="background"):
        owned_edges(u64(0), 0, Coordinate(2, 2, 2))


def test_prebuilt_functions_run_without_a_compiler(monkeypatch, offsets):
    monkeypatch.setenv("PATH", "")
    fragments = np.array([[[1, 2]]], np.uint64)
    affinities = np.full((3, 1, 1, 2), 128, np.uint8)
    assert {"mean", "hist_quant_75", "hist_quant_10_initmax"} < set(PREBUILT)
    for merge_function in PREBUILT:
        _, _, score = agglomerate_block(affinities, offsets, fragments, merge_function)
        assert score == pytest.approx([1 - 128.5 / 256], abs=0.01)


def test_what_is_not_prebuilt_says_what_it_needs(monkeypatch):
    monkeypatch.setattr(waterz_way, "_missing_to_compile", lambda: ["boost's headers (libboost-dev)"])
    with pytest.raises(ConfigError, match="no prebuilt hist_quant_33, and to compile it lacks boost's headers"):
        waterz_way.waterz_expression("hist_quant_33")
    monkeypatch.setattr(waterz_way, "_missing_to_compile", list)
    assert "33" in waterz_way.waterz_expression("hist_quant_33")


@pytest.mark.parametrize("name", ["max", "hist_quant_0", "hist_quant_100", "hist_quant_75_max", "mean_initmax"])
def test_unknown_merge_functions_are_refused_in_the_config(name):
    with pytest.raises(ConfigError, match="no merge function"):
        AgglomerateConfig.parse({"merge_function": name})
