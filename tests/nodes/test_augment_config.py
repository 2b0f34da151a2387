from __future__ import annotations

import pytest
from funlib.geometry import Coordinate

from catena.errors import ConfigError
from catena.nodes.augment_config import AugmentConfig, DefectConfig, is_anisotropic

ISOTROPIC, SECTIONS = Coordinate(8, 8, 8), Coordinate(40, 4, 4)


def test_isotropic_data_are_turned_any_way_and_have_no_defective_sections():
    config = AugmentConfig().resolved(ISOTROPIC)
    assert config.transpose == (0, 1, 2)
    assert config.deform is not None
    assert config.deform.control_point_spacing == (40, 40, 40)
    assert config.defects == DefectConfig()
    assert config.intensity is not None
    assert not config.intensity.per_section


def test_sections_are_exchanged_in_plane_only_and_have_defects():
    config = AugmentConfig().resolved(SECTIONS)
    assert config.transpose == (1, 2)
    assert config.deform is not None
    assert config.deform.jitter[0] == 0
    assert config.deform.max_misalignment == 10
    assert config.defects is not None
    assert config.defects.missing_probability == 0.03
    assert config.intensity is not None
    assert config.intensity.per_section


def test_pixels_that_are_not_square_are_not_rotated():
    config = AugmentConfig().resolved(Coordinate(40, 4, 5))
    assert config.transpose == ()
    assert config.deform is not None
    assert not config.deform.rotate


def test_what_is_given_stays():
    config = AugmentConfig.parse({"defects": {"missing_probability": 0.5}, "mirror": [1]}).resolved(ISOTROPIC)
    assert config.mirror == (1,)
    assert config.defects == DefectConfig(missing_probability=0.5)


def test_exchanging_axes_of_different_voxel_size_is_refused():
    with pytest.raises(ConfigError, match=r"axes \[0, 1\] have voxel sizes \(40, 4, 4\)"):
        AugmentConfig(transpose=(0, 1)).resolved(SECTIONS)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"intensity": {"scale": [1.1, 0.9]}}, r"scale is a range"),
        ({"defects": {"missing_probability": 0.6, "artefact_probability": 0.6}}, "add up to 1.2"),
        ({"deform": {"control_point_spacing": [0, 4, 4]}}, "at least 1 voxel"),
        ({"elastic": {}}, r"unknown key 'elastic'"),
    ],
)
def test_contradictions_are_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        AugmentConfig.parse(values)


@pytest.mark.parametrize(("voxel_size", "expected"), [((8, 8, 8), False), ((20, 9, 9), True), ((30, 6, 6), True)])
def test_sections_are_told_by_their_thickness(voxel_size, expected):
    assert is_anisotropic(Coordinate(voxel_size)) is expected


def test_a_flat_model_sees_sections_as_they_are() -> None:
    resolved = AugmentConfig().resolved(Coordinate(8, 8, 8), dimensions=2)
    assert resolved.transpose == (1, 2)
    assert resolved.deform is not None
    assert resolved.deform.jitter[0] == 0
    assert resolved.defects is not None
    assert resolved.defects.missing_probability == 0
    with pytest.raises(ConfigError, match="a 2D model sees sections as they are"):
        AugmentConfig(transpose=(0, 1)).resolved(Coordinate(8, 8, 8), dimensions=2)
