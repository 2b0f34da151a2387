"""Volumes of an experiment and how they relate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array
from catena.errors import ConfigError
from catena.experiment import ExperimentConfig, VolumeConfig, check_volumes


@pytest.mark.parametrize(
    ("other", "same"),
    [
        ({"raw": "{here}/a.zarr/raw"}, True),
        ({"raw": "./b/../a.zarr/raw"}, True),
        ({"raw": "link/raw"}, True),
        ({"raw": "link/raw", "labels": "b.zarr/labels"}, True),
        ({"raw": "b.zarr/raw", "labels": "link/labels"}, True),
        ({"inputs": {"affinities": "./affinities.zarr"}}, True),
        ({"raw": "b.zarr/raw", "labels": "b.zarr/labels"}, False),
        ({"raw": "b.zarr/raw"}, False),
    ],
)
def test_volumes_on_the_same_data_by_whatever_paths(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other: dict[str, str], same: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.zarr", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to("a.zarr")
    values = {"raw": "a.zarr/raw", "labels": "a.zarr/labels", "inputs": {"affinities": "affinities.zarr"}}
    one = VolumeConfig.parse(values)
    another = VolumeConfig.parse(
        {key: each.format(here=tmp_path) if isinstance(each, str) else each for key, each in other.items()}
    )
    assert (one.shares_data(another), another.shares_data(one)) == (same, same)


@pytest.fixture
def raw(tmp_path: Path) -> str:
    """A volume of 8 x 4 x 4 voxels of 10 nm."""
    path, size, shape = tmp_path / "a.zarr/raw", Coordinate(10, 10, 10), Coordinate(8, 4, 4)
    create_array(path, roi=Roi((0, 0, 0), shape * size), voxel_size=size, dtype="uint8", chunk_shape_vox=shape)
    return str(path)


def check(volumes: dict[str, Any], *names: str) -> None:
    check_volumes(ExperimentConfig.parse({"task": "t", "experiment": "e", "volumes": volumes}), names)


@pytest.mark.parametrize(
    ("one", "other", "common"),
    [("train", "validation", "30:40"), ("train", "test", "10:40"), ("validation", "test", "30:60")],
)
def test_regions_of_a_volume_do_not_overlap(raw: str, one: str, other: str, common: str) -> None:
    bounds = {"train": [0, 4], "validation": [3, 6], "test": [1, 8]}
    regions = {name: {"z": bounds[name]} for name in (other, one)}
    message = rf"a\.regions\.{one} .* overlaps volumes\.a\.regions\.{other} .* in \[{common}, 0:40, 0:40\].*part the"
    with pytest.raises(ConfigError, match=message):
        check({"a": {"raw": raw, "regions": regions}}, "a")


def test_regions_that_touch_or_are_of_one_use_may_stay(raw: str) -> None:
    regions = {"train": {"z": [0, 4]}, "validation": {"z": [4, 6]}, "test": {"z_nm": [60, 80]}}
    crossed = {"train": {"z": [0, 6], "x": [0, 2]}, "validation": {"z": [0, 6], "x": [2, 4]}}
    more = {"train": {"z": [2, 4]}, "test": {"z": [6, 7]}}
    check({"a": {"raw": raw, "regions": regions}, "b": {"raw": raw, "regions": more}}, "a", "b")
    check({"a": {"raw": raw, "regions": crossed}}, "a")


def test_regions_of_volumes_on_the_same_data_do_not_overlap(
    raw: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    volumes = {
        "a": {"raw": raw, "regions": {"validation": {"z": [4, 6]}}},
        "b": {"raw": "./a.zarr/raw", "regions": {"train": {"z_nm": [0, 50]}}},
    }
    with pytest.raises(ConfigError, match=r"a\.regions\.validation .* overlaps volumes\.b\.regions\.train "):
        check(volumes, "a")
    with pytest.raises(ConfigError, match=r"b\.regions\.train .* overlaps volumes\.a\.regions\.validation "):
        check(volumes, "b")


def test_volumes_on_other_data_are_not_looked_at(raw: str) -> None:
    elsewhere = {"raw": "nowhere.zarr/raw", "regions": {"train": {"z": [0, 8]}}}
    check({"a": {"raw": raw, "regions": {"test": {"z": [0, 8]}}}, "b": elsewhere}, "a")
