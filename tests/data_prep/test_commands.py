"""`catena synthesise` and the container it writes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import zarr
from funlib.geometry import Coordinate

from catena.arrays import open_array
from catena.errors import GeometryError, OutputError
from data_prep.commands import synthesise as command
from data_prep.synthetic import synthesise, synthetic_recipe
from data_prep.synthetic_container import RECIPE, holds, write_synthetic

SMALL = "16,32,32"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "phantom.zarr"
    command(path, shape=SMALL, voxel_size="40,8,8", seed=2, workers=1)
    return path


def test_layout_and_geometry(written: Path) -> None:
    volume = synthesise(Coordinate(16, 32, 32), Coordinate(40, 8, 8), seed=2)
    expected = {
        "volumes/raw": volume.raw,
        "volumes/labels/neuron_ids": volume.labels,
        "volumes/labels/mitochondria": volume.mitochondria,
    }
    for name, values in expected.items():
        array = open_array(written / name)
        assert array.voxel_size == Coordinate(40, 8, 8)
        assert array.offset == Coordinate(0, 0, 0)
        np.testing.assert_array_equal(array.read(), values)


def test_recipe_is_kept(written: Path) -> None:
    assert zarr.open_group(str(written), mode="r").attrs[RECIPE] == synthetic_recipe(
        Coordinate(16, 32, 32), Coordinate(40, 8, 8), 2
    )


def test_rerun_skips_and_says_so(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (written / "volumes/raw/.zarray").stat().st_mtime_ns
    command(written, shape=SMALL, voxel_size="40,8,8", seed=2, workers=2)
    assert "holds this very volume already" in capsys.readouterr().out
    assert (written / "volumes/raw/.zarray").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("shape", "voxel_size", "seed"), [(SMALL, "40,8,8", 3), ("16,32,40", "40,8,8", 2), (SMALL, "8,8,8", 2)]
)
def test_anything_else_is_not_overwritten(written: Path, shape: str, voxel_size: str, seed: int) -> None:
    with pytest.raises(OutputError, match="exists and is not this very volume"):
        command(written, shape=shape, voxel_size=voxel_size, seed=seed, workers=1)
    assert holds(written, synthetic_recipe(Coordinate(16, 32, 32), Coordinate(40, 8, 8), 2))


def test_leftovers_of_a_killed_run_do_not_matter(tmp_path: Path, written: Path) -> None:
    target = tmp_path / "phantom.zarr"
    shutil.copytree(written / "volumes", tmp_path / ".phantom.partial.zarr" / "volumes")
    command(target, shape=SMALL, voxel_size="40,8,8", seed=2, workers=1)
    np.testing.assert_array_equal(open_array(target / "volumes/raw").read(), open_array(written / "volumes/raw").read())
    assert [each.name for each in tmp_path.iterdir()] == ["phantom.zarr"]


def test_a_volume_with_other_sections_is_not_taken_for_the_planned_one(tmp_path: Path) -> None:
    planned = synthesise(Coordinate(16, 32, 32), Coordinate(40, 8, 8), seed=2)
    custom = synthesise(Coordinate(16, 32, 32), Coordinate(40, 8, 8), seed=2, sections=planned.sections)
    write_synthetic(tmp_path / "custom.zarr", custom)
    assert holds(tmp_path / "custom.zarr", custom.recipe)
    assert not holds(tmp_path / "custom.zarr", planned.recipe)


@pytest.mark.parametrize("shape", ["16,32", "16,32,x", "16,32,3.5", "-16,32,32", ""])
def test_malformed_shapes_are_refused(tmp_path: Path, shape: str) -> None:
    with pytest.raises(GeometryError, match="--shape must be three whole numbers"):
        command(tmp_path / "a.zarr", shape=shape)


def test_fractional_voxel_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match="--voxel-size must be three whole numbers"):
        command(tmp_path / "a.zarr", shape=SMALL, voxel_size="40,4.6,4.6")


def test_other_containers_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"a\.h5 is no Zarr container"):
        command(tmp_path / "a.h5", shape=SMALL)


def test_help_ends_with_examples() -> None:
    assert "catena synthesise phantom.zarr" in command.__dict__["epilog"]
