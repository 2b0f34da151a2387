import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from catena.errors import ConfigError, DataError, GeometryError
from catena.evaluation import Contingency, score, sweep_thresholds

#   truth       1 1 1 1 2 2 2 2
#   fragments   1 1 2 2 3 3 4 4
TRUTH = np.array([1, 1, 1, 1, 2, 2, 2, 2], np.uint64)
FRAGMENTS = np.array([1, 1, 2, 2, 3, 3, 4, 4], np.uint64)
IDS = np.array([1, 2, 3, 4], np.uint64)
THRESHOLDS = [0.0, 0.2, 0.4, 0.6]
TABLES = np.array([[1, 2, 3, 4], [1, 1, 3, 3], [1, 1, 3, 3], [1, 1, 1, 1]], np.uint64)


def test_sweep_falls_to_the_truth_and_rises_again():
    sweep = sweep_thresholds(Contingency.of(FRAGMENTS, TRUTH), IDS, TABLES, THRESHOLDS)

    assert sweep.voi_split.tolist() == [1, 0, 0, 0]
    assert sweep.voi_merge.tolist() == [0, 0, 0, 1]
    assert sweep.voi_sum.tolist() == [1, 0, 0, 1]
    assert sweep.adapted_rand_error[1:3].tolist() == [0, 0]


def test_ties_go_to_the_lowest_threshold():
    sweep = sweep_thresholds(Contingency.of(FRAGMENTS, TRUTH), IDS, TABLES, THRESHOLDS)

    assert sweep.best_threshold == 0.2


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_sweep_equals_scoring_each_segmentation_by_itself(seed):
    rng = np.random.default_rng(seed)
    fragments, truth = rng.integers(1, 21, 600), rng.integers(0, 6, 600)
    ids = rng.permutation(np.arange(1, 21))
    tables = rng.integers(1, 21, (5, 20))

    sweep = sweep_thresholds(Contingency.of(fragments, truth), ids, tables, np.linspace(0, 1, 5))

    for threshold, table in zip(sweep.thresholds, tables, strict=True):
        lookup = np.zeros(21, np.int64)
        lookup[ids] = table
        assert sweep.at(threshold) == score(Contingency.of(lookup[fragments], truth))


def test_threshold_chosen_on_validation_is_scored_on_test():
    validation = sweep_thresholds(Contingency.of(FRAGMENTS, TRUTH), IDS, TABLES, THRESHOLDS)
    test = sweep_thresholds(Contingency.of(FRAGMENTS, np.ones(8, np.uint64)), IDS, TABLES, THRESHOLDS)

    assert test.best_threshold == 0.6  # what looking at the test region would have chosen
    assert test.at(validation.best_threshold).voi_sum == 1


def test_threshold_that_was_not_swept_is_refused():
    sweep = sweep_thresholds(Contingency.of(FRAGMENTS, TRUTH), IDS, TABLES, THRESHOLDS)

    assert sweep.at(0.1 + 0.1 + 0.2).voi_sum == 0  # 0.4 but for rounding
    with pytest.raises(ConfigError, match=r"0\.5 was not swept; the nearest that was is 0\.[46]"):
        sweep.at(0.5)


@pytest.mark.parametrize("thresholds", [[0.2, 0.1, 0.3, 0.4], [0.1, 0.1, 0.2, 0.3], []])
def test_thresholds_must_ascend(thresholds):
    with pytest.raises(ConfigError, match="ascending"):
        sweep_thresholds(Contingency.of(FRAGMENTS, TRUTH), IDS, TABLES, thresholds)


def test_tables_of_another_shape_are_refused():
    with pytest.raises(GeometryError, match=r"shape \(4, n\), found \(3, 4\)"):
        sweep_thresholds(Contingency.of(FRAGMENTS, TRUTH), IDS, TABLES[:3], THRESHOLDS)


def test_tables_of_other_fragments_are_refused():
    with pytest.raises(DataError, match="not in the lookup table"):
        sweep_thresholds(Contingency.of(FRAGMENTS + np.uint64(1), TRUTH), IDS, TABLES, THRESHOLDS)
