"""Spoil sections of an image as cutting and imaging do; labels stay what they are."""

from __future__ import annotations

import gunpowder as gp
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

from catena.nodes.augment_config import DefectConfig

_BLACK = np.float32(-1)


class DefectAugment(gp.BatchFilter):
    """Blacken, fade or stain random sections of `raw` (float32 in [-1, 1])."""

    def __init__(self, raw: gp.ArrayKey, config: DefectConfig):
        self.raw = raw
        self.config = config

    def setup(self) -> None:
        """Announce that only the image changes."""
        self.enable_autoskip()
        self.updates(self.raw, self.spec[self.raw])

    def process(self, batch: gp.Batch, request: gp.BatchRequest) -> None:
        """Augment the image in place of the one that came."""
        rng = np.random.default_rng(request.random_seed)
        batch[self.raw].data = spoil_sections(rng, batch[self.raw].data, self.config)


def spoil_sections(rng: np.random.Generator, raw: NDArray[np.float32], config: DefectConfig) -> NDArray[np.float32]:
    """Return `raw` ``(z, y, x)`` with each section missing, faded, stained or (mostly) as it was."""
    bounds = np.cumsum([config.missing_probability, config.low_contrast_probability, config.artefact_probability])
    fates = np.searchsorted(bounds, rng.random(len(raw)), side="right")
    if (fates == len(bounds)).all():
        return raw
    spoiled = raw.copy()
    for section, fate in enumerate(fates):
        if fate == 0:
            spoiled[section] = _BLACK
        elif fate == 1:
            spoiled[section] = fade(raw[section], config.low_contrast_scale)
        elif fate == 2:
            spoiled[section] = stain(rng, raw[section])
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
