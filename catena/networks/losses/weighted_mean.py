"""The mean over what is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Return Σ w · values / Σ w, and 0 where all weights are 0.

    Dividing by the sum of the weights rather than by the number of voxels makes a batch count the same
    however much of it is labelled.

    Parameters
    ----------
    values
        ``(b, c, z, y, x)`` float.
    weight
        Non-negative, of the same shape or broadcastable to it.
    """
    weight = weight.expand_as(values)
    # The floor only keeps an all-zero weight from dividing by zero.
    return (weight * values).sum() / weight.sum().clamp_min(1e-6)
