from __future__ import annotations

import errno
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi
from hypothesis import given
from hypothesis import strategies as st

from catena.arrays import (
    create_array,
    list_arrays,
    open_array,
    output_error,
    reflect,
    split_path,
)
from catena.errors import ArrayNotFoundError, DataError, GeometryError, OutputError
from catena.lengths import parse_voxel_size_nm


def make(path: Path, shape: tuple[int, int, int] = (3, 4, 5), **options: object) -> np.ndarray:
    voxel_size = Coordinate(40, 4, 4)
    array = create_array(
        path,
        roi=Roi((80, 0, 8), Coordinate(shape) * voxel_size),
        voxel_size=voxel_size,
        dtype="uint8",
        chunk_shape_vox=Coordinate(2, 2, 2),
        **options,  # type: ignore[arg-type]
    )
    values = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    if array.channels is None:
        array.write(array.roi, values)
    return values


def test_what_is_written_is_read_back_with_its_geometry(tmp_path: Path) -> None:
    values = make(tmp_path / "a.zarr/volumes/raw", attributes={"note": "x"})
    array = open_array(tmp_path / "a.zarr/volumes/raw")
    assert array.voxel_size == Coordinate(40, 4, 4)
    assert array.offset == Coordinate(80, 0, 8)
    assert array.roi == Roi((80, 0, 8), (120, 16, 20))
    assert array.axis_names == ("z", "y", "x")
    assert array.attributes["note"] == "x"
    np.testing.assert_array_equal(array.read(), values)
    np.testing.assert_array_equal(array.read(Roi((120, 4, 12), (40, 8, 8))), values[1:2, 1:3, 1:3])


def test_reading_outside_refuses_pads_or_mirrors(tmp_path: Path) -> None:
    values = make(tmp_path / "a.zarr/raw")
    array = open_array(tmp_path / "a.zarr/raw")
    roi = array.roi.grow(Coordinate(40, 4, 4) * 2, Coordinate(40, 4, 4) * 2)
    with pytest.raises(GeometryError, match="reaches outside"):
        array.read(roi)
    np.testing.assert_array_equal(array.read(roi, outside="zero"), np.pad(values, 2))
    np.testing.assert_array_equal(array.read(roi, outside="reflect"), np.pad(values, 2, mode="reflect"))


def test_reading_wholly_outside_with_zeros(tmp_path: Path) -> None:
    make(tmp_path / "a.zarr/raw")
    array = open_array(tmp_path / "a.zarr/raw")
    assert not array.read(Roi((400, 400, 408), (40, 4, 4)), outside="zero").any()


@given(size=st.integers(1, 6), begin=st.integers(-20, 20), length=st.integers(1, 20))
def test_reflect_is_what_numpy_does(size: int, begin: int, length: int) -> None:
    far = 60
    padded = np.pad(np.arange(size), far, mode="reflect") if size > 1 else np.zeros(2 * far + 1, int)
    expected = padded[begin + far : begin + far + length]
    index = np.arange(begin, begin + len(expected))
    np.testing.assert_array_equal(reflect(index, size), expected)


def test_off_grid_regions_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "a.zarr/raw")
    array = open_array(tmp_path / "a.zarr/raw")
    with pytest.raises(GeometryError, match="not on the voxel grid"):
        array.read(Roi((81, 0, 8), (40, 4, 4)))


def test_writing_outside_or_of_another_shape_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "a.zarr/raw")
    array = open_array(tmp_path / "a.zarr/raw", mode="r+")
    with pytest.raises(GeometryError, match="covers only"):
        array.write(Roi((0, 0, 8), (40, 4, 4)), np.zeros((1, 1, 1), np.uint8))
    with pytest.raises(GeometryError, match=r"\(1, 1, 1\) voxels expected"):
        array.write(Roi((80, 0, 8), (40, 4, 4)), np.zeros((1, 1, 2), np.uint8))


