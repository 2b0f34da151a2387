"""A source that reads one array, whatever its container, from a region of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import gunpowder as gp
import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.arrays import Array, open_array, reflect
from catena.errors import GeometryError

Beyond = Literal["reflect", "zero"]
Convert = Callable[[NDArray[Any]], NDArray[Any]]


class ArraySource(gp.BatchProvider):
    """Provide the array at `path` inside `region`, continued without end beyond it.

    The array is opened in ``setup``, so each process opens its own. A region of at most `cache_bytes`
    is then read once and kept; a larger one is read crop by crop.

    Parameters
    ----------
    key
        Key to provide.
    path
        Container and data set joined, as :func:`catena.arrays.open_array` takes it.
    units_per_nm
        World units per nanometre of the pipeline; a multiple of the array's own.
    region
        World units, on the voxel grid; default: the whole array. Nothing outside it is ever read.
    beyond
        What stands for voxels outside `region`: mirrored about its border voxels, or 0.
    convert
        Voxelwise function applied to what is read; a kept region is converted once.
    interpolatable
        Whether values between voxels make sense: true for images, false for labels and masks.
    voxel_size_nm
        Overrides the array's own attributes.
    """

    def __init__(
        self,
        key: gp.ArrayKey,
        path: str,
        *,
        interpolatable: bool,
        units_per_nm: int = 1,
        region: Roi | None = None,
        beyond: Beyond = "reflect",
        convert: Convert | None = None,
        voxel_size_nm: tuple[str, ...] | None = None,
        cache_bytes: int = 2**29,
    ):
        self.key = key
        self.path = path
        self.interpolatable = interpolatable
        self.units_per_nm = units_per_nm
        self.region = region
        self.beyond: Beyond = beyond
        self.convert = convert
        self.voxel_size_nm = voxel_size_nm
        self.cache_bytes = cache_bytes

    def setup(self) -> None:
        """Open the array, read it if it is small, and announce it without bounds."""
        array = open_array(self.path, voxel_size_nm=self.voxel_size_nm).in_units(self.units_per_nm)
        self._reader = RegionReader(array, self.region or array.roi, self.beyond, self.cache_bytes, self.convert)
        everywhere = gp.Roi((None,) * 3, (None,) * 3)
        self.provides(
            self.key, gp.ArraySpec(roi=everywhere, voxel_size=array.voxel_size, interpolatable=self.interpolatable)
        )

    def provide(self, request: gp.BatchRequest) -> gp.Batch:
        """Read the requested region of interest."""
        spec = self.spec[self.key].copy()
        spec.roi = request[self.key].roi
        batch = gp.Batch()
        batch[self.key] = gp.Array(self._reader.read(spec.roi), spec)
        return batch


class RegionReader:
    """Reads any region of interest of an array as if nothing existed outside `region`.

    Raises
    ------
    GeometryError
        If `region` is empty or reaches outside the array.
    """

    def __init__(self, array: Array, region: Roi, beyond: Beyond, cache_bytes: int, convert: Convert | None = None):
        if region.empty or not array.roi.contains(region):
            raise GeometryError(f"region {region} must lie inside {array.path}, which covers {array.roi}")
        self._array = array
        self._region = region
        self._beyond = beyond
        self._convert = convert
        self._shape = region.shape // array.voxel_size
        size = array.dtype.itemsize * (array.channels or 1) * int(np.prod(self._shape))
        self._cached = self._read(region) if size <= cache_bytes else None

    def read(self, roi: Roi) -> NDArray[Any]:
        """Return the voxels of `roi` (world units, on the voxel grid), ``([c,] z, y, x)``."""
        begin = (roi.begin - self._region.begin) // self._array.voxel_size
        indices = [np.arange(b, b + n) for b, n in zip(begin, roi.shape // self._array.voxel_size, strict=True)]
        if self._beyond == "zero":
            return self._read_zero(indices)
        return self._read_reflected(indices)

    def _read_reflected(self, indices: list[NDArray[np.int64]]) -> NDArray[Any]:
        folded = [reflect(index, int(n)) for index, n in zip(indices, self._shape, strict=True)]
        low = [int(index.min()) for index in folded]
        values = self._fetch(low, [int(index.max()) + 1 for index in folded])
        for axis, (index, folded_index) in enumerate(zip(indices, folded, strict=True)):
            if not np.array_equal(index, folded_index):
                values = np.take(values, folded_index - low[axis], axis=axis - 3)
        return values

    def _read_zero(self, indices: list[NDArray[np.int64]]) -> NDArray[Any]:
        low = [max(0, int(index[0])) for index in indices]
        high = [min(int(n), int(index[-1]) + 1) for index, n in zip(indices, self._shape, strict=True)]
        if any(a >= b for a, b in zip(low, high, strict=True)):
            low = high = [0, 0, 0]  # nothing of it, in the right dtype and number of channels
        inside = self._fetch(low, high)
        values = np.zeros((*inside.shape[:-3], *(len(index) for index in indices)), inside.dtype)
        z, y, x = (slice(a - int(i[0]), b - int(i[0])) for a, b, i in zip(low, high, indices, strict=True))
        if inside.size:
            values[..., z, y, x] = inside
        return values

    def _fetch(self, low: list[int], high: list[int]) -> NDArray[Any]:
        """Read the half-open box of voxels, counted from the region's first voxel."""
        if self._cached is not None:
            z, y, x = (slice(a, b) for a, b in zip(low, high, strict=True))
            values: NDArray[Any] = self._cached[..., z, y, x]
            return values
        size = self._array.voxel_size
        begin = self._region.begin + Coordinate(low) * size
        return self._read(Roi(begin, (Coordinate(high) - Coordinate(low)) * size))

    def _read(self, roi: Roi) -> NDArray[Any]:
        values = self._array.read(roi)
        return self._convert(values) if self._convert else values
