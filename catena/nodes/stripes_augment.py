"""Draw stripes into an image, as knife marks and the curtains of an ion beam do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.nodes.augment_config import StripesConfig
from catena.nodes.image_augment import ImageAugment


class StripesAugment(ImageAugment[StripesConfig]):
    """Draw parallel brighter or darker stripes into `raw`, through all sections or in one each."""

    stream = 4

    def change(self, rng: np.random.Generator, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the augmented image."""
        return draw_stripes(rng, raw, self.config)


def draw_stripes(rng: np.random.Generator, raw: NDArray[np.float32], config: StripesConfig) -> NDArray[np.float32]:
    """Return `raw` ``(z, y, x)`` with parallel stripes of a Gaussian profile, clipped to [-1, 1]."""
    if rng.random() >= config.probability:
        return raw
    depth, height, width = raw.shape
    angle = rng.uniform(0, np.pi)
    rows, columns = np.ogrid[:height, :width]
    across = (rows - height / 2) * np.sin(angle) + (columns - width / 2) * np.cos(angle)
    changed = raw.copy()
    for _ in range(int(rng.integers(1, config.max_stripes + 1))):
        place = rng.uniform(across.min(), across.max())
        half = max(0.5, rng.uniform(0, config.max_width / 2))
        amplitude = 2 * rng.uniform(-config.max_amplitude, config.max_amplitude)  # [-1, 1] is twice as wide as [0, 1]
        stripe = (amplitude * np.exp(-0.5 * ((across - place) / half) ** 2)).astype(np.float32)
        section = int(rng.integers(0, depth))
        changed[slice(None) if config.through_sections else section] += stripe
    return np.clip(changed, -1, 1, out=changed)
