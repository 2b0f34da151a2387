"""What losses of overlap share: sums over all voxels of a channel, and their ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_SMALLEST = 1e-6
"""Added to both parts of the ratio: a channel without foreground or without weight loses nothing."""


def sum_per_channel(values: Tensor, weight: Tensor) -> Tensor:
    """Return Σ w · values of every channel, ``(c,)``, over batch and space."""
    return (weight.expand_as(values) * values).sum(dim=(0, 2, 3, 4))


def one_minus_ratio(part: Tensor, whole: Tensor) -> Tensor:
    """Return the mean over channels of 1 − part / whole."""
    return (1 - (part + _SMALLEST) / (whole + _SMALLEST)).mean()
