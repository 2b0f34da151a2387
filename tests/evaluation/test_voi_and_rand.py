import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.metrics import adapted_rand_error as skimage_rand
from skimage.metrics import variation_of_information as skimage_voi

from catena.errors import DataError
from catena.evaluation import Contingency, adapted_rand_error, variation_of_information


def test_cutting_an_object_costs_split_only():
    #   truth          1 1 2 2
    #   segmentation   1 2 3 3     half of the voxels need one bit more
    voi = variation_of_information(Contingency.of([1, 2, 3, 3], [1, 1, 2, 2]))

    assert (voi.split, voi.merge, voi.sum) == (0.5, 0.0, 0.5)


def test_joining_objects_costs_merge_only():
    voi = variation_of_information(Contingency.of([1, 1, 1, 1], [1, 1, 2, 2]))

    assert (voi.split, voi.merge) == (0.0, 1.0)


def test_precision_falls_with_merging_and_recall_with_splitting():
    #   ordered pairs of distinct voxels: two objects of two voxels have 4, one of four has 12
    merged = adapted_rand_error(Contingency.of([1, 1, 1, 1], [1, 1, 2, 2]))
    cut = adapted_rand_error(Contingency.of([1, 1, 2, 2], [1, 1, 1, 1]))

    assert (merged.precision, merged.recall) == (pytest.approx(4 / 12), 1.0)
    assert (cut.precision, cut.recall) == (1.0, pytest.approx(4 / 12))
    assert merged.error == cut.error == pytest.approx(0.5)


def test_a_perfect_segmentation_scores_zero_whatever_its_names():
    truth = np.array([3, 3, 9, 9, 9, 4])
    contingency = Contingency.of(truth * 7 + 1, truth)

    assert variation_of_information(contingency).sum == 0
    assert adapted_rand_error(contingency).error == 0


def test_nothing_but_single_voxels_is_agreement():
    assert adapted_rand_error(Contingency.of([1, 2, 3], [4, 5, 6])).error == 0


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), labels=st.integers(2, 25))
def test_agrees_with_scikit_image(seed, labels):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, labels, (5, 8, 8))
    truth[0, 0, :2] = 1
    segmentation = np.where(rng.random(truth.shape) < 0.5, truth, rng.integers(0, labels, truth.shape))
    labelled = truth > 0

    contingency = Contingency.of(segmentation, truth)
    voi, rand = variation_of_information(contingency), adapted_rand_error(contingency)

    # scikit-image drops the segmentation's zeros too when asked to ignore 0, so the voxels are chosen for it
    split, merge = skimage_voi(truth[labelled], segmentation[labelled])
    error, precision, recall = skimage_rand(truth[labelled], segmentation[labelled], ignore_labels=())
    assert (voi.split, voi.merge) == pytest.approx((split, merge), abs=1e-12)
    assert rand.error == pytest.approx(error, abs=1e-12)
    # scikit-image 0.26 swaps the two against its own documentation; ours are pinned above
    assert sorted((rand.precision, rand.recall)) == pytest.approx(sorted((precision, recall)))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_renaming_labels_changes_no_bit(seed):
    rng = np.random.default_rng(seed)
    segmentation, truth = rng.integers(1, 30, (2, 500))
    names = rng.permutation(1000)[:30] + 1

    one, other = Contingency.of(segmentation, truth), Contingency.of(names[segmentation], names[::-1][truth])

    assert variation_of_information(one) == variation_of_information(other)
    assert adapted_rand_error(one) == adapted_rand_error(other)


def test_squares_beyond_int64_do_not_wrap():
    contingency = Contingency.of([1, 2], [1, 1])
    for _ in range(33):  # doubling: 2³³ voxels in each of two segments
        contingency.merge(contingency)

    rand = adapted_rand_error(contingency)

    assert contingency.voxels == 2**34
    assert rand.recall == pytest.approx(0.5)


@pytest.mark.parametrize("figure", [variation_of_information, adapted_rand_error])
def test_a_region_without_truth_is_refused(figure):
    with pytest.raises(DataError, match="no voxel has a truth label"):
        figure(Contingency.of([1, 2], [0, 0]))
