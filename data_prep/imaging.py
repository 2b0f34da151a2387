"""The microscope's part: contrast of each section, and noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from data_prep.defects import Sections

_MIDDLE = 130.0
_WHITE = 5.5  # standard deviation in grey levels at the middle grey
_CORRELATED = 5.0


def expose(grey: NDArray[np.float32], begin: int, sections: Sections, thick: bool, seed: int) -> NDArray[np.uint8]:
    """Turn noise-free sections ``(z, y, x)`` into an 8-bit image.

    Noise is drawn per section from (seed, z), so the image does not depend on how sections are grouped.

    Parameters
    ----------
    begin
        Number of the first section within the volume.
    thick
        Whether sections were cut: then neighbouring sections share no noise.
    """
    white = {z: _white(grey.shape[1:], z, seed) for z in range(begin - 1, begin + len(grey) + 1)}
    image = np.zeros(grey.shape, np.uint8)
    for k, plane in enumerate(grey):
        z = begin + k
        if sections.missing[z]:
            continue
        cloud = white[z] if thick else 0.5 * white[z] + 0.25 * (white[z - 1] + white[z + 1])
        cloud = ndimage.convolve1d(ndimage.convolve1d(cloud, _BINOMIAL, 0), _BINOMIAL, 1)
        cloud *= _CORRELATED * (2.67 if thick else 4.35)  # back to the spread that averaging has taken away
        plane = ndimage.convolve1d(ndimage.convolve1d(plane, _SPREAD, 0), _SPREAD, 1)
        shot = np.sqrt(np.maximum(plane, 1.0) / _MIDDLE)
        exposed = (plane - _MIDDLE) * sections.gain[z] + _MIDDLE + sections.level[z]
        exposed = exposed + shot * (_WHITE * white[z] + cloud)
        image[k] = np.clip(np.rint(exposed), 1, 255).astype(np.uint8)  # 0 is what a missing section looks like
    return image


_SPREAD = np.array([0.15, 0.7, 0.15], np.float32)  # the beam's width: no detail is finer than a voxel
_BINOMIAL = np.array([0.25, 0.5, 0.25], np.float32)


def _white(shape: tuple[int, ...], z: int, seed: int) -> NDArray[np.float32]:
    return np.random.default_rng([seed, 4, z + 1]).standard_normal(shape, np.float32)
