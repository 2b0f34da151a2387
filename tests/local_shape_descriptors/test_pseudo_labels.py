"""Training on what another experiment has segmented."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array, open_array
from catena.config import to_yaml
from catena.errors import ConfigError
from catena.ledger import Ledger
from catena.plan import Selection, plan
from catena.run import run, why_not_current
from local_shape_descriptors.config import LocalShapeDescriptorsConfig, TrainStageConfig
from local_shape_descriptors.pseudo_labels import confidence, segmented_elsewhere, write_mask
from local_shape_descriptors.task import TASK
from local_shape_descriptors.training_volumes import TrainingVolume, open_source, shared_out

OFFSETS = [Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1), Coordinate(0, 0, -3)]


@pytest.fixture
def student(settings: dict[str, Any], em: dict[str, str], tmp_path: Path) -> dict[str, Any]:
    """An experiment that learns from `teacher`, too, who has segmented the volume `new`."""
    shutil.copytree(Path(em["raw"].split(".zarr")[0] + ".zarr"), tmp_path / "new.zarr")
    teacher = {
        **settings,
        "experiment": "teacher",
        "volumes": {"new": {"raw": str(tmp_path / "new.zarr/volumes/raw")}},
    }
    run_to(teacher, "segmentation")
    del settings["inputs"], settings["volumes"]["phantom"]["regions"]["validation"]
    return {
        **settings,
        "augment": {"enabled": False},
        "model": {"type": "aff", "feature_maps": 2, "growth": 1, "levels": 1},
        "train": {
            "iterations": 1,
            "input_shape_vox": [24, 24, 24],
            "pseudo_labels": {"from": "teacher", "volumes": ["new"], "min_confidence": 0.6},
        },
        "execution": {"default": {"workers": 1}, "train": {"data_workers": 0}},
    }


def run_to(settings: dict[str, Any], last: str) -> dict[str, str]:
    outcomes = run(TASK, LocalShapeDescriptorsConfig.parse(settings), Selection(last=last))
    return {each.node.stage: each.action for each in outcomes}


@pytest.mark.usefixtures("in_this_process")
def test_a_student_trains_where_the_teacher_is_sure(student: dict[str, Any], tmp_path: Path) -> None:
    assert run_to(student, "train") == {"pseudo_labels": "made", "train": "made"}
    mask = open_array(tmp_path / "runs/e/pseudo_labels/new.zarr/volumes/labels_mask")
    made = tmp_path / "runs/teacher/volumes/new/volume.zarr/volumes/segmentation"
    labels = open_array(made)
    assert (mask.roi, mask.dtype) == (labels.roi, np.uint8)
    config = LocalShapeDescriptorsConfig.parse(student)
    (found,) = segmented_elsewhere(config)
    affinities = open_array(found.affinities)
    sure = confidence(affinities.read(labels.roi), affinities.affinity_offsets, labels.read(labels.roi)) >= 0.6
    assert np.array_equal(mask.read(mask.roi), sure)  # whatever the slabs
    assert 0 < sure.mean() < 1
    assert run_to(student, "train") == {"pseudo_labels": "done", "train": "done"}
    student["train"]["pseudo_labels"]["min_confidence"] = 0.7
    changed = LocalShapeDescriptorsConfig.parse(student)
    with Ledger(changed.folder / "ledger.sqlite", read_only=True) as ledger:
        reasons = why_not_current(TASK, changed, ledger, plan(TASK, changed, Selection(last="train")))
    assert [node.stage for node in reasons] == ["pseudo_labels", "train"]


def test_confidence_of_agreement_doubt_and_contradiction() -> None:
    labels = np.array([[[5, 5, 5, 6, 6, 6, 6, 0]]], np.uint64)
    affinities = np.zeros((4, 1, 1, 8), np.uint8)
    affinities[2, 0, 0] = [0, 255, 0, 0, 0, 153, 0, 255]
    affinities[3] = 255  # long range: not looked at
    found = confidence(affinities, OFFSETS, labels)
    np.testing.assert_allclose(found.ravel(), [0, 1, 1, 1, 1, 0.2, 1, -1], atol=1e-6)
    merged = confidence(affinities, OFFSETS, np.full((1, 1, 8), 7, np.uint64))
    np.testing.assert_allclose(merged.ravel(), [0, 1, -1, -1, -1, 0.2, -1, 1], atol=1e-6)


def test_affinities_that_were_given_may_be_floats_in_hdf5(settings: dict[str, Any], tmp_path: Path) -> None:
    given = {"affinities": str(tmp_path / "given.h5/affinities")}
    volume = {"raw": str(tmp_path / "new.zarr/raw"), "voxel_size_nm": [8, 8, 8], "inputs": given}
    teacher = tmp_path / "runs/teacher"
    teacher.mkdir(parents=True)
    parsed = LocalShapeDescriptorsConfig.parse({**settings, "inputs": {}, "volumes": {"new": volume}})
    (teacher / "config.yaml").write_text(to_yaml(parsed))
    labels = create_array(
        teacher / "volumes/new/volume.zarr/volumes/segmentation",
        roi=Roi((0, 0, 0), (8, 8, 64)),
        voxel_size=Coordinate(8, 8, 8),
        dtype="uint64",
        chunk_shape_vox=Coordinate(1, 1, 8),
    )
    labels.write(labels.roi, np.array([[[5, 5, 5, 6, 6, 6, 6, 0]]], np.uint64))
    settings["train"] = {"pseudo_labels": {"from": "teacher", "volumes": ["new"]}}
    student = LocalShapeDescriptorsConfig.parse(settings)
    with pytest.raises(ConfigError, match=r"there is no .*given\.h5/affinities; run"):
        segmented_elsewhere(student)
    with h5py.File(tmp_path / "given.h5", "w") as file:
        affinities = np.zeros((4, 1, 1, 8), np.float32)
        affinities[2, 0, 0] = [0, 1, 0, 0, 0, 0.6, 0, 1]
        file.create_dataset("affinities", data=affinities).attrs["offsets"] = [list(each) for each in OFFSETS]
    (found,) = segmented_elsewhere(student)
    assert write_mask(found, tmp_path / "mask.zarr/mask", 0.6) == 5 / 8
    assert open_array(tmp_path / "mask.zarr/mask").read().ravel().tolist() == [0, 1, 1, 1, 1, 0, 1, 0]


def test_volumes_get_their_share_of_the_crops(em: dict[str, str]) -> None:
    own = TrainingVolume(em["raw"], em["labels"])
    volumes = [own, *(TrainingVolume(em["raw"], em["labels"], weight=each, share=0.75) for each in (1.0, 2.0))]
    first, *others = shared_out([open_source(each) for each in volumes])
    total = first.weight + sum(each.weight for each in others)
    np.testing.assert_allclose([each.weight / total for each in (first, *others)], [0.25, 0.25, 0.5])
    (alone,) = shared_out([open_source(own)])
    assert alone.weight == first.weight


def test_without_pseudo_labels_a_trained_network_stays_trained() -> None:
    config = TrainStageConfig(iterations=7)
    assert config.fingerprinted() == config.plain().fingerprinted()
    asked = {"from": "teacher", "volumes": ["a"]}
    assert TrainStageConfig.parse({"pseudo_labels": asked}).model_dump()["pseudo_labels"]["from"] == "teacher"
    with pytest.raises(ConfigError, match=r"unknown key 'pseudo_labels\.form' \(did you mean 'from'\?\)"):
        TrainStageConfig.parse({"pseudo_labels": {**asked, "form": "teacher"}})


@pytest.mark.usefixtures("in_this_process")
def test_what_there_is_nothing_to_learn_from(student: dict[str, Any], tmp_path: Path) -> None:
    def refused(message: str, **changes: Any) -> None:
        asked = {**student["train"]["pseudo_labels"], **changes}
        with pytest.raises(ConfigError, match=message):
            run_to({**student, "train": {**student["train"], "pseudo_labels": asked}}, "train")

    refused(r"there is no experiment tutor in .*runs; there are: teacher", **{"from": "tutor"})
    refused("names this experiment itself", **{"from": "e"})
    refused("experiment teacher has no volume 'old'; it has: new", volumes=["old"])
    shutil.rmtree(tmp_path / "runs/teacher/volumes/new/volume.zarr/volumes/segmentation")
    refused(r"no pseudo-labels of volume new: .*segmentation; run: catena segment .*config\.yaml --volume new")
    student["volumes"]["phantom"]["raw"] = str(tmp_path / "new.zarr/volumes/raw")
    refused(r"volume new is volumes\.phantom, whose regions test must not be trained on")


@pytest.mark.parametrize("way", ["as it is", "link", "relative", "roundabout"])
def test_what_is_tested_on_stays_unseen_by_whatever_path(
    settings: dict[str, Any], em: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    container = Path(em["raw"].split(".zarr")[0] + ".zarr")
    monkeypatch.chdir(container.parent)
    (tmp_path / "link").symlink_to(container.parent)
    paths = {
        "as it is": container,
        "link": tmp_path / "link" / container.name,
        "relative": Path(container.name),
        "roundabout": tmp_path / "link" / "over" / ".." / container.name,
    }
    volume = {"raw": f"{paths[way]}/volumes/raw"}
    (tmp_path / "runs/teacher").mkdir(parents=True)
    teacher = LocalShapeDescriptorsConfig.parse({**settings, "inputs": {}, "volumes": {"new": volume}})
    (tmp_path / "runs/teacher/config.yaml").write_text(to_yaml(teacher))
    settings["train"] = {"pseudo_labels": {"from": "teacher", "volumes": ["new"]}}
    with pytest.raises(ConfigError, match=r"volume new is volumes\.phantom, whose regions validation and test"):
        segmented_elsewhere(LocalShapeDescriptorsConfig.parse(settings))
