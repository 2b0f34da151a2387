"""Blur sections as a stage that moves while they are imaged does."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import shift

from catena.nodes.augment_config import MotionBlurConfig
from catena.nodes.image_augment import ImageAugment


class MotionBlurAugment(ImageAugment[MotionBlurConfig]):
    """Blur one or a few consecutive sections of `raw` along a straight path in plane."""

    stream = 1

    def change(self, rng: np.random.Generator, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the augmented image."""
        return blur_by_motion(rng, raw, self.config)


def blur_by_motion(rng: np.random.Generator, raw: NDArray[np.float32], config: MotionBlurConfig) -> NDArray[np.float32]:
    """Return `raw` ``(z, y, x)``, with its consecutive blurred sections the means along one path."""
    if rng.random() >= config.probability:
        return raw
    count = int(rng.integers(1, min(config.max_sections, len(raw)) + 1))
    begin = int(rng.integers(0, len(raw) - count + 1))
    length = int(rng.integers(2, config.max_length + 1))
    angle = rng.uniform(0, np.pi)
    blurred = raw.copy()
    for section in range(begin, begin + count):
        blurred[section] = moved(raw[section], length, angle)
    return blurred


def moved(section: NDArray[np.float32], length: int, angle: float) -> NDArray[np.float32]:
    """Return the mean of a section ``(y, x)`` at `length` positions one voxel apart on a straight path."""
    steps = np.arange(length) - (length - 1) / 2
    direction = np.array([np.sin(angle), np.cos(angle)])
    positions = (shift(section, step * direction, order=1, mode="nearest") for step in steps)
    mean: NDArray[np.float32] = np.mean(list(positions), axis=0, dtype=np.float32)
    return mean