def test_missing_data_set_names_those_that_are_there(tmp_path: Path) -> None:
    make(tmp_path / "a.zarr/volumes/raw")
    with pytest.raises(ArrayNotFoundError, match="no data set 'volumes/labels'; the data sets there are: volumes/raw"):
        open_array(tmp_path / "a.zarr/volumes/labels")
    with pytest.raises(FileNotFoundError, match="no container at"):
        open_array(tmp_path / "b.zarr/volumes/raw")
    with pytest.raises(ArrayNotFoundError, match="names no container"):
        open_array(tmp_path / "folder/raw")


def test_hdf5_is_read_with_cremi_and_other_attributes(tmp_path: Path) -> None:
    values = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["cremi"] = values
        file["cremi"].attrs["resolution"] = [40.0, 4.0, 4.0]
        file["cremi"].attrs["offset"] = [400.0, 0.0, 0.0]
        file["other"] = values
        file["other"].attrs["voxel_size_nm"] = [5, 5, 5]
        file["bare"] = values
    assert open_array(tmp_path / "a.h5/cremi").roi == Roi((400, 0, 0), (80, 8, 8))
    assert open_array(tmp_path / "a.h5/other").voxel_size == Coordinate(5, 5, 5)
    np.testing.assert_array_equal(open_array(tmp_path / "a.h5/other").read(), values)
    with pytest.raises(GeometryError, match="says nothing about its voxel size"):
        open_array(tmp_path / "a.h5/bare")
    assert open_array(tmp_path / "a.h5/bare", voxel_size_nm=(8, 8, 8)).voxel_size == Coordinate(8, 8, 8)
    assert list_arrays(tmp_path / "a.h5") == ["bare", "cremi", "other"]


@pytest.mark.parametrize(
    ("given_nm", "coordinate", "units_per_nm"),
    [
        ((8, 8, 8), (8, 8, 8), 1),
        ((40, 4.6, 4.6), (400, 46, 46), 10),
        ((3.85, 3.85, "50"), (385, 385, 5000), 100),
        ((8.0, np.float64(4.0), 4), (8, 4, 4), 1),
        (tuple(np.array([40, 4.6, 4.6], np.float32)), (400, 46, 46), 10),
    ],
)
def test_voxel_sizes_are_exact(given_nm: tuple[object, ...], coordinate: tuple[int, ...], units_per_nm: int) -> None:
    assert parse_voxel_size_nm(given_nm) == (Coordinate(coordinate), units_per_nm)


@pytest.mark.parametrize("wrong", [(8, 8), (8, 8, 0), (8, 8, -8), (8, 8, "wide"), (8, 8, float("nan"))])
def test_impossible_voxel_sizes_are_refused(wrong: tuple[object, ...]) -> None:
    with pytest.raises(GeometryError):
        parse_voxel_size_nm(wrong)


def test_fractional_voxel_size_survives_a_round_trip(tmp_path: Path) -> None:
    create_array(
        tmp_path / "a.zarr/raw",
        roi=Roi((0, 46, 0), (800, 92, 92)),
        voxel_size=Coordinate(400, 46, 46),
        dtype="uint8",
        chunk_shape_vox=Coordinate(2, 2, 2),
        units_per_nm=10,
    )
    array = open_array(tmp_path / "a.zarr/raw")
    assert array.roi == Roi((0, 46, 0), (800, 92, 92))
    assert array.voxel_size == Coordinate(400, 46, 46)
    assert array.units_per_nm == 10
    np.testing.assert_array_equal(array.voxel_size_nm, (40, 4.6, 4.6))
    assert array.in_units(100).voxel_size == Coordinate(4000, 460, 460)
    with pytest.raises(GeometryError, match="needs units of 1/10 nm"):
        array.in_units(1)


