import numpy as np
import pytest
from funlib.geometry import Coordinate
from scipy.ndimage import gaussian_filter

from catena.errors import ConfigError, DataError, GeometryError
from catena.evaluation import BaselineConfig, pseudo_affinities
from catena.evaluation.baseline import AFFINITY_OFFSETS

VOXEL_SIZE = Coordinate(8, 8, 8)
SHARP = BaselineConfig(sigma_nm=0, low_percentile=0, high_percentile=100)


def test_membrane_cuts_on_both_sides():
    #   x:    0    1    2    3    4      membrane at 2
    raw = np.full((1, 1, 5), 200, np.uint8)
    raw[..., 2] = 50

    affinities = pseudo_affinities(raw, VOXEL_SIZE, SHARP)

    assert affinities.dtype == np.uint8
    assert affinities.shape == (3, 1, 1, 5)
    assert affinities[2, 0, 0].tolist() == [255, 255, 0, 0, 255]  # joins x and x − 1
    assert affinities[0, 0, 0].tolist() == [255, 255, 0, 255, 255]  # no partner: own brightness


def test_channels_join_the_voxels_their_offsets_say():
    raw = np.random.default_rng(0).integers(0, 255, (4, 5, 6)).astype(np.uint8)
    affinities = pseudo_affinities(raw, VOXEL_SIZE, SHARP)
    inside = (raw - raw.min()) / (raw.max() - raw.min()) * 255

    for channel, offset in enumerate(AFFINITY_OFFSETS):
        position = (2, 3, 4)
        partner = tuple(int(p + o) for p, o in zip(position, offset, strict=True))
        assert affinities[channel][position] == round(min(inside[position], inside[partner]))


def test_smoothing_is_physical():
    raw = np.random.default_rng(1).integers(0, 255, (9, 20, 20)).astype(np.uint8)
    config = BaselineConfig(sigma_nm=20, low_percentile=0, high_percentile=100)
    smooth = gaussian_filter(raw.astype(np.float32), (0.5, 5, 5), truncate=3)

    inside = pseudo_affinities(raw, Coordinate(40, 4, 4), config)[0, 0]

    expected = (smooth[0] - smooth.min()) / (smooth.max() - smooth.min()) * 255
    assert np.abs(inside - expected).max() <= 0.51


def test_fractional_voxel_sizes_smooth_alike():
    raw = np.random.default_rng(1).integers(0, 255, (6, 12, 12)).astype(np.uint8)

    tenths = pseudo_affinities(raw, Coordinate(80, 80, 80), units_per_nm=10)

    assert np.array_equal(tenths, pseudo_affinities(raw, VOXEL_SIZE))


def test_limits_make_blocks_comparable():
    raw = np.array([[[10, 20, 30, 40]]], np.uint8)

    part = pseudo_affinities(raw[..., :2], VOXEL_SIZE, SHARP, limits=(10, 40))

    assert part[0, 0, 0].tolist() == [0, 85]


def test_constant_raw_is_refused():
    with pytest.raises(DataError, match=r"constant \(7\)"):
        pseudo_affinities(np.full((4, 4, 4), 7, np.uint8), VOXEL_SIZE)


def test_raw_must_be_a_volume():
    with pytest.raises(GeometryError, match=r"found shape \(4, 4\)"):
        pseudo_affinities(np.zeros((4, 4), np.uint8), VOXEL_SIZE)
    with pytest.raises(DataError, match="empty"):
        pseudo_affinities(np.zeros((0, 4, 4), np.uint8), VOXEL_SIZE)


def test_percentiles_must_be_ordered():
    with pytest.raises(ConfigError, match="low_percentile must be below high_percentile"):
        BaselineConfig.parse({"low_percentile": 80, "high_percentile": 70})
