"""Dice loss: overlap instead of voxels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from catena.networks.losses.base import Loss, Offsets
from catena.networks.losses.overlap import one_minus_ratio, sum_per_channel

if TYPE_CHECKING:
    from torch import Tensor


class Dice(Loss):
    """The mean over channels of 1 − 2 Σ w p t / Σ w (p² + t²).

    With squares in the denominator (Milletari et al. 2016) the least loss is at p = t also for targets
    between 0 and 1. For sparse foreground, for example organelles.
    """

    type: Literal["dice"] = "dice"

    def __call__(self, prediction: Tensor, target: Tensor, weight: Tensor, offsets: Offsets | None = None) -> Tensor:
        """Return the loss (see :class:`Loss`)."""
        both = sum_per_channel(2 * prediction * target, weight)
        each = sum_per_channel(prediction.square() + target.square(), weight)
        return one_minus_ratio(both, each)
