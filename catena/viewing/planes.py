"""The three orthogonal planes through a point of a volume."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.errors import GeometryError

if TYPE_CHECKING:
    from catena.arrays import Array


class Planes(NamedTuple):
    """Three planes of one volume, ``([c,] rows, columns)``: y by x, z by x, z by y."""

    xy: NDArray[Any]
    xz: NDArray[Any]
    yz: NDArray[Any]

    @property
    def shape_vox(self) -> Coordinate:
        """Spatial shape of the volume they were cut from."""
        return Coordinate(self.xz.shape[-2], *self.xy.shape[-2:])


def cut_planes(volume: NDArray[Any], position_vox: Coordinate | None = None) -> Planes:
    """Cut a volume ``([c,] z, y, x)`` through one voxel, the central one by default.

    Raises
    ------
    GeometryError
        If the volume has other axes, is empty, or the voxel lies outside.
    """
    if volume.ndim not in (3, 4) or not volume.size:
        raise GeometryError(f"expected a volume (z, y, x) or (c, z, y, x), found shape {volume.shape}")
    shape = Coordinate(volume.shape[-3:])
    z, y, x = position_vox if position_vox is not None else shape // 2
    if not all(0 <= at < size for at, size in zip((z, y, x), shape, strict=True)):
        raise GeometryError(f"voxel {(z, y, x)} lies outside a volume of {tuple(shape)} voxels")
    return Planes(volume[..., z, :, :], volume[..., :, y, :], volume[..., :, :, x])


def read_planes(array: Array, roi: Roi | None = None, position: Coordinate | None = None) -> Planes:
    """Read three planes of an array on disk, and nothing else of it.

    Parameters
    ----------
    array
        Any size; only the chunks that the planes cross are read.
    roi
        Region to show, world units on the voxel grid; what lies outside the array is 0. The whole
        array by default.
    position
        World units; the centre of `roi` by default.

    Raises
    ------
    GeometryError
        If `position` is not inside `roi`, or `roi` is off the voxel grid.
    """
    region = roi if roi is not None else array.roi
    middle = region.begin + region.shape // array.voxel_size // 2 * array.voxel_size
    point = position if position is not None else middle
    if not region.contains(point):
        raise GeometryError(f"position {point} lies outside the region {region}")
    corner = region.begin + (point - region.begin) // array.voxel_size * array.voxel_size

    def plane(axis: int) -> NDArray[Any]:
        begin, shape = list(region.begin), list(region.shape)
        begin[axis], shape[axis] = corner[axis], array.voxel_size[axis]
        slab = array.read(Roi(begin, shape), outside="zero")
        cut: NDArray[Any] = np.take(slab, 0, axis=axis - 3)
        return cut

    return Planes(plane(0), plane(1), plane(2))
