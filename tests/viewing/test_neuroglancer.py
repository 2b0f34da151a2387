import io
import os
import threading
import urllib.error
import urllib.request
import zlib

import matplotlib.image
import neuroglancer
import numpy as np
import pytest
import zarr
from funlib.geometry import Coordinate, Roi

from catena.arrays import Array, create_array, open_array
from catena.errors import CatenaError, ConfigError
from catena.viewing import screenshot as screenshots
from catena.viewing.colours import channels_as_rgb
from catena.viewing.neuroglancer import build_viewer, channel_shader, serve
from catena.viewing.screenshot import missing_for_screenshots, screenshot

VOXEL_SIZE = Coordinate(40, 4, 4)
SHAPE = (6, 20, 24)


@pytest.fixture(scope="module", autouse=True)
def _server():
    yield
    neuroglancer.stop()


def make(folder, name, dtype, channels=None, voxel_size=VOXEL_SIZE, offset=(0, 0, 0), units_per_nm=1) -> Array:
    roi = Roi(offset, Coordinate(SHAPE) * voxel_size)
    array = create_array(
        folder / f"data.zarr/{name}",
        roi=roi,
        voxel_size=voxel_size,
        dtype=dtype,
        chunk_shape_vox=Coordinate(4, 16, 16),
        channels=channels,
        units_per_nm=units_per_nm,
    )
    leading = () if channels is None else (channels,)
    array.write(roi, np.random.default_rng(0).integers(0, 2 if dtype == "bool" else 200, leading + SHAPE).astype(dtype))
    return array


def volumes(viewer) -> list:
    """Local volumes, in the order of the layers."""
    keys = [layer.source[0].url.rpartition("/")[2] for layer in viewer.state.layers]
    return [viewer.volume_manager.volumes[key.partition(".")[2]] for key in keys]


def served(viewer, layer: int, begin, end, scale=None) -> np.ndarray:
    """Voxels as the viewer in the browser gets them, over HTTP."""
    key = viewer.state.layers[layer].source[0].url.rpartition("/")[2]
    scale = scale or [1] * len(begin)
    parts = ["npz", key, *(",".join(str(each) for each in part) for part in (scale, begin, end))]
    with urllib.request.urlopen("/".join([neuroglancer.server.get_server_url(), "neuroglancer", *parts])) as reply:
        return np.load(io.BytesIO(zlib.decompress(reply.read())))


def test_every_array_becomes_the_layer_it_is(tmp_path):
    layers = {
        "raw": make(tmp_path, "raw", "uint8"),
        "affinities": make(tmp_path, "affinities", "uint8", channels=3),
        "fragments": make(tmp_path, "fragments", "uint64"),
        "segmentation": make(tmp_path, "segmentation", "uint64"),
    }

    state = build_viewer(layers).state.to_json()

    assert [(each["name"], each["type"]) for each in state["layers"]] == [
        ("raw", "image"),
        ("affinities", "image"),
        ("fragments", "segmentation"),
        ("segmentation", "segmentation"),
    ]
    assert [each.get("visible", True) for each in state["layers"]] == [True, False, False, True]
    assert state["displayDimensions"] == ["x", "y", "z"]
    assert state["dimensions"] == {"z": [4e-08, "m"], "y": [4e-09, "m"], "x": [4e-09, "m"]}
    assert "emitRGB" in state["layers"][1]["shader"]


def test_layers_are_served_voxel_by_voxel(tmp_path):
    raw, affinities = make(tmp_path, "raw", "uint8"), make(tmp_path, "affinities", "uint8", channels=3)
    viewer = build_viewer({"raw": raw, "affinities": affinities})

    assert np.array_equal(served(viewer, 0, (1, 2, 3), (5, 9, 20)), raw.read()[1:5, 2:9, 3:20])
    assert np.array_equal(served(viewer, 1, (0, 1, 2, 3), (3, 5, 9, 20)), affinities.read()[:, 1:5, 2:9, 3:20])


