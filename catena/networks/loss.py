"""The loss that affinities and descriptors are trained with."""

from __future__ import annotations

from torch import Tensor


def weighted_mse(prediction: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean squared error, Σ w (prediction − target)² / Σ w.

    Parameters
    ----------
    prediction, target
        ``(b, c, z, y, x)`` float.
    weight
        Non-negative, of the same shape or broadcastable to it. Where all weights are 0 the loss is 0.

    Returns
    -------
    Tensor
        A scalar. Dividing by the sum of the weights rather than by the number of voxels makes a batch
        count the same however much of it is labelled.
    """
    weight = weight.expand_as(prediction)
    # The floor only keeps an all-zero weight from dividing by zero.
    return (weight * (prediction - target).square()).sum() / weight.sum().clamp_min(1e-6)
