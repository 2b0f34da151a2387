"""From affinities to scores through the runner, with real workers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array, open_array
from catena.errors import StageError
from catena.evaluation import Contingency, variation_of_information
from catena.plan import Selection
from catena.run import Outcome, run
from catena.segmentation import segment
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.task import TASK

STAGES = ["fragments", "agglomerate", "lookup_tables", "segmentation", "evaluate", "preview"]


def write(path: Path, values: np.ndarray) -> str:
    array = create_array(
        path,
        roi=Roi((0, 0, 0), Coordinate(values.shape) * 8),
        voxel_size=Coordinate(8, 8, 8),
        dtype=values.dtype,
        chunk_shape_vox=Coordinate(16, 16, 16),
    )
    array.write(array.roi, values)
    return str(path)


def run_all(settings: Mapping[str, Any], **selection: Any) -> list[Outcome]:
    return run(TASK, LocalShapeDescriptorsConfig.parse(settings), Selection(**selection))


def made(outcomes: list[Outcome], volume: str = "phantom") -> list[str]:
    return [each.node.stage for each in outcomes if each.action == "made" and each.node.volume in ("", volume)]


def folder(settings: Mapping[str, Any], volume: str = "phantom") -> Path:
    return Path(settings["output"]) / "e/volumes" / volume


def segmentation(settings: Mapping[str, Any], volume: str = "phantom") -> np.ndarray:
    return open_array(folder(settings, volume) / "volume.zarr/volumes/segmentation").read()


def voi(a: np.ndarray, b: np.ndarray) -> float:
    return variation_of_information(Contingency.of(a + np.uint64(1), b + np.uint64(1))).sum


@pytest.mark.parametrize("scope", ["graph", "blocks"])
@pytest.mark.parametrize("method", ["basins", "seeded"])
def test_blocks_agree_with_memory(settings: dict[str, Any], em: dict[str, str], method: str, scope: str) -> None:
    """The same partition, exactly, by the default methods; nearly the same by the published ones."""
    settings["fragments"]["method"] = method
    settings["agglomerate"] = {"scope": scope}
    settings["segmentation"] = {"threshold": 0.5}
    outcomes = run_all(settings, last="segmentation")
    assert made(outcomes) == STAGES[:4]
    assert all(sum(each.report.blocks.values()) == 36 for each in outcomes if each.report.blocks)
    array = open_array(em["affinities"])
    config = LocalShapeDescriptorsConfig.parse(settings)
    memory = segment(array.read(), array.affinity_offsets, array.voxel_size, config.fragments, config.agglomerate)
    difference = voi(segmentation(settings), memory.at(0.5))
    if (method, scope) == ("basins", "graph"):
        assert difference == 0
    else:
        assert difference < 0.1  # measured: 0.034 bit for the seeded watershed, 0 for basins merged block by block


def test_figures_are_complete_and_beat_the_baseline(settings: dict[str, Any]) -> None:
    run_all(settings)
    metrics = json.loads((folder(settings) / "metrics.json").read_text())
    assert set(metrics) == {"validation", "test"}
    flat = metrics["test"]
    assert flat["voi_sum"] == pytest.approx(flat["voi_split"] + flat["voi_merge"])
    assert flat["voi_sum"] < flat["baseline_voi_sum"]
    assert flat["threshold"] == metrics["validation"]["threshold"]
    assert flat["merge_function"] == "hist_quant_75"
    assert {"adapted_rand_error", "filled_voi_sum", "common_voi_sum", "threshold_origin"} <= set(flat)
    for name in ("preview.png", "voi.png"):
        assert (folder(settings) / name).read_bytes().startswith(b"\x89PNG")


def test_a_rerun_does_nothing(settings: dict[str, Any]) -> None:
    assert made(run_all(settings)) == STAGES
    before = segmentation(settings)
    assert made(run_all(settings)) == []
    np.testing.assert_array_equal(segmentation(settings), before)


def test_changes_redo_exactly_what_depends_on_them(
    settings: dict[str, Any], em: dict[str, str], tmp_path: Path
) -> None:
    run_all(settings)
    threshold = {**settings, "segmentation": {"threshold": 0.3}}
    assert made(run_all(threshold)) == ["segmentation", "evaluate", "preview"]
    assert made(run_all(settings)) == ["segmentation", "evaluate", "preview"]
    merged = {**settings, "agglomerate": {"merge_function": "mean"}}
    assert made(run_all(merged)) == ["agglomerate", "lookup_tables", "segmentation", "evaluate", "preview"]
    workers = {**merged, "execution": {"default": {"workers": 1}}}
    assert made(run_all(workers)) == []
    shutil.copytree(Path(em["affinities"]).parent.parent, tmp_path / "moved.zarr")
    moved = {**merged, "inputs": {"affinities": str(tmp_path / "moved.zarr/volumes/pred_affs")}}
    assert made(run_all(moved)) == []


def test_a_second_volume_takes_the_threshold_of_the_first(settings: dict[str, Any], em: dict[str, str]) -> None:
    affinities = settings.pop("inputs")
    settings["volumes"]["phantom"]["inputs"] = affinities
    settings["volumes"]["other"] = {"raw": em["raw"], "inputs": affinities}
    outcomes = run_all(settings)
    assert made(outcomes, "other") == ["fragments", "agglomerate", "lookup_tables", "segmentation", "preview"]
    array = open_array(folder(settings, "other") / "volume.zarr/volumes/segmentation")
    assert array.attributes["threshold_origin"] == "chosen on validation of phantom"
    np.testing.assert_array_equal(segmentation(settings, "other"), segmentation(settings))


def test_without_ground_truth_the_default_threshold_is_used_and_said(settings: dict[str, Any]) -> None:
    settings["volumes"]["phantom"] = {"raw": settings["volumes"]["phantom"]["raw"]}
    outcomes = run_all(settings)
    assert made(outcomes) == ["fragments", "agglomerate", "lookup_tables", "segmentation", "preview"]
    array = open_array(folder(settings) / "volume.zarr/volumes/segmentation")
    assert "no volume has a validation region" in array.attributes["threshold_origin"]


def test_a_network_that_sees_only_boundaries_is_scored_too(
    settings: dict[str, Any], em: dict[str, str], tmp_path: Path
) -> None:
    whole = open_array(em["affinities"])
    array = create_array(
        tmp_path / "a.zarr/affs",
        roi=whole.roi,
        voxel_size=whole.voxel_size,
        dtype="uint8",
        chunk_shape_vox=Coordinate(16, 16, 16),
        channels=3,
        attributes={"offsets": whole.attributes["offsets"]},
    )
    settings["inputs"] = {"affinities": array.path}
    settings["segmentation"] = {"threshold": 0.5}
    run_all(settings)
    flat = json.loads((folder(settings) / "metrics.json").read_text())["test"]
    assert flat["voi_split"] == 0
    assert flat["voi_merge"] > 1
    assert "common_voi_sum" not in flat


def test_part_of_a_volume_is_processed(settings: dict[str, Any]) -> None:
    phantom = settings["volumes"]["phantom"]
    phantom["roi"] = {"z": [8, 48], "x": [4, 40]}
    phantom["regions"] = {"validation": {"z": [16, 32], "x": [4, 40]}, "test": {"z": [32, 48], "x": [4, 40]}}
    run_all(settings)
    array = open_array(folder(settings) / "volume.zarr/volumes/segmentation")
    assert tuple(array.shape_vox) == (40, 48, 36)
    assert tuple(array.offset) == (64, 0, 32)
    assert (array.read() > 0).mean() > 0.9


def test_affinities_smaller_than_raw_are_processed_where_they_are(
    settings: dict[str, Any], em: dict[str, str], tmp_path: Path
) -> None:
    whole = open_array(em["affinities"])
    part = Roi((32, 32, 32), (320, 320, 320))
    array = create_array(
        tmp_path / "a.zarr/affs",
        roi=part,
        voxel_size=whole.voxel_size,
        dtype="uint8",
        chunk_shape_vox=Coordinate(16, 16, 16),
        channels=3,
        attributes={"offsets": whole.attributes["offsets"]},
    )
    array.write(part, whole.read(part))
    settings["volumes"] = {"phantom": {"raw": em["raw"]}}
    settings["inputs"] = {"affinities": array.path}
    run_all(settings)
    assert open_array(folder(settings) / "volume.zarr/volumes/segmentation").roi == part


@pytest.mark.parametrize(
    ("key", "value"),
    [("background_labelled", True), ("weight", 2.0), ("regions", {"train": {"z": [0, 20]}})],
)
def test_training_settings_hold_what_changes_the_weights(settings: dict[str, Any], key: str, value: object) -> None:
    stage = TASK.stage("train")
    before = stage.settings(LocalShapeDescriptorsConfig.parse(settings), "")
    settings["volumes"]["phantom"][key] = value
    assert stage.settings(LocalShapeDescriptorsConfig.parse(settings), "") != before


def test_sections_are_segmented_one_by_one_where_they_are_thick(settings: dict[str, Any], em: dict[str, str]) -> None:
    settings["fragments"]["per_section"] = True
    settings["segmentation"] = {"threshold": 0.5}
    run_all(settings, last="segmentation")
    fragments = open_array(folder(settings) / "volume.zarr/volumes/fragments").read()
    for below, above in pairwise(fragments):
        assert not np.intersect1d(below[below > 0], above).size
    assert len(np.unique(segmentation(settings))) < len(np.unique(fragments)) / 4
    array = open_array(em["affinities"])
    config = LocalShapeDescriptorsConfig.parse(settings)
    memory = segment(array.read(), array.affinity_offsets, array.voxel_size, config.fragments, config.agglomerate)
    assert voi(segmentation(settings), memory.at(0.5)) == 0


def test_fragments_stay_inside_a_mask(settings: dict[str, Any], em: dict[str, str], tmp_path: Path) -> None:
    mask = np.ones(open_array(em["raw"]).shape_vox, np.uint8)
    mask[:, :20] = 0
    settings["volumes"]["phantom"]["mask"] = write(tmp_path / "mask.zarr/mask", mask)
    settings["segmentation"] = {"threshold": 0.5}
    run_all(settings, last="segmentation")
    assert not segmentation(settings)[:, :20].any()
    assert (segmentation(settings)[:, 20:] > 0).mean() > 0.9


def test_a_graph_larger_than_the_stated_memory_is_refused(settings: dict[str, Any]) -> None:
    settings["segmentation"] = {"threshold": 0.5}
    little = {**settings, "agglomerate": {"memory_gb": 0.0001}}
    with pytest.raises(
        StageError, match=r"takes about 0\.0 GB; agglomerate\.memory_gb allows 0\.0001.*scope to blocks"
    ):
        run_all(little, last="agglomerate")
    assert made(run_all(settings, last="agglomerate")) == ["agglomerate"]


def test_voxel_sizes_of_a_fraction_of_a_nanometre(settings: dict[str, Any], em: dict[str, str], tmp_path: Path) -> None:
    run_all(settings)
    shrunk = {}
    for name, path in em.items():
        whole = open_array(path)
        array = create_array(
            tmp_path / f"{name}.zarr/values",
            roi=Roi((0, 0, 0), whole.shape_vox * 46),
            voxel_size=Coordinate(46, 46, 46),
            units_per_nm=10,
            dtype=whole.dtype,
            chunk_shape_vox=Coordinate(16, 16, 16),
            channels=whole.channels,
            attributes={"offsets": whole.attributes["offsets"]} if whole.channels else {},
        )
        array.write(array.roi, whole.read())
        shrunk[name] = array.path
    phantom = {**settings["volumes"]["phantom"], "raw": shrunk["raw"], "labels": shrunk["labels"]}
    changed = {
        **settings,
        "output": str(tmp_path / "shrunk"),
        "volumes": {"phantom": phantom},
        "inputs": {"affinities": shrunk["affinities"]},
    }
    run_all(changed)
    array = open_array(folder(changed) / "volume.zarr/volumes/segmentation")
    assert array.voxel_size_nm == (4.6, 4.6, 4.6)
    np.testing.assert_array_equal(array.read(), segmentation(settings))
    same, shrunk_too = (json.loads((folder(each) / "metrics.json").read_text()) for each in (settings, changed))
    assert same["test"]["voi_sum"] == shrunk_too["test"]["voi_sum"]
