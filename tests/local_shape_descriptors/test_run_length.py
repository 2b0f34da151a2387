"""Run length in the evaluation stage, on a volume of 4 x 4 x 8 voxels and two neurons that run along x."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array
from catena.errors import ArrayNotFoundError, ConfigError, GeometryError
from catena.ledger import Ledger
from catena.node_fingerprints import NodeFingerprints
from catena.plan import Node, Selection, plan
from catena.task import Job
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.evaluation import EvaluateStage
from local_shape_descriptors.lookup_tables import LookupTables
from local_shape_descriptors.task import TASK, describe_scores

THRESHOLDS = (0.0, 0.5, 1.0)
IDS = np.array([1, 2, 3], np.uint64)
SEGMENTS = [[1, 2, 3], [1, 1, 3], [1, 1, 1]]


def write(path: Path, values: np.ndarray) -> str:
    roi, voxel_size = Roi((0, 0, 0), Coordinate(values.shape) * 8), Coordinate(8, 8, 8)
    create_array(
        path, roi=roi, voxel_size=voxel_size, dtype=values.dtype, chunk_shape_vox=Coordinate(values.shape)
    ).write(roi, values)
    return str(path)


def fragments() -> np.ndarray:
    #  section z = 2, rows y = 0 … 3     sections 0, 1, 3 are 0
    values = np.zeros((4, 4, 8), np.uint64)
    values[2, 0] = [1, 1, 1, 1, 2, 2, 2, 2]
    values[2, 2] = [3, 3, 3, 3, 3, 3, 0, 0]
    return values


def swc(y: float, z: float = 2.5, end: float = 2.5) -> str:
    """Nodes at the middle of each voxel of a row, and a last one in section `end`; positions in voxels."""
    lines = [f"{n + 1} 0 {n + 0.5} {y} {z} 1 {n or -1}" for n in range(8)]
    return "\n".join([*lines, f"9 0 7.5 {y} {end} 1 8"])


@pytest.fixture
def values(tmp_path: Path) -> dict[str, Any]:
    """Two skeletons of 7 edges of 8 nm in the test region, of which one goes on into the validation region."""
    (tmp_path / "traced").mkdir()
    (tmp_path / "traced/a.swc").write_text(swc(0.5, end=1.5))
    (tmp_path / "traced/b.SWC").write_text(swc(2.5))
    (tmp_path / "traced/notes.txt").write_text("not a skeleton")
    return {
        "task": "local_shape_descriptors",
        "experiment": "e",
        "output": str(tmp_path / "runs"),
        "volumes": {
            "v": {
                "raw": write(tmp_path / "data.zarr/raw", np.zeros((4, 4, 8), np.uint8)),
                "regions": {"validation": {"z": [0, 2]}, "test": {"z": [2, 4]}},
                "skeletons": {"path": str(tmp_path / "traced"), "nm_per_unit": 8},
            }
        },
        "segmentation": {"threshold": 0.5},
        "lookup_tables": {"thresholds": list(THRESHOLDS)},
        "evaluate": {"baseline": False},
    }


def evaluated(values: dict[str, Any]) -> dict[str, Any]:
    """Run the stage on fragments and tables made by hand; return the figures it writes."""
    config = LocalShapeDescriptorsConfig.parse(values)
    folder = config.volume_folder("v")
    stage = EvaluateStage()
    made = {name: TASK.stage(name).outputs(config, "v")[name].path for name in ("fragments", "lookup_tables")}
    write(folder / made["fragments"], fragments())
    tables = (np.array(each, np.uint64) for each in SEGMENTS)
    LookupTables.write(folder / made["lookup_tables"] / "hist_quant_75.zarr", IDS, np.array(THRESHOLDS), tables)
    job = Job(TASK.name, stage.name, "v", config, "f" * 64, stage.inputs(config, "v"))
    job.staging.mkdir(parents=True, exist_ok=True)
    stage.run(job, lambda *_: None)
    outputs = stage.outputs(config, "v")
    assert all(job.staged(each).exists() for each in outputs.values())
    metrics: dict[str, Any] = json.loads(job.staged(outputs["metrics"]).read_text())
    return metrics


#  run lengths in nm: of a 7 edges (or 3 + 3, cut in the middle), of b 5 edges; that of a to z = 1 leaves the region,
#  that of b between its last two nodes has no length
@pytest.mark.parametrize(("threshold", "runs", "merged"), [(0.0, (24, 24, 40), 0), (0.5, (56, 40), 0), (1.0, (0,), 1)])
def test_run_length_by_hand(values: dict[str, Any], threshold: float, runs: tuple[int, ...], merged: int) -> None:
    values["segmentation"]["threshold"] = threshold
    flat = evaluated(values)["test"]
    squares = sum(run**2 for run in runs)
    assert flat["erl_nm"] == pytest.approx(squares / (56 + 56))
    assert flat["nerl"] == pytest.approx(squares / (56**2 + 56**2))
    assert (flat["ignored_nodes"], flat["merged_segments"]) == (0, merged)
    assert "voi_sum" not in flat


def test_a_region_without_a_skeleton_has_no_run_length(values: dict[str, Any]) -> None:
    flat = evaluated(values)["validation"]  # one node of a, no edge
    assert set(flat) == {"threshold", "merge_function", "threshold_origin"}
    assert describe_scores(flat) == "no skeleton here, threshold 0.5"


def test_scores_against_labels_and_along_skeletons_stand_together(values: dict[str, Any], tmp_path: Path) -> None:
    labels = np.ones((4, 4, 8), np.uint64)
    labels[2] = fragments()[2] + np.uint64(1)
    volume = values["volumes"]["v"]
    volume["labels"] = write(tmp_path / "data.zarr/labels", labels)
    volume["references"] = {"other": write(tmp_path / "data.zarr/other", np.ones((4, 4, 8), np.uint64))}
    flat = evaluated(values)["test"]
    assert flat["erl_nm"] == pytest.approx((56**2 + 40**2) / 112)
    assert (flat["reference_other_erl_nm"], flat["reference_other_merged_segments"]) == (0, 1)
    line = describe_scores(flat)
    assert line.startswith(f"VOI {flat['voi_split']:.3f} split")
    assert "expected run length 42 nm (0.755 of a perfect one), threshold 0.5" in line


def test_ignored_nodes_are_in_the_figures(values: dict[str, Any]) -> None:
    values["segmentation"]["threshold"] = 1.0
    values["volumes"]["v"]["skeletons"]["ignored_nodes"] = 7  # b has as many in the segment that holds both, a has 8
    flat = evaluated(values)["test"]
    assert flat["erl_nm"] == pytest.approx((56**2 + 40**2) / 112)
    assert (flat["ignored_nodes"], flat["merged_segments"]) == (7, 0)


def test_only_evaluate_depends_on_skeletons_and_on_their_bytes(values: dict[str, Any], tmp_path: Path) -> None:
    def fingerprint() -> str:
        stage = Node("evaluate", "v")
        config = LocalShapeDescriptorsConfig.parse(values)
        fingerprints = NodeFingerprints(TASK, config, Ledger(tmp_path / "ledger.sqlite"))
        fingerprints._nodes = {Node(each, "v"): ("as before", {}) for each in ("fragments", "lookup_tables")}
        return fingerprints.of(stage)[0]

    before = fingerprint()
    (tmp_path / "traced").rename(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/a.swc").rename(tmp_path / "elsewhere/c.swc")
    values["volumes"]["v"]["skeletons"]["path"] = str(tmp_path / "elsewhere")
    assert fingerprint() == before
    (tmp_path / "elsewhere/c.swc").write_text(swc(1.5))
    changed = fingerprint()
    assert changed != before
    values["volumes"]["v"]["skeletons"]["nm_per_unit"] = 4
    assert fingerprint() not in (before, changed)
    traced = LocalShapeDescriptorsConfig.parse(values)
    stages = [TASK.stage(name) for name in ("agglomerate", "lookup_tables", "segmentation", "evaluate", "preview")]
    assert [each.name for each in stages if "skeletons" in each.inputs(traced, "v")] == ["evaluate"]


def test_without_skeletons_nothing_is_said_of_them(values: dict[str, Any]) -> None:
    del values["volumes"]["v"]["skeletons"]
    values["volumes"]["v"]["labels"] = values["volumes"]["v"]["raw"]
    config = LocalShapeDescriptorsConfig.parse(values)
    stage = EvaluateStage()
    assert list(stage.inputs(config, "v")) == ["fragments", "lookup_tables", "labels"]
    assert list(stage.settings(config, "v")) == ["evaluate", "regions", "threshold"]


def test_skeletons_are_checked_before_anything_runs(values: dict[str, Any], tmp_path: Path) -> None:
    def check(**changes: Any) -> None:
        values["volumes"]["v"]["skeletons"].update(changes)
        EvaluateStage().check(LocalShapeDescriptorsConfig.parse(values), "v")

    check()
    check(nm_per_unit=[4, 8, 8], path=str(tmp_path / "traced/a.swc"))
    with pytest.raises(GeometryError, match=r"none of the 9 nodes .* to \[2500, 500, 7500\] nm.*nm_per_unit is 1000"):
        check(nm_per_unit=1000)
    with pytest.raises(ArrayNotFoundError, match="nowhere does not exist"):
        check(path=str(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArrayNotFoundError, match=r"no file of the folder .*empty ends in \.swc"):
        check(path=str(tmp_path / "empty"))
    with pytest.raises(ConfigError, match="greater than 0"):
        check(nm_per_unit=[0, 8, 8])


@pytest.mark.parametrize(
    ("left_out", "message"),
    [
        (["skeletons"], r"v: evaluate does not apply, for it has no labels or skeletons \(volumes\.v\)$"),
        (["regions"], r"it has no region validation or test \(volumes\.v\.regions\)$"),
        (["skeletons", "regions"], r"no labels or skeletons \(volumes\.v\) and no region validation or test"),
    ],
)
def test_what_evaluation_lacks_is_said(values: dict[str, Any], left_out: list[str], message: str) -> None:
    for key in left_out:
        del values["volumes"]["v"][key]
    config = LocalShapeDescriptorsConfig.parse(values)
    with pytest.raises(ConfigError, match=message):
        plan(TASK, config, Selection(last="evaluate"))