def test_affinity_offsets_are_read_never_guessed(tmp_path: Path) -> None:
    make(tmp_path / "a.zarr/bare", channels=2)
    with pytest.raises(DataError, match="no attribute 'offsets'"):
        _ = open_array(tmp_path / "a.zarr/bare").affinity_offsets
    make(tmp_path / "a.zarr/wrong", channels=2, attributes={"offsets": [[-1, 0, 0]]})
    with pytest.raises(DataError, match="2 channels but 1 offsets"):
        _ = open_array(tmp_path / "a.zarr/wrong").affinity_offsets
    make(tmp_path / "a.zarr/right", channels=1, attributes={"offsets": [[-1, 0, 0]]})
    assert open_array(tmp_path / "a.zarr/right").affinity_offsets == (Coordinate(-1, 0, 0),)


def test_an_existing_array_is_not_overwritten_unless_asked(tmp_path: Path) -> None:
    make(tmp_path / "a.zarr/raw")
    with pytest.raises(OutputError, match="exists already"):
        make(tmp_path / "a.zarr/raw")
    make(tmp_path / "a.zarr/raw", overwrite=True)


def test_paths_split_at_the_container() -> None:
    assert split_path("x/data.zarr/volumes/raw") == (Path("x/data.zarr"), "volumes/raw")
    assert split_path("x/a.hdf/raw") == (Path("x/a.hdf"), "raw")


def test_too_many_decimals_name_the_array_and_the_setting(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = np.zeros((2, 2, 2), np.uint8)
        file["raw"].attrs["resolution"] = [40.0, 4.0, 4.600000001]
    with pytest.raises(GeometryError, match=r"a\.h5/raw.*4\.600000001\] has more than 6 .*set voxel_size_nm"):
        open_array(tmp_path / "a.h5/raw")
    array = open_array(tmp_path / "a.h5/raw", voxel_size_nm=(40, 4, 4.6))
    assert array.voxel_size == Coordinate(400, 40, 46)


def test_a_damaged_hdf5_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.h5").write_bytes(b"not HDF5 at all")
    with pytest.raises(DataError, match=r"a\.h5 cannot be opened as HDF5"):
        open_array(tmp_path / "a.h5/raw")
    with pytest.raises(DataError, match=r"a\.h5 cannot be opened as HDF5"):
        list_arrays(tmp_path / "a.h5")


def test_zarr_3_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "a.zarr/raw").mkdir(parents=True)
    (tmp_path / "a.zarr/raw/zarr.json").write_text("{}")
    with pytest.raises(DataError, match=r"raw is Zarr 3 .*Catena reads Zarr 2"):
        open_array(tmp_path / "a.zarr/raw")
    (tmp_path / "a.zarr/zarr.json").write_text("{}")
    with pytest.raises(DataError, match=r"a\.zarr is Zarr 3"):
        open_array(tmp_path / "a.zarr/other")


def test_writing_a_wrong_number_of_channels_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "a.zarr/two", channels=2)
    make(tmp_path / "a.zarr/none")
    two, none = (open_array(tmp_path / "a.zarr" / name, mode="r+") for name in ("two", "none"))
    for shape in ((3, 3, 4, 5), (3, 4, 5)):
        with pytest.raises(GeometryError, match="has 2 channels"):
            two.write(two.roi, np.zeros(shape, np.uint8))
    with pytest.raises(GeometryError, match="has no channel axis"):
        none.write(none.roi, np.zeros((1, 3, 4, 5), np.uint8))


@pytest.mark.parametrize(
    ("number", "remedy"),
    [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EROFS, True), (errno.EACCES, True), (errno.EIO, False)],
)
def test_the_remedy_fits_what_failed(tmp_path: Path, number: int, remedy: bool) -> None:
    shown = str(output_error("cannot write x", OSError(number, os.strerror(number))))
    assert os.strerror(number) in shown
    assert ("free space and permissions" in shown) is remedy


def test_a_read_only_array_is_not_written(tmp_path: Path) -> None:
    values = make(tmp_path / "a.zarr/raw")
    array = open_array(tmp_path / "a.zarr/raw")
    with pytest.raises(OutputError, match=r"read-only.*permissions"):
        array.write(array.roi, values)
