"""Add noise to an image, and take it out of focus."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from catena.nodes.augment_config import NoiseConfig
from catena.nodes.image_augment import ImageAugment


class NoiseAugment(ImageAugment[NoiseConfig]):
    """Blur `raw` (float32 in [-1, 1]) in plane and add Gaussian noise, each with its own probability."""

    def change(self, rng: np.random.Generator, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the augmented image."""
        return blur_and_noise(rng, raw, self.config)


def blur_and_noise(rng: np.random.Generator, raw: NDArray[np.float32], config: NoiseConfig) -> NDArray[np.float32]:
    """Return `raw` ``(z, y, x)`` blurred, then with noise added, clipped to [-1, 1]."""
    blurred, noisy = rng.random(2) < (config.blur_probability, config.noise_probability)
    if blurred:
        sigma = rng.uniform(0, config.blur_max_sigma)
        raw = gaussian_filter(raw, (0, sigma, sigma), truncate=3)
    if noisy:
        sigma = 2 * rng.uniform(0, config.noise_max_sigma)  # the range [-1, 1] is twice as wide as [0, 1]
        raw = np.clip(raw + np.float32(sigma) * rng.standard_normal(raw.shape, np.float32), -1, 1)
    return raw
