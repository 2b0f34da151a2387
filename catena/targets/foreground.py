"""Inside an object, and at the rim of one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.targets.boundaries import erode_boundaries


def foreground(labels: NDArray[np.integer]) -> NDArray[np.uint8]:
    """Return 1 in every object, 0 in the background.

    Parameters
    ----------
    labels
        ``(z, y, x)`` integers, 0 is background.

    Returns
    -------
    ndarray
        ``(1, z, y, x)`` uint8.
    """
    inside: NDArray[np.uint8] = (labels != 0)[None].astype(np.uint8)
    return inside


def contour(labels: NDArray[np.integer], only_xy: bool = False) -> NDArray[np.uint8]:
    """Return 1 in the voxels of objects that touch, face to face, another object or the background.

    Parameters
    ----------
    labels
        ``(z, y, x)`` integers, 0 is background. What lies outside the array touches nothing.
    only_xy
        Faces between sections do not count.

    Returns
    -------
    ndarray
        ``(1, z, y, x)`` uint8.

    Examples
    --------
    >>> contour(np.array([[[1, 1, 1, 2, 2, 0]]])).tolist()
    [[[[0, 0, 1, 1, 1, 0]]]]
    """
    inner = erode_boundaries(labels, 1, only_xy)
    rim: NDArray[np.uint8] = ((labels != 0) & (inner == 0))[None].astype(np.uint8)
    return rim
