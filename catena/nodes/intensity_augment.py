"""Change contrast and brightness of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from catena.nodes.augment_config import IntensityConfig
from catena.nodes.image_augment import ImageAugment


class IntensityAugment(ImageAugment[IntensityConfig]):
    """Scale and shift the intensities of `raw` (float32 in [-1, 1]), as a whole or per section."""

    def change(self, rng: np.random.Generator, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the augmented image."""
        return scale_and_shift(rng, raw, self.config)


def scale_and_shift(rng: np.random.Generator, raw: NDArray[np.float32], config: IntensityConfig) -> NDArray[np.float32]:
    """Return (raw − mean) · scale + mean + shift, clipped to [-1, 1].

    Parameters
    ----------
    raw
        ``(z, y, x)`` float32 in [-1, 1]; the shift in [0, 1] intensities counts double here.
    """
    sections = len(raw) if config.per_section else 1
    scale = rng.uniform(*config.scale, size=(sections, 1, 1)).astype(np.float32)
    shift = 2 * rng.uniform(*config.shift, size=(sections, 1, 1)).astype(np.float32)
    mean = raw.mean(axis=(1, 2) if config.per_section else None, keepdims=True, dtype=np.float32)
    changed: NDArray[np.float32] = raw * scale
    changed += mean * (1 - scale) + shift
    return np.clip(changed, -1, 1, out=changed)
