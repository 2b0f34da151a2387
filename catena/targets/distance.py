"""How deep inside an object a voxel lies, or how far from the nearest one."""

from __future__ import annotations

import edt
import numpy as np
from funlib.geometry import Coordinate
from numpy.typing import NDArray

from catena.errors import DataError

CAP = 3
"""Distances count up to this many times the scale: a value depends on no voxel further away."""


def distance(
    labels: NDArray[np.integer], voxel_size: Coordinate, scale: float, only_xy: bool = False
) -> NDArray[np.float32]:
    """Return the signed distance to the rim, squeezed into [0, 1]: ``(1 + tanh(d / scale)) / 2``.

    Parameters
    ----------
    labels
        ``(z, y, x)`` integers, 0 is background.
    voxel_size
        World units.
    scale
        Distance, in world units, at which the value reaches 0.88 inside and 0.12 outside.
    only_xy
        Within every section by itself.

    Returns
    -------
    ndarray
        ``(1, z, y, x)`` float32. d is positive inside an object: the distance to the nearest voxel of
        another label, and negative in the background: to the nearest voxel of an object; at most three
        times the scale. What lies outside the array is nothing.

    Raises
    ------
    DataError
        If `labels` are not three-dimensional or `scale` is not positive.
    """
    if labels.ndim != 3 or scale <= 0:
        raise DataError(f"distances need labels (z, y, x) and a positive scale; found {labels.shape} and {scale}")
    inside = _to_others(labels, voxel_size, only_xy)
    outside = _to_others((labels == 0).astype(np.uint8), voxel_size, only_xy)
    signed = np.clip(np.where(labels != 0, inside, -outside), -CAP * scale, CAP * scale)
    return ((1 + np.tanh(signed / scale)) / 2)[None].astype(np.float32)


def _to_others(labels: NDArray[np.integer], voxel_size: Coordinate, only_xy: bool) -> NDArray[np.float32]:
    """Distance of every non-zero voxel to the nearest one of another label, infinite where there is none."""
    size = tuple(float(each) for each in voxel_size)
    parts = [edt.edt(each, anisotropy=size[1:]) for each in labels] if only_xy else [edt.edt(labels, anisotropy=size)]
    found: NDArray[np.float32] = np.stack(parts) if only_xy else parts[0]
    return found
