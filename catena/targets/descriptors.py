"""Local shape descriptors: statistics of the part of an object that lies near a voxel."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

import fastremap
import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.errors import DataError, GeometryError
from catena.targets.moments import bounding_boxes, fill_descriptors

TRUNCATE = 3.0
"""The Gaussian window ends at this many sigma."""
VARIANCE_FLOOR_NM2 = 1e-3
"""Variances below this count as this, so that correlations stay finite."""

_CHANNELS_2D = [1, 2, 4, 5, 8, 9]
_Sigma: TypeAlias = float | tuple[float, ...]


def shape_descriptors(
    labels: NDArray[np.integer], voxel_size: Coordinate, sigma_nm: _Sigma, downsample: int = 1, threads: int = 1
) -> NDArray[np.float32]:
    """Compute the local shape descriptors of every labelled voxel.

    Around each voxel the part of its own object inside a Gaussian window describes itself: the
    offset of its centre of mass, its variances and correlations, its mass.

    Parameters
    ----------
    labels
        ``(z, y, x)`` or ``(y, x)`` integers, 0 is background.
    voxel_size
        One number per axis, in the unit of `sigma_nm` (nm, unless the voxel size is carried in a
        finer unit).
    sigma_nm
        Standard deviation of the window, which ends at 3 sigma: one number, or one per axis.
    downsample
        Compute at every n-th voxel along each axis and repeat: n = 2 is about eight times faster.
        A voxel of an object none of whose sampled voxels lies within the window gets a centred,
        massless descriptor.
    threads
        Objects worked on at once; data-loading workers want 1.

    Returns
    -------
    ndarray
        ``(10, z, y, x)`` float32 in [0, 1], 0 in the background. Channels: mean offset z, y, x (over
        sigma, halved, + ½); variance zz, yy, xx (over sigma²); Pearson correlation zy, zx, yx
        (halved, + ½); size. In 2D ``(6, y, x)``: offset y, x; variance yy, xx; correlation yx; size.
        Objects end at the array's border: grow the array by :func:`descriptor_context_nm` and crop
        for values that do not depend on where it was cut.

    Raises
    ------
    DataError
        If the labels are not integers in two or three dimensions.
    GeometryError
        If voxel size, sigma and labels differ in dimensions, or a value is not positive.

    References
    ----------
    Sheridan et al. 2022, Local shape descriptors for neuron segmentation, Nature Methods.
    """
    dimensions = labels.ndim
    if dimensions not in (2, 3) or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels must be integers (z, y, x) or (y, x); found {labels.dtype} of shape {labels.shape}")
    sigma = _per_axis(sigma_nm, dimensions)
    if len(voxel_size) != dimensions or min(voxel_size) <= 0 or min(sigma) <= 0 or downsample < 1:
        raise GeometryError(
            f"labels have {dimensions} axes; voxel size and sigma need as many positive numbers, downsample a positive "
            f"one; found {voxel_size}, {sigma_nm} and {downsample}"
        )
    if dimensions == 3:
        return _descriptors(labels, tuple(voxel_size), sigma, (downsample,) * 3, threads)
    flat = _descriptors(labels[None], (1.0, *voxel_size), (_ONE_SECTION, *sigma), (1, downsample, downsample), threads)
    return np.ascontiguousarray(flat[_CHANNELS_2D, 0])


_ONE_SECTION = 1e-3
"""A sigma along z whose window holds a single section."""


def descriptor_context_nm(sigma_nm: _Sigma) -> tuple[int, ...]:
    """Return the context per axis (z, y, x) that makes descriptors independent of where the labels were cut."""
    return tuple(int(np.ceil(TRUNCATE * each)) for each in _per_axis(sigma_nm, 3))


def _per_axis(sigma: _Sigma, dimensions: int) -> tuple[float, ...]:
    per_axis = tuple(float(each) for each in np.atleast_1d(np.asarray(sigma, dtype=np.float64)))
    if len(per_axis) == 1:
        return per_axis * dimensions
    if len(per_axis) != dimensions:
        raise GeometryError(f"sigma needs one number or one per axis ({dimensions}); found {sigma}")
    return per_axis


def _descriptors(
    labels: NDArray[np.integer],
    voxel_size: tuple[float, ...],
    sigma: tuple[float, ...],
    steps: tuple[int, int, int],
    threads: int,
) -> NDArray[np.float32]:
    dense, count = _dense(labels)
    out = np.zeros((10, *labels.shape), dtype=np.float32)
    strided = np.ascontiguousarray(dense[:: steps[0], :: steps[1], :: steps[2]])
    boxes = bounding_boxes(dense, count)
    boxes[:, :3] //= steps
    boxes[:, 3:] = -(-boxes[:, 3:] // np.array(steps))
    kernels = [_kernels(v * step, s) for v, step, s in zip(voxel_size, steps, sigma, strict=True)]
    tables = np.zeros((3, kernels[2].shape[1] + 1))
    np.cumsum(kernels[2], axis=1, out=tables[:, 1:])
    floors = (VARIANCE_FLOOR_NM2 / np.square(sigma)).astype(np.float32)
    z, y, x = (each.astype(np.float32) for each in kernels)

    def fill(chosen: NDArray[np.int64]) -> None:
        fill_descriptors(
            dense, strided, np.array(steps), chosen, boxes, (z, y, x), tables.astype(np.float32), floors, out
        )

    # Largest first, dealt out in turn, so that threads end at about the same time.
    order = np.argsort(-np.prod(boxes[1:, 3:] - boxes[1:, :3], axis=1), kind="stable") + 1
    if threads == 1:
        fill(order)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, [order[i : i + 1] for i in range(len(order))]))
    return out


def _dense(labels: NDArray[np.integer]) -> tuple[NDArray[np.int32], int]:
    """Return labels renumbered 1..n, background 0, and n."""
    renumbered, mapping = fastremap.renumber(np.ascontiguousarray(labels), preserve_zero=True, in_place=False)
    return renumbered.astype(np.int32), sum(1 for each in mapping if each != 0)


def _kernels(voxel_size: float, sigma: float) -> NDArray[np.float64]:
    """Return ``(3, 2 r + 1)``: d^a G(d) for a = 0, 1, 2, d in units of sigma, the Gaussian summing to 1."""
    radius = int(TRUNCATE * sigma / voxel_size + 0.5)
    distance = np.arange(-radius, radius + 1) * (voxel_size / sigma)
    gaussian = np.exp(-0.5 * distance**2)
    gaussian /= gaussian.sum()
    return np.stack([gaussian, distance * gaussian, distance**2 * gaussian])
