"""Mean absolute error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from catena.networks.losses.base import Loss, Offsets
from catena.networks.losses.weighted_mean import weighted_mean

if TYPE_CHECKING:
    from torch import Tensor


class MeanAbsoluteError(Loss):
    """The weighted mean of |prediction − target|: less moved by single wrong labels than a squared error."""

    type: Literal["mae"] = "mae"

    def __call__(self, prediction: Tensor, target: Tensor, weight: Tensor, offsets: Offsets | None = None) -> Tensor:
        """Return the loss (see :class:`Loss`)."""
        return weighted_mean((prediction - target).abs(), weight)
