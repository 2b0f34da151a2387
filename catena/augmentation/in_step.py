"""Augmentations that run within the training step, on the device of the network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from catena.augmentation.batch import BatchAugmentation
from catena.augmentation.resolve import resolve
from catena.errors import ConfigError
from catena.nodes.extra_config import ExtraConfig

_STREAM = 7
"""Parts the random numbers of the training step from those with which the same seed's crop was made."""

Augmented = Callable[[Tensor, Sequence[int]], Tensor]
"""Returns raw ``(b, c, z, y, x)`` augmented; with the seed of each crop."""


@dataclass(frozen=True)
class StepAugmentation:
    """Changes of intensities, in the order given. Targets are there already, so nothing may move.

    A crop's parameters follow from its seed alone: results do not depend on how crops are batched, nor on how
    many processes train.

    Attributes
    ----------
    extras
        What to apply.
    voxel_size
        Of raw, z, y, x.
    """

    extras: tuple[ExtraConfig, ...]
    voxel_size: tuple[float, float, float] = (1, 1, 1)

    def open(self) -> Augmented:
        """Return the function that augments; raw lies in [-1, 1].

        Raises
        ------
        ConfigError
            If an augmentation is not there, its arguments are wrong, or it does more than change intensities.
        """
        chosen = [BatchAugmentation(resolve(extra), extra.kind) for extra in self.extras]
        for each in chosen:
            if each.kind != "intensity":
                raise ConfigError(
                    f"augment.extra: {each.name} is {each.kind}; within the training step, after targets were made, "
                    "only intensities may change: leave out 'within: step'"
                )

        def augmented(raw: Tensor, seeds: Sequence[int]) -> Tensor:
            crops = []
            for crop, seed in zip(torch.split(raw, 1), seeds, strict=True):
                for number, each in enumerate(chosen):
                    drawn = int(np.random.SeedSequence([seed, _STREAM, number]).generate_state(1)[0])
                    crop = each({"raw": crop}, {"raw": "image"}, drawn, self.voxel_size)["raw"]
                crops.append(crop)
            return torch.cat(crops)

        return augmented
