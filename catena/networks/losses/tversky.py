"""Tversky loss: overlap in which misses and false alarms count differently."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from catena.networks.losses.base import Loss, Offsets
from catena.networks.losses.overlap import one_minus_ratio, sum_per_channel

if TYPE_CHECKING:
    from torch import Tensor


class Tversky(Loss):
    """The mean over channels of 1 − TP / (TP + α FP + β FN), with sums over w (Salehi et al. 2017)."""

    type: Literal["tversky"] = "tversky"
    alpha: float = Field(0.3, ge=0, description="Cost of false alarms.")
    beta: float = Field(0.7, ge=0, description="Cost of misses.")

    def __call__(self, prediction: Tensor, target: Tensor, weight: Tensor, offsets: Offsets | None = None) -> Tensor:
        """Return the loss (see :class:`Loss`)."""
        found = sum_per_channel(prediction * target, weight)
        false = sum_per_channel(prediction * (1 - target), weight)
        missed = sum_per_channel((1 - prediction) * target, weight)
        return one_minus_ratio(found, found + self.alpha * false + self.beta * missed)