@pytest.mark.parametrize(("dtype", "shown"), [("bool", "uint8"), ("int64", "uint64"), ("float64", "float32")])
def test_dtypes_unknown_to_neuroglancer_are_converted(tmp_path, dtype, shown):
    array = make(tmp_path, "array", dtype)
    viewer = build_viewer({"array": array})

    values = served(viewer, 0, (0, 0, 0), SHAPE)

    assert values.dtype == shown == volumes(viewer)[0].info()["dataType"]
    assert np.array_equal(values, array.read())


def test_volumes_lie_at_their_offset_in_nanometres(tmp_path):
    raw = make(tmp_path, "raw", "uint8", offset=(400, 40, 0))
    inner = make(tmp_path, "inner", "uint64", offset=(480, 80, 8))

    viewer = build_viewer({"raw": raw, "inner": inner})

    assert [volume.voxel_offset.tolist() for volume in volumes(viewer)] == [[10, 10, 0], [12, 20, 2]]
    assert viewer.state.position.tolist() == [10 + 3, 10 + 10, 0 + 12]


def test_fractional_voxel_sizes_are_shown_in_nanometres(tmp_path):
    raw = make(tmp_path, "raw", "uint8", voxel_size=Coordinate(46, 46, 46), offset=(460, 0, 0), units_per_nm=10)

    volume = volumes(build_viewer({"raw": raw}))[0]

    assert volume.dimensions.scales == pytest.approx([4.6e-9] * 3)
    assert volume.voxel_offset.tolist() == [10, 0, 0]


def test_an_offset_between_voxels_becomes_a_transform(tmp_path):
    array = make(tmp_path, "array", "uint8", channels=2, offset=(60, -2, 0))

    viewer = build_viewer({"array": array})

    transform = viewer.state.layers[0].source[0].transform.to_json()
    assert volumes(viewer)[0].voxel_offset.tolist() == [0, 1, -1, 0]
    assert [row[-1] for row in transform["matrix"]] == [0, 0.5, 0.5, 0]


def test_contrast_is_set_from_the_data(tmp_path):
    low, high = build_viewer({"raw": make(tmp_path, "raw", "uint8")}).state.to_json()["layers"][0]["shaderControls"][
        "normalized"
    ]["range"]

    assert 0 <= low < 5
    assert 195 < high < 200


def test_layers_can_be_chosen(tmp_path):
    layers = {"raw": make(tmp_path, "raw", "uint8"), "mask": make(tmp_path, "mask", "uint8")}

    state = build_viewer(layers, kinds={"mask": "labels"}, visible=("mask",), position=Coordinate(0, 0, 8)).state

    assert state.layers["mask"].type == "segmentation"
    assert [layer.visible for layer in state.layers] == [False, True]
    assert state.position.tolist() == [0, 0, 2]


def test_layers_that_are_not_there_are_named(tmp_path):
    layers = {"raw": make(tmp_path, "raw", "uint8")}
    with pytest.raises(ConfigError, match="no layer 'affs'; the layers are: raw"):
        build_viewer(layers, visible=("affs",))
    with pytest.raises(ConfigError, match="no layer 'labels'; the layers are: raw"):
        build_viewer(layers, kinds={"labels": "labels"})
    with pytest.raises(ConfigError, match="nothing to view"):
        build_viewer({})


@pytest.mark.parametrize(("channels", "shown"), [(1, "emitGrayscale"), (2, "0.0"), (10, "getDataValue(2)")])
def test_shader_shows_at_most_three_channels(channels, shown):
    shader = channel_shader(np.dtype("uint8"), channels)

    assert shown in shader
    assert "getDataValue(3)" not in shader
    assert f"getDataValue({channels})" not in shader


def test_float_channels_are_not_normalised_by_their_dtype():
    assert "toNormalized" not in channel_shader(np.dtype("float32"), 3)


class CountingStore(zarr.storage.KVStore):
    """A store that remembers which chunks were asked for."""

    def __init__(self):
        super().__init__({})
        self.asked = set()

    def __getitem__(self, key):
        if not key.endswith((".zarray", ".zattrs", ".zgroup")):
            self.asked.add(key)
        return super().__getitem__(key)


