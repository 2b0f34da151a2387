"""Targets made in the training step are those that come with the crops, of the same crops."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate

from catena.errors import StageError
from catena.nodes.augment_config import AugmentConfig
from catena.training import TrainConfig, TrainExecution
from catena.training.dataset import Batch, stack
from local_shape_descriptors.model import ModelConfig
from local_shape_descriptors.step_targets import Margin
from local_shape_descriptors.trainer import open_crops, train
from local_shape_descriptors.training_volumes import TrainingVolume
from tests.local_shape_descriptors.test_trainer import store

SMALL = {"levels": 1, "feature_maps": 2, "growth": 2, "lsd_sigma_nm": 24.0}
RIM = {"rim": {"target": "contour"}}


@dataclass(frozen=True)
class Case:
    model: dict[str, Any]
    voxel_size: tuple[int, int, int] = (8, 8, 8)
    crop: tuple[int, int, int] = (24, 24, 24)
    mixed: bool = False
    """Whether a second volume has small ids of another type, a mask, and no mitochondria."""


CASES = {
    "mtlsd": Case({}),
    "every kind": Case(
        {
            "neighbourhood": [[-1, 0, 0], [0, -1, 0], [0, 0, -1], [0, 4, -9]],
            "lsd_downsample": 1,
            "heads": {"inside": {"target": "foreground"}, "deep": {"target": "distance"}, **RIM},
        }
    ),
    "two kinds of labels": Case({"type": "mtlsdmito"}),
    "nothing eroded": Case({"type": "aff", "heads": {"rim": {"target": "contour", "labels": "mitochondria"}}}),
    "sections": Case({"lsd_sigma_nm": 60.0, "heads": RIM}, (40, 8, 8), (10, 32, 32)),
    "autocontext": Case({"type": "acrlsd", "first": {"trained": True}}, crop=(34, 34, 34)),
    "volumes of different types": Case({"type": "mtlsdmito"}, mixed=True),
    "2D": Case({"dimensions": 2, "heads": RIM}, crop=(1, 32, 32)),
}


def bodies(folder: Path, case: Case) -> list[TrainingVolume]:
    """Volumes of blocks, one with large ids, unlabelled space and mitochondria."""
    labels = np.kron(np.random.default_rng(0).integers(1, 40, (8, 8, 8)), np.ones((5, 5, 5), int)).astype(np.uint64)
    small, mask = labels.astype(np.uint8), (labels % 5 > 0).astype(np.uint8)
    labels[labels == 3] = 2**63 + 5
    labels[20:24] = 0
    raw, mitochondria = (labels * 3 % 256).astype(np.uint8), (labels % 4 == 0).astype(np.uint64)
    arrays = {"raw": raw, "labels": labels, "mitochondria": mitochondria, "small": small, "mask": mask}
    size = Coordinate(case.voxel_size)
    paths = {name: store(folder / "v.zarr" / name, each, voxel_size=size) for name, each in arrays.items()}
    others = {"mitochondria": paths["mitochondria"]}
    one = TrainingVolume(paths["raw"], paths["labels"], name="one", other_labels=others, background_labelled=True)
    return [one, TrainingVolume(paths["raw"], paths["small"], paths["mask"], name="two")] if case.mixed else [one]


def both_ways(folder: Path, case: Case, device: str = "cpu") -> tuple[Batch, Batch]:
    """Return a batch whose targets came with its crops, and the same one whose targets were made in the step."""
    model, config = ModelConfig(**{**SMALL, **case.model}), TrainConfig(input_shape_vox=case.crop, min_labelled=0.1)
    volumes, augment = bodies(folder, case), AugmentConfig.parse({"copy_paste": {"probability": 0.5}})
    plain, later = (open_crops(volumes, model, config, augment, targets_in_step=each) for each in (False, True))
    with plain() as crop, later() as labels:
        expected, found = (stack([make(seed) for seed in range(1, 5)]) for make in (crop, labels))
    make_targets = pickle.loads(pickle.dumps(later.step_targets))  # as other processes get it
    return expected, found.to(torch.device(device)).with_targets(make_targets)


def assert_same(expected: Batch, found: Batch) -> None:
    assert torch.equal(found.raw.cpu(), expected.raw)
    assert found.targets.keys() == found.weights.keys() == expected.targets.keys()
    for head, target in expected.targets.items():
        assert target.any()
        assert expected.weights[head].any()
        assert found.targets[head].dtype == found.weights[head].dtype == torch.float32
        torch.testing.assert_close(found.targets[head].cpu(), target, atol=1e-6, rtol=0)
        torch.testing.assert_close(found.weights[head].cpu(), expected.weights[head], atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", CASES)
def test_the_same_as_with_the_crops(tmp_path: Path, name: str) -> None:
    assert_same(*both_ways(tmp_path, CASES[name]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_the_same_on_a_gpu(tmp_path: Path) -> None:
    expected, found = both_ways(tmp_path, CASES["every kind"], "cuda")
    assert all(each.is_cuda for head, each in found.targets.items() if head != "deep")
    assert_same(expected, found)


def test_everything_is_made_on_the_labels_device(tmp_path: Path) -> None:
    with torch.device("meta"):  # where whatever does not say its device would be: without values
        expected, found = both_ways(tmp_path, CASES["every kind"])
    assert_same(expected, found)


@pytest.mark.slow
def test_training_is_the_same_up_to_rounding(tmp_path: Path) -> None:
    losses = []
    for targets in ("crop", "step"):
        volumes, folder = bodies(tmp_path / targets, CASES["mtlsd"]), tmp_path / targets / "run"
        execution = TrainExecution.parse({"device": "cpu", "threads": 1, "data_workers": 1, "targets": targets})
        config = TrainConfig(
            iterations=4, batch_size=2, learning_rate=1e-3, input_shape_vox=(24, 24, 24), precision="float32"
        )
        train(volumes, folder, ModelConfig(**SMALL), config, execution=execution)
        losses.append(np.loadtxt(folder / "losses.csv", delimiter=",", skiprows=1)[:, 2:])
    assert len(losses[0]) == 4
    np.testing.assert_allclose(losses[1], losses[0], atol=1e-5)


def test_the_batch_of_a_failed_step_has_the_targets_that_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("catena.training.run.gradient_norm", lambda parameters: torch.tensor(torch.inf))
    config = TrainConfig(iterations=1, input_shape_vox=(24, 24, 24))
    execution = TrainExecution(device="cpu", threads=1, data_workers=0, targets="step")
    with pytest.raises(StageError, match="gradient of iteration 1"):
        train(bodies(tmp_path, CASES["mtlsd"]), tmp_path, ModelConfig(**SMALL), config, execution=execution)
    with np.load(tmp_path / "not_finite_00000001.npz") as kept:
        assert kept["targets/lsds"].shape == (1, 10, 8, 8, 8)
        assert kept["weights/affinities"].any()


def test_margins() -> None:
    narrow, wide = Margin(Coordinate(0, 1, 2), Coordinate(3, 0, 0)), Margin.around(Coordinate(1, 1, 1))
    both = Margin.widest([narrow, wide])
    assert both == Margin(Coordinate(1, 1, 2), Coordinate(3, 1, 1))
    values = torch.arange(6**3).view(1, 6, 6, 6)
    assert torch.equal(narrow.within(both, values), values[:, 1:6, 0:5, 0:5])
    assert narrow.grown(Coordinate(0, 0, 1)) == Margin(Coordinate(0, 1, 3), Coordinate(3, 0, 1))
