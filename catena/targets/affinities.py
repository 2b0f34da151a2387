"""Affinities: whether two voxels a fixed offset apart belong to the same object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.errors import DataError, GeometryError


def affinities(
    labels: NDArray[np.integer], offsets: Sequence[Coordinate], labels_mask: NDArray[np.generic] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Compute affinities of `labels` and where they are known.

    Affinity ``k`` with offset ``o`` at voxel ``p`` joins ``p`` and ``p + o``. It is 1 if and only if
    both labels are equal and not 0.

    Parameters
    ----------
    labels
        ``(z, y, x)`` integers, 0 is background.
    offsets
        Offsets in voxels, usually negative: ``(-1, 0, 0)`` joins a voxel with the one above it.
    labels_mask
        ``(z, y, x)``; non-zero where the labels (background included) are known. Default: everywhere.

    Returns
    -------
    affinities
        ``(k, z, y, x)`` uint8, 0 or 1.
    mask
        ``(k, z, y, x)`` uint8, 1 where both ends are known. Where ``p + o`` lies outside the array,
        affinity and mask are both 0: give the labels a context as large as the offsets to avoid it.

    Raises
    ------
    DataError
        If `labels` or an offset is not three-dimensional, or the mask's shape differs.

    Examples
    --------
    >>> values, mask = affinities(np.array([[[1, 1, 2]]]), [Coordinate(0, 0, -1)])
    >>> values.tolist(), mask.tolist()
    ([[[[0, 1, 0]]]], [[[[0, 1, 1]]]])
    """
    _check(labels, offsets, labels_mask)
    known = None if labels_mask is None else labels_mask != 0
    values = np.zeros((len(offsets), *labels.shape), dtype=np.uint8)
    mask = np.zeros_like(values)
    for k, offset in enumerate(offsets):
        here, there = pair_slices(labels.shape, offset)
        equal = values[k][here]
        np.equal(labels[here], labels[there], out=equal.view(np.bool_))
        equal &= labels[here] != 0
        mask[k][here] = 1 if known is None else known[here] & known[there]
    return values, mask


Slices = tuple[slice, ...]


def pair_slices(shape: tuple[int, ...], offset: Coordinate) -> tuple[Slices, Slices]:
    """Return the slices of all voxels p, and of p + offset, with both inside the array."""
    here = tuple(slice(min(max(0, -o), n), max(min(n, n - o), 0)) for o, n in zip(offset, shape, strict=True))
    there = tuple(slice(each.start + o, each.stop + o) for each, o in zip(here, offset, strict=True))
    if any(each.stop <= each.start for each in here):  # the offset is longer than the array
        nothing = (slice(0, 0),) * len(shape)
        return nothing, nothing
    return here, there


def _check(labels: NDArray[np.integer], offsets: Sequence[Coordinate], labels_mask: NDArray[np.generic] | None) -> None:
    if labels.ndim != 3 or not np.issubdtype(labels.dtype, np.integer):
        raise DataError(f"labels must be integers (z, y, x); found {labels.dtype} of shape {labels.shape}")
    if any(len(offset) != 3 for offset in offsets):
        raise GeometryError(f"offsets must have three components z, y, x; found {list(offsets)}")
    if labels_mask is not None and labels_mask.shape != labels.shape:
        raise DataError(f"labels_mask has shape {labels_mask.shape}, labels {labels.shape}")