def test_of_a_volume_larger_than_memory_only_what_is_looked_at_is_read():
    store = CountingStore()
    data = zarr.create((8192, 16384, 16384), chunks=(64, 64, 64), dtype="uint64", store=store)  # 17 TB, nothing written
    data[4096:4160, 8192:8256, 8192:8256] = 7
    array = Array("large.zarr", data, Coordinate(8, 8, 8), Coordinate(0, 0, 0))
    store.asked.clear()

    viewer = build_viewer({"segmentation": array, "raw": array}, kinds={"raw": "image"})
    assert len(store.asked) <= 8  # the sample that sets the contrast

    store.asked.clear()
    values = served(viewer, 0, (4096, 8192, 8192), (4160, 8256, 8256))
    assert (values == 7).all()
    assert store.asked == {"64.128.128"}

    store.asked.clear()
    served(viewer, 0, (1024, 2048, 2048), (1040, 2064, 2064), scale=(4, 4, 4))  # zoomed out
    assert store.asked == {"64.128.128"}


def mesh_status(viewer, segment: int) -> int:
    key = viewer.state.layers[0].source[0].url.rpartition("/")[2]
    url = f"{neuroglancer.server.get_server_url()}/neuroglancer/mesh/{key}/{segment}"
    try:
        with urllib.request.urlopen(url) as reply:
            assert len(reply.read()) > 100
            return reply.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_small_volumes_have_meshes_and_large_ones_refuse(tmp_path, monkeypatch):
    array = make(tmp_path, "labels", "uint64")
    blob = np.zeros(SHAPE, np.uint64)
    blob[1:5, 5:15, 5:15] = 3
    open_array(array.path, "r+").write(array.roi, blob)

    assert mesh_status(build_viewer({"labels": array}), 3) == 200

    monkeypatch.setattr("catena.viewing.neuroglancer.MESH_VOXELS", 100)
    assert mesh_status(build_viewer({"labels": array}), 3) == 405


def test_serve_prints_the_link_and_waits(tmp_path):
    viewer, said, stop = build_viewer({"raw": make(tmp_path, "raw", "uint8")}), [], threading.Event()
    thread = threading.Thread(target=serve, args=(viewer, said.append, stop))
    thread.start()
    thread.join(0.7)

    assert thread.is_alive()
    assert said == [viewer.get_viewer_url()]
    stop.set()
    thread.join(2)
    assert not thread.is_alive()


def test_serve_ends_quietly_on_ctrl_c(tmp_path):
    class Interrupted(threading.Event):
        def wait(self, timeout=None):
            raise KeyboardInterrupt

    serve(build_viewer({"raw": make(tmp_path, "raw", "uint8")}), lambda link: None, Interrupted())


def test_missing_chromium_is_named_with_its_package(tmp_path, monkeypatch):
    monkeypatch.setattr(screenshots.shutil, "which", lambda name: None)

    with pytest.raises(
        CatenaError, match=r"apt-get install chromium\), chromedriver .*apt-get install chromium-driver"
    ):
        screenshot(None, tmp_path / "a.png")


@pytest.mark.slow
def test_screenshot_shows_affinities_in_their_colours(tmp_path):
    if missing_for_screenshots():
        pytest.skip("a screenshot needs " + ", ".join(missing_for_screenshots()))
    array = make(tmp_path, "affinities", "uint8", channels=3)
    values = np.zeros((3, *SHAPE), np.uint8)
    values[:, :, :, :12] = np.array([250, 30, 120], np.uint8)[:, None, None, None]
    open_array(array.path, "r+").write(array.roi, values)

    path = screenshot(build_viewer({"affinities": array}), tmp_path / "deep/a.png", size=(640, 480))

    picture = np.rint(matplotlib.image.imread(path)[..., :3] * 255).astype(int)
    expected = channels_as_rgb(values[:, 0, 0, :1])[0]
    in_xy = np.abs(picture[:240, :320] - expected).max(axis=-1) <= 1
    assert picture.shape[:2] == (480, 640)
    # the left half of the xy panel, 20 by 12 voxels, and nothing right of its centre
    assert in_xy[:, :155].sum() > 3000
    assert not in_xy[:, 165:].any()
    assert os.listdir(path.parent) == ["a.png"]
