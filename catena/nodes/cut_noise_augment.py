"""Add noise to an image within a box."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.nodes.augment_config import CutNoiseConfig
from catena.nodes.image_augment import ImageAugment
from catena.nodes.random_box import random_box


class CutNoiseAugment(ImageAugment[CutNoiseConfig]):
    """Add uniform noise to `raw` within one random box."""

    stream = 3

    def change(self, rng: np.random.Generator, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the augmented image."""
        return cut_noise(rng, raw, self.config)


def cut_noise(rng: np.random.Generator, raw: NDArray[np.float32], config: CutNoiseConfig) -> NDArray[np.float32]:
    """Return `raw` ``(z, y, x)`` with noise in a box, clipped to [-1, 1]."""
    if rng.random() >= config.probability:
        return raw
    box = random_box(rng, raw.shape, config.max_fraction)
    amplitude = 2 * config.amplitude  # the range [-1, 1] is twice as wide as [0, 1]
    changed = raw.copy()
    noise = rng.uniform(-amplitude, amplitude, changed[box].shape).astype(np.float32)
    changed[box] = np.clip(changed[box] + noise, -1, 1)
    return changed
