import subprocess
import sys

import pytest
import torch
from funlib.geometry import Coordinate

from catena.errors import ConfigError
from catena.networks import (
    RSUNET,
    NetworkConfig,
    UNetConfig,
    architecture_differences,
    unet_for_voxel_size,
    weighted_mse,
)


def test_configuration_survives_a_checkpoint() -> None:
    config = NetworkConfig(unet=unet_for_voxel_size(Coordinate(40, 4, 4)), heads={"affinities": 3, "descriptors": 10})
    assert NetworkConfig.parse(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kernels_down": [[[3, 3, 3]]]}, "kernels_down has 1 levels; 2 downsampling steps need 3"),
        ({"kernels_up": [[[3, 3, 3]]]}, "kernels_up has 1 levels; downsampling has 2"),
        ({"kernels_up": [[[3, 3, 3]], [[2, 3, 3]]]}, "kernels must be odd"),
        ({"kernels_up": [[[3, 3, 3]], []]}, "at least one convolution"),
        ({"padding": "same", "equivariant_crop": True}, "nothing to crop"),
        ({"padding": "reflect"}, "'padding'"),
        ({"skip": "add"}, "with upsampling: nearest there are those of the level below"),
        ({"feature_maps": [2, 3]}, "feature_maps names 2 levels; 2 downsampling steps need 3"),
        ({"feature_map": 3}, "did you mean 'feature_maps'"),
    ],
)
def test_refuses_what_does_not_fit(values: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        UNetConfig.parse(values)


def test_refuses_heads_without_a_plain_name() -> None:
    with pytest.raises(ConfigError, match="plain identifier"):
        NetworkConfig.parse({"heads": {"a.b": 3}})
    with pytest.raises(ConfigError, match="heads"):
        NetworkConfig.parse({"heads": {}})


def test_differences_name_settings() -> None:
    one, other = NetworkConfig(), NetworkConfig(unet=UNetConfig(growth=2), heads={"affinities": 4})
    found = architecture_differences(one.model_dump(), other.model_dump())
    assert found == "heads.affinities is 3, not 4; unet.growth is 5.0, not 2.0"
    assert architecture_differences(one.model_dump(), one.model_dump()) == ""


IN_PLANE, ALL = (1, 3, 3), (3, 3, 3)


@pytest.mark.parametrize(
    ("voxel_size", "factor", "downsampling", "first_kernels"),
    [
        ((8, 8, 8), 2, ((2, 2, 2),) * 3, (ALL, ALL, ALL, ALL)),
        ((40, 4, 4), 3, ((1, 3, 3), (1, 3, 3), (3, 3, 3)), (IN_PLANE, IN_PLANE, ALL, ALL)),  # as published
        ((40, 8, 8), 2, ((1, 2, 2), (1, 2, 2), (2, 2, 2)), (IN_PLANE, IN_PLANE, ALL, ALL)),
        ((30, 6, 6), 2, ((1, 2, 2), (1, 2, 2), (2, 2, 2)), (IN_PLANE, IN_PLANE, ALL, ALL)),
        ((20, 9, 9), 2, ((1, 2, 2), (2, 2, 2), (2, 2, 2)), (IN_PLANE, ALL, ALL, ALL)),
        ((4, 40, 4), 2, ((2, 1, 2),) * 3, ((3, 1, 3), (3, 1, 3), (3, 1, 3), ALL)),
    ],
)
def test_network_follows_the_voxel_size(voxel_size, factor, downsampling, first_kernels) -> None:
    unet = unet_for_voxel_size(Coordinate(voxel_size), factor=factor)
    assert unet.downsampling == downsampling
    assert tuple(kernels[0] for kernels in unet.passes_down) == first_kernels
    assert all(kernels[-1] == ALL for kernels in unet.passes_up)


def test_two_dimensions_leave_sections_alone() -> None:
    for voxel_size in (Coordinate(40, 4, 4), Coordinate(8, 8, 8)):
        unet = unet_for_voxel_size(voxel_size, factor=3, levels=2, dimensions=2)
        assert unet.downsampling == ((1, 3, 3), (1, 3, 3))
        assert unet.passes_down == ((IN_PLANE, IN_PLANE),) * 3
        assert unet.passes_up == ((IN_PLANE, IN_PLANE),) * 2
    assert unet_for_voxel_size(Coordinate(9, 16, 4), levels=2, dimensions=2).downsampling == ((1, 1, 2), (1, 1, 2))
    with pytest.raises(ConfigError, match="2 or 3 dimensions, found 1"):
        unet_for_voxel_size(Coordinate(8, 8, 8), dimensions=1)


def test_the_residual_symmetric_network_has_the_published_widths() -> None:
    unet = unet_for_voxel_size(Coordinate(40, 4, 4), levels=4, **RSUNET)
    assert [unet.feature_maps_at(level) for level in range(5)] == [18, 36, 48, 64, 80]
    assert UNetConfig.parse(unet.model_dump(mode="json")) == unet


def test_further_settings_are_taken() -> None:
    unet = unet_for_voxel_size(Coordinate(8, 8, 8), levels=2, padding="same", feature_maps=16)
    assert (unet.levels, unet.padding, unet.feature_maps) == (2, "same", 16)
    with pytest.raises(ConfigError, match="did you mean 'growth'"):
        unet_for_voxel_size(Coordinate(8, 8, 8), grow=2)
    with pytest.raises(ConfigError, match="three positive"):
        unet_for_voxel_size(Coordinate(8, 8))
    with pytest.raises(ConfigError, match="at least one level"):
        unet_for_voxel_size(Coordinate(8, 8, 8), levels=0)


def test_loss_is_the_mean_over_the_weights() -> None:
    prediction, target = torch.tensor([[0.5, 0.0, 1.0]]), torch.tensor([[1.0, 0.0, 0.0]])
    assert weighted_mse(prediction, target, torch.tensor([[1.0, 3.0, 0.0]])).item() == pytest.approx(0.25 / 4)
    assert weighted_mse(prediction, target, torch.zeros(1, 3)).item() == 0
    per_channel = weighted_mse(torch.ones(1, 2, 1, 1, 2), torch.zeros(1, 2, 1, 1, 2), torch.tensor([1.0, 0.0]))
    assert per_channel.item() == pytest.approx(1)


def test_shapes_need_no_torch() -> None:
    code = (
        "import sys, catena.networks as n; n.UNetShapes(n.UNetConfig()).context_vox; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
