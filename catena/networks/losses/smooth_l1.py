"""Smooth L1: squared near the target, absolute far from it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from catena.networks.losses.base import Loss, Offsets
from catena.networks.losses.weighted_mean import weighted_mean

if TYPE_CHECKING:
    from torch import Tensor


class SmoothL1(Loss):
    """The weighted mean of e² / 2β for errors e below β, and of e − β/2 above."""

    type: Literal["smooth_l1"] = "smooth_l1"
    beta: float = Field(0.1, gt=0, description="Error at which the loss turns from squared to absolute.")

    def __call__(self, prediction: Tensor, target: Tensor, weight: Tensor, offsets: Offsets | None = None) -> Tensor:
        """Return the loss (see :class:`Loss`)."""
        error = (prediction - target).abs()
        near = error.clamp_max(self.beta)
        return weighted_mean(near.square() / (2 * self.beta) + error - near, weight)
