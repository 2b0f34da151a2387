from __future__ import annotations

from pathlib import Path

import pytest
import torch

from catena.augmentation.in_step import StepAugmentation
from catena.errors import ConfigError
from catena.networks import NetworkConfig, UNetConfig
from catena.nodes.augment_config import AugmentConfig
from catena.training import TrainConfig, TrainExecution, train
from tests.training.toy_training import ToyCrops

BLUR = {"kornia.augmentation.RandomMotionBlur3D": {"kernel_size": 3, "angle": 35.0, "direction": 0.5, "p": 0.5}}
TURN = {"kornia.augmentation.RandomRotation3D": {"degrees": [0.0, 0.0, 30.0]}}


def within_step(*extras: dict) -> StepAugmentation:
    given = [{**each, "within": "step"} for each in extras]
    return StepAugmentation(AugmentConfig.parse({"extra": [*given, BLUR]}).within_step)


def test_crops_are_augmented_as_their_seeds_say_however_they_are_batched() -> None:
    augmented = within_step(BLUR, {"scipy.ndimage.gaussian_filter": {"sigma": 0.5}}).open()
    raw = torch.rand(4, 1, 6, 6, 6) * 2 - 1
    seeds = (3, 4, 5, 3)
    together = augmented(raw, seeds)
    alone = [augmented(raw[i : i + 1], seeds[i : i + 1]) for i in range(4)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=0)
    soft = within_step({"scipy.ndimage.gaussian_filter": {"sigma": 0.5}}).open()(raw, seeds)
    blurred = (together != soft).flatten(1).any(1)
    assert 0 < blurred.sum() < 4  # with a probability of one half
    assert blurred[0] == blurred[3]


def test_what_moves_voxels_is_refused() -> None:
    with pytest.raises(ConfigError, match="RandomRotation3D is geometric; within the training step"):
        within_step(TURN).open()


def test_the_network_sees_what_the_step_made(tmp_path: Path) -> None:
    network = NetworkConfig(
        unet=UNetConfig(feature_maps=2, growth=2, downsampling=((2, 2, 2),)), heads={"affinities": 1}
    )

    def losses(name: str, augmentation: StepAugmentation | None) -> str:
        config = TrainConfig(iterations=2, validate_every=2)
        execution = TrainExecution(device="cpu", threads=1, data_workers=0)
        train(network, ToyCrops(), tmp_path / name, config, execution=execution, augmentation=augmentation)
        return (tmp_path / name / "losses.csv").read_text()

    blur = within_step({"scipy.ndimage.gaussian_filter": {"sigma": 3.0}})
    assert losses("a", blur) == losses("b", blur) != losses("c", None)
