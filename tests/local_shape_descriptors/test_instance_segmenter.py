"""A volume in memory is segmented as it is in blocks: with the same network, kernels and rule."""

from __future__ import annotations

import doctest
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from funlib.geometry import Coordinate

import local_shape_descriptors
from catena.errors import ConfigError
from catena.inference import save_network
from catena.networks.build import build_network
from catena.segmentation import segment
from local_shape_descriptors import instance_segmenter, segment_affinities, segment_volume
from local_shape_descriptors.heads import SHORT
from local_shape_descriptors.model import ModelConfig
from local_shape_descriptors.predicter import predict

VOXEL_SIZE = Coordinate(8, 8, 8)
OFFSETS = [Coordinate(each) for each in SHORT]


@pytest.fixture
def raw() -> np.ndarray[Any, Any]:
    return np.random.default_rng(0).integers(0, 256, (16, 18, 20), np.uint8)


def network(path: Path, told: bool = True, **model: Any) -> Path:
    """Write a network with random weights."""
    torch.manual_seed(0)
    config = ModelConfig.parse({"feature_maps": 2, "growth": 1, "levels": 1, **model})
    made = build_network(config.network(VOXEL_SIZE))
    save_network(path, made, {"user_config": {"model": config.model_dump(mode="json")}} if told else None)
    return path


def test_examples() -> None:
    assert doctest.testmod(instance_segmenter) == (0, 5)


def test_any_threshold_is_that_of_the_scores() -> None:
    affinities = np.random.default_rng(1).integers(0, 256, (3, 8, 9, 10), np.uint8)
    found = segment_affinities(affinities, OFFSETS, VOXEL_SIZE, threshold=0.333)
    np.testing.assert_array_equal(found, segment(affinities, OFFSETS, VOXEL_SIZE, thresholds=[0.2, 0.333]).at(0.333))
    assert found.dtype == np.uint64
    assert len(np.unique(found)) > len(np.unique(segment_affinities(affinities, OFFSETS, VOXEL_SIZE, threshold=1.0)))


def test_raw_is_predicted_and_segmented_by_the_offsets_that_the_network_tells(
    raw: np.ndarray[Any, Any], tmp_path: Path
) -> None:
    longer = [*SHORT, (0, -2, 0)]  # four channels, which do not fit the offsets of three
    path = network(tmp_path / "n.safetensors", neighbourhood=longer)
    found = segment_volume(raw, path, VOXEL_SIZE, threshold=0.4, device="cpu")
    predicted = predict(raw, path, device="cpu")["affinities"]
    expected = segment_affinities(predicted, [Coordinate(each) for each in longer], VOXEL_SIZE, threshold=0.4)
    np.testing.assert_array_equal(found, expected)
    assert found.shape == raw.shape


def test_offsets_are_asked_for_where_the_network_tells_none(raw: np.ndarray[Any, Any], tmp_path: Path) -> None:
    path = network(tmp_path / "n.safetensors", told=False)
    with pytest.raises(ConfigError, match=r"does not tell its affinity offsets; .* such as \(-1, 0, 0\), \(0, -1, 0\)"):
        segment_volume(raw, path, VOXEL_SIZE, threshold=0.5, device="cpu")
    given = segment_volume(raw, path, VOXEL_SIZE, threshold=0.5, device="cpu", affinity_offsets=OFFSETS)
    assert given.shape == raw.shape


def test_a_network_without_affinities_is_refused(raw: np.ndarray[Any, Any], tmp_path: Path) -> None:
    path = network(tmp_path / "n.safetensors", type="lsd")
    for offsets in (None, OFFSETS):
        with pytest.raises(ConfigError, match="predicts lsds and no affinities"):
            segment_volume(raw, path, VOXEL_SIZE, threshold=0.5, affinity_offsets=offsets)


def test_the_package_offers_it() -> None:
    for name in local_shape_descriptors.__all__:
        assert callable(getattr(local_shape_descriptors, name))
