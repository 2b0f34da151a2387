"""Smooth random fields, sampled anywhere: one periodic tile of filtered noise, read at many scales and offsets."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from catena.compiled import kernel

TILE = 64
"""Edge of the tile in lattice steps; a power of two, so that wrapping is a mask."""


def noise_tile(seed: int) -> NDArray[np.float32]:
    """Return a ``(64, 64, 64)`` periodic field of mean 0 and variance 1 with blobs about three lattice steps wide."""
    white = np.random.default_rng([seed, 2]).standard_normal((TILE, TILE, TILE))
    smooth = ndimage.gaussian_filter(white, 1.0, mode="wrap")
    tile: NDArray[np.float32] = ((smooth - smooth.mean()) / smooth.std()).astype(np.float32)
    return tile


@kernel
def sample(tile: NDArray[np.float32], z: float, y: float, x: float) -> float:
    """Return the tile at a place in lattice steps, interpolated linearly, repeated for ever."""
    fz, fy, fx = np.floor(z), np.floor(y), np.floor(x)
    tz, ty, tx = z - fz, y - fy, x - fx
    z0, y0, x0 = int(fz) & 63, int(fy) & 63, int(fx) & 63
    z1, y1, x1 = (z0 + 1) & 63, (y0 + 1) & 63, (x0 + 1) & 63
    a = tile[z0, y0, x0] * (1 - tx) + tile[z0, y0, x1] * tx
    b = tile[z0, y1, x0] * (1 - tx) + tile[z0, y1, x1] * tx
    c = tile[z1, y0, x0] * (1 - tx) + tile[z1, y0, x1] * tx
    d = tile[z1, y1, x0] * (1 - tx) + tile[z1, y1, x1] * tx
    return float((a * (1 - ty) + b * ty) * (1 - tz) + (c * (1 - ty) + d * ty) * tz)
