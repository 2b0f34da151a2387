"""Coarser voxels: an array averaged (images) or thinned out (labels) by whole factors."""

from __future__ import annotations

import numpy as np
from funlib.geometry import Coordinate, Roi
from numpy.typing import NDArray

from catena.arrays import create_array, open_array
from catena.errors import ConfigError

SLAB_VOX = 64_000_000


def downsample_image(image: NDArray[np.generic], factor: Coordinate) -> NDArray[np.generic]:
    """Average blocks of `factor` voxels.

    Parameters
    ----------
    image
        ``(z, y, x)``; voxels beyond the last whole block are left out.
    factor
        Voxels per block along each axis.

    Returns
    -------
    ndarray
        Of the same dtype; integers are rounded to the nearest, halves up.
    """
    means = _blocks(image, factor).mean(axis=(1, 3, 5), dtype=np.float64)
    rounded: NDArray[np.generic] = (np.floor(means + 0.5) if image.dtype.kind in "ui" else means).astype(image.dtype)
    return rounded


def downsample_labels(labels: NDArray[np.generic], factor: Coordinate) -> NDArray[np.generic]:
    """Take the voxel in the middle of each block of `factor` voxels (the upper one of two); no label is invented."""
    z, y, x = (int(each) // 2 for each in factor)
    return np.ascontiguousarray(_blocks(labels, factor)[:, z, :, y, :, x])


def _blocks(values: NDArray[np.generic], factor: Coordinate) -> NDArray[np.generic]:
    counts = [int(n) // int(f) for n, f in zip(values.shape, factor, strict=True)]
    whole = values[tuple(slice(0, c * int(f)) for c, f in zip(counts, factor, strict=True))]
    blocks: NDArray[np.generic] = whole.reshape([n for c, f in zip(counts, factor, strict=True) for n in (c, int(f))])
    return blocks


def downsample(source: str, target: str, factor: Coordinate, labels: bool = False) -> None:
    """Write the array at `source`, downsampled, to `target`; slab by slab, in bounded memory.

    Raises
    ------
    ConfigError
        If the factor is not positive, or larger than the array.
    OutputError
        If there is something at `target`.
    """
    array = open_array(source)
    if min(factor) < 1 or any(f > n for f, n in zip(factor, array.shape_vox, strict=True)) or array.channels:
        raise ConfigError(f"cannot downsample {source} of shape {array.data.shape} by {tuple(factor)}")
    shape = array.shape_vox // factor
    made = create_array(
        target,
        roi=Roi(array.offset, shape * factor * array.voxel_size),
        voxel_size=array.voxel_size * factor,
        dtype=array.dtype,
        chunk_shape_vox=Coordinate(64, 64, 64),
        units_per_nm=array.units_per_nm,
    )
    kernel = downsample_labels if labels else downsample_image
    area = int(np.prod(array.shape_vox[1:]))
    depth = max(1, SLAB_VOX // area // factor[0]) * factor[0]
    for first in range(0, shape[0] * factor[0], depth):
        last = min(first + depth, shape[0] * factor[0])
        begin = made.offset + Coordinate(first, 0, 0) * array.voxel_size
        slab = Roi(begin, Coordinate(last - first, *(shape * factor)[1:]) * array.voxel_size)
        made.write(slab, kernel(array.read(slab), factor))
