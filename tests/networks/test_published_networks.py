"""The published network of each data set is a configuration whose shapes are the published ones."""

from __future__ import annotations

from pathlib import Path

import pytest
from funlib.geometry import Coordinate

from catena.config import load_yaml
from catena.networks import network_shapes
from local_shape_descriptors.config import LocalShapeDescriptorsConfig

CONFIGS = Path(__file__).parents[2] / "configs" / "local_shape_descriptors"
ISOTROPIC = {(196,) * 3: (92,) * 3, (268,) * 3: (164,) * 3}
SECTIONS = {(84, 268, 268): (48, 56, 56), (96, 484, 484): (60, 272, 272)}
PUBLISHED = {
    "fib25_published": ((8, 8, 8), 6, ISOTROPIC),
    "hemibrain": ((8, 8, 8), 6, ISOTROPIC),
    "zebrafinch": ((20, 9, 9), 5, SECTIONS),
    "cremi_published": ((40, 4, 4), 5, SECTIONS),
    "snemi3d_published": ((30, 6, 6), 5, {(96, 212, 212): (48, 120, 120)}),
}


def read(name: str, monkeypatch: pytest.MonkeyPatch) -> LocalShapeDescriptorsConfig:
    monkeypatch.setenv("CATENA_DATA", "data")
    return LocalShapeDescriptorsConfig.parse(load_yaml(CONFIGS / f"{name}.yaml"), name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_shapes_are_the_published_ones(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = read(name, monkeypatch)
    voxel_size, growth, expected = PUBLISHED[name]
    network = config.model.network(Coordinate(voxel_size))
    shapes = network_shapes(network)
    found = {given: tuple(shapes.output_shape_vox(Coordinate(given))) for given in expected}
    assert found == expected
    assert config.train.input_shape_vox == next(iter(expected))
    assert [network.unet.feature_maps_at(level) for level in range(4)] == [12 * growth**level for level in range(4)]
    step = network_shapes(network.unpadded).equivariance_vox
    assert config.predict.block_shape_vox is not None
    assert Coordinate(config.predict.block_shape_vox) % step == (0, 0, 0)


@pytest.mark.parametrize("name", ["fib25_published", "hemibrain"])
def test_cropped_for_equivariance_the_isotropic_networks_give_72(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = read(name, monkeypatch).model.model_copy(update={"equivariant_crop": True})
    assert network_shapes(model.network(Coordinate(8, 8, 8))).output_shape_vox(Coordinate((196,) * 3)) == (72,) * 3


def test_training_is_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PUBLISHED:
        train = read(name, monkeypatch).train
        assert (train.iterations, train.batch_size, train.learning_rate, train.betas) == (
            400_000,
            1,
            5e-5,
            (0.95, 0.999),
        )
    assert len(read("snemi3d_published", monkeypatch).model.neighbourhood) == 12
