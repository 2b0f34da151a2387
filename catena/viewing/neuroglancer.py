"""A Neuroglancer viewer over arrays on disk, read chunk by chunk as the viewer asks for them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from typing import Any

import neuroglancer
import numpy as np
from funlib.geometry import Coordinate, Roi
from neuroglancer.local_volume import MeshesNotSupportedForVolume
from numpy.typing import NDArray

from catena.arrays import Array
from catena.errors import ConfigError
from catena.viewing.colours import contrast_limits
from catena.viewing.kinds import Kind, kind_of

# Meshes are made from a whole volume in memory; above this many voxels segments have none.
MESH_VOXELS = 1 << 28
_VIEW_PIXELS = 480
_SAMPLE_VOX = 64
_AXES = ["z", "y", "x"]
_TILT = [0.28, -0.30, -0.10, 0.90]  # quaternion: all three planes can be seen

_CHANNEL = {True: "toNormalized(getDataValue({0}))", False: "clamp(getDataValue({0}), 0.0, 1.0)"}
_IMAGE_SHADER = "#uicontrol invlerp normalized\nvoid main() {\n  emitGrayscale(normalized());\n}\n"


def build_viewer(
    layers: Mapping[str, Array],
    *,
    kinds: Mapping[str, Kind] | None = None,
    visible: tuple[str, ...] | None = None,
    position: Coordinate | None = None,
    host: str | None = None,
) -> Any:
    """Return a Neuroglancer viewer that shows `layers` at their place, voxel size and unit.

    Nothing is copied: the viewer's server reads the chunks a view needs, so arrays may be far larger
    than memory. Up to :data:`MESH_VOXELS` voxels, segments can also be shown as meshes.

    Parameters
    ----------
    layers
        Name → array: intensities in grey, channels (affinities, descriptors) as red, green and
        blue, labels as segments.
    kinds
        What a layer shows, where :func:`catena.viewing.kinds.kind_of` would be wrong.
    visible
        Layers switched on at first; by default the first image and the last labels.
    position
        World units of the first layer; its centre by default.
    host
        Address the server listens at: ``0.0.0.0`` for viewers on other machines. It counts from the
        first viewer of a process on; this machine only by default.

    Raises
    ------
    ConfigError
        If there is no layer, or `kinds` or `visible` names none of them.
    """
    if not layers:
        raise ConfigError("nothing to view: name at least one array")
    known = {name: kind_of(each.dtype, each.channels) for name, each in layers.items()} | dict(kinds or {})
    shown = _first_shown(known) if visible is None else visible
    for name in (*known, *shown):
        if name not in layers:
            raise ConfigError(f"no layer {name!r}; the layers are: {', '.join(layers)}")
    if host is not None:
        neuroglancer.set_server_bind_address(host)
    viewer = neuroglancer.Viewer()
    with viewer.txn() as state:
        _aim(state, next(iter(layers.values())), position)
        for name, array in layers.items():
            state.layers.append(name=name, layer=_layer(array, known[name]), visible=name in shown)
    return viewer


def _first_shown(kinds: Mapping[str, Kind]) -> tuple[str, ...]:
    images = [name for name, kind in kinds.items() if kind == "image"]
    labels = [name for name, kind in kinds.items() if kind == "labels"]
    return (*images[:1], *labels[-1:]) or tuple(kinds)[:1]


def _aim(state: Any, array: Array, position: Coordinate | None) -> None:
    """Set axes, centre and zoom: the whole volume, or a part at full resolution if it is large."""
    state.dimensions = neuroglancer.CoordinateSpace(names=_AXES, units="nm", scales=list(array.voxel_size_nm))
    # The dimensions are z, y, x; without this the view named "xy" would show z and y.
    state.display_dimensions = ["x", "y", "z"]
    point = position if position is not None else array.offset + array.roi.shape // 2
    state.position = [float(p) / float(v) for p, v in zip(point, array.voxel_size, strict=True)]
    extent = max(s / min(array.voxel_size) for s in array.roi.shape)
    state.cross_section_scale = min(1.0, extent / _VIEW_PIXELS)
    state.projection_scale = 2.0 * extent if extent <= 2 * _VIEW_PIXELS else 2.0 * _VIEW_PIXELS
    state.projection_orientation = _TILT
    state.cross_section_background_color = "#000000"
    state.layout = "4panel"
    state.show_slices = extent <= 2 * _VIEW_PIXELS


def _layer(array: Array, kind: Kind) -> Any:
    source = _source(array, kind)
    if kind == "labels":
        return neuroglancer.SegmentationLayer(source=source, selected_alpha=0.45)
    if kind == "channels":
        return neuroglancer.ImageLayer(source=source, shader=channel_shader(array.dtype, array.channels or 1))
    limits = [float(each) for each in contrast_limits(_sample(array))]
    return neuroglancer.ImageLayer(
        source=source, shader=_IMAGE_SHADER, shader_controls={"normalized": {"range": limits}}
    )


def channel_shader(dtype: np.dtype[Any], channels: int) -> str:
    """Return the shader that shows the first three channels as red, green and blue; one alone in grey.

    The same picture as :func:`catena.viewing.colours.channels_as_rgb`.
    """
    value = _CHANNEL[dtype.kind != "f"]
    if channels == 1:
        return f"void main() {{\n  emitGrayscale({value.format(0)});\n}}\n"
    rgb = ", ".join(value.format(each) if each < channels else "0.0" for each in range(3))
    return f"void main() {{\n  emitRGB(vec3({rgb}));\n}}\n"


def _source(array: Array, kind: Kind) -> Any:
    names, units, scales = list(_AXES), ["nm"] * 3, list(array.voxel_size_nm)
    whole = array.offset // array.voxel_size
    remainder = array.offset - whole * array.voxel_size
    voxel_offset, shift = list(whole), [float(r) / float(v) for r, v in zip(remainder, array.voxel_size, strict=True)]
    if array.channels is not None:
        names, units, scales = ["c^", *names], ["", *units], [1.0, *scales]
        voxel_offset, shift = [0, *voxel_offset], [0.0, *shift]
    dimensions = neuroglancer.CoordinateSpace(names=names, units=units, scales=scales)
    volume = _ArrayVolume(LazyVoxels(array), dimensions, "segmentation" if kind == "labels" else "image", voxel_offset)
    if not any(shift):
        return neuroglancer.LayerDataSource(url=volume)
    matrix = np.column_stack([np.eye(len(names)), shift])  # an offset between two voxels, in output voxels
    transform = neuroglancer.CoordinateSpaceTransform(output_dimensions=dimensions, matrix=matrix)
    return neuroglancer.LayerDataSource(url=volume, transform=transform)


def _sample(array: Array) -> NDArray[Any]:
    """Read a cube at the centre of an array, from which its contrast is set."""
    size = Coordinate(min(_SAMPLE_VOX, int(n)) for n in array.shape_vox)
    begin = array.offset + (array.shape_vox - size) // 2 * array.voxel_size
    return array.read(Roi(begin, size * array.voxel_size))


class LazyVoxels:
    """An array as Neuroglancer wants to index it, in a dtype that it knows; reads what is asked for.

    Attributes
    ----------
    shape
        ``([c,] z, y, x)``.
    dtype
        The array's own, but uint8 for booleans, unsigned for signed integers and float32 for other floats.
    """

    def __init__(self, array: Array) -> None:
        self._array = array
        self.shape: tuple[int, ...] = tuple(int(n) for n in array.data.shape)
        self.ndim = len(self.shape)
        self.dtype = _served_dtype(array.dtype)

    def __getitem__(self, key: tuple[slice, ...]) -> NDArray[Any]:
        """Read one box of voxels."""
        exact = tuple(slice(int(each.start), int(each.stop)) for each in key)
        values: NDArray[Any] = np.asarray(self._array.data[exact]).astype(self.dtype, copy=False)
        return values

    def transpose(self) -> NDArray[Any]:
        """Read everything, axes reversed, as the mesh generator wants it."""
        return self[tuple(slice(0, n) for n in self.shape)].transpose()


def _served_dtype(dtype: np.dtype[Any]) -> np.dtype[Any]:
    if dtype.kind == "b":
        return np.dtype(np.uint8)
    if dtype.kind == "f":
        return np.dtype(np.float32)
    return np.dtype(f"u{dtype.itemsize}")


class _ArrayVolume(neuroglancer.LocalVolume):
    """A local volume that refuses meshes, rather than reading everything, where that would not fit into memory."""

    def __init__(self, data: LazyVoxels, dimensions: Any, volume_type: str, voxel_offset: list[int]) -> None:
        super().__init__(data, dimensions=dimensions, volume_type=volume_type, voxel_offset=voxel_offset)

    def get_object_mesh(self, object_id: int) -> Any:
        if np.prod(self.shape, dtype=np.int64) > MESH_VOXELS:
            raise MeshesNotSupportedForVolume
        return super().get_object_mesh(object_id)


def serve(viewer: Any, announce: Callable[[str], None] = print, stop: threading.Event | None = None) -> None:
    """Announce the viewer's link and wait until Ctrl-C (or until `stop` is set); the server runs meanwhile.

    The link holds a secret token; whoever has it and can reach the host may look.
    """
    announce(str(viewer))
    event = stop or threading.Event()
    try:
        while not event.wait(0.5):  # a wait without a limit would not notice Ctrl-C on every platform
            pass
    except KeyboardInterrupt:
        return
