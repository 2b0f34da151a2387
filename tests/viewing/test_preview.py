import os
from pathlib import Path

import matplotlib as mpl
import matplotlib.image
import numpy as np
import pytest
from funlib.geometry import Coordinate, Roi

from catena.arrays import create_array
from catena.errors import ConfigError, GeometryError, OutputError
from catena.viewing.colours import label_colours
from catena.viewing.planes import Planes, cut_planes, read_planes
from catena.viewing.preview import write_preview

VOXEL_SIZE = Coordinate(8, 8, 8)


def read(path: Path) -> np.ndarray:
    return np.rint(mpl.image.imread(path)[..., :3] * 255).astype(int)


def test_planes_cross_at_the_voxel():
    volume = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    planes = cut_planes(volume, Coordinate(1, 0, 3))

    assert np.array_equal(planes.xy, volume[1])
    assert np.array_equal(planes.xz, volume[:, 0])
    assert np.array_equal(planes.yz, volume[:, :, 3])
    assert planes.shape_vox == Coordinate(2, 3, 4)


def test_planes_keep_their_channels():
    planes = cut_planes(np.zeros((5, 2, 3, 4)))

    assert [each.shape for each in planes] == [(5, 3, 4), (5, 2, 4), (5, 2, 3)]
    assert planes.shape_vox == Coordinate(2, 3, 4)


def test_voxel_outside_is_refused():
    with pytest.raises(GeometryError, match=r"\(2, 0, 0\) lies outside a volume of \(2, 3, 4\)"):
        cut_planes(np.zeros((2, 3, 4)), Coordinate(2, 0, 0))
    with pytest.raises(GeometryError, match=r"found shape \(3, 4\)"):
        cut_planes(np.zeros((3, 4)))


@pytest.mark.parametrize("channels", [None, 3])
def test_planes_from_disk_are_those_of_the_volume(tmp_path, channels):
    leading = () if channels is None else (channels,)
    values = np.random.default_rng(0).integers(0, 255, (*leading, 6, 8, 10)).astype(np.uint8)
    roi = Roi((400, 40, 0), (240, 32, 40))
    array = create_array(
        tmp_path / "a.zarr/raw",
        roi=roi,
        voxel_size=Coordinate(40, 4, 4),
        dtype="uint8",
        chunk_shape_vox=Coordinate(4, 4, 4),
        channels=channels,
    )
    array.write(roi, values)

    assert all(np.array_equal(*each) for each in zip(read_planes(array), cut_planes(values), strict=True))

    point = Coordinate(400 + 81, 40 + 5, 39)  # inside voxel (2, 1, 9)
    cut = cut_planes(values, Coordinate(2, 1, 9))
    assert all(np.array_equal(*each) for each in zip(read_planes(array, position=point), cut, strict=True))


def test_planes_beyond_the_array_are_zero(tmp_path):
    roi = Roi((0, 0, 0), (16, 16, 16))
    array = create_array(
        tmp_path / "a.zarr/raw", roi=roi, voxel_size=VOXEL_SIZE, dtype="uint8", chunk_shape_vox=Coordinate(2, 2, 2)
    )
    array.write(roi, np.ones((2, 2, 2), np.uint8))

    planes = read_planes(array, Roi((0, 0, 0), (16, 16, 32)), Coordinate(8, 8, 8))

    assert planes.xy.tolist() == [[1, 1, 0, 0], [1, 1, 0, 0]]
    with pytest.raises(GeometryError, match="lies outside the region"):
        read_planes(array, position=Coordinate(16, 0, 0))


def test_panels_have_the_physical_aspect_ratio(tmp_path):
    labels = np.full((5, 80, 100), 6, np.uint64)  # 200 nm x 320 nm x 400 nm
    labels[2, :, :50] = 5  # the left half of xy; in xz the left half of one section; yz just misses it

    path = write_preview(tmp_path / "deep/preview.png", {"labels": labels}, Coordinate(40, 4, 4))

    shown = (read(path) == label_colours(5)).all(axis=-1)
    rows, columns = np.nonzero(shown)
    assert np.ptp(columns) + 1 == pytest.approx(200, abs=4)  # half of 2 inches at 200 dpi, 1 nm a pixel
    assert np.count_nonzero(shown.sum(axis=1) > 90) == pytest.approx(320 + 40, abs=6)  # the scale bar hides some
    assert np.ptp(rows) + 1 == pytest.approx(320 + 0.06 * 200 + 120, abs=6)


def test_rows_show_the_planes_the_right_way_up(tmp_path):
    labels = np.full((9, 9, 9), 1, np.uint64)
    labels[0, :, :], labels[-1, :, :] = 2, 3  # first section on top of xz and yz, last at the bottom

    picture = read(write_preview(tmp_path / "p.png", {"labels": labels}, VOXEL_SIZE))

    rows = {label: np.nonzero((picture == label_colours(label)).all(-1))[0] for label in (1, 2, 3)}
    assert rows[1].min() < rows[2].min() < rows[3].min()
    assert rows[2].max() < rows[3].max()


