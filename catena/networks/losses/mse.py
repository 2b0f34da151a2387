"""Mean squared error: what affinities and descriptors are trained with as published."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from catena.networks.losses.base import Loss, Offsets
from catena.networks.losses.weighted_mean import weighted_mean

if TYPE_CHECKING:
    from torch import Tensor


class MeanSquaredError(Loss):
    """The weighted mean of (prediction − target)²."""

    type: Literal["mse"] = "mse"

    def __call__(self, prediction: Tensor, target: Tensor, weight: Tensor, offsets: Offsets | None = None) -> Tensor:
        """Return the loss (see :class:`Loss`)."""
        return weighted_mse(prediction, target, weight)


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
        A scalar.
    """
    return weighted_mean((prediction - target).square(), weight)
