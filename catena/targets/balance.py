"""Weights that make both classes of a binary target count alike."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.errors import DataError


def balance_weights(
    target: NDArray[np.generic], mask: NDArray[np.generic] | None = None, clip: tuple[float, float] = (0.05, 0.95)
) -> NDArray[np.float32]:
    """Weight voxels by 1 / (2 · fraction of their class), the fraction taken over all channels in the mask.

    Parameters
    ----------
    target
        Binary (0 or not 0), any shape, usually ``(c, z, y, x)``.
    mask
        Where the target is known (non-zero), of the same shape. Elsewhere the weight is 0.
    clip
        Bounds of the fraction, so that a batch of almost one class gets no extreme weights.

    Returns
    -------
    ndarray
        float32 of the shape of `target`. Nothing known: all zero.

    Raises
    ------
    DataError
        If the shapes differ.
    """
    positive = target != 0
    known = np.ones(target.shape, dtype=np.bool_) if mask is None else mask != 0
    if known.shape != positive.shape:
        raise DataError(f"mask has shape {known.shape}, target {positive.shape}")
    total = int(np.count_nonzero(known))
    if total == 0:
        return np.zeros(target.shape, dtype=np.float32)
    fraction = float(np.clip(np.count_nonzero(positive & known) / total, *clip))
    weights = np.array([0.0, 0.0, 0.5 / (1 - fraction), 0.5 / fraction], dtype=np.float32)
    balanced: NDArray[np.float32] = weights[2 * known.astype(np.uint8) + positive]  # a table is faster than where
    return balanced
