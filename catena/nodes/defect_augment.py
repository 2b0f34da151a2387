"""Spoil sections of an image as cutting and imaging do; labels stay what they are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from catena.nodes.augment_config import DefectConfig
from catena.nodes.image_augment import ImageAugment

_BLACK = np.float32(-1)


class DefectAugment(ImageAugment[DefectConfig]):
    """Blacken, fade or stain random sections of `raw` (float32 in [-1, 1]), wholly or in part."""

    def change(self, rng: np.random.Generator, raw: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the augmented image."""
        return spoil_sections(rng, raw, self.config)


def spoil_sections(rng: np.random.Generator, raw: NDArray[np.float32], config: DefectConfig) -> NDArray[np.float32]:
    """Return `raw` ``(z, y, x)`` with each section missing, faded, stained or (mostly) as it was."""
    probabilities = (
        config.missing_probability,
        config.low_contrast_probability,
        config.artefact_probability,
        config.partly_missing_probability,
    )
    fates = np.searchsorted(np.cumsum(probabilities), rng.random(len(raw)), side="right")
    if (fates == len(probabilities)).all():
        return raw
    spoiled = raw.copy()
    for section, fate in enumerate(fates):
        if fate == 0:
            spoiled[section] = _BLACK
        elif fate == 1:
            spoiled[section] = fade(raw[section], config.low_contrast_scale)
        elif fate == 2:
            spoiled[section] = stain(rng, raw[section])
        elif fate == 3:
            spoiled[section] = cut_off(rng, raw[section])
    return spoiled


def fade(section: NDArray[np.float32], scale: float) -> NDArray[np.float32]:
    """Return the section with its contrast about the mean multiplied by `scale`."""
    mean = section.mean(dtype=np.float32)
    faded: NDArray[np.float32] = (section - mean) * np.float32(scale) + mean
    return faded


def stain(rng: np.random.Generator, section: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blend a dark or bright cloud with soft borders, about a sixth of the area, into the section."""
    height, width = section.shape
    coarse = rng.standard_normal((4, 4))
    cloud = zoom(coarse, (height / 4, width / 4), order=3, mode="nearest", grid_mode=True).astype(np.float32)
    alpha = np.clip(2 * (cloud - 0.8), 0, 1)
    colour = np.float32(rng.choice((-1.0, 0.8)))
    blended: NDArray[np.float32] = section * (1 - alpha) + colour * alpha
    return blended


def cut_off(rng: np.random.Generator, section: NDArray[np.float32]) -> NDArray[np.float32]:
    """Blacken all of the section on one side of a random straight line through it."""
    height, width = section.shape
    angle, (y, x) = rng.uniform(0, 2 * np.pi), rng.uniform(0.2, 0.8, 2) * (height, width)
    rows, columns = np.ogrid[:height, :width]
    beyond = (rows - y) * np.sin(angle) + (columns - x) * np.cos(angle) > 0
    return np.where(beyond, _BLACK, section)
