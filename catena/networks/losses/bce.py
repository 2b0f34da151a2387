"""Binary cross entropy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from catena.networks.losses.base import Loss, Offsets
from catena.networks.losses.weighted_mean import weighted_mean

if TYPE_CHECKING:
    from torch import Tensor

_NEAREST_TO_CERTAIN = 1e-6
"""Probabilities are kept this far from 0 and 1: float32 sigmoids do become exactly 0 and 1."""


class BinaryCrossEntropy(Loss):
    """The weighted mean of −t log p − (1 − t) log(1 − p).

    Where the prediction is certain to 1e-6 the gradient ends, also where it is certainly wrong.
    """

    type: Literal["bce"] = "bce"

    def __call__(self, prediction: Tensor, target: Tensor, weight: Tensor, offsets: Offsets | None = None) -> Tensor:
        """Return the loss (see :class:`Loss`)."""
        return weighted_mean(cross_entropy(prediction, target), weight)


def cross_entropy(prediction: Tensor, target: Tensor) -> Tensor:
    """Return the binary cross entropy per voxel; finite for probabilities of 0 and 1."""
    likely = prediction.clamp(_NEAREST_TO_CERTAIN, 1 - _NEAREST_TO_CERTAIN)
    return -(target * likely.log() + (1 - target) * (-likely).log1p())
