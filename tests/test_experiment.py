"""Volumes of an experiment and how they relate."""

from __future__ import annotations

from pathlib import Path

import pytest

from catena.experiment import VolumeConfig


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
