"""Widen the boundaries between objects."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from catena.errors import DataError

Label = TypeVar("Label", bound=np.integer)


def erode_boundaries(labels: NDArray[Label], steps: int = 1, only_xy: bool = False) -> NDArray[Label]:
    """Set voxels to 0 that lie within `steps` of a voxel of another label.

    Every label is eroded on its own by face-connected neighbours; background counts as another
    label, what lies outside the array does not.

    Parameters
    ----------
    labels
        ``(z, y, x)`` integers, 0 is background.
    steps
        Number of erosions by one voxel.
    only_xy
        Do not erode across sections: for anisotropic data, where neighbouring sections of one
        process may hardly overlap.

    Returns
    -------
    ndarray
        A copy of `labels`, eroded.

    Raises
    ------
    DataError
        If `labels` is not three-dimensional or `steps` is negative.

    Examples
    --------
    >>> erode_boundaries(np.array([[[1, 1, 2, 2]]])).tolist()
    [[[1, 0, 0, 2]]]
    """
    if labels.ndim != 3 or steps < 0:
        raise DataError(
            f"erosion takes labels (z, y, x) and a number of steps; found shape {labels.shape}, {steps} steps"
        )
    eroded = labels.copy()
    for _ in range(steps):
        boundary = np.zeros(labels.shape, dtype=np.bool_)
        for axis in (1, 2) if only_xy else (0, 1, 2):
            lower = (*[slice(None)] * axis, slice(None, -1))
            upper = (*[slice(None)] * axis, slice(1, None))
            different = eroded[lower] != eroded[upper]
            boundary[lower] |= different
            boundary[upper] |= different
        eroded[boundary] = 0
    return eroded
