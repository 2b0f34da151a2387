"""The accuracy table: validation alone chooses, waterz merges as told, rows say what they measured."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import waterz
from funlib.geometry import Coordinate

from benchmarks import __main__ as command
from benchmarks.accuracy import PARTS, SMOKE_PARTS
from benchmarks.accuracy.datasets import REAL, phantoms
from benchmarks.accuracy.experiment import Experiment
from benchmarks.accuracy.regions import Region, choose_and_score
from benchmarks.accuracy.rows import WEIGHT, baseline, differences, own_scores, reference_scores, shipped_experiment
from benchmarks.accuracy.table import Row, markdown
from benchmarks.accuracy.waterz_reference import MERGE_FUNCTION, published_fragments, waterz_fragments, waterz_tables
from catena.config import apply_overrides
from catena.evaluation import Contingency, Scores, fill_zeros, score
from catena.ledger import Ledger, Record
from catena.segmentation.block_agglomeration import silenced, waterz_expression
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.evaluation import baseline_scores
from local_shape_descriptors.pretrained import cards

ROOT = Path(__file__).parents[2]
VOXEL = Coordinate(8, 8, 8)
THRESHOLDS = (0.2, 0.5, 0.8)
FRAGMENTS = np.array([[[1, 2, 3, 0, 4]]], np.uint64)
IDS = np.array([1, 2, 3, 4], np.uint64)
TABLES = np.array([[1, 2, 3, 4], [1, 1, 3, 4], [1, 1, 1, 1]], np.uint64)  # nothing, the first two, all


def region(labels: Sequence[int], reference: Sequence[int] | None = None) -> Region:
    other = None if reference is None else np.array([[reference]], np.uint64)
    return Region(FRAGMENTS, np.array([[labels]], np.uint64), IDS, TABLES, other)


def test_validation_alone_chooses_the_threshold_that_test_is_scored_at() -> None:
    validation, test = region([7, 7, 8, 8, 9]), region([7, 7, 7, 7, 7])
    threshold, found = choose_and_score(validation, test, THRESHOLDS, "one_object", VOXEL)
    assert threshold == 0.5  # the test region would have taken 0.8
    merged = np.array([[[1, 1, 3, 0, 4]]], np.uint64)
    assert found["one_object"] == score(Contingency.of(merged, test.labels))
    assert found["filled"] == score(Contingency.of(fill_zeros(merged, VOXEL), test.labels))
    assert found["common"] == score(Contingency.of(merged[..., [0, 1, 2, 4]], test.labels[..., [0, 1, 2, 4]]))
    assert found["one_object"] != found["filled"]
    assert choose_and_score(test, test, THRESHOLDS, "one_object", VOXEL)[0] == 0.8


def test_common_voxels_are_those_that_the_reference_labels() -> None:
    test = region([7, 7, 8, 8, 9], reference=[1, 1, 0, 2, 0])
    _, found = choose_and_score(test, test, THRESHOLDS, "one_object", VOXEL)
    seen = np.array([[[1, 1, 0]]], np.uint64), np.array([[[7, 7, 8]]], np.uint64)
    assert found["common"] == score(Contingency.of(*seen))


def walled() -> np.ndarray:
    """Two rooms with a wall of affinity 0.25 between them."""
    affinities = np.full((3, 12, 12, 26), 255, np.uint8)
    affinities[..., 12:14] = 64
    return affinities


def test_published_fragments_are_rooms_and_flood_their_walls() -> None:
    fragments = published_fragments(walled())
    assert np.unique(fragments[..., :13]).tolist() == [1]
    assert np.unique(fragments[..., 13:]).tolist() == [2]


def test_fragments_merge_above_one_minus_the_affinity_between_them() -> None:
    affinities = walled()
    ids, tables = waterz_tables(affinities, published_fragments(affinities), (0.7, 0.8))
    assert ids.tolist() == [1, 2]
    assert [len(set(row)) for row in tables] == [2, 1]  # 1 - 0.25 = 0.75


def test_tables_give_the_segmentations_of_waterz() -> None:
    affinities = np.random.default_rng(0).integers(0, 256, (3, 8, 9, 10)).astype(np.uint8)
    fragments = waterz_fragments(affinities)
    before = fragments.copy()
    ids, tables = waterz_tables(affinities, fragments, THRESHOLDS)
    np.testing.assert_array_equal(fragments, before)
    with silenced():
        expected = [
            each.copy()
            for each in waterz.agglomerate(
                affinities.astype(np.float32) / np.float32(255),
                list(THRESHOLDS),
                fragments=fragments,
                scoring_function=waterz_expression(MERGE_FUNCTION),
            )
        ]
    assert len({len(np.unique(each)) for each in expected}) > 1
    for row, each in zip(tables, expected, strict=True):
        np.testing.assert_array_equal(row[np.searchsorted(ids, before)], each)


def test_the_baseline_is_that_of_evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    dataset = phantoms(tmp_path)["fib25"]
    experiment = Experiment("evaluate", dataset.config)
    expected = baseline_scores(experiment.config, experiment.volume)["test"]
    row = baseline("baseline", dataset)
    assert row.scores["one_object"] == expected.scores
    assert row.threshold == expected.threshold
    assert row.scores["common"] != expected.scores


def flat(number: float) -> dict[str, float]:
    return {"voi_split": number, "voi_merge": number + 1, "adapted_rand_error": number / 10}


def prefixed(prefix: str, number: float) -> dict[str, float]:
    return {prefix + key: value for key, value in flat(number).items()}


METRICS = {
    "zeros": "one_object",
    **flat(1),
    **prefixed("filled_", 2),
    **prefixed("common_", 3),
    **prefixed("common_ffn_", 4),
    **prefixed("reference_ffn_one_object_", 5),
    **prefixed("reference_ffn_filled_", 6),
    **prefixed("reference_ffn_common_", 7),
}


def test_metrics_are_read_under_every_policy() -> None:
    assert [each.voi_split for each in own_scores(METRICS, "ffn").values()] == [1, 2, 4]
    assert [each.voi_split for each in own_scores(METRICS, None).values()] == [1, 2, 3]
    assert [each.voi_merge for each in reference_scores(METRICS, "ffn").values()] == [6, 7, 8]
    without = {key: value for key, value in METRICS.items() if not key.startswith("common")}
    assert list(own_scores(without, None)) == ["one_object", "filled"]


def test_a_row_shows_scores_and_how_long_was_trained() -> None:
    scores = {"one_object": Scores(0.5, 0.25, 0.1), "filled": Scores(0.25, 0.25, 0.05)}
    row = Row("a", "our network", "catena run a.yaml", scores, 0.58, 2200, "18 min 41 s", 1121.0)  # type: ignore[arg-type]
    assert markdown([row]).splitlines()[2] == (
        "| our network | `catena run a.yaml` | 0.500 + 0.250 = 0.750; 0.100 | 0.250 + 0.250 = 0.500; 0.050 | – "
        "| 0.58 | 2,200 | 18 min 41 s |"
    )
    figures = {name: figure.value for name, figure in row.figures().items()}
    assert figures["a_one_object_voi_sum"] == 0.75
    assert figures["a_filled_adapted_rand_error"] == 0.05
    assert figures["a_train_seconds"] == 1121
    assert len(figures) == 9


def test_an_experiment_is_read_where_its_command_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    path = phantoms(tmp_path)["fib25"].config
    experiment = Experiment("run", path, ("experiment=b", "model.neighbourhood=[[-1, 0, 0], [0, -1, 0], [0, 0, -1]]"))
    assert experiment.command == (
        f"catena run {path} experiment=b 'model.neighbourhood=[[-1, 0, 0], [0, -1, 0], [0, 0, -1]]'"
    )
    folder = tmp_path / "runs/b"
    (folder / "volumes/medulla").mkdir(parents=True)
    (folder / "volumes/medulla/metrics.json").write_text(json.dumps({"validation": {}, "test": METRICS}))
    with Ledger(folder / "ledger.sqlite") as ledger:
        with pytest.raises(LookupError, match="no finished training"):
            experiment.training()
        record = Record("fingerprint", "done", 75.0, {}, {"figures": {"iterations": 9}})
        ledger.write("", "train", "published", record)
    assert experiment.metrics() == METRICS
    assert experiment.training().iterations == 9
    assert experiment.training().seconds == 75


def test_a_shipped_network_is_used_as_its_card_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    dataset, card = phantoms(tmp_path)["fib25"], cards()[WEIGHT]
    experiment = shipped_experiment(dataset)
    assert Path(str(experiment.config.inputs.checkpoint)).samefile(card.weights)
    assert differences(card, experiment.config) == ()
    longer = {**card.model.model_dump(mode="json"), "neighbourhood": [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [-3, 0, 0]]}
    fragments = card.fragments.model_copy(update={"threshold": 0.4, "per_section": False})
    other = card.model_copy(
        update={"model": type(card.model).parse(longer), "fragments": fragments, "merge_function": "mean"}
    )
    overrides = differences(other, experiment.config)
    assert [each.split("=")[0] for each in overrides] == [
        "model.neighbourhood",
        "fragments.per_section",
        "fragments.threshold",
        "agglomerate.merge_function",
    ]
    values = apply_overrides(experiment.config.model_dump(mode="json"), list(overrides))
    changed = LocalShapeDescriptorsConfig.parse(values)
    assert changed.model.channels == other.model.channels
    assert differences(other, changed) == ()


def test_without_data_rows_are_left_out_and_earlier_figures_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CATENA_DATA", raising=False)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "accuracy"])
    monkeypatch.setattr(command, "RESULTS", tmp_path)
    (tmp_path / "accuracy.json").write_text("earlier")
    command.main()
    said = capsys.readouterr().out
    assert all(f"{name} left out: CATENA_DATA is not set" in said for name in PARTS)
    assert (tmp_path / "accuracy.json").read_text() == "earlier"
    monkeypatch.setenv("CATENA_DATA", str(tmp_path))
    assert REAL["snemi3d"].missing() == f"there is no {tmp_path}/snemi3d/snemi3d_z1-49.h5"
    assert set(SMOKE_PARTS) < set(PARTS)
