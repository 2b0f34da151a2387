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
    labels: NDArray[np.integer],
    voxel_size: Coordinate,
    sigma_nm: _Sigma,
    downsample: int = 1,
    threads: int = 1,
    roi: tuple[slice, ...] | None = None,
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
    roi
        Where descriptors are wanted, in voxels of `labels`, one slice per axis; everywhere by default.
        The values are those of the whole array, sampled voxels counted from its first, but only what
        they depend on is computed.

    Returns
    -------
    ndarray
        ``(10, z, y, x)`` float32 in [0, 1], 0 in the background. Channels: mean offset z, y, x (over
        sigma, halved, + ½); variance zz, yy, xx (over sigma²); Pearson correlation zy, zx, yx
        (halved, + ½); size. In 2D ``(6, y, x)``: offset y, x; variance yy, xx; correlation yx; size.
        As large as `roi`. Objects end at the array's border: give :func:`descriptor_context_nm` more
        than `roi` on every side for values that do not depend on where the array was cut.

    Raises
    ------
    DataError
        If the labels are not integers in two or three dimensions.
    GeometryError
        If voxel size, sigma, roi and labels differ in dimensions, a value is not positive, or the roi is
        empty or leaves the labels.

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
    where = _checked(roi, labels.shape)
    if dimensions == 3:
        return _descriptors(labels, where, tuple(voxel_size), sigma, (downsample,) * 3, threads)
    flat = _descriptors(
        labels[None],
        (slice(0, 1), *where),
        (1.0, *voxel_size),
        (_ONE_SECTION, *sigma),
        (1, downsample, downsample),
        threads,
    )
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


def _checked(roi: tuple[slice, ...] | None, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """Return `roi` with both ends of every slice, the whole of `shape` if it is None."""
    if roi is None:
        return tuple(slice(0, size) for size in shape)
    ends = [(each.start or 0, size if each.stop is None else each.stop) for each, size in zip(roi, shape, strict=False)]
    inside = all(0 <= begin < end <= size for (begin, end), size in zip(ends, shape, strict=False))
    if len(roi) != len(shape) or not inside or any(each.step not in (None, 1) for each in roi):
        raise GeometryError(f"the roi needs one range of voxels per axis, within labels of {shape}; found {roi}")
    return tuple(slice(begin, end) for begin, end in ends)


def _descriptors(
    labels: NDArray[np.integer],
    roi: tuple[slice, ...],
    voxel_size: tuple[float, ...],
    sigma: tuple[float, ...],
    steps: tuple[int, int, int],
    threads: int,
) -> NDArray[np.float32]:
    kernels = [_kernels(v * step, s) for v, step, s in zip(voxel_size, steps, sigma, strict=True)]
    window = tuple(_seen(*each) for each in zip(roi, steps, kernels, strict=True))
    dense, strided = _dense(labels[roi], labels[window])
    origin = np.array([inner.start - outer.start for inner, outer in zip(roi, window, strict=True)])
    targets = bounding_boxes(dense, int(dense.max(initial=0)))
    present = np.flatnonzero(targets[:, 3] > targets[:, 0])
    targets[:, :3] = (targets[:, :3] + origin) // steps
    targets[:, 3:] = -(-(targets[:, 3:] + origin) // np.array(steps))
    sources = bounding_boxes(strided, len(targets) - 1)
    tables = np.zeros((3, kernels[2].shape[1] + 1))
    np.cumsum(kernels[2], axis=1, out=tables[:, 1:])
    floors = (VARIANCE_FLOOR_NM2 / np.square(sigma)).astype(np.float32)
    z, y, x, table = (each.astype(np.float32) for each in (*kernels, tables))
    out = np.zeros((10, *dense.shape), dtype=np.float32)

    def fill(chosen: NDArray[np.int64]) -> None:
        fill_descriptors(
            dense, origin, strided, np.array(steps), chosen, targets, sources, (z, y, x), table, floors, out
        )

    # Largest first, dealt out in turn, so that threads end at about the same time.
    volumes = np.prod(targets[present, 3:] - targets[present, :3], axis=1)
    order = present[np.argsort(-volumes, kind="stable")]
    if threads == 1:
        fill(order)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, [order[i : i + 1] for i in range(len(order))]))
    return out


def _seen(roi: slice, step: int, kernel: NDArray[np.float64]) -> slice:
    """Return the sampled voxels of an axis that lie in windows around those that stand for `roi`."""
    radius = kernel.shape[1] // 2
    return slice(max(0, roi.start // step - radius) * step, (-(-roi.stop // step) + radius) * step, step)


def _dense(wanted: NDArray[np.integer], around: NDArray[np.integer]) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return both renumbered alike, the labels of `wanted` first, background 0."""
    both = np.concatenate([wanted.ravel(), around.ravel()])
    renumbered, _ = fastremap.renumber(both, preserve_zero=True, in_place=True)
    first, second = np.split(renumbered.astype(np.int32), [wanted.size])
    return first.reshape(wanted.shape), second.reshape(around.shape)


def _kernels(voxel_size: float, sigma: float) -> NDArray[np.float64]:
    """Return ``(3, 2 r + 1)``: d^a G(d) for a = 0, 1, 2, d in units of sigma, the Gaussian summing to 1."""
    radius = int(TRUNCATE * sigma / voxel_size + 0.5)
    distance = np.arange(-radius, radius + 1) * (voxel_size / sigma)
    gaussian = np.exp(-0.5 * distance**2)
    gaussian /= gaussian.sum()
    return np.stack([gaussian, distance * gaussian, distance**2 * gaussian])
