"""Mitochondria beside neurons: the same stages once more, under their own names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array, list_arrays, open_array
from catena.errors import ConfigError, StageError
from catena.plan import Selection, plan
from catena.run import run
from catena.targets import affinities
from local_shape_descriptors.agglomeration import require_memory
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.estimation import rates
from local_shape_descriptors.fragments import FragmentsStage
from local_shape_descriptors.geometry import volume_geometry
from local_shape_descriptors.graph import open_graph
from local_shape_descriptors.masks import prediction_margin
from local_shape_descriptors.objects import MITOCHONDRIA, NEURONS
from local_shape_descriptors.scoring import BACKGROUND, Truth
from local_shape_descriptors.task import TASK, summary

SHAPE = (4, 16, 32)
VOXEL_SIZE = Coordinate(8, 8, 8)
PLANAR = [(0, -1, 0), (0, 0, -1), (0, 0, -4)]
SHORT = [(-1, 0, 0), (0, -1, 0), (0, 0, -1)]
CHAIN = ("fragments", "agglomerate", "lookup_tables", "segmentation", "evaluate")


def write(path: Path, values: np.ndarray, offsets: list[tuple[int, int, int]] | None = None) -> str:
    array = create_array(
        path,
        roi=Roi((0, 0, 0), Coordinate(SHAPE) * VOXEL_SIZE),
        voxel_size=VOXEL_SIZE,
        dtype=values.dtype,
        chunk_shape_vox=Coordinate(4, 16, 16),
        channels=values.shape[0] if values.ndim == 4 else None,
        attributes={"offsets": [list(each) for each in offsets]} if offsets else None,
    )
    array.write(array.roi, values)
    return str(path)


@pytest.fixture
def settings(tmp_path: Path) -> dict[str, Any]:
    """Two neurons side by side, seen in plane only, with three mitochondria, of which one crosses a block face."""
    neurons = np.ones(SHAPE, np.uint64)
    neurons[:, 8:] = 2
    mitochondria = np.zeros(SHAPE, np.uint64)
    for label, (begin, end) in {7: (2, 6), 8: (12, 20), 9: (26, 30)}.items():
        mitochondria[1:3, 2:6, begin:end] = label

    def of(labels: np.ndarray, offsets: list[tuple[int, int, int]]) -> np.ndarray:
        joined, _ = affinities(labels, [Coordinate(each) for each in offsets])
        return (joined * np.uint8(255)).astype(np.uint8)

    store = tmp_path / "em.zarr"
    return {
        "task": "local_shape_descriptors",
        "experiment": "e",
        "output": str(tmp_path / "runs"),
        "volumes": {
            "v": {
                "labels": write(store / "neurons", neurons),
                "other_labels": {"mitochondria": write(store / "mitochondria", mitochondria)},
                "inputs": {
                    "affinities": write(store / "affinities", of(neurons, PLANAR), PLANAR),
                    "other_affinities": {"mitochondria": write(store / "more", of(mitochondria, SHORT), SHORT)},
                },
                "regions": {"validation": {"x": [0, 16]}, "test": {"x": [16, 32]}},
            }
        },
        "fragments": {"block_shape_vox": [4, 16, 16], "method": "mutex", "grow": 1},
        "segmentation": {"threshold": 0.5},  # against 3D truth validation would choose to merge nothing
        "mitochondria": {"agglomerate": {"merge_function": "mean"}},
    }


@pytest.mark.usefixtures("in_this_process")
def test_both_are_segmented_and_scored(settings: dict[str, Any]) -> None:
    config = LocalShapeDescriptorsConfig.parse(settings)
    outcomes = run(TASK, config, Selection())
    stages = [outcome.node.stage for outcome in outcomes]
    assert stages == [*CHAIN, *(f"mitochondria_{each}" for each in CHAIN), "preview"]
    folder = config.volume_folder("v")
    arrays = {"volumes/fragments", "volumes/segmentation", "volumes/mitochondria_fragments", "volumes/mitochondria"}
    assert set(list_arrays(folder / "volume.zarr")) == arrays

    found = open_array(folder / "volume.zarr/volumes/mitochondria").read()
    truth = open_array(settings["volumes"]["v"]["other_labels"]["mitochondria"]).read()
    pairs = {(int(a), int(b)) for a, b in zip(truth.ravel(), found.ravel(), strict=True) if a and b}
    assert len(pairs) == len({a for a, _ in pairs}) == len({b for _, b in pairs}) == 3
    assert found[:, :, 20:25].max() == 0  # they lie apart, and nothing grows in between

    # a 2D model of neurons: four sections of two neurons, each by itself
    neurons = open_array(folder / "volume.zarr/volumes/segmentation").read()
    assert [np.unique(section).size for section in neurons] == [2, 2, 2, 2]
    assert np.unique(neurons).size == 8

    with open_graph(config, "v", "r") as store:
        tables = {"nodes", "forced_edges", "edge_statistics"}
        expected = tables | {f"mitochondria_{each}" for each in tables}
        assert set(store.tables()) == expected | {"edges_hist_quant_75", "mitochondria_edges_mean"}
    scores = json.loads((folder / "mitochondria_metrics.json").read_text())
    assert set(scores) == {"validation", "test"}
    assert scores["test"]["voi_sum"] == pytest.approx(0, abs=0.2)
    assert not any(key.startswith(("baseline", "filled", "common")) for key in scores["test"])
    assert (folder / "mitochondria_luts/mean.zarr").is_dir()
    names = [name for name, _ in summary(config, "v")]
    assert names == [
        "validation",
        "test",
        "validation, mitochondria",
        "test, mitochondria",
        "segmentation",
        "mitochondria",
        "preview",
    ]
    assert all(outcome.action != "made" for outcome in run(TASK, config, Selection()))


def test_what_is_asked_for_neurons_is_done_for_mitochondria_too(settings: dict[str, Any]) -> None:
    config = LocalShapeDescriptorsConfig.parse(settings)

    def planned(**selection: str) -> list[str]:
        return [node.stage for node in plan(TASK, config, Selection(**selection))]

    assert {"segmentation", "mitochondria_segmentation"} <= set(planned(last="segmentation"))
    assert planned(last="mitochondria_fragments") == ["mitochondria_fragments"]
    assert planned(first="fragments", last="fragments") == ["fragments"]


def test_settings_of_mitochondria_leave_neurons_alone(settings: dict[str, Any]) -> None:
    config = LocalShapeDescriptorsConfig.parse(settings)
    changed = LocalShapeDescriptorsConfig.parse(
        {**settings, "mitochondria": {"fragments": {"threshold": 0.7}, "threshold": 0.4}}
    )
    for step in CHAIN:
        stage = TASK.stage(step)
        assert stage.settings(config, "v") == stage.settings(changed, "v")
        assert stage.inputs(config, "v") == stage.inputs(changed, "v")
    for step in ("fragments", "agglomerate", "segmentation"):
        stage = TASK.stage(f"mitochondria_{step}")
        assert stage.settings(config, "v") != stage.settings(changed, "v")
    assert changed.mitochondria.fragments.grow == 0
    with pytest.raises(ConfigError, match=r"mitochondria\.threshold: no lookup table at threshold 0\.333"):
        LocalShapeDescriptorsConfig.parse({**settings, "mitochondria": {"threshold": 0.333}})


def test_without_affinities_of_mitochondria_nothing_is_done_of_them(settings: dict[str, Any]) -> None:
    volume = settings["volumes"]["v"]
    del volume["inputs"]["other_affinities"]
    config = LocalShapeDescriptorsConfig.parse({**settings, "model": {"type": "mtlsdmito"}})
    assert not any(TASK.stage(f"mitochondria_{step}").applies(config, "v") for step in CHAIN)
    predicting = {**volume, "raw": volume["labels"], "inputs": {}}
    for kind, applies in (("mtlsdmito", True), ("mtlsd", False)):
        config = LocalShapeDescriptorsConfig.parse(
            {**settings, "model": {"type": kind}, "volumes": {"v": predicting}, "fragments": {}}
        )
        assert all(TASK.stage(f"mitochondria_{step}").applies(config, "v") == applies for step in CHAIN)
        assert ("mitochondria" in TASK.stage("preview").inputs(config, "v")) == applies


def test_background_is_ground_truth_for_mitochondria_only(settings: dict[str, Any]) -> None:
    config = LocalShapeDescriptorsConfig.parse(settings)
    truth = Truth(config, "v", "test", objects=MITOCHONDRIA)
    assert set(np.unique(truth.read(truth.roi))) == {8, 9, BACKGROUND}
    beyond = Roi((0, 0, 240), (32, 128, 32))
    assert set(np.unique(truth.read(beyond))) == {0, BACKGROUND}  # 0: where there are no labels
    assert set(np.unique(Truth(config, "v", "test").read(truth.roi))) == {1, 2}


def test_methods_are_checked_against_what_will_be_predicted(settings: dict[str, Any]) -> None:
    volume = settings["volumes"]["v"]
    settings["volumes"]["v"] = {**volume, "raw": volume["labels"], "inputs": {}}
    settings["model"] = {"type": "mtlsdmito", "neighbourhood": "aff6"}
    config = LocalShapeDescriptorsConfig.parse(settings)
    FragmentsStage().check(config, "v")
    settings["mitochondria"] = {"fragments": {"method": "mutex"}}
    config = LocalShapeDescriptorsConfig.parse(settings)
    with pytest.raises(ConfigError, match="mutex needs long-range affinities"):
        FragmentsStage(MITOCHONDRIA).check(config, "v")


def test_what_is_predicted_reaches_as_far_as_either_method_looks(settings: dict[str, Any]) -> None:
    volume = settings["volumes"]["v"]
    settings["volumes"]["v"] = {**volume, "raw": volume["labels"], "inputs": {}}
    settings["fragments"] = {"method": "seeded", "seeded_context": 4}

    def margin(kind: str) -> Coordinate:
        config = LocalShapeDescriptorsConfig.parse({**settings, "model": {"type": kind}})
        return prediction_margin(config, volume_geometry(config, "v"))

    assert margin("mtlsd") == Coordinate(4, 4, 4)
    assert margin("mtlsdmito") == Coordinate(32, 32, 32)


def test_estimates_and_limits_hold_for_both(settings: dict[str, Any]) -> None:
    config = LocalShapeDescriptorsConfig.parse(settings)
    for step in ("fragments", "agglomerate", "segmentation"):
        assert rates(config, "v", f"mitochondria_{step}") == rates(config, "v", step)
    with pytest.raises(StageError, match=r"set mitochondria\.agglomerate\.scope to blocks"):
        require_memory(10**9, config, MITOCHONDRIA)
    with pytest.raises(StageError, match=r"set agglomerate\.scope to blocks"):
        require_memory(10**9, config, NEURONS)
