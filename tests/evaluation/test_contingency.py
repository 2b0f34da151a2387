import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catena.errors import DataError, GeometryError
from catena.evaluation import Contingency


def rows(contingency: Contingency) -> list[tuple[int, int, int]]:
    return [tuple(int(value) for value in row) for row in zip(*contingency.pairs(), strict=True)]


def brute_force(segmentation: np.ndarray, truth: np.ndarray) -> list[tuple[int, int, int]]:
    counts: dict[tuple[int, int], int] = {}
    for pair in zip(segmentation.ravel().tolist(), truth.ravel().tolist(), strict=True):
        if pair[1]:
            counts[pair] = counts.get(pair, 0) + 1
    return sorted((*pair, count) for pair, count in counts.items())


def test_counts_pairs_and_ignores_truth_zero():
    #   segmentation   1 1 2      truth   7 7 0
    #                  0 2 2              8 8 8
    contingency = Contingency.of([[1, 1, 2], [0, 2, 2]], [[7, 7, 0], [8, 8, 8]])

    assert rows(contingency) == [(0, 8, 1), (1, 7, 2), (2, 8, 2)]
    assert contingency.voxels == 5
    assert len(contingency) == 3
    assert contingency.segment_sizes().tolist() == [1, 2, 2]
    assert contingency.truth_sizes().tolist() == [2, 3]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), blocks=st.integers(1, 6), labels=st.integers(1, 40))
def test_blocks_in_any_order_count_as_the_whole(seed, blocks, labels):
    rng = np.random.default_rng(seed)
    segmentation, truth = rng.integers(0, labels, (2, 12, 7, 5)).astype(np.uint64)
    pieces = [Contingency.of(*each) for each in _pieces(segmentation, truth, blocks)]
    rng.shuffle(pieces)

    merged = Contingency().merge(pieces)

    assert rows(merged) == brute_force(segmentation, truth)
    assert rows(Contingency.of(segmentation, truth)) == brute_force(segmentation, truth)


def _pieces(segmentation, truth, blocks):
    return zip(np.array_split(segmentation, blocks), np.array_split(truth, blocks), strict=True)


def test_grows_beyond_its_first_table_and_keeps_large_ids():
    ids = np.arange(20_000, dtype=np.uint64) * np.uint64(0x1_0000_0000) + np.uint64(2**62)
    contingency = Contingency.of(ids, np.ones_like(ids)).add(ids, np.ones_like(ids))

    segmentation, truth, counts = contingency.pairs()

    assert np.array_equal(segmentation, ids)
    assert set(truth.tolist()) == {1}
    assert set(counts.tolist()) == {2}


def test_uint64_labels_that_differ_in_their_lowest_bit_stay_apart():
    assert rows(Contingency.of([2**62, 2**62 + 1], [2**63 - 1, 2**63 - 2])) == [
        (2**62, 2**63 - 1, 1),
        (2**62 + 1, 2**63 - 2, 1),
    ]


def test_small_dtypes_count_as_large_ones():
    segmentation, truth = np.array([1, 1, 3], np.uint8), np.array([2, 2, 2], np.int32)

    assert rows(Contingency.of(segmentation, truth)) == [(1, 2, 2), (3, 2, 1)]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_relabelling_the_table_equals_relabelling_the_voxels(seed):
    rng = np.random.default_rng(seed)
    fragments, truth = rng.integers(0, 30, (2, 6, 6, 6)).astype(np.uint64)
    ids = rng.permutation(np.arange(1, 30)).astype(np.uint64) * np.uint64(2**40)
    segments = rng.choice(ids, len(ids))
    fragments = fragments * np.uint64(2**40)
    table = {0: 0} | dict(zip(ids.tolist(), segments.tolist(), strict=True))
    segmentation = np.vectorize(table.__getitem__, otypes=[np.uint64])(fragments)

    relabelled = Contingency.of(fragments, truth).relabelled(ids, segments)

    assert rows(relabelled) == brute_force(segmentation, truth)


def test_relabelling_leaves_the_original_alone():
    contingency = Contingency.of([1, 2], [5, 5])
    contingency.relabelled([1, 2], [1, 1])

    assert rows(contingency) == [(1, 5, 1), (2, 5, 1)]


def test_background_may_be_given_a_segment_but_needs_none():
    contingency = Contingency.of([0, 1], [5, 5])

    assert rows(contingency.relabelled([1], [9])) == [(0, 5, 1), (9, 5, 1)]
    assert rows(contingency.relabelled([0, 1], [9, 9])) == [(9, 5, 2)]


def test_empty_lookup_table_fits_a_segmentation_of_background():
    none = np.zeros(0, np.uint64)

    assert rows(Contingency.of([0, 0], [5, 5]).relabelled(none, none)) == [(0, 5, 2)]


def test_fragment_missing_from_the_lookup_table_is_refused():
    with pytest.raises(DataError, match=r"1 of the ids in the segmentation, such as 2, are not in the lookup table"):
        Contingency.of([1, 2], [5, 5]).relabelled([1, 3], [1, 1])


def test_lookup_table_with_a_doubled_id_is_refused():
    with pytest.raises(DataError, match="names id 4 twice"):
        Contingency.of([4], [5]).relabelled([4, 4], [1, 2])


def test_lookup_table_of_another_length_is_refused():
    with pytest.raises(GeometryError, match="2 ids has 1 segments"):
        Contingency.of([4], [5]).relabelled([4, 5], [1])


def test_shapes_must_agree():
    with pytest.raises(GeometryError, match=r"shape \(2,\) but truth \(3,\)"):
        Contingency.of([1, 2], [1, 2, 3])


@pytest.mark.parametrize(
    ("labels", "message"), [([0.5, 1.0], "integer labels, found float64"), ([-1, 2], "negative label -1")]
)
def test_labels_must_be_integers_and_not_negative(labels, message):
    with pytest.raises(DataError, match=message):
        Contingency.of(labels, [1, 1])