def test_all_kinds_stand_side_by_side(tmp_path):
    rng = np.random.default_rng(0)
    shape = (12, 20, 24)
    panels = {
        "raw": rng.integers(0, 255, shape).astype(np.uint8),
        "affinities": rng.integers(0, 255, (3, *shape)).astype(np.uint8),
        "LSDs": rng.random((10, *shape), np.float32),
        "segmentation": rng.integers(0, 9, shape).astype(np.uint64),
    }

    alone = read(write_preview(tmp_path / "a.png", {"raw": panels["raw"]}, VOXEL_SIZE))
    many = read(write_preview(tmp_path / "b.png", panels, VOXEL_SIZE))
    overlaid = read(
        write_preview(tmp_path / "c.png", panels, VOXEL_SIZE, overlay="segmentation", title="A title", units_per_nm=10)
    )

    column = (2.0 + 0.06) * 200
    assert many.shape[1] - alone.shape[1] == pytest.approx(3 * column, abs=2)
    assert overlaid.shape[1] - many.shape[1] == pytest.approx(column, abs=2)
    assert many.shape[0] == alone.shape[0] < overlaid.shape[0]


def test_planes_and_volumes_give_the_same_picture(tmp_path):
    volume = np.random.default_rng(0).integers(0, 9, (6, 8, 10)).astype(np.uint64)

    one = write_preview(tmp_path / "a.png", {"labels": volume}, VOXEL_SIZE)
    other = write_preview(tmp_path / "b.png", {"labels": cut_planes(volume)}, VOXEL_SIZE)

    assert one.read_bytes() == other.read_bytes()


def test_kinds_can_be_named(tmp_path):
    labels = np.full((4, 4, 4), 9, np.uint8)

    picture = read(write_preview(tmp_path / "a.png", {"mask": labels}, VOXEL_SIZE, kinds={"mask": "labels"}))

    assert (picture == label_colours(9)).all(-1).any()


def test_panels_must_agree_in_shape(tmp_path):
    panels = {"raw": np.zeros((2, 3, 4), np.uint8), "labels": np.zeros((2, 3, 5), np.uint64)}
    with pytest.raises(GeometryError, match=r"found raw \(2, 3, 4\), labels \(2, 3, 5\)"):
        write_preview(tmp_path / "a.png", panels, VOXEL_SIZE)
    with pytest.raises(GeometryError, match="at least one panel"):
        write_preview(tmp_path / "a.png", {}, VOXEL_SIZE)


def test_names_that_are_no_panel_are_refused(tmp_path):
    raw = {"raw": np.zeros((2, 3, 4), np.uint8)}
    labels = {"segmentation": np.zeros((2, 3, 4), np.uint64)}
    with pytest.raises(ConfigError, match="no panel 'row' to show as image; did you mean 'raw'"):
        write_preview(tmp_path / "a.png", raw, VOXEL_SIZE, kinds={"row": "image"})
    with pytest.raises(ConfigError, match="no panel of labels 'raw' to overlay; valid names: segmentation"):
        write_preview(tmp_path / "a.png", raw | labels, VOXEL_SIZE, overlay="raw")
    with pytest.raises(ConfigError, match="no panel shows an image"):
        write_preview(tmp_path / "a.png", labels, VOXEL_SIZE, overlay="segmentation")


def test_unwritable_folder_is_said_clearly_and_leaves_no_scraps(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(OutputError, match="cannot write the picture"):
        write_preview(tmp_path / "file/a.png", {"raw": np.zeros((2, 3, 4), np.uint8)}, VOXEL_SIZE)

    (tmp_path / "a.png").mkdir()
    with pytest.raises(OutputError, match="cannot write the picture"):
        write_preview(tmp_path / "a.png", {"raw": np.zeros((2, 3, 4), np.uint8)}, VOXEL_SIZE)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.png", "file"]


def test_only_the_chunks_of_the_planes_are_read(tmp_path):
    roi = Roi((0, 0, 0), (64 * 8, 64 * 8, 64 * 8))
    array = create_array(
        tmp_path / "a.zarr/raw", roi=roi, voxel_size=VOXEL_SIZE, dtype="uint8", chunk_shape_vox=Coordinate(8, 8, 8)
    )
    array.write(roi, np.ones((64, 64, 64), np.uint8))
    for chunk in (tmp_path / "a.zarr/raw").glob("[0-9]*.*"):
        if all(part != "4" for part in chunk.name.split(".")):  # not on a central plane
            os.truncate(chunk, 3)  # reading it would fail

    planes = read_planes(array)

    assert isinstance(planes, Planes)
    assert all(each.all() for each in planes)
