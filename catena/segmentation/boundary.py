"""From affinities to what is inside a neuron and what is boundary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.compiled import kernel
from catena.errors import DataError, GeometryError

_SHORT_RANGE = (Coordinate(-1, 0, 0), Coordinate(0, -1, 0), Coordinate(0, 0, -1))


@dataclass(frozen=True)
class ShortRange:
    """Which channels join a voxel with its lower neighbour along each axis.

    Attributes
    ----------
    z
        None for the affinities of a 2D model: sections have nothing to do with one another.
    y, x
        In plane.
    """

    z: int | None
    y: int
    x: int

    @property
    def in_plane(self) -> tuple[int, ...]:
        """The channels of y and x."""
        return self.y, self.x

    @property
    def all(self) -> tuple[int, ...]:
        """The channels of all axes that have one, in the order z, y, x."""
        return self.in_plane if self.z is None else (self.z, self.y, self.x)


def short_range_channels(affinity_offsets: Sequence[Coordinate], channels: int) -> ShortRange:
    """Return which channels join a voxel with its lower neighbour along z, y and x; others are long-range.

    Affinities of which none leads out of its section are those of a 2D model, and need no neighbour along z.

    Parameters
    ----------
    affinity_offsets
        The offset in voxels of every channel: the attribute ``offsets`` of the array.
    channels
        How many channels the array has.

    Raises
    ------
    GeometryError
        If there is not one offset per channel, or if one of the short-range offsets is missing.
    """
    offsets = [Coordinate(offset) for offset in affinity_offsets]
    if len(offsets) != channels:
        raise GeometryError(f"affinities have {channels} channels, but {len(offsets)} offsets are given: {offsets}")
    planar = not any(offset[0] for offset in offsets)
    missing = [tuple(offset) for offset in _SHORT_RANGE[planar:] if offset not in offsets]
    if missing:
        raise GeometryError(
            f"affinities lack the short-range offsets {missing} (z, y, x, in voxels); they have"
            f" {[tuple(offset) for offset in offsets]}"
        )
    z, y, x = (offsets.index(offset) if offset in offsets else None for offset in _SHORT_RANGE)
    return ShortRange(z, cast(int, y), cast(int, x))


def quantise(affinities: NDArray[np.generic]) -> NDArray[np.uint8]:
    """Return affinities as uint8 (x·255, rounded), the form in which they are stored and summed exactly.

    Parameters
    ----------
    affinities
        (c, z, y, x), uint8 already, or floating point in [0, 1].

    Raises
    ------
    DataError
        If the array has another dtype, is not four-dimensional, or has values that are not in [0, 1].
    """
    if affinities.ndim != 4:
        raise DataError(f"affinities must have the axes c, z, y, x, found shape {affinities.shape}")
    if affinities.dtype == np.uint8:
        return np.ascontiguousarray(affinities).view(np.uint8)
    if not np.issubdtype(affinities.dtype, np.floating):
        raise DataError(f"affinities must be uint8 or floating point in [0, 1], found {affinities.dtype}")
    lowest, highest = (affinities.min(), affinities.max()) if affinities.size else (0, 0)
    if not (lowest >= 0 and highest <= 1):  # also false for NaN
        raise DataError(f"affinities must lie in [0, 1], found values from {lowest} to {highest}")
    scaled: NDArray[np.float32] = affinities.astype(np.float32) * np.float32(255)
    return np.rint(scaled).astype(np.uint8)


def foreground(
    affinities: NDArray[np.uint8],
    channels: Sequence[int],
    threshold: float,
    mask: NDArray[np.generic] | None = None,
) -> NDArray[np.uint8]:
    """Return 1 where the mean of the given channels is above `threshold` (and `mask` is not 0), else 0.

    Parameters
    ----------
    affinities
        (c, z, y, x) uint8.
    channels
        The channels to average: the short-range ones, only those of y and x for fragments per section.
    threshold
        In [0, 1]; compared exactly, with the sum of the uint8 values.
    mask
        (z, y, x), optional: nothing is inside where it is 0.

    Raises
    ------
    GeometryError
        If the mask has another shape.
    """
    shape = affinities.shape[1:]
    if mask is not None and mask.shape != shape:
        raise GeometryError(f"the mask has shape {mask.shape}, the affinities {shape} (z, y, x)")
    inside = np.empty(shape, np.uint8)
    above = int(np.floor(threshold * 255 * len(channels)))
    _sum_above(affinities, np.asarray(channels, np.int64), above, inside)
    if mask is not None:
        inside[mask == 0] = 0
    return inside


@kernel
def _sum_above(
    affinities: NDArray[np.uint8], channels: NDArray[np.int64], above: int, inside: NDArray[np.uint8]
) -> None:
    depth, height, width = inside.shape
    total = np.empty(width, np.uint16)
    limit = np.uint16(above)
    for z in range(depth):
        for y in range(height):
            total[:] = 0
            for channel in channels:
                row = affinities[channel, z, y]
                for x in range(width):
                    total[x] = np.uint16(total[x] + np.uint16(row[x]))
            out = inside[z, y]
            for x in range(width):
                out[x] = total[x] > limit
