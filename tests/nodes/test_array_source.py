from __future__ import annotations

import gunpowder as gp
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array, open_array
from catena.errors import GeometryError
from catena.nodes.array_source import ArraySource, RegionReader

KEY = gp.ArrayKey("SOURCE")
VOXEL = Coordinate(10, 4, 4)
SHAPE = Coordinate(6, 7, 8)
OFFSET = Coordinate(100, 40, 0)


@pytest.fixture
def stored(tmp_path):
    values = np.arange(6 * 7 * 8, dtype=np.uint16).reshape(SHAPE)
    path = str(tmp_path / "a.zarr/raw")
    roi = Roi(OFFSET, SHAPE * VOXEL)
    array = create_array(path, roi=roi, voxel_size=VOXEL, dtype=np.uint16, chunk_shape_vox=Coordinate(4, 4, 4))
    array.write(roi, values)
    return path, values


def box(begin, shape) -> Roi:
    """Voxels of the array, as a world region of interest."""
    return Roi(OFFSET + Coordinate(begin) * VOXEL, Coordinate(shape) * VOXEL)


@pytest.mark.parametrize("cache_bytes", [0, 2**20])
@pytest.mark.parametrize(("beyond", "mode"), [("reflect", "reflect"), ("zero", "constant")])
def test_beyond_its_region_values_are_mirrored_or_zero(stored, cache_bytes, beyond, mode):
    path, values = stored
    region = box((1, 2, 0), (4, 5, 6))
    reader = RegionReader(open_array(path), region, beyond, cache_bytes)
    padded = np.pad(values[1:5, 2:7, 0:6], 9, mode=mode)

    # 9 voxels before the region begins, and further than its own size: mirrored again and again.
    read = reader.read(box((1 - 9, 2 - 9, -9), padded.shape))

    np.testing.assert_array_equal(read, padded)


@pytest.mark.parametrize("beyond", ["reflect", "zero"])
def test_a_crop_that_misses_the_region_altogether(stored, beyond):
    path, _ = stored
    reader = RegionReader(open_array(path), box((0, 0, 0), (2, 2, 2)), beyond, 0)
    far = reader.read(box((50, 50, 50), (3, 3, 3)))
    assert far.shape == (3, 3, 3)
    assert far.any() == (beyond == "reflect")


def test_source_provides_converted_values_in_world_units(stored):
    path, values = stored
    source = ArraySource(
        KEY,
        path,
        interpolatable=False,
        units_per_nm=10,
        beyond="zero",
        convert=lambda each: (each > 5).astype(np.uint8),
    )
    request = gp.BatchRequest(random_seed=0)
    request[KEY] = gp.ArraySpec(roi=Roi(OFFSET * 10, Coordinate(2, 2, 2) * VOXEL * 10))
    with gp.build(gp.Pipeline(source)) as pipeline:
        batch = pipeline.request_batch(request)
    assert batch[KEY].spec.voxel_size == VOXEL * 10
    assert batch[KEY].data.dtype == np.uint8
    np.testing.assert_array_equal(batch[KEY].data, values[:2, :2, :2] > 5)


def test_a_region_outside_the_array_is_refused(stored):
    path, _ = stored
    with pytest.raises(GeometryError, match=r"region .* must lie inside .*a\.zarr/raw"):
        RegionReader(open_array(path), box((0, 0, 0), (9, 2, 2)), "zero", 0)
