"""Focal loss: cross entropy that dwells on what is still wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from pydantic import Field

from catena.networks.losses.base import Loss, Offsets
from catena.networks.losses.bce import cross_entropy
from catena.networks.losses.weighted_mean import weighted_mean

if TYPE_CHECKING:
    from torch import Tensor


class Focal(Loss):
    """The weighted mean of |t − p|^γ times the binary cross entropy.

    For targets of 0 and 1 this is (1 − p_t)^γ · (−log p_t) of Lin et al. 2017; written with the error,
    it also serves targets in between. Classes are balanced by the voxels' weights, so there is no α.
    """

    type: Literal["focal"] = "focal"
    gamma: float = Field(2.0, ge=1, description="The larger, the less what is nearly right counts.")

    def __call__(self, prediction: Tensor, target: Tensor, weight: Tensor, offsets: Offsets | None = None) -> Tensor:
        """Return the loss (see :class:`Loss`)."""
        return weighted_mean((prediction - target).abs().pow(self.gamma) * cross_entropy(prediction, target), weight)
