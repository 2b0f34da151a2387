from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array, open_array
from catena.errors import ConfigError, GeometryError, OutputError
from data_prep import downsample as module
from data_prep.commands import downsample as command
from data_prep.downsample import downsample_image, downsample_labels

FACTOR = Coordinate(1, 2, 2)


def test_images_are_averaged_and_labels_are_not() -> None:
    values = np.array([[[0, 1, 8, 9, 5], [2, 3, 8, 9, 5], [9, 9, 9, 9, 9]]], np.uint8)
    np.testing.assert_array_equal(downsample_image(values, FACTOR), [[[2, 9]]])  # 1.5 and 8.5, halves up
    np.testing.assert_array_equal(downsample_labels(values, FACTOR), [[[3, 9]]])


def test_arrays_keep_their_place_and_grow_their_voxels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SLAB_VOX", 1)  # a section at a time
    values = np.arange(3 * 4 * 6, dtype=np.uint8).reshape(3, 4, 6)
    source = create_array(
        tmp_path / "a.zarr/raw",
        roi=Roi((40, 8, 0), (120, 16, 24)),
        voxel_size=Coordinate(40, 4, 4),
        dtype="uint8",
        chunk_shape_vox=Coordinate(2, 2, 2),
    )
    source.write(source.roi, values)
    command(str(tmp_path / "a.zarr/raw"), str(tmp_path / "b.zarr/raw"), factor="1,2,2")
    made = open_array(tmp_path / "b.zarr/raw")
    assert (made.voxel_size, made.offset) == (Coordinate(40, 8, 8), Coordinate(40, 8, 0))
    np.testing.assert_array_equal(made.read(), downsample_image(values, FACTOR))
    with pytest.raises(OutputError, match="exists already"):
        command(str(tmp_path / "a.zarr/raw"), str(tmp_path / "b.zarr/raw"))
    with pytest.raises(GeometryError, match="--factor"):
        command(str(tmp_path / "a.zarr/raw"), str(tmp_path / "c.zarr/raw"), factor="2,two,2")
    with pytest.raises(ConfigError, match="cannot downsample"):
        command(str(tmp_path / "a.zarr/raw"), str(tmp_path / "c.zarr/raw"), factor="4,1,1")
