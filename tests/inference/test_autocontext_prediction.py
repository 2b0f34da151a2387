"""A pair of networks predicts what the two would, one after the other, whatever the blocks."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.inference import Predictor, load_network, mirrored_reader, save_network
from catena.networks import AutocontextConfig, AutocontextNetwork, NetworkConfig, UNetConfig, build_network

ONE = (((3, 3, 3),),)
UNET = UNetConfig(feature_maps=3, growth=1.5, downsampling=((2, 2, 2),), kernels_down=ONE * 2, padding="same")
CONFIG = AutocontextConfig(
    first=NetworkConfig(unet=UNET, heads={"lsds": 4}),
    second=NetworkConfig(
        in_channels=5, unet=UNET.model_copy(update={"downsampling": ((1, 3, 3),)}), heads={"affinities": 3}
    ),
    with_raw=True,
)


@pytest.fixture(scope="module")
def network() -> AutocontextNetwork:
    torch.manual_seed(2)
    network = build_network(CONFIG)
    with torch.no_grad():
        for each in (*network.first.heads.values(), *network.second.heads.values()):
            each.weight *= 4  # spread the output over the range of uint8
    return network


@pytest.fixture(scope="module")
def raw() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (15, 26, 25), dtype=np.uint8)


def test_blocks_and_patches_change_nothing(network: AutocontextNetwork, raw: NDArray[np.uint8]) -> None:
    whole = Predictor(network).array(raw)
    small = Predictor(network, memory_gb=2e-3, batch_size=2)
    block = Coordinate(7, 11, 14)
    for begin in product(*(range(0, n, size) for n, size in zip(raw.shape, block, strict=True))):
        shape = Coordinate(min(size, n - b) for b, n, size in zip(begin, raw.shape, block, strict=True))
        for head, values in small.block(mirrored_reader(raw), Coordinate(begin), shape).items():
            window = tuple(slice(b, b + n) for b, n in zip(begin, shape, strict=True))
            # As of every network, up to the rounding of convolutions of other shapes.
            assert np.abs(values.astype(int) - whole[head][(slice(None), *window)]).max() <= 1
    assert whole["affinities"].std() > 5


def test_is_what_two_predictions_give(network: AutocontextNetwork, raw: NDArray[np.uint8]) -> None:
    pair = Predictor(network).array(raw)
    lsds = Predictor(network.first).array(raw)["lsds"]
    assert np.abs(pair["lsds"].astype(int) - lsds).max() <= 1
    affinities = Predictor(network.second).array(np.concatenate((lsds, raw[None])))["affinities"]
    inside = (slice(None), *(slice(r, n - r) for r, n in zip(network.second.shapes.reach_vox, raw.shape, strict=True)))
    assert affinities[inside].size > 100
    assert np.abs(pair["affinities"][inside].astype(int) - affinities[inside]).max() <= 1


def test_a_pair_is_saved_and_loaded(network: AutocontextNetwork, raw: NDArray[np.uint8], tmp_path) -> None:
    save_network(tmp_path / "pair.safetensors", network)
    loaded = load_network(tmp_path / "pair.safetensors", expected=CONFIG)
    assert isinstance(loaded.network, AutocontextNetwork)
    small = raw[:8, :8, :8]
    found, expected = (Predictor(each).array(small) for each in (loaded.network, network))
    assert all(np.array_equal(found[head], expected[head]) for head in ("lsds", "affinities"))
