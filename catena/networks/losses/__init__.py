"""Losses, one per file: each a configuration model that can be called.

A new loss is a file with a subclass of :class:`Loss`, and a line in the two lists below.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from catena.networks.losses.base import Loss, Offsets
from catena.networks.losses.bce import BinaryCrossEntropy
from catena.networks.losses.dice import Dice
from catena.networks.losses.focal import Focal
from catena.networks.losses.mae import MeanAbsoluteError
from catena.networks.losses.malis import Malis
from catena.networks.losses.mse import MeanSquaredError, weighted_mse
from catena.networks.losses.smooth_l1 import SmoothL1
from catena.networks.losses.tversky import Tversky

if TYPE_CHECKING:
    from torch import Tensor

LossTerm = Annotated[
    BinaryCrossEntropy | Dice | Focal | Malis | MeanAbsoluteError | MeanSquaredError | SmoothL1 | Tversky,
    Field(discriminator="type"),
]
"""A field of configuration that holds any loss, told apart by ``type``."""

LOSSES: dict[str, type[Loss]] = {
    each.model_fields["type"].default: each
    for each in (
        BinaryCrossEntropy,
        Dice,
        Focal,
        Malis,
        MeanAbsoluteError,
        MeanSquaredError,
        SmoothL1,
        Tversky,
    )
}
"""Losses by the name that ``type`` gives them."""

DEFAULT_LOSS: tuple[Loss, ...] = (MeanSquaredError(),)
"""What a head is trained with unless something else is said."""

__all__ = [
    "DEFAULT_LOSS",
    "LOSSES",
    "BinaryCrossEntropy",
    "Dice",
    "Focal",
    "Loss",
    "LossTerm",
    "Malis",
    "MeanAbsoluteError",
    "MeanSquaredError",
    "Offsets",
    "SmoothL1",
    "Tversky",
    "total_loss",
    "weighted_mse",
]


def total_loss(
    terms: Sequence[Loss], prediction: Tensor, target: Tensor, weight: Tensor, offsets: Offsets | None = None
) -> Tensor:
    """Return the sum of `terms`, each times its own weight; other parameters as of :class:`Loss`.

    Examples
    --------
    >>> import torch
    >>> prediction, target = torch.full((1, 1, 1, 1, 2), 0.5), torch.ones(1, 1, 1, 1, 2)
    >>> terms = [MeanSquaredError(), MeanAbsoluteError(weight=2)]
    >>> total_loss(terms, prediction, target, torch.ones_like(target)).item()
    1.25
    """
    first, *others = (each.weight * each(prediction, target, weight, offsets) for each in terms)
    return sum(others, first)
