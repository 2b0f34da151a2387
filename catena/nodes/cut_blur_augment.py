"""Lower the resolution of an image within a box (CutBlur, Yoo et al. 2020)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.nodes.augment_config import CutBlurConfig
from catena.nodes.image_augment import ImageAugment
from catena.nodes.random_box import random_box


class CutBlurAugment(ImageAugment[CutBlurConfig]):
    """Lower the resolution of `raw` in plane within one random box."""

    stream = 2

    def change(self, rng: np.random.Generator, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the augmented image."""
        return cut_blur(rng, raw, self.config)


def cut_blur(rng: np.random.Generator, raw: NDArray[np.float32], config: CutBlurConfig) -> NDArray[np.float32]:
    """Return `raw` ``(z, y, x)``, with voxels of a box replaced by means of blocks in plane."""
    if rng.random() >= config.probability:
        return raw
    box = random_box(rng, raw.shape, config.max_fraction)
    factor = int(rng.integers(2, config.max_factor + 1))
    changed = raw.copy()
    changed[box] = coarse(raw[box], factor)
    return changed


def coarse(values: NDArray[np.float32], factor: int) -> NDArray[np.float32]:
    """Return ``(z, y, x)`` of the same shape, constant on blocks of `factor` by `factor` voxels in plane."""
    for axis in (1, 2):
        begins = np.arange(0, values.shape[axis], factor)
        sizes = np.diff(begins, append=values.shape[axis])
        shape = [1, 1, 1]
        shape[axis] = len(sizes)
        means = np.add.reduceat(values, begins, axis=axis) / sizes.reshape(shape)
        values = np.repeat(means, sizes, axis=axis).astype(np.float32)
    return values
