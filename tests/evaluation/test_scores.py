import json

import pytest

from catena.evaluation import Contingency, RegionScores, RunLength, Scores, score


def test_score_collects_all_figures():
    assert score(Contingency.of([1, 1, 1, 1], [1, 1, 2, 2])) == Scores(0.0, 1.0, pytest.approx(0.5))


def test_flat_keys_are_the_ones_others_read():
    baseline = RegionScores(Scores(2.0, 1.0, 0.5), threshold=0.1, merge_function="mean")
    region = RegionScores(
        Scores(0.5, 0.25, 0.1), "filled", 0.3, "hist_quant_75", RunLength(900.0, 0.5, ignored_nodes=2), baseline
    )

    flat = region.to_flat()

    assert flat == {
        "voi_split": 0.5,
        "voi_merge": 0.25,
        "voi_sum": 0.75,
        "adapted_rand_error": 0.1,
        "zeros": "filled",
        "threshold": 0.3,
        "merge_function": "hist_quant_75",
        "erl_nm": 900.0,
        "nerl": 0.5,
        "erl_ignored_nodes": 2,
        "baseline_voi_split": 2.0,
        "baseline_voi_merge": 1.0,
        "baseline_voi_sum": 3.0,
        "baseline_adapted_rand_error": 0.5,
        "baseline_zeros": "one_object",
        "baseline_threshold": 0.1,
        "baseline_merge_function": "mean",
    }
    assert json.loads(json.dumps(flat)) == flat


def test_what_is_unknown_is_left_out():
    assert set(RegionScores(Scores(0, 0, 0)).to_flat()) == {
        "voi_split",
        "voi_merge",
        "voi_sum",
        "adapted_rand_error",
        "zeros",
    }


def test_scores_that_went_through_numpy_can_be_written_as_json():
    json.dumps(RegionScores(score(Contingency.of([1, 2], [1, 1]))).to_flat())
