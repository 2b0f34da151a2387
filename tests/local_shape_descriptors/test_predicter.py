"""A network that is given need not be the one that the model's settings describe, but the user is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array
from catena.inference import save_network
from catena.networks.build import build_network
from local_shape_descriptors.config import LocalShapeDescriptorsConfig
from local_shape_descriptors.model import ModelConfig
from local_shape_descriptors.predicter import other_network
from local_shape_descriptors.super_predicter_daisy import PredictStage

VOXEL_SIZE = Coordinate(8, 8, 8)
SMALL = {"feature_maps": 2, "growth": 2, "levels": 1}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("network") / "n.safetensors"
    save_network(path, build_network(ModelConfig.parse(SMALL).network(VOXEL_SIZE)))
    return path


@pytest.mark.parametrize(
    ("model", "difference"),
    [
        (SMALL, ""),
        ({**SMALL, "padding": "same"}, ""),  # what weights serve alike
        ({"feature_maps": [2, 4], "growth": 3, "downsampling": [[2, 2, 2]]}, ""),  # the same in other words
        ({**SMALL, "feature_maps": 7}, "model.feature_maps there [2, 4], here [7, 14]"),
        (
            {"feature_maps": [2, 4, 8], "levels": 2},
            "model.feature_maps there [2, 4], here [2, 4, 8]; "
            "model.downsampling there [[2, 2, 2]], here [[2, 2, 2], [2, 2, 2]]",
        ),
        ({**SMALL, "activation": "elu"}, "model.activation there relu, here elu"),
        ({**SMALL, "type": "acrlsd"}, "model.type there one network, here acrlsd"),
    ],
)
def test_differences_are_those_of_what_is_built(checkpoint: Path, model: dict[str, Any], difference: str) -> None:
    assert other_network(checkpoint, ModelConfig.parse(model), VOXEL_SIZE) == difference


def test_prediction_tells_of_another_network(checkpoint: Path, tmp_path: Path) -> None:
    raw, chunk = tmp_path / "a.zarr/raw", Coordinate(8, 8, 8)
    create_array(raw, roi=Roi((0, 0, 0), (64, 64, 64)), voxel_size=VOXEL_SIZE, dtype="uint8", chunk_shape_vox=chunk)
    values = {"experiment": "e", "volumes": {"v": {"raw": str(raw)}}, "inputs": {"checkpoint": str(checkpoint)}}

    def notes(**changes: Any) -> list[str]:
        return PredictStage().notes(LocalShapeDescriptorsConfig.parse({**values, **changes}), "v")

    assert notes(model=SMALL) == []
    assert notes(model={**SMALL, "feature_maps": 7}) == [
        f"the network of {checkpoint} is used, not that of the model settings: "
        "model.feature_maps there [2, 4], here [7, 14]"
    ]
    assert notes(inputs={}) == []
